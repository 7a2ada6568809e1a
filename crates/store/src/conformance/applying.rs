//! Rows and offsets: together or not at all, and each event once.
//!
//! Not here: what queries make of the rows.

use std::sync::Arc;

use tapedeck_contracts::{Event, EventId, events::Envelope, events::Health, events::ops::HealthStatus};

use super::{
    Open,
    samples::{GROUP, START, TOPIC, at, dec, moved, reports, row, rows, trade},
};
use crate::{Applied, Batch, FillsQuery, Resume, Row, Store, StoreError};

fn all_fills(store: &dyn Store) -> Vec<String> {
    let query = FillsQuery { limit: 1_000, ..FillsQuery::default() };
    store.fills(&query).expect("fills").into_iter().map(|fill| fill.fill_id).collect()
}

fn resume_of(store: &dyn Store, partition: u32) -> Resume {
    store.resume(GROUP, &[(Arc::from(TOPIC), partition)]).expect("resume").remove(0)
}

fn with_offsets(rows: Vec<Row>, expected: Option<u64>, next: u64) -> Batch {
    Batch { offsets: vec![moved(expected, next)], ..super::samples::rows(rows) }
}

/// A batch is there after a restart with the place to go on from.
pub fn a_batch_and_its_offsets_survive_a_restart(open: Open<'_>) {
    let store = open();
    assert_eq!(resume_of(&*store, 0), Resume::default());
    let batch = with_offsets(vec![row(0, trade(1)), row(1, trade(2))], None, 2);
    assert_eq!(store.apply(&batch).expect("apply"), Applied { stored: 2, duplicates: 0 });
    drop(store);
    let store = open();
    assert_eq!(all_fills(&*store), ["F2", "F1"]);
    assert_eq!(resume_of(&*store, 0), Resume { next: Some(2), held: vec![], last: Some((1, u64::MAX - 1)) });
    assert_eq!(resume_of(&*store, 1), Resume::default(), "other partitions have not moved");
    let other = store.resume("another-group", &[(Arc::from(TOPIC), 0)]).expect("resume");
    assert_eq!(other, [Resume::default()], "other groups have not moved");
}

/// An empty batch moves offsets all the same: a log has gaps.
pub fn offsets_move_without_rows(open: Open<'_>) {
    let store = open();
    store.apply(&with_offsets(vec![], None, 10)).expect("apply");
    store.apply(&with_offsets(vec![], Some(10), 20)).expect("apply");
    assert_eq!(resume_of(&*store, 0).next, Some(20));
}

/// One row that cannot be kept is named, and its batch leaves nothing.
pub fn a_row_that_cannot_be_kept_is_named_and_its_batch_leaves_nothing(open: Open<'_>) {
    let store = open();
    let health = Envelope {
        timestamp: START,
        producer_service: "monitor".into(),
        data: Health {
            service: "recorder".into(),
            status: HealthStatus::Ok,
            latency_ms: None,
            details: serde_json::Map::new(),
            checked_at: START,
        },
    };
    let bad = Event::Health(Box::new(health));
    let batch = with_offsets(vec![row(0, trade(1)), row(1, bad)], None, 2);
    assert!(matches!(store.apply(&batch), Err(StoreError::Poison { index: 1, .. })));
    assert_eq!(all_fills(&*store), Vec::<String>::new());
    assert_eq!(resume_of(&*store, 0), Resume::default());
    let good = with_offsets(vec![row(0, trade(1))], None, 1);
    assert_eq!(store.apply(&good).expect("apply").stored, 1, "the good row is not taken for a duplicate");
}

/// The same event id is kept once: in a batch, across batches, after a restart.
pub fn an_event_is_kept_once(open: Open<'_>) {
    let store = open();
    let batch = rows(vec![row(0, trade(1)), row(1, trade(1)), row(2, trade(2))]);
    assert_eq!(store.apply(&batch).expect("apply"), Applied { stored: 2, duplicates: 1 });
    drop(store);
    let store = open();
    let again = rows(vec![row(3, trade(2)), row(4, trade(3))]);
    assert_eq!(store.apply(&again).expect("apply"), Applied { stored: 1, duplicates: 1 });
    assert_eq!(all_fills(&*store), ["F3", "F2", "F1"]);
    let stats = store.symbol_stats(None).expect("stats");
    assert_eq!(stats[0].fills, 3, "a duplicate is in no sum");
    assert_eq!(stats[0].fees, dec("57"));
}

/// A fill that is reported again under another event id is kept once.
pub fn a_fill_is_kept_once_whatever_its_event_id(open: Open<'_>) {
    let store = open();
    store.apply(&reports([trade(1)])).expect("apply");
    let mut again = trade(1);
    again.event_id = EventId("from-the-drop-copy".into());
    let batch = rows(vec![row(7, again)]);
    assert_eq!(store.apply(&batch).expect("apply"), Applied { stored: 0, duplicates: 1 });
    assert_eq!(all_fills(&*store), ["F1"]);
    assert_eq!(store.symbol_stats(None).expect("stats")[0].fills, 1);
}

/// A fill id that comes again with other content is refused with words.
pub fn a_fill_id_with_other_content_is_poison(open: Open<'_>) {
    let store = open();
    store.apply(&reports([trade(1)])).expect("apply");
    let mut other = trade(2);
    other.fill.as_mut().expect("a fill").fill_id = "F1".into();
    let Err(StoreError::Poison { index: 1, detail }) = store.apply(&rows(vec![row(5, trade(3)), row(6, other)])) else {
        panic!("the second row must be refused");
    };
    assert!(detail.contains("F1"), "the fill is named: {detail}");
    assert_eq!(all_fills(&*store), ["F1"]);
}

/// The same fill id in another account, venue or symbol is another fill.
pub fn fill_ids_belong_to_their_account_venue_and_symbol(open: Open<'_>) {
    let store = open();
    let mut others: Vec<_> = (1..=4).map(trade).collect();
    others.iter_mut().for_each(|report| report.fill.as_mut().expect("a fill").fill_id = "F1".into());
    others[1].account = "ACC-2".into();
    others[2].venue = "COINBASE".into();
    others[3].symbol = "ETHUSDT".into();
    assert_eq!(store.apply(&reports(others)).expect("apply").stored, 4);
}

/// A writer that lost its seat writes what the owner wrote: readers see no difference.
pub fn a_late_writer_changes_nothing_for_readers(open: Open<'_>) {
    let store = open();
    let batch = with_offsets((1..=3).map(|n| row(n - 1, trade(n))).collect(), None, 3);
    store.apply(&batch).expect("apply");
    let next = with_offsets(vec![row(3, trade(4))], Some(3), 4);
    store.apply(&next).expect("apply");
    let before = (all_fills(&*store), store.symbol_stats(None).expect("stats"), store.accounts().expect("accounts"));
    // Refused or taken: a store may do either.
    drop(store.apply(&batch));
    let after = (all_fills(&*store), store.symbol_stats(None).expect("stats"), store.accounts().expect("accounts"));
    assert_eq!(before, after);
}

/// Every digit that the contract takes comes back, and so does every microsecond.
pub fn digits_and_microseconds_survive(open: Open<'_>) {
    let store = open();
    let mut report = trade(1);
    report.timestamp = at(0).plus_micros(1);
    report.pnl.realized = dec("-12345678.9876543219");
    report.costs.commission = dec("-0.0000000001");
    report.fill.as_mut().expect("a fill").last_qty = dec("999999999999999999");
    report.fill.as_mut().expect("a fill").last_px = dec("0.0000000001");
    store.apply(&reports([report.clone()])).expect("apply");
    let query = FillsQuery { limit: 10, ..FillsQuery::default() };
    let fill = store.fills(&query).expect("fills").remove(0);
    let sent = report.fill.as_ref().expect("a fill");
    assert_eq!((fill.timestamp, fill.quantity, fill.price), (report.timestamp, sent.last_qty, sent.last_px));
    assert_eq!((fill.realized_pnl, fill.commission), (report.pnl.realized, report.costs.commission));
    assert_eq!((fill.event_id, fill.order_id), (report.event_id.0, report.order.order_id));
    assert_eq!(fill.slippage_bps, Some(0.5));
}
