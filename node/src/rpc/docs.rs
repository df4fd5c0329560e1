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
            let optional = if parameter["required"] == true { "" } else { " (optional)" };
            bullet(&mut text, 0, parameter["name"].as_str().expect("a name"), optional, &parameter["schema"]);
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

/// What a schema describes, in words, with the members of objects as a list.
fn shape(text: &mut String, schema: &Value) {
    let (schema, null) = resolved(schema);
    let null = if null { ", or `null`" } else { "" };
    if let Some(variants) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        writeln!(text, "one of{null}:\n").expect("memory");
        for variant in variants {
            let tag = ["status", "type"].iter().find_map(|tag| variant["properties"][tag]["const"].as_str());
            bullet(text, 0, tag.unwrap_or("object"), "", variant);
            members(text, 1, variant);
        }
    } else if schema["properties"].is_object() {
        writeln!(text, "an object{null}:\n").expect("memory");
        members(text, 0, schema);
    } else {
        let kind = match schema["type"].as_str() {
            Some("string") => "a string",
            Some("boolean") => "a boolean",
            _ => "JSON",
        };
        writeln!(text, "{kind}{null}.").expect("memory");
    }
}

fn members(text: &mut String, depth: usize, schema: &Value) {
    for (name, member) in schema["properties"].as_object().expect("an object") {
        if member.get("const").is_none() {
            bullet(text, depth, name, "", member);
            if shape_of(member).is_some() {
                continue;
            }
            let (member, _) = resolved(member);
            let (item, _) = resolved(&member["items"]);
            for nested in [member, item] {
                if nested["properties"].is_object() {
                    members(text, depth + 1, nested);
                }
            }
        }
    }
}

fn bullet(text: &mut String, depth: usize, name: &str, note: &str, schema: &Value) {
    let description = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
    let shape = shape_of(schema)
        .map(|shape| format!(" ([{shape}](#{anchor}))", anchor = shape.to_lowercase()))
        .unwrap_or_default();
    writeln!(text, "{:indent$}- `{name}`{note}: {description}{shape}", "", indent = depth * 2)
        .expect("memory");
}

/// Which of [`SHAPES`] a schema refers to, alone or as the items of a list.
fn shape_of(schema: &Value) -> Option<&str> {
    let referred = [&schema["$ref"], &schema["allOf"][0]["$ref"], &schema["items"]["$ref"]];
    let name = referred.iter().find_map(|reference| reference.as_str())?.rsplit('/').next()?;
    SHAPES.contains(&name).then_some(name)
}

/// The schema that a reference leads to, and whether there may be `null` instead.
fn resolved(schema: &Value) -> (&Value, bool) {
    if let Some(pointer) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        return (document().pointer(pointer).expect("within the document"), false);
    }
    match schema["anyOf"].as_array().map(Vec::as_slice) {
        Some([one, null]) if null["type"] == "null" => (resolved(one).0, true),
        _ => (schema, false),
    }
}
