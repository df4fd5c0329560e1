//! Building blocks and judging those of others (`docs/pbft.md` §3.1).
//!
//! A proposal carries hashes. What is not here is fetched, from the proposer first. Every check is answered, unless its bodies
//! never come, which the engine's timers answer, or its height is committed, which the engine knows. A named body whose signature does not verify is the
//! proposal's fault, since the hash covers the signature.

use std::{collections::HashMap, sync::Arc};

use quorate_consensus::{Event, Proposal, Verdict};
use quorate_crypto::{Hash, PublicKey};
use quorate_ledger::{Anchor, Block, Header, Height, Transaction, UnixMillis};
use tokio::task::AbortHandle;

use super::{
    Pool,
    fetch::{self, Fetched, Fetching},
};

/// Proposals whose bodies are being fetched, for each height of the window: one of this view and one of the view before.
/// Beyond it the lowest is withdrawn, and the engine may ask again.
const CHECKS_PER_HEIGHT: usize = 2;

/// A proposal that waits for bodies.
#[derive(Debug)]
pub(super) struct PendingCheck {
    proposal: Arc<Proposal>,
    found: HashMap<Hash, Arc<Transaction>>,
    task: AbortHandle,
}

impl Drop for PendingCheck {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<M: Send + 'static> Pool<M> {
    pub(super) fn build(&mut self, height: Height, parent: Hash, anchor: Anchor, time: UnixMillis) {
        let author = self.parts.author.expect("only a validator's engine asks for blocks");
        let waiting = self.parts.mempool.in_turn();
        let block =
            self.parts.candidates.build(height, parent, anchor, time, author.epoch, author.proposer, waiting);
        let empty = block.transactions().is_empty();
        self.parts.mempool.take_off(&block);
        self.report.built(self.parts.clock.mono(), empty);
        self.parts.inbox.answer(Event::Built { block });
    }

    pub(super) fn check(&mut self, proposal: Arc<Proposal>, from: PublicKey) {
        let hash = proposal.header.hash();
        if let Some(block) = self.parts.candidates.block(&hash) {
            self.answer(hash, Verdict::Accept(block));
            return;
        }
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        for hash in &proposal.transactions {
            match self.body(hash) {
                Some(transaction) => {
                    found.insert(*hash, transaction);
                }
                None => missing.push(*hash),
            }
        }
        if missing.is_empty() {
            self.judge(&proposal, &found);
            return;
        }
        tracing::debug!(height = %proposal.header.height, missing = missing.len(), "fetching bodies of a proposal");
        let sources = sources(&proposal.header, from, &self.parts.validators);
        let fetching = Fetching { block: hash, height: proposal.header.height, missing, sources };
        let task = fetch::run(fetching, self.parts.network.clone(), self.parts.commands.clone());
        let task = self.parts.runtime.spawn(task).abort_handle();
        let height = proposal.header.height;
        self.checks.insert((height, hash), PendingCheck { proposal, found, task });
        let window = self.parts.candidates.rules().parameters.window as usize;
        if self.checks.len() > CHECKS_PER_HEIGHT * window
            && let Some(((_, lowest), _)) = self.checks.pop_first()
        {
            self.answer(lowest, Verdict::Withdraw);
        }
    }

    pub(super) fn fetched(&mut self, Fetched { height, block, result }: Fetched) {
        let Some(mut pending) = self.checks.remove(&(height, block)) else { return };
        match result {
            Ok(transactions) => {
                let fetched = transactions.into_iter().map(|transaction| (transaction.hash(), transaction));
                pending.found.extend(fetched);
                let (proposal, found) = (Arc::clone(&pending.proposal), std::mem::take(&mut pending.found));
                self.judge(&proposal, &found);
            }
            Err(bad) => {
                self.answer(block, Verdict::Refuse(format!("the signature of transaction {bad} is bad")));
            }
        }
    }

    fn judge(&mut self, proposal: &Proposal, found: &HashMap<Hash, Arc<Transaction>>) {
        let transactions: Vec<Arc<Transaction>> =
            proposal.transactions.iter().map(|hash| Arc::clone(&found[hash])).collect();
        let hash = proposal.header.hash();
        match self.parts.candidates.check(&proposal.header, transactions) {
            Ok(block) => {
                self.parts.mempool.take_off(&block);
                self.answer(hash, Verdict::Accept(block));
            }
            Err(error) if error.is_fault() => self.answer(hash, Verdict::Refuse(error.to_string())),
            // Nobody's fault: the chain has moved on since the engine asked. It still waits for an answer, and may need the
            // place for another proposal.
            Err(error) => {
                tracing::debug!(height = %proposal.header.height, %error, "a proposal cannot be judged any more");
                self.answer(hash, Verdict::Withdraw);
            }
        }
    }

    fn answer(&self, block: Hash, verdict: Verdict) {
        self.parts.inbox.answer(Event::Checked { block, verdict });
    }

    /// The engine holds these and no others: what was built or judged for nothing is let go of.
    pub(super) fn accepted(&mut self, blocks: &[Arc<Block>], in_flight: &[Hash]) {
        for block in blocks {
            self.parts.candidates.insert(Arc::clone(block));
        }
        let held = |hash: &Hash| blocks.iter().any(|block| block.hash() == *hash);
        let flying: Vec<Arc<Block>> =
            blocks.iter().filter(|block| in_flight.contains(&block.hash())).cloned().collect();
        for given_up in self.parts.mempool.accept(&flying) {
            if given_up.height() > self.parts.candidates.tip().height && !held(&given_up.hash()) {
                self.parts.candidates.forget(&given_up.hash());
            }
        }
    }

    /// Gets a block that a view proposes again, from whoever signed its prepared certificate. One attempt: the engine asks
    /// again, somebody else.
    pub(super) fn fetch_block(&mut self, header: Header, from: PublicKey) {
        let hash = header.hash();
        if let Some(block) = self.parts.candidates.block(&hash) {
            self.parts.inbox.answer(Event::Fetched { block });
            return;
        }
        let Ok(place) = Arc::clone(&self.block_fetches).try_acquire_owned() else { return };
        let (network, pool) = (self.parts.network.clone(), self.parts.commands.clone());
        self.parts.runtime.spawn(async move {
            fetch::block(hash, from, network, pool).await;
            drop(place);
        });
    }

    /// The fetched block is held like one that was checked here: a quorum accepted it, and its children name it.
    pub(super) fn fetched_block(&mut self, block: Arc<Block>) {
        if block.height() > self.parts.candidates.tip().height {
            self.parts.candidates.insert(Arc::clone(&block));
            self.parts.inbox.answer(Event::Fetched { block });
        }
    }

    /// Nothing at or below a committed height is judged any more.
    pub(super) fn drop_checks(&mut self, height: Height) {
        self.checks = self.checks.split_off(&(height.next(), Hash::ZERO));
    }
}

/// Whom to ask for a proposal's bodies: who made the block, which has them all unless it has restarted since; who sent it,
/// which should have them if it proposes the block of an earlier view again; then the others. Anybody may relay a proposal,
/// so the sender alone deserves no patience.
fn sources(header: &Header, from: PublicKey, validators: &[PublicKey]) -> Vec<PublicKey> {
    let proposer = header.proposer.0;
    let first = [proposer, from].into_iter().filter(|key| validators.contains(key));
    let mut sources: Vec<PublicKey> = Vec::with_capacity(validators.len());
    for key in first.chain(validators.iter().copied()) {
        if !sources.contains(&key) {
            sources.push(key);
        }
    }
    sources
}
