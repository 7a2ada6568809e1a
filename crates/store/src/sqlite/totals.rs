//! Accounts as they are kept: what a batch touches is read once, changed in
//! memory, and written at its end.
//!
//! Not here: what events say of an account.

use std::collections::{BTreeMap, btree_map::Entry};

use rusqlite::{Connection, OptionalExtension, params};
use tapedeck_contracts::{
    Timestamp,
    events::{Envelope, ExecutionReport, ForwardTest, RiskMetrics},
};

use super::{codec, names::Names};
use crate::{
    AccountRow, Result,
    common::accounts::{Account, begun},
};

/// The accounts that a batch touches.
#[derive(Default)]
pub(super) struct Accounts(BTreeMap<i64, Account<i64>>);

impl Accounts {
    /// Notes a report; says whether its commission is in the account's currency.
    pub(super) fn report(&mut self, conn: &Connection, account: i64, report: &ExecutionReport) -> Result<bool> {
        Ok(self.get(conn, account)?.report(report))
    }

    /// Whether metrics of this time come after all that were kept of the account.
    pub(super) fn is_after_all(&mut self, conn: &Connection, account: i64, time: Timestamp) -> Result<bool> {
        Ok(self.get(conn, account)?.is_after_all(time))
    }

    /// Notes metrics. Returns the symbols that were held before, where these are
    /// the newest.
    pub(super) fn metrics(
        &mut self,
        conn: &Connection,
        account: i64,
        metrics: &RiskMetrics,
    ) -> Result<Option<Vec<i64>>> {
        Ok(self.get(conn, account)?.metrics(metrics))
    }

    /// Notes what is held at the newest metrics.
    pub(super) fn hold(&mut self, conn: &Connection, account: i64, held: Vec<i64>) -> Result<()> {
        self.get(conn, account)?.held = held;
        Ok(())
    }

    /// Notes a session that began; of the others nothing is kept but their id.
    pub(super) fn session(
        &mut self,
        conn: &Connection,
        names: &mut Names,
        event: &Envelope<ForwardTest>,
    ) -> Result<()> {
        let Some(name) = begun(event) else { return Ok(()) };
        let account = names.intern(conn, name)?;
        self.get(conn, account)?.session(event);
        Ok(())
    }

    pub(super) fn flush(self, conn: &Connection) -> Result<()> {
        let mut put = conn.prepare_cached(
            "INSERT OR REPLACE INTO accounts (account, currency, fee_currency, session_id, source, starting_equity, \
             equity, metrics_us, held, as_of_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        for (id, account) in self.0 {
            let held: Vec<String> = account.held.iter().map(i64::to_string).collect();
            put.execute(params![
                id,
                account.currency,
                account.fee_currency,
                account.session_id,
                account.source,
                account.starting_equity.map(codec::stored),
                account.equity.map(codec::stored),
                account.metrics_us,
                held.join(","),
                account.as_of_us.unwrap_or_default(),
            ])?;
        }
        Ok(())
    }

    fn get(&mut self, conn: &Connection, account: i64) -> Result<&mut Account<i64>> {
        match self.0.entry(account) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => Ok(unknown.insert(load(conn, account)?)),
        }
    }
}

fn load(conn: &Connection, account: i64) -> Result<Account<i64>> {
    let mut statement = conn.prepare_cached(
        "SELECT currency, fee_currency, session_id, source, starting_equity, equity, metrics_us, held, as_of_us \
         FROM accounts WHERE account = ?1",
    )?;
    let mut rows = statement.query(params![account])?;
    let Some(row) = rows.next()? else { return Ok(Account::default()) };
    let held: String = row.get(7)?;
    Ok(Account {
        currency: row.get(0)?,
        fee_currency: row.get(1)?,
        session_id: row.get(2)?,
        source: row.get(3)?,
        starting_equity: codec::optional_decimal(row, 4)?,
        equity: codec::optional_decimal(row, 5)?,
        metrics_us: row.get(6)?,
        held: held.split(',').filter_map(|symbol| symbol.parse().ok()).collect(),
        as_of_us: row.get(8)?,
    })
}

/// The account's currency: as it was named, else that of its first commission.
pub(super) fn currency(conn: &Connection, account: i64) -> Result<Option<String>> {
    let found = conn
        .prepare_cached("SELECT coalesce(currency, fee_currency) FROM accounts WHERE account = ?1")?
        .query_row(params![account], |row| row.get(0))
        .optional()?;
    Ok(found.flatten())
}

/// All accounts, by name.
pub(super) fn accounts(conn: &Connection, names: &mut Names) -> Result<Vec<AccountRow>> {
    // Every account is asked for: this reads the whole table, a row an account.
    let mut statement = conn.prepare_cached("SELECT account FROM accounts")?;
    let ids = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut rows = Vec::with_capacity(ids.len());
    for id in ids {
        let name = names.name(conn, id)?.to_string();
        rows.push(load(conn, id)?.into_answer(name));
    }
    rows.sort_by(|a, b| a.account.cmp(&b.account));
    Ok(rows)
}
