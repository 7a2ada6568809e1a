//! What a client missed, read from the log: from its seq to where the live
//! queue begins.
//!
//! Not here: sending it.

use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use tapedeck_contracts::events::Severity;
use tapedeck_flow::inbound::is_for_others;
use tapedeck_log::{Log, LogError, PollLimits, TopicPartition};

use super::{
    ALERTS, SCREENS,
    hub::{Hub, alert_of},
    seq, text_of,
};

/// Records read at a time: a page is in memory for one client.
const PAGE: PollLimits = PollLimits { max_records: 256, max_bytes: 256 << 10, timeout: Duration::ZERO };

/// How far a client has come, and how far it must go.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    /// The offset of the next record to send, by partition.
    pub(crate) next: Vec<u64>,
    /// Where the live queue begins, by partition.
    pub(crate) until: Vec<u64>,
}

/// A part of what was missed.
pub(crate) struct Page {
    /// Where to go on.
    pub(crate) replay: Replay,
    /// What to send.
    pub(crate) events: Vec<(Severity, Utf8Bytes)>,
    /// Whether records before the log's start were missed for good.
    pub(crate) gap: bool,
}

impl Replay {
    /// Whether nothing is left.
    pub(crate) fn done(&self) -> bool {
        self.next.iter().zip(&self.until).all(|(next, until)| next >= until)
    }

    /// Reads a page. Blocking.
    pub(crate) fn page(mut self, log: &dyn Log, hub: &Hub) -> Result<Page, LogError> {
        let gap = self.skip_to_start(log)?;
        let places: Vec<(TopicPartition, u64)> = (0..)
            .zip(self.next.iter().zip(&self.until))
            .filter(|(_, (next, until))| next < until)
            .map(|(partition, (next, _))| (TopicPartition::new(ALERTS, partition), *next))
            .collect();
        let mut events = Vec::new();
        if places.is_empty() {
            return Ok(Page { replay: self, events, gap });
        }
        let mut reader = log.reader()?;
        reader.assign(&places)?;
        for record in reader.poll(PAGE)? {
            let partition = record.partition as usize;
            if record.offset >= self.until[partition] {
                continue;
            }
            // Before the position moves: what cannot be read now is read later.
            let alert = if is_for_others(&record, SCREENS) { None } else { alert_of(log, &record)?.ok() };
            self.next[partition] = record.offset + 1;
            if let Some(alert) = alert.filter(|_| !hub.is_repeat(record.partition, record.offset)) {
                events.push((alert.severity, text_of(&seq::write(&self.next), &alert)));
            }
        }
        for (place, _) in &places {
            let partition = place.partition as usize;
            let read_to = reader.position(place).unwrap_or(0).min(self.until[partition]);
            self.next[partition] = self.next[partition].max(read_to);
        }
        Ok(Page { replay: self, events, gap })
    }

    /// Moves positions that retention has passed to the log's start.
    fn skip_to_start(&mut self, log: &dyn Log) -> Result<bool, LogError> {
        let mut gap = false;
        for (partition, next) in (0..).zip(&mut self.next) {
            let (start, _) = log.bounds(&TopicPartition::new(ALERTS, partition))?;
            if *next < start {
                *next = start;
                gap = true;
            }
        }
        Ok(gap)
    }
}
