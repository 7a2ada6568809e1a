//! How decisions become orders, and which never do.
//!
//! Not here: making decisions.

use std::collections::BTreeMap;

use tapedeck_contracts::{
    Event,
    events::{Action, EssState, ExecType, Side, TradingDecision, decision::Outcome, risk::RiskCommandKind},
};
use tapedeck_roles::forward_test::{BrokerSetup, config::TradeSource};

use crate::desk::{Desk, at, command, dec, setup, signal, trade};

/// The account trades decisions.
fn deciding() -> BrokerSetup {
    let mut setup = setup();
    setup.sessions[0].source = TradeSource::Decisions;
    setup
}

fn decision(action: Action, quantity: &str) -> TradingDecision {
    let text = r#"{"event_type":"trading_decision","timestamp":"2024-01-01T00:00:00Z","decision_id":"d-1","account":"ACC-1",
        "symbol":"A","action":"HOLD","quantity":0,"confidence":0.8,"regime_probs":{"bull":1},
        "strategy_weights":{"bull_specialist":1},"features":{},"risk_checks":{}}"#;
    TradingDecision { action, quantity: dec(quantity), ..serde_json::from_str(text).unwrap() }
}

#[test]
fn an_accepted_decision_is_an_order_whose_reports_and_trades_name_it() {
    let mut desk = Desk::new(deciding());
    desk.market(trade("A", 0, "100"));
    let said = desk.decision(decision(Action::Buy, "5"), false);
    let report = said.report();
    assert_eq!((report.exec_type, report.order.side, report.order.quantity), (ExecType::New, Side::Buy, dec("5")));
    assert_eq!((report.decision_id.as_deref(), report.strategy_id.as_deref()), (Some("d-1"), None));
    // It never fills at the event that caused it, and a restart in between knows it.
    let mut state = BTreeMap::new();
    desk.cut(&deciding(), &mut state);
    let said = desk.market(trade("A", 1, "101"));
    assert_eq!(said.report().decision_id.as_deref(), Some("d-1"));
    // 1 % above the price of the event that caused it.
    assert_eq!(said.report().costs.slippage_bps, Some(100.0));
    let trades: Vec<_> = said
        .0
        .iter()
        .filter_map(|o| if let Event::TradeExecution(t) = &o.event { Some(&t.data) } else { None })
        .collect();
    assert_eq!(trades[0].decision_id.as_deref(), Some("d-1"));
}

#[test]
fn what_was_rejected_or_is_a_hold_never_trades() {
    let mut desk = Desk::new(deciding());
    desk.market(trade("A", 0, "100"));
    let rejected =
        TradingDecision { outcome: Outcome::Rejected, reasons: vec!["not_warm".into()], ..decision(Action::Buy, "5") };
    // Late or not: there is nothing to trade, and nothing to alert.
    assert_eq!(desk.decision(rejected, true).0, []);
    assert_eq!(desk.decision(decision(Action::Hold, "0"), true).0, []);
    assert_eq!((desk.broker.open_orders(), desk.broker.ignored(), desk.broker.late_signals()), (0, 0, 0));
}

#[test]
fn a_decision_trades_in_its_accounts_session_alone_and_only_where_decisions_are_the_source() {
    let mut desk = Desk::new(deciding());
    desk.market(trade("A", 0, "100"));
    let of =
        |account: Option<&str>| TradingDecision { account: account.map(str::to_owned), ..decision(Action::Buy, "5") };
    assert_eq!(desk.decision(of(None), false).0, []);
    assert_eq!(desk.decision(of(Some("ACC-2")), false).0, []);
    assert_eq!(desk.signal(signal("A", Action::Buy, "1")).0, [], "its session trades decisions");
    assert_eq!(desk.broker.ignored(), 3);
    let mut desk = Desk::new(setup());
    desk.market(trade("A", 0, "100"));
    assert_eq!(desk.decision(of(Some("ACC-1")), false).0, [], "its session trades signals");
    assert_eq!((desk.broker.ignored(), desk.broker.open_orders()), (1, 0));
}

#[test]
fn a_late_decision_is_traded_at_once_marked_counted_and_alerted() {
    let mut desk = Desk::new(deciding());
    desk.market(trade("A", 0, "100"));
    let said = desk.decision(decision(Action::Sell, "5"), true);
    assert_eq!(said.codes(), ["DECISION_LATE"]);
    assert_eq!(said.report().reason.as_ref().unwrap().code, "late_decision");
    assert_eq!(desk.broker.late_signals(), 1);
}

#[test]
fn a_stopped_account_takes_only_decisions_that_reduce() {
    let mut desk = Desk::new(deciding());
    desk.market(trade("A", 0, "100"));
    desk.decision(decision(Action::Buy, "5"), false);
    desk.market(trade("A", 1, "100"));
    let said = desk.command(command(RiskCommandKind::Trip, false));
    assert_eq!(said.metrics().unwrap().ess.state, EssState::Tripped);
    let said = desk.decision(decision(Action::Buy, "1"), false);
    assert_eq!((said.report().exec_type, said.ended()[0].1.as_str()), (ExecType::Rejected, "ess_tripped"));
    assert_eq!(desk.decision(decision(Action::Sell, "5"), false).report().exec_type, ExecType::New);
    assert!(!desk.market(trade("A", 2, "100")).fills().is_empty());
}

#[test]
fn a_session_says_what_it_trades() {
    let mut desk = Desk::new(deciding());
    let said = desk.market(trade("A", 0, "100"));
    assert_eq!(said.sessions()[0].source.as_deref(), Some("decisions"));
    assert_eq!(at(0), said.metrics().unwrap().timestamp);
}
