//! The emergency stop: what trips it, what it refuses, how it arms again.
//!
//! Not here: drawdown as a figure.

use tapedeck_contracts::events::{Action, EssState, ExecType, MarketData, Severity, Side, risk::RiskCommandKind};
use tapedeck_roles::forward_test::BrokerSetup;

use crate::desk::{Desk, bar, command, dec, limit, setup, signal, target, trade};

fn ess(said: &crate::desk::Said) -> (EssState, Option<String>) {
    let ess = &said.metrics().unwrap().ess;
    (ess.state, ess.reason.as_ref().map(|reason| reason.split(':').next().unwrap().to_owned()))
}

fn armed_for(change: impl FnOnce(&mut BrokerSetup)) -> Desk {
    let mut setup = setup();
    setup.broker.metrics_interval_ms = 1;
    change(&mut setup);
    let mut desk = Desk::new(setup);
    desk.market(trade("A", 0, "100"));
    desk.signal(target("A", "1000"));
    desk.market(trade("A", 1, "100"));
    desk
}

#[test]
fn a_daily_drawdown_trips_cancels_and_keeps_the_position() {
    let mut desk = armed_for(|setup| setup.ess.daily_drawdown_pct = 5.0);
    desk.signal(limit(signal("A", Action::Buy, "1"), "50"));
    assert_eq!(ess(&desk.market(trade("A", 2, "95.01"))).0, EssState::Armed);
    let said = desk.market(trade("A", 3, "95"));
    assert_eq!(ess(&said), (EssState::Tripped, Some("daily_drawdown".into())));
    assert_eq!(said.codes(), ["ESS_TRIPPED"]);
    assert_eq!(said.alerts()[0].severity, Severity::Critical);
    assert_eq!(said.ended(), [(ExecType::Canceled, "ess_tripped".into())]);
    assert_eq!(said.metrics().unwrap().positions[0].quantity, dec("1000"));

    // All but what reduces is refused.
    let refused = desk.signal(signal("A", Action::Buy, "1"));
    assert_eq!(refused.report().reason.as_ref().unwrap().code, "ess_tripped");
    let refused = desk.signal(signal("A", Action::Sell, "1000.1"));
    assert_eq!(refused.report().reason.as_ref().unwrap().code, "ess_tripped");
    assert_eq!(desk.signal(signal("A", Action::Sell, "600")).report().exec_type, ExecType::New);
    let refused = desk.signal(signal("A", Action::Sell, "401"));
    assert_eq!(
        refused.report().reason.as_ref().unwrap().code,
        "ess_tripped",
        "with the open order it would cross zero"
    );
}

#[test]
fn it_cools_and_arms_by_event_time_with_a_new_baseline() {
    let mut desk = armed_for(|setup| setup.ess.daily_drawdown_pct = 5.0);
    desk.market(trade("A", 10, "95"));
    assert_eq!(ess(&desk.market(trade("A", 309, "95"))).0, EssState::Tripped);
    let said = desk.market(trade("A", 310, "95"));
    assert_eq!((ess(&said).0, said.codes()), (EssState::Cooling, vec!["ESS_COOLING"]));
    let refused = desk.signal(signal("A", Action::Buy, "1"));
    assert_eq!(refused.report().reason.as_ref().unwrap().code, "ess_cooling");
    assert_eq!(ess(&desk.market(trade("A", 1_209, "95"))).0, EssState::Cooling);
    let said = desk.market(trade("A", 1_210, "94"));
    assert_eq!((ess(&said).0, said.codes()), (EssState::Armed, vec!["ESS_ARMED"]));
    // The day's drawdown is still told from its peak; the stop counts from 94,000.
    assert!((said.metrics().unwrap().drawdown.daily - 6.0).abs() < 1e-9);
    assert_eq!(ess(&desk.market(trade("A", 1_211, "89.31"))).0, EssState::Armed);
    assert_eq!(ess(&desk.market(trade("A", 1_212, "89.3"))).0, EssState::Tripped);
}

#[test]
fn a_long_silence_passes_both_waits_at_once() {
    let mut desk = armed_for(|setup| setup.ess.daily_drawdown_pct = 5.0);
    desk.market(trade("A", 10, "95"));
    let said = desk.market(trade("A", 5_000, "95"));
    assert_eq!(said.codes(), ["ESS_COOLING", "ESS_ARMED"]);
    assert_eq!(ess(&said).0, EssState::Armed);
}

#[test]
fn a_losing_streak_trips_and_a_win_breaks_it() {
    let mut desk = armed_for(|setup| setup.ess.losing_streak = 2);
    let mut second = 1;
    let mut trip = |desk: &mut Desk, position, price| {
        desk.signal(target("A", position));
        second += 1;
        desk.market(MarketData { volume: dec("5000"), ..trade("A", second, price) })
    };
    assert_eq!(ess(&trip(&mut desk, "-1000", "99")).0, EssState::Armed, "first loss, by a flip");
    assert_eq!(ess(&trip(&mut desk, "0", "98")).0, EssState::Armed, "a win");
    trip(&mut desk, "10", "98");
    assert_eq!(ess(&trip(&mut desk, "-10", "97")).0, EssState::Armed);
    let said = trip(&mut desk, "0", "98");
    assert_eq!(ess(&said), (EssState::Tripped, Some("losing_streak".into())));
}

#[test]
fn a_price_that_is_too_old_trips_while_a_position_is_open() {
    let mut desk = armed_for(|setup| setup.ess.stale_data = true);
    assert_eq!(ess(&desk.market(trade("B", 301, "7"))).0, EssState::Armed);
    let said = desk.market(trade("B", 302, "7"));
    assert_eq!(ess(&said), (EssState::Tripped, Some("stale_data".into())));
    // Armed again, the silence is counted from then on.
    desk.command(command(RiskCommandKind::Arm, false));
    assert_eq!(ess(&desk.market(trade("B", 602, "7"))).0, EssState::Armed);
    assert_eq!(ess(&desk.market(trade("B", 603, "7"))).0, EssState::Tripped);

    // Flat, nothing is stale; of bars three lengths count where they are longer.
    let mut desk = armed_for(|setup| setup.ess.stale_data = true);
    desk.signal(target("A", "0"));
    desk.market(trade("A", 2, "100"));
    assert_eq!(ess(&desk.market(trade("B", 9_000, "7"))).0, EssState::Armed);
    let long = |end| MarketData { interval: Some("5m".into()), ..bar("C", end, ["9", "9", "9", "9"]) };
    desk.market(long(9_300));
    desk.signal(target("C", "1"));
    desk.market(long(9_600));
    assert_eq!(ess(&desk.market(trade("B", 10_500, "7"))).0, EssState::Armed);
    assert_eq!(ess(&desk.market(trade("B", 10_501, "7"))).0, EssState::Tripped);
}

#[test]
fn an_operator_trips_flattens_and_arms() {
    let mut desk = armed_for(|_| {});
    let said = desk.command(command(RiskCommandKind::Trip, true));
    assert_eq!(ess(&said), (EssState::Tripped, Some("operator".into())));
    assert_eq!(said.codes(), ["ESS_TRIPPED"]);
    let order = &said.report().order;
    assert_eq!((order.side, order.quantity), (Side::Sell, dec("1000")));
    let said = desk.market(trade("A", 2, "99"));
    assert_eq!(said.metrics().unwrap().positions, []);
    let said = desk.command(command(RiskCommandKind::Arm, false));
    assert_eq!((ess(&said).0, said.codes()), (EssState::Armed, vec!["ESS_ARMED"]));
    assert_eq!(desk.command(command(RiskCommandKind::Arm, false)).0, []);
    // The strategy's position was closed for it: its next target starts from flat.
    assert_eq!(desk.signal(target("A", "-3")).report().order.quantity, dec("3"));

    let mut other = command(RiskCommandKind::Trip, false);
    other.account = "ACC-9".into();
    assert_eq!(desk.command(other).codes(), ["RISK_COMMAND_IGNORED"]);
}
