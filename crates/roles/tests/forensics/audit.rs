//! What somebody did to the rows of a store is found, where it was done.
//!
//! Not here: the check of one record.

use tapedeck_roles::forensics::{Anchor, CheckError, Fault, FaultKind, Head, Record, verify_store};
use tapedeck_store::Explained;

use crate::{common::*, wrapped::Wrapped};

/// A tape whose chain 0 has some dozens of records.
fn kept() -> Tape {
    let tape = Tape::new();
    tape.emit(&decisions(&tape.models, 100));
    tape.settle();
    tape
}

fn fault(tape: &Tape, anchors: &[Anchor], change: impl Fn(&mut Vec<Explained>) + Send + Sync + 'static) -> Fault {
    let store = Wrapped::changed(&tape.store, change);
    match verify_store(&store, Head::start(0), anchors.iter().copied(), |_| {}) {
        Err(CheckError::Fault(fault)) => fault,
        other => panic!("the change was not found: {other:?}"),
    }
}

fn found(tape: &Tape, change: impl Fn(&mut Vec<Explained>) + Send + Sync + 'static) -> (u64, FaultKind) {
    let fault = fault(tape, &[], change);
    (fault.index, fault.kind)
}

#[test]
fn a_change_to_any_part_of_a_row_is_found_at_the_row() {
    let tape = kept();
    for at in [0, 17, 49] {
        let changed = found(&tape, move |rows| {
            let mut bytes = rows[at].record.to_vec();
            bytes[60] ^= 4;
            rows[at].record = bytes.into();
        });
        assert_eq!((changed.0, matches!(changed.1, FaultKind::Changed)), (at as u64, true));
        assert_eq!(found(&tape, move |rows| rows[at].hash[31] ^= 1), (at as u64, FaultKind::Changed));
        let moved = found(&tape, move |rows| rows[at].symbol = "XAU".into());
        assert_eq!(moved, (at as u64, FaultKind::Column("symbol")));
        let renamed = found(&tape, move |rows| rows[at].feature_set[3] ^= 1);
        assert!(renamed.0 == at as u64 && matches!(renamed.1, FaultKind::Names(_)), "{renamed:?}");
    }
}

#[test]
fn rows_that_are_gone_or_in_each_others_place_are_found_where_they_were() {
    let tape = kept();
    assert_eq!(found(&tape, |rows| drop(rows.remove(20))), (20, FaultKind::Missing { next: 21 }));
    let swapped = found(&tape, |rows| {
        rows.swap(20, 21);
        (rows[20].index, rows[21].index) = (20, 21);
    });
    assert_eq!(swapped, (20, FaultKind::Misplaced { says: (0, 21) }));
    // The last ones: the store's own head tells, without an anchor.
    let cut = found(&tape, |rows| rows.truncate(rows.len() - 2));
    assert_eq!(cut, (48, FaultKind::Head { records: 50 }));
}

#[test]
fn a_chain_written_anew_with_right_hashes_is_found_by_an_anchor() {
    let tape = kept();
    let anchors: Vec<_> = tape.anchors().into_iter().map(|(_, anchor)| anchor).collect();
    let rewrite = |rows: &mut Vec<Explained>| {
        let mut head = Head::start(0);
        for (at, row) in rows.iter_mut().enumerate() {
            if at == 30 {
                let mut record = Record::read(&row.record).unwrap();
                record.margin += 0.5;
                let mut bytes = Vec::new();
                record.write(&mut bytes).unwrap();
                row.record = bytes.into();
            }
            row.hash = head.push(&row.record).0;
        }
    };
    let found = fault(&tape, &anchors, rewrite);
    assert_eq!((found.index, found.kind), (49, FaultKind::Rewritten { from: 0 }));
}

#[test]
fn a_check_goes_on_where_an_earlier_one_ended_and_tells_how_far_it_is() {
    let tape = kept();
    let first = verify_store(&*tape.store, Head::start(0), [], |_| {}).unwrap();
    let more: Vec<_> = (100..140).map(|n| decision(&tape.models, n)).collect();
    tape.emit(&more);
    tape.settle();
    let mut told = Vec::new();
    let second = verify_store(&*tape.store, first.head, [], |records| told.push(records)).unwrap();
    assert_eq!((told.first().copied(), told.last().copied()), (Some(50), Some(second.head.records)));
    assert_eq!(second.head.records, 70);
    let elsewhere = Head { hash: Head::start(1).hash, ..first.head };
    let Err(CheckError::Fault(fault)) = verify_store(&*tape.store, elsewhere, [], |_| {}) else { panic!("it holds") };
    assert_eq!((fault.index, fault.kind), (50, FaultKind::Changed));
}
