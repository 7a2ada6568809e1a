//! What every store does alike, whatever it lies in: the words of the contract,
//! places in the log, exact sums, what makes two events one, and the rules by
//! which reports become statistics, curves and accounts.
//!
//! Not here: how anything is stored.

use tapedeck_contracts::EventKind;

use crate::{OrderRow, Result, Row, StoreError};

pub(crate) mod accounts;
pub(crate) mod curves;
pub(crate) mod explained;
pub(crate) mod identity;
pub(crate) mod stats;
pub(crate) mod values;
pub(crate) mod words;

/// The kinds of events that a store keeps.
const KEPT: &[EventKind] =
    &[EventKind::ExecutionReport, EventKind::RiskMetrics, EventKind::Alert, EventKind::Signal, EventKind::ForwardTest];

/// Refuses a batch with a row that no table is for.
///
/// # Errors
/// Poison, with the first such row.
pub(crate) fn refuse_other_kinds(rows: &[Row]) -> Result<()> {
    match rows.iter().enumerate().find(|(_, row)| !KEPT.contains(&row.event.kind())) {
        None => Ok(()),
        Some((index, row)) => {
            let detail = format!("the store has no table for a {}: do not send it here", row.event.kind());
            Err(StoreError::Poison { index, detail })
        }
    }
}

/// Sorts a decision's orders, oldest first; those of one time by their ids, so that every store says
/// the same.
pub(crate) fn by_creation(orders: &mut [OrderRow]) {
    orders.sort_by(|one, other| (one.created_at, &one.order_id).cmp(&(other.created_at, &other.order_id)));
}

/// The error of a row that cannot be kept; [`at_row`] gives it its index.
pub(crate) fn poison(detail: impl Into<String>) -> StoreError {
    StoreError::Poison { index: 0, detail: detail.into() }
}

/// Names the row of an error.
pub(crate) fn at_row(index: usize, error: StoreError) -> StoreError {
    match error {
        StoreError::Poison { detail, .. } => StoreError::Poison { index, detail },
        other => other,
    }
}

/// The error of a fill id that comes again and says something else.
pub(crate) fn other_content(report: &tapedeck_contracts::events::ExecutionReport, fill_id: &str) -> StoreError {
    poison(format!(
        "fill `{fill_id}` of {} on {} {} is there already and says something else: a fill is reported once; correct it \
         with TRADE_CORRECT or TRADE_CANCEL, under a fill_id of its own",
        report.account, report.venue, report.symbol
    ))
}

/// A body as the JSON that is kept.
///
/// # Errors
/// Poison where it cannot be written.
pub(crate) fn json(body: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(body).map_err(|error| poison(format!("the body cannot be written as JSON: {error}")))
}
