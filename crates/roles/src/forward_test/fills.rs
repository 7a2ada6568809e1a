//! Filling: which orders an event may fill, at what price, how much of each.
//!
//! Takers pay the event's ask or get its bid (trade price, bar open), slipped
//! and put on the tick against them; makers get their limit once the price
//! trades strictly through it. A bar without an open says no price to take:
//! takers, and orders that must fill at once, wait for an event that does; a
//! limit order rests at it, and fills as a maker from the bar after it on. Volume is shared among an account's orders,
//! first accepted first; accounts do not take volume from each other.
//!
//! Not here: acceptance, marks.

use rust_decimal::Decimal;
use tapedeck_contracts::{
    Timestamp,
    events::{ExecType, Liquidity, MarketKind, OrderStatus, OrderType, Side, TimeInForce},
};

use super::{
    account::Account,
    book::{Order, unbookable},
    money::{self, Overflow},
    params::Params,
    report::{Emit, FillNote, Step, execution, reason},
    tape::{Price, Tape, Terms},
};

/// Price and liquidity of a fill that an event allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Deal {
    price: Decimal,
    liquidity: Liquidity,
    at: Timestamp,
}

/// Fills what the event fills; says whether anything was.
pub(super) fn fill(
    account: &mut Account,
    tape: &Tape,
    params: &Params,
    price: &Price,
    emit: &mut Emit<'_>,
) -> Result<bool, Overflow> {
    if !account.orders.iter().any(|order| eligible(order, price)) {
        return Ok(false);
    }
    let terms = &tape.symbols[price.symbol].terms;
    let mut left = price.left(params.volume_share, terms.lot)?;
    let mut filled = false;
    let mut at = 0;
    while at < account.orders.len() {
        if !eligible(&account.orders[at], price) {
            at += 1;
            continue;
        }
        // Taken out, so that the account can be booked while the order is at hand.
        let mut order = account.orders.remove(at);
        let deal = deal(&order, price, terms, params)?;
        let leaves = order.leaves();
        let mut quantity = match (&deal, left.of(order.side)) {
            (None, _) => Decimal::ZERO,
            (Some(_), None) => leaves,
            (Some(_), Some(cap)) => leaves.min(cap),
        };
        if order.time_in_force == TimeInForce::Fok && quantity < leaves {
            quantity = Decimal::ZERO;
        }
        order.rested = true;
        order.dirty = true;
        let deal = deal.filter(|_| quantity > Decimal::ZERO);
        if let Some(why) = deal.and_then(|deal| unbookable(account, &order, quantity, deal.price)) {
            account.closed_orders.push(order.number);
            let (exec_type, status) = (ExecType::Canceled, OrderStatus::Canceled);
            let step = Step { exec_type, status, at: emit.now, fill: None, reason: Some(why) };
            execution(emit, tape, account, &order, step)?;
            continue;
        }
        if let Some(deal) = deal {
            left.take(order.side, quantity);
            book(account, tape, params, &mut order, deal, quantity, emit)?;
            filled = true;
        }
        if order.leaves().is_zero() {
            account.closed_orders.push(order.number);
        } else if matches!(order.time_in_force, TimeInForce::Ioc | TimeInForce::Fok) {
            account.closed_orders.push(order.number);
            let why = reason("not_filled_at_once", "the first event that could fill it did not fill all of it");
            let (exec_type, status) = (ExecType::Expired, OrderStatus::Expired);
            execution(
                emit,
                tape,
                account,
                &order,
                Step { exec_type, status, at: emit.now, fill: None, reason: Some(why) },
            )?;
        } else {
            account.orders.insert(at, order);
            at += 1;
        }
    }
    Ok(filled)
}

/// Whether the event may fill the order at all. Orders are made after their
/// cause was handled, so any event that comes here is later in the log.
fn eligible(order: &Order, price: &Price) -> bool {
    order.symbol == price.symbol
        && order.fill_on.is_none_or(|kind| kind == price.kind)
        && price.taken_at.is_some_and(|at| order.ready_at.is_none_or(|ready| at >= ready))
        && (price.kind != MarketKind::Bar || price.taker(order.side).is_some() || may_rest(order))
}

/// Whether the order may wait at a limit.
fn may_rest(order: &Order) -> bool {
    order.order_type == OrderType::Limit && matches!(order.time_in_force, TimeInForce::Gtc | TimeInForce::Day)
}

fn deal(order: &Order, price: &Price, terms: &Terms, params: &Params) -> Result<Option<Deal>, Overflow> {
    let buy = order.side == Side::Buy;
    let no_worse = |a: Decimal, b: Decimal| if buy { a.min(b) } else { a.max(b) };
    if let (OrderType::Limit, Some(limit)) = (order.order_type, order.limit) {
        if order.rested {
            let through = if buy { price.low < limit } else { price.high > limit };
            let maker = Deal { price: limit, liquidity: Liquidity::Maker, at: price.time };
            return Ok(through.then_some(maker));
        }
        let marketable = price.taker(order.side).is_some_and(|taker| no_worse(taker, limit) == taker);
        if !marketable {
            return Ok(None);
        }
    }
    let (Some(taker), Some(at)) = (price.taker(order.side), price.taken_at) else { return Ok(None) };
    let slipped = money::slipped(taker, params.slippage_bps, terms.tick, buy)?;
    let paid = order.limit.map_or(slipped, |limit| no_worse(slipped, limit));
    // A seller slipped to nothing waits for a price.
    Ok((paid > Decimal::ZERO).then_some(Deal { price: paid, liquidity: Liquidity::Taker, at }))
}

fn book(
    account: &mut Account,
    tape: &Tape,
    params: &Params,
    order: &mut Order,
    deal: Deal,
    quantity: Decimal,
    emit: &mut Emit<'_>,
) -> Result<(), Overflow> {
    let signed = |amount: Decimal| if order.side == Side::Buy { amount } else { -amount };
    let notional = money::notional(quantity, deal.price)?;
    let bps = if deal.liquidity == Liquidity::Maker { params.maker_bps } else { params.taker_bps };
    let commission = money::bps_of(notional, bps)?;

    let position = account.position_mut(order.symbol, tape);
    position.dirty = true;
    let before = position.held.clone();
    let booked = position.held.book(order.side, quantity, deal.price, notional)?;
    // A fill that closes and opens pays its commission in proportion.
    let closing_cost =
        if booked.closed == quantity { commission } else { money::share_of(commission, booked.closed, quantity)? };
    let mut trip = None;
    position.held.round_trip = money::plus(before.round_trip, booked.realized)?;
    if booked.closed.is_zero() {
        position.held.round_trip = money::minus(position.held.round_trip, commission)?;
    } else {
        position.held.round_trip = money::minus(position.held.round_trip, closing_cost)?;
        if booked.closed == before.quantity.abs() {
            trip = Some(position.held.round_trip);
            position.held.round_trip = money::minus(closing_cost, commission)?;
        }
    }

    let state = &mut account.state;
    state.cash = money::minus(money::minus(state.cash, signed(notional))?, commission)?;
    state.realized = money::plus(state.realized, booked.realized)?;
    state.commission = money::plus(state.commission, commission)?;
    state.executions += 1;
    if let Some(net) = trip {
        state.performance.close_trip(net);
        state.ess.take_trip(net);
    }
    let note = FillNote {
        number: state.executions,
        quantity,
        price: deal.price,
        liquidity: deal.liquidity,
        commission,
        realized: booked.realized,
    };
    if let Some(strategy) = &order.strategy {
        account.add_filled(strategy, order.symbol, signed(quantity))?;
    }
    account.dirty = true;
    account.revalue(order.symbol, deal.price)?;
    order.filled = money::plus(order.filled, quantity)?.normalize();
    order.paid = money::plus(order.paid, notional)?;
    order.last_price = deal.price;
    let status = if order.leaves().is_zero() { OrderStatus::Filled } else { OrderStatus::PartiallyFilled };
    let step = Step { exec_type: ExecType::Trade, status, at: deal.at, fill: Some(note), reason: None };
    execution(emit, tape, account, order, step)
}
