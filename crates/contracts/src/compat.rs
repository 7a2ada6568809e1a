//! Whether a new JSON Schema of an event still serves who reads or wrote the
//! one before: records in the log outlive the code, and old readers run beside
//! new writers.
//!
//! What passes: a field that may be absent comes or goes, words for people
//! change. Everything else that is seen here breaks somebody.
//!
//! Not here: making schemas (their types do), and keeping them (`schemas/`).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Schemas that refer to each other deeper than this are not of this crate.
const MAX_DEPTH: usize = 32;

/// What breaks between two versions of a schema, each with its JSON path; empty
/// where nothing does.
pub fn breaks(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Comparison { old_root: old, new_root: new, found: &mut found }.schema("$", old, new, 0);
    found
}

struct Comparison<'a> {
    old_root: &'a Value,
    new_root: &'a Value,
    found: &'a mut Vec<String>,
}

impl<'a> Comparison<'a> {
    fn schema(&mut self, path: &str, old: &'a Value, new: &'a Value, depth: usize) {
        let (old, new) = (resolve(self.old_root, old), resolve(self.new_root, new));
        if depth > MAX_DEPTH {
            self.found.push(format!("{path}: deeper than {MAX_DEPTH} levels"));
            return;
        }
        self.words(path, "type", as_words(old.get("type")), as_words(new.get("type")));
        self.words(path, "value", allowed(old), allowed(new));
        for key in ["pattern", "format", "minimum", "maximum", "minLength", "maxLength"] {
            if old.get(key) != new.get(key) {
                self.found.push(format!("{path}: its {key} changed"));
            }
        }
        self.fields(path, old, new, depth);
        for key in ["items", "additionalProperties"] {
            match (old.get(key), new.get(key)) {
                (Some(old), Some(new)) => self.schema(&format!("{path}[*]"), old, new, depth + 1),
                (None, None) => {}
                _ => self.found.push(format!("{path}: its {key} changed")),
            }
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            self.branches(path, key, old, new, depth);
        }
    }

    /// Words that were taken and are no longer, or that old readers do not know.
    fn words(&mut self, path: &str, what: &str, old: BTreeSet<String>, new: BTreeSet<String>) {
        for gone in old.difference(&new) {
            self.found.push(format!("{path}: the {what} {gone} is no longer taken"));
        }
        for come in new.difference(&old) {
            self.found.push(format!("{path}: readers of the version before do not know the {what} {come}"));
        }
    }

    fn fields(&mut self, path: &str, old: &'a Value, new: &'a Value, depth: usize) {
        let (old_fields, new_fields) = (fields_of(old), fields_of(new));
        let (old_required, new_required) = (as_words(old.get("required")), as_words(new.get("required")));
        for name in new_required.difference(&old_required) {
            self.found.push(format!("{path}.{name}: required now, and absent in what was written before"));
        }
        for name in old_required.difference(&new_required) {
            self.found.push(format!("{path}.{name}: readers of the version before require it"));
        }
        for (name, old) in old_fields.into_iter().flatten() {
            if let Some(new) = new_fields.and_then(|fields| fields.get(name)) {
                self.schema(&format!("{path}.{name}"), old, new, depth + 1);
            }
        }
    }

    fn branches(&mut self, path: &str, key: &str, old: &'a Value, new: &'a Value, depth: usize) {
        // Enumerations are compared as sets of words.
        if !allowed(old).is_empty() && !allowed(new).is_empty() {
            return;
        }
        let branches = |schema: &'a Value| schema.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let (old, new) = (branches(old), branches(new));
        if old.len() != new.len() {
            self.found.push(format!("{path}: {} choices became {}", old.len(), new.len()));
        }
        for (old, new) in old.iter().zip(new) {
            self.schema(path, old, new, depth + 1);
        }
    }
}

/// Follows `$ref` into `$defs`.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let Some(reference) = schema.get("$ref").and_then(Value::as_str) else { return schema };
    reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

fn fields_of(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

/// One word or a list of them.
fn as_words(value: Option<&Value>) -> BTreeSet<String> {
    match value {
        Some(Value::String(word)) => BTreeSet::from([word.clone()]),
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => BTreeSet::new(),
    }
}

/// The values that an enumeration takes, however the schema writes it.
fn allowed(schema: &Value) -> BTreeSet<String> {
    let one = |schema: &Value| -> BTreeSet<String> {
        let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        listed.chain(schema.get("const")).map(Value::to_string).collect()
    };
    let branches = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    one(schema).into_iter().chain(branches.flat_map(one)).collect()
}
