//! Fuzz targets (`docs/testing.md`, Fuzzing): any bytes as a file that a command is given, any text as a word of it.

use quorate_consensus::{
    Evidence,
    evidence::{Signed, VoteKind},
};
use quorate_crypto::{Domain, Hash, SecretKey, encode, to_hex};
use quorate_genesis::GenesisBuilder;
use quorate_ledger::{
    Account, CommitPayload, Epoch, Height, Operation, Payload, ProposedChange, Transaction, UnixMillis, View,
};

use super::{
    epochs,
    evidence::{parse as parse_evidence, why_not},
    statement::{Named, Statement},
    tx, values,
};

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

/// Bytes as they are, and as hex, in which commands take them too.
fn both(bytes: Vec<u8>) -> [Vec<u8>; 2] {
    let hex = format!("{}\n", to_hex(&bytes)).into_bytes();
    [bytes, hex]
}

/// What encodes to `encoding` was read from `bytes`, raw or as hex: the bytes if so.
fn raw_or_hex(encoding: Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    let is_hex =
        std::str::from_utf8(bytes).is_ok_and(|text| text.trim().eq_ignore_ascii_case(&to_hex(&encoding)));
    if is_hex { bytes.to_vec() } else { encoding }
}

/// A signed transaction is refused, or is what was signed and can be shown.
#[test]
fn transaction_file() {
    let sign = |operations| {
        let payload = Payload {
            version: Payload::VERSION,
            chain: Hash::ZERO,
            sender: Account(key(1).public()),
            nonce: 7,
            expires_at: UnixMillis(1_000),
            fee: 0,
            operations,
        };
        encode(&Transaction::sign(payload, &key(1)))
    };
    let to = Account(key(2).public());
    let changes = vec![
        Operation::Approve { change: ProposedChange::Parameters(Box::default()) },
        Operation::Delete { key: b"key".to_vec() },
    ];
    let samples = [both(sign(vec![Operation::Transfer { to, amount: 5 }])), both(sign(changes))].concat();
    bolero::check!(name = "transaction_file").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let transaction = tx::parse(bytes).ok()?;
            for operation in &transaction.payload().operations {
                let line = tx::operation_text(operation);
                assert!(!line.chars().any(char::is_control), "it moves no cursor");
            }
            Some(raw_or_hex(encode(&transaction), bytes))
        });
    });
}

/// A proof is refused, or is read and judged, and does not hold for what nobody signed.
#[test]
fn evidence_file() {
    let builder = GenesisBuilder::new("test", UnixMillis(1_700_000_000_000));
    let genesis = builder.validator(key(1).public(), "only").build().expect("every rule holds");
    let vote = |block: &[u8]| {
        let payload =
            CommitPayload { epoch: Epoch(0), view: View(2), height: Height(7), block: Hash::of(block) };
        let signature = key(1).sign(Domain::Prepare, &genesis.hash(), &payload);
        Signed { payload, signature }
    };
    let (signer, kind) = (key(1).public(), VoteKind::Prepare);
    let honest = Evidence::DoubleVote { signer, kind, first: vote(b"one"), second: vote(b"two") };
    let turned = Evidence::DoubleVote { signer, kind, first: vote(b"two"), second: vote(b"one") };
    let samples = both(encode(&honest));
    bolero::check!(name = "evidence_file").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let (hash, evidence) = parse_evidence(bytes.to_vec()).ok()?;
            let encoding = encode(&evidence);
            assert_eq!(hash, Hash::of(&encoding), "it is named after what it is");
            let holds = evidence.holds(&genesis.hash(), genesis.validators());
            assert!(!holds || evidence == honest || evidence == turned, "nothing else was signed");
            if !holds {
                let _ = why_not(&genesis, genesis.validators(), &evidence);
            }
            Some(raw_or_hex(encoding, bytes))
        });
    });
}

/// A line of epochs is refused, or leads nowhere, since nobody signed that it does.
#[test]
fn epochs_file() {
    let chain = epochs::tests::Chain::new();
    let honest = serde_json::to_vec(&[chain.handover(&chain.old, &chain.new)]).expect("plain values");
    let samples = [honest, b"[]".to_vec()];
    bolero::check!(name = "epochs_file").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let line = epochs::parse(bytes).ok()?;
            if let Ok(set) = epochs::validators_of(&chain.genesis, &line, Epoch(1)) {
                assert_eq!(set.keys(), [chain.new.public()], "they hand over to nobody else");
            }
            Some(bytes.to_vec())
        });
    });
}

/// Words: statements and keys of validators, bytes, amounts, times.
#[test]
fn words() {
    let statement = Statement::sign(Hash::of(b"chain"), Epoch(3), Hash::of(b"checkpoint"), &key(1));
    let samples = [statement.to_string(), key(1).public().to_string(), "0x00ff".to_owned(), "90m".to_owned()]
        .map(String::into_bytes);
    bolero::check!(name = "words").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let text = std::str::from_utf8(bytes).ok()?;
            let written = match text.parse::<Named>().ok()? {
                Named::Key(key) => key.to_string(),
                Named::Ready(statement) => {
                    let _ = statement.fault(Hash::of(b"chain"), Epoch(3));
                    statement.to_string()
                }
            };
            assert!(text.trim().eq_ignore_ascii_case(&written), "it has one spelling, but for capitals");
            Some(bytes.to_vec())
        });
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let text = std::str::from_utf8(bytes).ok()?;
            let _ = (values::amount(text), values::duration(text));
            let read = values::bytes(text).ok()?;
            let shown = values::shown(&read.0);
            assert_eq!(values::bytes(&shown).as_ref(), Ok(&read), "what is shown reads back the same");
            Some(bytes.to_vec())
        });
    });
}
