//! Holds the reference part of `docs/json-rpc.md` against the tables it describes.
//!
//! The part between the markers is made here. After a change of the tables, `UPDATE_DOCS=1 cargo test -p quorate-node
//! docs` writes it anew, and the change of the page is reviewed like any other.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::discover::document;
use super::error::Reason;
use super::table::TABLE;

const BEGIN: &str = "<!-- made from the tables of methods and errors: begin -->\n";
const END: &str = "<!-- made from the tables of methods and errors: end -->";

#[test]
fn the_page_says_what_the_tables_say() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/json-rpc.md");
    let page = std::fs::read_to_string(&file).expect("the page is there");
    let (before, rest) = page.split_once(BEGIN).expect("the page has the marker of the beginning");
    let (_, after) = rest.split_once(END).expect("the page has the marker of the end");
    let expected = format!("{before}{BEGIN}{}{END}{after}", reference());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &expected).expect("the page can be written");
    }
    assert!(
        page == expected,
        "docs/json-rpc.md is out of date; run with UPDATE_DOCS=1 and review what it changes"
    );
}

/// Shapes that many answers hold: described once, under their own headings.
const SHAPES: [&str; 9] =
    ["Header", "Anchor", "Payload", "Operation", "Receipt", "Outcome", "Event", "Change", "Parameters"];

fn reference() -> String {
    let mut text = String::from("\n## Methods\n");
    for (row, method) in TABLE.iter().zip(document()["methods"].as_array().expect("a list")) {
        write!(text, "\n### `{}`\n\n{}\n", row.name, row.summary.trim()).expect("memory");
        let parameters = method["params"].as_array().expect("a list");
        if !parameters.is_empty() {
            text.push_str("\nParameters:\n\n");
        }
        for parameter in parameters {
            let given = if parameter["required"] == true { Given::Always } else { Given::IfWanted };
            bullet(&mut text, 0, parameter["name"].as_str().expect("a name"), given, &parameter["schema"]);
        }
        text.push_str("\nAnswers ");
        shape(&mut text, &method["result"]["schema"]);
        if let Some(notification) = method.get("x-notification") {
            write!(text, "\nNotifies, as `{}`, ", notification["name"].as_str().expect("a name"))
                .expect("memory");
            shape(&mut text, &notification["schema"]);
        }
        if !row.refusals.is_empty() {
            let words: Vec<String> =
                row.refusals.iter().map(|reason| format!("`{}`", reason.row().word)).collect();
            write!(text, "\nMay be refused with {}.\n", words.join(", ")).expect("memory");
        }
    }
    text.push_str("\n## Shapes\n");
    for name in SHAPES {
        let schema = &document()["components"]["schemas"][name];
        let description = schema["description"].as_str().expect("described").replace('\n', " ");
        write!(text, "\n### {name}\n\n{description}\n").expect("memory");
        if schema["required"].as_array().is_some_and(|required| required.len() > 1) {
            text.push('\n');
            members(&mut text, 0, schema);
        }
        if name == "Outcome" {
            reasons(&mut text, &schema["properties"]["reason"]);
        }
    }
    text.push_str("\n## Errors\n\n| code | `data.reason` | `data` also has | what happened | what to do |\n");
    text.push_str("| --- | --- | --- | --- | --- |\n");
    for row in Reason::TABLE {
        let data: Vec<String> = row.data.iter().map(|member| format!("`{member}`")).collect();
        let data = if data.is_empty() { "–".to_owned() } else { data.join(", ") };
        writeln!(text, "| {} | `{}` | {data} | {} | {} |", row.code, row.word, row.meaning, row.remedy)
            .expect("memory");
    }
    text.push('\n');
    text
}

/// Why an operation can fail, as a table.
fn reasons(text: &mut String, schema: &Value) {
    text.push_str("\n| `reason` | what happened |\n| --- | --- |\n");
    for reason in schema["oneOf"].as_array().expect("a list") {
        let word = |member: &str| reason[member].as_str().expect("a word");
        writeln!(text, "| `{}` | {} |", word("const"), word("description")).expect("memory");
    }
}

/// Whether a member is always there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    Always,
    IfWanted,
}

/// What a schema describes, in words, with the members of objects as a list.
fn shape(text: &mut String, schema: &Value) {
    let (schema, null) = resolved(schema);
    let null = if null { ", or `null`" } else { "" };
    if let Some(variants) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        writeln!(text, "one of{null}:\n").expect("memory");
        for variant in variants {
            let tag = ["status", "type"].iter().find_map(|tag| variant["properties"][tag]["const"].as_str());
            writeln!(text, "- `{}`: {}", tag.unwrap_or("object"), description(variant)).expect("memory");
            members(text, 1, variant);
        }
    } else if schema["properties"].is_object() {
        writeln!(text, "an object{null}:\n").expect("memory");
        members(text, 0, schema);
    } else {
        writeln!(text, "one value: {}{null}.", kind(schema)).expect("memory");
    }
}

fn members(text: &mut String, depth: usize, schema: &Value) {
    for (name, member) in schema["properties"].as_object().expect("an object") {
        if member.get("const").is_none() {
            bullet(text, depth, name, Given::Always, member);
            if shape_of(&without_null(member).0).is_some() {
                continue;
            }
            let (member, _) = resolved(member);
            let (item, _) = resolved(&member["items"]);
            for nested in [member, item] {
                if nested["properties"].is_object() {
                    members(text, depth + 1, nested);
                }
                for variant in nested["anyOf"].as_array().into_iter().flatten() {
                    if variant["properties"].is_object() {
                        writeln!(text, "{:indent$}- {}", "", description(variant), indent = depth * 2 + 2)
                            .expect("memory");
                        members(text, depth + 2, variant);
                    }
                }
            }
        }
    }
}

fn bullet(text: &mut String, depth: usize, name: &str, given: Given, schema: &Value) {
    let kind = match given {
        Given::Always => kind(schema),
        // That what need not be given may be `null` is not worth a word.
        Given::IfWanted => format!("{}, optional", kind(&without_null(schema).0)),
    };
    let description = description(schema);
    writeln!(text, "{:indent$}- `{name}` ({kind}): {description}", "", indent = depth * 2).expect("memory");
}

fn description(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().replace('\n', " ")
}

/// The type of a value, in the words that the page explains.
fn kind(schema: &Value) -> String {
    let (schema, null) = without_null(schema);
    let null = if null { " or `null`" } else { "" };
    format!("{}{null}", kind_of_some(&schema))
}

/// The type of a value that is not `null`.
fn kind_of_some(schema: &Value) -> String {
    match name_of(schema) {
        Some("PublicKey") => return "public key".to_owned(),
        Some(name @ ("Hash" | "Signature" | "Address" | "Decimal" | "Number" | "Bytes")) => {
            return name.to_lowercase();
        }
        Some(name) if SHAPES.contains(&name) => return format!("[{name}](#{})", name.to_lowercase()),
        Some(_) | None => {}
    }
    let (schema, _) = resolved(schema);
    let constants = schema["oneOf"].as_array().into_iter().flatten().filter_map(|one| one["const"].as_str());
    let words = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).chain(constants);
    let words: Vec<String> = words.map(|word| format!("`{word}`")).collect();
    if !words.is_empty() {
        return words.join(" or ");
    }
    match schema["type"].as_str() {
        Some("string") => "text".to_owned(),
        Some("integer" | "number") => "number".to_owned(),
        Some("array") => format!("list of {}", kind(&schema["items"])),
        Some(other) => other.to_owned(),
        None => {
            let alternatives = schema["anyOf"].as_array().map(Vec::as_slice).unwrap_or_default();
            let mut kinds: Vec<String> = alternatives.iter().map(kind).collect();
            kinds.dedup();
            if kinds.is_empty() { "JSON".to_owned() } else { kinds.join(" or ") }
        }
    }
}

/// A schema without the `null` that it may allow, and whether it does.
fn without_null(schema: &Value) -> (Value, bool) {
    let is_null = |one: &Value| *one == "null" || one["type"] == "null";
    for member in ["type", "anyOf"] {
        let Some(all) = schema[member].as_array() else { continue };
        let rest: Vec<Value> = all.iter().filter(|one| !is_null(one)).cloned().collect();
        if rest.len() == all.len() {
            continue;
        }
        let mut schema = schema.clone();
        match (member, rest.as_slice()) {
            ("type", [one]) => schema["type"] = one.clone(),
            ("anyOf", [one]) => schema = one.clone(),
            _ => schema[member] = Value::Array(rest),
        }
        return (schema, true);
    }
    (schema.clone(), false)
}

/// The name of the schema that one refers to.
fn name_of(schema: &Value) -> Option<&str> {
    let referred = [&schema["$ref"], &schema["allOf"][0]["$ref"]];
    referred.iter().find_map(|reference| reference.as_str())?.rsplit('/').next()
}

/// Which of [`SHAPES`] a schema refers to, alone or as the items of a list.
fn shape_of(schema: &Value) -> Option<&str> {
    let referred = [&schema["$ref"], &schema["allOf"][0]["$ref"], &schema["items"]["$ref"]];
    let name = referred.iter().find_map(|reference| reference.as_str())?.rsplit('/').next()?;
    SHAPES.contains(&name).then_some(name)
}

/// The schema that a reference leads to, and whether there may be `null` instead.
fn resolved(schema: &Value) -> (&Value, bool) {
    let referred = [&schema["$ref"], &schema["allOf"][0]["$ref"]];
    let mut pointers = referred.iter().filter_map(|reference| reference.as_str()?.strip_prefix('#'));
    if let Some(pointer) = pointers.next() {
        return (document().pointer(pointer).expect("within the document"), false);
    }
    match schema["anyOf"].as_array().map(Vec::as_slice) {
        Some([one, null]) if null["type"] == "null" => (resolved(one).0, true),
        _ => (schema, false),
    }
}
