//! The consensus thread: events in, records to disk, actions out.
//!
//! One turn: wait until something is ready or the engine's deadline has come, let the engine take all that is ready, sync
//! its records once, then do what it asks. Nothing here decides anything; `quorate_consensus::drive` is the same loop that
//! the simulator runs.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::SyncSender,
    },
    time::{Duration, Instant},
};

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_consensus::{
    Action, Engine, Event, Horizon, Input, Mono, Promised, Rejection, Replica, Scope, Setup, To, drive,
};
use quorate_crypto::{Hash, PublicKey, encode};
use quorate_ledger::{Epoch, EpochStart, Height, Parameters, Reader, Tip, ValidatorIndex};
use quorate_network::{Class, Network};
use tokio::sync::watch;

use super::{
    clock::{self, Clock},
    conduct::Source,
    epochs::{Epochs, scope_of},
    evidence::Recorder,
    executor::ExecutorCommand,
    handle::{ConsensusView, TipView},
    inbox::{Arrival, Inbox, Turn},
    offences::Offences,
    pool::{NextEpoch, PoolCommand, PoolSender},
    sizes,
    voting::Part,
};
use crate::{metrics::Metrics, wire::Frame};

/// Shortest time between two publications of what the engine says of itself.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(20);

/// What the thread is made of.
pub(super) struct Consensus<E: Engine> {
    pub(super) replica: Replica<E>,
    pub(super) part: Part<E::Record>,
    pub(super) clock: Clock,
    pub(super) inbox: Arc<Inbox<E::Message>>,
    pub(super) outlets: Outlets,
}

/// Where the engine's actions go.
pub(super) struct Outlets {
    /// Of the current epoch, and behind it of the one before, whose instance may still be closing.
    pub(super) scopes: Vec<Arc<Scope>>,
    /// This node's validator key.
    pub(super) own: Option<PublicKey>,
    pub(super) reader: Reader,
    pub(super) network: Network,
    pub(super) pool: PoolSender,
    pub(super) executor: SyncSender<ExecutorCommand>,
    pub(super) tip: watch::Receiver<TipView>,
    pub(super) view: watch::Sender<Arc<ConsensusView>>,
    pub(super) epochs: Arc<Epochs>,
    pub(super) syncing: Arc<AtomicBool>,
    pub(super) evidence: Recorder,
    pub(super) offences: Offences,
    pub(super) metrics: Metrics,
}

/// What changes from turn to turn beside the engine.
#[derive(Default)]
struct Told {
    /// Blocks that the pool knows to be accepted.
    accepted: Vec<Hash>,
    /// Those of them that are in flight in the current view.
    in_flight: Vec<Hash>,
    halted: Option<String>,
    published_at: Option<Instant>,
    dirty: bool,
}

/// Whether the pool must hear which blocks are accepted although they are the same: it has built or judged one and waits
/// to hear whether that counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    Waiting,
    Nothing,
}

/// Part of the node is gone, so this thread ends too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gone;

/// Why the thread ends.
enum Ended {
    /// Part of the node is gone.
    Gone,
    /// The log or the machine.
    Machine(io::Error),
}

impl From<Gone> for Ended {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Machine(error)
    }
}

/// What an instance of an epoch is opened with here.
///
/// # Errors
/// When the machine has no randomness.
pub(super) fn setup_of<R: BorshSerialize + BorshDeserialize + Promised>(
    part: &Part<R>,
    scope: &Scope,
    parameters: &Parameters,
) -> io::Result<Setup> {
    Ok(Setup {
        scope: scope.clone(),
        voter: part.voter(&scope.validators),
        parameters: parameters.clone(),
        nonce: getrandom::u64().map_err(io::Error::other)?,
    })
}

impl<E: Engine> Consensus<E> {
    /// Runs until the inbox is closed or another part of the node is gone.
    ///
    /// # Errors
    /// The log's. Nothing that was not on disk has left this thread, and nothing more will.
    pub(super) fn run(self) -> io::Result<()> {
        match self.turns() {
            Ok(()) | Err(Ended::Gone) => Ok(()),
            Err(Ended::Machine(error)) => Err(error),
        }
    }

    fn turns(mut self) -> Result<(), Ended> {
        let mut told = Told { dirty: true, ..Told::default() };
        loop {
            self.publish(&mut told);
            let arrivals = match self.inbox.next(self.wait_until(&told)) {
                Turn::Arrivals(arrivals) => arrivals,
                Turn::Closed => return Ok(()),
            };
            let now = self.clock.now();
            let arrivals = with_tick(self.replica.deadline(), now.mono, arrivals);
            if arrivals.is_empty() {
                continue;
            }
            let ask = if arrivals.iter().any(is_answer_of_pool) { Ask::Waiting } else { Ask::Nothing };
            let inputs = self.inputs(arrivals)?;
            let actions = drive(&mut self.replica, &mut self.part.log, now, inputs)?;
            told.dirty = true;
            self.share_horizons();
            self.act(actions, ask, &mut told)?;
        }
    }

    fn inputs(&mut self, arrivals: Vec<Arrival<E::Message>>) -> Result<Vec<Input<E::Message>>, Ended> {
        let input = |arrival| match arrival {
            Arrival::Event(event) => Ok(Input::Event(event)),
            Arrival::Epoch(next) => self.begin(next.0, next.1),
            Arrival::Checkpoint(certificate) => {
                let stable = ExecutorCommand::Stable((*certificate).clone());
                self.outlets.executor.send(stable).map_err(|_| Gone)?;
                Ok(Input::Event(Event::Checkpoint(*certificate)))
            }
        };
        arrivals.into_iter().map(input).collect()
    }

    /// Everybody goes over to an epoch that begins: verifiers, network, pool. The block below it has been given to the pool,
    /// and nothing of the new epoch has been asked of it yet.
    fn begin(&mut self, epoch: EpochStart, tip: Tip) -> Result<Input<E::Message>, Ended> {
        let outlets = &mut self.outlets;
        let before = epoch.number.previous().expect("the first epoch began with the chain");
        let before = outlets.reader.epoch_numbered(before).expect("it has ended here");
        // The block below was judged by the parameters of the epoch before.
        let drift_max_ms = before.parameters.max_clock_drift_ms;
        let drift_max_ms = drift_max_ms.max(epoch.parameters.max_clock_drift_ms);
        self.part.begin(epoch.number, tip.time, drift_max_ms, self.clock.now());
        let epochs = |number| outlets.reader.epoch_numbered(number);
        let scope = Arc::new(scope_of(outlets.reader.chain(), &epoch, epochs));
        self.part.tell(&before.validators, &epoch);
        let setup = setup_of(&self.part, &scope, &epoch.parameters)?;
        outlets.epochs.begin(Arc::clone(&scope));
        outlets.scopes.truncate(1);
        outlets.scopes.insert(0, scope);
        sizes::raise_to(&outlets.network, &epoch.parameters);
        outlets.network.set_clock_drift(epoch.parameters.max_clock_drift_ms);
        outlets.network.set_validators(outlets.epochs.validators());
        let next = NextEpoch { votes: setup.voter.is_some(), epoch };
        outlets.ask_pool(PoolCommand::Epoch(Box::new(next)))?;
        Ok(Input::Begin { setup: Box::new(setup), tip: Box::new(tip) })
    }

    fn wait_until(&self, told: &Told) -> Option<Instant> {
        let deadline = self.replica.deadline().map(|deadline| self.clock.instant(deadline));
        let publish = told.published_at.filter(|_| told.dirty).map(|at| at + PUBLISH_INTERVAL);
        deadline.into_iter().chain(publish).min()
    }

    /// Before the actions: what is committed now need not be verified again.
    fn share_horizons(&mut self) {
        let horizons: Vec<(Epoch, Horizon)> = self.replica.horizons().collect();
        let (epoch, horizon) = horizons[0];
        self.outlets.metrics.moved(horizon.view, horizon);
        self.outlets.epochs.moved(&horizons);
        if horizons.len() < self.outlets.scopes.len() {
            tracing::info!(%epoch, "the epoch before is closed");
            self.outlets.scopes.truncate(horizons.len());
            self.outlets.network.set_validators(self.outlets.epochs.validators());
        }
    }

    /// Does what the engine asks: commits first, then the pool hears what is accepted now, then the rest. For the engine's
    /// word of what is accepted is that of the end of the turn, when a block may be delivered that an earlier event of the
    /// same turn made the parent of one to be built or judged: the pool must know it as committed before it hears that it
    /// is no longer in flight.
    fn act(
        &self,
        mut actions: Vec<(Epoch, Action<E::Message>)>,
        ask: Ask,
        told: &mut Told,
    ) -> Result<(), Gone> {
        commits_first(&mut actions);
        let mut ask = Some(ask);
        for (epoch, action) in actions {
            if !matches!(action, Action::Commit { .. })
                && let Some(ask) = ask.take()
            {
                self.tell_accepted(ask, told)?;
            }
            // What the last word of a closed instance was is for nobody any more.
            if let Some(scope) = self.outlets.scopes.iter().find(|it| it.epoch == epoch) {
                self.outlets.act(scope, action, told)?;
            }
        }
        ask.map_or(Ok(()), |ask| self.tell_accepted(ask, told))
    }

    fn tell_accepted(&self, ask: Ask, told: &mut Told) -> Result<(), Gone> {
        let (blocks, in_flight) = (self.replica.current().accepted(), self.replica.current().in_flight());
        let accepted: Vec<Hash> = blocks.iter().map(|block| block.hash()).collect();
        if told.accepted == accepted && told.in_flight == in_flight && ask == Ask::Nothing {
            return Ok(());
        }
        told.accepted = accepted;
        told.in_flight.clone_from(&in_flight);
        self.outlets.ask_pool(PoolCommand::Accepted { blocks, in_flight })
    }

    fn publish(&self, told: &mut Told) {
        if !told.dirty || told.published_at.is_some_and(|at| at.elapsed() < PUBLISH_INTERVAL) {
            return;
        }
        let scope = &self.outlets.scopes[0];
        let status = self.replica.status();
        let silent =
            self.part.silent_because(scope.epoch, &scope.validators).or_else(|| status.silent.clone());
        let mut view = ConsensusView::of(status);
        view.index = self.outlets.own.and_then(|own| scope.validators.index_of(&own));
        view.syncing = self.outlets.syncing.load(Ordering::Relaxed);
        view.halted.clone_from(&told.halted);
        view.refused = silent;
        self.outlets.metrics.shown(&view);
        self.outlets.view.send_if_modified(|shown| {
            if shown.view != view.view {
                tracing::info!(from = %shown.view, to = %view.view, height = %view.committed, "view changed");
            }
            let changed = **shown != view;
            if changed {
                *shown = Arc::new(view);
            }
            changed
        });
        told.dirty = false;
        told.published_at = Some(Instant::now());
    }
}

/// Adds a tick when the engine's deadline has come. Behind what is ready: a process that was paused hears the others before
/// it judges them.
fn with_tick<M>(deadline: Option<Mono>, now: Mono, mut arrivals: Vec<Arrival<M>>) -> Vec<Arrival<M>> {
    if deadline.is_some_and(|deadline| deadline <= now) {
        arrivals.push(Arrival::Event(Event::Tick));
    }
    arrivals
}

/// Who hears what the instance of `scope` sends to all, where `current` is of the newest epoch. What closes an epoch is what the
/// next one starts from: a set that has nobody in common with the one before hears it from nobody else.
fn audience<'a>(
    scope: &'a Scope,
    current: &'a Scope,
    own: &'a PublicKey,
) -> impl Iterator<Item = &'a PublicKey> {
    let heirs = current.validators.keys().iter().filter(|_| scope.epoch < current.epoch);
    let strangers = heirs.filter(|key| scope.validators.index_of(key).is_none());
    scope.validators.keys().iter().chain(strangers).filter(move |key| *key != own)
}

/// Moves commits before all else; they stay in height order, and so does everything else in its own.
fn commits_first<M>(actions: &mut [(Epoch, Action<M>)]) {
    actions.sort_by_key(|(_, action)| !matches!(action, Action::Commit { .. }));
}

fn is_answer_of_pool<M>(arrival: &Arrival<M>) -> bool {
    matches!(arrival, Arrival::Event(Event::Built { .. } | Event::Checked { .. }))
}

impl Outlets {
    /// Does what the instance of `scope` asks.
    fn act<M: BorshSerialize>(&self, scope: &Scope, action: Action<M>, told: &mut Told) -> Result<(), Gone> {
        match action {
            Action::Send { to, message } => self.send(scope, to, message),
            Action::Build { height, parent, anchor, time } => {
                return self.ask_pool(PoolCommand::Build { height, parent, anchor, time });
            }
            Action::Check { proposal, from } => {
                let from = *scope.validators.key(from).expect("a verified message is from a validator");
                return self.ask_pool(PoolCommand::Check { proposal, from });
            }
            Action::Fetch { header, from } => {
                let from = *scope.validators.key(from).expect("a certificate names members of the set");
                return self.ask_pool(PoolCommand::FetchBlock { header, from });
            }
            Action::Commit { block, certificate } => {
                let certified = certificate.is_some();
                let command = ExecutorCommand::Commit { block: Arc::clone(&block), certificate };
                self.executor.send(command).map_err(|_| Gone)?;
                return self.ask_pool(PoolCommand::Committed { block, certified });
            }
            Action::Stable { certificate } => {
                return self.executor.send(ExecutorCommand::Stable(certificate)).map_err(|_| Gone);
            }
            Action::Leave { view, rule } => {
                self.metrics.left(rule);
                tracing::info!(epoch = %scope.epoch, %view, rule, "leaves its view for a later one");
            }
            Action::Serve { to, above } => self.offer(scope, to, above),
            Action::Accuse { evidence } => {
                self.metrics.accused(&evidence);
                self.evidence.record(clock::wall(), *evidence);
            }
            Action::Reject { from, why } => self.reject(scope, from, &why),
            Action::Abstain { why } => tracing::error!(
                %why,
                "this node votes no more in this epoch and follows: its vote log was lost, copied or restored. Make sure \
                 that no other machine runs with its key"
            ),
            Action::Halt { fault } => {
                tracing::error!(
                    %fault,
                    "consensus halted: this node signs nothing more and keeps its data; do not delete them, and compare \
                     with the other validators before anything else"
                );
                self.metrics.halted();
                told.halted = Some(fault);
            }
        }
        Ok(())
    }

    fn ask_pool(&self, command: PoolCommand) -> Result<(), Gone> {
        self.pool.send(command).map_err(|_| Gone)
    }

    fn send<M: BorshSerialize>(&self, scope: &Scope, to: To, message: M) {
        // Without a place in the set nobody listens to this node's frames.
        let Some(own) = self.own.filter(|own| scope.validators.index_of(own).is_some()) else { return };
        let frame: bytes::Bytes = encode(&Frame::Consensus(message)).into();
        match to {
            To::All => {
                for key in audience(scope, &self.scopes[0], &own) {
                    self.network.send(key, Class::Urgent, frame.clone());
                }
            }
            To::One(index) => {
                if let Some(key) = scope.validators.key(index) {
                    self.network.send(key, Class::Urgent, frame);
                }
            }
        }
    }

    /// Blocks are pulled, not pushed: whoever is behind decides when and from whom.
    fn offer(&self, scope: &Scope, to: ValidatorIndex, above: Height) {
        let height = self.tip.borrow().height;
        if height <= above {
            return;
        }
        if let Some(key) = scope.validators.key(to) {
            self.network.send(key, Class::Urgent, encode(&Frame::<()>::Offer { height }));
        }
    }

    fn reject(&self, scope: &Scope, from: ValidatorIndex, why: &Rejection) {
        tracing::debug!(validator = %from, %why, "message refused");
        self.metrics.rejected(why.kind());
        if let Some(key) = scope.validators.key(from).filter(|_| is_found_by_the_engine(why)) {
            self.offences.count(Source::Validator(*key), &why.to_string());
        }
    }
}

/// Whether this is an offence that no verifier has counted: the engine alone looks for a forged message among those that it is
/// told it has signed. What else it refuses is a verifier's to count, or not surely its sender's fault.
fn is_found_by_the_engine(why: &Rejection) -> bool {
    matches!(why, Rejection::ForgedAnswer(_))
}

#[cfg(test)]
mod tests {
    use quorate_consensus::Backlog;
    use quorate_crypto::SecretKey;
    use quorate_ledger::{Account, Anchor, Block, Header, UnixMillis, ValidatorSet};

    use super::*;

    /// What verifiers have judged is not counted twice, and what no sender could know is not counted.
    #[test]
    fn a_forged_answer_is_an_offence_that_the_engine_finds() {
        assert!(is_found_by_the_engine(&Rejection::ForgedAnswer(ValidatorIndex(1))));
        for other in [
            // Of a VIEW-CHANGE in a NEW-VIEW: its verifier has counted that.
            Rejection::BadSignature(ValidatorIndex(1)),
            Rejection::Malformed("it does not rest on Q different replicas' VIEW-CHANGEs"),
            Rejection::AboveWindow { height: Height(9), max: Height(8) },
            Rejection::WrongParent(Height(1)),
            Rejection::Refused("by the ledger".to_owned()),
        ] {
            assert!(!is_found_by_the_engine(&other), "{other}");
        }
    }

    const ANCHOR: Anchor = Anchor { height: Height(0), state_root: Hash::ZERO, checkpoint: Hash::ZERO };

    fn commit(height: u64) -> (Epoch, Action<()>) {
        let header = Header {
            version: Header::VERSION,
            chain: Hash::ZERO,
            epoch: Epoch(0),
            height: Height(height),
            parent: Hash::ZERO,
            transactions_root: Block::transactions_root(&[]),
            time: UnixMillis(height),
            proposer: Account(PublicKey::from_bytes([0; 32])),
            anchor: ANCHOR,
        };
        (Epoch(0), Action::Commit { block: Arc::new(Block::new(header, Vec::new())), certificate: None })
    }

    fn build(height: u64) -> (Epoch, Action<()>) {
        let (parent, time) = (Hash::ZERO, UnixMillis(height));
        (Epoch(0), Action::Build { height: Height(height), parent, anchor: ANCHOR, time })
    }

    /// A chain stood still for the want of this: in one turn block 13 became the parent of a proposal to be judged and
    /// was then delivered; the pool heard that it is no longer in flight before it heard that it is committed, so the
    /// proposal had no parent and got no answer.
    #[test]
    fn commits_come_before_what_stands_on_them_and_stay_in_order() {
        let send = (Epoch(0), Action::Send { to: To::All, message: () });
        let mut actions = vec![build(14), commit(12), send, commit(13)];
        commits_first(&mut actions);
        let words: Vec<String> = actions
            .iter()
            .map(|(_, action)| match action {
                Action::Commit { block, .. } => format!("commit {}", block.height()),
                Action::Build { height, .. } => format!("build {height}"),
                Action::Send { .. } => "send".to_owned(),
                Action::Check { .. }
                | Action::Fetch { .. }
                | Action::Stable { .. }
                | Action::Leave { .. }
                | Action::Serve { .. }
                | Action::Accuse { .. }
                | Action::Reject { .. }
                | Action::Abstain { .. }
                | Action::Halt { .. } => panic!("none of these was asked"),
            })
            .collect();
        assert_eq!(words, ["commit 12", "commit 13", "build 14", "send"]);
    }

    /// > Timers are looked at on a tick, behind the messages that are ready
    #[test]
    fn a_tick_comes_behind_what_is_ready_once_the_deadline_is_reached() {
        let ready = || vec![Arrival::Event(Event::<()>::Backlog(Backlog::default()))];
        let words = |deadline, now| -> Vec<&str> {
            let arrivals = with_tick(deadline, Mono(now), ready());
            let is_tick = |arrival| matches!(arrival, Arrival::Event(Event::Tick));
            arrivals.into_iter().map(|arrival| if is_tick(arrival) { "tick" } else { "ready" }).collect()
        };
        assert_eq!(words(Some(Mono(5)), 5), ["ready", "tick"]);
        assert_eq!(words(Some(Mono(5)), 4), ["ready"]);
        assert_eq!(words(None, 5), ["ready"]);
    }

    fn scope(epoch: u64, seeds: &[u8]) -> Scope {
        let keys = seeds.iter().map(|seed| key(*seed)).collect();
        let validators = ValidatorSet::new(keys).expect("different keys");
        let start = (Height(0), Hash::ZERO);
        Scope { chain: Hash::ZERO, epoch: Epoch(epoch), validators, start, previous: None, window: 8 }
    }

    fn key(seed: u8) -> PublicKey {
        SecretKey::from_seed([seed; 32]).public()
    }

    /// > A set that has nobody in common with the one before is spoken to as well.
    #[test]
    fn what_closes_an_epoch_is_said_to_the_heirs_too_and_nothing_else_is() {
        let (old, new) = (scope(0, &[1, 2, 3]), scope(1, &[4, 5]));
        let heard = |of: &Scope, current: &Scope, own| -> Vec<u8> {
            let keys: Vec<PublicKey> = audience(of, current, &key(own)).copied().collect();
            (1..=9).filter(|seed| keys.iter().filter(|it| **it == key(*seed)).count() == 1).collect()
        };
        assert_eq!(heard(&old, &new, 1), [2, 3, 4, 5]);
        assert_eq!(heard(&new, &new, 4), [5], "the dead are not spoken to");
        assert_eq!(heard(&old, &old, 2), [1, 3]);
        assert_eq!(heard(&old, &scope(1, &[2, 3, 4]), 2), [1, 3, 4], "each once, not itself");
    }
}
