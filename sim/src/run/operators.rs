//! What operators do: they approve of the changes that are planned, until these are decided, and note what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_consensus::Mono;
use quorate_crypto::Hash;
use quorate_ledger::{
    Account, Height, Operation, Payload, ProposedChange, ProposedValidator, Readiness, Transaction,
};

use super::{Calm, Happening, Simulation};
use crate::check::Violation;
use crate::check::epochs::{Span, Wanted};
use crate::coverage::Counter;
use crate::liar::Deceptive;
use crate::random::{Random, Stream};
use crate::scenario::{Approvers, Change};
use crate::trace::Place;

const DECIDED: &str = "a change that all approve of is decided in bounded time";
/// How often an operator looks whether its approval counts.
const LOOK_MS: u64 = 700;
/// How long an approval may be included.
const LIFETIME_MS: u64 = 10_000;
/// How long those go on who are not all.
const PATIENCE_MS: u64 = 15_000;

/// All operators together.
#[derive(Debug)]
pub(super) struct Operators {
    random: Random,
    plans: Vec<Progress>,
    /// By member: the approval that it has sent last.
    sent: BTreeMap<usize, Arc<Transaction>>,
    made: u64,
}

/// How far a plan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Waits,
    /// It is approved of; so much was decided before.
    Runs {
        since: Mono,
        decided: usize,
    },
    Over,
}

impl Operators {
    pub(super) fn new(seed: u64, plans: usize) -> Self {
        Self {
            random: Random::new(seed, Stream::Operators),
            plans: vec![Progress::Waits; plans],
            sent: BTreeMap::new(),
            made: 0,
        }
    }

    /// How many approvals were made.
    pub(super) fn made(&self) -> usize {
        usize::try_from(self.made).expect("a run is short")
    }
}

impl<E: Deceptive> Simulation<'_, E> {
    /// Operators look after the change at this place of the plans.
    pub(super) fn approve(&mut self, place: usize) -> Result<(), Violation> {
        let now = self.queue.now();
        if self.operators.plans[place] == Progress::Waits {
            let decided = self.checks.chain.epochs.decided().len();
            self.operators.plans[place] = Progress::Runs { since: now, decided };
            self.note(Place::World, format_args!("operators want {:?}", self.scenario.plans[place].change));
        }
        if self.is_over(place) {
            self.operators.plans[place] = Progress::Over;
            return Ok(());
        }
        for member in 0..self.chain.keys.len() {
            if self.intent(member) == Some(place) {
                self.approve_as(member, place)?;
            }
        }
        self.queue.at(now.plus_millis(LOOK_MS), Happening::Approve(place));
        Ok(())
    }

    /// Whether nobody works at a plan any more: it is decided, given up, or out of date.
    fn is_over(&self, place: usize) -> bool {
        let Progress::Runs { since, decided } = self.operators.plans[place] else { return true };
        let wanted = self.wanted(place);
        let plan = &self.scenario.plans[place];
        let later = (0..self.scenario.plans.len()).filter(|other| *other != place).any(|other| {
            let started =
                matches!(self.operators.plans[other], Progress::Runs { since: at, .. } if at > since);
            started && self.scenario.plans[other].approvers == Approvers::All
        });
        let given_up = plan.approvers != Approvers::All && self.queue.now() > since.plus_millis(PATIENCE_MS);
        later
            || given_up
            || self.is_hopeless(place)
            || self.checks.chain.epochs.decided()[decided..].contains(&wanted)
    }

    /// Whether a plan wants somebody back who is gone for good: nobody says any more that this one is ready.
    fn is_hopeless(&self, place: usize) -> bool {
        let members = self.scenario.plans[place].validators().unwrap_or_default();
        members.iter().any(|member| self.gone[*member] && !self.stays(*member))
    }

    /// Whether a member is in the set that is in force or, once an end is decided, in the one that follows too.
    fn stays(&self, member: usize) -> bool {
        let (key, epochs) = (self.chain.keys[member].public(), &self.checks.chain.epochs);
        epochs.newest().has(&key)
            && match epochs.ending() {
                Some(Wanted::Validators(next)) => next.contains(&key),
                Some(Wanted::Parameters(_)) | None => true,
            }
    }

    /// Of which running plan a member approves: the newest that counts on it.
    fn intent(&self, member: usize) -> Option<usize> {
        let running =
            self.operators.plans.iter().enumerate().filter_map(|(place, progress)| match progress {
                Progress::Runs { since, .. } => Some((*since, place)),
                Progress::Waits | Progress::Over => None,
            });
        let counts = |place: usize| match &self.scenario.plans[place].approvers {
            Approvers::All => !self.chain.liars[member],
            Approvers::These(members) => members.contains(&member),
        };
        running.filter(|(_, place)| counts(*place)).max().map(|(_, place)| place)
    }

    fn wanted(&self, place: usize) -> Wanted {
        match &self.scenario.plans[place].change {
            Change::Validators(members) => self.checks.chain.epochs.set(members),
            Change::Parameters(parameters) => Wanted::Parameters((**parameters).clone()),
        }
    }

    /// One validator's approval is sent, until it counts.
    fn approve_as(&mut self, member: usize, place: usize) -> Result<(), Violation> {
        let epochs = &self.checks.chain.epochs;
        let wanted = self.wanted(place);
        if !epochs.votes(member) || epochs.approval(member) == Some(&wanted) {
            return Ok(());
        }
        let wall = self.chain.wall(self.queue.now());
        let sent = self.operators.sent.get(&member).cloned();
        let waits = sent.filter(|sent| {
            let waits = self.checks.chain.place_of(&Hash::of(&sent.message())).is_none();
            waits && sent.expires_at() > wall && approves_of(sent, &wanted)
        });
        let transaction = match waits {
            Some(transaction) => transaction,
            None => {
                let Some(change) = self.proposed(place) else { return Ok(()) };
                let payload = Payload {
                    version: Payload::VERSION,
                    chain: self.chain.genesis.chain,
                    sender: Account(self.chain.keys[member].public()),
                    nonce: self.operators.made,
                    expires_at: wall.plus_millis(LIFETIME_MS),
                    fee: 0,
                    operations: vec![Operation::Approve { change }],
                };
                self.operators.made += 1;
                Arc::new(Transaction::sign(payload, &self.chain.keys[member]))
            }
        };
        self.operators.sent.insert(member, Arc::clone(&transaction));
        let (node, now) = (self.operators.random.index(self.chain.keys.len()), self.queue.now());
        if self.nodes[node].paused(now).is_none() {
            let submitted = self.step(node, |node, out| node.submit(now, &transaction, out))?;
            self.note(Place::World, format_args!("n{member} approves at n{node}: {submitted:?}"));
        }
        Ok(())
    }

    /// The change as it is sent, with the statements of those that are new; none while one of these cannot make it.
    fn proposed(&self, place: usize) -> Option<ProposedChange> {
        let members = match &self.scenario.plans[place].change {
            Change::Validators(members) => members,
            Change::Parameters(parameters) => return Some(ProposedChange::Parameters(parameters.clone())),
        };
        let proposed = members.iter().map(|member| {
            let key = self.chain.keys[*member].public();
            let readiness = if self.stays(*member) { None } else { Some(self.ready(*member)?) };
            Some(ProposedValidator { key, readiness })
        });
        proposed.collect::<Option<Vec<_>>>().map(ProposedChange::Validators)
    }

    /// What a node says that has caught up as far as its own ledger knows.
    fn ready(&self, member: usize) -> Option<Readiness> {
        let ledger = self.nodes[member].ledger()?;
        let (tip, epoch) = (ledger.tip(), ledger.epoch().number);
        let key = &self.chain.keys[member];
        let readiness = Readiness::sign(&self.chain.genesis.chain, epoch, tip.anchor.checkpoint, key);
        Some(readiness).filter(|_| tip.height > Height(0))
    }

    /// Whether a change is still to be decided before the run may end.
    pub(super) fn are_deciding(&self) -> bool {
        self.operators.plans.iter().any(|progress| *progress != Progress::Over)
    }

    /// What all approve of is decided. An approval takes two blocks, and an epoch that ends meanwhile makes it void.
    pub(super) fn must_decide(&self, calm: Calm) -> Result<(), Violation> {
        for (place, progress) in self.operators.plans.iter().enumerate() {
            let Progress::Runs { since, .. } = *progress else { continue };
            let plan = &self.scenario.plans[place];
            let since = since.max(calm.since).plus_millis(self.bound_ms);
            if plan.approvers == Approvers::All
                && self.queue.now() > self.bound(since)
                && !self.is_over(place)
            {
                return Err(Violation::new(DECIDED, format!("{plan:?}")));
            }
        }
        Ok(())
    }

    /// Blocks were committed: has one begun an epoch, and what goes on meanwhile?
    pub(super) fn count_epochs(&mut self) {
        let (height, now) = (self.checks.chain.height(), self.queue.now());
        let spans = self.checks.chain.epochs.spans();
        let begun = spans.iter().filter(|span| span.start <= height).count() - 1;
        for number in self.epochs_began.len()..begun {
            let counts = changes(&spans[number], &spans[number + 1]);
            self.coverage.count(Counter::EPOCHS_BEGUN);
            for (what, times) in counts {
                self.coverage.add(what, times);
            }
        }
        if self.epochs_began.len() < begun {
            self.epochs_began.resize(begun, now);
            self.count_meanwhile([
                Counter::EPOCHS_BEGUN_WITH_TWINS,
                Counter::EPOCHS_BEGUN_WITH_A_LIAR,
                Counter::EPOCHS_BEGUN_UNDER_LOSS,
                Counter::EPOCHS_BEGUN_IN_A_PARTITION,
                Counter::EPOCHS_BEGUN_AROUND_A_CRASH,
            ]);
        }
    }
}

/// What has changed from one epoch to the next, counted.
fn changes(before: &Span, after: &Span) -> [(Counter, u64); 6] {
    let added = after.validators.iter().filter(|key| !before.has(key)).count() as u64;
    let removed = before.validators.iter().filter(|key| !after.has(key)).count() as u64;
    let replaced = added.min(removed);
    let same = before.validators == after.validators && before.parameters == after.parameters;
    let heirs = added == after.validators.len() as u64;
    [
        (Counter::VALIDATORS_ADDED, added - replaced),
        (Counter::VALIDATORS_REMOVED, removed - replaced),
        (Counter::VALIDATORS_REPLACED, replaced),
        (Counter::PARAMETERS_CHANGED, u64::from(before.parameters != after.parameters)),
        (Counter::EPOCHS_BEGUN_UNCHANGED, u64::from(same)),
        (Counter::EPOCHS_BEGUN_BY_HEIRS, u64::from(heirs)),
    ]
}

/// Whether a transaction approves of this.
fn approves_of(transaction: &Transaction, wanted: &Wanted) -> bool {
    let operation = transaction.payload().operations.first();
    match (operation, wanted) {
        (Some(Operation::Approve { change: ProposedChange::Parameters(own) }), Wanted::Parameters(it)) => {
            **own == *it
        }
        (Some(Operation::Approve { change: ProposedChange::Validators(own) }), Wanted::Validators(it)) => {
            own.len() == it.len() && own.iter().all(|validator| it.contains(&validator.key))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use quorate_consensus::pbft::Pbft;

    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn a_change_that_is_not_decided_is_caught_unless_it_wants_somebody_back_who_is_gone() {
        let scenario =
            Scenario::new("", 4, 1).change(0, Change::Validators((0..5).collect()), Approvers::All);
        let decided = |gone: Option<usize>, ms: u64| {
            let mut simulation = Simulation::<Pbft>::new(&scenario, false);
            simulation.operators.plans[0] = Progress::Runs { since: Mono(0), decided: 0 };
            gone.into_iter().for_each(|member| simulation.gone[member] = true);
            simulation.queue.at(Mono(0).plus_millis(ms), Happening::Probe);
            simulation.queue.pop();
            let calm = Calm { since: Mono(0), behind: 0, committed: None, slowest: None };
            simulation.must_decide(calm).is_ok()
        };
        let bound_ms = 2 * scenario.bound_ms();
        assert!(decided(None, bound_ms));
        assert!(!decided(None, bound_ms + 1));
        assert!(!decided(Some(3), bound_ms + 1), "nothing is asked of who stays");
        assert!(decided(Some(4), bound_ms + 1));
    }
}
