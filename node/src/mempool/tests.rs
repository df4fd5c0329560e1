//! Claims about the pool, on transactions signed with keys of small seeds.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use quorate_crypto::SecretKey;
use quorate_ledger::{Anchor, Epoch, Header, Operation, Payload};

use super::*;

const LATER: UnixMillis = UnixMillis(1_000_000);

fn key(sender: u8) -> SecretKey {
    SecretKey::from_seed([sender + 1; 32])
}

fn account(sender: u8) -> Account {
    Account(key(sender).public())
}

struct Spec {
    sender: u8,
    nonce: u64,
    fee: Amount,
    expires_at: UnixMillis,
}

fn signed(spec: &Spec) -> Arc<Transaction> {
    let payload = Payload {
        version: Payload::VERSION,
        chain: Hash::ZERO,
        sender: account(spec.sender),
        nonce: spec.nonce,
        expires_at: spec.expires_at,
        fee: spec.fee,
        operations: vec![Operation::Transfer { to: account(0), amount: 1 }],
    };
    Arc::new(Transaction::sign(payload, &key(spec.sender)))
}

fn free(sender: u8, nonce: u64) -> Arc<Transaction> {
    signed(&Spec { sender, nonce, fee: 0, expires_at: LATER })
}

fn paying(sender: u8, nonce: u64, fee: Amount) -> Arc<Transaction> {
    signed(&Spec { sender, nonce, fee, expires_at: LATER })
}

fn expiring(sender: u8, nonce: u64, expires_at: u64) -> Arc<Transaction> {
    signed(&Spec { sender, nonce, fee: 0, expires_at: UnixMillis(expires_at) })
}

fn block(height: u64, transactions: Vec<Arc<Transaction>>) -> Arc<Block> {
    let hashes: Vec<Hash> = transactions.iter().map(|transaction| transaction.hash()).collect();
    let header = Header {
        version: 1,
        chain: Hash::ZERO,
        epoch: Epoch(0),
        height: Height(height),
        parent: Hash::ZERO,
        transactions_root: Block::transactions_root(&hashes),
        time: UnixMillis(height),
        proposer: account(0),
        anchor: Anchor { height: Height(0), state_root: Hash::ZERO, checkpoint: Hash::ZERO },
    };
    Arc::new(Block::new(header, transactions))
}

fn pool(transactions_max: usize, per_account_max: usize) -> Mempool {
    Mempool::new(Limits { transactions_max, bytes_max: 1 << 20, per_account_max })
}

fn admit(pool: &mut Mempool, transaction: &Arc<Transaction>) -> Result<Admitted, Refusal> {
    pool.admit(Arc::clone(transaction), Mono(0), || 0)
}

fn order(pool: &Mempool) -> Vec<Hash> {
    pool.in_turn().map(|transaction| transaction.id()).collect()
}

fn ids(transactions: &[&Arc<Transaction>]) -> Vec<Hash> {
    transactions.iter().map(|transaction| transaction.id()).collect()
}

#[test]
fn senders_are_taken_in_turn_each_in_order_of_arrival() {
    let mut pool = pool(10, 10);
    let (a, b, c) = ([free(1, 3), free(1, 1), free(1, 2)], [free(2, 0), free(2, 9)], free(3, 0));
    for transaction in a.iter().chain(&b).chain([&c]) {
        assert_eq!(admit(&mut pool, transaction), Ok(Admitted::New));
    }
    assert_eq!(order(&pool), ids(&[&a[0], &b[0], &c, &a[1], &b[1], &a[2]]));
}

#[test]
fn a_sender_that_was_served_goes_behind_the_others() {
    let mut pool = pool(10, 10);
    let (a, b) = ([free(1, 0), free(1, 1)], [free(2, 0), free(2, 1)]);
    for transaction in a.iter().chain(&b) {
        admit(&mut pool, transaction).expect("there is room");
    }
    pool.accept(&[block(1, vec![Arc::clone(&a[0])])]);
    assert_eq!(order(&pool), ids(&[&b[0], &a[1], &b[1]]));
}

#[test]
fn the_same_id_again_is_known_and_the_first_hash_is_kept() {
    let mut pool = pool(1, 1);
    let first = free(1, 0);
    let other_key = key(2).sign_bytes(&first.message());
    let second = Arc::new(Transaction::new(first.payload().clone(), other_key));
    assert_eq!(first.id(), second.id());
    assert_eq!(admit(&mut pool, &first), Ok(Admitted::New));
    assert_eq!(admit(&mut pool, &second), Ok(Admitted::Known));
    assert!(pool.transaction(&first.hash()).is_some());
    assert!(pool.transaction(&second.hash()).is_none());
}

#[test]
fn takes_what_fills_it_and_refuses_one_more() {
    let mut pool = pool(2, 10);
    assert_eq!(admit(&mut pool, &free(1, 0)), Ok(Admitted::New));
    assert_eq!(admit(&mut pool, &free(2, 0)), Ok(Admitted::New));
    assert_eq!(admit(&mut pool, &free(3, 0)), Err(Refusal::Full));
}

#[test]
fn takes_as_many_bytes_as_fit_and_not_one_more() {
    let transaction = free(1, 0);
    let limits = |bytes_max| Limits { transactions_max: 9, bytes_max, per_account_max: 9 };
    let mut exact = Mempool::new(limits(transaction.size()));
    assert_eq!(admit(&mut exact, &transaction), Ok(Admitted::New));
    let mut short = Mempool::new(limits(transaction.size() - 1));
    assert_eq!(admit(&mut short, &transaction), Err(Refusal::Full));
}

#[test]
fn an_account_has_its_own_limit() {
    let mut pool = pool(10, 2);
    assert_eq!(admit(&mut pool, &free(1, 0)), Ok(Admitted::New));
    assert_eq!(admit(&mut pool, &free(1, 1)), Ok(Admitted::New));
    assert_eq!(admit(&mut pool, &free(1, 2)), Err(Refusal::AccountFull { max: 2 }));
    assert_eq!(admit(&mut pool, &free(2, 0)), Ok(Admitted::New));
}

#[test]
fn the_committed_balance_pays_all_pending_fees_exactly() {
    let mut pool = pool(10, 10);
    let balance = || 10;
    assert_eq!(pool.admit(paying(1, 0, 4), Mono(0), balance), Ok(Admitted::New));
    assert_eq!(
        pool.admit(paying(1, 1, 7), Mono(0), balance),
        Err(Refusal::FeesExceedBalance { balance: 10, pending: 4 })
    );
    assert_eq!(pool.admit(paying(1, 2, 6), Mono(0), balance), Ok(Admitted::New));
    assert_eq!(
        pool.admit(paying(1, 3, Amount::MAX), Mono(0), || Amount::MAX),
        Err(Refusal::FeesExceedBalance { balance: Amount::MAX, pending: 10 })
    );
}

#[test]
fn an_included_fee_is_owed_until_its_block_is_executed() {
    let mut pool = pool(10, 10);
    let first = paying(1, 0, 6);
    pool.admit(Arc::clone(&first), Mono(0), || 10).expect("the balance pays");
    pool.include(&block(7, vec![first]));
    assert_eq!(pool.len(), 0);
    assert_eq!(
        pool.admit(paying(1, 1, 5), Mono(0), || 10),
        Err(Refusal::FeesExceedBalance { balance: 10, pending: 6 })
    );
    pool.settle(Height(6));
    assert!(pool.admit(paying(1, 1, 5), Mono(0), || 10).is_err());
    pool.settle(Height(7));
    assert_eq!(pool.admit(paying(1, 1, 4), Mono(0), || 4), Ok(Admitted::New));
}

/// A transfer from `sender` to `to`.
fn moving(sender: u8, to: u8, amount: Amount, fee: Amount) -> Arc<Transaction> {
    let payload = Payload {
        version: Payload::VERSION,
        chain: Hash::ZERO,
        sender: account(sender),
        nonce: 0,
        expires_at: LATER,
        fee,
        operations: vec![Operation::Transfer { to: account(to), amount }],
    };
    Arc::new(Transaction::sign(payload, &key(sender)))
}

fn funds(pool: &Mempool, transaction: &Transaction, balance: Amount) -> Result<(), Refusal> {
    pool.check_funds(transaction, || (Height(3), balance))
}

#[test]
fn what_is_moved_and_its_fee_must_be_there_to_the_coin() {
    let pool = pool(10, 10);
    let transfer = moving(1, 2, 10, 3);
    assert_eq!(funds(&pool, &transfer, 13), Ok(()));
    let refusal = Refusal::InsufficientFunds { balance: 12, height: Height(3), needed: 13 };
    assert_eq!(funds(&pool, &transfer, 12), Err(refusal));
    let all = Refusal::InsufficientFunds { balance: 1, height: Height(3), needed: Amount::MAX };
    assert_eq!(funds(&pool, &moving(1, 2, Amount::MAX, 1), 1), Err(all), "more than there can be");
}

#[test]
fn who_moves_nothing_is_not_asked_what_it_has() {
    let pool = pool(10, 10);
    for transaction in [moving(1, 1, 10, 3), moving(1, 2, 0, 3)] {
        pool.check_funds(&transaction, || panic!("nobody needs to know")).expect("the fee is another rule's");
    }
}

/// A client that is being paid and spends what it is paid would else be refused for the moment in between.
#[test]
fn whoever_is_being_paid_is_not_refused_until_the_payment_is_executed() {
    let mut pool = pool(10, 10);
    let (payment, spending) = (moving(1, 2, 50, 0), moving(2, 3, 50, 0));
    assert!(funds(&pool, &spending, 0).is_err());
    admit(&mut pool, &payment).expect("there is room");
    assert_eq!(funds(&pool, &spending, 0), Ok(()), "it waits here");
    pool.include(&block(7, vec![payment]));
    assert_eq!(funds(&pool, &spending, 0), Ok(()), "it is committed and not executed");
    pool.settle(Height(6));
    assert_eq!(funds(&pool, &spending, 0), Ok(()));
    pool.settle(Height(7));
    assert!(funds(&pool, &spending, 49).is_err(), "now the balance tells");
    assert_eq!(funds(&pool, &spending, 50), Ok(()));
}

#[test]
fn a_payment_that_never_came_through_here_counts_while_its_block_is_not_executed() {
    let mut pool = pool(10, 10);
    pool.include(&block(7, vec![moving(1, 2, 50, 0)]));
    assert_eq!(funds(&pool, &moving(2, 3, 50, 0), 0), Ok(()));
    pool.settle(Height(7));
    assert!(funds(&pool, &moving(2, 3, 50, 0), 0).is_err());
}

#[test]
fn a_payment_that_expired_counts_no_more() {
    let mut pool = pool(10, 10);
    admit(&mut pool, &moving(1, 2, 50, 0)).expect("there is room");
    pool.expire(LATER);
    assert!(funds(&pool, &moving(2, 3, 50, 0), 0).is_err());
}

#[test]
fn what_is_in_flight_is_no_work_until_its_block_is_given_up() {
    let mut pool = pool(10, 10);
    let (a, b) = (free(1, 0), free(2, 0));
    admit(&mut pool, &a).expect("there is room");
    admit(&mut pool, &b).expect("there is room");
    let (left, right) = (block(1, vec![Arc::clone(&a)]), block(2, vec![Arc::clone(&a), Arc::clone(&b)]));
    pool.accept(&[Arc::clone(&left), Arc::clone(&right)]);
    assert_eq!(pool.backlog(), Backlog::default());
    pool.accept(&[left]);
    assert_eq!(order(&pool), ids(&[&b]));
    pool.accept(&[]);
    assert_eq!(pool.backlog().count, 2);
    assert_eq!(pool.backlog().bytes, (a.size() + b.size()) as u64);
}

#[test]
fn a_transaction_that_comes_after_its_block_was_accepted_is_no_work() {
    let mut pool = pool(10, 10);
    let late = free(1, 0);
    pool.take_off(&block(1, vec![Arc::clone(&late)]));
    assert_eq!(admit(&mut pool, &late), Ok(Admitted::New));
    assert_eq!(pool.backlog().count, 0);
    pool.accept(&[]);
    assert_eq!(pool.backlog().count, 1);
}

#[test]
fn it_expires_when_the_chain_says_so_and_lapses_by_the_clock() {
    let mut pool = pool(10, 10);
    let (early, late) = (expiring(1, 0, 50), expiring(1, 1, 51));
    admit(&mut pool, &early).expect("there is room");
    admit(&mut pool, &late).expect("there is room");
    assert_eq!(pool.next_lapse(), Some(UnixMillis(50)));
    pool.lapse(UnixMillis(50));
    assert_eq!(order(&pool), ids(&[&late]));
    assert!(pool.contains(&early.id()), "the chain has not said so yet");
    assert_eq!(pool.next_lapse(), Some(UnixMillis(51)));
    assert_eq!(pool.expire(UnixMillis(49)), Vec::new());
    assert_eq!(pool.expire(UnixMillis(50)), [(early.id(), UnixMillis(50))]);
    assert!(!pool.contains(&early.id()));
    assert_eq!(pool.len(), 1);
}

/// The module's own rule: lapsed is what has expired by the wall clock as it is, not as it once was.
#[test]
fn a_clock_that_was_ahead_for_a_moment_leaves_nothing_lapsed() {
    const TIME: u64 = 1_000_000;
    let mut pool = pool(10, 10);
    let (before, handed) = (expiring(1, 0, TIME + 60_000), expiring(2, 0, TIME + 60_000));
    admit(&mut pool, &before).expect("there is room");
    admit(&mut pool, &handed).expect("there is room");
    pool.handed_over(&[Arc::clone(&handed)], Mono(7));
    pool.lapse(UnixMillis(TIME));
    pool.lapse(UnixMillis(TIME + 3_600_000));
    assert_eq!((pool.backlog().count, pool.backlog().eligible), (0, None));
    pool.lapse(UnixMillis(TIME));
    let after = expiring(3, 0, TIME + 60_000);
    admit(&mut pool, &after).expect("there is room");
    assert_eq!((pool.backlog().count, pool.backlog().eligible), (3, Some(Mono(7))));
    assert_eq!(pool.next_lapse(), Some(UnixMillis(TIME + 60_000)));
    pool.lapse(UnixMillis(TIME + 59_999));
    assert_eq!(pool.backlog().count, 3);
    pool.lapse(UnixMillis(TIME + 60_000));
    assert_eq!(pool.backlog().count, 0);
}

#[test]
fn eligible_counts_from_the_hand_over_and_only_while_it_waits() {
    let mut pool = pool(10, 10);
    let (a, b) = (free(1, 0), free(2, 0));
    pool.admit(Arc::clone(&a), Mono(1), || 0).expect("there is room");
    pool.admit(Arc::clone(&b), Mono(2), || 0).expect("there is room");
    assert_eq!(pool.oldest_unhanded(), Some(Mono(1)));
    assert_eq!(pool.to_hand_over(Mono(1), 1 << 20), vec![Arc::clone(&a)]);
    assert_eq!(pool.to_hand_over(Mono(2), 1).len(), 1, "at least one, whatever its size");
    assert_eq!(pool.to_hand_over(Mono(2), a.size() + b.size()).len(), 2);
    assert_eq!(pool.to_hand_over(Mono(2), a.size() + b.size() - 1).len(), 1);
    pool.handed_over(&[Arc::clone(&a)], Mono(9));
    pool.handed_over(&[Arc::clone(&a)], Mono(12));
    assert_eq!(pool.backlog().eligible, Some(Mono(9)), "the clock runs from the first time");
    assert_eq!(pool.oldest_unhanded(), Some(Mono(2)));
    pool.accept(&[block(1, vec![a])]);
    assert_eq!(pool.backlog().eligible, None);
    pool.accept(&[]);
    assert_eq!(pool.backlog().eligible, Some(Mono(9)));
}

#[derive(Clone, Debug)]
enum Step {
    Admit { sender: u8, nonce: u64, fee: Amount, expires_at: u64 },
    Accept { take: usize },
    GiveUp,
    Include { take: usize },
    Expire { time: u64 },
    Lapse { wall: u64 },
    HandOver,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..4u8, 0..40u64, 0..3u128, 1..60u64)
            .prop_map(|(sender, nonce, fee, expires_at)| Step::Admit { sender, nonce, fee, expires_at }),
        2 => (0..6usize).prop_map(|take| Step::Accept { take }),
        1 => Just(Step::GiveUp),
        2 => (0..6usize).prop_map(|take| Step::Include { take }),
        1 => (0..30u64).prop_map(|time| Step::Expire { time }),
        1 => (0..40u64).prop_map(|wall| Step::Lapse { wall }),
        1 => Just(Step::HandOver),
    ]
}

/// What the pool should hold, kept the slow way.
#[derive(Default)]
struct Oracle {
    held: BTreeMap<u64, Arc<Transaction>>,
    flying: HashSet<Hash>,
    lapsed_until: u64,
    next: u64,
}

impl Oracle {
    fn holds(&self, id: &Hash) -> bool {
        self.held.values().any(|transaction| transaction.id() == *id)
    }

    fn work(&self) -> Vec<&Arc<Transaction>> {
        self.held
            .values()
            .filter(|transaction| {
                transaction.expires_at().0 > self.lapsed_until && !self.flying.contains(&transaction.id())
            })
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// `docs/json-rpc.md`, of a transaction, while counts and orders agree with a slow model:
    ///
    /// > Once it has an answer it is kept until it is included or has expired
    #[test]
    fn holds_exactly_what_it_took_and_was_neither_included_nor_expired(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let mut pool = pool(12, 5);
        let mut oracle = Oracle::default();
        let mut height = 0;
        for step in steps {
            match step {
                Step::Admit { sender, nonce, fee, expires_at } => {
                    let transaction =
                        signed(&Spec { sender, nonce, fee, expires_at: UnixMillis(expires_at) });
                    match pool.admit(Arc::clone(&transaction), Mono(oracle.next), || 1_000) {
                        Ok(Admitted::New) => {
                            oracle.held.insert(oracle.next, transaction);
                            oracle.next += 1;
                        }
                        Ok(Admitted::Known) => prop_assert!(oracle.holds(&transaction.id())),
                        Err(_) => prop_assert!(oracle.held.len() == 12
                            || oracle.held.values().filter(|one| one.sender() == transaction.sender()).count() == 5),
                    }
                }
                Step::Accept { take } => {
                    height += 1;
                    let taken: Vec<_> = pool.in_turn().take(take).collect();
                    oracle.flying = taken.iter().map(|transaction| transaction.id()).collect();
                    pool.accept(&[block(height, taken)]);
                }
                Step::GiveUp => {
                    oracle.flying.clear();
                    pool.accept(&[]);
                }
                Step::Include { take } => {
                    height += 1;
                    let taken: Vec<_> = pool.in_turn().take(take).collect();
                    oracle.held.retain(|_, held| taken.iter().all(|one| one.id() != held.id()));
                    pool.include(&block(height, taken));
                    pool.settle(Height(height));
                }
                Step::Expire { time } => {
                    oracle.held.retain(|_, held| held.expires_at().0 > time);
                    pool.expire(UnixMillis(time));
                }
                Step::Lapse { wall } => {
                    oracle.lapsed_until = wall;
                    pool.lapse(UnixMillis(wall));
                }
                Step::HandOver => {
                    let all = pool.to_hand_over(Mono(u64::MAX), usize::MAX);
                    pool.handed_over(&all, Mono(oracle.next));
                }
            }
            let work = oracle.work();
            prop_assert_eq!(pool.len(), oracle.held.len());
            prop_assert!(oracle.held.values().all(|held| pool.contains(&held.id())));
            prop_assert_eq!(pool.bytes(), oracle.held.values().map(|held| held.size()).sum::<usize>());
            let backlog = pool.backlog();
            prop_assert_eq!(backlog.count, work.len() as u64);
            prop_assert_eq!(backlog.bytes, work.iter().map(|one| one.size() as u64).sum::<u64>());
            let offered: Vec<Hash> = order(&pool);
            prop_assert_eq!(offered.len(), work.len());
            prop_assert!(work.iter().all(|one| offered.contains(&one.id())));
        }
    }

    /// Nobody gets a second place before everybody has had a first, and so on.
    #[test]
    fn no_sender_is_two_places_ahead_of_one_that_waits(
        arrivals in proptest::collection::vec(0..5u8, 1..40)
    ) {
        let mut pool = pool(100, 100);
        let mut total: BTreeMap<Account, usize> = BTreeMap::new();
        for (nonce, sender) in arrivals.iter().enumerate() {
            admit(&mut pool, &free(*sender, nonce as u64)).expect("there is room");
            *total.entry(account(*sender)).or_default() += 1;
        }
        let mut served: BTreeMap<Account, usize> = BTreeMap::new();
        for transaction in pool.in_turn() {
            let place = served.entry(transaction.sender()).or_default();
            *place += 1;
            let place = *place;
            for (sender, count) in &total {
                let got = served.get(sender).copied().unwrap_or(0);
                prop_assert!(got == *count || got + 1 >= place);
            }
        }
        prop_assert_eq!(served, total);
    }
}
