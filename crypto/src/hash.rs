//! SHA-256 (FIPS 180-4) and the 32 bytes that come out of it.

use borsh::{BorshDeserialize, BorshSerialize};
use sha2::{Digest, Sha256};

use crate::bytes::hex_newtype;

/// A SHA-256 hash; shown as `0x` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Hash([u8; 32]);

hex_newtype!(Hash, 32);

impl Hash {
    /// 32 zero bytes: what stands where there is nothing to name, such as the parent of the genesis.
    pub const ZERO: Self = Self([0; 32]);

    /// Plain SHA-256, without a domain tag. What Quorate itself defines is hashed by
    /// [`Domain::hash`](crate::Domain::hash).
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_parts([bytes])
    }

    /// Plain SHA-256 of the concatenation, which is not written down anywhere on the way.
    pub(crate) fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut sha = Sha256::new();
        for part in parts {
            sha.update(part);
        }
        Self(sha.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4 examples: the empty message and "abc".
    #[test]
    fn sha_256_of_the_standards_examples() {
        assert_eq!(
            Hash::of(b"").to_string(),
            "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            Hash::of(b"abc").to_string(),
            "0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(Hash::of_parts([&b"a"[..], b"", b"bc"]), Hash::of(b"abc"));
    }

    #[test]
    fn text_and_json_read_back() {
        let hash = Hash::of(b"abc");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(format!("{hash:?}"), hash.to_string());
        let json = serde_json::to_string(&hash).expect("a string serializes");
        assert_eq!(serde_json::from_str::<Hash>(&json).expect("what was written reads back"), hash);
        assert!("0x00".parse::<Hash>().is_err());
    }
}
