use jsonrpsee::{RpcModule, server::Server};
use quorate_crypto::{Domain, MultiSignature, SecretKey, encode};
use quorate_genesis::GenesisBuilder;
use quorate_ledger::{Account, Block, CheckpointPayload, CommitPayload, UnixMillis, View};

use super::*;

/// A chain whose one validator hands over to another with block 5.
pub(crate) struct Chain {
    pub(crate) genesis: Genesis,
    pub(crate) old: SecretKey,
    pub(crate) new: SecretKey,
}

impl Chain {
    pub(crate) fn new() -> Self {
        let (old, new) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
        let builder = GenesisBuilder::new("test", UnixMillis(1_700_000_000_000));
        let genesis = builder.validator(old.public(), "only").build().expect("every rule holds");
        Self { genesis, old, new }
    }

    fn checkpoint(&self, next: &SecretKey) -> CheckpointPayload {
        CheckpointPayload {
            epoch: Epoch(0),
            height: Height(5),
            block: Hash::of(b"block 5"),
            state_root: Hash::of(b"state"),
            receipts_root: Hash::ZERO,
            next_validators: set_of(next).hash(),
        }
    }

    /// The handover to `next` that `signer` of the old epoch signs, and `next` takes over.
    pub(crate) fn handover(&self, signer: &SecretKey, next: &SecretKey) -> Handover {
        let chain = self.genesis.hash();
        let payload = self.checkpoint(next);
        let signatures =
            MultiSignature::from_votes(1, [(0, signer.sign(Domain::Checkpoint, &chain, &payload))]);
        let checkpoint = Bytes(encode(&CheckpointCertificate { payload, signatures }));
        let first = Header {
            version: Header::VERSION,
            chain,
            epoch: Epoch(1),
            height: Height(6),
            parent: payload.block,
            transactions_root: Block::transactions_root(&[]),
            time: UnixMillis(1_700_000_001_000),
            proposer: Account(next.public()),
            anchor: payload.anchor(),
        };
        let payload =
            CommitPayload { epoch: Epoch(1), view: View(0), height: Height(6), block: first.hash() };
        let signatures = MultiSignature::from_votes(1, [(0, next.sign(Domain::Commit, &chain, &payload))]);
        let commit = Bytes(encode(&CommitCertificate { payload, signatures }));
        let validators = vec![next.public()];
        Handover { epoch: Epoch(1), start: Height(6), validators, checkpoint, headers: vec![first], commit }
    }
}

fn set_of(key: &SecretKey) -> ValidatorSet {
    ValidatorSet::new(vec![key.public()]).expect("one key")
}

#[test]
fn a_line_from_the_genesis_leads_to_the_validators_of_an_epoch() {
    let chain = Chain::new();
    let line = [chain.handover(&chain.old, &chain.new)];
    let of = |epoch| validators_of(&chain.genesis, &line, Epoch(epoch));
    assert_eq!(of(0).expect("the genesis"), set_of(&chain.old));
    assert_eq!(of(1).expect("handed over"), set_of(&chain.new));
    assert!(of(2).expect_err("nothing leads there").to_string().contains("lead to 1, not to 2"));
    let text = serde_json::to_string(&line).expect("plain values");
    let read: Vec<Handover> = serde_json::from_str(&text).expect("as written");
    assert_eq!(validators_of(&chain.genesis, &read, Epoch(1)).expect("the same"), set_of(&chain.new));
}

#[test]
fn a_line_that_is_not_signed_by_those_who_hand_over_and_take_over_leads_nowhere() {
    let chain = Chain::new();
    let good = || chain.handover(&chain.old, &chain.new);
    let refused = |handover: Handover, why: &str| {
        let error = validators_of(&chain.genesis, &[handover], Epoch(1)).expect_err(why);
        assert!(format!("{error:#}").contains(why), "{error:#}");
    };
    let thief = SecretKey::from_seed([3; 32]);
    refused(chain.handover(&thief, &chain.new), "the checkpoint");
    refused(Handover { validators: vec![thief.public()], ..good() }, "names another set");
    let untaken = Handover { commit: chain.handover(&chain.old, &thief).commit, ..good() };
    refused(untaken, "do not lead to the certified one");

    // A checkpoint in the midst of an epoch names its own set as the one that follows. The block above it is of the same
    // epoch, so it is no handover, whoever says so.
    let mut within = chain.handover(&chain.old, &chain.old);
    within.headers[0].epoch = Epoch(0);
    refused(within, "of another epoch");

    let mut moved = good();
    moved.headers[0].parent = Hash::of(b"another block 5");
    refused(moved, "does not stand on the checkpoint");
    refused(Handover { headers: Vec::new(), ..good() }, "no first header");
}

/// What a node says of the validators that is asked about them.
fn told(epoch: u64, start: u64, ends: Option<u64>) -> ValidatorsAnswer {
    let key = SecretKey::from_seed([1; 32]);
    ValidatorsAnswer {
        height: Height(start),
        epoch: Epoch(epoch),
        start: Height(start),
        ends: ends.map(Height),
        next: None,
        approvals: Vec::new(),
        hash: set_of(&key).hash(),
        quorum: 1,
        faulty_max: 0,
        validators: Vec::new(),
        participation: None,
        parameters: quorate_ledger::Parameters::default(),
    }
}

/// What comes of asking a node that says this whatever it is asked.
async fn asked_of_a_liar(answer: ValidatorsAnswer) -> String {
    let mut methods = RpcModule::new(serde_json::to_value(answer).expect("plain values"));
    methods.register_method("validators_get", |_, answer, _| answer.clone()).expect("the first");
    let server = Server::builder().build("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", server.local_addr().expect("bound"));
    let handle = server.start(methods);
    let line = fetch(&Client::new(&url).expect("a URL"), None).await;
    handle.stop().expect("it runs");
    handle.stopped().await;
    format!("{:#}", line.expect_err("it lies"))
}

/// A node need not be trusted: whatever numbers it says, the command ends and says what is wrong.
#[tokio::test]
async fn numbers_that_no_chain_reaches_are_an_error_that_names_the_node() {
    for (epoch, start, ends, what) in [
        (0, 0, Some(u64::MAX), "height 18446744073709551615"),
        (0, 0, Some(1 << 63), "height 9223372036854775808"),
        (0, u64::MAX, None, "height 18446744073709551615"),
        (u64::MAX, 0, None, "epoch 18446744073709551615"),
    ] {
        let error = asked_of_a_liar(told(epoch, start, ends)).await;
        assert!(error.contains(what) && error.contains("ask another"), "{error}");
    }
    // The highest that is believed: one that has no checkpoint certificate at that liar.
    let error = asked_of_a_liar(told(0, 0, Some((1 << 63) - 1))).await;
    assert!(error.contains("chain_getCertificate") || error.contains("Method not found"), "{error}");
}
