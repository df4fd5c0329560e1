//! One turn of the loop that runs engines everywhere, and the disk between what it records and what it does.

use std::io;
use std::rc::Rc;

use quorate_consensus::{Action, Event, Input, Log, Mono, drive};
use quorate_ledger::Epoch;

use super::{Process, Turn};
use crate::effect::{Death, Effects, Sighting, Wake};
use crate::faults::Point;
use crate::liar::Deceptive;
use crate::machine::Machine;
use crate::observe::{Vote, VoteKind};

/// Where a node writes that has no right to vote: nowhere.
struct NoLog;

impl<R> Log<R> for NoLog {
    fn append(&mut self, _: &[R]) -> io::Result<()> {
        Ok(())
    }

    fn wants_compaction(&self) -> bool {
        false
    }

    fn compact(&mut self, _: &[R]) -> io::Result<()> {
        Ok(())
    }
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
        let heard = self.votes_of_liars(machine, &inputs);
        let (epoch, before) = (self.replica.epoch(), self.replica.current().horizon());
        let driven = if machine.is_rotten() {
            drive(&mut self.replica, &mut NoLog, clocks, inputs.drain(..))
        } else {
            drive(&mut self.replica, &mut machine.log, clocks, inputs.drain(..))
        };
        self.inbox = inputs; // empty, and as large as before
        self.changed_now = std::mem::take(&mut self.changed);
        self.stepped = true;
        self.epochs.moved(&self.replica);
        let actions = match driven {
            Ok(actions) => actions,
            Err(why) => {
                out.note(|| format!("stops: {why}"));
                out.count("stopped on a full disk");
                out.die(Death::Disk);
                return;
            }
        };
        let after = self.epochs.horizon();
        if before.view == after.view && epoch == self.replica.epoch() && !heard.is_empty() {
            // What counted surely: in one view, above what is committed, within the window of before and the epoch.
            let (executed, window) = (self.ledger.tip(), u64::from(self.parameters().window));
            let last = executed.outcome.epoch_ends.map_or(u64::MAX, |last| last.0);
            let last = last.min(executed.height.0 + window);
            let counted = heard.into_iter().filter(|vote| {
                vote.slot.epoch == epoch
                    && vote.slot.view == before.view
                    && vote.slot.height > after.committed
                    && vote.slot.height.0 <= last
            });
            out.see(Sighting::Heard(counted.collect()));
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

    /// Votes of liars that these inputs bring: whoever hears two that differ must say so.
    fn votes_of_liars(&self, machine: &Machine<E::Record>, inputs: &[Input<E::Message>]) -> Vec<Vote> {
        if !machine.chain.liars.contains(&true) {
            return Vec::new();
        }
        let votes = inputs.iter().flat_map(|input| match input {
            Input::Event(Event::Message { message, .. }) => E::votes(message.inner()),
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
            | Input::Begin { .. } => Vec::new(),
        });
        let lies = |vote: &Vote| {
            let instance = self.epochs.of(vote.slot.epoch).map(|(instance, _)| instance);
            instance.is_some_and(|it| machine.chain.liars[it.member(vote.signer)])
        };
        votes
            .filter(lies)
            .filter(|vote| matches!(vote.slot.kind, VoteKind::Prepare | VoteKind::Commit))
            .collect()
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
            out.count("died between log and mark");
            out.die(Death::BeforeActions);
            return;
        }
        let votes = match machine.log.sync() {
            Ok(votes) => votes,
            Err(why) => {
                out.note(|| format!("stops: {why}"));
                out.count("stopped on a failed sync");
                out.die(Death::Disk);
                return;
            }
        };
        out.see(Sighting::Kept(votes));
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
            // What the last word of a closed instance was is for nobody any more.
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
