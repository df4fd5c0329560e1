//! The consensus thread: events in, records to disk, actions out.
//!
//! One turn: wait until something is ready or the engine's deadline has come, let the engine take all that is ready, sync
//! its records once, then do what it asks. Nothing here decides anything; `quorate_consensus::drive` is the same loop that
//! the simulator runs.

use std::{
    io,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
        mpsc::SyncSender,
    },
    time::{Duration, Instant},
};

use quorate_consensus::{Action, Engine, Event, Horizon, Log, Now, Rejection, Scope, To, drive};
use quorate_crypto::{Hash, encode};
use quorate_ledger::{Height, ValidatorIndex};
use quorate_network::{Class, Network};
use tokio::sync::watch;

use super::{
    clock::{self, Clock},
    evidence::Recorder,
    executor::ExecutorCommand,
    handle::{ConsensusView, TipView},
    inbox::{Inbox, Turn},
    pool::PoolCommand,
};
use crate::{metrics::Metrics, wire::Frame};

/// Shortest time between two publications of what the engine says of itself.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(20);

/// How far consensus has come, for verifiers on other threads.
#[derive(Debug, Default)]
pub(super) struct SharedHorizon(RwLock<Horizon>);

impl SharedHorizon {
    /// The latest.
    pub(super) fn latest(&self) -> Horizon {
        *self.0.read().expect("no holder of this lock panics")
    }

    fn set(&self, horizon: Horizon) {
        *self.0.write().expect("no holder of this lock panics") = horizon;
    }
}

/// What the thread is made of.
pub(super) struct Consensus<E: Engine, L> {
    pub(super) engine: E,
    pub(super) log: L,
    pub(super) clock: Clock,
    pub(super) inbox: Arc<Inbox<E::Message>>,
    pub(super) outlets: Outlets,
}

/// Where the engine's actions go.
pub(super) struct Outlets {
    pub(super) scope: Scope,
    /// This node's place in the set, if its key stands there.
    pub(super) index: Option<ValidatorIndex>,
    pub(super) network: Network,
    pub(super) pool: SyncSender<PoolCommand>,
    pub(super) executor: SyncSender<ExecutorCommand>,
    pub(super) tip: watch::Receiver<TipView>,
    pub(super) view: watch::Sender<Arc<ConsensusView>>,
    pub(super) horizon: Arc<SharedHorizon>,
    pub(super) syncing: Arc<AtomicBool>,
    pub(super) evidence: Recorder,
    pub(super) metrics: Metrics,
    /// Why a node with a validator's key does not vote.
    pub(super) refused: Option<String>,
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

impl<E: Engine, L: Log<E::Record>> Consensus<E, L> {
    /// Runs until the inbox is closed or another part of the node is gone.
    ///
    /// # Errors
    /// The log's. Nothing that was not on disk has left this thread, and nothing more will.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut told = Told { dirty: true, ..Told::default() };
        loop {
            self.publish(&mut told);
            let events = match self.inbox.next(self.wait_until(&told)) {
                Turn::Events(events) => events,
                Turn::Closed => return Ok(()),
            };
            let now = self.clock.now();
            let events = self.with_tick(now, events);
            if events.is_empty() {
                continue;
            }
            let ask = if events.iter().any(is_answer_of_pool) { Ask::Waiting } else { Ask::Nothing };
            let actions = drive(&mut self.engine, &mut self.log, now, events)?;
            told.dirty = true;
            self.share_horizon();
            if self.act(actions, ask, &mut told) == Err(Gone) {
                return Ok(());
            }
        }
    }

    fn wait_until(&self, told: &Told) -> Option<Instant> {
        let deadline = self.engine.deadline().map(|deadline| self.clock.instant(deadline));
        let publish = told.published_at.filter(|_| told.dirty).map(|at| at + PUBLISH_INTERVAL);
        deadline.into_iter().chain(publish).min()
    }

    fn with_tick(&self, now: Now, mut events: Vec<Event<E::Message>>) -> Vec<Event<E::Message>> {
        if self.engine.deadline().is_some_and(|deadline| deadline <= now.mono) {
            // Behind what is ready: a process that was paused hears the others before it judges them.
            events.push(Event::Tick);
        }
        events
    }

    /// Before the actions: what is committed now need not be verified again.
    fn share_horizon(&self) {
        let status = self.engine.status();
        let horizon = Horizon { committed: status.committed, stable: status.stable, view: status.view };
        self.outlets.horizon.set(horizon);
        self.outlets.metrics.moved(status.view, horizon);
    }

    /// Does what the engine asks: commits first, then the pool hears what is accepted now, then the rest. For the engine's
    /// word of what is accepted is that of the end of the turn, when a block may be delivered that an earlier event of the
    /// same turn made the parent of one to be built or judged: the pool must know it as committed before it hears that it
    /// is no longer in flight.
    fn act(&self, mut actions: Vec<Action<E::Message>>, ask: Ask, told: &mut Told) -> Result<(), Gone> {
        commits_first(&mut actions);
        let mut ask = Some(ask);
        for action in actions {
            if !matches!(action, Action::Commit { .. })
                && let Some(ask) = ask.take()
            {
                self.tell_accepted(ask, told)?;
            }
            self.outlets.act(action, told)?;
        }
        ask.map_or(Ok(()), |ask| self.tell_accepted(ask, told))
    }

    fn tell_accepted(&self, ask: Ask, told: &mut Told) -> Result<(), Gone> {
        let (blocks, in_flight) = (self.engine.accepted(), self.engine.in_flight());
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
        let mut view = ConsensusView::of(self.engine.status());
        view.index = self.outlets.index;
        view.syncing = self.outlets.syncing.load(Ordering::Relaxed);
        view.halted.clone_from(&told.halted);
        view.refused.clone_from(&self.outlets.refused);
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

/// Moves commits before all else; they stay in height order, and so does everything else in its own.
fn commits_first<M>(actions: &mut [Action<M>]) {
    actions.sort_by_key(|action| !matches!(action, Action::Commit { .. }));
}

fn is_answer_of_pool<M>(event: &Event<M>) -> bool {
    matches!(event, Event::Built { .. } | Event::Checked { .. })
}

impl Outlets {
    fn act<M: borsh::BorshSerialize>(&self, action: Action<M>, told: &mut Told) -> Result<(), Gone> {
        match action {
            Action::Send { to, message } => self.send(to, message),
            Action::Build { height, parent, anchor, time } => {
                return self.ask_pool(PoolCommand::Build { height, parent, anchor, time });
            }
            Action::Check { proposal, from } => {
                let from = *self.scope.validators.key(from).expect("a verified message is from a validator");
                return self.ask_pool(PoolCommand::Check { proposal, from });
            }
            Action::Fetch { header, from } => {
                let from = *self.scope.validators.key(from).expect("a certificate names members of the set");
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
            Action::Serve { to, above } => self.offer(to, above),
            Action::Accuse { evidence } => {
                self.metrics.accused(&evidence);
                self.evidence.record(clock::wall(), *evidence);
            }
            Action::Reject { from, why } => self.reject(from, &why),
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

    fn send<M: borsh::BorshSerialize>(&self, to: To, message: M) {
        // Without a place in the set nobody listens to this node's frames.
        let Some(own) = self.index else { return };
        let frame: bytes::Bytes = encode(&Frame::Consensus(message)).into();
        let keys = self.scope.validators.keys();
        match to {
            To::All => {
                let others = keys.iter().enumerate().filter(|(index, _)| *index != own.as_usize());
                for (_, key) in others {
                    self.network.send(key, Class::Urgent, frame.clone());
                }
            }
            To::One(index) => {
                if let Some(key) = self.scope.validators.key(index) {
                    self.network.send(key, Class::Urgent, frame);
                }
            }
        }
    }

    /// Blocks are pulled, not pushed: whoever is behind decides when and from whom.
    fn offer(&self, to: ValidatorIndex, above: Height) {
        let height = self.tip.borrow().height;
        if height <= above {
            return;
        }
        if let Some(key) = self.scope.validators.key(to) {
            self.network.send(key, Class::Urgent, encode(&Frame::<()>::Offer { height }));
        }
    }

    fn reject(&self, from: ValidatorIndex, why: &Rejection) {
        tracing::debug!(validator = %from, %why, "message refused");
        self.metrics.rejected(why.kind());
    }
}

#[cfg(test)]
mod tests {
    use quorate_crypto::PublicKey;
    use quorate_ledger::{Account, Anchor, Block, Epoch, Header, UnixMillis};

    use super::*;

    const ANCHOR: Anchor = Anchor { height: Height(0), state_root: Hash::ZERO, checkpoint: Hash::ZERO };

    fn commit(height: u64) -> Action<()> {
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
        Action::Commit { block: Arc::new(Block::new(header, Vec::new())), certificate: None }
    }

    fn build(height: u64) -> Action<()> {
        Action::Build { height: Height(height), parent: Hash::ZERO, anchor: ANCHOR, time: UnixMillis(height) }
    }

    /// A chain stood still for the want of this: in one turn block 13 became the parent of a proposal to be judged and
    /// was then delivered; the pool heard that it is no longer in flight before it heard that it is committed, so the
    /// proposal had no parent and got no answer.
    #[test]
    fn commits_come_before_what_stands_on_them_and_stay_in_order() {
        let mut actions = vec![build(14), commit(12), Action::Send { to: To::All, message: () }, commit(13)];
        commits_first(&mut actions);
        let words: Vec<String> = actions
            .iter()
            .map(|action| match action {
                Action::Commit { block, .. } => format!("commit {}", block.height()),
                Action::Build { height, .. } => format!("build {height}"),
                Action::Send { .. } => "send".to_owned(),
                Action::Check { .. }
                | Action::Fetch { .. }
                | Action::Stable { .. }
                | Action::Serve { .. }
                | Action::Accuse { .. }
                | Action::Reject { .. }
                | Action::Halt { .. } => panic!("none of these was asked"),
            })
            .collect();
        assert_eq!(words, ["commit 12", "commit 13", "build 14", "send"]);
    }
}
