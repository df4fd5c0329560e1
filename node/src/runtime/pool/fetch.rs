//! Getting the bodies that a proposal names and that are not here: from the proposer, then from the other validators, until
//! all have come, or what has come cannot be in one block, or nobody wants them any more (`docs/pbft.md` §3.1).
//!
//! Bounds: what has come for one proposal is at most a block; an answer longer than an honest one is not decoded.

use std::{collections::HashSet, sync::Arc, time::Duration};

use quorate_crypto::{Batch, Hash, PublicKey, decode, encode};
use quorate_ledger::{Height, TRANSACTION_BYTES_LIMIT, Transaction};
use quorate_network::{Network, Target};
use tokio::{task::JoinSet, time::Instant};

use super::{
    PoolCommand, PoolSender,
    room::{Room, Unfit},
};
use crate::wire::{ANSWER_BYTES, BODIES_PER_REQUEST_MAX, Bodies, Hashes, Request, Response};

/// How long a source may take before the next one is asked as well.
const PATIENCE: Duration = Duration::from_secs(1);
/// First pause after all sources were asked in vain; it doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Longest answer with bodies: as many as fit or a single one, and what tells their number.
const BODIES_ANSWER_BYTES_MAX: usize = {
    let largest = TRANSACTION_BYTES_LIMIT as usize;
    let bodies = if largest > ANSWER_BYTES { largest } else { ANSWER_BYTES };
    bodies + 16
};

/// What to get.
#[derive(Debug)]
pub(super) struct Fetching {
    pub(super) block: Hash,
    pub(super) height: Height,
    pub(super) missing: Vec<Hash>,
    /// How much they may come to.
    pub(super) room: Room,
    /// Whom to ask, in this order.
    pub(super) sources: Vec<PublicKey>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(super) block: Hash,
    pub(super) height: Height,
    /// The bodies, verified; or why there is no block that holds them.
    pub(super) result: Result<Vec<Arc<Transaction>>, Unfit>,
}

/// Asks until all is here, and tells the pool. It ends when it is aborted: the pool knows when a block is wanted no more,
/// and the requests under way end with it.
///
/// One source is asked after the other, the next when one has answered or has let [`PATIENCE`] run out; a late answer still
/// counts. So whoever is silent or slow costs a moment, not the network's whole timeout.
pub(super) async fn run(fetching: Fetching, network: Network, pool: PoolSender) {
    let Fetching { block, height, missing, room, sources } = fetching;
    let collected = collect(Wanted::new(missing, room), sources, network).await;
    // Verifying is work, and the pool's queue may be full: neither belongs on a thread of the async runtime.
    let done = tokio::task::spawn_blocking(move || {
        let result = collected.and_then(verify);
        // An error means that the pool has stopped.
        let _ = pool.send(PoolCommand::Fetched(Fetched { block, height, result }));
    });
    if let Err(error) = done.await {
        tracing::error!(%error, "verifying fetched bodies failed");
    }
}

/// Asks until nothing is missing, or no block can be made of what came.
async fn collect(
    mut wanted: Wanted,
    sources: Vec<PublicKey>,
    network: Network,
) -> Result<Vec<Arc<Transaction>>, Unfit> {
    let mut rounds = Rounds::new(sources);
    let mut under_way = JoinSet::new();
    let mut pause = PAUSE_FIRST;
    while !wanted.missing.is_empty() {
        let wait = if let Some(source) = rounds.next() {
            under_way.spawn(ask(network.clone(), source, wanted.some()));
            PATIENCE
        } else {
            let now = pause;
            pause = (pause * 2).min(PAUSE_MAX);
            now
        };
        if let Some(Answer { source, asked, transactions }) = answer_within(wait, &mut under_way).await {
            let came = wanted.take(transactions)?;
            rounds.answered(source, usefulness(asked, came));
        }
    }
    Ok(wanted.found)
}

/// What a proposal names and is not here, and what has come of it.
#[derive(Debug)]
struct Wanted {
    missing: HashSet<Hash>,
    found: Vec<Arc<Transaction>>,
    room: Room,
}

impl Wanted {
    fn new(missing: Vec<Hash>, room: Room) -> Self {
        Self { missing: missing.into_iter().collect(), found: Vec::new(), room }
    }

    /// As many as one may be asked for.
    fn some(&self) -> Vec<Hash> {
        self.missing.iter().take(BODIES_PER_REQUEST_MAX).copied().collect()
    }

    /// Keeps of an answer what is missing, and gives that back. The hash is computed from what came, so a body under a name
    /// that was asked for is that body.
    fn take(&mut self, answer: Vec<Arc<Transaction>>) -> Result<&[Arc<Transaction>], Unfit> {
        let before = self.found.len();
        for transaction in answer {
            if self.missing.remove(&transaction.hash()) {
                self.room.take(&transaction)?;
                self.found.push(transaction);
            }
        }
        Ok(&self.found[before..])
    }
}

/// Asks one validator for a whole block, and tells the pool if it is the one that was asked for.
pub(super) async fn block(hash: Hash, from: PublicKey, network: Network, pool: PoolSender) {
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
    asked: usize,
    transactions: Vec<Arc<Transaction>>,
}

/// Asks one source for some of what is missing.
async fn ask(network: Network, source: PublicKey, hashes: Vec<Hash>) -> Answer {
    let asked = hashes.len();
    let request = encode(&Request::Bodies(Hashes(hashes)));
    let transactions = match network.request(Target::Validator(source), request).await {
        Ok(answer) => {
            let bytes = answer.len();
            // Megabytes are decoded where that holds up nobody else.
            let bodies = tokio::task::spawn_blocking(move || bodies_in(&answer)).await;
            bodies.ok().flatten().unwrap_or_else(|| {
                tracing::debug!(validator = %source, bytes, "an answer that is none");
                Vec::new()
            })
        }
        Err(error) => {
            tracing::debug!(validator = %source, %error, "no bodies");
            Vec::new()
        }
    };
    Answer { source, asked, transactions }
}

/// The bodies in an answer that may be one.
fn bodies_in(answer: &[u8]) -> Option<Vec<Arc<Transaction>>> {
    if answer.len() > BODIES_ANSWER_BYTES_MAX {
        return None;
    }
    match decode::<Response>(answer) {
        Ok(Response::Bodies(Bodies(transactions))) => Some(transactions),
        Ok(Response::Blocks(_) | Response::Block(_) | Response::Checkpoint(_) | Response::Readiness(_))
        | Err(_) => None,
    }
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
fn usefulness(asked: usize, came: &[Arc<Transaction>]) -> Usefulness {
    let bytes: usize = came.iter().map(|transaction| transaction.size()).sum();
    if came.len() >= asked.div_ceil(2) || bytes >= ANSWER_BYTES / 2 {
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

fn verify(transactions: Vec<Arc<Transaction>>) -> Result<Vec<Arc<Transaction>>, Unfit> {
    let mut batch = Batch::default();
    for transaction in &transactions {
        batch.push(transaction.sender().0, transaction.message(), *transaction.signature());
    }
    let bad = batch.verify().into_iter().zip(&transactions).find(|(valid, _)| !valid);
    match bad {
        Some((_, transaction)) => Err(Unfit::Signature(transaction.hash())),
        None => Ok(transactions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use quorate_crypto::SecretKey;
    use quorate_ledger::Parameters;

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

    /// "Bodies are counted as they come: […] what cannot be in one block is refused then, not when all of it is here."
    #[test]
    fn a_proposal_is_refused_with_the_first_body_that_cannot_be_in_it() {
        let bodies = transactions(5, 1_000);
        let size = bodies[0].size();
        let block_bytes_max = u32::try_from(2 * size).expect("small ones");
        let parameters = Parameters { block_bytes_max, ..Parameters::default() };
        let named = || bodies.iter().map(|body| body.hash()).collect();
        let mut wanted = Wanted::new(named(), Room::new(&parameters));
        assert_eq!(wanted.take(bodies[..2].to_vec()), Ok(&bodies[..2]));
        assert_eq!(wanted.missing.len(), 3, "and three are still to come");
        let (bytes, max) = (3 * size, 2 * size);
        assert_eq!(wanted.take(bodies[2..3].to_vec()), Err(Unfit::Block { bytes, max }));

        let transaction_bytes_max = u32::try_from(size - 1).expect("a small one");
        let parameters = Parameters { transaction_bytes_max, ..Parameters::default() };
        let mut wanted = Wanted::new(named(), Room::new(&parameters));
        let unfit = Unfit::Transaction { hash: bodies[0].hash(), size, max: size - 1 };
        assert_eq!(wanted.take(bodies[..1].to_vec()), Err(unfit));
    }

    /// > all its transactions are here, each is valid on its own
    #[test]
    fn a_body_whose_signature_is_bad_is_the_proposals_fault() {
        let good = transactions(2, 0);
        assert_eq!(verify(good.clone()), Ok(good.clone()));
        let forged = Transaction::sign(good[0].payload().clone(), &SecretKey::from_seed([9; 32]));
        let forged = Arc::new(forged);
        let named = vec![Arc::clone(&good[1]), Arc::clone(&forged)];
        let mut wanted =
            Wanted::new(named.iter().map(|body| body.hash()).collect(), Room::new(&Parameters::default()));
        assert_eq!(wanted.take(named.clone()), Ok(&named[..]), "it is what the header names");
        assert_eq!(verify(wanted.found), Err(Unfit::Signature(forged.hash())));
    }

    #[test]
    fn bodies_that_nobody_named_take_no_room_and_are_not_kept() {
        let (named, other) = (fixtures::put(1, 0), fixtures::put(2, 1_000));
        let block_bytes_max = u32::try_from(named.size()).expect("a small one");
        let parameters = Parameters { block_bytes_max, ..Parameters::default() };
        let mut wanted = Wanted::new(vec![named.hash()], Room::new(&parameters));
        let answer = vec![other, Arc::clone(&named), Arc::clone(&named)];
        assert_eq!(wanted.take(answer), Ok(&[named][..]));
    }

    #[test]
    fn the_longest_honest_answer_is_read_and_a_longer_one_is_not() {
        let bodies = Response::Bodies(Bodies(transactions(2, 0)));
        let mut answer = encode(&bodies);
        assert_eq!(bodies_in(&answer).map(|bodies| bodies.len()), Some(2));
        answer.push(0);
        assert_eq!(bodies_in(&answer), None);

        let single = transactions(1, ANSWER_BYTES / 4 - 1_000);
        let count = ANSWER_BYTES / single[0].size();
        let rest = ANSWER_BYTES - count * single[0].size();
        let smallest = fixtures::put(0, 0).size();
        let last = fixtures::put(9, rest - smallest);
        let full: Vec<_> = std::iter::repeat_n(Arc::clone(&single[0]), count).chain([last]).collect();
        assert_eq!(full.iter().map(|body| body.size()).sum::<usize>(), ANSWER_BYTES);
        let answer = encode(&Response::Bodies(Bodies(full)));
        assert_eq!(bodies_in(&answer).map(|bodies| bodies.len()), Some(count + 1));
        let longer = vec![single[0].clone(); count + 1];
        assert_eq!(bodies_in(&encode(&Response::Bodies(Bodies(longer)))), None);
    }
}
