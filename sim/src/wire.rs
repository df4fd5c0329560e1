//! What simulated nodes send to each other, encoded and decoded as between real ones.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{DecodeError, Hash, decode, encode};
use quorate_ledger::{Block, CertifiedBlocks, CheckpointCertificate, Height, Transaction};

use crate::random::Random;

/// One packet. `M` is what the engine's replicas say.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) enum Packet<M> {
    /// The engine's.
    Consensus(M),
    /// Transactions that wait in a pool: gossip, or handed to every validator.
    Transactions(Vec<Arc<Transaction>>),
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
        transactions: Vec<Arc<Transaction>>,
    },
    /// Asks for a whole block that the other has accepted.
    FetchBlock(Hash),
    /// That block.
    Block(Arc<Block>),
    /// Tells whoever is behind how far its sender is.
    Offer(Height),
    /// Asks for certified blocks.
    Blocks {
        /// Above this height.
        above: Height,
    },
    /// Blocks that are final, with the proof.
    Certified(Box<Stretch>),
}

/// Blocks of one epoch.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct Stretch {
    /// With the certificate of the last of them.
    pub(crate) blocks: CertifiedBlocks,
    /// What executing one of them gave, as a quorum signed it.
    pub(crate) checkpoint: Option<CheckpointCertificate>,
}

/// An encoded packet on its way. However many receive it, its bytes are decoded once: decoding depends on nothing else.
pub(crate) struct Parcel<M> {
    bytes: Vec<u8>,
    decoded: OnceCell<Result<Packet<M>, DecodeError>>,
    /// Whether the network has changed it: what it says is then nobody's word.
    pub(crate) corrupted: bool,
}

impl<M: BorshSerialize + BorshDeserialize> Parcel<M> {
    /// Encodes a packet.
    pub(crate) fn of(packet: &Packet<M>) -> Rc<Self> {
        Rc::new(Self { bytes: encode(packet), decoded: OnceCell::new(), corrupted: false })
    }

    /// What the receivers read.
    pub(crate) fn read(&self) -> Result<&Packet<M>, &DecodeError> {
        self.decoded.get_or_init(|| decode(&self.bytes)).as_ref()
    }

    /// The same with a bit turned, a byte lost or a byte added.
    pub(crate) fn corrupt(&self, random: &mut Random) -> Rc<Self> {
        let mut bytes = self.bytes.clone();
        let place = random.index(bytes.len());
        match random.below(4) {
            0 => {
                bytes.remove(place);
            }
            1 => bytes.insert(place, (random.any() & 0xff) as u8),
            _ => bytes[place] ^= 1 << random.below(8),
        }
        Rc::new(Self { bytes, decoded: OnceCell::new(), corrupted: true })
    }
}
