//! When and at what price orders fill: worked by hand.
//!
//! Not here: what is refused, and random flow.

use tapedeck_contracts::events::{
    Action, ExecType, Liquidity, MarketData, MarketKind, OrderStatus, OrderType, TimeInForce,
};
use tapedeck_roles::market::config::VolumeUnit;

use crate::desk::{Desk, at, bar, d, dec, instrument, limit, quote, setup, signal, target, trade, with_order};

fn pairs(fills: &[(&str, &str)]) -> Vec<(String, String)> {
    fills.iter().map(|(quantity, price)| ((*quantity).into(), (*price).into())).collect()
}

#[test]
fn an_order_never_fills_at_the_price_that_caused_it() {
    // Every price is there once, so a fill's price names its event.
    let mut desk = Desk::new(setup());
    assert_eq!(desk.market(trade("A", 0, "101")).fills(), []);
    let placed = desk.signal(signal("A", Action::Buy, "1"));
    assert_eq!(placed.report().exec_type, ExecType::New);
    assert_eq!(desk.market(trade("A", 1, "102")).fills(), pairs(&[("1", "102")]));

    let mut desk = Desk::new(setup());
    desk.market(quote("A", 0, "99", "101"));
    desk.signal(signal("A", Action::Sell, "1"));
    assert_eq!(desk.market(quote("A", 0, "98", "102")).fills(), pairs(&[("1", "98")]), "equal times, a later event");

    let mut desk = Desk::new(setup());
    desk.market(bar("A", 60, ["100", "110", "90", "105"]));
    desk.signal(signal("A", Action::Buy, "1"));
    let said = desk.market(bar("A", 120, ["106", "111", "91", "107"]));
    assert_eq!(said.fills(), pairs(&[("1", "106")]));
    assert_eq!(said.report().timestamp, at(60), "a fill at a bar's open carries the bar's start");
}

#[test]
fn latency_is_counted_from_the_cause_and_a_bar_must_start_after_it() {
    let mut setup = setup();
    setup.broker.latency_ms = 1_500;
    let mut desk = Desk::new(setup.clone());
    desk.market(trade("A", 0, "100"));
    desk.signal(signal("A", Action::Buy, "1"));
    assert_eq!(desk.market(trade("A", 1, "101")).fills(), []);
    assert_eq!(desk.market(trade("A", 2, "102")).fills(), pairs(&[("1", "102")]));

    let mut desk = Desk::new(setup);
    desk.market(bar("A", 60, ["100", "110", "90", "105"]));
    desk.signal(signal("A", Action::Buy, "1"));
    assert_eq!(desk.market(bar("A", 120, ["106", "111", "91", "107"])).fills(), [], "it started at the cause");
    assert_eq!(desk.market(bar("A", 180, ["108", "112", "92", "109"])).fills(), pairs(&[("1", "108")]));
}

#[test]
fn only_the_kind_that_caused_an_order_fills_it_unless_told() {
    let mut first = setup();
    let mut desk = Desk::new(first.clone());
    desk.market(quote("A", 0, "99", "101"));
    desk.signal(signal("A", Action::Buy, "1"));
    assert_eq!(desk.market(trade("A", 1, "100")).fills(), []);
    assert_eq!(desk.market(quote("B", 1, "9", "11")).fills(), []);
    assert_eq!(desk.market(quote("A", 2, "100", "102")).fills(), pairs(&[("1", "102")]));

    first.sessions[0].fill_on = Some(MarketKind::Trade);
    let mut desk = Desk::new(first);
    desk.market(quote("A", 0, "99", "101"));
    desk.signal(signal("A", Action::Buy, "1"));
    assert_eq!(desk.market(quote("A", 1, "100", "102")).fills(), []);
    assert_eq!(desk.market(trade("A", 2, "103")).fills(), pairs(&[("1", "103")]));
}

#[test]
fn a_bar_that_is_not_final_neither_fills_nor_marks() {
    let mut desk = Desk::new(setup());
    desk.market(bar("A", 60, ["100", "110", "90", "105"]));
    desk.signal(signal("A", Action::Buy, "1"));
    let mut open = bar("A", 120, ["106", "111", "91", "107"]);
    open.is_final = Some(false);
    assert_eq!(desk.market(open).0, []);
    assert_eq!(desk.market(bar("A", 120, ["106", "111", "91", "108"])).fills(), pairs(&[("1", "106")]));
}

#[test]
fn takers_pay_spread_then_slippage_then_tick_and_commission() {
    let mut setup = setup();
    setup.instruments.push(instrument("A", "0.05", "0.01"));
    setup.broker.slippage_bps = dec("2");
    setup.broker.taker_commission_bps = dec("4");
    let mut desk = Desk::new(setup);
    desk.market(quote("A", 0, "99.9", "100.1"));
    desk.signal(signal("A", Action::Buy, "1.239"));
    // 100.2 · 1.0002 = 100.22004, up to 100.25; 1.239 down to 1.23; 123.3075 · 4 bps = 0.049323.
    let said = desk.market(quote("A", 1, "100", "100.2"));
    let report = said.report();
    assert_eq!(said.fills(), pairs(&[("1.23", "100.25")]));
    assert_eq!(report.costs.commission, dec("0.049323"));
    assert_eq!(report.costs.slippage_bps, Some(25.0), "against the signal's price of 100");
    assert_eq!((report.order.status, report.order.cum_qty), (OrderStatus::Filled, dec("1.23")));
    assert_eq!((report.pnl.realized, report.pnl.unrealized), (dec("0"), dec("0")));
    desk.signal(signal("A", Action::Sell, "0.23"));
    // 100 · 0.9998 = 99.98, down to 99.95: (99.95 − 100.25) · 0.23.
    let said = desk.market(quote("A", 2, "100", "100.2"));
    assert_eq!(said.fills(), pairs(&[("0.23", "99.95")]));
    assert_eq!(said.report().pnl.realized, dec("-0.069"));
    assert_eq!(said.report().pnl.unrealized, dec("-0.3"));
    assert_eq!(said.report().costs.slippage_bps, Some(5.0));
}

#[test]
fn volume_is_shared_first_accepted_first_and_the_rest_stays_open() {
    let mut setup = setup();
    setup.instruments.push(instrument("A", "0.01", "0.1"));
    setup.broker.volume_share = dec("0.1");
    let mut desk = Desk::new(setup);
    desk.market(trade("A", 0, "100"));
    desk.signal(signal("A", Action::Buy, "2"));
    desk.signal(signal("A", Action::Sell, "3"));
    let mut event = trade("A", 1, "101");
    event.volume = dec("33.9");
    // 3.39 floors to 3.3: two for the first, 1.3 for the second.
    let said = desk.market(event);
    assert_eq!(said.fills(), pairs(&[("2", "101"), ("1.3", "101")]));
    assert_eq!(said.reports()[1].order.leaves_qty, dec("1.7"));
    assert_eq!(desk.broker.open_orders(), 1);
    let mut empty = trade("A", 2, "101");
    empty.volume = dec("0");
    assert_eq!(desk.market(empty).fills(), [], "volume 0 fills nothing");
    let said = desk.market(trade("A", 3, "104"));
    assert_eq!(said.fills(), pairs(&[("1.7", "104")]));
    assert_eq!(said.report().order.avg_px, Some(dec("102.7")));
}

#[test]
fn volume_in_quote_currency_is_divided_by_the_price_and_sizes_are_not() {
    let mut setup = setup();
    setup.instruments.push(instrument("A", "0.01", "1"));
    setup.sources[0].volume_unit = VolumeUnit::Quote;
    let mut desk = Desk::new(setup);
    desk.market(trade("A", 0, "100"));
    desk.signal(signal("A", Action::Buy, "50"));
    let mut event = trade("A", 1, "100");
    event.volume = dec("399.99");
    assert_eq!(desk.market(event).fills(), pairs(&[("3", "100")]));

    desk.market(quote("B", 2, "9", "10"));
    desk.signal(signal("B", Action::Buy, "50"));
    let mut sized = quote("B", 3, "9", "10");
    sized.ask_size = Some(dec("7"));
    assert_eq!(desk.market(sized).fills(), pairs(&[("7", "10")]));
    let mut unsized_quote = quote("B", 4, "9", "11");
    unsized_quote.ask_size = Some(dec("0"));
    assert_eq!(desk.market(unsized_quote).fills(), pairs(&[("43", "11")]), "size 0 is no cap");
}

#[test]
fn a_marketable_limit_takes_at_the_better_of_price_and_limit() {
    let mut setup = setup();
    setup.broker.slippage_bps = dec("100");
    setup.broker.taker_commission_bps = dec("4");
    let mut desk = Desk::new(setup);
    desk.market(quote("A", 0, "99", "100"));
    desk.signal(limit(signal("A", Action::Buy, "1"), "100.5"));
    // 100 slipped by 1 % is 101: the limit holds it.
    let said = desk.market(quote("A", 1, "99", "100"));
    assert_eq!(said.fills(), pairs(&[("1", "100.5")]));
    assert_eq!(said.report().fill.as_ref().unwrap().liquidity, Liquidity::Taker);
    desk.signal(limit(signal("A", Action::Sell, "1"), "90"));
    assert_eq!(desk.market(quote("A", 2, "99", "100")).fills(), pairs(&[("1", "98.01")]));
}

#[test]
fn a_resting_limit_makes_only_when_traded_strictly_through() {
    let mut setup = setup();
    setup.broker.maker_commission_bps = dec("-1");
    setup.broker.slippage_bps = dec("50");
    let mut desk = Desk::new(setup);
    desk.market(bar("A", 60, ["100", "101", "99", "100"]));
    desk.signal(limit(signal("A", Action::Buy, "1"), "98"));
    assert_eq!(desk.market(bar("A", 120, ["100", "101", "97", "100"])).fills(), [], "not marketable at its open");
    assert_eq!(desk.market(bar("A", 180, ["100", "101", "98", "100"])).fills(), [], "touched");
    let said = desk.market(bar("A", 240, ["97", "101", "96", "100"]));
    assert_eq!(said.fills(), pairs(&[("1", "98")]));
    let report = said.report();
    assert_eq!(report.fill.as_ref().unwrap().liquidity, Liquidity::Maker);
    assert_eq!(report.timestamp, at(240), "any fill but one at the open carries the event's end");
    assert_eq!(report.costs.commission, dec("-0.0098"), "a rebate");

    desk.signal(limit(signal("A", Action::Sell, "1"), "103"));
    assert_eq!(desk.market(bar("A", 300, ["100", "103", "99", "100"])).fills(), []);
    assert_eq!(desk.market(bar("A", 360, ["100", "103.01", "99", "100"])).fills(), pairs(&[("1", "103")]));
}

#[test]
fn ioc_fills_what_it_can_fok_all_or_nothing_day_ends_at_midnight() {
    let mut desk = Desk::new(setup());
    let ioc = |quantity| with_order(signal("A", Action::Buy, quantity), OrderType::Market, None, TimeInForce::Ioc);
    let fok = |quantity| with_order(signal("A", Action::Buy, quantity), OrderType::Market, None, TimeInForce::Fok);
    desk.market(trade("A", 0, "1"));
    desk.signal(ioc("1500"));
    desk.signal(fok("10"));
    let said = desk.market(trade("A", 1, "1"));
    assert_eq!(said.fills(), pairs(&[("1000", "1")]));
    let over = "not_filled_at_once".to_owned();
    assert_eq!(said.ended(), [(ExecType::Expired, over.clone()), (ExecType::Expired, over)]);
    desk.signal(fok("1000"));
    assert_eq!(desk.market(trade("A", 2, "1")).fills(), pairs(&[("1000", "1")]));
    assert_eq!(desk.broker.open_orders(), 0);

    let day = with_order(signal("A", Action::Buy, "1"), OrderType::Limit, Some("0.5"), TimeInForce::Day);
    desk.signal(day);
    assert_eq!(desk.market(trade("A", 86_399, "1")).ended(), []);
    let said = desk.market(trade("A", 86_400, "0.1"));
    assert_eq!((said.fills(), said.ended()), (vec![], vec![(ExecType::Expired, "day_over".into())]));
}

#[test]
fn a_position_flips_through_zero_with_the_remainder_of_the_notional() {
    let mut setup = setup();
    setup.broker.taker_commission_bps = dec("10");
    let mut desk = Desk::new(setup);
    desk.market(trade("A", 0, "100"));
    desk.signal(target("A", "3"));
    desk.market(trade("A", 1, "33.33333333"));
    desk.signal(target("A", "-2"));
    let said = desk.market(trade("A", 2, "40"));
    assert_eq!(said.fills(), pairs(&[("5", "40")]));
    assert_eq!(said.report().pnl.realized, dec("20.00000001"));
    let held = &said.metrics().unwrap().positions[0];
    assert_eq!((held.quantity, held.avg_entry_price, held.notional), (dec("2"), dec("40"), dec("80")));
    // 100,000 + 20.00000001 − 0.1 − 0.2 of commission.
    assert_eq!(said.metrics().unwrap().equity, dec("100019.70000001"));
    assert_eq!(said.portfolio().unwrap().cash.0, d("100099.70000001"));
}

#[test]
fn a_bar_without_an_open_fills_only_what_rests_at_a_limit() {
    let blind =
        |end: i64, low: &str, close: &str| MarketData { open: None, ..bar("A", end, [close, close, low, close]) };
    let mut desk = Desk::new(setup());
    desk.market(bar("A", 60, ["100", "100", "100", "100"]));
    desk.signal(signal("A", Action::Buy, "1"));
    desk.signal(limit(signal("A", Action::Buy, "2"), "90"));
    desk.signal(with_order(signal("A", Action::Buy, "3"), OrderType::Limit, Some("95"), TimeInForce::Ioc));
    let said = desk.market(blind(120, "80", "99"));
    assert_eq!((said.fills(), said.ended()), (vec![], vec![]), "nobody knows what was there to take");
    let said = desk.market(blind(180, "89", "99"));
    assert_eq!(said.fills(), pairs(&[("2", "90")]), "traded through");
    assert_eq!(said.report().timestamp, at(180));
    let said = desk.market(bar("A", 240, ["98", "98", "98", "98"]));
    assert_eq!(said.fills(), pairs(&[("1", "98")]));
    assert_eq!(said.ended(), [(ExecType::Expired, "not_filled_at_once".into())]);
}
