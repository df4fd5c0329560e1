//! The search for bad signatures: that it finds exactly them, and what it costs. That a batch answers as
//! singles, with real signatures good and bad, is in `tests/batch.rs` and `tests/vectors.rs`.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::SecretKey;

/// What a search cost.
#[derive(Debug, Default)]
struct Cost {
    batches: usize,
    batched: usize,
    singles: usize,
}

fn search(good: &[bool]) -> (Vec<bool>, Cost) {
    let mut cost = Cost::default();
    let mut singles = 0;
    let answers = answers(
        good.len(),
        |range| {
            cost.batches += 1;
            cost.batched += range.len();
            good[range].iter().all(|holds| *holds)
        },
        |index| {
            singles += 1;
            good[index]
        },
    );
    cost.singles = singles;
    (answers, cost)
}

#[test]
fn every_pattern_of_up_to_twelve_is_found() {
    for size in 0..=12 {
        for pattern in 0..1u32 << size {
            let good: Vec<bool> = (0..size).map(|index| pattern >> index & 1 == 0).collect();
            assert_eq!(search(&good).0, good);
        }
    }
}

#[test]
fn a_good_batch_costs_one_equation() {
    let (_, cost) = search(&[true; 1000]);
    assert_eq!((cost.batches, cost.batched, cost.singles), (1, 1000, 0));
}

#[test]
fn so_few_are_verified_one_by_one() {
    let (_, cost) = search(&[true; SINGLES_MAX]);
    assert_eq!((cost.batches, cost.singles), (0, SINGLES_MAX));
    let (_, cost) = search(&[true; SINGLES_MAX + 1]);
    assert_eq!((cost.batches, cost.singles), (1, 0));
}

#[test]
fn one_bad_signature_is_found_without_running_out_of_work() {
    for bad in 0..1000 {
        let mut good = [true; 1000];
        good[bad] = false;
        let (answers, cost) = search(&good);
        assert_eq!(answers, good);
        assert!(cost.singles <= 2 * SINGLES_MAX, "{cost:?} for {bad}");
    }
}

#[test]
fn all_bad_costs_no_more_than_allowed() {
    let (answers, cost) = search(&[false; 1000]);
    assert_eq!(answers, [false; 1000]);
    assert!(cost.batched <= BATCH_WORK_MAX * 1000 && cost.singles <= 1000, "{cost:?}");
}

#[test]
fn work_is_spent_to_the_last_and_not_beyond() {
    let mut left = 5;
    assert!(spend(&mut left, 2));
    assert!(spend(&mut left, 3));
    assert!(!spend(&mut left, 1));
    let mut left = 5;
    assert!(!spend(&mut left, 6));
    assert!(!spend(&mut left, 1), "once too much was asked, nothing is left");
}

#[test]
fn an_empty_batch_has_no_answers() {
    assert!(Batch::default().is_empty());
    assert_eq!(Batch::default().verify(), [] as [bool; 0]);
}

#[test]
fn answers_come_in_the_order_of_the_questions() {
    let key = SecretKey::from_seed([1; 32]);
    let mut batch = Batch::default();
    for number in 0..20u8 {
        let signed = if number % 5 == 3 { 255 } else { number };
        batch.push(key.public(), vec![number], key.sign_bytes(&[signed]));
    }
    assert_eq!(batch.len(), 20);
    let expected: Vec<bool> = (0..20).map(|number| number % 5 != 3).collect();
    assert_eq!(batch.verify(), expected);
}

proptest! {
    #[test]
    fn the_search_is_right_and_bounded(good in vec(prop::bool::weighted(0.8), 0..400)) {
        let (answers, cost) = search(&good);
        prop_assert!(cost.batched <= BATCH_WORK_MAX * good.len());
        prop_assert!(cost.singles <= good.len());
        prop_assert_eq!(answers, good);
    }
}
