//! How fast plain rdkafka produces and consumes, with the settings of `[kafka]` and
//! nothing between the client and the loop; each run ends with one line of JSON.
//!
//! Not here: our own log at the same work, which starts this program beside itself
//! (`tapedeck-bench kafka`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};
use tapedeck_bench_pace::rates::{self, Rate};

/// Nothing here waits longer for a broker that is there.
const PATIENCE: Duration = Duration::from_secs(60);

/// Produces so many records: in steps that are waited for, or as one stream.
pub(crate) fn produce(bootstrap: &str, topic: &str, records: u64, in_steps: bool) -> anyhow::Result<Rate> {
    let counts = Counts::default();
    let producer: BaseProducer<Counts> = config(bootstrap, &rates::PRODUCER).create_with_context(counts.clone())?;
    let bodies = rates::records();
    // Connects, and learns where the partitions are, before the clock runs.
    producer.client().fetch_metadata(Some(topic), PATIENCE)?;
    let began = Instant::now();
    for (n, (key, body)) in (0..records).zip(bodies.iter().cycle()) {
        let mut record = BaseRecord::to(topic).key(key).payload(body);
        while let Err((error, refused)) = producer.send(record) {
            anyhow::ensure!(error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull), "{error}");
            producer.poll(Duration::from_millis(1));
            record = refused;
        }
        producer.poll(Duration::ZERO);
        if in_steps && (n + 1).is_multiple_of(rates::STEP as u64) {
            producer.flush(PATIENCE)?;
        }
    }
    producer.flush(PATIENCE)?;
    let took = began.elapsed();
    let (delivered, failed) = (counts.delivered.load(Relaxed), counts.failed.load(Relaxed));
    anyhow::ensure!(delivered == records && failed == 0, "{delivered} of {records} delivered, {failed} failed");
    Ok(Rate { records, took })
}

/// Reads so many records of a topic from its start; the clock runs from the first.
pub(crate) fn consume(bootstrap: &str, topic: &str, records: u64, group: Option<&str>) -> anyhow::Result<Rate> {
    let mut config = config(bootstrap, &rates::CONSUMER);
    config.set("group.id", group.unwrap_or("peer-rdkafka-alone"));
    let consumer: BaseConsumer = config.create()?;
    if group.is_some() {
        consumer.subscribe(&[topic])?;
    } else {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
        let partitions = metadata.topics().first().context("no such topic")?.partitions();
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        }
        consumer.assign(&list)?;
    }
    let (mut read, mut bytes) = (0, 0);
    let joined = Instant::now();
    let mut began = joined;
    while read < records {
        // A poll also ends without a record, as when partitions are handed out.
        let Some(record) = consumer.poll(Duration::from_millis(100)) else {
            anyhow::ensure!(joined.elapsed() < PATIENCE, "{read} of {records} records after {PATIENCE:?}");
            continue;
        };
        let record = record?;
        if read == 0 {
            began = Instant::now();
        }
        read += 1;
        bytes += record.payload_len();
    }
    anyhow::ensure!(bytes > 0, "the records were empty");
    Ok(Rate { records, took: began.elapsed() })
}

fn config(bootstrap: &str, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
}

/// Counts what the brokers acknowledged and what the client gave up.
#[derive(Clone, Default)]
struct Counts {
    delivered: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl ClientContext for Counts {
    fn error(&self, error: KafkaError, reason: &str) {
        eprintln!("{error}: {reason}");
    }
}

impl ProducerContext for Counts {
    type DeliveryOpaque = ();

    fn delivery(&self, report: &DeliveryResult<'_>, (): ()) {
        match report {
            Ok(_) => &self.delivered,
            Err(_) => &self.failed,
        }
        .fetch_add(1, Relaxed);
    }
}
