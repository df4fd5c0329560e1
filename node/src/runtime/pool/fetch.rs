//! Getting the bodies that a proposal names and that are not here: from the proposer, then from the other validators, until
//! all have come or nobody wants them any more (`docs/pbft.md` §3.1).

use std::{
    collections::HashSet,
    sync::{Arc, mpsc::SyncSender},
    time::Duration,
};

use quorate_crypto::{Batch, Hash, PublicKey, decode, encode};
use quorate_ledger::{Height, Transaction};
use quorate_network::{Network, Target};
use tokio::{task::JoinSet, time::Instant};

use super::PoolCommand;
use crate::wire::{ANSWER_BYTES, BODIES_PER_REQUEST_MAX, Bodies, Hashes, Request, Response};

/// How long a source may take before the next one is asked as well.
const PATIENCE: Duration = Duration::from_secs(1);
/// First pause after all sources were asked in vain; it doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What to get.
#[derive(Debug)]
pub(super) struct Fetching {
    pub(super) block: Hash,
    pub(super) height: Height,
    pub(super) missing: Vec<Hash>,
    /// Whom to ask, in this order.
    pub(super) sources: Vec<PublicKey>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(super) block: Hash,
    pub(super) height: Height,
    /// The bodies, verified; or the hash of one that is not validly signed.
    pub(super) result: Result<Vec<Arc<Transaction>>, Hash>,
}

/// Asks until all is here, and tells the pool. It ends when it is aborted: the pool knows when a block is wanted no more,
/// and the requests under way end with it.
///
/// One source is asked after the other, the next when one has answered or has let [`PATIENCE`] run out; a late answer still
/// counts. So whoever is silent or slow costs a moment, not the network's whole timeout.
pub(super) async fn run(fetching: Fetching, network: Network, pool: SyncSender<PoolCommand>) {
    let Fetching { block, height, missing, sources } = fetching;
    let mut missing: HashSet<Hash> = missing.into_iter().collect();
    let mut found = Vec::with_capacity(missing.len());
    let mut rounds = Rounds::new(sources);
    let mut under_way = JoinSet::new();
    let mut pause = PAUSE_FIRST;
    while !missing.is_empty() {
        let wait = if let Some(source) = rounds.next() {
            let wanted = missing.iter().take(BODIES_PER_REQUEST_MAX).copied().collect();
            under_way.spawn(ask(network.clone(), source, wanted));
            PATIENCE
        } else {
            let now = pause;
            pause = (pause * 2).min(PAUSE_MAX);
            now
        };
        if let Some(Answer { source, wanted, transactions }) = answer_within(wait, &mut under_way).await {
            let before = found.len();
            // The hash is computed from what came, so a body under a name that was asked for is that body.
            found.extend(transactions.into_iter().filter(|transaction| missing.remove(&transaction.hash())));
            rounds.answered(source, usefulness(wanted, &found[before..]));
        }
    }
    // Verifying is work, and the pool's queue may be full: neither belongs on a thread of the async runtime.
    let done = tokio::task::spawn_blocking(move || {
        let result = verify(found);
        // An error means that the pool has stopped.
        let _ = pool.send(PoolCommand::Fetched(Fetched { block, height, result }));
    });
    if let Err(error) = done.await {
        tracing::error!(%error, "verifying fetched bodies failed");
    }
}

/// Asks one validator for a whole block, and tells the pool if it is the one that was asked for.
pub(super) async fn block(hash: Hash, from: PublicKey, network: Network, pool: SyncSender<PoolCommand>) {
    let answer = network.request(Target::Validator(from), encode(&Request::Block(hash))).await;
    let done = tokio::task::spawn_blocking(move || {
        let block = match answer.as_deref().map(decode::<Response>) {
            Ok(Ok(Response::Block(Some(block)))) => block,
            _ => return,
        };
        // Both hashes are computed from what came: the header is the one that a quorum signed, and it names the rest.
        if block.hash() == hash && block.check_root().is_ok() {
            // An error means that the pool has stopped.
            let _ = pool.send(PoolCommand::FetchedBlock(block));
        }
    });
    if let Err(error) = done.await {
        tracing::error!(%error, "checking a fetched block failed");
    }
}

/// What one source sent; nothing, if it failed.
#[derive(Debug)]
struct Answer {
    source: PublicKey,
    /// How many bodies it was asked for.
    wanted: usize,
    transactions: Vec<Arc<Transaction>>,
}

/// Asks one source for some of what is missing.
async fn ask(network: Network, source: PublicKey, hashes: Vec<Hash>) -> Answer {
    let wanted = hashes.len();
    let request = encode(&Request::Bodies(Hashes(hashes)));
    let transactions = match network.request(Target::Validator(source), request).await {
        Ok(answer) => match decode::<Response>(&answer) {
            Ok(Response::Bodies(Bodies(transactions))) => transactions,
            Ok(Response::Blocks(_) | Response::Block(_) | Response::Checkpoint(_)) | Err(_) => {
                tracing::debug!(validator = %source, "an answer that is none");
                Vec::new()
            }
        },
        Err(error) => {
            tracing::debug!(validator = %source, %error, "no bodies");
            Vec::new()
        }
    };
    Answer { source, wanted, transactions }
}

/// The next answer of any request under way, if one comes in time.
async fn answer_within(wait: Duration, under_way: &mut JoinSet<Answer>) -> Option<Answer> {
    let until = Instant::now() + wait;
    match tokio::time::timeout_at(until, under_way.join_next()).await {
        Ok(Some(Ok(answer))) => Some(answer),
        Ok(Some(Err(error))) => {
            tracing::error!(%error, "asking for bodies failed");
            None
        }
        Ok(None) => {
            tokio::time::sleep_until(until).await;
            None
        }
        Err(_) => None,
    }
}

/// What an answer says of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usefulness {
    /// It has the bodies, and sent as many as an answer may hold: it is asked for the rest.
    Plenty,
    /// It has few or none, or gives them out by the spoon: the next one is asked.
    Little,
}

/// Half of what was asked for, or half of what an answer may hold: a source cannot answer for long without having sent all.
fn usefulness(wanted: usize, came: &[Arc<Transaction>]) -> Usefulness {
    let bytes: usize = came.iter().map(|transaction| transaction.size()).sum();
    if came.len() >= wanted.div_ceil(2) || bytes >= ANSWER_BYTES / 2 {
        Usefulness::Plenty
    } else {
        Usefulness::Little
    }
}

/// Whose turn it is to be asked: each source once in a round, and never twice at a time.
#[derive(Debug)]
struct Rounds {
    sources: Vec<PublicKey>,
    /// Place of the next one in this round.
    next: usize,
    under_way: HashSet<PublicKey>,
}

impl Rounds {
    fn new(sources: Vec<PublicKey>) -> Self {
        Self { sources, next: 0, under_way: HashSet::new() }
    }

    /// The next source, which counts as asked; `None` at the end of a round, after which another begins.
    fn next(&mut self) -> Option<PublicKey> {
        while let Some(source) = self.sources.get(self.next).copied() {
            self.next += 1;
            if self.under_way.insert(source) {
                return Some(source);
            }
        }
        self.next = 0;
        None
    }

    /// A source has answered; one that sent plenty is the next to be asked in this round.
    fn answered(&mut self, source: PublicKey, usefulness: Usefulness) {
        self.under_way.remove(&source);
        if usefulness == Usefulness::Little {
            return;
        }
        let place = self.sources.iter().position(|one| *one == source).expect("only sources are asked");
        // Those in front of it were asked before it and are none the worse for standing behind it now.
        let source = self.sources.remove(place);
        if place < self.next {
            self.next -= 1;
        }
        self.sources.insert(self.next, source);
    }
}

fn verify(transactions: Vec<Arc<Transaction>>) -> Result<Vec<Arc<Transaction>>, Hash> {
    let mut batch = Batch::default();
    for transaction in &transactions {
        batch.push(transaction.sender().0, transaction.message(), *transaction.signature());
    }
    let bad = batch.verify().into_iter().zip(&transactions).find(|(valid, _)| !valid);
    match bad {
        Some((_, transaction)) => Err(transaction.hash()),
        None => Ok(transactions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use quorate_crypto::SecretKey;

    fn keys<const N: usize>() -> [PublicKey; N] {
        std::array::from_fn(|index| SecretKey::from_seed([index as u8; 32]).public())
    }

    fn transactions(count: u64, value_bytes: usize) -> Vec<Arc<Transaction>> {
        (0..count).map(|nonce| fixtures::put(nonce, value_bytes)).collect()
    }

    #[test]
    fn each_source_is_asked_once_in_a_round_and_never_twice_at_a_time() {
        let [a, b, c] = keys();
        let mut rounds = Rounds::new(vec![a, b, c]);
        assert_eq!(
            [rounds.next(), rounds.next(), rounds.next(), rounds.next()],
            [Some(a), Some(b), Some(c), None]
        );
        rounds.answered(b, Usefulness::Little);
        assert_eq!([rounds.next(), rounds.next()], [Some(b), None], "the others still owe an answer");
    }

    #[test]
    fn a_source_that_sends_plenty_is_asked_for_the_rest() {
        let [a, b, c] = keys();
        let mut rounds = Rounds::new(vec![a, b, c]);
        assert_eq!([rounds.next(), rounds.next()], [Some(a), Some(b)]);
        rounds.answered(b, Usefulness::Plenty);
        assert_eq!(rounds.next(), Some(b));
        rounds.answered(b, Usefulness::Little);
        assert_eq!([rounds.next(), rounds.next()], [Some(c), None]);
        rounds.answered(a, Usefulness::Plenty);
        assert_eq!([rounds.next(), rounds.next(), rounds.next()], [Some(a), Some(b), None]);
    }

    #[test]
    fn a_spoonful_is_little_and_half_of_what_was_asked_is_plenty() {
        assert_eq!(usefulness(4, &transactions(1, 0)), Usefulness::Little);
        assert_eq!(usefulness(4, &transactions(2, 0)), Usefulness::Plenty);
        assert_eq!(usefulness(1, &[]), Usefulness::Little);
        let large = transactions(2, ANSWER_BYTES / 4);
        assert_eq!(usefulness(4_096, &large[..1]), Usefulness::Little);
        assert_eq!(usefulness(4_096, &large), Usefulness::Plenty, "an answer cut by its size");
    }
}
