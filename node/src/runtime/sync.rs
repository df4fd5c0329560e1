//! Catching up by certified blocks: one mechanism for validators that were away and for observers.
//!
//! ```text
//!  offer (from a validator that saw we are behind) ─┐
//!  announcement (gossip: there is a block)  ────────┴▶ claim ─▶ request Blocks{above} ─▶ check ─▶ consensus ─▶ executor
//!                                                        ▲                                              │
//!                                                        └───────────────── tip ◀───────────────────────┘
//! ```
//!
//! - A claimed height is never believed: it makes this node ask whoever claims it, and what comes must carry a commit
//!   certificate of the epoch's validators. Who claims and does not deliver is not asked again for a while.
//! - One request is under way at a time, and one answer waits while another is executed: memory stays bounded however
//!   far behind the node is. When nobody is known to be further, nothing is done.
//! - The signatures of transactions in certified blocks are not verified again: a quorum signed the block's hash, which
//!   covers each transaction's hash and so its signature; f + 1 correct validators have verified them.
//! - A node that votes gets blocks by voting; it asks only when it is still behind after a moment of grace. One that
//!   follows asks at once.
//! - A block announcement is forwarded to others once the block is here and executed, never on its word alone. Who
//!   executes a block that nobody has announced yet announces it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use quorate_consensus::Event;
use quorate_crypto::{Hash, decode, encode};
use quorate_ledger::{CertifiedBlocks, Height, Reader};
use quorate_network::{GossipToken, GossipVerdict, Network, PeerId, Target, Topic};
use tokio::sync::{mpsc, watch};

use super::{
    handle::{ConsensusView, TipView},
    inbox::Inbox,
};
use crate::{
    metrics::Metrics,
    wire::{Announcement, Request, Response},
};

/// Hints that wait; beyond it they are lost, and come again.
pub(super) const HINTS_MAX: usize = 256;
/// Nodes whose claims are remembered; beyond it the lowest claim goes.
const CLAIMS_MAX: usize = 64;
/// Announcements that wait for their block before they are forwarded; beyond it the oldest is not.
const ANNOUNCEMENTS_MAX: usize = 64;
/// How long a node that votes waits before it asks for what it may be about to commit itself.
pub(super) const GRACE_OF_VOTERS: Duration = Duration::from_millis(300);
/// How long a node that did not deliver is not asked.
const COOL_DOWN: Duration = Duration::from_secs(3);
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
        announcement: Announcement,
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
    /// How long this node waits for what it may commit itself.
    pub(super) grace: Duration,
    /// Behind by more than this many heights the node says that it is syncing.
    pub(super) window: u64,
}

/// The task's state.
pub(super) struct Sync<M> {
    parts: SyncParts<M>,
    claims: Vec<Claim>,
    /// Who claimed and did not deliver, and until when it is not listened to.
    cooling: VecDeque<(Target, Instant)>,
    announcements: VecDeque<(Announcement, GossipToken)>,
    /// Highest block handed to consensus, or the tip.
    reached: Height,
    /// Highest block announced from here.
    told: Height,
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    source: Target,
    height: Height,
    /// Not to be followed before.
    from: Instant,
    /// Whether blocks have come from there since it claimed more than this node has.
    delivers: bool,
}

/// What to do next.
enum Next {
    Pull(Target),
    Wait(Option<Instant>),
}

impl<M: Send + 'static> Sync<M> {
    pub(super) fn new(parts: SyncParts<M>) -> Self {
        let reached = parts.tip.borrow().height;
        Self {
            parts,
            claims: Vec::new(),
            cooling: VecDeque::new(),
            announcements: VecDeque::new(),
            reached,
            told: reached,
        }
    }

    /// Runs until the node stops.
    pub(super) async fn run(mut self) {
        loop {
            self.settle();
            match self.next(Instant::now()) {
                Next::Pull(source) => self.pull(source).await,
                Next::Wait(until) => {
                    let until = until.map(tokio::time::Instant::from_std);
                    tokio::select! {
                        hint = self.parts.hints.recv() => match hint {
                            Some(hint) => self.note(hint),
                            None => return,
                        },
                        changed = self.parts.tip.changed() => if changed.is_err() { return },
                        () = sleep_until(until) => {}
                    }
                }
            }
        }
    }

    fn note(&mut self, hint: Hint) {
        match hint {
            Hint::Offered { source, height } => self.claim(source, height),
            Hint::Announced { source, announcement, token } => {
                self.claim(Target::Peer(source), announcement.height);
                self.announcements.push_back((announcement, token));
                if self.announcements.len() > ANNOUNCEMENTS_MAX
                    && let Some((_, token)) = self.announcements.pop_front()
                {
                    self.parts.network.accept(token, GossipVerdict::Ignore);
                }
            }
        }
    }

    fn claim(&mut self, source: Target, height: Height) {
        let now = Instant::now();
        self.cooling.retain(|(_, until)| *until > now);
        if height <= self.reached || self.cooling.iter().any(|(cooling, _)| *cooling == source) {
            return;
        }
        if let Some(claim) = self.claims.iter_mut().find(|claim| claim.source == source) {
            claim.height = claim.height.max(height);
            return;
        }
        self.claims.push(Claim { source, height, from: now + self.parts.grace, delivers: false });
        if self.claims.len() > CLAIMS_MAX {
            let lowest = (0..self.claims.len()).min_by_key(|at| self.claims[*at].height);
            self.claims.swap_remove(lowest.expect("a full list has a lowest claim"));
        }
    }

    /// Draws what follows from the tip: claims that are met go, announcements that came true are forwarded.
    fn settle(&mut self) {
        // What others have announced already is forwarded, not announced again.
        while let Ok(hint) = self.parts.hints.try_recv() {
            self.note(hint);
        }
        let shown = *self.parts.tip.borrow_and_update();
        let tip = shown.height;
        self.reached = self.reached.max(tip);
        let reached = self.reached;
        self.claims.retain(|claim| claim.height > reached);
        self.announce(shown);
        self.forward_announcements(tip);
        // Only who delivers is believed to have more, or one liar could make every node look behind.
        let best = self.claims.iter().filter(|claim| claim.delivers).map(|claim| claim.height).max();
        let best = best.unwrap_or(tip);
        let syncing = best.0.saturating_sub(tip.0) > self.parts.window;
        if self.parts.syncing.swap(syncing, Ordering::Relaxed) != syncing {
            tracing::info!(%tip, "{}", if syncing { "behind; catching up" } else { "caught up" });
            self.parts.view.send_modify(|view| Arc::make_mut(view).syncing = syncing);
        }
    }

    fn announce(&mut self, tip: TipView) {
        let announcement = Announcement { height: tip.height, hash: tip.hash };
        let behind = self.parts.syncing.load(Ordering::Relaxed);
        if tip.height > self.told && !behind {
            self.told = tip.height;
            if self.announcements.iter().all(|(heard, _)| *heard != announcement) {
                self.parts.network.publish(Topic::Blocks, encode(&announcement));
            }
        }
    }

    fn forward_announcements(&mut self, tip: Height) {
        for (announcement, token) in std::mem::take(&mut self.announcements) {
            if announcement.height > tip {
                self.announcements.push_back((announcement, token));
                continue;
            }
            let verdict = match self.parts.reader.height_of(&announcement.hash) {
                Ok(Some(height)) if height == announcement.height => GossipVerdict::Accept,
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

    fn next(&self, now: Instant) -> Next {
        let ready = self.claims.iter().filter(|claim| claim.from <= now).max_by_key(|claim| claim.height);
        match ready {
            Some(claim) => Next::Pull(claim.source),
            None => Next::Wait(self.claims.iter().map(|claim| claim.from).min()),
        }
    }

    /// Asks one node for what comes above what was reached. Whatever fails, somebody else is next.
    async fn pull(&mut self, source: Target) {
        let above = self.reached;
        match self.ask(source, above).await {
            Ok(blocks) => {
                if !self.executed(above).await {
                    // Consensus did not take them, or the executor is stuck: start over from the tip.
                    self.reached = self.parts.tip.borrow().height;
                    self.cool_down(source);
                    return;
                }
                let count = blocks.blocks.len();
                let last = blocks.blocks.last().expect("checked blocks are at least one");
                self.reached = last.height();
                tracing::debug!(?source, from = %above.next(), to = %self.reached, "certified blocks");
                self.parts.metrics.blocks_synced.inc_by(count as u64);
                self.parts.inbox.answer(Event::Certified(blocks));
                if let Some(claim) = self.claims.iter_mut().find(|claim| claim.source == source) {
                    claim.delivers = true;
                }
            }
            Err(why) => {
                tracing::debug!(?source, %above, %why, "no certified blocks");
                self.cool_down(source);
            }
        }
    }

    async fn ask(&self, source: Target, above: Height) -> Result<CertifiedBlocks, String> {
        let request = encode(&Request::Blocks { above });
        let answer = self.parts.network.request(source, request).await.map_err(|error| error.to_string())?;
        let (chain, reader) = (self.parts.chain, self.parts.reader.clone());
        // Hashing and verifying is work for another thread than the async runtime's.
        tokio::task::spawn_blocking(move || check(&answer, above, &chain, &reader))
            .await
            .map_err(|error| error.to_string())?
    }

    /// Waits until what was handed over before is executed; false if it takes too long.
    async fn executed(&mut self, height: Height) -> bool {
        let reached = self.parts.tip.wait_for(|tip| tip.height >= height);
        matches!(tokio::time::timeout(EXECUTION_MAX, reached).await, Ok(Ok(_)))
    }

    fn cool_down(&mut self, source: Target) {
        self.claims.retain(|claim| claim.source != source);
        if self.cooling.len() == CLAIMS_MAX {
            self.cooling.pop_front();
        }
        self.cooling.push_back((source, Instant::now() + COOL_DOWN));
    }
}

/// Checks an answer: consecutive blocks right above, with a certificate of the validators of their epoch.
fn check(bytes: &[u8], above: Height, chain: &Hash, reader: &Reader) -> Result<CertifiedBlocks, String> {
    let response = decode::<Response>(bytes).map_err(|error| error.to_string())?;
    let Response::Blocks(Some(blocks)) = response else { return Err("it has none above".to_owned()) };
    let first = blocks.blocks.first().map(|block| block.height());
    if first != Some(above.next()) {
        return Err("they do not start where was asked".to_owned());
    }
    let validators = reader.validators(above.next());
    blocks.check(chain, &validators).map_err(|error| error.to_string())?;
    Ok(blocks)
}

async fn sleep_until(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
