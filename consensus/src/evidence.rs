//! Proof that a validator did what a correct one never does, also across restarts (`docs/pbft.md` §8).
//!
//! Evidence is two signed statements that exclude each other, or one that is false by itself; anyone with the epoch's
//! validator set can check it, long after and offline. It holds nothing that depends on the order in which messages arrived.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{Domain, Hash, PublicKey, Signature, verify};
use quorate_ledger::{CheckpointPayload, CommitPayload, Epoch, Height, ValidatorSet};

use crate::pbft::{
    message::{NewViewPayload, ViewChangePayload},
    reproposal::follows,
    verify::{Electorate, sound},
};

/// The kinds of vote that name a block in a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum VoteKind {
    /// First phase.
    Prepare = 0,
    /// Second phase.
    Commit = 1,
}

impl VoteKind {
    /// What its signatures cover first.
    #[must_use]
    pub fn domain(self) -> Domain {
        match self {
            Self::Prepare => Domain::Prepare,
            Self::Commit => Domain::Commit,
        }
    }
}

/// A payload and somebody's signature over it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Signed<T> {
    /// What is said.
    pub payload: T,
    /// The signature.
    pub signature: Signature,
}

/// What one validator signed and no correct one does: two statements that exclude each other, or one that is false.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Evidence {
    /// Two votes of one kind for different blocks at one (epoch, view, height).
    DoubleVote {
        /// Who signed both.
        signer: PublicKey,
        /// Which phase.
        kind: VoteKind,
        /// The vote that counted.
        first: Signed<CommitPayload>,
        /// The one that contradicts it.
        second: Signed<CommitPayload>,
    } = 0,
    /// Two different CHECKPOINTs for one (epoch, height).
    DoubleCheckpoint {
        /// Who signed both.
        signer: PublicKey,
        /// The one that counted.
        first: Signed<CheckpointPayload>,
        /// The one that contradicts it.
        second: Signed<CheckpointPayload>,
    } = 1,
    /// Two different VIEW-CHANGEs for one view.
    DoubleViewChange {
        /// Who signed both.
        signer: PublicKey,
        /// The one that counted.
        first: Box<Signed<ViewChangePayload>>,
        /// The one that contradicts it.
        second: Box<Signed<ViewChangePayload>>,
    } = 2,
    /// Two different NEW-VIEWs for one view.
    DoubleNewView {
        /// Who signed both.
        signer: PublicKey,
        /// The one that counted.
        first: Box<Signed<NewViewPayload>>,
        /// The one that contradicts it.
        second: Box<Signed<NewViewPayload>>,
    } = 3,
    /// A NEW-VIEW that no correct validator signs: of a view that is another's to start, or not resting on Q valid VIEW-CHANGEs
    /// for it and certificates that prove exactly what its choice looks at, or proposing other blocks than those that follow.
    FalseNewView {
        /// Who signed it.
        signer: PublicKey,
        /// The proof.
        new_view: Box<Signed<NewViewPayload>>,
    } = 4,
}

impl Evidence {
    /// A short constant name of each thing that may be proved.
    pub const KINDS: [&str; 6] = [
        "double_prepare",
        "double_commit",
        "double_checkpoint",
        "double_view_change",
        "double_new_view",
        "false_new_view",
    ];

    /// What was done: one of [`Evidence::KINDS`].
    #[must_use]
    pub fn kind(&self) -> &'static str {
        let place = match self {
            Self::DoubleVote { kind: VoteKind::Prepare, .. } => 0,
            Self::DoubleVote { kind: VoteKind::Commit, .. } => 1,
            Self::DoubleCheckpoint { .. } => 2,
            Self::DoubleViewChange { .. } => 3,
            Self::DoubleNewView { .. } => 4,
            Self::FalseNewView { .. } => 5,
        };
        Self::KINDS[place]
    }

    /// Who is accused.
    #[must_use]
    pub fn signer(&self) -> &PublicKey {
        match self {
            Self::DoubleVote { signer, .. }
            | Self::DoubleCheckpoint { signer, .. }
            | Self::DoubleViewChange { signer, .. }
            | Self::DoubleNewView { signer, .. }
            | Self::FalseNewView { signer, .. } => signer,
        }
    }

    /// Where it happened; for views the height that the first VIEW-CHANGE stands on.
    #[must_use]
    pub fn place(&self) -> (Epoch, Height) {
        match self {
            Self::DoubleVote { first, .. } => (first.payload.epoch, first.payload.height),
            Self::DoubleCheckpoint { first, .. } => (first.payload.epoch, first.payload.height),
            Self::DoubleViewChange { first, .. } => (first.payload.epoch, first.payload.base.height),
            Self::DoubleNewView { first: it, .. } | Self::FalseNewView { new_view: it, .. } => {
                let first = it.payload.changes.first();
                (it.payload.epoch, first.map_or(Height(0), |change| change.payload.base.height))
            }
        }
    }

    /// Whether this proves something against a member of the epoch's set: two statements that it signed are of one place and
    /// differ, or one that it signed is false.
    #[must_use]
    pub fn holds(&self, chain: &Hash, validators: &ValidatorSet) -> bool {
        let Some(place) = validators.index_of(self.signer()) else { return false };
        match self {
            Self::DoubleVote { signer, kind, first, second } => {
                let (a, b) = (&first.payload, &second.payload);
                (a.epoch, a.view, a.height) == (b.epoch, b.view, b.height)
                    && a.block != b.block
                    && signs(kind.domain(), chain, signer, first)
                    && signs(kind.domain(), chain, signer, second)
            }
            Self::DoubleCheckpoint { signer, first, second } => {
                let (a, b) = (&first.payload, &second.payload);
                (a.epoch, a.height) == (b.epoch, b.height)
                    && a != b
                    && signs(Domain::Checkpoint, chain, signer, first)
                    && signs(Domain::Checkpoint, chain, signer, second)
            }
            Self::DoubleViewChange { signer, first, second } => {
                let (a, b) = (&first.payload, &second.payload);
                (a.epoch, a.view) == (b.epoch, b.view)
                    && a != b
                    && signs(Domain::ViewChange, chain, signer, first)
                    && signs(Domain::ViewChange, chain, signer, second)
            }
            Self::DoubleNewView { signer, first, second } => {
                let (a, b) = (&first.payload, &second.payload);
                (a.epoch, a.view) == (b.epoch, b.view)
                    && a != b
                    && signs(Domain::NewView, chain, signer, first)
                    && signs(Domain::NewView, chain, signer, second)
            }
            Self::FalseNewView { signer, new_view } => {
                let payload = &new_view.payload;
                let electorate = Electorate { chain, epoch: payload.epoch, validators };
                // The signature first: all else is as much work as its author likes.
                signs(Domain::NewView, chain, signer, new_view)
                    && (sound(electorate, place, payload).is_err() || !follows(payload))
            }
        }
    }
}

fn signs<T: BorshSerialize>(domain: Domain, chain: &Hash, signer: &PublicKey, signed: &Signed<T>) -> bool {
    verify(signer, &domain.message(chain, &signed.payload), &signed.signature)
}
