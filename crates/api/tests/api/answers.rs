//! The answers' shapes, word for word.

use serde_json::json;
use tapedeck_contracts::events::Severity;
use tapedeck_store::conformance::samples;

use crate::support::Running;

#[test]
fn fills_come_newest_first_with_decimals_as_strings() {
    let api = Running::start().with_trades();
    let answer = api.get("/api/fills?limit=2");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = answer.json();
    assert_eq!(
        body["items"][1],
        json!({
            "fill_id": "F2", "event_id": "00000000-0000-4000-8000-000000000002",
            "timestamp": "2025-10-21T14:30:02.123456Z", "account": "ACC-1", "venue": "BINANCE", "symbol": "BTCUSDT",
            "side": "BUY", "quantity": "0.5", "price": "95000", "liquidity": "TAKER", "commission": "19",
            "currency": "USDT", "slippage_bps": 0.5, "realized_pnl": "0", "order_id": "O2", "client_order_id": "C2",
            "order_status": "FILLED", "decision_id": null, "strategy_id": "sma-crossover",
            "execution_number": 2, "exec_type": "TRADE"
        })
    );
    assert_eq!(body["items"][0]["realized_pnl"], "12.3");
    let cursor = body["next_cursor"].as_str().unwrap();
    let rest = api.get(&format!("/api/fills?limit=2&cursor={cursor}")).json();
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    assert_eq!(rest["items"][0]["fill_id"], "F1");
    assert_eq!(rest["next_cursor"], json!(null));
}

#[test]
fn fills_can_be_narrowed_by_symbol_venue_and_time() {
    let api = Running::start().with_trades();
    let count = |query: &str| api.get(&format!("/api/fills?{query}")).json()["items"].as_array().unwrap().len();
    assert_eq!(count("symbol=BTCUSDT&venue=BINANCE&account=ACC-1"), 3);
    assert_eq!(count("symbol=ETHUSDT"), 0);
    assert_eq!(count("venue=NYSE"), 0);
    assert_eq!(count("from=2025-10-21T14:30:02.123456Z"), 2, "from is inclusive");
    assert_eq!(count("to=2025-10-21T14:30:02.123456Z"), 1, "to is exclusive");
}

#[test]
fn lists_come_as_csv_where_asked_for() {
    let api = Running::start().with_trades();
    let answer = api.send("GET", "/api/fills?limit=1", &[("accept", "text/csv")], b"");
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"));
    let mut lines = answer.body.lines();
    assert!(lines.next().unwrap().starts_with("fill_id,event_id,timestamp,account,venue,symbol,side,quantity,price,"));
    assert!(
        lines.next().unwrap().starts_with("F3,00000000-0000-4000-8000-000000000003,2025-10-21T14:30:03.123456Z,ACC-1,")
    );
    let cursor = answer.header("x-next-cursor").unwrap();
    assert_eq!(api.get(&format!("/api/fills?cursor={cursor}")).json()["items"].as_array().unwrap().len(), 2);
    for path in ["orders", "alerts", "accounts", "instruments", "metrics/symbols"] {
        let answer = api.send("GET", &format!("/api/{path}"), &[("accept", "text/csv")], b"");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/csv; charset=utf-8")), "{path}");
    }
}

#[test]
fn the_pnl_curve_adds_up_and_says_its_interval() {
    let api = Running::start().with_trades();
    let body = api.get("/api/pnl?interval=1s").json();
    assert_eq!(
        (&body["account"], &body["symbol"], &body["currency"]),
        (&json!("ACC-1"), &json!(null), &json!("USDT")),
        "{body}"
    );
    assert_eq!(body["interval"], "5m", "86,400 seconds do not fit into 1,000 points, nor do 1m, 15s …");
    assert_eq!(body["to"], "2025-10-21T14:30:05.123456Z", "the newest event of the account");
    assert_eq!(body["from"], "2025-10-20T14:30:05.123456Z");
    assert_eq!(
        body["points"],
        json!([{ "timestamp": "2025-10-21T14:30:00.000000Z", "realized": "12.3", "unrealized": "500", "fees": "57", "total": "455.3" }])
    );
    let fine = api.get("/api/pnl?interval=1s&from=2025-10-21T14:30:00Z&symbol=BTCUSDT").json();
    assert_eq!(fine["interval"], "1s");
    assert_eq!(fine["points"][0]["timestamp"], "2025-10-21T14:30:01.000000Z");
    assert_eq!(fine["points"][0]["fees"], "19");
    let one = api.get("/api/pnl?max_points=1&from=2025-10-21T14:30:00Z").json();
    assert_eq!((one["interval"].as_str(), one["points"].as_array().unwrap().len()), (Some("1m"), 1));
}

#[test]
fn positions_carry_their_percentage_of_cost() {
    let api = Running::start().with_trades();
    assert_eq!(
        api.get("/api/positions/latest?account=ACC-1").json(),
        json!({ "accounts": [{ "account": "ACC-1", "currency": "USDT", "as_of": "2025-10-21T14:30:05.123456Z",
            "positions": [{ "venue": "BINANCE", "symbol": "BTCUSDT", "side": "LONG", "quantity": "0.5",
                "avg_entry_price": "95000", "mark_price": "96000", "notional": "48000", "unrealized_pnl": "500",
                "unrealized_pnl_pct": 1.0526 }],
            "risk": { "equity": "100481", "cash": "52481", "margin": "2400", "leverage": 0.4777, "ess_state": "ARMED" } }] })
    );
}

#[test]
fn risk_shows_exposure_limits_and_the_emergency_stop() {
    let api = Running::start().with_trades();
    assert_eq!(
        api.get("/api/metrics/risk").json(),
        json!({ "accounts": [{ "account": "ACC-1", "currency": "USDT", "as_of": "2025-10-21T14:30:05.123456Z",
            "equity": "100481", "leverage": 0.4777,
            "exposure": { "long": "48000", "short": "0", "net": "48000", "gross": "48000", "by_venue": { "BINANCE": "48000" } },
            "drawdown": { "daily": 0.4, "weekly": 1.1, "max": 3.2 },
            "var": { "confidence": 0.95, "horizon": "1d", "method": "historical", "value": null },
            "limits": { "max_gross": null, "daily_drawdown_pct": null }, "risk_limit_pct": 48.0,
            "ess": { "state": "ARMED", "reason": null, "since": null } }] })
    );
}

#[test]
fn orders_show_how_they_stand() {
    let api = Running::start().with_trades();
    assert_eq!(api.get("/api/orders").json()["items"].as_array().unwrap().len(), 4);
    let open = api.get("/api/orders?status=open").json();
    assert_eq!(
        open["items"],
        json!([{ "order_id": "O4", "client_order_id": "C4", "account": "ACC-1", "venue": "BINANCE", "symbol": "BTCUSDT",
            "side": "BUY", "type": "LIMIT", "quantity": "0.5", "limit_price": "95001", "time_in_force": "GTC",
            "status": "NEW", "cum_qty": "0", "leaves_qty": "0.5", "avg_px": null, "decision_id": null,
            "strategy_id": "sma-crossover", "created_at": "2025-10-21T14:30:04.123456Z",
            "updated_at": "2025-10-21T14:30:04.123456Z" }])
    );
}

#[test]
fn accounts_instruments_and_symbols_are_listed() {
    let api = Running::start().with_trades();
    assert_eq!(
        api.get("/api/accounts").json(),
        json!({ "items": [{ "account": "ACC-1", "currency": "USDT", "session_id": "S1", "source": "signals",
            "starting_equity": "100000", "equity": "100481", "as_of": "2025-10-21T14:30:05.123456Z" }], "next_cursor": null })
    );
    assert_eq!(
        api.get("/api/instruments").json()["items"],
        json!([{ "venue": "BINANCE", "symbol": "BTCUSDT", "quote_currency": "USDT", "tick": "0.1", "lot": "0.001", "margin_rate": "0.05" }])
    );
    let symbol = &api.get("/api/metrics/symbols").json()["items"][0];
    assert_eq!(
        (
            &symbol["symbol"],
            &symbol["fills"],
            &symbol["volume"],
            &symbol["turnover"],
            &symbol["fees"],
            &symbol["realized"]
        ),
        (&json!("BTCUSDT"), &json!(3), &json!("1.5"), &json!("142500"), &json!("57"), &json!("12.3"))
    );
}

#[test]
fn alerts_are_narrowed_by_how_bad_they_are() {
    let api = Running::start().with_trades();
    let alerts = [(1, Severity::Info), (2, Severity::Critical), (3, Severity::Warning)];
    let rows = alerts.map(|(n, severity)| samples::row(20 + n, samples::alert(n, severity, Some("ACC-1"))));
    api.store.apply(&samples::rows(rows.to_vec())).unwrap();
    let body = api.get("/api/alerts?severity=WARNING").json();
    let ids: Vec<&str> =
        body["items"].as_array().unwrap().iter().map(|alert| alert["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["alert-3", "alert-2"]);
    assert_eq!(
        body["items"][1],
        json!({ "event_id": "alert-2", "timestamp": "2025-10-21T14:30:02.123456Z", "severity": "CRITICAL",
            "code": "RISK_DRAWDOWN", "message": "daily drawdown 5.1 %, limit 5 %", "context": { "limit_pct": 5 },
            "source": "risk", "account": "ACC-1", "decision_id": null })
    );
}

#[test]
fn several_accounts_must_be_told_apart() {
    let api = Running::start().with_trades();
    let mut other = samples::trade(7);
    other.account = "ACC-2".into();
    api.store.apply(&samples::rows(vec![samples::row(30, other)])).unwrap();
    for path in ["/api/fills", "/api/pnl", "/api/orders", "/api/metrics/symbols"] {
        // The list of accounts is believed for a second.
        let answer = std::iter::repeat_with(|| api.get(path)).find(|answer| answer.status != 200).unwrap();
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.json()["errors"][0]["path"], "account", "{path}");
        assert!(answer.body.contains("ACC-1, ACC-2"), "{}", answer.body);
        assert_eq!(api.get(&format!("{path}?account=ACC-2")).status, 200, "{path}");
    }
    assert_eq!(api.get("/api/positions/latest").status, 200, "its answer has a place for each account");
}

#[test]
fn before_the_first_event_lists_are_empty() {
    let api = Running::start();
    for path in ["fills", "orders", "alerts", "accounts", "metrics/symbols"] {
        assert_eq!(api.get(&format!("/api/{path}")).json(), json!({ "items": [], "next_cursor": null }), "{path}");
    }
    assert_eq!(api.get("/api/positions/latest").json(), json!({ "accounts": [] }));
    assert_eq!(api.get("/api/pnl").status, 404);
}
