//! The answer to "why?": one decision's explanation as JSON, with its sentences, its
//! executions and its place in the chain.
//!
//! Not here: HTTP, which decisions somebody may ask for, and lists of them (`items`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tapedeck_contracts::{
    Dec, Timestamp,
    events::{
        Action, ExecType, Liquidity, OrderStatus, OrderType, Reason as WhyOrder, Side,
        decision::{AskingSignal, CheckNumbers, Outcome},
    },
};
use tapedeck_store::{Explained, Explanations, FillRow, OrderRow, StoreError};
use thiserror::Error;

use super::{
    FeatureSet, FeatureSetError, FeatureSetId, Hash, Head, Reason, Record, RecordError, reasons,
    sentences::{self, sentences},
};

/// So many features are named where nobody asks for more.
pub const TOP: usize = 20;
/// So many executions are told of one decision: more than a sane order has, and an
/// answer stays below a megabyte.
pub const MAX_EXECUTIONS: usize = 1_000;

/// So many orders are told of one decision: our brokers make one of each.
pub const MAX_ORDERS: usize = 100;

/// What stands before the sentences of a record that does not fit its hash.
const CHANGED: &str =
    "This record, or the hash before it, was changed since it was stored: `tapedeck audit verify` tells more.";

/// One decision, explained. Contributions, margins and base values are log-odds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The decision.
    pub decision_id: String,
    /// What belongs together across topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// When it was made (event time).
    pub timestamp: Timestamp,
    /// For whom.
    pub account: Option<String>,
    /// The instrument.
    pub symbol: String,
    /// What was to be done.
    pub action: Action,
    /// How much.
    pub quantity: Dec,
    /// The intended position before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_before: Option<Dec>,
    /// As the decision said it.
    pub confidence: f64,
    /// Whether it was let through.
    pub outcome: Outcome,
    /// Its machine-readable reasons.
    pub reasons: Vec<String>,
    /// What was decided, as a sentence.
    pub text: String,
    /// What each feature did.
    pub explanations: Attributions,
    /// Which regime, and how sure.
    pub regime_reasoning: RegimeReasoning,
    /// Which specialist said what.
    pub strategy_selection: StrategySelection,
    /// Each check and whether it passed.
    pub risk_checks: BTreeMap<String, bool>,
    /// Of checks that failed, what was measured and the most that it may be.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed_checks: BTreeMap<String, CheckNumbers>,
    /// The signal that it was made on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<AskingSignal>,
    /// The orders that came of it as they stand, oldest first: also those that the broker refused.
    #[serde(default)]
    pub orders: Vec<OrderState>,
    /// There are more orders than are told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more_orders: bool,
    /// Their fills, oldest first.
    pub execution_details: Vec<Execution>,
    /// There are more executions than are told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more_executions: bool,
    /// Its place in the chain.
    pub audit: Audit,
}

/// What each feature did, in log-odds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attributions {
    /// Always `log_odds`.
    pub space: String,
    /// The margin's weighted mean over the training data.
    pub base_value: f64,
    /// The weighted margin that the models predicted.
    pub prediction: f64,
    /// Features, the largest contribution first, signs aside.
    pub features: Vec<Attribution>,
    /// What the features that are not named did together.
    pub other: Other,
    /// |base + all contributions - prediction|, of the numbers that are kept.
    pub additivity_error: f64,
    /// The same as sentences.
    pub text: String,
}

/// What one feature did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attribution {
    /// Its name.
    pub name: String,
    /// Its value; null is a missing value.
    pub value: Option<f64>,
    /// Its weighted SHAP value.
    pub shap: f64,
}

/// The features that are not named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Other {
    /// How many.
    pub count: usize,
    /// The sum of their contributions.
    pub shap: f64,
}

/// Which regime, and how sure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RegimeReasoning {
    /// The most likely one; null where the decision knew of none.
    pub regime: Option<String>,
    /// Its probability.
    pub probability: Option<f64>,
    /// The probability of each.
    pub probabilities: BTreeMap<String, f64>,
    /// The same at the symbol's decision before; null where there was none, or its regimes
    /// had other names.
    pub previous: Option<BTreeMap<String, f64>>,
    /// The same as a sentence.
    pub text: String,
}

/// Which specialist said what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StrategySelection {
    /// The one whose weighted margin is the largest, signs aside.
    pub dominant: Option<String>,
    /// All of them, by name.
    pub specialists: Vec<SpecialistPart>,
    /// The same as a sentence.
    pub text: String,
}

/// A specialist's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpecialistPart {
    /// Its name.
    pub name: String,
    /// The version of its model that decided.
    pub version: String,
    /// Its weight.
    pub weight: f64,
    /// Its own margin.
    pub margin: f64,
    /// Weight times margin.
    pub contribution: f64,
}

/// An order that came of the decision, as its newest report says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderState {
    /// The venue's id.
    pub order_id: String,
    /// Our id.
    pub client_order_id: String,
    /// Where.
    pub venue: String,
    /// Buy or sell.
    pub side: Side,
    /// MARKET or LIMIT.
    #[serde(rename = "type")]
    pub order_type: OrderType,
    /// What was ordered.
    pub quantity: Dec,
    /// Null for MARKET.
    pub limit_price: Option<Dec>,
    /// How it stands.
    pub order_status: OrderStatus,
    /// Filled.
    pub cum_qty: Dec,
    /// Open.
    pub leaves_qty: Dec,
    /// Average price of what filled.
    pub avg_px: Option<Dec>,
    /// Why it stands so, where its newest report says it: why it was rejected or canceled.
    pub reason: Option<WhyOrder>,
    /// Time of its first report.
    pub created_at: Timestamp,
    /// Time of its newest report.
    pub updated_at: Timestamp,
}

/// A fill that came of the decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// The venue's id.
    pub fill_id: String,
    /// TRADE, or a correction or cancellation of one.
    pub exec_type: ExecType,
    /// When it filled.
    pub timestamp: Timestamp,
    /// Where.
    pub venue: String,
    /// Buy or sell.
    pub side: Side,
    /// Last quantity.
    pub quantity: Dec,
    /// Last price.
    pub price: Dec,
    /// Maker or taker.
    pub liquidity: Liquidity,
    /// Commission; negative for a rebate.
    pub commission: Dec,
    /// Its currency.
    pub currency: String,
}

/// A record's place in its chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// The chain.
    pub chain: u32,
    /// The place in it.
    pub index: u64,
    /// Its hash.
    pub hash: String,
    /// The hash of the record before it, or what the chain starts from; null where
    /// retention took that record.
    pub previous_hash: Option<String>,
    /// Whether the record and the hash before it still make its hash; null where that one
    /// is not there. Of the records around it only `tapedeck audit verify` knows.
    #[serde(default)]
    pub intact: Option<bool>,
}

/// Why a stored explanation cannot be told.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bytes are no record.
    #[error("chain {chain}, record {index}: {error}")]
    Record {
        /// The chain.
        chain: u32,
        /// The place in it.
        index: u64,
        /// What is wrong.
        error: RecordError,
    },
    /// The names of a record are not there, or not those that it was made with.
    #[error("feature set {id}, which names the numbers of a record, {what}")]
    Names {
        /// Its id.
        id: FeatureSetId,
        /// What is wrong with it.
        what: String,
    },
}

/// The explanation of a decision, with everything that belongs to it; at most `top`
/// features are named. None where it is not stored.
///
/// # Errors
/// The store cannot be read, or what it holds is no explanation any more.
pub fn read(store: &dyn Explanations, decision_id: &str, top: usize) -> Result<Option<Answer>, AnswerError> {
    let Some(row) = store.explained(decision_id)? else { return Ok(None) };
    let (record, set) = open(store, &row)?;
    let previous = previous_hash(store, &row)?;
    let mut fills = store.fills_of(decision_id, MAX_EXECUTIONS + 1)?;
    let more_executions = fills.len() > MAX_EXECUTIONS;
    fills.truncate(MAX_EXECUTIONS);
    let mut orders = store.orders_of(decision_id, MAX_ORDERS + 1)?;
    let more_orders = orders.len() > MAX_ORDERS;
    orders.truncate(MAX_ORDERS);
    let mut told = answer(&record, &set, Hash(row.hash), previous, &fills, top);
    (told.more_executions, told.more_orders) = (more_executions, more_orders);
    told.text += &sentences::orders(&orders);
    told.orders = orders.into_iter().map(order).collect();
    let before = previous.map(|hash| Head { chain: row.chain, records: row.index, hash });
    told.audit.intact = before.map(|before| before.hash_with(&row.record) == Hash(row.hash));
    if told.audit.intact == Some(false) {
        told.text = format!("{CHANGED} {}", told.text);
    }
    Ok(Some(told))
}

/// The record of a row, and its names.
///
/// # Errors
/// The store cannot be read, or what it holds is no explanation any more.
pub fn open(store: &dyn Explanations, row: &Explained) -> Result<(Record, FeatureSet), AnswerError> {
    let (chain, index) = (row.chain, row.index);
    let record = Record::read(&row.record).map_err(|error| AnswerError::Record { chain, index, error })?;
    let id = record.feature_set;
    let names = |what: String| AnswerError::Names { id, what };
    let bytes = store.feature_set(id.0)?.ok_or_else(|| names("is not stored".to_owned()))?;
    let set = FeatureSet::from_bytes(&bytes).map_err(|error: FeatureSetError| names(error.to_string()))?;
    if set.id() != id {
        return Err(names(format!("was changed: its names make {}", set.id())));
    }
    Ok((record, set))
}

/// The hash that a row's record is chained to.
fn previous_hash(store: &dyn Explanations, row: &Explained) -> Result<Option<Hash>, AnswerError> {
    let Some(before) = row.index.checked_sub(1) else { return Ok(Some(Head::start(row.chain).hash)) };
    let found = store.chain(row.chain, before, 1)?;
    if let Some(found) = found.first().filter(|found| found.index == before) {
        return Ok(Some(Hash(found.hash)));
    }
    let heads = store.chain_heads()?;
    let begins = heads.iter().find(|head| head.chain == row.chain).and_then(|head| head.begins);
    Ok(begins.filter(|(begins, _)| *begins == row.index).map(|(_, hash)| Hash(hash)))
}

/// The answer made of a record, its names, its hash, that of the record before it, and
/// the fills that came of it. At most `top` features are named.
pub fn answer(
    record: &Record,
    set: &FeatureSet,
    hash: Hash,
    previous_hash: Option<Hash>,
    fills: &[FillRow],
    top: usize,
) -> Answer {
    let told = sentences(record, set);
    let failed = reasons::failed(record, set);
    let failed = failed.filter_map(|failed| Some((failed.check.to_owned(), failed.numbers?)));
    Answer {
        decision_id: record.decision_id.clone(),
        correlation_id: record.correlation_id.clone(),
        timestamp: record.time,
        account: record.account.clone(),
        symbol: record.symbol.clone(),
        action: record.action,
        quantity: Dec(record.quantity),
        position_before: record.position_before.map(Dec),
        confidence: record.confidence,
        outcome: record.outcome,
        reasons: record.reasons.clone(),
        text: told.outcome,
        explanations: attributions(record, set, top, told.features),
        regime_reasoning: regime(record, set, told.regime),
        strategy_selection: strategy(record, set, told.strategy),
        risk_checks: set.checks().iter().cloned().zip(record.checks.iter().copied()).collect(),
        failed_checks: failed.collect(),
        signal: record.signal.clone(),
        orders: Vec::new(),
        more_orders: false,
        execution_details: fills.iter().map(execution).collect(),
        more_executions: false,
        audit: Audit {
            chain: record.chain,
            index: record.index,
            hash: hash.to_string(),
            previous_hash: previous_hash.map(|hash| hash.to_string()),
            intact: None,
        },
    }
}

fn attributions(record: &Record, set: &FeatureSet, top: usize, text: String) -> Attributions {
    let named = set.features().iter().zip(&record.features);
    let mut features: Vec<Attribution> = named
        .map(|(name, feature)| Attribution {
            name: name.clone(),
            value: feature.value,
            shap: plain(feature.contribution),
        })
        .collect();
    // Stable: of equals the first by name comes first.
    features.sort_by(|one, other| other.shap.abs().total_cmp(&one.shap.abs()));
    let rest = features.split_off(top.min(features.len()));
    Attributions {
        space: "log_odds".to_owned(),
        base_value: record.base,
        prediction: record.margin,
        features,
        // A sum of nothing is -0.0, and would be written so.
        other: Other { count: rest.len(), shap: rest.iter().map(|feature| feature.shap).sum::<f64>() + 0.0 },
        additivity_error: record.additivity_error(),
        text,
    }
}

/// The number as its few digits say it: 0.31, and not 0.3100000023841858, which is the
/// same number in f32.
pub(super) fn plain(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}

fn regime(record: &Record, set: &FeatureSet, text: String) -> RegimeReasoning {
    let found = reasons(record, set).into_iter().find_map(|reason| match reason {
        Reason::Regime { regime, probability, .. } => Some((regime.to_owned(), probability)),
        _ => None,
    });
    let (regime, probability) = found.unzip();
    let before = record.previous.as_ref().map(|previous| &previous.regime_probs);
    let previous = before.filter(|probs| !probs.is_empty());
    RegimeReasoning {
        regime,
        probability,
        probabilities: set.regimes().iter().cloned().zip(record.regime_probs.iter().copied()).collect(),
        previous: previous.map(|probs| set.regimes().iter().cloned().zip(probs.iter().copied().map(plain)).collect()),
        text,
    }
}

fn strategy(record: &Record, set: &FeatureSet, text: String) -> StrategySelection {
    let dominant = reasons(record, set).into_iter().find_map(|reason| match reason {
        Reason::Dominant { specialist, .. } => Some(specialist.to_owned()),
        _ => None,
    });
    let parts = set.specialists().iter().zip(&record.specialists);
    let specialists = parts.map(|(name, part)| SpecialistPart {
        name: name.clone(),
        version: part.version.clone(),
        weight: part.weight,
        margin: plain(part.margin),
        contribution: part.weight * f64::from(part.margin),
    });
    StrategySelection { dominant, specialists: specialists.collect(), text }
}

fn order(row: OrderRow) -> OrderState {
    OrderState {
        order_id: row.order_id,
        client_order_id: row.client_order_id,
        venue: row.venue,
        side: row.side,
        order_type: row.order_type,
        quantity: row.quantity,
        limit_price: row.limit_price,
        order_status: row.status,
        cum_qty: row.cum_qty,
        leaves_qty: row.leaves_qty,
        avg_px: row.avg_px,
        reason: row.reason,
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}

fn execution(fill: &FillRow) -> Execution {
    Execution {
        fill_id: fill.fill_id.clone(),
        exec_type: fill.exec_type,
        timestamp: fill.timestamp,
        venue: fill.venue.clone(),
        side: fill.side,
        quantity: fill.quantity,
        price: fill.price,
        liquidity: fill.liquidity,
        commission: fill.commission,
        currency: fill.currency.clone(),
    }
}
