//! The JSON Schema of an event as it is registered: the contract's own, in the
//! words of draft 7. Registries check what fits by draft 7 and older; the contract
//! writes 2020-12, and uses nothing of it that draft 7 has not.
//!
//! Not here: the contract's schemas, which their types make.

use serde_json::{Map, Value};
use tapedeck_contracts::EventKind;

const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

/// The JSON Schema of an event.
pub fn json_schema(kind: EventKind) -> Value {
    let mut schema = in_draft_7(kind.json_schema().to_value());
    schema["$schema"] = DRAFT.into();
    schema
}

fn in_draft_7(schema: Value) -> Value {
    match schema {
        Value::Object(words) => Value::Object(words.into_iter().map(word).collect::<Map<_, _>>()),
        Value::Array(schemas) => schemas.into_iter().map(in_draft_7).collect(),
        other => other,
    }
}

fn word((word, value): (String, Value)) -> (String, Value) {
    match (word.as_str(), value) {
        ("$defs", defs) => ("definitions".to_owned(), in_draft_7(defs)),
        ("$ref", Value::String(reference)) => (word, reference.replacen("#/$defs/", "#/definitions/", 1).into()),
        (_, value) => (word, in_draft_7(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere_and_no_word_of_the_newer_draft_is_left() {
        fn look(root: &Value, schema: &Value) {
            if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
                assert!(root.pointer(&reference[1..]).is_some(), "{reference}");
            }
            match schema {
                Value::Object(words) => words.values().for_each(|value| look(root, value)),
                Value::Array(values) => values.iter().for_each(|value| look(root, value)),
                _ => {}
            }
        }
        for kind in EventKind::ALL {
            let schema = json_schema(*kind);
            look(&schema, &schema);
            assert!(!schema.to_string().contains("$defs"), "{kind}");
            assert!(schema["$schema"].as_str().is_some_and(|draft| draft.contains("draft-07")));
        }
    }
}
