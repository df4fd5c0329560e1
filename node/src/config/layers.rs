//! The layers of a configuration, each put over those below it: defaults, the file, the environment, flags. A key that does not
//! exist is refused by the layer that has it; values are checked once all layers are merged.

use std::collections::BTreeMap;
use std::path::Path;

use config::builder::DefaultState;
use config::{ConfigBuilder, FileFormat, Map, Source as _, Value, ValueKind};

use super::table::Allowed;
use super::{Config, ConfigError, ENVIRONMENT_PREFIX, KEYS, Key, Sources};

/// Environment variables that start like configuration but are read by the command line itself.
const ENVIRONMENT_RESERVED: [&str; 3] = ["QUORATE_HOME", "QUORATE_RPC", "QUORATE_PASSPHRASE"];

/// The largest configuration file that is read, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a key can always be set.
const PLAIN_PATH: &str = "the keys of the table are plain paths";

/// All layers merged: every key of the table, by section and name.
pub(super) fn merged(sources: Sources) -> Result<BTreeMap<String, Map<String, Value>>, ConfigError> {
    let mut builder = add_defaults(config::Config::builder());
    if let Some(file) = &sources.file {
        builder = add_file(builder, file)?;
    }
    builder = add_environment(builder, &sources.environment)?;
    for flag in sources.flags {
        let key = KEYS.iter().find(|key| key.name == flag.key).expect("flags set keys of the table");
        builder = set(builder, key, flag.flag, flag.value);
    }

    let merged = builder.build().and_then(|merged| merged.collect()).expect("every layer was read already");
    let mut sections: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (section, entries) in merged {
        sections.insert(section, entries.into_table().expect("keys are section.name"));
    }
    Ok(sections)
}

/// Key by key: the library's own serializer leaves empty lists out.
fn add_defaults(mut builder: ConfigBuilder<DefaultState>) -> ConfigBuilder<DefaultState> {
    let defaults = default_tree();
    for key in &KEYS {
        let value = layer_value(&defaults[key.section()][key.entry()]);
        builder = builder.set_default(key.name, value).expect(PLAIN_PATH);
    }
    builder
}

/// The defaults, section by section.
pub(super) fn default_tree() -> serde_json::Value {
    serde_json::to_value(Config::default()).expect("the defaults are plain values")
}

/// A default as a layer holds it.
fn layer_value(json: &serde_json::Value) -> Value {
    let kind = match json {
        serde_json::Value::Null => ValueKind::Nil,
        serde_json::Value::Bool(value) => ValueKind::Boolean(*value),
        serde_json::Value::Number(value) => ValueKind::U64(value.as_u64().expect("numbers are whole")),
        serde_json::Value::String(value) => ValueKind::String(value.clone()),
        serde_json::Value::Array(items) => ValueKind::Array(items.iter().map(layer_value).collect()),
        serde_json::Value::Object(entries) => {
            ValueKind::Table(entries.iter().map(|(name, value)| (name.clone(), layer_value(value))).collect())
        }
    };
    Value::new(None, kind)
}

fn add_file(
    mut builder: ConfigBuilder<DefaultState>,
    file: &Path,
) -> Result<ConfigBuilder<DefaultState>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { file: file.to_owned(), source };
    let length = match std::fs::metadata(file) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(builder),
        Err(error) => return Err(unreadable(error)),
    };
    if length > FILE_BYTES_MAX {
        return Err(ConfigError::Syntax {
            file: file.to_owned(),
            message: format!("{length} bytes; at most {FILE_BYTES_MAX} are allowed"),
        });
    }
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let sections = config::File::from_str(&text, FileFormat::Toml)
        .collect()
        .map_err(|error| ConfigError::Syntax { file: file.to_owned(), message: error.to_string() })?;

    let origin = file.display().to_string();
    for (section, entries) in sections {
        if !KEYS.iter().any(|key| key.section() == section) {
            return Err(unknown(&origin, &section));
        }
        let entries = entries.into_table().map_err(|_| unknown(&origin, &section))?;
        for (entry, value) in entries {
            let name = format!("{section}.{entry}");
            let Some(key) = KEYS.iter().find(|key| key.name == name) else {
                return Err(unknown(&origin, &name));
            };
            let value = Value::new(Some(&origin), value.kind);
            if let ValueKind::Table(_) = value.kind {
                // It would be merged into the value below and be refused in the name of that.
                return Err(key.refused(&value));
            }
            builder = builder.set_override(key.name, value).expect(PLAIN_PATH);
        }
    }
    Ok(builder)
}

fn add_environment(
    mut builder: ConfigBuilder<DefaultState>,
    environment: &BTreeMap<String, String>,
) -> Result<ConfigBuilder<DefaultState>, ConfigError> {
    for (variable, value) in environment {
        if !variable.starts_with(ENVIRONMENT_PREFIX) || ENVIRONMENT_RESERVED.contains(&variable.as_str()) {
            continue;
        }
        let Some(key) = KEYS.iter().find(|key| key.variable() == *variable) else {
            return Err(ConfigError::UnknownKey {
                origin: "environment".to_owned(),
                key: variable.clone(),
                allowed: KEYS.iter().map(Key::variable).collect::<Vec<_>>().join(", "),
            });
        };
        builder = set(builder, key, variable, value.clone());
    }
    Ok(builder)
}

/// Sets `key` over everything set before; `origin` is what refusals and `config show` name.
fn set(
    builder: ConfigBuilder<DefaultState>,
    key: &Key,
    origin: &str,
    value: String,
) -> ConfigBuilder<DefaultState> {
    let origin = origin.to_owned();
    let kind = if matches!(key.allowed, Allowed::Multiaddrs | Allowed::Origins) {
        let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
        ValueKind::Array(parts.map(|part| Value::new(Some(&origin), part)).collect())
    } else {
        ValueKind::String(value)
    };
    builder.set_override(key.name, Value::new(Some(&origin), kind)).expect(PLAIN_PATH)
}

fn unknown(origin: &str, key: &str) -> ConfigError {
    let allowed = KEYS.iter().map(|key| key.name).collect::<Vec<_>>().join(", ");
    ConfigError::UnknownKey { origin: origin.to_owned(), key: key.to_owned(), allowed }
}
