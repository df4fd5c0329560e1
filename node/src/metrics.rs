//! What a node counts and measures, in one registry, served at `GET /metrics` in the OpenMetrics text format.
//!
//! Names start with `quorate_`; counters end in `_total` (the encoder adds it), times are in seconds. The network adds
//! its own, and libp2p's, behind the same prefix ([`prefixed`]).
//!
//! A counter whose labels are known beforehand begins with each at 0, so that its first step is seen as one.

use std::{
    sync::atomic::AtomicU64,
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use quorate_consensus::{Evidence, Horizon};
use quorate_ledger::{Height, View};

use crate::runtime::ConsensusView;

/// Upper ends of the buckets of short times, in seconds: a sync of a fast disk to one of a sick one.
const SHORT_SECONDS: [f64; 12] = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0];
/// Upper ends of the buckets of commit latency, in seconds.
const LATENCY_SECONDS: [f64; 12] = [0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0];

type Level = Gauge<u64, AtomicU64>;

/// Handles on every metric; clones share the numbers.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Highest block executed.
    pub(crate) executed: Level,
    committed: Level,
    stable: Level,
    view: Level,
    epoch: Level,
    validator: Level,
    votes: Level,
    halted: Level,
    /// Transactions in the pool.
    pub(crate) pool_transactions: Level,
    /// Their bytes.
    pub(crate) pool_bytes: Level,
    /// Validators with streams in both directions.
    pub(crate) validators_connected: Level,
    /// Blocks committed since the start.
    pub(crate) blocks: Counter,
    /// Transactions committed since the start.
    pub(crate) transactions: Counter,
    views_left: Family<Rule, Counter>,
    rejections: Family<Reason, Counter>,
    pool_refusals: Family<Reason, Counter>,
    evidence: Family<Kind, Counter>,
    offences: Counter,
    /// Frames dropped because a peer sent more than could be looked at.
    pub(crate) frames_dropped: Counter,
    /// Blocks taken by catch-up.
    pub(crate) blocks_synced: Counter,
    sync_seconds: Histogram,
    execute_seconds: Histogram,
    commit_latency: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rule {
    rule: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// Where every name of a node is entered.
pub(crate) fn prefixed(registry: &mut Registry) -> &mut Registry {
    registry.sub_registry_with_prefix("quorate")
}

impl Metrics {
    /// Makes them and enters them in the registry.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::new();
        let quorate = prefixed(registry);
        metrics.register_levels(quorate);
        metrics.register_counts(quorate);
        quorate.register(
            "vote_log_sync_seconds",
            "Time to write and sync the records of one batch of events",
            metrics.sync_seconds.clone(),
        );
        quorate.register(
            "execute_seconds",
            "Time to execute and sync one batch of blocks",
            metrics.execute_seconds.clone(),
        );
        quorate.register(
            "commit_latency_seconds",
            "Time from a block's header time until it is executed and synced here",
            metrics.commit_latency.clone(),
        );
        metrics
    }

    fn new() -> Self {
        Self {
            executed: Level::default(),
            committed: Level::default(),
            stable: Level::default(),
            view: Level::default(),
            epoch: Level::default(),
            validator: Level::default(),
            votes: Level::default(),
            halted: Level::default(),
            pool_transactions: Level::default(),
            pool_bytes: Level::default(),
            validators_connected: Level::default(),
            blocks: Counter::default(),
            transactions: Counter::default(),
            views_left: Family::default(),
            rejections: Family::default(),
            pool_refusals: Family::default(),
            evidence: Family::default(),
            offences: Counter::default(),
            frames_dropped: Counter::default(),
            blocks_synced: Counter::default(),
            sync_seconds: Histogram::new(SHORT_SECONDS),
            execute_seconds: Histogram::new(SHORT_SECONDS),
            commit_latency: Histogram::new(LATENCY_SECONDS),
        }
    }

    fn register_levels(&self, registry: &mut Registry) {
        let levels = [
            ("height", "Highest block executed and synced", &self.executed),
            ("committed_height", "Highest height that a known commit certificate covers", &self.committed),
            ("stable_height", "Height of the last stable checkpoint", &self.stable),
            ("view", "View of the consensus engine", &self.view),
            ("epoch", "Epoch of the consensus engine", &self.epoch),
            (
                "validator",
                "1 when the key of this node is among the validators of that epoch",
                &self.validator,
            ),
            ("votes", "1 when this node votes in that epoch", &self.votes),
            ("halted", "1 when the engine has stopped signing for a fault it saw", &self.halted),
            ("pool_transactions", "Transactions in the pool", &self.pool_transactions),
            ("pool_bytes", "Bytes of transactions in the pool", &self.pool_bytes),
            ("validators_connected", "Other validators connected both ways", &self.validators_connected),
        ];
        for (name, help, level) in levels {
            registry.register(name, help, level.clone());
        }
    }

    fn register_counts(&self, registry: &mut Registry) {
        let counts = [
            ("blocks", "Blocks executed since the start", &self.blocks),
            ("transactions", "Transactions executed since the start", &self.transactions),
            ("offences", "Undecodable or invalid things that peers sent", &self.offences),
            ("frames_dropped", "Frames dropped because their sender sent too many", &self.frames_dropped),
            ("blocks_synced", "Blocks taken by catch-up instead of consensus", &self.blocks_synced),
        ];
        for (name, help, count) in counts {
            registry.register(name, help, count.clone());
        }
        registry.register(
            "views_left",
            "Times that this node asked for a later view, by the rule that made it",
            self.views_left.clone(),
        );
        registry.register("rejections", "Consensus messages refused, by rule", self.rejections.clone());
        registry.register("pool_refusals", "Transactions refused, by reason", self.pool_refusals.clone());
        for kind in Evidence::KINDS {
            // It is there from now on.
            drop(self.evidence.get_or_create(&Kind { kind }));
        }
        registry.register("evidence", "Proofs that a validator broke the protocol", self.evidence.clone());
    }

    /// The view that the engine is in, and how far it has come.
    pub(crate) fn moved(&self, view: View, horizon: Horizon) {
        self.view.set(view.0);
        self.committed.set(horizon.committed.0);
        self.stable.set(horizon.stable.0);
    }

    /// What the node shows of its part in consensus.
    pub(crate) fn shown(&self, view: &ConsensusView) {
        self.epoch.set(view.epoch.0);
        self.validator.set(view.index.is_some().into());
        self.votes.set(view.votes().into());
    }

    /// This node asks for a later view.
    pub(crate) fn left(&self, rule: &'static str) {
        self.views_left.get_or_create(&Rule { rule }).inc();
    }

    /// The engine signs nothing more.
    pub(crate) fn halted(&self) {
        self.halted.set(1);
    }

    /// A consensus message was refused.
    pub(crate) fn rejected(&self, reason: &'static str) {
        self.rejections.get_or_create(&Reason { reason }).inc();
    }

    /// The pool refused a transaction.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.pool_refusals.get_or_create(&Reason { reason }).inc();
    }

    /// A validator was caught.
    pub(crate) fn accused(&self, evidence: &Evidence) {
        self.evidence.get_or_create(&Kind { kind: evidence.kind() }).inc();
    }

    /// A peer sent something that nothing honest sends.
    pub(crate) fn offended(&self) {
        self.offences.inc();
    }

    /// The vote log was written and synced.
    pub(crate) fn log_synced(&self, since: Instant) {
        self.sync_seconds.observe(since.elapsed().as_secs_f64());
    }

    /// Blocks up to `height` were executed in one batch.
    pub(crate) fn executed_batch(&self, height: Height, took: Duration) {
        self.executed.set(height.0);
        self.execute_seconds.observe(took.as_secs_f64());
    }

    /// A block is executed so long after the time in its header.
    pub(crate) fn commit_latency(&self, millis: u64) {
        self.commit_latency.observe(Duration::from_millis(millis).as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use quorate_consensus::Role;
    use quorate_ledger::{Epoch, ValidatorIndex};

    use super::*;

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).expect("writing to a string");
        text
    }

    /// So that one rule finds, on whatever node, a validator that does not vote, and leaves those alone that follow.
    #[test]
    fn a_validator_that_does_not_vote_is_told_from_one_that_does_and_from_who_follows() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let levels = |view: &ConsensusView| {
            metrics.shown(view);
            let text = text(&registry);
            let level = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
                line.unwrap_or_else(|| panic!("{name}: {text}")).to_owned()
            };
            [level("quorate_epoch"), level("quorate_validator"), level("quorate_votes")]
        };
        let follows = ConsensusView {
            epoch: Epoch(3),
            view: View(0),
            primary: None,
            role: Role::Follower,
            index: None,
            committed: Height(7),
            executed: Height(7),
            stable: Height(7),
            in_flight: Vec::new(),
            syncing: false,
            halted: None,
            refused: None,
        };
        let votes = ConsensusView { index: Some(ValidatorIndex(2)), ..follows.clone() };
        let refused = ConsensusView { refused: Some("its log is lost".to_owned()), ..votes.clone() };
        let halted = ConsensusView { halted: Some("two blocks at height 8".to_owned()), ..votes.clone() };
        assert_eq!(levels(&votes), ["3", "1", "1"]);
        assert_eq!(levels(&refused), ["3", "1", "0"]);
        assert_eq!(levels(&halted), ["3", "1", "0"]);
        assert_eq!(levels(&follows), ["3", "0", "0"]);
    }

    #[test]
    fn every_name_is_there_once_and_prefixed() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.rejected("bad_signature");
        metrics.executed_batch(Height(7), Duration::from_millis(3));
        let text = text(&registry);
        assert!(text.contains("quorate_height 7"), "{text}");
        assert!(text.contains("quorate_rejections_total{reason=\"bad_signature\"} 1"), "{text}");
        for kind in Evidence::KINDS {
            let none = format!("quorate_evidence_total{{kind=\"{kind}\"}} 0");
            assert!(
                text.contains(&none),
                "what is not there before the first cannot be seen to rise: {text}"
            );
        }
        let mut names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert!(names.iter().all(|name| name.starts_with("quorate_")));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
