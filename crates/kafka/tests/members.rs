//! Members of groups on a real broker: coming and going under load, losing a seat
//! by silence and by being stopped, giving up what was revoked.
//!
//! Not here: what every log does, which the conformance suite asks.

#![expect(clippy::unwrap_used, reason = "these are tests: an error that was not expected ends them")]
#![expect(clippy::print_stdout, reason = "a process that is stopped speaks to the one that stops it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tapedeck_kafka::{KafkaConfig, KafkaLog};
use tapedeck_log::{
    GroupOffset, Headers, Log, LogError, LogRecord, Member, PollLimits, Polled, Record, TopicConfig, TopicPartition,
};
use tapedeck_testbed::{self as testbed, until};

const LIMITS: PollLimits = PollLimits { max_records: 200, max_bytes: 1 << 20, timeout: Duration::from_millis(20) };

fn config(bootstrap: String) -> KafkaConfig {
    KafkaConfig {
        bootstrap_servers: bootstrap,
        prefix: format!("{}.", testbed::name("members")),
        session_timeout_ms: 6_000,
        max_poll_interval_ms: 60_000,
        // Brokers of a busy machine take their time.
        delivery_timeout_ms: 30_000,
        request_timeout_ms: 30_000,
        ..KafkaConfig::default()
    }
}

fn topic(log: &dyn Log, name: &str, partitions: u32) {
    let name = name.into();
    let config = TopicConfig { name, partitions, retention: None, retention_bytes: None, delete: true, compact: false };
    log.create_topics(&[config]).unwrap();
}

fn record(topic: &str, partition: u32, value: &str) -> Record {
    Record {
        topic: topic.into(),
        partition: Some(partition),
        key: None,
        value: Some(value.to_owned().into()),
        headers: Headers::new(),
        timestamp_ms: None,
    }
}

fn value(record: &LogRecord) -> String {
    String::from_utf8(record.value.as_deref().unwrap().to_vec()).unwrap()
}

fn own(member: &mut dyn Member, count: usize) {
    until(&format!("the member owns {count} partitions"), || {
        member.poll(LIMITS).unwrap();
        (member.assignment().len() == count).then_some(())
    });
}

fn is_quiet(polled: &Polled) -> bool {
    matches!(polled, Polled::Records(none) if none.is_empty())
}

fn all(log: &dyn Log, topic: &str, partitions: u32) -> Vec<LogRecord> {
    let places: Vec<_> = (0..partitions).map(|n| TopicPartition::new(topic, n)).collect();
    let ends: Vec<_> = places.iter().map(|place| log.bounds(place).unwrap().1).collect();
    let mut reader = log.reader().unwrap();
    reader.assign(&places.iter().map(|place| (place.clone(), 0)).collect::<Vec<_>>()).unwrap();
    let mut records = Vec::new();
    until("all was read", || {
        records.extend(reader.poll(LIMITS).unwrap());
        places.iter().zip(&ends).all(|(place, end)| reader.position(place) >= Some(*end)).then_some(())
    });
    records
}

/// How a member makes what it took its own: true where it is, false where it must
/// be taken again.
type Settle = fn(&mut dyn Member, &[LogRecord], &[GroupOffset]) -> Result<bool, LogError>;

/// One member at work until it is told to stop: settles each poll's records with
/// the positions after them, and enters in the ledger what was settled.
fn work(
    log: &dyn Log,
    group: &str,
    name: &str,
    settle: Settle,
    stop: &AtomicBool,
    ledger: &Mutex<BTreeMap<String, u32>>,
) {
    while !stop.load(Relaxed) {
        let mut member = log.join(group, name, &["work".into()]).unwrap();
        if let Err(error) = serve(&mut *member, settle, stop, ledger) {
            assert!(matches!(error, LogError::Fenced { .. }), "{error:?}");
        }
    }
}

fn serve(
    member: &mut dyn Member,
    settle: Settle,
    stop: &AtomicBool,
    ledger: &Mutex<BTreeMap<String, u32>>,
) -> Result<(), LogError> {
    while !stop.load(Relaxed) {
        let records = match member.poll(LIMITS)? {
            Polled::Records(records) if !records.is_empty() => records,
            _ => continue,
        };
        let from: BTreeMap<_, _> = records
            .iter()
            .rev()
            .map(|record| (TopicPartition::new(record.topic.clone(), record.partition), record.offset))
            .collect();
        let of =
            |place: &TopicPartition| GroupOffset { next: member.position(place).unwrap(), partition: place.clone() };
        let offsets: Vec<_> = from.keys().map(of).collect();
        if settle(member, &records, &offsets)? {
            let mut ledger = ledger.lock().unwrap();
            records.iter().for_each(|record| *ledger.entry(value(record)).or_default() += 1);
        } else {
            for (place, offset) in &from {
                member.seek(place, *offset)?;
            }
        }
    }
    Ok(())
}

fn commit(member: &mut dyn Member, _: &[LogRecord], offsets: &[GroupOffset]) -> Result<bool, LogError> {
    settled(member.commit(offsets))
}

fn transact(member: &mut dyn Member, records: &[LogRecord], offsets: &[GroupOffset]) -> Result<bool, LogError> {
    let out = |from: &LogRecord| record("out", from.partition % 2, &value(from));
    settled(member.transact(records.iter().map(out).collect(), offsets).map(drop))
}

fn settled(result: Result<(), LogError>) -> Result<bool, LogError> {
    match result {
        Ok(()) => Ok(true),
        Err(LogError::Transient(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Members join and leave while records come; each record is settled once.
fn come_and_go(bootstrap: String, settle: Settle) -> (Arc<KafkaLog>, BTreeSet<String>) {
    const PARTITIONS: u32 = 6;
    const CHANGES: usize = 20;
    let log = KafkaLog::connect(&config(bootstrap)).unwrap();
    topic(&*log, "work", PARTITIONS);
    topic(&*log, "out", 2);
    let ledger = Mutex::new(BTreeMap::new());
    let (done, writing) = (AtomicBool::new(false), AtomicBool::new(true));
    let mut written = BTreeSet::new();
    std::thread::scope(|scope| {
        let (log, ledger, done) = (&*log, &ledger, &done);
        let writer = scope.spawn(|| {
            let mut values = BTreeSet::new();
            while writing.load(Relaxed) {
                let next = values.len();
                let batch = (next..next + 50).map(|n| record("work", n as u32 % PARTITIONS, &n.to_string())).collect();
                log.append(batch).unwrap();
                values.extend((next..next + 50).map(|n| n.to_string()));
                std::thread::sleep(Duration::from_millis(20));
            }
            values
        });
        // One stays, so that the group goes on; up to two more come and go.
        scope.spawn(|| work(log, "churn", "stays", settle, done, ledger));
        let mut guests: Vec<Arc<AtomicBool>> = Vec::new();
        for change in 0..CHANGES {
            let before = ledger.lock().unwrap().len();
            if guests.len() == 2 {
                guests.remove(0).store(true, Relaxed);
            } else {
                let stop = Arc::new(AtomicBool::new(false));
                guests.push(Arc::clone(&stop));
                scope.spawn(move || work(log, "churn", &format!("guest-{change}"), settle, &stop, ledger));
            }
            until("the group goes on", || (ledger.lock().unwrap().len() > before + 100).then_some(()));
        }
        writing.store(false, Relaxed);
        written = writer.join().unwrap();
        until("all was settled", || (ledger.lock().unwrap().len() == written.len()).then_some(()));
        guests.iter().for_each(|guest| guest.store(true, Relaxed));
        done.store(true, Relaxed);
    });
    let ledger = ledger.into_inner().unwrap();
    assert_eq!(ledger.keys().cloned().collect::<BTreeSet<_>>(), written);
    let twice: Vec<_> = ledger.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "{} of {} more than once: {twice:?}", twice.len(), written.len());
    (log, written)
}

#[test]
fn members_that_come_and_go_under_load_settle_each_record_once() {
    let Some(bootstrap) = testbed::kafka() else { return };
    come_and_go(bootstrap, commit);
}

#[test]
fn steps_of_members_that_come_and_go_show_each_record_once() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let (log, written) = come_and_go(bootstrap, transact);
    let shown: Vec<_> = all(&*log, "out", 2).iter().map(value).collect();
    assert_eq!(shown.len(), written.len());
    assert_eq!(shown.into_iter().collect::<BTreeSet<_>>(), written);
}

#[test]
fn what_was_revoked_may_be_settled_until_the_next_poll() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let log = KafkaLog::connect(&config(bootstrap)).unwrap();
    topic(&*log, "give", 2);
    topic(&*log, "give-out", 1);
    log.append((0..20).map(|n| record("give", n % 2, &n.to_string())).collect()).unwrap();
    let topics = ["give".into()];
    let mut first = log.join("give", "a", &topics).unwrap();
    own(&mut *first, 2);
    let mut taken = Vec::new();
    until("all was read", || {
        if let Polled::Records(records) = first.poll(LIMITS).unwrap() {
            taken.extend(records);
        }
        (taken.len() == 20).then_some(())
    });
    let mut second = log.join("give", "b", &topics).unwrap();
    let revoked = until("a partition is revoked", || {
        assert!(is_quiet(&second.poll(LIMITS).unwrap()), "nobody has it while the other may still settle it");
        match first.poll(LIMITS).unwrap() {
            Polled::Revoked(partitions) => Some(partitions),
            _ => None,
        }
    });
    let [place] = &revoked[..] else { panic!("{revoked:?}") };
    assert!(!first.assignment().contains(place));
    for _ in 0..20 {
        assert!(is_quiet(&second.poll(LIMITS).unwrap()), "nobody has it while the other may still settle it");
    }
    let next = first.position(place).unwrap();
    let offsets = [GroupOffset { partition: place.clone(), next }];
    first.transact(vec![record("give-out", 0, "settled")], &offsets).unwrap();
    until("the other has it", || {
        first.poll(LIMITS).unwrap();
        second.poll(LIMITS).unwrap();
        (second.assignment() == revoked).then_some(())
    });
    assert_eq!(second.position(place), Some(next));
    assert_eq!(all(&*log, "give-out", 1).iter().map(value).collect::<Vec<_>>(), ["settled"]);
}

#[test]
fn who_leaves_does_so_at_once() {
    let Some(bootstrap) = testbed::kafka() else { return };
    // Were the session waited for, this test would be given up.
    let config = KafkaConfig { session_timeout_ms: 600_000, max_poll_interval_ms: 600_000, ..config(bootstrap) };
    let log = KafkaLog::connect(&config).unwrap();
    topic(&*log, "leave", 2);
    let topics = ["leave".into()];
    let mut first = log.join("leave", "a", &topics).unwrap();
    own(&mut *first, 2);
    drop(first);
    let mut second = log.join("leave", "b", &topics).unwrap();
    own(&mut *second, 2);
    // In the middle of a change, too.
    let mut third = log.join("leave", "c", &topics).unwrap();
    until("a partition is revoked", || {
        third.poll(LIMITS).unwrap();
        matches!(second.poll(LIMITS).unwrap(), Polled::Revoked(_)).then_some(())
    });
    drop(second);
    own(&mut *third, 2);
}

#[test]
fn a_member_that_stays_away_is_fenced_for_good() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let config = KafkaConfig { session_timeout_ms: 1_000, max_poll_interval_ms: 1_000, ..config(bootstrap) };
    let log = KafkaLog::connect(&config).unwrap();
    topic(&*log, "away", 1);
    let topics = ["away".into()];
    let mut first = log.join("away", "a", &topics).unwrap();
    own(&mut *first, 1);
    let mut second = log.join("away", "b", &topics).unwrap();
    own(&mut *second, 1);
    let is_fenced = |result: Result<(), LogError>| matches!(result, Err(LogError::Fenced { group }) if group == "away");
    let offsets = [GroupOffset { partition: TopicPartition::new("away", 0), next: 0 }];
    assert!(is_fenced(first.poll(LIMITS).map(drop)));
    drop(second);
    // It does not come back by itself, not even to an empty group.
    for _ in 0..3 {
        assert!(is_fenced(first.commit(&offsets)));
        assert!(is_fenced(first.transact(vec![record("away", 0, "late")], &offsets).map(drop)));
        assert!(is_fenced(first.poll(LIMITS).map(drop)));
    }
    assert!(first.assignment().is_empty());
    assert!(log.committed("away").unwrap().is_empty());
    assert!(all(&*log, "away", 1).is_empty());
}

/// The process that is stopped: it owns a partition, and when it wakes it writes
/// before it polls.
#[test]
#[ignore = "a part of a_process_stopped_past_its_session_writes_nothing"]
fn the_process_that_is_stopped() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let Ok(config) = serde_json::from_str::<KafkaConfig>(&line) else { return };
    let log = KafkaLog::connect(&config).unwrap();
    let mut member = log.join("stop", "stopped", &["stop".into()]).unwrap();
    own(&mut *member, 1);
    let offsets = |next| [GroupOffset { partition: TopicPartition::new("stop", 0), next }];
    member.transact(vec![record("stop-out", 0, "in time")], &offsets(1)).unwrap();
    println!("ready");
    std::io::stdin().read_line(&mut line).unwrap();
    let tell = |result: Result<(), LogError>| match result {
        Err(LogError::Fenced { .. }) => println!("fenced"),
        other => println!("{other:?}"),
    };
    tell(member.transact(vec![record("stop-out", 0, "late")], &offsets(2)).map(drop));
    tell(member.commit(&offsets(3)));
}

#[test]
fn a_process_stopped_past_its_session_writes_nothing() {
    let Some(bootstrap) = testbed::kafka() else { return };
    // It may stay away for long, so that only the group can say what happened.
    let config = KafkaConfig { session_timeout_ms: 1_000, max_poll_interval_ms: 600_000, ..config(bootstrap) };
    let log = KafkaLog::connect(&config).unwrap();
    topic(&*log, "stop", 1);
    topic(&*log, "stop-out", 1);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process_that_is_stopped", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to_child = child.stdin.take().unwrap();
    writeln!(to_child, "{}", serde_json::to_string(&config).unwrap()).unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.by_ref().any(|line| line.ends_with("ready")));
    let child_id = child.id().to_string();
    let signal = |name: &str| assert!(Command::new("kill").args([name, &*child_id]).status().unwrap().success());
    signal("-STOP");
    let mut other = log.join("stop", "other", &["stop".into()]).unwrap();
    own(&mut *other, 1);
    assert_eq!(other.position(&TopicPartition::new("stop", 0)), Some(1));
    let offsets = [GroupOffset { partition: TopicPartition::new("stop", 0), next: 7 }];
    other.transact(vec![record("stop-out", 0, "the other's")], &offsets).unwrap();
    writeln!(to_child, "go on").unwrap();
    signal("-CONT");
    let said: Vec<_> =
        said.filter(|line| line.contains("fenced") || line.contains("Ok") || line.contains("Err")).collect();
    assert!(child.wait().unwrap().success());
    assert_eq!(said, ["fenced", "fenced"]);
    assert_eq!(all(&*log, "stop-out", 1).iter().map(value).collect::<Vec<_>>(), ["in time", "the other's"]);
    assert_eq!(log.committed("stop").unwrap(), offsets);
    other.transact(vec![record("stop-out", 0, "goes on")], &offsets).unwrap();
}

#[test]
fn a_topic_deleted_under_a_member_is_an_error_and_the_member_ends() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let log = KafkaLog::connect(&config(bootstrap)).unwrap();
    topic(&*log, "going", 1);
    let mut member = log.join("going", "a", &["going".into()]).unwrap();
    own(&mut *member, 1);
    log.delete_topics(&["going".into()]).unwrap();
    let error = until("the member is told", || member.poll(LIMITS).err());
    assert!(matches!(&error, LogError::Fatal(text) if text.contains("going")), "{error:?}");
    drop(member);
}

#[test]
fn a_paused_partition_with_a_long_backlog_holds_no_more_than_its_share() {
    let Some(bootstrap) = testbed::kafka() else { return };
    const SHARE: u64 = 4 << 20;
    let log = KafkaLog::connect(&KafkaConfig { fetch_bytes: 2 * SHARE, ..config(bootstrap) }).unwrap();
    topic(&*log, "long", 2);
    // Noise, so that what is counted is what is held.
    let mut state = 1_u64;
    let mut noise = || {
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b' ' + (state % 90) as u8)
        };
        (0..25_000).map(|_| next()).collect::<String>()
    };
    for _ in 0..120 {
        log.append((0..10).map(|_| record("long", 0, &noise())).collect()).unwrap();
    }
    log.append((0..100).map(|n| record("long", 1, &n.to_string())).collect()).unwrap();
    let mut member = log.join("long", "a", &["long".into()]).unwrap();
    until("partitions came", || matches!(member.poll(LIMITS).unwrap(), Polled::Assigned(_)).then_some(()));
    let paused = TopicPartition::new("long", 0);
    member.pause(std::slice::from_ref(&paused));
    let mut open = 0;
    until("the other partition goes on", || {
        if let Polled::Records(records) = member.poll(LIMITS).unwrap() {
            assert!(records.iter().all(|record| record.partition == 1));
            open += records.len();
        }
        (open == 100).then_some(())
    });
    let fetched = || {
        let figures = log.figures();
        figures.iter().find(|figure| figure.name == "kafka_fetched_bytes").map_or(0, |figure| figure.value as u64)
    };
    // It has stopped when two looks, further apart than the figures are old, agree.
    let mut before = 0;
    let held = until("what is fetched ahead has an end", || {
        for _ in 0..300 {
            member.poll(LIMITS).unwrap();
        }
        let now = fetched();
        let is_same = now > 0 && now == before;
        before = now;
        is_same.then_some(now)
    });
    assert!(held > 100_000, "{held} bytes were fetched");
    assert!(held < 2 * SHARE, "{held} bytes were fetched of a partition that is paused");
    member.resume(&[paused]);
    let mut count = 0;
    until("all of it comes", || {
        if let Polled::Records(records) = member.poll(LIMITS).unwrap() {
            count += records.len();
        }
        (count == 1_200).then_some(())
    });
}
