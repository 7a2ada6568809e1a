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
    /// What reads, and among how many partitions it shares what is fetched ahead.
    consumer: Option<(Arc<Handle>, u64)>,
}

impl KafkaReader {
    /// A consumer for so many partitions; anew where the one there shares what may
    /// be fetched ahead among too few or far too many.
    fn consumer(&mut self, partitions: u64) -> Result<Arc<Handle>> {
        match &self.consumer {
            Some((consumer, share)) if (partitions..=partitions * 4).contains(share) => Ok(Arc::clone(consumer)),
            _ => {
                let share = partitions.next_power_of_two();
                let wanted = Wanted { partitions: share, seat: None };
                let consumer = Arc::new(consumer::start(&self.client, &wanted, &self.bell)?);
                self.consumer = Some((Arc::clone(&consumer), share));
                Ok(consumer)
            }
        }
    }

    /// Hears what librdkafka tells between calls.
    fn listen(&self) -> Result<()> {
        let Some((consumer, _)) = &self.consumer else { return Ok(()) };
        consumer::hear(consumer, &self.client, "read")
    }

    fn start_stopped(&mut self) -> Result<()> {
        for cursor in self.fetcher.cursors().iter_mut().filter(|cursor| cursor.state == State::Stopped) {
            let start = cursor.queue.start(cursor.position);
            start.map_err(|code| code_error(code, "", &format!("read {}", cursor.place)))?;
            cursor.started();
        }
        Ok(())
    }
}

impl Reader for KafkaReader {
    fn assign(&mut self, from: &[(TopicPartition, u64)]) -> Result<()> {
        for (place, _) in from {
            self.client.must_exist(place)?;
        }
        self.fetcher.clear();
        let consumer = self.consumer(from.len().max(1) as u64)?;
        for (place, position) in from {
            self.fetcher.add(&consumer, &self.bell, place, *position)?;
        }
        self.start_stopped()
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
