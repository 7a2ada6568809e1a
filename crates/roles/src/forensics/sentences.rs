//! Plain English of a decision's reasons, made when somebody reads them and kept
//! nowhere. A sentence says what the numbers say, rounded, and nothing else.
//!
//! Not here: which reasons there are (`reasons`).

use tapedeck_contracts::events::{
    Action, OrderStatus,
    decision::{CheckNumbers, Outcome},
};
use tapedeck_store::OrderRow;

use super::{Failed, FeatureSet, Reason, Record, Share, reasons};
use crate::inference::decide::sigmoid;

/// What is told of one decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentences {
    /// What was decided, and what stood against it.
    pub outcome: String,
    /// What the features did.
    pub features: String,
    /// Which regime, how sure, and what it was before; empty where no regime was told.
    pub regime: String,
    /// Which specialist dominated; empty where there is none.
    pub strategy: String,
}

/// The sentences of a record, whose names are in `set`.
pub fn sentences(record: &Record, set: &FeatureSet) -> Sentences {
    let reasons = reasons(record, set);
    let all = |of: fn(&Reason<'_>) -> Option<String>| reasons.iter().find_map(of).unwrap_or_default();
    Sentences {
        outcome: outcome(record) + &all(checks) + &asked(record),
        features: features(record, &reasons),
        regime: all(regime),
        strategy: all(strategy),
    }
}

/// What was decided and what came of it: what a record says without its names.
pub(super) fn outcome(record: &Record) -> String {
    let what = match record.action {
        Action::Hold => format!("HOLD {}", record.symbol),
        action => format!("{} {} {}", word(action), record.quantity.normalize(), record.symbol),
    };
    let outcome = match record.outcome {
        Outcome::Accepted => "accepted",
        Outcome::Rejected => "rejected",
    };
    let codes = match record.reasons.as_slice() {
        [] => String::new(),
        codes => format!(": {}", list(codes)),
    };
    let p = sigmoid(record.margin);
    format!("{what} was {outcome}, at a p of {}{codes}.{}", percent(p), otherwise(record, p))
}

/// Where a decision does not follow from its models: another program made it, or forged it.
fn otherwise(record: &Record, p: f64) -> String {
    /// As far as other programs round a confidence.
    const ROUNDED: f64 = 0.005;
    let against = match record.action {
        Action::Buy => p < 0.5,
        Action::Sell => p > 0.5,
        Action::Hold => false,
    };
    let mut text = String::new();
    if against {
        text += " Its models point the other way.";
    }
    if (record.confidence - p.max(1.0 - p)).abs() > ROUNDED {
        text += &format!(" It names a confidence of {} itself.", percent(record.confidence));
    }
    text
}

/// What became of its orders; empty where there are none.
pub(super) fn orders(orders: &[OrderRow]) -> String {
    match orders {
        [] => String::new(),
        [one] => format!(" Its order {}.", became(one)),
        many => {
            let each = many.iter().map(|order| format!("{} {}", order.order_id, became(order)));
            format!(" It had {} orders: {}.", many.len(), each.collect::<Vec<_>>().join("; "))
        }
    }
}

fn became(order: &OrderRow) -> String {
    let (filled, all) = (order.cum_qty.normalize(), order.quantity.normalize());
    let at = order.avg_px.map(|price| format!(" at {} on average", price.normalize())).unwrap_or_default();
    let part = if order.cum_qty.is_zero() {
        "nothing of it filled".to_owned()
    } else {
        format!("{filled} of {all} filled{at}")
    };
    let stands = match order.status {
        OrderStatus::Filled => return format!("filled{at}"),
        OrderStatus::Rejected => "was refused by the broker".to_owned(),
        OrderStatus::Canceled => format!("was canceled, {part}"),
        OrderStatus::Expired => format!("expired, {part}"),
        OrderStatus::New | OrderStatus::PartiallyFilled => format!("is open, {part}"),
    };
    let why = order.reason.as_ref().map(|reason| format!(": {}", reason.text.trim_end_matches('.')));
    stands + &why.unwrap_or_default()
}

/// The risk checks that failed, where it was rejected.
fn checks(reason: &Reason<'_>) -> Option<String> {
    let Reason::Rejected { failed_checks, .. } = reason else { return None };
    Some(match failed_checks.as_slice() {
        [] => " It failed no check.".to_owned(),
        [check] => format!(" It failed the check {}.", failed(check)),
        checks => format!(" It failed the checks {}.", list(&checks.iter().map(failed).collect::<Vec<_>>())),
    })
}

/// A check, and what was measured where that was told.
fn failed(failed: &Failed<'_>) -> String {
    match failed.numbers {
        Some(CheckNumbers { value, limit }) => {
            format!("{} ({} of at most {})", failed.check, value.normalize(), limit.normalize())
        }
        None => failed.check.to_owned(),
    }
}

/// The signal that asked, where one did.
fn asked(record: &Record) -> String {
    let Some(signal) = &record.signal else { return String::new() };
    let sure = signal.confidence.map(|sure| format!(", with a confidence of {}", percent(sure))).unwrap_or_default();
    format!(" A signal of {} asked for it and wanted {}{sure}.", signal.strategy_id, word(signal.action))
}

fn regime(reason: &Reason<'_>) -> Option<String> {
    let Reason::Regime { regime, probability, lead, before, most_likely_before } = reason else { return None };
    let mut text = match *lead {
        0.0 => format!("{regime} has a probability of {}, and another regime is as likely", percent(*probability)),
        lead if lead >= *probability => {
            format!("{regime} has a probability of {}, and no other regime has any", percent(*probability))
        }
        lead => format!(
            "{regime} is the most likely regime at {}, {} ahead of the next",
            percent(*probability),
            points(lead)
        ),
    };
    if let Some(before) = before {
        text += &match f64::from(*before) {
            _ if same(*before, *probability) => "; at the symbol's decision before it had the same".to_owned(),
            before => format!("; at the symbol's decision before it had {}", percent(before)),
        };
    }
    if let Some(other) = most_likely_before.filter(|other| other != regime) {
        text += &format!(", and {other} was the most likely");
    }
    Some(text + ".")
}

fn strategy(reason: &Reason<'_>) -> Option<String> {
    let Reason::Dominant { specialist, weight, margin, contribution, lead, weight_before } = reason else {
        return None;
    };
    if *contribution == 0.0 {
        return Some("No specialist says anything either way: every weighted margin is 0.".to_owned());
    }
    let towards = if *contribution > 0.0 { "BUY" } else { "SELL" };
    let (verb, beside) = match *lead {
        0.0 => ("does not dominate alone", "another adds as much, signs aside".to_owned()),
        lead if lead >= contribution.abs() => ("dominates", "no other adds anything".to_owned()),
        lead => ("dominates", format!("{} more than the next, signs aside", size(lead))),
    };
    let mut text = format!(
        "{specialist} {verb}: its margin of {} at a weight of {} adds {} towards {towards}, {beside}",
        signed(f64::from(*margin)),
        share(*weight),
        size(contribution.abs()),
    );
    if let Some(before) = weight_before {
        text += &match f64::from(*before) {
            _ if same(*before, *weight) => "; its weight was the same at the symbol's decision before".to_owned(),
            before => format!("; its weight was {} at the symbol's decision before", share(before)),
        };
    }
    Some(text + ".")
}

fn features(record: &Record, reasons: &[Reason<'_>]) -> String {
    let mut text = format!(
        "The features moved the margin from {}, its mean over the training data, to {}.",
        signed(record.base),
        signed(record.margin)
    );
    let shares = |pushed: bool| -> Vec<String> {
        let of = |reason: &Reason<'_>| match reason {
            Reason::Pushed(found) if pushed => Some(told(found)),
            Reason::HeldBack(found) if !pushed => Some(told(found)),
            _ => None,
        };
        reasons.iter().filter_map(of).collect()
    };
    if record.action != Action::Hold {
        let action = word(record.action);
        text += &match shares(true).as_slice() {
            [] => format!(" No feature pushed towards {action}"),
            pushed => format!(" Strongest towards {action}: {}", list(pushed)),
        };
        text += &match shares(false).as_slice() {
            [] => "; none held it back.".to_owned(),
            held => format!("; strongest against it: {}.", list(held)),
        };
    }
    if let Some(before) = &record.previous {
        let (action, margin) = (word(before.action), signed(f64::from(before.margin)));
        text += &format!(" The symbol's decision before was {action}, at a margin of {margin}.");
    }
    let moved = reasons.iter().filter_map(|reason| match reason {
        Reason::Moved { feature, before, now } => {
            let (before, now) = apart(f64::from(*before), f64::from(*now));
            Some(format!("{feature} from {before} to {now}"))
        }
        _ => None,
    });
    match moved.collect::<Vec<_>>().as_slice() {
        [] => text,
        moved => format!("{text} The contributions that moved most since then: {}.", list(moved)),
    }
}

fn told(share: &Share<'_>) -> String {
    let value = share.value.map_or_else(|| "missing".to_owned(), number);
    format!("{} ({value}) by {}", share.feature, signed(f64::from(share.contribution)))
}

/// The action as orders name it.
pub(super) const fn word(action: Action) -> &'static str {
    match action {
        Action::Buy => "BUY",
        Action::Sell => "SELL",
        Action::Hold => "HOLD",
    }
}

/// `a, b and c`.
fn list(items: &[impl AsRef<str>]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// A probability, or a share of a whole, as a percentage; never rounded to what it is not:
/// certain or impossible, all or nothing.
pub fn percent(probability: f64) -> String {
    match format!("{:.1}", probability * 100.0).as_str() {
        "100.0" if probability < 1.0 => "more than 99.9 %".to_owned(),
        "0.0" if probability > 0.0 => "less than 0.1 %".to_owned(),
        rounded => format!("{rounded} %"),
    }
}

fn points(lead: f64) -> String {
    match format!("{:.1}", lead * 100.0).as_str() {
        "0.0" => "less than 0.1 points".to_owned(),
        "100.0" if lead < 1.0 => "more than 99.9 points".to_owned(),
        rounded => format!("{rounded} points"),
    }
}

/// A weight, as [`percent`] is rounded.
fn share(weight: f64) -> String {
    match format!("{weight:.3}").as_str() {
        "1.000" if weight < 1.0 => "more than 0.999".to_owned(),
        "0.000" if weight > 0.0 => "less than 0.001".to_owned(),
        rounded => rounded.to_owned(),
    }
}

/// Whether what is kept in f32 of the decision before is the number now.
fn same(before: f32, now: f64) -> bool {
    before.to_bits() == (now as f32).to_bits()
}

/// Log-odds with their sign.
fn signed(log_odds: f64) -> String {
    match log_odds {
        0.0 => "0".to_owned(),
        _ if log_odds > 0.0 => format!("+{}", size(log_odds)),
        _ => format!("-{}", size(-log_odds)),
    }
}

/// Two numbers of log-odds that differ, with as many digits as show it.
fn apart(one: f64, other: f64) -> (String, String) {
    /// An f32 has no more.
    const MOST: usize = 9;
    let short = (signed(one), signed(other));
    if short.0 != short.1 {
        return short;
    }
    let longer = (4..=MOST).map(|digits| (format!("{one:+.digits$}"), format!("{other:+.digits$}")));
    longer.into_iter().find(|(one, other)| one != other).unwrap_or(short)
}

/// Log-odds without a sign: three decimals, or two digits where that is nothing.
fn size(log_odds: f64) -> String {
    if log_odds < 0.0005 { format!("{log_odds:.1e}") } else { format!("{log_odds:.3}") }
}

/// A feature's value in six digits.
fn number(value: f64) -> String {
    let magnitude = if value == 0.0 { 0 } else { libm::floor(libm::log10(value.abs())) as i32 };
    if !(-5..7).contains(&magnitude) {
        return format!("{value:.5e}");
    }
    let text = format!("{value:.*}", usize::try_from(5 - magnitude).unwrap_or(0));
    match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests;
