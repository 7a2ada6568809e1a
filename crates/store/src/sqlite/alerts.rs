//! Asking for alerts, newest first. A lowest severity is asked for severity by
//! severity, each along its index, and merged: at most four short lists.
//!
//! Not here: how alerts are kept.

use rusqlite::{Connection, named_params};
use tapedeck_contracts::events::{Alert, Severity};

use super::{codec, failure::damaged, names::Names};
use crate::{AlertsQuery, PageKey, Result};

/// The query for these filters.
pub(super) fn sql(account: bool, severity: bool) -> String {
    let index = match (account, severity) {
        (false, false) => "alerts_time",
        (false, true) => "alerts_severity",
        (true, false) => "alerts_account",
        (true, true) => "alerts_account_severity",
    };
    let mut sql = format!(
        "SELECT time_us, place, body FROM alerts INDEXED BY {index} \
         WHERE time_us >= :from_us AND (time_us, place) < (:before_us, :before_place)"
    );
    for (wanted, condition) in [(account, " AND account = :account"), (severity, " AND severity = :severity")] {
        if wanted {
            sql.push_str(condition);
        }
    }
    sql.push_str(" ORDER BY time_us DESC, place DESC LIMIT :limit");
    sql
}

/// Alerts, newest first.
pub(super) fn alerts(conn: &Connection, names: &mut Names, query: &AlertsQuery) -> Result<Vec<(PageKey, Alert)>> {
    let Some(account) = names.filter(conn, query.account.as_deref())? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    match query.min_severity.filter(|severity| *severity > Severity::Info) {
        None => read(conn, query, account, None, &mut found)?,
        Some(lowest) => {
            for (severity, _) in codec::SEVERITIES.iter().filter(|(severity, _)| *severity >= lowest) {
                read(conn, query, account, Some(*severity), &mut found)?;
            }
            found.sort_by_key(|((time_us, place), _)| std::cmp::Reverse((*time_us, *place)));
            found.truncate(query.limit);
        }
    }
    found
        .into_iter()
        .map(|((time_us, place), body)| {
            let alert = serde_json::from_str(&body).map_err(|_| damaged("an alert"))?;
            Ok((codec::key(time_us, place), alert))
        })
        .collect()
}

/// Time and place of a row, and its body.
type Found = ((i64, i64), String);

fn read(
    conn: &Connection,
    query: &AlertsQuery,
    account: Option<i64>,
    severity: Option<Severity>,
    found: &mut Vec<Found>,
) -> Result<()> {
    let (before_us, before_place) = codec::upper_end(query.to, query.after);
    let mut statement = conn.prepare_cached(&sql(account.is_some(), severity.is_some()))?;
    codec::bind(
        &mut statement,
        named_params! {
            ":account": account,
            ":severity": severity.map(|severity| codec::code(codec::SEVERITIES, &severity)),
            ":from_us": codec::lower_end(query.from),
            ":before_us": before_us,
            ":before_place": before_place,
            ":limit": codec::limit(query.limit),
        },
    )?;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        found.push(((row.get(0)?, row.get(1)?), row.get(2)?));
    }
    Ok(())
}
