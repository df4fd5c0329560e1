//! What simulated nodes send to each other, encoded and decoded as between real ones.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::Hash;
use quorate_ledger::{Block, CertifiedBlocks, Transaction};

/// One packet. `M` is what the engine's replicas say.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) enum Packet<M> {
    /// The engine's.
    Consensus(M),
    /// Transactions that wait in a pool: gossip, or handed to every validator.
    Transactions(Vec<Transaction>),
    /// Asks for the bodies of a proposal.
    Fetch {
        /// Hash of the proposed block; the answer repeats it.
        block: Hash,
        /// Hashes of the transactions that are missing.
        transactions: Vec<Hash>,
    },
    /// Those bodies that the other has.
    Bodies {
        /// As asked.
        block: Hash,
        /// As far as found.
        transactions: Vec<Transaction>,
    },
    /// Asks for a whole block that the other has accepted.
    FetchBlock(Hash),
    /// That block.
    Block(Box<Block>),
    /// Blocks that are final, with the proof.
    Certified(CertifiedBlocks),
}
