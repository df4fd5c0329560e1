use proptest::collection::vec;
use proptest::prelude::*;
use quorate_crypto::codec::{decode, encode};
use quorate_crypto::{SecretKey, Signature};

use super::*;
use crate::fixtures::{block_on, chain, check_bytes, check_decoder, genesis, header_on, key, transaction};
use crate::primitives::UnixMillis;
use crate::{Parent, Transaction};

/// Seven validators, of whom two may lie and five decide, with their keys in the order of the set.
fn validators() -> (ValidatorSet, Vec<SecretKey>) {
    let mut keys: Vec<SecretKey> = (0..7).map(key).collect();
    keys.sort_unstable_by_key(SecretKey::public);
    let set = ValidatorSet::new(keys.iter().map(SecretKey::public).collect()).expect("seven keys");
    (set, keys)
}

fn sign<T: BorshSerialize>(domain: Domain, payload: &T, signers: std::ops::Range<usize>) -> MultiSignature {
    let (_, keys) = validators();
    let vote = |at: usize| -> (usize, Signature) { (at, keys[at].sign(domain, &chain(), payload)) };
    MultiSignature::from_votes(keys.len(), signers.map(vote))
}

fn commit(block: &Block, signers: std::ops::Range<usize>) -> CommitCertificate {
    let epoch = block.header().epoch;
    let payload = CommitPayload { epoch, view: View(3), height: block.height(), block: block.hash() };
    CommitCertificate { payload, signatures: sign(Domain::Commit, &payload, signers) }
}

fn checkpoint_payload() -> CheckpointPayload {
    CheckpointPayload {
        epoch: Epoch(1),
        height: Height(4),
        block: Hash::of(b"block"),
        state_root: Hash::of(b"state"),
        receipts_root: Hash::of(b"receipts"),
        next_validators: validators().0.hash(),
    }
}

/// Three blocks on the genesis, certified by all.
fn certified() -> CertifiedBlocks {
    let mut parent = genesis();
    let mut blocks = Vec::new();
    for nonce in 0..3 {
        let block = Arc::new(block_on(parent, vec![transaction(nonce)]));
        parent = Parent::of(&block);
        blocks.push(block);
    }
    let certificate = commit(&blocks[2], 0..7);
    CertifiedBlocks { blocks, certificate }
}

/// [`certified`] with one header changed and everything above and around it made to fit again.
fn with_header(place: usize, change: impl FnOnce(&mut Header)) -> CertifiedBlocks {
    let mut certified = certified();
    let replace = |block: &mut Arc<Block>, header: Header| {
        *block = Arc::new(Block::new(header, block.transactions().to_vec()));
    };
    let mut header = certified.blocks[place].header().clone();
    change(&mut header);
    replace(&mut certified.blocks[place], header);
    for above in place + 1..3 {
        let parent = certified.blocks[above - 1].hash();
        let header = Header { parent, ..certified.blocks[above].header().clone() };
        replace(&mut certified.blocks[above], header);
    }
    certified.certificate = commit(&certified.blocks[2], 0..7);
    certified
}

fn check(certified: &CertifiedBlocks) -> Result<(), CertifiedBlocksError> {
    certified.check(&chain(), &validators().0)
}

#[test]
fn a_commit_certificate_needs_a_quorum() {
    let (set, _) = validators();
    let block = block_on(genesis(), vec![]);
    assert_eq!(commit(&block, 2..7).verify(&chain(), &set), Ok(()));
    let short = commit(&block, 2..6).verify(&chain(), &set);
    assert_eq!(short, Err(CertificateError::NoQuorum { needed: 5, found: 4 }));
}

#[test]
fn a_certificate_holds_for_one_chain_one_kind_one_payload_and_one_set() {
    let (set, _) = validators();
    let certificate = commit(&block_on(genesis(), vec![]), 0..5);
    assert!(certificate.verify(&Hash::of(b"another chain"), &set).is_err());
    let payload = certificate.payload;
    let prepares = CommitCertificate { payload, signatures: sign(Domain::Prepare, &payload, 0..5) };
    assert_eq!(prepares.verify(&chain(), &set), Err(CertificateError::BadSignature { signer: 0 }));
    let other = CommitPayload { view: View(4), ..payload };
    let moved = CommitCertificate { payload: other, signatures: certificate.signatures.clone() };
    assert!(moved.verify(&chain(), &set).is_err());
    let larger = ValidatorSet::new((0..8).map(|number| key(number).public()).collect()).expect("eight keys");
    let error = certificate.verify(&chain(), &larger);
    assert_eq!(error, Err(CertificateError::WrongSize { expected: 8, found: 7 }));
}

#[test]
fn a_checkpoint_certificate_needs_a_quorum_over_every_field() {
    let (set, _) = validators();
    let payload = checkpoint_payload();
    let signatures = sign(Domain::Checkpoint, &payload, 0..5);
    let verify =
        |payload| CheckpointCertificate { payload, signatures: signatures.clone() }.verify(&chain(), &set);
    assert_eq!(verify(payload), Ok(()));
    let changes: [fn(&mut CheckpointPayload); 6] = [
        |payload| payload.epoch.0 += 1,
        |payload| payload.height.0 += 1,
        |payload| payload.block = Hash::ZERO,
        |payload| payload.state_root = Hash::ZERO,
        |payload| payload.receipts_root = Hash::ZERO,
        |payload| payload.next_validators = Hash::ZERO,
    ];
    for (field, change) in changes.into_iter().enumerate() {
        let mut changed = payload;
        change(&mut changed);
        assert!(verify(changed).is_err(), "field {field}");
        assert_ne!(changed.hash(), payload.hash(), "field {field}");
    }
    let short = CheckpointCertificate { payload, signatures: sign(Domain::Checkpoint, &payload, 0..4) };
    assert_eq!(short.verify(&chain(), &set), Err(CertificateError::NoQuorum { needed: 5, found: 4 }));
}

#[test]
fn an_anchor_names_the_whole_checkpoint() {
    let payload = checkpoint_payload();
    let anchor =
        Anchor { height: payload.height, state_root: payload.state_root, checkpoint: payload.hash() };
    assert_eq!(payload.anchor(), anchor);
}

#[test]
fn certified_blocks_pass() {
    assert_eq!(check(&certified()), Ok(()));
}

#[test]
fn certified_blocks_need_blocks_and_not_too_many() {
    let none = CertifiedBlocks { blocks: vec![], ..certified() };
    assert_eq!(check(&none), Err(CertifiedBlocksError::Empty));
    let chain_of = |count: usize| {
        let mut parent = genesis();
        let mut blocks = Vec::new();
        for _ in 0..count {
            let block = Arc::new(block_on(parent, vec![]));
            parent = Parent::of(&block);
            blocks.push(block);
        }
        let certificate = commit(&blocks[count - 1], 0..5);
        CertifiedBlocks { blocks, certificate }
    };
    let at = chain_of(CERTIFIED_BLOCKS_LIMIT);
    assert_eq!(check(&at), Ok(()));
    assert_eq!(decode(&encode(&at)), Ok(at));
    let past = chain_of(CERTIFIED_BLOCKS_LIMIT + 1);
    assert_eq!(check(&past), Err(CertifiedBlocksError::TooMany { count: CERTIFIED_BLOCKS_LIMIT + 1 }));
    assert!(decode::<CertifiedBlocks>(&encode(&past)).is_err());
}

#[test]
fn the_certificate_names_the_last_block() {
    let all = certified();
    let certificate = commit(&all.blocks[1], 0..7);
    let (height, block) = (certificate.payload.height, certificate.payload.block);
    let middle = CertifiedBlocks { certificate, ..all.clone() };
    assert_eq!(check(&middle), Err(CertifiedBlocksError::NotTheLast { height, block }));
    let twin = block_on(Parent::of(&all.blocks[1]), vec![]);
    assert_ne!(twin.hash(), all.blocks[2].hash());
    let other = CertifiedBlocks { certificate: commit(&twin, 0..7), ..all.clone() };
    assert!(matches!(check(&other), Err(CertifiedBlocksError::NotTheLast { .. })), "another at its height");
    let mut lifted = all;
    lifted.certificate.payload.height = Height(4);
    assert!(matches!(check(&lifted), Err(CertifiedBlocksError::NotTheLast { .. })));
}

#[test]
fn every_header_is_of_this_format_chain_and_epoch() {
    for place in 0..3 {
        let height = Height(place as u64 + 1);
        let error = check(&with_header(place, |header| header.version = 2));
        assert_eq!(error, Err(CertifiedBlocksError::WrongVersion { height, version: 2 }));
        let error = check(&with_header(place, |header| header.chain = Hash::ZERO));
        assert_eq!(error, Err(CertifiedBlocksError::WrongChain { height }));
    }
    let (epoch, expected) = (Epoch(1), Epoch(0));
    let error = check(&with_header(1, |header| header.epoch = epoch));
    assert_eq!(error, Err(CertifiedBlocksError::WrongEpoch { height: Height(2), epoch, expected }));
    // Nor does a certificate of the next epoch cover what was decided in the one before.
    let mut later = certified();
    later.certificate.payload.epoch = Epoch(1);
    let (height, epoch, expected) = (Height(1), Epoch(0), Epoch(1));
    assert_eq!(check(&later), Err(CertifiedBlocksError::WrongEpoch { height, epoch, expected }));
}

#[test]
fn every_block_follows_from_the_one_below() {
    let broken = |height| Err(CertifiedBlocksError::BrokenLink { height: Height(height) });
    let below = certified().blocks[1].header().clone();
    assert_eq!(check(&with_header(2, |header| header.height = Height(4))), broken(4), "a gap");
    assert_eq!(check(&with_header(2, |header| header.height = Height(2))), broken(2), "no progress");
    assert_eq!(check(&with_header(2, |header| header.parent = Hash::ZERO)), broken(3), "another parent");
    assert_eq!(check(&with_header(2, |header| header.time = below.time)), broken(3), "the parent's time");
    assert_eq!(
        check(&with_header(1, |header| header.anchor.height = Height(1))),
        broken(3),
        "an anchor goes back"
    );
    let mut swapped = certified();
    swapped.blocks.swap(0, 1);
    assert_eq!(check(&swapped), broken(1));
    let highest = with_header(1, |header| header.height = Height(u64::MAX));
    assert_eq!(check(&highest), broken(u64::MAX));
}

#[test]
fn every_block_holds_the_transactions_its_header_names() {
    for place in 0..3 {
        let mut stripped = certified();
        let other: Vec<Arc<Transaction>> = vec![transaction(99)];
        stripped.blocks[place] = Arc::new(Block::new(stripped.blocks[place].header().clone(), other));
        let height = Height(place as u64 + 1);
        assert!(
            matches!(check(&stripped), Err(CertifiedBlocksError::WrongRoot { height: at, .. }) if at == height)
        );
    }
}

#[test]
fn the_signatures_are_checked_too() {
    let mut short = certified();
    short.certificate = commit(&short.blocks[2], 0..4);
    let missing = CertificateError::NoQuorum { needed: 5, found: 4 };
    assert_eq!(check(&short), Err(CertifiedBlocksError::Certificate(missing)));
}

#[test]
fn certificates_survive_json() {
    let certificate = commit(&block_on(genesis(), vec![]), 0..5);
    let json = serde_json::to_string(&certificate).expect("json");
    assert_eq!(serde_json::from_str::<CommitCertificate>(&json).expect("own json"), certificate);
}

#[test]
fn headers_at_the_end_of_time_and_height_do_not_overflow() {
    let parent = Parent { height: Height(u64::MAX - 1), hash: chain(), time: UnixMillis(u64::MAX - 10) };
    let header = header_on(parent, &[]);
    let block = Arc::new(Block::new(header, vec![]));
    let certificate = commit(&block, 0..5);
    let last = CertifiedBlocks { blocks: vec![Arc::clone(&block)], certificate: certificate.clone() };
    assert_eq!(check(&last), Ok(()));
    let beyond = CertifiedBlocks { blocks: vec![Arc::clone(&block), block], certificate };
    assert!(matches!(check(&beyond), Err(CertifiedBlocksError::BrokenLink { .. })));
}

#[test]
fn certified_blocks_survive_their_encoding_and_nothing_else_does() {
    let certified = certified();
    check_decoder(&certified);
    check_decoder(&certified.certificate);
    check_decoder(&checkpoint_payload());
}

proptest! {
    #[test]
    fn random_bytes_are_no_certified_blocks_or_exactly_one(bytes in vec(any::<u8>(), 0..600)) {
        check_bytes::<CertifiedBlocks>(&bytes);
        check_bytes::<CommitCertificate>(&bytes);
        check_bytes::<CheckpointCertificate>(&bytes);
    }
}
