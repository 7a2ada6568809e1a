//! The Avro schema of an event, written from its JSON Schema by rule.
//!
//! | JSON Schema | Avro |
//! | --- | --- |
//! | object with fields | record, named as the contract names its type |
//! | decimal (number or string) | string, so that every digit and every zero stays |
//! | time | long, `timestamp-micros` |
//! | `double` | double |
//! | integer | long |
//! | a word of a list | string: a word that comes later breaks no reader |
//! | object with values of one sort | map |
//! | any JSON | string that holds its text, its field marked `tapedeck.format: json` |
//! | a field that may be absent | union with null, null where it is absent |
//!
//! Not here: bodies.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use tapedeck_contracts::EventKind;

/// The names of all records lie in it.
const NAMESPACE: &str = "tapedeck";
/// Marks a field whose string holds the text of any JSON.
pub(super) const FORMAT: &str = "tapedeck.format";
pub(super) const JSON: &str = "json";

/// The Avro schema of an event.
pub fn avro_schema(kind: EventKind) -> Value {
    let root = kind.json_schema().to_value();
    let mut name = camel(kind.name());
    // The root of an event in the envelope is the envelope; its data has the name.
    if root["title"] == "Envelope" {
        name.push_str("Envelope");
    }
    let mut derivation = Derivation { root: &root, named: BTreeSet::new() };
    let mut schema = derivation.record(&name, &root);
    schema["namespace"] = NAMESPACE.into();
    schema
}

struct Derivation<'a> {
    root: &'a Value,
    /// Records that are written out already.
    named: BTreeSet<String>,
}

/// What a schema becomes, and whether it is the text of any JSON.
struct Derived {
    schema: Value,
    is_json: bool,
}

impl From<Value> for Derived {
    fn from(schema: Value) -> Self {
        Self { schema, is_json: false }
    }
}

impl Derivation<'_> {
    fn record(&mut self, name: &str, schema: &Value) -> Value {
        self.named.insert(name.to_owned());
        let required: BTreeSet<&str> = words(schema, "required").collect();
        let empty = Map::new();
        let fields = schema["properties"].as_object().unwrap_or(&empty).iter();
        let fields: Vec<Value> =
            fields.map(|(name, field)| self.field(name, field, required.contains(name.as_str()))).collect();
        let mut record = json!({ "type": "record", "name": name, "fields": fields });
        if let Some(doc) = schema.get("description") {
            record["doc"] = doc.clone();
        }
        record
    }

    fn field(&mut self, name: &str, schema: &Value, is_required: bool) -> Value {
        let inner = without_null(schema);
        let Derived { schema: derived, is_json } = self.schema(inner.as_ref().unwrap_or(schema));
        let is_union = inner.is_some() || !is_required;
        let mut field = json!({ "name": name, "type": if is_union { json!(["null", derived]) } else { derived } });
        if !is_required {
            field["default"] = Value::Null;
        }
        if is_json {
            field[FORMAT] = JSON.into();
        }
        if let Some(doc) = schema.get("description") {
            field["doc"] = doc.clone();
        }
        field
    }

    fn schema(&mut self, schema: &Value) -> Derived {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let name = reference.rsplit('/').next().unwrap_or(reference);
            let target = self.root.pointer(&reference[1..]).unwrap_or(&Value::Null).clone();
            return self.named(name, &target);
        }
        if is_decimal(schema) {
            return json!("string").into();
        }
        if schema.get("format").is_some_and(|format| format == "date-time") {
            return json!({ "type": "long", "logicalType": "timestamp-micros" }).into();
        }
        if schema.get("oneOf").is_some() || schema.get("enum").is_some() {
            return json!("string").into(); // Words of a list; the contract has no other.
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("string") => json!("string").into(),
            Some("boolean") => json!("boolean").into(),
            Some("integer") => json!("long").into(),
            Some("number") => json!("double").into(),
            Some("array") => {
                let items = self.nested(&schema["items"]);
                json!({ "type": "array", "items": items }).into()
            }
            Some("object") => match schema.get("additionalProperties") {
                Some(values) if values.is_object() => {
                    let values = self.nested(values);
                    json!({ "type": "map", "values": values }).into()
                }
                _ => any(),
            },
            _ => any(),
        }
    }

    /// Inside of arrays and maps, where no field can be marked: the contract has
    /// any JSON only as a whole field.
    fn nested(&mut self, schema: &Value) -> Value {
        match without_null(schema) {
            Some(inner) => json!(["null", self.schema(&inner).schema]),
            None => self.schema(schema).schema,
        }
    }

    fn named(&mut self, name: &str, target: &Value) -> Derived {
        if target.get("properties").is_none() {
            return self.schema(target);
        }
        if self.named.contains(name) {
            return json!(format!("{NAMESPACE}.{name}")).into();
        }
        self.record(name, target).into()
    }
}

fn any() -> Derived {
    Derived { schema: json!("string"), is_json: true }
}

/// A schema that also takes null, without it; none where it takes none.
fn without_null(schema: &Value) -> Option<Value> {
    if let Some(types) = schema.get("type").and_then(Value::as_array) {
        let rest: Vec<&Value> = types.iter().filter(|word| *word != "null").collect();
        let mut inner = schema.clone();
        inner["type"] = rest.first().map_or(Value::Null, |word| (*word).clone());
        return (rest.len() < types.len()).then_some(inner);
    }
    let choices = schema.get("anyOf").and_then(Value::as_array)?;
    let is_null = |choice: &&Value| choice.get("type").is_some_and(|word| word == "null");
    let rest = choices.iter().find(|choice| !is_null(choice));
    choices.iter().any(|choice| is_null(&choice)).then(|| rest.cloned().unwrap_or_default())
}

/// Whether a schema takes a number or the text of one.
fn is_decimal(schema: &Value) -> bool {
    let choices = schema.get("anyOf").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let has = |word: &str| choices.iter().any(|choice| choice.get("type").is_some_and(|found| found == word));
    choices.len() == 2 && has("number") && has("string")
}

fn words<'a>(schema: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    schema.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// `trading_decision` as `TradingDecision`.
fn camel(name: &str) -> String {
    let upper = |part: &str| part[..1].to_uppercase() + &part[1..];
    name.split('_').filter(|part| !part.is_empty()).map(upper).collect()
}
