//! Fuzz targets (`docs/testing.md`, Fuzzing): any bytes where something of the chain is expected, and any text where an
//! address is.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{
    Domain, Hash, MultiSignature, SecretKey,
    codec::{decode, encode},
    merkle,
};

use crate::{
    Account, Approval, Block, CertifiedBlocks, CheckpointCertificate, CheckpointPayload, CommitCertificate,
    CommitPayload, Epoch, EpochChange, EpochEnd, EpochRecord, EpochStart, ExecutionOutcome, Height,
    LedgerEvent, Operation, Outcome, Parameters, Parent, Payload, ProposedChange, ProposedValidator, Receipt,
    Record, RecordKey, StateProof, StoredHeader, Transaction, ValidatorSet, Version, View,
    fixtures::{block_on, chain, genesis, key, payload, rules, transaction},
    state::ProofEnd,
};

/// Four validators, with their keys in the order of the set.
fn validators() -> (ValidatorSet, Vec<SecretKey>) {
    let mut keys: Vec<SecretKey> = (0..4).map(key).collect();
    keys.sort_unstable_by_key(SecretKey::public);
    let set = ValidatorSet::new(keys.iter().map(SecretKey::public).collect()).expect("four keys");
    (set, keys)
}

fn sign<T: BorshSerialize>(domain: Domain, payload: &T) -> MultiSignature {
    let (_, keys) = validators();
    let votes = keys.iter().enumerate().take(3);
    MultiSignature::from_votes(4, votes.map(|(at, key)| (at, key.sign(domain, &chain(), payload))))
}

fn commit(block: &Block) -> CommitCertificate {
    let payload =
        CommitPayload { epoch: Epoch(0), view: View(3), height: block.height(), block: block.hash() };
    CommitCertificate { signatures: sign(Domain::Commit, &payload), payload }
}

fn checkpoint() -> CheckpointPayload {
    CheckpointPayload {
        epoch: Epoch(0),
        height: Height(4),
        block: Hash::of(b"block"),
        state_root: Hash::of(b"state"),
        receipts_root: Hash::of(b"receipts"),
        next_validators: validators().0.hash(),
    }
}

/// A block of two transactions, on the genesis.
fn block() -> Block {
    block_on(genesis(), vec![transaction(1), transaction(2)])
}

/// The encoding of what `bytes` decode to, if they do.
fn again<T: BorshSerialize + BorshDeserialize>(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(encode(&decode::<T>(bytes).ok()?))
}

#[test]
fn transaction_bytes() {
    let proposed = ProposedValidator { key: key(3).public(), readiness: None };
    let all = vec![
        Operation::Transfer { to: Account(key(2).public()), amount: u128::MAX },
        Operation::Put { key: b"key".to_vec(), value: vec![7; 300] },
        Operation::Delete { key: b"key".to_vec() },
        Operation::Approve { change: ProposedChange::Parameters(Box::default()) },
        Operation::Approve { change: ProposedChange::Validators(vec![proposed]) },
        Operation::Check(crate::Condition::KeyEquals { key: b"key".to_vec(), value: b"value".to_vec() }),
    ];
    let large = Transaction::sign(Payload { operations: all, ..payload(2) }, &key(1));
    let samples = [encode(transaction(1).as_ref()), encode(&large)];
    let rules = rules(Parameters::default());
    bolero::check!(name = "transaction_bytes").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let transaction = decode::<Transaction>(bytes).ok()?;
            assert_eq!(transaction.size(), bytes.len(), "its size is that of its encoding");
            // Refused or not: judging it ends.
            let _ = transaction.check(&rules);
            Some(encode(&transaction))
        });
    });
}

#[test]
fn block_bytes() {
    let samples = [encode(&block()), encode(&block_on(genesis(), Vec::new()))];
    bolero::check!(name = "block_bytes").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let block = decode::<Block>(bytes).ok()?;
            let _ = block.check_root();
            Some(encode(&block))
        });
    });
}

#[test]
fn certified_blocks() {
    let first = Arc::new(block());
    let second = Arc::new(block_on(Parent::of(&first), vec![transaction(3)]));
    let certificate = commit(&second);
    let whole = CertifiedBlocks { blocks: vec![first, second], certificate };
    let (set, _) = validators();
    whole.check(&chain(), &set).expect("a good sample");
    let samples = [encode(&whole)];
    bolero::check!(name = "certified_blocks").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let certified = decode::<CertifiedBlocks>(bytes).ok()?;
            let holds = certified.check(&chain(), &set).is_ok();
            assert!(!holds || certified == whole, "nothing else was certified");
            Some(encode(&certified))
        });
    });
}

#[test]
fn certificates() {
    let payload = checkpoint();
    let stable = CheckpointCertificate { signatures: sign(Domain::Checkpoint, &payload), payload };
    let committed = commit(&block());
    let (set, _) = validators();
    let samples = [encode(&stable), encode(&committed)];
    bolero::check!(name = "certificates").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let certificate = decode::<CheckpointCertificate>(bytes).ok()?;
            let holds = certificate.verify(&chain(), &set).is_ok();
            assert!(!holds || certificate == stable, "nothing else was signed");
            Some(encode(&certificate))
        });
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let certificate = decode::<CommitCertificate>(bytes).ok()?;
            let holds = certificate.verify(&chain(), &set).is_ok();
            assert!(!holds || certificate == committed, "nothing else was signed");
            Some(encode(&certificate))
        });
    });
}

#[test]
fn proofs() {
    let account = RecordKey::Account(Account(key(1).public()));
    let record = Record::Account { balance: 5 };
    let other = ProofEnd::Other { path: Hash::of(b"path"), record: Hash::of(b"record") };
    let present = StateProof { siblings: vec![Hash::of(b"sibling"); 3], end: ProofEnd::Present };
    let absent = StateProof { siblings: Vec::new(), end: other };
    let included = merkle::prove(&[b"a", b"b", b"c"], 1).expect("it is there");
    let samples = [encode(&present), encode(&absent), encode(&included)];
    let root = Hash::of(b"root");
    bolero::check!(name = "proofs").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let proof = decode::<StateProof>(bytes).ok()?;
            assert!(!proof.verify(&account, Some(&record), &root), "no proof leads to a root that is none");
            assert!(!proof.verify(&account, None, &root), "no proof leads to a root that is none");
            Some(encode(&proof))
        });
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let proof = decode::<merkle::MerkleProof>(bytes).ok()?;
            assert!(!proof.verify(b"leaf", &root), "no proof leads to a root that is none");
            Some(encode(&proof))
        });
    });
}

/// What a store holds; a disk may say anything.
#[test]
fn rows() {
    let (set, _) = validators();
    let outcome = ExecutionOutcome { checkpoint: checkpoint(), due: None, epoch_ends: Some(Height(9)) };
    let header = StoredHeader { header: block().header().clone(), transactions: 2, outcome };
    let start = EpochStart {
        number: Epoch(1),
        start: Height(9),
        below: Hash::of(b"below"),
        validators: set.clone(),
        parameters: Parameters::default(),
    };
    let events = vec![LedgerEvent::KeyDeleted { key: b"key".to_vec() }];
    let receipt =
        Receipt { id: Hash::ZERO, height: Height(1), index: 0, fee_paid: 3, outcome: Outcome::Ok, events };
    let change = EpochChange::Validators(set.clone());
    let approval = Approval { change: change.clone(), given: Version(1 << 64) };
    let ends = Some(EpochEnd { last: Height(17), change });
    let epoch = EpochRecord { number: Epoch(1), start: Height(9), ends };
    let records = [
        encode(&Record::Account { balance: 5 }),
        encode(&Record::Validators(set)),
        encode(&Record::Parameters(Box::default())),
        encode(&Record::Epoch(epoch)),
        encode(&Record::Approval(approval)),
    ];
    let keys = [RecordKey::Account(Account(key(1).public())).row(), RecordKey::Key(b"key".to_vec()).row()];
    let mut samples = vec![encode(&header), encode(&start), encode(&receipt)];
    samples.extend(records.into_iter().chain(keys));
    bolero::check!(name = "rows").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, again::<StoredHeader>);
        quorate_fuzz::decoder(input, &samples, again::<EpochStart>);
        quorate_fuzz::decoder(input, &samples, again::<Receipt>);
        quorate_fuzz::decoder(input, &samples, again::<Record>);
        quorate_fuzz::decoder(input, &samples, again::<RecordKey>);
        quorate_fuzz::decoder(input, &samples, |bytes| Some(RecordKey::from_row(bytes)?.row()));
    });
}

/// An address is read in the one spelling it is written in, but for capitals.
#[test]
fn address() {
    let samples = [Account(key(1).public()).to_string().into_bytes()];
    bolero::check!(name = "address").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let text = std::str::from_utf8(bytes).ok()?;
            let account: Account = text.parse().ok()?;
            let written = account.to_string();
            Some(if text == written.to_uppercase() { bytes.to_vec() } else { written.into_bytes() })
        });
    });
}
