//! Reading the config: merging its three layers, and naming the line and the
//! key of a mistake.
//!
//! Not here: what the keys mean together.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::Deserialize;
use toml::{Table, Value};

use super::{
    Config,
    places::{Places, line_of},
    secrets::{self, Secrets},
};
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
    let referred = secrets::variables_referred_to(&merged, variables);
    for (variable, raw) in variables.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        if NOT_KEYS.contains(&variable.as_str()) || referred.contains(variable) {
            continue;
        }
        let Some(path) = names.get(variable) else {
            return Err(ConfigError { place: variable.clone(), detail: unknown(variable, names.keys()) });
        };
        set(&mut merged, path, value_of(raw));
        set_by.insert(path.join("."), variable.clone());
    }
    let places = Places::new(file, text, set_by);
    let mut config: Config = serde_path_to_error::deserialize(Value::Table(merged))
        .map_err(|error| explain(&error.path().to_string(), error.inner().message(), &places))?;
    config.secrets = Secrets::read(&config, variables).map_err(|(key, detail)| {
        let place = places.of(&key).unwrap_or_else(|| "config".into());
        ConfigError { place, detail: format!("`{key}`: {detail}") }
    })?;
    config.places = places;
    Ok(config)
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
                // An empty table takes any keys, so a variable gives it whole.
                Value::Table(inner) if !inner.is_empty() => walk(inner, path, names),
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
fn explain(path: &str, message: &str, places: &Places) -> ConfigError {
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
    let place = places.of(&key).unwrap_or_else(|| "config".into());
    ConfigError { place, detail: if key.is_empty() { detail } else { format!("`{key}`: {detail}") } }
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

    fn wrong(text: &str, pairs: &[(&str, &str)]) -> String {
        let file = file(text);
        match load(Some(file.path()), &variables(pairs)) {
            Ok(config) => config.check().join("; "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_value_out_of_its_range_is_named_with_its_line_or_its_variable() {
        assert!(wrong("[emitter]\n\nlinger_ms = 60000\n", &[]).contains(":3: emitter.linger_ms is 60000"));
        let said = wrong("", &[("TAPEDECK_EMITTER_LINGER_MS", "60000")]);
        assert!(said.starts_with("TAPEDECK_EMITTER_LINGER_MS: emitter.linger_ms is 60000"), "{said}");
        let session = "\n[[sessions]]\nid = \"s\"\naccount = \"A\"\nmarket_source = \"m\"\nstarting_equity = \"0\"\n";
        let said = wrong(session, &[]);
        assert!(said.contains(":6: sessions[0].starting_equity"), "{said}");
        let kafka = "[log]\nkind = \"kafka\"\n[kafka]\nprefix = \"a b\"\nlinger_ms = 9999999\n";
        let said = wrong(kafka, &[]);
        assert!(said.contains(":4: kafka.prefix") && said.contains(":5: kafka.linger_ms"), "{said}");
        let strategy = "[[strategies]]\nid = \"a\"\nkind = \"breakout\"\nsession_id = \"nobody\"\n";
        assert!(wrong(strategy, &[]).contains(":1: strategies `a`: session_id"));
    }

    const SASL: &str = "[log]\nkind = \"kafka\"\n[kafka]\nsecurity_protocol = \"sasl_ssl\"\nsasl_username = \"u\"\n";

    #[test]
    fn a_secret_is_read_from_where_the_config_refers_to_and_never_printed() {
        let text = format!("{SASL}sasl_password = \"env:TAPEDECK_BROKER_PASSWORD\"\n");
        let file = file(&text);
        let config = load(Some(file.path()), &variables(&[("TAPEDECK_BROKER_PASSWORD", "hush")])).unwrap();
        assert_eq!(config.kafka().sasl_password, "hush");
        let shown =
            format!("{config:?} {} {}", toml::to_string(&config).unwrap(), serde_json::to_string(&config).unwrap());
        assert!(!shown.contains("hush") && shown.contains("env:TAPEDECK_BROKER_PASSWORD"));
        let kept = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(kept.path(), "from a file\n").unwrap();
        let reference = format!("file:{}", kept.path().display());
        let config =
            load(None, &variables(&[("TAPEDECK_STORE_KIND", "postgres"), ("TAPEDECK_POSTGRES_PASSWORD", &reference)]));
        assert_eq!(config.unwrap().postgres().password, "from a file");
    }

    #[test]
    fn a_literal_secret_is_refused_with_how_to_write_it() {
        let said = wrong(&format!("{SASL}sasl_password = \"hush\"\n"), &[]);
        assert!(
            said.contains(":6: `kafka.sasl_password`") && said.contains("env:NAME") && !said.contains("hush"),
            "{said}"
        );
        let said = wrong("[kafka.properties]\n\"ssl.keystore.password\" = \"hush\"\n", &[]);
        assert!(said.contains("file:PATH") && !said.contains("hush"), "{said}");
        for url in ["postgres://u:hush@h/d", "host=h password=hush"] {
            let said = wrong(&format!("[postgres]\nurl = \"{url}\"\n"), &[]);
            assert!(said.contains(":2: `postgres.url`") && !said.contains("hush"), "{said}");
        }
        let said = wrong("[api]\ncursor_key = \"env:NOBODY_SETS_THIS\"\n", &[]);
        assert!(said.contains("the variable NOBODY_SETS_THIS is not set"), "{said}");
    }

    #[test]
    fn keys_of_the_embedded_log_that_do_nothing_on_a_cluster_are_told() {
        let file = file("[log]\nkind = \"kafka\"\ncompression = \"lz4\"\n");
        let idle = load(Some(file.path()), &BTreeMap::new()).unwrap().idle().join("; ");
        assert!(idle.contains(":3: log.compression is of the embedded log"), "{idle}");
        assert_eq!(load(None, &BTreeMap::new()).unwrap().idle(), Vec::<String>::new());
    }

    #[test]
    fn properties_of_librdkafka_come_from_the_file_or_from_one_variable() {
        let properties = r#"{ "socket.keepalive.enable" = "true" }"#;
        let config = load(None, &variables(&[("TAPEDECK_KAFKA_PROPERTIES", properties)])).unwrap();
        assert_eq!(config.kafka().properties["socket.keepalive.enable"], "true");
    }

    #[test]
    fn a_wrong_value_in_a_variable_names_the_variable() {
        let error = load(None, &variables(&[("TAPEDECK_RISK_DAYS_PER_YEAR", "often")])).unwrap_err().to_string();
        assert!(error.starts_with("TAPEDECK_RISK_DAYS_PER_YEAR: `risk.days_per_year`"), "{error}");
    }
}
