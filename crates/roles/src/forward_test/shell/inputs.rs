//! Reading the inputs: a reader each, the market's only as far as the join has
//! room, records decoded and, where they were seen before, left out.
//!
//! Not here: what comes of them.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use tapedeck_contracts::{
    EventKind,
    catalogue::state_topic,
    headers::{self, Seq},
};
use tapedeck_flow::{
    Aside, Failure, Gauges, Phase,
    budget::{Share, held_bytes},
    dedupe::Window,
    inbound::{Unread, is_for_others, place_of},
};
use tapedeck_log::{GroupOffset, Log, LogError, LogRecord, PollLimits, Reader, TopicPartition};

use super::{
    GivenUp, ROLE,
    decoder::{Decoder, Tried},
    letters::Letters,
    remedy,
    scan::Scan,
};
use crate::{
    forward_test::join::{Input, Join, MARKET_TOPIC, Offered, Wait},
    market::SourceState,
};

/// The inputs, in their order.
pub(super) const INPUTS: [Input; 3] = [Input::Market, Input::Signals, Input::Commands];
/// What strategies wish.
pub(super) const SIGNALS: &str = "strategy-signals";
/// What inference wishes: where it is traded, it is read with the signals.
pub(super) const DECISIONS: &str = "trading_decisions";
/// What operators wish.
pub(super) const COMMANDS: &str = "risk-commands";
/// Who makes signals.
pub(super) const STRATEGY_GROUP: &str = "tapedeck.strategy";
/// Who makes decisions.
pub(super) const INFERENCE_GROUP: &str = "tapedeck.inference";
/// What one poll brings at most, and so what one transact holds where much waits:
/// some 5 ms of work, so that the seat is looked after.
const POLL_RECORDS: usize = 4_096;
/// The same in bytes.
const POLL_BYTES: usize = 4 << 20;
/// Signals read before they are needed: what waits in memory for its root. A
/// closing that ends further ahead is found by looking over the signals. Few in
/// tests, so that they see both.
const SIGNALS_AHEAD: usize = if cfg!(test) { 64 } else { 8_192 };
/// The same in bytes.
const SIGNALS_BYTES: usize = 16 << 20;
/// How long to wait for records where nothing is here. An append ends it at once
/// for market data; commands are seen after so long at most.
const IDLE: Duration = Duration::from_millis(20);
/// The same while something waits to be closed: a commit wakes nobody, so this
/// is what a price may lose.
const WAITING: Duration = Duration::from_millis(2);

/// What a topic of an input carries.
pub(super) fn kind_of(topic: &str) -> EventKind {
    match topic {
        SIGNALS => EventKind::Signal,
        DECISIONS => EventKind::TradingDecision,
        COMMANDS => EventKind::RiskCommand,
        _ => EventKind::MarketData,
    }
}

/// Where the partition of a record stands among those that are read.
pub(super) fn at(places: &[TopicPartition], record: &LogRecord) -> usize {
    let at = record.partition as usize;
    // Nearly always it is a partition of the first topic. The second may have more of
    // them than the first: what lies at the number itself can be another one of its own.
    let is_its = |place: &TopicPartition| place.partition == record.partition && *place.topic == *record.topic;
    if places.get(at).is_some_and(is_its) {
        return at;
    }
    at + places.iter().position(|place| *place.topic == *record.topic).unwrap_or_default()
}

/// A reader of an input: a topic and its partitions, behind which those of a second
/// one may lie.
pub(super) struct TopicReader {
    pub(super) reader: Box<dyn Reader>,
    pub(super) places: Vec<TopicPartition>,
    /// Which partitions the reader is assigned.
    pub(super) assigned: Vec<bool>,
    /// Where a partition that is not assigned goes on.
    pub(super) next: Vec<u64>,
    /// Which partitions end in a record that cannot be read.
    pub(super) bad: Vec<bool>,
    /// Ids of the last records, where duplicates are found by them.
    pub(super) windows: Vec<Window>,
}

impl TopicReader {
    /// Reads these partitions, and leaves the others where they are.
    pub(super) fn assign(&mut self, wanted: Vec<bool>) -> Result<(), Failure> {
        if wanted == self.assigned {
            return Ok(());
        }
        for (at, place) in self.places.iter().enumerate().filter(|(at, _)| self.assigned[*at]) {
            self.next[at] = self.reader.position(place).unwrap_or(self.next[at]);
        }
        let chosen = self.places.iter().zip(&self.next).zip(&wanted).filter(|(_, wanted)| **wanted);
        let chosen: Vec<_> = chosen.map(|((place, next), _)| (place.clone(), *next)).collect();
        self.reader.assign(&chosen)?;
        self.assigned = wanted;
        Ok(())
    }
}

/// The inputs of the role.
pub(super) struct Inputs {
    pub(super) log: Arc<dyn Log>,
    pub(super) topics: [TopicReader; 3],
    /// On its way, where signals are looked over.
    pub(super) scan: Option<Scan>,
    /// Of the memory of the process.
    pub(super) share: Share,
    /// The market role's state, which says when a source has ended.
    pub(super) sources: Box<dyn Reader>,
    /// What becomes of a record that cannot be read.
    pub(super) aside: Aside,
    /// What records are read with.
    pub(super) decoder: Decoder,
    /// Where it does not stop its partition: those that were set aside.
    pub(super) letters: Letters,
    /// Whose numbers are believed where nothing else of a record can be.
    pub(super) listened: BTreeSet<String>,
    /// The groups whose offsets on the market data close it.
    pub(super) makers: Vec<&'static str>,
    /// A record that the broker would not take before this one was opened, and
    /// that ends its partition as if it could not be read.
    pub(super) given_up: Option<GivenUp>,
    /// The first record that ends its partition. It is not read on, so the join
    /// waits for it once it has given all that may come before.
    pub(super) bad: Option<Failure>,
    /// The last poll of the market brought nothing.
    pub(super) exhausted: bool,
    /// When the first record was read that is not visible yet.
    pub(super) began: Option<Instant>,
}

/// The clock, in ms since the epoch; it is asked for the sake of the join's
/// waits alone.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Inputs {
    /// Reads what is there, and waits for it a little where the join does.
    ///
    /// # Errors
    /// Those of the log.
    pub(super) fn read(&mut self, join: &mut Join, wait: Option<Wait>, gauges: &Gauges) -> Result<(), Failure> {
        let mut found = self.read_topic(Input::Commands, join, Duration::ZERO, gauges)?;
        if wait.is_some() {
            found += self.read_sources(join)?;
        }
        let timeout = match wait {
            None => Duration::ZERO,
            Some(wait) if wait == Wait::default() => IDLE,
            Some(_) => WAITING,
        };
        let on_signals = wait.is_some_and(|wait| wait.closing);
        if !on_signals {
            found += self.read_signals(join, Duration::ZERO, gauges)?;
        }
        self.choose_market(join)?;
        let idle = |found: usize, here: bool| if here && found == 0 { timeout } else { Duration::ZERO };
        let from_market = self.read_topic(Input::Market, join, idle(found, !on_signals), gauges)?;
        self.exhausted = from_market == 0;
        if on_signals {
            self.read_signals(join, idle(found + from_market, true), gauges)?;
        }
        let (records, bytes) = join.held();
        self.share.set(held_bytes(records, bytes));
        gauges.in_flight_bytes.store(self.share.held_bytes() as u64, Relaxed);
        Ok(())
    }

    /// Asks the log what would let the join go on, and says whether anything
    /// began by it: the offsets of strategies and inference first, then the ends.
    ///
    /// # Errors
    /// Those of the log.
    pub(super) fn ask(&mut self, join: &mut Join, wait: Wait) -> Result<bool, Failure> {
        let mut began = wait.closing && self.ask_to_close(join)?;
        let now_ms = now_ms();
        if join.survey_helps(wait, now_ms) {
            join.begin_survey(self.ends(Input::Market)?, now_ms);
            began = true;
        }
        Ok(began)
    }

    /// The group offsets: the lowest of each partition that is not applied.
    pub(super) fn positions(&self, join: &Join) -> Vec<GroupOffset> {
        let place = |input: Input, at: usize| self.topics[input as usize].places[at].clone();
        let offset = |(input, at)| GroupOffset { partition: place(input, at), next: join.position(input, at) };
        self.lanes().map(offset).collect()
    }

    /// All partitions, in the order of [`Inputs::positions`].
    pub(super) fn lanes(&self) -> impl Iterator<Item = (Input, usize)> {
        INPUTS.into_iter().flat_map(|input| (0..self.topics[input as usize].places.len()).map(move |at| (input, at)))
    }

    /// A closing, where it helps: by reading all signals up to its end or, where
    /// they are too many, by looking over them.
    fn ask_to_close(&mut self, join: &mut Join) -> Result<bool, Failure> {
        if let Some(mut scan) = self.scan.take() {
            match scan.go_on(join)? {
                Some(unread) => join.close_but(&scan.committed, scan.asked_ms, unread),
                None => self.scan = Some(scan),
            }
            return Ok(true);
        }
        let committed = self.committed()?;
        let now_ms = now_ms();
        if !join.closing_helps(&committed, now_ms) {
            return Ok(false);
        }
        let ends = self.ends(Input::Signals)?;
        let from: Vec<u64> = (0..ends.len()).map(|at| join.read_to(Input::Signals, at)).collect();
        let unread: u64 = ends.iter().zip(&from).map(|(end, from)| end.saturating_sub(*from)).sum();
        if unread <= SIGNALS_AHEAD as u64 {
            join.begin_closing(committed, ends, now_ms);
        } else {
            let places = &self.topics[Input::Signals as usize].places;
            self.scan = Some(Scan::begin(&*self.log, places, &from, ends, committed, now_ms)?);
        }
        Ok(true)
    }

    fn read_signals(&mut self, join: &mut Join, timeout: Duration, gauges: &Gauges) -> Result<usize, Failure> {
        let (records, bytes) = join.signals_held();
        let topic = &mut self.topics[Input::Signals as usize];
        let has_room = records < SIGNALS_AHEAD && bytes < SIGNALS_BYTES && self.share.room_bytes() > 0;
        // Beyond that only what the next market event waits for.
        let needed = if has_room { vec![true; topic.places.len()] } else { join.needed_signals() };
        topic.assign(needed.iter().zip(&topic.bad).map(|(needed, bad)| *needed && !*bad).collect())?;
        self.read_topic(Input::Signals, join, timeout, gauges)
    }

    fn read_topic(
        &mut self,
        input: Input,
        join: &mut Join,
        timeout: Duration,
        gauges: &Gauges,
    ) -> Result<usize, Failure> {
        let topic = &mut self.topics[input as usize];
        if !topic.assigned.contains(&true) {
            // What the join waits for is not here, so that only time helps.
            std::thread::sleep(timeout);
            return Ok(0);
        }
        let max_records = if input == Input::Signals { POLL_RECORDS.min(SIGNALS_AHEAD) } else { POLL_RECORDS };
        let limits = PollLimits { max_records, max_bytes: POLL_BYTES, timeout };
        let records = topic.reader.poll(limits).map_err(lost)?;
        let count = records.len();
        let now_ms = if count > 0 { now_ms() } else { 0 };
        if count > 0 && self.began.is_none() {
            self.began = Some(Instant::now());
        }
        for record in records {
            self.take(input, record, join, now_ms, gauges)?;
        }
        let topic = &mut self.topics[input as usize];
        for (at, place) in topic.places.iter().enumerate().filter(|(at, _)| topic.assigned[*at] && !topic.bad[*at]) {
            if let Some(position) = topic.reader.position(place) {
                join.read_up_to(input, at, position);
            }
        }
        let wanted = topic.assigned.iter().zip(&topic.bad).map(|(assigned, bad)| *assigned && !*bad).collect();
        topic.assign(wanted)?;
        Ok(count)
    }

    /// Reads on where the join has room.
    fn choose_market(&mut self, join: &Join) -> Result<(), Failure> {
        // What a record that cannot be read holds back is not looked for elsewhere.
        let exhausted = self.exhausted && self.bad.is_none();
        // Without room what is here goes first, unless it waits for more.
        let has_room = self.share.room_bytes() > 0 || join.needs_market();
        let market = &mut self.topics[Input::Market as usize];
        let wanted: Vec<bool> =
            (0..market.places.len()).map(|at| has_room && !market.bad[at] && join.may_read(at, exhausted)).collect();
        market.assign(wanted)
    }

    fn read_sources(&mut self, join: &mut Join) -> Result<usize, Failure> {
        let limits = PollLimits { max_records: POLL_RECORDS, max_bytes: POLL_BYTES, timeout: Duration::ZERO };
        let records = self.sources.poll(limits).map_err(lost)?;
        for record in &records {
            let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
            let (Some(source), Some(value)) = (key.filter(|key| !key.starts_with('@')), &record.value) else {
                continue;
            };
            let state: SourceState = serde_json::from_slice(value).map_err(|error| {
                let topic = state_topic(crate::market::ROLE);
                Failure::Fatal(format!(
                    "{topic}: source `{source}` ({error}) was written by another version; use that one"
                ))
            })?;
            if let Some(n) = state.done {
                join.source_done(source, n);
            }
        }
        Ok(records.len())
    }

    /// Decodes a record and offers it to the join.
    ///
    /// # Errors
    /// Transient where who knows its frame cannot be asked.
    fn take(
        &mut self,
        input: Input,
        record: LogRecord,
        join: &mut Join,
        now_ms: i64,
        gauges: &Gauges,
    ) -> Result<(), Failure> {
        let (at, offset) = (at(&self.topics[input as usize].places, &record), record.offset);
        if self.topics[input as usize].bad[at] {
            return Ok(());
        }
        if is_for_others(&record, self.letters.group()) {
            join.settle(input, at, offset);
            gauges.redriven_skipped.fetch_add(1, Relaxed);
            return Ok(());
        }
        if let Some(given_up) = self.given_up.as_ref().filter(|given_up| given_up.is(&record)) {
            let (place, detail) = (given_up.place.clone(), given_up.detail.clone());
            self.end_partition(input, at, Failure::Poison { index: 0, place, path: None, detail }, gauges);
            return Ok(());
        }
        let delivery = match self.decoder.read(&*self.log, kind_of(&record.topic), record, gauges)? {
            Ok(delivery) => delivery,
            Err((unread, tried)) => {
                self.unread(input, at, *unread, &tried, join, gauges);
                return Ok(());
            }
        };
        // Numbers tell of duplicates themselves.
        let topic = &mut self.topics[input as usize];
        let new = delivery.meta.seq.is_some() || topic.windows[at].insert(delivery.fingerprint());
        if !new {
            join.skip(input, at, offset);
        }
        if !new || join.offer(input, at, delivery, now_ms) == Offered::Duplicate {
            gauges.duplicates.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// A record cannot be read: it becomes a dead letter, and nothing waits for it.
    fn unread(&mut self, input: Input, at: usize, unread: Unread, tried: &Tried, join: &mut Join, gauges: &Gauges) {
        let record = &unread.record;
        if self.aside == Aside::Stop {
            let place = place_of(record).to_string();
            let failure = Failure::Poison { index: 0, place, path: unread.path, detail: unread.detail };
            return self.end_partition(input, at, failure, gauges);
        }
        Gauges::add(&gauges.poison, 1);
        self.letters.unread(&unread, tried);
        join.settle(input, at, record.offset);
        let seq = (input == Input::Market).then(|| record.headers.text(headers::SEQ).and_then(Seq::parse)).flatten();
        if let Some(seq) = seq.filter(|seq| self.listened.contains(&seq.source)) {
            join.leave_empty(&seq.source, seq.n);
        }
    }

    /// What follows this record waits for a person.
    fn end_partition(&mut self, input: Input, at: usize, failure: Failure, gauges: &Gauges) {
        self.topics[input as usize].bad[at] = true;
        tracing::error!(role = ROLE, "{failure}");
        Gauges::add(&gauges.poison, 1);
        let place = if let Failure::Poison { place, .. } = &failure { place } else { ROLE };
        gauges.set_phase(Phase::Blocked(format!("{failure}. {}", remedy(place))));
        self.bad.get_or_insert(failure);
    }

    /// How far all that make signals and decisions are on the market partitions.
    fn committed(&self) -> Result<Vec<u64>, Failure> {
        let none = || vec![0; self.topics[Input::Market as usize].places.len()];
        let mut all: Option<Vec<u64>> = None;
        for group in &self.makers {
            let mut committed = none();
            for offset in self.log.committed(group)? {
                if &*offset.partition.topic == MARKET_TOPIC
                    && let Some(next) = committed.get_mut(offset.partition.partition as usize)
                {
                    *next = offset.next;
                }
            }
            all = Some(match all {
                None => committed,
                Some(before) => before.into_iter().zip(committed).map(|(a, b)| a.min(b)).collect(),
            });
        }
        Ok(all.unwrap_or_else(none))
    }

    fn ends(&self, input: Input) -> Result<Vec<u64>, Failure> {
        let places = self.topics[input as usize].places.iter();
        places.map(|place| Ok(self.log.bounds(place)?.1)).collect()
    }
}

/// A position became unreadable under the reader: taken anew, it is a gap.
fn lost(error: LogError) -> Failure {
    match error {
        LogError::OutOfRange { .. } => Failure::Transient(error.to_string()),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use tapedeck_log::Headers;

    use super::*;

    #[test]
    fn a_record_of_the_second_topic_finds_its_partition_also_where_that_topic_has_more() {
        let of = |topic: &'static str, count: u32| (0..count).map(move |number| TopicPartition::new(topic, number));
        let places: Vec<TopicPartition> = of(SIGNALS, 4).chain(of(DECISIONS, 8)).collect();
        for (expected, place) in places.iter().enumerate() {
            let record = LogRecord {
                topic: Arc::clone(&place.topic),
                partition: place.partition,
                offset: 0,
                timestamp_ms: 0,
                key: None,
                value: None,
                headers: Headers::new(),
            };
            assert_eq!(at(&places, &record), expected, "{place}");
        }
    }
}
