//! The logs that a node drives its engine with: the file of votes, timed; or none, for a node that signs nothing.

use std::{io, time::Instant};

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_consensus::{Log, Promised, vote_log::VoteLog};

use crate::metrics::Metrics;

/// Where the engine's records go.
#[derive(Debug)]
pub(super) enum NodeLog<R> {
    /// To the disk, before anything they allow is done.
    Votes {
        /// The file.
        log: VoteLog<R>,
        /// Takes the time of each sync.
        metrics: Box<Metrics>,
    },
    /// Nowhere: who signs nothing has no promise to keep. What it accepted and has not executed it gets again as
    /// certified blocks.
    Nothing,
}

impl<R: BorshSerialize + BorshDeserialize + Promised> Log<R> for NodeLog<R> {
    fn append(&mut self, records: &[R]) -> io::Result<()> {
        match self {
            Self::Votes { log, metrics } => {
                let started = Instant::now();
                log.append(records)?;
                metrics.log_synced(started);
                Ok(())
            }
            Self::Nothing => Ok(()),
        }
    }

    fn wants_compaction(&self) -> bool {
        match self {
            Self::Votes { log, .. } => log.wants_compaction(),
            Self::Nothing => false,
        }
    }

    fn compact(&mut self, records: &[R]) -> io::Result<()> {
        match self {
            Self::Votes { log, .. } => log.compact(records),
            Self::Nothing => Ok(()),
        }
    }
}
