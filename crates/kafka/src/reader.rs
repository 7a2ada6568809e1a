//! Reads partitions of its own choice, without a group.
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
    positions::{Fetcher, State},
};

/// The longest single wait: what came between two looks at a queue that was not
/// empty rings no bell.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// A reader that nothing was assigned to yet.
///
/// # Errors
/// None today; librdkafka is started with the first partitions.
pub(crate) fn open_reader(client: &Arc<Client>) -> Result<Box<dyn Reader>> {
    let fetcher = Fetcher::new(client);
    Ok(Box::new(KafkaReader { client: Arc::clone(client), fetcher, bell: Arc::default(), consumer: None }))
}

/// Places of its own choice.
struct KafkaReader {
    client: Arc<Client>,
    /// Its queues end before the consumer does.
    fetcher: Fetcher,
    bell: Arc<Bell>,
    /// What reads what was assigned last. Each assignment gets a new one, within a
    /// few ms: the one before may have a question open that a broker answers late.
    consumer: Option<Arc<Handle>>,
}

impl KafkaReader {
    /// Hears what librdkafka tells between calls.
    fn listen(&self) -> Result<()> {
        let Some(consumer) = &self.consumer else { return Ok(()) };
        consumer::hear(consumer, &self.client, "read")
    }

    /// Begins anew where a place is not read any more.
    fn start_stopped(&mut self) -> Result<()> {
        if self.fetcher.cursors().iter().all(|cursor| cursor.state != State::Stopped) {
            return Ok(());
        }
        let from: Vec<_> =
            self.fetcher.cursors().iter().map(|cursor| (cursor.place.clone(), cursor.position)).collect();
        self.assign(&from)
    }
}

impl Reader for KafkaReader {
    fn assign(&mut self, from: &[(TopicPartition, u64)]) -> Result<()> {
        for (place, _) in from {
            self.client.must_exist(place)?;
        }
        self.fetcher.clear();
        let wanted = Wanted { partitions: from.len() as u64, seat: None };
        let consumer = Arc::new(consumer::start(&self.client, &wanted, &self.bell)?);
        self.consumer = Some(Arc::clone(&consumer));
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

    fn poll(&mut self, limits: PollLimits) -> Result<Vec<LogRecord>> {
        let begin = Instant::now();
        loop {
            let heard = self.bell.rings();
            self.start_stopped()?;
            let fetched = self.fetcher.fetch(limits)?;
            let left = limits.timeout.saturating_sub(begin.elapsed());
            if !fetched.records.is_empty() || fetched.moved || left.is_zero() {
                return Ok(fetched.records);
            }
            self.listen()?;
            self.bell.wait(heard, left.min(LONGEST_WAIT));
        }
    }

    fn position(&self, partition: &TopicPartition) -> Option<u64> {
        self.fetcher.find(partition).map(|cursor| cursor.position)
    }
}
