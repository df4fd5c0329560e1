//! The interface describing itself: an OpenRPC document made from the table of methods, the table of errors and the
//! schemas of the types.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::error::Reason;
use super::table::{ANY_CALL, Row, TABLE};

/// The version of OpenRPC that the document follows.
const OPENRPC_VERSION: &str = "1.3.2";

/// Made once: it says what this program does, not what it is doing.
static DOCUMENT: LazyLock<Value> = LazyLock::new(make);

/// The OpenRPC document.
pub(crate) fn document() -> &'static Value {
    &DOCUMENT
}

fn make() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let methods: Vec<Value> = TABLE.iter().map(|row| method(row, &mut generator)).collect();
    json!({
        "openrpc": OPENRPC_VERSION,
        "info": {
            "title": "Quorate JSON-RPC",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "JSON-RPC 2.0 over HTTP POST and WebSocket at `/`. Byte strings are `0x` hex, addresses \
                bech32m, amounts and nonces decimal strings, heights, views and unix-millisecond times numbers.",
        },
        "methods": methods,
        "components": { "schemas": generator.take_definitions(true) },
    })
}

fn method(row: &Row, generator: &mut SchemaGenerator) -> Value {
    let parameters = (row.parameters)(generator);
    let refusals = row.refusals.iter().chain(ANY_CALL).map(|reason| error(*reason));
    let mut method = json!({
        "name": row.name,
        "summary": row.summary.trim(),
        "paramStructure": "either",
        "params": row.parameter_names.iter().map(|name| parameter(name, &parameters)).collect::<Vec<_>>(),
        "result": { "name": "result", "schema": (row.answer)(generator) },
        "errors": refusals.collect::<Vec<_>>(),
    });
    if let Some(notification) = &row.notification {
        method["x-notification"] = json!({
            "name": notification.name,
            "unsubscribe": notification.unsubscribe,
            "schema": (notification.event)(generator),
        });
    }
    method
}

/// One field of the parameters as OpenRPC describes a parameter.
fn parameter(name: &str, parameters: &Schema) -> Value {
    let field = &parameters.as_value()["properties"][name];
    let required =
        parameters.as_value()["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    json!({ "name": name, "required": required, "schema": field })
}

fn error(reason: Reason) -> Value {
    let row = reason.row();
    json!({
        "code": row.code,
        "message": row.meaning,
        "data": { "reason": row.word, "members": row.data, "remedy": row.remedy },
    })
}

#[cfg(test)]
mod tests;
