//! `tapedeck demo`: a generated market into every role, and what to open.
//!
//! Not here: the generator.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use tapedeck_contracts::Timestamp;
use tapedeck_flow::Stop;
use tapedeck_roles::{forward_test::config::TradeSource, inference::InferenceConfig};

use super::{checked, stop_on_signals, up};
use crate::{
    backends::OwnNames,
    cli::{DemoArgs, Role},
    config::{Config, LogKind, StoreKind},
    deck::{Deck, Mode},
    exit,
    folder::Folder,
    show,
};

/// Two symbols with prices each second, strategies on bars of a second so that
/// something happens while one looks.
const DEMO: &str = r#"
[[instruments]]
venue = "SIM"
symbol = "BTCUSDT"
quote_currency = "USDT"
tick = "0.1"
lot = "0.001"

[[instruments]]
venue = "SIM"
symbol = "ETHUSDT"
quote_currency = "USDT"
tick = "0.01"
lot = "0.001"

[[strategies]]
id = "sma-crossover"
kind = "sma_crossover"
session_id = "demo"
interval = "1s"
quantity = "0.5"
fast = 5
slow = 20

[[strategies]]
id = "rsi-mean-reversion"
kind = "rsi_mean_reversion"
session_id = "demo"
symbols = ["ETHUSDT"]
interval = "1s"
quantity = "5"
period = 14

[[sessions]]
id = "demo"
account = "DEMO"
currency = "USDT"
market_source = "demo"

[inference]
enabled = "yes"
account = "DEMO"
interval = "1s"
max_size = "2"
lot = "0.001"
"#;

#[derive(serde::Deserialize)]
struct Demo {
    instruments: Vec<tapedeck_roles::instruments::Instrument>,
    strategies: Vec<tapedeck_roles::strategy::config::StrategyConfig>,
    sessions: Vec<tapedeck_roles::forward_test::config::SessionConfig>,
    inference: tapedeck_roles::inference::InferenceConfig,
}

pub(super) fn run(
    mut config: Config,
    file: Option<&Path>,
    data: Option<PathBuf>,
    args: &DemoArgs,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let is_embedded = config.log.kind == LogKind::Embedded && config.store.kind == StoreKind::Sqlite;
    if data.is_none() && !is_embedded {
        // The config's folder is that of what runs for good on these servers.
        config.data.dir.push("demo");
    }
    let config = checked(demo_config(config, args)?)?;
    let stop = Stop::new();
    stop_on_signals(&stop)?;
    let folder = Folder::claim_alone(&config.data.dir)?;
    // On servers that others use a demo shares nothing with them.
    let names = OwnNames::give(folder.dir(), &config, "demo")?;
    let mut deck = Deck::open(folder, &config, stop)?;
    deck.start(&config, &Role::ALL, Mode::Live)?;
    let url = deck.url().unwrap_or_default();
    // What a command after this one needs to find the same log and store.
    let file = file.map(|file| format!(" --config {}", file.display())).unwrap_or_default();
    let found_by = format!("--data {}{file}", config.data.dir.display());
    if json {
        show::json(&serde_json::json!({ "url": url, "account": "DEMO", "data": config.data.dir }));
    } else {
        show::out(&format!(
            "tapedeck demo: a generated market at {} into every role, kept in {}\n\n\
             open or curl:\n  \
             {url}/api/fills?limit=5\n  \
             {url}/api/pnl?interval=1s&from={}\n  \
             {url}/api/positions/latest\n  \
             {url}/api/metrics/symbols\n  \
             {url}/docs\n\n\
             and see what the specialists decide, and why:\n  \
             {url}/api/v1/forensics?limit=5\n  \
             tapedeck explain DECISION_ID {found_by}\n\n\
             Its times run ahead of the clock. Ctrl-C ends it; the same command goes on where it was.{}",
            args.speed,
            config.data.dir.display(),
            // The market of a first run begins now.
            Timestamp::from_millis(jiff::Timestamp::now().as_millisecond() - 60_000),
            names.map(|names| own_names(&names, &found_by)).unwrap_or_default(),
        ));
    }
    up::watch(deck)
}

/// Where a demo lies on servers, and how it is removed.
fn own_names(names: &OwnNames, found_by: &str) -> String {
    format!(
        "\nOn the servers its topics begin with `{}` and its tables lie in the schema `{}`; the topics go with \
         `tapedeck topics apply {found_by} --delete TOPIC…`.",
        names.prefix, names.schema,
    )
}

fn demo_config(mut config: Config, args: &DemoArgs) -> anyhow::Result<Config> {
    let demo: Demo = toml::from_str(DEMO).expect("the demo is part of this crate and tested");
    config.instruments = demo.instruments;
    config.strategies = demo.strategies;
    config.sessions = demo.sessions;
    if args.trade == TradeSource::Decisions {
        // One account trades one of the two, and nobody else would take the signals.
        config.strategies.clear();
        for session in &mut config.sessions {
            session.source = TradeSource::Decisions;
        }
    }
    // Where models come from is the user's: the demo shows what they decide.
    let models = config.inference_section.models;
    config.inference_section = InferenceConfig { models, ..demo.inference };
    let source = serde_json::json!([{
        "id": "demo", "kind": "generator", "venue": "SIM", "seed": args.seed, "speed": args.speed,
        "symbols": ["BTCUSDT", "ETHUSDT"], "step_ms": 1000,
    }]);
    config.sources =
        serde_path_to_error::deserialize(source).map_err(|error| exit::input(format!("--speed: {}", error.inner())))?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_demo_is_a_config_without_mistakes() {
        let config = crate::config::load(None, &BTreeMap::new()).unwrap();
        for trade in [TradeSource::Signals, TradeSource::Decisions] {
            let args = DemoArgs { seed: 1, speed: "20x".into(), trade };
            let config = demo_config(config.clone(), &args).unwrap();
            assert_eq!(config.check(), Vec::<String>::new());
            assert!(config.decides());
        }
    }
}
