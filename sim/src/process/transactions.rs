//! Transactions in a process: taken in, spread, fetched for proposals, and judged with them, as a node's pool does.

use std::sync::Arc;

use quorate_consensus::{Event, Mono, Verdict};
use quorate_crypto::Hash;
use quorate_ledger::{Block, Height, Transaction};

use super::Process;
use super::outbound::{reply, spread, to_all};
use crate::effect::{Effects, Wake};
use crate::liar::{Deceptive, Lie};
use crate::machine::Machine;
use crate::trace::Short;
use crate::wire::{Packet, Parcel};

/// How long missing bodies are waited for before another node is asked.
const REFETCH_US: u64 = 100_000;

/// What became of a submitted transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Submitted {
    /// It waits here.
    Waits,
    /// It is committed, and this node's ledger has it synced.
    Committed(Height),
    /// It can be in no block any more, or never could.
    Refused(String),
}

impl<E: Deceptive> Process<E> {
    /// Takes a transaction from a client, and spreads it if it is news.
    pub(crate) fn submit(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        transaction: &Arc<Transaction>,
        out: &mut Effects<E::Message>,
    ) -> Submitted {
        let submitted = self.admit(machine, now, transaction, out);
        if submitted == Submitted::Waits && !self.withholds() {
            let packet = Packet::Transactions(vec![Arc::clone(transaction)]);
            to_all(machine, &packet, out);
        }
        self.settle(machine, now, out);
        submitted
    }

    /// Takes a transaction in, from whomever it comes.
    pub(super) fn admit(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        transaction: &Arc<Transaction>,
        out: &mut Effects<E::Message>,
    ) -> Submitted {
        if let Some(height) = self.candidates.contains_committed(&transaction.id()) {
            let synced = height <= self.executed();
            return if synced { Submitted::Committed(height) } else { Submitted::Waits };
        }
        if self.pool.contains(&transaction.id()) {
            return Submitted::Waits;
        }
        if let Err(why) = transaction.check(self.candidates.rules()) {
            return Submitted::Refused(why.to_string());
        }
        if transaction.expires_at() <= machine.clocks(now).wall {
            return Submitted::Refused("it has expired by this node's clock".to_owned());
        }
        if !transaction.verify_signature() {
            return Submitted::Refused("the signature does not hold".to_owned());
        }
        self.pool.insert(Arc::clone(transaction), now);
        self.wake_to_hand_out(now.plus_millis(self.hand_out_wait_ms()), out);
        Submitted::Waits
    }

    /// A transaction by its hash, waiting or in a block that is held.
    pub(super) fn body(&self, hash: &Hash) -> Option<Arc<Transaction>> {
        self.pool.by_hash(hash).or_else(|| self.candidates.transaction(hash))
    }

    /// A block that was accepted here, committed or not.
    pub(super) fn block(&self, hash: &Hash) -> Option<Arc<Block>> {
        self.candidates.block(hash).or_else(|| {
            let reader = self.ledger.reader();
            let height = reader.height_of(hash).expect("memory reads")?;
            Some(reader.block(height).expect("memory reads")?.block)
        })
    }

    /// Asks the next node for what a proposal lacks, and comes back later to see whether it came.
    pub(super) fn fetch(
        &mut self,
        machine: &Machine<E::Record>,
        now: Mono,
        block: Hash,
        out: &mut Effects<E::Message>,
    ) {
        let Some(transactions) = self.bodies.missing(&block) else { return };
        let validators = &self.epochs.current().members;
        if let Some(source) = self.bodies.next_source(&block, validators, machine.member) {
            out.note(|| format!("-> n{source}  FETCH {} of {}", transactions.len(), Short(&block)));
            reply(source, &Packet::Fetch { block, transactions }, out);
        }
        out.wake_after(now, REFETCH_US, Wake::Refetch(Box::new(block)));
    }

    /// Judges a proposal that lacks nothing any more.
    pub(super) fn judge_if_complete(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        block: Hash,
        out: &mut Effects<E::Message>,
    ) {
        let Some((proposal, transactions)) = self.bodies.complete(&block) else { return };
        let verdict = match self.candidates.check(&proposal.header, transactions) {
            Ok(block) => Verdict::Accept(block),
            // Nobody's fault: a commit has overtaken the question.
            Err(why) if !why.is_fault() => {
                out.note(|| format!("does not judge {}: {why}", Short(&block)));
                Verdict::Withdraw
            }
            Err(why) => Verdict::Refuse(why.to_string()),
        };
        self.answer(machine, now, Event::Checked { block, verdict }, out);
    }

    /// Lets an answer reach the engine after a while; answers stay in order.
    pub(super) fn answer(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        event: Event<E::Message>,
        out: &mut Effects<E::Message>,
    ) {
        self.answers.push_back(event);
        let micros = machine.random.within(&machine.timing.answer_us);
        out.wake_after(now, micros, Wake::Answer);
    }

    /// What has waited too long goes to every validator, again and again until it is committed: if it waits at one.
    pub(super) fn hand_out(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        out: &mut Effects<E::Message>,
    ) {
        if self.hand_out.is_none_or(|at| at > now) {
            return;
        }
        self.hand_out = None;
        self.pool.expire(machine.clocks(now).wall);
        let waiting = self.pool.hand_out(now, self.hand_out_wait_ms());
        let validators = &self.epochs.current().members;
        if !waiting.is_empty() && validators.contains(&machine.member) {
            out.note(|| format!("hands {} transactions to everybody", waiting.len()));
            if !self.withholds() {
                spread(machine, validators, &Parcel::of(&Packet::Transactions(waiting)), 0, out);
            }
        }
        if !self.pool.is_empty() {
            self.wake_to_hand_out(now.plus_millis(self.parameters().resend_ms), out);
        }
    }

    /// Whether it lies by keeping what it has to itself.
    fn withholds(&self) -> bool {
        self.liar.as_ref().is_some_and(|liar| liar.does(Lie::WithholdBodies))
    }

    fn wake_to_hand_out(&mut self, at: Mono, out: &mut Effects<E::Message>) {
        if self.hand_out.is_none() {
            self.hand_out = Some(at);
            out.wake(at, Wake::HandOut);
        }
    }

    fn hand_out_wait_ms(&self) -> u64 {
        self.parameters().base_timeout_ms / 2
    }
}
