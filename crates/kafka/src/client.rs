//! The part that all others share: the config, the names, one librdkafka client
//! that asks the cluster, and what it last heard of topics.
//!
//! Not here: producers and consumers, each of which is a client of its own.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Offset,
    client::Client as NativeClient,
    error::{KafkaError, RDKafkaErrorCode as Code},
    metadata::Metadata,
    producer::{Producer as _, ThreadedProducer},
};
use tapedeck_log::{LogError, Result, TopicPartition};

use crate::{
    KafkaConfig,
    asker::Asker,
    diagnose,
    error::{code_error, code_of, log_error},
    names::Names,
    native::{self, Refusal},
    security,
    watch::{Book, Watcher, locked},
};

/// A number of partitions is believed for so long: it grows when a person says
/// so, and a keyed record on the old partition for a minute is what that costs.
const BELIEVED: Duration = Duration::from_secs(60);
/// A topic that was not there is not asked for again within so long.
const ABSENT: Duration = Duration::from_secs(1);
/// So many topics that are not there are remembered; more are asked for each time.
const MOST_ABSENT: usize = 1000;
/// Which brokers live is asked once for all that start within so long.
const LIVING: Duration = Duration::from_secs(1);
/// How often the first connection is looked at while it is made.
const CONNECT_TICK: Duration = Duration::from_millis(250);
/// Refusals of our credentials after which the first connection is given up: the
/// first may come from a broker that has not read its users yet.
const REFUSALS: usize = 2;
/// So long a transaction takes to end on all brokers at most, on a cluster that is
/// well; one that is open longer is not about to end.
pub(crate) const ENDING: Duration = Duration::from_millis(500);
pub(crate) const ENDING_TICK: Duration = Duration::from_millis(2);
/// Figures are as old as this at most.
const STATISTICS_MS: &str = "5000";

/// How many partitions a topic has, none where it is not there, and when that was heard.
type Heard = (Option<u32>, Instant);

/// What the parts of a log share.
pub(crate) struct Client {
    pub(crate) config: KafkaConfig,
    pub(crate) book: Arc<Book>,
    pub(crate) asker: Asker,
    names: Names,
    handle: ThreadedProducer<Watcher>,
    known: Mutex<HashMap<Arc<str>, Heard>>,
    /// Addresses of the brokers that lived, and when that was heard.
    living: Mutex<Option<(String, Instant)>>,
}

impl Client {
    /// Connects to the cluster.
    ///
    /// # Errors
    /// Fatal where the config is wrong or the brokers refuse who we are; transient
    /// where none can be reached, with what was tried.
    pub(crate) fn connect(config: &KafkaConfig) -> Result<Arc<Self>> {
        security::check(config)?;
        let book = Arc::new(Book::default());
        let handle = native_config(config)
            .create_with_context(Watcher::new(&book, "control"))
            .map_err(|error| log_error(&error, "start librdkafka"))?;
        let names = Names::new(&config.prefix);
        let (asker, known, living) = (Asker::default(), Mutex::default(), Mutex::default());
        let client = Self { config: config.clone(), book, asker, names, handle, known, living };
        client.await_cluster()?;
        Ok(Arc::new(client))
    }

    fn await_cluster(&self) -> Result<()> {
        let begin = Instant::now();
        while self.native().fetch_cluster_id(CONNECT_TICK).is_none() {
            let seen = self.book.since(begin);
            let refusals = seen.iter().filter(|seen| diagnose::is_refusal(seen)).count();
            if refusals >= REFUSALS || begin.elapsed() >= self.timeout() {
                return Err(diagnose::unreachable(&self.config, &seen, "connect"));
            }
        }
        Ok(())
    }

    /// The config of a librdkafka client: who we are and whom we ask; no group.
    pub(crate) fn native_config(&self) -> ClientConfig {
        native_config(&self.config)
    }

    /// The brokers that live, where the cluster says so. A client that starts tries one
    /// broker after the other, one a second, so it had better not begin with dead ones.
    pub(crate) fn living(&self) -> Option<String> {
        let mut living = locked(&self.living);
        if living.as_ref().is_none_or(|(_, at)| at.elapsed() >= LIVING) {
            let heard = self.native().fetch_metadata(None, LIVING).ok()?;
            let addresses: Vec<_> = heard.brokers().iter().map(|it| address(it.host(), it.port())).collect();
            *living = (!addresses.is_empty()).then(|| (addresses.join(","), Instant::now()));
        }
        living.as_ref().map(|(addresses, _)| addresses.clone())
    }

    /// The cluster's name of ours: of a topic, a group or a transactional id.
    pub(crate) fn outer(&self, name: &str) -> String {
        self.names.outer(name)
    }

    /// Our name of the cluster's; none where it is not ours.
    pub(crate) fn inner(&self, name: &str) -> Option<Arc<str>> {
        self.names.inner(name).map(Arc::from)
    }

    /// How long one question may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.config.request_timeout_ms)
    }

    /// The client that asks.
    pub(crate) fn native(&self) -> &NativeClient<Watcher> {
        self.handle.client()
    }

    /// How many partitions a topic has.
    ///
    /// # Errors
    /// Fatal where there is no such topic, or it may not be seen.
    pub(crate) fn partitions(&self, topic: &str) -> Result<u32> {
        match self.known_partitions(topic)? {
            Some(partitions) => Ok(partitions),
            None => Err(LogError::Fatal(self.no_such_topic(topic))),
        }
    }

    /// The same; none where there is no such topic.
    pub(crate) fn known_partitions(&self, topic: &str) -> Result<Option<u32>> {
        if let Some((partitions, at)) = locked(&self.known).get(topic) {
            let max_age = if partitions.is_some() { BELIEVED } else { ABSENT };
            if at.elapsed() < max_age {
                return Ok(*partitions);
            }
        }
        match self.look_up(topic) {
            // With the brokers away, what was known of a topic is the best there is.
            Err(error) if error.is_transient() => self.keep(topic).map(Some).ok_or(error),
            looked => looked,
        }
    }

    /// Believes what is known of a topic once more.
    fn keep(&self, topic: &str) -> Option<u32> {
        let mut known = locked(&self.known);
        let (partitions, at) = known.get_mut(topic)?;
        let kept = (*partitions)?;
        *at = Instant::now();
        Some(kept)
    }

    /// The same, where a partition was asked for that was not there: the topic may
    /// have grown since it was looked at.
    pub(crate) fn partitions_now(&self, topic: &str) -> Result<Option<u32>> {
        if let Some((partitions, at)) = locked(&self.known).get(topic)
            && at.elapsed() < ABSENT
        {
            return Ok(*partitions);
        }
        self.look_up(topic)
    }

    /// Forgets what was heard of topics.
    pub(crate) fn forget_topics(&self) {
        locked(&self.known).clear();
    }

    fn look_up(&self, topic: &str) -> Result<Option<u32>> {
        // Whoever writes must not wait longer for this than for the records.
        let patience = self.timeout().min(Duration::from_millis(self.config.delivery_timeout_ms));
        let metadata = self.metadata_within(Some(topic), patience)?;
        let outer = self.outer(topic);
        let Some(found) = metadata.topics().iter().find(|found| found.name() == outer) else {
            return Err(LogError::Transient(format!("the cluster did not answer what it knows of topic `{topic}`")));
        };
        let partitions = match found.error().map(Code::from) {
            None => u32::try_from(found.partitions().len()).ok().filter(|count| *count > 0),
            Some(Code::UnknownTopicOrPartition | Code::InvalidTopic) => None,
            Some(Code::LeaderNotAvailable) if !found.partitions().is_empty() => {
                u32::try_from(found.partitions().len()).ok()
            }
            Some(code) => return Err(code_error(code, "", &format!("describe topic `{topic}`"))),
        };
        let mut known = locked(&self.known);
        if partitions.is_none() {
            known.retain(|_, (partitions, at)| partitions.is_some() || at.elapsed() < ABSENT);
            if known.len() >= MOST_ABSENT {
                return Ok(None);
            }
        }
        known.insert(topic.into(), (partitions, Instant::now()));
        Ok(partitions)
    }

    /// What the cluster knows of one topic, or of all.
    pub(crate) fn metadata(&self, topic: Option<&str>) -> Result<Metadata> {
        self.metadata_within(topic, self.timeout())
    }

    fn metadata_within(&self, topic: Option<&str>, patience: Duration) -> Result<Metadata> {
        let begin = Instant::now();
        let outer = topic.map(|topic| self.outer(topic));
        self.native()
            .fetch_metadata(outer.as_deref(), patience)
            .map_err(|error| self.explain(&error, begin, "ask which topics there are"))
    }

    /// The first offset that can be read, and the one after the last that is
    /// committed.
    ///
    /// A transaction ends on each broker at its own moment: the group's offsets may
    /// show it while its records here do not yet. Who asked for the offsets first
    /// must find the records, so one that is about to end is waited for.
    pub(crate) fn bounds(&self, partition: &TopicPartition) -> Result<(u64, u64)> {
        let written = self.written_end(partition)?;
        let begin = Instant::now();
        loop {
            let (start, end) = self.committed_bounds(partition)?;
            if end >= written || begin.elapsed() >= ENDING {
                return Ok((start, end));
            }
            std::thread::sleep(ENDING_TICK);
        }
    }

    fn committed_bounds(&self, partition: &TopicPartition) -> Result<(u64, u64)> {
        let number = self.must_exist(partition)?;
        let begin = Instant::now();
        let (low, high) = self
            .native()
            .fetch_watermarks(&self.outer(&partition.topic), number, self.timeout())
            .map_err(|error| self.explain(&error, begin, &format!("ask for the ends of {partition}")))?;
        Ok((unsigned(low), unsigned(high)))
    }

    /// The offset after the last record that was written, committed or not.
    pub(crate) fn written_end(&self, partition: &TopicPartition) -> Result<u64> {
        let number = self.must_exist(partition)?;
        let doing = format!("ask for the end of {partition}");
        let end = self.one_offset(partition, number, Offset::End, false, &doing)?;
        Ok(unsigned(end))
    }

    /// The first offset written at or after a time; the end where there is none.
    pub(crate) fn offset_at(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<u64> {
        let number = self.must_exist(partition)?;
        // A negative number would be a place, not a time.
        let at = Offset::Offset(timestamp_ms.max(0));
        match self.one_offset(partition, number, at, true, &format!("look for a time in {partition}"))? {
            offset if offset >= 0 => Ok(unsigned(offset)),
            _ => Ok(self.bounds(partition)?.1),
        }
    }

    /// The offset of a partition that a place asks for.
    fn one_offset(
        &self,
        partition: &TopicPartition,
        number: i32,
        at: Offset,
        committed: bool,
        doing: &str,
    ) -> Result<i64> {
        let begin = Instant::now();
        let wanted = [(&*self.outer(&partition.topic), number, at)];
        let found = native::list_offsets(self.native(), &wanted, committed, self.timeout())
            .map_err(|refusal| self.refused(&refusal, begin, doing))?;
        match found.into_iter().next() {
            Some((_, _, Ok(offset))) => Ok(offset),
            Some((_, _, Err(code))) => Err(code_error(code, "", doing)),
            None => Err(LogError::Transient(format!("cannot {doing}: the answer is empty"))),
        }
    }

    /// A partition's number as librdkafka takes it, where it is there.
    pub(crate) fn must_exist(&self, partition: &TopicPartition) -> Result<i32> {
        let mut there = self.known_partitions(&partition.topic)?;
        if there.is_some_and(|there| partition.partition >= there) {
            there = self.partitions_now(&partition.topic)?;
        }
        match (there, i32::try_from(partition.partition)) {
            (Some(there), Ok(number)) if partition.partition < there => Ok(number),
            (Some(there), _) => Err(LogError::Fatal(format!(
                "topic `{}` has {there} partitions, from 0, and so no {}",
                partition.topic, partition.partition
            ))),
            (None, _) => Err(LogError::Fatal(self.no_such_topic(&partition.topic))),
        }
    }

    /// What to say where a topic is not there.
    pub(crate) fn no_such_topic(&self, topic: &str) -> String {
        let outer = self.outer(topic);
        let named = if outer == topic { String::new() } else { format!(" (`{outer}` on the cluster)") };
        format!("there is no topic `{topic}`{named}: `tapedeck topics apply` makes those of the catalogue")
    }

    /// Sorts an error of the asking client, with what was heard of the brokers
    /// while it waited.
    pub(crate) fn explain(&self, error: &KafkaError, begin: Instant, doing: &str) -> LogError {
        match code_of(error) {
            Some(code) if is_away(code) => diagnose::unreachable(&self.config, &self.book.since(begin), doing),
            _ => log_error(error, doing),
        }
    }

    /// The same for a request that was refused.
    pub(crate) fn refused(&self, refusal: &Refusal, begin: Instant, doing: &str) -> LogError {
        if is_away(refusal.code) {
            return diagnose::unreachable(&self.config, &self.book.since(begin), doing);
        }
        code_error(refusal.code, &refusal.text, doing)
    }
}

/// A broker's address as librdkafka reads it: an IPv6 address stands in brackets.
fn address(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Whether a code says that no broker could be spoken to.
pub(crate) fn is_away(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::Resolve
            | Code::Authentication
            | Code::SSL
            | Code::TimedOutQueue
            | Code::MessageTimedOut
    )
}

/// An offset or a count of librdkafka, which marks what it does not know with a
/// negative number.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn native_config(config: &KafkaConfig) -> ClientConfig {
    let mut native = ClientConfig::new();
    native.set("bootstrap.servers", &config.bootstrap_servers);
    native.set("client.id", "tapedeck");
    security::apply(config, &mut native);
    // A question must not make a topic, with a number of partitions nobody chose.
    native.set("allow.auto.create.topics", "false");
    // A broker that comes back is found within a second, not ten.
    native.set("reconnect.backoff.max.ms", "1000");
    // Finds a peer that went without a word.
    native.set("socket.keepalive.enable", "true");
    native.set("socket.timeout.ms", config.request_timeout_ms.to_string());
    native.set("socket.connection.setup.timeout.ms", config.request_timeout_ms.clamp(1_000, 10_000).to_string());
    native.set("statistics.interval.ms", STATISTICS_MS);
    for (property, value) in &config.properties {
        native.set(property, value);
    }
    native
}
