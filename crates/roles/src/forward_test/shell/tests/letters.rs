//! Dead letters on a real log: a bad record costs nobody but itself.
//!
//! Not here: what a dead letter looks like.

use tapedeck_contracts::{catalogue::dlq_of, headers::Redrive};
use tapedeck_flow::dead_letter::{DeadLetter, ErrorClass};
use tapedeck_log::Record;

use super::*;

/// Live, and too patient for any wait to run out: what goes on does so by itself.
fn live() -> JoinConfig {
    JoinConfig { join_wait_ms: 3_600_000, replay: false, ..config() }
}

fn letters(log: &dyn Log, topic: &str) -> Vec<DeadLetter> {
    let places = places(log, &dlq_of(topic)).into_iter();
    let records = places.flat_map(|place| read_all(log, &place, 0, log.bounds(&place).unwrap().1));
    records.map(|record| DeadLetter::read(&record).unwrap()).collect()
}

fn with_symbol(mut event: Outbound, symbol: &str) -> Outbound {
    match &mut event.event {
        Event::MarketData(body) => body.data.symbol = symbol.into(),
        Event::Signal(body) => body.data.market_data.symbol = symbol.into(),
        _ => unreachable!(),
    }
    event
}

fn broken(event: Outbound, value: &'static [u8]) -> Record {
    Record { value: Some(bytes::Bytes::from_static(value)), ..event.into_record("market").unwrap() }
}

fn alerts(log: &dyn Log, code: &str) -> usize {
    let said = outputs(log);
    let alerts = said.iter().filter(|(place, _)| place.starts_with("alerts")).flat_map(|(_, said)| said);
    alerts.filter(|(_, body)| body.contains(code)).count()
}

#[test]
fn a_market_record_that_cannot_be_read_becomes_a_dead_letter_and_its_number_a_gap_at_once() {
    let (_dir, log) = new_log();
    write(&*log, "market", (1..=50).map(price));
    log.append(vec![broken(price(51), b"{\"data\":{}}"), broken(price(52), b"\xff")]).unwrap();
    write(&*log, "market", (53..=60).map(price));
    // The last number of all, with nothing behind it.
    log.append(vec![broken(price(61), b"nothing")]).unwrap();
    finish_source(&*log, 61);
    let role = Running::start(log.clone(), "one", live());
    decide(&*log);
    role.until_settled();
    assert_eq!(role.context.gauges.phase(), Phase::Running);
    let gauges = Arc::clone(&role.context.gauges);
    assert_eq!(role.stop(), Phase::Stopped);
    assert_eq!((gauges.gaps.load(Relaxed), gauges.last_seq.load(Relaxed)), (3, 60));
    assert_eq!(source_note(&*log, ROLE, "@seq/s").unwrap(), r#"{"next":62,"ended":61}"#);
    let mut letters = letters(&*log, MARKET_TOPIC);
    letters.sort_by(|a, b| a.headers.text(headers::SEQ).cmp(&b.headers.text(headers::SEQ)));
    let told: Vec<_> = letters.iter().map(|letter| (letter.account.class, letter.account.path.as_deref())).collect();
    assert_eq!(told[0].0, ErrorClass::Invalid);
    assert!(told[0].1.is_some());
    assert_eq!(told[1..], [(ErrorClass::Undecodable, None); 2]);
    assert_eq!(letters[1].value.as_deref(), Some(&b"\xff"[..]));
    assert_eq!((letters[0].account.role.as_str(), letters[0].account.attempts), (ROLE, 1));
    assert_eq!(alerts(&*log, "SEQUENCE_GAP"), 2, "one for two numbers in a row");
}

#[test]
fn a_record_that_the_broker_refuses_or_panics_over_becomes_a_dead_letter_and_the_rest_is_as_without_it() {
    let good = |n: u64| !n.is_multiple_of(7);
    let run = |with_bad: bool| {
        let (dir, log) = new_log();
        for n in 1..=140 {
            match n % 7 {
                0 if !with_bad => write(&*log, "market", [with_symbol(price(n), "elsewhere")]),
                0 if n % 2 == 0 => write(&*log, "market", [with_symbol(price(n), REFUSED)]),
                0 => write(&*log, "market", [with_symbol(price(n), PANICS)]),
                _ => write(&*log, "market", [price(n)]),
            }
        }
        let signals: Vec<_> = places(&*log, MARKET_TOPIC)
            .into_iter()
            .flat_map(|place| read_all(&*log, &place, 0, log.bounds(&place).unwrap().1))
            .filter(|record| good(number(record)))
            .filter_map(|record| signal(&record))
            .collect();
        write(&*log, "strategy", signals);
        let role = Running::start(log.clone(), "one", JoinConfig { strategies: false, ..live() });
        role.until_settled();
        let gauges = Arc::clone(&role.context.gauges);
        assert_eq!(role.stop(), Phase::Stopped);
        (dir, log, gauges)
    };
    let (_dir, log, gauges) = run(true);
    assert_eq!((gauges.gaps.load(Relaxed), gauges.poison.load(Relaxed), gauges.late.load(Relaxed)), (20, 20, 0));
    let letters = letters(&*log, MARKET_TOPIC);
    let count = |class, attempts| {
        letters.iter().filter(|one| one.account.class == class && one.account.attempts == attempts).count()
    };
    assert_eq!((count(ErrorClass::Handler, 2), count(ErrorClass::Panic, 5)), (10, 10));
    assert!(letters.iter().all(|one| one.account.first_failure <= one.account.last_failure));
    let (_dir, undisturbed, _) = run(false);
    let reports = |log: &dyn Log| {
        let said = outputs(log).into_iter().filter(|(place, _)| place.starts_with("exec.reports"));
        said.collect::<BTreeMap<_, _>>()
    };
    assert!(reports(&*undisturbed).values().map(Vec::len).sum::<usize>() > 20);
    assert_eq!(reports(&*log), reports(&*undisturbed));
}

fn number(record: &LogRecord) -> u64 {
    Seq::parse(record.headers.text(headers::SEQ).unwrap()).unwrap().n
}

#[test]
fn the_signals_of_a_price_that_was_set_aside_are_late() {
    let (_dir, log) = new_log();
    let all = (1..=4).map(price).chain([with_symbol(price(5), PANICS), price(6), price(7), price(8), price(9)]);
    write(&*log, "market", all);
    log.append(vec![broken(price(10), b"{")]).unwrap();
    let role = Running::start(log.clone(), "one", live());
    decide(&*log);
    role.until_settled();
    let gauges = Arc::clone(&role.context.gauges);
    role.stop();
    assert_eq!((gauges.gaps.load(Relaxed), gauges.late.load(Relaxed)), (2, 2));
    assert_eq!(alerts(&*log, "SIGNAL_LATE"), 2);
}

#[test]
fn records_that_were_sent_again_reach_the_group_that_they_are_for_and_that_once() {
    let (_dir, log) = new_log();
    write(&*log, "market", (1..=20).map(price));
    let role = Running::start(log.clone(), "one", live());
    decide(&*log);
    role.until_settled();
    let signal = places(&*log, MARKET_TOPIC)
        .iter()
        .flat_map(|place| read_all(&*log, place, 0, log.bounds(place).unwrap().1))
        .find_map(|record| signal(&record))
        .unwrap();
    let again = |group: &str, n: u32| {
        let mut record = signal.clone().into_record("strategy").unwrap();
        let redrive = Redrive { group: group.into(), n };
        record.headers = record.headers.with(headers::REDRIVE, redrive.to_string());
        record
    };
    let before = role.context.gauges.late.load(Relaxed);
    let (own, other) = (group_of(ROLE), group_of("recorder"));
    log.append(vec![again(&other, 1), again(&own, 1), again(&own, 1), again(&own, 2), again(&other, 2)]).unwrap();
    // Market events of numbers that were passed, and such of other groups.
    let mut known = price(3).into_record("market").unwrap();
    known.headers = known.headers.with(headers::REDRIVE, format!("{own}/1"));
    let mut others = price(21).into_record("market").unwrap();
    others.headers = others.headers.with(headers::REDRIVE, format!("{other}/1"));
    log.append(vec![known, others]).unwrap();
    decide_nothing_more(&*log);
    role.until_settled();
    let gauges = Arc::clone(&role.context.gauges);
    role.stop();
    assert_eq!(gauges.late.load(Relaxed) - before, 2, "one for each time it was sent to this group");
    assert_eq!((gauges.duplicates.load(Relaxed), gauges.last_seq.load(Relaxed)), (2, 20));
}

/// The strategies are past everything and said nothing.
fn decide_nothing_more(log: &dyn Log) {
    for place in places(log, MARKET_TOPIC) {
        let next = log.bounds(&place).unwrap().1;
        log.reset_offsets("tapedeck.strategy", &[GroupOffset { partition: place, next }]).unwrap();
    }
}
