//! What becomes of framed values, on a real log: opened where something opens
//! them, waited for where that may help, set aside where it never does.
//!
//! Not here: real frames, which the registry's crate knows.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has nothing to show")]

#[allow(dead_code, reason = "each test file uses its part")]
mod common;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use common::{Counter, Running, Tape, alert, values};
use tapedeck_flow::{Phase, dead_letter::ErrorClass, runtime::Setup};
use tapedeck_log::{Log, LogAround, Record, Unframe, UnframeError};

/// A log that opens what stands behind byte 0 when it is told to.
struct Opening {
    log: Arc<dyn Log>,
    answer: Mutex<Box<dyn FnMut() -> Option<UnframeError> + Send>>,
    asked: AtomicUsize,
}

impl Opening {
    fn over(tape: &Tape, answer: impl FnMut() -> Option<UnframeError> + Send + 'static) -> Arc<Self> {
        let log = Arc::clone(&tape.log) as Arc<dyn Log>;
        Arc::new(Self { log, answer: Mutex::new(Box::new(answer)), asked: AtomicUsize::new(0) })
    }
}

impl Unframe for Opening {
    fn is_framed(&self, value: &[u8]) -> bool {
        value.first() == Some(&0)
    }
    fn open(&self, _: &str, value: &Bytes) -> std::result::Result<Bytes, UnframeError> {
        self.asked.fetch_add(1, SeqCst);
        match (self.answer.lock().unwrap())() {
            Some(error) => Err(error),
            None => Ok(value.slice(1..)),
        }
    }
}

impl LogAround for Opening {
    fn under(&self) -> &dyn Log {
        &*self.log
    }

    fn unframe(&self) -> Option<&dyn Unframe> {
        Some(self)
    }
}

/// An alert behind a byte 0.
fn framed(partition: u32, id: &str) -> Record {
    let plain = alert(partition, id);
    let value = [&[0], plain.value.as_deref().unwrap()].concat();
    Record { value: Some(value.into()), ..plain }
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[test]
fn a_framed_value_that_nothing_opens_is_set_aside_and_names_the_section() {
    let tape = Tape::new();
    tape.log.append(vec![alert(0, "a"), framed(0, "x"), alert(0, "b")]).unwrap();
    let running = Running::start(tape.setup("one"), Counter::default(), tape.step());
    let letter = tape.letters(1).remove(0);
    assert_eq!(values(&tape.outputs(2)), ["a", "b"]);
    running.end().unwrap();
    assert_eq!((letter.account.class, letter.account.attempts), (ErrorClass::Undecodable, 1));
    assert!(letter.account.error.contains("`[registry]`"), "{}", letter.account.error);
    assert_eq!(letter.value, framed(0, "x").value, "the dead letter keeps the bytes as they are");
}

#[test]
fn a_record_whose_schema_is_not_known_is_tried_five_times_and_holds_only_its_own_partition() {
    let tape = Tape::new();
    tape.log.append(vec![alert(0, "a"), framed(0, "x"), alert(0, "b"), alert(1, "c"), alert(1, "d")]).unwrap();
    let log = Opening::over(&tape, || Some(UnframeError::Unknown("schema 7 is not known".into())));
    let setup = Setup { log: Arc::clone(&log) as Arc<dyn Log>, ..tape.setup("one") };
    let running = Running::start(setup, Counter::default(), tape.step());
    let gauges = Arc::clone(&running.gauges);
    let letter = tape.letters(1).remove(0);
    let copied = values(&tape.outputs(4));
    running.end().unwrap();
    assert_eq!(copied.into_iter().collect::<BTreeSet<_>>(), set(&["a", "b", "c", "d"]));
    assert_eq!((letter.account.class, letter.account.attempts), (ErrorClass::Schema, 5));
    assert_eq!(letter.account.error, "schema 7 is not known");
    assert!(letter.account.first_failure < letter.account.last_failure);
    assert_eq!((log.asked.load(SeqCst), gauges.record_retries.load(SeqCst)), (5, 4));
    assert_eq!((tape.kept(0), tape.kept(1)), ((2, Some(3)), (2, Some(2))));
}

#[test]
fn a_schema_that_comes_between_two_tries_costs_nothing() {
    let tape = Tape::new();
    tape.log.append(vec![framed(0, "x"), alert(0, "b")]).unwrap();
    let mut tries = 0;
    let log = Opening::over(&tape, move || {
        tries += 1;
        (tries < 4).then(|| UnframeError::Unknown("not yet".into()))
    });
    let setup = Setup { log, ..tape.setup("one") };
    let running = Running::start(setup, Counter::default(), tape.step());
    assert_eq!(values(&tape.outputs(2)), ["x", "b"], "in their order");
    running.end().unwrap();
    assert_eq!((tape.letters_len(), tape.kept(0)), (0, (2, Some(2))));
}

#[test]
fn while_nobody_can_be_asked_the_partition_waits_and_nothing_is_set_aside() {
    let tape = Tape::new();
    tape.log.append(vec![framed(0, "x"), alert(0, "b"), alert(1, "c")]).unwrap();
    let back = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&back);
    let log = Opening::over(&tape, move || {
        (seen.load(SeqCst) == 0).then(|| UnframeError::Away("the registry does not answer".into()))
    });
    let setup = Setup { log: Arc::clone(&log) as Arc<dyn Log>, ..tape.setup("one") };
    let running = Running::start(setup, Counter::default(), tape.step());
    assert_eq!(values(&tape.outputs(1)), ["c"], "the other partition goes on");
    while log.asked.load(SeqCst) < 6 {
        std::thread::yield_now();
    }
    assert!(
        matches!(running.gauges.phase(), Phase::Retrying(why) if why.contains("the registry does not answer")),
        "{:?}",
        running.gauges.phase()
    );
    assert_eq!((tape.output_len(), tape.letters_len()), (1, 0));
    back.store(1, SeqCst);
    assert_eq!(values(&tape.outputs(3)).into_iter().collect::<BTreeSet<_>>(), set(&["b", "c", "x"]));
    assert_eq!(running.gauges.phase(), Phase::Running);
    running.end().unwrap();
    assert_eq!((tape.letters_len(), tape.kept(0)), (0, (2, Some(2))));
}

#[test]
fn a_body_that_does_not_fit_its_schema_is_set_aside_at_once_with_the_place_in_it() {
    let tape = Tape::new();
    tape.log.append(vec![framed(0, "x"), alert(0, "b")]).unwrap();
    let fault = || UnframeError::Poison { path: Some("$.message".into()), detail: "no text".into() };
    let log = Opening::over(&tape, move || Some(fault()));
    let running = Running::start(Setup { log, ..tape.setup("one") }, Counter::default(), tape.step());
    let letter = tape.letters(1).remove(0);
    assert_eq!(values(&tape.outputs(1)), ["b"]);
    running.end().unwrap();
    assert_eq!((letter.account.class, letter.account.attempts), (ErrorClass::Schema, 1));
    assert_eq!((letter.account.path.as_deref(), letter.account.error.as_str()), (Some("$.message"), "no text"));
}
