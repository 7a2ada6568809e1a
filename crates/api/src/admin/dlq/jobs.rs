//! `POST /api/admin/dlq/replay` and `/purge`, and the jobs that they begin: how far
//! each is, and the end of it on demand.
//!
//! Not here: what a job does (`work`).

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use axum::{
    Extension,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tapedeck_contracts::Timestamp;
use tapedeck_flow::{
    Stop,
    redrive::{Action, Order, Report},
};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ask::DlqRequest, work};
use crate::{
    app::{App, lock, now},
    ess::ACTOR,
    events::body::{self, Media},
    layers::Context,
    params::Params,
    problem::{Problem, ProblemBody},
    routes::json,
};

/// Jobs that are remembered, the newest: as many as a person looks back at.
const MAX_JOBS: usize = 16;

/// The jobs of this process, the newest last. One is at work at a time.
#[derive(Default)]
pub(super) struct Jobs(VecDeque<Arc<Job>>);

/// A redrive or a purge.
pub(super) struct Job {
    pub(super) id: String,
    pub(super) order: Order,
    /// As it was asked for.
    pub(super) request: DlqRequest,
    pub(super) cancel: Stop,
    pub(super) report: Mutex<Report>,
    pub(super) end: Mutex<Option<End>>,
    started_at: Timestamp,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) state: &'static str,
    pub(super) error: Option<String>,
    pub(super) at: Timestamp,
}

/// A dead letter that was not sent, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefusalItem {
    id: String,
    place: String,
    reason: String,
}

/// One of those that would be done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SampleItem {
    id: String,
    place: String,
    group: String,
    /// For the how-manieth time it would be sent.
    n: u32,
    error: String,
}

/// How many of a topic and group.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DoneItem {
    topic: String,
    group: String,
    count: u64,
}

/// How far a redrive or a purge is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobItem {
    id: String,
    /// `replay` or `purge`.
    action: &'static str,
    dry_run: bool,
    /// `running`, `done`, `cancelled` or `failed`.
    state: &'static str,
    /// Why it failed.
    error: Option<String>,
    /// What was asked for.
    request: DlqRequest,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// Records of dead letter topics to read, and read.
    total: u64,
    examined: u64,
    /// Open dead letters that were meant.
    matched: u64,
    /// Those sent again or purged, or that would be.
    done: u64,
    done_by: Vec<DoneItem>,
    /// Those that were not, and stay open; the first hundred one by one.
    refused: u64,
    refusals: Vec<RefusalItem>,
    /// With a dry run, the first hundred.
    samples: Vec<SampleItem>,
    /// Records that are no dead letters of tapedeck.
    unreadable: u64,
    /// Those asked for by id or place that were not open, with what is known.
    missing: Vec<String>,
}

/// Jobs, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobItems {
    items: Vec<JobItem>,
    /// Always null: all that are remembered are given.
    next_cursor: Option<String>,
}

/// Sends dead letters again, to the groups that failed.
#[utoipa::path(post, path = "/api/admin/dlq/replay", tag = "admin", request_body = DlqRequest, responses(
    (status = 202, description = "The job that does it", body = JobItem),
    (status = 409, description = "Another job is at work", body = ProblemBody, content_type = "application/problem+json"),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn dlq_replay(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Problem> {
    let request = read(&app, &headers, request).await?;
    let (rate_per_s, max_redrives) = request.pace()?;
    let action = Action::Replay { max_redrives, force: request.force(), rate_per_s };
    begin(&app, request, action, false, context).await
}

/// Marks dead letters as needing nothing; they stay where they are until retention
/// takes them.
#[utoipa::path(post, path = "/api/admin/dlq/purge", tag = "admin", request_body = DlqRequest, responses(
    (status = 202, description = "The job that does it", body = JobItem),
    (status = 409, description = "Another job is at work", body = ProblemBody, content_type = "application/problem+json"),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn dlq_purge(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Problem> {
    let request = read(&app, &headers, request).await?;
    request.refuse_pace()?;
    begin(&app, request, Action::Purge, true, context).await
}

/// The jobs that this process remembers.
#[utoipa::path(get, path = "/api/admin/dlq/jobs", tag = "admin", responses(
    (status = 200, description = "Jobs, the newest first", body = JobItems),
))]
pub(crate) async fn dlq_jobs(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    Params::of(&uri)?.finish()?;
    let jobs: Vec<Arc<Job>> = lock(&app.dlq.jobs).0.iter().rev().cloned().collect();
    Ok(json(&JobItems { items: jobs.iter().map(|job| item(job)).collect(), next_cursor: None }))
}

/// How far a job is.
#[utoipa::path(get, path = "/api/admin/dlq/jobs/{id}", tag = "admin",
    params(("id" = String, Path, description = "The job")), responses(
    (status = 200, description = "The job", body = JobItem),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn dlq_job(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(json(&item(&*find(&app, &id)?)))
}

/// Ends a job between two of its steps; what it left open can be done later.
#[utoipa::path(delete, path = "/api/admin/dlq/jobs/{id}", tag = "admin",
    params(("id" = String, Path, description = "The job")), responses(
    (status = 202, description = "The job, which ends now", body = JobItem),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn dlq_job_cancel(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let job = find(&app, &id)?;
    job.cancel.request();
    Ok((StatusCode::ACCEPTED, json(&item(&job))).into_response())
}

async fn read(app: &App, headers: &HeaderMap, request: Body) -> Result<DlqRequest, Problem> {
    body::media(headers, &[Media::Json])?;
    let bytes = body::read(request, app.api.body_limit_bytes).await?;
    body::parse(&bytes)
}

async fn begin(
    app: &Arc<App>,
    request: DlqRequest,
    action: Action,
    needs_reason: bool,
    context: Context,
) -> Result<Response, Problem> {
    let topics = app.log(|log| log.topics()).await?;
    let order = Order {
        filter: request.filter(&topics)?,
        limit: request.limit()?,
        action,
        dry_run: request.dry_run,
        actor: ACTOR.to_owned(),
        reason: request.reason(needs_reason)?,
    };
    let job = Arc::new(Job {
        id: Uuid::new_v4().to_string(),
        order,
        request,
        cancel: Stop::new(),
        report: Mutex::default(),
        end: Mutex::default(),
        started_at: now(),
    });
    lock(&app.dlq.jobs).add(&job)?;
    work::start(app, Arc::clone(&job), context);
    Ok((StatusCode::ACCEPTED, json(&item(&job))).into_response())
}

impl Jobs {
    /// Takes a job in, where none is at work.
    fn add(&mut self, job: &Arc<Job>) -> Result<(), Problem> {
        if let Some(running) = self.0.iter().find(|job| lock(&job.end).is_none()) {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                format!(
                    "job {} is at work on dead letters since {}: wait for its end, or cancel it with DELETE /api/admin/dlq/jobs/{}",
                    running.id, running.started_at, running.id
                ),
            ));
        }
        if self.0.len() == MAX_JOBS {
            self.0.pop_front();
        }
        self.0.push_back(Arc::clone(job));
        Ok(())
    }
}

fn find(app: &App, id: &str) -> Result<Arc<Job>, Problem> {
    let found = lock(&app.dlq.jobs).0.iter().find(|job| job.id == id).cloned();
    found.ok_or_else(|| {
        Problem::not_found(format!(
            "this process knows no job `{id}`; one that ended with another process is begun again by the same request, which does what is still open"
        ))
    })
}

fn item(job: &Job) -> JobItem {
    let end = lock(&job.end).clone();
    let report = lock(&job.report).clone();
    JobItem {
        id: job.id.clone(),
        action: work::name(&job.order.action),
        dry_run: job.order.dry_run,
        state: end.as_ref().map_or("running", |end| end.state),
        error: end.as_ref().and_then(|end| end.error.clone()),
        request: job.request.clone(),
        started_at: job.started_at,
        ended_at: end.map(|end| end.at),
        total: report.total,
        examined: report.examined,
        matched: report.matched,
        done: report.done,
        done_by: report.by.into_iter().map(|((topic, group), count)| DoneItem { topic, group, count }).collect(),
        refused: report.refused,
        refusals: report
            .refusals
            .into_iter()
            .map(|one| RefusalItem { id: one.id.to_string(), place: one.place, reason: one.reason })
            .collect(),
        samples: report
            .samples
            .into_iter()
            .map(|one| SampleItem {
                id: one.id.to_string(),
                place: one.place,
                group: one.group,
                n: one.n,
                error: one.error,
            })
            .collect(),
        unreadable: report.unreadable,
        missing: report.missing,
    }
}
