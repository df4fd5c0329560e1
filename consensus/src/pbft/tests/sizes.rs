//! How large messages can be: what a network must let pass.

use quorate_crypto::{Hash, MultiSignature, Signature, codec};
use quorate_ledger::{
    BLOCK_TRANSACTIONS_LIMIT, CheckpointCertificate, CommitCertificate, CommitPayload, Height, Quorum,
    VALIDATORS_MAX, ValidatorIndex, View,
};

use super::bench::{Bench, index};
use crate::{
    engine::Proposal,
    evidence::VoteKind,
    pbft::{
        Message,
        message::{
            BaseClaim, CheckpointReport, HeightReport, Holdings, MESSAGE_BYTES_MAX, NewView, NewViewPayload,
            PREPARED_MAX, PrePrepare, PreparedCertificate, Proof, REPROPOSED_MAX, Request, STATEMENTS_MAX,
            STATUS_HEIGHTS_MAX, Statement, StatusReport, ViewChange, ViewChangePayload,
        },
    },
};

/// The longest of everything that the largest set and the widest window allow. That the parts do not hold makes them no
/// shorter.
struct Largest {
    bench: Bench,
    signature: Signature,
}

impl Largest {
    fn new() -> Self {
        let bench = Bench::new(4, 1);
        let signature = bench.vote(VoteKind::Prepare, 1, &bench.first()).signature;
        Self { bench, signature }
    }

    fn payload(&self) -> CommitPayload {
        self.bench.payload(&self.bench.first())
    }

    /// A certificate may hold more than a quorum.
    fn signatures(&self) -> MultiSignature {
        MultiSignature::from_votes(VALIDATORS_MAX, (0..VALIDATORS_MAX).map(|it| (it, self.signature)))
    }

    fn signers(&self) -> quorate_crypto::Signers {
        self.signatures().signers().clone()
    }

    fn commit(&self) -> CommitCertificate {
        CommitCertificate { payload: self.payload(), signatures: self.signatures() }
    }

    fn checkpoint(&self) -> CheckpointCertificate {
        let payload = self.bench.result(&self.bench.first());
        CheckpointCertificate { payload, signatures: self.signatures() }
    }

    fn proof(&self) -> Proof {
        let header = self.bench.first().header().clone();
        let one = PreparedCertificate { header, payload: self.payload(), signatures: self.signatures() };
        Proof { base: Some(self.commit()), prepared: vec![one; PREPARED_MAX] }
    }

    fn request(&self, signer: ValidatorIndex) -> Request {
        let base = BaseClaim { height: Height(1), block: Hash::ZERO };
        let prepared = vec![self.payload(); PREPARED_MAX];
        let payload = ViewChangePayload { epoch: self.bench.scope.epoch, view: View(1), base, prepared };
        Request { payload, signer, signature: self.signature }
    }

    fn new_view(&self) -> NewView {
        let quorum = Quorum::of(VALIDATORS_MAX).q();
        let payload = NewViewPayload {
            epoch: self.bench.scope.epoch,
            view: View(1),
            changes: (0..quorum).map(|it| self.request(index(it))).collect(),
            proof: self.proof(),
            blocks: vec![Hash::ZERO; REPROPOSED_MAX],
        };
        NewView { payload, signer: index(1), signature: self.signature }
    }
}

fn bytes(message: Message) -> usize {
    codec::encode(&message).len()
}

#[test]
fn every_message_is_smaller_than_the_largest_there_can_be() {
    let largest = Largest::new();
    let bench = &largest.bench;
    let new_view = bytes(Message::NewView(Box::new(largest.new_view())));
    assert!((5_000_000..MESSAGE_BYTES_MAX).contains(&new_view), "NEW-VIEW: {new_view}");

    let Request { payload, signer, signature } = largest.request(index(1));
    let change = ViewChange { payload, signer, signature, proof: largest.proof() };
    assert!(bytes(Message::ViewChange(Box::new(change))) < new_view);

    // Of one validator: the view that it started, its request in that and its last one, and votes.
    let request = || Statement::ViewChange(Box::new(largest.request(index(1))));
    let mut statements = vec![Statement::NewView(Box::new(largest.new_view())), request(), request()];
    let vote = Statement::Checkpoint(bench.checkpoint(1, bench.result(&bench.first())));
    statements.resize(STATEMENTS_MAX, vote);
    let holdings = Holdings { epoch: bench.scope.epoch, nonce: 0, statements };
    let holdings = bytes(Message::Holdings(Box::new(holdings)));
    assert!(holdings < MESSAGE_BYTES_MAX, "HOLDINGS: {holdings}");

    let count = usize::try_from(BLOCK_TRANSACTIONS_LIMIT).expect("a small number");
    let proposal = Proposal { header: bench.first().header().clone(), transactions: vec![Hash::ZERO; count] };
    let prepare = bench.vote(VoteKind::Prepare, 0, &bench.first());
    let proposal =
        PrePrepare { proposal: proposal.into(), prepare, anchor: Some(largest.checkpoint().into()) };
    assert!(bytes(Message::PrePrepare(proposal)) < new_view);

    let one = HeightReport {
        height: Height(1),
        proposal: true,
        prepares: largest.signers(),
        commits: largest.signers(),
    };
    let checkpoint = CheckpointReport { height: Height(1), signers: largest.signers() };
    let status = StatusReport {
        certificate: Some(largest.commit()),
        checkpoint: Some(largest.checkpoint()),
        heights: vec![one; STATUS_HEIGHTS_MAX],
        checkpoints: vec![checkpoint; STATUS_HEIGHTS_MAX],
        ..bench.empty_status()
    };
    assert!(bytes(Message::Status(Box::new(status))) < new_view);
}
