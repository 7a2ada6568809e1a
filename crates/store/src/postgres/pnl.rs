//! Reading the PnL curve: the last row of each bucket, from the end backwards. The
//! server jumps from bucket to bucket along the index, in each part of the table by
//! itself, so that a point costs the same however many events it covers and however
//! many parts there are.
//!
//! Not here: how the curve is kept, and how points are made of the rows.

use std::cmp::Reverse;

use rust_decimal::Decimal;
use tokio_postgres::Row;

use super::{
    codec::{Numeric, Time, get},
    connect::Session,
    partitions::Layout,
    series::Param,
};
use crate::{
    PnlPoint, PnlQuery, Result,
    points::{MAX_POINTS, Stretch, side_by_side, summed},
};

/// The symbol that stands for the whole account.
const WHOLE_ACCOUNT: &str = "";

/// Where parts of a table begin and end.
const DECLARATIVE_PARTS: &str = "SELECT substring(b.bound FROM 'FROM \\(''([^'']+)''\\)')::timestamptz, \
     substring(b.bound FROM 'TO \\(''([^'']+)''\\)')::timestamptz FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
     CROSS JOIN LATERAL pg_get_expr(c.relpartbound, c.oid) AS b (bound) WHERE i.inhparent = $1::text::regclass";
const TIMESCALE_PARTS: &str = "SELECT range_start, range_end FROM timescaledb_information.chunks \
     WHERE hypertable_schema = current_schema() AND hypertable_name = $1";

/// The two tables of a curve.
struct Curve {
    /// Its newest row, also when retention took the curve's own.
    totals: &'static str,
    rows: &'static str,
    /// Of several rows with one time, the one with the highest stands.
    version: &'static str,
    values: &'static [&'static str],
}

/// Realised PnL and fees of each symbol of an account.
const REALIZED: Curve =
    Curve { totals: "pnl_totals", rows: "pnl_curve", version: "reports", values: &["realized", "fees"] };
/// What is held of a symbol, or of all of them.
const UNREALIZED: Curve =
    Curve { totals: "unrealized_totals", rows: "unrealized_curve", version: "place", values: &["unrealized"] };

impl Curve {
    /// In each part the last row of each bucket, and behind the stretch one row more;
    /// and the totals.
    fn sql(&self) -> String {
        let Self { totals, rows, version, values } = self;
        let of = |table: &str| values.iter().map(|value| format!("{table}.{value}")).collect::<Vec<_>>().join(", ");
        let (names, of_total, of_row) = (values.join(", "), of("s"), of("c"));
        let newest_before = |end: &str| {
            format!(
                "SELECT c.time, c.{version}, {of_row} FROM {rows} c WHERE c.ingested_at >= part.first \
                 AND c.ingested_at < part.last AND c.account = $1 AND c.symbol = s.symbol AND c.time < {end} \
                 ORDER BY c.time DESC, c.{version} DESC LIMIT 1"
            )
        };
        let (newest, next) = (newest_before("$3"), newest_before("date_bin($4::text::interval, point.time, 'epoch')"));
        let wanted = "s.account = $1 AND ($2::text IS NULL OR s.symbol = $2)";
        format!(
            "SELECT s.symbol, p.* FROM {totals} s CROSS JOIN unnest($7::timestamptz[], $8::timestamptz[]) \
             AS part (first, last) CROSS JOIN LATERAL (WITH RECURSIVE point (time, {version}, {names}) AS (\
             ({newest}) UNION ALL SELECT next.* FROM point CROSS JOIN LATERAL ({next}) AS next WHERE point.time >= $5) \
             SELECT * FROM point LIMIT $6) AS p WHERE {wanted} UNION ALL \
             SELECT s.symbol, s.time, s.{version}, {of_total} FROM {totals} s WHERE {wanted} AND s.time < $3"
        )
    }
}

/// The statements, for a look at their plans.
#[cfg(test)]
pub(super) fn all_sql() -> [String; 2] {
    [REALIZED.sql(), UNREALIZED.sql()]
}

/// The points of the buckets that hold an event, oldest first.
pub(super) fn pnl(session: &mut Session, layout: Layout, query: &PnlQuery) -> Result<Vec<PnlPoint>> {
    let stretch = Stretch::of(query);
    let held_as = query.symbol.as_deref().unwrap_or(WHOLE_ACCOUNT);
    let symbol = query.symbol.as_deref();
    let curves = of_symbols(session, layout, &REALIZED, (&query.account, symbol), &stretch, |row| {
        Ok((decimal(row, 3)?, decimal(row, 4)?))
    })?;
    let held =
        of_symbols(session, layout, &UNREALIZED, (&query.account, Some(held_as)), &stretch, |row| decimal(row, 3))?;
    let held = held.into_iter().next().unwrap_or_default();
    Ok(side_by_side(&summed(curves, stretch.first_us), &held, stretch.first_us))
}

/// The curve of each symbol: its buckets newest first, each with what stood at its
/// end, and one more from before the stretch.
fn of_symbols<T: Copy>(
    session: &mut Session,
    layout: Layout,
    curve: &Curve,
    (account, symbol): (&str, Option<&str>),
    stretch: &Stretch,
    read: impl Fn(&Row) -> Result<T>,
) -> Result<Vec<Vec<(i64, T)>>> {
    let (firsts, lasts) = parts(session, layout, curve.rows)?;
    let interval = format!("{} microseconds", stretch.interval_us);
    // One row more than points, for what stood before them.
    let most = i64::try_from(MAX_POINTS + 1).expect("invariant: a small number");
    let (first, end) = (Time(stretch.first_us), Time(stretch.end_us));
    let bounds: [&Param<'_>; 8] = [&account, &symbol, &end, &interval, &first, &most, &firsts, &lasts];
    let mut rows = Vec::new();
    for row in &session.query(&curve.sql(), &bounds)? {
        rows.push((get::<String>(row, 0)?, (get::<Time>(row, 1)?.0, get::<i64>(row, 2)?), read(row)?));
    }
    rows.sort_unstable_by(|a, b| (&a.0, Reverse(a.1)).cmp(&(&b.0, Reverse(b.1))));
    Ok(rows.chunk_by(|a, b| a.0 == b.0).map(|rows| buckets(rows, stretch)).collect())
}

/// The newest row of each bucket, of rows that are newest first; of those before
/// the stretch, the newest alone.
fn buckets<T: Copy>(rows: &[(String, (i64, i64), T)], stretch: &Stretch) -> Vec<(i64, T)> {
    let mut found: Vec<(i64, T)> = Vec::new();
    for (_, (time_us, _), value) in rows {
        let start = stretch.bucket(*time_us);
        if found.last().is_some_and(|(newest, _)| *newest == start) {
            continue;
        }
        found.push((start, *value));
        if start < stretch.first_us || found.len() > MAX_POINTS {
            break;
        }
    }
    found
}

/// Stretches of ingest time that together are all of it, each within one part of
/// the table: rows of a part that was made a moment ago are in the last.
pub(super) fn parts(session: &mut Session, layout: Layout, table: &str) -> Result<(Vec<Time>, Vec<Time>)> {
    let sql = match layout {
        Layout::Declarative => DECLARATIVE_PARTS,
        Layout::Timescale => TIMESCALE_PARTS,
    };
    let mut ends = vec![Time(i64::MIN), Time(i64::MAX)];
    for row in session.query(sql, &[&table])? {
        ends.extend(get::<Option<Time>>(&row, 0)?);
        ends.extend(get::<Option<Time>>(&row, 1)?);
    }
    ends.sort_unstable();
    ends.dedup();
    Ok((ends[..ends.len() - 1].to_vec(), ends[1..].to_vec()))
}

fn decimal(row: &Row, column: usize) -> Result<Decimal> {
    Ok(get::<Numeric>(row, column)?.0)
}
