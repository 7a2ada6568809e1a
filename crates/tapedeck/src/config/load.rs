//! Reading the config: merging its three layers, and naming the line and the
//! key of a mistake.
//!
//! Not here: what the keys mean together.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::{Table, Value, de::DeTable};

use super::Config;
use crate::chaos::rehearsal;

/// Every key at its default.
const DEFAULTS: &str = include_str!("../../default.toml");
/// What begins every variable of the environment that is a key.
const PREFIX: &str = "TAPEDECK_";
/// The lists, which have no default entry to be found by.
const LISTS: [&str; 4] = ["sources", "instruments", "strategies", "sessions"];
/// Variables that are not keys of the config.
const NOT_KEYS: [&str; 5] = ["TAPEDECK_CONFIG", "TAPEDECK_LOG", "TAPEDECK_DATA", rehearsal::KILL_AT, rehearsal::FAULTS];

/// A mistake in the config, with its place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ConfigError {
    place: String,
    detail: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.detail)
    }
}

impl std::error::Error for ConfigError {}

/// Reads the defaults, the file over them, and the variables over both.
///
/// # Errors
/// Names file and line, or the variable, and the key that is wrong, with the
/// nearest key that exists.
pub(crate) fn load(file: Option<&Path>, variables: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
    let mut merged: Table = toml::from_str(DEFAULTS).expect("default.toml is part of this crate and tested");
    let names = names_of(&merged);
    let text = file.map(read).transpose()?;
    if let (Some(path), Some(text)) = (file, &text) {
        let over: Table = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            ConfigError { place: format!("{}:{line}", path.display()), detail: error.message().to_owned() }
        })?;
        merge(&mut merged, over);
    }
    let mut set_by = BTreeMap::new();
    for (variable, raw) in variables.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        if NOT_KEYS.contains(&variable.as_str()) {
            continue;
        }
        let Some(path) = names.get(variable) else {
            return Err(ConfigError { place: variable.clone(), detail: unknown(variable, names.keys()) });
        };
        set(&mut merged, path, value_of(raw));
        set_by.insert(path.join("."), variable.clone());
    }
    serde_path_to_error::deserialize(Value::Table(merged))
        .map_err(|error| explain(&error.path().to_string(), error.inner().message(), file, text.as_deref(), &set_by))
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError {
        place: path.display().to_string(),
        detail: format!("{error}; name another file with --config"),
    })
}

/// The variable of each key: `api.listen` is `TAPEDECK_API_LISTEN`.
fn names_of(defaults: &Table) -> BTreeMap<String, Vec<String>> {
    fn walk(table: &Table, path: &mut Vec<String>, names: &mut BTreeMap<String, Vec<String>>) {
        for (key, value) in table {
            path.push(key.clone());
            match value {
                Value::Table(inner) => walk(inner, path, names),
                _ => {
                    names.insert(format!("{PREFIX}{}", path.join("_").to_uppercase()), path.clone());
                }
            }
            path.pop();
        }
    }
    let mut names = BTreeMap::new();
    walk(defaults, &mut Vec::new(), &mut names);
    for list in LISTS {
        names.insert(format!("{PREFIX}{}", list.to_uppercase()), vec![list.to_owned()]);
    }
    names
}

fn merge(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

fn set(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), value);
        }
        [section, rest @ ..] => {
            if let Some(Value::Table(inner)) = table.get_mut(section) {
                set(inner, rest, value);
            }
        }
    }
}

/// A variable's text as a TOML value where it is one, else as a string.
fn value_of(raw: &str) -> Value {
    #[derive(Deserialize)]
    struct One {
        v: Value,
    }
    toml::from_str::<One>(&format!("v = {raw}")).map_or_else(|_| Value::String(raw.to_owned()), |one| one.v)
}

/// Finds where a path of the merged table was set, and says what is wrong.
fn explain(
    path: &str,
    message: &str,
    file: Option<&Path>,
    text: Option<&str>,
    set_by: &BTreeMap<String, String>,
) -> ConfigError {
    let message = message.lines().next().unwrap_or(message);
    let bad_key = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    let parent = if path == "." { "" } else { path };
    let key = match bad_key {
        Some(bad) if parent.is_empty() => bad.to_owned(),
        Some(bad) if parent == bad || parent.ends_with(&format!(".{bad}")) => parent.to_owned(),
        Some(bad) => format!("{parent}.{bad}"),
        None => parent.to_owned(),
    };
    let detail = match bad_key {
        Some(bad) => {
            let known: Vec<String> = message.split('`').skip(3).step_by(2).map(str::to_owned).collect();
            unknown(bad, known.iter())
        }
        None => message.to_owned(),
    };
    let variable = set_by.iter().find(|(set, _)| key == **set || key.starts_with(&format!("{set}[")));
    let place = match (variable, file, text) {
        (Some((_, variable)), ..) => variable.clone(),
        (None, Some(file), Some(text)) => {
            format!("{}:{}", file.display(), line_of(text, position(text, &key).unwrap_or(0)))
        }
        _ => PathBuf::from("config").display().to_string(),
    };
    ConfigError { place, detail: if key.is_empty() { detail } else { format!("`{key}`: {detail}") } }
}

/// The byte at which the key of a path (`a.b`, `list[1].c`) stands, or of the
/// longest part of it that stands anywhere.
fn position(text: &str, path: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut at = None;
    for step in path.split('.') {
        let (name, index) = match step.split_once('[') {
            Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
            None => (step, None),
        };
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else { break };
        at = Some(key.span().start);
        let mut value = value;
        if let (Some(index), Some(array)) = (index, value.get_ref().as_array()) {
            value = array.get(index)?;
            at = Some(value.span().start);
        }
        match value.get_ref().as_table() {
            Some(inner) => table = inner,
            None => break,
        }
    }
    at
}

fn line_of(text: &str, byte: usize) -> usize {
    text.as_bytes()[..byte.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let nearest = known.map(|key| (strsim::jaro_winkler(name, key), key)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        // Below this two words have little in common, and a hint would mislead.
        Some((likeness, key)) if likeness > 0.7 => format!("there is no such key; did you mean `{key}`?"),
        _ => "there is no such key; `tapedeck config show` prints all that exist".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn the_defaults_are_a_whole_config_without_mistakes() {
        let config = load(None, &BTreeMap::new()).unwrap();
        assert_eq!(config.check(), Vec::<String>::new());
        assert_eq!(config.api.listen, "127.0.0.1:7380");
    }

    #[test]
    fn a_file_overrides_only_what_it_names() {
        let file = file("[api]\nlisten = \"127.0.0.1:9\"\n");
        let config = load(Some(file.path()), &BTreeMap::new()).unwrap();
        assert_eq!(config.api.listen, "127.0.0.1:9");
        assert_eq!(config.delivery.batch_max_records, 8192);
    }

    #[test]
    fn a_variable_overrides_the_file() {
        let file = file("[api]\nlisten = \"127.0.0.1:9\"\n");
        let config = load(Some(file.path()), &variables(&[("TAPEDECK_API_LISTEN", "127.0.0.1:10")])).unwrap();
        assert_eq!(config.api.listen, "127.0.0.1:10");
    }

    #[test]
    fn a_list_can_come_from_a_variable() {
        let sessions = r#"[{ id = "s", account = "A", market_source = "m" }]"#;
        let config = load(None, &variables(&[("TAPEDECK_SESSIONS", sessions)])).unwrap();
        assert_eq!(config.sessions[0].account, "A");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_that_exists() {
        let file = file("[broker]\nlatency_ms = 5\nslipage_bps = \"1\"\n");
        let error = load(Some(file.path()), &BTreeMap::new()).unwrap_err().to_string();
        assert!(
            error.ends_with(":3: `broker.slipage_bps`: there is no such key; did you mean `slippage_bps`?"),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_key_inside_a_list_is_named_with_its_line() {
        let file = file(
            "[[sessions]]\nid = \"s\"\naccount = \"A\"\nmarket_source = \"m\"\n\n[[sessions]]\nid = \"t\"\nacount = \"B\"\n",
        );
        let error = load(Some(file.path()), &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains(":8: `sessions[1].acount`") && error.contains("did you mean `account`"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_with_its_line() {
        let file = file("\n[delivery]\nbatch_max_records = \"many\"\n");
        let error = load(Some(file.path()), &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains(":3: `delivery.batch_max_records`"), "{error}");
    }

    #[test]
    fn a_syntax_error_is_named_with_its_line() {
        let file = file("[api]\nlisten = \n");
        let error = load(Some(file.path()), &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains(":2: "), "{error}");
    }

    #[test]
    fn an_unknown_variable_is_an_error_with_the_nearest() {
        let error = load(None, &variables(&[("TAPEDECK_API_LISTN", "x")])).unwrap_err().to_string();
        assert_eq!(error, "TAPEDECK_API_LISTN: there is no such key; did you mean `TAPEDECK_API_LISTEN`?");
    }

    #[test]
    fn a_wrong_value_in_a_variable_names_the_variable() {
        let error = load(None, &variables(&[("TAPEDECK_RISK_DAYS_PER_YEAR", "often")])).unwrap_err().to_string();
        assert!(error.starts_with("TAPEDECK_RISK_DAYS_PER_YEAR: `risk.days_per_year`"), "{error}");
    }
}
