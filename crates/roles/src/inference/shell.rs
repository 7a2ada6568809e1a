//! The inference role's shell: market events in; decisions, their risk decisions and
//! regime changes out, emitted at once. State, `@at` and offsets follow when they are
//! durable; after a crash between the two the same decisions come again, with the
//! same ids, and readers drop them.
//!
//! The book is that of all symbols decided on here. Events are taken in the order of
//! the sequencer's numbers within what one poll brought; `docs/decisions.md` says what
//! that makes of a replay.
//!
//! Not here: what is decided (`core`), models (`models`, `updates`).

mod ordered;
mod updates;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tapedeck_contracts::{
    Event, EventId,
    events::{RegimeChange, RiskDecision},
};
use tapedeck_flow::{
    Delivery, DeliveryConfig, Failure, Gauges, Outbound, Phase, Stop,
    backoff::Backoff,
    runtime::{Handler, LogEffect, StateChange},
};
use tapedeck_log::{Log, Record, TopicPartition};

use self::{
    ordered::Ordered,
    updates::{KeptModels, Loader},
};
use super::{
    config::InferenceConfig,
    core::{Desk, Named, Said},
    models::Models,
};
use crate::{Context, emitting};

/// The role's name.
pub const ROLE: &str = "inference";
/// What it reads.
pub const MARKET: &str = "market-data-updates";
/// Where decisions go.
pub const DECISIONS: &str = "trading_decisions";
/// Where changes of regime go.
pub const REGIMES: &str = "regime_changes";
/// Where the risk checks of decisions go.
pub const RISK: &str = "risk_decisions";
/// Where new versions of models are announced.
pub const MODEL_UPDATES: &str = "model_updates";

/// A stop wakes who waits for it; this only bounds one wait.
const IDLE_LOOK: Duration = Duration::from_secs(60);

/// The key of the state that says which models decide.
const MODELS_KEY: &str = "models";

/// In which order events of several partitions are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By number within what is at hand: live, where inference waits for nobody.
    #[default]
    AtHand,
    /// By number, each after the one before it: a replay, which is evidence.
    Numbered,
}

/// Decides on this thread until somebody asks to stop. New models are loaded on a
/// thread beside it, into `models`, which others may share.
///
/// # Errors
/// Fatal: a person must act, and the text says how.
pub fn run(
    ctx: Context,
    config: InferenceConfig,
    models: Arc<Models>,
    order: Order,
    delivery: DeliveryConfig,
) -> Result<(), Failure> {
    let wrong = config.wrong();
    if !wrong.is_empty() {
        return Err(Failure::Fatal(format!("the section `[inference]`: {}", wrong.join("; "))));
    }
    let loader = Loader::new(Arc::clone(&ctx.log), Arc::clone(&models), config.models.wait_s);
    let shell = Shell::new(Arc::new(config), models, loader);
    let log = match order {
        Order::AtHand => Arc::clone(&ctx.log),
        Order::Numbered => Ordered::over(Arc::clone(&ctx.log)),
    };
    let emitter = ctx.emitter.clone();
    let setup = Context { log, ..ctx }.setup(ROLE, &[MARKET], delivery);
    emitting::run(setup, emitter.as_deref(), shell)
}

/// Decides nothing, and keeps the models that others share up to date, until somebody
/// asks to stop.
///
/// # Errors
/// Fatal: a person must act, and the text says how.
pub fn follow(
    log: Arc<dyn Log>,
    models: Arc<Models>,
    wait_s: u64,
    stop: &Stop,
    gauges: &Gauges,
) -> Result<(), Failure> {
    let mut loader = Loader::new(log, models, wait_s);
    let mut backoff = Backoff::default();
    while let Err(failure) = loader.start() {
        let Failure::Transient(detail) = failure else { return Err(failure) };
        gauges.set_phase(Phase::Retrying(detail));
        if stop.wait(backoff.next_wait()) {
            return Ok(());
        }
    }
    gauges.set_phase(Phase::Running);
    while !stop.wait(IDLE_LOOK) {}
    Ok(())
}

/// The handler: gives each market event to the desk.
struct Shell {
    desk: Desk,
    models: Arc<Models>,
    loader: Loader,
    /// What each partition's state says of the models.
    kept: BTreeMap<u32, KeptModels>,
    decisions: Arc<str>,
    regimes: Arc<str>,
    risk: Arc<str>,
}

impl Shell {
    fn new(config: Arc<InferenceConfig>, models: Arc<Models>, loader: Loader) -> Self {
        Self {
            desk: Desk::new(config),
            models,
            loader,
            kept: BTreeMap::new(),
            decisions: DECISIONS.into(),
            regimes: REGIMES.into(),
            risk: RISK.into(),
        }
    }

    /// The records of what an event came to.
    fn records(&self, cause: &Delivery, said: Said, out: &mut Vec<Record>) -> Result<(), Failure> {
        let Said { decided, regime } = said;
        let correlation = decided.decision.correlation_id.clone();
        let mut add = |topic: &Arc<str>, id: EventId, event: Event| {
            let mut outbound = Outbound::caused_by(cause, Arc::clone(topic), id, event);
            outbound.correlation_id.clone_from(&correlation);
            out.push(outbound.into_record(ROLE)?);
            Ok::<_, Failure>(())
        };
        let symbol = decided.decision.symbol.clone();
        if let Some(regime) = regime {
            let id = EventId::derived(&cause.id, ROLE, REGIMES, &symbol, 0);
            let regime = RegimeChange { event_id: Some(id.clone()), ..regime };
            add(&self.regimes, id, Event::RegimeChange(Box::new(regime)))?;
        }
        let id = decided.decision.decision_id.clone();
        add(&self.decisions, id, Event::TradingDecision(Box::new(decided.decision)))?;
        if let Some(risk) = decided.risk {
            let id = EventId::derived(&cause.id, ROLE, RISK, &symbol, 0);
            let risk = RiskDecision { event_id: Some(id.clone()), ..risk };
            add(&self.risk, id, Event::RiskDecision(Box::new(risk)))?;
        }
        Ok(())
    }

    /// The state that changed of a partition.
    fn changes(&mut self, partition: u32, models: &KeptModels, out: &mut Vec<StateChange>) {
        let mut changed = self.desk.take_changed(partition);
        if self.kept.get(&partition) != Some(models) {
            changed.push((MODELS_KEY.to_owned(), models.to_json()));
            self.kept.insert(partition, models.clone());
        }
        out.extend(changed.into_iter().map(|(key, value)| StateChange { partition, key, value: Some(value) }));
    }
}

impl Handler for Shell {
    type Effect = LogEffect;

    fn assigned(&mut self, partition: &TopicPartition, state: &BTreeMap<String, Bytes>) -> Result<(), Failure> {
        let unreadable = |detail: String| {
            Failure::Fatal(format!(
                "the state of {partition} cannot be read: {detail}. Use the version that wrote it, or clear it with \
                 `tapedeck groups reset tapedeck.{ROLE} --with-state --to earliest`"
            ))
        };
        self.kept.remove(&partition.partition);
        if let Some(value) = state.get(MODELS_KEY) {
            let kept = KeptModels::from_json(value).map_err(|error| unreadable(format!("`{MODELS_KEY}`: {error}")))?;
            self.loader.go_on_from(&kept);
            self.kept.insert(partition.partition, kept);
        }
        let state = state.iter().filter(|(key, _)| *key != MODELS_KEY);
        let state = state.map(|(key, value)| (key.as_str(), value.as_ref()));
        self.desk.assign(partition.partition, state).map_err(unreadable)
    }

    fn handle(&mut self, batch: &[Delivery]) -> Result<LogEffect, Failure> {
        self.loader.start()?;
        let mut effect = LogEffect::default();
        // One set for the whole batch: a swap is seen by the next one.
        let (models, kept) = (self.models.current(), self.loader.kept());
        for at in in_order(batch) {
            let delivery = &batch[at];
            let Event::MarketData(market) = &delivery.event else { continue };
            let name = || Named {
                decision_id: EventId::derived(&delivery.id, ROLE, DECISIONS, &market.data.symbol, 0),
                correlation_id: Some(delivery.correlation_id().unwrap_or(delivery.id.as_str()).to_owned()),
            };
            let said = self.desk.take(delivery.record.partition, &market.data, &models, name);
            let said = said.map_err(|detail| Failure::Poison {
                index: at,
                place: delivery.place().to_string(),
                path: None,
                detail,
            })?;
            if let Some(said) = said {
                self.records(delivery, said, &mut effect.first)?;
            }
        }
        let partitions: std::collections::BTreeSet<u32> = batch.iter().map(|one| one.record.partition).collect();
        for partition in partitions {
            self.changes(partition, &kept, &mut effect.state);
        }
        Ok(effect)
    }

    fn revoked(&mut self, partition: &TopicPartition) {
        self.desk.revoke(partition.partition);
        self.kept.remove(&partition.partition);
    }
}

/// The places of a batch's deliveries in the order of the sequencer's numbers, each
/// source by itself; what has no number stays in its order, before those that have.
fn in_order(batch: &[Delivery]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_by_key(|at| batch[*at].meta.seq.as_ref().map(|seq| (seq.source.as_str(), seq.n)));
    order
}

#[cfg(test)]
mod tests {
    use tapedeck_contracts::headers::SEQ;
    use tapedeck_log::{Headers, LogRecord};

    use super::*;

    fn delivery(partition: u32, offset: u64, seq: Option<&str>) -> Delivery {
        let body = r#"{"timestamp":"2024-01-01T00:00:00Z","producer_service":"market","data":{"symbol":"A","price":"1",
            "volume":"1","timestamp":"2024-01-01T00:00:00Z","source":"s"}}"#;
        let headers = seq.map_or_else(Headers::new, |seq| Headers::new().with(SEQ, seq));
        let record = LogRecord {
            topic: MARKET.into(),
            partition,
            offset,
            timestamp_ms: 0,
            key: None,
            value: Some(Bytes::from_static(body.as_bytes())),
            headers,
        };
        Delivery::decode(record, 0).expect("a market event")
    }

    #[test]
    fn a_batch_is_taken_in_the_order_of_the_numbers_whatever_partition_came_first() {
        let batch = [
            delivery(0, 0, Some("s/2")),
            delivery(0, 1, Some("s/5")),
            delivery(0, 2, None),
            delivery(1, 7, Some("s/3")),
            delivery(1, 8, Some("s/10")),
            delivery(2, 0, None),
        ];
        assert_eq!(in_order(&batch), [2, 5, 0, 3, 1, 4]);
    }
}
