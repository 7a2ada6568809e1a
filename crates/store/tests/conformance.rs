//! The conformance suite on SQLite.
//!
//! Not here: what only SQLite has (its file, its plans, its locks).

use std::sync::Arc;

use tapedeck_store::{
    SqliteConfig, SqliteStore, Store,
    conformance::{Open, applying, curves, lists, retention, with_transactions},
};

/// Runs a test on a fresh file; each opening is a restart on it.
fn on_sqlite(test: fn(Open<'_>)) {
    let folder = tempfile::tempdir().expect("a folder");
    test(&|| -> Arc<dyn Store> { SqliteStore::open(folder.path(), SqliteConfig::default()).expect("a store") });
}

#[test]
fn a_batch_and_its_offsets_survive_a_restart() {
    on_sqlite(applying::a_batch_and_its_offsets_survive_a_restart);
}

#[test]
fn offsets_move_without_rows() {
    on_sqlite(applying::offsets_move_without_rows);
}

#[test]
fn a_row_that_cannot_be_kept_is_named_and_its_batch_leaves_nothing() {
    on_sqlite(applying::a_row_that_cannot_be_kept_is_named_and_its_batch_leaves_nothing);
}

#[test]
fn an_event_is_kept_once() {
    on_sqlite(applying::an_event_is_kept_once);
}

#[test]
fn a_fill_is_kept_once_whatever_its_event_id() {
    on_sqlite(applying::a_fill_is_kept_once_whatever_its_event_id);
}

#[test]
fn a_fill_id_with_other_content_is_poison() {
    on_sqlite(applying::a_fill_id_with_other_content_is_poison);
}

#[test]
fn fill_ids_belong_to_their_account_venue_and_symbol() {
    on_sqlite(applying::fill_ids_belong_to_their_account_venue_and_symbol);
}

#[test]
fn a_late_writer_changes_nothing_for_readers() {
    on_sqlite(applying::a_late_writer_changes_nothing_for_readers);
}

#[test]
fn digits_and_microseconds_survive() {
    on_sqlite(applying::digits_and_microseconds_survive);
}

#[test]
fn the_curve_is_cumulative_and_leaves_out_empty_buckets() {
    on_sqlite(curves::the_curve_is_cumulative_and_leaves_out_empty_buckets);
}

#[test]
fn an_accounts_curve_does_not_depend_on_the_order_of_partitions() {
    on_sqlite(curves::an_accounts_curve_does_not_depend_on_the_order_of_partitions);
}

#[test]
fn late_reports_are_in_the_newest_sum() {
    on_sqlite(curves::late_reports_are_in_the_newest_sum);
}

#[test]
fn sums_keep_every_digit() {
    on_sqlite(curves::sums_keep_every_digit);
}

#[test]
fn a_commission_in_another_currency_is_apart() {
    on_sqlite(curves::a_commission_in_another_currency_is_apart);
}

#[test]
fn round_trips_end_flat_or_at_a_flip() {
    on_sqlite(curves::round_trips_end_flat_or_at_a_flip);
}

#[test]
fn corrections_replace_what_they_name() {
    on_sqlite(curves::corrections_replace_what_they_name);
}

#[test]
fn an_account_stands_as_its_events_say() {
    on_sqlite(curves::an_account_stands_as_its_events_say);
}

#[test]
fn every_set_of_filters_finds_its_fills() {
    on_sqlite(lists::every_set_of_filters_finds_its_fills);
}

#[test]
fn pages_are_stable_while_fills_arrive() {
    on_sqlite(lists::pages_are_stable_while_fills_arrive);
}

#[test]
fn executions_come_by_their_number() {
    on_sqlite(lists::executions_come_by_their_number);
}

#[test]
fn an_order_stands_as_its_newest_report_says() {
    on_sqlite(lists::an_order_stands_as_its_newest_report_says);
}

#[test]
fn every_set_of_filters_finds_its_orders() {
    on_sqlite(lists::every_set_of_filters_finds_its_orders);
}

#[test]
fn every_set_of_filters_finds_its_alerts() {
    on_sqlite(lists::every_set_of_filters_finds_its_alerts);
}

#[test]
fn the_latest_metrics_are_the_newest_by_their_time() {
    on_sqlite(lists::the_latest_metrics_are_the_newest_by_their_time);
}

#[test]
fn old_rows_go_and_what_stands_stays() {
    on_sqlite(retention::old_rows_go_and_what_stands_stays);
}

#[test]
fn what_went_is_still_known() {
    on_sqlite(retention::what_went_is_still_known);
}

#[test]
fn a_writer_that_believes_another_offset_is_refused() {
    on_sqlite(with_transactions::a_writer_that_believes_another_offset_is_refused);
}
