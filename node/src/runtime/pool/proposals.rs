//! Building blocks and judging those of others (`docs/pbft.md` §3.1).
//!
//! A proposal carries hashes. What is not here is fetched, from the proposer first. Every check is answered, unless its bodies
//! never come, which the engine's timers answer, or its height is committed, which the engine knows. A named body whose signature
//! does not verify is the proposal's fault, since the hash covers the signature; and so are bodies that are too large, which
//! are counted as they come ([`Room`]).
//!
//! Bound: at most [`CHECKS_PER_HEIGHT`] blocks for each height of the window wait for bodies, each with no more of them than a
//! block may hold. The ledger bounds a window of blocks (`Parameters::check`), so twice that is all that waits here.

use std::{collections::HashMap, sync::Arc};

use quorate_consensus::{Event, Proposal, Verdict};
use quorate_crypto::{Hash, PublicKey};
use quorate_ledger::{Anchor, Block, Header, Height, Parameters, Transaction, UnixMillis};
use tokio::task::AbortHandle;

use super::{
    Pool,
    fetch::{self, Fetched, Fetching},
    room::{Room, Unfit},
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
        let rules = self.parts.candidates.rules();
        if proposal.header.epoch != rules.epoch {
            // Of an epoch that is over here: nobody judges it any more, and its limits are not those known here.
            self.answer(hash, Verdict::Withdraw);
            return;
        }
        let Sorted { found, missing, room } = match sort(&proposal, &rules.parameters, |hash| self.body(hash))
        {
            Ok(sorted) => sorted,
            Err(unfit) => return self.answer(hash, Verdict::Refuse(unfit.to_string())),
        };
        if missing.is_empty() {
            self.judge(&proposal, &found);
            return;
        }
        tracing::debug!(height = %proposal.header.height, missing = missing.len(), "fetching bodies of a proposal");
        let sources = sources(&proposal.header, from, &self.parts.validators);
        let fetching = Fetching { block: hash, height: proposal.header.height, missing, room, sources };
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
            Err(unfit) => self.answer(block, Verdict::Refuse(unfit.to_string())),
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

/// What a proposal names, as far as it is here.
struct Sorted {
    found: HashMap<Hash, Arc<Transaction>>,
    missing: Vec<Hash>,
    /// What the missing ones may come to.
    room: Room,
}

fn sort(
    proposal: &Proposal,
    parameters: &Parameters,
    body: impl Fn(&Hash) -> Option<Arc<Transaction>>,
) -> Result<Sorted, Unfit> {
    let mut sorted = Sorted { found: HashMap::new(), missing: Vec::new(), room: Room::new(parameters) };
    for hash in &proposal.transactions {
        match body(hash) {
            Some(transaction) => {
                sorted.room.take(&transaction)?;
                sorted.found.insert(*hash, transaction);
            }
            None => sorted.missing.push(*hash),
        }
    }
    Ok(sorted)
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

#[cfg(test)]
mod tests {
    use quorate_ledger::{Account, Epoch};

    use super::*;
    use crate::fixtures::put;

    fn proposal_of(transactions: &[Arc<Transaction>]) -> Proposal {
        let transactions: Vec<Hash> = transactions.iter().map(|transaction| transaction.hash()).collect();
        let header = Header {
            version: Header::VERSION,
            chain: Hash::ZERO,
            epoch: Epoch(0),
            height: Height(1),
            parent: Hash::ZERO,
            transactions_root: Block::transactions_root(&transactions),
            time: UnixMillis(1),
            proposer: Account(quorate_crypto::SecretKey::from_seed([1; 32]).public()),
            anchor: Anchor { height: Height(0), state_root: Hash::ZERO, checkpoint: Hash::ZERO },
        };
        Proposal { header, transactions }
    }

    /// > Missing transactions are fetched, from the proposer and whoever sent the proposal first.
    #[test]
    fn the_proposer_is_asked_first_then_who_sent_the_proposal_then_the_others() {
        let key = |seed| quorate_crypto::SecretKey::from_seed([seed; 32]).public();
        let header = proposal_of(&[]).header;
        let (proposer, [a, b, c]) = (header.proposer.0, [key(2), key(3), key(4)]);
        let all = [a, b, proposer, c];
        assert_eq!(sources(&header, c, &all), [proposer, c, a, b]);
        assert_eq!(sources(&header, proposer, &all), [proposer, a, b, c]);
        assert_eq!(sources(&header, c, &[a, b, c]), [c, a, b], "this node's own, or of another epoch");
    }

    /// "Bodies are counted as they come": what is here leaves the rest of a block to what is not.
    #[test]
    fn bodies_that_are_here_take_room_from_those_that_are_fetched() {
        let bodies: Vec<_> = (0..3).map(|nonce| put(nonce, 100)).collect();
        let block_bytes_max = u32::try_from(2 * bodies[0].size()).expect("small ones");
        let parameters = Parameters { block_bytes_max, ..Parameters::default() };
        let sort_with = |here: &[Arc<Transaction>]| {
            let here = here.to_vec();
            let body = move |hash: &Hash| here.iter().find(|body| body.hash() == *hash).cloned();
            sort(&proposal_of(&bodies), &parameters, body)
        };
        let Ok(Sorted { found, missing, mut room }) = sort_with(&bodies[..1]) else { panic!("one fits") };
        assert_eq!((found.len(), missing), (1, vec![bodies[1].hash(), bodies[2].hash()]));
        assert_eq!(room.take(&bodies[1]), Ok(()));
        let (bytes, max) = (3 * bodies[0].size(), 2 * bodies[0].size());
        assert_eq!(room.take(&bodies[2]), Err(Unfit::Block { bytes, max }));
        assert_eq!(sort_with(&bodies).err(), Some(Unfit::Block { bytes, max }), "nothing need be fetched");
    }
}
