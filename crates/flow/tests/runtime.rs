//! What the runtime promises, on a real log: each event once in effect, whatever
//! comes twice, dies, panics or stalls.
//!
//! Not here: the pure parts, which are tested beside their code.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has nothing to show")]

#[allow(dead_code, reason = "each test file uses its part")]
mod common;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc::{Receiver, sync_channel},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use common::{Counter, INPUT, Running, Tape, alert, raw, values};
use tapedeck_contracts::headers::CE_ID;
use tapedeck_flow::{
    Failure, Phase,
    runtime::{LogEffect, LogStep, Move, Resume, Step},
};
use tapedeck_log::{GroupOffset, Log, Member, PollLimits, Record, TopicPartition, embedded::EmbeddedConfig};

#[test]
fn an_event_that_was_written_twice_is_handled_once() {
    let tape = Tape::new();
    tape.produce(0, ["a", "b", "a", "c", "b"]);
    let running = Running::start(tape.setup("one"), Counter::default(), tape.step());
    let gauges = Arc::clone(&running.gauges);
    assert_eq!(values(&tape.outputs(3)), ["a", "b", "c"]);
    running.end().unwrap();
    assert_eq!(tape.output_len(), 3);
    assert_eq!(gauges.duplicates.load(SeqCst), 2);
    assert_eq!(tape.kept(0), (3, Some(5)), "the position is past the duplicates");
    assert_eq!(gauges.phase(), Phase::Stopped);
}

#[test]
fn a_restart_reads_the_window_again_and_drops_what_comes_twice() {
    let tape = Tape::new();
    tape.produce(0, ["a", "b"]);
    let running = Running::start(tape.setup("one"), Counter::default(), tape.step());
    tape.outputs(2);
    running.end().unwrap();

    tape.produce(0, ["b", "a", "c"]);
    let running = Running::start(tape.setup("two"), Counter::default(), tape.step());
    assert_eq!(values(&tape.outputs(3)), ["a", "b", "c"]);
    running.end().unwrap();
    assert_eq!(tape.output_len(), 3);
    assert_eq!(tape.kept(0), (3, Some(5)));
}

/// Dies after the append and before the transact, as a killed process does.
struct Killed(Arc<dyn Log>, LogStep);

impl Step for Killed {
    type Effect = LogEffect;
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Resume>, Failure> {
        self.1.resume(partitions)
    }
    fn perform(&mut self, _: &mut dyn Member, effect: LogEffect, _: &[Move]) -> Result<(), Failure> {
        self.0.append(effect.first)?;
        Err(Failure::Fatal("killed".into()))
    }
}

#[test]
fn a_crash_between_append_and_transact_gives_the_same_events_with_the_same_ids() {
    let tape = Tape::new();
    tape.produce(0, ["a", "b", "c"]);
    let step = Killed(Arc::clone(&tape.log) as Arc<dyn Log>, tape.step());
    let counter = || Counter { first: true, ..Counter::default() };
    assert!(matches!(Running::start(tape.setup("one"), counter(), step).join(), Err(Failure::Fatal(_))));
    assert_eq!(tape.output_len(), 3);
    assert_eq!(tape.kept(0), (0, None));

    let running = Running::start(tape.setup("two"), counter(), tape.step());
    let records = tape.outputs(6);
    running.end().unwrap();
    let ids: Vec<_> = records.iter().map(|record| record.headers.text(CE_ID).unwrap()).collect();
    assert_eq!(ids[..3], ids[3..]);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(tape.kept(0), (3, Some(3)));
}

#[test]
fn a_panic_that_passes_loses_nothing_and_repeats_nothing() {
    let tape = Tape::new();
    tape.produce(0, ["a", "b", "c", "d", "e"]);
    tape.produce(1, ["f"]);
    let left = AtomicUsize::new(3);
    let panics = move |delivery: &tapedeck_flow::Delivery| {
        let again = delivery.id.as_str() == "d" && left.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok();
        assert!(!again, "stumbled");
        Ok(())
    };
    let running = Running::start(tape.setup("one"), Counter::with(panics), tape.step());
    let gauges = Arc::clone(&running.gauges);
    let mut copied = values(&tape.outputs(6));
    running.end().unwrap();
    copied.sort();
    assert_eq!(copied, ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(tape.output_len(), 6);
    assert_eq!((tape.kept(0), tape.kept(1)), ((5, Some(5)), (1, Some(1))));
    assert_eq!(gauges.poison.load(SeqCst), 0);
}

/// Fails once where the process cannot know whether the step was taken: it was.
struct Unsure(LogStep, AtomicBool);

impl Step for Unsure {
    type Effect = LogEffect;
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Resume>, Failure> {
        self.0.resume(partitions)
    }
    fn perform(&mut self, member: &mut dyn Member, effect: LogEffect, moves: &[Move]) -> Result<(), Failure> {
        self.0.perform(member, effect, moves)?;
        match self.1.swap(false, SeqCst) {
            true => Err(Failure::Transient("timed out".into())),
            false => Ok(()),
        }
    }
}

#[test]
fn a_step_that_was_taken_though_its_answer_was_lost_is_not_taken_twice() {
    let tape = Tape::new();
    tape.produce(0, ["a", "b"]);
    let running = Running::start(tape.setup("one"), Counter::default(), Unsure(tape.step(), AtomicBool::new(true)));
    let gauges = Arc::clone(&running.gauges);
    tape.outputs(2);
    tape.produce(0, ["c"]);
    assert_eq!(values(&tape.outputs(3)), ["a", "b", "c"]);
    running.end().unwrap();
    assert_eq!(tape.output_len(), 3);
    assert_eq!(tape.kept(0), (3, Some(3)));
    assert_eq!(gauges.retries.load(SeqCst), 1);
}

/// Nothing can be made visible while it is away.
struct Away(LogStep, Arc<AtomicBool>);

impl Step for Away {
    type Effect = LogEffect;
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Resume>, Failure> {
        self.0.resume(partitions)
    }
    fn perform(&mut self, member: &mut dyn Member, effect: LogEffect, moves: &[Move]) -> Result<(), Failure> {
        match self.1.load(SeqCst) {
            true => Err(Failure::Transient("the store is away".into())),
            false => self.0.perform(member, effect, moves),
        }
    }
}

/// Works beside: what was begun ends when somebody says so.
struct Beside {
    real: LogStep,
    begun: Option<(LogEffect, Vec<Move>)>,
    may_end: Receiver<()>,
}

impl Step for Beside {
    type Effect = LogEffect;
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Resume>, Failure> {
        self.real.resume(partitions)
    }
    fn perform(&mut self, member: &mut dyn Member, effect: LogEffect, moves: &[Move]) -> Result<(), Failure> {
        self.real.perform(member, effect, moves)
    }
    fn works_beside(&self) -> bool {
        true
    }
    fn begin(&mut self, effect: LogEffect, moves: &[Move]) -> Result<(), Failure> {
        self.begun = Some((effect, moves.to_vec()));
        Ok(())
    }
    fn end(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        let (effect, moves) = self.begun.take().unwrap();
        self.may_end.recv().unwrap();
        self.perform(member, effect, &moves)
    }
    fn publish(&mut self, member: &mut dyn Member, moves: &[Move]) -> Result<(), Failure> {
        let of = |step: &Move| GroupOffset { partition: step.partition.clone(), next: step.next };
        member.commit(&moves.iter().map(of).collect::<Vec<_>>()).map_err(Failure::from)
    }
}

#[test]
fn the_next_batch_is_handled_while_a_step_works_beside_and_none_is_visible_before_its_turn() {
    let tape = Tape::new();
    tape.produce(0, ["a", "b", "c"]);
    let (handled, seen) = sync_channel(10);
    let (let_end, may_end) = sync_channel(10);
    let counter = Counter::with(move |delivery| {
        handled.send(delivery.id.as_str().to_owned()).unwrap();
        Ok(())
    });
    let mut setup = tape.setup("one");
    setup.config.batch_max_records = 1;
    let running = Running::start(setup, counter, Beside { real: tape.step(), begun: None, may_end });
    assert_eq!([seen.recv().unwrap(), seen.recv().unwrap()], ["a", "b"]);
    assert_eq!(tape.output_len(), 0, "`b` is handled, and `a` is not visible yet");
    for _ in 0..3 {
        let_end.send(()).unwrap();
    }
    assert_eq!(values(&tape.outputs(3)), ["a", "b", "c"]);
    running.end().unwrap();
    assert_eq!(tape.kept(0), (3, Some(3)));
}

#[test]
fn what_a_group_is_told_later_of_a_step_beside_never_moves_it_back() {
    let tape = Tape::new();
    tape.log.append(vec![alert(0, "a"), raw(0, "{")]).unwrap();
    let (let_end, may_end) = sync_channel(1);
    let_end.send(()).unwrap();
    let mut setup = tape.setup("one");
    setup.config.batch_max_records = 1;
    let running = Running::start(setup, Counter::default(), Beside { real: tape.step(), begun: None, may_end });
    while running.gauges.dead_letters.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    running.end().unwrap();
    // The bad record's step is not one beside: it says 2 before the group was told of 1.
    let committed = tape.log.committed("tapedeck.counter").unwrap();
    assert_eq!(committed, [GroupOffset { partition: TopicPartition::new(INPUT, 0), next: 2 }]);
}

/// Works beside, on a store that may be away; counts what was begun.
struct AwayBeside(Away, Option<(LogEffect, Vec<Move>)>, Arc<AtomicUsize>);

impl Step for AwayBeside {
    type Effect = LogEffect;
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Resume>, Failure> {
        self.0.resume(partitions)
    }
    fn perform(&mut self, member: &mut dyn Member, effect: LogEffect, moves: &[Move]) -> Result<(), Failure> {
        self.0.perform(member, effect, moves)
    }
    fn works_beside(&self) -> bool {
        true
    }
    fn begin(&mut self, effect: LogEffect, moves: &[Move]) -> Result<(), Failure> {
        self.1 = Some((effect, moves.to_vec()));
        self.2.fetch_add(1, SeqCst);
        Ok(())
    }
    fn end(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        let (effect, moves) = self.1.take().unwrap();
        self.perform(member, effect, &moves)
    }
}

#[test]
fn after_a_failure_nothing_is_begun_beside_until_a_step_has_passed() {
    let tape = Tape::new();
    tape.produce(0, ["a", "b", "c"]);
    let (away, begun) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let mut setup = tape.setup("one");
    setup.config.batch_max_records = 1;
    let step = AwayBeside(Away(tape.step(), Arc::clone(&away)), None, Arc::clone(&begun));
    let running = Running::start(setup, Counter::default(), step);
    while running.gauges.retries.load(SeqCst) < 4 {
        std::thread::yield_now();
    }
    assert_eq!(begun.load(SeqCst), 1, "tries are one after the other, each later than the one before");
    away.store(false, SeqCst);
    assert_eq!(values(&tape.outputs(3)), ["a", "b", "c"]);
    running.end().unwrap();
    assert!(begun.load(SeqCst) > 1, "and then beside again");
}

#[test]
fn a_failure_that_passes_is_shown_as_tried_again_and_not_as_blocked() {
    let tape = Tape::new();
    tape.produce(0, ["a", "b"]);
    let away = Arc::new(AtomicBool::new(true));
    let running = Running::start(tape.setup("one"), Counter::default(), Away(tape.step(), Arc::clone(&away)));
    let gauges = Arc::clone(&running.gauges);
    let mut seen = Vec::new();
    while gauges.retries.load(SeqCst) < 3 {
        seen.push(gauges.phase());
        std::thread::yield_now();
    }
    let Phase::Retrying(what) = gauges.phase() else { panic!("not retrying: {:?}", gauges.phase()) };
    assert!(what.contains("the store is away"), "{what}");
    assert!(!seen.iter().any(|phase| matches!(phase, Phase::Blocked(_))), "{seen:?}");
    away.store(false, SeqCst);
    assert_eq!(values(&tape.outputs(2)), ["a", "b"]);
    while gauges.phase() != Phase::Running {
        std::thread::yield_now();
    }
    running.end().unwrap();
}

#[test]
fn what_waits_for_company_is_made_visible_on_stop_and_the_group_is_left() {
    let tape = Tape::new();
    let mut setup = tape.setup("one");
    setup.config.batch_max_age_ms = 3_600_000;
    let running = Running::start(setup, Counter::default(), tape.step());
    tape.produce(0, ["a", "b", "a"]);
    // A duplicate is counted when it is decoded: then the others wait in the batch.
    while running.gauges.duplicates.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    assert_eq!(tape.output_len(), 0);
    running.end().unwrap();
    assert_eq!(values(&tape.outputs(2)), ["a", "b"]);
    assert_eq!(tape.kept(0), (2, Some(3)));
    let groups = tape.log.groups().unwrap();
    assert!(groups.iter().all(|group| group.members.is_empty()), "{groups:?}");
    let committed = tape.log.committed("tapedeck.counter").unwrap();
    assert_eq!(committed, [GroupOffset { partition: TopicPartition::new(INPUT, 0), next: 3 }]);
}

#[test]
fn a_stalled_member_is_fenced_and_its_work_is_not_visible_twice() {
    let config = EmbeddedConfig { session_timeout: Duration::from_millis(300), ..EmbeddedConfig::default() };
    let tape = Tape::with(config);
    tape.produce(0, ["a", "b"]);
    tape.produce(1, ["c"]);
    let (stalled, is_stalled) = sync_channel(1);
    let (release, released) = sync_channel::<()>(1);
    let mut once = Some((stalled, released));
    let stall = move |_: &tapedeck_flow::Delivery| {
        if let Some((stalled, released)) = once.take() {
            stalled.send(()).unwrap();
            released.recv().unwrap();
        }
        Ok(())
    };
    let slow = Running::start(tape.setup("slow"), Counter::with(stall), tape.step());
    is_stalled.recv().unwrap();
    let quick = Running::start(tape.setup("quick"), Counter::default(), tape.step());
    let mut copied = values(&tape.outputs(3));
    release.send(()).unwrap();
    tape.produce(0, ["d"]);
    tape.produce(1, ["e"]);
    copied.extend(values(&tape.outputs(5)));
    slow.end().unwrap();
    quick.end().unwrap();
    assert_eq!(copied.into_iter().collect::<BTreeSet<_>>(), ["a", "b", "c", "d", "e"].map(str::to_owned).into());
    assert_eq!(tape.output_len(), 5);
    assert_eq!((tape.kept(0), tape.kept(1)), ((3, Some(3)), (2, Some(2))));
}

#[test]
fn two_members_share_the_partitions_and_hand_them_over() {
    let tape = Tape::new();
    let one = Running::start(tape.setup("one"), Counter::default(), tape.step());
    tape.produce(0, ["a"]);
    tape.produce(1, ["b"]);
    tape.outputs(2);
    let two = Running::start(tape.setup("two"), Counter::default(), tape.step());
    for id in 0..40 {
        tape.produce(id % 2, [format!("{id}").as_str()]);
        tape.outputs(3 + id as usize);
    }
    one.end().unwrap();
    tape.produce(0, ["last"]);
    tape.produce(1, ["last too"]);
    tape.outputs(44);
    let shared = Arc::clone(&two.gauges);
    two.end().unwrap();
    assert_eq!(tape.output_len(), 44);
    assert_eq!((tape.kept(0), tape.kept(1)), ((22, Some(22)), (22, Some(22))));
    assert!(shared.records.load(SeqCst) >= 2, "the one that stayed took over");
}

#[test]
fn a_position_beyond_the_end_of_the_log_says_what_happened_and_what_can_be_done() {
    let tape = Tape::new();
    tape.produce(0, ["a"]);
    let partition = TopicPartition::new(INPUT, 0);
    tape.log.reset_offsets("tapedeck.counter", &[GroupOffset { partition, next: 9 }]).unwrap();
    let ended = Running::start(tape.setup("one"), Counter::default(), tape.step()).join();
    let Err(Failure::Fatal(message)) = ended else { panic!("{ended:?}") };
    for part in ["alerts.v1/0", "offset 9", "ends at 1", "Choose"] {
        assert!(message.contains(part), "`{part}` is missing in: {message}");
    }
}

#[test]
fn what_retention_took_before_it_was_read_is_counted_and_alerted_and_the_rest_goes_on() {
    let tape = Tape::new();
    tape.produce(0, ["a"]);
    let running = Running::start(tape.setup("one"), Counter::default(), tape.step());
    tape.outputs(1);
    running.end().unwrap();
    let old = |id| Record { timestamp_ms: Some(0), ..alert(0, id) };
    tape.log.append(vec![old("b"), old("c")]).unwrap();
    let far_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64 + 2 * 3_600_000;
    tape.log.run_retention(far_ms).unwrap();
    assert_eq!(tape.log.bounds(&TopicPartition::new(INPUT, 0)).unwrap(), (3, 3));
    tape.produce(0, ["d"]);

    let running = Running::start(tape.setup("two"), Counter::default(), tape.step());
    let gauges = Arc::clone(&running.gauges);
    let copied = values(&tape.outputs(3));
    running.end().unwrap();
    assert!(copied.contains(&"d".to_owned()), "{copied:?}");
    assert_eq!(gauges.missed.load(SeqCst), 2);
    let mut reader = tape.log.reader().unwrap();
    reader.assign(&[(TopicPartition::new(INPUT, 0), 3), (TopicPartition::new(INPUT, 1), 0)]).unwrap();
    let limits = PollLimits { max_records: 9, max_bytes: 1 << 20, timeout: Duration::from_secs(1) };
    let bodies: String = reader
        .poll(limits)
        .unwrap()
        .iter()
        .map(|r| String::from_utf8_lossy(r.value.as_ref().unwrap()).into_owned())
        .collect();
    assert!(bodies.contains("LOG_GAP") && bodies.contains("2 offsets went by retention"), "{bodies}");
}
