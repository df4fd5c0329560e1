//! The ledger across the ends of epochs: what it says, what it stores, what it finds again.

use proptest::prelude::*;

use super::*;
use crate::anchors::READINESS_HEADERS;
use crate::approval::{ProposedValidator, Readiness};
use crate::epoch::{Approval, EpochChange, EpochEnd};
use crate::primitives::Version;
use crate::receipt::Failure;
use crate::store::rows;
use crate::validators::ValidatorSet;

const WINDOW: u32 = 2;

fn parameters() -> Parameters {
    Parameters { window: WINDOW, log_window: 4, ..Parameters::default() }
}

pub(crate) fn proposed(numbers: &[u16]) -> ProposedChange {
    let plain = |number: &u16| ProposedValidator { key: key(*number).public(), readiness: None };
    ProposedChange::Validators(numbers.iter().map(plain).collect())
}

fn set(numbers: &[u16]) -> ValidatorSet {
    ValidatorSet::new(numbers.iter().map(|number| key(*number).public()).collect()).expect("different keys")
}

impl Chain {
    /// Blocks that end the epoch with this change, which all its validators approve of: the last height.
    pub(crate) fn end_epoch<S: Store>(
        &mut self,
        ledger: &mut Ledger<S>,
        senders: &[u16],
        change: &ProposedChange,
    ) -> Height {
        let delivered = self.approving(senders, change);
        let decided = self.extend(ledger, delivered);
        let last = decided.epoch_ends.expect("all of them are a quorum");
        while self.tip.height < last {
            let delivered = self.block(Vec::new(), true);
            assert_eq!(self.extend(ledger, delivered).epoch_ends, Some(last));
        }
        last
    }
}

/// The blocks of a ledger as they would be delivered.
fn delivered<S: Store>(ledger: &Ledger<S>) -> Vec<Delivered> {
    let stored = |height| ledger.reader().block(Height(height)).expect("reads").expect("is there");
    (1..=ledger.tip().height.0)
        .map(stored)
        .map(|stored| Delivered { block: stored.block, certificate: stored.certificate })
        .collect()
}

/// A chain of three epochs: the first loses validator 3, the second changes parameters; a block of the third.
fn three_epochs(ledger: &mut Ledger<MemoryStore>, chain: &mut Chain) {
    chain.grow(ledger, 2);
    chain.end_epoch(ledger, &[0, 1, 2, 3], &proposed(&[0, 1, 2]));
    chain.grow(ledger, 1);
    let change =
        ProposedChange::Parameters(Box::new(Parameters { log_window: 6, window: 1, ..parameters() }));
    chain.end_epoch(ledger, &[0, 1, 2], &change);
    chain.grow(ledger, 1);
}

#[test]
fn outcomes_tell_of_the_end_and_the_last_checkpoint_names_the_next_set() {
    let mut chain = Chain::with(parameters());
    let mut ledger = chain.open(MemoryStore::new());
    let approving = chain.approving(&[0, 1, 2], &proposed(&[0, 1, 2]));
    let mut outcomes = vec![chain.extend(&mut ledger, approving)];
    for _ in 0..3 {
        let next = chain.block(Vec::new(), true);
        outcomes.push(chain.extend(&mut ledger, next));
    }
    let said: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            let CheckpointPayload { epoch, height, next_validators, .. } = outcome.checkpoint;
            (height, epoch, next_validators, outcome.epoch_ends)
        })
        .collect();
    let (old, new) = (validators().hash(), set(&[0, 1, 2]).hash());
    assert_eq!(
        said,
        [
            (Height(1), Epoch(0), old, Some(Height(3))),
            (Height(2), Epoch(0), old, Some(Height(3))),
            (Height(3), Epoch(0), new, Some(Height(3))),
            (Height(4), Epoch(1), new, None),
        ]
    );
}

#[test]
fn each_height_has_the_set_and_the_parameters_of_its_epoch() {
    let mut chain = Chain::with(parameters());
    let mut ledger = chain.open(MemoryStore::new());
    three_epochs(&mut ledger, &mut chain);
    let reader = ledger.reader();
    // Approved in 3, ended with 5; approved in 7, ended with 9.
    for (height, number) in [(0, 0), (5, 0), (6, 1), (9, 1), (10, 2), (11, 2)] {
        assert_eq!(reader.epoch_at(Height(height)).number, Epoch(number), "height {height}");
    }
    assert_eq!((reader.validators(Height(5)), reader.validators(Height(6))), (validators(), set(&[0, 1, 2])));
    assert_eq!((reader.parameters(Height(9)).window, reader.parameters(Height(10)).window), (2, 1));

    let first = reader.epoch_numbered(Epoch(0)).expect("began");
    assert_eq!((first.start, first.base()), (Height(0), (Height(0), chain.genesis.chain)));
    let second = reader.epoch_numbered(Epoch(1)).expect("began");
    let below = reader.block(Height(5)).expect("reads").expect("is there").block.hash();
    assert_eq!((second.start, second.base()), (Height(6), (Height(5), below)));
    assert_eq!(reader.epoch_numbered(Epoch(3)), None);
    assert_eq!((ledger.epoch().number, reader.epoch().number), (Epoch(2), Epoch(2)));
    let row: EpochStart = rows::must(ledger.store(), Family::Epochs, Height(6)).expect("stored");
    assert_eq!(row, *second);
}

#[test]
fn a_reader_shows_open_approvals_and_the_end_that_is_decided() {
    let mut chain = Chain::with(parameters());
    let mut ledger = chain.open(MemoryStore::new());
    let reader = ledger.reader();
    let change = EpochChange::Validators(set(&[0, 1, 2]));
    let some = chain.approving(&[2, 0], &proposed(&[0, 1, 2]));
    chain.extend(&mut ledger, some);
    let approval = |index| Approval { change: change.clone(), given: Version::new(Height(1), index, 0) };
    let mut open = vec![(account(2), approval(0)), (account(0), approval(1))];
    open.sort_unstable_by_key(|(validator, _)| *validator);
    assert_eq!(reader.approvals().expect("reads"), (Height(1), open));
    assert_eq!(reader.epoch_end().expect("reads"), (Height(1), None));
    let third = chain.approving(&[1], &proposed(&[0, 1, 2]));
    chain.extend(&mut ledger, third);
    assert_eq!(reader.approvals().expect("reads"), (Height(2), Vec::new()));
    let end = EpochEnd { last: Height(4), change };
    assert_eq!(reader.epoch_end().expect("reads"), (Height(2), Some(end)));
}

#[test]
fn an_epoch_is_confirmed_by_a_commit_certificate_of_its_own() {
    let mut chain = Chain::with(parameters());
    let mut ledger = chain.open(MemoryStore::new());
    assert!(ledger.reader().epoch_is_confirmed(), "nobody waits for the first");
    chain.end_epoch(&mut ledger, &[0, 1, 2], &proposed(&[0, 1, 2]));
    assert!(!ledger.reader().epoch_is_confirmed(), "the last certificate is of the epoch before");
    let store = ledger.store().clone();
    drop(ledger);
    let mut ledger = chain.open(store.clone());
    assert!(!ledger.reader().epoch_is_confirmed(), "also after a restart");
    let certified = chain.block(Vec::new(), true);
    chain.extend(&mut ledger, certified);
    assert!(ledger.reader().epoch_is_confirmed());
    drop(ledger);
    assert!(chain.open(store).reader().epoch_is_confirmed());
}

#[test]
fn one_batch_may_hold_the_end_of_an_epoch_and_what_follows() {
    let mut chain = Chain::with(parameters());
    let mut single = chain.open(MemoryStore::new());
    three_epochs(&mut single, &mut chain);
    let blocks = delivered(&single);
    for size in [blocks.len(), 3, 4] {
        let mut batched = chain.open(MemoryStore::new());
        for batch in blocks.chunks(size) {
            batched.apply(batch).expect("the same chain");
        }
        assert_eq!((batched.tip(), batched.epoch()), (single.tip(), single.epoch()));
        assert_eq!(batched.reader().epoch_numbered(Epoch(1)), single.reader().epoch_numbered(Epoch(1)));
    }
}

#[test]
fn certified_blocks_end_where_their_epoch_does() {
    let mut chain = Chain::with(parameters());
    let mut ledger = chain.open(MemoryStore::new());
    three_epochs(&mut ledger, &mut chain);
    let mut above = Height(0);
    for (last, epoch) in [(5, 0), (9, 1), (10, 2)] {
        let blocks =
            ledger.reader().certified_above(above, 100, usize::MAX).expect("reads").expect("certified");
        assert_eq!(blocks.certificate.payload.height, Height(last));
        assert!(blocks.blocks.iter().all(|block| block.header().epoch == Epoch(epoch)));
        above = Height(last);
    }
}

#[test]
#[should_panic(expected = "the last block of an epoch is certified in it")]
fn the_last_block_of_an_epoch_has_a_certificate_of_its_own() {
    let mut chain = Chain::with(Parameters { window: 1, ..parameters() });
    let mut ledger = chain.open(MemoryStore::new());
    let approving = chain.approving(&[0, 1, 2], &proposed(&[0, 1, 2]));
    chain.extend(&mut ledger, approving);
    let last = chain.block(Vec::new(), false);
    let above = chain.block(Vec::new(), true);
    let _ = ledger.apply(&[last, above]);
}

/// A block of the second epoch whose header was altered.
fn altered_first_block(alter: impl FnOnce(&mut Header)) {
    let mut chain = Chain::with(parameters());
    let mut ledger = chain.open(MemoryStore::new());
    chain.end_epoch(&mut ledger, &[0, 1, 2], &proposed(&[0, 1, 2]));
    let Delivered { block, certificate } = chain.block(Vec::new(), true);
    let mut header = block.header().clone();
    alter(&mut header);
    let block = Arc::new(Block::new(header, Vec::new()));
    let _ = ledger.apply(&[Delivered { block, certificate }]);
}

#[test]
#[should_panic(expected = "a block of this epoch")]
fn the_old_epoch_decides_nothing_above_its_end() {
    altered_first_block(|header| header.epoch = Epoch(0));
}

/// > The first header of an epoch anchors exactly the checkpoint of the last block of the one before.
#[test]
#[should_panic(expected = "an epoch begins with the checkpoint that ends the one before")]
fn an_epoch_begins_on_the_checkpoint_of_the_last_block_before_it() {
    let genesis = Chain::with(parameters()).genesis.checkpoint().expect("sound");
    altered_first_block(|header| header.anchor = genesis.anchor());
}

#[test]
fn the_proof_window_follows_the_parameters() {
    let mut chain = Chain::with(Parameters { window: 1, log_window: 3, ..parameters() });
    let mut ledger = chain.open(MemoryStore::new());
    let reader = ledger.reader();
    let oldest = |tip: Height| {
        let proven = |height: &u64| {
            let proven =
                reader.prove(&RecordKey::Key(b"shared".to_vec()), Height(*height)).expect("reads")?;
            // What is proven is the record of that height, against its root.
            let root = reader.header(Height(*height)).expect("reads")?.outcome.checkpoint.state_root;
            let key = RecordKey::Key(b"shared".to_vec());
            assert!(proven.proof.verify(&key, proven.record.as_deref(), &root), "height {height}");
            Some(())
        };
        (1..=tip.0).find(|height| proven(height).is_some()).expect("the tip itself")
    };
    chain.grow(&mut ledger, 6);
    assert_eq!(oldest(ledger.tip().height), 3, "three below the tip");
    for (log_window, kept) in [(6, 6), (2, 2)] {
        let change = Parameters { window: 1, log_window, ..parameters() };
        chain.end_epoch(&mut ledger, &[0, 1, 2, 3], &ProposedChange::Parameters(Box::new(change)));
        if kept == 2 {
            assert_eq!(oldest(ledger.tip().height), ledger.tip().height.0 - 2, "fewer at once");
        }
        chain.grow(&mut ledger, 7);
        let tip = ledger.tip().height;
        assert_eq!(oldest(tip), tip.0 - kept);
    }
}

/// Statements are judged from the chain: the headers below a block, also those from before a restart.
#[test]
fn a_restarted_ledger_knows_what_recent_headers_anchor() {
    let mut chain = Chain::with(parameters());
    let store = MemoryStore::new();
    let mut ledger = chain.open(store.clone());
    (0..3).for_each(|_| chain.grow(&mut ledger, 1));
    let anchored = ledger.tip().anchor.checkpoint;
    let first = ledger.reader().header(Height(1)).expect("reads").expect("is there").header.anchor.checkpoint;
    for _ in 3..READINESS_HEADERS {
        let next = chain.block(Vec::new(), true);
        chain.extend(&mut ledger, next);
    }
    let joining = |checkpoint: Hash| {
        let readiness = Some(Readiness::sign(&chain_id(), Epoch(0), checkpoint, &key(9)));
        let mut change = vec![ProposedValidator { key: key(9).public(), readiness }];
        change
            .extend([0, 1, 2].map(|number| ProposedValidator { key: key(number).public(), readiness: None }));
        ProposedChange::Validators(change)
    };
    for (flushed, outcome) in
        [(false, Outcome::Ok), (true, Outcome::Failed { operation: 0, reason: Failure::ReadinessStale })]
    {
        if flushed {
            ledger.flush().expect("memory");
        }
        drop(ledger);
        store.power_cut();
        ledger = chain.open(store.clone());
        let approving = chain.approving(&[0, 1], &joining(first));
        chain.extend(&mut ledger, approving);
        let receipts = ledger.reader().receipts(ledger.tip().height).expect("reads").expect("is there");
        assert_eq!(receipts[0].outcome, outcome, "block 1 is {} below", ledger.tip().height.0 - 1);
    }
    let approving = chain.approving(&[0, 1, 2], &joining(anchored));
    assert!(chain.extend(&mut ledger, approving).epoch_ends.is_some());
}

fn chain_id() -> Hash {
    crate::fixtures::chain()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Blocks, approvals, flushes and power cuts in any order: the epochs come back as they were.
    #[test]
    fn whatever_was_lost_the_same_epochs_come_back(steps in proptest::collection::vec((0..6u8, 0..3usize), 1..40)) {
        let mut chain = Chain::with(Parameters { window: 1, ..parameters() });
        let mut ledger = chain.open(MemoryStore::new());
        let mut twin = chain.open(MemoryStore::new());
        for (step, kept) in steps {
            match step {
                0..=3 => {
                    let senders: &[u16] = if step == 3 { &[0, 1, 2, 3] } else { &[] };
                    let change = match kept {
                        0 => ProposedChange::Parameters(Box::new(Parameters { window: 1, heartbeat_ms: 1, ..parameters() })),
                        1 => proposed(&[0, 1, 2]),
                        _ => proposed(&[0, 1, 2, 3]),
                    };
                    let next = chain.approving(senders, &change);
                    chain.extend(&mut ledger, next.clone());
                    twin.apply(&[next]).expect("the same chain");
                }
                4 => ledger.flush().expect("memory"),
                _ => {
                    let store = ledger.store().clone();
                    drop(ledger);
                    store.power_cut_keeping(kept);
                    ledger = chain.open(store);
                }
            }
            prop_assert_eq!(ledger.tip(), twin.tip());
            prop_assert_eq!(ledger.epoch(), twin.epoch());
            for height in 0..=ledger.tip().height.0 + 1 {
                let (one, other) = (ledger.reader(), twin.reader());
                prop_assert_eq!(one.epoch_at(Height(height)), other.epoch_at(Height(height)));
            }
        }
    }
}

/// A store with an epoch behind it, its epoch rows altered.
fn with_damaged_epochs(flushed: bool, damage: impl FnOnce(&mut WriteBatch, EpochStart)) -> LedgerError {
    let mut chain = Chain::with(parameters());
    let store = MemoryStore::new();
    let mut ledger = chain.open(store.clone());
    chain.end_epoch(&mut ledger, &[0, 1, 2], &proposed(&[0, 1, 2]));
    chain.grow(&mut ledger, 1);
    let epoch = (*ledger.epoch()).clone();
    if flushed {
        ledger.flush().expect("memory");
    }
    drop(ledger);
    store.power_cut();
    let mut batch = WriteBatch::default();
    damage(&mut batch, epoch);
    store.write(batch, Durability::Synced).expect("memory");
    Ledger::open(store, &chain.genesis).expect_err("damaged")
}

#[test]
fn an_end_that_is_not_as_executed_is_noticed() {
    let mut chain = Chain::with(parameters());
    let store = MemoryStore::new();
    let mut ledger = chain.open(store.clone());
    let approving = chain.approving(&[0, 1, 2], &proposed(&[0, 1, 2]));
    chain.extend(&mut ledger, approving);
    drop(ledger);
    store.power_cut();
    let mut stored: StoredHeader = rows::must(&store, Family::Headers, Height(1)).expect("stored");
    assert_eq!(stored.outcome.epoch_ends, Some(Height(3)));
    stored.outcome.epoch_ends = None;
    let mut batch = WriteBatch::default();
    batch.put(Family::Headers, rows::height_key(Height(1)), encode(&stored));
    store.write(batch, Durability::Synced).expect("memory");
    let error = Ledger::open(store, &chain.genesis).expect_err("damaged");
    assert!(matches!(error, LedgerError::Store(StoreError::Damaged { family: "headers", .. })), "{error}");
}

#[test]
fn an_epoch_that_is_not_as_executed_is_noticed() {
    for flushed in [false, true] {
        let errors = [
            with_damaged_epochs(flushed, |batch, epoch| {
                let other = EpochStart { validators: set(&[0, 1]), ..epoch.clone() };
                batch.put(Family::Epochs, rows::height_key(epoch.start), encode(&other));
            }),
            with_damaged_epochs(flushed, |batch, epoch| {
                let other = EpochStart { parameters: Parameters::default(), ..epoch.clone() };
                batch.put(Family::Epochs, rows::height_key(epoch.start), encode(&other));
            }),
            with_damaged_epochs(flushed, |batch, epoch| {
                batch.delete(Family::Epochs, rows::height_key(epoch.start));
            }),
            with_damaged_epochs(flushed, |batch, epoch| {
                let start = epoch.start.plus(9);
                let other = EpochStart { number: Epoch(2), start, ..epoch };
                batch.put(Family::Epochs, rows::height_key(start), encode(&other));
            }),
            with_damaged_epochs(flushed, |batch, epoch| {
                let other = EpochStart { number: Epoch(7), ..epoch.clone() };
                batch.put(Family::Epochs, rows::height_key(epoch.start), encode(&other));
            }),
            with_damaged_epochs(flushed, |batch, _| {
                batch.delete(Family::Epochs, rows::height_key(Height(0)))
            }),
        ];
        for (number, error) in errors.iter().enumerate() {
            let LedgerError::Store(StoreError::Damaged { family: "epochs", .. }) = error else {
                panic!("damage {number}, flushed: {flushed}: {error}")
            };
        }
    }
}
