//! One thread that reads the alerts for all sockets: each is serialised once,
//! and sent to a queue that every socket reads at its own pace.
//!
//! Not here: sockets, and what was before they came.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::extract::ws::Utf8Bytes;
use serde_json::json;
use tapedeck_contracts::{
    decode::decode,
    events::{Alert, Severity},
};
use tapedeck_flow::{Stop, dedupe::Window, inbound::is_for_others};
use tapedeck_log::{Log, LogError, LogRecord, PollLimits, Reader, TopicPartition, UnframeError};
use tokio::sync::{broadcast, watch};

use super::{ALERTS, SCREENS, seq, text_of};
use crate::app::{lock, now};

/// A poll returns at the first record; this is how long it waits for one before
/// the wish to stop is asked for.
const POLL: PollLimits = PollLimits { max_records: 1_000, max_bytes: 1 << 20, timeout: Duration::from_millis(100) };
/// Between tries while the log cannot be read.
const RETRY: Duration = Duration::from_millis(500);
/// Ids of a partition that are remembered: a reader's window of duplicates.
const WINDOW: usize = 65_536;

/// What is on its way to the sockets.
pub(crate) enum Live {
    /// An alert.
    Alert { partition: usize, offset: u64, text: Utf8Bytes, severity: Severity },
    /// Retention took alerts before they were read: nobody will see them here.
    /// With the partitions, and where each goes on.
    Gap { to: Vec<(usize, u64)>, text: Utf8Bytes },
}

/// What sockets share.
pub(crate) struct Hub {
    state: Mutex<State>,
    live: broadcast::Sender<Arc<Live>>,
    closing: watch::Sender<bool>,
}

struct State {
    /// The offset of the next record, by partition; none before the log was asked
    /// for the first time.
    next: Vec<u64>,
    /// Records that brought an alert again, by partition.
    repeats: Vec<BTreeSet<u64>>,
    /// Why the log cannot be read now.
    trouble: Option<String>,
}

/// The message that alerts before these positions are gone.
pub(crate) fn gap(next: &[u64]) -> Utf8Bytes {
    json!({ "type": "gap", "seq": seq::write(next), "timestamp": now() }).to_string().into()
}

/// The thread that reads.
pub(crate) struct Tail(JoinHandle<()>);

impl Tail {
    /// Waits until it has ended.
    pub(crate) fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the thread that reads alerts panicked");
        }
    }
}

impl Hub {
    /// Starts to read at the end of the alerts, as of now; ids are gathered from
    /// a window before it. A log that is away is asked again and again, and nobody is
    /// connected before.
    pub(crate) fn start(log: Arc<dyn Log>, stop: Stop, queue_events: usize) -> Result<(Arc<Self>, Tail), LogError> {
        let state = State { next: Vec::new(), repeats: Vec::new(), trouble: None };
        let hub = Arc::new(Self {
            state: Mutex::new(state),
            live: broadcast::Sender::new(queue_events.max(1)),
            closing: watch::Sender::new(false),
        });
        let mut reader = Follower { hub: Arc::clone(&hub), log, at: Vec::new(), seen: Vec::new() };
        match reader.find_ends() {
            Err(error) if error.is_transient() => lock(&hub.state).trouble = Some(error.to_string()),
            found => found?,
        }
        let thread = thread::Builder::new().name("api-alerts".into()).spawn(move || reader.run(&stop));
        Ok((hub, Tail(thread.expect("a thread at start"))))
    }

    /// Whether the positions are known that a socket begins at; else why not.
    pub(crate) fn ready(&self) -> Result<(), String> {
        let state = lock(&self.state);
        if state.next.is_empty() { Err(state.trouble.clone().unwrap_or_default()) } else { Ok(()) }
    }

    /// The queue of all alerts after the positions that come with it.
    pub(crate) fn subscribe(&self) -> (broadcast::Receiver<Arc<Live>>, Vec<u64>) {
        // Under the lock that `publish` holds, so that nothing falls between.
        let state = lock(&self.state);
        (self.live.subscribe(), state.next.clone())
    }

    /// Number of partitions of the alerts.
    pub(crate) fn partitions(&self) -> usize {
        lock(&self.state).next.len()
    }

    /// Whether a record brings an alert again.
    pub(crate) fn is_repeat(&self, partition: u32, offset: u64) -> bool {
        lock(&self.state).repeats.get(partition as usize).is_some_and(|repeats| repeats.contains(&offset))
    }

    /// Why the log cannot be read now.
    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.state).trouble.clone()
    }

    /// Asks all sockets to close.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Changes when sockets should close.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    fn publish(&self, partition: usize, offset: u64, alert: &Alert) {
        let mut state = lock(&self.state);
        state.next[partition] = offset + 1;
        let text = text_of(&seq::write(&state.next), alert);
        // An error says that nobody listens.
        let _ = self.live.send(Arc::new(Live::Alert { partition, offset, text, severity: alert.severity }));
    }

    /// Goes on behind what was missed.
    fn skip(&self, to: Vec<(usize, u64)>) {
        let mut state = lock(&self.state);
        to.iter().for_each(|(partition, to)| state.next[*partition] = state.next[*partition].max(*to));
        let text = gap(&state.next);
        let _ = self.live.send(Arc::new(Live::Gap { to, text }));
    }

    fn repeat(&self, partition: usize, offset: u64) {
        let mut state = lock(&self.state);
        let repeats = &mut state.repeats[partition];
        repeats.insert(offset);
        if repeats.len() > WINDOW {
            repeats.pop_first();
        }
    }
}

/// Reads the alerts to the end and on.
struct Follower {
    hub: Arc<Hub>,
    log: Arc<dyn Log>,
    at: Vec<u64>,
    seen: Vec<Window>,
}

impl Follower {
    fn run(mut self, stop: &Stop) {
        while !stop.requested() {
            let read =
                if self.at.is_empty() { self.find_ends().and_then(|()| self.read(stop)) } else { self.read(stop) };
            let Err(error) = read else { return };
            // Said once, not twice a second for as long as the log is away.
            if lock(&self.hub.state).trouble.replace(error.to_string()).is_none() {
                tracing::warn!(%error, "alerts cannot be read; trying again");
            }
            if let LogError::OutOfRange { .. } = error {
                self.skip_to_start();
            }
            stop.wait(RETRY);
        }
    }

    /// Begins at the end, as of now.
    fn find_ends(&mut self) -> Result<(), LogError> {
        let topic = self.log.topics()?.into_iter().find(|topic| &*topic.config.name == ALERTS);
        let topic =
            topic.ok_or_else(|| LogError::Fatal(format!("the log has no topic `{ALERTS}`; make the topics first")))?;
        let before = |start: u64, end: u64| start.max(end.saturating_sub(WINDOW as u64));
        self.at = topic.partitions.iter().map(|p| before(p.start, p.end)).collect();
        self.seen = topic.partitions.iter().map(|_| Window::new(WINDOW)).collect();
        let mut state = lock(&self.hub.state);
        state.repeats = vec![BTreeSet::new(); topic.partitions.len()];
        state.next = topic.partitions.iter().map(|partition| partition.end).collect();
        Ok(())
    }

    /// Goes on within what the log holds, in all partitions at once.
    fn skip_to_start(&mut self) {
        let mut skipped = Vec::new();
        for (partition, at) in self.at.iter_mut().enumerate() {
            let Ok((start, end)) = self.log.bounds(&TopicPartition::new(ALERTS, partition as u32)) else { continue };
            if *at < start {
                skipped.push((partition, start));
            }
            *at = (*at).clamp(start, end.max(start));
        }
        if !skipped.is_empty() {
            self.hub.skip(skipped);
        }
    }

    fn read(&mut self, stop: &Stop) -> Result<(), LogError> {
        let places: Vec<TopicPartition> = (0..).zip(&self.at).map(|(n, _)| TopicPartition::new(ALERTS, n)).collect();
        let mut reader: Box<dyn Reader> = self.log.reader()?;
        let from: Vec<(TopicPartition, u64)> = places.iter().cloned().zip(self.at.iter().copied()).collect();
        reader.assign(&from)?;
        while !stop.requested() {
            let records = reader.poll(POLL)?;
            if lock(&self.hub.state).trouble.take().is_some() {
                tracing::info!("alerts can be read again");
            }
            for record in &records {
                self.take(record)?;
            }
            for (place, at) in places.iter().zip(&mut self.at) {
                *at = reader.position(place).unwrap_or(*at);
            }
        }
        Ok(())
    }

    fn take(&mut self, record: &LogRecord) -> Result<(), LogError> {
        let partition = record.partition as usize;
        // What is sent again for a group was there for screens the first time.
        if is_for_others(record, SCREENS) {
            self.at[partition] = record.offset + 1;
            return Ok(());
        }
        let alert = alert_of(&*self.log, record)?;
        self.at[partition] = record.offset + 1;
        let alert = match alert {
            Ok(alert) => alert,
            Err(error) => {
                tracing::warn!(partition, offset = record.offset, error, "an alert that cannot be read is not shown");
                return Ok(());
            }
        };
        if !self.seen[partition].insert(alert.event_id.fingerprint()) {
            self.hub.repeat(partition, record.offset);
        } else if record.offset >= lock(&self.hub.state).next[partition] {
            self.hub.publish(partition, record.offset, &alert);
        }
        Ok(())
    }
}

/// The alert in a record, out of its frame where it is in one; or why there is none.
///
/// # Errors
/// Transient where who knows its frame cannot be asked.
pub(super) fn alert_of(log: &dyn Log, record: &LogRecord) -> Result<Result<Alert, String>, LogError> {
    let value = record.value.clone().unwrap_or_default();
    let body = match log.unframe().filter(|unframe| unframe.is_framed(&value)) {
        Some(unframe) => match unframe.open(&record.topic, &value) {
            Ok(body) => body,
            Err(UnframeError::Away(detail)) => return Err(LogError::Transient(detail)),
            Err(error) => return Ok(Err(error.to_string())),
        },
        None => value,
    };
    Ok(decode(&body).map_err(|error| error.to_string()))
}
