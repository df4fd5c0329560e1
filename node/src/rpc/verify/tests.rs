use quorate_crypto::Signature;
use quorate_ledger::Operation;

use super::*;
use crate::fixtures;

fn source(last: u8) -> Source {
    Source::of(IpAddr::from([192, 0, 2, last]))
}

fn transaction(nonce: u64) -> Arc<Transaction> {
    fixtures::transaction(nonce, 1, vec![Operation::Delete { key: b"k".to_vec() }])
}

fn forged(nonce: u64) -> Arc<Transaction> {
    Arc::new(Transaction::new(transaction(nonce).payload().clone(), Signature::from_bytes([0; 64])))
}

fn job(transaction: Arc<Transaction>) -> Job {
    Job { transaction, answer: oneshot::channel().0 }
}

#[tokio::test]
async fn each_transaction_gets_its_own_verdict() {
    let pool = VerifyPool::new(2);
    let checks = (0..200).map(|nonce| {
        let transaction = if nonce % 50 == 7 { forged(nonce) } else { transaction(nonce) };
        pool.verify(source(1), transaction)
    });
    let verdicts = futures::future::join_all(checks).await;
    for (nonce, verdict) in verdicts.into_iter().enumerate() {
        assert_eq!(verdict, Ok(nonce % 50 != 7), "transaction {nonce}");
    }
    assert_eq!(lock(&pool.queue).waiting, 0);
}

#[test]
fn a_batch_takes_its_limit_from_one_source_and_leaves_the_next_for_another_turn() {
    let mut queue = Queue { workers: 1, ..Queue::default() };
    let transaction = transaction(0);
    for _ in 0..=BATCH_MAX {
        queue.push(source(1), job(transaction.clone())).expect("room");
    }
    queue.push(source(2), job(transaction)).expect("room");
    let now = Instant::now();
    let turns: Vec<(Source, usize)> =
        std::iter::from_fn(|| queue.next_turn(now)).map(|(source, jobs)| (source, jobs.len())).collect();
    assert_eq!(turns, [(source(1), BATCH_MAX), (source(2), 1), (source(1), 1)]);
    assert_eq!(queue.workers, 0);
}

#[test]
fn what_waits_has_a_limit() {
    let mut queue = Queue::default();
    let transaction = transaction(0);
    for _ in 0..WAITING_MAX {
        queue.push(source(1), job(transaction.clone())).expect("at the limit");
    }
    assert_eq!(queue.push(source(2), job(transaction)), Err(Full), "one past it");
}

#[test]
fn who_sent_a_bad_signature_is_verified_singly_for_a_while() {
    let mut queue = Queue { workers: 1, ..Queue::default() };
    let transaction = transaction(0);
    let now = Instant::now();
    queue.distrust(source(1), now);
    for _ in 0..3 {
        queue.push(source(1), job(transaction.clone())).expect("room");
    }
    let (_, jobs) = queue.next_turn(now).expect("waiting");
    assert_eq!(jobs.len(), 1);
    let (_, jobs) = queue.next_turn(now + DISTRUST).expect("waiting");
    assert_eq!(jobs.len(), 2, "trusted again");
}

#[test]
fn who_is_distrusted_is_remembered_up_to_a_limit() {
    let mut queue = Queue::default();
    let now = Instant::now();
    let numbered = |number: usize| {
        let [high, low] = u16::try_from(number).expect("small").to_be_bytes();
        Source::of(IpAddr::from([10, 0, high, low]))
    };
    for number in 0..DISTRUSTED_MAX {
        queue.distrust(numbered(number), now);
    }
    queue.distrust(numbered(DISTRUSTED_MAX), now);
    assert_eq!(queue.distrusted.len(), DISTRUSTED_MAX);
    assert!(!queue.is_distrusted(numbered(DISTRUSTED_MAX), now), "one past the limit");
    queue.distrust(numbered(DISTRUSTED_MAX), now + DISTRUST);
    assert!(queue.is_distrusted(numbered(DISTRUSTED_MAX), now + DISTRUST), "the old ones are forgotten");
}

#[test]
fn addresses_of_one_network_are_one_source() {
    let address = |text: &str| Source::of(text.parse().expect("an address"));
    assert_eq!(address("2001:db8:1:2::3"), address("2001:db8:1:2:ffff::4"));
    assert_ne!(address("2001:db8:1:2::3"), address("2001:db8:1:3::3"));
    assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
    assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
}
