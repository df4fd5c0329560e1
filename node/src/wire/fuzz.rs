//! Fuzz targets (`docs/testing.md`, Fuzzing): any bytes where a node expects what another says.

use quorate_consensus::{Engine, pbft::Pbft};
use quorate_crypto::{Batch, MultiSignature, SecretKey, decode, encode};
use quorate_ledger::{
    Account, Anchor, CheckpointPayload, CommitCertificate, CommitPayload, Epoch, EpochStart, Header,
    Operation, Parameters, Payload, TransactionRules, UnixMillis, ValidatorSet, View,
};

use super::*;

type Message = <Pbft as Engine>::Message;

fn key() -> SecretKey {
    SecretKey::from_seed([7; 32])
}

fn transaction(nonce: u64) -> Arc<Transaction> {
    let payload = Payload {
        version: Payload::VERSION,
        chain: Hash::ZERO,
        sender: Account(key().public()),
        nonce,
        expires_at: UnixMillis(1),
        fee: 0,
        operations: vec![Operation::Put { key: vec![1], value: vec![0; 20] }],
    };
    Arc::new(Transaction::sign(payload, &key()))
}

fn rules() -> TransactionRules {
    let start = EpochStart {
        number: Epoch(0),
        start: Height(1),
        below: Hash::ZERO,
        validators: ValidatorSet::new(vec![key().public()]).expect("one key"),
        parameters: Parameters::default(),
    };
    TransactionRules::of(Hash::ZERO, &start)
}

fn block() -> Block {
    let transactions = vec![transaction(1), transaction(2)];
    let hashes: Vec<Hash> = transactions.iter().map(|one| one.hash()).collect();
    let header = Header {
        version: Header::VERSION,
        chain: Hash::ZERO,
        epoch: Epoch(0),
        height: Height(1),
        parent: Hash::ZERO,
        transactions_root: Block::transactions_root(&hashes),
        time: UnixMillis(1),
        proposer: Account(key().public()),
        anchor: Anchor { height: Height(0), state_root: Hash::ZERO, checkpoint: Hash::ZERO },
    };
    Block::new(header, transactions)
}

fn stretch() -> Stretch {
    let block = Arc::new(block());
    let signatures = || MultiSignature::from_votes(4, (0..3).map(|at| (at, key().sign_bytes(b"vote"))));
    let payload =
        CommitPayload { epoch: Epoch(0), view: View(0), height: block.height(), block: block.hash() };
    let commit = CommitCertificate { payload, signatures: signatures() };
    let payload = CheckpointPayload {
        epoch: Epoch(0),
        height: block.height(),
        block: block.hash(),
        state_root: Hash::ZERO,
        receipts_root: Hash::ZERO,
        next_validators: Hash::ZERO,
    };
    let checkpoint = CheckpointCertificate { payload, signatures: signatures() };
    Stretch {
        blocks: CertifiedBlocks { blocks: vec![block], certificate: commit },
        checkpoint: Some(checkpoint),
    }
}

fn statement() -> Statement {
    let (epoch, height) = (Epoch(0), Height(7));
    Statement { epoch, height, readiness: Readiness::sign(&Hash::ZERO, epoch, Hash::ZERO, &key()) }
}

/// The encoding of what `bytes` decode to, if they do.
fn again<T: BorshSerialize + BorshDeserialize>(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(encode(&decode::<T>(bytes).ok()?))
}

/// What a verifier does with transactions of a stranger: it judges each and the signatures of all.
fn judge(transactions: &[Arc<Transaction>], rules: &TransactionRules) {
    let mut batch = Batch::default();
    for transaction in transactions {
        let _ = transaction.check(rules);
        batch.push(transaction.sender().0, transaction.message(), *transaction.signature());
    }
    let alone: Vec<bool> = transactions.iter().map(|transaction| transaction.verify_signature()).collect();
    assert_eq!(batch.verify(), alone, "a signature holds or does not, in whatever company");
}

/// What comes over the stream of a validator. The messages of consensus have a target of their own.
#[test]
fn frame() {
    let samples = [
        encode(&Frame::<Message>::Transactions(Bundle(vec![transaction(1), transaction(2)]))),
        encode(&Frame::<Message>::Offer { height: Height(7) }),
    ];
    let rules = rules();
    bolero::check!(name = "frame").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let lane = Frame::<Message>::lane(bytes);
            let frame = decode::<Frame<Message>>(bytes).ok()?;
            let expected = match &frame {
                Frame::Consensus(_) | Frame::Offer { .. } => Lane::Urgent,
                Frame::Transactions(Bundle(transactions)) => {
                    judge(transactions, &rules);
                    Lane::Bulk
                }
            };
            assert_eq!(lane, expected, "the first byte says what it is");
            Some(encode(&frame))
        });
    });
}

/// What anybody gossips.
#[test]
fn gossip() {
    let samples = [
        encode(&Bundle(vec![transaction(1)])),
        encode(&Bundle((0..9).map(transaction).collect())),
        encode(&BlockNotice { height: Height(7), hash: Hash::of(b"block") }),
    ];
    let rules = rules();
    bolero::check!(name = "gossip").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let bundle = decode::<Bundle>(bytes).ok()?;
            assert!((1..=BUNDLE_TRANSACTIONS_MAX).contains(&bundle.0.len()), "a bundle is within its bounds");
            judge(&bundle.0, &rules);
            Some(encode(&bundle))
        });
        quorate_fuzz::decoder(input, &samples, again::<BlockNotice>);
    });
}

/// What anybody asks for, and what is answered, which may be anything, too.
#[test]
fn request() {
    let samples = [
        encode(&Request::Bodies(Hashes(vec![Hash::of(b"a"), Hash::of(b"b")]))),
        encode(&Request::Blocks { above: Height(u64::MAX) }),
        encode(&Request::Block(Hash::of(b"block"))),
        encode(&Request::Checkpoint { height: Height(7) }),
        encode(&Request::Readiness { key: key().public() }),
        encode(&Response::Bodies(Bodies(vec![transaction(1)]))),
        encode(&Response::Blocks(None)),
        encode(&Response::Blocks(Some(Box::new(stretch())))),
        encode(&Response::Block(Some(Arc::new(block())))),
        encode(&Response::Checkpoint(None)),
        encode(&Response::Readiness(Some(statement()))),
        encode(&Response::Readiness(None)),
    ];
    let set = ValidatorSet::new(vec![key().public()]).expect("one key");
    bolero::check!(name = "request").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, again::<Request>);
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let response = decode::<Response>(bytes).ok()?;
            match &response {
                Response::Bodies(Bodies(transactions)) => {
                    assert!(transactions.len() <= BODIES_PER_REQUEST_MAX, "no more than can be asked for");
                }
                Response::Blocks(Some(stretch)) => {
                    assert!(stretch.blocks.check(&Hash::ZERO, &set).is_err(), "nothing of it was signed");
                }
                Response::Block(Some(block)) => {
                    let _ = block.check_root();
                }
                Response::Checkpoint(Some(certificate)) => {
                    assert!(certificate.verify(&Hash::ZERO, &set).is_err(), "nothing of it was signed");
                }
                Response::Readiness(Some(Statement { epoch, readiness, .. })) => {
                    let _ = readiness.verify(&Hash::ZERO, *epoch, &key().public());
                }
                Response::Blocks(None)
                | Response::Block(None)
                | Response::Checkpoint(None)
                | Response::Readiness(None) => {}
            }
            Some(encode(&response))
        });
    });
}
