//! What a client makes of an answer that proves itself, offline, by `docs/formats.md` alone: no code of the ledger judges.

use quorate_crypto::{Hash, encode};
use quorate_ledger::{CheckpointCertificate, CommitCertificate, Header, Record, RecordKey, StateProof};
use quorate_ledger::{Height, ProofEnd};

use super::epochs::EpochCheck;
use super::formats::{header_hash, tagged};

/// From where a client knows a state root.
#[derive(Clone, Debug)]
pub(crate) enum Root {
    /// A quorum has signed it.
    Certified(Box<CheckpointCertificate>),
    /// A block anchors it that a quorum has committed.
    Anchored {
        /// Of that block.
        header: Box<Header>,
        /// For it.
        certificate: Box<CommitCertificate>,
    },
}

/// A record, or that there is none, at a height.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) key: RecordKey,
    pub(crate) record: Option<Record>,
    pub(crate) proof: StateProof,
    pub(crate) root: Root,
}

impl Answer {
    /// The height that it is about, if it proves itself to whoever knows who decides what.
    pub(crate) fn proven_at(&self, epochs: &EpochCheck) -> Option<Height> {
        let (height, root) = self.root.checked(epochs)?;
        leads_to(&self.key, self.record.as_ref(), &self.proof, &root).then_some(height)
    }

    /// The root that it claims, unchecked.
    pub(crate) fn claimed_root(&self) -> Hash {
        match &self.root {
            Root::Certified(certificate) => certificate.payload.state_root,
            Root::Anchored { header, .. } => header.anchor.state_root,
        }
    }
}

impl Root {
    fn checked(&self, epochs: &EpochCheck) -> Option<(Height, Hash)> {
        match self {
            Root::Certified(it) => {
                let payload = &it.payload;
                let signed = epochs.is_certified(payload.epoch, "checkpoint", payload, &it.signatures);
                let known = epochs.at(payload.height).0 == payload.epoch;
                (signed && known).then_some((payload.height, payload.state_root))
            }
            Root::Anchored { header, certificate: it } => {
                let payload = &it.payload;
                let signed = epochs.is_certified(payload.epoch, "commit", payload, &it.signatures);
                let known = epochs.at(payload.height).0 == payload.epoch;
                let named = (payload.height, payload.block) == (header.height, header_hash(header));
                (signed && known && named).then_some((header.anchor.height, header.anchor.state_root))
            }
        }
    }
}

/// Folds a proof up to the root.
fn leads_to(key: &RecordKey, record: Option<&Record>, proof: &StateProof, root: &Hash) -> bool {
    let path = Hash::of(&encode(key));
    let depth = proof.siblings.len();
    if depth > 256 {
        return false;
    }
    let (stands, record) = match (&proof.end, record) {
        (ProofEnd::Present, Some(record)) => (Some(path), Hash::of(&encode(record))),
        (ProofEnd::Empty, None) => (None, Hash::ZERO),
        (ProofEnd::Other { path: other, record }, None) => {
            let meets = *other != path && (0..depth).all(|at| is_right(other, at) == is_right(&path, at));
            if !meets {
                return false;
            }
            (Some(*other), *record)
        }
        (ProofEnd::Present, None) | (ProofEnd::Empty | ProofEnd::Other { .. }, Some(_)) => return false,
    };
    let mut below = stands
        .map_or(Hash::ZERO, |path| Hash::of(&tagged("state-leaf", &[path.as_bytes(), record.as_bytes()])));
    for (at, beside) in proof.siblings.iter().enumerate().rev() {
        let (left, right) = if is_right(&path, at) { (beside, &below) } else { (&below, beside) };
        below = Hash::of(&tagged("state-node", &[left.as_bytes(), right.as_bytes()]));
    }
    below == *root
}

/// The root of a state of these records, at most a few: each subtree is gone through for itself.
pub(super) fn state_root(records: &[(RecordKey, Record)]) -> Hash {
    let leaves: Vec<(Hash, Hash)> =
        records.iter().map(|(key, record)| (Hash::of(&encode(key)), Hash::of(&encode(record)))).collect();
    subtree(&leaves, 0)
}

fn subtree(leaves: &[(Hash, Hash)], depth: usize) -> Hash {
    match leaves {
        [] => Hash::ZERO,
        [(path, record)] => Hash::of(&tagged("state-leaf", &[path.as_bytes(), record.as_bytes()])),
        _ => {
            let (right, left): (Vec<_>, Vec<_>) = leaves.iter().partition(|(path, _)| is_right(path, depth));
            let (left, right) = (subtree(&left, depth + 1), subtree(&right, depth + 1));
            Hash::of(&tagged("state-node", &[left.as_bytes(), right.as_bytes()]))
        }
    }
}

/// Whether a path goes right at a depth.
fn is_right(path: &Hash, depth: usize) -> bool {
    path.as_bytes()[depth / 8] & (0x80 >> (depth % 8)) != 0
}
