//! One vote a place, and none before it is on disk (`docs/pbft.md` §6, §8).

use std::collections::{BTreeMap, HashMap, HashSet};

use foldhash::fast::FixedState;
use quorate_crypto::Hash;
use quorate_ledger::{CommitPayload, Epoch, Height};

use super::Violation;
use crate::observe::{Slot, Vote, VoteKind, slot_of};

/// Remembers every vote that ever left a node, over all its lives. They are many, and only ever looked up.
#[derive(Debug)]
pub(crate) struct VoteCheck {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    kept: HashSet<(Slot, Hash), FixedState>,
    /// Bodies on its disk, and what they and certificates there let it sign: PREPAREs and COMMITs by their places.
    bodies: HashSet<(Epoch, Height, Hash), FixedState>,
    grounds: HashSet<(Slot, Hash), FixedState>,
    sent: HashMap<Slot, Hash, FixedState>,
    /// How many different votes of a kind it has sent in an epoch.
    counts: BTreeMap<(VoteKind, Epoch), u64>,
    /// Since its key was refused: the epoch from which on it may sign, once there is one.
    voice: Voice,
    /// The epoch that its current instance is of.
    epoch: Epoch,
}

/// Where a key may sign.
#[derive(Clone, Copy, Debug, Default)]
enum Voice {
    #[default]
    Everywhere,
    /// It was refused.
    Nowhere,
    /// It was refused, and has begun anew.
    From(Epoch),
}

impl Voice {
    fn reaches(self, epoch: Epoch) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Nowhere => false,
            Self::From(first) => first <= epoch,
        }
    }
}

impl VoteCheck {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes: vec![Node::default(); nodes] }
    }

    /// How many different votes were sent.
    pub(crate) fn count(&self) -> u64 {
        self.nodes.iter().flat_map(|node| node.counts.values()).sum()
    }

    /// The same for each node, kind and epoch.
    pub(crate) fn counts(&self) -> BTreeMap<(usize, VoteKind, Epoch), u64> {
        let of_node = |(number, node): (usize, &Node)| -> Vec<_> {
            node.counts.iter().map(|((kind, epoch), count)| ((number, *kind, *epoch), *count)).collect()
        };
        self.nodes.iter().enumerate().flat_map(of_node).collect()
    }

    /// A node's key is refused.
    pub(crate) fn refused(&mut self, node: usize) {
        self.nodes[node].voice = Voice::Nowhere;
    }

    /// A key that was refused begins anew with an epoch.
    pub(crate) fn renewed(&mut self, node: usize, epoch: Epoch) {
        self.nodes[node].voice = Voice::From(epoch);
    }

    /// A node has gone over to an epoch, and what it did in the one before is done.
    pub(crate) fn began(&mut self, node: usize, epoch: Epoch) {
        self.nodes[node].epoch = epoch;
    }

    /// Whether a node has voted in an epoch.
    pub(crate) fn has_voted(&self, node: usize, epoch: Epoch) -> bool {
        self.nodes[node].counts.keys().any(|(_, voted)| *voted == epoch)
    }

    /// This vote of its own is safe on the node's disk. If it is `forgetful`, its log has lost something that was safe, and it
    /// may say something else.
    pub(crate) fn kept(&mut self, node: usize, forgetful: bool, vote: &Vote) -> Result<(), Violation> {
        let place = &mut self.nodes[node];
        let new = place.kept.insert((vote.slot, vote.target));
        let rests_on = match vote.slot.kind {
            VoteKind::Prepare => Some("a PREPARE is cast for what is accepted, with its body on disk"),
            VoteKind::Commit => Some("a COMMIT is cast for what is prepared, with its certificate on disk"),
            VoteKind::Checkpoint | VoteKind::ViewChange | VoteKind::NewView => None,
        };
        // What is known was looked at when it came; a log that was made smaller holds no grounds of old votes.
        if let Some(claim) = rests_on.filter(|_| new && !forgetful)
            && !place.grounds.contains(&(vote.slot, vote.target))
        {
            return Err(Violation::new(claim, format!("n{node} keeps {vote}")));
        }
        if new && vote.slot.epoch < place.epoch && vote.slot.kind != VoteKind::Checkpoint && !forgetful {
            let detail = format!("n{node} is in epoch {} and casts {vote}", place.epoch);
            return Err(Violation::new("of an epoch that is over only its results are signed", detail));
        }
        Ok(())
    }

    /// A node's disk says that it has accepted a block: with its body, or with a body that is there already.
    pub(crate) fn accepted(
        &mut self,
        node: usize,
        forgetful: bool,
        payload: &CommitPayload,
        whole: bool,
    ) -> Result<(), Violation> {
        let place = &mut self.nodes[node];
        let body = (payload.epoch, payload.height, payload.block);
        if whole {
            place.bodies.insert(body);
        } else if !forgetful && !place.bodies.contains(&body) {
            let detail = format!("n{node} accepts {payload:?} again");
            return Err(Violation::new("a block is accepted with its body on disk", detail));
        }
        place.grounds.insert((slot_of(VoteKind::Prepare, payload), payload.block));
        Ok(())
    }

    /// A node's disk holds a prepared certificate.
    pub(crate) fn prepared(&mut self, node: usize, payload: &CommitPayload) {
        self.nodes[node].grounds.insert((slot_of(VoteKind::Commit, payload), payload.block));
    }

    /// Whether a node was seen to send this.
    pub(crate) fn has_sent(&self, node: usize, slot: &Slot, target: &Hash) -> bool {
        self.nodes[node].sent.get(slot) == Some(target)
    }

    /// The node sends a vote of another correct node.
    pub(crate) fn passed_on(&self, node: usize, signer: usize, vote: &Vote) -> Result<(), Violation> {
        if self.nodes[signer].sent.get(&vote.slot) == Some(&vote.target) {
            return Ok(());
        }
        let detail = format!("n{node} sends {vote}, which n{signer} never did");
        Err(Violation::new("nobody votes in the name of another", detail))
    }

    /// The node, which may be `forgetful`, sends this vote of its own.
    pub(crate) fn sent(&mut self, node: usize, forgetful: bool, vote: &Vote) -> Result<(), Violation> {
        let place = &mut self.nodes[node];
        if !place.kept.contains(&(vote.slot, vote.target)) {
            let detail = format!("n{node} sends {vote}, which no synced record covers");
            return Err(Violation::new("every vote is on disk before it is on the wire", detail));
        }
        // What it sent before it may pass on, as everybody does.
        if !place.sent.contains_key(&vote.slot) && !place.voice.reaches(vote.slot.epoch) {
            let detail = format!("n{node} sends {vote}, its key may sign {:?}", place.voice);
            return Err(Violation::new("a key that is refused signs nothing before it begins anew", detail));
        }
        match place.sent.insert(vote.slot, vote.target) {
            None => *place.counts.entry((vote.slot.kind, vote.slot.epoch)).or_default() += 1,
            Some(before) if before != vote.target && !forgetful => {
                let detail = format!("n{node} sends {vote}, and has sent one for {before}");
                return Err(Violation::new("no replica sends two different votes for one place", detail));
            }
            Some(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use quorate_ledger::{Epoch, Height, ValidatorIndex, View};

    use super::*;
    use crate::observe::VoteKind;

    fn vote(target: &[u8]) -> Vote {
        let slot = Slot { kind: VoteKind::Commit, epoch: Epoch(0), view: View(0), height: Height(1) };
        Vote { signer: ValidatorIndex(0), slot, target: Hash::of(target) }
    }

    fn payload(vote: &Vote) -> CommitPayload {
        let Slot { epoch, view, height, .. } = vote.slot;
        CommitPayload { epoch, view, height, block: vote.target }
    }

    fn keep(check: &mut VoteCheck, votes: &[Vote]) {
        for vote in votes {
            check.prepared(0, &payload(vote));
            check.kept(0, false, vote).expect("of the epoch");
        }
    }

    #[test]
    fn a_prepare_before_the_block_is_accepted_with_its_body_is_caught() {
        let mut check = VoteCheck::new(1);
        let first = Vote { slot: Slot { kind: VoteKind::Prepare, ..vote(b"a").slot }, ..vote(b"a") };
        let again = Vote { slot: Slot { view: View(1), ..first.slot }, ..first };
        assert!(check.kept(0, false, &first).is_err());
        let mut check = VoteCheck::new(1);
        assert!(check.accepted(0, false, &payload(&again), false).is_err(), "its body is nowhere");
        check.accepted(0, false, &payload(&first), true).expect("with its body");
        assert!(check.kept(0, false, &first).is_ok());
        assert!(check.kept(0, false, &again).is_err(), "not accepted in this view");
        let mut check = VoteCheck::new(1);
        check.accepted(0, false, &payload(&first), true).expect("with its body");
        check.accepted(0, false, &payload(&again), false).expect("its body is there");
        assert!(check.kept(0, false, &again).is_ok());
        assert!(check.kept(0, false, &Vote { target: Hash::of(b"b"), ..again }).is_err());
    }

    #[test]
    fn a_commit_before_the_certificate_is_caught() {
        let mut check = VoteCheck::new(1);
        check.accepted(0, false, &payload(&vote(b"a")), true).expect("with its body");
        assert!(check.kept(0, false, &vote(b"a")).is_err());
        let mut check = VoteCheck::new(1);
        check.prepared(0, &payload(&vote(b"a")));
        assert!(check.kept(0, false, &vote(b"a")).is_ok());
        assert!(check.kept(0, true, &vote(b"b")).is_ok(), "a log that lost something shows only the rest");
    }

    #[test]
    fn a_vote_that_is_not_on_disk_is_caught() {
        let mut check = VoteCheck::new(1);
        assert!(check.sent(0, false, &vote(b"a")).is_err());
        keep(&mut check, &[vote(b"a")]);
        assert!(check.sent(0, false, &vote(b"a")).is_ok());
    }

    #[test]
    fn a_vote_in_the_name_of_another_is_caught() {
        let mut check = VoteCheck::new(2);
        assert!(check.passed_on(1, 0, &vote(b"a")).is_err());
        keep(&mut check, &[vote(b"a")]);
        check.sent(0, false, &vote(b"a")).expect("kept");
        assert!(check.passed_on(1, 0, &vote(b"a")).is_ok());
        assert!(check.passed_on(1, 0, &vote(b"b")).is_err());
    }

    #[test]
    fn a_second_vote_for_one_place_is_caught_even_if_it_is_on_disk() {
        let mut check = VoteCheck::new(1);
        keep(&mut check, &[vote(b"a"), vote(b"b")]);
        assert!(check.sent(0, false, &vote(b"a")).is_ok());
        assert!(check.sent(0, false, &vote(b"a")).is_ok());
        assert!(check.sent(0, false, &vote(b"b")).is_err());
        assert_eq!(check.count(), 1);
    }

    #[test]
    fn a_vote_in_an_epoch_that_is_over_is_caught_unless_it_was_cast_before_or_is_a_result() {
        let mut check = VoteCheck::new(1);
        keep(&mut check, &[vote(b"a")]);
        check.began(0, Epoch(1));
        keep(&mut check, &[vote(b"a")]);
        check.prepared(0, &payload(&vote(b"b")));
        assert!(check.kept(0, false, &vote(b"b")).is_err());
        let slot = Slot { kind: VoteKind::Checkpoint, ..vote(b"c").slot };
        keep(&mut check, &[Vote { slot, ..vote(b"c") }]);
        assert!(!check.has_voted(0, Epoch(0)), "it has sent nothing");
    }

    #[test]
    fn a_vote_of_a_key_that_is_refused_is_caught_until_it_begins_anew() {
        let mut check = VoteCheck::new(1);
        let later = |target: &[u8], epoch| Vote {
            slot: Slot { epoch: Epoch(epoch), ..vote(target).slot },
            ..vote(target)
        };
        let votes = [vote(b"a"), later(b"b", 1), later(b"c", 2), later(b"d", 3)];
        keep(&mut check, &votes);
        check.sent(0, false, &votes[0]).expect("not refused yet");
        check.refused(0);
        let mut may = || votes.each_ref().map(|vote| check.sent(0, false, vote).is_ok());
        assert_eq!(may(), [true, false, false, false], "what was sent before is passed on");
        check.renewed(0, Epoch(2));
        let may = votes.each_ref().map(|vote| check.sent(0, false, vote).is_ok());
        assert_eq!(may, [true, false, true, true]);
        let counts = [0, 2, 3].map(|epoch| ((0, VoteKind::Commit, Epoch(epoch)), 1));
        assert_eq!(check.counts(), counts.into());
    }
}
