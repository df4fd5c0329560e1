//! Fuzz target (`docs/testing.md`, Fuzzing): any text as a configuration file, and as the value of any variable.

use super::*;

/// What is in force, as a file that sets all of it.
fn written(loaded: &Loaded) -> String {
    let set: Vec<_> = loaded.settings.iter().map(|setting| (setting.key, setting.value.clone())).collect();
    file_text(&set)
}

/// A file is refused naming it, or sets what it says: written down, the same is in force.
#[test]
fn file() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("config.toml");
    let load_text = |text: &[u8]| {
        std::fs::write(&file, text).expect("the file is written");
        load(Sources { file: Some(file.clone()), ..Sources::default() })
    };
    let defaults = load(Sources::default()).expect("the defaults are allowed");
    let samples = [
        file_text(&[]).into_bytes(),
        written(&defaults).into_bytes(),
        b"[rpc]\nlisten = \"127.0.0.1:0\"\nbatch_max = 7\n[p2p]\nbootstrap = [\"/ip4/192.0.2.1/tcp/1\"]\nmdns = true\n".to_vec(),
    ];
    bolero::check!(name = "config_file").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let loaded = match load_text(bytes) {
                Ok(loaded) => loaded,
                Err(error) => {
                    let words = error.to_string();
                    assert!(words.contains("config.toml"), "{words}");
                    return None;
                }
            };
            let again = load_text(written(&loaded).as_bytes()).expect("what is in force is allowed");
            assert_eq!(again.config, loaded.config, "what is written is read");
            Some(bytes.to_vec())
        });
    });
}

/// A variable holds one value of its key: refused naming it, or what it is shown as.
#[test]
fn variable() {
    let samples: Vec<Vec<u8>> = [
        "0",
        "65536",
        "true",
        "127.0.0.1:7601",
        "/ip4/0.0.0.0/tcp/7600,/ip6/::/udp/7600/quic-v1",
        "info,a=debug",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    bolero::check!(name = "config_variable").for_each(|input: &[u8]| {
        let Some((choice, input)) = input.split_first() else { return };
        let key = &KEYS[usize::from(*choice) % KEYS.len()];
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let text = std::str::from_utf8(bytes).ok()?;
            let environment = BTreeMap::from([(key.variable(), text.to_owned())]);
            match load(Sources { environment, ..Sources::default() }) {
                Ok(loaded) => {
                    let set = loaded.settings.iter().filter(|setting| setting.source != "default");
                    assert_eq!(set.map(|setting| setting.key).collect::<Vec<_>>(), [key.name]);
                    Some(bytes.to_vec())
                }
                Err(error) => {
                    let words = error.to_string();
                    assert!(words.contains(&key.variable()), "{words}");
                    None
                }
            }
        });
    });
}
