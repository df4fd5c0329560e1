//! The canonical text of a JSON tree: RFC 8785 (JSON Canonicalization Scheme) for trees without fractions.
//!
//! The order of object keys is by UTF-16 code units there, by code points here: the same for our keys, which are ASCII.

use serde_json::Value;

/// Writes `tree` in its one spelling.
///
/// Panics on a fraction or an integer beyond 2^53 - 1: a checked document has none.
pub(crate) fn write(tree: &Value) -> String {
    let mut text = String::new();
    write_value(tree, &mut text);
    text
}

fn write_value(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => {
            let integer = number.as_u64().expect("a checked document has no fractions and no signs");
            assert!(integer <= crate::json::INTEGER_MAX, "{integer} is checked to be exact in every reader");
            text.push_str(&integer.to_string());
        }
        Value::String(string) => write_string(string, text),
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write_value(item, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            // Sorted here, not left to the map: whether serde_json's sorts depends on a feature of the whole build.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.as_str());
            text.push('{');
            for (position, (name, member)) in members.into_iter().enumerate() {
                assert!(name.is_ascii(), "all keys of a genesis are ASCII, where both orders agree");
                if position > 0 {
                    text.push(',');
                }
                write_string(name, text);
                text.push(':');
                write_value(member, text);
            }
            text.push('}');
        }
    }
}

/// serde_json escapes exactly as RFC 8785 §3.2.2.2 demands.
fn write_string(string: &str, text: &mut String) {
    text.push_str(&serde_json::to_string(string).expect("a string is always JSON"));
}

#[cfg(test)]
mod tests {
    use super::write;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_and_nothing_is_spaced() {
        let tree = json!({ "b": [1, { "z": null, "a": true }], "a": "x", "B": {} });
        assert_eq!(write(&tree), r#"{"B":{},"a":"x","b":[1,{"a":true,"z":null}]}"#);
    }

    #[test]
    fn strings_are_escaped_as_rfc_8785_has_it() {
        // The string of RFC 8785 §3.2.2, without the part that is not ours.
        let tree = json!("€$\u{f}\nA'B\"\\\\\"/");
        assert_eq!(write(&tree), "\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"");
    }
}
