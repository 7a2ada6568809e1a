//! The config: any file with any variables is refused in words or is a whole
//! config, which can be checked, written and read again to the same. The loader
//! is part of the binary, so its files are compiled in here.
//!
//! Not here: what the files named in a config hold.
#![no_main]
#![allow(dead_code, reason = "the binary uses more of its config than a fuzz target")]

use std::{collections::BTreeMap, fs, path::PathBuf};

use libfuzzer_sys::fuzz_target;
use tapedeck_contracts::Timestamp;
use tapedeck_fuzz::seed;
use tapedeck_roles::market::{Generator, config::SourceKind};

#[path = "../../crates/tapedeck/src/config/mod.rs"]
mod config;

/// The names of variables that the loader leaves to another part of the binary.
mod chaos {
    pub(crate) mod rehearsal {
        pub(crate) const KILL_AT: &str = "TAPEDECK_KILL_AT";
        pub(crate) const FAULTS: &str = "TAPEDECK_CHAOS_FAULTS";
    }
}

const DEFAULTS: &str = include_str!("../../crates/tapedeck/default.toml");

fuzz_target!(
    init: {
        // The lists of the defaults stand in comments; a sample has them for real.
        let lists = DEFAULTS.replace("# [[", "[[").replace("\n# ", "\n");
        seed([DEFAULTS, &lists, LISTS, "\0API_LISTEN=127.0.0.1:9\nSESSIONS=[{ id = \"s\" }]\n"]);
    },
    |input: &[u8]| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let (file, variables) = text.split_once('\0').unwrap_or((text, ""));
        let variables = variables.lines().filter_map(|line| line.split_once('='));
        let variables: BTreeMap<String, String> =
            variables.map(|(name, value)| (format!("TAPEDECK_{name}"), value.to_owned())).collect();
        match load(file, &variables) {
            Err(error) => assert!(!error.is_empty()),
            Ok(config) => walk(&config),
        }
    }
);

/// What the binary does with a config before anything starts.
fn walk(config: &config::Config) {
    let wrong = config.check();
    let _ = (config.strategies_of_sources(), config.broker_setup());
    if wrong.is_empty() {
        for source in config.sources.iter().filter(|source| source.kind == SourceKind::Generator) {
            let start = Timestamp::from_micros(1_700_000_000_000_000);
            let mut generator = Generator::new(source, start).expect("a checked generator can be made");
            for _ in 0..8 {
                let _ = generator.next_event();
            }
        }
    }
    let text = toml::to_string(config).expect("a config that was read can be written");
    let again = load(&text, &BTreeMap::new());
    assert_eq!(again.as_ref(), Ok(config), "{text}");
}

fn load(text: &str, variables: &BTreeMap<String, String>) -> Result<config::Config, String> {
    let path = PathBuf::from(format!("/dev/shm/tapedeck-fuzz-config-{}.toml", std::process::id()));
    fs::write(&path, text).expect("there is room in memory");
    let loaded = config::load(Some(&path), variables).map_err(|error| error.to_string());
    fs::remove_file(&path).expect("it was just written");
    loaded
}

const LISTS: &str = r#"
[[sources]]
id = "gen"
kind = "generator"
symbols = ["A", "B"]
events = 9
speed = "max"
interval = "1m"
start = "2024-01-01T00:00:00Z"
[[sources]]
id = "file"
kind = "file"
path = "bars.csv"
time_format = "%d.%m.%Y %H:%M"
tz = "Europe/Berlin"
columns = { time = "1", close = "Last" }
[[instruments]]
venue = "SIM"
symbol = "A"
quote_currency = "USDT"
[[strategies]]
id = "s"
kind = "rsi_mean_reversion"
session_id = "p"
symbols = ["A"]
quantity = "1"
interval = "1m"
period = 14
[[sessions]]
id = "p"
account = "ACC"
market_source = "gen"
"#;
