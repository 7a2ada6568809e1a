//! What the role holds in memory while others are far ahead of it.
//!
//! Not here: what the join makes of what is in memory.

use std::sync::atomic::AtomicUsize;

use tapedeck_flow::budget::held_bytes;

use super::*;

/// Market events, few, and the signals of each, many.
const ROOTS: u64 = 40;
const SIGNALS: u64 = 100;

fn with_many_signals() -> (tempfile::TempDir, Arc<EmbeddedLog>) {
    let (dir, log) = new_log();
    write(&*log, "market", (1..=ROOTS).map(price));
    let mut roots = Vec::new();
    for place in places(&*log, MARKET_TOPIC) {
        let next = log.bounds(&place).unwrap().1;
        roots.extend(read_all(&*log, &place, 0, next));
        log.reset_offsets("tapedeck.strategy", &[GroupOffset { partition: place, next }]).unwrap();
    }
    // The strategies keep about the same pace in all partitions.
    roots.sort_by_key(number);
    for root in roots {
        write(&*log, "strategy", (0..SIGNALS).map(|which| signal_of(&root, which)));
    }
    finish_source(&*log, ROOTS);
    (dir, log)
}

fn number(record: &LogRecord) -> u64 {
    Seq::parse(record.headers.text(headers::SEQ).unwrap()).unwrap().n
}

/// One of the signals of a market event.
fn signal_of(record: &LogRecord, which: u64) -> Outbound {
    let seq = Seq { source: SOURCE.into(), n: number(record) };
    let root = Place { topic: record.topic.to_string(), partition: record.partition, offset: record.offset };
    let fifth = LogRecord { headers: record.headers.with(headers::SEQ, format!("{SOURCE}/5")), ..record.clone() };
    let mut event = signal(&fifth).unwrap();
    let Event::Signal(body) = &mut event.event else { unreachable!() };
    body.data.strategy_id = format!("strategy {which}");
    let id = EventId(format!("{} {which}", seq.n));
    event.id = EventId::derived(&id, "strategy", "strategy-signals", "s", 0);
    event.root = Some((root.clone(), Some(seq)));
    event.cause = Some(root);
    event
}

#[test]
fn signals_far_ahead_of_the_broker_do_not_wait_in_its_memory() {
    let (_dir, log) = with_many_signals();
    let most = AtomicUsize::new(0);
    let role = Running::start(log.clone(), "one", JoinConfig { batch_max_events: 1, ..config() });
    role.until(|context| {
        most.fetch_max(context.gauges.in_flight_bytes.load(Relaxed) as usize, Relaxed);
        settled(&*context.log)
    });
    let gauges = Arc::clone(&role.context.gauges);
    assert_eq!(role.stop(), Phase::Stopped);
    assert_eq!((gauges.late.load(Relaxed), gauges.gaps.load(Relaxed)), (0, 0));
    assert_eq!(gauges.records.load(Relaxed), ROOTS + ROOTS * SIGNALS + 1, "and the end");
    let all = held_bytes((ROOTS * SIGNALS) as usize, (ROOTS * SIGNALS) as usize * 1_000);
    assert!(most.load(Relaxed) < all / 4, "{} of some {all} bytes", most.load(Relaxed));
}
