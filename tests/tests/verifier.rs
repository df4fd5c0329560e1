//! The chain as an independent program sees it: `tests/verifier`, which shares no code with the crates and was written
//! from `docs/formats.md`.
//!
//! A small chain with every kind of operation and outcome is made here by the crates, as JSON-RPC would serve it, and
//! held against `tests/verifier/golden_chain.json`; the verifier's own tests (`make verifier`) verify that file from its
//! genesis document. So neither a format nor what an operation does can change without somebody saying so: with
//! `QUORATE_WRITE_GOLDEN=1` the file is written anew.

use std::path::PathBuf;
use std::sync::Arc;

use quorate_crypto::{Domain, Hash, MultiSignature, SecretKey, encode, to_hex};
use quorate_genesis::{Genesis, GenesisBuilder};
use quorate_ledger::{
    Account, Block, CheckpointCertificate, CheckpointPayload, CommitCertificate, CommitPayload, Condition,
    Delivered, Header, Height, Ledger, MemoryStore, Operation, Parameters, Payload, StoredBlock, Transaction,
    UnixMillis, Version, View,
};
use serde_json::{Value, json};

/// Whose signatures stand in every certificate: a quorum of four, and not simply the first three.
const SIGNERS: [usize; 3] = [0, 1, 3];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("verifier")
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

/// 10 and 11 are funded; 12 gets something on the way; 13 never has anything.
fn account(seed: u8) -> Account {
    Account(key(seed).public())
}

/// A chain of four validators, whose seeds are 0 to 3.
struct Chain {
    genesis: Genesis,
    ledger: Ledger<MemoryStore>,
    results: Vec<CheckpointPayload>,
}

impl Chain {
    fn new() -> Self {
        let parameters = Parameters { fee_base: 7, ..Parameters::default() };
        let mut builder = GenesisBuilder::new("golden", UnixMillis(1_767_225_600_000)).parameters(parameters);
        for seed in 0..4 {
            builder = builder.validator(key(seed).public(), format!("node{seed}"));
        }
        let builder = builder.account(account(10), 1_000_000).account(account(11), 2_000_000);
        let genesis = builder.build().expect("every rule holds");
        let ledger = Ledger::open(MemoryStore::new(), &genesis.state()).expect("an empty store");
        let results = vec![ledger.tip().outcome.checkpoint];
        Self { genesis, ledger, results }
    }

    fn transaction(&self, seed: u8, operations: Vec<Operation>) -> Arc<Transaction> {
        let payload = Payload {
            version: Payload::VERSION,
            chain: self.genesis.hash(),
            sender: account(seed),
            nonce: self.ledger.tip().height.0,
            expires_at: self.ledger.tip().time.plus_millis(60_000),
            fee: 7,
            operations,
        };
        Arc::new(Transaction::sign(payload, &key(seed)))
    }

    /// Executes the next block, 1 s later, anchored two heights below.
    fn extend(&mut self, transactions: Vec<Arc<Transaction>>, certified: bool) {
        let tip = self.ledger.tip();
        let height = tip.height.next();
        let hashes: Vec<Hash> = transactions.iter().map(|transaction| transaction.hash()).collect();
        let header = Header {
            version: Header::VERSION,
            chain: self.genesis.hash(),
            epoch: tip.outcome.checkpoint.epoch,
            height,
            parent: tip.hash,
            transactions_root: Block::transactions_root(&hashes),
            time: tip.time.plus_millis(1_000),
            proposer: Account(self.genesis.validators().keys()[height.0 as usize % 4]),
            anchor: self.results[self.results.len().saturating_sub(2)].anchor(),
        };
        let block = Arc::new(Block::new(header, transactions));
        let certificate = certified.then(|| {
            let epoch = block.header().epoch;
            let payload = CommitPayload { epoch, view: View(5), height, block: block.hash() };
            let message = Domain::Commit.message(&self.genesis.hash(), &payload);
            CommitCertificate { payload, signatures: self.sign(&message) }
        });
        let outcomes = self.ledger.apply(&[Delivered { block, certificate }]).expect("a sound block");
        self.results.push(outcomes[0].checkpoint);
        if certified {
            let payload = outcomes[0].checkpoint;
            let signatures = self.sign(&Domain::Checkpoint.message(&self.genesis.hash(), &payload));
            self.ledger.stable(&CheckpointCertificate { payload, signatures }).expect("what was executed");
        }
    }

    fn sign(&self, message: &[u8]) -> MultiSignature {
        let validators = self.genesis.validators();
        let votes = (0..4).filter_map(|seed| {
            let index = validators.index_of(&key(seed).public()).expect("of the set").as_usize();
            SIGNERS.contains(&index).then(|| (index, key(seed).sign_bytes(message)))
        });
        MultiSignature::from_votes(validators.len(), votes)
    }

    /// What a node would be asked by a verifier, with the answers.
    fn answers(&self) -> Value {
        let reader = self.ledger.reader();
        let top = self.ledger.tip().height;
        let mut answers = vec![call(
            "node_status",
            json!({}),
            json!({ "genesis_hash": self.genesis.hash(), "height": top }),
        )];
        for height in (1..=top.0).map(Height) {
            let stored = reader.block(height).expect("memory reads").expect("it was executed");
            answers.push(call("chain_getBlock", json!({ "height": height }), block_answer(&stored)));
            let parameters = json!({ "height": height, "kind": "commit" });
            answers.push(call("chain_getCertificate", parameters, self.commit_answer(height)));
            let parameters = json!({ "height": height, "kind": "checkpoint" });
            let certificate = reader.checkpoint(height).expect("memory reads");
            let answer = certificate.map(|it| {
                certificate_answer("checkpoint", json!(it.payload), &it.signatures, &encode(&it), &[])
            });
            answers.push(call("chain_getCertificate", parameters, json!(answer)));
        }
        json!({ "genesis": self.genesis.canonical(), "answers": answers })
    }

    fn commit_answer(&self, height: Height) -> Value {
        let reader = self.ledger.reader();
        let found = reader.commit_certificate_at_or_above(height).expect("memory reads");
        let (named, certificate) = found.expect("the last block is certified");
        let header =
            |height| reader.header(Height(height)).expect("memory reads").expect("it was executed").header;
        let headers: Vec<Header> = (height.0 + 1..=named.0).map(header).collect();
        let bytes = encode(&certificate);
        certificate_answer("commit", json!(certificate.payload), &certificate.signatures, &bytes, &headers)
    }
}

fn call(method: &str, parameters: Value, result: Value) -> Value {
    json!({ "method": method, "parameters": parameters, "result": result })
}

fn block_answer(stored: &StoredBlock) -> Value {
    let transactions = stored.block.transactions().iter().zip(&stored.receipts);
    let transactions: Vec<Value> = transactions
        .map(|(transaction, receipt)| {
            json!({
                "id": transaction.id(),
                "hash": transaction.hash(),
                "payload": transaction.payload(),
                "signature": transaction.signature(),
                "receipt": receipt,
            })
        })
        .collect();
    json!({
        "hash": stored.block.hash(),
        "header": stored.block.header(),
        "size": stored.block.size(),
        "certified": stored.certificate.is_some(),
        "transactions": transactions,
    })
}

fn certificate_answer(
    kind: &str,
    payload: Value,
    signatures: &MultiSignature,
    bytes: &[u8],
    headers: &[Header],
) -> Value {
    let signers = signatures.signers().iter().zip(signatures.signatures());
    let votes: Vec<Value> =
        signers.map(|(index, signature)| json!({ "validator": index, "signature": signature })).collect();
    json!({ "kind": kind, "certificate": payload, "votes": votes, "bytes": to_hex(bytes), "headers": headers })
}

fn put(key: &str, value: &str) -> Operation {
    Operation::Put { key: key.into(), value: value.into() }
}

fn transfer(to: u8, amount: u128) -> Operation {
    Operation::Transfer { to: account(to), amount }
}

/// Four blocks with every operation, every condition and every outcome that a transaction can have.
fn golden() -> Chain {
    let key = || b"door".to_vec();
    let absent = || b"none".to_vec();
    let check = |condition| vec![Operation::Check(condition)];
    let mut chain = Chain::new();
    chain.extend(Vec::new(), true);

    let first = chain.transaction(10, vec![transfer(12, 12), put("door", "open")]);
    let not_owner = chain.transaction(11, vec![transfer(10, 1), put("door", "mine")]);
    chain.extend(vec![first, not_owner], false);

    let version = Version::new(Height(2), 0, 1);
    let guarded = vec![
        Operation::Check(Condition::KeyPresent { key: key() }),
        Operation::Check(Condition::KeyAtVersion { key: key(), version }),
        Operation::Check(Condition::KeyEquals { key: key(), value: b"open".to_vec() }),
        Operation::Check(Condition::KeyAbsent { key: absent() }),
        put("door", "shut"),
    ];
    let transactions = vec![
        chain.transaction(10, guarded),
        chain.transaction(11, check(Condition::KeyAbsent { key: key() })),
        chain.transaction(11, check(Condition::KeyPresent { key: absent() })),
        chain.transaction(11, check(Condition::KeyAtVersion { key: key(), version })),
        chain.transaction(11, check(Condition::KeyEquals { key: key(), value: b"open".to_vec() })),
        chain.transaction(11, vec![Operation::Delete { key: absent() }]),
        chain.transaction(12, vec![transfer(10, 6)]),
        chain.transaction(13, vec![transfer(10, 0)]),
    ];
    chain.extend(transactions, true);

    let delete = chain.transaction(10, vec![Operation::Delete { key: key() }, transfer(10, 3)]);
    let not_owner = chain.transaction(11, vec![put("mine", ""), put("yours", "x"), transfer(12, u128::MAX)]);
    let emptied = chain.transaction(12, vec![transfer(11, 0)]);
    chain.extend(vec![emptied, delete, not_owner], true);
    chain
}

#[test]
fn the_golden_chain_never_changes() {
    let path = folder().join("golden_chain.json");
    let made = golden().answers();
    if std::env::var_os("QUORATE_WRITE_GOLDEN").is_some() {
        let text = serde_json::to_string_pretty(&made).expect("plain values");
        std::fs::write(&path, text + "\n").expect("the file can be written");
    }
    let kept = std::fs::read_to_string(&path).expect("the file is kept beside the verifier");
    let kept: Value = serde_json::from_str(&kept).expect("it was written as JSON");
    assert!(made == kept, "{} is not what is made now; see the top of this file", path.display());
}
