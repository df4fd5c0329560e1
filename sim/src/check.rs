//! The claims that every run is held to, judged from outside: by what nodes committed, signed, kept and sent.
//!
//! The checkers share no code with engine and ledger beyond the types and their encoding. They hash what is signed and named
//! ([`formats`]) and fold Merkle roots themselves, and execute transfers with their own few lines ([`balances`]). What is not
//! read a second time: whether a piece of evidence proves itself, which its own `holds` says; and of the ways in which a
//! NEW-VIEW is false (`docs/pbft.md` §4.3) all but one, that its blocks are not those chosen ([`choice`]). What a liar's
//! machine does or says is judged by nobody; what the others make of it is.

pub(crate) mod balances;
mod block;
pub(crate) mod chain;
pub(crate) mod choice;
pub(crate) mod epochs;
pub(crate) mod evidence;
pub(crate) mod formats;
pub(crate) mod keys;
pub(crate) mod proofs;
pub(crate) mod sizes;
pub(crate) mod votes;

use std::collections::HashSet;
use std::fmt;

use foldhash::fast::FixedState;
use quorate_crypto::{Hash, PublicKey};
use quorate_ledger::{Anchor, Block, Height, View};

use crate::effect::{Heard, Sighting};
use crate::machine::Chain;
use crate::observe::{Kept, Slot, Vote, VoteKind, slot_of};
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
    /// What some node was seen to hold a prepared certificate of that holds.
    certified: HashSet<(Slot, Hash), FixedState>,
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
            certified: HashSet::default(),
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
            Sighting::Kept(kept) => {
                kept.iter().try_for_each(|it| self.kept(node, it))?;
                self.entered(node, kept);
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
            Sighting::Committed(block) => {
                let height = self.chain.height();
                self.chain.committed(node, block)?;
                if self.chain.height() > height { self.anchored(block) } else { Ok(()) }
            }
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

    /// A node has something on its disk that it may stand by from now on.
    fn kept(&mut self, node: usize, kept: &Kept) -> Result<(), Violation> {
        let forgetful = self.forgetful[node];
        match kept {
            // Those of others are none of its promises.
            Kept::Vote(vote) if self.chain.epochs.signer(vote) != Some(node) => Ok(()),
            Kept::Vote(vote) => self.votes.kept(node, forgetful, vote),
            Kept::Accepted { payload, whole } => self.votes.accepted(node, forgetful, payload, *whole),
            Kept::Prepared { payload, signatures } => {
                // That every signature holds is seen once for each block and view.
                let place = (slot_of(VoteKind::Prepare, payload), payload.block);
                let epochs = &self.chain.epochs;
                let enough = signatures.signers().count() >= epochs.quorum_of(payload.epoch);
                let holds = || epochs.is_certified(payload.epoch, "prepare", payload, signatures);
                if enough && (self.certified.contains(&place) || holds()) {
                    self.certified.insert(place);
                    self.votes.prepared(node, payload);
                    return Ok(());
                }
                let detail = format!("n{node} keeps {signatures:?} for {payload:?}");
                Err(Violation::new("a prepared certificate is of a quorum of its epoch", detail))
            }
        }
    }

    /// A quorum may have signed the result that a block anchors: all that may lie or forget, and those that were seen to.
    fn anchored(&self, block: &Block) -> Result<(), Violation> {
        let Anchor { height, checkpoint, .. } = block.header().anchor;
        if height == Height(0) {
            return Ok(());
        }
        let (epoch, span) = self.chain.epochs.at(height);
        let slot = Slot { kind: VoteKind::Checkpoint, epoch, view: View(0), height };
        let signed = |key: &&PublicKey| {
            let member = self.chain.epochs.member(key);
            member.is_some_and(|it| !self.is_sound(it) || self.votes.has_sent(it, &slot, &checkpoint))
        };
        if span.validators.iter().filter(signed).count() >= self.chain.epochs.quorum_of(epoch) {
            return Ok(());
        }
        let detail = format!("block {} anchors {checkpoint} of height {height}", block.height());
        Err(Violation::new("what a committed block anchors a quorum has signed", detail))
    }

    /// A node has entered a view, and taken what came inside the NEW-VIEW: that of liars counts.
    fn entered(&mut self, node: usize, kept: &[Kept]) {
        for it in kept {
            let Kept::Vote(vote) = it else { continue };
            match (vote.slot.kind, self.chain.epochs.signer(vote)) {
                (VoteKind::NewView, _) => self.evidence.entered(node, vote),
                (VoteKind::ViewChange, Some(signer)) if !self.is_correct(signer) => {
                    let heard = Heard {
                        vote: *vote,
                        counted: true,
                        continued: false,
                        inside: true,
                        proposes_wrongly: false,
                    };
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_crypto::{Domain, MultiSignature};
    use quorate_ledger::{Account, CommitPayload, Epoch, Header, UnixMillis, ValidatorIndex};

    use super::*;
    use crate::scenario::Scenario;

    fn chain() -> Arc<Chain> {
        Scenario::new("", 4, 1).chain()
    }

    #[test]
    fn a_prepared_certificate_that_no_quorum_signed_is_caught() {
        let chain = chain();
        let named =
            CommitPayload { epoch: Epoch(0), view: View(0), height: Height(1), block: Hash::of(b"a") };
        let certificate = |domain: Domain, signers: &[usize]| {
            let votes = signers
                .iter()
                .map(|signer| (*signer, chain.keys[*signer].sign(domain, &chain.genesis.chain, &named)));
            Kept::Prepared { payload: named, signatures: MultiSignature::from_votes(4, votes) }
        };
        let holds = |all: &[Kept]| {
            let mut checks = Checks::new(&chain, 4);
            all.iter().map(|it| checks.kept(0, it).is_ok()).collect::<Vec<_>>()
        };
        let (good, few) = (certificate(Domain::Prepare, &[0, 1, 3]), certificate(Domain::Prepare, &[0, 1]));
        assert_eq!(holds(&[good.clone(), few.clone()]), [true, false]);
        assert_eq!(holds(&[few, certificate(Domain::Commit, &[0, 1, 3])]), [false, false]);
    }

    #[test]
    fn an_anchor_that_no_quorum_can_have_signed_is_caught() {
        let chain = chain();
        let result = Hash::of(b"result");
        let header = Header {
            version: 1,
            chain: chain.genesis.chain,
            epoch: Epoch(0),
            height: Height(9),
            parent: Hash::ZERO,
            transactions_root: Hash::ZERO,
            time: UnixMillis(9),
            proposer: Account(chain.keys[0].public()),
            anchor: Anchor { height: Height(8), state_root: Hash::ZERO, checkpoint: result },
        };
        let block = Block::new(header, Vec::new());
        let anchored = |signers: &[u16], forgets: bool, target: Hash| {
            let mut checks = Checks::new(&chain, 4);
            if forgets {
                checks.forgets(3);
            }
            let slot = Slot { kind: VoteKind::Checkpoint, epoch: Epoch(0), view: View(0), height: Height(8) };
            for signer in signers {
                let (node, signer) = (usize::from(*signer), ValidatorIndex(*signer));
                let vote = Vote { signer, slot, target };
                checks.votes.kept(node, false, &vote).expect("kept");
                checks.votes.sent(node, false, &vote).expect("sent");
            }
            checks.anchored(&block).is_ok()
        };
        assert!(anchored(&[0, 1, 2], false, result));
        assert!(!anchored(&[0, 1, 2], false, Hash::of(b"another")));
        assert!(!anchored(&[0, 1], false, result));
        assert!(anchored(&[0, 1], true, result), "who forgets may have signed it");
    }

    #[test]
    fn a_signature_in_a_certificate_that_its_signer_never_gave_is_caught() {
        let slot = Slot { kind: VoteKind::Commit, epoch: Epoch(0), view: View(0), height: Height(1) };
        let vote =
            |signer, target: &[u8]| Vote { signer: ValidatorIndex(signer), slot, target: Hash::of(target) };
        let payload =
            CommitPayload { epoch: Epoch(0), view: View(0), height: Height(1), block: Hash::of(b"a") };
        let mut checks = Checks::new(&chain(), 4);
        for node in 0..2 {
            checks.votes.prepared(node, &payload);
            let own = vote(u16::try_from(node).expect("few"), b"a");
            checks.see(node, &Sighting::Kept(vec![Kept::Vote(own)])).expect("prepared");
            checks.see(node, &Sighting::Sent(vec![own])).expect("kept");
        }
        let mut shows = |votes: Vec<Vote>| checks.see(0, &Sighting::Sent(votes)).is_ok();
        assert!(shows(vec![vote(0, b"a"), vote(1, b"a")]));
        assert!(!shows(vec![vote(0, b"a"), vote(2, b"a")]), "another never voted");
        assert!(!shows(vec![vote(0, b"a"), vote(1, b"b")]), "or not for this");
        assert!(!shows(vec![vote(0, b"b"), vote(1, b"a")]), "nor did it itself");
    }
}
