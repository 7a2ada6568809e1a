//! The PnL curve: cumulative realised PnL and commissions of each symbol of an
//! account, one point for each time with a report; and what is held, at each
//! risk metrics. There is no curve of the whole account's sums: its symbols come
//! from several partitions, whose order to each other is nobody's, so it is
//! summed when it is read.
//!
//! A curve's clock never goes back: a report with an earlier time than its
//! curve's newest lands at that newest time. So each point is the state after
//! some first part of the symbol's reports in the order of the log, never a
//! mixture, and the last holds them all.
//!
//! Not here: reading and writing them.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use tapedeck_contracts::events::{ExecutionReport, RiskMetrics};

use super::{poison, stats::too_large, values::exact_sum};
use crate::Result;

/// The sums of a symbol of an account, as they stand.
#[derive(Clone, Copy)]
pub(crate) struct Total {
    pub(crate) time_us: i64,
    pub(crate) realized: Decimal,
    pub(crate) fees: Decimal,
}

impl Default for Total {
    fn default() -> Self {
        Self { time_us: i64::MIN, realized: Decimal::ZERO, fees: Decimal::ZERO }
    }
}

impl Total {
    /// Adds a report. A commission in another currency than the account's is not in it.
    ///
    /// # Errors
    /// Poison where a sum would have too many digits.
    pub(crate) fn report(&mut self, report: &ExecutionReport, own_currency: bool) -> Result<()> {
        let fees = if own_currency { *report.costs.commission } else { Decimal::ZERO };
        let sums = exact_sum(self.realized, *report.pnl.realized).zip(exact_sum(self.fees, fees));
        (self.realized, self.fees) = sums.ok_or_else(|| too_large(report))?;
        self.time_us = self.time_us.max(report.timestamp.micros());
        Ok(())
    }
}

/// What is held at the metrics: the account's sum under `whole`, each held symbol
/// (`symbols` names those of the positions, in their order), and a zero for each
/// of `held_before` that is held no more. Beside it the symbols held now.
///
/// # Errors
/// Poison where a sum would have too many digits.
pub(crate) fn unrealized<S: Ord + Clone>(
    metrics: &RiskMetrics,
    symbols: &[S],
    whole: &S,
    held_before: &[S],
) -> Result<(BTreeMap<S, Decimal>, Vec<S>)> {
    let mut by_symbol = BTreeMap::from([(whole.clone(), Decimal::ZERO)]);
    by_symbol.extend(held_before.iter().map(|symbol| (symbol.clone(), Decimal::ZERO)));
    let mut held = Vec::with_capacity(symbols.len());
    for (position, symbol) in metrics.positions.iter().zip(symbols) {
        if !held.contains(symbol) {
            held.push(symbol.clone());
        }
        for key in [symbol, whole] {
            let sum = by_symbol.entry(key.clone()).or_default();
            *sum = exact_sum(*sum, *position.unrealized_pnl).ok_or_else(|| {
                poison(format!("the unrealized PnL of {} would outgrow the 28 digits of a decimal", metrics.account))
            })?;
        }
    }
    Ok((by_symbol, held))
}
