//! What wrong bodies get: an error that names the place and what was expected.
//!
//! Not here: bodies that are right (`kept.rs`).

#![allow(clippy::unwrap_used, reason = "a test that cannot read its files should stop")]

use serde_json::{Value, json};
use tapedeck_contracts::{DecodeError, Event, EventKind};

fn fixture(kind: EventKind, name: &str) -> Value {
    let path = format!("{}/fixtures/{kind}/1.0/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The error of a body, `ok` where there is none.
fn answer(kind: EventKind, body: &str) -> String {
    Event::decode(kind, body.as_bytes()).map_or_else(|error| error.to_string(), |_| "ok".into())
}

/// A fixture with some of its fields (JSON pointers) replaced, and its error.
fn edited(kind: EventKind, name: &str, edits: &[(&str, Value)]) -> String {
    let mut body = fixture(kind, name);
    for (pointer, value) in edits {
        *body.pointer_mut(pointer).unwrap_or_else(|| panic!("{kind}/{name} has no {pointer}")) = value.clone();
    }
    answer(kind, &body.to_string())
}

/// A fixture as text, with one piece of it replaced.
fn respelled(kind: EventKind, name: &str, from: &str, to: &str) -> String {
    let text = fixture(kind, name).to_string();
    assert!(text.contains(from), "{text} has no {from}");
    answer(kind, &text.replacen(from, to, 1))
}

const REPORT: EventKind = EventKind::ExecutionReport;

fn report(edits: &[(&str, Value)]) -> String {
    edited(REPORT, "contract", edits)
}

#[test]
fn a_text_where_a_decimal_belongs_is_named_with_its_path() {
    let found = report(&[("/order/limit_price", json!("abc"))]);
    assert_eq!(found, r#"$.order.limit_price: expected a decimal, found "abc""#);
    let found = report(&[("/order/quantity", json!(null))]);
    assert_eq!(found, "$.order.quantity: expected a decimal, found null");
    let found = report(&[("/order/quantity", json!({"a": 1}))]);
    assert_eq!(found, r#"$.order.quantity: expected a decimal, found {"a":1}"#);
}

#[test]
fn a_missing_field_is_named_itself_and_not_its_parent() {
    assert_eq!(respelled(REPORT, "contract", r#""side":"BUY","#, ""), "$.order.side: missing");
    assert_eq!(respelled(REPORT, "contract", r#""account":"ACC-1","#, ""), "$.account: missing");
    assert_eq!(
        respelled(EventKind::Portfolio, "full", r#""venue":"BINANCE""#, r#""v":1"#),
        "$.data.positions[0].venue: missing"
    );
    assert_eq!(
        answer(EventKind::MarketData, r#"{"timestamp":"2024-01-01T12:00:00Z","producer_service":"m"}"#),
        "$.data: missing"
    );
}

#[test]
fn fields_in_lists_and_maps_have_their_place_in_the_path() {
    let found = edited(EventKind::Portfolio, "full", &[("/data/positions/0/quantity", json!("x"))]);
    assert_eq!(found, r#"$.data.positions[0].quantity: expected a decimal, found "x""#);
    let found = edited(EventKind::Portfolio, "full", &[("/data/positions/0/quantity", json!("-1"))]);
    assert_eq!(found, "$.data.positions[0].quantity: expected a decimal of at least 0, found -1");
    let found = edited(EventKind::RiskMetrics, "contract", &[("/exposure/by_venue/BINANCE", json!("x"))]);
    assert_eq!(found, r#"$.exposure.by_venue.BINANCE: expected a decimal, found "x""#);
    let found = edited(EventKind::TradingDecision, "contract", &[("/features/rsi", json!("x"))]);
    assert_eq!(found, r#"$.features.rsi: expected a number, found "x""#);
    let found = edited(EventKind::Subscription, "full", &[("/data/kinds/1", json!("candle"))]);
    assert_eq!(found, r#"$.data.kinds[1]: expected one of quote, trade, bar, found "candle""#);
}

#[test]
fn wrong_types_are_said_in_the_words_of_json() {
    for (pointer, value, expected) in [
        ("/account", json!(12), "$.account: expected a string, found 12"),
        ("/account", json!(null), "$.account: expected a string, found null"),
        ("/account", json!({}), "$.account: expected a string, found an object"),
        ("/account", json!([1]), "$.account: expected a string, found an array"),
        ("/order", json!("x"), r#"$.order: expected an object, found "x""#),
        ("/order", json!([]), "$.order: expected an object, found an array"),
        ("/order/side", json!("HOLD"), r#"$.order.side: expected one of BUY or SELL, found "HOLD""#),
        ("/order/side", json!(1), "$.order.side: expected a string, found 1"),
        ("/order/side", json!(null), "$.order.side: expected a string, found null"),
        ("/costs/slippage_bps", json!("much"), r#"$.costs.slippage_bps: expected a number, found "much""#),
        ("/timestamp", json!(1700000000), "$.timestamp: expected an RFC 3339 time with a zone, found 1700000000"),
    ] {
        assert_eq!(report(&[(pointer, value)]), expected);
    }
    assert_eq!(answer(REPORT, "[1]"), "$: expected an object, found an array");
    assert_eq!(answer(REPORT, "12"), "$: expected an object, found 12");
}

#[test]
fn numbers_that_json_has_not_or_that_do_not_fit_are_named_with_their_path() {
    let found = respelled(EventKind::TradingDecision, "contract", "45.3", "NaN");
    assert_eq!(found, "$.features.rsi: expected a number, found NaN, which JSON has not");
    let found = respelled(EventKind::TradingDecision, "contract", "45.3", "-Infinity");
    assert_eq!(found, "$.features.rsi: expected a number, found -Infinity, which JSON has not");
    let found = respelled(EventKind::TradingDecision, "contract", "45.3", "1e400");
    assert_eq!(found, "$.features.rsi: expected a number that fits 64 bits, found 1e400");
    let found = respelled(REPORT, "contract", r#""95001""#, "NaN");
    assert_eq!(found, "$.order.limit_price: expected a number, found NaN, which JSON has not");
    let found = respelled(REPORT, "contract", r#""95001""#, r#""NaN""#);
    assert_eq!(found, r#"$.order.limit_price: expected a decimal, found "NaN""#);
    let found = respelled(REPORT, "contract", r#""95001""#, "1e400");
    assert!(found.starts_with("$.order.limit_price: expected a decimal of at most 18 significant digits"), "{found}");
}

#[test]
fn a_name_given_twice_is_refused_as_nobody_knows_which_was_meant() {
    let found = respelled(REPORT, "contract", r#""side":"BUY""#, r#""side":"BUY","side":"SELL""#);
    assert_eq!(found, "$.order.side: expected once, found twice");
    let found = respelled(EventKind::TradingDecision, "contract", r#""rsi":45.3"#, r#""rsi":45.3,"rsi":46"#);
    assert_eq!(found, "$.features.rsi: expected once, found twice");
    let found = respelled(EventKind::RiskMetrics, "contract", r#""BINANCE":"48000""#, r#""BINANCE":"1","BINANCE":"2""#);
    assert_eq!(found, "$.exposure.by_venue.BINANCE: expected once, found twice");
    let found = respelled(EventKind::Alert, "full", r#""daily":5.2"#, r#""daily":5.2,"daily":1"#);
    assert_eq!(found, "$.context.daily: expected once, found twice");
}

#[test]
fn a_time_without_a_zone_is_refused() {
    let found = report(&[("/timestamp", json!("2024-01-01T12:00:00"))]);
    assert!(
        found.starts_with(r#"$.timestamp: expected an RFC 3339 time with a zone, found "2024-01-01T12:00:00""#),
        "{found}"
    );
    assert!(found.contains("add `Z`"), "{found}");
}

#[test]
fn bytes_that_are_no_json_say_where() {
    assert!(matches!(Event::decode(REPORT, b"\xff{}"), Err(DecodeError::NotUtf8 { at: 0 })));
    for broken in ["", "{", "{\"account\":", "nonsense", "{} {}", "{\"event_id\":\"a\",}"] {
        let error = Event::decode(REPORT, broken.as_bytes()).unwrap_err();
        let named = matches!(&error, DecodeError::NotJson { detail } if !detail.is_empty());
        assert!(named || broken == "{} {}", "{broken}: {error:?}");
    }
    let twice = format!("{0}{0}", fixture(REPORT, "contract"));
    assert!(matches!(Event::decode(REPORT, twice.as_bytes()), Err(DecodeError::NotJson { .. })));
}

#[test]
fn ids_are_neither_empty_nor_longer_than_128_bytes() {
    for pointer in ["/event_id", "/account", "/symbol", "/venue", "/order/order_id", "/fill/fill_id", "/decision_id"] {
        let path = format!("${}", pointer.replace('/', "."));
        assert_eq!(report(&[(pointer, json!(""))]), format!("{path}: expected an id, found an empty string"));
        assert_eq!(report(&[(pointer, json!("é".repeat(64)))]), "ok");
        let long = report(&[(pointer, json!("x".repeat(129)))]);
        assert_eq!(long, format!("{path}: expected an id of at most 128 bytes, found 129 bytes"));
    }
}

#[test]
fn quantities_of_an_order_add_up_as_its_status_says() {
    let order = |status: &str, cum: &str, leaves: &str| {
        let avg = if cum == "0" { json!(null) } else { json!("95000.5") };
        edited(
            REPORT,
            "canceled",
            &[
                ("/exec_type", json!("REPLACED")),
                ("/order/status", json!(status)),
                ("/order/cum_qty", json!(cum)),
                ("/order/leaves_qty", json!(leaves)),
                ("/order/avg_px", avg),
            ],
        )
    };
    for (status, cum, leaves) in [
        ("NEW", "0", "0.5"),
        ("PARTIALLY_FILLED", "0.2", "0.3"),
        ("FILLED", "0.5", "0"),
        ("CANCELED", "0.2", "0"),
        ("EXPIRED", "0", "0"),
        ("REJECTED", "0", "0"),
    ] {
        assert_eq!(order(status, cum, leaves), "ok", "{status} {cum} {leaves}");
    }
    for (status, cum, leaves, path) in [
        ("NEW", "0", "0.4", "$.order.leaves_qty: expected cum_qty + leaves_qty = quantity"),
        ("PARTIALLY_FILLED", "0.2", "0.4", "$.order.leaves_qty: expected cum_qty + leaves_qty = quantity"),
        ("FILLED", "0.4", "0", "$.order.leaves_qty: expected cum_qty + leaves_qty = quantity"),
        ("NEW", "0.2", "0.3", "$.order.status: expected a status that fits"),
        ("PARTIALLY_FILLED", "0", "0.5", "$.order.status: expected a status that fits"),
        ("PARTIALLY_FILLED", "0.5", "0", "$.order.status: expected a status that fits"),
        ("FILLED", "0.2", "0.3", "$.order.status: expected a status that fits"),
        ("CANCELED", "0.2", "0.3", "$.order.leaves_qty: expected 0"),
        ("CANCELED", "0.6", "0", "$.order.cum_qty: expected at most the quantity 0.5"),
        ("CANCELED", "-0.1", "0", "$.order.cum_qty: expected a decimal of at least 0"),
    ] {
        let found = order(status, cum, leaves);
        assert!(found.starts_with(path), "{status} {cum} {leaves}: {found}");
    }
}

#[test]
fn a_report_that_contradicts_itself_is_refused() {
    for (edits, expected) in [
        (vec![("/order/quantity", json!("0"))], "$.order.quantity: expected a decimal over 0, found 0"),
        (vec![("/order/quantity", json!(-1))], "$.order.quantity: expected a decimal over 0, found -1"),
        (
            vec![("/order/limit_price", json!(null))],
            "$.order.limit_price: expected a decimal for this order type, found null",
        ),
        (vec![("/order/type", json!("MARKET"))], "$.order.limit_price: expected null for this order type, found 95001"),
        (vec![("/order/type", json!("STOP"))], "$.order.limit_price: expected null for this order type, found 95001"),
        (vec![("/order/avg_px", json!(null))], "$.order.avg_px: expected a decimal at cum_qty 0.2, found null"),
        (vec![("/fill", json!(null))], "$.fill: expected an object, as the exec_type is \"TRADE\", found null"),
        (
            vec![("/fill/last_qty", json!("0.6"))],
            "$.fill.last_qty: expected at most the order's quantity 0.5, found 0.6",
        ),
        (
            vec![("/fill/last_qty", json!("0.3"))],
            "$.fill.last_qty: expected at most the order's cum_qty 0.2, found 0.3",
        ),
        (vec![("/fill/last_qty", json!("0"))], "$.fill.last_qty: expected a decimal over 0, found 0"),
        (vec![("/fill/last_px", json!("-5"))], "$.fill.last_px: expected a decimal over 0, found -5"),
        (vec![("/exec_type", json!("NEW"))], "$.fill: expected null, as the exec_type is \"NEW\", found an object"),
        (
            vec![("/exec_type", json!("REJECTED"))],
            "$.order.status: expected \"REJECTED\", as the exec_type says so, found \"PARTIALLY_FILLED\"",
        ),
        (
            vec![("/exec_type", json!("TRADE_CORRECT"))],
            "$.fill.ref_fill_id: missing; \"TRADE_CORRECT\" names the fill that it is about",
        ),
        (vec![("/costs/currency", json!(""))], "$.costs.currency: expected an id, found an empty string"),
        (vec![("/schema_version", json!("2.0"))], "$.schema_version: expected version 1.x, found \"2.0\""),
    ] {
        assert_eq!(report(&edits), expected);
    }
    assert_eq!(report(&[("/costs/commission", json!("-1.9"))]), "ok", "a rebate");
    assert_eq!(report(&[("/pnl/realized", json!("-12345678901234.12345678"))]), "ok", "money is wider than a price");
}

#[test]
fn prices_of_a_market_that_cannot_be_are_refused() {
    let market = |edits: &[(&str, Value)]| edited(EventKind::MarketData, "full", edits);
    for (pointer, value, expected) in [
        ("/data/price", json!(0), "$.data.price: expected a decimal over 0, found 0"),
        ("/data/price", json!("-1"), "$.data.price: expected a decimal over 0, found -1"),
        ("/data/volume", json!("-1"), "$.data.volume: expected a decimal of at least 0, found -1"),
        ("/data/bid", json!("95002"), "$.data.bid: expected at most the ask 95001, found 95002"),
        ("/data/bid_size", json!("-1"), "$.data.bid_size: expected a decimal of at least 0, found -1"),
        ("/data/high", json!("94979"), "$.data.high: expected at least the low 94980, found 94979"),
        ("/data/open", json!("95011"), "$.data.open: expected at most the high 95010.25, found 95011"),
        ("/data/close", json!("94979"), "$.data.close: expected at least the low 94980, found 94979"),
        ("/data/symbol", json!(""), "$.data.symbol: expected an id, found an empty string"),
        (
            "/data/interval",
            json!("0m"),
            "$.data.interval: expected a number over 0 and s, m, h or d (such as 1m), found \"0m\"",
        ),
        ("/producer_service", json!(""), "$.producer_service: expected an id, found an empty string"),
    ] {
        assert_eq!(market(&[(pointer, value)]), expected);
    }
    assert_eq!(
        market(&[("/data/bid", json!("95001")), ("/data/kind", json!("quote"))]),
        "ok",
        "a locked market is legal"
    );
    assert_eq!(
        market(&[("/data/bid", json!(null)), ("/data/kind", json!("quote"))]),
        "$.data.bid: missing; a quote has bid and ask"
    );
}

#[test]
fn decisions_that_lie_are_refused() {
    refused(&[
        (
            EventKind::TradingDecision,
            "contract",
            "/confidence",
            json!(1.1),
            "$.confidence: expected a number from 0 to 1, found 1.1",
        ),
        (
            EventKind::TradingDecision,
            "contract",
            "/event_type",
            json!("decision"),
            r#"$.event_type: expected "trading_decision", found "decision""#,
        ),
        (
            EventKind::TradingDecision,
            "contract",
            "/quantity",
            json!(-1),
            "$.quantity: expected a decimal of at least 0, found -1",
        ),
        (
            EventKind::TradingDecision,
            "contract",
            "/strategy_weights/bull_specialist",
            json!(-0.6),
            "$.strategy_weights.bull_specialist: expected a number from 0 to 1, found -0.6",
        ),
        (
            EventKind::TradingDecision,
            "contract",
            "/strategy_weights/bull_specialist",
            json!(0.60001),
            "$.strategy_weights: expected numbers that sum to 1, found a sum of 1.00001",
        ),
        (
            EventKind::TradingDecision,
            "contract",
            "/regime_probs/bull",
            json!(0.95),
            "$.regime_probs: expected numbers that sum to 1, found a sum of 1.2999999999999998",
        ),
        (
            EventKind::TradingDecision,
            "contract",
            "/outcome",
            json!("rejected"),
            "$.reasons: expected at least one reason, as the outcome is rejected, found none",
        ),
        (
            EventKind::ModelUpdate,
            "full",
            "/event_type",
            json!("x"),
            r#"$.event_type: expected "model_update", found "x""#,
        ),
    ]);
}

#[test]
fn risk_and_commands_that_lie_are_refused() {
    refused(&[
        (
            EventKind::RiskMetrics,
            "contract",
            "/drawdown/max",
            json!(-0.1),
            "$.drawdown.max: expected a number of at least 0, found -0.1",
        ),
        (
            EventKind::RiskMetrics,
            "contract",
            "/exposure/short",
            json!("-1"),
            "$.exposure.short: expected a decimal of at least 0, found -1",
        ),
        (
            EventKind::RiskMetrics,
            "contract",
            "/positions/0/side",
            json!("FLAT"),
            "$.positions[0].side: expected FLAT exactly at quantity 0, found \"FLAT\" at 0.5",
        ),
        (
            EventKind::RiskMetrics,
            "contract",
            "/ess/state",
            json!("TRIPPED"),
            "$.ess.reason: expected a reason, as the state is TRIPPED, found none",
        ),
        (EventKind::RiskCommand, "full", "/reason", json!(" "), "$.reason: expected a text, found an empty string"),
        (
            EventKind::RiskCommand,
            "full",
            "/command",
            json!("arm"),
            "$.flatten: expected false, as only `trip` flattens, found true",
        ),
    ]);
}

#[test]
fn other_events_that_lie_are_refused() {
    refused(&[
        (
            EventKind::Signal,
            "full",
            "/data/signal/confidence",
            json!(-0.5),
            "$.data.signal.confidence: expected a number from 0 to 1, found -0.5",
        ),
        (
            EventKind::Signal,
            "minimal",
            "/data/signal/quantity",
            json!(0),
            "$.data.signal.quantity: expected a decimal over 0, found 0",
        ),
        (
            EventKind::Signal,
            "full",
            "/data/signal/order/type",
            json!("MARKET"),
            "$.data.signal.order.limit_price: expected null for this order type, found 95001",
        ),
        (
            EventKind::TradeExecution,
            "minimal",
            "/data/quantity",
            json!(0),
            "$.data.quantity: expected a decimal over 0, found 0",
        ),
        (
            EventKind::ForwardTest,
            "full",
            "/data/metrics/win_rate",
            json!(101),
            "$.data.metrics.win_rate: expected a number from 0 to 100, found 101",
        ),
        (
            EventKind::Health,
            "full",
            "/data/latency_ms",
            json!(-1),
            "$.data.latency_ms: expected a number of at least 0, found -1",
        ),
        (
            EventKind::Compilation,
            "full",
            "/data/diagnostics",
            json!([]),
            "$.data.diagnostics: expected at least one diagnostic, as the status is failed, found none",
        ),
    ]);
}

#[test]
fn tasks_and_reminders_that_lie_are_refused() {
    refused(&[
        (
            EventKind::Task,
            "full",
            "/payload/revision",
            json!(-1),
            "$.payload.revision: expected a number of at least 0, found -1",
        ),
        (
            EventKind::Task,
            "full",
            "/payload/title",
            json!(""),
            "$.payload.title: expected a text, found an empty string",
        ),
        (
            EventKind::Reminder,
            "full",
            "/reminder_id",
            json!(""),
            "$.reminder_id: expected an id, found an empty string",
        ),
    ]);
}

/// A kind, a fixture of it, a field, what is put there, and the error.
type Lie = (EventKind, &'static str, &'static str, Value, &'static str);

fn refused(lies: &[Lie]) {
    for (kind, name, pointer, value, expected) in lies {
        assert_eq!(edited(*kind, name, &[(pointer, value.clone())]), *expected);
    }
}
