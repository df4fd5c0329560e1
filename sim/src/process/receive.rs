//! What comes off the wire: decoded, verified, and put before the engine or the pool.

use std::rc::Rc;
use std::sync::Arc;

use quorate_consensus::{Event, Mono, Rejection};
use quorate_ledger::{Block, CertifiedBlocks};

use super::Process;
use super::outbound::{place, reply};
use crate::effect::{Effects, Sighting};
use crate::liar::{Deceptive, Lie};
use crate::machine::Machine;
use crate::trace::Short;
use crate::wire::{Packet, Parcel};

impl<E: Deceptive> Process<E> {
    /// Takes a packet off the wire.
    pub(crate) fn receive(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        from: usize,
        parcel: &Rc<Parcel<E::Message>>,
        out: &mut Effects<E::Message>,
    ) {
        let packet = match parcel.read() {
            Ok(packet) => packet,
            Err(why) => {
                blame(parcel.corrupted, from, "a packet does not decode", &why.to_string(), out);
                return;
            }
        };
        let withholds = self.liar.as_ref().is_some_and(|liar| liar.does(Lie::WithholdBodies));
        match packet {
            Packet::Consensus(message) => self.hear(machine, from, message, parcel.corrupted, out),
            Packet::Transactions(transactions) => {
                out.note(|| format!("<- n{from}  {} transactions", transactions.len()));
                for transaction in transactions {
                    self.admit(machine, now, transaction, out);
                }
            }
            Packet::Fetch { .. } | Packet::FetchBlock(_) if withholds => {
                out.count(Lie::WithholdBodies.name());
            }
            Packet::Fetch { block, transactions } => {
                out.note(|| format!("<- n{from}  FETCH {} of {}", transactions.len(), Short(block)));
                let transactions = transactions.iter().filter_map(|hash| self.body(hash)).collect();
                reply(from, &Packet::Bodies { block: *block, transactions }, out);
            }
            Packet::Bodies { block, transactions } => {
                out.note(|| format!("<- n{from}  BODIES {} of {}", transactions.len(), Short(block)));
                for transaction in transactions.iter().filter(|it| it.verify_signature()) {
                    self.bodies.found(block, Arc::clone(transaction));
                }
                self.judge_if_complete(machine, now, *block, out);
            }
            Packet::FetchBlock(hash) => {
                if let Some(block) = self.block(hash) {
                    reply(from, &Packet::Block(block), out);
                }
            }
            Packet::Block(block) => self.take_block(from, block, out),
            Packet::Certified(blocks) => self.take_certified(machine, from, blocks, parcel.corrupted, out),
        }
        self.settle(machine, now, out);
    }

    fn hear(
        &mut self,
        machine: &Machine<E::Record>,
        from: usize,
        message: &E::Message,
        corrupted: bool,
        out: &mut Effects<E::Message>,
    ) {
        out.note(|| format!("<- n{from}  {}", E::describe(message)));
        if let Some(liar) = &mut self.liar {
            let told = E::answer(liar, message);
            self.tell(machine, told, out);
        }
        match E::verify(&machine.chain.scope, self.horizon, message.clone()) {
            Ok(message) => self.inbox.push(Event::Message { from: place(from), message }),
            Err(why @ Rejection::OldView(_)) => {
                out.note(|| format!("drops a message of n{from}: {why}"));
            }
            Err(why) => blame(corrupted, from, "a message does not verify", &why.to_string(), out),
        }
    }

    /// A whole block that was asked for; what nobody asked for is left alone.
    fn take_block(&mut self, from: usize, block: &Arc<Block>, out: &mut Effects<E::Message>) {
        out.note(|| format!("<- n{from}  BLOCK h{} {}", block.height(), Short(&block.hash())));
        let wanted = self.wanted.contains(&block.hash()) && block.check_root().is_ok();
        if wanted && block.height() > self.candidates.tip().height {
            self.wanted.remove(&block.hash());
            self.candidates.insert(Arc::clone(block));
            self.inbox.push(Event::Fetched { block: Arc::clone(block) });
        }
    }

    fn take_certified(
        &mut self,
        machine: &Machine<E::Record>,
        from: usize,
        blocks: &CertifiedBlocks,
        corrupted: bool,
        out: &mut Effects<E::Message>,
    ) {
        let scope = &machine.chain.scope;
        out.note(|| format!("<- n{from}  CERTIFIED up to h{}", blocks.certificate.payload.height));
        match blocks.check(&scope.chain, &scope.validators) {
            Ok(()) => self.inbox.push(Event::Certified(blocks.clone())),
            Err(why) => blame(corrupted, from, "certified blocks do not check", &why.to_string(), out),
        }
    }
}

/// Something is refused: right if its sender lies, or the network has changed it.
fn blame<M>(corrupted: bool, from: usize, what: &'static str, why: &str, out: &mut Effects<M>) {
    out.note(|| format!("refuses what comes from n{from}: {what}: {why}"));
    if corrupted {
        out.count("corruption refused");
    } else {
        out.see(Sighting::Blames { whom: from, what, detail: why.to_owned() });
    }
}
