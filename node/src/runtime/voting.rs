//! Whether this node votes, and what it does when it may not (`docs/pbft.md` §6, §7).
//!
//! A node with a validator's key opens the key's log once. In each epoch whose set holds the key it then votes. Where the
//! log is refused it follows; an epoch that began after this node was started is one in which the key has signed nothing,
//! so there it begins anew.

use std::path::PathBuf;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_consensus::{
    Now, Promised, Voter,
    vote_log::{VoteLog, VoteLogError},
};
use quorate_crypto::SecretKey;
use quorate_ledger::{Epoch, EpochStart, UnixMillis, ValidatorSet};

use super::log::NodeLog;
use crate::metrics::Metrics;

/// How a node takes part.
pub(super) struct Part<R> {
    key: Option<SecretKey>,
    paths: VotePaths,
    metrics: Metrics,
    /// Before this the key may have been in use elsewhere, by the wall clock as it was then.
    started: UnixMillis,
    /// Where its promises go.
    pub(super) log: NodeLog<R>,
    /// Why the key's log is refused.
    refused: Option<String>,
}

/// Where the promises of a key are kept.
pub(super) struct VotePaths {
    /// The directory of the log.
    pub(super) log: PathBuf,
    /// The mark beside the key.
    pub(super) mark: PathBuf,
}

impl<R: BorshSerialize + BorshDeserialize + Promised> Part<R> {
    /// Opens the vote log of a validator's key, if there is a key, and reads what it promised.
    ///
    /// # Errors
    /// The machine's. A log that tells against voting is none: the node then follows, and says why.
    pub(super) fn open(
        key: Option<SecretKey>,
        paths: VotePaths,
        started: UnixMillis,
        metrics: &Metrics,
    ) -> Result<(Self, Vec<R>), VoteLogError> {
        let metrics = metrics.clone();
        let mut part = Self { key, paths, metrics, started, log: NodeLog::Nothing, refused: None };
        if part.key.is_none() {
            return Ok((part, Vec::new()));
        }
        match VoteLog::open(&part.paths.log, &part.paths.mark) {
            Ok((log, records)) => {
                part.log = NodeLog::Votes { log, metrics: Box::new(part.metrics.clone()) };
                Ok((part, records))
            }
            Err(error) if error.is_refusal() => {
                tracing::warn!(
                    "this node follows without voting: {error}. A key that may have signed what this node does not know \
                     could contradict itself, so it signs nothing more in this epoch. {} {LATER_EPOCH}",
                    advice(&error)
                );
                part.refused = Some(format!("{error}. {LATER_EPOCH}"));
                Ok((part, Vec::new()))
            }
            Err(error) => Err(error),
        }
    }

    /// Who votes here in an epoch of these validators, if anybody does.
    pub(super) fn voter(&self, validators: &ValidatorSet) -> Option<Voter> {
        let key = self.key.as_ref().filter(|_| self.refused.is_none())?;
        let index = validators.index_of(&key.public())?;
        Some(Voter { index, key: key.clone() })
    }

    /// Why a node with a validator's key has no vote in an epoch.
    pub(super) fn silent_because(&self, epoch: Epoch, validators: &ValidatorSet) -> Option<String> {
        self.key.as_ref()?;
        self.no_validator_because(epoch, validators).or_else(|| self.refused.clone())
    }

    /// Why a node with a validator's key is none of the validators of an epoch.
    pub(super) fn no_validator_because(&self, epoch: Epoch, validators: &ValidatorSet) -> Option<String> {
        let public = self.key.as_ref()?.public();
        if validators.index_of(&public).is_some() {
            return None;
        }
        let count = validators.len();
        Some(format!("its key {public} is not among the {count} validators of epoch {epoch}"))
    }

    /// Says what an epoch that begins makes of this node: once, where that is something new or something is wrong.
    pub(super) fn tell(&self, before: &ValidatorSet, epoch: &EpochStart) {
        let Some(public) = self.key.as_ref().map(SecretKey::public) else { return };
        let (number, start) = (epoch.number, epoch.start);
        let is_validator = |set: &ValidatorSet| set.index_of(&public).is_some();
        match (is_validator(before), is_validator(&epoch.validators), &self.refused) {
            (_, true, Some(why)) => {
                tracing::warn!(epoch = %number, %why, "this node does not vote in the new epoch");
            }
            (false, true, None) => {
                tracing::info!(epoch = %number, "from block {start} on this node is a validator: it votes");
            }
            (true, false, _) => tracing::info!(
                epoch = %number,
                "from block {start} on this node is no validator any more: it follows the chain without voting. To make it \
                 one again, let it run, and let the validators give `quorate tx approve validators --add {public}`"
            ),
            (true, true, None) | (false, false, _) => {}
        }
    }

    /// An epoch begins, on a block of time `below`. A key that was refused begins anew, if nothing of it can be older
    /// than that. A block that was judged before this node started has a time at most twice `drift_max_ms` ahead of the
    /// start: by once that a judge allows it to be ahead of the judge's clock, and by once that this may be ahead of this one.
    ///
    /// The same holds of a block that was judged before now: a clock that shows less is behind, so what it said of the start
    /// says nothing.
    pub(super) fn begin(&mut self, epoch: Epoch, below: UnixMillis, drift_max_ms: u64, now: Now) {
        if self.refused.is_none() {
            return;
        }
        let ahead_max_ms = drift_max_ms.saturating_mul(2);
        if below <= self.started_by(now).plus_millis(ahead_max_ms) {
            tracing::info!(%epoch, "the key stays silent: this epoch may have begun before this node was started");
            return;
        }
        if below > now.wall.plus_millis(ahead_max_ms) {
            tracing::warn!(
                %epoch,
                "the key stays silent: by this machine's clock the epoch begins in the future, so the clock is behind and \
                 cannot tell whether that was before this node was started"
            );
            return;
        }
        match VoteLog::renew(&self.paths.log, &self.paths.mark, epoch) {
            Ok(log) => {
                tracing::warn!(%epoch, "a new vote log begins: this node votes again");
                self.log = NodeLog::Votes { log, metrics: Box::new(self.metrics.clone()) };
                self.refused = None;
            }
            Err(error) => tracing::error!(%epoch, %error, "no new vote log: this node goes on following"),
        }
    }

    /// When this process started: as the clock said then or, if it was behind and has been set since, what it says now less
    /// the time that the process has run, which the monotonic clock counts. The later one is the safe one.
    fn started_by(&self, now: Now) -> UnixMillis {
        /// Nanoseconds in a millisecond.
        const MILLI: u64 = 1_000_000;
        self.started.max(UnixMillis(now.wall.0.saturating_sub(now.mono.0 / MILLI)))
    }
}

const LATER_EPOCH: &str = "It votes again, if it keeps running, in the first epoch that begins more than twice what clocks \
                           may differ by after its start: the others make one with `quorate tx approve validators --same`.";

/// What the operator can do.
fn advice(error: &VoteLogError) -> &'static str {
    match error {
        VoteLogError::NoMark { .. } => {
            "If the mark was left behind when the key was moved, stop this node and bring config/validator.mark and \
             data/votes from the machine where the key last signed."
        }
        VoteLogError::Lost { .. } => {
            "If data/votes still exists elsewhere, stop this node and restore it; never a copy that is older than what the \
             key last signed."
        }
        VoteLogError::Foreign { .. } | VoteLogError::Behind { .. } | VoteLogError::Bound { .. } => {
            "Make sure that no other machine runs with this key, then restore the newest data/votes."
        }
        VoteLogError::Damaged { .. }
        | VoteLogError::NotALog { .. }
        | VoteLogError::Contradiction { .. }
        | VoteLogError::BadMark { .. } => "Keep the file, and check the disk.",
        VoteLogError::Io { .. } => "Mend what the message names, and start again.",
    }
}

#[cfg(test)]
mod tests;
