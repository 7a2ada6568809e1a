//! What a replay runs: the config's strategies and sessions, or the documented
//! default, on one source made of the files.
//!
//! Not here: running it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use anyhow::Context as _;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tapedeck_roles::{
    inference::Models,
    instruments::Instrument,
    market::config::{SourceConfig, Speed},
};

use crate::{cli::ReplayArgs, config::Config, exit};

/// The source that a replay's events are numbered by.
pub(crate) const SOURCE: &str = "replay";
/// The venue where nobody says one.
const SIM: &str = "SIM";

/// What is replayed where the config has no strategies: see docs/replay.md.
const DEFAULTS: &str = r#"
[[strategies]]
id = "sma-crossover"
kind = "sma_crossover"
session_id = "replay"
fast = 10
slow = 30

[[strategies]]
id = "rsi-mean-reversion"
kind = "rsi_mean_reversion"
session_id = "replay"
period = 14

[[strategies]]
id = "breakout"
kind = "breakout"
session_id = "replay"
entry_bars = 20
exit_bars = 10

[[sessions]]
id = "replay"
account = "REPLAY"
market_source = "replay"
"#;

#[derive(serde::Deserialize)]
struct Defaults {
    strategies: Vec<tapedeck_roles::strategy::config::StrategyConfig>,
    sessions: Vec<tapedeck_roles::forward_test::config::SessionConfig>,
}

/// The config of a replay.
///
/// # Errors
/// Wrong flags; no currency known for the account.
pub(crate) fn plan(mut config: Config, args: &ReplayArgs) -> anyhow::Result<Config> {
    for file in &args.files {
        File::open(file).map_err(|error| exit::input(format!("cannot read {}: {error}", file.display())))?;
    }
    let venue = venue(&config, args);
    config.sources = vec![source(args, &venue)?];
    if config.trades_decisions() && !config.decides() {
        return Err(exit::input(
            "a session trades decisions, and nobody would make them: set inference.enabled to \"auto\" for the replay",
        ));
    }
    if config.strategies.is_empty() && !config.trades_decisions() {
        let defaults: Defaults = toml::from_str(DEFAULTS).expect("the default replay is part of this crate and tested");
        config.strategies = defaults.strategies;
        config.sessions = defaults.sessions;
        let currency = currency(&config, args, &venue)?;
        for session in &mut config.sessions {
            session.currency.clone_from(&currency);
        }
    }
    if config.inference_section.source.is_some() {
        config.inference_section.source = Some(SOURCE.to_owned());
    }
    for session in &mut config.sessions {
        SOURCE.clone_into(&mut session.market_source);
        if let Some(currency) = &args.currency {
            session.currency.clone_from(currency);
        }
    }
    Ok(config)
}

/// The venue that the flag names; else that of the instruments that are listed of the
/// symbol, where they have one.
fn venue(config: &Config, args: &ReplayArgs) -> String {
    let mut listed = listed(config, args).map(|instrument| &instrument.venue);
    let first = listed.next().filter(|first| listed.all(|other| other == *first));
    args.venue.as_ref().or(first).cloned().unwrap_or_else(|| SIM.to_owned())
}

/// The instruments of the symbol, or all where the rows of the file say it.
fn listed<'a>(config: &'a Config, args: &'a ReplayArgs) -> impl Iterator<Item = &'a Instrument> {
    config.instruments.iter().filter(|i| args.symbol.as_ref().is_none_or(|symbol| *symbol == i.symbol))
}

fn source(args: &ReplayArgs, venue: &str) -> anyhow::Result<SourceConfig> {
    let mut columns = BTreeMap::new();
    for pair in &args.columns {
        let (field, column) = pair.split_once('=').ok_or_else(|| {
            exit::input(format!("--columns {pair}: expected FIELD=COLUMN, such as price=close or time=1"))
        })?;
        columns.insert(field.to_owned(), column.to_owned());
    }
    let value = json!({
        "id": SOURCE, "kind": "file", "venue": venue, "volume_unit": args.volume_unit, "speed": args.speed,
        "paths": args.files, "symbol": args.symbol, "columns": columns, "tz": args.tz, "time_format": args.time_format,
        "bar_time": args.bar_time, "interval": args.interval,
    });
    let _: Speed = args.speed.clone().try_into().map_err(|error| exit::input(format!("--speed: {error}")))?;
    serde_path_to_error::deserialize(value)
        .map_err(|error| exit::input(format!("--{}: {}", error.path().to_string().replace('_', "-"), error.inner())))
}

/// The symbol's quote currency from the instruments, else the flag's.
fn currency(config: &Config, args: &ReplayArgs, venue: &str) -> anyhow::Result<String> {
    let mut listed = listed(config, args).filter(|i| i.venue == venue).map(|instrument| &instrument.quote_currency);
    // Symbols that stand in the file's rows: one currency for all that are listed, or it must be said.
    let first = listed.next().filter(|first| listed.all(|other| other == *first));
    first.or(args.currency.as_ref()).cloned().ok_or_else(|| {
        exit::input(
            "the account's currency is not known: give it with --currency (for BTCUSDT: --currency USDT), \
             or list the symbol under [[instruments]] in a config",
        )
    })
}

/// Everything that the executions depend on.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn settings(config: &Config, args: &ReplayArgs) -> anyhow::Result<Value> {
    let mut sources = serde_json::to_value(&config.sources)?;
    for source in sources.as_array_mut().into_iter().flatten() {
        // How fast and from where it is read does not change what is in it.
        for key in ["speed", "paths", "path"] {
            source.as_object_mut().map(|source| source.remove(key));
        }
    }
    let files: Vec<String> = args.files.iter().map(|file| sha256(file)).collect::<Result<_, _>>()?;
    let mut settings = json!({
        "files": files, "sources": sources, "instruments": config.instruments, "strategies": config.strategies,
        "sessions": config.sessions, "broker": config.broker, "risk": config.risk, "ess": config.ess,
    });
    if config.decides() {
        settings["inference"] = decides(config)?;
    }
    Ok(settings)
}

/// What decisions depend on: the section, and which models decide.
fn decides(config: &Config) -> anyhow::Result<Value> {
    let section = config.inference();
    let models = Models::open(&section).map_err(|error| exit::input(format!("the models of [inference]: {error}")))?;
    let mut value = serde_json::to_value(&section)?;
    // Where the models lie, and how they are kept, is not what is in them.
    value["models"] = json!(models.current().versions());
    Ok(value)
}

/// The first setting that differs.
pub(crate) fn difference(found: &Value, wanted: &Value) -> Option<String> {
    let (found, wanted) = (found.as_object()?, wanted.as_object()?);
    let (key, value) = wanted.iter().find(|(key, value)| found.get(*key) != Some(value))?;
    let was = found.get(key).unwrap_or(&Value::Null);
    Some(format!(
        "`{key}` differs{}",
        first_difference(was, value).map_or_else(String::new, |text| format!(": {text}"))
    ))
}

/// The innermost value that differs, with what it was and is.
fn first_difference(was: &Value, is: &Value) -> Option<String> {
    let inner = |name: &str, was: &Value, is: &Value| match first_difference(was, is) {
        Some(deeper) => format!("{name}.{deeper}"),
        None => format!("{name} was {was}, is {is}"),
    };
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => is
            .iter()
            .find(|(key, value)| was.get(*key) != Some(value))
            .map(|(key, value)| inner(key, was.get(key).unwrap_or(&Value::Null), value)),
        (Value::Array(was), Value::Array(is)) if was.len() == is.len() => {
            let (index, (was, is)) = was.iter().zip(is).enumerate().find(|(_, (was, is))| was != is)?;
            Some(inner(&format!("[{index}]"), was, is))
        }
        _ => None,
    }
}

fn sha256(path: &Path) -> anyhow::Result<String> {
    let mut file = BufReader::new(File::open(path).with_context(|| format!("cannot read {}", path.display()))?);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).with_context(|| format!("cannot read {}", path.display()))?;
        if read == 0 {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed_at(venues: &[&str]) -> Config {
        let lines = venues.iter().map(|venue| {
            format!("[[instruments]]\nvenue = \"{venue}\"\nsymbol = \"BTCUSDT\"\nquote_currency = \"USDT\"\n")
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines.collect::<String>()).unwrap();
        crate::config::load(Some(file.path()), &BTreeMap::new()).unwrap()
    }

    #[test]
    fn a_symbol_trades_where_its_instrument_does_unless_the_flag_says_otherwise() {
        let of = |symbol: &str| ReplayArgs { symbol: Some(symbol.into()), currency: None, ..ReplayArgs::example() };
        let binance = listed_at(&["BINANCE"]);
        assert_eq!(venue(&binance, &of("BTCUSDT")), "BINANCE");
        assert_eq!(currency(&binance, &of("BTCUSDT"), "BINANCE").unwrap(), "USDT");
        assert_eq!(venue(&binance, &of("ETHUSDT")), SIM);
        assert_eq!(venue(&listed_at(&["BINANCE", "KRAKEN"]), &of("BTCUSDT")), SIM);
        let said = ReplayArgs { venue: Some("KRAKEN".into()), ..of("BTCUSDT") };
        assert_eq!(venue(&binance, &said), "KRAKEN");
    }
}
