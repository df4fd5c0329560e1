//! Counting votes: one per validator, the first one, whatever comes after it (`docs/pbft.md` §8).

use quorate_crypto::{MultiSignature, Signature, Signers};
use quorate_ledger::ValidatorIndex;

use crate::evidence::Signed;

/// What became of a vote.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Counted<T> {
    /// It is the signer's first.
    New,
    /// It says what the signer said before, or its contradiction was reported already.
    Known,
    /// It contradicts the signer's first vote, which is returned.
    Contradicts(Signed<T>),
}

/// The votes for one place: at most one a validator.
#[derive(Clone, Debug)]
pub(super) struct Tally<T> {
    /// Rising by signer. A list, since every step walks over it and it is as long as there are votes.
    votes: Vec<(ValidatorIndex, Signed<T>)>,
    accused: Signers,
}

impl<T: Clone + PartialEq> Tally<T> {
    pub(super) fn new(n: usize) -> Self {
        Self { votes: Vec::new(), accused: Signers::new(n) }
    }

    /// Counts a vote whose signature was verified; a contradiction is returned once a signer.
    pub(super) fn count(&mut self, signer: ValidatorIndex, payload: &T, signature: &Signature) -> Counted<T> {
        match self.place(signer).map(|place| &self.votes[place].1) {
            Err(place) => {
                let vote = Signed { payload: payload.clone(), signature: *signature };
                self.votes.insert(place, (signer, vote));
                Counted::New
            }
            Ok(first) if first.payload == *payload => Counted::Known,
            Ok(first) => {
                if self.accused.insert(signer.as_usize()) {
                    Counted::Contradicts(first.clone())
                } else {
                    Counted::Known
                }
            }
        }
    }

    /// Who voted.
    pub(super) fn voters(&self) -> impl Iterator<Item = ValidatorIndex> + '_ {
        self.votes.iter().map(|(voter, _)| *voter)
    }

    /// Lets go of the votes of all whom this does not name.
    pub(super) fn keep_of(&mut self, named: impl Fn(ValidatorIndex) -> bool) {
        self.votes.retain(|(voter, _)| named(*voter));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.votes.is_empty()
    }

    /// This validator's vote.
    pub(super) fn of(&self, signer: ValidatorIndex) -> Option<&Signed<T>> {
        self.place(signer).ok().map(|place| &self.votes[place].1)
    }

    /// Where this validator's vote stands, or would.
    fn place(&self, signer: ValidatorIndex) -> Result<usize, usize> {
        self.votes.binary_search_by_key(&signer, |(signer, _)| *signer)
    }

    /// Who voted, whatever for.
    pub(super) fn signers(&self) -> Signers {
        let mut signers = Signers::new(self.accused.size());
        for (signer, _) in &self.votes {
            signers.insert(signer.as_usize());
        }
        signers
    }

    /// Who voted for this.
    pub(super) fn voters_for(&self, payload: &T) -> Vec<ValidatorIndex> {
        self.votes.iter().filter(|(_, vote)| vote.payload == *payload).map(|(signer, _)| *signer).collect()
    }

    /// What at least `quorum` validators voted for.
    pub(super) fn decided(&self, quorum: usize) -> Option<&T> {
        if self.votes.len() < quorum {
            return None;
        }
        // At most one payload can have a quorum, since each validator counts once and two quorums intersect.
        self.votes
            .iter()
            .map(|(_, vote)| &vote.payload)
            .find(|payload| self.votes.iter().filter(|(_, vote)| vote.payload == **payload).count() >= quorum)
    }

    /// Exactly `quorum` signatures over `payload`, of the lowest indices, if there are that many.
    pub(super) fn certify(&self, payload: &T, quorum: usize) -> Option<MultiSignature> {
        let signatures: Vec<_> = self
            .votes
            .iter()
            .filter(|(_, vote)| vote.payload == *payload)
            .map(|(signer, vote)| (signer.as_usize(), vote.signature))
            .take(quorum)
            .collect();
        (signatures.len() == quorum).then(|| MultiSignature::from_votes(self.accused.size(), signatures))
    }
}
