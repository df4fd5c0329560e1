//! Calls whose `id` is no id, and what is JSON and no call.
//!
//! JSON-RPC 2.0 §4: an `id` is a string, a number or null, and only a call without one is a notification; §5: where the id
//! cannot be read, the answer is an error with the id null. The library takes whatever has an `id` that it cannot read for
//! a notification, and whoever sent it waits for an answer that never comes. So what is posted goes through here first:
//! each such call in it gives way to one that the library refuses as the standard asks.
//!
//! What is posted as JSON and has neither an `id` nor what a notification must have, or is no object at all, the library
//! would answer as if it were no JSON: it gives way to the same.
//!
//! Numbers that are no natural numbers of 64 bits count among what cannot be read: they could not be given back as they came.
//! What comes by WebSocket the library reads itself.

use std::borrow::Cow;

use axum::body::Bytes;
use jsonrpsee::types::{Id, InvalidRequest, Notification};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Refused as no request, with the id null.
const REFUSED: &str = r#"{"id":null}"#;

/// The same as an entry of a batch, no longer than any that it may stand for: the limit of bodies is the library's too.
const REFUSED_ENTRY: &str = "{}";

/// Refused as no JSON.
const NO_JSON: &str = "{";

/// The part of a call that is looked at here.
#[derive(Deserialize)]
struct Identified<'a> {
    #[serde(borrow, default, rename = "id")]
    _id: Option<Id<'a>>,
}

/// A body as the library may have it. What is no call and no batch is left to be refused there.
pub(super) fn refuse_unreadable(body: Bytes) -> Bytes {
    match body.trim_ascii_start().first() {
        Some(b'{') => match serde_json::from_slice::<&RawValue>(&body) {
            Ok(call) if !is_readable(call) || !is_answered(call) => Bytes::from_static(REFUSED.as_bytes()),
            Ok(_) => body,
            // The library would not mind what is no text in an id that it passes over.
            Err(_) => Bytes::from_static(NO_JSON.as_bytes()),
        },
        Some(b'[') => match serde_json::from_slice::<Vec<&RawValue>>(&body) {
            Ok(calls) if !calls.iter().all(|call| is_readable(call)) => batch(&calls).into(),
            Ok(_) | Err(_) => body,
        },
        Some(_) if serde_json::from_slice::<&RawValue>(&body).is_ok() => {
            Bytes::from_static(REFUSED.as_bytes())
        }
        Some(_) | None => body,
    }
}

/// Whether the library finds an id to answer to, or a notification that is not answered.
fn is_answered(call: &RawValue) -> bool {
    type Params<'a> = Option<Cow<'a, RawValue>>;
    serde_json::from_str::<InvalidRequest<'_>>(call.get()).is_ok()
        || serde_json::from_str::<Notification<'_, Params<'_>>>(call.get()).is_ok()
}

/// Whether what may be a call has an id that can be given back, or none.
fn is_readable(call: &RawValue) -> bool {
    // An entry that is no object is refused as it stands; to `serde` a list could pass for one.
    !call.get().starts_with('{') || serde_json::from_str::<Identified<'_>>(call.get()).is_ok()
}

fn batch(calls: &[&RawValue]) -> Vec<u8> {
    let calls: Vec<&str> =
        calls.iter().map(|call| if is_readable(call) { call.get() } else { REFUSED_ENTRY }).collect();
    format!("[{}]", calls.join(",")).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> String {
        let read = refuse_unreadable(Bytes::copy_from_slice(body.as_bytes()));
        String::from_utf8(read.to_vec()).expect("text")
    }

    #[test]
    fn whatever_has_an_id_or_none_stays_as_it_came() {
        for body in [
            r#" {"jsonrpc":"2.0","id":18446744073709551615,"method":"a"} "#,
            r#"{"jsonrpc":"2.0","id":"\u0061","method":"a"}"#,
            r#"{"id":null,"method":"a","params":{"id":{}}}"#,
            r#"{"jsonrpc":"2.0","method":"a"}"#,
            r#"{"id":1}"#,
            r#"[ {"id":1}, 7, ["id"], {} ]"#,
        ] {
            assert_eq!(read(body), body);
        }
    }

    #[test]
    fn what_is_no_json_is_left_to_the_library() {
        for body in ["", " ", "x", r#"[{"id":{}}"#, "\u{feff}{}"] {
            assert_eq!(read(body), body);
        }
        for body in [r#"{"id":{}"#, r#"{"id":{}} {"#] {
            assert_eq!(read(body), NO_JSON);
        }
        assert_eq!(refuse_unreadable(Bytes::from_static(b"{\"id\":\"\xff\",\"method\":\"a\"}")), NO_JSON);
    }

    /// JSON-RPC 2.0 §5.1: "-32600 Invalid Request: The JSON sent is not a valid Request object."
    #[test]
    fn json_that_is_neither_call_nor_notification_is_refused_as_that() {
        for body in ["{}", r#"{"method":"a"}"#, r#"{"jsonrpc":"2.0","method":1}"#, "7", " \"a\" ", "null"] {
            assert_eq!(read(body), REFUSED, "{body}");
        }
    }

    #[test]
    fn an_id_that_cannot_be_given_back_is_refused() {
        for id in
            ["{}", "[1]", "true", "-1", "1.5", "18446744073709551616", "1e999", r#""\ud800""#, r#"1,"id":1"#]
        {
            let call = format!(r#" {{"jsonrpc":"2.0","id":{id},"method":"a"}}"#);
            assert_eq!(read(&call), REFUSED, "{id}");
            assert_eq!(read(&format!(r#"[{{"id":1}} ,{call}, {{"id":2}}]"#)), r#"[{"id":1},{},{"id":2}]"#);
        }
    }
}
