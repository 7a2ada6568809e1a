//! Objects in which no name may come twice: of two weights for one specialist,
//! or two features of one name, nobody can know which was meant.
//!
//! Not here: the fields of a type, where serde itself refuses a second one, and
//! what lies deeper inside free JSON, which nobody computes with.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

/// For `#[serde(deserialize_with)]`: values by name.
///
/// # Errors
/// A name comes twice, or a value is none.
pub fn map<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error> {
    deserializer.deserialize_map(Names(PhantomData))
}

/// For `#[serde(deserialize_with)]`: a free JSON object.
///
/// # Errors
/// A name comes twice at the top of the object.
pub fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    map(deserializer).map(Map::from_iter)
}

struct Names<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Names<T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut names = BTreeMap::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value()?;
            if names.contains_key(&name) {
                return Err(de::Error::custom(format_args!("duplicate field `{name}`")));
            }
            names.insert(name, value);
        }
        Ok(names)
    }
}
