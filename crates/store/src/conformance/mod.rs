//! What every store must do, as functions to be called from its tests. Each is
//! given a way to open one and the same store, empty at first: opening it again
//! is a restart. They panic where the store differs.
//!
//! What only a store with transactions can do is in [`with_transactions`]; the
//! others say what a reader sees, whoever wrote it.
//!
//! Not here: how a store is made, and its speed.

use std::sync::Arc;

use crate::Store;

pub mod applying;
pub mod curves;
pub mod explained;
pub mod lists;
pub mod retention;
pub mod samples;
pub mod with_transactions;

use applying::*;
use curves::*;
use explained::*;
use lists::*;
use retention::*;
use with_transactions::*;

/// Opens the store under test; the same one at each call.
pub type Open<'a> = &'a dyn Fn() -> Arc<dyn Store>;

/// A behaviour by its name.
pub type Behaviour = (&'static str, fn(Open<'_>));

/// Hands the names of all behaviours to a macro: this is the one list of them.
///
/// `tapedeck_store::each_behaviour!(tests)` in a test file calls `tests! { one another … }`,
/// so that each is a test there.
#[macro_export]
macro_rules! each_behaviour {
    ($take:ident) => {
        $take! {
            a_batch_and_its_offsets_survive_a_restart
            offsets_move_without_rows
            a_row_that_cannot_be_kept_is_named_and_its_batch_leaves_nothing
            an_event_is_kept_once
            a_fill_is_kept_once_whatever_its_event_id
            a_fill_id_with_other_content_is_poison
            fill_ids_belong_to_their_account_venue_and_symbol
            a_late_writer_changes_nothing_for_readers
            digits_and_microseconds_survive
            the_curve_is_cumulative_and_leaves_out_empty_buckets
            late_reports_are_in_the_newest_sum
            an_accounts_curve_does_not_depend_on_the_order_of_partitions
            sums_keep_every_digit
            a_commission_in_another_currency_is_apart
            round_trips_end_flat_or_at_a_flip
            corrections_replace_what_they_name
            an_account_stands_as_its_events_say
            every_set_of_filters_finds_its_fills
            pages_are_stable_while_fills_arrive
            executions_come_by_their_number
            an_order_stands_as_its_newest_report_says
            every_set_of_filters_finds_its_orders
            every_set_of_filters_finds_its_alerts
            the_latest_metrics_are_the_newest_by_their_time
            old_rows_go_and_what_stands_stays
            what_went_is_still_known
            a_writer_that_believes_another_offset_is_refused
            explained_decisions_and_their_offsets_survive_a_restart
            a_conflict_leaves_no_explanation
            held_decisions_are_named_and_nothing_is_kept
            a_decision_that_comes_twice_in_a_batch_is_named
            a_chain_that_is_out_of_step_is_refused
            heads_and_the_last_record_of_each_symbol_follow_their_chain
            a_chain_is_read_in_its_order
            sums_of_importance_grow_by_hour_and_symbol
            every_set_of_filters_finds_its_explanations
            explanations_of_one_time_are_in_the_order_of_their_places
            the_fills_of_a_decision_are_found
            the_orders_of_a_decision_stand_as_their_newest_reports_say
            old_explanations_go_and_their_chains_say_where_they_begin
            a_chain_whose_beginning_is_gone_can_be_kept_again
        }
    };
}

macro_rules! listed {
    ($($name:ident)*) => {
        &[$((stringify!($name), $name)),*]
    };
}

/// The whole suite, for a store with transactions.
pub const ALL: &[Behaviour] = each_behaviour!(listed);
