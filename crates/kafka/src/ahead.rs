//! A reader beside a member that has far to go, which reads for it until it is at
//! the end (`reader` says why); what the member itself would fetch is paused
//! meanwhile, so that both together hold no more than one.
//!
//! Not here: the group. Before it changes the reader is gone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{TopicPartitionList, consumer::Consumer as _, error::KafkaResult};
use tapedeck_log::{PollLimits, Reader as _, TopicPartition};

use crate::{
    client::Client,
    consumer::{Bell, Handle},
    positions::{Fetched, Fetcher},
    reader::{CAUGHT_UP, KafkaReader, STARVED},
};

/// Who reads for a member. What the member itself reads is its own [`Fetcher`], whose
/// positions follow the reader's.
pub(crate) struct Ahead {
    client: Arc<Client>,
    consumer: Arc<Handle>,
    bell: Arc<Bell>,
    reader: Option<KafkaReader>,
    /// Whether librdkafka was told to pause what the member itself would fetch.
    is_held: bool,
    /// When reading last went from one to the other.
    changed: Option<Instant>,
}

impl Ahead {
    /// The member reads itself; the bell rings for what comes.
    pub(crate) fn new(client: &Arc<Client>, consumer: &Arc<Handle>, bell: &Arc<Bell>) -> Self {
        let (client, consumer, bell) = (Arc::clone(client), Arc::clone(consumer), Arc::clone(bell));
        Self { client, consumer, bell, reader: None, is_held: false, changed: None }
    }

    /// What the reader fetched; none where the member reads itself.
    pub(crate) fn fetch(&mut self, own: &mut Fetcher, limits: PollLimits) -> Option<Fetched> {
        let reader = self.reader.as_mut()?;
        let fetched = reader.listen().and_then(|()| reader.fetch(limits));
        // What cannot be read on as it is, the member begins anew.
        let is_done = fetched.is_err() || reader.has_caught_up() || !reader.fetcher().is_reading();
        for cursor in reader.fetcher().cursors() {
            if let Some(own) = own.find_mut(&cursor.place) {
                own.position = cursor.position;
            }
        }
        if is_done {
            self.end(own);
        }
        // The member meets the same, and says it.
        fetched.inspect_err(|error| tracing::debug!(target: "kafka", "reading ahead ended: {error}")).ok()
    }

    /// Waits for something to come, for so long at most; no longer than it takes to
    /// starve where the member has far to go.
    pub(crate) fn wait(&self, own: &Fetcher, heard: u64, longest: Duration) {
        let may_starve = self.may_begin() && own.is_behind();
        self.bell.wait(heard, if may_starve { longest.min(STARVED) } else { longest });
    }

    /// Where the member has far to go in a partition that gives nothing, a reader begins.
    pub(crate) fn begin_if_dry(&mut self, own: &mut Fetcher) -> KafkaResult<()> {
        if self.may_begin() && own.is_dry(STARVED) && own.is_reading() { self.begin(own) } else { Ok(()) }
    }

    fn may_begin(&self) -> bool {
        self.reader.is_none() && self.changed.is_none_or(|at| at.elapsed() >= CAUGHT_UP)
    }

    fn begin(&mut self, own: &mut Fetcher) -> KafkaResult<()> {
        self.changed = Some(Instant::now());
        let mut reader = KafkaReader::new(&self.client, Arc::clone(&self.bell));
        let from: Vec<_> = own.cursors().iter().map(|cursor| (cursor.place.clone(), cursor.position)).collect();
        if let Err(error) = reader.assign(&from) {
            tracing::debug!(target: "kafka", "reading ahead did not begin: {error}");
            return Ok(());
        }
        for cursor in own.cursors() {
            cursor.queue.forget();
            reader.fetcher().pause(std::slice::from_ref(&cursor.place), cursor.paused);
        }
        self.reader = Some(reader);
        self.is_held = true;
        self.consumer.pause(&places(own))
    }

    /// The member is to read itself, from where the reader came to.
    pub(crate) fn end(&mut self, own: &mut Fetcher) {
        if self.reader.take().is_some() {
            self.changed = Some(Instant::now());
            for cursor in own.cursors() {
                cursor.seek(cursor.position);
            }
        }
    }

    /// Lets librdkafka fetch again where the reader is gone. It knows the positions by
    /// then, so that nothing is fetched from before.
    pub(crate) fn resume(&mut self, own: &mut Fetcher) -> KafkaResult<()> {
        if self.is_held && self.reader.is_none() {
            self.consumer.resume(&places(own))?;
            self.is_held = false;
        }
        Ok(())
    }

    /// A partition gives no records, or does again.
    pub(crate) fn pause(&mut self, places: &[TopicPartition], paused: bool) {
        if let Some(reader) = &mut self.reader {
            reader.fetcher().pause(places, paused);
        }
    }

    /// Ends for good.
    pub(crate) fn close(&mut self) {
        self.reader = None;
    }
}

/// The cluster's names of all places.
fn places(own: &mut Fetcher) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for cursor in own.cursors() {
        list.add_partition(&cursor.outer, cursor.number);
    }
    list
}
