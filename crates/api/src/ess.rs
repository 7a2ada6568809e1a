//! The operator's commands to the emergency stop: written as events, for the
//! broker to obey and the audit log to keep, in one append.
//!
//! Not here: obeying.

use std::sync::Arc;

use axum::{
    Extension,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tapedeck_contracts::{
    Event, EventId,
    events::{AuditEntry, Envelope, RiskCommand, risk::RiskCommandKind},
    headers::TRACEPARENT,
};
use tapedeck_flow::Outbound;
use tapedeck_log::Record;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::{App, now},
    events::body::{self, Media},
    layers::Context,
    problem::{Problem, ProblemBody},
    routes,
};

/// Where commands go.
const COMMANDS: &str = "risk-commands";
/// Where it is kept who did what.
const AUDIT: &str = "audit-logs";
/// Who, while there are no locks.
pub(crate) const ACTOR: &str = "local";
/// Long enough for a sentence or two.
const MAX_REASON_BYTES: usize = 1_024;

/// A command.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EssCommand {
    /// Whose; may be left out where there is only one account.
    account: Option<String>,
    /// Why; needed.
    #[schema(value_type = String)]
    reason: Option<String>,
    /// With trip: close the positions too.
    flatten: Option<bool>,
}

/// The command as it was written.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EssAccepted {
    /// The command's id.
    event_id: String,
    account: String,
    topic: &'static str,
    partition: u32,
    offset: u64,
}

/// Stops an account's trading.
#[utoipa::path(post, path = "/api/risk/ess/trip", tag = "commands", request_body = EssCommand, responses(
    (status = 202, description = "Durable; the broker obeys", body = EssAccepted),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn trip(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    request: axum::body::Body,
) -> Result<Response, Problem> {
    command(&app, RiskCommandKind::Trip, &context, &headers, request).await
}

/// Lets an account trade again.
#[utoipa::path(post, path = "/api/risk/ess/arm", tag = "commands", request_body = EssCommand, responses(
    (status = 202, description = "Durable; the broker obeys", body = EssAccepted),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn arm(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    request: axum::body::Body,
) -> Result<Response, Problem> {
    command(&app, RiskCommandKind::Arm, &context, &headers, request).await
}

async fn command(
    app: &App,
    kind: RiskCommandKind,
    context: &Context,
    headers: &HeaderMap,
    request: axum::body::Body,
) -> Result<Response, Problem> {
    body::media(headers, &[Media::Json])?;
    let bytes: Bytes = body::read(request, app.api.body_limit_bytes).await?;
    let (command, reason) = read(&bytes, kind)?;
    let account = account(app, command.account.as_deref()).await?;
    let written = records(kind, &account, reason, command.flatten, context)?;
    let event_id = written.0;
    let records = written.1;
    let placements = app.log(move |log| log.append(records)).await?;
    let place = placements.first().ok_or_else(|| Problem::internal("an append without placements"))?;
    let accepted = EssAccepted {
        event_id: event_id.0,
        account,
        topic: COMMANDS,
        partition: place.partition,
        offset: place.offset,
    };
    Ok((StatusCode::ACCEPTED, routes::json(&accepted)).into_response())
}

/// The account, where the store can say whether it is there. Where it cannot, a
/// name that was given is believed: stopping must not wait for a store.
async fn account(app: &App, asked: Option<&str>) -> Result<String, Problem> {
    match (app.account(asked).await, asked) {
        (Ok(Some(account)), _) => Ok(account),
        (Ok(None), _) => Err(Problem::not_found("there is no account yet; its first event makes it")),
        (Err(problem), Some(asked)) if problem.status.is_server_error() => Ok(asked.to_owned()),
        (Err(problem), _) => Err(problem),
    }
}

fn read(bytes: &[u8], kind: RiskCommandKind) -> Result<(EssCommand, String), Problem> {
    let unprocessable = |path, detail: String| Problem::field(StatusCode::UNPROCESSABLE_ENTITY, path, detail);
    let command: EssCommand = body::parse(bytes)?;
    let reason = command.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
    let Some(reason) = reason.map(str::to_owned) else {
        return Err(unprocessable("$.reason", "needed: the audit log keeps why trading was stopped or begun".into()));
    };
    if reason.len() > MAX_REASON_BYTES {
        return Err(unprocessable("$.reason", format!("longer than {MAX_REASON_BYTES} bytes")));
    }
    if kind == RiskCommandKind::Arm && command.flatten.is_some() {
        return Err(unprocessable("$.flatten", "goes with trip only".into()));
    }
    Ok((command, reason))
}

/// The command and its audit entry.
fn records(
    kind: RiskCommandKind,
    account: &str,
    reason: String,
    flatten: Option<bool>,
    context: &Context,
) -> Result<(EventId, Vec<Record>), Problem> {
    let timestamp = now();
    let event_id = EventId::from(Uuid::new_v4());
    let action = match kind {
        RiskCommandKind::Trip => "ess.trip",
        RiskCommandKind::Arm => "ess.arm",
    };
    let audit = audit(action, format!("account/{account}"), &reason, json!({ "command": kind, "flatten": flatten }));
    let audit_id = EventId::derived(&event_id, "api", AUDIT, ACTOR, 0);
    let command = RiskCommand {
        event_id: event_id.clone(),
        timestamp,
        account: account.to_owned(),
        command: kind,
        reason,
        actor: ACTOR.into(),
        flatten,
    };
    let command = record(COMMANDS, event_id.clone(), Event::RiskCommand(Box::new(command)), context)?;
    Ok((event_id, vec![command, record(AUDIT, audit_id, audit, context)?]))
}

/// An entry of the audit log.
pub(crate) fn audit(action: &str, object: String, reason: &str, after: serde_json::Value) -> Event {
    Event::Audit(Box::new(Envelope {
        timestamp: now(),
        producer_service: "api".into(),
        data: AuditEntry {
            actor: ACTOR.into(),
            action: action.into(),
            object,
            reason: reason.into(),
            before: serde_json::Value::Null,
            after,
        },
    }))
}

/// The record of an event that this request caused.
pub(crate) fn record(topic: &str, id: EventId, event: Event, context: &Context) -> Result<Record, Problem> {
    let mut outbound = Outbound::first(topic, id, event);
    outbound.correlation_id = Some(context.request_id.clone());
    let mut record = outbound.into_record("api").map_err(|failure| Problem::internal(&failure.to_string()))?;
    record.headers = record.headers.with(TRACEPARENT, &context.traceparent);
    Ok(record)
}
