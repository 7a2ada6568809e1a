//! What the process of a rehearsal is configured with: the config that was given,
//! a door of its own, and a small market with a paper account.
//!
//! Not here: the load.

use std::path::Path;

use serde_json::json;

use super::load::Ack;
use crate::config::Config;

/// The paper account.
pub(super) const PAPER: &str = "CHAOS-PAPER";
/// What the third client asks for.
pub(super) const SECOND_PROMISE: Ack = Ack::Spool;

const MARKET: &str = r#"
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
session_id = "chaos"
interval = "1s"
quantity = "0.5"
fast = 5
slow = 20

[[sessions]]
id = "chaos"
account = "CHAOS-PAPER"
currency = "USDT"
market_source = "chaos"
"#;

#[derive(serde::Deserialize)]
struct Market {
    instruments: Vec<tapedeck_roles::instruments::Instrument>,
    strategies: Vec<tapedeck_roles::strategy::config::StrategyConfig>,
    sessions: Vec<tapedeck_roles::forward_test::config::SessionConfig>,
}

/// The config of the process.
///
/// # Errors
/// What is given makes no sense together with the market.
pub(super) fn config(mut config: Config, data: &Path) -> anyhow::Result<Config> {
    "127.0.0.1:0".clone_into(&mut config.api.listen);
    // The clients of a rehearsal are one address.
    config.api.rate_limit_per_s = config.api.rate_limit_per_s.max(100_000);
    config.api.rate_limit_burst = config.api.rate_limit_burst.max(100_000);
    // A life lasts a second: in it the breaker must open, close, and open again.
    config.emitter.breaker_failures = config.emitter.breaker_failures.min(2);
    config.emitter.breaker_open_ms = config.emitter.breaker_open_ms.min(100);
    // Rings that are soon full, and go with the folder.
    config.emitter.ring_bytes = config.emitter.ring_bytes.min(4 << 20);
    config.emitter.ring_dir = data.join("rings").display().to_string();
    let market: Market = toml::from_str(MARKET).expect("the market is part of this crate and tested");
    (config.instruments, config.strategies, config.sessions) = (market.instruments, market.strategies, market.sessions);
    // The same seed always: a folder that is used again goes on with its market.
    config.sources = serde_json::from_value(json!([{
        "id": "chaos", "kind": "generator", "venue": "SIM", "seed": 1, "speed": "60x",
        "symbols": ["BTCUSDT", "ETHUSDT"], "step_ms": 1000,
    }]))?;
    crate::commands::checked(config)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_config_of_a_rehearsal_has_no_mistakes_and_is_read_back_from_its_file() {
        let config = config(crate::config::load(None, &BTreeMap::new()).unwrap(), Path::new("data")).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), toml::to_string_pretty(&config).unwrap()).unwrap();
        assert_eq!(crate::config::load(Some(file.path()), &BTreeMap::new()).unwrap(), config);
        assert_eq!(config.sessions[0].account, PAPER);
    }
}
