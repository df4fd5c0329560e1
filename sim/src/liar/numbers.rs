//! Numbers at the ends of their range, where only a signature of the liar's own, or none, is asked for.

use std::sync::Arc;

use quorate_consensus::{
    Proposal, Status,
    pbft::{
        Message,
        message::{BaseClaim, CheckpointVote, PrePrepare, Proof, StatusReport, ViewChangePayload},
        primary,
    },
};
use quorate_crypto::{Domain, MultiSignature, Signature};
use quorate_ledger::{
    Account, Block, CheckpointCertificate, CheckpointPayload, CommitCertificate, CommitPayload, Epoch,
    Header, Height, UnixMillis, View,
};

use super::pbft::{PbftLiar, boast, sign, sign_view_change, sign_vote};

/// A message of any kind that names such numbers.
pub(super) fn beyond(liar: &mut PbftLiar, now: &Status) -> Message {
    let start = liar.instance.scope.start.0;
    let epoch = Epoch(number(liar, now.epoch.0));
    let height = Height(number(liar, start.0));
    let view = View(number(liar, now.view.0));
    let voted = CommitPayload { epoch, view, height, block: liar.nothing() };
    let result = CheckpointPayload {
        epoch,
        height,
        block: liar.nothing(),
        state_root: liar.nothing(),
        receipts_root: liar.nothing(),
        next_validators: liar.nothing(),
    };
    let checkpoint = sign(liar, Domain::Checkpoint, &result);
    match liar.random.below(6) {
        0 => Message::Prepare(sign_vote(liar, Domain::Prepare, voted)),
        1 => Message::Commit(sign_vote(liar, Domain::Commit, voted)),
        2 => Message::Checkpoint(CheckpointVote {
            payload: result,
            signer: liar.place_in(epoch),
            signature: checkpoint,
        }),
        3 => {
            let base = BaseClaim { height, block: liar.nothing() };
            let payload = ViewChangePayload { epoch: now.epoch, view, base, prepared: Vec::new() };
            Message::ViewChange(Box::new(sign_view_change(liar, payload, Proof::default())))
        }
        4 => {
            let commit = sign(liar, Domain::Commit, &voted);
            let certificate = CommitCertificate { payload: voted, signatures: alone(liar, commit) };
            let checkpoint = CheckpointCertificate { payload: result, signatures: alone(liar, checkpoint) };
            Message::Status(Box::new(StatusReport {
                certificate: Some(certificate),
                checkpoint: Some(checkpoint),
                delivered: height,
                view,
                ..boast(liar, now)
            }))
        }
        _ => {
            let anchor = CheckpointCertificate { payload: result, signatures: alone(liar, checkpoint) };
            Message::PrePrepare(proposal(liar, now, anchor))
        }
    }
}

/// An end of the range, or the number that would be right.
fn number(liar: &mut PbftLiar, right: u64) -> u64 {
    match liar.random.below(5) {
        0 => 0,
        1 => u64::MAX,
        2 => u64::MAX - 1,
        _ => right,
    }
}

/// A certificate's signatures, if one were enough. Who has no place in the set any more claims one that there is.
fn alone(liar: &PbftLiar, signature: Signature) -> MultiSignature {
    let n = liar.validators();
    MultiSignature::from_votes(n, [(liar.place.as_usize() % n, signature)])
}

/// An empty proposal in a view that the liar leads, on such an anchor.
fn proposal(liar: &mut PbftLiar, now: &Status, anchor: CheckpointCertificate) -> PrePrepare {
    let n = liar.validators();
    let views = (0..).map(|up| View(now.view.0.saturating_add(up)));
    let view = views.take(n).find(|view| primary(*view, n) == liar.place).unwrap_or(now.view);
    let header = Header {
        version: Header::VERSION,
        chain: liar.chain.genesis.chain,
        epoch: now.epoch,
        height: Height(number(liar, now.committed.0.saturating_add(1))),
        parent: liar.nothing(),
        transactions_root: Block::transactions_root(&[]),
        time: UnixMillis(number(liar, liar.chain.genesis.time.0)),
        proposer: Account(liar.key.public()),
        anchor: anchor.payload.anchor(),
    };
    let payload = CommitPayload { epoch: now.epoch, view, height: header.height, block: header.hash() };
    PrePrepare {
        proposal: Arc::new(Proposal { header, transactions: Vec::new() }),
        prepare: sign_vote(liar, Domain::Prepare, payload),
        anchor: Some(Arc::new(anchor)),
    }
}
