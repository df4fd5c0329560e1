//! Practical Byzantine fault tolerance on a hash-linked chain, with several heights in flight (`docs/pbft.md`).
//!
//! Castro & Liskov's protocol with signed messages (OSDI '99; ACM TOCS 20(4), 2002): the primary of a view proposes, two
//! rounds of votes order, certificates prove.
//!
//! ```text
//!  primary   ──PRE-PREPARE──▶ all        header, transaction hashes, its own PREPARE
//!  replicas  ──PREPARE──────▶ all        "I hold this block and accept it here"
//!  replicas  ──COMMIT───────▶ all        "Q accepted it; I hold that certificate, and one for each open ancestor"
//!  Q COMMITs = committed, delivered in height order, executed
//!  replicas  ──CHECKPOINT───▶ all        "executing it came to this state root"
//!  replicas  ──STATUS───────▶ all        every `resend`: what I have; send me what I lack
//!  a replica ──RECALL───────▶ all        before its first signature: what do you hold that I signed?
//! ```
//!
//! Heights: `base, executed <= delivered <= committed` and `stable <= executed`.
//!
//! | file | rules |
//! | --- | --- |
//! | [`message`], [`verify`] | what is signed (§2), judged without state |
//! | `proposal` | PRE-PREPARE, due blocks (§3.1, §3) |
//! | `vote`, `tally`, `slot` | PREPARE, COMMIT, what they add up to (§3.2 to §3.4) |
//! | `deliver` | committed blocks in order to the ledger, forgetting (§3.4, §6) |
//! | `checkpoint` | stable results (§3.5) |
//! | `view_change`, [`reproposal`] | from one view to the next (§4) |
//! | `timers`, `participation` | when to leave a view, and for which (§5, §3) |
//! | `status`, `ration` | repetition (§5) |
//! | [`record`] | what survives a crash (§6) |
//! | `recall` | what others hold of this replica's, asked before it signs (§6) |
//!
//! A view whose primary fails, or has served its turn, is left for the next:
//!
//! ```text
//!  replicas  ──VIEW-CHANGE──▶ all        "no vote of mine below this view; what may have committed is this"
//!  primary   ──NEW-VIEW─────▶ all        Q of those, and the blocks they make it propose again
//! ```

mod checkpoint;
mod deliver;
pub mod message;
mod participation;
mod proposal;
mod ration;
mod recall;
pub mod record;
pub mod reproposal;
mod slot;
mod status;
mod tally;
#[cfg(test)]
mod tests;
mod timers;
pub mod verify;
mod view_change;
mod vote;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quorate_crypto::Hash;
use quorate_ledger::{
    Block, CheckpointCertificate, CommitCertificate, CommitPayload, Epoch, ExecutionOutcome, Height, Quorum,
    Tip, ValidatorIndex, View,
};

use self::{
    checkpoint::Checkpoints,
    message::{Base, NewView, ViewChange},
    participation::Participation,
    proposal::{Building, Parent},
    ration::Ration,
    recall::Standing,
    slot::{Accepted, Prepared, Round, Slot},
    timers::Timers,
    view_change::{Accused, Asked, Mode, Start},
};
pub use self::{message::Message, record::Record};
use crate::{
    engine::{
        Action, Backlog, Engine, Event, Horizon, InFlight, Mono, Now, OpenError, Output, Promised, Role,
        Scope, Setup, Status, Verified, Voice, Voter,
    },
    evidence::VoteKind,
    rejection::Rejection,
};

/// The primary of a view: it stays until the view ends, so that one dead validator costs one view change and not a
/// time-out at each of its turns.
///
/// # Panics
/// When `n`, the number of validators, is 0 or above 65,536: a validator set is never that.
#[must_use]
pub fn primary(view: View, n: usize) -> ValidatorIndex {
    let n = u64::try_from(n).expect("a validator set's size fits 64 bits");
    ValidatorIndex(u16::try_from(view.0 % n).expect("a validator set is smaller than 65,536"))
}

/// Up to where records were dropped from the log.
#[derive(Clone, Copy, Debug, Default)]
struct Dropped {
    /// PREPAREs, COMMITs and what they rest on.
    votes: Height,
    /// CHECKPOINTs.
    checkpoints: Height,
}

/// One replica's instance of the protocol, for one epoch.
#[derive(Debug)]
pub struct Pbft {
    setup: Setup,
    quorum: Quorum,
    /// The view it is in or asks for: it votes in none below.
    view: View,
    mode: Mode,
    /// Each validator's highest VIEW-CHANGE.
    asked: BTreeMap<ValidatorIndex, Asked>,
    /// What was reported of validators' VIEW-CHANGEs and NEW-VIEWs.
    accused: Accused,
    /// The last VIEW-CHANGE sent, repeated byte for byte.
    own_change: Option<ViewChange>,
    /// The NEW-VIEW of the highest view that started here.
    new_view: Option<NewView>,
    timers: Timers,
    participation: Participation,
    /// Whether it may sign.
    standing: Standing,
    /// How often questions are answered.
    recalls: Ration,
    /// How often a signature in an answer is looked at.
    looks: Ration,
    /// How often a STATUS is answered with what its sender misses.
    repetitions: Ration,
    /// Highest block handed to the ledger.
    delivered: Parent,
    /// Highest delivered block with a certificate of its own.
    base: Base,
    /// Result of the highest block that the ledger has executed and synced.
    executed: ExecutionOutcome,
    checkpoints: Checkpoints,
    /// Heights above `pruned`.
    slots: BTreeMap<Height, Slot>,
    /// Commit certificates above the delivered height.
    certificates: BTreeMap<Height, CommitCertificate>,
    /// Delivered blocks with a certificate of their own that the ledger has not synced yet: the bases to come.
    unsynced_bases: BTreeSet<Height>,
    /// Heights up to here are the ledger's alone.
    pruned: Height,
    /// Records that were once dropped: there this replica no longer knows what it signed.
    dropped: Dropped,
    backlog: Backlog,
    /// What is being built.
    building: Option<Building>,
    /// When there will be something to propose, if nothing happens before.
    propose_at: Option<Mono>,
    /// When STATUS goes out next.
    status_at: Mono,
    halted: Option<String>,
    /// What a round that does not exist holds.
    no_round: Round,
}

impl Engine for Pbft {
    type Message = Message;
    type Record = Record;

    fn open(setup: Setup, tip: Tip, records: Vec<Record>) -> Result<Self, OpenError> {
        let scope = &setup.scope;
        if let Some(voter) = &setup.voter
            && scope.validators.key(voter.index) != Some(&voter.key.public())
        {
            return Err(OpenError::ForeignKey { index: voter.index, epoch: scope.epoch });
        }
        let quorum = scope.quorum();
        let pruned = tip.base_height.min(tip.height);
        let (start, start_hash) = scope.start;
        // At its start an epoch stands on the last block of the one before, which needs no certificate in this one.
        let base = match tip.base {
            Some(certificate) if certificate.payload.epoch == scope.epoch => {
                let block = certificate.payload.block;
                Base { height: tip.base_height, block, certificate: Some(certificate) }
            }
            Some(_) | None => Base { height: start, block: start_hash, certificate: None },
        };
        let executed = ExecutionOutcome {
            // The end of the epoch before is none of this one's.
            epoch_ends: tip.outcome.epoch_ends.filter(|last| *last > start),
            ..tip.outcome
        };
        let mut pbft = Self {
            quorum,
            view: View(0),
            mode: Mode::Active(Start::of_epoch(start)),
            asked: BTreeMap::new(),
            accused: Accused::default(),
            own_change: None,
            new_view: None,
            timers: Timers::new(),
            participation: Participation::default(),
            standing: Standing::Asking(BTreeSet::new()),
            recalls: Ration::default(),
            looks: Ration::default(),
            repetitions: Ration::default(),
            delivered: Parent { height: tip.height, hash: tip.hash, time: tip.time, anchor: tip.anchor },
            base,
            checkpoints: Checkpoints::new(tip.stable, tip.stable_certificate),
            executed,
            slots: BTreeMap::new(),
            certificates: BTreeMap::new(),
            unsynced_bases: BTreeSet::new(),
            pruned,
            dropped: Dropped::default(),
            backlog: Backlog::default(),
            building: None,
            propose_at: None,
            status_at: Mono(0),
            halted: None,
            no_round: Round::new(quorum.n()),
            setup,
        };
        Record::check(&records)?;
        for record in records {
            pbft.restore(record);
        }
        pbft.thin_slots();
        pbft.restore_view();
        if pbft.executed.checkpoint.height > pbft.checkpoints.stable.height {
            let window = pbft.log_window();
            pbft.checkpoints.remember(pbft.executed.checkpoint, window);
        }
        pbft.assert_invariants();
        Ok(pbft)
    }

    fn verify(scope: &Scope, horizon: Horizon, message: Message) -> Result<Verified<Message>, Rejection> {
        verify::verify(scope, horizon, message)
    }

    fn epoch_of(message: &Message) -> Epoch {
        message.epoch()
    }

    fn step(&mut self, now: Now, event: Event<Message>, out: &mut Output<Self>) {
        if self.halted.is_some() {
            return;
        }
        self.timers.begun(now);
        if now.mono >= self.status_at {
            self.send_recall(out);
            self.send_status(out);
            self.repeat_request(out);
            self.status_at = now.mono.plus_millis(self.setup.parameters.resend_ms);
        }
        match event {
            Event::Tick => self.expire_timers(now, out),
            Event::Message { from, message } => match message.fault().cloned() {
                Some(why) => self.on_false(from, message.into_inner(), why, out),
                None => self.on_message(now, from, message.into_inner(), out),
            },
            Event::Backlog(backlog) => self.backlog = backlog,
            Event::Built { block } => self.on_built(now, &block, out),
            Event::Checked { block, verdict } => self.on_checked(block, verdict, out),
            Event::Fetched { block } => self.on_fetched(block),
            Event::Executed { outcome } => self.on_executed(outcome),
            Event::Certified(certified) => self.on_certified(now, certified, out),
            Event::Checkpoint(certificate) => self.hear_checkpoint(certificate),
        }
        while self.advance(now, out) {}
        self.arm_timers(now);
        self.assert_invariants();
    }

    fn deadline(&self) -> Option<Mono> {
        if self.halted.is_some() {
            return None;
        }
        self.propose_at
            .into_iter()
            .chain([self.status_at])
            .chain(self.timers_deadline())
            .chain(self.fetch_deadline())
            .min()
    }

    fn epoch(&self) -> Epoch {
        self.setup.scope.epoch
    }

    fn has_begun(&self) -> bool {
        self.delivered.height > self.epoch_start() || self.highest_certificate().is_some()
    }

    fn stable_certificate(&self) -> Option<&CheckpointCertificate> {
        self.checkpoints.certificate.as_ref()
    }

    fn has_ended(&self) -> bool {
        self.executed.epoch_ends == Some(self.executed.checkpoint.height)
    }

    fn horizon(&self) -> Horizon {
        Horizon {
            committed: self.committed(),
            stable: self.checkpoints.stable.height,
            view: self.view,
            voice: self.setup.voter.as_ref().map_or(Voice::Nobody, |it| Voice::Of(it.index)),
            entered: self.new_view.as_ref().map(|it| (it.payload.view, it.signature)),
            proven: self.proven(),
        }
    }

    fn records(&self) -> Vec<Record> {
        let height = self.pruned.max(self.dropped.votes);
        let checkpoint = self.checkpoints.stable.height.max(self.dropped.checkpoints);
        let mut records = vec![Record::Dropped { epoch: self.setup.scope.epoch, height, checkpoint }];
        if let Standing::Forgetful(_) = self.standing {
            records.push(Record::Abstained { epoch: self.setup.scope.epoch });
        }
        records.extend(self.own_change.clone().map(|it| Record::ViewChanged(Box::new(it))));
        records.extend(self.new_view.clone().map(|it| Record::NewView(Box::new(it))));
        self.slots.values().for_each(|slot| self.push_slot(slot, &mut records));
        if let Some(voter) = &self.setup.voter {
            let own = self.checkpoints.tallies();
            let own = own.filter_map(|(height, _)| self.checkpoints.vote_of(height, voter.index));
            records.extend(own.map(Record::Checkpointed));
        }
        records
    }

    fn accepted(&self) -> Vec<Arc<Block>> {
        let slots = self.slots.range(self.delivered.height.next()..);
        slots.flat_map(|(_, slot)| slot.blocks.values().cloned()).collect()
    }

    fn in_flight(&self) -> Vec<Hash> {
        let rounds = self.slots.range(self.delivered.height.next()..);
        let rounds = rounds.filter_map(|(_, slot)| slot.rounds.get(&self.view)?.accepted());
        rounds.map(|it| it.block.hash()).collect()
    }

    fn status(&self) -> Status {
        let open = self.slots.range(self.delivered.height.next()..);
        Status {
            epoch: self.setup.scope.epoch,
            view: self.view,
            primary: self.primary(),
            role: self.role(),
            silent: self.silent_because(),
            committed: self.committed(),
            delivered: self.delivered.height,
            executed: self.executed.checkpoint.height,
            stable: self.checkpoints.stable.height,
            in_flight: open.filter_map(|(height, slot)| self.report(*height, slot)).collect(),
        }
    }
}

impl Pbft {
    fn on_message(&mut self, now: Now, from: ValidatorIndex, message: Message, out: &mut Output<Self>) {
        // A closing instance decides nothing more; what it still has to say is in these (`docs/pbft.md` §7).
        let closing = matches!(
            message,
            Message::Checkpoint(_) | Message::Status(_) | Message::Recall(_) | Message::Holdings(_)
        );
        if self.has_ended() && !closing || self.meets_itself(from, &message, out) {
            return;
        }
        let judged = match message {
            Message::PrePrepare(message) => self.on_pre_prepare(now, from, message, out),
            Message::Prepare(vote) => self.on_vote(VoteKind::Prepare, &vote, out),
            Message::Commit(vote) => self.on_vote(VoteKind::Commit, &vote, out),
            Message::Checkpoint(vote) => self.on_checkpoint(&vote, out),
            Message::ViewChange(change) => {
                self.on_view_change(*change, out);
                Ok(())
            }
            Message::NewView(new_view) => {
                self.on_new_view(now, *new_view, out);
                Ok(())
            }
            Message::Status(report) => {
                self.on_status(now, from, *report, out);
                Ok(())
            }
            Message::Recall(recall) => {
                self.on_recall(now, from, &recall, out);
                Ok(())
            }
            Message::Holdings(holdings) => self.on_holdings(now, from, &holdings, out),
        };
        if let Err(why) = judged {
            out.act(Action::Reject { from, why });
        }
    }

    /// Takes a message that no correct validator signs: its signer is accused, and nothing that it holds is believed.
    fn on_false(&mut self, from: ValidatorIndex, message: Message, why: Rejection, out: &mut Output<Self>) {
        let own = self.own_statement(&message);
        if self.has_ended() || self.meets_own(from, own, out) {
            return;
        }
        match message {
            Message::NewView(new_view) => self.on_false_new_view(*new_view, out),
            Message::PrePrepare(_)
            | Message::Prepare(_)
            | Message::Commit(_)
            | Message::Checkpoint(_)
            | Message::ViewChange(_)
            | Message::Status(_)
            | Message::Recall(_)
            | Message::Holdings(_) => {}
        }
        out.act(Action::Reject { from, why });
    }

    /// Draws what follows from what is known, one round of it; whether anything did.
    fn advance(&mut self, now: Now, out: &mut Output<Self>) -> bool {
        if self.halted.is_some() {
            return false;
        }
        let mut changed = self.join(out);
        changed |= self.start_view(now, out);
        changed |= self.take_reproposed(now, out);
        changed |= self.check_waiting(out);
        changed |= self.cast_prepares(out);
        changed |= self.prepare_and_commit(out);
        changed |= self.collect_commits(out);
        changed |= self.deliver_committed(now, out);
        changed |= self.cast_checkpoint(out);
        changed |= self.settle_checkpoint(out);
        changed |= self.propose(now, out);
        changed
    }

    /// Who leads the current view.
    fn primary(&self) -> ValidatorIndex {
        self.primary_of(self.view)
    }

    /// The last height of the epoch before.
    fn epoch_start(&self) -> Height {
        self.setup.scope.start.0
    }

    /// Whether the current view has started here.
    fn is_active(&self) -> bool {
        matches!(self.mode, Mode::Active(_))
    }

    /// The voter, if this replica may vote: not once its epoch has ended, when CHECKPOINTs are all that is left to sign.
    fn signing(&self) -> Option<&Voter> {
        self.witness().filter(|_| !self.has_ended())
    }

    /// The voter, if this replica may sign: one that is not sure what it signed may not. A ledger below what the log once
    /// dropped must first catch up, since what was signed and prepared there is no longer known, unless a base shows that it
    /// is final; and so must one so far below what the log still holds that others would refuse to hear all of it.
    fn witness(&self) -> Option<&Voter> {
        let sure = matches!(self.standing, Standing::Sure);
        let able = self.knows_what_it_signed() && sure && self.halted.is_none() && self.report_fits();
        self.setup.voter.as_ref().filter(|_| able)
    }

    /// Whether base and ledger have reached what the log dropped: below, it no longer says what was signed.
    fn knows_what_it_signed(&self) -> bool {
        self.base.height.min(self.executed.checkpoint.height) >= self.dropped.votes
    }

    fn is_proposer(&self) -> bool {
        self.signing().is_some_and(|voter| voter.index == self.primary())
    }

    /// The highest height that may be accepted: `executed + W`, `stable + L`, and nothing above the end of the epoch.
    fn highest_open(&self) -> Height {
        let window = self.executed.checkpoint.height.plus(u64::from(self.setup.parameters.window));
        let log = self.checkpoints.stable.height.plus(self.log_window());
        let open = window.min(log);
        self.executed.epoch_ends.map_or(open, |last| open.min(last))
    }

    /// The highest height whose proposals and votes are kept for later: W above the window.
    fn highest_buffered(&self) -> Height {
        self.executed.checkpoint.height.plus(2 * u64::from(self.setup.parameters.window))
    }

    fn log_window(&self) -> u64 {
        u64::from(self.setup.parameters.log_window)
    }

    fn role(&self) -> Role {
        if self.halted.is_some() {
            Role::Halted
        } else if self.is_proposer() {
            Role::Primary
        } else if self.signing().is_some() {
            Role::Replica
        } else {
            Role::Follower
        }
    }

    /// Why a replica with a voice does not use it.
    fn silent_because(&self) -> Option<String> {
        self.setup.voter.as_ref()?;
        match &self.standing {
            Standing::Asking(heard) => {
                let missing = (self.quorum.q() - 1).saturating_sub(heard.len());
                Some(format!(
                    "it waits to hear from {missing} more validators what it signed before it started"
                ))
            }
            Standing::Forgetful(why) => Some(why.clone()),
            Standing::Sure if !self.knows_what_it_signed() => Some(format!(
                "its ledger is behind its vote log, which has dropped what it signed up to height {}",
                self.dropped.votes
            )),
            Standing::Sure if !self.report_fits() => {
                Some("its ledger is far behind its vote log, and must first catch up".to_owned())
            }
            Standing::Sure => None,
        }
    }

    /// Stops for good: nothing is signed from here on, the data stays for people to look at.
    fn halt(&mut self, fault: String, out: &mut Output<Self>) {
        if self.halted.is_none() {
            self.halted = Some(fault.clone());
            out.act(Action::Halt { fault });
        }
    }

    /// Takes up one record of the log. What the ledger has made its own meanwhile is passed over, and so are other
    /// epochs.
    fn restore(&mut self, record: Record) {
        if record.epoch() != self.setup.scope.epoch {
            return;
        }
        match record {
            Record::Dropped { height, checkpoint, .. } => {
                self.dropped.votes = self.dropped.votes.max(height);
                self.dropped.checkpoints = self.dropped.checkpoints.max(checkpoint);
            }
            Record::Accepted { block, view, prepare, anchor } => {
                self.restore_anchor(anchor.as_deref());
                if block.height() > self.pruned {
                    self.restore_accepted(Accepted { block, view, prepare, anchor });
                }
            }
            Record::AcceptedAgain { payload, prepare, anchor } => {
                self.restore_anchor(anchor.as_deref());
                if payload.height > self.pruned {
                    let CommitPayload { view, height, block, .. } = payload;
                    let body = self.slots.get(&height).and_then(|slot| slot.blocks.get(&block)).cloned();
                    let block = body.expect("a record before this one holds the body: that was checked");
                    self.restore_accepted(Accepted { block, view, prepare, anchor });
                }
            }
            Record::Voted { kind, vote } => self.restore_vote(kind, &vote),
            Record::Prepared { payload, signatures } => {
                if payload.height > self.pruned {
                    let (height, view) = (payload.height, payload.view);
                    self.round_mut(height, view).prepared = Some(Prepared { payload, signatures });
                }
            }
            Record::Checkpointed(vote) => self.checkpoints.restore(self.quorum.n(), &vote),
            Record::Abstained { .. } => self.standing = Standing::forgetful_before(),
            Record::ViewChanged(change) => {
                let later = |own: &ViewChange| own.payload.view > change.payload.view;
                if !self.own_change.as_ref().is_some_and(later) {
                    self.own_change = Some(*change);
                }
            }
            Record::NewView(new_view) => {
                let later = |known: &NewView| known.payload.view > new_view.payload.view;
                if !self.new_view.as_ref().is_some_and(later) {
                    self.new_view = Some(*new_view);
                }
            }
        }
    }

    fn restore_anchor(&mut self, anchor: Option<&CheckpointCertificate>) {
        if let Some(anchor) = anchor {
            self.hear_checkpoint(anchor.clone());
        }
    }

    fn restore_accepted(&mut self, accepted: Accepted) {
        if let Some(prepare) = &accepted.prepare {
            self.restore_vote(VoteKind::Prepare, prepare);
        }
        self.place(accepted);
    }

    fn restore_vote(&mut self, kind: VoteKind, vote: &message::Vote) {
        let (height, view) = (vote.payload.height, vote.payload.view);
        if height > self.pruned {
            let tally = self.round_mut(height, view).votes_mut(kind);
            tally.count(vote.signer, &vote.payload, &vote.signature);
        }
    }

    /// The records of one height that must be kept: each body once, with the first acceptance of it.
    fn push_slot(&self, slot: &Slot, records: &mut Vec<Record>) {
        let mut bodies = BTreeSet::new();
        for round in slot.rounds.values() {
            let acceptance = round.accepted();
            records.extend(acceptance.map(|it| {
                let first = bodies.insert(it.block.hash());
                if first { it.first() } else { it.again() }
            }));
            for kind in [VoteKind::Prepare, VoteKind::Commit] {
                records.extend(self.own_vote(round, kind).map(|vote| Record::Voted { kind, vote }));
            }
            if let Some(Prepared { payload, signatures }) = round.prepared.clone() {
                records.push(Record::Prepared { payload, signatures });
            }
        }
    }

    fn report(&self, height: Height, slot: &Slot) -> Option<InFlight> {
        let round = slot.rounds.get(&self.view)?;
        let Some(accepted) = round.accepted() else {
            return Some(InFlight { height, block: None, prepares: Vec::new(), commits: Vec::new() });
        };
        let payload = &self.payload_of(height, accepted.block.hash(), self.view);
        Some(InFlight {
            height,
            block: Some(payload.block),
            prepares: round.prepares.voters_for(payload),
            commits: round.commits.voters_for(payload),
        })
    }

    fn assert_invariants(&self) {
        let executed = self.executed.checkpoint.height;
        assert!(self.base.height <= self.delivered.height, "the base is delivered");
        assert!(executed <= self.delivered.height, "only delivered blocks are executed");
        assert!(self.delivered.height <= self.committed(), "only committed blocks are delivered");
        assert!(self.checkpoints.stable.height <= executed, "only executed results are stable");
    }
}
