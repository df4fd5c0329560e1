//! The statement of a new validator, as one word of text to hand to those who approve of it: that it holds its key and has
//! caught up (`docs/pbft.md §7`).
//!
//! The text carries more than a transaction does, chain and epoch, so that whoever is handed it can say at once what is
//! wrong with it. The chain decides all the same.

use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{Hash, PublicKey, SecretKey, decode, encode, from_hex, to_hex};
use quorate_ledger::{Epoch, ProposedValidator, Readiness};

use crate::rpc::types::ReadinessAnswer;

/// What the text begins with, so that nobody takes it for a key or for signed bytes.
const PREFIX: &str = "ready:";

/// The format of what follows.
const VERSION: u8 = 1;

/// A key's statement that its holder is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Statement {
    version: u8,
    pub(super) chain: Hash,
    pub(super) epoch: Epoch,
    pub(super) key: PublicKey,
    pub(super) readiness: Readiness,
}

impl Statement {
    /// The statement of `key`'s holder, who has executed that checkpoint.
    pub(super) fn sign(chain: Hash, epoch: Epoch, checkpoint: Hash, key: &SecretKey) -> Self {
        let readiness = Readiness::sign(&chain, epoch, checkpoint, key);
        Self { version: VERSION, chain, epoch, key: key.public(), readiness }
    }

    /// The statement that a node has answered with.
    pub(super) fn answered(chain: Hash, answer: &ReadinessAnswer) -> Self {
        let ReadinessAnswer { key, epoch, checkpoint, signature, .. } = *answer;
        Self { version: VERSION, chain, epoch, key, readiness: Readiness { checkpoint, signature } }
    }

    /// Why the chain would not take it, as far as that can be told without the checkpoints.
    pub(super) fn fault(&self, chain: Hash, epoch: Epoch) -> Option<String> {
        let Self { key, .. } = self;
        if self.chain != chain {
            return Some(format!("the statement of {key} is for the chain {}", self.chain));
        }
        if self.epoch != epoch {
            return Some(format!(
                "the statement of {key} was made in epoch {} and holds no longer, this is epoch {epoch}: make a new one \
                 there with `quorate query ready`",
                self.epoch
            ));
        }
        let valid = self.readiness.verify(&chain, epoch, key);
        (!valid).then(|| format!("the statement of {key} is not signed by that key"))
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", to_hex(&encode(self)))
    }
}

impl FromStr for Statement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hex = text.strip_prefix(PREFIX).ok_or_else(|| format!("a statement begins with {PREFIX}"))?;
        let bytes = from_hex(hex).map_err(|error| format!("no whole statement: {error}"))?;
        let statement: Self = decode(&bytes).map_err(|error| format!("no whole statement: {error}"))?;
        if statement.version != VERSION {
            return Err(format!("a statement of format {}, this version knows {VERSION}", statement.version));
        }
        Ok(statement)
    }
}

/// A validator as it is named for a new set: by its key, or by a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A key that is a validator's already, or of whose holder a statement is still to be asked for.
    Key(PublicKey),
    /// A new one.
    Ready(Statement),
}

impl Named {
    /// The key.
    pub(super) fn key(&self) -> PublicKey {
        match self {
            Self::Key(key) => *key,
            Self::Ready(statement) => statement.key,
        }
    }

    /// As an approval carries it.
    pub(super) fn proposed(&self) -> ProposedValidator {
        match self {
            Self::Key(key) => ProposedValidator { key: *key, readiness: None },
            Self::Ready(statement) => {
                ProposedValidator { key: statement.key, readiness: Some(statement.readiness) }
            }
        }
    }
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with(PREFIX) {
            return text.parse().map(Self::Ready);
        }
        text.parse().map(Self::Key).map_err(|error| {
            format!("{error}; expected a validator's key, 0x and 64 hex digits, or what `quorate query ready` printed")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> Statement {
        Statement::sign(Hash::of(b"chain"), Epoch(3), Hash::of(b"checkpoint"), &SecretKey::from_seed([1; 32]))
    }

    #[test]
    fn a_statement_is_one_word_and_reads_back_the_same() {
        let text = statement().to_string();
        assert!(!text.contains(char::is_whitespace));
        assert_eq!(format!(" {text}\n").parse(), Ok(Named::Ready(statement())));
        let cut = &text[..text.len() - 2];
        assert!(cut.parse::<Named>().expect_err("cut off").contains("no whole statement"));
    }

    #[test]
    fn a_key_alone_is_taken_and_anything_else_is_not() {
        let key = SecretKey::from_seed([1; 32]).public();
        assert_eq!(key.to_string().parse(), Ok(Named::Key(key)));
        assert!("node4".parse::<Named>().expect_err("a name").contains("quorate query ready"));
    }

    #[test]
    fn what_is_wrong_with_a_statement_is_told_before_anything_is_signed() {
        let (chain, good) = (Hash::of(b"chain"), statement());
        assert_eq!(good.fault(chain, Epoch(3)), None);
        assert!(good.fault(Hash::ZERO, Epoch(3)).expect("another chain").contains("is for the chain"));
        assert!(good.fault(chain, Epoch(4)).expect("a later epoch").contains("this is epoch 4"));
        let stolen = Statement { key: SecretKey::from_seed([2; 32]).public(), ..good };
        assert!(stolen.fault(chain, Epoch(3)).expect("another key").contains("not signed by that key"));
    }
}
