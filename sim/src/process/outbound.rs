//! What a process says to others and about itself: packets out, votes shown to the checkers before they leave.

use std::rc::Rc;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_consensus::To;

use super::Process;
use super::epochs::Instance;
use crate::effect::{Effects, Sighting};
use crate::liar::{Deceptive, Told};
use crate::machine::Machine;
use crate::wire::{Packet, Parcel};

impl<E: Deceptive> Process<E> {
    /// Sends what a liar makes of what it was to say.
    pub(super) fn tell(
        &mut self,
        machine: &Machine<E::Record>,
        instance: &Instance,
        told: Vec<Told<E::Message>>,
        out: &mut Effects<E::Message>,
    ) {
        if let Some(liar) = &mut self.liar {
            liar.counted.drain(..).for_each(|what| out.count(what));
        }
        for told in told {
            self.say(machine, instance, told, out);
        }
    }

    /// Sends what an instance says.
    pub(super) fn say(
        &self,
        machine: &Machine<E::Record>,
        instance: &Instance,
        Told { to, message, after_us }: Told<E::Message>,
        out: &mut Effects<E::Message>,
    ) {
        // Without a place in the set nobody listens to a node; a liar tries all the same.
        if instance.index_of(machine.member).is_none() && machine.lies.is_empty() {
            return;
        }
        if machine.lies.is_empty() {
            let mut votes = E::votes(&message);
            votes.append(&mut E::shown(&message));
            out.see(Sighting::Sent(votes));
        }
        let parcel = || Parcel::of(&Packet::Consensus(message.clone()));
        match to {
            To::All => {
                out.note(|| format!("-> all {}", E::describe(&message)));
                spread(machine, &self.audience(instance), &parcel(), after_us, out);
            }
            To::One(index) => {
                let to = instance.member(index);
                out.note(|| format!("-> n{to}  {}", E::describe(&message)));
                out.send(to, parcel(), after_us);
            }
        }
    }

    /// Who hears what an instance says to all: its validators, and of one that closes also those of the next epoch, for
    /// what closes it is what they start from, and they may have nobody in common with it.
    fn audience(&self, instance: &Instance) -> Vec<usize> {
        let mut audience = instance.members.clone();
        let current = self.epochs.current();
        if instance.epoch() < current.epoch() {
            audience.extend(current.members.iter().filter(|heir| !instance.members.contains(heir)));
        }
        audience
    }
}

/// Sends a packet to everybody, as gossip reaches all.
pub(super) fn to_all<R, M>(machine: &Machine<R>, packet: &Packet<M>, out: &mut Effects<M>)
where
    R: BorshSerialize + BorshDeserialize + Clone,
    M: BorshSerialize + BorshDeserialize,
{
    let all: Vec<usize> = (0..machine.chain.keys.len()).collect();
    spread(machine, &all, &Parcel::of(packet), 0, out);
}

/// Sends a packet to all of these but oneself.
pub(super) fn spread<R, M>(
    machine: &Machine<R>,
    members: &[usize],
    parcel: &Rc<Parcel<M>>,
    after_us: u64,
    out: &mut Effects<M>,
) {
    let others = members.iter().filter(|to| **to != machine.member);
    others.for_each(|to| out.send(*to, Rc::clone(parcel), after_us));
}

/// Sends a packet to one member.
pub(super) fn reply<M: BorshSerialize + BorshDeserialize>(
    to: usize,
    packet: &Packet<M>,
    out: &mut Effects<M>,
) {
    out.send(to, Parcel::of(packet), 0);
}
