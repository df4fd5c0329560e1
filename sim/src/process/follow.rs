//! Catching up by certified blocks. A node without a place in the set asks for them, now of one, now of another; whoever is
//! an epoch behind is told so by those who hear it.

use quorate_consensus::Mono;
use quorate_ledger::Height;

use super::Process;
use super::outbound::reply;
use crate::effect::{Effects, Wake};
use crate::liar::Deceptive;
use crate::machine::Machine;
use crate::wire::Packet;

/// How often a node asks that follows.
const FOLLOW_EVERY_US: u64 = 150_000;

/// On an offer it asks again for the same only after so long, in milliseconds.
const PATIENCE_MS: u64 = 100;

/// How a node asks for blocks.
#[derive(Debug, Default)]
pub(super) struct Follow {
    /// Whether it will be woken to ask.
    asks: bool,
    /// What it asked for last on an offer, and when.
    asked: Option<(Height, Mono)>,
}

impl<E: Deceptive> Process<E> {
    /// A node without a place in the set begins to ask.
    pub(super) fn follow_if_outside(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        out: &mut Effects<E::Message>,
    ) {
        let outside = !self.epochs.current().members.contains(&machine.member);
        if outside && !std::mem::replace(&mut self.follow.asks, true) {
            let micros = machine.random.within(&(1_000..=FOLLOW_EVERY_US));
            out.wake_after(now, micros, Wake::Follow);
        }
    }

    /// It asks, if it still has none.
    pub(super) fn follow(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        out: &mut Effects<E::Message>,
    ) {
        self.follow.asks = false;
        if !self.epochs.current().members.contains(&machine.member) {
            let of = machine.random.index(machine.chain.keys.len());
            if of != machine.member {
                reply(of, &Packet::Blocks { above: self.executed() }, out);
            }
        }
        self.follow_if_outside(machine, now, out);
    }

    /// Somebody says that it has more.
    pub(super) fn offered(&mut self, now: Mono, from: usize, height: Height, out: &mut Effects<E::Message>) {
        let above = self.executed();
        let asked =
            self.follow.asked.is_some_and(|(it, at)| it == above && now < at.plus_millis(PATIENCE_MS));
        if height > above && !asked {
            out.note(|| format!("<- n{from}  OFFER up to h{height}"));
            self.follow.asked = Some((above, now));
            reply(from, &Packet::Blocks { above }, out);
        }
    }
}
