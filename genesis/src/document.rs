//! Documents as JSON: read with a path to everything refused, and written.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use quorate_ledger::{Account, Amount, Parameters, UnixMillis, decimal};
use serde_json::{Value, json};

use crate::builder::{KEY_WORDS, parameter_words};
use crate::error::Problem;
use crate::json::{INTEGER_MAX, Json, parse};
use crate::{DOCUMENT_BYTES_MAX, ENGINE, Genesis, GenesisBuilder};

/// Reads a document from a file.
pub(crate) fn read_file(path: &Path) -> Result<Genesis, Problem> {
    let file = File::open(path).map_err(Problem::Read)?;
    let bytes = file.metadata().map_err(Problem::Read)?.len();
    let limit = DOCUMENT_BYTES_MAX as u64;
    if bytes > limit {
        return Err(Problem::TooLarge { bytes });
    }
    let mut content = Vec::new();
    // A pipe has no length: the limit is kept while reading, too.
    file.take(limit + 1).read_to_end(&mut content).map_err(Problem::Read)?;
    let text = String::from_utf8(content).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let reason = format!("byte {at} is not UTF-8");
        Problem::Read(io::Error::new(io::ErrorKind::InvalidData, reason))
    })?;
    read(&text)
}

/// Reads a document.
pub(crate) fn read(text: &str) -> Result<Genesis, Problem> {
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(Problem::TooLarge { bytes: text.len() as u64 });
    }
    let [name, engine, time, validators, accounts, parameters] = members(
        "document",
        parse(text)?,
        ["name", "engine", "time", "validators", "accounts", "parameters"],
    )?;

    if let Some(engine) = engine {
        let engine = string("engine", engine)?;
        if engine != ENGINE {
            return Err(Problem::value("engine", format!("is {engine:?}"), format!("{ENGINE:?}")));
        }
    }
    let name = string("name", required("name", name, "the chain's name")?)?;
    let time = read_time(required("time", time, "when the chain starts, in unix milliseconds")?)?;
    let mut builder = GenesisBuilder::new(name, time);
    let validators = required("validators", validators, "a list of {\"key\": \"0x…\", \"name\": \"…\"}")?;
    for (position, entry) in list("validators", validators)?.into_iter().enumerate() {
        let path = format!("validators[{position}]");
        let [key, name] = members(&path, entry, ["key", "name"])?;
        let at = format!("{path}.key");
        let key = parsed(&at, required(&at, key, KEY_WORDS)?, KEY_WORDS)?;
        let name = name.map_or(Ok(String::new()), |name| string(&format!("{path}.name"), name))?;
        builder = builder.validator(key, name);
    }
    for (position, entry) in
        list("accounts", accounts.unwrap_or(Json::Array(Vec::new())))?.into_iter().enumerate()
    {
        let path = format!("accounts[{position}]");
        let [address, balance] = members(&path, entry, ["address", "balance"])?;
        let at = format!("{path}.address");
        let address: Account = parsed(&at, required(&at, address, ADDRESS_WORDS)?, ADDRESS_WORDS)?;
        let at = format!("{path}.balance");
        builder = builder.account(address, read_amount(&at, required(&at, balance, AMOUNT_WORDS)?)?);
    }
    if let Some(parameters) = parameters {
        builder = builder.parameters(read_parameters(parameters)?);
    }
    builder.check()
}

/// The document of a genesis, every key written.
pub(crate) fn tree(genesis: &Genesis) -> Value {
    let validators = genesis.validators().keys().iter().zip(genesis.validator_names());
    let validators: Vec<Value> =
        validators.map(|(key, name)| json!({ "key": key.to_string(), "name": name })).collect();
    let accounts = genesis.accounts().iter();
    let accounts: Vec<Value> = accounts
        .map(|(address, balance)| json!({ "address": address.to_string(), "balance": balance.to_string() }))
        .collect();
    json!({
        "name": genesis.name(),
        "engine": genesis.engine(),
        "time": genesis.time().0,
        "validators": validators,
        "accounts": accounts,
        "parameters": serde_json::to_value(genesis.parameters()).expect("parameters are plain numbers"),
    })
}

const ADDRESS_WORDS: &str = "an address, qr1… (`quorate key show FILE` prints it)";
const AMOUNT_WORDS: &str = "a whole number as a string of decimal digits, such as \"1000000\"";

fn read_time(json: Json) -> Result<UnixMillis, Problem> {
    let Json::Integer(millis) = json else {
        return Err(Problem::value("time", format!("is {}", json.words()), "a number of unix milliseconds"));
    };
    Ok(UnixMillis(millis))
}

fn read_amount(path: &str, json: Json) -> Result<Amount, Problem> {
    let amount = if let Json::String(text) = &json { decimal::parse(text) } else { None };
    amount.ok_or_else(|| Problem::value(path, format!("is {}", json.words()), AMOUNT_WORDS))
}

/// The defaults with what the document sets. Each key is read by itself, so that a refusal can name it.
fn read_parameters(json: Json) -> Result<Parameters, Problem> {
    let Json::Object(given) = json else {
        return Err(Problem::value("parameters", format!("is {}", json.words()), "an object"));
    };
    let mut set = serde_json::Map::new();
    for (name, json) in given {
        let path = format!("parameters.{name}");
        if !Parameters::table().iter().any(|row| row.key == name) {
            return Err(Problem::value(path, "unknown key", parameter_words(&name)));
        }
        let refused = |reason: String| Problem::value(&path, reason, parameter_words(&name));
        if set.contains_key(&name) {
            return Err(Problem::value(path, WRITTEN_TWICE, ONCE));
        }
        if matches!(json, Json::Integer(value) if value > INTEGER_MAX) {
            return Err(refused(format!("is {}", json.words())));
        }
        let words = json.words();
        let value = json.into_value();
        let alone = Value::Object(serde_json::Map::from_iter([(name.clone(), value.clone())]));
        serde_json::from_value::<Parameters>(alone)
            .map_err(|error| refused(format!("is {words}: {error}")))?;
        set.insert(name, value);
    }
    serde_json::from_value(Value::Object(set))
        .map_err(|error| Problem::value("parameters", error.to_string(), "numbers as the table has them"))
}

const WRITTEN_TWICE: &str = "written twice";
const ONCE: &str = "each key once";

/// The members of an object by name; unknown names and those written twice are refused.
fn members<const N: usize>(
    path: &str,
    json: Json,
    names: [&'static str; N],
) -> Result<[Option<Json>; N], Problem> {
    let Json::Object(given) = json else {
        let allowed = format!("an object with the keys {}", names.join(", "));
        return Err(Problem::value(path, format!("is {}", json.words()), allowed));
    };
    let mut found = [const { None }; N];
    for (name, value) in given {
        // The top of the document is no part of any path.
        let path = if path == "document" { name.clone() } else { format!("{path}.{name}") };
        let Some(position) = names.iter().position(|known| *known == name) else {
            let path = crate::json::shortened(&path);
            return Err(Problem::value(path, "unknown key", names.join(", ")));
        };
        if found[position].replace(value).is_some() {
            return Err(Problem::value(path, WRITTEN_TWICE, ONCE));
        }
    }
    Ok(found)
}

fn required(path: &str, json: Option<Json>, allowed: &str) -> Result<Json, Problem> {
    json.ok_or_else(|| Problem::value(path, "is missing", allowed))
}

fn list(path: &str, json: Json) -> Result<Vec<Json>, Problem> {
    let Json::Array(items) = json else {
        return Err(Problem::value(path, format!("is {}", json.words()), "a list"));
    };
    Ok(items)
}

fn string(path: &str, json: Json) -> Result<String, Problem> {
    let Json::String(text) = json else {
        return Err(Problem::value(path, format!("is {}", json.words()), "a string"));
    };
    Ok(text)
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(path: &str, json: Json, allowed: &str) -> Result<T, Problem> {
    let text = string(path, json)?;
    text.parse().map_err(|error| {
        Problem::value(path, format!("{:?}: {error}", crate::json::shortened(&text)), allowed)
    })
}
