//! An account: its money, its positions as signed quantity and signed cost, and
//! the booking of a fill. No average price is kept: what a closing releases is
//! its share of the cost, so the identity of the contract holds to the last digit.
//!
//! Not here: orders, risk figures, reports.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tapedeck_contracts::{
    Timestamp,
    events::{MarketKind, Side},
};

use super::{
    book::Order,
    config::{SessionConfig, TradeSource},
    ess::EssRecord,
    money::{self, Overflow},
    performance::Performance,
    risk::Peaks,
    state::exact,
    tape::Tape,
};

/// A position of an account in a symbol.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Holding {
    /// Signed.
    #[serde(with = "exact")]
    pub quantity: Decimal,
    /// Signed: what was paid for it, less what was released.
    #[serde(with = "exact")]
    pub cost: Decimal,
    /// Realised less commissions since it was last flat.
    #[serde(with = "exact")]
    pub round_trip: Decimal,
}

/// A holding, where it is, and what it is worth.
#[derive(Clone)]
pub(super) struct Position {
    pub symbol: usize,
    pub held: Holding,
    /// round(quantity · price last seen), signed.
    pub value: Decimal,
    pub dirty: bool,
}

/// The part of an account that is kept in one key of the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AccountState {
    pub currency: String,
    #[serde(with = "exact")]
    pub start: Decimal,
    #[serde(with = "exact")]
    pub cash: Decimal,
    #[serde(with = "exact")]
    pub realized: Decimal,
    #[serde(with = "exact")]
    pub commission: Decimal,
    /// Orders so far: the number of the last.
    pub orders: u64,
    /// Fills so far: the number of the last.
    pub executions: u64,
    /// Signals and decisions that came after their root was passed.
    pub late_signals: u64,
    /// The newest event's time; none before the first.
    pub time: Option<Timestamp>,
    /// When the next figures are due.
    pub metrics_due: Timestamp,
    /// When the next figures of the session are due.
    pub session_due: Timestamp,
    /// Whether the identity is broken and has been alerted.
    pub mismatch: bool,
    pub peaks: Peaks,
    pub ess: EssRecord,
    pub performance: Performance,
}

/// An account and the session that trades it.
#[derive(Clone)]
pub(super) struct Account {
    pub id: String,
    pub session: String,
    /// What it trades.
    pub trades: TradeSource,
    pub source: usize,
    pub fill_on: Option<MarketKind>,
    pub max_gross: Decimal,
    pub state: AccountState,
    /// By venue and symbol name, so that sums of floats have one order.
    pub positions: Vec<Position>,
    /// Place in `positions` by symbol.
    slots: Vec<Option<usize>>,
    /// Sum of the positions' values.
    pub value: Decimal,
    /// Open orders, first accepted first.
    pub orders: Vec<Order>,
    /// Filled quantity by strategy and symbol; zeros are left out.
    pub strategies: BTreeMap<(String, usize), Decimal>,
    /// Whether the event at hand filled an order.
    pub filled: bool,
    pub dirty: bool,
    /// Keys of `strategies` that changed.
    pub changed_strategies: Vec<(String, usize)>,
    /// Numbers of orders that are no longer open.
    pub closed_orders: Vec<u64>,
}

/// What a fill did to a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Booked {
    /// Before costs.
    pub realized: Decimal,
    /// Part of the fill that closed.
    pub closed: Decimal,
}

impl Holding {
    /// Books a fill: what closes releases its share of the cost, a fill that
    /// crosses zero opens with the remainder of its notional.
    pub(super) fn book(
        &mut self,
        side: Side,
        quantity: Decimal,
        price: Decimal,
        notional: Decimal,
    ) -> Result<Booked, Overflow> {
        let signed = |amount: Decimal| if side == Side::Buy { amount } else { -amount };
        let opposite = !self.quantity.is_zero() && self.quantity.is_sign_positive() != (side == Side::Buy);
        let size = self.quantity.abs();
        let closed = if opposite { size.min(quantity) } else { Decimal::ZERO };
        let mut realized = Decimal::ZERO;
        let mut opening = notional;
        if opposite {
            let closing = if closed == quantity { notional } else { money::notional(closed, price)? };
            let released = if closed == size { self.cost } else { money::share_of(self.cost, closed, size)? };
            // A sale brings its notional in, a purchase pays it.
            realized = money::minus(-signed(closing), released)?;
            self.cost = money::minus(self.cost, released)?;
            opening = money::minus(notional, closing)?;
        }
        self.quantity = money::plus(self.quantity, signed(quantity))?.normalize();
        if closed < quantity {
            self.cost = money::plus(self.cost, signed(opening))?;
        }
        self.cost = self.cost.normalize();
        Ok(Booked { realized, closed })
    }
}

impl Account {
    pub(super) fn new(session: &SessionConfig, source: usize, state: AccountState) -> Self {
        Self {
            id: session.account.clone(),
            session: session.id.clone(),
            trades: session.source,
            source,
            fill_on: session.fill_on,
            max_gross: session.max_gross.unwrap_or(session.starting_equity).0,
            state,
            positions: Vec::new(),
            slots: Vec::new(),
            value: Decimal::ZERO,
            orders: Vec::new(),
            strategies: BTreeMap::new(),
            filled: false,
            dirty: false,
            changed_strategies: Vec::new(),
            closed_orders: Vec::new(),
        }
    }

    /// Cash and positions at their last prices.
    pub(super) fn equity(&self) -> Decimal {
        self.state.cash + self.value
    }

    /// Realised less commissions, and unrealised.
    pub(super) fn unrealized(&self) -> Decimal {
        self.positions.iter().map(|position| position.value - position.held.cost).sum()
    }

    /// Σ realized − Σ commission + unrealized = equity − start, to the last digit.
    pub(super) fn identity_holds(&self) -> bool {
        let made = self.state.realized - self.state.commission + self.unrealized();
        made == self.equity() - self.state.start
    }

    pub(super) fn position(&self, symbol: usize) -> Option<&Position> {
        let slot = self.slots.get(symbol).copied().flatten()?;
        self.positions.get(slot)
    }

    /// Signed quantity held.
    pub(super) fn quantity(&self, symbol: usize) -> Decimal {
        self.position(symbol).map_or(Decimal::ZERO, |position| position.held.quantity)
    }

    /// The position in a symbol, made where it is new.
    pub(super) fn position_mut(&mut self, symbol: usize, tape: &Tape) -> &mut Position {
        if let Some(slot) = self.slots.get(symbol).copied().flatten() {
            return &mut self.positions[slot];
        }
        let name = |at: usize| (&tape.symbols[at].venue, &tape.symbols[at].name);
        let slot = self.positions.partition_point(|position| name(position.symbol) < name(symbol));
        let empty = Position { symbol, held: Holding::default(), value: Decimal::ZERO, dirty: false };
        self.positions.insert(slot, empty);
        self.slots.resize(tape.symbols.len(), None);
        for (at, position) in self.positions.iter().enumerate() {
            self.slots[position.symbol] = Some(at);
        }
        &mut self.positions[slot]
    }

    /// Values the position in a symbol at a price; says whether there is one.
    pub(super) fn revalue(&mut self, symbol: usize, price: Decimal) -> Result<bool, Overflow> {
        let Some(slot) = self.slots.get(symbol).copied().flatten() else { return Ok(false) };
        let position = &mut self.positions[slot];
        if position.held.quantity.is_zero() && position.value.is_zero() {
            return Ok(false);
        }
        let value = money::notional(position.held.quantity, price)?;
        self.value = money::plus(self.value, money::minus(value, position.value)?)?;
        position.value = value;
        Ok(true)
    }

    /// What the strategy's fills in the symbol add up to.
    pub(super) fn filled(&self, strategy: &str, symbol: usize) -> Decimal {
        self.strategies.get(&(strategy.to_owned(), symbol)).copied().unwrap_or_default()
    }

    /// Adds a fill to what the strategy holds in the symbol.
    pub(super) fn add_filled(&mut self, strategy: &str, symbol: usize, signed: Decimal) -> Result<(), Overflow> {
        let key = (strategy.to_owned(), symbol);
        let sum = money::plus(self.filled(strategy, symbol), signed)?.normalize();
        if sum.is_zero() {
            self.strategies.remove(&key);
        } else {
            self.strategies.insert(key.clone(), sum);
        }
        self.changed_strategies.push(key);
        Ok(())
    }

    /// Forgets what strategies hold in the symbol: their position was closed for them.
    pub(super) fn forget_filled(&mut self, symbol: usize) {
        let keys: Vec<_> = self.strategies.keys().filter(|(_, at)| *at == symbol).cloned().collect();
        for key in keys {
            self.strategies.remove(&key);
            self.changed_strategies.push(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        Decimal::from_str_exact(text).unwrap()
    }

    fn book(held: &mut Holding, side: Side, quantity: &str, price: &str) -> Booked {
        let notional = money::notional(d(quantity), d(price)).unwrap();
        held.book(side, d(quantity), d(price), notional).unwrap()
    }

    #[test]
    fn a_closing_releases_its_share_of_the_cost_and_a_flat_position_all_of_it() {
        let mut held = Holding::default();
        book(&mut held, Side::Buy, "3", "33.33333333");
        assert_eq!(held.cost, d("99.99999999"));
        let sold = book(&mut held, Side::Sell, "1", "40");
        assert_eq!((sold.realized, held.cost), (d("6.66666667"), d("66.66666666")));
        let sold = book(&mut held, Side::Sell, "2", "40");
        assert_eq!((sold.realized, held.cost, held.quantity), (d("13.33333334"), d("0"), d("0")));
    }

    #[test]
    fn a_fill_that_crosses_zero_closes_first_and_opens_with_the_remainder() {
        let mut held = Holding::default();
        book(&mut held, Side::Buy, "2", "100");
        let flipped = book(&mut held, Side::Sell, "5", "110");
        assert_eq!(flipped, Booked { realized: d("20"), closed: d("2") });
        assert_eq!((held.quantity, held.cost), (d("-3"), d("-330")));
        let covered = book(&mut held, Side::Buy, "3", "100");
        assert_eq!((covered.realized, held.quantity, held.cost), (d("30"), d("0"), d("0")));
    }
}
