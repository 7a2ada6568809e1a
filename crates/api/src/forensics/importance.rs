//! `GET /api/v1/forensics/importance`: the mean absolute SHAP value of each feature,
//! over a stretch of time and within it.
//!
//! Not here: the sums, which are kept by the hour with the records.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use axum::{extract::State, http::Uri, response::Response};
use serde::Serialize;
use tapedeck_contracts::Timestamp;
use tapedeck_store::{ExplainedQuery, Importance, Store, StoreError};
use utoipa::{IntoParams, ToSchema};

use super::ExplainsError;
use crate::{
    app::App,
    params::Params,
    problem::{Problem, ProblemBody},
    routes::json,
};

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;
/// Points of a curve at most: more are wider than any screen.
const MAX_POINTS: i64 = 1_000;
const INTERVALS: [(&str, i64); 3] = [("1h", HOUR_US), ("6h", 6 * HOUR_US), ("1d", DAY_US)];

/// Which stretch, in which steps.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read below")]
pub(crate) struct ImportanceParams {
    /// Of one symbol.
    symbol: Option<String>,
    /// From the hour that holds this time (a day before `to`).
    from: Option<String>,
    /// To the end of the hour before this time (of the newest decision's hour).
    to: Option<String>,
    /// 1h, 6h or 1d: the shortest that gives at most 1000 points, where absent.
    interval: Option<String>,
}

/// A feature and how much it moved margins.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FeatureImportance {
    name: String,
    /// Mean of |SHAP value| over the decisions whose models know the feature (log-odds).
    mean_abs_shap: f64,
    decisions: u64,
}

/// A point of the curve.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImportancePoint {
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    decisions: u64,
    /// The largest first.
    features: Vec<FeatureImportance>,
}

/// What mattered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Importances {
    symbol: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    interval: &'static str,
    decisions: u64,
    /// The largest first.
    features: Vec<FeatureImportance>,
    /// Oldest first; steps without a decision are left out.
    points: Vec<ImportancePoint>,
}

/// What was summed.
#[derive(Default)]
struct Found {
    /// None where nothing was explained.
    stretch: Option<(Timestamp, Timestamp)>,
    /// None where there would be too many points.
    interval: Option<&'static str>,
    all: Sum,
    steps: BTreeMap<i64, Sum>,
}

impl Found {
    fn too_long(from: Timestamp, to: Timestamp) -> Self {
        Self { stretch: Some((from, to)), ..Self::default() }
    }
}

/// Sums over decisions.
#[derive(Default)]
struct Sum {
    decisions: u64,
    features: BTreeMap<String, (f64, u64)>,
}

impl Sum {
    fn add(&mut self, names: &[String], row: &Importance) {
        self.decisions += row.decisions;
        for (name, sum) in names.iter().zip(&row.sums) {
            let known = self.features.entry(name.clone()).or_default();
            (known.0, known.1) = (known.0 + sum, known.1 + row.decisions);
        }
    }

    fn features(&self) -> Vec<FeatureImportance> {
        let of = |(name, (sum, decisions)): (&String, &(f64, u64))| FeatureImportance {
            name: name.clone(),
            mean_abs_shap: if *decisions == 0 { 0.0 } else { sum / *decisions as f64 },
            decisions: *decisions,
        };
        let mut features: Vec<FeatureImportance> = self.features.iter().map(of).collect();
        features.sort_by(|one, other| other.mean_abs_shap.total_cmp(&one.mean_abs_shap));
        features
    }
}

/// The mean absolute SHAP value of each feature, by hours or days.
#[utoipa::path(get, path = "/api/v1/forensics/importance", tag = "forensics", params(ImportanceParams), responses(
    (status = 200, description = "Features, the most important first, and their curve", body = Importances),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn importance(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    let mut query = Params::of(&uri)?;
    let symbol = query.id("symbol")?;
    let (from, to) = query.range()?;
    let interval = query.word("interval", &INTERVALS)?;
    query.finish()?;
    let asked = symbol.clone();
    let found = app.explain(move |explains, store| {
        let Some((from, to)) = stretch(store, asked.as_deref(), from, to)? else { return Ok(Found::default()) };
        let Some((width, name)) = chosen(from, to, interval) else { return Ok(Found::too_long(from, to)) };
        let mut found = Found { stretch: Some((from, to)), interval: Some(name), ..Found::default() };
        let mut names = BTreeMap::new();
        // A day at a time: a row stands for an hour, a symbol and a feature set.
        let mut day = from;
        while day < to {
            let next = Timestamp::from_micros(day.micros().saturating_add(DAY_US)).min(to);
            for row in store.importance(day, next, asked.as_deref())? {
                let names = match names.entry(row.feature_set) {
                    Entry::Occupied(known) => Arc::clone(known.get()),
                    Entry::Vacant(new) => {
                        let set = store.feature_set(row.feature_set)?;
                        let set = set.ok_or_else(|| ExplainsError::Broken("a feature set is not kept".into()))?;
                        Arc::clone(new.insert(Arc::new(explains.features(&set)?)))
                    }
                };
                found.all.add(&names, &row);
                let step = row.hour.micros().div_euclid(width) * width;
                found.steps.entry(step).or_default().add(&names, &row);
            }
            day = next;
        }
        Ok(found)
    });
    let Found { stretch, interval: used, all, steps } = found.await?;
    let (from, to) = stretch.unzip();
    let used = match (used, stretch) {
        (Some(used), _) => used,
        (None, None) => INTERVALS[0].0,
        (None, Some(_)) => return Err(too_long(interval)),
    };
    let points = steps.iter().map(|(at, sum)| ImportancePoint {
        timestamp: Timestamp::from_micros(*at),
        decisions: sum.decisions,
        features: sum.features(),
    });
    let points = points.collect();
    Ok(json(&Importances {
        symbol,
        from,
        to,
        interval: used,
        decisions: all.decisions,
        features: all.features(),
        points,
    }))
}

/// From the hour that holds `from` to the end of the hour that `to` lies in; none where
/// nothing was explained.
fn stretch(
    store: &dyn Store,
    symbol: Option<&str>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
    let to = match to {
        Some(to) => to,
        None => {
            let newest = ExplainedQuery { symbol: symbol.map(str::to_owned), limit: 1, ..ExplainedQuery::default() };
            match store.explanations(&newest)?.first() {
                Some((key, _)) => Timestamp::from_micros(key.timestamp.micros().saturating_add(1)),
                None => return Ok(None),
            }
        }
    };
    let from = from.unwrap_or_else(|| Timestamp::from_micros(to.micros().saturating_sub(DAY_US)));
    // Where only `from` is given, it may lie after the newest decision: then there is nothing.
    let to = to.max(from);
    let hours = |micros: i64| Timestamp::from_micros(micros.div_euclid(HOUR_US).saturating_mul(HOUR_US));
    Ok(Some((hours(from.micros()), hours(to.micros().saturating_add(HOUR_US - 1)))))
}

/// The interval asked for, or the shortest that fits; none where there would be too many points.
fn chosen(from: Timestamp, to: Timestamp, asked: Option<i64>) -> Option<(i64, &'static str)> {
    let length = to.micros().saturating_sub(from.micros()).max(0);
    let fits = |width: i64| length / width <= MAX_POINTS;
    let found = INTERVALS.iter().find(|(_, width)| asked.map_or_else(|| fits(*width), |asked| asked == *width))?;
    fits(found.1).then_some((found.1, found.0))
}

fn too_long(asked: Option<i64>) -> Problem {
    let what = if asked.is_some() { "interval" } else { "from" };
    Problem::bad(what, format!("more than {MAX_POINTS} points; ask for a shorter stretch or a longer interval"))
}
