//! A JSON tree that keeps what others throw away: members in their order, and those written twice.
//!
//! `serde_json::Value` keeps the last of two members of one name, other readers the first. Two operators could then
//! agree on a file and run different chains, so duplicates must be seen to be refused.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::error::Problem;

/// The largest integer that every JSON reader keeps exact (RFC 8259 §6): 2^53 - 1.
pub(crate) const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Any JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// A number without sign and fraction.
    Integer(u64),
    /// Any other number.
    Number(f64),
    String(String),
    Array(Vec<Json>),
    /// Members as written.
    Object(Vec<(String, Json)>),
}

/// Parses one JSON text and nothing after it.
pub(crate) fn parse(text: &str) -> Result<Json, Problem> {
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        // The position is a field of its own; serde_json also appends it to the words.
        let words = error.to_string();
        let reason = words.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&words);
        Problem::Syntax { line, column, reason: reason.to_owned() }
    })
}

impl Json {
    /// What it is, for refusals.
    pub(crate) fn words(&self) -> String {
        match self {
            Json::Null => "null".to_owned(),
            Json::Bool(value) => value.to_string(),
            Json::Integer(value) => value.to_string(),
            Json::Number(value) => value.to_string(),
            Json::String(value) => format!("{:?}", shortened(value)),
            Json::Array(items) => format!("a list of {}", items.len()),
            Json::Object(members) => format!("an object of {} keys", members.len()),
        }
    }

    /// The same as `serde_json` has it; of members of one name the last.
    pub(crate) fn into_value(self) -> serde_json::Value {
        match self {
            Json::Null => serde_json::Value::Null,
            Json::Bool(value) => value.into(),
            Json::Integer(value) => value.into(),
            Json::Number(value) => value.into(),
            Json::String(value) => value.into(),
            Json::Array(items) => items.into_iter().map(Json::into_value).collect(),
            Json::Object(members) => {
                members.into_iter().map(|(name, value)| (name, value.into_value())).collect()
            }
        }
    }
}

/// The beginning of a text that may be long.
pub(crate) fn shortened(text: &str) -> String {
    const CHARACTERS_SHOWN: usize = 80;
    let mut characters = text.chars();
    let shown: String = characters.by_ref().take(CHARACTERS_SHOWN).collect();
    if characters.next().is_some() { format!("{shown}…") } else { shown }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Integer(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(match u64::try_from(value) {
            Ok(value) => Json::Integer(value),
            // Only shown to whoever wrote it, so the rounding of huge ones does no harm.
            Err(_) => Json::Number(value as f64),
        })
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Json::Object(members))
    }
}
