//! The recorder: events worth asking for go from the log to the store, each once.
//!
//! Not here: the tables and the questions, which are the store's.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use tapedeck_flow::{
    Delivery, DeliveryConfig, Failure,
    runtime::{self, Handler},
};
use tapedeck_log::TopicPartition;
use tapedeck_store::{Origin, Row, Store};

use crate::Context;

mod retention;
mod step;

pub use retention::run_retention;
pub use step::StoreStep;

/// The role's name.
pub const ROLE: &str = "recorder";

/// What it keeps.
pub const TOPICS: [&str; 5] =
    ["exec.reports.v1", "risk.metrics.v1", "alerts.v1", "strategy-signals", "forward-test-events"];

/// Runs the recorder on this thread until somebody asks to stop.
///
/// # Errors
/// Fatal: a person must act, and the text says how.
pub fn run(ctx: Context, store: Arc<dyn Store>, delivery: DeliveryConfig) -> Result<(), Failure> {
    let setup = ctx.setup(ROLE, &TOPICS, delivery);
    let step = StoreStep::new(store, setup.group()).watched_by(setup.boundaries.clone());
    runtime::run(setup, Recorder, step)
}

/// Turns deliveries into rows, one each, in their order. It has no state.
struct Recorder;

impl Handler for Recorder {
    type Effect = Vec<Row>;

    fn assigned(&mut self, _: &TopicPartition, _: &BTreeMap<String, Bytes>) -> Result<(), Failure> {
        Ok(())
    }

    fn handle(&mut self, batch: &[Delivery]) -> Result<Vec<Row>, Failure> {
        Ok(batch.iter().map(row).collect())
    }

    fn revoked(&mut self, _: &TopicPartition) {}
}

fn row(delivery: &Delivery) -> Row {
    let record = &delivery.record;
    Row {
        origin: Origin { topic: Arc::clone(&record.topic), partition: record.partition, offset: record.offset },
        event_id: delivery.id.clone(),
        event: delivery.event.clone(),
    }
}
