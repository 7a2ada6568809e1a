//! What every role does where it begins to read a partition: offsets that
//! retention took are counted, said and alerted; a position beyond the log's end
//! is refused; the ids of the last events before it are remembered again.
//!
//! Not here: where a role goes on, which its effect says.

use std::{sync::atomic::Ordering::Relaxed, time::SystemTime};

use serde_json::{Map, json};
use tapedeck_contracts::{
    Event, EventId, EventKind, Timestamp,
    catalogue::group_of,
    events::{Alert, Severity},
};
use tapedeck_log::{Log, LogRecord, TopicPartition};

use crate::{
    Failure, Gauges, Outbound,
    dedupe::Window,
    inbound::fingerprint_of,
    spans::{self, Span},
};

/// A role that opens partitions.
pub struct Opener<'a> {
    /// The log.
    pub log: &'a dyn Log,
    /// The role.
    pub role: &'a str,
    /// What a person does to let it begin anew, as part of a sentence.
    pub begin_anew: String,
    /// What was missed is counted here.
    pub gauges: &'a Gauges,
}

impl Opener<'_> {
    /// Where a partition goes on that was to go on at `next`: there, or at the
    /// log's start where that is later. None begins at the start.
    ///
    /// # Errors
    /// Fatal where the log ends before `next`; those of the log.
    pub fn begin(&self, place: &TopicPartition, next: Option<u64>) -> Result<u64, Failure> {
        let (start, end) = self.log.bounds(place)?;
        match next {
            None => Ok(start),
            Some(next) if next > end => Err(self.truncated(place, next, end)),
            Some(next) if next < start => self.missed(place, next, start).map(|()| start),
            Some(next) => Ok(next),
        }
    }

    /// Retention took the records from `next` to `start` before they were read.
    /// The alert's id is that of the gap: it is one, however often it is found.
    ///
    /// # Errors
    /// Those of the log.
    pub fn missed(&self, place: &TopicPartition, next: u64, start: u64) -> Result<(), Failure> {
        let (role, group) = (self.role, group_of(self.role));
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
            source: role.to_owned(),
            account: None,
            decision_id: None,
        };
        let record = Outbound::first("alerts.v1", id, Event::Alert(Box::new(alert))).into_record(role)?;
        self.log.append(vec![record])?;
        self.gauges.missed.fetch_add(start - next, Relaxed);
        Ok(())
    }

    /// The position is beyond the end of the log.
    pub fn truncated(&self, place: &TopicPartition, next: u64, end: u64) -> Failure {
        self.contradiction(place, &format!("is at offset {next}, but the log ends at {end}"))
    }

    /// Log and effect contradict each other: `what` says how.
    pub fn contradiction(&self, place: &TopicPartition, what: &str) -> Failure {
        Failure::Fatal(format!(
            "{} has read {place}: it {what}. The log was recreated, truncated or restored from an older copy. Nothing was \
             changed. Choose: bring back the log that belongs to this data; or bring back state and store from the time \
             of this log; or stop the process, give up what the role has kept and let it read this log from its start: {}",
            group_of(self.role),
            self.begin_anew
        ))
    }

    /// For each of these partitions the ids of the last `capacity` records below where
    /// it goes on, of those that are told apart by id (`by_id`) and were not sent again
    /// for another group.
    ///
    /// # Errors
    /// Those of the log.
    pub fn refill(
        &self,
        before: &[Before],
        capacity: usize,
        by_id: impl Fn(&LogRecord) -> bool,
    ) -> Result<Vec<Window>, Failure> {
        let group = group_of(self.role);
        let starts = before.iter().map(|it| Ok(self.log.bounds(&it.place)?.0)).collect::<Result<Vec<_>, Failure>>()?;
        let mut windows: Vec<_> = before.iter().map(|_| Window::new(capacity)).collect();
        let mut wanted: Vec<usize> = (0..before.len()).collect();
        let mut span = capacity as u64;
        while !wanted.is_empty() {
            let spans: Vec<_> = wanted.iter().map(|index| before[*index].span(span, starts[*index])).collect();
            let mut records = vec![0; spans.len()];
            spans::read(self.log, &spans, |index, record| {
                records[index] += 1;
                let at = wanted[index];
                if by_id(&record)
                    && let Some(id) = fingerprint_of(self.log.unframe(), before[at].kind, record, &group)?
                {
                    windows[at].insert(id);
                }
                Ok(())
            })?;
            // Offsets have gaps: where they were too many, begin further back.
            let short = |index: &usize| records[*index] < capacity && spans[*index].from > starts[wanted[*index]];
            wanted = (0..spans.len()).filter(short).map(|index| wanted[index]).collect();
            for index in &wanted {
                windows[*index] = Window::new(capacity);
            }
            span = span.saturating_mul(2);
        }
        Ok(windows)
    }
}

/// A partition that is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// Which.
    pub place: TopicPartition,
    /// What its records are.
    pub kind: EventKind,
    /// Where it goes on.
    pub next: u64,
}

impl Before {
    /// The last `count` offsets before it goes on.
    fn span(&self, count: u64, start: u64) -> Span {
        let from = self.next.saturating_sub(count).max(start);
        Span { place: self.place.clone(), from, until: self.next }
    }
}

/// The time by the machine's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
