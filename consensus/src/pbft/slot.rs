//! What a replica holds of one height above its base: the blocks it accepted, and a round of votes for each view.

use std::{collections::BTreeMap, sync::Arc};

use quorate_crypto::{Hash, MultiSignature};
use quorate_ledger::{Block, CheckpointCertificate, CommitPayload, ValidatorIndex, View};

use super::{
    message::{PrePrepare, Vote},
    tally::Tally,
};
use crate::evidence::VoteKind;

/// Everything about one height that is not yet the ledger's alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    /// Bodies of all accepted blocks, of every view (`docs/pbft.md` §3.2).
    pub(super) blocks: BTreeMap<Hash, Arc<Block>>,
    /// Votes and proposal by view. Boxed: a map sets room aside for eleven, and there is one, or a few.
    pub(super) rounds: BTreeMap<View, Box<Round>>,
}

/// One height in one view.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) proposal: Stage,
    pub(super) prepares: Tally<CommitPayload>,
    pub(super) commits: Tally<CommitPayload>,
    /// The prepared certificate, once this replica holds one.
    pub(super) prepared: Option<Prepared>,
}

/// How far a proposal has come here.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// There is none.
    Empty,
    /// Its parent is not here yet.
    Waiting {
        message: PrePrepare,
        /// Who sent it and surely has the bodies.
        from: ValidatorIndex,
    },
    /// The runtime fetches its bodies and asks the ledger's rules.
    Checking(PrePrepare),
    /// Accepted and recorded with its body.
    Accepted(Accepted),
}

/// An accepted proposal; its body is in [`Slot::blocks`].
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) block: Arc<Block>,
    pub(super) view: View,
    /// The primary's PREPARE that came with it; none for what NEW-VIEW proposes again.
    pub(super) prepare: Option<Vote>,
    pub(super) anchor: Option<Arc<CheckpointCertificate>>,
}

/// A prepared certificate.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) payload: CommitPayload,
    pub(super) signatures: MultiSignature,
}

impl Round {
    pub(super) fn new(n: usize) -> Self {
        Self { proposal: Stage::Empty, prepares: Tally::new(n), commits: Tally::new(n), prepared: None }
    }

    pub(super) fn votes(&self, kind: VoteKind) -> &Tally<CommitPayload> {
        match kind {
            VoteKind::Prepare => &self.prepares,
            VoteKind::Commit => &self.commits,
        }
    }

    pub(super) fn votes_mut(&mut self, kind: VoteKind) -> &mut Tally<CommitPayload> {
        match kind {
            VoteKind::Prepare => &mut self.prepares,
            VoteKind::Commit => &mut self.commits,
        }
    }

    /// The accepted proposal.
    pub(super) fn accepted(&self) -> Option<&Accepted> {
        match &self.proposal {
            Stage::Accepted(accepted) => Some(accepted),
            Stage::Empty | Stage::Waiting { .. } | Stage::Checking(_) => None,
        }
    }
}
