//! `tapedeck explain`: why one decision was made, as a waterfall from the base value
//! to the prediction.
//!
//! Not here: making explanations, and sentences; the answer of the api has both.

use std::{collections::BTreeMap, process::ExitCode};

use serde::Deserialize;
use serde_json::Value;
use tapedeck_roles::forensics::sentences::percent;

use crate::{admin::Admin, cli::ExplainArgs, config::Config, exit, show};

/// The api's own limit: with so many, all features are named.
const ALL: u64 = 100_000;
/// Columns of the waterfall: with names and numbers beside it, 80 in all.
const WIDTH: usize = 36;
/// Columns of a feature's name and value.
const NAME: usize = 30;

/// What is shown of an answer.
#[derive(Debug, Deserialize)]
struct Answer {
    decision_id: String,
    timestamp: String,
    account: Option<String>,
    symbol: String,
    action: String,
    quantity: String,
    confidence: f64,
    outcome: String,
    reasons: Vec<String>,
    explanations: Sums,
    regime_reasoning: Text,
    strategy_selection: Text,
    risk_checks: serde_json::Map<String, Value>,
    #[serde(default)]
    failed_checks: BTreeMap<String, Numbers>,
    #[serde(default)]
    signal: Option<Signal>,
    #[serde(default)]
    orders: Vec<Order>,
    #[serde(default)]
    more_orders: bool,
    execution_details: Vec<Fill>,
    #[serde(default)]
    more_executions: bool,
    audit: Audit,
}

#[derive(Debug, Deserialize)]
struct Sums {
    base_value: f64,
    prediction: f64,
    features: Vec<Feature>,
    other: Other,
    additivity_error: f64,
}

#[derive(Debug, Deserialize)]
struct Feature {
    name: String,
    value: Option<f64>,
    shap: f64,
}

#[derive(Debug, Deserialize)]
struct Other {
    count: u64,
    shap: f64,
}

#[derive(Debug, Deserialize)]
struct Text {
    text: String,
}

/// Of a check that failed.
#[derive(Debug, Deserialize)]
struct Numbers {
    value: serde_json::Number,
    limit: serde_json::Number,
}

#[derive(Debug, Deserialize)]
struct Signal {
    strategy_id: String,
    action: String,
    confidence: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Order {
    order_id: String,
    side: String,
    quantity: String,
    order_status: String,
    cum_qty: String,
    avg_px: Option<String>,
    reason: Option<OrderReason>,
}

#[derive(Debug, Deserialize)]
struct OrderReason {
    code: String,
    text: String,
}

#[derive(Debug, Deserialize)]
struct Fill {
    fill_id: String,
    timestamp: String,
    quantity: String,
    price: String,
    commission: String,
}

#[derive(Debug, Deserialize)]
struct Audit {
    chain: u32,
    index: u64,
    hash: String,
    #[serde(default)]
    intact: Option<bool>,
}

pub(super) fn run(config: &Config, args: &ExplainArgs, json: bool) -> anyhow::Result<ExitCode> {
    let admin = Admin::connect_to_read(config)?;
    let top = if args.all { ALL } else { args.top };
    let answer =
        admin.get::<Value>(&format!("/api/v1/forensics/{}", escaped(&args.decision_id)), &[("top", top.to_string())]);
    admin.close();
    let answer = answer?;
    if answer["status"] == "pending" {
        return Err(exit::input(format!(
            "decision `{}` is not explained yet, or unknown: the forensics role still has decisions to read; ask again",
            args.decision_id
        )));
    }
    if json {
        show::json(&answer);
    } else {
        lines(&serde_json::from_value(answer)?).iter().for_each(|line| show::out(line));
    }
    Ok(ExitCode::SUCCESS)
}

/// An id as a part of a path.
fn escaped(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    id.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// What a person sees.
fn lines(answer: &Answer) -> Vec<String> {
    let account = answer.account.as_ref().map(|account| format!(" for {account}")).unwrap_or_default();
    let outcome = match answer.reasons.as_slice() {
        [] => answer.outcome.clone(),
        reasons => format!("{}: {}", answer.outcome, reasons.join(", ")),
    };
    let mut out = vec![
        format!("{} {} {}{account}, {} ({outcome})", answer.action, answer.quantity, answer.symbol, answer.timestamp),
        format!("decision {}, confidence {}", answer.decision_id, percent(answer.confidence)),
        String::new(),
        answer.regime_reasoning.text.clone(),
        answer.strategy_selection.text.clone(),
        String::new(),
    ];
    out.extend(waterfall(&answer.explanations));
    let checks = answer.risk_checks.iter().map(|(name, passed)| {
        let numbers = answer.failed_checks.get(name);
        let numbers = numbers.map(|of| format!(" ({} of at most {})", of.value, of.limit)).unwrap_or_default();
        let said = if passed == &Value::Bool(true) { "ok" } else { "FAILED" };
        format!("{} {said}{numbers}", name.trim_end_matches("_ok"))
    });
    out.push(String::new());
    if let Some(signal) = &answer.signal {
        let sure = signal.confidence.map(|sure| format!(", confidence {}", percent(sure))).unwrap_or_default();
        out.push(format!("signal        {} wanted {}{sure}", signal.strategy_id, signal.action));
    }
    out.push(format!("risk checks   {}", checks.collect::<Vec<_>>().join(", ")));
    out.extend(executed(answer));
    out.push(format!(
        "audit         chain {}, record {}, {}{}",
        answer.audit.chain,
        answer.audit.index,
        answer.audit.hash,
        if answer.audit.intact == Some(false) {
            ": CHANGED since it was stored, see `tapedeck audit verify`"
        } else {
            ""
        }
    ));
    out
}

/// What became of its orders, and each fill.
fn executed(answer: &Answer) -> Vec<String> {
    let mut out: Vec<String> = answer.orders.iter().map(order).collect();
    if answer.more_orders {
        out.push("orders        more than are told here".into());
    }
    for fill in &answer.execution_details {
        out.push(format!(
            "fill          {} of {} at {}, commission {}, {}",
            fill.fill_id, fill.quantity, fill.price, fill.commission, fill.timestamp
        ));
    }
    if answer.more_executions {
        out.push("fills         more than are told here".into());
    }
    if out.is_empty() {
        out.push("orders        none".into());
    }
    out
}

/// An order in a line: how it stands, how much of it filled, and why not all.
fn order(order: &Order) -> String {
    let at = order.avg_px.as_ref().map(|price| format!(" at {price} on average")).unwrap_or_default();
    let why = order.reason.as_ref().map(|reason| format!(": {} ({})", reason.text, reason.code)).unwrap_or_default();
    format!(
        "order         {} {}, {} {} of {} filled{at}{why}",
        order.order_id, order.order_status, order.side, order.cum_qty, order.quantity
    )
}

/// From the base value to the prediction, a step a feature, in log-odds.
fn waterfall(sums: &Sums) -> Vec<String> {
    let mut steps: Vec<(String, f64)> = sums.features.iter().map(|feature| (label(feature), feature.shap)).collect();
    if sums.other.count > 0 {
        steps.push((format!("{} others", sums.other.count), sums.other.shap));
    }
    let mut at = sums.base_value;
    let (mut low, mut high) = (at.min(sums.prediction), at.max(sums.prediction));
    for (_, shap) in &steps {
        at += shap;
        (low, high) = (low.min(at), high.max(at));
    }
    let scale = if high > low { (WIDTH - 1) as f64 / (high - low) } else { 0.0 };
    let column = |value: f64| ((value - low) * scale).round() as usize;
    let mark = |value: f64| format!("{}|", " ".repeat(column(value)));
    let line = |name: &str, bar: String, number: String| format!("{name:<NAME$} {bar:<WIDTH$} {number:>10}");
    let mut out = vec![line("base value", mark(sums.base_value), format!("{:.4}", sums.base_value))];
    let mut at = sums.base_value;
    for (name, shap) in &steps {
        let (from, to) = (column(at.min(at + shap)), column(at.max(at + shap)));
        let sign = if *shap < 0.0 { "-" } else { "+" };
        out.push(line(name, format!("{}{}", " ".repeat(from), sign.repeat((to - from).max(1))), format!("{shap:+.4}")));
        at += shap;
    }
    out.push(line("prediction (log-odds)", mark(sums.prediction), format!("{:.4}", sums.prediction)));
    let p = 1.0 / (1.0 + (-sums.prediction).exp());
    out.push(format!(
        "probability {}; the steps and the prediction are {:.1e} apart",
        percent(p),
        sums.additivity_error
    ));
    out
}

/// A feature's name and value, shortened where the column ends.
fn label(feature: &Feature) -> String {
    let value = feature.value.map_or("missing".to_owned(), digits);
    let room = NAME.saturating_sub(value.len() + 3);
    let name: String = feature.name.chars().take(room).collect();
    format!("{name} = {value}")
}

/// A value with about four digits that say something.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || size >= 1.0 => format!("{value:.3}"),
        size if size >= 1e-6 => format!("{value:.*}", (3 - size.log10().floor() as i32).unsigned_abs() as usize),
        _ => format!("{value:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        serde_json::from_str(
            r#"{"decision_id":"550e8400-e29b-41d4-a716-446655440000","timestamp":"2025-10-21T14:30:00.000000Z","account":"ACC-1",
            "symbol":"AAPL","action":"BUY","quantity":"100","confidence":0.535,"outcome":"rejected","reasons":["position_limit"],
            "explanations":{"space":"log_odds","base_value":-0.12,"prediction":0.14,"features":[
              {"name":"rsi","value":45.3,"shap":0.31},{"name":"a_name_that_is_longer_than_its_column","value":null,"shap":-0.0001}],
              "other":{"count":17,"shap":-0.05},"additivity_error":1e-9},
            "regime_reasoning":{"text":"Bull."},"strategy_selection":{"text":"The bull specialist."},
            "risk_checks":{"concentration_ok":true,"position_limit_ok":false},
            "failed_checks":{"position_limit_ok":{"value":1.2,"limit":1}},
            "signal":{"strategy_id":"sma","action":"BUY","confidence":0.99999},
            "orders":[{"order_id":"O1","side":"BUY","quantity":"100","order_status":"CANCELED","cum_qty":"40","avg_px":"12.5",
              "reason":{"code":"ess_tripped","text":"the account was stopped"}}],
            "execution_details":[{"fill_id":"F1","timestamp":"2025-10-21T14:30:01.000000Z","quantity":"40","price":"12.5","commission":"0.2"}],
            "audit":{"chain":3,"index":1042,"hash":"ab"}}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_waterfall_goes_from_the_base_value_to_the_prediction() {
        insta::assert_snapshot!(lines(&answer()).join("\n"));
    }

    #[test]
    fn nothing_that_moves_is_no_division_by_zero() {
        let sums = Sums {
            base_value: 0.5,
            prediction: 0.5,
            features: Vec::new(),
            other: Other { count: 0, shap: 0.0 },
            additivity_error: 0.0,
        };
        assert_eq!(waterfall(&sums).len(), 3);
    }

    #[test]
    fn an_id_of_any_letters_is_a_part_of_a_path() {
        assert_eq!(escaped("a/b ü"), "a%2Fb%20%C3%BC");
    }
}
