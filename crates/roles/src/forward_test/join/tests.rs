//! What the join promises, over any timing of partitions, strategies, restarts.
//!
//! Not here: what other files' tests hold.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tapedeck_contracts::{
    Dec, Event, EventId, Timestamp,
    events::{
        Action, Envelope, MarketData, RiskCommand, Signal, SignalBody, risk::RiskCommandKind, signal::SignalMarket,
    },
    headers::{Place, Seq},
};
use tapedeck_flow::{Delivery, Meta};
use tapedeck_log::{Headers, LogRecord};

use super::*;

const MARKET: u32 = 3;
const SIGNALS: u32 = 2;

fn delivery(topic: &str, partition: u32, offset: u64, id: &str, meta: Meta, event: Event) -> Delivery {
    let record = LogRecord {
        topic: topic.into(),
        partition,
        offset,
        timestamp_ms: 0,
        key: None,
        value: None,
        headers: Headers::new(),
    };
    Delivery { record, id: EventId::from(id), meta, event }
}

fn offer(join: &mut Join, input: Input, delivery: Delivery, now_ms: i64) -> Offered {
    join.offer(input, delivery.record.partition as usize, delivery, now_ms)
}

fn price(partition: u32, offset: u64, seq: Option<(&str, u64)>) -> Delivery {
    let data = MarketData::new(&format!("S{partition}"), Dec::ZERO, Dec::ZERO, Timestamp::default(), "s");
    let event = Event::MarketData(Box::new(Envelope {
        timestamp: Timestamp::default(),
        producer_service: "market".into(),
        data,
    }));
    let id = match seq {
        Some((source, n)) => format!("{source}{n}"),
        None => format!("u{partition}/{offset}"),
    };
    let meta = Meta { seq: seq.map(|(source, n)| Seq { source: source.into(), n }), ..Meta::default() };
    delivery(MARKET_TOPIC, partition, offset, &id, meta, event)
}

fn signal(partition: u32, offset: u64, id: &str, root: Option<(&str, u64)>) -> Delivery {
    let data = Signal {
        session_id: "x".into(),
        strategy_id: id.split('.').next_back().unwrap().into(),
        signal: SignalBody {
            action: Action::Buy,
            quantity: Dec::default(),
            reason: String::new(),
            confidence: None,
            target_position: None,
            order: None,
        },
        market_data: SignalMarket { symbol: "S".into(), price: Dec::default() },
    };
    let event = Event::Signal(Box::new(Envelope {
        timestamp: Timestamp::default(),
        producer_service: "strategy".into(),
        data,
    }));
    let meta = Meta { root_seq: root.map(|(source, n)| Seq { source: source.into(), n }), ..Meta::default() };
    delivery("strategy-signals", partition, offset, id, meta, event)
}

fn command(partition: u32, offset: u64) -> Delivery {
    let event = Event::RiskCommand(Box::new(RiskCommand {
        event_id: EventId::from("c"),
        timestamp: Timestamp::default(),
        account: "a".into(),
        command: RiskCommandKind::Trip,
        reason: "test".into(),
        actor: "test".into(),
        flatten: None,
    }));
    delivery("risk-commands", partition, offset, "c", Meta::default(), event)
}

fn join(wait_ms: Option<i64>) -> Join {
    Join::new(&JoinSetup { partitions: [MARKET, SIGNALS, 1], strategies: true, wait_ms })
}

/// What was given, in words: the id, and `late:` before a late signal.
fn said(next: Next) -> Option<String> {
    Some(match next {
        Next::Market(delivery) | Next::Command(delivery) | Next::Signal { delivery, late: false } => {
            delivery.id.to_string()
        }
        Next::Signal { delivery, late: true } => format!("late:{}", delivery.id),
        Next::Gap { source, from, to, .. } => format!("gap:{source}{from}-{to}"),
        Next::Empty { source, from, to } => format!("empty:{source}{from}-{to}"),
        Next::End { source, n } => format!("end:{source}{n}"),
        Next::Stuck { source, n } => format!("stuck:{source}{n}"),
        Next::Wait(_) => return None,
    })
}

fn drain(join: &mut Join) -> Vec<String> {
    std::iter::from_fn(|| said(join.take_next())).collect()
}

fn close_all(join: &mut Join, now_ms: i64) {
    let ends = (0..SIGNALS as usize).map(|q| join.lanes[1][q].read_to()).collect();
    join.begin_closing(vec![u64::MAX; MARKET as usize], ends, now_ms);
}

#[derive(Clone, Debug)]
struct Planned {
    source: usize,
    partition: u32,
    /// Partitions of the signals it causes, by strategy.
    signals: Vec<u32>,
    /// The market role writes the one before once more after it.
    again: bool,
}

/// A log, strategies that work through it, and a join that reads it.
struct World {
    plan: Vec<Planned>,
    market: Vec<Vec<Delivery>>,
    signals: Vec<Vec<Delivery>>,
    /// By id of the market event, where its signals go.
    causes: BTreeMap<String, Vec<u32>>,
    /// Up to where strategies wrote signals, and up to where they said so.
    emitted: Vec<usize>,
    committed: Vec<usize>,
    read: [Vec<usize>; 2],
    numbers: [u64; 2],
    join: Join,
    given: Vec<String>,
}

const SOURCES: [&str; 2] = ["a", "b"];

impl World {
    fn new(plan: Vec<Planned>) -> Self {
        Self {
            plan: plan.into_iter().rev().collect(),
            market: vec![Vec::new(); MARKET as usize],
            signals: vec![Vec::new(); SIGNALS as usize],
            causes: BTreeMap::new(),
            emitted: vec![0; MARKET as usize],
            committed: vec![0; MARKET as usize],
            read: [vec![0; MARKET as usize], vec![0; SIGNALS as usize]],
            numbers: [0, 0],
            join: join(None),
            given: Vec::new(),
        }
    }

    /// The offset after the last; every third offset holds nothing.
    fn end(partition: &[Delivery]) -> u64 {
        partition.last().map_or(0, |last| last.record.offset + 1 + u64::from(partition.len().is_multiple_of(3)))
    }

    fn write(&mut self) {
        let Some(next) = self.plan.pop() else { return };
        self.numbers[next.source] += 1;
        let (source, n) = (SOURCES[next.source], self.numbers[next.source]);
        self.causes.insert(format!("{source}{n}"), next.signals.clone());
        let lane = &mut self.market[next.partition as usize];
        lane.push(price(next.partition, Self::end(lane), Some((source, n))));
        if next.again {
            lane.push(price(next.partition, Self::end(lane), Some((source, n))));
        }
    }

    fn emit(&mut self, p: usize) {
        let Some(event) = self.market[p].get(self.emitted[p]) else { return };
        self.emitted[p] += 1;
        // A number seen before causes nothing: it was removed with its first.
        for (strategy, &q) in self.causes.remove(event.id.as_str()).unwrap_or_default().iter().enumerate() {
            let seq = event.meta.seq.as_ref().unwrap();
            let lane = &mut self.signals[q as usize];
            let id = format!("{}.{strategy}", event.id);
            lane.push(signal(q, Self::end(lane), &id, Some((&seq.source, seq.n))));
        }
    }

    fn read(&mut self, input: Input, at: usize, count: usize) {
        let lane = if input == Input::Market { &self.market[at] } else { &self.signals[at] };
        let from = self.read[input as usize][at];
        let to = lane.len().min(from + count);
        for delivery in &lane[from..to] {
            offer(&mut self.join, input, delivery.clone(), 0);
        }
        self.read[input as usize][at] = to;
        if to == lane.len() {
            self.join.read_up_to(input, at, Self::end(lane));
        }
    }

    fn ask(&mut self) {
        let offset = |(p, &at): (usize, &usize)| {
            self.market[p].get(at).map_or(Self::end(&self.market[p]), |next| next.record.offset)
        };
        let committed = self.committed.iter().enumerate().map(offset).collect();
        self.join.begin_closing(committed, self.signals.iter().map(|lane| Self::end(lane)).collect(), 0);
    }

    fn apply(&mut self, most: usize) {
        let mut left = most;
        while left > 0 || !self.join.may_pause() {
            let Some(said) = said(self.join.take_next()) else { return };
            self.given.push(said);
            left = left.saturating_sub(1);
        }
    }

    /// Everything in memory is lost; the state says where to go on.
    fn restart(&mut self) {
        let mut next = join(None);
        for (input, lanes) in [(Input::Market, &self.market), (Input::Signals, &self.signals)] {
            for (at, lane) in lanes.iter().enumerate() {
                let position = self.join.position(input, at);
                next.start_at(input, at, position, &self.join.ahead(input, at));
                self.read[input as usize][at] = lane.partition_point(|record| record.record.offset < position);
            }
        }
        for source in self.join.sources() {
            next.start_source(&source);
        }
        self.join = next;
    }

    fn step(&mut self, what: u8, at: u8, count: u8) {
        let (p, q) = (usize::from(at) % MARKET as usize, usize::from(at) % SIGNALS as usize);
        match what {
            0..=2 => self.write(),
            3 => self.emit(p),
            4 => self.committed[p] = self.emitted[p],
            5 => self.read(Input::Market, p, count.into()),
            6 => self.read(Input::Signals, q, count.into()),
            7 => self.ask(),
            8 => self.apply(count.into()),
            _ => self.restart(),
        }
    }

    fn finish(&mut self) {
        while !self.plan.is_empty() {
            self.write();
        }
        // Each round moves everything by one at least, so this many suffice.
        for _ in 0..3 * self.market.iter().map(Vec::len).sum::<usize>() + 3 {
            for p in 0..MARKET as usize {
                self.emit(p);
                self.committed[p] = self.emitted[p];
                self.read(Input::Market, p, 9);
            }
            self.ask();
            (0..SIGNALS as usize).for_each(|q| self.read(Input::Signals, q, 9));
            self.apply(usize::MAX);
        }
    }
}

fn expected(plan: &[Planned], source: usize) -> Vec<String> {
    let mut all = Vec::new();
    for (n, event) in plan.iter().filter(|event| event.source == source).enumerate() {
        let id = format!("{}{}", SOURCES[source], n + 1);
        all.push(id.clone());
        all.extend((0..event.signals.len()).map(|strategy| format!("{id}.{strategy}")));
    }
    all
}

fn planned() -> impl Strategy<Value = Planned> {
    (0..2usize, 0..MARKET, prop::collection::vec(0..SIGNALS, 0..3), any::<bool>())
        .prop_map(|(source, partition, signals, again)| Planned { source, partition, signals, again })
}

proptest! {
    #[test]
    fn whatever_the_timing_the_order_is_the_same(
        plan in prop::collection::vec(planned(), 1..60),
        steps in prop::collection::vec((0..10u8, any::<u8>(), 0..7u8), 0..400),
    ) {
        let mut world = World::new(plan.clone());
        for (what, at, count) in steps {
            world.step(what, at, count);
        }
        world.finish();
        for (source, name) in SOURCES.iter().enumerate() {
            let given: Vec<_> = world.given.iter().filter(|said| said.starts_with(name)).cloned().collect();
            prop_assert_eq!(given, expected(&plan, source));
        }
        prop_assert_eq!(world.given.iter().filter(|said| said.contains(':')).count(), 0);
        for (p, lane) in world.market.iter().enumerate() {
            prop_assert_eq!(world.join.position(Input::Market, p), World::end(lane));
        }
        for (q, lane) in world.signals.iter().enumerate() {
            prop_assert_eq!(world.join.position(Input::Signals, q), World::end(lane));
            prop_assert!(world.join.ahead(Input::Signals, q).is_empty());
        }
    }
}

#[test]
fn an_event_waits_until_the_strategies_are_past_it_and_their_signals_are_read() {
    let mut join = join(None);
    offer(&mut join, Input::Market, price(0, 5, Some(("a", 1))), 0);
    join.begin_closing(vec![5, 0, 0], vec![0, 0], 0);
    assert_eq!(join.next_wait(), Wait { closing: true, ..Wait::default() });
    assert!(!join.closing_helps(&[5, 9, 9], 0));
    assert!(join.closing_helps(&[6, 0, 0], 0));
    join.begin_closing(vec![6, 0, 0], vec![1, 0], 0);
    assert_eq!(drain(&mut join), [""; 0]);
    offer(&mut join, Input::Signals, signal(0, 0, "a1.x", Some(("a", 1))), 0);
    assert_eq!(drain(&mut join), ["a1", "a1.x"]);
}

#[test]
fn a_late_signal_is_applied_at_once_and_marked() {
    let mut join = join(Some(1_000));
    offer(&mut join, Input::Market, price(0, 0, Some(("a", 1))), 10);
    close_all(&mut join, 10);
    assert_eq!(drain(&mut join), ["a1"]);
    offer(&mut join, Input::Market, price(0, 1, Some(("a", 2))), 10);
    offer(&mut join, Input::Signals, signal(0, 0, "a1.x", Some(("a", 1))), 10);
    offer(&mut join, Input::Signals, signal(1, 0, "a2.x", Some(("a", 2))), 10);
    assert_eq!(drain(&mut join), ["late:a1.x", "a2", "a2.x"]);
}

#[test]
fn a_live_price_goes_on_when_it_waited_long_enough_and_a_replayed_one_does_not() {
    for (wait_ms, given) in [(Some(1_000), vec!["a1"]), (None, vec![])] {
        let mut join = join(wait_ms);
        offer(&mut join, Input::Market, price(0, 0, Some(("a", 1))), 10);
        assert!(!join.closing_helps(&[0, 0, 0], 1_009));
        assert_eq!(join.closing_helps(&[0, 0, 0], 1_010), wait_ms.is_some());
        join.begin_closing(vec![0, 0, 0], vec![1, 0], 1_010);
        assert_eq!(drain(&mut join), [""; 0], "signals that are there already are read first");
        join.read_up_to(Input::Signals, 0, 1);
        assert_eq!(drain(&mut join), given);
    }
}

#[test]
fn a_missing_number_is_a_gap_when_it_did_not_come_for_as_long() {
    let mut join = join(Some(1_000));
    offer(&mut join, Input::Signals, signal(0, 0, "a2.x", Some(("a", 2))), 0);
    offer(&mut join, Input::Market, price(0, 0, Some(("a", 4))), 10);
    close_all(&mut join, 10);
    let wait = join.next_wait();
    assert_eq!(wait, Wait { closing: false, number: true, root: true });
    assert!(join.survey_helps(Wait { number: true, ..Wait::default() }, 1_010));
    assert!(!join.survey_helps(Wait { number: true, ..Wait::default() }, 1_009));
    join.begin_survey(vec![1, 7, 0], 1_010);
    assert_eq!(drain(&mut join), [""; 0], "a partition that is not read to its end may hold it");
    join.read_up_to(Input::Market, 1, 7);
    assert_eq!(drain(&mut join), ["gap:a1-3", "late:a2.x", "a4"]);
    assert_eq!(join.next_number("a"), 5);
}

#[test]
fn a_missing_number_is_waited_for_in_a_replay() {
    let mut join = join(None);
    offer(&mut join, Input::Market, price(0, 0, Some(("a", 2))), 10);
    join.begin_survey(vec![1, 0, 0], 1_000_000);
    close_all(&mut join, 1_000_000);
    assert_eq!(drain(&mut join), [""; 0]);
    offer(&mut join, Input::Market, price(1, 0, Some(("a", 1))), 2_000_000);
    close_all(&mut join, 2_000_000);
    assert_eq!(drain(&mut join), ["a1", "a2"]);
}

#[test]
fn a_signal_whose_market_event_is_not_in_the_log_is_late() {
    let mut join = join(None);
    offer(&mut join, Input::Market, price(0, 0, Some(("a", 1))), 0);
    offer(&mut join, Input::Signals, signal(0, 0, "a9.x", Some(("a", 9))), 0);
    close_all(&mut join, 0);
    assert_eq!(drain(&mut join), ["a1"]);
    join.begin_survey(vec![2, 0, 0], 0);
    assert_eq!(drain(&mut join), [""; 0]);
    join.read_up_to(Input::Market, 0, 2);
    assert_eq!(drain(&mut join), ["late:a9.x"]);
    assert_eq!(join.position(Input::Signals, 0), 1);
}

#[test]
fn what_has_no_market_event_comes_before_the_next_number() {
    let mut join = join(None);
    offer(&mut join, Input::Market, price(0, 0, Some(("a", 1))), 0);
    offer(&mut join, Input::Commands, command(0, 0), 0);
    offer(&mut join, Input::Signals, signal(0, 0, "free.x", None), 0);
    assert_eq!(drain(&mut join), ["c", "free.x"]);
    close_all(&mut join, 0);
    assert_eq!(drain(&mut join), ["a1"]);
}

#[test]
fn market_data_without_a_number_is_taken_in_the_order_of_its_partition() {
    let mut join = join(None);
    let mut by_place = signal(0, 0, "u.x", None);
    by_place.meta.root = Some(Place { topic: MARKET_TOPIC.into(), partition: 0, offset: 3 });
    offer(&mut join, Input::Signals, by_place, 0);
    offer(&mut join, Input::Market, price(0, 1, Some(("a", 2))), 0);
    offer(&mut join, Input::Market, price(0, 3, None), 0);
    offer(&mut join, Input::Market, price(1, 2, None), 0);
    close_all(&mut join, 0);
    assert_eq!(drain(&mut join), ["u1/2"], "a2 lies before u0/3 and waits for a1");
    offer(&mut join, Input::Market, price(1, 4, Some(("a", 1))), 0);
    close_all(&mut join, 0);
    assert_eq!(drain(&mut join), ["a1", "a2", "u0/3", "u.x"]);
}

#[test]
fn a_source_ends_once_when_its_last_number_was_taken() {
    let mut join = join(None);
    join.source_done("a", 1);
    assert_eq!(drain(&mut join), [""; 0]);
    offer(&mut join, Input::Market, price(0, 0, Some(("a", 1))), 0);
    close_all(&mut join, 0);
    assert_eq!(drain(&mut join), ["a1", "end:a1"]);
    let at: Vec<_> = join.sources().collect();
    assert_eq!(at, [SourceAt { source: "a".into(), next: 2, ended: Some(1), empty: Vec::new() }]);
    let mut again = super::tests::join(None);
    again.start_source(&at[0]);
    again.source_done("a", 1);
    assert_eq!(drain(&mut again), [""; 0]);
}

#[test]
fn a_number_behind_a_full_partition_is_reached_and_memory_stays_bounded() {
    let mut join = join(None);
    let mut offset = 0;
    while join.may_read(0, true) {
        offer(&mut join, Input::Market, price(0, offset, Some(("b", offset + 2))), 0);
        offset += 1;
        if offset as usize == LANE_RECORDS {
            assert!(!join.may_read(0, true), "full, and nobody asked for a number yet");
            assert_eq!(drain(&mut join), [""; 0]);
            assert!(!join.may_read(0, false), "others may still bring it");
        }
    }
    assert_eq!(offset as usize, ALL_RECORDS);
    assert_eq!(said(join.take_next()).as_deref(), Some("stuck:b1"));
    offer(&mut join, Input::Market, price(1, 0, Some(("b", 1))), 0);
    close_all(&mut join, 0);
    assert_eq!(drain(&mut join).len(), ALL_RECORDS + 1);
    assert!(join.may_read(0, false));
}

impl Join {
    fn next_wait(&mut self) -> Wait {
        match self.take_next() {
            Next::Wait(wait) => wait,
            other => panic!("{other:?} instead of a wait"),
        }
    }
}
