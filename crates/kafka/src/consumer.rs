//! A consumer of librdkafka as readers and members use it: how it is set up, what
//! it tells between calls, and the bell that wakes who waits for records.
//!
//! Not here: which partitions it reads, and from where.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
    types::RDKafkaRespErr,
};
use tapedeck_log::{LogError, Result};

use crate::{
    client::Client,
    error::log_error,
    watch::{Book, locked},
};

/// A consumer whose events wait to be asked for.
pub(crate) type Handle = BaseConsumer<Events>;

/// A broker holds a question for so long where nothing is there to be read. While
/// it does, librdkafka asks it for nothing else.
const FETCH_WAIT_MS: &str = "250";
/// The same of who has far to go: the partitions that have much to give are left out
/// of a question while their queues are full, and one about those alone that are at
/// their end would be held while those queues run empty. No longer than a queue of
/// the least size lasts; at this pace a broker without news is asked 200 times a
/// second, so that only who is behind does it.
const FETCH_WAIT_BEHIND_MS: &str = "5";
/// After so long a partition whose queue was full is looked at again. With a small
/// share a queue is empty within milliseconds, and librdkafka's own second would
/// be the pace.
const FULL_AGAIN_MS: &str = "20";
/// The same of who has far to go.
const FULL_AGAIN_BEHIND_MS: &str = "2";
/// After so long a fetch that failed is tried again.
const FAILED_AGAIN_MS: &str = "100";
/// A topic is known to be there before it is read; one that is missing for so long
/// was deleted.
const MISSING_MS: &str = "3000";
/// The least that is fetched ahead of a partition: a quarter of a large record.
const LEAST_AHEAD: u64 = 256 << 10;
/// The most that one answer holds of a partition, where records are not larger:
/// more makes nothing faster.
const MOST_FETCHED: u64 = 1 << 20;
/// Answers are counted as they come, compressed, and this many times as large once
/// they are unpacked, as our events are.
const UNPACKED: u64 = 8;
/// What librdkafka holds for each record that is fetched ahead, beside its bytes.
const HELD_BESIDE: u64 = 512;

/// What a consumer is to be.
pub(crate) struct Wanted<'a> {
    /// How many partitions it reads at most: they share what may be fetched ahead.
    pub(crate) partitions: u64,
    /// The cluster's name of the group, and the member's name, where it joins one.
    pub(crate) seat: Option<(&'a str, &'a str)>,
    /// Whether there is far to go, so that brokers are to answer at once.
    pub(crate) is_behind: bool,
}

/// Starts a consumer; the bell rings for its events.
pub(crate) fn start(client: &Client, wanted: &Wanted<'_>, bell: &Arc<Bell>) -> Result<Handle> {
    let config = config(client, wanted);
    let mut handle: Handle =
        config.create_with_context(Events::new(&client.book)).map_err(|error| log_error(&error, "start a consumer"))?;
    let ringing = Arc::clone(bell);
    handle.set_nonempty_callback(move || ringing.ring());
    Ok(handle)
}

fn config(client: &Client, wanted: &Wanted<'_>) -> ClientConfig {
    let mut config = client.native_config();
    if let Some(living) = client.living() {
        config.set("bootstrap.servers", living);
    }
    let each = (client.config.fetch_bytes / wanted.partitions.max(1)).max(LEAST_AHEAD);
    // librdkafka asks again while the queue is not full, so that one answer more
    // than its limit may lie there: each is half.
    let fetched = (each / 2 / UNPACKED).min(MOST_FETCHED);
    config.set("queued.max.messages.kbytes", (each / 2 / 1024).to_string());
    config.set("queued.min.messages", (each / HELD_BESIDE).clamp(100, 100_000).to_string());
    config.set("fetch.message.max.bytes", fetched.to_string());
    let (wait_ms, full_again_ms) = match wanted.is_behind {
        true => (FETCH_WAIT_BEHIND_MS, FULL_AGAIN_BEHIND_MS),
        false => (FETCH_WAIT_MS, FULL_AGAIN_MS),
    };
    config.set("fetch.wait.max.ms", wait_ms);
    config.set("fetch.queue.backoff.ms", full_again_ms);
    config.set("fetch.error.backoff.ms", FAILED_AGAIN_MS);
    config.set("topic.metadata.propagation.max.ms", MISSING_MS);
    if let Some((group, member)) = wanted.seat {
        let session_ms = client.config.session_timeout_ms;
        config.set("client.id", member);
        config.set("group.id", group);
        config.set("session.timeout.ms", session_ms.to_string());
        // A change of the group is heard of with a heartbeat, so these are frequent.
        config.set("heartbeat.interval.ms", (session_ms / 5).clamp(50, 1000).to_string());
        config.set("max.poll.interval.ms", max_poll(client).as_millis().to_string());
    } else {
        // It lives for a moment; what it fetched the members' figures do not hold.
        config.set("statistics.interval.ms", "0");
    }
    for (property, value) in &client.config.properties {
        config.set(property, value);
    }
    // These are what the promises rest on, and no property changes them.
    for (property, value) in [
        ("isolation.level", "read_committed"),
        ("auto.offset.reset", "error"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("enable.partition.eof", "true"),
        ("check.crcs", "true"),
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("group.protocol", "classic"),
    ] {
        config.set(property, value);
    }
    config
}

/// Takes what a consumer tells between calls.
///
/// # Errors
/// What does not pass by itself, and that no broker can be reached.
pub(crate) fn hear(consumer: &Handle, client: &Client, doing: &str) -> Result<()> {
    // As many as may have come since the last call; the rest with the next.
    const MOST: usize = 16;
    for _ in 0..MOST {
        match consumer.poll(Duration::ZERO) {
            Some(Err(error)) => judge(&error, client, doing)?,
            // No partition gives its records here.
            Some(Ok(_)) => {}
            None => break,
        }
    }
    Ok(())
}

/// Whether something that a consumer told is an error of the call.
fn judge(error: &KafkaError, client: &Client, doing: &str) -> Result<()> {
    match error.rdkafka_error_code() {
        // A connection comes back, or all are gone, which has a code of its own.
        Some(Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut) | None => Ok(()),
        // These are told elsewhere: as a change, and by each partition's queue.
        Some(Code::PollExceeded | Code::PartitionEOF) => Ok(()),
        Some(Code::AllBrokersDown) => {
            let since = Instant::now().checked_sub(client.timeout()).unwrap_or_else(Instant::now);
            Err(client.explain(error, since, doing))
        }
        Some(_) => match log_error(error, doing) {
            LogError::Transient(text) => {
                tracing::warn!(target: "kafka", "{text}; it is tried again");
                Ok(())
            }
            other => Err(other),
        },
    }
}

/// How long a member may stay away: librdkafka wants it no shorter than a session.
pub(crate) fn max_poll(client: &Client) -> Duration {
    let config = &client.config;
    Duration::from_millis(config.max_poll_interval_ms.max(config.session_timeout_ms))
}

/// A change of what a member owns, to be answered.
#[derive(Debug)]
pub(crate) enum Change {
    /// Partitions that are new.
    Assign(Vec<(String, i32)>),
    /// Partitions to give up.
    Revoke(Vec<(String, i32)>),
    /// They are somebody else's already.
    Lost,
}

/// What a consumer told between calls. Changes wait here until the member asks:
/// none is answered behind its back.
pub(crate) struct Events {
    book: Arc<Book>,
    changes: Mutex<VecDeque<Change>>,
    /// The question that librdkafka waits to be answered: whether it is to assign.
    owed: Mutex<Option<bool>>,
    closing: AtomicBool,
}

impl Events {
    fn new(book: &Arc<Book>) -> Self {
        Self {
            book: Arc::clone(book),
            changes: Mutex::default(),
            owed: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    /// Whether there is a change that was not asked for.
    pub(crate) fn has_change(&self) -> bool {
        !locked(&self.changes).is_empty()
    }

    /// The oldest change that was not asked for.
    pub(crate) fn next_change(&self) -> Option<Change> {
        locked(&self.changes).pop_front()
    }

    /// The member answered what was asked last.
    pub(crate) fn answered(&self) {
        *locked(&self.owed) = None;
    }

    /// Answers what is still open, and from now on everything at once, since nobody
    /// asks any more. Each question is answered once: librdkafka ends after the
    /// first answer, and a second one would wait for it without end.
    pub(crate) fn close(&self, consumer: &Handle) {
        self.closing.store(true, Relaxed);
        let owed = locked(&self.owed).take();
        if let Some(is_assign) = owed {
            let answer = match is_assign {
                true => consumer.incremental_assign(&TopicPartitionList::new()),
                false => consumer.assignment().and_then(|all| consumer.incremental_unassign(&all)),
            };
            note_leaving(answer);
        }
    }
}

/// Errors on leaving are told and no more: the session's end does the same.
fn note_leaving(answer: KafkaResult<()>) {
    if let Err(error) = answer {
        tracing::debug!(target: "kafka", "on leaving a group: {error}");
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.book.note_log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            // It has left the group before it says so.
            Some(Code::PollExceeded) => locked(&self.changes).push_back(Change::Lost),
            Some(Code::PartitionEOF) => {}
            _ => self.book.note_error(&error, reason),
        }
    }

    fn stats_raw(&self, json: &[u8]) {
        self.book.note_statistics("member", json);
    }
}

impl ConsumerContext for Events {
    fn rebalance(&self, consumer: &Handle, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assigned = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Relaxed) {
            if !consumer.closed() {
                note_leaving(match assigned {
                    true => consumer.incremental_assign(list),
                    false => consumer.incremental_unassign(list),
                });
            }
            return;
        }
        *locked(&self.owed) = Some(assigned);
        let places = list.elements().iter().map(|it| (it.topic().to_owned(), it.partition())).collect();
        locked(&self.changes).push_back(match (assigned, consumer.assignment_lost()) {
            (true, _) => Change::Assign(places),
            (false, false) => Change::Revoke(places),
            (false, true) => Change::Lost,
        });
    }
}

/// Counts what happened, and wakes who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rings: Mutex<u64>,
    waiting: Condvar,
}

impl Bell {
    /// How often it has rung.
    pub(crate) fn rings(&self) -> u64 {
        *locked(&self.rings)
    }

    /// Something happened.
    pub(crate) fn ring(&self) {
        *locked(&self.rings) += 1;
        self.waiting.notify_all();
    }

    /// Waits until it rings after `heard`, and no longer than is given; whether it did.
    pub(crate) fn wait(&self, heard: u64, longest: Duration) -> bool {
        let rings = locked(&self.rings);
        let waited = self.waiting.wait_timeout_while(rings, longest, |rings| *rings == heard);
        // A thread that panicked while it counted left a count.
        let (rings, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *rings != heard
    }
}
