//! What a process says to others and about itself: packets out, votes shown to the checkers before they leave.

use std::rc::Rc;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_consensus::To;
use quorate_ledger::ValidatorIndex;

use super::Process;
use crate::effect::{Effects, Sighting};
use crate::liar::{Deceptive, Told};
use crate::machine::Machine;
use crate::wire::{Packet, Parcel};

/// A node's place in the validator set.
pub(super) fn place(index: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(index).expect("a run has a handful of nodes"))
}

impl<E: Deceptive> Process<E> {
    /// Sends what a liar makes of what it was to say.
    pub(super) fn tell(
        &mut self,
        machine: &Machine<E::Record>,
        told: Vec<Told<E::Message>>,
        out: &mut Effects<E::Message>,
    ) {
        if let Some(liar) = &mut self.liar {
            liar.told.drain(..).for_each(|what| out.count(what));
        }
        for Told { to, message, after_us } in told {
            send_to::<E>(machine, to, message, after_us, out);
        }
    }
}

/// Sends what the engine says.
pub(super) fn send_to<E: Deceptive>(
    machine: &Machine<E::Record>,
    to: To,
    message: E::Message,
    after_us: u64,
    out: &mut Effects<E::Message>,
) {
    if machine.lies.is_empty() {
        let own = machine.place();
        let votes = E::votes(&message).into_iter().filter(|vote| vote.signer == own).collect();
        out.see(Sighting::Sent(votes));
    }
    match to {
        To::All => out.note(|| format!("-> all {}", E::describe(&message))),
        To::One(index) => out.note(|| format!("-> n{index}  {}", E::describe(&message))),
    }
    let parcel = Parcel::of(&Packet::Consensus(message));
    match to {
        To::All => spread(machine, &parcel, after_us, out),
        To::One(index) => out.send(index.as_usize(), parcel, after_us),
    }
}

/// Sends a packet to every other validator.
pub(super) fn to_all<R, M>(machine: &Machine<R>, packet: &Packet<M>, out: &mut Effects<M>)
where
    R: BorshSerialize + BorshDeserialize + Clone,
    M: BorshSerialize + BorshDeserialize,
{
    spread(machine, &Parcel::of(packet), 0, out);
}

fn spread<R, M>(machine: &Machine<R>, parcel: &Rc<Parcel<M>>, after_us: u64, out: &mut Effects<M>)
where
    R: BorshSerialize + BorshDeserialize + Clone,
{
    let others = (0..machine.nodes()).filter(|to| *to != machine.index);
    others.for_each(|to| out.send(to, Rc::clone(parcel), after_us));
}

/// Sends a packet to one validator.
pub(super) fn reply<M: BorshSerialize + BorshDeserialize>(
    to: usize,
    packet: &Packet<M>,
    out: &mut Effects<M>,
) {
    out.send(to, Parcel::of(packet), 0);
}
