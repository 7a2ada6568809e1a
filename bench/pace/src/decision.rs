//! Decisions as the trading path makes them: three specialists, twenty features of
//! full precision, all risk checks, about 1.2 KB of JSON.
//!
//! Not here: deciding.

use std::fmt::Write;

use tapedeck_contracts::{
    Dec, EventId, Timestamp,
    events::{Action, TradingDecision},
};

/// Symbols that decisions are about; each is a key of its own.
pub const SYMBOLS: usize = 16;

const FEATURES: [&str; 20] = [
    "rsi_14",
    "macd",
    "macd_signal",
    "bb_width",
    "bb_pos",
    "ema_9_21",
    "sma_20_50",
    "atr_14",
    "ret_1",
    "ret_5",
    "ret_20",
    "vol_20",
    "vol_60",
    "volume_ratio",
    "vwap_dev",
    "spread_bps",
    "imbalance",
    "momentum",
    "zscore_60",
    "skew_60",
];

/// The decision of one symbol; [`renew`] makes it the next one.
pub fn of_symbol(symbol: usize) -> TradingDecision {
    let named = |pairs: &[(&str, f64)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let mut decision = TradingDecision {
        event_type: "trading_decision".into(),
        event_id: Some(EventId(String::new())),
        schema_version: Some("1.0".into()),
        timestamp: Timestamp::from_micros(0),
        decision_id: EventId(String::new()),
        correlation_id: Some("8f14e45f-ceea-467f-a1d8-3b2c9f0a7e11".into()),
        account: Some("ACC-1".into()),
        symbol: format!("SYM{symbol:02}USDT"),
        action: Action::Buy,
        quantity: Dec::parse("0.25").expect("a decimal"),
        confidence: 0.0,
        regime_probs: named(&[("bull", 0.65), ("bear", 0.15), ("sideways", 0.2)]),
        strategy_weights: named(&[("bull_specialist", 0.6), ("bear_specialist", 0.1), ("sideways_specialist", 0.3)]),
        model_versions: [("bull_specialist", "v127"), ("bear_specialist", "v90"), ("sideways_specialist", "v44")]
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .into(),
        features: FEATURES.map(|name| (name.to_owned(), Some(0.0))).into(),
        risk_checks: ["position_limit_ok", "concentration_ok", "correlation_ok"]
            .map(|check| (check.to_owned(), true))
            .into(),
        position_before: Some(Dec::parse("1.75").expect("a decimal")),
        outcome: Default::default(),
        reasons: Vec::new(),
        failed_checks: Default::default(),
        signal: None,
    };
    renew(&mut decision, symbol as u64);
    decision
}

/// The decisions of all symbols, in turn.
pub fn of_all_symbols() -> Vec<TradingDecision> {
    (0..SYMBOLS).map(of_symbol).collect()
}

/// Which symbol the n-th decision is of.
pub fn symbol_of(n: u64) -> usize {
    (n % SYMBOLS as u64) as usize
}

/// Makes it the n-th decision of all: its own id, time and features, nothing allocated.
pub fn renew(decision: &mut TradingDecision, n: u64) {
    write_id(&mut decision.decision_id, n);
    if let Some(id) = &mut decision.event_id {
        write_id(id, n);
    }
    decision.timestamp = Timestamp::from_micros(1_700_000_000_000_000 + n as i64 * 10);
    decision.confidence = 0.5 + noise(n) / 2.0;
    let mut feature = n;
    for value in decision.features.values_mut() {
        feature = feature.wrapping_add(1);
        *value = Some(noise(feature) * 2.0 - 1.0);
    }
}

/// The id of the n-th decision; spread like random ids, and [`number`] reads it.
pub fn write_id(id: &mut EventId, n: u64) {
    id.0.clear();
    // Writing to a string cannot fail.
    let _ = write!(id.0, "{:08x}-0000-4000-8000-{n:012x}", (n as u32).wrapping_mul(0x9e37_79b9));
}

/// Which decision an id is of; none for ids of others.
pub fn number(id: &str) -> Option<u64> {
    let (_, n) = id.rsplit_once("-8000-")?;
    u64::from_str_radix(n, 16).ok()
}

/// A number from 0 up to 1 with all its digits (a mixer with SplitMix64's constants).
fn noise(n: u64) -> f64 {
    let mut x = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use tapedeck_contracts::Body;

    use super::*;

    #[test]
    fn a_renewed_decision_is_valid_and_its_id_tells_its_number() {
        let mut decision = of_symbol(3);
        renew(&mut decision, 5_999_999);
        assert_eq!(decision.validate(), Ok(()));
        assert_eq!(number(decision.decision_id.as_str()), Some(5_999_999));
        assert_eq!(number("d-1"), None);
    }
}
