//! The digest of a replay: a SHA-256 over all executions, in an order and a form
//! that anybody can make again from `/api/fills`.
//!
//! Each execution is one line, ended by a line feed:
//! `account|symbol|number|side|quantity|price|fees|event time`, accounts in the
//! order of their bytes, within one by execution number; decimals without
//! trailing zeros, times in RFC 3339, UTC, six decimals. No ids, no offsets: the
//! same executions have the same digest wherever they lie.
//!
//! Not here: where executions come from.

use sha2::{Digest, Sha256};
use tapedeck_contracts::events::Side;
use tapedeck_store::{FillRow, Store};

/// Executions read at once: a few hundred kilobytes.
const PAGE: usize = 1_000;

/// The digest of all executions in a store, as hexadecimal text, and their number.
///
/// # Errors
/// The store cannot be read.
pub(crate) fn digest(store: &dyn Store) -> tapedeck_store::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut count = 0;
    // Accounts come by name, in the order of their bytes.
    for account in store.accounts()? {
        let mut after = 0;
        loop {
            let page = store.executions(&account.account, after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = last.execution_number.unwrap_or(u64::MAX);
            for fill in &page {
                hash.update(line(fill).as_bytes());
                count += 1;
            }
        }
    }
    Ok((hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), count))
}

fn line(fill: &FillRow) -> String {
    let side = match fill.side {
        Side::Buy => "BUY",
        Side::Sell => "SELL",
    };
    format!(
        "{}|{}|{}|{side}|{}|{}|{}|{}\n",
        fill.account,
        fill.symbol,
        fill.execution_number.unwrap_or_default(),
        fill.quantity,
        fill.price,
        fill.commission,
        fill.timestamp
    )
}
