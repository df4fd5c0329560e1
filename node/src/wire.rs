//! What nodes say to each other, as bytes on the network: borsh, decoded strictly (`quorate_crypto::codec`).
//!
//! | way | from, to | what |
//! | --- | --- | --- |
//! | frame | validator to validator | [`Frame`]: consensus messages, transactions that waited too long, offers of blocks |
//! | gossip, transactions | anybody | [`Bundle`] |
//! | gossip, blocks | anybody | [`BlockNotice`] |
//! | request | anybody | [`Request`], answered by [`Response`] |
//!
//! Every list has a bound that the decoder enforces before it believes a length. A frame's first byte tells its kind, so
//! that votes can be told from bulk without decoding either.

use std::{
    io::{Error, ErrorKind, Read, Result as IoResult, Write},
    sync::Arc,
};

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{Hash, PublicKey, codec::bounded_list};
use quorate_ledger::{Block, CertifiedBlocks, CheckpointCertificate, Epoch, Height, Readiness, Transaction};

/// Transactions in one bundle, whether gossiped or handed over.
pub(crate) const BUNDLE_TRANSACTIONS_MAX: usize = 2_048;
/// Bytes of transactions at which a bundle is closed; one larger transaction travels alone.
pub(crate) const BUNDLE_BYTES: usize = 256 << 10;
/// Hashes in one request for bodies.
pub(crate) const BODIES_PER_REQUEST_MAX: usize = 4_096;
/// Bytes of bodies or blocks at which an answer is closed; the rest is asked for again.
pub(crate) const ANSWER_BYTES: usize = 4 << 20;
/// Blocks in one answer.
pub(crate) const BLOCKS_PER_ANSWER_MAX: usize = 256;

/// What travels on the stream between two validators.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub(crate) enum Frame<M> {
    /// A message of the engine.
    Consensus(M) = 0,
    /// Transactions that have waited for half the base timeout (`docs/pbft.md` §5).
    Transactions(Bundle) = 1,
    /// The sender has certified blocks up to this height, and takes the receiver to be behind.
    Offer {
        /// Its executed height.
        height: Height,
    } = 2,
}

/// How urgently a frame wants to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// What moves consensus.
    Urgent,
    /// What may wait behind it.
    Bulk,
}

impl<M> Frame<M> {
    /// The lane of an encoded frame, by its first byte alone.
    pub(crate) fn lane(bytes: &[u8]) -> Lane {
        match bytes.first() {
            Some(0 | 2) => Lane::Urgent,
            Some(_) | None => Lane::Bulk,
        }
    }
}

/// Transactions on their way to other pools; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle(pub(crate) Vec<Arc<Transaction>>);

impl BorshSerialize for Bundle {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        write_list(&self.0, writer)
    }
}

impl BorshDeserialize for Bundle {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let transactions = bounded_list(reader, BUNDLE_TRANSACTIONS_MAX, "transactions", transaction)?;
        if transactions.is_empty() {
            return Err(invalid("a bundle holds a transaction".to_owned()));
        }
        Ok(Self(transactions))
    }
}

/// "There is a block": gossiped by whoever has executed it. It claims, it proves nothing; equal ones are one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct BlockNotice {
    /// The block's height.
    pub(crate) height: Height,
    /// Its hash.
    pub(crate) hash: Hash,
}

/// What a node asks another.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub(crate) enum Request {
    /// Transactions of blocks in flight or of the pool, by hash.
    Bodies(Hashes) = 0,
    /// Certified blocks from the one above this height.
    Blocks {
        /// The highest height the asker has.
        above: Height,
    } = 1,
    /// A whole block in flight, by hash.
    Block(Hash) = 2,
    /// The checkpoint certificate of a height.
    Checkpoint {
        /// The height.
        height: Height,
    } = 3,
    /// The statement of a key's holder that it is ready to be a validator (`docs/pbft.md` §7).
    Readiness {
        /// The key.
        key: PublicKey,
    } = 4,
}

/// Names of transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hashes(pub(crate) Vec<Hash>);

impl BorshSerialize for Hashes {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        self.0.serialize(writer)
    }
}

impl BorshDeserialize for Hashes {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        bounded_list(reader, BODIES_PER_REQUEST_MAX, "hashes", Hash::deserialize_reader).map(Self)
    }
}

/// The answer to a [`Request`] of the same kind.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub(crate) enum Response {
    /// Those that are here, in the order asked for, as many as fit.
    Bodies(Bodies) = 0,
    /// The next certified blocks, if there are any.
    Blocks(Option<Box<Stretch>>) = 1,
    /// The block, if it is here.
    Block(Option<Arc<Block>>) = 2,
    /// The certificate, if it is here.
    Checkpoint(Option<Box<CheckpointCertificate>>) = 3,
    /// The statement, if the key is this node's.
    Readiness(Option<Statement>) = 4,
}

/// A statement of readiness, and what it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Statement {
    /// The epoch that it holds in.
    pub(crate) epoch: Epoch,
    /// The height whose header anchors the checkpoint that it names.
    pub(crate) height: Height,
    /// What is signed.
    pub(crate) readiness: Readiness,
}

/// A stretch of the chain with what proves it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Stretch {
    /// The blocks, under a commit certificate.
    pub(crate) blocks: CertifiedBlocks,
    /// The highest checkpoint certificate of one of these blocks: validators hear of it by STATUS, whoever follows here.
    pub(crate) checkpoint: Option<CheckpointCertificate>,
}

/// Transactions that were asked for; perhaps none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bodies(pub(crate) Vec<Arc<Transaction>>);

impl BorshSerialize for Bodies {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        write_list(&self.0, writer)
    }
}

impl BorshDeserialize for Bodies {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        bounded_list(reader, BODIES_PER_REQUEST_MAX, "bodies", transaction).map(Self)
    }
}

/// Splits transactions into bundles that fit a message.
pub(crate) fn bundles(transactions: impl IntoIterator<Item = Arc<Transaction>>) -> Vec<Bundle> {
    let mut done = Vec::new();
    let mut open = Vec::new();
    let mut bytes = 0usize;
    for transaction in transactions {
        let size = transaction.size();
        if !open.is_empty() && (open.len() == BUNDLE_TRANSACTIONS_MAX || bytes + size > BUNDLE_BYTES) {
            done.push(Bundle(std::mem::take(&mut open)));
            bytes = 0;
        }
        bytes += size;
        open.push(transaction);
    }
    if !open.is_empty() {
        done.push(Bundle(open));
    }
    done
}

fn transaction<R: Read>(reader: &mut R) -> IoResult<Arc<Transaction>> {
    Transaction::deserialize_reader(reader).map(Arc::new)
}

fn write_list<W: Write>(transactions: &[Arc<Transaction>], writer: &mut W) -> IoResult<()> {
    let count = u32::try_from(transactions.len()).map_err(|_| invalid("more than 2^32 items".to_owned()))?;
    count.serialize(writer)?;
    transactions.iter().try_for_each(|transaction| transaction.as_ref().serialize(writer))
}

fn invalid(why: String) -> Error {
    Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quorate_crypto::{decode, encode};

    use super::*;
    use crate::fixtures::put as transaction;

    #[test]
    fn hashes_are_read_up_to_their_bound_and_not_one_more() {
        let at = encode(&Request::Bodies(Hashes(vec![Hash::ZERO; BODIES_PER_REQUEST_MAX])));
        assert!(decode::<Request>(&at).is_ok());
        let past = encode(&Request::Bodies(Hashes(vec![Hash::ZERO; BODIES_PER_REQUEST_MAX + 1])));
        assert!(decode::<Request>(&past).is_err());
    }

    #[test]
    fn a_bundle_holds_one_to_its_bound() {
        let one = transaction(0, 0);
        assert!(decode::<Bundle>(&encode(&Bundle(Vec::new()))).is_err());
        let at = Bundle(vec![Arc::clone(&one); BUNDLE_TRANSACTIONS_MAX]);
        assert_eq!(decode::<Bundle>(&encode(&at)), Ok(at));
        let past = Bundle(vec![one; BUNDLE_TRANSACTIONS_MAX + 1]);
        assert!(decode::<Bundle>(&encode(&past)).is_err());
    }

    #[test]
    fn a_claimed_length_without_items_is_refused() {
        assert!(decode::<Bodies>(&u32::MAX.to_le_bytes()).is_err());
        assert!(decode::<Bodies>(&1u32.to_le_bytes()).is_err());
    }

    #[test]
    fn bytes_left_over_are_refused() {
        let mut bytes = encode(&BlockNotice { height: Height(1), hash: Hash::ZERO });
        assert!(decode::<BlockNotice>(&bytes).is_ok());
        bytes.push(0);
        assert!(decode::<BlockNotice>(&bytes).is_err());
    }

    #[test]
    fn bundles_close_at_their_sizes_and_lose_nothing() {
        let large = transaction(1, 16 << 10);
        let all = vec![large; 2 * BUNDLE_BYTES / (16 << 10)];
        let made = bundles(all.iter().cloned());
        assert!(made.len() >= 2);
        for bundle in &made {
            assert!(bundle.0.iter().map(|one| one.size()).sum::<usize>() <= BUNDLE_BYTES);
        }
        assert_eq!(made.iter().map(|bundle| bundle.0.len()).sum::<usize>(), all.len());
        let many = bundles(vec![transaction(2, 0); BUNDLE_TRANSACTIONS_MAX + 1]);
        assert!(many.iter().all(|bundle| bundle.0.len() <= BUNDLE_TRANSACTIONS_MAX));
        assert!(bundles(Vec::new()).is_empty());
    }

    #[test]
    fn the_first_byte_tells_the_lane() {
        let vote = encode(&Frame::Consensus(5u8));
        let offer = encode(&Frame::<u8>::Offer { height: Height(1) });
        let bulk = encode(&Frame::<u8>::Transactions(Bundle(vec![transaction(0, 0)])));
        assert_eq!(Frame::<u8>::lane(&vote), Lane::Urgent);
        assert_eq!(Frame::<u8>::lane(&offer), Lane::Urgent);
        assert_eq!(Frame::<u8>::lane(&bulk), Lane::Bulk);
        assert_eq!(Frame::<u8>::lane(&[]), Lane::Bulk);
    }

    proptest! {
        /// Whatever a peer sends, decoding ends, and what it accepts is the one encoding of its value.
        #[test]
        fn any_bytes_are_refused_or_are_the_encoding_of_what_they_decode_to(
            bytes in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            if let Ok(frame) = decode::<Frame<u64>>(&bytes) {
                prop_assert_eq!(encode(&frame), bytes.clone());
            }
            if let Ok(request) = decode::<Request>(&bytes) {
                prop_assert_eq!(encode(&request), bytes.clone());
            }
            if let Ok(response) = decode::<Response>(&bytes) {
                prop_assert_eq!(encode(&response), bytes);
            }
        }

        /// A message cut anywhere is no message.
        #[test]
        fn a_cut_message_is_refused(cut in 0..200usize) {
            let whole = encode(&Frame::<u64>::Transactions(Bundle(vec![transaction(3, 5)])));
            prop_assume!(cut < whole.len());
            prop_assert!(decode::<Frame<u64>>(&whole[..cut]).is_err());
        }
    }
}
