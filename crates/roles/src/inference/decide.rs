//! One decision: features and regime in, what to do out, with every number that it
//! was made of. Taken or not, it is the same record.
//!
//! p = σ(Σ wₖ fₖ(x)), BUY from 0.5 + band on, SELL down to 0.5 − band, else HOLD;
//! confidence max(p, 1 − p); size = ⌊max_size · (2 · confidence − 1)⌋ to the lot.
//!
//! Not here: ids, the log, and keeping the book.

use rust_decimal::{Decimal, prelude::FromPrimitive};
use tapedeck_contracts::{
    ByName, Dec, EventId, Timestamp,
    events::{
        RiskDecision, TradingDecision,
        decision::{AskingSignal, Outcome},
        signal::Action,
    },
};

use super::{
    book::Holding,
    config::{InferenceConfig, Size},
    features::{FEATURES, Row},
    models::ModelSet,
    regime::REGIMES,
    risk, weights,
};

/// p was within the band: nothing to do.
pub const BELOW_THRESHOLD: &str = "below_threshold";
/// The signal that asked wants another direction.
pub const SIGNAL_DISAGREES: &str = "signal_disagrees";
/// Told beside the outcome, which it does not change: a signal was decided on the newest
/// features, as it has no market event, or one whose features are not kept any more.
pub const NEWEST_FEATURES: &str = "newest_features";
/// The symbol has too few bars yet.
pub const NOT_WARM: &str = "not_warm";
/// The size comes to no lot.
pub const BELOW_LOT: &str = "below_lot";

/// What a decision is made of.
pub struct Situation<'a> {
    /// The decision's id.
    pub decision_id: EventId,
    /// When: the event time of what it is made for.
    pub timestamp: Timestamp,
    /// What it belongs to across topics.
    pub correlation_id: Option<String>,
    /// The instrument.
    pub symbol: &'a str,
    /// All features.
    pub row: Row,
    /// Whether there were enough bars to trade on.
    pub is_warm: bool,
    /// Probability of each regime.
    pub regime_probs: [f64; 3],
    /// What the signal wants that asked; none where nothing but a bar did.
    pub signal: Option<AskingSignal>,
    /// What is held of the symbol.
    pub own: &'a Holding,
    /// The rest of the book, in a fixed order.
    pub others: Vec<&'a Holding>,
}

/// A decision, and what the risk checks said where there was something to trade.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// The decision.
    pub decision: TradingDecision,
    /// Of each BUY and SELL, taken or not; its event id is still to be given.
    pub risk: Option<RiskDecision>,
}

impl Decided {
    /// The signed quantity that the book takes.
    pub fn accepted(&self) -> Option<Decimal> {
        let quantity = self.decision.quantity.0;
        match (self.decision.outcome, self.decision.action) {
            (Outcome::Accepted, Action::Buy) => Some(quantity),
            (Outcome::Accepted, Action::Sell) => Some(-quantity),
            _ => None,
        }
    }
}

/// Makes the decision.
///
/// # Errors
/// A feature is not one that a model takes (it is infinite).
pub fn decide(config: &InferenceConfig, models: &ModelSet, situation: Situation<'_>) -> Result<Decided, String> {
    let weights = weights::weights(situation.regime_probs, &config.matrix);
    let margins = models.margins(&situation.row)?;
    let margin: f64 = weights.iter().zip(margins).map(|(weight, margin)| weight * margin).sum();
    let p = sigmoid(margin);
    let confidence = p.max(1.0 - p);
    let size = config.size_of(situation.symbol);
    let action = action_of(p, config.band);
    let quantity = quantity_of(action, p, size);
    let (mut reasons, checks) = match action {
        Action::Hold => (vec![BELOW_THRESHOLD.to_owned()], risk::nothing_to_check()),
        _ => {
            let signed = if action == Action::Buy { quantity } else { -quantity };
            let others = situation.others.iter().copied();
            let checks = risk::check(&config.limits, size.position, signed, situation.own, others);
            (gates(&situation, action, quantity), checks)
        }
    };
    reasons.extend(checks.reasons);
    let outcome = if action == Action::Hold || reasons.is_empty() { Outcome::Accepted } else { Outcome::Rejected };
    let risk = (action != Action::Hold).then(|| RiskDecision {
        event_id: None,
        timestamp: situation.timestamp,
        decision_id: situation.decision_id.clone(),
        symbol: situation.symbol.to_owned(),
        approved: outcome == Outcome::Accepted,
        checks: checks.checks.clone(),
        limits: config.limits.named(size.position),
        reasons: reasons.clone(),
    });
    let decision = TradingDecision {
        event_type: "trading_decision".into(),
        event_id: Some(situation.decision_id.clone()),
        schema_version: Some("1.0".into()),
        timestamp: situation.timestamp,
        decision_id: situation.decision_id,
        correlation_id: situation.correlation_id,
        account: config.account.clone(),
        symbol: situation.symbol.to_owned(),
        action,
        quantity: Dec(quantity),
        confidence,
        regime_probs: named(REGIMES, situation.regime_probs),
        strategy_weights: named(config.specialists.each_ref().map(String::as_str), weights),
        model_versions: models.versions().into_iter().collect(),
        features: models.columns().map(|place| (FEATURES[place].name, situation.row[place])).collect(),
        risk_checks: checks.checks.into_iter().collect(),
        position_before: Some(Dec(situation.own.quantity().normalize())),
        outcome,
        reasons,
        failed_checks: checks.failed.into_iter().collect(),
        signal: situation.signal,
    };
    Ok(Decided { decision, risk })
}

/// What stands against a trade beside the book.
fn gates(situation: &Situation<'_>, action: Action, quantity: Decimal) -> Vec<String> {
    let disagrees = situation.signal.as_ref().is_some_and(|signal| signal.action != action);
    let gates = [(!situation.is_warm, NOT_WARM), (disagrees, SIGNAL_DISAGREES), (quantity.is_zero(), BELOW_LOT)];
    gates.into_iter().filter(|(closed, _)| *closed).map(|(_, reason)| reason.to_owned()).collect()
}

/// The logistic function, whose exponent is never one that overflows.
pub fn sigmoid(margin: f64) -> f64 {
    if margin >= 0.0 {
        1.0 / (1.0 + libm::exp(-margin))
    } else {
        let odds = libm::exp(margin);
        odds / (1.0 + odds)
    }
}

/// What a probability says to do: `band` is how far it has to be from one half for more
/// than a HOLD.
pub fn action_of(p: f64, band: f64) -> Action {
    match p {
        p if p >= 0.5 + band => Action::Buy,
        p if p <= 0.5 - band => Action::Sell,
        _ => Action::Hold,
    }
}

/// How much an action at a probability is for, in whole lots.
pub fn quantity_of(action: Action, p: f64, size: Size) -> Decimal {
    match action {
        Action::Hold => Decimal::ZERO,
        _ => sized(size.max_size, p.max(1.0 - p), size.lot),
    }
}

/// The part of the largest size that a confidence is worth, in whole lots.
fn sized(max_size: Decimal, confidence: f64, lot: Decimal) -> Decimal {
    // Nine decimals of a share are more than any lot can tell apart.
    let share = Decimal::from_f64(2.0 * confidence - 1.0).unwrap_or_default().round_dp(9);
    let wanted = max_size.checked_mul(share).unwrap_or(max_size);
    (wanted - wanted % lot).normalize()
}

fn named(names: [&str; 3], values: [f64; 3]) -> ByName<f64> {
    names.into_iter().zip(values).collect()
}

#[cfg(test)]
mod tests;
