use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::fixtures::{GENESIS_TIME, header_on, key, payload};
use crate::{Header, Parent, Payload, Transaction};

const LIFETIME_MS: u64 = 100;

fn transaction(nonce: u64, expires_at: UnixMillis) -> Arc<Transaction> {
    Arc::new(Transaction::sign(Payload { expires_at, ..payload(nonce) }, &key(1)))
}

fn block(height: u64, time: UnixMillis, transactions: Vec<Arc<Transaction>>) -> Block {
    let parent = Parent { height: Height(height - 1), hash: Hash::ZERO, time };
    let header = Header { time, ..header_on(parent, &transactions) };
    Block::new(header, transactions)
}

fn at(millis: u64) -> UnixMillis {
    GENESIS_TIME.plus_millis(millis)
}

#[test]
fn an_id_is_forgotten_exactly_when_no_later_block_can_hold_it() {
    let longest = transaction(1, at(LIFETIME_MS));
    let mut window = IdWindow::new(LIFETIME_MS);
    window.remember(&block(1, at(0), vec![Arc::clone(&longest)]));
    assert_eq!(window.height_of(&longest.id()), Some(Height(1)));

    // The next block could have the time 99, at which the transaction is still fit.
    window.remember(&block(2, at(LIFETIME_MS - 2), vec![]));
    assert_eq!(longest.fits_time(at(LIFETIME_MS - 1), LIFETIME_MS), Ok(()));
    assert_eq!(window.height_of(&longest.id()), Some(Height(1)));

    // The next block has at least the time 100, at which it is not.
    window.remember(&block(3, at(LIFETIME_MS - 1), vec![]));
    assert!(longest.fits_time(at(LIFETIME_MS), LIFETIME_MS).is_err());
    assert_eq!(window.height_of(&longest.id()), None);
    assert!(window.is_empty());
}

#[test]
#[should_panic(expected = "is committed a second time")]
fn an_id_is_not_committed_twice() {
    let transaction = transaction(1, at(50));
    let mut window = IdWindow::new(LIFETIME_MS);
    window.remember(&block(1, at(0), vec![Arc::clone(&transaction)]));
    window.remember(&block(2, at(1), vec![transaction]));
}

#[test]
#[should_panic(expected = "block 2 is remembered after block 2")]
fn heights_rise() {
    let mut window = IdWindow::new(LIFETIME_MS);
    window.remember(&block(2, at(0), vec![]));
    window.remember(&block(2, at(1), vec![]));
}

#[test]
#[should_panic(expected = "is not above that of the block before")]
fn times_rise() {
    let mut window = IdWindow::new(LIFETIME_MS);
    window.remember(&block(1, at(5), vec![]));
    window.remember(&block(2, at(5), vec![]));
}

/// A chain as steps: how much later each block is, and how long before the greatest lifetime its transactions expire.
fn steps() -> impl Strategy<Value = Vec<(u64, Vec<u64>)>> {
    vec((1..LIFETIME_MS + 20, vec(0..LIFETIME_MS, 0..4)), 1..40)
}

fn chain_of(steps: Vec<(u64, Vec<u64>)>) -> Vec<Block> {
    let (mut time, mut nonce) = (at(0), 0);
    let mut blocks = Vec::new();
    for (height, (later, before)) in (1..).zip(steps) {
        time = time.plus_millis(later);
        let transactions = before.into_iter().map(|before| {
            nonce += 1;
            transaction(nonce, time.plus_millis(LIFETIME_MS - before))
        });
        blocks.push(block(height, time, transactions.collect()));
    }
    blocks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The model forgets nothing and asks of every transaction whether some later block could hold it.
    #[test]
    fn nothing_is_forgotten_that_could_come_again(steps in steps()) {
        let mut window = IdWindow::new(LIFETIME_MS);
        let mut all: BTreeMap<Hash, (Height, UnixMillis, Arc<Transaction>)> = BTreeMap::new();
        for block in chain_of(steps) {
            window.remember(&block);
            for transaction in block.transactions() {
                prop_assert_eq!(transaction.fits_time(block.time(), LIFETIME_MS), Ok(()));
                all.insert(transaction.id(), (block.height(), block.time(), Arc::clone(transaction)));
            }
            let mut remembered = 0;
            for (id, (height, included, transaction)) in &all {
                let again = (1..=2 * LIFETIME_MS)
                    .any(|later| transaction.fits_time(block.time().plus_millis(later), LIFETIME_MS).is_ok());
                if again {
                    prop_assert_eq!(window.height_of(id), Some(*height), "forgotten too early");
                }
                if let Some(found) = window.height_of(id) {
                    prop_assert_eq!(found, *height);
                    prop_assert!(block.time().millis_since(*included) < LIFETIME_MS, "kept too long");
                    remembered += 1;
                }
            }
            prop_assert_eq!(window.len(), remembered);
        }
    }

    #[test]
    fn a_window_rebuilt_from_what_matters_is_the_same(steps in steps()) {
        let blocks = chain_of(steps);
        let newest = blocks.last().expect("at least one").time();
        let (mut whole, mut rebuilt) = (IdWindow::new(LIFETIME_MS), IdWindow::new(LIFETIME_MS));
        for block in &blocks {
            whole.remember(block);
            if IdWindow::matters(block.time(), newest, LIFETIME_MS) {
                rebuilt.remember(block);
            }
        }
        prop_assert_eq!(whole.len(), rebuilt.len());
        for transaction in blocks.iter().flat_map(Block::transactions) {
            prop_assert_eq!(whole.height_of(&transaction.id()), rebuilt.height_of(&transaction.id()));
        }
    }
}
