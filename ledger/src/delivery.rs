//! Committed blocks on their way into the ledger.
//!
//! A certificate commits its block and all ancestors, and a ledger stands only on blocks that have one of their own
//! (`docs/pbft.md` §6): in here the others wait for it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::block::Block;
use crate::certificate::CommitCertificate;

/// A committed block as the engine delivers it, in height order.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The block.
    pub block: Arc<Block>,
    /// Its own commit certificate; without one, that of a descendant covers it.
    pub certificate: Option<CommitCertificate>,
}

/// Delivered blocks that are not in the ledger yet, lowest first. What is still in here when a process ends is lost, and
/// comes again.
#[derive(Debug, Default)]
pub struct Deliveries {
    queue: VecDeque<Delivered>,
}

impl Deliveries {
    /// Adds the block above all that were added before.
    pub fn push(&mut self, delivered: Delivered) {
        self.queue.push_back(delivered);
    }

    /// Takes the next batch for [`Ledger::apply`](crate::Ledger::apply): it ends with a block that has a certificate of
    /// its own, the highest of the next `max` or else the first above them. Empty while no such block is here.
    pub fn batch(&mut self, max: usize) -> Vec<Delivered> {
        let certified = self.queue.iter().enumerate().filter(|(_, it)| it.certificate.is_some());
        let mut ends = certified.map(|(place, _)| place + 1);
        let first = ends.next().unwrap_or(0);
        let end = ends.take_while(|end| *end <= max).last().unwrap_or(first);
        self.queue.drain(..end).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::Chain;

    /// The numbers of blocks in the batches that come out, when those of these were certified.
    fn batches(certified: &[bool], max: usize) -> Vec<usize> {
        let chain = Chain::new();
        let mut deliveries = Deliveries::default();
        certified.iter().for_each(|certified| deliveries.push(chain.block(Vec::new(), *certified)));
        let sizes = std::iter::repeat_with(|| deliveries.batch(max).len());
        sizes.take_while(|size| *size > 0).collect()
    }

    #[test]
    fn a_batch_ends_with_a_block_that_has_a_certificate_of_its_own() {
        let (with, without) = (true, false);
        assert_eq!(batches(&[with, with, with], 9), [3]);
        assert_eq!(batches(&[with, with, with], 2), [2, 1]);
        assert_eq!(batches(&[with, without, with, without], 9), [3], "the last one waits");
        assert_eq!(batches(&[with, without, with], 2), [1, 2]);
        assert_eq!(batches(&[without, without, with], 1), [3], "nothing is cut in two");
        assert_eq!(batches(&[without, without], 1), [0; 0]);
    }
}
