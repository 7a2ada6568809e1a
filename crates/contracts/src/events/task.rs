//! Tasks and reminders.
//!
//! Not here: which revision wins, and when a reminder fires.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EventKind;
use crate::{Body, EventId, FieldError, Timestamp, check};

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Not begun.
    Pending,
    /// Begun.
    InProgress,
    /// Done.
    Completed,
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
}

/// What happened to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaskEventType {
    /// It was created.
    #[serde(rename = "task.created")]
    Created,
    /// It was changed.
    #[serde(rename = "task.updated")]
    Updated,
    /// It was done.
    #[serde(rename = "task.completed")]
    Completed,
    /// It was deleted; final.
    #[serde(rename = "task.deleted")]
    Deleted,
}

/// A task as an event carries it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskPayload {
    /// The task.
    pub task_id: String,
    /// Whose.
    pub user_id: String,
    /// One line.
    pub title: String,
    /// More lines.
    #[serde(default)]
    pub description: String,
    /// How it stands.
    pub status: TaskStatus,
    /// When it is due.
    #[serde(default)]
    pub due_date: Option<Timestamp>,
    /// How much it matters.
    pub priority: Priority,
    /// The newest wins; ours always has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
}

/// A task was created, updated, completed, deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// The event's id.
    pub event_id: EventId,
    /// What happened.
    pub event_type: TaskEventType,
    /// When.
    pub timestamp: Timestamp,
    /// Contract version of the body.
    pub version: String,
    /// What belongs together.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// The task.
    pub payload: TaskPayload,
}

impl Body for Task {
    const KIND: EventKind = EventKind::Task;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.event_id", self.event_id.as_str())?;
        check::version("$.version", &self.version)?;
        check::optional_id("$.correlation_id", self.correlation_id.as_deref())?;
        check::id("$.payload.task_id", &self.payload.task_id)?;
        check::id("$.payload.user_id", &self.payload.user_id)?;
        if self.event_type != TaskEventType::Deleted {
            check::text("$.payload.title", &self.payload.title)?;
        }
        check_revision("$.payload.revision", self.payload.revision.unwrap_or(0))
    }

    fn key(&self) -> &str {
        &self.payload.user_id
    }

    fn event_time(&self) -> Timestamp {
        self.timestamp
    }

    fn event_id(&self) -> Option<&EventId> {
        Some(&self.event_id)
    }
}

/// The newest state of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskState {
    /// The task.
    pub task_id: String,
    /// Whose.
    pub user_id: String,
    /// One line.
    pub title: String,
    /// More lines.
    #[serde(default)]
    pub description: String,
    /// How it stands.
    pub status: TaskStatus,
    /// When it is due.
    #[serde(default)]
    pub due_date: Option<Timestamp>,
    /// How much it matters.
    pub priority: Priority,
    /// Which revision this is.
    pub revision: i64,
    /// When it became so.
    pub updated_at: Timestamp,
}

impl Body for TaskState {
    const KIND: EventKind = EventKind::TaskState;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.task_id", &self.task_id)?;
        check::id("$.user_id", &self.user_id)?;
        check::text("$.title", &self.title)?;
        check_revision("$.revision", self.revision)
    }

    fn key(&self) -> &str {
        &self.task_id
    }

    fn event_time(&self) -> Timestamp {
        self.updated_at
    }
}

fn check_revision(path: &str, revision: i64) -> Result<(), FieldError> {
    check::that(revision >= 0, path, || format!("expected a number of at least 0, found {revision}"))
}

/// What happened to a reminder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReminderEventType {
    /// It will fire.
    #[serde(rename = "reminder.scheduled")]
    Scheduled,
    /// It fired.
    #[serde(rename = "reminder.triggered")]
    Triggered,
    /// Somebody saw it.
    #[serde(rename = "reminder.acknowledged")]
    Acknowledged,
}

/// A reminder was scheduled, triggered, acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reminder {
    /// The event's id.
    pub event_id: EventId,
    /// What happened.
    pub event_type: ReminderEventType,
    /// When.
    pub timestamp: Timestamp,
    /// The reminder.
    pub reminder_id: String,
    /// Its task.
    #[serde(default)]
    pub task_id: Option<String>,
    /// For whom.
    pub user_id: String,
    /// When it fires.
    pub scheduled_time: Timestamp,
    /// What it says.
    pub message: String,
}

impl Body for Reminder {
    const KIND: EventKind = EventKind::Reminder;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.event_id", self.event_id.as_str())?;
        check::id("$.reminder_id", &self.reminder_id)?;
        check::optional_id("$.task_id", self.task_id.as_deref())?;
        check::id("$.user_id", &self.user_id)?;
        check::text("$.message", &self.message)
    }

    fn key(&self) -> &str {
        &self.user_id
    }

    fn event_time(&self) -> Timestamp {
        self.timestamp
    }

    fn event_id(&self) -> Option<&EventId> {
        Some(&self.event_id)
    }
}
