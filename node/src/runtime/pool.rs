//! The thread that owns the mempool.

use super::handle::Submission;

/// What the pool's thread is asked.
#[derive(Debug)]
pub(crate) enum PoolCommand {
    /// A client's transaction.
    Submit(Submission),
}
