//! One turn of the loop that runs engines everywhere, and the disk between what it records and what it does.

use std::rc::Rc;

use quorate_consensus::{Action, Event, Horizon, Input, Mono, drive};
use quorate_ledger::{Epoch, Height};

use super::{Process, Turn};
use crate::coverage::Counter;
use crate::effect::{Death, Effects, Heard, Sighting, Wake};
use crate::faults::Point;
use crate::liar::Deceptive;
use crate::log::NoLog;
use crate::machine::Machine;
use crate::observe::{Slot, VoteKind};

/// Votes of so many views of a height are kept at least, the newest (`docs/pbft.md` §3.4).
const VIEWS_HELD: u64 = 16;

/// Where an engine stood before a turn.
#[derive(Clone, Copy)]
struct Turned {
    epoch: Epoch,
    before: Horizon,
    executed: Height,
}

impl<E: Deceptive> Process<E> {
    pub(super) fn take_turn(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        out: &mut Effects<E::Message>,
    ) {
        let mut inputs = std::mem::take(&mut self.inbox);
        self.turn = Turn::Idle;
        let clocks = machine.clocks(now);
        let heard = self.heard_of_liars(machine, &inputs);
        let executed = if heard.is_empty() { Height(0) } else { self.replica.current().status().executed };
        let (epoch, before) = (self.replica.epoch(), self.replica.current().horizon());
        let driven = if machine.is_refused() {
            drive(&mut self.replica, &mut NoLog, clocks, inputs.drain(..))
        } else {
            drive(&mut self.replica, &mut machine.log, clocks, inputs.drain(..))
        };
        self.inbox = inputs; // empty, and as large as before
        self.corrupted_from_now = std::mem::take(&mut self.corrupted_from);
        self.stepped = true;
        self.epochs.moved(&self.replica);
        let actions = match driven {
            Ok(actions) => actions,
            Err(why) => {
                out.note(|| format!("stops: {why}"));
                out.count(Counter::STOPPED_ON_A_FULL_DISK);
                out.die(Death::Disk);
                return;
            }
        };
        if !heard.is_empty() {
            self.report_heard(heard, &Turned { epoch, before, executed }, out);
        }
        if machine.log.is_dirty() {
            if machine.doom == Some(Point::BeforeAppend) {
                out.die(Death::BeforeAppend);
                return;
            }
            self.turn = Turn::Syncing(actions);
            let micros = machine.random.within(&machine.timing.sync_us);
            if machine.doom == Some(Point::BeforeSync) {
                out.die(Death::Struck);
                return;
            }
            out.wake_after(now, micros, Wake::Synced);
        } else {
            self.act(machine, now, actions, out);
        }
    }

    /// What of liars these inputs bring: whoever hears two that differ must say so.
    fn heard_of_liars(&self, machine: &Machine<E::Record>, inputs: &[Input<E::Message>]) -> Vec<Heard> {
        if !machine.chain.liars.contains(&true) {
            return Vec::new();
        }
        let messages = inputs.iter().filter_map(|input| match input {
            Input::Event(Event::Message { message, .. }) => Some(message.inner()),
            Input::Event(
                Event::Tick
                | Event::Backlog(_)
                | Event::Built { .. }
                | Event::Checked { .. }
                | Event::Fetched { .. }
                | Event::Executed { .. }
                | Event::Certified(_)
                | Event::Checkpoint(_),
            )
            | Input::Begin { .. } => None,
        });
        let lies = |epoch, signer| {
            let instance = self.epochs.of(epoch).map(|(instance, _)| instance);
            instance.is_some_and(|it| machine.chain.liars[it.member(signer)])
        };
        let heard = messages.flat_map(|message| {
            // What a vote is for may have to be hashed: that is done for liars alone.
            let of_liar = E::signer(message).is_some_and(|(epoch, signer)| lies(epoch, signer));
            let own = if of_liar { E::votes(message) } else { Vec::new() };
            let carried = E::carried(message).into_iter().filter(|it| lies(it.slot.epoch, it.signer));
            let all = own.into_iter().map(|vote| (vote, false)).chain(carried.map(|vote| (vote, true)));
            all.map(move |(vote, inside)| {
                let proposes_wrongly = vote.slot.kind == VoteKind::NewView && E::proposes_wrongly(message);
                Heard { vote, counted: false, continued: false, inside, proposes_wrongly }
            })
        });
        heard.collect()
    }

    /// Tells the checkers what the engine was given, and what of it it surely counted (`docs/pbft.md` §8).
    fn report_heard(&self, mut heard: Vec<Heard>, turned: &Turned, out: &mut Effects<E::Message>) {
        let Turned { epoch, before, executed } = *turned;
        let after = self.epochs.horizon();
        let parameters = self.parameters();
        let last = self.ledger.tip().outcome.epoch_ends.map_or(u64::MAX, |last| last.0);
        // The ledger may be far ahead of what the engine has been told of it.
        let last = last.min(executed.0 + 2 * u64::from(parameters.window));
        let is_open = |height: Height| height > after.committed && height.0 <= last;
        let counts = |slot: &Slot| match slot.kind {
            // Of the view that the engine was in or the next one, above what is committed, as far as proposals would be
            // kept and the epoch goes.
            VoteKind::Prepare | VoteKind::Commit => {
                let near = slot.view >= after.view && slot.view.0 <= before.view.0.saturating_add(1);
                near && is_open(slot.height)
            }
            VoteKind::Checkpoint => {
                slot.height > after.stable && slot.height.0 <= executed.0 + u64::from(parameters.log_window)
            }
            VoteKind::ViewChange => true,
            VoteKind::NewView => slot.view >= after.view,
        };
        let same = epoch == self.replica.epoch();
        for heard in &mut heard {
            let slot = &heard.vote.slot;
            let here = same && slot.epoch == epoch && !heard.inside;
            heard.counted = here && counts(slot);
            // Of a view that is over: only where the engine has begun to count in it.
            let of_late = slot.view < after.view && after.view.0 - slot.view.0 < VIEWS_HELD;
            heard.continued = here && of_late && is_open(slot.height);
        }
        out.see(Sighting::Heard(heard));
    }

    /// The fsync has come back.
    pub(super) fn synced(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        out: &mut Effects<E::Message>,
    ) {
        if machine.doom == Some(Point::BeforeMark) && machine.log.raises_promise() {
            machine.log.sync_log_alone();
            out.count(Counter::DIED_BETWEEN_LOG_AND_MARK);
            out.die(Death::BeforeActions);
            return;
        }
        let kept = match machine.log.sync() {
            Ok(kept) => kept,
            Err(why) => {
                out.note(|| format!("stops: {why}"));
                out.count(Counter::STOPPED_ON_A_FAILED_SYNC);
                out.die(Death::Disk);
                return;
            }
        };
        out.see(Sighting::Kept(kept));
        if machine.doom == Some(Point::BeforeActions) {
            out.die(Death::BeforeActions);
            return;
        }
        if let Turn::Syncing(actions) = std::mem::replace(&mut self.turn, Turn::Idle) {
            self.act(machine, now, actions, out);
        }
    }

    fn act(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        mut actions: Vec<(Epoch, Action<E::Message>)>,
        out: &mut Effects<E::Message>,
    ) {
        let after = match machine.doom {
            Some(Point::AfterActions(count)) if actions.len() > count => Some(count),
            Some(_) | None => None,
        };
        if let Some(count) = after {
            actions.truncate(count);
        }
        for (epoch, action) in actions {
            // What an instance says that has closed meanwhile goes to nobody.
            if let Some((instance, _)) = self.epochs.of(epoch) {
                let instance = Rc::clone(instance);
                self.take(machine, now, &instance, action, out);
            }
        }
        if after.is_some() {
            out.die(Death::Struck);
        } else if self.began != self.replica.epoch() {
            self.began = self.replica.epoch();
            out.see(Sighting::Began(self.began));
        }
    }
}
