//! Whatever is done to a chain is found, at the right place; what only an anchor can
//! tell is found with an anchor and not without.
//!
//! Not here: a store or an export to read a chain from.

use proptest::prelude::*;

use super::*;
use crate::forensics::{Record, record::tests::typical};

const CHAIN: u32 = 3;

fn stored(record: &Record, head: &mut Head) -> Stored {
    let mut bytes = Vec::new();
    record.write(&mut bytes).unwrap();
    let hash = head.push(&bytes);
    Stored { chain: record.chain, index: record.index, bytes, hash, columns: Columns::from(record) }
}

fn chain(count: u64) -> Vec<Stored> {
    let mut head = Head::start(CHAIN);
    (0..count).map(|index| stored(&typical(CHAIN, index), &mut head)).collect()
}

/// Writes everything from `from` on anew, with hashes that fit.
fn rewrite(records: &mut [Stored], from: usize) {
    let mut head = Head::start(CHAIN);
    records[..from].iter().for_each(|stored| _ = head.push(&stored.bytes));
    for (at, place) in records.iter_mut().enumerate().skip(from) {
        let mut record = Record::read(&place.bytes).unwrap();
        if at == from {
            record.margin += 0.25;
        }
        *place = stored(&record, &mut head);
    }
}

fn anchor_after(records: &[Stored], count: usize) -> Anchor {
    let mut head = Head::start(CHAIN);
    records[..count].iter().for_each(|stored| _ = head.push(&stored.bytes));
    Anchor::from(head)
}

fn check(records: Vec<Stored>, anchors: &[Anchor]) -> Result<Verified, Fault> {
    verify(Head::start(CHAIN), anchors.iter().copied(), records)
}

#[test]
fn a_chain_as_it_was_written_holds_and_says_how_far_anchors_vouch() {
    let records = chain(8);
    let anchors = [anchor_after(&records, 3), anchor_after(&records, 6)];
    let verified = check(records.clone(), &anchors).unwrap();
    assert_eq!((verified.head.records, verified.head.hash, verified.anchored), (8, records[7].hash, 6));
}

#[test]
fn each_chain_starts_from_a_hash_of_its_own() {
    assert_ne!(Head::start(0).hash, Head::start(1).hash);
    let found = verify(Head::start(4), [], chain(2)).unwrap_err();
    assert_eq!(found.kind, FaultKind::OtherChain(CHAIN));
}

#[test]
fn a_check_goes_on_from_the_head_where_it_stopped() {
    let mut records = chain(9);
    let anchors = [anchor_after(&records, 7)];
    let mut first = Verifier::new(Head::start(CHAIN), anchors).unwrap();
    records[..4].iter().for_each(|stored| first.take(stored).unwrap());
    let verified = verify(first.head(), anchors, records[4..].to_vec()).unwrap();
    assert_eq!(verified.head.records, 9);
    records[6].bytes[30] ^= 1;
    let resumed = verify(first.head(), anchors, records[4..].to_vec()).unwrap_err();
    assert_eq!(resumed, check(records, &anchors).unwrap_err());
}

#[test]
fn a_record_that_comes_twice_is_found() {
    let mut records = chain(5);
    records.insert(3, records[2].clone());
    let found = check(records, &[]).unwrap_err();
    assert_eq!((found.index, found.kind), (3, FaultKind::Repeated { found: 2 }));
}

#[test]
fn every_column_that_differs_from_its_record_is_found_by_name() {
    type Change = (&'static str, fn(&mut Columns));
    let changes: [Change; 6] = [
        ("decision_id", |columns| columns.decision_id.push('x')),
        ("time", |columns| columns.time = columns.time.plus_micros(1)),
        ("symbol", |columns| columns.symbol = "ETHUSDT".into()),
        ("account", |columns| columns.account = None),
        ("action", |columns| columns.action = tapedeck_contracts::events::Action::Sell),
        ("outcome", |columns| columns.outcome = tapedeck_contracts::events::decision::Outcome::Rejected),
    ];
    for (name, change) in changes {
        let mut records = chain(4);
        change(&mut records[2].columns);
        let found = check(records, &[]).unwrap_err();
        assert_eq!((found.index, found.kind), (2, FaultKind::Column(name)));
    }
}

#[test]
fn bytes_that_were_never_a_record_are_found_though_their_hash_is_right() {
    let mut records = chain(3);
    records[2].bytes.truncate(40);
    let mut head = anchor_after(&records, 2);
    head.hash = Head { chain: CHAIN, records: 2, hash: head.hash }.hash_with(&records[2].bytes);
    records[2].hash = head.hash;
    let found = check(records, &[]).unwrap_err();
    assert_eq!(found.index, 2);
    assert!(matches!(found.kind, FaultKind::Unreadable(_)), "{found}");
}

#[test]
fn an_anchor_comes_back_from_its_audit_entry() {
    let records = chain(5);
    let (first, second) = (anchor_after(&records, 2), anchor_after(&records, 5));
    let entry = second.entry(Some(&first), "5 records since the last anchor");
    assert_eq!(entry.object, "forensics/chain/3");
    assert_eq!(entry.before["records"], 2);
    assert_eq!(Anchor::from_entry(&entry), Ok(Some(second)));
    let other = AuditEntry { action: "dlq.replay".into(), ..entry.clone() };
    assert_eq!(Anchor::from_entry(&other), Ok(None));
    let broken = AuditEntry { after: json!({"records": 5, "hash": "00"}), ..entry };
    assert!(Anchor::from_entry(&broken).unwrap_err().to_string().contains("64 hexadecimal digits"));
}

#[test]
fn anchors_come_after_many_records_and_after_a_wait_and_never_twice_for_one_head() {
    let rule = AnchorRule { every_records: 10, max_age_us: 1_000 };
    let at = Timestamp::from_micros;
    let mut head = Head::start(CHAIN);
    let mut anchors = Anchors::new(rule, head, None);
    assert_eq!((anchors.due(at(0)), anchors.next()), (None, None));
    (0..9).for_each(|_| _ = head.push(b"record"));
    anchors.stored(head, at(10));
    assert_eq!(anchors.due(at(10)), None);
    head.push(b"record");
    anchors.stored(head, at(20));
    assert!(anchors.due(at(20)).is_some());
    let first = anchors.next().unwrap();
    anchors.written(first);
    assert_eq!((anchors.due(at(9_000)), anchors.next()), (None, None));
    head.push(b"record");
    anchors.stored(head, at(10_000));
    assert_eq!(anchors.due(at(10_999)), None);
    let why = anchors.due(at(11_000)).unwrap();
    let entry = anchors.next().unwrap().entry(anchors.last(), &why);
    assert_eq!((&entry.before["records"], &entry.after["records"]), (&json!(10), &json!(11)));
}

#[test]
fn an_anchor_written_again_has_the_same_id_and_another_one_another() {
    let records = chain(2);
    let (one, two) = (anchor_after(&records, 1), anchor_after(&records, 2));
    assert_eq!(one.event_id(), anchor_after(&records, 1).event_id());
    assert_ne!(one.event_id(), two.event_id());
    assert_ne!(one.event_id(), Anchor { hash: two.hash, ..one }.event_id());
}

#[test]
fn anchors_that_contradict_each_other_or_the_head_are_found_before_any_record() {
    let records = chain(5);
    let one = anchor_after(&records, 4);
    let other = Anchor { hash: Hash::default(), ..one };
    assert_eq!(check(records.clone(), &[one, other]).unwrap_err().index, 3);
    let head = Head { chain: CHAIN, records: 4, hash: one.hash };
    assert!(Verifier::new(head, [other]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_byte_that_is_changed_is_found_where_it_is(
        at in 0_usize..8, byte in any::<prop::sample::Index>(), flip in 1_u8..,
    ) {
        let mut records = chain(8);
        let byte = byte.index(records[at].bytes.len() + 32);
        let length = records[at].bytes.len();
        match byte.checked_sub(length) {
            None => records[at].bytes[byte] ^= flip,
            Some(byte) => records[at].hash.0[byte] ^= flip,
        }
        let found = check(records, &[]).unwrap_err();
        prop_assert_eq!(found.index, at as u64);
        let is_named = matches!(found.kind, FaultKind::Changed | FaultKind::Misplaced { .. });
        prop_assert!(is_named, "{}", found);
    }

    #[test]
    fn any_record_that_is_dropped_is_found_where_it_was(at in 0_usize..8) {
        let mut records = chain(8);
        let anchors = [anchor_after(&records, 8)];
        records.remove(at);
        let found = check(records, &anchors).unwrap_err();
        let kind = if at < 7 { FaultKind::Missing { next: at as u64 + 1 } } else { FaultKind::Cut { anchored: 8 } };
        prop_assert_eq!((found.index, found.kind), (at as u64, kind));
    }

    #[test]
    fn a_record_that_is_dropped_and_the_rest_renumbered_is_found_where_it_was(at in 0_usize..7) {
        let mut records = chain(8);
        records.remove(at);
        records.iter_mut().enumerate().for_each(|(index, stored)| stored.index = index as u64);
        let found = check(records, &[]).unwrap_err();
        let says = (CHAIN, at as u64 + 1);
        prop_assert_eq!((found.index, found.kind), (at as u64, FaultKind::Misplaced { says }));
    }

    #[test]
    fn any_two_records_that_change_places_are_found_at_the_first(one in 0_usize..8, other in 0_usize..8) {
        prop_assume!(one < other);
        let mut records = chain(8);
        records.swap(one, other);
        let found = check(records.clone(), &[]).unwrap_err();
        let kind = if other == one + 1 { FaultKind::Swapped } else { FaultKind::Missing { next: other as u64 } };
        prop_assert_eq!((found.index, found.kind), (one as u64, kind));
        // The same with the places that they are stored under given to each other.
        let (first, second) = (records[one].index, records[other].index);
        (records[one].index, records[other].index) = (second, first);
        let found = check(records, &[]).unwrap_err();
        let says = (CHAIN, other as u64);
        prop_assert_eq!((found.index, found.kind), (one as u64, FaultKind::Misplaced { says }));
    }

    #[test]
    fn a_chain_cut_at_its_end_is_found_by_an_anchor_and_by_nothing_else(left in 0_usize..8) {
        let mut records = chain(8);
        let anchor = anchor_after(&records, 8);
        records.truncate(left);
        prop_assert!(check(records.clone(), &[]).is_ok());
        let found = check(records, &[anchor]).unwrap_err();
        prop_assert_eq!((found.index, found.kind), (left as u64, FaultKind::Cut { anchored: 8 }));
    }

    #[test]
    fn a_chain_rewritten_with_right_hashes_is_found_by_an_anchor_and_by_nothing_else(
        from in 0_usize..8, before in 0_usize..8, after in 0_usize..9,
    ) {
        prop_assume!(before <= from && from < after);
        let mut records = chain(8);
        let anchors = [anchor_after(&records, before), anchor_after(&records, after)];
        rewrite(&mut records, from);
        prop_assert!(check(records.clone(), &[]).is_ok());
        prop_assert!(check(records.clone(), &anchors[..1]).is_ok());
        let found = check(records, &anchors).unwrap_err();
        let kind = FaultKind::Rewritten { from: before as u64 };
        prop_assert_eq!(found.kind.good_up_to(found.index), before as u64);
        prop_assert_eq!((found.index, found.kind), (after as u64 - 1, kind));
    }
}
