//! What the emitter itself has to tell people, kept until the log takes it.
//!
//! Not here: who reads alerts.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value, json};
use tapedeck_contracts::{
    Event, EventId, Timestamp,
    events::{Alert, Severity},
};
use tapedeck_log::Record;

use super::topics::Topics;
use crate::Outbound;

/// Where alerts go.
const TOPIC: &str = "alerts.v1";
/// One alert of a kind tells of all that happened within so long.
const AT_MOST_EVERY: Duration = Duration::from_secs(10);
/// Texts that one alert carries; it says how many there were.
const TEXTS: usize = 8;

/// How often something happened, from when to when.
#[derive(Debug, Default)]
struct Tally {
    count: u64,
    first: Timestamp,
    last: Timestamp,
    texts: Vec<String>,
}

#[derive(Debug, Default)]
struct Pending {
    dropped: Tally,
    refused: Tally,
    kept: Tally,
    gone: Tally,
    told: Option<Instant>,
    logged_drop: Seldom,
}

/// Alerts that wait for the log.
#[derive(Debug, Default)]
pub(super) struct Alerts(Mutex<Pending>);

/// Lets a log line through once a second.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    last: Option<Instant>,
    held: u64,
}

impl Seldom {
    /// How many lines this one stands for; none where it is too early.
    pub(super) fn due(&mut self) -> Option<u64> {
        let now = Instant::now();
        self.held += 1;
        if self.last.is_some_and(|last| now - last < Duration::from_secs(1)) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held))
    }
}

impl Tally {
    fn note(&mut self, text: Option<String>) {
        let now = now();
        if self.count == 0 {
            self.first = now;
        }
        self.count += 1;
        self.last = now;
        if self.texts.len() < TEXTS {
            self.texts.extend(text);
        }
    }
}

impl Alerts {
    /// An event was given up.
    pub(super) fn dropped(&self) {
        let mut pending = self.lock();
        pending.dropped.note(None);
        if let Some(count) = pending.logged_drop.due() {
            tracing::error!(count, "events were dropped: ring and spool of the emitter are full");
        }
    }

    /// The log can never take a record.
    pub(super) fn refused(&self, why: String) {
        self.lock().refused.note(Some(why));
    }

    /// A file of an earlier run was set aside.
    pub(super) fn kept(&self, file: String) {
        self.lock().kept.note(Some(file));
    }

    /// A ring of an earlier run is not there.
    pub(super) fn gone(&self, ring: String) {
        self.lock().gone.note(Some(ring));
    }

    /// Whether there is something to tell, and somewhere to tell it; not soon
    /// after the last time, unless this is the `last_chance`.
    pub(super) fn are_due(&self, topics: &Topics, last_chance: bool) -> bool {
        let pending = self.lock();
        let tallies = [&pending.dropped, &pending.refused, &pending.kept, &pending.gone];
        tallies.iter().any(|tally| tally.count > 0)
            && (last_chance || pending.told.is_none_or(|told| told.elapsed() >= AT_MOST_EVERY))
            && topics.get(TOPIC).is_some()
    }

    /// What there is to tell, as records of `name`; it counts as told.
    pub(super) fn take(&self, name: &str) -> Vec<Record> {
        let mut pending = self.lock();
        pending.told = Some(Instant::now());
        let Pending { dropped, refused, kept, gone, .. } = std::mem::take(&mut *pending);
        pending.told = Some(Instant::now());
        drop(pending);
        let told = [
            ("EMITTER_DROPPED", Severity::Critical, dropped, "events were dropped: ring and spool were full"),
            ("EMITTER_REFUSED", Severity::Critical, refused, "records that the log can never take were set aside"),
            ("SPOOL_KEPT", Severity::Critical, kept, "files of an earlier run cannot be sent and were set aside"),
            ("EMITTER_RING_GONE", Severity::Critical, gone, "rings of an earlier run are gone: the machine restarted"),
        ];
        told.into_iter()
            .filter(|(_, _, tally, _)| tally.count > 0)
            .filter_map(|(code, severity, tally, what)| record(name, code, severity, &tally, what))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn record(name: &str, code: &str, severity: Severity, tally: &Tally, what: &str) -> Option<Record> {
    let id = EventId::from_due_time(&format!("emitter/{name}/{code}"), tally.last);
    let context = [
        ("emitter", json!(name)),
        ("count", json!(tally.count)),
        ("first", json!(tally.first.to_string())),
        ("last", json!(tally.last.to_string())),
        ("details", json!(tally.texts)),
    ];
    let alert = Alert {
        event_id: id.clone(),
        timestamp: tally.last,
        severity,
        code: code.into(),
        message: format!("{} {what}", tally.count),
        context: context.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<String, Value>>(),
        source: name.into(),
        account: None,
        decision_id: None,
    };
    let made = Outbound::first(TOPIC, id, Event::Alert(Box::new(alert))).into_record(name);
    made.inspect_err(|error| tracing::error!(%error, code, "an alert of the emitter cannot be written")).ok()
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
