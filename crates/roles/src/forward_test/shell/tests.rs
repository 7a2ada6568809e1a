//! The role on a real log: whatever fails or dies in between, what is visible at
//! the end is what an undisturbed run makes visible.
//!
//! Not here: what other files' tests hold.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tapedeck_contracts::{
    Dec, Event, EventId, Timestamp,
    catalogue::{group_of, state_topic},
    events::{
        Action, Envelope, MarketData, MarketKind, RiskCommand, Signal, SignalBody, risk::RiskCommandKind,
        signal::SignalMarket,
    },
    headers::{self, Place, Seq},
};
use tapedeck_flow::{Aside, Boundaries, Failure, Gauges, Outbound, Phase, Stop, state};
use tapedeck_log::{
    GroupOffset, Log, LogRecord, PollLimits, TopicPartition,
    embedded::{EmbeddedConfig, EmbeddedLog},
};

use super::{JoinConfig, ROLE, flaky::Flaky, run};
use crate::{
    Context,
    forward_test::{
        BrokerError, BrokerSetup, SourceInfo,
        config::{BrokerConfig, EssConfig, RiskConfig, SessionConfig, TradeSource},
        join::MARKET_TOPIC,
    },
};

mod causes;
mod decided;
mod kills;
mod letters;
mod memory;

const SOURCE: &str = "s";
/// In tests the broker panics over this symbol.
const PANICS: &str = "PANICS";
/// And refuses this one.
const REFUSED: &str = "REFUSED";
const SYMBOLS: [&str; 3] = ["ABC", "DEF", "XYZ"];
/// What the role says, and what must not depend on how it got there.
const OUTPUTS: [&str; 5] = ["exec.reports.v1", "trade-executions", "portfolio-updates", "risk.metrics.v1", "alerts.v1"];

/// What the broker says of these symbols.
pub(super) fn fault(symbol: &str) -> Result<(), BrokerError> {
    match symbol {
        PANICS => panic!("a symbol of tests"),
        REFUSED => Err(BrokerError::Poison("a symbol of tests".into())),
        _ => Ok(()),
    }
}

fn new_log() -> (tempfile::TempDir, Arc<EmbeddedLog>) {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path(), EmbeddedConfig::default()).unwrap();
    log.create_topics(&tapedeck_flow::topics::of_catalogue(None)).unwrap();
    (dir, log)
}

fn setup() -> BrokerSetup {
    let dec = |text: &str| Dec(text.parse().unwrap());
    BrokerSetup {
        sessions: vec![SessionConfig {
            id: "paper".into(),
            account: "acc".into(),
            currency: "USD".into(),
            starting_equity: dec("100000"),
            source: TradeSource::Signals,
            market_source: SOURCE.into(),
            fill_on: None,
            max_gross: None,
        }],
        instruments: Vec::new(),
        broker: BrokerConfig {
            latency_ms: 0,
            taker_commission_bps: dec("2"),
            maker_commission_bps: dec("1"),
            slippage_bps: dec("1"),
            volume_share: dec("0.5"),
            metrics_interval_ms: 60_000,
            join_wait_ms: 1_000,
            batch_max_events: 100,
        },
        risk: RiskConfig { zone: "UTC".into(), margin_rate: dec("0.05"), days_per_year: 365 },
        ess: EssConfig { daily_drawdown_pct: 0.0, losing_streak: 0, stale_data: false, hold_s: 300, cool_down_s: 900 },
        sources: vec![SourceInfo { id: SOURCE.into(), venue: "V".into(), volume_unit: Default::default() }],
    }
}

fn config() -> JoinConfig {
    JoinConfig { join_wait_ms: 1_000, batch_max_events: 40, replay: true, strategies: true, decides: false }
}

fn price(n: u64) -> Outbound {
    // A walk that is the same every time and moves each symbol both ways.
    let symbol = SYMBOLS[(n * n % 7 % 3) as usize];
    let price = Dec(rust_decimal::Decimal::new(10_000 + (n * n * 31 % 997) as i64, 2));
    let data = MarketData {
        kind: Some(MarketKind::Trade),
        ..MarketData::new(
            symbol,
            price,
            Dec(rust_decimal::Decimal::new(40, 0)),
            Timestamp::from_millis(n as i64 * 1_000),
            SOURCE,
        )
    };
    let envelope = Envelope { timestamp: data.timestamp, producer_service: "market".into(), data };
    let mut event = Outbound::first(MARKET_TOPIC, EventId::from_file("f", n), Event::MarketData(Box::new(envelope)));
    event.seq = Some(Seq { source: SOURCE.into(), n });
    event
}

/// What a strategy says to a market event: to every fifth, a new position.
fn signal(record: &LogRecord) -> Option<Outbound> {
    let seq = Seq::parse(record.headers.text(headers::SEQ)?)?;
    let Event::MarketData(price) = price(seq.n).event else { return None };
    let data = Signal {
        session_id: "paper".into(),
        strategy_id: "sma".into(),
        signal: SignalBody {
            action: if seq.n % 10 == 0 { Action::Buy } else { Action::Sell },
            quantity: Dec(rust_decimal::Decimal::new(1 + (seq.n % 50) as i64, 0)),
            reason: "test".into(),
            confidence: None,
            target_position: None,
            order: None,
        },
        market_data: SignalMarket { symbol: price.data.symbol.clone(), price: price.data.price },
    };
    let place = Place { topic: record.topic.to_string(), partition: record.partition, offset: record.offset };
    let id = EventId::derived(&EventId::from_file("f", seq.n), "strategy", "strategy-signals", "sma", 0);
    let envelope = Envelope { timestamp: price.data.timestamp, producer_service: "strategy".into(), data };
    let mut event = Outbound::first("strategy-signals", id, Event::Signal(Box::new(envelope)));
    event.root = Some((place.clone(), Some(seq.clone())));
    event.cause = Some(place);
    seq.n.is_multiple_of(5).then_some(event)
}

fn write(log: &dyn Log, role: &str, events: impl IntoIterator<Item = Outbound>) {
    let records = events.into_iter().map(|event| event.into_record(role).unwrap()).collect();
    log.append(records).unwrap();
}

fn places(log: &dyn Log, topic: &str) -> Vec<TopicPartition> {
    let info = log.topics().unwrap().into_iter().find(|info| &*info.config.name == topic).unwrap();
    info.partitions.iter().map(|part| TopicPartition::new(topic, part.partition)).collect()
}

fn read_all(log: &dyn Log, place: &TopicPartition, from: u64, to: u64) -> Vec<LogRecord> {
    let mut reader = log.reader().unwrap();
    reader.assign(&[(place.clone(), from)]).unwrap();
    let mut all = Vec::new();
    while reader.position(place).unwrap() < to {
        let limits = PollLimits { max_records: 10_000, max_bytes: 1 << 20, timeout: Duration::from_secs(1) };
        all.extend(reader.poll(limits).unwrap().into_iter().filter(|record| record.offset < to));
    }
    all
}

/// The strategies: signals of all market events from the group's offsets on, a
/// few at a time and each partition at its own pace, and then the offsets.
fn decide(log: &dyn Log) {
    make(log, "strategy", signal);
}

/// The same of any role, by what it says to a market event.
fn make(log: &dyn Log, role: &str, say: impl Fn(&LogRecord) -> Option<Outbound>) {
    let group = group_of(role);
    let mut next: BTreeMap<TopicPartition, u64> = BTreeMap::new();
    next.extend(log.committed(&group).unwrap().into_iter().map(|at| (at.partition, at.next)));
    loop {
        let mut moved = false;
        for (pace, place) in places(log, MARKET_TOPIC).into_iter().enumerate() {
            let at = next.get(&place).copied().unwrap_or(0);
            let end = log.bounds(&place).unwrap().1.min(at + 3 + 11 * pace as u64);
            write(log, role, read_all(log, &place, at, end).iter().filter_map(&say));
            log.reset_offsets(&group, &[GroupOffset { partition: place.clone(), next: end }]).unwrap();
            moved |= end > at;
            next.insert(place, end);
        }
        if !moved {
            return;
        }
    }
}

fn finish_source(log: &dyn Log, n: u64) {
    let value = format!(r#"{{"made_of":{{}},"acked":{n},"done":{n}}}"#).into_bytes();
    log.append(vec![state::record(&state_topic("market").into(), 0, SOURCE, Some(value))]).unwrap();
}

/// The role in a thread of its own.
struct Running {
    context: Context,
    thread: Option<JoinHandle<Result<(), Failure>>>,
}

impl Running {
    fn start(log: Arc<dyn Log>, member: &str, config: JoinConfig) -> Self {
        Self::start_with(log, member, config, Boundaries::default())
    }

    fn start_with(log: Arc<dyn Log>, member: &str, config: JoinConfig, boundaries: Boundaries) -> Self {
        Self::start_of(log, member, setup(), config, boundaries)
    }

    fn start_of(
        log: Arc<dyn Log>,
        member: &str,
        setup: BrokerSetup,
        config: JoinConfig,
        boundaries: Boundaries,
    ) -> Self {
        let context = Context {
            log,
            stop: Stop::new(),
            member: member.into(),
            gauges: Arc::new(Gauges::default()),
            boundaries,
            aside: if config.replay { Aside::Stop } else { Aside::DeadLetter },
            emitter: None,
            budget: Default::default(),
        };
        let given = context.clone();
        let thread = Some(thread::spawn(move || run(given, setup, config)));
        Self { context, thread }
    }

    /// Waits until this is so, looking every millisecond.
    fn until(&self, done: impl Fn(&Context) -> bool) {
        while !done(&self.context) {
            let running = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
            assert!(running, "the role ended: {:?}", self.context.gauges.phase());
            self.context.stop.wait(Duration::from_millis(1));
        }
    }

    fn until_settled(&self) {
        self.until(|context| settled(&*context.log));
    }

    fn stop(mut self) -> Phase {
        self.context.stop.request();
        self.thread.take().unwrap().join().unwrap().unwrap();
        self.context.gauges.phase()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.context.stop.request();
    }
}

/// All inputs are applied, and the source's end too where it has one.
fn settled(log: &dyn Log) -> bool {
    let committed = log.committed(&group_of(ROLE)).unwrap();
    let reached = |place: &TopicPartition| {
        let end = log.bounds(place).unwrap().1;
        end == 0 || committed.iter().any(|at| at.partition == *place && at.next >= end)
    };
    [MARKET_TOPIC, "strategy-signals", "risk-commands"].iter().all(|topic| places(log, topic).iter().all(reached))
        && (source_note(log, "market", SOURCE).is_none()
            || source_note(log, ROLE, "@seq/s").is_some_and(|note| note.contains("ended")))
}

fn source_note(log: &dyn Log, role: &str, key: &str) -> Option<String> {
    let state = state::load(log, &state_topic(role).into(), 0).unwrap();
    state.get(key).map(|note| String::from_utf8(note.to_vec()).unwrap())
}

/// Ids and bodies of all outputs, in the order of each partition.
fn outputs(log: &dyn Log) -> BTreeMap<String, Vec<(String, String)>> {
    let mut all = BTreeMap::new();
    for place in OUTPUTS.iter().flat_map(|topic| places(log, topic)) {
        let (start, end) = log.bounds(&place).unwrap();
        let said = read_all(log, &place, start, end).into_iter().map(|record| {
            let body = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            (record.headers.text(headers::CE_ID).unwrap().to_owned(), body)
        });
        all.insert(place.to_string(), said.collect());
    }
    all
}

const EVENTS: u64 = 1_500;

/// An undisturbed run over everything.
fn undisturbed() -> BTreeMap<String, Vec<(String, String)>> {
    let (_dir, log) = new_log();
    write(&*log, "market", (1..=EVENTS).map(price));
    decide(&*log);
    finish_source(&*log, EVENTS);
    let role = Running::start(log.clone(), "one", config());
    role.until_settled();
    assert_eq!(role.stop(), Phase::Stopped);
    outputs(&*log)
}

#[test]
fn a_run_that_fails_at_every_turn_says_what_an_undisturbed_one_says() {
    let expected = undisturbed();
    let reports: usize =
        expected.iter().filter(|(place, _)| place.starts_with("exec")).map(|(_, said)| said.len()).sum();
    assert!(reports > EVENTS as usize / 5, "{reports} execution reports");
    let (_dir, log) = new_log();
    let flaky = Arc::new(Flaky::new(log.clone()));
    let role = Running::start(flaky.clone(), "one", config());
    for from in (1..=EVENTS).step_by(100) {
        write(&*log, "market", (from..from + 100).map(price));
        // The market role sends the last ones again, as after a kill.
        write(&*log, "market", (from + 90..from + 100).map(price));
        decide(&*log);
    }
    finish_source(&*log, EVENTS);
    role.until_settled();
    assert_eq!(role.stop(), Phase::Stopped);
    assert!(flaky.failures() > 10, "{} failures", flaky.failures());
    assert_eq!(outputs(&*log), expected);
}

#[test]
fn another_process_goes_on_where_the_active_one_left() {
    let expected = undisturbed();
    let (_dir, log) = new_log();
    let mut active = Running::start(log.clone(), "m0", config());
    active.until(|context| context.gauges.phase() == Phase::Running);
    for (turn, from) in (1..=EVENTS).step_by(300).enumerate() {
        let standby = Running::start(log.clone(), &format!("m{}", turn + 1), config());
        standby.until(|context| context.gauges.phase() == Phase::Standby);
        let batches = active.context.gauges.batches.load(Relaxed);
        write(&*log, "market", (from..from + 300).map(price));
        decide(&*log);
        active.until(|context| context.gauges.batches.load(Relaxed) > batches);
        assert_eq!(standby.context.gauges.batches.load(Relaxed), 0);
        active.stop();
        standby.until(|context| context.gauges.phase() == Phase::Running);
        active = standby;
    }
    finish_source(&*log, EVENTS);
    active.until_settled();
    assert_eq!(outputs(&*log), expected);
}

#[test]
fn a_live_role_applies_what_nobody_closes_after_its_wait_and_marks_what_comes_late() {
    let (_dir, log) = new_log();
    let role = Running::start(log.clone(), "one", JoinConfig { join_wait_ms: 20, replay: false, ..config() });
    // Numbers 3 to 5 never come, and no strategy is there.
    write(&*log, "market", [1, 2, 6, 7, 8, 9, 10].map(price));
    role.until(|context| context.gauges.last_seq.load(Relaxed) == 10);
    decide(&*log);
    role.until_settled();
    // What is visible in the log is counted a moment later: the end comes after both.
    let gauges = Arc::clone(&role.context.gauges);
    assert_eq!(role.stop(), Phase::Stopped);
    assert_eq!(gauges.gaps.load(Relaxed), 3);
    assert_eq!(gauges.late.load(Relaxed), 1, "that of number 10");
}

#[test]
fn signals_and_commands_that_were_written_twice_are_applied_once() {
    let (_dir, log) = new_log();
    write(&*log, "market", (1..=20).map(price));
    decide(&*log);
    let trip = RiskCommand {
        event_id: EventId::from("trip"),
        timestamp: Timestamp::from_millis(1),
        account: "acc".into(),
        command: RiskCommandKind::Trip,
        reason: "test".into(),
        actor: "test".into(),
        flatten: None,
    };
    let trip = || Outbound::first("risk-commands", trip.event_id.clone(), Event::RiskCommand(Box::new(trip.clone())));
    for _ in 0..2 {
        let role = Running::start(log.clone(), "one", config());
        write(&*log, "api", [trip()]);
        log.reset_offsets("tapedeck.strategy", &[]).unwrap();
        let again = places(&*log, MARKET_TOPIC).into_iter().flat_map(|place| {
            let end = log.bounds(&place).unwrap().1;
            read_all(&*log, &place, 0, end).iter().filter_map(signal).collect::<Vec<_>>()
        });
        write(&*log, "strategy", again);
        role.until_settled();
        role.stop();
    }
    let ids = AtomicU64::new(0);
    for (_, said) in outputs(&*log) {
        let distinct: std::collections::BTreeSet<_> = said.iter().map(|(id, _)| id).collect();
        assert_eq!(distinct.len(), said.len());
        ids.fetch_add(said.len() as u64, Relaxed);
    }
    let at = state::load(&*log, &state_topic(ROLE).into(), 0).unwrap();
    assert!(at.contains_key("@at"));
}

#[test]
fn a_record_that_cannot_be_read_blocks_the_role_behind_everything_before_it() {
    let (_dir, log) = new_log();
    write(&*log, "market", (1..=50).map(price));
    let mut bad = price(51).into_record("market").unwrap();
    bad.value = Some(bytes::Bytes::from_static(b"{\"data\":{}}"));
    log.append(vec![bad]).unwrap();
    write(&*log, "market", (52..=60).map(price));
    decide(&*log);
    let role = Running::start(log.clone(), "one", config());
    role.until(|context| matches!(context.gauges.phase(), Phase::Blocked(_)));
    role.until(|context| context.gauges.last_seq.load(Relaxed) >= 50);
    let gauges = Arc::clone(&role.context.gauges);
    let phase = role.stop();
    assert_eq!(gauges.last_seq.load(Relaxed), 50);
    let Phase::Blocked(text) = phase else { panic!("{phase:?}") };
    assert!(text.starts_with("market-data-updates/"), "{text}");
    let place = text.split(": ").next().unwrap();
    assert!(text.contains(&format!("`tapedeck groups skip tapedeck.forward-test {place} --reason")), "{text}");
}

#[test]
fn a_record_that_the_broker_refuses_blocks_the_role_behind_everything_before_it() {
    let (_dir, log) = new_log();
    let mut huge = price(37);
    let Event::MarketData(body) = &mut huge.event else { unreachable!() };
    body.data.price = Dec("999999999999999999".parse().unwrap());
    write(&*log, "market", (1..=36).map(price).chain([huge]).chain((38..=60).map(price)));
    decide(&*log);
    let role = Running::start(log.clone(), "one", JoinConfig { batch_max_events: 1_000, ..config() });
    role.until(|context| matches!(context.gauges.phase(), Phase::Blocked(_)));
    role.until(|context| context.gauges.last_seq.load(Relaxed) >= 36);
    assert_eq!(source_note(&*log, ROLE, "@seq/s").unwrap(), r#"{"next":37}"#);
    assert!(outputs(&*log).values().any(|said| !said.is_empty()));
    assert!(matches!(role.stop(), Phase::Blocked(_)));
}

#[test]
fn a_log_that_ends_before_the_state_is_refused() {
    let (_dir, log) = new_log();
    write(&*log, "market", (1..=5).map(price));
    let place = &places(&*log, MARKET_TOPIC)[0];
    let at = format!(r#"{{"next":{{"{place}":1000}}}}"#).into_bytes();
    log.append(vec![state::record(&state_topic(ROLE).into(), 0, "@at", Some(at))]).unwrap();
    let context = Context {
        log: log.clone(),
        stop: Stop::new(),
        member: "one".into(),
        gauges: Arc::new(Gauges::default()),
        boundaries: Default::default(),
        aside: Default::default(),
        emitter: None,
        budget: Default::default(),
    };
    let failure = run(context.clone(), setup(), config()).unwrap_err();
    assert!(failure.to_string().contains("is at offset 1000, but the log ends at"), "{failure}");
    assert!(matches!(context.gauges.phase(), Phase::Failed(_)));
}
