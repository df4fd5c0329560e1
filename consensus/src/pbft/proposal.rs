//! PRE-PREPARE: who may propose what, and when a replica accepts it (`docs/pbft.md` §3.1, §3.2).
//!
//! ```text
//! arrives ─admit─▶ Waiting ─parent here, links, time, anchor─▶ Checking ─ledger's rules, bodies─▶ Accepted ─▶ PREPARE
//! ```
//!
//! The primary's own blocks enter at *Accepted*: it built them of what it had checked.

use std::sync::Arc;

use quorate_crypto::Hash;
use quorate_ledger::{
    Account, Anchor, Block, CheckpointCertificate, Header, Height, UnixMillis, ValidatorIndex, View,
};

use super::{
    Pbft,
    message::{Message, PrePrepare},
    slot::{Accepted, Stage},
    view_change::Mode,
};
use crate::{
    engine::{Action, Backlog, Mono, Now, Output, To, Verdict},
    evidence::VoteKind,
    rejection::Rejection,
};

/// Due blocks for the executed state's sake are at least this far apart (`docs/pbft.md` §3, due blocks, b).
const DUE_SPACING_MS: u64 = 1_000;

/// The one thing that is wrong with a proposal through its sender's fault, not through its signer's.
const ANCHOR_UNCERTIFIED: Rejection =
    Rejection::BadAnchor("is above its parent's and comes without its certificate");

/// The block that a proposal must extend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) height: Height,
    pub(super) hash: Hash,
    pub(super) time: UnixMillis,
    pub(super) anchor: Anchor,
}

/// A block that the runtime was asked for.
#[derive(Clone, Debug)]
pub(super) struct Building {
    height: Height,
    parent: Hash,
    view: View,
    /// The certificate of the anchor it will name, where that is above the parent's.
    anchor: Option<Arc<CheckpointCertificate>>,
}

impl Parent {
    pub(super) fn of(block: &Block) -> Self {
        let Header { height, time, anchor, .. } = block.header().clone();
        Self { height, hash: block.hash(), time, anchor }
    }
}

impl Pbft {
    /// Takes a PRE-PREPARE as far as it can be judged without its parent.
    pub(super) fn on_pre_prepare(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        message: PrePrepare,
        out: &mut Output<Self>,
    ) -> Result<(), Rejection> {
        let (view, height) = (message.view(), message.height());
        // A certificate teaches the same wherever it comes from; that of an epoch's start may come nowhere else.
        if let Some(anchor) = message.anchor.as_ref().filter(|it| self.teaches(it)) {
            self.hear_checkpoint(CheckpointCertificate::clone(anchor));
        }
        if height <= self.committed() {
            return Ok(()); // closed: filled by certified blocks only
        }
        let max = self.highest_buffered();
        if height > max {
            return Err(Rejection::AboveWindow { height, max });
        }
        if !self.hears(view, height) {
            return Ok(());
        }
        self.count_vote(VoteKind::Prepare, &message.prepare, out);
        let near = view == self.view || Some(view) == self.next_view();
        let wanted = match &self.round(height, view).proposal {
            Stage::Empty => true,
            // Whoever relays it may have left the anchor's certificate out.
            Stage::Waiting { message: known, .. } => {
                known.block() == message.block() && known.anchor.is_none() && message.anchor.is_some()
            }
            Stage::Checking(_) | Stage::Accepted(_) => false,
        };
        if !near || !wanted {
            return Ok(());
        }
        self.judge_fresh(now, &message)?;
        self.round_mut(height, view).proposal = Stage::Waiting { message, from };
        Ok(())
    }

    /// What only a proposal that is seen for the first time is judged by: its proposer, this replica's clock, and how much of
    /// this replica's memory it may take while it waits.
    fn judge_fresh(&self, now: Now, message: &PrePrepare) -> Result<(), Rejection> {
        let header = &message.proposal.header;
        if header.proposer != Account(self.key_of(message.prepare.signer)) {
            return Err(Rejection::WrongProposer);
        }
        let most = self.setup.parameters.block_transactions_max;
        let fits = u32::try_from(message.proposal.transactions.len()).is_ok_and(|count| count <= most);
        if !fits {
            return Err(Rejection::Malformed("it names more transactions than a block may hold"));
        }
        let drift_max_ms = self.setup.parameters.max_clock_drift_ms;
        let apart = header.time.millis_since(now.wall).max(now.wall.millis_since(header.time));
        if apart > drift_max_ms {
            return Err(Rejection::ClockDrift { time: header.time, now: now.wall, drift_max_ms });
        }
        Ok(())
    }

    /// Moves proposals whose parent is here now from *Waiting* to *Checking*.
    pub(super) fn check_waiting(&mut self, out: &mut Output<Self>) -> bool {
        let Mode::Active(start) = &self.mode else { return false };
        // Heights up to NEW-VIEW's base are closed, those above it that it fills are taken from it alone.
        let closed = self.committed().max(start.filled());
        let highest = self.highest_open();
        let open = self.slots.range(closed.next()..).take_while(|(height, _)| **height <= highest);
        let waiting = open.filter(|(_, slot)| {
            let round = slot.rounds.get(&self.view);
            round.is_some_and(|round| matches!(round.proposal, Stage::Waiting { .. }))
        });
        let waiting: Vec<Height> = waiting.map(|(height, _)| *height).collect();
        let mut changed = false;
        for height in waiting {
            if let Stage::Waiting { message, from } = &self.round(height, self.view).proposal
                && let Some(parent) = self.parent_at(height)
            {
                let (message, from) = (message.clone(), *from);
                let view = self.view;
                let start = self.epoch_start();
                self.round_mut(height, view).proposal = match judge_link(&message, &parent, start) {
                    Ok(()) => {
                        out.act(Action::Check { proposal: Arc::clone(&message.proposal), from });
                        Stage::Checking(message)
                    }
                    // Others have committed another block than this view's primary built on, which it could not know.
                    Err(Rejection::WrongParent(_)) if !self.is_of_this_view(&parent) => Stage::Empty,
                    Err(why) => {
                        // The header is its signer's; the certificate beside it was for whoever sent this to add.
                        let whom = if why == ANCHOR_UNCERTIFIED { from } else { message.prepare.signer };
                        out.act(Action::Reject { from: whom, why });
                        Stage::Empty
                    }
                };
                changed = true;
            }
        }
        changed
    }

    /// Takes the verdict on a proposal that is being checked; verdicts that come late find none and change nothing.
    pub(super) fn on_checked(&mut self, hash: Hash, verdict: Verdict, out: &mut Output<Self>) {
        let view = self.view;
        let found = self.slots.iter().find_map(|(height, slot)| match &slot.rounds.get(&view)?.proposal {
            Stage::Checking(message) if message.block() == hash => Some((*height, message.clone())),
            Stage::Checking(_) | Stage::Empty | Stage::Waiting { .. } | Stage::Accepted(_) => None,
        });
        let Some((height, message)) = found else { return };
        match verdict {
            // A certificate has closed the height meanwhile: nothing is accepted there any more, but if this is the
            // committed block its body is what delivery waits for.
            Verdict::Accept(block) if height <= self.committed() => {
                self.round_mut(height, view).proposal = Stage::Empty;
                self.slots.entry(height).or_default().blocks.insert(hash, block);
            }
            Verdict::Accept(block) => {
                assert_eq!(block.hash(), hash, "the checked block is the one that was asked about");
                let prepare = Some(message.prepare);
                let accepted = Accepted { block, view, prepare, anchor: message.anchor };
                self.accept(accepted, out);
            }
            Verdict::Refuse(why) => {
                self.round_mut(height, view).proposal = Stage::Empty;
                out.act(Action::Reject { from: message.prepare.signer, why: Rejection::Refused(why) });
            }
            // STATUS will show that it is missing, and it comes again.
            Verdict::Withdraw => self.round_mut(height, view).proposal = Stage::Empty,
        }
    }

    /// Records acceptance, and the body if the log has it not. The PREPARE follows from it in `advance`.
    pub(super) fn accept(&mut self, accepted: Accepted, out: &mut Output<Self>) {
        let height = accepted.block.height();
        let view = accepted.view;
        assert!(height > self.committed(), "height {height} is closed");
        assert!(self.round(height, view).accepted().is_none(), "one block is accepted at a place");
        let record = self.slots.entry(height).or_default().acceptance(&accepted);
        out.record(record);
        self.timers.accepted();
        self.place(accepted);
    }

    /// Puts an accepted block into its slot; also for what a restart finds in the log.
    pub(super) fn place(&mut self, mut accepted: Accepted) {
        let height = accepted.block.height();
        let view = accepted.view;
        let slot = self.slots.entry(height).or_default();
        // One body for all views.
        let body = slot.blocks.entry(accepted.block.hash()).or_insert(accepted.block);
        accepted.block = Arc::clone(body);
        self.round_mut(height, view).proposal = Stage::Accepted(accepted);
    }

    /// Asks for a block when this replica is the primary, there is room, and there is something to propose.
    pub(super) fn propose(&mut self, now: Now, out: &mut Output<Self>) -> bool {
        self.propose_at = None;
        if self.building.is_some() || !self.is_proposer() || !self.is_active() {
            return false;
        }
        let Some(parent) = self.proposal_parent() else { return false };
        let height = parent.height.next();
        if height > self.highest_open() {
            return false;
        }
        let due = self.due_at(&parent).map(|due| wall_to_mono(now, due));
        let at = self.batch_at(now).into_iter().chain(due).min();
        if at.is_none_or(|at| at > now.mono) {
            self.propose_at = at;
            return false;
        }
        // The first header of an epoch anchors exactly the checkpoint that closes the one before (`docs/pbft.md` §7).
        if parent.height == self.epoch_start() && self.checkpoints.stable.height < parent.height {
            return false;
        }
        // Anchors never go back: a power cut may take the certificate of a checkpoint that the parent names already.
        let stable = self.checkpoints.stable;
        let anchor = if stable.height > parent.anchor.height { stable } else { parent.anchor };
        // The checkpoint may move on while the block is built: it keeps the certificate of the one that it names.
        let certificate = self.checkpoints.certificate.as_ref().filter(|_| anchor != parent.anchor);
        let certificate = certificate.cloned().map(Arc::new);
        self.building = Some(Building { height, parent: parent.hash, view: self.view, anchor: certificate });
        out.act(Action::Build {
            height,
            parent: parent.hash,
            anchor,
            time: UnixMillis(now.wall.0.max(parent.time.plus_millis(1).0)),
        });
        true
    }

    /// Proposes a block that was built here. Whatever it was built for may be gone: then it is left alone.
    pub(super) fn on_built(&mut self, now: Now, block: &Arc<Block>, out: &mut Output<Self>) {
        let asked = self.building.take();
        let Some(Building { parent, anchor, .. }) =
            asked.filter(|it| it.height == block.height() && it.view == self.view)
        else {
            return;
        };
        // What the block holds no longer waits; the pool says anew what does.
        self.backlog = Backlog::default();
        let Some(below) = self.proposal_parent().filter(|it| it.hash == parent && block.parent() == parent)
        else {
            return;
        };
        if !self.is_proposer() || !self.is_active() || block.height() > self.highest_open() {
            return;
        }
        let due = self.due_at(&below).is_some_and(|due| due <= now.wall);
        if block.transactions().is_empty() && !due {
            return;
        }
        let view = self.view;
        let payload = self.payload_of(block.height(), block.hash(), view);
        let Some(prepare) = self.vote_for(VoteKind::Prepare, payload) else { return };
        let message = PrePrepare::of(block, prepare.clone(), anchor.clone());
        let accepted = Accepted { block: Arc::clone(block), view, prepare: Some(prepare.clone()), anchor };
        self.accept(accepted, out);
        self.cast(VoteKind::Prepare, prepare, To::All, Message::PrePrepare(message), out);
    }

    /// The block that the next proposal extends: the highest accepted in this view, else the delivered one.
    fn proposal_parent(&self) -> Option<Parent> {
        let Mode::Active(start) = &self.mode else { return None };
        let height = self.highest_accepted();
        self.parent_at(height.next()).filter(|_| height >= start.filled())
    }

    /// The highest height accepted in this view without a hole below, else the committed one.
    pub(super) fn highest_accepted(&self) -> Height {
        let mut height = self.committed();
        while self.round(height.next(), self.view).accepted().is_some() {
            height = height.next();
        }
        height
    }

    /// The block that a proposal for `height` must extend, if it is here: accepted at the height below in this view, or
    /// the delivered one.
    pub(super) fn parent_at(&self, height: Height) -> Option<Parent> {
        if self.delivered.height.next() == height {
            return Some(self.delivered.clone());
        }
        let below = Height(height.0.checked_sub(1)?);
        let accepted = self.slots.get(&below)?.rounds.get(&self.view)?.accepted()?;
        Some(Parent::of(&accepted.block))
    }

    /// Whether this view's primary proposes on top of this block or not at all: the view starts from it, or it was accepted
    /// in it.
    fn is_of_this_view(&self, parent: &Parent) -> bool {
        let Mode::Active(start) = &self.mode else { return false };
        let accepted = self.round(parent.height, self.view).accepted();
        parent.height == start.closed() || accepted.is_some_and(|it| it.block.hash() == parent.hash)
    }

    /// When what waits is enough for a block: at once when it fills one, else when the oldest waited `batch_delay`.
    fn batch_at(&self, now: Now) -> Option<Mono> {
        let parameters = &self.setup.parameters;
        let full = self.backlog.bytes >= u64::from(parameters.block_bytes_max)
            || self.backlog.count >= u64::from(parameters.block_transactions_max);
        if full {
            return Some(now.mono);
        }
        self.backlog.oldest.map(|oldest| oldest.plus_millis(u64::from(parameters.batch_delay_ms)))
    }

    /// When the next block on top of `parent` is due although nothing may wait: the epoch ends, the state wants one,
    /// the heartbeat beats.
    pub(super) fn due_at(&self, parent: &Parent) -> Option<UnixMillis> {
        if self.executed.epoch_ends.is_some_and(|last| parent.height < last) {
            return Some(parent.time);
        }
        let spaced = parent.time.plus_millis(DUE_SPACING_MS);
        let state = self.executed.due.map(|due| UnixMillis(due.0.max(spaced.0)));
        let every = self.setup.parameters.heartbeat_ms;
        let heartbeat = (every > 0).then(|| parent.time.plus_millis(every));
        state.into_iter().chain(heartbeat).min()
    }
}

/// What is judged against the parent: link, time and anchor.
fn judge_link(message: &PrePrepare, parent: &Parent, epoch_start: Height) -> Result<(), Rejection> {
    let header = &message.proposal.header;
    if header.parent != parent.hash {
        return Err(Rejection::WrongParent(header.height));
    }
    if header.time <= parent.time {
        return Err(Rejection::TimeNotRising { time: header.time, parent: parent.time });
    }
    if parent.height == epoch_start && header.anchor.height != epoch_start {
        return Err(Rejection::BadAnchor("is not the checkpoint that closes the epoch before"));
    }
    judge_anchor(&header.anchor, header.height, parent, message.anchor.is_some())
}

/// Anchors never go back; where one goes forward its certificate came along, and `verify` compared the two.
fn judge_anchor(anchor: &Anchor, height: Height, parent: &Parent, certified: bool) -> Result<(), Rejection> {
    if *anchor == parent.anchor {
        Ok(())
    } else if anchor.height <= parent.anchor.height {
        Err(Rejection::BadAnchor("is below its parent's, or differs from it at the same height"))
    } else if anchor.height >= height {
        Err(Rejection::BadAnchor("is not below the block"))
    } else if !certified {
        Err(ANCHOR_UNCERTIFIED)
    } else {
        Ok(())
    }
}

/// When the monotonic clock will show what the wall clock shows at `wall`, as far as anybody knows now.
fn wall_to_mono(now: Now, wall: UnixMillis) -> Mono {
    now.mono.plus_millis(wall.millis_since(now.wall))
}
