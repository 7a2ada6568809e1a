//! Decisions in a list: what each record says without its names. One that cannot be read
//! is told as such, with what the store keeps beside it, and the others go on.
//!
//! Not here: the whole answer about one decision (`answer`).

use serde::{Deserialize, Serialize};
use tapedeck_contracts::{
    Dec, Timestamp,
    events::{Action, decision::Outcome},
};
use tapedeck_store::Explained;

use super::{Record, RecordError, sentences};

/// One decision in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Listed {
    /// What its record says.
    Read(Item),
    /// Its record cannot be read.
    Unreadable(Unreadable),
}

/// What a record says without its names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The decision.
    pub decision_id: String,
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
    /// As the decision said it.
    pub confidence: f64,
    /// Whether it was let through.
    pub outcome: Outcome,
    /// Its machine-readable reasons.
    pub reasons: Vec<String>,
    /// The weighted margin that the models predicted (log-odds).
    pub prediction: f64,
    /// What was decided, as a sentence.
    pub text: String,
}

/// What the columns of a store say of a decision whose record cannot be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unreadable {
    /// The decision.
    pub decision_id: String,
    /// When it was made (event time).
    pub timestamp: Timestamp,
    /// For whom.
    pub account: Option<String>,
    /// The instrument.
    pub symbol: String,
    /// What was to be done.
    pub action: Action,
    /// Whether it was let through.
    pub outcome: Outcome,
    /// What is wrong, and where to look.
    pub error: String,
}

/// A row as an item of a list.
pub fn item(row: &Explained) -> Listed {
    match Record::read(&row.record) {
        Ok(record) => Listed::Read(read(record)),
        Err(error) => Listed::Unreadable(unreadable(row, &error)),
    }
}

fn read(record: Record) -> Item {
    let text = sentences::outcome(&record);
    Item {
        decision_id: record.decision_id,
        timestamp: record.time,
        account: record.account,
        symbol: record.symbol,
        action: record.action,
        quantity: Dec(record.quantity),
        confidence: record.confidence,
        outcome: record.outcome,
        reasons: record.reasons,
        prediction: record.margin,
        text,
    }
}

fn unreadable(row: &Explained, error: &RecordError) -> Unreadable {
    let (chain, index) = (row.chain, row.index);
    Unreadable {
        decision_id: row.decision_id.clone(),
        timestamp: row.timestamp,
        account: row.account.clone(),
        symbol: row.symbol.clone(),
        action: row.action,
        outcome: row.outcome,
        error: format!(
            "its record, {index} of chain {chain}, cannot be read: {error}; `tapedeck audit verify --chain {chain}` \
             tells where it was changed"
        ),
    }
}
