//! Opening a partition: where its effect says to go on, whether the log still
//! holds what was read there, and the ids of the last events before.
//!
//! Not here: seeking, and giving the state to the handler.

use std::{sync::atomic::Ordering::Relaxed, time::SystemTime};

use serde_json::{Map, json};
use tapedeck_contracts::{Event, EventId, Timestamp, catalogue::Catalogue, events::Alert, events::Severity};
use tapedeck_log::{PollLimits, TopicPartition};

use super::{Resume, Setup, held::Held};
use crate::{Failure, Ledger, Outbound, dedupe::Window, inbound, record_hash::record_hash};

/// Large, since nothing else of the partition can be done before it is read.
const LIMITS: PollLimits =
    PollLimits { max_records: 10_000, max_bytes: 8 << 20, timeout: std::time::Duration::from_millis(100) };

/// Opens a partition that was just assigned.
///
/// # Errors
/// Fatal where log and effect contradict each other; transient where the log
/// cannot be read.
pub(super) fn open(setup: &Setup, place: &TopicPartition, resume: &Resume) -> Result<Held, Failure> {
    let topic = Catalogue::get().topic(&place.topic);
    let Some((kind, compacted)) = topic.and_then(|topic| Some((topic.event?, topic.compact))) else {
        return Err(Failure::Fatal(format!(
            "topic `{}` carries no event of the contract; it cannot be read",
            place.topic
        )));
    };
    let (start, end) = setup.log.bounds(place)?;
    let next = match resume.next {
        None => start,
        Some(next) if next > end => return Err(truncated(setup, place, next, end)),
        Some(next) if next < start => {
            missed(setup, place, next, start)?;
            start
        }
        Some(next) => next,
    };
    if let (Some((offset, hash)), false) = (resume.last, compacted) {
        compare(setup, place, (start, end), offset, hash)?;
    }
    Ok(Held {
        place: place.clone(),
        kind,
        compacted,
        ledger: Ledger::starting_at(next),
        window: refill(setup, place, start, next)?,
        ahead: resume.held.iter().copied().filter(|offset| *offset >= next).collect(),
        opened_at: next,
        visible: resume.next,
        last: resume.last,
        blocked: None,
    })
}

/// Retention took records before they were read: counted, said, alerted.
///
/// # Errors
/// Those of the log.
pub(super) fn missed(setup: &Setup, place: &TopicPartition, next: u64, start: u64) -> Result<(), Failure> {
    let (role, group) = (&setup.role, setup.group());
    let message = format!(
        "{group} was at offset {next} of {place}, but the log begins at {start}: {} offsets went by retention before \
         they were read; going on from {start}",
        start - next
    );
    tracing::warn!(role, partition = %place, next, start, "{message}");
    let mut context = Map::new();
    for (name, value) in [("partition", json!(place.to_string())), ("next", json!(next)), ("start", json!(start))] {
        context.insert(name.to_owned(), value);
    }
    let cause = EventId::from_place(&place.topic, place.partition, next);
    let id = EventId::derived(&cause, role, "alerts.v1", &format!("{group}@{start}"), 0);
    let alert = Alert {
        event_id: id.clone(),
        timestamp: now(),
        severity: Severity::Critical,
        code: "LOG_GAP".to_owned(),
        message,
        context,
        source: role.clone(),
        account: None,
        decision_id: None,
    };
    let record = Outbound::first("alerts.v1", id, Event::Alert(Box::new(alert))).into_record(role)?;
    setup.log.append(vec![record])?;
    setup.gauges.missed.fetch_add(start - next, Relaxed);
    Ok(())
}

/// The position is beyond the end of the log.
pub(super) fn truncated(setup: &Setup, place: &TopicPartition, next: u64, end: u64) -> Failure {
    contradiction(setup, place, &format!("is at offset {next}, but the log ends at {end}"))
}

fn contradiction(setup: &Setup, place: &TopicPartition, what: &str) -> Failure {
    Failure::Fatal(format!(
        "{} has read {place}: it {what}. The log was recreated, truncated or restored from an older copy. Nothing was \
         changed. Choose: bring back the log that belongs to this data; or bring back state and store from the time \
         of this log; or stop the process, give up what the role has kept and let it read this log from its start: \
         `tapedeck groups reset {} --with-state --to earliest`",
        setup.group(),
        setup.group()
    ))
}

/// Whether the log still holds the last record whose effect is visible.
fn compare(
    setup: &Setup,
    place: &TopicPartition,
    (start, end): (u64, u64),
    offset: u64,
    hash: u64,
) -> Result<(), Failure> {
    if offset < start {
        return Ok(()); // Retention took it; nobody can tell any more.
    }
    let mut found = None;
    if offset < end {
        let mut reader = setup.log.reader()?;
        reader.assign(&[(place.clone(), offset)])?;
        while found.is_none() && reader.position(place).is_some_and(|next| next < end) {
            found = reader.poll(PollLimits { max_records: 1, ..LIMITS })?.into_iter().next();
        }
    }
    match found {
        Some(record) if record.offset == offset && record_hash(&record) == hash => Ok(()),
        Some(record) if record.offset == offset => {
            Err(contradiction(setup, place, &format!("keeps another record at offset {offset} now")))
        }
        _ => Err(contradiction(setup, place, &format!("keeps no record at offset {offset} any more"))),
    }
}

/// The ids of the last records below `next`, as many as the window holds.
fn refill(setup: &Setup, place: &TopicPartition, start: u64, next: u64) -> Result<Window, Failure> {
    let capacity = setup.config.dedupe_window;
    let kind = inbound::kind_of(&place.topic);
    let mut span = capacity as u64;
    loop {
        let from = next.saturating_sub(span).max(start);
        let mut window = Window::new(capacity);
        let mut records = 0;
        let mut reader = setup.log.reader()?;
        reader.assign(&[(place.clone(), from)])?;
        while from < next && reader.position(place).is_some_and(|position| position < next) {
            for record in reader.poll(LIMITS)?.into_iter().take_while(|record| record.offset < next) {
                records += 1;
                if let Some(id) = kind.and_then(|kind| inbound::id_of(kind, record)) {
                    window.insert(id.fingerprint());
                }
            }
        }
        // Offsets have gaps: where they were too many, begin further back.
        if records >= capacity || from == start {
            return Ok(window);
        }
        span = span.saturating_mul(2);
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
