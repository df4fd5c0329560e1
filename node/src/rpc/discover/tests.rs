use std::collections::BTreeSet;

use super::*;

#[test]
fn the_document_describes_every_method_of_the_table() {
    let names: Vec<&str> = document()["methods"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|method| method["name"].as_str().expect("a name"))
        .collect();
    let table: Vec<&str> = TABLE.iter().map(|row| row.name).collect();
    assert_eq!(names, table);
    assert_eq!(table.iter().collect::<BTreeSet<_>>().len(), table.len(), "each once");
}

#[test]
fn every_parameter_is_described() {
    for method in document()["methods"].as_array().expect("a list") {
        for parameter in method["params"].as_array().expect("a list") {
            assert!(parameter["schema"].is_object(), "{} of {}", parameter["name"], method["name"]);
        }
    }
}

/// Collects every `$ref` below a value.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_reference_leads_to_a_schema() {
    let mut found = Vec::new();
    references(document(), &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document().pointer(pointer).is_some(), "{reference}");
    }
}
