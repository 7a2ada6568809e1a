//! A log and a store that fail when a file says so: stopped, slow, or full. They
//! stand around the real ones in a process that is rehearsed with, and nowhere
//! else.
//!
//! Not here: who writes the file, and when.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tapedeck_contracts::{Timestamp, events::RiskMetrics};
use tapedeck_flow::{Boundaries, Boundary};
use tapedeck_log::{
    GroupInfo, GroupOffset, Log, LogAround, LogError, LogRecord, Member, Placement, PollLimits, Polled, Reader, Record,
    Replication, TopicConfig, TopicInfo, TopicPartition,
};
use tapedeck_store::{
    AccountRow, AlertsQuery, Applied, Batch, ChainHead, Explained, ExplainedBatch, ExplainedQuery, Explanations,
    FillRow, FillsQuery, Importance, OrderRow, OrdersQuery, PageKey, PnlPoint, PnlQuery, Resume, Retention, Store,
    StoreError, SymbolStats,
};

/// How long what the file said is believed: a fault lasts for hundreds of
/// milliseconds, and a file is not to be read for each of thousands of calls.
const BELIEVED: Duration = Duration::from_millis(5);

/// How a part fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not.
    #[default]
    Well,
    /// It cannot be reached: every call fails at once.
    Stopped,
    /// Every call takes so much longer.
    Slow(Duration),
    /// What writes fails, as on a full disk; what reads works.
    Full,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Well => f.write_str("ok"),
            Self::Stopped => f.write_str("stop"),
            Self::Slow(by) => write!(f, "slow:{}", by.as_millis()),
            Self::Full => f.write_str("full"),
        }
    }
}

impl std::str::FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let slow = |ms: &str| ms.parse().map(Duration::from_millis).map(Self::Slow).ok();
        match text {
            "ok" => Some(Self::Well),
            "stop" => Some(Self::Stopped),
            "full" => Some(Self::Full),
            other => other.strip_prefix("slow:").and_then(slow),
        }
        .ok_or_else(|| format!("expected ok, stop, full or slow:MS, found `{text}`"))
    }
}

/// How log and store fail, as a file says: `log=stop store=slow:200`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) log: Fault,
    pub(crate) store: Fault,
}

impl std::fmt::Display for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "log={} store={}", self.log, self.store)
    }
}

impl std::str::FromStr for Control {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut control = Self::default();
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some(("log", fault)) => control.log = fault.parse()?,
                Some(("store", fault)) => control.store = fault.parse()?,
                _ => return Err(format!("expected log=... or store=..., found `{word}`")),
            }
        }
        Ok(control)
    }
}

/// The file, and what it said when it was last read.
pub(crate) struct Faults {
    path: PathBuf,
    last: Mutex<(Option<Instant>, Control)>,
}

impl Faults {
    /// Faults as this file says; none while it is not there.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, last: Mutex::new((None, Control::default())) }
    }

    fn now(&self) -> Control {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0.is_none_or(|read| read.elapsed() >= BELIEVED) {
            // It is replaced by renaming, so it is never half there.
            if let Some(control) = std::fs::read_to_string(&self.path).ok().and_then(|text| text.parse().ok()) {
                last.1 = control;
            }
            last.0 = Some(Instant::now());
        }
        last.1
    }

    fn log(&self, writes: bool) -> tapedeck_log::Result<()> {
        stumble(self.now().log, writes)
            .map_err(|why| LogError::Transient(format!("the log {why}, as the rehearsal asks for")))
    }

    fn store(&self, writes: bool) -> tapedeck_store::Result<()> {
        stumble(self.now().store, writes)
            .map_err(|why| StoreError::Transient(format!("the store {why}, as the rehearsal asks for")))
    }
}

fn stumble(fault: Fault, writes: bool) -> Result<(), &'static str> {
    match fault {
        Fault::Stopped => Err("cannot be reached"),
        Fault::Full if writes => Err("is full"),
        Fault::Slow(by) => {
            std::thread::sleep(by);
            Ok(())
        }
        Fault::Full | Fault::Well => Ok(()),
    }
}

/// A log that fails when it is told to.
pub(crate) struct FaultyLog {
    inner: Arc<dyn Log>,
    faults: Arc<Faults>,
    boundaries: Boundaries,
}

impl FaultyLog {
    /// Puts faults around a log; each write that is durable passes a boundary
    /// before its writer knows.
    pub(crate) fn new(inner: Arc<dyn Log>, faults: Arc<Faults>, boundaries: Boundaries) -> Self {
        Self { inner, faults, boundaries }
    }
}

impl LogAround for FaultyLog {
    fn under(&self) -> &dyn Log {
        &*self.inner
    }

    fn create_topics(&self, topics: &[TopicConfig]) -> tapedeck_log::Result<()> {
        self.faults.log(true)?;
        self.inner.create_topics(topics)
    }

    fn topics(&self) -> tapedeck_log::Result<Vec<TopicInfo>> {
        self.faults.log(false)?;
        self.inner.topics()
    }

    fn append(&self, records: Vec<Record>) -> tapedeck_log::Result<Vec<Placement>> {
        self.faults.log(true)?;
        let placements = self.inner.append(records)?;
        self.boundaries.pass(Boundary::Append);
        Ok(placements)
    }

    fn append_kept(&self, records: &[Record]) -> tapedeck_log::Result<Vec<Placement>> {
        self.faults.log(true)?;
        let placements = self.inner.append_kept(records)?;
        self.boundaries.pass(Boundary::Append);
        Ok(placements)
    }

    fn bounds(&self, partition: &TopicPartition) -> tapedeck_log::Result<(u64, u64)> {
        self.faults.log(false)?;
        self.inner.bounds(partition)
    }

    fn written_end(&self, partition: &TopicPartition) -> tapedeck_log::Result<u64> {
        self.faults.log(false)?;
        self.inner.written_end(partition)
    }

    fn add_partitions(&self, topic: &str, partitions: u32) -> tapedeck_log::Result<()> {
        self.faults.log(true)?;
        self.inner.add_partitions(topic, partitions)
    }

    fn delete_topics(&self, topics: &[Arc<str>]) -> tapedeck_log::Result<()> {
        self.faults.log(true)?;
        self.inner.delete_topics(topics)
    }

    fn wanted_replication(&self) -> tapedeck_log::Result<Option<Replication>> {
        self.faults.log(false)?;
        self.inner.wanted_replication()
    }

    fn offset_at(&self, partition: &TopicPartition, timestamp_ms: i64) -> tapedeck_log::Result<u64> {
        self.faults.log(false)?;
        self.inner.offset_at(partition, timestamp_ms)
    }

    fn reader(&self) -> tapedeck_log::Result<Box<dyn Reader>> {
        self.faults.log(false)?;
        Ok(Box::new(FaultyReader { inner: self.inner.reader()?, faults: Arc::clone(&self.faults) }))
    }

    fn join(&self, group: &str, member: &str, topics: &[Arc<str>]) -> tapedeck_log::Result<Box<dyn Member>> {
        self.faults.log(false)?;
        let inner = self.inner.join(group, member, topics)?;
        Ok(Box::new(FaultyMember { inner, faults: Arc::clone(&self.faults), boundaries: self.boundaries.clone() }))
    }

    fn committed(&self, group: &str) -> tapedeck_log::Result<Vec<GroupOffset>> {
        self.faults.log(false)?;
        self.inner.committed(group)
    }

    fn groups(&self) -> tapedeck_log::Result<Vec<GroupInfo>> {
        self.faults.log(false)?;
        self.inner.groups()
    }

    fn reset_offsets(&self, group: &str, offsets: &[GroupOffset]) -> tapedeck_log::Result<()> {
        self.faults.log(true)?;
        self.inner.reset_offsets(group, offsets)
    }
}

struct FaultyReader {
    inner: Box<dyn Reader>,
    faults: Arc<Faults>,
}

impl Reader for FaultyReader {
    fn assign(&mut self, from: &[(TopicPartition, u64)]) -> tapedeck_log::Result<()> {
        self.inner.assign(from)
    }

    fn poll(&mut self, limits: PollLimits) -> tapedeck_log::Result<Vec<LogRecord>> {
        self.faults.log(false)?;
        self.inner.poll(limits)
    }

    fn position(&self, partition: &TopicPartition) -> Option<u64> {
        self.inner.position(partition)
    }
}

struct FaultyMember {
    inner: Box<dyn Member>,
    faults: Arc<Faults>,
    boundaries: Boundaries,
}

impl Member for FaultyMember {
    fn poll(&mut self, limits: PollLimits) -> tapedeck_log::Result<Polled> {
        self.faults.log(false)?;
        self.inner.poll(limits)
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.inner.assignment()
    }

    fn position(&self, partition: &TopicPartition) -> Option<u64> {
        self.inner.position(partition)
    }

    fn seek(&mut self, partition: &TopicPartition, offset: u64) -> tapedeck_log::Result<()> {
        self.inner.seek(partition, offset)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.inner.pause(partitions);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.inner.resume(partitions);
    }

    fn commit(&mut self, offsets: &[GroupOffset]) -> tapedeck_log::Result<()> {
        self.faults.log(true)?;
        self.inner.commit(offsets)
    }

    fn transact(&mut self, records: Vec<Record>, offsets: &[GroupOffset]) -> tapedeck_log::Result<Vec<Placement>> {
        self.faults.log(true)?;
        let placements = self.inner.transact(records, offsets)?;
        self.boundaries.pass(Boundary::Append);
        Ok(placements)
    }
}

/// A store that fails when it is told to.
pub(crate) struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Arc<Faults>,
}

impl FaultyStore {
    /// Puts faults around a store.
    pub(crate) fn new(inner: Arc<dyn Store>, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }

    fn reading(&self) -> tapedeck_store::Result<&dyn Store> {
        self.faults.store(false)?;
        Ok(&*self.inner)
    }
}

impl Explanations for FaultyStore {
    fn apply_explained(&self, batch: &ExplainedBatch) -> tapedeck_store::Result<Vec<usize>> {
        self.faults.store(true)?;
        self.inner.apply_explained(batch)
    }

    fn chain_heads(&self) -> tapedeck_store::Result<Vec<ChainHead>> {
        self.reading()?.chain_heads()
    }

    fn last_of_symbols(&self, chain: u32) -> tapedeck_store::Result<Vec<Explained>> {
        self.reading()?.last_of_symbols(chain)
    }

    fn explained(&self, decision_id: &str) -> tapedeck_store::Result<Option<Explained>> {
        self.reading()?.explained(decision_id)
    }

    fn explanations(&self, query: &ExplainedQuery) -> tapedeck_store::Result<Vec<(PageKey, Explained)>> {
        self.reading()?.explanations(query)
    }

    fn chain(&self, chain: u32, from: u64, limit: usize) -> tapedeck_store::Result<Vec<Explained>> {
        self.reading()?.chain(chain, from, limit)
    }

    fn feature_set(&self, id: [u8; 16]) -> tapedeck_store::Result<Option<Bytes>> {
        self.reading()?.feature_set(id)
    }

    fn importance(
        &self,
        from: Timestamp,
        to: Timestamp,
        symbol: Option<&str>,
    ) -> tapedeck_store::Result<Vec<Importance>> {
        self.reading()?.importance(from, to, symbol)
    }

    fn fills_of(&self, decision_id: &str, limit: usize) -> tapedeck_store::Result<Vec<FillRow>> {
        self.reading()?.fills_of(decision_id, limit)
    }

    fn orders_of(&self, decision_id: &str, limit: usize) -> tapedeck_store::Result<Vec<OrderRow>> {
        self.reading()?.orders_of(decision_id, limit)
    }
}

impl Store for FaultyStore {
    fn apply(&self, batch: &Batch) -> tapedeck_store::Result<Applied> {
        self.faults.store(true)?;
        self.inner.apply(batch)
    }

    fn resume(&self, group: &str, partitions: &[(Arc<str>, u32)]) -> tapedeck_store::Result<Vec<Resume>> {
        self.reading()?.resume(group, partitions)
    }

    fn fills(&self, query: &FillsQuery) -> tapedeck_store::Result<Vec<FillRow>> {
        self.reading()?.fills(query)
    }

    fn executions(&self, account: &str, after: u64, limit: usize) -> tapedeck_store::Result<Vec<FillRow>> {
        self.reading()?.executions(account, after, limit)
    }

    fn orders(&self, query: &OrdersQuery) -> tapedeck_store::Result<Vec<OrderRow>> {
        self.reading()?.orders(query)
    }

    fn pnl(&self, query: &PnlQuery) -> tapedeck_store::Result<Vec<PnlPoint>> {
        self.reading()?.pnl(query)
    }

    fn latest_risk(&self, account: Option<&str>) -> tapedeck_store::Result<Vec<RiskMetrics>> {
        self.reading()?.latest_risk(account)
    }

    fn accounts(&self) -> tapedeck_store::Result<Vec<AccountRow>> {
        self.reading()?.accounts()
    }

    fn symbol_stats(&self, account: Option<&str>) -> tapedeck_store::Result<Vec<SymbolStats>> {
        self.reading()?.symbol_stats(account)
    }

    fn alerts(&self, query: &AlertsQuery) -> tapedeck_store::Result<Vec<(PageKey, tapedeck_contracts::events::Alert)>> {
        self.reading()?.alerts(query)
    }

    fn enforce_retention(&self, rules: &[Retention], now_ms: i64) -> tapedeck_store::Result<u64> {
        self.faults.store(true)?;
        self.inner.enforce_retention(rules, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_says_is_read_back_as_it_was_written() {
        let slow = Fault::Slow(Duration::from_millis(250));
        for control in [
            Control::default(),
            Control { log: Fault::Stopped, store: slow },
            Control { log: Fault::Full, store: Fault::Stopped },
        ] {
            assert_eq!(control.to_string().parse(), Ok(control));
        }
        assert!("log=away".parse::<Control>().unwrap_err().contains("slow:MS"));
        assert!("tape=stop".parse::<Control>().unwrap_err().contains("tape=stop"));
    }

    #[test]
    fn a_full_log_refuses_what_writes_and_gives_what_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "log=full store=ok").unwrap();
        let faults = Faults::new(file.path().to_owned());
        assert!(faults.log(true).unwrap_err().is_transient());
        assert!(faults.log(false).is_ok());
        assert!(faults.store(true).is_ok());
    }
}
