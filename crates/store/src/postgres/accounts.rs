//! Accounts as they stand, by name.
//!
//! Not here: how they are kept.

use super::{
    codec::{self, get},
    connect::Session,
};
use crate::{AccountRow, Result};

/// One row an account, and every account is asked for. A row without a time
/// belongs to a transaction that is not done with it.
pub(super) const ALL: &str = "SELECT account, coalesce(currency, fee_currency), session_id, source, starting_equity, \
     equity, as_of FROM accounts WHERE as_of IS NOT NULL ORDER BY account";

/// All accounts, by name.
pub(super) fn accounts(session: &mut Session) -> Result<Vec<AccountRow>> {
    let rows = session.query(ALL, &[])?;
    rows.iter()
        .map(|row| {
            Ok(AccountRow {
                account: get(row, 0)?,
                currency: get(row, 1)?,
                session_id: get(row, 2)?,
                source: get(row, 3)?,
                starting_equity: codec::optional_dec(row, 4)?,
                equity: codec::optional_dec(row, 5)?,
                as_of: codec::time(row, 6)?,
            })
        })
        .collect()
}
