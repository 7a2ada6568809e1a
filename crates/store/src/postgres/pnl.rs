//! Reading the PnL curve: the last row of each bucket, from the end backwards, in
//! each of its two tables. The server jumps from bucket to bucket along the index,
//! so that a point costs the same however many events it covers.
//!
//! Not here: how the curve is kept, and how points are made of the rows.

use rust_decimal::Decimal;
use tokio_postgres::Row;

use super::{
    codec::{Numeric, Time, get},
    connect::Session,
    series::Param,
};
use crate::{
    PnlPoint, PnlQuery, Result,
    points::{Curve, MAX_POINTS, Stretch, side_by_side, summed},
};

/// The symbol that stands for the whole account.
const WHOLE_ACCOUNT: &str = "";

/// The last row of each bucket of one curve, newest first, and behind the stretch
/// one row more. The totals are the newest row of a curve, also when retention took
/// the curve's own; of several rows with one time, the one with the highest
/// `version` stands.
fn curve_sql(totals: &str, curve: &str, version: &str, values: &[&str]) -> String {
    let of = |table: &str| values.iter().map(|value| format!("{table}.{value}")).collect::<Vec<_>>().join(", ");
    let (names, of_total, of_curve, of_point) = (values.join(", "), of("s"), of("c"), of("p"));
    let newest_before = |end: &str| {
        format!(
            "SELECT c.time, {of_curve} FROM {curve} c WHERE c.account = $1 AND c.symbol = s.symbol AND c.time < {end} \
             ORDER BY c.time DESC, c.{version} DESC LIMIT 1"
        )
    };
    format!(
        "SELECT s.symbol, date_bin($4::text::interval, p.time, 'epoch'), {of_point} FROM {totals} s \
         CROSS JOIN LATERAL (WITH RECURSIVE point (time, {names}) AS (\
         (SELECT first.* FROM (SELECT s.time, {of_total} WHERE s.time < $3 UNION ALL \
         SELECT before.* FROM ({}) AS before WHERE s.time >= $3) AS first) UNION ALL \
         SELECT next.* FROM point CROSS JOIN LATERAL ({}) AS next WHERE point.time >= $5) \
         SELECT * FROM point LIMIT $6) AS p WHERE s.account = $1 AND ($2::text IS NULL OR s.symbol = $2)",
        newest_before("$3"),
        newest_before("date_bin($4::text::interval, point.time, 'epoch')"),
    )
}

/// Realised PnL and fees of each symbol of an account.
pub(super) fn realized_sql() -> String {
    curve_sql("pnl_totals", "pnl_curve", "reports", &["realized", "fees"])
}

/// What is held of a symbol, or of all of them.
pub(super) fn unrealized_sql() -> String {
    curve_sql("unrealized_totals", "unrealized_curve", "place", &["unrealized"])
}

/// The points of the buckets that hold an event, oldest first.
pub(super) fn pnl(session: &mut Session, query: &PnlQuery) -> Result<Vec<PnlPoint>> {
    let stretch = Stretch::of(query);
    let interval = format!("{} microseconds", stretch.interval_us);
    let held_as = query.symbol.as_deref().unwrap_or(WHOLE_ACCOUNT);
    let mut ask = |sql: &str, symbol: Option<&str>| {
        // One row more than points, for what stood before them.
        let most = i64::try_from(MAX_POINTS + 1).expect("invariant: a small number");
        let (first, end) = (Time(stretch.first_us), Time(stretch.end_us));
        let bounds: [&Param<'_>; 6] = [&query.account, &symbol, &end, &interval, &first, &most];
        session.query(sql, &bounds)
    };
    let rows = ask(&realized_sql(), query.symbol.as_deref())?;
    let curves =
        rows.chunk_by(|a, b| get::<&str>(a, 0).ok() == get::<&str>(b, 0).ok()).map(realized).collect::<Result<_>>()?;
    let held = ask(&unrealized_sql(), Some(held_as))?
        .iter()
        .map(|row| Ok((start(row)?, decimal(row, 2)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(side_by_side(&summed(curves, stretch.first_us), &held, stretch.first_us))
}

/// The rows of one symbol.
fn realized(rows: &[Row]) -> Result<Curve> {
    rows.iter().map(|row| Ok((start(row)?, (decimal(row, 2)?, decimal(row, 3)?)))).collect()
}

/// Where the bucket of a row begins.
fn start(row: &Row) -> Result<i64> {
    Ok(get::<Time>(row, 1)?.0)
}

fn decimal(row: &Row, column: usize) -> Result<Decimal> {
    Ok(get::<Numeric>(row, column)?.0)
}
