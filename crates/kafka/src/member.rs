//! A member of a group: polls, gives up and takes partitions, commits. What the
//! group decides is answered inside of `poll` alone, so that nothing is taken away
//! behind the caller's back.
//!
//! A seat is an id and a generation that the coordinator gave. Whoever lost it
//! writes nothing: librdkafka's own calls would send offsets without an id, which
//! a broker takes from anybody while the group is empty.
//!
//! Not here: who owns what, which Kafka's cooperative assignor decides, and what
//! lies in a partition, which `positions` takes.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{Consumer as _, ConsumerGroupMetadata},
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use tapedeck_log::{GroupOffset, LogError, Member, Placement, PollLimits, Polled, Record, Result, TopicPartition};

use crate::{
    ahead::Ahead,
    client::Client,
    consumer::{self, Bell, Change, Handle, Wanted},
    error::group_error,
    native::queue::{commit, seat},
    positions::{Fetched, Fetcher, State},
    reader::LONGEST_WAIT,
    transact::Transactor,
};

/// How long a seek may take: it is answered within the process.
const SEEK: Duration = Duration::from_secs(2);
/// While the group changes, commits are refused; it has changed after one or two
/// exchanges with the coordinator, so that asking again so often is enough.
const CHANGING_AGAIN: Duration = Duration::from_millis(20);
/// By then a member has heard of the generation that it is part of.
const MOVING_ON: Duration = Duration::from_secs(1);
/// So often a step is tried again whose seat moved to the next generation while
/// it was written. More changes than this in one step are not a change any more.
const STEPS: usize = 5;

/// Joins a group.
///
/// # Errors
/// Fatal where a topic is not there.
pub(crate) fn join(client: &Arc<Client>, group: &str, member: &str, topics: &[Arc<str>]) -> Result<Box<dyn Member>> {
    let mut partitions = 0;
    for topic in topics {
        partitions += u64::from(client.partitions(topic)?);
    }
    let bell = Arc::default();
    let wanted = Wanted { partitions, seat: Some((&client.outer(group), member)), is_behind: false };
    let consumer = Arc::new(consumer::start(client, &wanted, &bell)?);
    let names: Vec<_> = topics.iter().map(|topic| client.outer(topic)).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    consumer.subscribe(&names).map_err(|error| group_error(&error, group, &format!("join group `{group}`")))?;
    Ok(Box::new(KafkaMember {
        ahead: Ahead::new(client, &consumer, &bell),
        fetcher: Fetcher::new(client),
        client: Arc::clone(client),
        group: group.to_owned(),
        name: member.to_owned(),
        bell,
        owned: BTreeSet::new(),
        giving: Vec::new(),
        taking: None,
        seat: None,
        is_lost: false,
        polled: Instant::now(),
        longest_away: consumer::max_poll(client),
        transactor: None,
        consumer,
    }))
}

/// A seat in a group.
struct KafkaMember {
    client: Arc<Client>,
    /// Our name of the group.
    group: String,
    name: String,
    /// Its queues end before the consumer does.
    fetcher: Fetcher,
    /// Who reads for it where it has far to go.
    ahead: Ahead,
    bell: Arc<Bell>,
    owned: BTreeSet<TopicPartition>,
    /// Partitions that the caller was told to give up, and has until the next poll.
    giving: Vec<TopicPartition>,
    /// Partitions that came and could not be opened yet.
    taking: Option<Vec<TopicPartition>>,
    /// The coordinator's id of this member, since it owns something.
    seat: Option<String>,
    is_lost: bool,
    /// When it was last in `poll`.
    polled: Instant,
    longest_away: Duration,
    /// What writes its transactions, by transactional id.
    transactor: Option<(String, Transactor)>,
    consumer: Arc<Handle>,
}

impl KafkaMember {
    fn fenced(&self) -> LogError {
        LogError::Fenced { group: self.group.clone() }
    }

    /// The seat is gone, for good: whatever librdkafka does next, this member says
    /// so at every call. What was to be answered stays open until it is dropped,
    /// since an answer would join again.
    fn lose(&mut self) -> LogError {
        self.is_lost = true;
        self.owned.clear();
        self.ahead.close();
        self.fetcher.clear();
        self.fenced()
    }

    /// Whether the seat may still be there, as far as is known here. A process that
    /// was stopped for long wakes without having heard from anybody, but its clock
    /// has gone on.
    fn check_seat(&mut self) -> Result<()> {
        if self.is_lost || self.polled.elapsed() > self.longest_away || self.consumer.assignment_lost() {
            return Err(self.lose());
        }
        Ok(())
    }

    /// The member's id and generation as of now.
    fn live_seat(&mut self) -> Result<(String, i32)> {
        match (seat(&self.consumer), &self.seat) {
            (Some(now), Some(id)) if now.0 != *id => Err(self.lose()),
            (Some(now), _) => Ok(now),
            (None, Some(_)) => Err(self.lose()),
            (None, None) => Err(LogError::Transient(format!(
                "group `{}` has not given this member a seat yet: poll until it has",
                self.group
            ))),
        }
    }

    /// Whether the seat is of a later generation by now.
    fn has_moved_on(&mut self, from: &(String, i32)) -> Result<bool> {
        Ok(self.live_seat()?.1 > from.1)
    }

    /// The same, waiting a while: the coordinator refuses the old generation before
    /// this member has heard of the new one.
    fn moves_on(&mut self, from: &(String, i32)) -> Result<bool> {
        let begin = Instant::now();
        while begin.elapsed() < MOVING_ON {
            if self.has_moved_on(from)? {
                return Ok(true);
            }
            std::thread::sleep(CHANGING_AGAIN);
        }
        Ok(false)
    }

    /// What changed, as far as the caller must know of it.
    fn change(&mut self) -> Result<Option<Polled>> {
        loop {
            if let Some(partitions) = self.taking.take() {
                if let Err(error) = self.open(&partitions) {
                    self.taking = Some(partitions);
                    return Err(error);
                }
                if !partitions.is_empty() {
                    return Ok(Some(Polled::Assigned(partitions)));
                }
            }
            match self.consumer.context().next_change() {
                None => return Ok(None),
                Some(Change::Lost) => return Err(self.lose()),
                Some(Change::Assign(places)) => self.taking = Some(self.ours(&places)),
                Some(Change::Revoke(places)) => {
                    self.giving = self.ours(&places);
                    self.owned.retain(|owned| !self.giving.contains(owned));
                    self.fetcher.pause(&self.giving, true);
                    if !self.giving.is_empty() {
                        return Ok(Some(Polled::Revoked(self.giving.clone())));
                    }
                    self.give_up()?;
                }
            }
        }
    }

    /// Reads new partitions from where the group is.
    fn open(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        let now = self.live_seat()?;
        let mut places = self.list(partitions.iter().map(|place| (place, Offset::Invalid)))?;
        if !partitions.is_empty() {
            places = self.consumer.committed_offsets(places, self.client.timeout()).map_err(|error| {
                group_error(&error, &self.group, &format!("read offsets of group `{}`", self.group))
            })?;
        }
        let mut from = Vec::with_capacity(partitions.len());
        for (place, element) in partitions.iter().zip(places.elements()) {
            let position = match element.offset() {
                Offset::Offset(offset) => u64::try_from(offset).unwrap_or(0),
                _ => self.client.bounds(place)?.0,
            };
            from.push((place.clone(), position));
        }
        for (place, position) in &from {
            self.fetcher.add(&self.consumer, &self.bell, place, *position)?;
        }
        let places = self.list(from.iter().map(|(place, position)| (place, offset(*position))))?;
        self.consumer.context().answered();
        if let Err(error) = self.consumer.incremental_assign(&places) {
            tracing::warn!(target: "kafka", group = self.group, "partitions could not be taken: {error}");
            return Err(self.lose());
        }
        for (place, _) in &from {
            if let Some(cursor) = self.fetcher.find_mut(place) {
                cursor.started();
            }
        }
        self.owned.extend(partitions.iter().cloned());
        if !self.owned.is_empty() {
            self.seat = Some(now.0);
        }
        Ok(())
    }

    /// The caller has had its time: others may take what was revoked.
    fn give_up(&mut self) -> Result<()> {
        let giving = std::mem::take(&mut self.giving);
        let list = self.list(giving.iter().map(|place| (place, Offset::Invalid)))?;
        self.fetcher.retain(|place| !giving.contains(place));
        self.consumer.context().answered();
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            tracing::warn!(target: "kafka", group = self.group, "partitions could not be given up: {error}");
            return Err(self.lose());
        }
        Ok(())
    }

    /// Tells librdkafka where to read what was sought, or could not be read.
    fn start_stopped(&mut self) -> Result<()> {
        for cursor in self.fetcher.cursors().iter_mut().filter(|cursor| cursor.state == State::Stopped) {
            let at = offset(cursor.position);
            if self.consumer.seek(&cursor.outer, cursor.number, at, SEEK).is_err() {
                // It is not being read at all: begin anew.
                let mut one = TopicPartitionList::new();
                let begun = one
                    .add_partition_offset(&cursor.outer, cursor.number, at)
                    .and_then(|()| self.consumer.incremental_unassign(&one))
                    .and_then(|()| self.consumer.incremental_assign(&one));
                begun.map_err(|error| group_error(&error, &self.group, &format!("read {}", cursor.place)))?;
            }
            cursor.started();
        }
        Ok(())
    }

    /// What was fetched, by whoever reads.
    fn fetch(&mut self, limits: PollLimits) -> Result<Fetched> {
        if let Some(fetched) = self.ahead.fetch(&mut self.fetcher, limits) {
            return Ok(fetched);
        }
        self.go_on()?;
        let fetched = self.fetcher.fetch(limits)?;
        if let Err(error) = self.ahead.begin_if_dry(&mut self.fetcher) {
            tracing::debug!(target: "kafka", group = self.group, "what the member fetches was not paused: {error}");
        }
        Ok(fetched)
    }

    /// The member reads itself, from where it is.
    fn go_on(&mut self) -> Result<()> {
        self.start_stopped()?;
        let resumed = self.ahead.resume(&mut self.fetcher);
        resumed.map_err(|error| group_error(&error, &self.group, "go on reading"))
    }

    /// Our names of partitions.
    fn ours(&self, places: &[(String, i32)]) -> Vec<TopicPartition> {
        let ours = |(topic, number): &(String, i32)| {
            Some(TopicPartition::new(self.client.inner(topic)?, u32::try_from(*number).ok()?))
        };
        places.iter().filter_map(ours).collect()
    }

    /// The cluster's names of partitions, with offsets.
    fn list<'a>(&self, places: impl Iterator<Item = (&'a TopicPartition, Offset)>) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (place, at) in places {
            let number = self.client.must_exist(place)?;
            list.add_partition_offset(&self.client.outer(&place.topic), number, at)
                .map_err(|error| group_error(&error, &self.group, &format!("name {place}")))?;
        }
        Ok(list)
    }

    /// The seat's metadata for a transaction, with the seat it is of.
    fn metadata(&mut self) -> Result<((String, i32), ConsumerGroupMetadata)> {
        for _ in 0..STEPS {
            let before = self.live_seat()?;
            let metadata = self.consumer.group_metadata();
            // What lies between two equal looks is the same, as generations only grow.
            if let Some(metadata) = metadata
                && self.live_seat()? == before
            {
                return Ok((before, metadata));
            }
        }
        Err(LogError::Transient(format!("group `{}` changes too fast for a step", self.group)))
    }

    /// The writer of this member's transactions. Its transactional id is that of
    /// the first partition it owns: who owns that next ends at once what this one
    /// may have left open, and readers do not wait for its time to run out.
    fn transactor(&mut self) -> Result<&mut Transactor> {
        let first = self.owned.iter().chain(&self.giving).min();
        let id = match first {
            Some(place) => format!("{}.{}.{}", self.group, place.topic, place.partition),
            None => format!("{}.{}", self.group, self.name),
        };
        if self.transactor.as_ref().is_none_or(|(of, _)| *of != id) {
            self.transactor = None;
            self.transactor = Some((id.clone(), Transactor::open(Arc::clone(&self.client), &id)?));
        }
        Ok(self.transactor.as_mut().map(|(_, transactor)| transactor).expect("it was made above"))
    }
}

impl Member for KafkaMember {
    fn poll(&mut self, limits: PollLimits) -> Result<Polled> {
        let begin = Instant::now();
        self.check_seat()?;
        if !self.giving.is_empty() {
            self.give_up()?;
        }
        loop {
            let heard = self.bell.rings();
            self.polled = Instant::now();
            consumer::hear(&self.consumer, &self.client, &format!("read as a member of group `{}`", self.group))?;
            if self.consumer.context().has_change() {
                self.ahead.end(&mut self.fetcher);
                self.go_on()?;
            }
            if let Some(change) = self.change()? {
                return Ok(change);
            }
            let fetched = self.fetch(limits)?;
            let left = limits.timeout.saturating_sub(begin.elapsed());
            if !fetched.records.is_empty() || fetched.moved || left.is_zero() {
                return Ok(Polled::Records(fetched.records));
            }
            self.ahead.wait(&self.fetcher, heard, left.min(LONGEST_WAIT));
        }
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.owned.iter().cloned().collect()
    }

    fn position(&self, partition: &TopicPartition) -> Option<u64> {
        self.fetcher.find(partition).map(|cursor| cursor.position)
    }

    fn seek(&mut self, partition: &TopicPartition, offset: u64) -> Result<()> {
        if self.is_lost {
            return Err(self.fenced());
        }
        if self.position(partition) != Some(offset) {
            self.ahead.end(&mut self.fetcher);
        }
        match self.fetcher.find_mut(partition).filter(|_| self.owned.contains(partition)) {
            Some(cursor) => {
                if cursor.position != offset || cursor.state != State::Reading {
                    cursor.seek(offset);
                }
                Ok(())
            }
            None => Err(LogError::Fatal(format!(
                "{partition} is not owned by this member of group `{}`: seek only what was assigned",
                self.group
            ))),
        }
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.fetcher.pause(partitions, true);
        self.ahead.pause(partitions, true);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        let owned: Vec<_> = partitions.iter().filter(|partition| self.owned.contains(*partition)).cloned().collect();
        self.fetcher.pause(&owned, false);
        self.ahead.pause(&owned, false);
    }

    fn commit(&mut self, offsets: &[GroupOffset]) -> Result<()> {
        self.check_seat()?;
        if offsets.is_empty() {
            return Ok(());
        }
        let list = self.list(offsets.iter().map(|it| (&it.partition, offset(it.next))))?;
        let begin = Instant::now();
        loop {
            self.live_seat()?;
            let left = self.client.timeout().saturating_sub(begin.elapsed());
            match commit(&self.consumer, &list, left) {
                Ok(()) => return Ok(()),
                // The group is changing, and this member with it.
                Err(Code::RebalanceInProgress | Code::IllegalGeneration) if left > CHANGING_AGAIN => {
                    self.check_seat()?;
                    std::thread::sleep(CHANGING_AGAIN);
                }
                Err(code) => {
                    let doing = format!("commit offsets of group `{}`", self.group);
                    let error = group_error(&KafkaError::ConsumerCommit(code), &self.group, &doing);
                    return Err(if matches!(error, LogError::Fenced { .. }) { self.lose() } else { error });
                }
            }
        }
    }

    fn transact(&mut self, records: Vec<Record>, offsets: &[GroupOffset]) -> Result<Vec<Placement>> {
        self.check_seat()?;
        let mut tries = 0;
        loop {
            let (seat, metadata) = self.metadata()?;
            let group = self.group.clone();
            let transactor = self.transactor()?;
            let result = transactor.run(&group, records.clone(), offsets, &metadata);
            let nothing_was_written = transactor.is_settled();
            tries += 1;
            match result {
                // The group went on to its next generation meanwhile, and this member
                // with it: what it owns is still its own.
                Err(LogError::Fenced { .. } | LogError::Transient(_))
                    if nothing_was_written && tries < STEPS && self.has_moved_on(&seat)? => {}
                Err(LogError::Fenced { .. }) if nothing_was_written && tries < STEPS && self.moves_on(&seat)? => {}
                Err(LogError::Fenced { .. }) => return Err(self.lose()),
                result => return result,
            }
        }
    }
}

impl Drop for KafkaMember {
    /// Leaves the group. The consumer's own end says so to the coordinator and
    /// waits for the answer, 5 s at most.
    fn drop(&mut self) {
        self.transactor = None;
        self.ahead.close();
        self.consumer.context().close(&self.consumer);
        self.fetcher.clear();
    }
}

fn offset(position: u64) -> Offset {
    Offset::Offset(i64::try_from(position).unwrap_or(i64::MAX))
}
