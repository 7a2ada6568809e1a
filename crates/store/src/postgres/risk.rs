//! The newest risk metrics of an account.
//!
//! Not here: how they are kept.

use tapedeck_contracts::events::RiskMetrics;

use super::{codec::get, connect::Session, failure::damaged};
use crate::Result;

/// One row an account: of all of them, the table in its order.
pub(super) const OF_ALL: &str = "SELECT body FROM risk_latest ORDER BY account";
pub(super) const OF_ACCOUNT: &str = "SELECT body FROM risk_latest WHERE account = $1";

/// The newest metrics of one account, or of each, by name.
pub(super) fn latest(session: &mut Session, account: Option<&str>) -> Result<Vec<RiskMetrics>> {
    let rows = match account {
        Some(account) => session.query(OF_ACCOUNT, &[&account])?,
        None => session.query(OF_ALL, &[])?,
    };
    rows.iter().map(|row| serde_json::from_str(get(row, 0)?).map_err(|_| damaged("risk metrics"))).collect()
}
