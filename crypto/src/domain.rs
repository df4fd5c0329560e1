//! Domain separation: which kind of bytes a hash or a signature is over.
//!
//! Every signature covers `tag ‖ chain id ‖ borsh(payload)` (`docs/pbft.md §2`): the tag names protocol
//! version and kind, the chain id is the genesis hash. So no signature can be replayed as another kind, in
//! another version or on another chain. Hashes of different kinds are kept apart by the same tags.
//!
//! A tag is `quorate/1/<name>` and one zero byte. Names hold no zero byte, so no tag is the prefix of
//! another, and no two kinds can meet in the same bytes whatever follows.

use borsh::BorshSerialize;

use crate::Hash;

/// Most signed messages are shorter, so that they are written into memory that is asked for once.
const MESSAGE_BYTES: usize = 256;

/// A kind of hashed or signed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain {
    /// Signed by a sender; its hash is the transaction's id.
    Transaction,
    /// The hash of id and signature.
    TransactionHash,
    /// The hash of a block header: the block's hash.
    Header,
    /// The hash of an epoch's validator set.
    ValidatorSet,
    /// The hash of one record in the state trie.
    StateLeaf,
    /// The hash of two subtrees of the state trie.
    StateNode,
    /// A PREPARE vote.
    Prepare,
    /// A COMMIT vote.
    Commit,
    /// A CHECKPOINT vote; its hash names the checkpoint in headers.
    Checkpoint,
    /// A VIEW-CHANGE.
    ViewChange,
    /// A NEW-VIEW.
    NewView,
    /// A validator's announcement of its peer id and addresses.
    Announcement,
    /// A new validator's statement that it holds its key and has caught up.
    Readiness,
    /// The hash of the chain's parameters.
    Parameters,
}

impl Domain {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Transaction,
        Self::TransactionHash,
        Self::Header,
        Self::ValidatorSet,
        Self::StateLeaf,
        Self::StateNode,
        Self::Prepare,
        Self::Commit,
        Self::Checkpoint,
        Self::ViewChange,
        Self::NewView,
        Self::Announcement,
        Self::Readiness,
        Self::Parameters,
    ];

    /// `quorate/1/<name>` and one zero byte.
    #[must_use]
    pub const fn tag(self) -> &'static [u8] {
        match self {
            Self::Transaction => b"quorate/1/transaction\0",
            Self::TransactionHash => b"quorate/1/transaction-hash\0",
            Self::Header => b"quorate/1/header\0",
            Self::ValidatorSet => b"quorate/1/validator-set\0",
            Self::StateLeaf => b"quorate/1/state-leaf\0",
            Self::StateNode => b"quorate/1/state-node\0",
            Self::Prepare => b"quorate/1/prepare\0",
            Self::Commit => b"quorate/1/commit\0",
            Self::Checkpoint => b"quorate/1/checkpoint\0",
            Self::ViewChange => b"quorate/1/view-change\0",
            Self::NewView => b"quorate/1/new-view\0",
            Self::Announcement => b"quorate/1/announcement\0",
            Self::Readiness => b"quorate/1/readiness\0",
            Self::Parameters => b"quorate/1/parameters\0",
        }
    }

    /// SHA-256 of the tag and the parts, one after the other.
    ///
    /// Parts are not delimited: all but the last must be of fixed length, or the bytes of one could be moved
    /// into the next without changing the hash.
    #[must_use]
    pub fn hash(self, parts: &[&[u8]]) -> Hash {
        Hash::of_parts([self.tag()].into_iter().chain(parts.iter().copied()))
    }

    /// What is signed: `tag ‖ chain id ‖ borsh(payload)`.
    ///
    /// # Panics
    ///
    /// As [`encode`](crate::encode): only where a collection has more than `u32::MAX` elements.
    #[must_use]
    pub fn message<T: BorshSerialize + ?Sized>(self, chain: &Hash, payload: &T) -> Vec<u8> {
        let mut message = Vec::with_capacity(MESSAGE_BYTES);
        message.extend_from_slice(self.tag());
        message.extend_from_slice(chain.as_bytes());
        payload
            .serialize(&mut message)
            .expect("writing to memory does not fail and no collection is so long");
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/pbft.md §2`:
    ///
    /// > no signature can be replayed as another kind, in another protocol version or chain
    #[test]
    fn no_tag_is_the_prefix_of_another() {
        for (i, one) in Domain::ALL.iter().enumerate() {
            for (j, other) in Domain::ALL.iter().enumerate() {
                assert!(i == j || !other.tag().starts_with(one.tag()), "{one:?} begins {other:?}");
            }
        }
    }

    #[test]
    fn a_tag_is_prefix_kebab_name_and_one_zero() {
        for domain in Domain::ALL {
            let name = format!("{domain:?}").chars().fold(String::new(), |mut name, character| {
                if character.is_ascii_uppercase() && !name.is_empty() {
                    name.push('-');
                }
                name.push(character.to_ascii_lowercase());
                name
            });
            assert_eq!(domain.tag(), format!("quorate/1/{name}\0").as_bytes());
        }
    }

    #[test]
    fn a_message_is_tag_chain_payload() {
        let chain = Hash::of(b"chain");
        let mut expected = b"quorate/1/commit\0".to_vec();
        expected.extend_from_slice(chain.as_bytes());
        expected.extend_from_slice(&[7, 0]);
        assert_eq!(Domain::Commit.message(&chain, &7u16), expected);
    }

    #[test]
    fn a_hash_is_over_tag_and_parts() {
        assert_eq!(Domain::Header.hash(&[b"ab", b"c"]), Hash::of(b"quorate/1/header\0abc"));
        assert_ne!(Domain::StateLeaf.hash(&[b"x"]), Domain::StateNode.hash(&[b"x"]));
    }
}
