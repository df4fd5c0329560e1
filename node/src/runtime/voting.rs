//! Whether this node votes, and what it does when it may not (`docs/pbft.md` §6).

use std::path::Path;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_consensus::{
    Promised, Voter,
    vote_log::{VoteLog, VoteLogError},
};
use quorate_crypto::SecretKey;
use quorate_ledger::{Epoch, ValidatorSet};

use super::log::NodeLog;
use crate::metrics::Metrics;

/// How a node takes part.
pub(super) struct Part<R> {
    /// Who votes here; none on a node that follows.
    pub(super) voter: Option<Voter>,
    /// Where its promises go.
    pub(super) log: NodeLog<R>,
    /// What it promised before.
    pub(super) records: Vec<R>,
    /// Why a node with a validator's key does not vote.
    pub(super) refused: Option<String>,
}

/// Where the promises of a key are kept.
pub(super) struct VotePaths<'a> {
    /// The directory of the log.
    pub(super) log: &'a Path,
    /// The mark beside the key.
    pub(super) mark: &'a Path,
}

impl<R: BorshSerialize + BorshDeserialize + Promised> Part<R> {
    /// Opens the vote log of a validator's key, if there is one that stands in the set.
    ///
    /// # Errors
    /// The machine's. A log that tells against voting is none: the node then follows, and says why.
    pub(super) fn of(
        key: Option<&SecretKey>,
        validators: &ValidatorSet,
        epoch: Epoch,
        paths: &VotePaths<'_>,
        metrics: &Metrics,
    ) -> Result<Self, VoteLogError> {
        let Some(key) = key else { return Ok(Self::follow(None)) };
        let public = key.public();
        let Some(index) = validators.index_of(&public) else {
            let why =
                format!("its key {public} is not among the {} validators of epoch {epoch}", validators.len());
            tracing::warn!(
                "this node follows without voting: {why}. Check that \
                 config/validator.pem is the key you meant."
            );
            return Ok(Self::follow(Some(why)));
        };
        match VoteLog::open(paths.log, paths.mark) {
            Ok((log, records)) => {
                let voter = Some(Voter { index, key: key.clone() });
                let log = NodeLog::Votes { log, metrics: Box::new(metrics.clone()) };
                Ok(Self { voter, log, records, refused: None })
            }
            Err(error) if error.is_refusal() => {
                tracing::warn!(
                    "this node follows without voting: {error}. A key that may have signed what this node does not know \
                     could contradict itself, so it signs nothing more in this epoch. {}",
                    advice(&error)
                );
                Ok(Self::follow(Some(error.to_string())))
            }
            Err(error) => Err(error),
        }
    }

    fn follow(refused: Option<String>) -> Self {
        Self { voter: None, log: NodeLog::Nothing, records: Vec::new(), refused }
    }
}

/// What the operator can do.
fn advice(error: &VoteLogError) -> &'static str {
    match error {
        VoteLogError::NoMark { .. } => {
            "If the mark was left behind when the key was moved, stop this node and bring config/validator.mark and \
             data/votes from the machine where the key last signed. Otherwise the key is lost to this chain: the set of \
             validators cannot be changed yet."
        }
        VoteLogError::Lost { .. } => {
            "If data/votes still exists elsewhere, stop this node and put it back. Otherwise the key is lost to this chain: \
             the set of validators cannot be changed yet."
        }
        VoteLogError::Foreign { .. } | VoteLogError::Behind { .. } => {
            "Make sure that no other machine runs with this key, then put back the newest data/votes. Without it the key \
             is lost to this chain: the set of validators cannot be changed yet."
        }
        VoteLogError::Damaged { .. } | VoteLogError::NotALog { .. } | VoteLogError::BadMark { .. } => {
            "Keep the file, and check the disk. Unless an undamaged one is found, the key is lost to this chain: the set of \
             validators cannot be changed yet."
        }
        VoteLogError::Bound { .. } => "It votes again in an epoch above that one.",
        VoteLogError::Io { .. } => "Mend what the message names, and start again.",
    }
}
