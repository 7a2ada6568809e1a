//! Places in partitions: what lies there next, taking turns among them within a
//! poll's limits, and what is to be said where a place cannot be read.
//!
//! Not here: who starts and stops partitions, which differs between a reader and a
//! member of a group.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use rdkafka::error::RDKafkaErrorCode as Code;
use tapedeck_log::{Headers, LogError, LogRecord, PollLimits, Result, TopicPartition};

use crate::{
    client::Client,
    consumer::{Bell, Handle},
    error::refused,
    native::queue::{Found, Next, PartitionQueue},
};

/// Records are copied out of librdkafka into buffers of this size, each shared by
/// those that follow one another: a record that is kept keeps no more than this
/// beside itself.
const BUFFER_BYTES: usize = 64 << 10;
/// So many buffers are used again once their records are gone, since memory that is
/// fresh costs more than the copy into it: as much as a large poll takes. They are let
/// go when nothing comes.
const BUFFERS_AGAIN: usize = (8 << 20) / BUFFER_BYTES;
/// What a limit of bytes counts for a record beside key, value and headers, as the
/// embedded log does.
const RECORD_HEAD: usize = 20;
/// Fewer records than this to the end are not far to go: one answer brings them.
const FAR: u64 = 1_000;

/// Places in some partitions, and whose turn it is.
pub(crate) struct Fetcher {
    client: Arc<Client>,
    cursors: Vec<Cursor>,
    turn: usize,
    buffers: Buffers,
    /// How many records the last poll gave.
    gave: usize,
}

/// What records are copied into.
#[derive(Default)]
struct Buffers {
    now: BytesMut,
    /// Made for one record alone that is larger, and not kept for others.
    is_large: bool,
    /// Those before, the oldest first.
    used: VecDeque<BytesMut>,
}

/// A place in a partition.
pub(crate) struct Cursor {
    pub(crate) place: TopicPartition,
    /// The cluster's name of the topic.
    pub(crate) outer: String,
    /// The partition, as librdkafka counts.
    pub(crate) number: i32,
    pub(crate) queue: PartitionQueue,
    pub(crate) position: u64,
    pub(crate) paused: bool,
    pub(crate) state: State,
    /// The topic's name under a count of references of its own: each record holds
    /// one, and readers on several cores would fight for one count.
    topic: Arc<str>,
    /// Something came since reading was started here, so that what librdkafka says
    /// of the position is about this start.
    came: bool,
    /// The partition has ended here, when it was last looked at.
    at_end: bool,
    /// Since when nothing was fetched although there is far to go.
    dry_since: Option<Instant>,
}

/// How a partition is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// librdkafka fetches it.
    Reading,
    /// It does not, and must be told to, from the position.
    Stopped,
    /// The log does not hold the position.
    OutOfRange,
    /// It cannot be read on; nothing was left out.
    Failed(String),
}

/// What a poll found.
pub(crate) struct Fetched {
    pub(crate) records: Vec<LogRecord>,
    /// A position moved over what holds no records.
    pub(crate) moved: bool,
}

/// What is left of a poll's limits.
#[derive(Clone, Copy)]
struct Room {
    records: usize,
    bytes: usize,
}

impl Fetcher {
    pub(crate) fn new(client: &Arc<Client>) -> Self {
        Self { client: Arc::clone(client), cursors: Vec::new(), turn: 0, buffers: Buffers::default(), gave: 0 }
    }

    /// Adds a place, not read yet.
    ///
    /// # Errors
    /// librdkafka has no queue for it.
    pub(crate) fn add(
        &mut self,
        consumer: &Arc<Handle>,
        bell: &Arc<Bell>,
        place: &TopicPartition,
        position: u64,
    ) -> Result<()> {
        let number = self.client.must_exist(place)?;
        let outer = self.client.outer(&place.topic);
        let queue = PartitionQueue::of(consumer, &outer, number, bell)
            .ok_or_else(|| LogError::Fatal(format!("librdkafka does not take {place} for the name of a partition")))?;
        let topic = Arc::from(&*place.topic);
        let (place, state) = (place.clone(), State::Stopped);
        let (paused, came, at_end, dry_since) = (false, false, false, None);
        self.cursors.push(Cursor {
            place,
            outer,
            number,
            queue,
            position,
            paused,
            state,
            topic,
            came,
            at_end,
            dry_since,
        });
        Ok(())
    }

    /// Whether there is far to go in a partition that may give its records.
    pub(crate) fn is_behind(&self) -> bool {
        self.cursors.iter().any(|cursor| !cursor.paused && cursor.is_behind())
    }

    /// Whether a partition with far to go has given nothing for so long, whatever
    /// the others gave.
    pub(crate) fn is_dry(&self, longest: Duration) -> bool {
        let is_dry = |cursor: &Cursor| cursor.dry_since.is_some_and(|since| since.elapsed() >= longest);
        self.cursors.iter().any(|cursor| !cursor.paused && is_dry(cursor))
    }

    /// Whether librdkafka fetches all of them.
    pub(crate) fn is_reading(&self) -> bool {
        self.cursors.iter().all(|cursor| cursor.state == State::Reading)
    }

    pub(crate) fn clear(&mut self) {
        self.cursors.clear();
    }

    /// Keeps only places that pass.
    pub(crate) fn retain(&mut self, keep: impl Fn(&TopicPartition) -> bool) {
        self.cursors.retain(|cursor| keep(&cursor.place));
    }

    pub(crate) fn find(&self, place: &TopicPartition) -> Option<&Cursor> {
        self.cursors.iter().find(|cursor| cursor.place == *place)
    }

    pub(crate) fn find_mut(&mut self, place: &TopicPartition) -> Option<&mut Cursor> {
        self.cursors.iter_mut().find(|cursor| cursor.place == *place)
    }

    pub(crate) fn cursors(&mut self) -> &mut [Cursor] {
        &mut self.cursors
    }

    pub(crate) fn pause(&mut self, places: &[TopicPartition], paused: bool) {
        for cursor in self.cursors.iter_mut().filter(|cursor| places.contains(&cursor.place)) {
            cursor.paused = paused;
        }
    }

    /// What is there now, of each partition its share.
    pub(crate) fn fetch(&mut self, limits: PollLimits) -> Result<Fetched> {
        let count = self.cursors.len();
        let open: Vec<usize> =
            (0..count).map(|nth| (self.turn + nth) % count).filter(|index| !self.cursors[*index].paused).collect();
        let mut fetched = Fetched { records: Vec::new(), moved: false };
        fetched.records.reserve(self.gave.min(limits.max_records));
        if open.is_empty() {
            return Ok(fetched);
        }
        self.turn = (self.turn + 1) % count;
        let mut room = Room { records: limits.max_records.max(1), bytes: limits.max_bytes.max(1) };
        let share = Room { records: room.records.div_ceil(open.len()), bytes: room.bytes.div_ceil(open.len()) };
        // First each its share, then whoever has more.
        let mut whose = open;
        for most in [Some(share), None] {
            let mut rich = Vec::new();
            for index in whose {
                if room.is_used_up() {
                    break;
                }
                let most = most.map_or(room, |share| share.within(room));
                let cursor = &mut self.cursors[index];
                let (had, before) = (fetched.records.len(), cursor.position);
                let left = match cursor.read(most, &mut self.buffers, &mut fetched.records) {
                    Ok(left) => left,
                    // What was read before the bad place is given first; the error
                    // comes with the next poll.
                    Err(_) if !fetched.records.is_empty() => return Ok(fetched),
                    Err(code) => return self.failed(index, code).map(|()| fetched),
                };
                fetched.moved |= fetched.records.len() == had && cursor.position != before;
                room = room.without(most, left);
                if left.is_used_up() {
                    rich.push(index);
                }
            }
            whose = rich;
        }
        self.gave = fetched.records.len();
        if self.gave == 0 {
            self.buffers.used.clear();
        }
        Ok(fetched)
    }

    /// What is to be said of a partition that cannot be read; nothing where it is
    /// started anew instead.
    fn failed(&mut self, index: usize, code: Code) -> Result<()> {
        let cursor = &mut self.cursors[index];
        if let State::Failed(text) = &cursor.state {
            return Err(LogError::Fatal(text.clone()));
        }
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => {
                let (start, end) = self.client.bounds(&cursor.place)?;
                let wanted = cursor.position;
                // Beyond what is committed lies what will be.
                if wanted < start || (wanted > end && wanted > self.client.written_end(&cursor.place)?) {
                    cursor.state = State::OutOfRange;
                    return Err(LogError::OutOfRange { partition: cursor.place.clone(), wanted, start, end });
                }
                cursor.restart();
                Ok(())
            }
            Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::UnknownTopic => {
                self.client.forget_topics();
                let there = self.client.known_partitions(&cursor.place.topic)?;
                if there.is_some_and(|there| cursor.place.partition < there) {
                    cursor.restart();
                    return Ok(());
                }
                let text = format!(
                    "{} is gone: its topic was deleted, or made anew with fewer partitions, while it was read. Nothing \
                     was left out up to offset {}; {}",
                    cursor.place,
                    cursor.position,
                    self.client.no_such_topic(&cursor.place.topic)
                );
                cursor.state = State::Failed(text.clone());
                Err(LogError::Fatal(text))
            }
            Code::BadMessage | Code::InvalidMessage | Code::BadCompression => {
                let text = format!(
                    "{} holds a damaged batch at offset {} or after: {code}. Nothing was left out. Let the broker restore \
                     it from another copy, or read on beyond it by resetting the group's offset",
                    cursor.place, cursor.position
                );
                cursor.state = State::Failed(text.clone());
                Err(LogError::Fatal(text))
            }
            code => {
                let needs = format!("Read on topic `{}`", cursor.place.topic);
                let error = refused(code, "", &format!("read {}", cursor.place), &needs);
                match &error {
                    LogError::Fatal(text) => cursor.state = State::Failed(text.clone()),
                    _ => cursor.queue.pop(),
                }
                Err(error)
            }
        }
    }
}

impl Cursor {
    /// Reads from another offset, which librdkafka must be told.
    pub(crate) fn seek(&mut self, position: u64) {
        self.position = position;
        self.restart();
    }

    /// librdkafka was told to read from the position.
    pub(crate) fn started(&mut self) {
        self.state = State::Reading;
        self.came = false;
        self.at_end = false;
        self.dry_since = None;
    }

    fn is_behind(&self) -> bool {
        let is_far = || self.queue.end().is_some_and(|end| end.saturating_sub(self.position) >= FAR);
        !self.at_end && self.state == State::Reading && is_far()
    }

    fn restart(&mut self) {
        self.queue.forget();
        self.state = State::Stopped;
        self.came = false;
    }

    /// Reads what fits; returns the room that is left.
    fn read(
        &mut self,
        mut room: Room,
        buffers: &mut Buffers,
        out: &mut Vec<LogRecord>,
    ) -> std::result::Result<Room, Code> {
        match &self.state {
            State::Reading => {}
            State::Stopped => return Ok(room),
            State::OutOfRange => return Err(Code::OffsetOutOfRange),
            State::Failed(_) => return Err(Code::Fail),
        }
        while !room.is_used_up() {
            match self.queue.next() {
                Some(Next::Record(found)) => {
                    (self.came, self.at_end, self.dry_since) = (true, false, None);
                    // librdkafka may bring a record again that it brought just
                    // before a change of the group.
                    if found.offset >= self.position {
                        let record = copy(&found, &self.topic, self.place.partition, buffers);
                        self.position = found.offset + 1;
                        room.records -= 1;
                        room.bytes = room.bytes.saturating_sub(bytes_of(&record));
                        out.push(record);
                    }
                }
                Some(Next::End(offset)) => {
                    (self.came, self.at_end) = (true, true);
                    self.position = self.position.max(offset);
                }
                Some(Next::Failed(code)) => return Err(code),
                None => {
                    self.dry_since =
                        if self.is_behind() { self.dry_since.or_else(|| Some(Instant::now())) } else { None };
                    if self.came {
                        self.position = self.position.max(self.queue.taken_to().unwrap_or(0));
                    }
                    break;
                }
            }
            self.queue.pop();
        }
        Ok(room)
    }
}

impl Room {
    fn is_used_up(self) -> bool {
        self.records == 0 || self.bytes == 0
    }

    fn within(self, other: Self) -> Self {
        Self { records: self.records.min(other.records), bytes: self.bytes.min(other.bytes) }
    }

    fn without(self, given: Self, left: Self) -> Self {
        Self { records: self.records - (given.records - left.records), bytes: self.bytes - (given.bytes - left.bytes) }
    }
}

impl Buffers {
    /// One with room for so many bytes.
    fn with(&mut self, bytes: usize) -> &mut BytesMut {
        if self.now.capacity() < bytes {
            let wanted = BUFFER_BYTES.max(bytes);
            let is_large = wanted > BUFFER_BYTES;
            let again = if is_large { None } else { self.oldest() };
            self.begin(again.unwrap_or_else(|| BytesMut::with_capacity(wanted)));
            self.is_large = is_large;
        }
        &mut self.now
    }

    /// The oldest buffer, where its records are gone; one that is in use has its turn
    /// again after the others.
    fn oldest(&mut self) -> Option<BytesMut> {
        let mut oldest = self.used.pop_front()?;
        if oldest.try_reclaim(BUFFER_BYTES) {
            return Some(oldest);
        }
        self.used.push_back(oldest);
        None
    }

    fn begin(&mut self, next: BytesMut) {
        let used = std::mem::replace(&mut self.now, next);
        if !self.is_large && self.used.len() < BUFFERS_AGAIN {
            self.used.push_back(used);
        }
    }
}

/// A record of our own, in a shared buffer.
fn copy(found: &Found<'_>, topic: &Arc<str>, partition: u32, buffers: &mut Buffers) -> LogRecord {
    let len = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
    let buffer = buffers.with(len(found.key) + len(found.value));
    let (key, value) = (own(found.key, buffer), own(found.value, buffer));
    let headers = Headers::build_in(buffer, |push| {
        // Names are text by Kafka's own rules; another client may break them.
        found.headers(|name, value| push(&String::from_utf8_lossy(name), value.unwrap_or_default()));
    });
    LogRecord {
        topic: Arc::clone(topic),
        partition,
        offset: found.offset,
        timestamp_ms: found.timestamp_ms,
        key,
        value,
        headers,
    }
}

fn own(part: Option<&[u8]>, buffer: &mut BytesMut) -> Option<Bytes> {
    part.map(|part| {
        buffer.extend_from_slice(part);
        buffer.split().freeze()
    })
}

fn bytes_of(record: &LogRecord) -> usize {
    let len = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
    RECORD_HEAD + len(&record.key) + len(&record.value) + record.headers.as_bytes().len()
}
