//! One turn of the loop that runs engines everywhere, and the disk between what it records and what it does.

use std::io;

use quorate_consensus::{Action, Event, Input, Log, Mono, drive};

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
        let mut events = std::mem::take(&mut self.inbox);
        self.turn = Turn::Idle;
        let clocks = machine.clocks(now);
        let heard = self.votes_of_liars(machine, &events);
        let before = self.horizon;
        let executed = self.executed();
        let inputs = events.drain(..).map(Input::from);
        let driven = if machine.is_rotten() {
            drive(&mut self.replica, &mut NoLog, clocks, inputs)
        } else {
            drive(&mut self.replica, &mut machine.log, clocks, inputs)
        };
        self.inbox = events; // empty, and as large as before
        self.stepped = true;
        self.horizon = self.replica.current().horizon();
        let actions = match driven {
            Ok(actions) => actions.into_iter().map(|(_, action)| action).collect(),
            Err(why) => {
                out.note(|| format!("stops: {why}"));
                out.count("stopped on a full disk");
                out.die(Death::Disk);
                return;
            }
        };
        if before.view == self.horizon.view && !heard.is_empty() {
            // What counted surely: in one view, above what is committed, within the window of before.
            let window = u64::from(machine.chain.parameters().window);
            let counted = heard.into_iter().filter(|vote| {
                vote.slot.view == before.view
                    && vote.slot.height > self.horizon.committed
                    && vote.slot.height <= executed.plus(window)
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

    /// Votes of liars that these events bring: whoever hears two that differ must say so.
    fn votes_of_liars(&self, machine: &Machine<E::Record>, events: &[Event<E::Message>]) -> Vec<Vote> {
        if !machine.chain.liars.contains(&true) {
            return Vec::new();
        }
        let votes = events.iter().flat_map(|event| match event {
            Event::Message { message, .. } => E::votes(message.inner()),
            Event::Tick
            | Event::Backlog(_)
            | Event::Built { .. }
            | Event::Checked { .. }
            | Event::Fetched { .. }
            | Event::Executed { .. }
            | Event::Certified(_)
            | Event::Checkpoint(_) => Vec::new(),
        });
        votes
            .filter(|vote| machine.chain.liars[vote.signer.as_usize()])
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
        mut actions: Vec<Action<E::Message>>,
        out: &mut Effects<E::Message>,
    ) {
        let after = match machine.doom {
            Some(Point::AfterActions(count)) if actions.len() > count => Some(count),
            Some(_) | None => None,
        };
        if let Some(count) = after {
            actions.truncate(count);
        }
        for action in actions {
            self.take(machine, now, action, out);
        }
        if after.is_some() {
            out.die(Death::Struck);
        }
    }
}
