//! One replica through all epochs (`docs/pbft.md` §7): the engine's instance of the current epoch, and that of the epoch
//! before while it is *closing*.
//!
//! ```text
//!  epoch e       … h ──── h + W            decided by the set of e; nothing above h + W
//!                └ change approved
//!  closing e               executed ──── answers STATUS, repeats its CHECKPOINT ────┐ until
//!  epoch e + 1             └ begins, view 0 ── first block anchors that checkpoint ─┴ a commit certificate of e + 1
//! ```
//!
//! Events go to the instance of their epoch; what is of no epoch here is dropped, since nobody here could judge it. A
//! validator that leaves holds its closing instance like all others, and in the next epoch one without a voice.
//!
//! Invariants: at most two instances, of neighbouring epochs; the earlier one has ended; records of epochs that the
//! ledger has not reached again (it lost its tail) are kept until the instance that wrote them begins again, and nothing is
//! signed before that.

use quorate_ledger::{Epoch, Tip};

use crate::engine::{
    Action, Engine, Event, Horizon, Input, Mono, Now, OpenError, Output, Promised, Setup, Status,
};

/// The line of a replica's instances.
#[derive(Debug)]
pub struct Replica<E: Engine> {
    current: Instance<E>,
    closing: Option<Instance<E>>,
    /// What the log holds of epochs above the current one.
    later: Vec<E::Record>,
    /// An instance halted: none of them signs anything more.
    halted: bool,
}

/// An instance, and whether it may write to the log.
#[derive(Debug)]
struct Instance<E: Engine> {
    engine: E,
    /// Of one without a voice what the log holds of its epoch, which is kept as it is. It signs nothing, so it has nothing to
    /// add; and if it added that it knows of nothing, a later start would take that for all that was ever signed, and give it
    /// a voice. What was signed before it fell silent it may not leave out.
    kept: Option<Vec<E::Record>>,
}

impl<E: Engine> Instance<E> {
    fn open(setup: Setup, tip: Tip, records: Vec<E::Record>) -> Result<Self, OpenError> {
        let kept = setup.voter.is_none().then(|| records.clone());
        Ok(Self { engine: E::open(setup, tip, records)?, kept })
    }

    fn has_voice(&self) -> bool {
        self.kept.is_none()
    }

    /// Takes one event. What an instance without a voice would record is dropped here, whatever it was.
    fn step(&mut self, now: Now, event: Event<E::Message>, out: &mut Output<E>) {
        let before = out.recorded();
        self.engine.step(now, event, out);
        if !self.has_voice() {
            out.drop_records_since(before);
        }
    }

    fn records(&self) -> Vec<E::Record> {
        self.kept.clone().unwrap_or_else(|| self.engine.records())
    }
}

impl<E: Engine> Replica<E> {
    /// Starts where the ledger stands, with everything that the log holds. `closing` is the setup of the epoch before: its
    /// instance is opened too where the ledger stands at that epoch's last block, for then no commit certificate of the
    /// current epoch is known here.
    ///
    /// # Errors
    /// [`OpenError`] of either instance, or of records of a later epoch.
    ///
    /// # Panics
    /// If the two are not of neighbouring epochs.
    pub fn open(
        setup: Setup,
        closing: Option<Setup>,
        tip: &Tip,
        records: Vec<E::Record>,
    ) -> Result<Self, OpenError> {
        let epoch = setup.scope.epoch;
        let of = |wanted: Epoch| records.iter().filter(move |it| it.epoch() == wanted).cloned().collect();
        let later: Vec<E::Record> = records.iter().filter(|it| it.epoch() > epoch).cloned().collect();
        // Their instance begins in the middle of a run, when it would be too late to refuse them.
        E::check_records(&later)?;
        let setup = silent_below(setup, &later);
        let current: Instance<E> = Instance::open(setup, tip.clone(), of(epoch))?;
        let closing = closing.filter(|_| !current.engine.has_begun()).map(|setup| {
            assert_eq!(setup.scope.epoch.next(), epoch, "the epoch before closes");
            let setup = silent_below(setup, &later);
            let records: Vec<E::Record> = of(setup.scope.epoch);
            let setup = if records.is_empty() { silent_before(setup, &of(epoch)) } else { setup };
            Instance::open(setup, tip.clone(), records)
        });
        let closing = closing.transpose()?;
        let replica = Self { current, closing, later, halted: false };
        replica.assert_invariants();
        Ok(replica)
    }

    /// Takes one input.
    ///
    /// # Panics
    /// If an epoch is to begin that is not the next, or before the current one has ended: the ledger says so only then.
    pub fn step(&mut self, now: Now, input: Input<E::Message>, out: &mut Output<E>) {
        if self.halted {
            return;
        }
        let before = out.acted();
        match input {
            Input::Event(event) => self.route(now, event, out),
            Input::Begin { setup, tip } => self.begin(now, *setup, *tip, out),
        }
        self.hand_over(now, before, out);
        self.halted = out.acted_since(before).iter().any(|(_, it)| matches!(it, Action::Halt { .. }));
        if self.current.engine.has_begun() {
            self.closing = None;
        }
        self.assert_invariants();
    }

    /// Gives an event to the instance that it is for.
    fn route(&mut self, now: Now, event: Event<E::Message>, out: &mut Output<E>) {
        let epoch = match &event {
            Event::Tick => {
                if let Some(closing) = &mut self.closing {
                    out.turn_to(closing.engine.epoch());
                    closing.step(now, Event::Tick, out);
                }
                self.epoch()
            }
            Event::Message { message, .. } => E::epoch_of(message.inner()),
            // A closing instance wants no blocks and builds none.
            Event::Backlog(_) | Event::Built { .. } | Event::Checked { .. } | Event::Fetched { .. } => {
                self.epoch()
            }
            Event::Executed { outcome } => outcome.checkpoint.epoch,
            Event::Certified(certified) => certified.certificate.payload.epoch,
            Event::Checkpoint(certificate) => certificate.payload.epoch,
        };
        if let Some(instance) = self.instance_mut(epoch) {
            out.turn_to(epoch);
            instance.step(now, event, out);
        }
    }

    fn begin(&mut self, now: Now, setup: Setup, tip: Tip, out: &mut Output<E>) {
        let epoch = setup.scope.epoch;
        assert_eq!(self.epoch().next(), epoch, "epochs follow each other");
        assert!(self.current.engine.has_ended(), "an epoch begins when the one before has ended");
        let own: Vec<_> = self.later.extract_if(.., |it| it.epoch() == epoch).collect();
        let setup = silent_below(setup, &self.later);
        let next =
            Instance::open(setup, tip, own).expect("the log's records were checked when it was opened");
        self.closing = Some(std::mem::replace(&mut self.current, next));
        out.turn_to(epoch);
        self.current.step(now, Event::Tick, out);
        // The checkpoint that closes the epoch may have been stable before the next one began.
        let closed = self.closing().and_then(E::stable_certificate).cloned();
        if let Some(certificate) = closed {
            self.current.step(now, Event::Checkpoint(certificate), out);
        }
    }

    /// The checkpoint that closes an epoch is what the next one starts from.
    fn hand_over(&mut self, now: Now, before: usize, out: &mut Output<E>) {
        let Some(closing) = self.closing() else { return };
        let epoch = closing.epoch();
        let stable = out.acted_since(before).iter().rev().find_map(|(of, action)| {
            if let Action::Stable { certificate } = action {
                (*of == epoch).then(|| certificate.clone())
            } else {
                None
            }
        });
        if let Some(certificate) = stable {
            out.turn_to(self.epoch());
            self.current.step(now, Event::Checkpoint(certificate), out);
        }
    }

    fn instance_mut(&mut self, epoch: Epoch) -> Option<&mut Instance<E>> {
        let mut instances = std::iter::once(&mut self.current).chain(&mut self.closing);
        instances.find(|it| it.engine.epoch() == epoch)
    }

    /// What an operator may want to know: of the current instance, and of what only the line of them knows.
    pub fn status(&self) -> Status {
        let mut status = self.current().status();
        if let Some(record) = self.later.iter().max_by_key(|it| it.epoch()) {
            let reached = record.epoch();
            let why =
                format!("its vote log is of epoch {reached}: it follows until its ledger is there again");
            status.silent = Some(why);
        }
        status
    }

    /// The current epoch.
    pub fn epoch(&self) -> Epoch {
        self.current.engine.epoch()
    }

    /// The instance of the current epoch.
    pub fn current(&self) -> &E {
        &self.current.engine
    }

    /// The instance of the epoch before, until the current one has begun.
    pub fn closing(&self) -> Option<&E> {
        self.closing.as_ref().map(|it| &it.engine)
    }

    /// How far each instance has come, the current one first.
    pub fn horizons(&self) -> impl Iterator<Item = (Epoch, Horizon)> {
        std::iter::once(self.current()).chain(self.closing()).map(|it| (it.epoch(), it.horizon()))
    }

    /// When [`Event::Tick`] is due next.
    pub fn deadline(&self) -> Option<Mono> {
        if self.halted {
            return None;
        }
        std::iter::once(self.current()).chain(self.closing()).filter_map(E::deadline).min()
    }

    /// Whether any instance may write to the log. While none does, the log does not grow, and it is to stay as it is: of an
    /// epoch that is over nothing else says what its key has promised.
    pub fn has_voice(&self) -> bool {
        std::iter::once(&self.current).chain(&self.closing).any(Instance::has_voice)
    }

    /// What still matters of every record ever written, if an instance has a voice.
    pub fn records(&self) -> Vec<E::Record> {
        let instances = self.closing.iter().chain([&self.current]);
        instances.flat_map(Instance::records).chain(self.later.iter().cloned()).collect()
    }

    fn assert_invariants(&self) {
        if let Some(closing) = self.closing() {
            assert_eq!(closing.epoch().next(), self.epoch(), "neighbouring epochs");
            assert!(closing.has_ended(), "an epoch that closes has ended");
        }
    }
}

/// A ledger that stands in an epoch below that of some records has lost its tail, and the log has let go of what was signed
/// there: nothing is signed before the ledger has come back.
fn silent_below<R>(setup: Setup, later: &[R]) -> Setup {
    let voter = setup.voter.filter(|_| later.is_empty());
    Setup { voter, ..setup }
}

/// A log that begins with an epoch knows nothing of the one before, in which its key may have signed with another: it has
/// promised to sign nothing there.
fn silent_before<R: Promised>(setup: Setup, of_next: &[R]) -> Setup {
    let voter = setup.voter.filter(|_| !of_next.iter().any(R::is_beginning));
    Setup { voter, ..setup }
}
