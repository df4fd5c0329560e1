//! One vote a place, and none before it is on disk (`docs/pbft.md` §6, §8).

use std::collections::{BTreeMap, BTreeSet};

use quorate_crypto::Hash;

use super::Violation;
use crate::observe::{Slot, Vote};

/// Remembers every vote that ever left a node, over all its lives.
#[derive(Debug)]
pub(crate) struct VoteCheck {
    nodes: Vec<Node>,
    sent: u64,
}

#[derive(Clone, Debug, Default)]
struct Node {
    kept: BTreeSet<(Slot, Hash)>,
    sent: BTreeMap<Slot, Hash>,
    /// Whether its log has lost something that was safe: it may then say something else.
    forgetful: bool,
}

impl VoteCheck {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes: vec![Node::default(); nodes], sent: 0 }
    }

    /// A machine's vote log has lost something that was safe.
    pub(crate) fn forgets(&mut self, machine: usize) {
        if let Some(node) = self.nodes.get_mut(machine) {
            node.forgetful = true;
        }
    }

    /// How many different votes were sent.
    pub(crate) fn count(&self) -> u64 {
        self.sent
    }

    /// These votes are safe on the node's disk; those of others are none of its promises.
    pub(crate) fn kept(&mut self, node: usize, votes: &[Vote]) {
        let own = votes.iter().filter(|vote| vote.signer.as_usize() == node);
        self.nodes[node].kept.extend(own.map(|vote| (vote.slot, vote.target)));
    }

    /// The node sends this vote of its own.
    pub(crate) fn sent(&mut self, node: usize, vote: &Vote) -> Result<(), Violation> {
        let place = &mut self.nodes[node];
        if !place.kept.contains(&(vote.slot, vote.target)) {
            let detail = format!("n{node} sends {vote}, which no synced record covers");
            return Err(Violation::new("every vote is on disk before it is on the wire", detail));
        }
        match place.sent.insert(vote.slot, vote.target) {
            None => self.sent += 1,
            Some(before) if before != vote.target && !place.forgetful => {
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

    #[test]
    fn a_vote_that_is_not_on_disk_is_caught() {
        let mut check = VoteCheck::new(1);
        assert!(check.sent(0, &vote(b"a")).is_err());
        check.kept(0, &[vote(b"a")]);
        assert!(check.sent(0, &vote(b"a")).is_ok());
    }

    #[test]
    fn a_vote_of_another_on_disk_is_no_cover() {
        let mut check = VoteCheck::new(2);
        let of_another = Vote { signer: ValidatorIndex(1), ..vote(b"a") };
        check.kept(0, &[of_another]);
        assert!(check.sent(0, &vote(b"a")).is_err());
    }

    #[test]
    fn a_second_vote_for_one_place_is_caught_even_if_it_is_on_disk() {
        let mut check = VoteCheck::new(1);
        check.kept(0, &[vote(b"a"), vote(b"b")]);
        assert!(check.sent(0, &vote(b"a")).is_ok());
        assert!(check.sent(0, &vote(b"a")).is_ok());
        assert!(check.sent(0, &vote(b"b")).is_err());
        assert_eq!(check.count(), 1);
    }
}
