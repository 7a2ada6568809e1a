//! Ends in the worst places, lost answers, anchors: the chain goes on unbroken, and
//! each decision is in it once.
//!
//! Not here: what an explanation says.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use proptest::prelude::*;
use tapedeck_flow::{Boundaries, Boundary};
use tapedeck_roles::forensics::{Anchor, AnchorRule};
use tapedeck_store::{Explanations, Store};

use crate::{
    common::*,
    wrapped::{Turn, Wrapped},
};

const OFTEN: AnchorRule = AnchorRule { every_records: 10, max_age_us: i64::MAX };

/// Batches of a few records a chain, each anchored by the next.
fn small(boundaries: Boundaries) -> Options {
    let anchors = AnchorRule { every_records: 3, max_age_us: i64::MAX };
    let mut options = Options { anchors, boundaries, ..Options::default() };
    options.delivery.batch_max_records = 20;
    options
}

/// Panics when this boundary is passed for the nth time, from 1.
fn ends_at(at: Boundary, nth: u32) -> Boundaries {
    let passed = AtomicU32::new(0);
    Boundaries::calling(move |boundary| {
        if boundary == at {
            assert_ne!(passed.fetch_add(1, SeqCst) + 1, nth, "the process ends here");
        }
    })
}

#[test]
fn a_process_that_ends_between_anchor_and_records_writes_the_same_anchor_again() {
    let tape = Tape::new();
    let decisions = decisions(&tape.models, 200);
    tape.emit(&decisions);
    // Each keeps a batch, anchors it, and ends before it keeps the next.
    for _ in 0..3 {
        Running::start(&tape, small(ends_at(Boundary::Append, 2))).until_crashed(&tape);
    }
    tape.settle_with(small(Boundaries::default()));
    tape.assert_whole(&decisions);
    let mut by_id = BTreeMap::new();
    for (id, anchor) in tape.anchors() {
        assert_eq!(*by_id.entry(id).or_insert(anchor), anchor);
    }
    assert!(by_id.len() < tape.anchors().len(), "an anchor was written again");
}

#[test]
fn a_process_that_ends_after_its_records_are_kept_goes_on_behind_them() {
    let tape = Tape::new();
    let decisions = decisions(&tape.models, 200);
    tape.emit(&decisions);
    for nth in 1..3 {
        let boundaries = ends_at(Boundary::Apply, nth);
        Running::start(&tape, Options { boundaries, ..Options::default() }).until_crashed(&tape);
        assert!(!tape.rows().is_empty());
    }
    tape.settle();
    tape.assert_whole(&decisions);
}

#[test]
fn anchors_name_only_what_is_stored_and_go_on_from_each_other() {
    let tape = Tape::new();
    let decisions = decisions(&tape.models, 300);
    // Between the anchors of a step and its records, all that is anchored is stored.
    let (store, log) = (Arc::clone(&tape.store), Arc::clone(&tape.log));
    let boundaries = Boundaries::calling(move |boundary| {
        if boundary == Boundary::Append {
            let heads = store.chain_heads().unwrap();
            let is_stored =
                |anchor: &Anchor| heads.iter().any(|head| head.chain == anchor.chain && head.records >= anchor.records);
            assert!(anchors_of(&log).iter().all(|(_, anchor)| is_stored(anchor)));
        }
    });
    tape.emit(&decisions);
    tape.settle_with(Options { anchors: OFTEN, boundaries, ..Options::default() });
    tape.assert_whole(&decisions);
    let anchors = tape.anchors();
    assert!(anchors.len() > 6, "{}", anchors.len());
    let rows = tape.rows();
    for (_, anchor) in &anchors {
        let row = rows.iter().find(|row| (row.chain, row.index + 1) == (anchor.chain, anchor.records)).unwrap();
        assert_eq!(row.hash, anchor.hash.0);
    }
    // What the store says of the last anchor is in the audit log.
    for head in tape.store.chain_heads().unwrap() {
        let (records, hash) = head.anchored.unwrap();
        assert!(
            anchors
                .iter()
                .any(|(_, anchor)| (anchor.chain, anchor.records, anchor.hash.0) == (head.chain, records, hash))
        );
    }
}

#[test]
fn a_chain_without_new_decisions_is_anchored_when_its_time_has_come() {
    let tape = Tape::new();
    let decisions = decisions(&tape.models, 30);
    tape.emit(&decisions);
    let soon = AnchorRule { every_records: u64::MAX, max_age_us: 1_000 };
    let running = Running::start(&tape, Options { anchors: soon, ..Options::default() });
    running.until(|| tape.is_settled());
    let ends: Vec<_> = tape.store.chain_heads().unwrap().iter().map(|head| (head.chain, head.records)).collect();
    let anchored = |(chain, records): &(u32, u64)| {
        tape.anchors().iter().any(|(_, anchor)| (anchor.chain, anchor.records) == (*chain, *records))
    };
    running.until(|| ends.iter().all(anchored));
    running.end().unwrap();
    tape.assert_whole(&decisions);
}

#[test]
fn what_a_former_owner_keeps_while_its_chains_are_opened_makes_no_decision_bad() {
    let former = Tape::new();
    let decisions = decisions(&former.models, 120);
    former.emit(&decisions);
    let store = Wrapped::taking(&former.store, []);
    former.settle_with(Options { store: Some(Arc::clone(&store) as Arc<dyn Store>), ..Options::default() });
    let last = store.first_kept();
    assert_eq!(last.heads.len(), PARTITIONS as usize);
    let tape = Tape::new();
    tape.emit(&decisions);
    let store = Wrapped::interrupted(&tape.store, move |store| {
        assert_eq!(store.apply_explained(&last).unwrap(), [0_usize; 0]);
    });
    tape.settle_with(Options { store: Some(store), ..Options::default() });
    assert_eq!(tape.dead_letters(), []);
    tape.assert_whole(&decisions);
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![2 => Just(Turn::Keep), 1 => Just(Turn::FailBefore), 1 => Just(Turn::FailAfter)];
    prop::collection::vec(turn, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn answers_of_the_store_that_get_lost_leave_each_decision_once_in_an_unbroken_chain(turns in turns()) {
        let tape = Tape::new();
        let decisions = decisions(&tape.models, 80);
        // Some come twice, far apart, and the runtime remembers two ids.
        let again: Vec<_> = decisions.iter().step_by(7).cloned().collect();
        tape.emit(&decisions);
        tape.emit(&again);
        let mut options = Options { anchors: OFTEN, ..Options::default() };
        options.store = Some(Wrapped::taking(&tape.store, turns));
        options.delivery.dedupe_window = 2;
        options.delivery.batch_max_records = 20;
        tape.settle_with(options);
        tape.assert_whole(&decisions);
    }
}
