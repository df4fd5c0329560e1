//! What a replica holds of one height above its base: the blocks it accepted, and a round of votes for each view.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quorate_crypto::{Hash, MultiSignature};
use quorate_ledger::{Block, CheckpointCertificate, CommitPayload, ValidatorIndex, View};

use super::{
    message::{PrePrepare, Vote},
    record::Record,
    tally::Tally,
};
use crate::evidence::VoteKind;

/// Rounds of one height, the newest, in which others' votes are counted. A chain that commits nothing goes from view to view,
/// with a round for each: what is kept of earlier ones is [`Slot::thin`]'s to say. COMMITs of further old views are not taken
/// where so many rounds are.
pub(super) const ROUNDS_MAX: usize = 16;

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

impl Slot {
    /// Whether votes of this view, of which some are held, are counted still.
    pub(super) fn counts(&self, view: View) -> bool {
        self.rounds.contains_key(&view)
            && self.rounds.range(view..).take(ROUNDS_MAX + 1).count() <= ROUNDS_MAX
    }

    /// What the log is to be told of a proposal that is accepted here now: with the body only where it has none yet. It has that of
    /// each block that a round has accepted, and of each accepted block one such round stays; that a body is here is not
    /// enough, since it may have been fetched.
    pub(super) fn acceptance(&self, accepted: &Accepted) -> Record {
        let hash = accepted.block.hash();
        let mut rounds = self.rounds.values().filter_map(|it| it.accepted());
        if rounds.any(|it| it.block.hash() == hash) { accepted.again() } else { accepted.first() }
    }

    /// Lets go of what is held of old views and nobody needs: in all but the newest rounds votes of those who have cast a newer
    /// one, proposals that are not accepted, acceptances of a block that a newer round has accepted too, and certificates
    /// below a newer one.
    ///
    /// Nothing is lost by it. If Q COMMITs of an old view exist, a quorum of validators holds the block as prepared, and the
    /// next view that has the time proposes it again (§4.2); a VIEW-CHANGE names the certificate of the highest view; who asks
    /// what it signed is told of its newest votes (§6). What stays is besides what one's own log must say: own votes of each
    /// view voted in, and the body of each block accepted. So old rounds hold two votes for each other validator, however
    /// many views there were.
    pub(super) fn thin(&mut self, own: Option<ValidatorIndex>) {
        let Some(oldest) = self.rounds.keys().rev().nth(ROUNDS_MAX - 1).copied() else { return };
        let certified = self.rounds.iter().rev().find(|(_, it)| it.prepared.is_some()).map(|(view, _)| *view);
        let mut accepted = BTreeSet::new();
        let mut voters = [BTreeSet::new(), BTreeSet::new()];
        for (view, round) in self.rounds.iter_mut().rev() {
            let block = round.accepted().map(|it| it.block.hash());
            let repeated = block.is_some_and(|it| !accepted.insert(it));
            if *view < oldest {
                if repeated || block.is_none() {
                    round.proposal = Stage::Empty;
                }
                if certified != Some(*view) {
                    round.prepared = None;
                }
            }
            for (tally, newer) in [&mut round.prepares, &mut round.commits].into_iter().zip(&mut voters) {
                if *view < oldest {
                    tally.keep_of(|voter| Some(voter) == own || !newer.contains(&voter));
                }
                newer.extend(tally.voters());
            }
        }
        self.rounds.retain(|view, round| *view >= oldest || !round.is_empty());
    }
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

impl Accepted {
    /// The record of it for a log without the body.
    pub(super) fn first(&self) -> Record {
        let Self { block, view, prepare, anchor } = self.clone();
        Record::Accepted { block, view, prepare, anchor }
    }

    /// The record of it for a log that holds the body.
    pub(super) fn again(&self) -> Record {
        let Self { block, view, prepare, anchor } = self.clone();
        let (epoch, height) = (block.header().epoch, block.height());
        let payload = CommitPayload { epoch, view, height, block: block.hash() };
        Record::AcceptedAgain { payload, prepare, anchor }
    }
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

    fn is_empty(&self) -> bool {
        let voted = !self.prepares.is_empty() || !self.commits.is_empty();
        !voted && self.prepared.is_none() && matches!(self.proposal, Stage::Empty)
    }

    /// The accepted proposal.
    pub(super) fn accepted(&self) -> Option<&Accepted> {
        match &self.proposal {
            Stage::Accepted(accepted) => Some(accepted),
            Stage::Empty | Stage::Waiting { .. } | Stage::Checking(_) => None,
        }
    }
}
