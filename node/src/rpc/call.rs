//! From the text of a call to the typed parameters of its method, and from what the method returns to the wire.
//!
//! Parameters come by name or by position, as JSON-RPC 2.0 §4.2 allows; either way they are read by one strict type, so
//! that a misspelt name is refused and not taken for an absent one.

use std::sync::Arc;

use jsonrpsee::RpcModule;
use jsonrpsee::types::Params;
use serde_json::{Map, Value};

use super::Context;
use super::error::RpcError;
use super::table::Method;
use super::types::Parameters;

/// Registers a method that reads the store or the views of the node. It runs, and its answer is written, on a thread
/// that may block.
pub(crate) fn register<M: Method>(
    module: &mut RpcModule<Context>,
    method: fn(&Context, M::Parameters) -> Result<M::Answer, RpcError>,
) {
    module
        .register_blocking_method(M::NAME, move |parameters, context: Arc<Context>, _| {
            parse(parameters.as_str()).and_then(|parameters| method(&context, parameters))
        })
        .expect("the table names each method once");
}

/// The parameters of a call, owned.
pub(crate) fn parameters<P: Parameters>(parameters: &Params<'_>) -> Result<P, RpcError> {
    parse(parameters.as_str())
}

/// Reads parameters by name or by position.
fn parse<P: Parameters>(text: Option<&str>) -> Result<P, RpcError> {
    let text = text.map_or("", str::trim);
    match text.as_bytes().first() {
        None => named(Value::Object(Map::new())),
        // Straight from the text: the usual case, and the error then has a place.
        Some(b'{') => serde_json::from_str(text).map_err(|error| explain::<P>(&error)),
        Some(b'[') => positional(serde_json::from_str(text).map_err(|error| explain::<P>(&error))?),
        Some(_) => Err(RpcError::parameters("parameters are an object or an array")),
    }
}

fn named<P: Parameters>(parameters: Value) -> Result<P, RpcError> {
    serde_json::from_value(parameters).map_err(|error| explain::<P>(&error))
}

fn positional<P: Parameters>(values: Vec<Value>) -> Result<P, RpcError> {
    if values.len() > P::NAMES.len() {
        return Err(RpcError::parameters(format_args!(
            "{} parameters were given, {}",
            values.len(),
            takes::<P>()
        )));
    }
    let parameters =
        P::NAMES.iter().zip(values).map(|(name, value)| (meant::<P>(name, &value).to_owned(), value));
    named(Value::Object(parameters.collect()))
}

/// Where a height is asked for a block, its hash may stand in the same position.
fn meant<P: Parameters>(name: &'static str, value: &Value) -> &'static str {
    let is_hash = value.as_str().is_some_and(|text| text.starts_with("0x"));
    if name == "height" && is_hash && P::NAMES.contains(&"hash") { "hash" } else { name }
}

fn explain<P: Parameters>(error: &serde_json::Error) -> RpcError {
    RpcError::parameters(format_args!("{error}; {}", takes::<P>()))
}

fn takes<P: Parameters>() -> String {
    match P::NAMES {
        [] => "the method takes none".to_owned(),
        names => format!("the method takes `{}`", names.join("`, `")),
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
