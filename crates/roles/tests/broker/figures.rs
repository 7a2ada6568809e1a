//! Metrics, portfolio and session events: when they come and what they say.
//!
//! Not here: the emergency stop.

use std::collections::BTreeMap;

use tapedeck_contracts::{
    Dec,
    events::{Action, EssState, MarketData, PositionSide, portfolio::ForwardTestKind},
};

use crate::desk::{Desk, at, bar, d, dec, setup, signal, target, trade};

#[test]
fn a_session_starts_with_its_accounts_first_event_and_stops_with_the_input() {
    let mut desk = Desk::new(setup());
    let mut elsewhere = trade("A", 0, "100");
    elsewhere.source = "another".into();
    assert_eq!(desk.market(elsewhere).0, []);
    let said = desk.market(trade("A", 0, "100"));
    let started = said.sessions()[0];
    assert_eq!(started.event, ForwardTestKind::Started);
    assert_eq!(started.account.as_deref(), Some("ACC-1"));
    assert_eq!((started.currency.as_deref(), started.source.as_deref()), (Some("USD"), Some("signals")));
    assert_eq!(started.starting_equity, Some(dec("100000")));
    assert_eq!(desk.market(trade("A", 1, "100")).sessions().len(), 0);
    let said = desk.end();
    assert_eq!(said.sessions()[0].event, ForwardTestKind::Stopped);
    assert_eq!(said.metrics().unwrap().timestamp, at(1));
    assert_eq!(said.portfolio().unwrap().equity, dec("100000"));
}

#[test]
fn figures_come_each_interval_of_event_time_and_with_each_fill() {
    let mut desk = Desk::new(setup());
    let tick = |millis: i64| MarketData {
        timestamp: tapedeck_contracts::Timestamp::from_millis(at(0).millis() + millis),
        ..trade("A", 0, "100")
    };
    let said: Vec<bool> =
        [200, 900, 1_100, 1_900, 4_500, 4_999, 5_000].map(|ms| desk.market(tick(ms)).metrics().is_some()).into();
    assert_eq!(said, [true, false, true, false, true, false, true]);
    desk.signal(signal("A", Action::Buy, "1"));
    let filled = desk.market(tick(5_001));
    assert!(filled.metrics().is_some() && filled.portfolio().is_some());
    let hour = desk.market(tick(3_600_000));
    assert_eq!(hour.sessions()[0].event, ForwardTestKind::Metrics);
}

#[test]
fn figures_add_up_by_hand() {
    let mut setup = setup();
    setup.broker.taker_commission_bps = dec("10");
    setup.sessions[0].max_gross = Some(dec("50000"));
    let mut desk = Desk::new(setup);
    desk.market(trade("A", 0, "100"));
    desk.market(trade("B", 0, "50"));
    desk.signal(target("A", "100"));
    desk.signal(target("B", "-40"));
    desk.market(trade("A", 1, "100"));
    desk.market(trade("B", 1, "50"));
    let said = desk.market(trade("A", 2, "110"));
    let metrics = said.metrics().unwrap();
    // Long 11,000, short 2,000; commissions 10 and 2; unrealized 1,000.
    assert_eq!((metrics.equity, metrics.cash, metrics.margin), (dec("100988"), dec("91988"), dec("650")));
    let exposure = &metrics.exposure;
    assert_eq!(
        (exposure.long, exposure.short, exposure.net, exposure.gross),
        (dec("11000"), dec("2000"), dec("9000"), dec("13000"))
    );
    assert_eq!(exposure.by_venue, BTreeMap::from([("X".into(), dec("13000"))]));
    assert!((metrics.leverage - 13_000.0 / 100_988.0).abs() < 1e-12);
    assert!((metrics.risk_limit_pct - 26.0).abs() < 1e-12);
    assert_eq!(metrics.ess.state, EssState::Armed);
    let [a, b] = &metrics.positions[..] else { panic!("{metrics:?}") };
    assert_eq!(
        (a.side, a.quantity, a.mark_price, a.unrealized_pnl),
        (PositionSide::Long, dec("100"), dec("110"), dec("1000"))
    );
    assert_eq!(
        (b.side, b.quantity, b.avg_entry_price, b.notional),
        (PositionSide::Short, dec("40"), dec("50"), dec("2000"))
    );
    let portfolio = said.portfolio().unwrap();
    assert_eq!((portfolio.realized_pnl, portfolio.unrealized_pnl), (Dec::ZERO, dec("1000")));
}

#[test]
fn drawdown_forgets_at_midnight_and_monday_but_not_the_worst() {
    let mut desk = Desk::new(setup());
    desk.market(trade("A", 0, "100"));
    desk.signal(target("A", "1000"));
    desk.market(trade("A", 1, "100"));
    // Millionths of a percent.
    let falls = |desk: &mut Desk, seconds, price| {
        let said = desk.market(trade("A", seconds, price));
        let drawdown = &said.metrics().unwrap().drawdown;
        [drawdown.daily, drawdown.weekly, drawdown.max].map(|percent| (percent * 1e6).round() as i64)
    };
    assert_eq!(falls(&mut desk, 2, "90"), [10_000_000, 10_000_000, 10_000_000]);
    // Tuesday: the day begins with the 90,000 that were carried over.
    assert_eq!(falls(&mut desk, 86_400, "81"), [10_000_000, 19_000_000, 19_000_000]);
    // Next Monday.
    assert_eq!(falls(&mut desk, 7 * 86_400, "100"), [0, 0, 19_000_000]);
}

#[test]
fn var_is_null_under_a_hundred_returns_and_follows_the_position() {
    let mut desk = Desk::new(setup());
    let mut said = desk.market(bar("A", 0, ["100", "100", "100", "100"]));
    desk.signal(target("A", "10"));
    // Closes 100, 101, 100, 101 …: half of the returns are −1/101.
    for minute in 1..=101 {
        let price = if minute % 2 == 0 { "100" } else { "101" };
        said = desk.market(bar("A", minute * 60, [price, price, price, price]));
        assert_eq!(said.metrics().unwrap().var_95.is_some(), minute > 100, "minute {minute}");
    }
    // 1,010 · 1/101 · √1440, by the same steps in floats.
    let loss = 1_010.0_f64 * -(100.0 / 101.0 - 1.0) * 1_440.0_f64.sqrt();
    let var = said.metrics().unwrap().var_95.unwrap();
    assert!((var.0 - d("379.47331922")).abs() < d("0.000001"), "{var} and {loss}");
}

#[test]
fn win_rate_counts_round_trips_net_of_fees() {
    let mut setup = setup();
    setup.broker.taker_commission_bps = dec("10");
    let mut desk = Desk::new(setup);
    // +1 − fees, a flip at a gain below its fees, then out at a loss.
    for (second, (position, price)) in
        [("0", "100"), ("1", "100"), ("0", "101"), ("1", "100"), ("-1", "100.1"), ("0", "102")].into_iter().enumerate()
    {
        desk.market(trade("A", 2 * second as i64, price));
        desk.signal(target("A", position));
        desk.market(trade("A", 2 * second as i64 + 1, price));
    }
    let said = desk.end();
    let metrics = &said.sessions()[0].metrics;
    assert_eq!(metrics.trades, 3);
    assert!((metrics.win_rate.unwrap() - 100.0 / 3.0).abs() < 1e-9);
    assert_eq!(metrics.sharpe, None);
}

#[test]
fn books_that_do_not_add_up_are_alerted_once() {
    let setup = setup();
    let mut desk = Desk::new(setup.clone());
    desk.market(trade("A", 0, "100"));
    desk.signal(target("A", "10"));
    desk.market(trade("A", 1, "100"));
    let mut state = BTreeMap::new();
    desk.cut(&setup, &mut state);
    assert_eq!(desk.market(trade("A", 2, "101")).codes(), Vec::<&str>::new());
    let position = state.get_mut("position/s1/X/A").unwrap();
    *position = String::from_utf8(position.clone()).unwrap().replace("1000", "1000.00000001").into_bytes();
    desk.cut(&setup, &mut BTreeMap::new());
    for (key, value) in &state {
        desk.broker.restore(key, value).unwrap();
    }
    assert_eq!(desk.market(trade("A", 3, "101")).codes(), ["PNL_MISMATCH"]);
    assert_eq!(desk.market(trade("A", 4, "101")).codes(), Vec::<&str>::new());
}

#[test]
fn a_gap_of_the_sequencer_is_alerted_beside_the_event_after_it() {
    let mut desk = Desk::new(setup());
    desk.market(trade("A", 0, "100"));
    let said = desk.gap(5, 7);
    assert_eq!(said.codes(), ["SEQUENCE_GAP"]);
    assert_eq!(said.alerts()[0].context["from"], 5);
    assert_eq!(desk.gap(9, 9).codes(), ["SEQUENCE_GAP"], "a second gap before the same event has an id of its own");
}

#[test]
fn bars_of_an_hour_are_no_minutes_and_have_no_var() {
    let mut desk = Desk::new(setup());
    desk.signal(signal("A", Action::Buy, "1"));
    for hour in 1..=300_i64 {
        let price = (1_000 + hour * 7_919 % 37).to_string();
        for (name, late_s) in [("A", 0), ("B", 60)] {
            let mut event = bar(name, hour * 3_600 + late_s, [&price, &price, &price, &price]);
            event.interval = Some("1h".into());
            let said = desk.market(event);
            assert_eq!(said.metrics().unwrap().var_95, None, "hour {hour}");
        }
    }
    assert_eq!(desk.end().metrics().unwrap().positions.len(), 1);
}

#[test]
fn a_gap_before_the_first_event_has_the_time_of_the_event_after_it() {
    let mut desk = Desk::new(setup());
    assert_eq!(desk.gap(1, 3).alerts()[0].timestamp, at(7));
    desk.market(trade("A", 9, "100"));
    assert_eq!(desk.gap(5, 6).alerts()[0].timestamp, at(9));
}
