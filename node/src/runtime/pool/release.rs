//! How long the bodies of accepted blocks are kept and served (`docs/pbft.md` §3.2): until the base, the highest committed block
//! with a commit certificate of its own, has reached their height and is synced. From then on the ledger serves them.

use quorate_ledger::{Candidates, Height};

/// How far blocks are certified and synced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Release {
    /// Highest committed block with a certificate of its own.
    certified: Height,
    /// Highest block that is executed, which is told once it is synced.
    executed: Height,
}

impl Release {
    pub(super) fn new(certified: Height, executed: Height) -> Self {
        Self { certified, executed }
    }

    /// A block is committed, perhaps by the certificate of a descendant that is still to come.
    pub(super) fn committed(&mut self, height: Height, certified: bool) {
        if certified {
            self.certified = height;
        }
    }

    /// Blocks up to this height are executed and synced.
    pub(super) fn executed(&mut self, height: Height) {
        self.executed = height;
    }

    /// Lets go of what the ledger serves.
    pub(super) fn apply(&self, candidates: &mut Candidates) {
        let height = self.certified.min(self.executed).min(candidates.tip().height);
        candidates.release(height);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_crypto::Hash;
    use quorate_ledger::{Block, EpochStart, Parent, TransactionRules, UnixMillis};

    use super::*;
    use crate::fixtures;

    fn candidates(epoch: &EpochStart) -> Candidates {
        let genesis = Parent { height: Height(0), hash: Hash::ZERO, time: UnixMillis(1_000) };
        Candidates::new(TransactionRules::of(Hash::ZERO, epoch), genesis)
    }

    /// > Accepted bodies are kept and served, committed or not, until the base has reached their height and that is synced.
    #[test]
    fn bodies_are_served_until_a_certified_block_at_or_above_them_is_synced() {
        let mut candidates = candidates(&fixtures::epoch());
        let blocks: Vec<Arc<Block>> = fixtures::chain(3);
        blocks.iter().for_each(|block| candidates.insert(Arc::clone(block)));
        let mut release = Release::new(Height(0), Height(0));
        let mut served = |release: &Release, committed: Option<&Arc<Block>>| -> Vec<u64> {
            committed.iter().for_each(|block| candidates.remember(block));
            release.apply(&mut candidates);
            let here = blocks.iter().filter(|block| candidates.block(&block.hash()).is_some());
            here.map(|block| block.height().0).collect()
        };
        release.committed(Height(1), false);
        assert_eq!(served(&release, Some(&blocks[0])), [1, 2, 3], "committed, by a later one's certificate");
        release.committed(Height(2), true);
        assert_eq!(served(&release, Some(&blocks[1])), [1, 2, 3], "not synced");
        release.executed(Height(1));
        assert_eq!(served(&release, None), [2, 3], "the second is not synced");
        release.executed(Height(2));
        assert_eq!(served(&release, None), [3]);
        // As may be heard of a block before it is told to be committed.
        release.executed(Height(3));
        assert_eq!(served(&release, None), [3]);
        release.committed(Height(3), true);
        assert_eq!(served(&release, Some(&blocks[2])), [] as [u64; 0]);
    }
}
