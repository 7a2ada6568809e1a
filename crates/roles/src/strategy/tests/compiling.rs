//! Configs: what is told of them when they are loaded.
//!
//! Not here: reading TOML, which the binary does.

use tapedeck_contracts::events::signal::CompilationStatus;

use super::{breakout, closes, config, dec, rsi, sma};
use crate::strategy::{Strategies, StrategyConfig, config::StrategyKind};

fn diagnostics(config: StrategyConfig) -> Vec<String> {
    let (_, compilations) = Strategies::compile(&[config]);
    assert_eq!(compilations.len(), 1);
    assert_eq!(compilations[0].status == CompilationStatus::Failed, !compilations[0].diagnostics.is_empty());
    compilations[0].diagnostics.clone()
}

#[test]
fn defaults_make_strategies_that_run() {
    for kind in [StrategyKind::SmaCrossover, StrategyKind::RsiMeanReversion, StrategyKind::Breakout] {
        assert_eq!(diagnostics(config("s", kind)), Vec::<String>::new());
    }
}

#[test]
fn each_mistake_is_told_with_its_key() {
    for (config, expected) in [
        (sma(30, 10), "fast: expected less than slow (10), found 30"),
        (sma(10, 10), "fast: expected less than slow (10), found 10"),
        (sma(0, 10), "fast: expected 1 to 5000 bars, found 0"),
        (sma(1, 5_001), "slow: expected 1 to 5000 bars, found 5001"),
        (rsi(0), "period: expected 1 to 5000 bars, found 0"),
        (StrategyConfig { oversold: Some(dec("50")), ..rsi(14) }, "oversold: expected 0 to less than 50, found 50"),
        (
            StrategyConfig { overbought: Some(dec("101")), ..rsi(14) },
            "overbought: expected more than 50 to 100, found 101",
        ),
        (breakout(20, 0), "exit_bars: expected 1 to 5000 bars, found 0"),
        (StrategyConfig { quantity: dec("-1"), ..sma(1, 2) }, "quantity: expected a decimal over 0, found -1"),
        (
            StrategyConfig { interval: "soon".into(), ..sma(1, 2) },
            "interval: expected a number over 0 and s, m, h or d, found \"soon\"",
        ),
        (StrategyConfig { id: String::new(), ..sma(1, 2) }, "id: expected 1 to 128 bytes, found 0"),
        (
            StrategyConfig { id: "a/b".into(), ..sma(1, 2) },
            "id: expected no `/`, which divides the keys of its state, found \"a/b\"",
        ),
        (StrategyConfig { session_id: "x".repeat(129), ..sma(1, 2) }, "session_id: expected 1 to 128 bytes, found 129"),
        (StrategyConfig { symbols: vec![String::new()], ..sma(1, 2) }, "symbols: expected 1 to 128 bytes, found 0"),
        (
            StrategyConfig { period: Some(14), ..sma(1, 2) },
            "period: belongs to rsi_mean_reversion, and this is sma_crossover",
        ),
    ] {
        assert_eq!(diagnostics(config), [expected]);
    }
    let two = StrategyConfig { quantity: dec("0"), ..sma(5, 2) };
    assert_eq!(diagnostics(two).len(), 2, "all mistakes are told at once");
}

#[test]
fn a_strategy_that_failed_does_not_stop_the_others() {
    let configs = [
        StrategyConfig { id: "bad".into(), ..sma(3, 2) },
        sma(2, 3),
        StrategyConfig { quantity: dec("5"), ..sma(2, 3) },
    ];
    let (mut strategies, compilations) = Strategies::compile(&configs);
    let told: Vec<_> = compilations.iter().map(|told| (told.strategy_id.as_str(), told.status)).collect();
    let (failed, ran) = (CompilationStatus::Failed, CompilationStatus::Succeeded);
    assert_eq!(told, [("bad", failed), ("sma", ran), ("sma", failed)]);
    assert_eq!(compilations[2].diagnostics, [r#"id: "sma" is taken by a strategy before"#]);
    let signals: Vec<_> = closes(&["10", "10", "10", "13"]).iter().flat_map(|bar| strategies.market(bar)).collect();
    assert_eq!(signals.len(), 1);
    assert_eq!(signals[0].signal.quantity, dec("1"));
}

#[test]
fn the_version_follows_the_settings_and_not_how_they_were_written() {
    let version = |config: StrategyConfig| Strategies::compile(&[config]).1[0].version.clone();
    assert_eq!(version(config("sma", StrategyKind::SmaCrossover)), version(sma(10, 30)));
    assert_eq!(version(sma(10, 30)), version(StrategyConfig { quantity: dec("1.0"), ..sma(10, 30) }));
    assert_ne!(version(sma(10, 30)), version(sma(10, 31)));
    assert_ne!(version(sma(10, 30)), version(StrategyConfig { long_only: true, ..sma(10, 30) }));
}
