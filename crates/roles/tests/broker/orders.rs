//! How signals become orders, and which are refused.
//!
//! Not here: fills.

use tapedeck_contracts::{
    Dec,
    events::{Action, ExecType, OrderStatus, OrderType, Side, TimeInForce},
};

use crate::desk::{Desk, at, bar, dec, instrument, limit, quote, setup, signal, target, trade, with_order};

fn rejected(desk: &mut Desk, made: tapedeck_contracts::events::Signal) -> String {
    let said = desk.signal(made);
    let report = said.report();
    assert_eq!((report.exec_type, report.order.status), (ExecType::Rejected, OrderStatus::Rejected));
    assert_eq!(report.order.leaves_qty, Dec::ZERO);
    report.reason.clone().unwrap().code
}

#[test]
fn a_signal_of_no_session_is_counted_and_hold_never_trades() {
    let mut desk = Desk::new(setup());
    desk.market(trade("A", 0, "100"));
    let mut other = signal("A", Action::Buy, "1");
    other.session_id = "s2".into();
    assert_eq!(desk.signal(other).0, []);
    let mut hold = target("A", "5");
    hold.signal.action = Action::Hold;
    assert_eq!(desk.signal(hold).0, []);
    assert_eq!((desk.broker.ignored(), desk.broker.open_orders()), (1, 0));
}

#[test]
fn a_target_orders_the_difference_to_what_the_strategy_filled() {
    let mut desk = Desk::new(setup());
    desk.market(trade("A", 0, "100"));
    desk.signal(target("A", "5"));
    let mut part = trade("A", 1, "100");
    part.volume = dec("2");
    desk.market(part);
    let said = desk.signal(target("A", "-1"));
    let reports = said.reports();
    assert_eq!(reports[0].exec_type, ExecType::Canceled);
    assert_eq!(reports[0].order.cum_qty, dec("2"));
    assert_eq!((reports[1].order.side, reports[1].order.quantity), (Side::Sell, dec("3")));
    desk.market(trade("A", 2, "100"));
    assert_eq!(desk.signal(target("A", "-1")).0, [], "nothing is missing");
    // Another strategy's position in the same symbol is its own.
    let mut second = target("A", "4");
    second.strategy_id = "rsi".into();
    let said = desk.signal(second);
    assert_eq!((said.report().order.side, said.report().order.quantity), (Side::Buy, dec("4")));
    let said = desk.market(trade("A", 3, "100"));
    assert_eq!(said.metrics().unwrap().positions[0].quantity, dec("3"));
}

#[test]
fn a_plain_quantity_leaves_open_orders_alone() {
    let mut desk = Desk::new(setup());
    desk.market(trade("A", 0, "100"));
    desk.signal(limit(signal("A", Action::Buy, "1"), "90"));
    let said = desk.signal(signal("A", Action::Sell, "2"));
    assert_eq!(said.report().exec_type, ExecType::New);
    assert_eq!(said.report().order.order_id, "O2");
    assert_eq!(said.report().order.client_order_id, "C2");
    assert_eq!(desk.broker.open_orders(), 2);
}

#[test]
fn what_the_broker_cannot_trade_is_rejected_with_a_reason() {
    let mut setup = setup();
    setup.instruments.push(instrument("A", "0.5", "0.1"));
    let mut desk = Desk::new(setup);
    desk.market(trade("A", 0, "100"));
    assert_eq!(rejected(&mut desk, signal("A", Action::Buy, "0.09")), "below_lot");
    assert_eq!(rejected(&mut desk, limit(signal("A", Action::Buy, "1"), "0.4")), "limit_invalid");
    let stop = with_order(signal("A", Action::Buy, "1"), OrderType::Stop, None, TimeInForce::Gtc);
    assert_eq!(rejected(&mut desk, stop), "unsupported");
    assert_eq!(desk.broker.open_orders(), 0);
}

#[test]
fn a_limit_off_the_tick_is_put_on_it_to_the_orders_favour() {
    let mut setup = setup();
    setup.instruments.push(instrument("A", "0.5", "0.1"));
    let mut desk = Desk::new(setup);
    desk.market(trade("A", 0, "100"));
    let bought = desk.signal(limit(signal("A", Action::Buy, "1"), "99.7"));
    assert_eq!(bought.report().order.limit_price, Some(dec("99.5")));
    let sold = desk.signal(limit(signal("A", Action::Sell, "1"), "100.1"));
    assert_eq!(sold.report().order.limit_price, Some(dec("100.5")));
}

#[test]
fn an_order_whose_projected_margin_exceeds_equity_is_rejected() {
    let mut desk = Desk::new(setup());
    desk.market(trade("A", 0, "100"));
    // 5 % of 20,000 · 100 is the whole equity.
    assert_eq!(rejected(&mut desk, signal("A", Action::Buy, "20000.1")), "insufficient_margin");
    assert_eq!(desk.signal(signal("A", Action::Buy, "15000")).report().exec_type, ExecType::New);
    // The open order counts, on its side.
    assert_eq!(rejected(&mut desk, signal("A", Action::Buy, "5000.1")), "insufficient_margin");
    assert_eq!(desk.signal(signal("A", Action::Sell, "20000")).report().exec_type, ExecType::New);
    assert_eq!(rejected(&mut desk, signal("B", Action::Buy, "1")), "insufficient_margin");
}

#[test]
fn an_account_in_trouble_may_still_reduce() {
    let mut desk = Desk::new(setup());
    let deep = |seconds, price| {
        let mut event = trade("A", seconds, price);
        event.volume = dec("100000");
        event
    };
    desk.market(deep(0, "100"));
    desk.signal(signal("A", Action::Buy, "20000"));
    desk.market(deep(1, "100"));
    desk.market(deep(2, "96"));
    // Equity 20,000, margin 96,000.
    assert_eq!(rejected(&mut desk, signal("A", Action::Buy, "1")), "insufficient_margin");
    assert_eq!(rejected(&mut desk, signal("A", Action::Sell, "20001")), "insufficient_margin");
    assert_eq!(desk.signal(signal("A", Action::Sell, "20000")).report().exec_type, ExecType::New);
}

#[test]
fn an_instrument_in_another_currency_is_refused_by_the_check() {
    let mut setup = setup();
    let mut other = instrument("A", "0.5", "0.1");
    other.quote_currency = "EUR".into();
    setup.instruments.push(other);
    let wrong = setup.check();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].starts_with("instruments[0].quote_currency: X/A is quoted in EUR"), "{}", wrong[0]);
}

#[test]
fn a_setup_is_refused_by_key_and_remedy() {
    let mut setup = setup();
    assert_eq!(setup.check(), Vec::<String>::new());
    let mut twin = setup.sessions[0].clone();
    twin.market_source = "fed".into();
    setup.sessions.push(twin);
    setup.risk.zone = "Mars/Olympus".into();
    setup.broker.volume_share = dec("0");
    let wrong = setup.check();
    let keys: Vec<&str> = wrong.iter().map(|text| text.split(':').next().unwrap()).collect();
    let expected =
        ["sessions[1].id", "sessions[1].account", "sessions[1].market_source", "broker.volume_share", "risk.zone"];
    assert_eq!(keys, expected);
    assert!(wrong[2].contains("there are: feed"), "{}", wrong[2]);
}

#[test]
fn a_late_signal_is_applied_at_once_marked_and_alerted() {
    let mut desk = Desk::new(setup());
    desk.market(bar("A", 60, ["100", "100", "100", "100"]));
    desk.market(bar("A", 120, ["101", "101", "101", "101"]));
    let said = desk.signal_at(signal("A", Action::Buy, "1"), at(60), true);
    assert_eq!(said.codes(), ["SIGNAL_LATE"]);
    assert_eq!(said.report().reason.as_ref().unwrap().code, "late_signal");
    assert_eq!(said.report().timestamp, at(120), "the account's time does not go back");
    assert_eq!(desk.broker.late_signals(), 1);
    assert_eq!(desk.market(bar("A", 180, ["102", "102", "102", "102"])).fills(), [("1".into(), "102".into())]);
}

#[test]
fn a_signal_from_outside_trades_at_the_next_price_whatever_time_it_carries() {
    for stamp in [at(10 * 366 * 86_400), at(-10 * 366 * 86_400)] {
        let mut desk = Desk::new(setup());
        desk.market(bar("A", 60, ["100", "100", "100", "100"]));
        let said = desk.signal_at(signal("A", Action::Buy, "1"), stamp, false);
        assert_eq!((said.report().exec_type, said.report().timestamp), (ExecType::New, at(60)));
        let said = desk.market(bar("A", 120, ["101", "101", "101", "101"]));
        assert_eq!(said.fills(), [("1".into(), "101".into())]);
        assert_eq!(said.metrics().unwrap().timestamp, at(120), "the account's time is that of its market");
    }
}

#[test]
fn an_order_of_before_the_first_event_may_fill_at_it_and_a_day_order_lives_through_its_day() {
    let mut desk = Desk::new(setup());
    let day = with_order(signal("A", Action::Buy, "1"), OrderType::Limit, Some("90"), TimeInForce::Day);
    desk.signal_at(day, at(10 * 366 * 86_400), false);
    desk.signal_at(signal("A", Action::Buy, "2"), at(-10 * 366 * 86_400), false);
    let said = desk.market(bar("A", 60, ["101", "101", "101", "101"]));
    assert_eq!(said.fills(), [("2".into(), "101".into())]);
    assert_eq!(desk.market(bar("A", 86_340, ["101", "101", "101", "101"])).ended(), []);
    let said = desk.market(bar("A", 86_460, ["80", "80", "80", "80"]));
    assert_eq!(said.ended(), [(ExecType::Expired, "day_over".into())]);
}

#[test]
fn a_slip_of_the_hand_is_rejected_and_the_broker_goes_on() {
    let mut desk = Desk::new(setup());
    desk.market(trade("A", 0, "100"));
    const HUGE: &str = "999999999999999999";
    assert_eq!(rejected(&mut desk, signal("A", Action::Buy, HUGE)), "too_large");
    assert_eq!(rejected(&mut desk, signal("A", Action::Sell, "99999999999999")), "insufficient_margin");
    assert_eq!(rejected(&mut desk, target("A", HUGE)), "too_large");
    assert_eq!(rejected(&mut desk, target("A", "-999999999999999999")), "too_large");
    assert_eq!(rejected(&mut desk, limit(signal("A", Action::Sell, "1"), HUGE)), "too_large");
    desk.signal(signal("A", Action::Buy, "0.5"));
    assert_eq!(desk.market(trade("A", 1, "101")).fills(), [("0.5".into(), "101".into())]);
    // The difference to what is held has more digits than a price may have.
    assert_eq!(rejected(&mut desk, target("A", HUGE)), "too_large");
    assert_eq!(desk.signal(target("A", "0")).report().exec_type, ExecType::New);
    assert_eq!(desk.market(trade("A", 2, "102")).fills(), [("0.5".into(), "102".into())]);
    assert_eq!(desk.broker.open_orders(), 0);
}

#[test]
fn an_order_that_its_price_makes_too_large_is_canceled_when_it_would_fill() {
    let mut setup = setup();
    setup.broker.volume_share = dec("1");
    let mut desk = Desk::new(setup);
    let mut cheap = signal("A", Action::Buy, "10000000000000000");
    cheap.market_data.price = dec("0.0000000001");
    assert_eq!(desk.signal(cheap).report().exec_type, ExecType::New);
    let quote = quote("A", 0, "59999", "60001");
    assert_eq!(desk.market(quote).ended(), [(ExecType::Canceled, "too_large".into())]);
    assert_eq!(desk.broker.open_orders(), 0);
}

#[test]
fn quantities_of_many_digits_are_traded_and_told_exactly() {
    let mut setup = setup();
    setup.broker.taker_commission_bps = dec("3.37");
    let mut desk = Desk::new(setup);
    let deep = |seconds, volume: &str| {
        let mut event = trade("A", seconds, "0.00001");
        event.volume = dec(volume);
        event
    };
    desk.market(deep(0, "1"));
    desk.signal(signal("A", Action::Buy, "100000000000"));
    assert_eq!(desk.market(deep(1, "33333333333.333333")).fills()[0].0, "33333333333.333333");
    let said = desk.market(deep(2, "0.00000001"));
    assert_eq!(said.report().order.cum_qty, dec("33333333333.33333301"));
    assert_eq!(said.report().order.leaves_qty, dec("66666666666.66666699"));
    assert_eq!(desk.market(deep(3, "100000000000000")).report().order.cum_qty, dec("100000000000"));
    desk.signal(target("A", "-0.00000001"));
    let said = desk.market(deep(4, "100000000000000"));
    assert_eq!(said.portfolio().unwrap().positions[0].quantity, dec("0.00000001"));
}
