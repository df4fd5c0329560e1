//! The chain as an independent program sees it: `tests/verifier`, which shares no code with the crates and was written
//! from `docs/formats.md`.
//!
//! A small chain with every kind of operation and outcome is made here by the crates, as JSON-RPC would serve it, and
//! held against `tests/verifier/golden_chain.json`, and one of three epochs against `golden_epochs.json`; the verifier's
//! own tests (`make verifier`) verify these files from their genesis documents. So neither a format nor what an operation does can change without somebody saying so: with
//! `QUORATE_WRITE_GOLDEN=1` the file is written anew.

use std::path::PathBuf;
use std::sync::Arc;

use quorate_crypto::{Domain, Hash, MultiSignature, SecretKey, encode, to_hex};
use quorate_genesis::{Genesis, GenesisBuilder};
use quorate_ledger::{
    Account, Amount, Block, CheckpointCertificate, CheckpointPayload, CommitCertificate, CommitPayload,
    Condition, Delivered, Epoch, Header, Height, Ledger, MemoryStore, Operation, Parameters, Payload,
    ProposedChange, ProposedValidator, Readiness, StoredBlock, Transaction, UnixMillis, ValidatorSet,
    Version, View,
};
use serde_json::{Value, json};

/// Whose signature stands in no certificate: the others are a quorum, and not simply the first.
const ABSENT: usize = 2;

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

/// The seed of a validator that is not there from the start.
const JOINING: u8 = 20;

/// A chain of four validators, whose seeds are 0 to 3.
struct Chain {
    genesis: Genesis,
    ledger: Ledger<MemoryStore>,
    results: Vec<CheckpointPayload>,
    /// A block without a certificate of its own, which the next one's covers.
    covered: Option<Arc<Block>>,
}

impl Chain {
    fn new(name: &str, parameters: Parameters) -> Self {
        let mut builder = GenesisBuilder::new(name, UnixMillis(1_767_225_600_000)).parameters(parameters);
        for seed in 0..4 {
            builder = builder.validator(key(seed).public(), format!("node{seed}"));
        }
        let builder = builder.account(account(10), 1_000_000).account(account(11), 2_000_000);
        let genesis = builder.build().expect("every rule holds");
        let ledger = Ledger::open(MemoryStore::new(), &genesis.state()).expect("an empty store");
        let results = vec![ledger.tip().outcome.checkpoint];
        Self { genesis, ledger, results, covered: None }
    }

    fn transaction(&self, seed: u8, operations: Vec<Operation>) -> Arc<Transaction> {
        self.transaction_for(7, seed, operations)
    }

    /// An approval and nothing else, for which a validator need not pay.
    fn approval(&self, seed: u8, change: &ProposedChange) -> Arc<Transaction> {
        self.transaction_for(0, seed, vec![Operation::Approve { change: change.clone() }])
    }

    fn transaction_for(&self, fee: Amount, seed: u8, operations: Vec<Operation>) -> Arc<Transaction> {
        let payload = Payload {
            version: Payload::VERSION,
            chain: self.genesis.hash(),
            sender: account(seed),
            nonce: self.top().0.0,
            expires_at: self.top().2.plus_millis(60_000),
            fee,
            operations,
        };
        Arc::new(Transaction::sign(payload, &key(seed)))
    }

    /// Height, hash and time of the highest block.
    fn top(&self) -> (Height, Hash, UnixMillis) {
        let tip = self.ledger.tip();
        let covered = self.covered.as_ref().map(|block| (block.height(), block.hash(), block.time()));
        covered.unwrap_or((tip.height, tip.hash, tip.time))
    }

    /// Makes the next block, 1 s later, anchored two heights below; the first of an epoch must be on the one below. It is
    /// executed with the next block that has a certificate of its own, if it has none.
    fn extend(&mut self, transactions: Vec<Arc<Transaction>>, certified: bool) {
        let (below, parent, time) = self.top();
        let height = below.next();
        let epoch = self.ledger.epoch();
        let anchored = (below.0 as usize).saturating_sub(1).max(epoch.base().0.0 as usize);
        let hashes: Vec<Hash> = transactions.iter().map(|transaction| transaction.hash()).collect();
        let header = Header {
            version: Header::VERSION,
            chain: self.genesis.hash(),
            epoch: epoch.number,
            height,
            parent,
            transactions_root: Block::transactions_root(&hashes),
            time: time.plus_millis(1_000),
            proposer: Account(epoch.validators.keys()[height.0 as usize % epoch.validators.len()]),
            anchor: self.results[anchored].anchor(),
        };
        let block = Arc::new(Block::new(header, transactions));
        if !certified {
            assert!(self.covered.replace(block).is_none(), "one at a time");
            return;
        }
        let payload = CommitPayload { epoch: epoch.number, view: View(5), height, block: block.hash() };
        let message = Domain::Commit.message(&self.genesis.hash(), &payload);
        let certificate = Some(CommitCertificate { payload, signatures: sign(&epoch.validators, &message) });
        let covered = self.covered.take().map(|block| Delivered { block, certificate: None });
        let batch: Vec<Delivered> = covered.into_iter().chain([Delivered { block, certificate }]).collect();
        let outcomes = self.ledger.apply(&batch).expect("sound blocks");
        self.results.extend(outcomes.iter().map(|outcome| outcome.checkpoint));
        let payload = self.ledger.tip().outcome.checkpoint;
        let message = Domain::Checkpoint.message(&self.genesis.hash(), &payload);
        let signatures = sign(&epoch.validators, &message);
        self.ledger.stable(&CheckpointCertificate { payload, signatures }).expect("what was executed");
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

fn sign(validators: &ValidatorSet, message: &[u8]) -> MultiSignature {
    let votes = (0..=JOINING).filter_map(|seed| {
        let index = validators.index_of(&key(seed).public())?.as_usize();
        (index != ABSENT).then(|| (index, key(seed).sign_bytes(message)))
    });
    MultiSignature::from_votes(validators.len(), votes)
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
    let mut chain = Chain::new("golden", Parameters { fee_base: 7, ..Parameters::default() });
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

/// Three epochs: the first replaces validator 3, the second changes the parameters, which its validators had approved
/// of before it began. With every way that an approval can end.
fn golden_epochs() -> Chain {
    let parameters = Parameters { fee_base: 7, window: 2, ..Parameters::default() };
    let mut chain = Chain::new("golden epochs", parameters.clone());
    chain.extend(Vec::new(), true);

    // The checkpoint of the genesis is what block 1 anchors.
    let joining = |checkpoint: Hash, signer: u8| {
        let readiness = Readiness::sign(&chain.genesis.hash(), Epoch(0), checkpoint, &key(signer));
        with_joining(Some(readiness))
    };
    let anchored = chain.results[0].hash();
    let ready = joining(anchored, JOINING);
    let stale = joining(Hash::of(b"never anchored"), JOINING);
    let forged = joining(anchored, 3);
    let stranger = chain.transaction(10, vec![Operation::Approve { change: ready.clone() }]);
    let refused = [(0, with_joining(None)), (1, stale), (2, forged)];
    let refused = refused.map(|(seed, change)| chain.approval(seed, &change));
    chain.extend([vec![stranger], refused.to_vec()].concat(), true);

    let next = Parameters { fee_base: 0, window: 1, log_window: 64, ..parameters.clone() };
    let next = ProposedChange::Parameters(Box::new(next));
    // Validator 3 first approves of something else, which is void, then of what leaves with it.
    let void = chain.approval(3, &ProposedChange::Parameters(Box::new(parameters)));
    let deciding = [0, 1, 2].map(|seed| chain.approval(seed, &ready));
    let leaving = chain.transaction(3, vec![Operation::Approve { change: next.clone() }]);
    let funds = chain.transaction(10, vec![Operation::Transfer { to: account(3), amount: 7 }]);
    chain.extend([vec![funds, void], deciding.to_vec(), vec![leaving]].concat(), true);
    chain.extend(vec![chain.approval(0, &next)], false);
    chain.extend(vec![chain.approval(1, &next), chain.approval(2, &next)], true);

    // The second epoch, ending from its first block on; validator 3 has nothing to say any more and pays.
    let gone = chain.transaction(3, vec![Operation::Approve { change: next.clone() }]);
    chain.extend(vec![gone], false);
    chain.extend(vec![chain.approval(JOINING, &with_joining(None))], true);
    chain.extend(Vec::new(), true);

    // The third, in which nothing costs anything.
    let transfer = chain.transaction_for(0, 10, vec![transfer(12, 1)]);
    chain.extend(vec![transfer], true);
    chain
}

/// The set with the joining validator in the place of 3, and its statement.
fn with_joining(readiness: Option<Readiness>) -> ProposedChange {
    let plain = |seed: u8| ProposedValidator { key: key(seed).public(), readiness: None };
    let joining = ProposedValidator { readiness, ..plain(JOINING) };
    ProposedChange::Validators(vec![joining, plain(2), plain(1), plain(0)])
}

#[test]
fn the_golden_chain_never_changes() {
    never_changes("golden_chain.json", golden().answers());
}

#[test]
fn the_golden_chain_of_three_epochs_never_changes() {
    let chain = golden_epochs();
    assert_eq!(chain.ledger.epoch().number, Epoch(2));
    never_changes("golden_epochs.json", chain.answers());
}

fn never_changes(name: &str, made: Value) {
    let path = folder().join(name);
    if std::env::var_os("QUORATE_WRITE_GOLDEN").is_some() {
        let text = serde_json::to_string_pretty(&made).expect("plain values");
        std::fs::write(&path, text + "\n").expect("the file can be written");
    }
    let kept = std::fs::read_to_string(&path).expect("the file is kept beside the verifier");
    let kept: Value = serde_json::from_str(&kept).expect("it was written as JSON");
    assert!(made == kept, "{} is not what is made now; see the top of this file", path.display());
}
