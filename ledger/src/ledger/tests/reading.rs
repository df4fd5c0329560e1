//! What readers are told, whether it is written behind yet or not.

use super::*;
use crate::primitives::UnixMillis;

/// Runs a claim with everything in the overlay, with everything in the store, and with half in each.
fn wherever_it_is(claim: impl Fn(&Ledger<MemoryStore>)) {
    for flushed_at in [None, Some(10), Some(6)] {
        let mut chain = Chain::new();
        let mut ledger = chain.open(MemoryStore::new());
        for height in [2, 4, 6, 8, 10] {
            chain.grow(&mut ledger, 2);
            if flushed_at == Some(height) {
                ledger.flush().expect("memory");
            }
        }
        claim(&ledger);
    }
}

#[test]
fn keys_are_listed_in_order_by_prefix_and_page() {
    wherever_it_is(|ledger| {
        let reader = ledger.reader();
        let names = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
            let (height, keys) =
                reader.list_keys(prefix.as_bytes(), after.map(str::as_bytes), limit).expect("memory reads");
            assert_eq!(height, Height(10));
            keys.into_iter().map(|(key, _)| String::from_utf8(key).expect("text")).collect()
        };
        assert_eq!(names("key-1", None, 10), ["key-1", "key-10"]);
        assert_eq!(names("key-", None, 3), ["key-1", "key-10", "key-2"]);
        assert_eq!(names("key-", Some("key-2"), 3), ["key-3", "key-4", "key-5"]);
        assert_eq!(names("key-", Some("key-9"), 3), [""; 0]);
        assert_eq!(names("", None, 100).len(), 11);
        assert_eq!(names("", Some("key-9"), 100), ["shared"]);
        assert_eq!(names("key-", Some("a"), 1), ["key-1"], "what stands before the prefix does not matter");
        assert_eq!(names("none", None, 100), [""; 0]);
        assert_eq!(names("", None, 0), [""; 0]);
    });
}

#[test]
fn a_deleted_key_is_not_listed_while_its_row_waits_to_go() {
    let mut chain = Chain::new();
    let mut ledger = chain.open(MemoryStore::new());
    chain.grow(&mut ledger, 2);
    ledger.flush().expect("memory");
    let transaction = chain.transaction(1_000, vec![Operation::Delete { key: b"key-1".to_vec() }]);
    let delivered = chain.block(vec![transaction], true);
    chain.extend(&mut ledger, delivered);
    let (_, keys) = ledger.reader().list_keys(b"key-", None, 10).expect("memory reads");
    assert_eq!(keys.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), [b"key-2".to_vec()]);
    assert_eq!(ledger.reader().key(b"key-1").expect("reads"), (Height(3), None));
}

#[test]
fn records_are_proven_at_the_heights_of_the_window() {
    wherever_it_is(|ledger| {
        let reader = ledger.reader();
        let shared = RecordKey::Key(b"shared".to_vec());
        let absent = RecordKey::Key(b"key-10".to_vec());
        // log_window is 4.
        for height in 6..=10 {
            let stored = reader.header(Height(height)).expect("reads").expect("is there");
            let root = stored.outcome.checkpoint.state_root;
            let proven = reader.prove(&shared, Height(height)).expect("reads").expect("in the window");
            let record = proven.record.as_deref().expect("is there");
            let Record::Key { value, .. } = record else { panic!("a key") };
            assert_eq!(*value, height.to_string().into_bytes(), "as it was then");
            assert!(proven.proof.verify(&shared, Some(record), &root));
            let proven = reader.prove(&absent, Height(height)).expect("reads").expect("in the window");
            assert_eq!(proven.record.is_some(), height == 10);
            assert!(proven.proof.verify(&absent, proven.record.as_deref(), &root));
        }
        assert_eq!(reader.prove(&shared, Height(5)).expect("reads"), None, "past the window");
        assert_eq!(reader.prove(&shared, Height(11)).expect("reads"), None, "not yet");
    });
}

#[test]
fn expired_is_a_fact_of_the_chain() {
    let mut chain = Chain::new();
    let mut ledger = chain.open(MemoryStore::new());
    chain.grow(&mut ledger, 3);
    let reader = ledger.reader();
    let waiting = chain.transaction(200, Vec::new());
    let status = |transaction: &Transaction| {
        reader.status(&transaction.id(), transaction.expires_at()).expect("memory reads")
    };
    let time = GENESIS_TIME.plus_millis(300);
    assert_eq!(status(&waiting), TransactionStatus::Open { height: Height(3), time });
    chain.grow(&mut ledger, 1);
    // One millisecond before its expiry it could still come; at its expiry it cannot.
    let one_later = UnixMillis(waiting.expires_at().0 + 1);
    chain.grow(&mut ledger, 1);
    let unknown = Hash::of(b"never seen");
    let open = TransactionStatus::Open { height: Height(5), time: GENESIS_TIME.plus_millis(500) };
    assert_eq!(reader.status(&unknown, one_later).expect("reads"), open);
    assert_eq!(status(&waiting), TransactionStatus::Expired { at: Height(5) });
    chain.grow(&mut ledger, 5);
    assert_eq!(status(&waiting), TransactionStatus::Expired { at: Height(5) }, "the first such block");
    assert_eq!(
        reader.status(&unknown, UnixMillis(1)).expect("reads"),
        TransactionStatus::Expired { at: Height(0) },
        "the genesis is later"
    );

    let included = reader.block(Height(2)).expect("reads").expect("is there").block.transactions()[0].clone();
    let TransactionStatus::Committed(place) = status(&included) else { panic!("it is in block 2") };
    assert_eq!((place.height, place.receipt.id), (Height(2), included.id()));
}

#[test]
fn the_first_block_since_a_time_is_found_by_its_time() {
    wherever_it_is(|ledger| {
        let reader = ledger.reader();
        let first = |millis| reader.first_block_since(UnixMillis(GENESIS_TIME.0 + millis)).expect("reads");
        assert_eq!(first(0), Some(Height(0)));
        for (millis, height) in [(1, 1), (100, 1), (101, 2), (500, 5), (501, 6), (999, 10), (1_000, 10)] {
            assert_eq!(first(millis), Some(Height(height)), "{millis}");
        }
        assert_eq!(first(1_001), None);
        let heights = |millis| -> Vec<u64> {
            let blocks = reader.recent_blocks(UnixMillis(GENESIS_TIME.0 + millis)).expect("reads");
            blocks.map(|block| block.expect("reads").height().0).collect()
        };
        assert_eq!(heights(0), (1..=10).collect::<Vec<_>>(), "the genesis is not a block");
        assert_eq!(heights(801), [9, 10]);
        assert_eq!(heights(1_001), [0; 0]);
    });
}

#[test]
fn certified_blocks_end_with_one_that_has_a_certificate_of_its_own() {
    // Of the blocks that `grow` makes those of even height have one.
    wherever_it_is(|ledger| {
        let reader = ledger.reader();
        let size = reader.block(Height(4)).expect("reads").expect("is there").block.size();
        let heights = |above, blocks, bytes| -> Option<Vec<u64>> {
            let certified = reader.certified_above(Height(above), blocks, bytes).expect("memory reads")?;
            let last = certified.blocks.last().expect("not empty");
            assert_eq!(certified.certificate.payload.block, last.hash());
            Some(certified.blocks.iter().map(|block| block.height().0).collect())
        };
        assert_eq!(heights(0, 100, usize::MAX), Some((1..=10).collect()));
        assert_eq!(heights(3, 4, usize::MAX), Some(vec![4, 5, 6]), "four blocks would end without one");
        assert_eq!(heights(3, 5, usize::MAX), Some(vec![4, 5, 6, 7, 8]));
        assert_eq!(heights(3, 100, 3 * size), Some(vec![4, 5, 6]));
        assert_eq!(heights(3, 100, 3 * size - 1), Some(vec![4]));
        assert_eq!(heights(4, 1, 1), Some(vec![5, 6]), "at least up to the first, or nobody would get on");
        assert_eq!(heights(10, 100, usize::MAX), None);
        assert_eq!(heights(u64::MAX, 100, usize::MAX), None);

        let certificate = |height| {
            let found = reader.commit_certificate_at_or_above(Height(height)).expect("memory reads");
            found.map(|(height, certificate)| (height.0, certificate.payload.height.0))
        };
        assert_eq!((certificate(3), certificate(4), certificate(11)), (Some((4, 4)), Some((4, 4)), None));
    });
}
