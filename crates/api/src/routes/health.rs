//! Probes and figures: `/health/live`, `/health/ready`, `/metrics`.
//!
//! Not here: the health of services elsewhere.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use rust_decimal::prelude::ToPrimitive;
use serde::Serialize;
use tapedeck_contracts::{Dec, events::EssState};
use tapedeck_flow::{Phase, emitter::EmitterStats};
use tapedeck_log::TopicPartition;
use utoipa::ToSchema;

use crate::{
    admin::{dlq, emitter, groups},
    app::{App, now},
    metrics::{Account, GroupTopic, Topic},
    outlook::Trend,
    problem::{Problem, ProblemBody},
    process,
    routes::json,
};

/// A probe that takes longer has its answer: not ready.
const PROBE: Duration = Duration::from_secs(2);
/// Any topic of the catalogue does: what is asked is whether the log answers.
const PROBED_TOPIC: &str = crate::ws::ALERTS;

/// An answer of a probe.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`; `degraded` where it works and something needs a look.
    status: &'static str,
    /// What needs a look.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    degraded: Vec<String>,
}

impl Health {
    fn of(degraded: Vec<String>) -> Self {
        Self { status: if degraded.is_empty() { "ok" } else { "degraded" }, degraded }
    }
}

/// The process lives.
#[utoipa::path(get, path = "/health/live", tag = "health", responses(
    (status = 200, description = "The process answers", body = Health),
))]
pub(crate) async fn live() -> Response {
    json(&Health::of(Vec::new()))
}

/// Store and log answer, and every role is at work or stands by. An emitter whose
/// breaker is open is `degraded`: it takes events and cannot send them.
#[utoipa::path(get, path = "/health/ready", tag = "health", responses(
    (status = 200, description = "Everything answers", body = Health),
    (status = 503, description = "What does not", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let mut missing = Vec::new();
    let store = app.store(|store| store.resume("tapedeck.recorder", &[(PROBED_TOPIC.into(), 0)]));
    match tokio::time::timeout(PROBE, store).await {
        Ok(Ok(_)) => {}
        Ok(Err(problem)) => missing.push(format!("store: {}", problem.detail)),
        Err(_) => missing.push(format!("store: no answer within {} s", PROBE.as_secs())),
    }
    let log = app.log(|log| log.bounds(&TopicPartition::new(PROBED_TOPIC, 0)));
    match tokio::time::timeout(PROBE, log).await {
        Ok(Ok(_)) => {}
        Ok(Err(problem)) => missing.push(format!("log: {}", problem.detail)),
        Err(_) => missing.push(format!("log: no answer within {} s", PROBE.as_secs())),
    }
    missing.extend(app.hub.trouble().map(|why| format!("alerts: {why}")));
    for (name, gauges) in &app.roles {
        match gauges.phase() {
            Phase::Running | Phase::Standby => {}
            Phase::Starting => missing.push(format!("{name}: starting")),
            Phase::Stopped => missing.push(format!("{name}: stopped")),
            Phase::Retrying(why) | Phase::Blocked(why) | Phase::Failed(why) => missing.push(format!("{name}: {why}")),
        }
    }
    if missing.is_empty() {
        return Ok(json(&Health::of(app.emitters.iter().filter_map(|(name, stats)| waiting(name, stats)).collect())));
    }
    Err(Problem::unavailable(format!("not ready: {}", missing.join("; ")), 1))
}

/// What an emitter says that does not send: its events are safe, and late.
fn waiting(name: &str, stats: &EmitterStats) -> Option<String> {
    let state = emitter::breaker(stats);
    (state != "closed").then(|| {
        let (spooled, failures) = (stats.spooled_records.load(Relaxed), stats.send_failures_in_row.load(Relaxed));
        let ring_bytes = stats.ring_bytes.load(Relaxed);
        format!(
            "emitter {name}: breaker {state} after {failures} sends that failed; {spooled} events wait in the spool, \
             {ring_bytes} bytes in rings"
        )
    })
}

/// Figures in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"),
))]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    app.metrics.roles(&app.roles, now().millis());
    app.metrics.emitters(&app.emitters);
    app.metrics.store_breaker.set(i64::from(app.store_breaker_open()));
    if let Some(bytes) = process::resident_bytes() {
        app.metrics.resident.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
    // What cannot be asked now is shown as it was: a scrape never fails for it.
    let _ = tokio::join!(tokio::time::timeout(PROBE, log_figures(&app)), tokio::time::timeout(PROBE, accounts(&app)));
    let mut response = app.metrics.text(&app.log.figures()).into_response();
    let media_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

async fn log_figures(app: &Arc<App>) {
    let register = app.dlq.register();
    let read = app.log(move |log| {
        let topics = log.topics()?;
        let depth = dlq::depth(&register, log.as_ref(), &topics);
        Ok((topics, depth))
    });
    if let Ok((topics, depth)) = read.await {
        for (topic, open) in depth.unwrap_or_default() {
            let shown = app.metrics.dlq_depth.get_or_create(&Topic { topic });
            shown.set(i64::try_from(open).unwrap_or(i64::MAX));
        }
        for topic in topics {
            let bytes: u64 = topic.partitions.iter().map(|partition| partition.bytes).sum();
            let label = Topic { topic: topic.config.name.to_string() };
            app.metrics.log_bytes.get_or_create(&label).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
    let Ok(groups) = groups::recent(app).await else { return };
    for group in groups.iter() {
        for topic in &group.topics {
            let label = GroupTopic { group: group.group.clone(), topic: topic.topic.clone() };
            app.metrics.lag_records.get_or_create(&label).set(i64::try_from(topic.lag_records).unwrap_or(i64::MAX));
            app.metrics.lag_seconds.get_or_create(&label).set(topic.lag_seconds);
            let without = if topic.trend == Trend::NotFalling { f64::INFINITY } else { f64::NAN };
            app.metrics.lag_clear.get_or_create(&label).set(topic.clear_in_seconds.unwrap_or(without));
        }
    }
}

async fn accounts(app: &App) {
    let Ok(rows) = app.store(|store| store.latest_risk(None)).await else { return };
    let number = |value: Dec| value.to_f64().unwrap_or(f64::NAN);
    for row in rows {
        let label = Account { account: row.account };
        app.metrics.equity.get_or_create(&label).set(number(row.equity));
        app.metrics.drawdown.get_or_create(&label).set(row.drawdown.daily);
        app.metrics.exposure.get_or_create(&label).set(number(row.exposure.gross));
        app.metrics.ess.get_or_create(&label).set(i64::from(row.ess.state != EssState::Armed));
    }
}
