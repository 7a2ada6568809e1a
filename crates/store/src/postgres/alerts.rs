//! Asking for alerts, newest first. A lowest severity is asked for severity by
//! severity, each along its index, and merged: at most four short lists.
//!
//! Not here: how alerts are kept.

use std::cmp::Reverse;

use tapedeck_contracts::events::{Alert, Severity};
use tokio_postgres::Row;

use super::{
    codec::{Time, get},
    connect::Session,
    failure::damaged,
    series::Param,
};
use crate::{
    AlertsQuery, PageKey, Result,
    common::{
        values::{key, limit, lower_end, upper_end},
        words::SEVERITIES,
    },
};

/// The query for these filters. What it says of `place` is always true: it chooses
/// the index, as the schema says.
pub(super) fn sql(account: bool, severities: bool) -> String {
    let of = match (account, severities) {
        (false, false) => "a.place >= 0",
        (false, true) => "a.place > -1 AND a.severity = w.severity",
        (true, false) => "a.place > -2 AND a.account = $5",
        (true, true) => "a.account = $5 AND a.severity = w.severity",
    };
    let newest = format!(
        "SELECT a.time, a.place, a.body FROM alerts a WHERE {of} AND a.time >= $1 AND (a.time, a.place) < ($2, $3) \
         ORDER BY a.time DESC, a.place DESC LIMIT $4"
    );
    match severities {
        false => newest,
        true => format!(
            "SELECT f.* FROM unnest(${}::text[]) AS w (severity) CROSS JOIN LATERAL ({newest}) AS f",
            if account { 6 } else { 5 }
        ),
    }
}

/// Alerts, newest first.
pub(super) fn alerts(session: &mut Session, query: &AlertsQuery) -> Result<Vec<(PageKey, Alert)>> {
    let before = upper_end(query.to, query.after);
    let (from, end, most) = (Time(lower_end(query.from)), Time(before.0), limit(query.limit));
    let lowest = query.min_severity.filter(|severity| *severity > Severity::Info);
    let severities: Vec<&str> =
        SEVERITIES.iter().filter(|(word, _)| Some(*word) >= lowest).map(|(_, text)| *text).collect();
    let mut bounds: Vec<&Param<'_>> = vec![&from, &end, &before.1, &most];
    bounds.extend(query.account.as_ref().map(|account| account as &Param<'_>));
    bounds.extend(lowest.is_some().then_some(&severities as &Param<'_>));
    let rows = session.query(&sql(query.account.is_some(), lowest.is_some()), &bounds)?;
    let mut found = rows.iter().map(alert).collect::<Result<Vec<_>>>()?;
    found.sort_by_key(|(at, _)| Reverse((at.timestamp, at.partition, at.offset)));
    found.truncate(query.limit);
    Ok(found)
}

fn alert(row: &Row) -> Result<(PageKey, Alert)> {
    let body: &str = get(row, 2)?;
    let alert = serde_json::from_str(body).map_err(|_| damaged("an alert"))?;
    Ok((key(get::<Time>(row, 0)?.0, get(row, 1)?), alert))
}
