//! Bad records of every kind in every input, while the process dies at one
//! boundary after the other: the books are those of an undisturbed run, and each
//! bad record is a dead letter.
//!
//! Not here: one failure at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use tapedeck_contracts::{catalogue::dlq_of, headers::Place};
use tapedeck_flow::{Boundaries, boundary::Boundary, dead_letter::DeadLetter};
use tapedeck_log::Record;

use super::*;

/// Ends of the process between two steps that get through: the role blocks after
/// five panics in a row.
const KILLS_IN_A_ROW: u32 = 3;

/// Few, since each end of the process costs a start.
const EVENTS: u64 = 150;

/// The constants of Knuth's MMIX generator.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// One of the ways for a record to be bad.
fn spoilt(event: &Outbound, kind: u64, max_bytes: usize) -> Record {
    let mut event = event.clone();
    let symbol = if kind == 4 { REFUSED } else { PANICS };
    match &mut event.event {
        Event::MarketData(body) if kind >= 4 => body.data.symbol = symbol.into(),
        Event::Signal(body) if kind >= 4 => body.data.market_data.symbol = symbol.into(),
        _ => {}
    }
    let mut record = event.into_record("test").unwrap();
    let commands = &*record.topic == "risk-commands";
    let value = match if commands { kind % 4 } else { kind } {
        0 => vec![0xff, 0xfe],
        1 => b"{\"data\":".to_vec(),
        2 => b"{\"data\":{}}".to_vec(),
        // Nothing but the account of it fits into its dead letter.
        3 => vec![b' '; max_bytes - record.bytes() + record.value.as_ref().unwrap().len()],
        _ => return record,
    };
    record.value = Some(value.into());
    record
}

fn command(n: u64) -> Outbound {
    let id = EventId::from(format!("command {n}").as_str());
    let command = RiskCommand {
        event_id: id.clone(),
        timestamp: Timestamp::from_millis(1),
        account: "of nobody".into(),
        command: RiskCommandKind::Trip,
        reason: "test".into(),
        actor: "test".into(),
        flatten: None,
    };
    Outbound::first("risk-commands", id, Event::RiskCommand(Box::new(command)))
}

/// Inputs with about one bad record in `one_in`, and where the bad ones lie.
fn fill(log: &dyn Log, random: &mut Random, one_in: u64) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut bad, mut good_signals) = (BTreeSet::new(), BTreeSet::new());
    let mut put = |random: &mut Random, event: &Outbound| {
        let kind = (random.below(one_in) == 0).then(|| random.below(6));
        let record = match kind {
            Some(kind) => spoilt(event, kind, log.max_record_bytes()),
            None => event.clone().into_record("test").unwrap(),
        };
        let topic = record.topic.to_string();
        let lies = log.append(vec![record]).unwrap().remove(0);
        let place = Place { topic, partition: lies.partition, offset: lies.offset };
        if kind.is_some() {
            bad.insert(place.to_string());
        } else if place.topic == "strategy-signals" {
            good_signals.insert(place.to_string());
        }
        (kind.is_some(), place)
    };
    for n in 1..=EVENTS {
        let (is_bad, place) = put(random, &price(n));
        if n % 20 == 0 {
            put(random, &command(n));
        }
        let root = read_all(log, &TopicPartition::new(&*place.topic, place.partition), place.offset, place.offset + 1);
        if let Some(signal) = signal(&root[0]).filter(|_| !is_bad) {
            put(random, &signal);
        }
    }
    finish_source(log, EVENTS);
    for place in places(log, MARKET_TOPIC) {
        let next = log.bounds(&place).unwrap().1;
        log.reset_offsets("tapedeck.strategy", &[GroupOffset { partition: place, next }]).unwrap();
    }
    (bad, good_signals)
}

/// Lets the process die at about one boundary in three.
fn killing(seed: u64) -> (Boundaries, Arc<Mutex<BTreeMap<&'static str, u32>>>) {
    let kills: Arc<Mutex<BTreeMap<&'static str, u32>>> = Arc::default();
    let (counted, state) = (Arc::clone(&kills), Mutex::new((Random(seed), 0)));
    let boundaries = Boundaries::calling(move |boundary: Boundary| {
        let die = {
            let mut state = state.lock().unwrap();
            let die = state.0.below(3) == 0 && state.1 < KILLS_IN_A_ROW;
            match boundary {
                _ if die => state.1 += 1,
                Boundary::Append => state.1 = 0,
                _ => {}
            }
            die
        };
        if die {
            *counted.lock().unwrap().entry(boundary.name()).or_default() += 1;
            // As the end of the process does, this drops all that is in memory.
            panic!("the end of the process at {}", boundary.name());
        }
    });
    (boundaries, kills)
}

fn run_over(log: &Arc<EmbeddedLog>, boundaries: Boundaries) {
    // Steps of a few records, so that there are many; no wait may run out.
    let config =
        JoinConfig { join_wait_ms: 3_600_000, batch_max_events: 20, replay: false, strategies: true, decides: false };
    let role = Running::start_with(log.clone(), "one", config, boundaries);
    role.until(|context| {
        let phase = context.gauges.phase();
        assert!(!matches!(phase, Phase::Blocked(_)), "{phase:?}");
        settled(&*context.log)
    });
    assert_eq!(role.context.gauges.late.load(Relaxed), 0);
    role.context.stop.request();
}

fn without_alerts(log: &dyn Log) -> BTreeMap<String, Vec<(String, String)>> {
    // How many numbers one alert of a gap covers is a matter of what was read.
    outputs(log).into_iter().filter(|(place, _)| !place.starts_with("alerts")).collect()
}

#[test]
fn whatever_dies_when_every_good_signal_is_traded_once_and_every_bad_record_is_a_dead_letter() {
    for (seed, one_in) in [(1, 10), (2, 2)] {
        let (_dir, log) = new_log();
        let (bad, good_signals) = fill(&*log, &mut Random(seed), one_in);
        let (_calm_dir, calm) = new_log();
        fill(&*calm, &mut Random(seed), one_in);
        run_over(&calm, Boundaries::default());
        let (boundaries, kills) = killing(seed);
        run_over(&log, boundaries);

        assert_eq!(without_alerts(&*log), without_alerts(&*calm), "seed {seed}");
        let kills = kills.lock().unwrap();
        assert!(kills.values().sum::<u32>() >= 3 && kills.contains_key("dead-letter"), "{kills:?}");
        let said = outputs(&*log);
        assert!(said.values().flatten().all(|(_, body)| !body.contains("PNL_MISMATCH")));

        let mut accepted: BTreeMap<String, u32> = BTreeMap::new();
        for place in places(&*log, "exec.reports.v1") {
            for record in read_all(&*log, &place, 0, log.bounds(&place).unwrap().1) {
                let body = String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap();
                if body.contains(r#""exec_type":"NEW""#) || body.contains(r#""exec_type":"REJECTED""#) {
                    *accepted.entry(record.headers.text(headers::CAUSE).unwrap().to_owned()).or_default() += 1;
                }
            }
        }
        assert!(accepted.values().all(|times| *times == 1), "{accepted:?}");
        assert_eq!(accepted.into_keys().collect::<BTreeSet<_>>(), good_signals);

        let mut letters: BTreeMap<String, String> = BTreeMap::new();
        for topic in [MARKET_TOPIC, "strategy-signals", "risk-commands"] {
            for place in places(&*log, &dlq_of(topic)) {
                for record in read_all(&*log, &place, 0, log.bounds(&place).unwrap().1) {
                    let letter = DeadLetter::read(&record).unwrap();
                    let before = letters.insert(letter.id.to_string(), letter.origin.to_string());
                    assert!(before.is_none_or(|before| before == letter.origin.to_string()));
                }
            }
        }
        assert_eq!(letters.len(), bad.len());
        assert_eq!(letters.into_values().collect::<BTreeSet<_>>(), bad);
    }
}
