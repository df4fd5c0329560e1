//! Catching up by certified blocks: one mechanism for validators that were away and for observers.
//!
//! ```text
//!  offer (from a validator that saw we are behind) ─┐
//!  notice (gossip: there is a block)  ────────┴▶ claim ─▶ request Blocks{above} ─▶ check ─▶ consensus ─▶ executor
//!                                                        ▲                                              │
//!                                                        └───────────────── tip ◀───────────────────────┘
//! ```
//!
//! - A claimed height is never believed: it makes this node ask whoever claims it, and what comes must carry a commit
//!   certificate of the epoch's validators. Who claims and does not deliver is not asked again for a while, and validators
//!   are asked before strangers ([`claims`]).
//! - One request is under way at a time, and one answer waits while another is executed: memory stays bounded however
//!   far behind the node is. When nobody is known to be further, nothing is done.
//! - The signatures of transactions in certified blocks are not verified again: a quorum signed the block's hash, which
//!   covers each transaction's hash and so its signature; f + 1 correct validators have verified them.
//! - Every node that connects is asked once whether it has more: on an idle chain nobody announces anything.
//! - A node that votes gets blocks by voting; it asks only when it is still behind after a moment of grace. One that
//!   follows asks at once.
//! - A checkpoint certificate may not have been there when its block was: those by which anyone walks from epoch to epoch, and
//!   that of the newest block, are asked for by themselves, so that every node can prove what it tells ([`checkpoints`]).
//! - A block notice is forwarded to others once the block is here and executed, never on its word alone. Who
//!   executes a block that nobody has announced yet announces it.

mod checkpoints;
mod claims;

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use quorate_consensus::{Event, Role};
use quorate_crypto::{Hash, decode, encode};
use quorate_ledger::{CheckpointCertificate, Epoch, Height, Reader};
use quorate_network::{GossipToken, GossipVerdict, Network, PeerId, Target, Topic};
use tokio::sync::{mpsc, watch};

use self::{
    checkpoints::{Checkpoints, Gap},
    claims::{Claim, Claims, Standing},
};
use super::{
    handle::{ConsensusView, TipView},
    inbox::Inbox,
};
use crate::{
    metrics::Metrics,
    wire::{BlockNotice, Request, Response, Stretch},
};

/// Hints that wait; beyond it they are lost, and come again.
pub(super) const HINTS_MAX: usize = 256;
/// Announcements that wait for their block before they are forwarded; beyond it the oldest is not.
const NOTICES_MAX: usize = 64;
/// How long a node that votes waits before it asks for what it may be about to commit itself.
const GRACE_OF_VOTERS: Duration = Duration::from_millis(300);
/// How long an answer may take at first before somebody else is asked: a validator that is dead says so only when its
/// connection is given up. It doubles with each that takes longer, for lines that are slow.
const PATIENCE_MIN: Duration = Duration::from_secs(1);
/// What that grows to.
const PATIENCE_MAX: Duration = Duration::from_secs(16);
/// How long the executor may take for one answer before something else is tried.
const EXECUTION_MAX: Duration = Duration::from_secs(60);

/// What somebody says of how far the chain is.
#[derive(Debug)]
pub(super) enum Hint {
    /// A validator has certified blocks up to this height.
    Offered {
        /// Who says so.
        source: Target,
        /// How far it is.
        height: Height,
    },
    /// A peer passed on that a block exists.
    Announced {
        /// Who passed it on, so who has it.
        source: PeerId,
        /// Which block.
        notice: BlockNotice,
        /// For the verdict.
        token: GossipToken,
    },
}

/// The task's parts.
pub(super) struct SyncParts<M> {
    pub(super) chain: Hash,
    pub(super) network: Network,
    pub(super) reader: Reader,
    pub(super) inbox: Arc<Inbox<M>>,
    pub(super) hints: mpsc::Receiver<Hint>,
    pub(super) tip: watch::Receiver<TipView>,
    pub(super) view: watch::Sender<Arc<ConsensusView>>,
    pub(super) syncing: Arc<AtomicBool>,
    pub(super) metrics: Metrics,
}

/// The task's state.
pub(super) struct Sync<M> {
    parts: SyncParts<M>,
    claims: Claims<Target>,
    checkpoints: Checkpoints<PeerId>,
    notices: VecDeque<(BlockNotice, GossipToken)>,
    /// Highest block handed to consensus, or the tip.
    reached: Height,
    /// Highest block announced from here.
    told: Height,
    /// Peers that were asked when they connected.
    asked: HashSet<PeerId>,
    /// How long the next answer may take.
    patience: Duration,
}

/// Why an answer brings nothing.
#[derive(Debug, thiserror::Error)]
enum Nothing {
    /// It knows no more than this node.
    #[error("it has none above")]
    NoneAbove,
    /// It did not answer, or not the truth.
    #[error("{0}")]
    Failed(String),
}

impl Nothing {
    fn failed(why: impl ToString) -> Self {
        Self::Failed(why.to_string())
    }
}

/// What to do next.
enum Next {
    Pull(Target),
    Checkpoint(PeerId, Gap),
    Wait(Option<Instant>),
}

impl<M: Send + 'static> Sync<M> {
    pub(super) fn new(parts: SyncParts<M>) -> Self {
        let reached = parts.tip.borrow().height;
        Self {
            parts,
            claims: Claims::new(),
            checkpoints: Checkpoints::new(),
            notices: VecDeque::new(),
            reached,
            told: reached,
            asked: HashSet::new(),
            patience: PATIENCE_MIN,
        }
    }

    /// Runs until the node stops.
    pub(super) async fn run(mut self) {
        let mut peers = self.parts.network.changes();
        loop {
            self.ask_new_peers();
            self.settle();
            match self.next(Instant::now()) {
                Next::Pull(source) => self.pull(source).await,
                Next::Checkpoint(peer, gap) => self.fill(peer, gap).await,
                Next::Wait(until) => {
                    let until = until.map(tokio::time::Instant::from_std);
                    tokio::select! {
                        hint = self.parts.hints.recv() => match hint {
                            Some(hint) => self.note(hint),
                            None => return,
                        },
                        changed = self.parts.tip.changed() => if changed.is_err() { return },
                        changed = peers.changed() => if changed.is_err() { return },
                        () = sleep_until(until) => {}
                    }
                }
            }
        }
    }

    fn ask_new_peers(&mut self) {
        let connected: HashSet<PeerId> =
            self.parts.network.peers().into_iter().map(|info| info.peer).collect();
        for peer in connected.difference(&self.asked).copied().collect::<Vec<_>>() {
            self.claim(Target::Peer(peer), self.reached.next(), true);
        }
        self.asked = connected;
    }

    fn note(&mut self, hint: Hint) {
        match hint {
            Hint::Offered { source, height } => self.claim(source, height, false),
            Hint::Announced { source, notice, token } => {
                self.claim(Target::Peer(source), notice.height, false);
                self.notices.push_back((notice, token));
                if self.notices.len() > NOTICES_MAX
                    && let Some((_, token)) = self.notices.pop_front()
                {
                    self.parts.network.accept(token, GossipVerdict::Ignore);
                }
            }
        }
    }

    fn claim(&mut self, source: Target, height: Height, guess: bool) {
        let now = Instant::now();
        if height <= self.reached || self.claims.is_cooling(source, now) {
            return;
        }
        let window = self.window();
        if let Some(claim) = self.claims.of(source) {
            claim.height = claim.height.max(height);
            claim.guess &= guess;
            if claim.height.0.saturating_sub(self.reached.0) > window {
                claim.from = claim.from.min(now);
            }
            return;
        }
        let standing = self.standing(source);
        // Further behind than the window a voter accepts no proposal, and would never come up while it waits.
        let votes = self.parts.view.borrow().role != Role::Follower;
        let near = height.0.saturating_sub(self.reached.0) <= self.window();
        let from = if votes && near { now + GRACE_OF_VOTERS } else { now };
        self.claims.add(Claim { source, standing, height, from, guess, delivers: false });
    }

    /// How many heights may be in flight: who is further behind does not vote.
    fn window(&self) -> u64 {
        u64::from(self.parts.reader.epoch().parameters.window)
    }

    fn standing(&self, source: Target) -> Standing {
        let is_validator = match source {
            Target::Validator(_) => true,
            Target::Peer(peer) => {
                let mut peers = self.parts.network.peers().into_iter();
                peers.any(|info| info.peer == peer && info.validator.is_some())
            }
        };
        if is_validator { Standing::Validator } else { Standing::Stranger }
    }

    /// Draws what follows from the tip: claims that are met go, notices that came true are forwarded.
    fn settle(&mut self) {
        // What others have announced already is forwarded, not announced again.
        while let Ok(hint) = self.parts.hints.try_recv() {
            self.note(hint);
        }
        let shown = *self.parts.tip.borrow_and_update();
        let tip = shown.height;
        self.reached = self.reached.max(tip);
        let reached = self.reached;
        self.claims.met(reached);
        self.announce(shown);
        self.forward_notices(tip);
        self.look_for_gaps(tip);
        // Only who delivers is believed to have more, or one liar could make every node look behind.
        let committed = self.parts.view.borrow().committed;
        let best = self.claims.best().unwrap_or(tip).max(reached).max(committed);
        let syncing = best.0.saturating_sub(tip.0) > self.window();
        if self.parts.syncing.swap(syncing, Ordering::Relaxed) != syncing {
            tracing::info!(%tip, "{}", if syncing { "behind; catching up" } else { "caught up" });
            self.parts.view.send_modify(|view| Arc::make_mut(view).syncing = syncing);
        }
    }

    fn look_for_gaps(&mut self, tip: Height) {
        let reader = &self.parts.reader;
        let last = |epoch: Epoch| reader.epoch_numbered(epoch.next()).map(|next| next.base().0);
        // The executor meets the same disk and ends the node.
        let stored = |height| reader.checkpoint(height).is_ok_and(|found| found.is_some());
        self.checkpoints.look(last, tip, stored, Instant::now());
    }

    fn announce(&mut self, tip: TipView) {
        let notice = BlockNotice { height: tip.height, hash: tip.hash };
        let behind = self.parts.syncing.load(Ordering::Relaxed);
        if tip.height > self.told && !behind {
            self.told = tip.height;
            if self.notices.iter().all(|(heard, _)| *heard != notice) {
                self.parts.network.publish(Topic::Blocks, encode(&notice));
            }
        }
    }

    fn forward_notices(&mut self, tip: Height) {
        for (notice, token) in std::mem::take(&mut self.notices) {
            if notice.height > tip {
                self.notices.push_back((notice, token));
                continue;
            }
            let verdict = match self.parts.reader.height_of(&notice.hash) {
                Ok(Some(height)) if height == notice.height => GossipVerdict::Accept,
                // An executed height has one block for ever, so nobody honest ever announced this.
                Ok(_) => GossipVerdict::Reject,
                Err(error) => {
                    tracing::error!(%error, "cannot read a block's height");
                    GossipVerdict::Ignore
                }
            };
            self.parts.network.accept(token, verdict);
        }
    }

    fn next(&mut self, now: Instant) -> Next {
        if let Some(source) = self.claims.next(now) {
            return Next::Pull(source);
        }
        match self.checkpoints.next(&self.asked, now) {
            Some((peer, gap)) => Next::Checkpoint(peer, gap),
            None => Next::Wait(self.claims.next_from().into_iter().chain(self.checkpoints.next_from()).min()),
        }
    }

    /// Asks one node for what comes above what was reached. Whatever fails, somebody else is next.
    async fn pull(&mut self, source: Target) {
        let above = self.reached;
        match self.ask(source, above).await {
            Ok(Stretch { blocks, checkpoint }) => {
                if !self.executed(above).await {
                    // Consensus did not take them, or the executor is stuck: start over from the tip.
                    self.reached = self.parts.tip.borrow().height;
                    self.claims.had_nothing(source, Instant::now());
                    return;
                }
                let count = blocks.blocks.len();
                let last = blocks.blocks.last().expect("checked blocks are at least one");
                self.reached = last.height();
                tracing::debug!(?source, from = %above.next(), to = %self.reached, "certified blocks");
                self.parts.metrics.blocks_synced.inc_by(count as u64);
                self.parts.inbox.answer(Event::Certified(blocks));
                if let Some(checkpoint) = checkpoint {
                    self.parts.inbox.answer(Event::Checkpoint(checkpoint));
                }
                self.claims.delivered_now(source);
                if let Some(claim) = self.claims.of(source).filter(|claim| claim.guess) {
                    claim.height = claim.height.max(self.reached.next());
                }
            }
            Err(why) => {
                tracing::debug!(?source, %above, %why, "no certified blocks");
                let guess = self.claims.of(source).is_some_and(|claim| claim.guess);
                match why {
                    Nothing::NoneAbove if guess => self.claims.remove(source),
                    Nothing::NoneAbove => self.claims.had_nothing(source, Instant::now()),
                    Nothing::Failed(_) => self.claims.failed(source, Instant::now()),
                }
            }
        }
    }

    async fn ask(&mut self, source: Target, above: Height) -> Result<Stretch, Nothing> {
        let stretch = match self.request(source, &Request::Blocks { above }).await? {
            Response::Blocks(Some(stretch)) => *stretch,
            Response::Blocks(None) => return Err(Nothing::NoneAbove),
            Response::Bodies(_) | Response::Block(_) | Response::Checkpoint(_) | Response::Readiness(_) => {
                return Err(Nothing::failed("the answer is to another question"));
            }
        };
        // Whose signatures a later epoch needs is known once the last block of this one is executed.
        let later = stretch.blocks.certificate.payload.epoch > self.parts.reader.epoch().number;
        if later && !self.executed(above).await {
            return Err(Nothing::failed("the blocks below are not executed yet"));
        }
        let (chain, reader) = (self.parts.chain, self.parts.reader.clone());
        // Hashing and verifying is work for another thread than the async runtime's.
        tokio::task::spawn_blocking(move || check(stretch, above, &chain, &reader))
            .await
            .map_err(Nothing::failed)?
    }

    async fn request(&mut self, source: Target, request: &Request) -> Result<Response, Nothing> {
        let request = encode(request);
        let answer = tokio::time::timeout(self.patience, self.parts.network.request(source, request)).await;
        let Ok(answer) = answer else {
            let waited = self.patience;
            self.patience = (waited * 2).min(PATIENCE_MAX);
            return Err(Nothing::failed(format!("no answer within {} ms", waited.as_millis())));
        };
        self.patience = PATIENCE_MIN;
        let answer = answer.map_err(Nothing::failed)?;
        // Megabytes are decoded where that holds up nobody else.
        let response = tokio::task::spawn_blocking(move || decode::<Response>(&answer));
        response.await.map_err(Nothing::failed)?.map_err(Nothing::failed)
    }

    /// Asks one node for a checkpoint certificate. Whatever fails, somebody else is next.
    async fn fill(&mut self, peer: PeerId, gap: Gap) {
        match self.ask_checkpoint(peer, gap).await {
            Ok(certificate) => {
                tracing::debug!(%peer, height = %gap.height, "a checkpoint certificate");
                self.parts.inbox.checkpoint(certificate);
                self.checkpoints.told(Instant::now());
            }
            Err(why) => tracing::debug!(%peer, height = %gap.height, %why, "no checkpoint certificate"),
        }
    }

    async fn ask_checkpoint(&mut self, peer: PeerId, gap: Gap) -> Result<CheckpointCertificate, Nothing> {
        let request = Request::Checkpoint { height: gap.height };
        let certificate = match self.request(Target::Peer(peer), &request).await? {
            Response::Checkpoint(Some(certificate)) => *certificate,
            Response::Checkpoint(None) => return Err(Nothing::failed("it has none either")),
            Response::Bodies(_) | Response::Block(_) | Response::Blocks(_) | Response::Readiness(_) => {
                return Err(Nothing::failed("the answer is to another question"));
            }
        };
        let (chain, reader) = (self.parts.chain, self.parts.reader.clone());
        tokio::task::spawn_blocking(move || check_checkpoint(certificate, gap, &chain, &reader))
            .await
            .map_err(Nothing::failed)?
    }

    /// Waits until what was handed over before is executed; false if it takes too long.
    async fn executed(&mut self, height: Height) -> bool {
        let reached = self.parts.tip.wait_for(|tip| tip.height >= height);
        matches!(tokio::time::timeout(EXECUTION_MAX, reached).await, Ok(Ok(_)))
    }
}

/// Checks an answer: consecutive blocks right above, with a certificate of the validators of their epoch.
fn check(stretch: Stretch, above: Height, chain: &Hash, reader: &Reader) -> Result<Stretch, Nothing> {
    let Stretch { blocks, checkpoint } = &stretch;
    let first = blocks.blocks.first().map(|block| block.height());
    if first != Some(above.next()) {
        return Err(Nothing::failed("they do not start where was asked"));
    }
    let epoch = reader.epoch_at(above.next());
    if blocks.certificate.payload.epoch != epoch.number {
        return Err(Nothing::failed("they are not of the epoch of the next block"));
    }
    blocks.check(chain, &epoch.validators).map_err(Nothing::failed)?;
    if let Some(checkpoint) = checkpoint {
        if checkpoint.payload.epoch != epoch.number {
            return Err(Nothing::failed("the checkpoint is of another epoch"));
        }
        checkpoint.verify(chain, &epoch.validators).map_err(Nothing::failed)?;
    }
    Ok(stretch)
}

/// Checks what is told to be the certificate that is missing.
fn check_checkpoint(
    certificate: CheckpointCertificate,
    gap: Gap,
    chain: &Hash,
    reader: &Reader,
) -> Result<CheckpointCertificate, Nothing> {
    let payload = &certificate.payload;
    if (payload.epoch, payload.height) != (gap.epoch, gap.height) {
        return Err(Nothing::failed("the certificate is of another checkpoint"));
    }
    certificate.verify(chain, &reader.epoch_at(gap.height).validators).map_err(Nothing::failed)?;
    Ok(certificate)
}

async fn sleep_until(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
