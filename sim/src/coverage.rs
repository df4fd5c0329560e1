//! What happened in a run, counted: so that a thousand runs that held every claim can say what they went through.

use std::collections::BTreeMap;
use std::fmt;

/// Something that is counted, by the name that it has in reports. Whoever counts and whoever asks take it from one place, so
/// that a test which expects none of it does not ask for a name that nobody counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counter(&'static str);

impl Counter {
    /// One for each of a kind, as faults and lies have them.
    pub(crate) const fn named(name: &'static str) -> Self {
        Self(name)
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

macro_rules! counters {
    ($($name:ident = $text:literal;)*) => {
        impl Counter {
            $(#[doc = concat!("Counts: ", $text, ".")]
            pub const $name: Self = Self($text);)*
        }
    };
}

counters! {
    // Runs.
    RUNS = "runs";
    RUNS_WITH_REAL_SIGNATURES = "runs with real signatures";
    RUNS_WITH_PLANS = "runs with changes of epochs planned";
    RUNS_WITH_A_LIAR = "runs with a liar";
    RUNS_THAT_MEASURED_A_RECOVERY = "runs that measured a recovery";
    RUNS_WITH_SEVERAL_LIARS = "runs with several liars";
    SIMULATED_SECONDS = "simulated seconds";
    EVENTS_OF_THE_SIMULATION = "events of the simulation";
    // Chain.
    BLOCKS = "blocks";
    VOTES = "votes";
    TRANSACTIONS_COMMITTED = "transactions committed";
    TRANSACTIONS_SUBMITTED_AGAIN = "transactions submitted again";
    TRANSACTIONS_LEFT_TO_EXPIRE = "transactions left to expire";
    // Disks.
    STOPPED_ON_A_FULL_DISK = "stopped on a full disk";
    STOPPED_ON_A_FAILED_SYNC = "stopped on a failed sync";
    DIED_BETWEEN_LOG_AND_MARK = "died between log and mark";
    TORN_RECORD = "torn record";
    ROTTEN_LOG_REFUSED = "rotten log refused";
    SPOILT_MARK_REFUSED = "spoilt mark refused";
    ROTTEN_LOG_RENEWED = "rotten log renewed";
    FORGETFUL_REPLICA_ABSTAINS = "forgetful replica abstains";
    // Network.
    PACKETS_CORRUPTED = "packets corrupted";
    CORRUPTION_REFUSED = "corruption refused";
    // Views.
    VIEWS_ENTERED = "views entered";
    VIEWS_ENTERED_WITH_TWINS = "views entered with twins";
    VIEWS_ENTERED_WITH_A_LIAR = "views entered with a liar";
    VIEWS_ENTERED_UNDER_LOSS = "views entered under loss";
    VIEWS_ENTERED_IN_A_PARTITION = "views entered in a partition";
    VIEWS_ENTERED_AROUND_A_CRASH = "views entered around a crash";
    VIEWS_LEFT_PROPOSAL_TIMER = "views left: proposal timer";
    VIEWS_LEFT_PROGRESS_TIMER = "views left: progress timer";
    VIEWS_LEFT_INCLUSION_TIMER = "views left: inclusion timer";
    VIEWS_LEFT_NEW_VIEW_TIMER = "views left: new-view timer";
    VIEWS_LEFT_ROTATION = "views left: rotation";
    VIEWS_LEFT_FALSE_START = "views left: false NEW-VIEW";
    VIEWS_LEFT_WITH_OTHERS = "views left: f + 1 others had";
    // Epochs.
    APPROVALS_MADE = "approvals made";
    APPROVALS_THAT_FAILED = "approvals that failed";
    EPOCHS_BEGUN = "epochs begun";
    EPOCHS_BEGUN_WITH_TWINS = "epochs begun with twins";
    EPOCHS_BEGUN_WITH_A_LIAR = "epochs begun with a liar";
    EPOCHS_BEGUN_UNDER_LOSS = "epochs begun under loss";
    EPOCHS_BEGUN_IN_A_PARTITION = "epochs begun in a partition";
    EPOCHS_BEGUN_AROUND_A_CRASH = "epochs begun around a crash";
    EPOCHS_BEGUN_UNCHANGED = "epochs begun with the same set and parameters";
    EPOCHS_BEGUN_BY_HEIRS = "epochs begun with none of the set before";
    VALIDATORS_ADDED = "validators added";
    VALIDATORS_REMOVED = "validators removed";
    VALIDATORS_REPLACED = "validators replaced";
    PARAMETERS_CHANGED = "parameters changed";
    CLOSING_INSTANCE_RESTARTED = "closing instance restarted";
    CRASH_AT_EPOCH_END = "crash at an epoch's end";
    // Liars.
    LIARS_MESSAGE_REFUSED = "a liar's message refused";
    ACCUSATIONS = "accusations";
    EVIDENCE_TWO_PREPARES = "evidence: two PREPAREs";
    EVIDENCE_TWO_COMMITS = "evidence: two COMMITs";
    EVIDENCE_TWO_CHECKPOINTS = "evidence: two CHECKPOINTs";
    EVIDENCE_TWO_VIEW_CHANGES = "evidence: two VIEW-CHANGEs";
    EVIDENCE_TWO_NEW_VIEWS = "evidence: two NEW-VIEWs";
    EVIDENCE_FALSE_NEW_VIEW = "evidence: false NEW-VIEW";
    FALSE_CLAIM_TIED = "false claim: of a certificate's view and height";
    FALSE_CLAIM_TIED_BASE = "false claim: of the base's height";
    FALSE_CLAIM_LOWER_VIEW = "false claim: of a lower view";
    FALSE_CLAIM_STALE_BASE = "false claim: of a stale base";
    FALSE_CLAIM_TRUE_BLOCKS = "false claim: proposes what is true";
    FALSE_CLAIM_MATCHING_BLOCKS = "false claim: proposes what matches it";
    FALSE_CLAIM_LONE_BLOCKS = "false claim: proposes what it alone leads to";
    // Reads.
    READS_CHECKED = "reads checked";
    PROOFS_OF_CERTIFIED_ROOT = "proofs checked against a certified root";
    PROOFS_OF_ANCHORED_ROOT = "proofs checked against an anchored root";
    PROOFS_OF_PRESENCE = "proofs checked of what is there";
    PROOFS_OF_ABSENCE = "proofs checked of what is not there";
    FALSE_PROOFS_REFUSED = "false proofs refused";
}

/// Counters by name, in the order of the alphabet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<Counter, u64>);

impl Coverage {
    /// Something happened.
    pub(crate) fn count(&mut self, what: Counter) {
        self.add(what, 1);
    }

    /// Something happened so many times.
    pub(crate) fn add(&mut self, what: Counter, times: u64) {
        if times > 0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    /// Takes in what happened in another run.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, times)| self.add(*what, *times));
    }

    /// How often something happened.
    #[must_use]
    pub fn of(&self, what: Counter) -> u64 {
        self.0.get(&what).copied().unwrap_or_default()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, times)| writeln!(f, "{times:>12}  {what}"))
    }
}
