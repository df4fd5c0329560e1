//! What the pool's thread is asked, and by whom.

use std::sync::Arc;

use quorate_consensus::Proposal;
use quorate_crypto::{Hash, PublicKey};
use quorate_ledger::{Anchor, Block, EpochStart, Header, Height, Transaction, UnixMillis};
use tokio::sync::oneshot;

use super::super::handle::Submission;
use super::fetch::Fetched;

/// Transactions in one [`PoolCommand::Take`], so that what consensus asks waits for no more than these.
pub(crate) const TAKE_MAX: usize = 256;

/// What the pool's thread is asked.
#[derive(Debug)]
pub(crate) enum PoolCommand {
    /// A client's transaction; its signature is verified.
    Submit(Submission),
    /// Transactions of a peer, which keep the rules that need no state; their signatures are verified.
    Take {
        /// At most [`TAKE_MAX`].
        transactions: Vec<Arc<Transaction>>,
        /// Takes how many of them are here then.
        reply: oneshot::Sender<usize>,
    },
    /// Make a block.
    Build {
        /// Its height.
        height: Height,
        /// Hash of the block below.
        parent: Hash,
        /// What its header vouches for.
        anchor: Anchor,
        /// Its time.
        time: UnixMillis,
    },
    /// Judge a proposal.
    Check {
        /// What is proposed.
        proposal: Arc<Proposal>,
        /// Who proposed it and so has the bodies.
        from: PublicKey,
    },
    /// Bodies that a check was waiting for.
    Fetched(Fetched),
    /// Get a block that others have accepted.
    FetchBlock {
        /// Its header.
        header: Header,
        /// Who should have it.
        from: PublicKey,
    },
    /// A block that was asked for.
    FetchedBlock(Arc<Block>),
    /// What the engine has accepted and not delivered.
    Accepted {
        /// All of it, of every view: the bodies are kept.
        blocks: Vec<Arc<Block>>,
        /// Those in flight in the current view: what they hold does not wait.
        in_flight: Vec<Hash>,
    },
    /// A block is final.
    Committed {
        /// The block.
        block: Arc<Block>,
        /// Whether it has a commit certificate of its own.
        certified: bool,
    },
    /// Blocks up to this height are executed and synced.
    Executed(Height),
    /// The blocks to come are of this epoch.
    Epoch(Box<NextEpoch>),
    /// A validator came up.
    Connected(PublicKey),
    /// Somebody asks for bodies.
    Bodies {
        /// Of these transactions.
        hashes: Vec<Hash>,
        /// Takes those that are here.
        reply: oneshot::Sender<Vec<Arc<Transaction>>>,
    },
    /// Somebody asks for a block in flight.
    Block {
        /// Its hash.
        hash: Hash,
        /// Takes it, if it is here.
        reply: oneshot::Sender<Option<Arc<Block>>>,
    },
    /// The node is stopping.
    Stop,
}

impl PoolCommand {
    /// Whether it comes from clients or peers and may wait behind what consensus asks.
    pub(super) fn may_wait(&self) -> bool {
        match self {
            Self::Submit(_) | Self::Take { .. } | Self::Bodies { .. } | Self::Block { .. } => true,
            Self::Build { .. }
            | Self::Check { .. }
            | Self::Fetched(_)
            | Self::FetchBlock { .. }
            | Self::FetchedBlock(_)
            | Self::Accepted { .. }
            | Self::Committed { .. }
            | Self::Executed(_)
            | Self::Epoch(_)
            | Self::Connected(_)
            | Self::Stop => false,
        }
    }
}

/// An epoch that begins.
#[derive(Debug)]
pub(crate) struct NextEpoch {
    /// What it is.
    pub(crate) epoch: EpochStart,
    /// Whether this node votes in it.
    pub(crate) votes: bool,
}
