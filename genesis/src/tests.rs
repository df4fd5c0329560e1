use std::path::Path;

use proptest::prelude::*;
use quorate_crypto::SecretKey;

use super::*;

const TIME: UnixMillis = UnixMillis(1_767_225_600_000);

fn key(seed: u8) -> PublicKey {
    SecretKey::from_seed([seed; 32]).public()
}

/// Four validators, two accounts.
fn example() -> GenesisBuilder {
    let mut builder = GenesisBuilder::new("example", TIME);
    for index in 0..4 {
        builder = builder.validator(key(index), format!("node{index}"));
    }
    builder.account(Account(key(10)), 1_000_000).account(Account(key(11)), 2_000_000)
}

/// The example as a document that can be changed.
fn document() -> serde_json::Value {
    let genesis = example().build().expect("every rule holds");
    serde_json::from_str(&genesis.to_pretty_json()).expect("JSON")
}

fn refusal(json: &str) -> String {
    Genesis::parse(json).expect_err("refused").to_string()
}

/// What is said when `change` was made to the example.
fn refusal_of(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut document = document();
    change(&mut document);
    refusal(&document.to_string())
}

fn assert_says(refusal: &str, parts: &[&str]) {
    for part in parts {
        assert!(refusal.contains(part), "{part:?} in {refusal:?}");
    }
}

// Identity

#[test]
fn the_hash_of_a_document_never_changes() {
    let genesis = example().build().expect("every rule holds");
    let golden = include_str!("golden.json").trim_end();
    assert_eq!(genesis.canonical(), golden);
    assert_eq!(
        genesis.hash().to_string(),
        "0xf8f9165ea735017c6ca9c16e1226f5d966e8315cba75a2a4bc14971938fef9e8"
    );
    assert_eq!(Genesis::parse(golden).expect("the canonical text is a document"), genesis);
}

#[test]
fn documents_that_say_the_same_are_the_same_chain() {
    let genesis = example().build().expect("every rule holds");
    let mut document = document();
    for list in ["validators", "accounts"] {
        document[list].as_array_mut().expect("a list").reverse();
    }
    let object = document.as_object_mut().expect("an object");
    object.remove("parameters");
    object.remove("engine");
    let shuffled = Genesis::parse(&document.to_string()).expect("every rule holds");
    assert_eq!(shuffled, genesis);
    assert_eq!(shuffled.hash(), genesis.hash());
}

#[test]
fn whatever_is_said_differently_is_another_chain() {
    let genesis = example().build().expect("every rule holds");
    let parameters = Parameters { window: 9, ..Parameters::default() };
    let others = [
        GenesisBuilder::new("other", TIME).validator(key(0), "node0").build(),
        GenesisBuilder::new("example", UnixMillis(TIME.0 + 1)).validator(key(0), "node0").build(),
        GenesisBuilder::new("example", TIME).validator(key(1), "node0").build(),
        GenesisBuilder::new("example", TIME).validator(key(0), "").build(),
        example().account(Account(key(12)), 1).build(),
        example().parameters(parameters).build(),
    ];
    let mut hashes: Vec<Hash> = others.into_iter().map(|other| other.expect("allowed").hash()).collect();
    hashes.push(genesis.hash());
    let count = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
}

#[test]
fn names_stay_with_their_keys() {
    let genesis = example().build().expect("every rule holds");
    for index in 0..4 {
        assert_eq!(genesis.validator_name(&key(index)), Some(format!("node{index}").as_str()));
    }
    assert_eq!(genesis.validator_name(&key(9)), None);
}

#[test]
fn the_ledger_starts_from_what_the_document_says() {
    let genesis = example().build().expect("every rule holds");
    let state = genesis.state();
    assert_eq!(state.chain, genesis.hash());
    assert_eq!(state.time, TIME);
    assert_eq!(state.validators, *genesis.validators());
    assert_eq!(state.accounts.iter().map(|(_, balance)| balance).sum::<u128>(), 3_000_000);
}

#[test]
fn every_parameter_can_be_exact_in_every_json_reader() {
    for row in Parameters::table() {
        let as_string = row.key.starts_with("fee_");
        assert!(as_string || row.max <= u128::from(json::INTEGER_MAX), "{}", row.key);
    }
}

// Refusals: keys

#[test]
fn unknown_keys_are_refused_with_their_path_and_what_is_allowed() {
    assert_says(&refusal_of(|it| it["chain"] = 1.into()), &["`chain`: unknown key", "name, engine, time"]);
    let refusal = refusal_of(|it| it["validators"][2]["weight"] = 1.into());
    assert_says(&refusal, &["`validators[2].weight`: unknown key", "key, name"]);
    let refusal = refusal_of(|it| it["accounts"][1]["nonce"] = 1.into());
    assert_says(&refusal, &["`accounts[1].nonce`: unknown key", "address, balance"]);
    let refusal = refusal_of(|it| it["parameters"]["windw"] = 1.into());
    assert_says(&refusal, &["`parameters.windw`: unknown key", "log_window"]);
}

#[test]
fn keys_written_twice_are_refused() {
    let text = document().to_string();
    let twice = text.replacen("\"name\":\"example\"", "\"name\":\"example\",\"name\":\"example\"", 1);
    assert_says(&refusal(&twice), &["`name`: written twice"]);
    let twice = text.replacen("\"window\":8", "\"window\":8,\"window\":9", 1);
    assert_says(&refusal(&twice), &["`parameters.window`: written twice"]);
    let twice = text.replacen("\"name\":\"node0\"", "\"name\":\"node0\",\"name\":\"x\"", 1);
    assert_says(&refusal(&twice), &["validators[", "].name`: written twice"]);
    let twice = text.replacen("\"balance\":", "\"balance\":\"1\",\"balance\":", 1);
    assert_says(&refusal(&twice), &["`accounts[0].balance`: written twice"]);
}

#[test]
fn what_is_needed_and_missing_is_named() {
    for name in ["name", "time", "validators"] {
        let refusal = refusal_of(|it| drop(it.as_object_mut().expect("an object").remove(name)));
        assert_says(&refusal, &[&format!("`{name}`: is missing")]);
    }
    let refusal = refusal_of(|it| it["validators"][1] = serde_json::json!({}));
    assert_says(&refusal, &["`validators[1].key`: is missing", "0x and 64 hex digits"]);
    let refusal = refusal_of(|it| it["accounts"][1] = serde_json::json!({ "balance": "1" }));
    assert_says(&refusal, &["`accounts[1].address`: is missing"]);
}

#[test]
fn values_of_the_wrong_kind_are_shown() {
    assert_says(&refusal("[]"), &["`document`: is a list of 0", "an object with the keys name"]);
    assert_says(&refusal_of(|it| it["name"] = 7.into()), &["`name`: is 7; allowed: a string"]);
    assert_says(&refusal_of(|it| it["time"] = "now".into()), &["`time`: is \"now\"", "unix milliseconds"]);
    assert_says(&refusal_of(|it| it["time"] = (-1).into()), &["`time`: is -1"]);
    assert_says(&refusal_of(|it| it["time"] = 1.5.into()), &["`time`: is 1.5"]);
    assert_says(&refusal_of(|it| it["validators"] = serde_json::json!({})), &["`validators`: is an object"]);
    assert_says(&refusal_of(|it| it["accounts"] = false.into()), &["`accounts`: is false; allowed: a list"]);
    assert_says(&refusal_of(|it| it["parameters"] = 1.into()), &["`parameters`: is 1; allowed: an object"]);
    assert_says(
        &refusal_of(|it| it["accounts"][0]["balance"] = 5.into()),
        &["`accounts[0].balance`: is 5", "\"1000000\""],
    );
    assert_says(
        &refusal_of(|it| it["accounts"][0]["address"] = "qr1xyz".into()),
        &["`accounts[0].address`: \"qr1xyz\""],
    );
    assert_says(
        &refusal_of(|it| it["validators"][3]["key"] = "0x00".into()),
        &["`validators[3].key`: \"0x00\""],
    );
    assert_says(
        &refusal_of(|it| it["engine"] = "raft".into()),
        &["`engine`: is \"raft\"; allowed: \"pbft\""],
    );
    assert_says(
        &refusal_of(|it| it["parameters"]["window"] = "8".into()),
        &["`parameters.window`: is \"8\"", "1 to 128 blocks"],
    );
    assert_says(&refusal_of(|it| it["parameters"]["window"] = (-8).into()), &["`parameters.window`: is -8"]);
    assert_says(&refusal_of(|it| it["parameters"]["fee_base"] = 1.into()), &["`parameters.fee_base`: is 1"]);
}

// Refusals: rules

#[test]
fn validators_are_one_to_two_hundred() {
    let with = |count: usize| {
        (0..count).fold(GenesisBuilder::new("example", TIME), |builder, index| {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&index.to_le_bytes());
            builder.validator(SecretKey::from_seed(seed).public(), "")
        })
    };
    assert_says(&with(0).build().expect_err("refused").to_string(), &["`validators`: has 0", "1 to 200"]);
    with(1).build().expect("the least");
    with(200).build().expect("the most");
    assert_says(&with(201).build().expect_err("refused").to_string(), &["`validators`: has 201", "1 to 200"]);
}

#[test]
fn a_key_votes_once() {
    let error = example().validator(key(1), "again").build().expect_err("refused").to_string();
    assert_says(&error, &["`validators[4].key`", "also the key of validators[1]", "one vote"]);
    let error = example().validator(key(9), "node1").build().expect_err("refused").to_string();
    assert_says(&error, &["`validators[4].name`", "also the name of validators[1]"]);
}

#[test]
fn keys_that_anybody_or_nobody_holds_are_refused() {
    let small_order = PublicKey::from_bytes([0; 32]);
    let error = example().validator(small_order, "").build().expect_err("refused").to_string();
    assert_says(&error, &["`validators[4].key`", "small order", "quorate key show"]);
    let error = example().account(Account(small_order), 1).build().expect_err("refused").to_string();
    assert_says(&error, &["`accounts[2].address`", "small order"]);
    let mut no_point = [0; 32];
    no_point[0] = 2;
    let error =
        example().validator(PublicKey::from_bytes(no_point), "").build().expect_err("refused").to_string();
    assert_says(&error, &["`validators[4].key`", "not a point"]);
}

#[test]
fn an_account_is_funded_once_with_something() {
    let error = example().account(Account(key(10)), 5).build().expect_err("refused").to_string();
    assert_says(&error, &["`accounts[2].address`", "also the address of accounts[0]"]);
    let error = example().account(Account(key(12)), 0).build().expect_err("refused").to_string();
    assert_says(&error, &["`accounts[2].balance`: is 0"]);
}

#[test]
fn the_total_of_balances_fits_an_amount() {
    let rest = Amount::MAX - 3_000_000;
    example().account(Account(key(12)), rest).build().expect("the most");
    let error = example().account(Account(key(12)), rest + 1).build().expect_err("refused").to_string();
    assert_says(&error, &["`accounts[2].balance`", "beyond", &Amount::MAX.to_string()]);
    let error = example()
        .account(Account(key(12)), rest)
        .account(Account(key(13)), 1)
        .build()
        .expect_err("refused")
        .to_string();
    assert_says(&error, &["`accounts[3].balance`"]);
    let refusal =
        refusal_of(|it| it["accounts"][0]["balance"] = "340282366920938463463374607431768211456".into());
    assert_says(&refusal, &["`accounts[0].balance`"]);
}

#[test]
fn accounts_are_bounded() {
    let with = |count: usize| {
        let one = (Account(key(12)), 1);
        (0..count).fold(GenesisBuilder::new("example", TIME).validator(key(0), ""), |builder, _| {
            builder.account(one.0, one.1)
        })
    };
    // So many distinct keys take long to make: at the bound it is the second account that is refused.
    let error = with(ACCOUNTS_MAX).build().expect_err("duplicates").to_string();
    assert_says(&error, &["`accounts[1].address`"]);
    let error = with(ACCOUNTS_MAX + 1).build().expect_err("refused").to_string();
    assert_says(&error, &["`accounts`: has 100001; allowed: at most 100000"]);
}

#[test]
fn names_are_short_and_printable() {
    let named = |name: &str| GenesisBuilder::new(name, TIME).validator(key(0), "").build();
    named(&"x".repeat(NAME_CHARACTERS_MAX)).expect("the longest");
    let error = named(&"x".repeat(NAME_CHARACTERS_MAX + 1)).expect_err("refused").to_string();
    assert_says(&error, &["`name`", "65 characters", "1 to 64 printable"]);
    for wrong in ["", " x", "x ", "a\nb", "\u{202e}abc", "ü"] {
        assert_says(&named(wrong).expect_err("refused").to_string(), &["`name`", "printable ASCII"]);
    }
    let error =
        GenesisBuilder::new("x", TIME).validator(key(0), "a\tb").build().expect_err("refused").to_string();
    assert_says(&error, &["`validators[0].name`"]);
}

#[test]
fn times_are_milliseconds_of_this_era() {
    let at = |time: UnixMillis| GenesisBuilder::new("x", time).validator(key(0), "").build();
    at(UnixMillis(0)).expect("the earliest");
    at(TIME_MAX).expect("the latest");
    let error = at(UnixMillis(TIME_MAX.0 + 1)).expect_err("refused").to_string();
    assert_says(&error, &["`time`", "unix milliseconds from 0 to 253402300799999"]);
}

#[test]
fn impossible_parameters_are_refused() {
    let refusal = refusal_of(|it| it["parameters"]["window"] = 0.into());
    assert_says(&refusal, &["`parameters.window`: is 0; allowed: 1 to 128"]);
    let refusal = refusal_of(|it| it["parameters"]["log_window"] = 15.into());
    assert_says(&refusal, &["`parameters.log_window`: is 15; allowed: at least 16, twice the window"]);
    let refusal = refusal_of(|it| it["parameters"]["transaction_bytes_max"] = 1_048_577.into());
    assert_says(&refusal, &["`parameters.transaction_bytes_max`"]);
    let refusal = refusal_of(|it| it["parameters"]["rotation_blocks"] = (1_u64 << 53).into());
    assert_says(&refusal, &["`parameters.rotation_blocks`: is 9007199254740992"]);
}

// Refusals: text and files

#[test]
fn what_is_not_json_is_refused_with_line_and_column() {
    assert_says(
        &refusal("{\n  \"name\": \"x\",\n  oops\n}"),
        &["genesis: line 3, column 3: key must be a string"],
    );
    assert_says(&refusal(""), &["line 1, column 0: EOF"]);
    assert_says(&refusal("{} {}"), &["line 1, column 4: trailing characters"]);
    assert_says(&refusal(&"[".repeat(1_000)), &["recursion limit exceeded"]);
}

#[test]
fn documents_are_bounded() {
    let text = document().to_string();
    let padded = |length: usize| format!("{text}{}", " ".repeat(length - text.len()));
    Genesis::parse(&padded(DOCUMENT_BYTES_MAX)).expect("the largest");
    assert_says(&refusal(&padded(DOCUMENT_BYTES_MAX + 1)), &["33554433 bytes; at most 33554432 are allowed"]);
}

#[test]
fn a_refusal_names_the_file() {
    let error = Genesis::load(Path::new("/nonexistent/genesis.json")).expect_err("refused").to_string();
    assert_says(&error, &["/nonexistent/genesis.json: cannot be read: No such file"]);

    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("genesis.json");
    let genesis = example().build().expect("every rule holds");
    std::fs::write(&file, genesis.to_pretty_json()).expect("written");
    assert_eq!(Genesis::load(&file).expect("every rule holds"), genesis);
    std::fs::write(&file, b"{\"name\": \"\xff\"}").expect("written");
    assert_says(
        &Genesis::load(&file).expect_err("refused").to_string(),
        &["genesis.json: ", "byte 10 is not UTF-8"],
    );
    std::fs::write(&file, "{}").expect("written");
    assert_says(
        &Genesis::load(&file).expect_err("refused").to_string(),
        &["genesis.json: `name`: is missing"],
    );
}

// Properties

fn any_genesis() -> impl Strategy<Value = Genesis> {
    let validators = proptest::collection::btree_set(0_u8..100, 1..12);
    let accounts = proptest::collection::btree_map(100_u8.., 1_u128..=u128::MAX / 200, 0..12);
    ("[!-~]([ -~]{0,62}[!-~])?", 0..=TIME_MAX.0, validators, accounts, 1_u32..=128, 0_u128..1 << 80).prop_map(
        |(name, time, validators, accounts, window, fee_base)| {
            let parameters = Parameters { window, log_window: 2 * window, fee_base, ..Parameters::default() };
            let mut builder = GenesisBuilder::new(name, UnixMillis(time)).parameters(parameters);
            for seed in validators {
                builder = builder
                    .validator(key(seed), if seed % 2 == 0 { format!("n{seed}") } else { String::new() });
            }
            for (seed, balance) in accounts {
                builder = builder.account(Account(key(seed)), balance);
            }
            builder.build().expect("every rule holds")
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(genesis in any_genesis()) {
        prop_assert_eq!(&Genesis::parse(&genesis.canonical()).expect("canonical"), &genesis);
        prop_assert_eq!(&Genesis::parse(&genesis.to_pretty_json()).expect("pretty"), &genesis);
        prop_assert_eq!(genesis.hash(), Hash::of(genesis.canonical().as_bytes()));
    }

    #[test]
    fn no_text_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Genesis::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_damage_makes_the_reader_panic_or_write_what_it_does_not_read(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = document().to_string().into_bytes();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(genesis) = Genesis::parse(&String::from_utf8_lossy(&bytes)) {
            prop_assert_eq!(&Genesis::parse(&genesis.canonical()).expect("canonical"), &genesis);
        }
    }
}
