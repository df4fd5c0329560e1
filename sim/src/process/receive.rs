//! What comes off the wire: decoded, verified, and put before the engine or the pool.

use std::rc::Rc;
use std::sync::Arc;

use quorate_consensus::{Event, Mono, Rejection};
use quorate_ledger::{Block, CommitPayload};

use super::Process;
use super::outbound::reply;
use crate::coverage::Counter;
use crate::effect::{Effects, Sighting};
use crate::liar::{Deceptive, Lie};
use crate::machine::Machine;
use crate::trace::Short;
use crate::wire::{Packet, Parcel, Stretch};

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
            Packet::Offer(height) => self.offered(now, from, *height, out),
            Packet::Blocks { above } => self.serve(from, *above, out),
            Packet::Transactions(transactions) => {
                out.note(|| format!("<- n{from}  {} transactions", transactions.len()));
                for transaction in transactions {
                    self.admit(machine, now, transaction, out);
                }
            }
            Packet::Fetch { .. } | Packet::FetchBlock(_) if withholds => {
                out.count(Lie::WithholdBodies.counter());
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
            Packet::Certified(stretch) => self.take_certified(from, stretch, parcel.corrupted, out),
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
            let instance = Rc::clone(self.epochs.current());
            liar.turn_to(&instance);
            let told = E::answer(liar, message);
            self.tell(machine, &instance, told, out);
        }
        let epoch = E::epoch_of(message);
        let Some((instance, horizon)) = self.epochs.of(epoch) else {
            if epoch < self.epochs.current().epoch() {
                // Its sender is behind.
                reply(from, &Packet::Offer(self.executed()), out);
            }
            return;
        };
        // A member of the other epoch's set has no voice here.
        let Some(index) = instance.index_of(from) else { return };
        match E::verify(&instance.scope, horizon, message.clone()) {
            Ok(message) => {
                if corrupted {
                    self.corrupted_from.push(from);
                }
                self.inbox.push(Event::Message { from: index, message }.into());
            }
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
            self.inbox.push(Event::Fetched { block: Arc::clone(block) }.into());
        }
    }

    /// Certified blocks, and perhaps the certificate of a checkpoint of one of them. Whose signatures a later epoch needs is
    /// known once the last block of this one is executed.
    fn take_certified(
        &mut self,
        from: usize,
        Stretch { blocks, checkpoint }: &Stretch,
        corrupted: bool,
        out: &mut Effects<E::Message>,
    ) {
        let reader = self.ledger.reader();
        let CommitPayload { epoch, height, .. } = blocks.certificate.payload;
        out.note(|| format!("<- n{from}  CERTIFIED up to h{height}"));
        let Some(start) = reader.epoch_numbered(epoch) else { return };
        if let Err(why) = blocks.check(&reader.chain(), &start.validators) {
            blame(corrupted, from, "certified blocks do not check", &why.to_string(), out);
            return;
        }
        self.inbox.push(Event::Certified(blocks.clone()).into());
        let Some(checkpoint) = checkpoint.as_ref().filter(|it| it.payload.epoch == epoch) else { return };
        match checkpoint.verify(&reader.chain(), &start.validators) {
            Ok(()) => self.inbox.push(Event::Checkpoint(checkpoint.clone()).into()),
            Err(why) => blame(corrupted, from, "a checkpoint does not check", &why.to_string(), out),
        }
    }
}

/// Something is refused: right if its sender lies, or the network has changed it.
fn blame<M>(corrupted: bool, from: usize, what: &'static str, why: &str, out: &mut Effects<M>) {
    out.note(|| format!("refuses what comes from n{from}: {what}: {why}"));
    if corrupted {
        out.count(Counter::CORRUPTION_REFUSED);
    } else {
        out.see(Sighting::Blames { whom: from, what, detail: why.to_owned() });
    }
}
