//! What an explanation looks like, for the API's description. A test of the program
//! compares it with what is answered, key by key.
//!
//! Not here: explanations, which who writes them tells.

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// Why a decision was made. Margins and contributions are log-odds.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which who explains makes")]
pub(crate) struct Explanation {
    decision_id: String,
    /// What belongs together across topics; absent where the decision had none.
    #[schema(required = false)]
    correlation_id: String,
    #[schema(format = DateTime)]
    timestamp: String,
    account: Option<String>,
    symbol: String,
    /// BUY, SELL or HOLD.
    action: String,
    quantity: String,
    /// The intended position before it; absent where the decision did not say it.
    #[schema(required = false)]
    position_before: String,
    confidence: f64,
    /// accepted or rejected.
    outcome: String,
    /// Machine-readable reasons of the decision.
    reasons: Vec<String>,
    /// What was decided, as a sentence.
    text: String,
    explanations: Attributions,
    regime_reasoning: RegimeReasoning,
    strategy_selection: StrategySelection,
    /// Each check by name, and whether it passed.
    risk_checks: BTreeMap<String, bool>,
    /// Of checks that failed, what was measured and the most that it may be; absent where none failed, or the decision
    /// did not tell.
    #[schema(required = false)]
    failed_checks: BTreeMap<String, FailedCheckNumbers>,
    /// The signal that it was made on; absent where a bar or a question asked.
    #[schema(required = false)]
    signal: ExplainedSignal,
    /// The orders that came of it as they stand, oldest first, also those that the broker refused; empty where it
    /// has none.
    orders: Vec<ExplainedOrder>,
    /// There are more orders than are told; absent where there are not.
    #[schema(required = false)]
    more_orders: bool,
    /// Their fills, oldest first.
    execution_details: Vec<ExplainedExecution>,
    /// There are more executions than are told; absent where there are not.
    #[schema(required = false)]
    more_executions: bool,
    audit: AuditPlace,
}

/// What each feature did.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which who explains makes")]
pub(crate) struct Attributions {
    /// Always `log_odds`.
    space: String,
    /// The weighted mean margin over the training data.
    base_value: f64,
    /// The weighted margin that the models predicted.
    prediction: f64,
    /// The largest contribution first, signs aside.
    features: Vec<Attribution>,
    other: OtherFeatures,
    /// How far base and SHAP values together are from the prediction.
    additivity_error: f64,
    /// The same as sentences.
    text: String,
}

/// What one feature did.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which who explains makes")]
pub(crate) struct Attribution {
    name: String,
    /// null is a missing value.
    value: Option<f64>,
    /// Its weighted SHAP value.
    shap: f64,
}

/// What the features that are not named did together.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which who explains makes")]
pub(crate) struct OtherFeatures {
    count: u64,
    shap: f64,
}

/// Which regime, and how sure.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which who explains makes")]
pub(crate) struct RegimeReasoning {
    /// The most likely one; null where the decision knew of none.
    regime: Option<String>,
    probability: Option<f64>,
    probabilities: BTreeMap<String, f64>,
    /// Those of the symbol's decision before; null where there was none, or its regimes had other names.
    previous: Option<BTreeMap<String, f64>>,
    /// The same as a sentence.
    text: String,
}

/// Which specialist said what.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which who explains makes")]
pub(crate) struct StrategySelection {
    /// The one whose weighted margin is the largest, signs aside.
    dominant: Option<String>,
    specialists: Vec<SpecialistPart>,
    /// The same as a sentence.
    text: String,
}

/// A specialist's part.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which who explains makes")]
pub(crate) struct SpecialistPart {
    name: String,
    /// The version of its model that decided.
    version: String,
    weight: f64,
    /// Its own margin.
    margin: f64,
    /// Weight times margin.
    contribution: f64,
}

/// The numbers of a risk check that failed.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which who explains makes")]
pub(crate) struct FailedCheckNumbers {
    /// What was measured.
    value: f64,
    /// The most that it may be.
    limit: f64,
}

/// A signal that asked for a decision.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which who explains makes")]
pub(crate) struct ExplainedSignal {
    strategy_id: String,
    /// What it wanted: BUY, SELL or HOLD.
    action: String,
    /// How sure, 0 to 1; absent where it did not say.
    #[schema(required = false)]
    confidence: f64,
}

/// An order that came of the decision, as its newest execution report says.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which who explains makes")]
pub(crate) struct ExplainedOrder {
    order_id: String,
    client_order_id: String,
    venue: String,
    /// BUY or SELL.
    side: String,
    /// MARKET or LIMIT.
    r#type: String,
    quantity: String,
    /// Null for MARKET.
    limit_price: Option<String>,
    /// NEW, PARTIALLY_FILLED, FILLED, CANCELED, REJECTED or EXPIRED.
    order_status: String,
    /// Filled.
    cum_qty: String,
    /// Open.
    leaves_qty: String,
    /// Average price of what filled.
    avg_px: Option<String>,
    /// Why it was rejected, canceled or expired, where its newest report says it; null of reports from before reasons
    /// of orders were kept.
    reason: Option<OrderReason>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

/// Why an order stands as it does.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which who explains makes")]
pub(crate) struct OrderReason {
    /// For machines.
    code: String,
    /// For people.
    text: String,
}

/// A fill that came of the decision.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which who explains makes")]
pub(crate) struct ExplainedExecution {
    fill_id: String,
    /// TRADE, or a correction or cancellation of one.
    exec_type: String,
    #[schema(format = DateTime)]
    timestamp: String,
    venue: String,
    /// BUY or SELL.
    side: String,
    /// Last quantity.
    quantity: String,
    /// Last price.
    price: String,
    /// MAKER or TAKER.
    liquidity: String,
    /// Negative for a rebate.
    commission: String,
    currency: String,
}

/// A record's place in its chain.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which who explains makes")]
pub(crate) struct AuditPlace {
    chain: u32,
    index: u64,
    hash: String,
    /// The hash of the record before it, or what the chain starts from; null where retention took that record.
    previous_hash: Option<String>,
    /// Whether the record and the hash before it still make its hash; null where that one is not there.
    intact: Option<bool>,
}
