//! A line of NDJSON into cells: numbers and strings as they stand, so that no
//! binary float is ever between a price and its digits.
//!
//! Not here: which cell is what.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt,
};

use serde::{Deserialize, de};
use serde_json::value::RawValue;

use super::columns::{self, Cells, Field, plain};

/// The name of the format, for people.
pub(super) const NAME: &str = "NDJSON";

/// Which keys are which fields.
pub(super) struct Keys {
    fields: HashMap<String, (Field, usize)>,
}

impl Keys {
    pub(super) fn new(mapping: &BTreeMap<String, String>) -> Self {
        Self { fields: columns::keys(mapping) }
    }

    /// The cells of the fields in a line. A line in the standard envelope is
    /// read from its `data`.
    pub(super) fn cells<'a>(&self, line: &'a str) -> Result<Cells<Cow<'a, str>>, String> {
        let object = parse(line)?;
        match object.0.get("data") {
            Some(data) if data.get().starts_with('{') && object.0.contains_key("producer_service") => {
                self.pick(parse(data.get())?)
            }
            _ => self.pick(object),
        }
    }

    fn pick<'a>(&self, object: Object<'a>) -> Result<Cells<Cow<'a, str>>, String> {
        let mut cells: Cells<Cow<'a, str>> = [const { None }; Field::COUNT];
        // Two keys may mean one field: the likelier name wins.
        let mut ranks = [usize::MAX; Field::COUNT];
        for (key, raw) in object.0 {
            let found = self.fields.get(&*key).or_else(|| self.fields.get(&plain(&key)));
            let Some(&(field, rank)) = found else { continue };
            if rank >= ranks[field as usize] {
                continue;
            }
            if let Some(cell) = scalar(raw.get()).map_err(|detail| format!("`{key}`: {detail}"))? {
                cells[field as usize] = Some(cell);
                ranks[field as usize] = rank;
            }
        }
        Ok(cells)
    }
}

/// The members of an object, in no order that counts.
struct Object<'a>(HashMap<Cow<'a, str>, &'a RawValue>);

fn parse(line: &str) -> Result<Object<'_>, String> {
    serde_json::from_str(line).map_err(|error| format!("not a JSON object: {error}"))
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a market event")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = HashMap::new();
                while let Some((key, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    members.insert(key.0, value);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The text of a number, string or boolean; none for null.
fn scalar(raw: &str) -> Result<Option<Cow<'_, str>>, String> {
    match raw.as_bytes().first() {
        Some(b'"') if !raw.contains('\\') => Ok(Some(Cow::Borrowed(&raw[1..raw.len() - 1]))),
        Some(b'"') => {
            serde_json::from_str::<String>(raw).map(|text| Some(Cow::Owned(text))).map_err(|error| error.to_string())
        }
        Some(b'n') => Ok(None),
        Some(b'{' | b'[') => Err("expected a number or a text".into()),
        _ => Ok(Some(Cow::Borrowed(raw))),
    }
}
