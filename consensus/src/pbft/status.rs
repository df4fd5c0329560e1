//! STATUS: what makes every lost message come again (`docs/pbft.md` §5).
//!
//! Every `resend` a replica says how far it has come and which votes it holds. Whoever is ahead answers with what the
//! sender misses and it has: certified blocks, proposals, its own votes. No acknowledgements, no retry counters: a message
//! is repeated for as long as somebody shows that it has not arrived, a ration of it at a time.

use std::ops::Bound;

use quorate_ledger::{Height, ValidatorIndex};

use super::{
    Pbft,
    message::{CheckpointReport, HeightReport, Message, PrePrepare, STATUS_HEIGHTS_MAX, StatusReport, Vote},
};
use crate::{
    engine::{Action, Now, Output, To},
    evidence::VoteKind,
};

impl Pbft {
    /// Sends STATUS to everybody.
    pub(super) fn send_status(&self, out: &mut Output<Self>) {
        let heights = self.slots.range(self.delivered.height.next()..).filter_map(|(height, slot)| {
            let round = slot.rounds.get(&self.view)?;
            Some(HeightReport {
                height: *height,
                proposal: round.accepted().is_some(),
                prepares: round.prepares.signers(),
                commits: round.commits.signers(),
            })
        });
        let checkpoints = self
            .checkpoints
            .tallies()
            .map(|(height, tally)| CheckpointReport { height, signers: tally.signers() });
        let report = StatusReport {
            epoch: self.setup.scope.epoch,
            view: self.view,
            active: self.is_active(),
            delivered: self.delivered.height,
            certificate: self.highest_certificate().cloned(),
            stable: self.checkpoints.stable.height,
            checkpoint: self.checkpoints.certificate.clone().filter(|it| {
                // Of the epoch before only the one that this epoch starts from can be verified here.
                it.payload.epoch == self.setup.scope.epoch || it.payload.height == self.epoch_start()
            }),
            heights: heights.take(STATUS_HEIGHTS_MAX).collect(),
            checkpoints: checkpoints.take(STATUS_HEIGHTS_MAX).collect(),
        };
        out.act(Action::Send { to: To::All, message: Message::Status(Box::new(report)) });
    }

    /// Learns what a STATUS proves and sends what its sender misses.
    pub(super) fn on_status(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        report: StatusReport,
        out: &mut Output<Self>,
    ) {
        if self.repetitions.grant(from, now, self.setup.parameters.resend_ms) {
            self.repeat(from, &report, out);
        }
        if let Some(certificate) = report.certificate {
            self.learn_commit(certificate, out);
        }
        if let Some(certificate) = report.checkpoint {
            self.hear_checkpoint(certificate);
        }
    }

    /// Sends what a STATUS shows to be missing.
    fn repeat(&self, to: ValidatorIndex, report: &StatusReport, out: &mut Output<Self>) {
        if report.delivered < self.base.height {
            out.act(Action::Serve { to, above: report.delivered });
        }
        self.repeat_view(to, report, out);
        if report.view == self.view {
            self.repeat_rounds(to, report, out);
        }
        self.repeat_checkpoints(to, report, out);
    }

    /// The view's start for whoever has not entered it, and the own request for whoever is below.
    fn repeat_view(&self, to: ValidatorIndex, report: &StatusReport, out: &mut Output<Self>) {
        let lacks = |view| report.view < view || (report.view == view && !report.active);
        if let Some(new_view) = self.new_view.as_ref().filter(|it| lacks(it.payload.view)) {
            send(to, Message::NewView(Box::new(new_view.clone())), out);
        }
        if let Some(own) = self.own_change.as_ref().filter(|it| lacks(it.payload.view) && !self.is_active()) {
            send(to, Message::ViewChange(Box::new(own.clone())), out);
        }
    }

    /// Proposals and own votes of this view, above what the other has delivered.
    fn repeat_rounds(&self, to: ValidatorIndex, report: &StatusReport, out: &mut Output<Self>) {
        // A claimed height may be any number.
        let above = (Bound::Excluded(report.delivered.max(self.pruned)), Bound::Unbounded);
        for (height, slot) in self.slots.range(above) {
            let Some(round) = slot.rounds.get(&self.view) else { continue };
            let theirs = report.heights.iter().find(|it| it.height == *height);
            if let Some(accepted) = round.accepted()
                && let Some(prepare) = accepted.prepare.clone()
                && !theirs.is_some_and(|it| it.proposal)
            {
                let message = PrePrepare::of(&accepted.block, prepare, accepted.anchor.clone());
                send(to, Message::PrePrepare(message), out);
            }
            for (kind, wrap) in [
                (VoteKind::Prepare, Message::Prepare as fn(Vote) -> Message),
                (VoteKind::Commit, Message::Commit as fn(Vote) -> Message),
            ] {
                let held = theirs.map(|it| match kind {
                    VoteKind::Prepare => &it.prepares,
                    VoteKind::Commit => &it.commits,
                });
                if let Some(vote) = self.own_vote(round, kind)
                    && !held.is_some_and(|it| it.contains(usize::from(vote.signer.0)))
                {
                    send(to, wrap(vote), out);
                }
            }
        }
    }

    /// Own CHECKPOINTs above what is stable at the other.
    fn repeat_checkpoints(&self, to: ValidatorIndex, report: &StatusReport, out: &mut Output<Self>) {
        let Some(voter) = &self.setup.voter else { return };
        let place = voter.index.as_usize();
        let held = |height: Height| {
            report.checkpoints.iter().any(|it| it.height == height && it.signers.contains(place))
        };
        for (height, _) in self.checkpoints.tallies().filter(|(height, _)| *height > report.stable) {
            if let Some(vote) = self.checkpoints.vote_of(height, voter.index)
                && !held(height)
            {
                send(to, Message::Checkpoint(vote), out);
            }
        }
    }
}

fn send(to: ValidatorIndex, message: Message, out: &mut Output<Pbft>) {
    out.act(Action::Send { to: To::One(to), message });
}
