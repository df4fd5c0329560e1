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
