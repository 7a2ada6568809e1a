//! Which changes of a schema break somebody.
//!
//! Not here: the kept schemas themselves (`kept.rs`).

#![allow(clippy::unwrap_used, reason = "what fails here should stop the test")]

use serde_json::{Value, json};
use tapedeck_contracts::{EventKind, compat::breaks};

fn schema() -> Value {
    EventKind::ExecutionReport.json_schema().into()
}

/// What breaks when one place (a JSON pointer) of the schema becomes another value.
fn after(pointer: &str, value: Value) -> Vec<String> {
    let mut new = schema();
    *new.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    breaks(&schema(), &new)
}

fn without(pointer: &str, name: &str) -> Value {
    let mut value = schema().pointer(pointer).unwrap().clone();
    match &mut value {
        Value::Object(fields) => assert!(fields.remove(name).is_some(), "{pointer} has no {name}"),
        Value::Array(words) => words.retain(|word| word != name),
        other => panic!("{other}"),
    }
    value
}

#[test]
fn the_same_schema_breaks_nobody() {
    for kind in EventKind::ALL {
        assert_eq!(breaks(&kind.json_schema().into(), &kind.json_schema().into()), Vec::<String>::new());
    }
}

#[test]
fn an_added_optional_field_passes_at_any_depth() {
    for pointer in ["/properties", "/$defs/Order/properties"] {
        let mut fields = schema().pointer(pointer).unwrap().clone();
        fields["settle_date"] = json!({"type": ["string", "null"]});
        assert_eq!(after(pointer, fields), Vec::<String>::new());
    }
}

#[test]
fn words_for_people_may_change() {
    assert_eq!(after("/description", json!("anything")), Vec::<String>::new());
    assert_eq!(after("/properties/account/description", json!("anything")), Vec::<String>::new());
}

#[test]
fn a_new_required_field_fails() {
    let mut required = schema().pointer("/$defs/Order/required").unwrap().clone();
    required.as_array_mut().unwrap().push(json!("limit_price"));
    assert_eq!(
        after("/$defs/Order/required", required),
        ["$.order.limit_price: required now, and absent in what was written before"]
    );
}

#[test]
fn a_field_that_readers_require_may_not_go() {
    let found = after("/required", without("/required", "venue"));
    assert_eq!(found, ["$.venue: readers of the version before require it"]);
}

#[test]
fn an_enumeration_may_neither_shrink_nor_grow() {
    let mut shrunk = schema().pointer("/$defs/Side/oneOf").unwrap().clone();
    shrunk.as_array_mut().unwrap().pop();
    let found = after("/$defs/Side/oneOf", shrunk);
    assert_eq!(found, [r#"$.order.side: the value "SELL" is no longer taken"#]);

    let mut grown = schema().pointer("/$defs/Side/oneOf").unwrap().clone();
    grown.as_array_mut().unwrap().push(json!({"const": "SHORT", "type": "string"}));
    let found = after("/$defs/Side/oneOf", grown);
    assert_eq!(found, [r#"$.order.side: readers of the version before do not know the value "SHORT""#]);
}

#[test]
fn a_type_may_not_change() {
    let found = after("/properties/account/type", json!("integer"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("$.account: the type string is no longer taken"), "{found:?}");
    assert!(!after("/properties/account/type", json!(["string", "null"])).is_empty(), "readers would not expect null");
    assert!(!after("/properties/decision_id/type", json!("string")).is_empty(), "null was written before");
    let narrowed = json!([{"type": "string"}]);
    assert!(!after("/$defs/Decimal/anyOf", narrowed).is_empty(), "numbers were written before");
}

#[test]
fn lists_and_maps_are_looked_into() {
    let old = Value::from(EventKind::RiskMetrics.json_schema());
    let mut new = old.clone();
    *new.pointer_mut("/$defs/PositionView/required").unwrap() = json!([]);
    assert!(breaks(&old, &new)[0].starts_with("$.positions[*]."), "{:?}", breaks(&old, &new));
    let mut new = old.clone();
    *new.pointer_mut("/$defs/Exposure/properties/by_venue/additionalProperties").unwrap() = json!({"type": "string"});
    assert!(breaks(&old, &new)[0].starts_with("$.exposure.by_venue[*]"), "{:?}", breaks(&old, &new));
}
