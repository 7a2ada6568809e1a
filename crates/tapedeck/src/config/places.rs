//! Where a key of the effective config was set: the variable, or the line of the
//! file.
//!
//! Not here: what is wrong with it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use tapedeck_roles::strategy::StrategyConfig;
use toml::de::DeTable;

/// The file and the variables that a config was made of.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    file: Option<(PathBuf, String)>,
    /// The variable of each key that one set.
    set_by: BTreeMap<String, String>,
}

/// Where a value was set is no part of what it is.
impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Places {
    /// Of a file with its text, and of variables by the key that they set.
    pub(super) fn new(file: Option<&Path>, text: Option<String>, set_by: BTreeMap<String, String>) -> Self {
        Self { file: file.map(Path::to_owned).zip(text), set_by }
    }

    /// The place of a key (`a.b`, `list[1].c`): a variable, or the line of the
    /// longest part of it that stands in the file. None without a file.
    pub(super) fn of(&self, key: &str) -> Option<String> {
        let is_it = |set: &str| key == set || key.strip_prefix(set).is_some_and(|rest| rest.starts_with(['[', '.']));
        if let Some((_, variable)) = self.set_by.iter().find(|(set, _)| is_it(set)) {
            return Some(variable.clone());
        }
        let (file, text) = self.file.as_ref()?;
        let at = position(text, key).map_or(0, |(at, _)| at);
        Some(format!("{}:{}", file.display(), line_of(text, at)))
    }

    /// Whether a variable or the file sets a key.
    pub(super) fn is_set(&self, key: &str) -> bool {
        let whole = |text: &str| position(text, key).is_some_and(|(_, whole)| whole);
        self.set_by.contains_key(key) || self.file.as_ref().is_some_and(|(_, text)| whole(text))
    }

    /// The place of the key that a text begins with; none where that stands
    /// nowhere, since the text then is about a default.
    pub(super) fn of_text(&self, text: &str, strategies: &[StrategyConfig]) -> Option<String> {
        let key = key_of(text, strategies)?;
        let mut part = key.as_str();
        while !self.is_set(part) {
            part = &part[..part.rfind(['.', '['])?];
        }
        self.of(&key)
    }
}

/// The key at the beginning of a text: `log.kind is …`, ``sources[0] `id`: …``,
/// ``strategies `id`: …``.
fn key_of(text: &str, strategies: &[StrategyConfig]) -> Option<String> {
    let length = text.find(|c: char| !(c.is_ascii_alphanumeric() || "_.[]".contains(c))).unwrap_or(text.len());
    let (key, rest) = text.split_at(length);
    let quoted = |rest: &str| Some(rest.trim_start().strip_prefix('`')?.split('`').next()?.to_owned());
    let mut key = key.trim_end_matches('.').to_owned();
    if key == "strategies" {
        let id = quoted(rest)?;
        key = format!("strategies[{}]", strategies.iter().position(|strategy| strategy.id == id)?);
    }
    // What follows the id is the key within the entry, where it is quoted.
    if key.ends_with(']')
        && let Some((_, detail)) = rest.split_once("`: ")
        && let Some(inner) = quoted(detail).filter(|_| detail.starts_with('`'))
    {
        key = format!("{key}.{inner}");
    }
    (!key.is_empty()).then_some(key)
}

/// The byte at which the key of a path (`a.b`, `list[1].c`) stands, or of the
/// longest part of it that stands anywhere; and whether the whole path does.
fn position(text: &str, path: &str) -> Option<(usize, bool)> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut at = None;
    let mut steps = path.split('.').peekable();
    while let Some(step) = steps.next() {
        let (name, index) = match step.split_once('[') {
            Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
            None => (step, None),
        };
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else { break };
        at = Some(key.span().start);
        let mut value = value;
        if let (Some(index), Some(array)) = (index, value.get_ref().as_array()) {
            let Some(entry) = array.get(index) else { break };
            value = entry;
            at = Some(value.span().start);
        }
        if steps.peek().is_none() {
            return at.map(|at| (at, true));
        }
        match value.get_ref().as_table() {
            Some(inner) => table = inner,
            None => break,
        }
    }
    at.map(|at| (at, false))
}

pub(super) fn line_of(text: &str, byte: usize) -> usize {
    text.as_bytes()[..byte.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}
