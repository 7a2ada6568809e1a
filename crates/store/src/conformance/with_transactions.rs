//! What a store with transactions does beyond the others: it refuses a writer
//! whose offsets are not the stored ones.
//!
//! Not here: what every store does.

use super::{
    Open,
    samples::{moved, row, rows, trade},
};
use crate::{Batch, FillsQuery, StoreError};

/// Compare and set: the late writer learns that it is late, and leaves nothing.
pub fn a_writer_that_believes_another_offset_is_refused(open: Open<'_>) {
    let store = open();
    let first = Batch { offsets: vec![moved(None, 1)], ..rows(vec![row(0, trade(1))]) };
    store.apply(&first).expect("apply");
    for wrong in [None, Some(0), Some(2)] {
        let late = Batch { offsets: vec![moved(wrong, 3)], ..rows(vec![row(1, trade(2))]) };
        match store.apply(&late) {
            Err(StoreError::Conflict { expected, found, .. }) => assert_eq!((expected, found), (wrong, Some(1))),
            other => panic!("expected a conflict, found {other:?}"),
        }
    }
    let query = FillsQuery { limit: 10, ..FillsQuery::default() };
    assert_eq!(store.fills(&query).expect("fills").len(), 1);
    let right = Batch { offsets: vec![moved(Some(1), 2)], ..rows(vec![row(1, trade(2))]) };
    assert_eq!(store.apply(&right).expect("apply").stored, 1, "what was refused is not remembered");
}
