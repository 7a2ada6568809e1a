//! Makes a broker delete and compact now, and waits until it has.
//!
//! A broker looks after its logs when it likes and by its own clock, spares the
//! segment it writes to, and compacts only what changed. So the topics of these
//! tests have tiny segments, and before it waits the sweep writes a record into
//! each compacted partition in a transaction that it aborts: nobody reads it, but
//! what lies before it is no longer in the newest segment, and there is something
//! to compact.
//!
//! Not here: the test broker's own settings, which are in `scripts/kafka.sh`.

use std::{
    cell::Cell,
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use tapedeck_kafka::{KafkaConfig, KafkaLog};
use tapedeck_log::{Log as _, LogRecord, PollLimits, TopicInfo, TopicPartition};

/// What the topics of the suite are made with.
pub(crate) const TOPIC_PROPERTIES: [(&str, &str); 5] = [
    // Kafka refuses segments below 1 MiB by their usual name.
    ("internal.segment.bytes", "25000"),
    // By the times of the records: hours apart, they lie in segments of their own.
    ("segment.ms", "5000"),
    ("min.cleanable.dirty.ratio", "0.001"),
    // Tombstones stay for the compaction that sees them first, and go with a later
    // one: after the suite has looked at them, on a busy machine too.
    ("delete.retention.ms", "8000"),
    ("file.delete.delay.ms", "0"),
];

/// More than the segments of a partition beyond what it may keep: the one that is
/// written to, and one that would fall below.
const SEGMENTS_BYTES: u64 = 2 * 25_000;
/// Longer than any broker took; a busy machine compacts within seconds.
const PATIENCE: Duration = Duration::from_secs(90);
const TICK: Duration = Duration::from_millis(200);
const LIMITS: PollLimits = PollLimits { max_records: 5_000, max_bytes: 10 << 20, timeout: Duration::from_millis(100) };
/// Between the times of two writes, more than a segment spans.
const STEP_MS: i64 = 10_000;

/// Sweeps the topics of one prefix.
pub(crate) struct Sweeper {
    config: KafkaConfig,
    touched: Cell<i64>,
}

impl Sweeper {
    pub(crate) fn new(config: &KafkaConfig) -> Self {
        Self { config: config.clone(), touched: Cell::new(0) }
    }

    /// Waits until retention and compaction have happened. Where the time is more
    /// than a day ahead, old tombstones go as well.
    pub(crate) fn sweep(&self, log: &KafkaLog, now_ms: i64) {
        let real_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
        for topic in log.topics().unwrap() {
            let newest = all(log, &topic).iter().map(|record| record.timestamp_ms).max().unwrap_or(0);
            let drops_tombstones = now_ms - newest > 24 * 3_600_000;
            let begin = Instant::now();
            loop {
                if topic.config.compact {
                    self.touch(&topic, real_ms);
                }
                // Looked at twice: with copies, a broker that takes a partition over may be
                // a moment behind in what it has deleted.
                if is_done(log, &topic, real_ms, drops_tombstones) {
                    std::thread::sleep(TICK);
                    if is_done(log, &topic, real_ms, drops_tombstones) {
                        break;
                    }
                }
                assert!(begin.elapsed() < PATIENCE, "the broker did not sweep {}", topic.config.name);
                std::thread::sleep(TICK);
            }
        }
    }

    fn touch(&self, topic: &TopicInfo, real_ms: i64) {
        let name = format!("{}{}", self.config.prefix, topic.config.name);
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.config.bootstrap_servers)
            .set("transactional.id", format!("{name}.sweep"))
            .create()
            .unwrap();
        let timeout = Duration::from_secs(30);
        producer.init_transactions(timeout).unwrap();
        producer.begin_transaction().unwrap();
        self.touched.set(self.touched.get() + STEP_MS);
        for partition in 0..topic.config.partitions {
            let record = BaseRecord::<str, str>::to(&name)
                .partition(partition as i32)
                .key("swept")
                .payload("")
                .timestamp(real_ms + self.touched.get());
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(timeout).unwrap();
        producer.abort_transaction(timeout).unwrap();
    }
}

fn is_done(log: &KafkaLog, topic: &TopicInfo, real_ms: i64, drops_tombstones: bool) -> bool {
    let records = all(log, topic);
    if topic.config.compact {
        let keys: BTreeSet<_> = records.iter().map(|record| (record.partition, &record.key)).collect();
        let has_tombstones = records.iter().any(|record| record.value.is_none());
        return keys.len() == records.len() && !(drops_tombstones && has_tombstones);
    }
    let oldest_ms = topic.config.retention.map_or(i64::MIN, |kept| real_ms - kept.as_millis() as i64);
    let bytes: usize = records.iter().map(|record| record.value.as_ref().map_or(0, |value| value.len())).sum();
    let most_bytes = topic.config.retention_bytes.map_or(u64::MAX, |kept| kept + SEGMENTS_BYTES);
    records.iter().all(|record| record.timestamp_ms >= oldest_ms) && bytes as u64 <= most_bytes
}

fn all(log: &KafkaLog, topic: &TopicInfo) -> Vec<LogRecord> {
    let mut records = Vec::new();
    for partition in 0..topic.config.partitions {
        let place = TopicPartition::new(topic.config.name.clone(), partition);
        let begin = Instant::now();
        // What goes while it is read is looked for again.
        while let Err(error) = read(log, &place, &mut records) {
            assert!(begin.elapsed() < PATIENCE, "{error}");
            records.retain(|record| record.partition != partition);
        }
    }
    records
}

fn read(log: &KafkaLog, place: &TopicPartition, records: &mut Vec<LogRecord>) -> tapedeck_log::Result<()> {
    let (start, end) = log.bounds(place)?;
    let mut reader = log.reader()?;
    reader.assign(&[(place.clone(), start)])?;
    // A reader that has no position yet has not read to the end.
    while reader.position(place).is_none_or(|position| position < end) {
        records.extend(reader.poll(LIMITS)?);
    }
    Ok(())
}
