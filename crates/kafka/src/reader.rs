//! Reads partitions of its own choice, without a group.
//!
//! Who has far to go wants brokers that answer at once, and who is at the end wants
//! them to hold a question until something comes. librdkafka is told once which it
//! is, when it starts: so a reader begins with the first kind, and changes over.
//!
//! Not here: what lies in a partition, which `positions` takes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tapedeck_log::{LogRecord, PollLimits, Reader, Result, TopicPartition};

use crate::{
    client::Client,
    consumer::{self, Bell, Handle, Wanted},
    error::code_error,
    positions::{Fetched, Fetcher, State},
};

/// The longest single wait: what came between two looks at a queue that was not
/// empty rings no bell.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// Who has far to go and gets nothing for so long waits for a broker that holds a
/// question about other partitions; an answer with records takes a few ms.
pub(crate) const STARVED: Duration = Duration::from_millis(5);
/// Who was at the end for so long is done with catching up. Changing over costs a
/// connection to each broker, and so it is not done more often than this.
pub(crate) const CAUGHT_UP: Duration = Duration::from_secs(1);

/// A reader that nothing was assigned to yet.
///
/// # Errors
/// None today; librdkafka is started with the first partitions.
pub(crate) fn open_reader(client: &Arc<Client>) -> Result<Box<dyn Reader>> {
    Ok(Box::new(KafkaReader::new(client, Arc::default())))
}

/// Places of its own choice.
pub(crate) struct KafkaReader {
    client: Arc<Client>,
    /// Its queues end before the consumer does.
    fetcher: Fetcher,
    bell: Arc<Bell>,
    /// What reads what was assigned last. Each assignment gets a new one, within a
    /// few ms: the one before may have a question open that a broker answers late.
    consumer: Option<Arc<Handle>>,
    /// Whether brokers are told to answer at once.
    is_behind: bool,
    /// When it last had far to go, or changed over.
    behind_at: Instant,
}

impl KafkaReader {
    /// Nothing is assigned yet; the bell rings for what comes.
    pub(crate) fn new(client: &Arc<Client>, bell: Arc<Bell>) -> Self {
        let (client, fetcher) = (Arc::clone(client), Fetcher::new(client));
        Self { client, fetcher, bell, consumer: None, is_behind: true, behind_at: Instant::now() }
    }

    /// What was fetched, without waiting.
    pub(crate) fn fetch(&mut self, limits: PollLimits) -> Result<Fetched> {
        if self.is_behind && self.fetcher.is_behind() {
            self.behind_at = Instant::now();
        }
        self.fetcher.fetch(limits)
    }

    /// Whether the end was reached a while ago.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.is_behind && self.behind_at.elapsed() >= CAUGHT_UP
    }

    pub(crate) fn fetcher(&mut self) -> &mut Fetcher {
        &mut self.fetcher
    }

    /// Hears what librdkafka tells between calls.
    pub(crate) fn listen(&self) -> Result<()> {
        let Some(consumer) = &self.consumer else { return Ok(()) };
        consumer::hear(consumer, &self.client, "read")
    }

    /// Begins anew where a place is not read any more.
    fn start_stopped(&mut self) -> Result<()> {
        if self.fetcher.cursors().iter().all(|cursor| cursor.state != State::Stopped) {
            return Ok(());
        }
        self.begin_anew(self.is_behind)
    }

    /// Changes over where it has caught up.
    fn settle(&mut self) -> Result<()> {
        if self.has_caught_up() && self.fetcher.is_reading() { self.change_over(false) } else { Ok(()) }
    }

    /// Waits for something to come; who starves changes over.
    fn wait(&mut self, heard: u64, left: Duration) -> Result<()> {
        let longest = left.min(LONGEST_WAIT);
        let may_starve = !self.is_behind && longest >= STARVED && self.behind_at.elapsed() >= CAUGHT_UP;
        if may_starve && self.fetcher.is_behind() && self.fetcher.is_reading() {
            return if self.bell.wait(heard, STARVED) { Ok(()) } else { self.change_over(true) };
        }
        self.bell.wait(heard, longest);
        Ok(())
    }

    /// Goes on as it is where it cannot.
    fn change_over(&mut self, is_behind: bool) -> Result<()> {
        match self.begin_anew(is_behind) {
            Err(error) if self.is_behind != is_behind => {
                tracing::debug!(target: "kafka", "a reader goes on as it was: {error}");
                self.behind_at = Instant::now();
                Ok(())
            }
            result => result,
        }
    }

    fn begin_anew(&mut self, is_behind: bool) -> Result<()> {
        let from: Vec<_> =
            self.fetcher.cursors().iter().map(|cursor| (cursor.place.clone(), cursor.position)).collect();
        self.begin(&from, is_behind)
    }

    fn begin(&mut self, from: &[(TopicPartition, u64)], is_behind: bool) -> Result<()> {
        for (place, _) in from {
            self.client.must_exist(place)?;
        }
        let wanted = Wanted { partitions: from.len() as u64, seat: None, is_behind };
        let consumer = Arc::new(consumer::start(&self.client, &wanted, &self.bell)?);
        self.fetcher.clear();
        self.consumer = Some(Arc::clone(&consumer));
        (self.is_behind, self.behind_at) = (is_behind, Instant::now());
        for (place, position) in from {
            self.fetcher.add(&consumer, &self.bell, place, *position)?;
        }
        for cursor in self.fetcher.cursors() {
            let start = cursor.queue.start(cursor.position);
            start.map_err(|code| code_error(code, "", &format!("read {}", cursor.place)))?;
            cursor.started();
        }
        Ok(())
    }
}

impl Reader for KafkaReader {
    fn assign(&mut self, from: &[(TopicPartition, u64)]) -> Result<()> {
        self.begin(from, true)
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Vec<LogRecord>> {
        let begin = Instant::now();
        loop {
            let heard = self.bell.rings();
            self.start_stopped()?;
            self.settle()?;
            let fetched = self.fetch(limits)?;
            let left = limits.timeout.saturating_sub(begin.elapsed());
            if !fetched.records.is_empty() || fetched.moved || left.is_zero() {
                return Ok(fetched.records);
            }
            self.listen()?;
            self.wait(heard, left)?;
        }
    }

    fn position(&self, partition: &TopicPartition) -> Option<u64> {
        self.fetcher.find(partition).map(|cursor| cursor.position)
    }
}
