//! Fuzz target (`docs/testing.md`, Fuzzing): any text as a genesis document.

use quorate_crypto::SecretKey;

use super::*;

/// A document is refused in words, or is one chain, however it is written down.
#[test]
fn document() {
    let key = |seed: u8| SecretKey::from_seed([seed; 32]).public();
    let least =
        GenesisBuilder::new("one", UnixMillis(1)).validator(key(1), "").build().expect("every rule holds");
    let named = GenesisBuilder::new("two", TIME_MAX)
        .validator(key(1), "a")
        .validator(key(2), "b")
        .account(Account(key(3)), Amount::MAX)
        .build()
        .expect("every rule holds");
    let short = format!(r#"{{"name":"one","time":1,"validators":[{{"key":"{}"}}]}}"#, key(1));
    let samples = [
        short.into_bytes(),
        least.canonical().into_bytes(),
        named.to_pretty_json().into_bytes(),
        include_bytes!("golden.json").to_vec(),
    ];
    bolero::check!(name = "document").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let text = std::str::from_utf8(bytes).ok()?;
            let genesis = match Genesis::parse(text) {
                Ok(genesis) => genesis,
                Err(error) => {
                    let words = error.to_string();
                    assert!(words.starts_with("genesis: "), "{words}");
                    return None;
                }
            };
            for written in [genesis.canonical(), genesis.to_pretty_json()] {
                assert_eq!(Genesis::parse(&written).expect("what is written is a document"), genesis);
            }
            assert_eq!(genesis.hash(), Hash::of(genesis.canonical().as_bytes()), "the text names the chain");
            assert_eq!(
                genesis.validators().len(),
                genesis.validator_names().len(),
                "a name, or none, for each"
            );
            Some(bytes.to_vec())
        });
    });
}
