//! What a job does, on a thread of its own: an entry of the audit log before it,
//! the redrive or purge, and an entry after it.
//!
//! Not here: who asks how far it is.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde_json::{Value, json};
use tapedeck_contracts::EventId;
use tapedeck_flow::redrive::{Action, Ended, Redriver};
use uuid::Uuid;

use super::jobs::{End, Job};
use crate::{
    app::{App, lock, now},
    ess::{audit, record},
    layers::Context,
};

/// The action's word.
pub(super) fn name(action: &Action) -> &'static str {
    match action {
        Action::Replay { .. } => "replay",
        Action::Purge => "purge",
    }
}

/// Begins the job. It ends with the process too.
pub(super) fn start(app: &Arc<App>, job: Arc<Job>, context: Context) {
    let (app, own) = (Arc::clone(app), Arc::clone(&job));
    let work = move || {
        let ended = catch_unwind(AssertUnwindSafe(|| run(&app, &own, &context)));
        let (state, error) = match ended {
            Ok(Ok(Ended::Done)) => ("done", None),
            Ok(Ok(Ended::Cancelled)) => ("cancelled", None),
            Ok(Err(why)) => ("failed", Some(why)),
            Err(_) => ("failed", Some("the job panicked; the process's log says where".to_owned())),
        };
        if let Some(why) = &error {
            tracing::error!(job = own.id, "dead letters: {why}");
        }
        *lock(&own.end) = Some(End { state, error, at: now() });
    };
    if let Err(error) = std::thread::Builder::new().name("dlq".into()).spawn(work) {
        *lock(&job.end) = Some(End { state: "failed", error: Some(format!("no thread for it: {error}")), at: now() });
    }
}

fn run(app: &App, job: &Job, context: &Context) -> Result<Ended, String> {
    let order = &job.order;
    let action = format!("dlq.{}", name(&order.action));
    write(app, job, context, &action, json!({ "job": &job.id, "request": &job.request }))?;
    let stops = [job.cancel.clone(), app.stop.clone()];
    let redriver = Redriver {
        log: app.log.as_ref(),
        register: &app.dlq.register(),
        boundaries: &app.dlq.boundaries,
        stops: &stops,
        report: &job.report,
    };
    let ended = redriver.run(order, &now).map_err(|failure| failure.to_string());
    let report = lock(&job.report).clone();
    let outcome = match &ended {
        Ok(Ended::Done) => "done",
        Ok(Ended::Cancelled) => "cancelled",
        Err(_) => "failed",
    };
    let after = json!({
        "job": &job.id, "outcome": outcome, "error": ended.as_ref().err(),
        "matched": report.matched, "done": report.done, "refused": report.refused,
    });
    write(app, job, context, &format!("{action}.ended"), after)?;
    ended
}

/// An entry of the audit log, unless nothing is changed.
fn write(app: &App, job: &Job, context: &Context, action: &str, after: Value) -> Result<(), String> {
    if job.order.dry_run {
        return Ok(());
    }
    let topic = job.order.filter.topic.as_deref().unwrap_or("all");
    let entry = audit(action, format!("dlq/{topic}"), &job.order.reason, after);
    let entry =
        record("audit-logs", EventId::from(Uuid::new_v4()), entry, context).map_err(|problem| problem.detail)?;
    app.log.append(vec![entry]).map(drop).map_err(|error| format!("the audit log cannot be written: {error}"))
}
