//! The epochs whose instances a process runs, the current one first: who of the members is who in each, and how far the
//! instance has come.

use std::rc::Rc;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_consensus::{Engine, Horizon, Input, Mono, Promised, Replica, Scope, Setup};
use quorate_ledger::{Epoch, EpochStart, Height, Ledger, MemoryStore, Reader, ValidatorIndex};

use super::Process;
use crate::coverage::Counter;
use crate::effect::{Effects, Sighting};
use crate::liar::Deceptive;
use crate::machine::{Chain, Machine};

/// One epoch, as everything that comes in or goes out in it needs to know it.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) scope: Scope,
    /// The members that are its validators, by their place in the set.
    pub(crate) members: Vec<usize>,
}

impl Instance {
    pub(crate) fn new(scope: Scope, chain: &Chain) -> Rc<Self> {
        let member = |key| chain.member(key).expect("no stranger becomes a validator");
        let members = scope.validators.keys().iter().map(member).collect();
        Rc::new(Self { scope, members })
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.scope.epoch
    }

    /// Who stands at a place of the set.
    pub(crate) fn member(&self, index: ValidatorIndex) -> usize {
        self.members[index.as_usize()]
    }

    /// The place of a member in the set, if it has one.
    pub(crate) fn index_of(&self, member: usize) -> Option<ValidatorIndex> {
        let place = self.members.iter().position(|it| *it == member)?;
        Some(ValidatorIndex(u16::try_from(place).expect("a run has a handful of nodes")))
    }
}

/// All that run now: one, or two while the earlier one closes.
#[derive(Debug)]
pub(super) struct Epochs(Vec<(Rc<Instance>, Horizon)>);

impl Epochs {
    /// Those that a replica is opened with, the current one first.
    pub(super) fn new(instances: impl IntoIterator<Item = Rc<Instance>>) -> Self {
        Self(instances.into_iter().map(|it| (it, Horizon::default())).collect())
    }

    pub(super) fn current(&self) -> &Rc<Instance> {
        &self.0[0].0
    }

    pub(super) fn horizon(&self) -> Horizon {
        self.0[0].1
    }

    /// The instance of an epoch, if it runs here.
    pub(super) fn of(&self, epoch: Epoch) -> Option<(&Rc<Instance>, Horizon)> {
        self.0.iter().find(|(it, _)| it.epoch() == epoch).map(|(it, horizon)| (it, *horizon))
    }

    /// An epoch begins; the one that was current closes.
    fn begin(&mut self, instance: Rc<Instance>) {
        self.0.truncate(1);
        self.0.insert(0, (instance, Horizon::default()));
    }

    /// The engine has stepped: how far its instances are; those that it does not run any more are gone.
    pub(super) fn moved<E: Engine>(&mut self, replica: &Replica<E>) {
        self.0.retain_mut(|(instance, horizon)| {
            let now = replica.horizons().find(|(epoch, _)| *epoch == instance.epoch());
            now.inspect(|(_, now)| *horizon = *now).is_some()
        });
    }
}

/// What verifies the messages of an epoch.
fn scope_of(epoch: &EpochStart, reader: &Reader) -> Scope {
    let before = epoch.number.previous().and_then(|number| reader.epoch_numbered(number));
    Scope {
        chain: reader.chain(),
        epoch: epoch.number,
        validators: epoch.validators.clone(),
        start: epoch.base(),
        previous: before.map(|before| before.validators.clone()),
        window: u64::from(epoch.parameters.window),
    }
}

/// What a replica is opened with.
pub(super) struct Opening {
    pub(super) setup: Setup,
    /// Of the epoch before, where the ledger stands at its last block: no commit certificate of the current one is known then.
    pub(super) closing: Option<Setup>,
    pub(super) epochs: Epochs,
}

/// The instances that a process starts with on what its ledger holds.
pub(super) fn opening<R, M>(
    machine: &mut Machine<R>,
    ledger: &Ledger<MemoryStore>,
    out: &mut Effects<M>,
) -> Opening
where
    R: BorshSerialize + BorshDeserialize + Clone + Promised,
{
    let (epoch, reader) = (ledger.epoch(), ledger.reader());
    let mut open = |epoch: &EpochStart| machine.setup(&scope_of(epoch, &reader), &epoch.parameters);
    let at_start = ledger.tip().height == epoch.base().0;
    let before = epoch.number.previous().filter(|_| at_start);
    let before = before.and_then(|number| reader.epoch_numbered(number));
    let (setup, closing) = (open(&epoch), before.map(|before| open(&before)));
    out.note(|| format!("opens in epoch {}, {}", epoch.number, part(&setup)));
    if closing.is_some() {
        out.count(Counter::CLOSING_INSTANCE_RESTARTED);
    }
    let scopes = std::iter::once(&setup).chain(&closing).map(|it| it.scope.clone());
    let epochs = Epochs::new(scopes.map(|scope| Instance::new(scope, &machine.chain)));
    Opening { setup, closing, epochs }
}

impl<E: Deceptive> Process<E> {
    /// Whether the ledger stands at the last block of an epoch.
    pub(super) fn has_ended(&self) -> bool {
        let tip = self.ledger.height();
        self.ledger.epoch().base().0 == tip && tip > Height(0)
    }

    /// After the engine was told that blocks are executed: if the last of them ends its epoch, everything here goes over to the
    /// next.
    pub(super) fn begin_if_ended(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        out: &mut Effects<E::Message>,
    ) {
        if !self.has_ended() {
            return;
        }
        let (epoch, tip) = (self.ledger.epoch(), self.ledger.tip());
        if machine.is_refused() && tip.time > self.may_renew_after && !machine.log.binds(epoch.number) {
            // Whatever the key has signed, it was in an epoch before.
            out.count(Counter::ROTTEN_LOG_RENEWED);
            machine.renew_log(epoch.number);
            out.see(Sighting::Renewed(epoch.number));
        }
        let scope = scope_of(&epoch, &self.ledger.reader());
        let setup = machine.setup(&scope, &epoch.parameters);
        out.note(|| format!("epoch {} begins, {}", epoch.number, part(&setup)));
        self.epochs.begin(Instance::new(scope, &machine.chain));
        self.candidates.enter_epoch(&epoch);
        // The new instance has heard of nothing that waits.
        self.backlog = None;
        self.inbox.push(Input::Begin { setup: Box::new(setup), tip: Box::new(tip) });
        self.follow_if_outside(machine, now, out);
    }
}

/// Whether a node votes, in words.
fn part(setup: &Setup) -> &'static str {
    if setup.voter.is_some() { "with a vote" } else { "without a vote" }
}
