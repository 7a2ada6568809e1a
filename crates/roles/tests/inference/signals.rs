//! Decisions on signals: each on the features of its market event, in the market's order,
//! whoever was read first.
//!
//! Not here: which signals strategies make.

use tapedeck_contracts::{
    Dec,
    events::{
        Signal,
        decision::Outcome,
        signal::{SignalBody, SignalMarket},
    },
    headers::{Place, ROOT},
};
use tapedeck_roles::{
    inference::config::Trigger,
    strategy::{self, StrategyConfig},
};

use super::*;

/// A replay: each event after the one before it, and after its signals, however long they take.
const REPLAY: How = How { order: Order::Numbered, joining: Joining { strategies: true, wait_ms: None }, ..LIVE };

fn tape() -> Tape {
    let mut tape = Tape::new();
    tape.config.trigger = Trigger::Signals;
    tape
}

/// The strategy role on the same log, of a strategy that turns often.
fn strategies(tape: &Tape) -> Running {
    let (stop, gauges) = (Stop::new(), Arc::new(Gauges::default()));
    let ctx = Context {
        log: Arc::clone(&tape.log) as Arc<dyn Log>,
        stop: stop.clone(),
        member: "strategies".into(),
        gauges: Arc::clone(&gauges),
        boundaries: Default::default(),
        aside: Default::default(),
        emitter: None,
        budget: Default::default(),
    };
    let config: StrategyConfig =
        serde_json::from_str(r#"{"id":"turns","kind":"sma_crossover","session_id":"s","fast":2,"slow":5}"#).unwrap();
    let delivery = DeliveryConfig { batch_max_age_ms: 1, batch_max_records: 17, ..DeliveryConfig::default() };
    let role = Some(thread::spawn(move || strategy::shell::run(ctx, vec![config], delivery)));
    Running { stop, gauges, role }
}

/// Decisions without where their signals lie: several symbols share a partition, and come as they come.
fn decided(tape: &Tape) -> BTreeMap<String, TradingDecision> {
    tape.decisions().into_iter().map(|(id, (_, decision))| (id, decision)).collect()
}

fn replayed(how: How, parts: usize) -> Tape {
    let tape = tape();
    let (strategies, role) = (strategies(&tape), Running::start(&tape, how));
    for part in market(200).chunks(parts) {
        tape.log.append(part.to_vec()).unwrap();
    }
    role.until(|| tape.is_settled());
    drop((role, strategies));
    tape
}

#[test]
fn a_replay_decides_on_signals_the_same_however_its_partitions_are_read() {
    let first = replayed(REPLAY, 800);
    let expected = decided(&first);
    let signals = first.read(shell::SIGNALS);
    assert!(signals.len() > 50 && expected.len() == signals.len(), "{} of {}", expected.len(), signals.len());
    let count = |reason: &str| expected.values().filter(|one| one.reasons.iter().any(|own| own == reason)).count();
    assert_eq!(count("newest_features"), 0, "each has its market event");
    assert!(count("signal_disagrees") > 0);
    let roots: BTreeMap<String, String> = signals
        .iter()
        .map(|record| {
            let place = Place { topic: shell::SIGNALS.into(), partition: record.partition, offset: record.offset };
            (place.to_string(), record.headers.text(ROOT).unwrap().to_owned())
        })
        .collect();
    for record in first.read(shell::DECISIONS) {
        let cause = record.headers.text(CAUSE).unwrap();
        assert_eq!(record.headers.text(ROOT), Some(roots[cause].as_str()), "its root is that of its signal");
    }
    assert_eq!(decided(&replayed(How { batch: 7, ..REPLAY }, 13)), expected);
    assert_eq!(decided(&replayed(How { emits: false, batch: 200, ..REPLAY }, 90)), expected);
}

#[test]
fn after_a_restart_in_the_middle_signals_are_decided_on_the_same_with_the_same_ids() {
    let expected = decided(&replayed(REPLAY, 800));
    let restarted = tape();
    for part in market(200).chunks(137) {
        restarted.log.append(part.to_vec()).unwrap();
        let (strategies, role) = (strategies(&restarted), Running::start(&restarted, REPLAY));
        role.until(|| restarted.is_settled());
        drop((role, strategies));
    }
    assert_eq!(decided(&restarted), expected);
    // Those of strategies that had gone ahead by all of it.
    let ahead = tape();
    ahead.log.append(market(200)).unwrap();
    let strategies = strategies(&ahead);
    strategies.until(|| ahead.is_past_market("tapedeck.strategy"));
    ahead.settle(REPLAY);
    drop(strategies);
    assert_eq!(decided(&ahead), expected);
}

/// A signal as somebody else writes it, with the market event that it goes back to.
fn signal(id: &str, root: Option<&str>) -> Record {
    let signal = Signal {
        session_id: "s".into(),
        strategy_id: "outside".into(),
        signal: SignalBody {
            action: tapedeck_contracts::events::Action::Buy,
            quantity: Dec::parse("1").unwrap(),
            reason: "a hunch".into(),
            confidence: None,
            target_position: None,
            order: None,
        },
        market_data: SignalMarket { symbol: SYMBOLS[0].into(), price: Dec::parse("1").unwrap() },
    };
    let event = Event::Signal(Box::new(Envelope {
        timestamp: Timestamp::from_micros(1_700_000_000_000_000),
        producer_service: "outside".into(),
        data: signal,
    }));
    let mut outbound = Outbound::first(shell::SIGNALS, EventId::from(id), event);
    outbound.root = root.map(|root| (Place::parse(root).unwrap(), None));
    outbound.into_record("outside").unwrap()
}

#[test]
fn what_has_no_market_event_to_wait_for_is_decided_on_the_newest_features_and_says_so() {
    let tape = tape();
    let records = market(120);
    tape.log.append(records[..400].to_vec()).unwrap();
    // What lies there before anything was decided is left out.
    tape.log.append(vec![signal("old", None)]).unwrap();
    tape.settle(LIVE);
    assert!(decided(&tape).is_empty());
    let of_symbol = |record: &&LogRecord| record.key.as_deref() == Some(SYMBOLS[0].as_bytes());
    let market = tape.read(shell::MARKET);
    let own: Vec<&LogRecord> = market.iter().filter(of_symbol).collect();
    let place = |record: &LogRecord| format!("{}/{}/{}", shell::MARKET, record.partition, record.offset);
    let (old, late) = (place(own[0]), place(own[own.len() - 2]));
    tape.log
        .append(vec![
            signal("outside", None),
            signal("outside", None),
            signal("too-late", Some(&old)),
            signal("late", Some(&late)),
        ])
        .unwrap();
    tape.log.append(records[400..].to_vec()).unwrap();
    tape.settle(LIVE);
    // Again, from the state.
    tape.log.append(super::market(121)[480..].to_vec()).unwrap();
    tape.settle(LIVE);
    let decisions = decided(&tape);
    assert_eq!(decisions.len(), 3, "one for each id: {decisions:?}");
    let of = |id: &str| {
        let id = EventId::derived(&EventId::from(id), shell::ROLE, shell::DECISIONS, SYMBOLS[0], 0);
        &decisions[id.as_str()]
    };
    let says = |id: &str| of(id).reasons.iter().any(|reason| reason == "newest_features");
    assert_eq!([says("outside"), says("too-late"), says("late")], [true, true, false]);
    assert_eq!(of("outside").features, of("too-late").features);
    assert_ne!(of("late").features, of("outside").features, "on those of its own market event");
    assert!(decisions.values().all(|one| one.outcome == Outcome::Rejected || one.account.as_deref() == Some("ACC-1")));
}
