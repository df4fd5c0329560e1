//! The claims that every run is held to, judged from outside: by what nodes committed, signed, kept and sent.
//!
//! The checkers share no code with engine and ledger beyond the types and their encoding. They hash what is signed and named
//! ([`formats`]) and fold Merkle roots themselves, and execute transfers with their own few lines ([`balances`]). What is not
//! read a second time: whether a piece of evidence proves itself, which its own `holds` says; and of the ways in which a
//! NEW-VIEW is false (`docs/pbft.md` §4.3) all but one, that its blocks are not those chosen ([`choice`]). What a liar's
//! machine does or says is judged by nobody; what the others make of it is.

pub(crate) mod balances;
pub(crate) mod chain;
pub(crate) mod choice;
pub(crate) mod epochs;
pub(crate) mod evidence;
pub(crate) mod formats;
pub(crate) mod keys;
pub(crate) mod proofs;
pub(crate) mod sizes;
pub(crate) mod votes;

use std::fmt;

use crate::effect::{Heard, Sighting};
use crate::machine::Chain;
use crate::observe::{Vote, VoteKind};
use chain::ChainCheck;
use evidence::EvidenceCheck;
use votes::VoteCheck;

/// A claim that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The claim, as it should have been.
    pub claim: &'static str,
    /// What was seen instead.
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(claim: &'static str, detail: impl Into<String>) -> Self {
        Self { claim, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "violated: {}\n  {}", self.claim, self.detail)
    }
}

/// All checkers of a run.
#[derive(Debug)]
pub(crate) struct Checks {
    pub(crate) chain: ChainCheck,
    pub(crate) votes: VoteCheck,
    pub(crate) evidence: EvidenceCheck,
    /// Which members lie.
    liars: Vec<bool>,
    /// Whose vote log was put back to an earlier state: it may contradict itself, and is as good as a liar.
    forgetful: Vec<bool>,
}

impl Checks {
    /// For a chain on so many machines, the first of which are those of the members in order.
    pub(crate) fn new(chain: &Chain, machines: usize) -> Self {
        Self {
            chain: ChainCheck::new(chain, machines),
            votes: VoteCheck::new(chain.keys.len()),
            evidence: EvidenceCheck::default(),
            liars: chain.liars.clone(),
            forgetful: vec![false; machines],
        }
    }

    /// A machine's vote log has lost something that was safe.
    pub(crate) fn forgets(&mut self, machine: usize) {
        self.forgetful[machine] = true;
    }

    /// Whether a machine is that of a correct member.
    pub(crate) fn is_correct(&self, machine: usize) -> bool {
        self.liars.get(machine).is_some_and(|lies| !lies)
    }

    /// Whether a machine is that of a correct member that knows what it signed.
    pub(crate) fn is_sound(&self, machine: usize) -> bool {
        self.is_correct(machine) && !self.forgetful[machine]
    }

    /// Judges one thing that a node was seen doing.
    pub(crate) fn see(&mut self, node: usize, sighting: &Sighting) -> Result<(), Violation> {
        if !self.is_correct(node) {
            return Ok(());
        }
        match sighting {
            Sighting::Opened { tip, outcome, blocks } => {
                self.evidence.opened(node);
                self.chain.opened(node, *tip, outcome, blocks)
            }
            Sighting::Kept(votes) => {
                // Those of others are none of its promises.
                let mut own = votes.iter().filter(|vote| self.chain.epochs.signer(vote) == Some(node));
                own.try_for_each(|vote| self.votes.kept(node, self.forgetful[node], vote))?;
                self.entered(node, votes);
                Ok(())
            }
            Sighting::Sent(votes) => votes.iter().try_for_each(|vote| self.sent(node, vote)),
            Sighting::Began(epoch) => {
                self.votes.began(node, *epoch);
                Ok(())
            }
            Sighting::Refused => {
                self.votes.refused(node);
                Ok(())
            }
            Sighting::Renewed(epoch) => {
                self.votes.renewed(node, *epoch);
                Ok(())
            }
            Sighting::Committed(block) => self.chain.committed(node, block),
            Sighting::Executed { block, outcome } => self.chain.executed(node, block, outcome),
            Sighting::Heard(heard) => {
                for heard in heard {
                    if let Some(signer) = self.chain.epochs.signer(&heard.vote) {
                        self.evidence.heard(node, signer, heard);
                    }
                }
                Ok(())
            }
            Sighting::Accuses(accusation) => {
                let signer = self.chain.epochs.member(&accusation.signer);
                let liar = signer.filter(|member| !self.is_sound(*member));
                self.evidence.accuses(node, liar, accusation)
            }
            Sighting::Blames { whom, .. } if self.liars.get(*whom) == Some(&true) => Ok(()),
            Sighting::Blames { whom, what, detail } => Err(Violation::new(
                "nothing that a correct validator sends is refused",
                format!("n{node} blames n{whom}: {what}: {detail}"),
            )),
            Sighting::Abstains(_) if self.forgetful[node] => Ok(()),
            Sighting::Abstains(why) => Err(Violation::new(
                "a replica that forgot nothing is never shown what it does not know",
                format!("n{node}: {why}"),
            )),
            Sighting::Wrong { what, detail } => Err(Violation::new(
                "nothing goes wrong at a correct node",
                format!("n{node}: {what}: {detail}"),
            )),
        }
    }

    /// A node has entered a view, and taken what came inside the NEW-VIEW: that of liars counts.
    fn entered(&mut self, node: usize, votes: &[Vote]) {
        for vote in votes {
            match (vote.slot.kind, self.chain.epochs.signer(vote)) {
                (VoteKind::NewView, _) => self.evidence.entered(node, vote),
                (VoteKind::ViewChange, Some(signer)) if !self.is_correct(signer) => {
                    let heard = Heard { vote: *vote, counted: true, inside: true, proposes_wrongly: false };
                    self.evidence.heard(node, signer, &heard);
                }
                (VoteKind::ViewChange | VoteKind::Prepare | VoteKind::Commit | VoteKind::Checkpoint, _) => {}
            }
        }
    }

    /// A correct node sends its own votes, and passes on what others have sent.
    fn sent(&mut self, node: usize, vote: &Vote) -> Result<(), Violation> {
        match self.chain.epochs.signer(vote) {
            Some(signer) if signer == node => self.votes.sent(node, self.forgetful[node], vote),
            Some(signer) if !self.is_correct(signer) || self.forgetful[signer] => Ok(()),
            Some(signer) => self.votes.passed_on(node, signer, vote),
            None => {
                let detail = format!("n{node} sends {vote}");
                Err(Violation::new("votes are of validators of their epoch", detail))
            }
        }
    }
}
