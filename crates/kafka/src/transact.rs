//! Records and a group's offsets in one Kafka transaction, by a producer whose
//! transactional id fences whoever had it before.
//!
//! Before the commit anything that fails aborts, and nothing is seen. A commit
//! without an answer is asked for again, never aborted: it may have happened. Where
//! no answer comes at all the seat is given up: who joins again finds in the
//! committed offsets which way it went, and its first transaction settles this one.
//!
//! Until clients speak the second version of the transaction protocol (KIP-890), a
//! broker cannot tell to which transaction of a producer the request belongs that ends
//! one: where an answer was lost and the request sent again, the first copy may arrive
//! late and end half of the transaction that came next. So a producer serves no further
//! transaction once one failed or one of its connections broke: the next begins with a
//! new producer, whose epoch turns late requests away.
//!
//! Not here: who the member is, and what a lost seat means for what it read.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::ConsumerGroupMetadata,
    error::{KafkaError, RDKafkaErrorCode as Code},
    producer::Producer as _,
};
use tapedeck_log::{GroupOffset, LogError, Placement, Record, Result, TopicPartition};

use crate::{
    client::{Client, ENDING, ENDING_TICK},
    error::{code_of, group_error, is_fenced, log_error, refused},
    groups,
    placing::{Places, Placing},
    producer::{overridden, writing},
    writer::{Failure, Writer},
};

/// Between tries of what brokers answer with "not yet": the markers of the
/// transaction before are being written, which takes a few ms. librdkafka's own
/// 100 ms would be most of a transaction's time.
const RETRY_BACKOFF_MS: &str = "5";

/// After so long without a word a connection is closed. This is what bounds sending
/// offsets into a transaction: librdkafka up to 2.14 takes no notice of that call's
/// time, and where the group's coordinator is gone for good it goes on only when some
/// connection changes (confluentinc/librdkafka#5456 and #5511). While that call waits
/// nothing else is said, so that each connection does.
const IDLE_MS: &str = "4000";

/// Writes transactions under one transactional id.
pub(crate) struct Transactor {
    client: Arc<Client>,
    id: String,
    placing: Placing,
    writer: Option<Writer>,
    /// The last step is known to have ended.
    is_settled: bool,
    /// Partitions that the group has committed before, here.
    committed: HashSet<TopicPartition>,
}

impl Transactor {
    /// Takes the transactional id over (the config's prefix is put before it):
    /// what another producer left open under it is aborted, and that one is fenced.
    pub(crate) fn open(client: Arc<Client>, transactional_id: &str) -> Result<Self> {
        let id = client.outer(transactional_id);
        let (placing, committed) = (Placing::default(), HashSet::new());
        let mut transactor = Self { client, id, placing, writer: None, is_settled: true, committed };
        transactor.writer = Some(transactor.start()?);
        Ok(transactor)
    }

    /// Records and the group's offsets in one step. `seat` is the member's as of now.
    pub(crate) fn run(
        &mut self,
        group: &str,
        records: Vec<Record>,
        offsets: &[GroupOffset],
        seat: &ConsumerGroupMetadata,
    ) -> Result<Vec<Placement>> {
        let begin = Instant::now();
        let places = self.placing.places(&self.client, &records)?;
        let list = self.list(offsets)?;
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.start()?,
        };
        self.is_settled = false;
        let step = Step { client: &self.client, writer: &writer, group, begin };
        step.begin(&self.id)?;
        let placements = match step.write(&records, &places, &list, seat) {
            Ok(placements) => placements,
            Err(error) => {
                self.is_settled = step.abort();
                return Err(error);
            }
        };
        step.commit()?;
        self.is_settled = true;
        if !writer.has_broken() {
            self.writer = Some(writer);
        }
        self.show(group, offsets);
        Ok(placements)
    }

    /// Waits until the first offsets of partitions are to be seen. A broker that is
    /// asked for all offsets of a group tells of those that are about to change, but
    /// says nothing of partitions whose first is about to come.
    fn show(&mut self, group: &str, offsets: &[GroupOffset]) {
        let new: Vec<_> = offsets.iter().filter(|offset| !self.committed.contains(&offset.partition)).collect();
        let begin = Instant::now();
        while !new.is_empty() && begin.elapsed() < ENDING {
            // The transaction is committed whatever this says.
            let Ok(there) = groups::committed(&self.client, group) else { return };
            if new.iter().all(|new| there.iter().any(|there| there.partition == new.partition)) {
                break;
            }
            std::thread::sleep(ENDING_TICK);
        }
        self.committed.extend(new.into_iter().map(|offset| offset.partition.clone()));
    }

    /// Whether the last step is known to have ended: a failed one wrote nothing then.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_settled
    }

    fn start(&self) -> Result<Writer> {
        let begin = Instant::now();
        let doing = format!("begin as transactional id `{}`", self.id);
        let writer = Writer::start(&config(&self.client, &self.id), &self.client.book, "transactions")
            .map_err(|error| log_error(&error, "start a transactional producer"))?;
        writer.native().init_transactions(self.client.timeout()).map_err(|error| match code_of(&error) {
            Some(code @ (Code::TransactionalIdAuthorizationFailed | Code::ClusterAuthorizationFailed)) => {
                refused(code, "", &doing, &format!("Write and Describe on transactional id `{}`", self.id))
            }
            _ => self.client.explain(&error, begin, &doing),
        })?;
        Ok(writer)
    }

    fn list(&self, offsets: &[GroupOffset]) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for offset in offsets {
            let number = self.client.must_exist(&offset.partition)?;
            let next = i64::try_from(offset.next)
                .map_err(|_| LogError::Fatal(format!("{} is not an offset of {}", offset.next, offset.partition)))?;
            list.add_partition_offset(&self.client.outer(&offset.partition.topic), number, Offset::Offset(next))
                .map_err(|error| log_error(&error, "commit offsets"))?;
        }
        Ok(list)
    }
}

/// One transaction under way.
struct Step<'a> {
    client: &'a Client,
    writer: &'a Writer,
    group: &'a str,
    begin: Instant,
}

impl Step<'_> {
    fn begin(&self, id: &str) -> Result<()> {
        let begun = self.writer.native().begin_transaction();
        begun.map_err(|error| self.sorted(&error, &format!("begin a transaction of `{id}`")))
    }

    fn write(
        &self,
        records: &[Record],
        places: &Places,
        offsets: &TopicPartitionList,
        seat: &ConsumerGroupMetadata,
    ) -> Result<Vec<Placement>> {
        let deadline = self.begin + Duration::from_millis(self.client.config.delivery_timeout_ms);
        let call = self.writer.begin(records.len());
        // The offsets travel while the records do.
        let sent = self.writer.send(call, records, places, deadline);
        let committed = if sent.is_ok() && offsets.count() > 0 {
            self.writer.native().send_offsets_to_transaction(offsets, seat, self.left())
        } else {
            Ok(())
        };
        let written = sent.and_then(|()| {
            // Where the offsets were refused, only what failed already is of interest.
            let until = if committed.is_ok() { deadline } else { Instant::now() };
            self.writer.wait(call, until)
        });
        self.writer.end(call);
        if let Err(error) = committed {
            return Err(self.sorted(&error, "send the group's offsets into a transaction"));
        }
        written.map_err(|failure| self.failed(failure, records))
    }

    fn failed(&self, failure: Failure, records: &[Record]) -> LogError {
        let fatal = self.writer.fatal_error();
        if fatal.as_ref().is_some_and(|(code, _)| is_fenced(*code)) {
            return LogError::Fenced { group: self.group.to_owned() };
        }
        self.client.failed(failure, fatal, records, self.begin)
    }

    /// Aborts; whether that is known to have happened.
    fn abort(&self) -> bool {
        let aborted = self.writer.native().abort_transaction(self.client.timeout());
        if let Err(error) = &aborted {
            tracing::debug!(target: "kafka", "a transaction was left for the broker to abort: {error}");
        }
        aborted.is_ok()
    }

    fn commit(&self) -> Result<()> {
        let config = &self.client.config;
        // A broker has aborted by then what it was not told to commit.
        let patience = Duration::from_millis(config.transaction_timeout_ms + config.request_timeout_ms);
        let give_up = Instant::now() + patience;
        loop {
            let error = match self.writer.native().commit_transaction(self.client.timeout()) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let (is_retriable, requires_abort) = match &error {
                KafkaError::Transaction(error) => (error.is_retriable(), error.txn_requires_abort()),
                KafkaError::Flush(_) => (true, false),
                _ => (false, false),
            };
            if requires_abort {
                self.abort();
                return Err(self.sorted(&error, "commit a transaction"));
            }
            if !is_retriable || Instant::now() >= give_up {
                tracing::warn!(target: "kafka", "how a transaction of group `{}` ended is not known: {error}", self.group);
                return Err(LogError::Fenced { group: self.group.to_owned() });
            }
        }
    }

    fn left(&self) -> Duration {
        self.client.timeout().saturating_sub(self.begin.elapsed()).max(Duration::from_millis(1))
    }

    fn sorted(&self, error: &KafkaError, doing: &str) -> LogError {
        let doing = format!("{doing} (group `{}`)", self.group);
        match group_error(error, self.group, &doing) {
            LogError::Fenced { group } => LogError::Fenced { group },
            // A producer that librdkafka gave up is made anew; nothing was committed.
            LogError::Fatal(text) if is_state(error) => LogError::Transient(text),
            LogError::Transient(_) => self.client.explain(error, self.begin, &doing),
            other => other,
        }
    }
}

/// Whether an error is of the producer's own state, which a fresh one has not.
fn is_state(error: &KafkaError) -> bool {
    matches!(
        code_of(error),
        Some(Code::State | Code::InvalidTransactionalState | Code::InvalidProducerIdMapping | Code::Fatal)
    )
}

fn config(client: &Client, id: &str) -> ClientConfig {
    let config = &client.config;
    let mut native = writing(client);
    if let Some(living) = client.living() {
        native.set("bootstrap.servers", living);
    }
    native.set("transactional.id", id);
    native.set("transaction.timeout.ms", config.transaction_timeout_ms.to_string());
    // librdkafka wants a request to end before its transaction does.
    let request_ms = config.request_timeout_ms.min(config.transaction_timeout_ms.saturating_sub(100)).max(1);
    native.set("socket.timeout.ms", request_ms.to_string());
    native.set("message.timeout.ms", config.transaction_timeout_ms.to_string());
    native.set("retry.backoff.ms", RETRY_BACKOFF_MS);
    native.set("connections.max.idle.ms", IDLE_MS);
    // A batch is complete when it comes: nothing is gained by waiting for company.
    native.set("linger.ms", "0");
    // Connections that end are told of as news, not as errors.
    native.set_log_level(RDKafkaLogLevel::Info);
    overridden(client, native)
}
