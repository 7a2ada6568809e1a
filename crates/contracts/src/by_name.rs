//! Values by name, in few pieces of memory: a decision has thirty names, and a tree
//! of texts would ask for memory thirty times, each time that one is read.
//!
//! Not here: which names an event has.

use std::{
    borrow::{Borrow, Cow},
    cmp::Ordering,
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    ops::Index,
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Values by name, in the order of the names' bytes, no name twice. It does what a
/// `BTreeMap<String, T>` does for maps that are made once and read often.
#[derive(Clone)]
pub struct ByName<T> {
    /// All names, one behind the other.
    names: String,
    /// Where each name ends, and its value.
    entries: Vec<(usize, T)>,
}

impl<T> ByName<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The names, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|at| self.name(at))
    }

    /// The values, in the order of their names.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &T> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// The values, to be changed.
    pub fn values_mut(&mut self) -> impl ExactSizeIterator<Item = &mut T> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.keys().zip(self.values())
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.find(name).ok().map(|at| &self.entries[at].1)
    }

    /// Whether there is a value of that name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Whether both have the same names. Takes no memory, and hardly any time.
    pub fn has_names_of<U>(&self, other: &ByName<U>) -> bool {
        let ends = |(one, other): (&(usize, T), &(usize, U))| one.0 == other.0;
        self.names == other.names && self.len() == other.len() && self.entries.iter().zip(&other.entries).all(ends)
    }

    /// Puts a value under a name; the one that was there before.
    pub fn insert(&mut self, name: &str, value: T) -> Option<T> {
        match self.find(name) {
            Ok(at) => Some(std::mem::replace(&mut self.entries[at].1, value)),
            Err(at) => {
                let start = self.start(at);
                self.names.insert_str(start, name);
                self.entries.insert(at, (start, value));
                self.entries[at..].iter_mut().for_each(|(end, _)| *end += name.len());
                None
            }
        }
    }

    /// Takes a name and its value away.
    pub fn remove(&mut self, name: &str) -> Option<T> {
        let at = self.find(name).ok()?;
        self.names.replace_range(self.start(at)..self.entries[at].0, "");
        let (_, value) = self.entries.remove(at);
        self.entries[at..].iter_mut().for_each(|(end, _)| *end -= name.len());
        Some(value)
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        self.names.clear();
        self.entries.clear();
    }

    /// Makes room for so many.
    pub(crate) fn reserve(&mut self, count: usize) {
        self.entries.reserve(count);
        self.names.reserve(count * NAME_BYTES);
    }

    /// Puts a name behind the others, where that is its place; else gives the value back.
    pub(crate) fn push(&mut self, name: &str, value: T) -> Result<(), T> {
        if self.len().checked_sub(1).is_some_and(|last| self.name(last) >= name) {
            return Err(value);
        }
        self.names.push_str(name);
        self.entries.push((self.names.len(), value));
        Ok(())
    }

    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.entries[before].0)
    }

    fn name(&self, at: usize) -> &str {
        &self.names[self.start(at)..self.entries[at].0]
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = usize::midpoint(from, to);
            match self.name(middle).cmp(name) {
                Ordering::Equal => return Ok(middle),
                Ordering::Less => from = middle + 1,
                Ordering::Greater => to = middle,
            }
        }
        Err(from)
    }
}

/// What most names are shorter than.
const NAME_BYTES: usize = 16;

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self { names: String::new(), entries: Vec::new() }
    }
}

impl<T: PartialEq> PartialEq for ByName<T> {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names && self.entries == other.entries
    }
}

impl<T: PartialEq> PartialEq<BTreeMap<String, T>> for ByName<T> {
    fn eq(&self, other: &BTreeMap<String, T>) -> bool {
        self.iter().eq(other.iter().map(|(name, value)| (name.as_str(), value)))
    }
}

impl<T: PartialEq> PartialEq<ByName<T>> for BTreeMap<String, T> {
    fn eq(&self, other: &ByName<T>) -> bool {
        other == self
    }
}

impl<T: fmt::Debug> fmt::Debug for ByName<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Panics where there is no such name, as maps do.
impl<T> Index<&str> for ByName<T> {
    type Output = T;

    fn index(&self, name: &str) -> &T {
        self.get(name).expect("no value of this name")
    }
}

/// In any order; of a name that comes again, the last value counts.
impl<K: Borrow<str> + Ord, T> FromIterator<(K, T)> for ByName<T> {
    fn from_iter<I: IntoIterator<Item = (K, T)>>(items: I) -> Self {
        let sorted: BTreeMap<K, T> = items.into_iter().collect();
        let mut all = Self::default();
        all.reserve(sorted.len());
        for (name, value) in sorted {
            all.names.push_str(name.borrow());
            all.entries.push((all.names.len(), value));
        }
        all
    }
}

impl<K: Borrow<str> + Ord, T, const N: usize> From<[(K, T); N]> for ByName<T> {
    fn from(items: [(K, T); N]) -> Self {
        items.into_iter().collect()
    }
}

impl<T: Serialize> Serialize for ByName<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ByName<T> {
    /// A name that comes twice is an error: nobody can know which value was meant.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for ByName<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        BTreeMap::<String, T>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, T>::json_schema(generator)
    }
}

struct Reader<T>(PhantomData<T>);

/// A name, where it can be as it lies in the text.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Reader<T> {
    type Value = ByName<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut access: A) -> Result<ByName<T>, A::Error> {
        let mut sorted = ByName::default();
        // Names that are out of order, which would be inserted in the midst of many.
        let mut others: BTreeMap<String, T> = BTreeMap::new();
        while let Some(Name(name)) = access.next_key()? {
            let value = access.next_value()?;
            if sorted.contains_key(&name) || others.contains_key(&*name) {
                return Err(de::Error::custom(format_args!("duplicate field `{name}`")));
            }
            if let Err(value) = sorted.push(&name, value) {
                others.insert(name.into_owned(), value);
            }
        }
        if others.is_empty() {
            return Ok(sorted);
        }
        let ByName { names, entries } = sorted;
        let mut start = 0;
        for (end, value) in entries {
            others.insert(names[start..end].to_owned(), value);
            start = end;
        }
        Ok(others.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn both(pairs: &[(String, u8)]) -> (ByName<u8>, BTreeMap<String, u8>) {
        (pairs.iter().cloned().collect(), pairs.iter().cloned().collect())
    }

    #[test]
    fn names_that_run_together_the_same_way_are_still_others() {
        let one: ByName<u8> = [("a", 1), ("bc", 2)].into();
        let other: ByName<u8> = [("ab", 1), ("c", 2)].into();
        assert!(!one.has_names_of(&other) && one != other);
        assert!(one.has_names_of(&ByName::from([("bc", ()), ("a", ())])));
    }

    #[test]
    fn an_object_with_a_name_twice_is_refused_wherever_it_stands() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"b":1,"a":2,"b":3}"#, r#"{"b":1,"a":2,"a":3}"#] {
            let found = serde_json::from_str::<ByName<u8>>(text).unwrap_err().to_string();
            assert!(found.starts_with("duplicate field"), "{found}");
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map(
            pairs in prop::collection::vec(("[a-cé\"]{0,3}", 0..9_u8), 0..20),
            changes in prop::collection::vec(("[a-cé\"]{0,3}", prop::option::of(0..9_u8)), 0..20),
        ) {
            let (mut ours, mut map) = both(&pairs);
            for (name, value) in &changes {
                prop_assert_eq!(ours.get(name), map.get(name));
                match value {
                    Some(value) => prop_assert_eq!(ours.insert(name, *value), map.insert(name.clone(), *value)),
                    None => prop_assert_eq!(ours.remove(name), map.remove(name)),
                }
                prop_assert_eq!((&ours, ours.len()), (&map.clone().into_iter().collect(), map.len()));
                prop_assert!(ours == map);
            }
        }

        #[test]
        fn it_is_written_and_read_as_a_map_is(pairs in prop::collection::vec(("[a-cé\"\n]{0,3}", 0..9_u8), 0..12)) {
            let (ours, map) = both(&pairs);
            let text = serde_json::to_string(&map).unwrap();
            prop_assert_eq!(serde_json::to_string(&ours).unwrap(), text.as_str());
            prop_assert_eq!(&serde_json::from_str::<ByName<u8>>(&text).unwrap(), &ours);
            let backwards: Vec<String> = map.iter().rev().map(|(k, v)| format!("{}:{v}", serde_json::json!(k))).collect();
            let backwards = format!("{{{}}}", backwards.join(","));
            prop_assert_eq!(serde_json::from_str::<ByName<u8>>(&backwards).unwrap(), ours);
        }
    }
}
