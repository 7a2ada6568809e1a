//! `GET /api/pnl`: the curve of profit and loss since the account's start.
//!
//! Not here: adding up; the store does, from reports and metrics.

use std::sync::Arc;

use axum::{extract::State, http::Uri, response::Response};
use serde::Serialize;
use tapedeck_contracts::{Dec, Timestamp};
use tapedeck_store::{AccountRow, PnlPoint, PnlQuery};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::{App, choose},
    params::Params,
    problem::{Problem, ProblemBody},
    routes::json,
};

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;
/// The intervals that may be asked for; each divides a day.
const INTERVALS: [(&str, i64); 12] = [
    ("1s", SECOND_US),
    ("5s", 5 * SECOND_US),
    ("10s", 10 * SECOND_US),
    ("15s", 15 * SECOND_US),
    ("30s", 30 * SECOND_US),
    ("1m", 60 * SECOND_US),
    ("5m", 300 * SECOND_US),
    ("15m", 900 * SECOND_US),
    ("30m", 1_800 * SECOND_US),
    ("1h", 3_600 * SECOND_US),
    ("4h", 14_400 * SECOND_US),
    ("1d", DAY_US),
];
const DEFAULT_INTERVAL_US: i64 = 60 * SECOND_US;
/// Points of an answer where nobody says: as many as a chart has pixels.
const MAX_POINTS_DEFAULT: u64 = 1_000;
/// Points of an answer at most: about 1.5 MB.
const MAX_POINTS: u64 = 10_000;

/// Which curve.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PnlParams {
    /// Of one account; needed where there are several.
    account: Option<String>,
    /// Of one symbol; else of the whole account.
    symbol: Option<String>,
    /// From this time; a day before `to` where it is left out.
    #[param(value_type = Option<String>)]
    from: Option<Timestamp>,
    /// To this time; the account's newest event where it is left out.
    #[param(value_type = Option<String>)]
    to: Option<Timestamp>,
    /// 1s, 5s, 10s, 15s, 30s, 1m, 5m, 15m, 30m, 1h, 4h, 1d.
    #[param(value_type = Option<String>, default = "1m")]
    interval: i64,
    /// The interval grows until so many points suffice.
    #[param(required = false, minimum = 1, maximum = 10000, default = 1000)]
    max_points: u64,
}

impl PnlParams {
    fn read(uri: &Uri) -> Result<Self, Problem> {
        let mut query = Params::of(uri)?;
        let (account, symbol) = (query.id("account")?, query.id("symbol")?);
        let (from, to) = query.range()?;
        let interval = query.word("interval", &INTERVALS)?.unwrap_or(DEFAULT_INTERVAL_US);
        let max_points = query.number("max_points", 1, MAX_POINTS)?.unwrap_or(MAX_POINTS_DEFAULT);
        query.finish()?;
        Ok(Self { account, symbol, from, to, interval, max_points })
    }
}

/// A point of the curve, at its bucket's last event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PnlItem {
    /// The bucket's beginning.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// Before costs.
    #[schema(value_type = String)]
    realized: Dec,
    #[schema(value_type = String)]
    unrealized: Dec,
    #[schema(value_type = String)]
    fees: Dec,
    /// realized + unrealized − fees.
    #[schema(value_type = String)]
    total: Dec,
}

impl From<&PnlPoint> for PnlItem {
    fn from(point: &PnlPoint) -> Self {
        let total = Dec(point.realized.0 + point.unrealized.0 - point.fees.0);
        Self {
            timestamp: point.timestamp,
            realized: point.realized,
            unrealized: point.unrealized,
            fees: point.fees,
            total,
        }
    }
}

/// The curve. Buckets without an event are left out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PnlCurve<'a> {
    account: &'a str,
    symbol: Option<&'a str>,
    currency: Option<&'a str>,
    /// The interval in effect, which may be longer than the one asked for.
    interval: &'a str,
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    points: Vec<PnlItem>,
}

/// Profit and loss since the account's start.
#[utoipa::path(get, path = "/api/pnl", tag = "trading", params(PnlParams), responses(
    (status = 200, description = "The curve", body = PnlCurve),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn pnl(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    let params = PnlParams::read(&uri)?;
    // One call for account and curve: each waits for a place among the calls to the store.
    app.store(move |store| {
        let rows = store.accounts()?;
        let row = match row_of(&rows, params.account.as_deref()) {
            Ok(row) => row,
            Err(problem) => return Ok(Err(problem)),
        };
        let to = params.to.unwrap_or_else(|| params.from.map_or(row.as_of, |from| row.as_of.max(from)));
        let from = params.from.unwrap_or_else(|| to.plus_micros(-DAY_US));
        let (interval_us, interval) = coarsen(params.interval, from, to, params.max_points);
        let (account, symbol) = (row.account.clone(), params.symbol.clone());
        let points = store.pnl(&PnlQuery { account, symbol, from, to, interval_us })?;
        Ok(Ok(json(&PnlCurve {
            account: &row.account,
            symbol: params.symbol.as_deref(),
            currency: row.currency.as_deref(),
            interval: &interval,
            from,
            to,
            points: points.iter().map(PnlItem::from).collect(),
        })))
    })
    .await?
}

/// The account asked for, or the only one there is.
fn row_of<'a>(rows: &'a [AccountRow], asked: Option<&str>) -> Result<&'a AccountRow, Problem> {
    let name = choose(rows, asked)?;
    rows.iter()
        .find(|row| Some(&row.account) == name.as_ref())
        .ok_or_else(|| Problem::not_found("there is no account yet; its first event makes it"))
}

/// The shortest interval, not shorter than the one asked for, whose buckets
/// from `from` to `to` are not more than `max_points`; beyond a day, days
/// doubled until it fits.
fn coarsen(asked_us: i64, from: Timestamp, to: Timestamp, max_points: u64) -> (i64, String) {
    let fits = |interval: i64| {
        let buckets = to.micros().div_euclid(interval) - from.micros().div_euclid(interval) + 1;
        u64::try_from(buckets).is_ok_and(|buckets| buckets <= max_points)
    };
    let listed = INTERVALS.iter().filter(|(_, interval)| *interval >= asked_us).find(|(_, interval)| fits(*interval));
    if let Some((name, interval)) = listed {
        return (*interval, (*name).to_owned());
    }
    // 2^24 days are 45,000 years: two times on one side of 1970 are in one
    // bucket long before that.
    let days = (1..=24).map(|power| 1_i64 << power).find(|days| fits(days * DAY_US)).unwrap_or(1 << 24);
    (days * DAY_US, format!("{days}d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn the_interval_grows_to_the_next_that_fits() {
        let (from, to) = (at("2025-10-21T00:00:00Z"), at("2025-10-21T23:59:59Z"));
        assert_eq!(coarsen(60 * SECOND_US, from, to, 1_440).1, "1m");
        assert_eq!(coarsen(60 * SECOND_US, from, to, 1_439).1, "5m");
        assert_eq!(coarsen(SECOND_US, from, to, 1).1, "1d");
        assert_eq!(coarsen(DAY_US, from, at("2025-10-22T00:00:00Z"), 1).1, "2d");
    }

    #[test]
    fn a_range_of_decades_still_fits_into_one_point() {
        let (interval, name) = coarsen(SECOND_US, at("1971-01-01T00:00:00Z"), at("2030-01-01T00:00:00Z"), 1);
        assert_eq!((interval / DAY_US, name.as_str()), (32_768, "32768d"));
    }
}
