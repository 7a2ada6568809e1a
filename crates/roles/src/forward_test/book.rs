//! Orders: how a signal or a decision becomes one, which are refused, how they end unfilled.
//!
//! How long an order lives: GTC until filled or canceled; DAY until the first
//! event of its source at or after the next midnight of the risk zone; IOC and
//! FOK until their first eligible event: IOC fills what it can there, FOK all
//! or nothing, and the rest expires.
//!
//! An order whose figures do not fit, with room for its price to move, is
//! rejected `too_large`: no signal can stop the books.
//!
//! The cause of an order is the newest event of its account's source, whatever
//! time a signal from outside carries. Before the first event there is none:
//! then any event may fill it.
//!
//! Not here: filling them.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tapedeck_contracts::{
    Dec, Timestamp,
    events::{
        Action, EssState, ExecType, MarketKind, OrderStatus, OrderType, Reason, Side, Signal, TimeInForce,
        TradingDecision, signal::SignalOrder,
    },
};

use super::{
    account::Account,
    money::{self, Overflow},
    params::Params,
    report::{Emit, Step, execution, reason},
    risk::{Projected, boundaries, projected},
    state::{exact, exact_opt},
    tape::Tape,
};

/// An account's open orders at most. A strategy has one a symbol; this bounds
/// what outside signals can pile up, and what a margin check walks through.
const MAX_OPEN_ORDERS: usize = 1_000;

/// No order may take an account's gross exposure up to this: money holds a
/// thousand times as much, so prices may move so far before the books end.
const MAX_GROSS: Decimal = Decimal::from_parts(0xA4C6_8000, 0x0003_8D7E, 0, false, 0);

/// An open order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Order {
    pub number: u64,
    /// Place on the tape; the state names it beside the order.
    #[serde(skip)]
    pub symbol: usize,
    pub strategy: Option<String>,
    /// The decision that it came of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    pub side: Side,
    pub order_type: OrderType,
    #[serde(with = "exact_opt")]
    pub limit: Option<Decimal>,
    pub time_in_force: TimeInForce,
    #[serde(with = "exact")]
    pub quantity: Decimal,
    #[serde(with = "exact")]
    pub filled: Decimal,
    /// Notional of what filled.
    #[serde(with = "exact")]
    pub paid: Decimal,
    /// Price of its last fill; 0 before the first.
    #[serde(with = "exact")]
    pub last_price: Decimal,
    /// Price of the event that caused it; 0 where unknown.
    #[serde(with = "exact")]
    pub reference: Decimal,
    /// Events from then on may fill it; none: from the first event on.
    pub ready_at: Option<Timestamp>,
    /// Events of this kind fill it; of any where there was none to go by.
    pub fill_on: Option<MarketKind>,
    /// Whether its first eligible event is past.
    pub rested: bool,
    /// When a DAY order ends; none until the account's first event.
    pub expires_at: Option<Timestamp>,
    #[serde(skip)]
    pub dirty: bool,
}

impl Order {
    pub(super) fn leaves(&self) -> Decimal {
        self.quantity - self.filled
    }

    /// Of what filled; none before the first fill. Notionals too small for
    /// money leave no average: then it is the last price.
    pub(super) fn average_price(&self) -> Option<Dec> {
        if self.filled.is_zero() {
            return None;
        }
        let average = money::average(self.paid, self.filled);
        Some(if average.is_zero() { Dec(self.last_price) } else { average })
    }

    /// Whether somebody wished for it; what `flatten` places only ever closes.
    fn is_wished(&self) -> bool {
        self.strategy.is_some() || self.decision.is_some()
    }

    pub(super) fn signed_leaves(&self) -> Decimal {
        if self.side == Side::Buy { self.leaves() } else { -self.leaves() }
    }
}

/// What is asked for.
struct Ask<'a> {
    symbol: usize,
    strategy: Option<&'a str>,
    decision: Option<&'a str>,
    side: Side,
    quantity: Decimal,
    terms: Option<&'a SignalOrder>,
    reference: Decimal,
    /// None before the first event.
    caused_at: Option<Timestamp>,
    late: bool,
}

/// Trades a signal of the account's session.
pub(super) fn take_signal(
    account: &mut Account,
    tape: &Tape,
    params: &Params,
    symbol: usize,
    signal: &Signal,
    late: bool,
    emit: &mut Emit<'_>,
) -> Result<(), Overflow> {
    let body = &signal.signal;
    let (side, quantity) = match (body.action, body.target_position) {
        (Action::Hold, _) => return Ok(()),
        (_, Some(target)) => {
            cancel(account, tape, emit, |order| {
                let same = order.symbol == symbol && order.strategy.as_deref() == Some(signal.strategy_id.as_str());
                same.then(|| reason("new_target", "the strategy has a new target position"))
            })?;
            let missing = money::minus(target.0, account.filled(&signal.strategy_id, symbol))?;
            if missing.is_zero() {
                return Ok(());
            }
            (if missing.is_sign_positive() { Side::Buy } else { Side::Sell }, missing.abs())
        }
        (Action::Buy, None) => (Side::Buy, body.quantity.0),
        (Action::Sell, None) => (Side::Sell, body.quantity.0),
    };
    let known = tape.symbols[symbol].state.mark.unwrap_or_default();
    let price = signal.market_data.price.0;
    let ask = Ask {
        symbol,
        strategy: Some(&signal.strategy_id),
        decision: None,
        side,
        quantity,
        terms: body.order.as_ref(),
        reference: if price > Decimal::ZERO { price } else { known },
        caused_at: tape.sources[account.source].state.time,
        late,
    };
    place(account, tape, params, &ask, emit)
}

/// Trades a decision for the account: its quantity, at the market. The event that
/// caused it has its price on the tape.
pub(super) fn take_decision(
    account: &mut Account,
    tape: &Tape,
    params: &Params,
    symbol: usize,
    decision: &TradingDecision,
    late: bool,
    emit: &mut Emit<'_>,
) -> Result<(), Overflow> {
    let side = match decision.action {
        Action::Hold => return Ok(()),
        Action::Buy => Side::Buy,
        Action::Sell => Side::Sell,
    };
    let ask = Ask {
        symbol,
        strategy: None,
        decision: Some(decision.decision_id.as_str()),
        side,
        quantity: decision.quantity.0,
        terms: None,
        reference: tape.symbols[symbol].state.mark.unwrap_or_default(),
        caused_at: tape.sources[account.source].state.time,
        late,
    };
    place(account, tape, params, &ask, emit)
}

/// Orders that close every position, at the market, whatever ESS says. What
/// strategies held is forgotten: it is closed for them.
pub(super) fn flatten(
    account: &mut Account,
    tape: &Tape,
    params: &Params,
    emit: &mut Emit<'_>,
) -> Result<(), Overflow> {
    let held: Vec<(usize, Decimal)> = account.positions.iter().map(|p| (p.symbol, p.held.quantity)).collect();
    for (symbol, held) in held.into_iter().filter(|(_, quantity)| !quantity.is_zero()) {
        account.forget_filled(symbol);
        let ask = Ask {
            symbol,
            strategy: None,
            decision: None,
            side: if held.is_sign_positive() { Side::Sell } else { Side::Buy },
            quantity: held.abs(),
            terms: None,
            reference: tape.symbols[symbol].state.mark.unwrap_or_default(),
            caused_at: tape.sources[account.source].state.time,
            late: false,
        };
        place(account, tape, params, &ask, emit)?;
    }
    Ok(())
}

fn place(
    account: &mut Account,
    tape: &Tape,
    params: &Params,
    ask: &Ask<'_>,
    emit: &mut Emit<'_>,
) -> Result<(), Overflow> {
    let terms = &tape.symbols[ask.symbol].terms;
    let order_type = ask.terms.map_or(OrderType::Market, |terms| terms.order_type);
    let time_in_force = ask.terms.and_then(|terms| terms.time_in_force).unwrap_or(TimeInForce::Gtc);
    let limit = match order_type {
        OrderType::Limit | OrderType::StopLimit => ask.terms.and_then(|terms| terms.limit_price).map(|limit| limit.0),
        OrderType::Market | OrderType::Stop => None,
    };
    account.state.orders += 1;
    account.dirty = true;
    let mut order = Order {
        number: account.state.orders,
        symbol: ask.symbol,
        strategy: ask.strategy.map(str::to_owned),
        decision: ask.decision.map(str::to_owned),
        side: ask.side,
        order_type,
        limit,
        time_in_force,
        quantity: ask.quantity,
        filled: Decimal::ZERO,
        paid: Decimal::ZERO,
        last_price: Decimal::ZERO,
        reference: ask.reference,
        ready_at: ask.caused_at.map(|at| at.plus_micros(params.latency_us)),
        fill_on: account.fill_on.or(tape.symbols[ask.symbol].state.kind),
        rested: false,
        expires_at: ask
            .caused_at
            .filter(|_| time_in_force == TimeInForce::Day)
            .map(|at| boundaries(at, &params.zone).0),
        dirty: true,
    };
    if let Some(refused) = refusal(account, tape, &order).unwrap_or_else(|Overflow| Some(too_large(&order))) {
        let step = Step {
            exec_type: ExecType::Rejected,
            status: OrderStatus::Rejected,
            at: emit.now,
            fill: None,
            reason: Some(refused),
        };
        return execution(emit, tape, account, &order, step);
    }
    order.quantity = money::floor_to(order.quantity, terms.lot)?;
    if let Some(limit) = order.limit {
        order.limit = Some(money::limit_on_tick(limit, terms.tick, order.side == Side::Buy)?);
    }
    let late = ask.late.then(|| match ask.decision {
        None => reason("late_signal", "the signal came after its market event was passed"),
        Some(_) => reason("late_decision", "the decision came after its market event was passed"),
    });
    let step = Step { exec_type: ExecType::New, status: OrderStatus::New, at: emit.now, fill: None, reason: late };
    execution(emit, tape, account, &order, step)?;
    account.orders.push(order);
    Ok(())
}

fn too_large(order: &Order) -> Reason {
    let size = order.quantity.normalize();
    let at = order.limit.map(|limit| format!(" at {}", limit.normalize())).unwrap_or_default();
    reason("too_large", format!("the figures of an order of {size}{at} do not fit the books; trade smaller quantities"))
}

/// Why a fill cannot be booked: its order is larger than the books at the price
/// that came. What reduces a position always can.
pub(super) fn unbookable(account: &Account, order: &Order, quantity: Decimal, price: Decimal) -> Option<Reason> {
    let held = account.quantity(order.symbol);
    let signed = if order.side == Side::Buy { quantity } else { -quantity };
    let size = money::plus(held, signed).map(|after| (after.abs() > held.abs()).then_some(after.abs().max(quantity)));
    let fits = match size {
        Ok(None) => true,
        Ok(Some(size)) => money::notional(size, price).is_ok_and(|gross| gross < MAX_GROSS),
        Err(Overflow) => false,
    };
    (!fits).then(|| too_large(order))
}

/// Why an order is not taken; none where it is.
///
/// # Errors
/// A figure of the order does not fit.
fn refusal(account: &Account, tape: &Tape, order: &Order) -> Result<Option<Reason>, Overflow> {
    let symbol = &tape.symbols[order.symbol];
    let (terms, currency) = (&symbol.terms, &account.state.currency);
    if !matches!(order.order_type, OrderType::Market | OrderType::Limit) {
        return Ok(Some(reason("unsupported", "the paper broker takes MARKET and LIMIT orders")));
    }
    let quantity = money::floor_to(order.quantity, terms.lot)?;
    if order.order_type == OrderType::Limit {
        let Some(limit) = order.limit else {
            return Ok(Some(reason("limit_missing", "a LIMIT order needs order.limit_price")));
        };
        let on_tick = money::limit_on_tick(limit, terms.tick, order.side == Side::Buy)?;
        money::wire(on_tick)?;
        if money::notional(quantity, on_tick)? >= MAX_GROSS {
            return Ok(Some(too_large(order)));
        }
        if on_tick <= Decimal::ZERO {
            return Ok(Some(reason("limit_invalid", format!("no price on the tick is above 0 at limit {limit}"))));
        }
    }
    if quantity.is_zero() {
        let text = format!("{} is less than one lot of {}", order.quantity.normalize(), terms.lot.normalize());
        return Ok(Some(reason("below_lot", text)));
    }
    if let Some(quoted) = terms.currency.as_ref().filter(|quoted| *quoted != currency) {
        let text = format!("{} is quoted in {quoted}, the account is in {currency}", symbol.name);
        return Ok(Some(reason("wrong_currency", text)));
    }
    let same_side = account.orders.iter().filter(|open| open.symbol == order.symbol && open.side == order.side);
    let open = same_side.map(Order::leaves).try_fold(Decimal::ZERO, money::plus)?;
    let held = account.quantity(order.symbol);
    let against = !held.is_zero() && held.is_sign_positive() != (order.side == Side::Buy);
    let reduces = against && money::plus(open, quantity)? <= held.abs();
    let ess = &account.state.ess;
    if ess.state != EssState::Armed && !reduces && order.is_wished() {
        let code = if ess.state == EssState::Tripped { "ess_tripped" } else { "ess_cooling" };
        let text = format!("only orders that reduce are taken: {}", ess.reason.as_deref().unwrap_or("ESS"));
        return Ok(Some(reason(code, text)));
    }
    if account.orders.len() >= MAX_OPEN_ORDERS {
        return Ok(Some(reason("too_many_orders", format!("{MAX_OPEN_ORDERS} orders are open already"))));
    }
    if reduces {
        // It frees margin: an account in trouble must be able to get out.
        return Ok(None);
    }
    let price = symbol.state.mark.unwrap_or(order.reference);
    let signed = if order.side == Side::Buy { quantity } else { -quantity };
    let Projected { gross, margin } = projected(account, tape, order.symbol, signed, price)?;
    let equity = account.equity();
    if margin > equity {
        let text = format!("projected margin {} exceeds equity {}", margin.normalize(), equity.normalize());
        return Ok(Some(reason("insufficient_margin", text)));
    }
    Ok((gross >= MAX_GROSS).then(|| too_large(order)))
}

/// Cancels the open orders that `why` gives a reason for.
pub(super) fn cancel(
    account: &mut Account,
    tape: &Tape,
    emit: &mut Emit<'_>,
    why: impl Fn(&Order) -> Option<Reason>,
) -> Result<(), Overflow> {
    end(account, tape, emit, ExecType::Canceled, OrderStatus::Canceled, why)
}

/// Ends the DAY orders whose day is over.
pub(super) fn expire(account: &mut Account, tape: &Tape, emit: &mut Emit<'_>) -> Result<(), Overflow> {
    let now = emit.now;
    end(account, tape, emit, ExecType::Expired, OrderStatus::Expired, |order| {
        order.expires_at.filter(|end| now >= *end).map(|_| reason("day_over", "the day of a DAY order is over"))
    })
}

fn end(
    account: &mut Account,
    tape: &Tape,
    emit: &mut Emit<'_>,
    exec_type: ExecType,
    status: OrderStatus,
    why: impl Fn(&Order) -> Option<Reason>,
) -> Result<(), Overflow> {
    let mut at = 0;
    while at < account.orders.len() {
        let Some(why) = why(&account.orders[at]) else {
            at += 1;
            continue;
        };
        let order = account.orders.remove(at);
        account.closed_orders.push(order.number);
        let step = Step { exec_type, status, at: emit.now, fill: None, reason: Some(why) };
        execution(emit, tape, account, &order, step)?;
    }
    Ok(())
}
