//! What a process says to others and about itself: packets out, votes shown to the checkers before they leave.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_consensus::{Rejection, To};
use quorate_crypto::encode;
use quorate_ledger::ValidatorIndex;

use crate::effect::{Effects, Sighting};
use crate::machine::Machine;
use crate::observe::Observed;
use crate::wire::Packet;

/// A node's place in the validator set.
pub(super) fn place(index: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(index).expect("a run has a handful of nodes"))
}

/// The engine refuses a message: wrong among correct nodes, but for one that is only too early.
pub(super) fn reject(from: usize, why: &Rejection, out: &mut Effects) {
    if let Rejection::AboveWindow { .. } = why {
        // A node that is behind cannot hold what is far above it: no fault of the sender.
        out.note(format!("drops a message of n{from}: {why}"));
    } else {
        let detail = format!("n{from}: {why}");
        out.see(Sighting::Wrong { what: "a correct validator is rejected", detail });
    }
}

/// Sends what the engine says.
pub(super) fn send<E: Observed>(
    machine: &Machine<E::Record>,
    to: To,
    message: E::Message,
    out: &mut Effects,
) {
    let own = machine.place();
    let votes = E::votes(&message).into_iter().filter(|vote| vote.signer == own).collect();
    out.see(Sighting::Sent(votes));
    let what = E::describe(&message);
    let packet = Packet::Consensus(message);
    match to {
        To::All => {
            out.note(format!("-> all {what}"));
            to_all(machine, &packet, out);
        }
        To::One(index) => {
            out.note(format!("-> n{index}  {what}"));
            to_one(index.as_usize(), &packet, out);
        }
    }
}

/// Sends a packet to every other node.
pub(super) fn to_all<R, M>(machine: &Machine<R>, packet: &Packet<M>, out: &mut Effects)
where
    R: BorshSerialize + BorshDeserialize,
    M: BorshSerialize,
{
    let bytes: Arc<[u8]> = encode(packet).into();
    (0..machine.nodes()).filter(|to| *to != machine.index).for_each(|to| out.send(to, Arc::clone(&bytes)));
}

/// Sends a packet to one node.
pub(super) fn to_one<M: BorshSerialize>(to: usize, packet: &Packet<M>, out: &mut Effects) {
    out.send(to, encode(packet).into());
}
