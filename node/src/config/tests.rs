use std::collections::BTreeMap;

use super::*;

/// The layers, with `text` as the file.
struct Layers {
    dir: tempfile::TempDir,
    sources: Sources,
}

impl Layers {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("config.toml");
        std::fs::write(&file, text).expect("the file is written");
        Layers { dir, sources: Sources { file: Some(file), ..Sources::default() } }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn flag(mut self, key: &'static str, flag: &'static str, value: &str) -> Self {
        self.sources.flags.push(Flag { key, flag, value: value.to_owned() });
        self
    }

    fn load(self) -> Result<Loaded, ConfigError> {
        let loaded = load(self.sources);
        drop(self.dir);
        loaded
    }

    fn refusal(self) -> String {
        self.load().expect_err("refused").to_string()
    }
}

fn source<'a>(loaded: &'a Loaded, key: &str) -> &'a str {
    &loaded.settings.iter().find(|setting| setting.key == key).expect("every key is shown").source
}

#[test]
fn without_layers_the_defaults_are_in_force() {
    let loaded = load(Sources { file: Some("/nonexistent/config.toml".into()), ..Sources::default() })
        .expect("a file need not exist");
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.settings.iter().all(|setting| setting.source == "default"));
}

#[test]
fn every_field_has_a_key_and_every_key_a_field() {
    let defaults = serde_json::to_value(Config::default()).expect("plain values");
    let mut fields = Vec::new();
    for (section, entries) in defaults.as_object().expect("sections") {
        fields.extend(entries.as_object().expect("keys").keys().map(|name| format!("{section}.{name}")));
    }
    let mut keys: Vec<String> = KEYS.iter().map(|key| key.name.to_owned()).collect();
    fields.sort();
    keys.sort();
    assert_eq!(fields, keys);
}

#[test]
fn flags_outrank_environment_outranks_file_outranks_defaults() {
    let file = "[rpc]\nbatch_max = 2\nconnections_max = 2\nlisten = \"127.0.0.1:2\"\n";
    let loaded = Layers::new(file)
        .variable("QUORATE_RPC_CONNECTIONS_MAX", "3")
        .variable("QUORATE_RPC_LISTEN", "127.0.0.1:3")
        .flag("rpc.listen", "--rpc-listen", "127.0.0.1:4")
        .load()
        .expect("well formed");
    assert_eq!(loaded.config.rpc.subscriptions_max, RpcConfig::default().subscriptions_max);
    assert_eq!(loaded.config.rpc.batch_max, 2);
    assert_eq!(loaded.config.rpc.connections_max, 3);
    assert_eq!(loaded.config.rpc.listen.port(), 4);

    assert_eq!(source(&loaded, "rpc.subscriptions_max"), "default");
    assert!(source(&loaded, "rpc.batch_max").ends_with("config.toml"));
    assert_eq!(source(&loaded, "rpc.connections_max"), "QUORATE_RPC_CONNECTIONS_MAX");
    assert_eq!(source(&loaded, "rpc.listen"), "--rpc-listen");
}

#[test]
fn lists_are_separated_by_commas_outside_the_file() {
    let loaded = Layers::new("[p2p]\nlisten = [\"/ip4/127.0.0.1/tcp/1\"]\n")
        .variable("QUORATE_P2P_LISTEN", "/ip4/127.0.0.1/tcp/2, /ip4/127.0.0.1/tcp/3")
        .variable("QUORATE_P2P_BOOTSTRAP", "")
        .load()
        .expect("well formed");
    let listen: Vec<String> = loaded.config.p2p.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["/ip4/127.0.0.1/tcp/2", "/ip4/127.0.0.1/tcp/3"]);
    assert!(loaded.config.p2p.bootstrap.is_empty());
}

#[test]
fn unknown_keys_are_refused_by_name_in_every_layer() {
    let refusal = Layers::new("[rpc]\nlissten = \"127.0.0.1:1\"\n").refusal();
    assert!(refusal.contains("config.toml: unknown key `rpc.lissten`"), "{refusal}");
    let refusal = Layers::new("[rcp]\nlisten = \"127.0.0.1:1\"\n").refusal();
    assert!(refusal.contains("unknown key `rcp`"), "{refusal}");
    let refusal = Layers::new("listen = 1\n").refusal();
    assert!(refusal.contains("unknown key `listen`"), "{refusal}");
    let refusal = Layers::new("").variable("QUORATE_RPC_LISSTEN", "x").refusal();
    assert!(refusal.contains("environment: unknown key `QUORATE_RPC_LISSTEN`"), "{refusal}");
    assert!(refusal.contains("QUORATE_RPC_LISTEN"), "says what is allowed: {refusal}");
}

#[test]
fn variables_of_the_command_line_itself_are_no_configuration() {
    let layers = Layers::new("")
        .variable("QUORATE_HOME", "/srv/quorate")
        .variable("QUORATE_RPC", "http://127.0.0.1:7601")
        .variable("QUORATE_PASSPHRASE", "secret")
        .variable("PATH", "/bin");
    assert_eq!(layers.load().expect("ignored").config, Config::default());
}

#[test]
fn a_value_that_is_not_allowed_is_refused_with_its_origin_and_what_is() {
    let refusal = Layers::new("[rpc]\nbatch_max = \"many\"\n").refusal();
    assert!(
        refusal.contains("config.toml: `rpc.batch_max` is \"many\"; allowed: a number from 1 to 10000"),
        "{refusal}"
    );
    let refusal = Layers::new("").variable("QUORATE_P2P_MDNS", "perhaps").refusal();
    assert!(
        refusal.contains("QUORATE_P2P_MDNS: `p2p.mdns` is \"perhaps\"; allowed: true or false"),
        "{refusal}"
    );
    let refusal = Layers::new("").flag("rpc.listen", "--rpc-listen", "localhost").refusal();
    assert!(refusal.contains("--rpc-listen: `rpc.listen`"), "{refusal}");
    let refusal = Layers::new("[p2p]\nlisten = [\"192.0.2.1:7600\"]\n").refusal();
    assert!(refusal.contains("`p2p.listen`") && refusal.contains("multiaddr"), "{refusal}");
    let refusal = Layers::new("[log]\nfilter = \"a=b=c\"\n").refusal();
    assert!(refusal.contains("`log.filter`"), "{refusal}");
}

#[test]
fn a_table_where_a_value_belongs_is_refused_in_the_name_of_its_file() {
    for text in ["rpc.listen.host = 1", "[rpc.batch_max]", "[p2p]\nlisten = { first = 1 }", "log.filter = {}"]
    {
        let refusal = Layers::new(text).refusal();
        assert!(refusal.contains("config.toml: `") && refusal.contains("allowed: "), "{text}: {refusal}");
    }
}

#[test]
fn numbers_are_taken_at_their_bounds_and_refused_one_past() {
    for key in &KEYS {
        let table::Allowed::Number { min, max } = key.allowed else { continue };
        let with = |number: u64| {
            load(Sources {
                environment: BTreeMap::from([(key.variable(), number.to_string())]),
                ..Sources::default()
            })
        };
        assert!(with(min).is_ok(), "{} at {min}", key.name);
        assert!(with(max).is_ok(), "{} at {max}", key.name);
        assert!(with(min - 1).is_err(), "{} below {min}", key.name);
        assert!(with(max + 1).is_err(), "{} above {max}", key.name);
    }
}

#[test]
fn malformed_toml_is_refused_with_line_and_column() {
    let refusal = Layers::new("[rpc]\nlisten = \n").refusal();
    assert!(refusal.contains("config.toml") && refusal.contains("line 2"), "{refusal}");
}

#[test]
fn an_oversized_file_is_refused() {
    let at = "#".repeat(layers::FILE_BYTES_MAX as usize);
    assert!(Layers::new(&at).load().is_ok());
    let refusal = Layers::new(&format!("{at}#")).refusal();
    assert!(refusal.contains("at most"), "{refusal}");
}

#[test]
fn the_file_that_init_writes_sets_nothing_but_what_it_is_told() {
    let text = file_text(&[]);
    assert_eq!(Layers::new(&text).load().expect("well formed").config, Config::default());
    for key in &KEYS {
        let (_, name) = key.name.split_once('.').expect("section.name");
        assert!(text.contains(&format!("# {name} = ")), "{} is shown", key.name);
    }

    let text = file_text(&[("rpc.listen", "127.0.0.1:9".into()), ("p2p.mdns", true.into())]);
    let config = Layers::new(&text).load().expect("well formed").config;
    assert_eq!(config.rpc.listen.port(), 9);
    assert!(config.p2p.mdns);
    assert_eq!(config.pool, PoolConfig::default());
}

#[test]
fn defaults_uncommented_are_what_the_file_says() {
    let uncommented: String = file_text(&[])
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.contains(" = ") => format!("{setting}\n"),
            Some(_) => "\n".to_owned(),
            None => format!("{line}\n"),
        })
        .collect();
    assert_eq!(Layers::new(&uncommented).load().expect("well formed").config, Config::default());
}

#[test]
fn origins_are_a_list_of_schemes_with_hosts() {
    let allowed =
        Layers::new("[rpc]\norigins = [\"https://wallet.example\", \"*\"]\n").load().expect("well formed");
    assert_eq!(allowed.config.rpc.origins, ["https://wallet.example", "*"]);
    let variable = Layers::new("").variable("QUORATE_RPC_ORIGINS", "http://a.example, http://b.example:1");
    let origins = variable.load().expect("well formed").config.rpc.origins;
    assert_eq!(origins, ["http://a.example", "http://b.example:1"]);
    for text in ["wallet.example", "https://wallet.example/", "null"] {
        let refusal = Layers::new(&format!("[rpc]\norigins = [\"{text}\"]\n")).refusal();
        assert!(refusal.contains("`rpc.origins`"), "{text}: {refusal}");
    }
}
