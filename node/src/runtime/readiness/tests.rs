//! `docs/pbft.md` §7: whom a node gives a statement, and which statements of others it passes on.

use std::iter;

use quorate_crypto::{Hash, MultiSignature};
use quorate_ledger::{
    Account, Block, CommitCertificate, CommitPayload, Delivered, Epoch, GenesisState, Header, Height, Ledger,
    MemoryStore, Parameters, UnixMillis, ValidatorSet, View,
};

use super::*;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

/// A chain of one validator and empty blocks, each of which anchors a checkpoint of its own.
fn ledger(height: u64) -> Ledger<MemoryStore> {
    let validators = ValidatorSet::new(vec![key(1).public()]).expect("one key");
    let (chain, time) = (Hash::of(b"chain"), UnixMillis(1_000));
    let genesis =
        GenesisState { chain, time, validators, parameters: Parameters::default(), accounts: Vec::new() };
    let mut ledger = Ledger::open(MemoryStore::new(), &genesis).expect("an empty store");
    let mut parent = chain;
    let mut anchor = genesis.checkpoint().expect("a sound genesis").anchor();
    for height in (1..=height).map(Height) {
        let header = Header {
            version: Header::VERSION,
            chain,
            epoch: Epoch(0),
            height,
            parent,
            transactions_root: Block::transactions_root(&[]),
            time: time.plus_millis(height.0),
            proposer: Account(key(1).public()),
            anchor,
        };
        let block = Arc::new(Block::new(header, Vec::new()));
        parent = block.hash();
        let payload = CommitPayload { epoch: Epoch(0), view: View(0), height, block: parent };
        let certificate =
            CommitCertificate { payload, signatures: MultiSignature::from_votes(1, iter::empty()) };
        ledger.apply(&[Delivered { block, certificate: Some(certificate) }]).expect("memory");
        anchor = ledger.tip().outcome.checkpoint.anchor();
    }
    ledger
}

#[test]
fn a_node_states_its_own_key_alone_and_only_once_there_is_a_block() {
    let ledger = ledger(0);
    let own = OwnReadiness::new(Some(key(2)), ledger.reader());
    assert_eq!(own.statement(&key(2).public()).expect("memory"), None, "no header anchors anything");

    let ledger = self::ledger(3);
    let own = OwnReadiness::new(Some(key(2)), ledger.reader());
    let statement = own.statement(&key(2).public()).expect("memory").expect("its own key");
    assert_eq!((statement.epoch, statement.height), (Epoch(0), Height(3)));
    assert!(is_taken(&ledger.reader(), &key(2).public(), &statement).expect("memory"));
    assert_eq!(own.statement(&key(3).public()).expect("memory"), None, "another key");
    let observer = OwnReadiness::new(None, ledger.reader());
    assert_eq!(observer.statement(&key(2).public()).expect("memory"), None, "no key");
}

/// > counts only with its own signature over chain id, epoch and the hash of a checkpoint that one of the last 1,000 headers
/// > below the block anchors
#[test]
fn a_statement_that_the_chain_would_not_take_is_not_passed_on() {
    let ledger = ledger(3);
    let statement = OwnReadiness::new(Some(key(2)), ledger.reader()).statement(&key(2).public());
    let good = statement.expect("memory").expect("its own key");
    let takes = |seed: u8, statement: Statement| {
        is_taken(&ledger.reader(), &key(seed).public(), &statement).expect("memory")
    };
    assert!(takes(2, good));
    assert!(!takes(3, good), "of another key");
    assert!(
        !takes(2, Statement { height: Height(2), ..good }),
        "of a header that anchors another checkpoint"
    );
    assert!(!takes(2, Statement { height: Height(4), ..good }), "of a header that is not here");
    assert!(!takes(2, Statement { epoch: Epoch(1), ..good }), "of an epoch that is not");
    let checkpoint = Hash::of(b"nothing");
    let readiness = Readiness::sign(&Hash::of(b"chain"), Epoch(0), checkpoint, &key(2));
    assert!(!takes(2, Statement { readiness, ..good }), "of a checkpoint that no header anchors");
}

#[test]
fn a_statement_is_passed_on_while_it_can_still_get_into_a_block() {
    let young = ledger(2);
    let statement = OwnReadiness::new(Some(key(2)), young.reader()).statement(&key(2).public());
    let statement = statement.expect("memory").expect("its own key");
    let takes = |height| is_taken(&ledger(height).reader(), &key(2).public(), &statement).expect("memory");
    assert!(takes(2 + BEHIND_MAX));
    assert!(!takes(2 + BEHIND_MAX + 1));
}
