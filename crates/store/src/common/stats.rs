//! Statistics by account, venue and symbol, as running sums: what one report
//! adds to them.
//!
//! Not here: reading and writing them.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use tapedeck_contracts::{
    Dec,
    events::{ExecType, ExecutionReport, Fill, Side},
};

use super::{
    poison,
    values::{exact_sum, money_product, money_share},
};
use crate::{Result, StoreError, SymbolStats};

/// The fill that a correction replaces or a cancel takes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replaced {
    pub(crate) side: Side,
    pub(crate) quantity: Decimal,
    pub(crate) price: Decimal,
}

/// The sums of one account, venue and symbol.
#[derive(Default)]
pub(crate) struct Stat {
    pub(crate) fills: i64,
    pub(crate) volume: Decimal,
    pub(crate) turnover: Decimal,
    pub(crate) realized: Decimal,
    /// Signed quantity by the fills alone: what makes a round trip.
    pub(crate) position: Decimal,
    /// Realised less commissions since the position was last flat.
    pub(crate) trip_net: Decimal,
    pub(crate) round_trips: i64,
    pub(crate) round_trips_won: i64,
    /// Sum of slippage times notional, and of those notionals: a mean in basis
    /// points is a figure for the eye, so binary floats do.
    pub(crate) slippage_sum: f64,
    pub(crate) slippage_weight: f64,
    pub(crate) fees: BTreeMap<String, Decimal>,
}

impl Stat {
    /// Adds a report. A cancel takes the fill it names out of count, volume and
    /// turnover, a correction puts its own in the place of it; where the named
    /// fill is not kept (any more), only realised PnL and commission count.
    ///
    /// # Errors
    /// Poison where a sum would have too many digits.
    pub(crate) fn report(
        &mut self,
        report: &ExecutionReport,
        replaced: Option<Replaced>,
        own_currency: bool,
    ) -> Result<()> {
        self.add(report, replaced, own_currency).ok_or_else(|| too_large(report))
    }

    fn add(&mut self, report: &ExecutionReport, replaced: Option<Replaced>, own_currency: bool) -> Option<()> {
        self.realized = exact_sum(self.realized, *report.pnl.realized)?;
        let commission = *report.costs.commission;
        if !commission.is_zero() {
            let fees = self.fees.entry(report.costs.currency.clone()).or_default();
            *fees = exact_sum(*fees, commission)?;
        }
        let before = self.position;
        if let Some(fill) = &report.fill {
            self.fill(report, fill, replaced)?;
        }
        if before.is_zero() && self.position.is_zero() {
            return Some(());
        }
        // A flip closes one trip and opens the next; each pays its share of the
        // commission, as in the paper broker's books.
        let flipped = !before.is_zero()
            && !self.position.is_zero()
            && before.is_sign_negative() != self.position.is_sign_negative();
        let commission = if own_currency { commission } else { Decimal::ZERO };
        let closing = match &report.fill {
            Some(fill) if flipped => money_share(commission, before.abs(), *fill.last_qty)?,
            _ => commission,
        };
        self.trip_net = exact_sum(exact_sum(self.trip_net, *report.pnl.realized)?, -closing)?;
        if self.position.is_zero() || flipped {
            self.round_trips += 1;
            self.round_trips_won += i64::from(self.trip_net > Decimal::ZERO);
            self.trip_net = closing - commission;
        }
        Some(())
    }

    fn fill(&mut self, report: &ExecutionReport, fill: &Fill, replaced: Option<Replaced>) -> Option<()> {
        let own = Replaced { side: report.order.side, quantity: *fill.last_qty, price: *fill.last_px };
        match (report.exec_type, replaced) {
            (ExecType::TradeCancel, Some(old)) => self.count(old, -1),
            (ExecType::TradeCorrect, Some(old)) => self.count(old, -1).and_then(|()| self.count(own, 1)),
            (ExecType::TradeCancel | ExecType::TradeCorrect, None) => Some(()),
            _ => {
                let notional = money_product(own.quantity, own.price)?;
                if let Some(bps) = report.costs.slippage_bps {
                    let weight = f64::try_from(notional).ok()?;
                    self.slippage_sum += bps * weight;
                    self.slippage_weight += weight;
                }
                self.count(own, 1)
            }
        }
    }

    fn count(&mut self, fill: Replaced, times: i64) -> Option<()> {
        let times_decimal = Decimal::from(times);
        let bought = if fill.side == Side::Buy { times_decimal } else { -times_decimal };
        self.fills += times;
        self.volume = exact_sum(self.volume, fill.quantity * times_decimal)?;
        self.turnover = exact_sum(self.turnover, money_product(fill.quantity, fill.price)? * times_decimal)?;
        self.position = exact_sum(self.position, fill.quantity * bought)?;
        Some(())
    }
}

impl Stat {
    /// The answer to a query.
    pub(crate) fn into_answer(
        mut self,
        account: String,
        venue: String,
        symbol: String,
        currency: String,
        unrealized: Decimal,
    ) -> SymbolStats {
        let fees = self.fees.remove(&currency).unwrap_or_default();
        let other_fees = self.fees.into_iter().filter(|(_, total)| !total.is_zero());
        SymbolStats {
            account,
            venue,
            symbol,
            currency,
            fills: self.fills.max(0).unsigned_abs(),
            volume: Dec(self.volume),
            turnover: Dec(self.turnover),
            fees: Dec(fees),
            other_fees: other_fees.map(|(currency, total)| (currency, Dec(total))).collect(),
            realized: Dec(self.realized),
            unrealized: Dec(unrealized),
            round_trips: self.round_trips.unsigned_abs(),
            round_trips_won: self.round_trips_won.unsigned_abs(),
            slippage_bps: (self.slippage_weight > 0.0).then(|| self.slippage_sum / self.slippage_weight),
        }
    }
}

/// The error of a report that makes a sum outgrow a decimal.
pub(crate) fn too_large(report: &ExecutionReport) -> StoreError {
    poison(format!(
        "the sums of {} in {} would outgrow the 28 digits of a decimal: look at its quantities and prices",
        report.account, report.symbol
    ))
}
