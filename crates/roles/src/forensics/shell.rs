//! The forensics role's shell: decisions in, explained records out into the store,
//! anchors of their chains into the audit log. Rejected decisions and those that hold
//! are explained like any other.
//!
//! `model_updates` are not read: a decision names the versions that made it, and those
//! are loaded when they are named. One that names none is explained by what decides
//! at that moment.
//!
//! Not here: how a decision is explained (`explain`), chained and kept (`step`).

use std::{collections::BTreeMap, sync::Arc, thread};

use bytes::Bytes;
use tapedeck_contracts::{Event, events::TradingDecision};
use tapedeck_flow::{
    Delivery, DeliveryConfig, Failure, Stop,
    runtime::{self, Handler},
};
use tapedeck_log::TopicPartition;
use tapedeck_store::Store;

use super::{
    AnchorRule,
    anchoring::Anchoring,
    explain::{Explaining, Pool, Refusal},
    step::{ForensicsStep, Parts, Placed},
};
use crate::{Context, inference::Models};

/// The role's name.
pub const ROLE: &str = "forensics";
/// What it reads.
pub const DECISIONS: &str = "trading_decisions";

/// Explains decisions on this thread until somebody asks to stop. The models may be
/// shared with who decides; versions that are not at hand are read from their folder.
///
/// # Errors
/// Fatal: a person must act, and the text says how.
pub fn run(ctx: Context, store: Arc<dyn Store>, models: Arc<Models>, delivery: DeliveryConfig) -> Result<(), Failure> {
    run_with(ctx, store, models, delivery, AnchorRule::default())
}

/// [`run`] with a rule of its own for anchors.
///
/// # Errors
/// Those of [`run`].
pub fn run_with(
    ctx: Context,
    store: Arc<dyn Store>,
    models: Arc<Models>,
    delivery: DeliveryConfig,
    anchors: AnchorRule,
) -> Result<(), Failure> {
    let setup = ctx.setup(ROLE, &[DECISIONS], delivery);
    let anchoring = Arc::new(Anchoring::new(Arc::clone(&setup.log), anchors));
    let pool = Pool::default();
    let step = ForensicsStep::new(Parts {
        store,
        topic: DECISIONS.into(),
        group: setup.group(),
        boundaries: setup.boundaries.clone(),
        gauges: Arc::clone(&setup.gauges),
        pool: pool.clone(),
        anchoring: Arc::clone(&anchoring),
    });
    let handler = Forensics { explaining: Explaining::new(models, pool) };
    let done = Stop::new();
    let ended = thread::scope(|scope| {
        scope.spawn(|| anchoring.watch(&done));
        let _end = End(&done);
        runtime::run(setup, handler, step)
    });
    // What was kept since the last anchor would else wait for the next start.
    if ended.is_ok()
        && let Err(failure) = anchoring.write_all()
    {
        tracing::warn!(%failure, "the last records have no anchor yet; they get one after the next start");
    }
    ended
}

/// Ends the thread beside the role, also where the role panics.
struct End<'a>(&'a Stop);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.request();
    }
}

/// Explains deliveries, one record each, in their order. It has no state.
struct Forensics {
    explaining: Explaining,
}

impl Handler for Forensics {
    type Effect = Vec<Placed>;

    fn assigned(&mut self, _: &TopicPartition, _: &BTreeMap<String, Bytes>) -> Result<(), Failure> {
        Ok(())
    }

    fn handle(&mut self, batch: &[Delivery]) -> Result<Vec<Placed>, Failure> {
        let decisions: Vec<&TradingDecision> = batch.iter().map(decision).collect::<Result<_, _>>()?;
        let drafts = self.explaining.explain(&decisions).map_err(|refusal| failure(batch, refusal))?;
        let placed = batch.iter().zip(drafts).map(|(delivery, draft)| Placed {
            partition: delivery.record.partition,
            offset: delivery.record.offset,
            draft,
        });
        Ok(placed.collect())
    }

    fn revoked(&mut self, _: &TopicPartition) {}
}

fn decision(delivery: &Delivery) -> Result<&TradingDecision, Failure> {
    match &delivery.event {
        Event::TradingDecision(decision) => Ok(decision),
        other => Err(Failure::Fatal(format!("{} holds a {}, not a decision", delivery.place(), other.kind().name()))),
    }
}

fn failure(batch: &[Delivery], refusal: Refusal) -> Failure {
    let Refusal { index, path, detail, may_come } = refusal;
    let place = batch.get(index).map(|delivery| delivery.place().to_string()).unwrap_or_default();
    match may_come {
        true => Failure::Unready { index, place, path, detail },
        false => Failure::Poison { index, place, path, detail },
    }
}
