//! What the engine asks for, done.

use std::rc::Rc;

use quorate_consensus::{Action, Event, Mono, Rejection};
use quorate_crypto::Hash;
use quorate_ledger::{Account, Height, Transaction};

use super::Process;
use super::epochs::Instance;
use super::outbound::reply;
use crate::coverage::Counter;
use crate::effect::{Effects, Sighting};
use crate::liar::{Deceptive, Lie, told};
use crate::machine::Machine;
use crate::observe::{Accusation, in_checkpoint, in_commit};
use crate::trace::Short;
use crate::wire::{Packet, Stretch};

/// Most blocks of one answer to a node that is behind.
pub(crate) const SERVE_BLOCKS: usize = 64;
/// Most bytes of one.
const SERVE_BYTES: usize = 1 << 20;

impl<E: Deceptive> Process<E> {
    pub(super) fn take(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        instance: &Rc<Instance>,
        action: Action<E::Message>,
        out: &mut Effects<E::Message>,
    ) {
        match action {
            Action::Send { to, message } => {
                if let Some(liar) = &mut self.liar {
                    liar.turn_to(instance);
                    let told = E::alter(liar, to, message);
                    self.tell(machine, instance, told, out);
                } else {
                    self.say(machine, instance, told(to, message), out);
                }
            }
            Action::Build { height, parent, anchor, time } => {
                let epoch = instance.epoch();
                let proposer = Account(machine.key().public());
                let censor = self.liar.as_mut().is_some_and(|liar| liar.tells(Lie::Censor, 1_000));
                let waiting = self.pool.oldest_first().filter(|it| !censor || !is_censored(it));
                let block = self.candidates.build(height, parent, anchor, time, epoch, proposer, waiting);
                out.note(|| {
                    format!(
                        "builds h{height} {}, {} transactions",
                        Short(&block.hash()),
                        block.transactions().len()
                    )
                });
                self.backlog = None;
                self.answer(machine, now, Event::Built { block }, out);
            }
            Action::Check { proposal, from } => {
                let block = proposal.header.hash();
                let (pool, candidates) = (&self.pool, &self.candidates);
                let here = |hash: &Hash| pool.by_hash(hash).or_else(|| candidates.transaction(hash));
                self.bodies.begin(block, proposal, instance.member(from), here);
                self.judge_if_complete(machine, now, block, out);
                self.fetch(machine, now, block, out);
            }
            Action::Fetch { header, from } => {
                let (hash, from) = (header.hash(), instance.member(from));
                out.note(|| format!("-> n{from}  FETCH-BLOCK {}", Short(&hash)));
                self.wanted.insert(hash);
                reply(from, &Packet::FetchBlock(hash), out);
            }
            Action::Commit { block, certificate } => self.commit(machine, now, block, certificate, out),
            Action::Stable { certificate } => {
                out.note(|| format!("stable h{}", certificate.payload.height));
                if let Err(why) = self.ledger.stable(&certificate) {
                    self.ledger_refuses(machine, "the ledger refuses a checkpoint certificate", &why, out);
                }
            }
            Action::Leave { view, rule } => {
                out.note(|| format!("leaves for v{view}: {rule} (§5)"));
                out.count(left_by(rule));
            }
            Action::Serve { to, above } => self.serve(instance.member(to), above, out),
            Action::Accuse { evidence } => {
                out.note(|| format!("accuses of {}", evidence.kind()));
                out.see(Sighting::Accuses(Box::new(Accusation::of(&evidence, &instance.scope))));
            }
            Action::Reject { from, why } => {
                let from = instance.member(from);
                if self.corrupted_from_now.contains(&from) {
                    out.note(|| format!("refuses what the network has changed since n{from} sent it: {why}"));
                    out.count(Counter::CORRUPTION_REFUSED);
                } else {
                    reject(from, &why, out);
                }
            }
            Action::Abstain { why } => {
                out.note(|| format!("abstains: {why}"));
                out.see(Sighting::Abstains(why));
            }
            Action::Halt { fault } => out.see(Sighting::Wrong { what: "the engine halts", detail: fault }),
        }
    }

    /// Sends certified blocks above a height, with the newest checkpoint certificate of one of them.
    pub(super) fn serve(&mut self, to: usize, above: Height, out: &mut Effects<E::Message>) {
        let reader = self.ledger.reader();
        match reader.certified_above(above, SERVE_BLOCKS, SERVE_BYTES) {
            Ok(Some(mut blocks)) => {
                if let Some(liar) = self.liar.as_mut().filter(|it| it.does(Lie::FalseBlocks)) {
                    liar.counted.push(Lie::FalseBlocks.counter());
                    match liar.random.below(3) {
                        0 => blocks.certificate.payload.block = liar.nothing(),
                        1 => blocks.blocks.reverse(),
                        _ => blocks.certificate.payload.height = above.next().next().next(),
                    }
                }
                let last = blocks.certificate.payload.height;
                let heights = blocks.blocks.iter().rev().map(|block| block.height());
                let checkpoint =
                    heights.filter_map(|height| reader.checkpoint(height).expect("memory reads")).next();
                if self.liar.is_none() {
                    let results = checkpoint.iter().flat_map(in_checkpoint);
                    out.see(Sighting::Sent(in_commit(&blocks.certificate).chain(results).collect()));
                }
                out.note(|| format!("-> n{to}  CERTIFIED h{} to h{last}", above.next()));
                reply(to, &Packet::Certified(Box::new(Stretch { blocks, checkpoint })), out);
            }
            Ok(None) => out.note(|| format!("has no certified blocks above h{above}")),
            Err(why) => {
                out.see(Sighting::Wrong { what: "the ledger does not read", detail: why.to_string() });
            }
        }
    }
}

/// How a view that was left is counted.
///
/// # Panics
/// At a word that the engine did not have when this was written: a run in which that is said fails.
fn left_by(rule: &str) -> Counter {
    match rule {
        "proposal" => Counter::VIEWS_LEFT_PROPOSAL_TIMER,
        "progress" => Counter::VIEWS_LEFT_PROGRESS_TIMER,
        "inclusion" => Counter::VIEWS_LEFT_INCLUSION_TIMER,
        "new_view" => Counter::VIEWS_LEFT_NEW_VIEW_TIMER,
        "rotation" => Counter::VIEWS_LEFT_ROTATION,
        "false_new_view" => Counter::VIEWS_LEFT_FALSE_START,
        "others" => Counter::VIEWS_LEFT_WITH_OTHERS,
        _ => panic!("a view is left by a rule that is not counted: {rule}"),
    }
}

/// Whose transactions a censor leaves out.
fn is_censored(transaction: &Transaction) -> bool {
    transaction.sender().0.as_bytes()[0].is_multiple_of(2)
}

/// The engine refuses a message: right if its sender lies, and where the sender could not know better.
fn reject<M>(from: usize, why: &Rejection, out: &mut Effects<M>) {
    match why {
        // A node that is behind cannot hold what is far above it, nor take a header that was long on its way or comes from
        // a clock that is wrong: no fault of the sender.
        Rejection::AboveWindow { .. } | Rejection::ClockDrift { .. } => {
            out.note(|| format!("drops a message of n{from}: {why}"));
        }
        Rejection::WrongChain
        | Rejection::WrongEpoch { .. }
        | Rejection::UnknownSigner(_)
        | Rejection::BadSignature(_)
        | Rejection::ForgedAnswer(_)
        | Rejection::BadCertificate { .. }
        | Rejection::Malformed(_)
        | Rejection::OldView(_)
        | Rejection::NotPrimary { .. }
        | Rejection::WrongParent(_)
        | Rejection::TimeNotRising { .. }
        | Rejection::WrongProposer
        | Rejection::BadAnchor(_)
        | Rejection::Refused(_) => {
            let what = "the engine rejects a message";
            out.see(Sighting::Blames { whom: from, what, detail: why.to_string() });
        }
    }
}
