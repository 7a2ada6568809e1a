//! Plain appends: one idempotent producer for all threads, made anew where it
//! failed.
//!
//! Not here: transactions.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rdkafka::{ClientConfig, error::RDKafkaErrorCode as Code};
use tapedeck_log::{LogError, Placement, Record, Result};

use crate::{
    client::Client,
    diagnose,
    error::{log_error, refused},
    placing::{MAX_RECORD_BYTES, Placing},
    watch::locked,
    writer::{Failure, Writer},
};

/// So many records wait for brokers at most, beside `queue_bytes`: librdkafka
/// needs a few hundred bytes for each that it does not count.
const QUEUE_RECORDS: &str = "500000";
/// Records of a batch at most; bytes end a batch first.
const BATCH_RECORDS: &str = "100000";

/// Appends records.
pub(crate) struct Producer {
    client: Arc<Client>,
    placing: Placing,
    writer: Mutex<Option<Arc<Writer>>>,
}

impl Producer {
    /// None is started before the first record.
    pub(crate) fn new(client: Arc<Client>) -> Self {
        Self { client, placing: Placing::default(), writer: Mutex::default() }
    }

    /// Writes records; see [`tapedeck_log::Log::append`].
    pub(crate) fn append(&self, records: &[Record]) -> Result<Vec<Placement>> {
        let begin = Instant::now();
        let deadline = begin + Duration::from_millis(self.client.config.delivery_timeout_ms);
        let places = self.placing.places(&self.client, records)?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        loop {
            let writer = self.writer()?;
            let failure = match writer.write(records, &places, deadline) {
                Ok(placements) => return Ok(placements),
                Err(failure) => failure,
            };
            let fatal = writer.fatal_error();
            self.discard(&writer);
            // Another call failed, and this one goes again, whole and in order, until its own
            // time is over. What of it was written already is there twice then, with the
            // same ids, as after any call that is made again.
            if matches!(failure, Failure::Retired) && Instant::now() < deadline {
                continue;
            }
            return Err(self.client.failed(failure, fatal, records, begin));
        }
    }

    fn writer(&self) -> Result<Arc<Writer>> {
        let mut current = locked(&self.writer);
        if let Some(writer) = current.as_ref().filter(|writer| !writer.is_retired()) {
            return Ok(Arc::clone(writer));
        }
        let writer = Writer::start(&config(&self.client), &self.client.book, "producer")
            .map_err(|error| log_error(&error, "start a producer"))?;
        let writer = Arc::new(writer);
        *current = Some(Arc::clone(&writer));
        Ok(writer)
    }

    /// Lets go of a retired writer. Its end takes up to a second, which the caller
    /// does not wait for: it takes and sends nothing any more.
    fn discard(&self, writer: &Arc<Writer>) {
        let mut current = locked(&self.writer);
        if current.as_ref().is_some_and(|now| Arc::ptr_eq(now, writer)) {
            let ended = current.take();
            std::thread::spawn(move || drop(ended));
        }
    }
}

impl Client {
    /// What a failed call means; `fatal` is what is wrong with the whole producer.
    pub(crate) fn failed(
        &self,
        failure: Failure,
        fatal: Option<(Code, String)>,
        records: &[Record],
        begin: Instant,
    ) -> LogError {
        if let Some((code, reason)) = fatal {
            return broken(code, &reason);
        }
        match failure {
            Failure::Refused { index, code } => self.refused_record(index, code, &records[index]),
            Failure::Broken { code, reason } => broken(code, &reason),
            Failure::Retired => LogError::Transient(
                "cannot write: the producer ended because other calls failed, until the time of this one was over"
                    .into(),
            ),
            Failure::TimedOut { acknowledged } => {
                let doing = format!(
                    "write: {acknowledged} of {} records were acknowledged within {} ms",
                    records.len(),
                    self.config.delivery_timeout_ms
                );
                match diagnose::unreachable(&self.config, &self.book.since(begin), &doing) {
                    LogError::Transient(_) => LogError::Transient(format!(
                        "cannot {doing}; {}. Check that the brokers are up, and that as many replicas are in sync as \
                         the topic's min.insync.replicas asks for",
                        diagnose::heard(&self.book.since(begin))
                    )),
                    fatal => fatal,
                }
            }
        }
    }

    fn refused_record(&self, index: usize, code: Code, record: &Record) -> LogError {
        let topic = &record.topic;
        let poison = |detail: String| LogError::Poison { index, detail };
        if matches!(code, Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) {
            // Deleted since it was looked at: the next call looks again.
            self.forget_topics();
        }
        match code {
            Code::MessageSizeTooLarge | Code::InvalidMessageSize => poison(format!(
                "topic `{topic}` takes no record of {} bytes: its `max.message.bytes` is below the {MAX_RECORD_BYTES} \
                 that the deck writes",
                record.bytes()
            )),
            Code::InvalidRecord | Code::InvalidTimestamp => poison(format!(
                "the broker refuses it for topic `{topic}`: {code} (a compacted topic needs a key; \
                 `message.timestamp.before.max.ms` and `.after.max.ms` bound the time)"
            )),
            code => refused(code, "", &format!("write to topic `{topic}`"), &format!("Write on topic `{topic}`")),
        }
    }
}

/// A producer that librdkafka gave up: the next call starts another.
fn broken(code: Code, reason: &str) -> LogError {
    match refused(code, reason, "write", "Write on the topic (brokers before 2.8: IdempotentWrite on the cluster)") {
        LogError::Fatal(text) => LogError::Fatal(text),
        _ => LogError::Transient(format!("cannot write: the producer ended ({code}): {reason}")),
    }
}

fn config(client: &Client) -> ClientConfig {
    let mut native = writing(client);
    native.set("enable.idempotence", "true");
    // The waiting ends in `writer`, and why.
    native.set("message.timeout.ms", "0");
    overridden(client, native)
}

/// What all producers have in common.
pub(crate) fn writing(client: &Client) -> ClientConfig {
    let config = &client.config;
    let mut native = client.native_config();
    native.set("acks", "all");
    // For whoever writes without us: our records carry their partition.
    native.set("partitioner", "murmur2_random");
    native.set("compression.codec", &config.compression);
    native.set("linger.ms", config.linger_ms.to_string());
    native.set("batch.size", config.batch_bytes.to_string());
    native.set("batch.num.messages", BATCH_RECORDS);
    // A record and what stands around it.
    native.set("message.max.bytes", (2 * MAX_RECORD_BYTES).to_string());
    native.set("queue.buffering.max.kbytes", (config.queue_bytes / 1024).max(1).to_string());
    native.set("queue.buffering.max.messages", QUEUE_RECORDS);
    native
}

/// The person's own properties over all of ours.
pub(crate) fn overridden(client: &Client, mut native: ClientConfig) -> ClientConfig {
    for (property, value) in &client.config.properties {
        native.set(property, value);
    }
    native
}
