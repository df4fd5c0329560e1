//! Why a message was refused: data, and no error of ours. Mostly it is the fault of the peer that sent it; that one comes early
//! or late, or by another clock, is nobody's.

use quorate_ledger::{Epoch, Height, UnixMillis, ValidatorIndex, View};

/// A rule that a message breaks (`docs/pbft.md` §3.1, §2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It belongs to another chain.
    #[error("it belongs to another chain")]
    WrongChain,
    /// It belongs to another epoch.
    #[error("it belongs to epoch {got}, this is epoch {want}")]
    WrongEpoch {
        /// Epoch of the message.
        got: Epoch,
        /// Epoch of the instance.
        want: Epoch,
    },
    /// The signer has no place in the validator set.
    #[error("no validator has index {0}")]
    UnknownSigner(ValidatorIndex),
    /// The signature is not the signer's over this payload.
    #[error("the signature of validator {0} does not verify")]
    BadSignature(ValidatorIndex),
    /// An answer holds a message of this replica's that it never signed.
    #[error("it tells of a message of validator {0} that is forged")]
    ForgedAnswer(ValidatorIndex),
    /// A certificate inside does not verify.
    #[error("the certificate for height {height} does not verify: {why}")]
    BadCertificate {
        /// Height it claims.
        height: Height,
        /// What is wrong.
        why: String,
    },
    /// Its parts do not belong together.
    #[error("its parts contradict each other: {0}")]
    Malformed(&'static str),
    /// It is of a view that this replica has left behind, or starts one again as it was started here.
    #[error("view {0} is over, or has started here already")]
    OldView(View),
    /// The proposal is not the primary's.
    #[error("validator {signer} is not the primary of view {view}")]
    NotPrimary {
        /// Who signed.
        signer: ValidatorIndex,
        /// For which view.
        view: View,
    },
    /// Too far above what this replica can hold.
    #[error("height {height} is above {max}, the highest that is buffered")]
    AboveWindow {
        /// Height of the message.
        height: Height,
        /// The limit.
        max: Height,
    },
    /// The proposal does not extend the block below it.
    #[error("the block at height {0} does not name the accepted block below it as its parent")]
    WrongParent(Height),
    /// `parent time < time` does not hold.
    #[error("its time {time} is not above its parent's {parent}")]
    TimeNotRising {
        /// Header time.
        time: UnixMillis,
        /// Parent's time.
        parent: UnixMillis,
    },
    /// The header's time is too far from this replica's clock.
    #[error("its time {time} is more than {drift_max_ms} ms from this clock's {now}")]
    ClockDrift {
        /// Header time.
        time: UnixMillis,
        /// This replica's wall clock.
        now: UnixMillis,
        /// The chain's `max_clock_drift`.
        drift_max_ms: u64,
    },
    /// A fresh block names another proposer than the view's primary.
    #[error("it names a proposer that is not the primary of its view")]
    WrongProposer,
    /// The anchor goes back, or forward without its certificate, or not below the block itself.
    #[error("its state anchor {0}")]
    BadAnchor(&'static str),
    /// The ledger's rules refuse the block.
    #[error("the ledger refuses it: {0}")]
    Refused(String),
}

impl Rejection {
    /// A short constant name, for counters.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::WrongChain => "wrong_chain",
            Self::WrongEpoch { .. } => "wrong_epoch",
            Self::UnknownSigner(_) => "unknown_signer",
            Self::BadSignature(_) => "bad_signature",
            Self::ForgedAnswer(_) => "forged_answer",
            Self::BadCertificate { .. } => "bad_certificate",
            Self::Malformed(_) => "malformed",
            Self::OldView(_) => "old_view",
            Self::NotPrimary { .. } => "not_primary",
            Self::AboveWindow { .. } => "above_window",
            Self::WrongParent(_) => "wrong_parent",
            Self::TimeNotRising { .. } => "time_not_rising",
            Self::ClockDrift { .. } => "clock_drift",
            Self::WrongProposer => "wrong_proposer",
            Self::BadAnchor(_) => "bad_anchor",
            Self::Refused(_) => "refused",
        }
    }
}
