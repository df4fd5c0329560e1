//! CHECKPOINTs: agreement on what executing a block came to, off the path of a commit (`docs/pbft.md` §3.5).
//!
//! A replica that executed a height signs its result. Q equal results, its own among what it computed, make the height
//! *stable*; Q results that differ from its own mean that this machine computed something else than the others did, and
//! it must stop.

use std::collections::BTreeMap;

use quorate_ledger::{Anchor, CheckpointCertificate, CheckpointPayload, Height, ValidatorIndex};

use super::{
    Pbft,
    message::{CheckpointVote, Message},
    record::Record,
    tally::{Counted, Tally},
};
use crate::{
    engine::{Action, Output, To},
    evidence::{Evidence, Signed},
    rejection::Rejection,
};

/// What is known of results above the stable checkpoint.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// The last stable checkpoint, as anchors name it.
    pub(super) stable: Anchor,
    /// Its certificate; none at the genesis, whose checkpoint everybody computes.
    pub(super) certificate: Option<CheckpointCertificate>,
    /// Votes above it, by height.
    tallies: BTreeMap<Height, Tally<CheckpointPayload>>,
    /// This replica's own results above it, the last `log_window` of them.
    results: BTreeMap<Height, CheckpointPayload>,
    /// The highest certificate heard of, to be compared when execution gets there.
    heard: Option<CheckpointCertificate>,
}

impl Checkpoints {
    pub(super) fn new(stable: Anchor, certificate: Option<CheckpointCertificate>) -> Self {
        Self { stable, certificate, tallies: BTreeMap::new(), results: BTreeMap::new(), heard: None }
    }

    /// Keeps this replica's own result, bounded to the window in which votes are taken.
    pub(super) fn remember(&mut self, result: CheckpointPayload, log_window: u64) {
        self.results.insert(result.height, result);
        while u64::try_from(self.results.len()).expect("a length fits 64 bits") > log_window {
            self.results.pop_first();
        }
    }

    /// Puts back a vote that was cast before a restart.
    pub(super) fn restore(&mut self, n: usize, vote: &CheckpointVote) {
        if vote.payload.height > self.stable.height {
            let tally = self.tallies.entry(vote.payload.height).or_insert_with(|| Tally::new(n));
            tally.count(vote.signer, &vote.payload, &vote.signature);
        }
    }

    /// Heights above the stable one with the votes held.
    pub(super) fn tallies(&self) -> impl Iterator<Item = (Height, &Tally<CheckpointPayload>)> {
        self.tallies.iter().map(|(height, tally)| (*height, tally))
    }

    /// The vote of one validator at one height.
    pub(super) fn vote_of(&self, height: Height, signer: ValidatorIndex) -> Option<CheckpointVote> {
        let Signed { payload, signature } = self.tallies.get(&height)?.of(signer)?.clone();
        Some(CheckpointVote { payload, signer, signature })
    }

    fn heard_at_or_above(&self, height: Height) -> bool {
        self.heard.as_ref().is_some_and(|it| it.payload.height >= height)
    }
}

impl Pbft {
    /// Takes a CHECKPOINT: at most `log_window` above what was executed here, so that a liar cannot fill the memory.
    pub(super) fn on_checkpoint(
        &mut self,
        vote: &CheckpointVote,
        out: &mut Output<Self>,
    ) -> Result<(), Rejection> {
        let height = vote.payload.height;
        if height <= self.checkpoints.stable.height {
            return Ok(());
        }
        let max = self.executed.checkpoint.height.plus(self.log_window());
        if height > max {
            return Err(Rejection::AboveWindow { height, max });
        }
        let n = self.quorum.n();
        let tally = self.checkpoints.tallies.entry(height).or_insert_with(|| Tally::new(n));
        if let Counted::Contradicts(first) = tally.count(vote.signer, &vote.payload, &vote.signature) {
            let second = Signed { payload: vote.payload, signature: vote.signature };
            let signer = self.key_of(vote.signer);
            out.act(Action::Accuse {
                evidence: Box::new(Evidence::DoubleCheckpoint { signer, first, second }),
            });
        }
        Ok(())
    }

    /// Keeps a certificate of a result; it becomes the stable checkpoint once execution agrees.
    pub(super) fn hear_checkpoint(&mut self, certificate: CheckpointCertificate) {
        if self.teaches(&certificate) {
            self.checkpoints.heard = Some(certificate);
        }
    }

    /// Whether a certificate is above what is stable and heard of.
    pub(super) fn teaches(&self, certificate: &CheckpointCertificate) -> bool {
        let height = certificate.payload.height;
        height > self.checkpoints.stable.height && !self.checkpoints.heard_at_or_above(height)
    }

    /// Signs the result of the highest executed height, once, unless Q others are known to have done so already.
    pub(super) fn cast_checkpoint(&mut self, out: &mut Output<Self>) -> bool {
        let payload = &self.executed.checkpoint;
        let height = payload.height;
        let settled = height <= self.checkpoints.stable.height || self.checkpoints.heard_at_or_above(height);
        // What an epoch starts from is signed by the set of the epoch before.
        if settled || payload.epoch != self.setup.scope.epoch {
            return false;
        }
        let Some(voter) = self.witness() else { return false };
        if let Some(own) = self.checkpoints.tallies.get(&height).and_then(|tally| tally.of(voter.index)) {
            if own.payload != *payload {
                self.halt(format!("executing height {height} again came to another result than before"), out);
            }
            return false;
        }
        let signature = voter.key.sign(quorate_crypto::Domain::Checkpoint, &self.setup.scope.chain, payload);
        let vote = CheckpointVote { payload: *payload, signer: voter.index, signature };
        let n = self.quorum.n();
        let tally = self.checkpoints.tallies.entry(height).or_insert_with(|| Tally::new(n));
        let counted = tally.count(vote.signer, &vote.payload, &vote.signature);
        assert_eq!(counted, Counted::New, "no other CHECKPOINT was cast for height {height}");
        out.record(Record::Checkpointed(vote.clone()));
        out.act(Action::Send { to: To::All, message: Message::Checkpoint(vote) });
        true
    }

    /// Makes the highest height stable for which Q results equal this replica's own; halts where they contradict it.
    pub(super) fn settle_checkpoint(&mut self, out: &mut Output<Self>) -> bool {
        let q = self.quorum.q();
        let mut best: Option<CheckpointCertificate> = None;
        let mut contradiction = None;
        let heard = self.checkpoints.heard.iter().map(|it| it.payload);
        let decided = self.checkpoints.tallies.values().filter_map(|tally| tally.decided(q).cloned());
        for payload in heard.chain(decided) {
            let Some(own) = self.checkpoints.results.get(&payload.height) else { continue };
            if *own != payload {
                contradiction = Some(payload.height);
                break;
            }
            if best.as_ref().is_some_and(|it| it.payload.height >= payload.height) {
                continue;
            }
            let signatures = self
                .checkpoints
                .tallies
                .get(&payload.height)
                .and_then(|tally| tally.certify(&payload, q))
                .or_else(|| {
                    let heard = self.checkpoints.heard.as_ref().filter(|it| it.payload == payload);
                    heard.map(|it| it.signatures.clone())
                });
            best = signatures.map(|signatures| CheckpointCertificate { payload, signatures }).or(best);
        }
        if let Some(height) = contradiction {
            self.halt(
                format!("a quorum reports another result for height {height} than was computed here"),
                out,
            );
            return false;
        }
        let Some(certificate) = best else { return false };
        let height = certificate.payload.height;
        let checkpoints = &mut self.checkpoints;
        checkpoints.stable = certificate.payload.anchor();
        checkpoints.certificate = Some(certificate.clone());
        checkpoints.tallies = checkpoints.tallies.split_off(&height.next());
        checkpoints.results = checkpoints.results.split_off(&height.next());
        checkpoints.heard.take_if(|it| it.payload.height <= height);
        out.act(Action::Stable { certificate });
        true
    }
}
