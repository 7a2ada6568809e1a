//! The inference role's shell: market events in, and signals where those are decided on;
//! decisions, their risk decisions and
//! regime changes out, emitted at once. State, `@at` and offsets follow when they are
//! durable; after a crash between the two the same decisions come again, with the
//! same ids, and readers drop them.
//!
//! The book is that of all symbols decided on here. Events are taken in the order of
//! the sequencer's numbers within what one poll brought; `docs/decisions.md` says what
//! that makes of a replay.
//!
//! Not here: what is decided (`core`), models (`models`, `updates`).

mod joined;
mod ordered;
mod updates;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tapedeck_contracts::{
    Event, EventId,
    events::{RegimeChange, RiskDecision, decision::AskingSignal},
};
use tapedeck_flow::{
    Delivery, DeliveryConfig, Failure, Gauges, Outbound, Phase, Stop,
    backoff::Backoff,
    runtime::{Handler, LogEffect, StateChange},
};
use tapedeck_log::{Log, Record, TopicPartition};

use self::{
    joined::Signals,
    ordered::Ordered,
    updates::{KeptModels, Loader},
};
use super::{
    config::{InferenceConfig, Trigger},
    core::{Asked, Desk, Named},
    decide::Decided,
    models::{ModelSet, Models},
};
use crate::{Context, emitting};

/// The role's name.
pub const ROLE: &str = "inference";
/// What it reads.
pub const MARKET: &str = "market-data-updates";
/// What it reads too, where it decides on signals.
pub const SIGNALS: &str = "strategy-signals";
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
/// The key of the state that says which signals are decided on.
const SIGNALS_KEY: &str = "signals";

/// In which order events of several partitions are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By number within what is at hand: live, where inference waits for nobody.
    #[default]
    AtHand,
    /// By number, each after the one before it: a replay, which is evidence.
    Numbered,
}

pub use joined::Joining;

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
    joining: Joining,
    delivery: DeliveryConfig,
) -> Result<(), Failure> {
    let wrong = config.wrong();
    if !wrong.is_empty() {
        return Err(Failure::Fatal(format!("the section `[inference]`: {}", wrong.join("; "))));
    }
    let loader = Loader::new(Arc::clone(&ctx.log), Arc::clone(&models), config.models.wait_s);
    let signals = (config.trigger == Trigger::Signals)
        .then(|| Signals::new(Arc::clone(&ctx.log), ctx.stop.clone(), Arc::clone(&ctx.gauges), joining));
    let shell = Shell::new(Arc::new(config), models, loader, signals, Arc::clone(&ctx.gauges));
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
    /// Where those are decided on, and not bars.
    signals: Option<Signals>,
    gauges: Arc<Gauges>,
    /// What each partition's state says of the models.
    kept: BTreeMap<u32, KeptModels>,
    decisions: Arc<str>,
    regimes: Arc<str>,
    risk: Arc<str>,
}

impl Shell {
    fn new(
        config: Arc<InferenceConfig>,
        models: Arc<Models>,
        loader: Loader,
        signals: Option<Signals>,
        gauges: Arc<Gauges>,
    ) -> Self {
        Self {
            desk: Desk::new(config),
            models,
            loader,
            signals,
            gauges,
            kept: BTreeMap::new(),
            decisions: DECISIONS.into(),
            regimes: REGIMES.into(),
            risk: RISK.into(),
        }
    }

    /// The records of what an event came to.
    fn records(
        &self,
        cause: &Delivery,
        decided: Option<Decided>,
        regime: Option<RegimeChange>,
        out: &mut Vec<Record>,
    ) -> Result<(), Failure> {
        let correlation = Some(correlation_of(cause));
        let mut add = |topic: &Arc<str>, id: EventId, event: Event| {
            let mut outbound = Outbound::caused_by(cause, Arc::clone(topic), id, event);
            outbound.correlation_id.clone_from(&correlation);
            out.push(outbound.into_record(ROLE)?);
            Ok::<_, Failure>(())
        };
        if let Some(regime) = regime {
            let id = EventId::derived(&cause.id, ROLE, REGIMES, &regime.symbol, 0);
            let regime = RegimeChange { event_id: Some(id.clone()), ..regime };
            add(&self.regimes, id, Event::RegimeChange(Box::new(regime)))?;
        }
        let Some(decided) = decided else { return Ok(()) };
        let (id, symbol) = (decided.decision.decision_id.clone(), decided.decision.symbol.clone());
        add(&self.decisions, id, Event::TradingDecision(Box::new(decided.decision)))?;
        if let Some(risk) = decided.risk {
            let id = EventId::derived(&cause.id, ROLE, RISK, &symbol, 0);
            let risk = RiskDecision { event_id: Some(id.clone()), ..risk };
            add(&self.risk, id, Event::RiskDecision(Box::new(risk)))?;
        }
        Ok(())
    }

    /// Gives a market event to the desk, and what comes of it to the log.
    fn market(
        &mut self,
        at: usize,
        delivery: &Delivery,
        models: &ModelSet,
        out: &mut Vec<Record>,
    ) -> Result<(), Failure> {
        let Event::MarketData(market) = &delivery.event else { return Ok(()) };
        let (partition, offset) = (delivery.record.partition, delivery.record.offset);
        let (decided, regime) = match &mut self.signals {
            None => {
                let name = || named(delivery, &market.data.symbol);
                let said = self.desk.take(partition, &market.data, models, name);
                said.map_err(|detail| poison(at, delivery, detail))?.map(|said| (said.decided, said.regime)).unzip()
            }
            Some(signals) => {
                for signal in signals.before(partition) {
                    Gauges::add(&self.gauges.late, usize::from(signal.meta.root.is_some()));
                    self.signal(partition, &signal, models, out)?;
                }
                (None, Some(self.desk.observe(partition, offset, &market.data)))
            }
        };
        self.records(delivery, decided, regime.flatten(), out)?;
        let caused = self.signals.as_mut().map(|signals| signals.of(partition, offset)).unwrap_or_default();
        for signal in caused {
            self.signal(partition, &signal, models, out)?;
        }
        Ok(())
    }

    /// Decides on a signal. One that cannot be decided on is a dead letter of its own: the
    /// market event that it came with is not at fault.
    fn signal(
        &mut self,
        partition: u32,
        delivery: &Delivery,
        models: &ModelSet,
        out: &mut Vec<Record>,
    ) -> Result<(), Failure> {
        let Event::Signal(signal) = &delivery.event else { return Ok(()) };
        let (body, symbol) = (&signal.data.signal, &signal.data.market_data.symbol);
        let signal = AskingSignal {
            strategy_id: signal.data.strategy_id.clone(),
            action: body.action,
            confidence: body.confidence,
        };
        let asked = Asked {
            symbol,
            source: delivery.meta.root_seq.as_ref().map(|seq| seq.source.as_str()),
            root: delivery.meta.root.as_ref().filter(|root| root.topic == MARKET).map(|root| root.offset),
            signal: &signal,
            timestamp: delivery.event_time(),
        };
        let decided = self.desk.signal(partition, &asked, models, named(delivery, symbol));
        match (decided, &self.signals) {
            (Ok(decided), _) => self.records(delivery, decided, None, out),
            (Err(detail), Some(signals)) => signals.refuse(delivery, &detail),
            (Err(_), None) => Ok(()), // Nobody reads signals then.
        }
    }

    /// The state that changed of a partition.
    fn changes(&mut self, partition: u32, models: &KeptModels, out: &mut Vec<StateChange>) {
        let mut changed = self.desk.take_changed(partition);
        if self.kept.get(&partition) != Some(models) {
            changed.push((MODELS_KEY.to_owned(), models.to_json()));
            self.kept.insert(partition, models.clone());
        }
        let progress = self.signals.as_mut().and_then(|signals| signals.progress(partition));
        changed.extend(progress.map(|progress| (SIGNALS_KEY.to_owned(), progress)));
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
        if let Some(signals) = &mut self.signals {
            let kept = state.get(SIGNALS_KEY).map(Bytes::as_ref);
            let kept = signals.assign(partition.partition, kept);
            kept.map_err(|error| unreadable(format!("`{SIGNALS_KEY}`: {error}")))?;
        }
        let state = state.iter().filter(|(key, _)| *key != MODELS_KEY && *key != SIGNALS_KEY);
        let state = state.map(|(key, value)| (key.as_str(), value.as_ref()));
        self.desk.assign(partition.partition, state).map_err(unreadable)
    }

    fn handle(&mut self, batch: &[Delivery]) -> Result<LogEffect, Failure> {
        self.loader.start()?;
        let mut effect = LogEffect::default();
        if let Some(signals) = &mut self.signals {
            signals.gather(batch)?;
        }
        // One set for the whole batch: a swap is seen by the next one.
        let (models, kept) = (self.models.current(), self.loader.kept());
        for at in in_order(batch) {
            self.market(at, &batch[at], &models, &mut effect.first)?;
        }
        let partitions: std::collections::BTreeSet<u32> = batch.iter().map(|one| one.record.partition).collect();
        for partition in partitions {
            self.changes(partition, &kept, &mut effect.state);
        }
        Ok(effect)
    }

    fn revoked(&mut self, partition: &TopicPartition) {
        self.desk.revoke(partition.partition);
        if let Some(signals) = &mut self.signals {
            signals.revoke(partition.partition);
        }
        self.kept.remove(&partition.partition);
    }
}

/// What names the decision that an event causes.
fn named(cause: &Delivery, symbol: &str) -> Named {
    Named {
        decision_id: EventId::derived(&cause.id, ROLE, DECISIONS, symbol, 0),
        correlation_id: Some(correlation_of(cause)),
    }
}

fn correlation_of(cause: &Delivery) -> String {
    cause.correlation_id().unwrap_or(cause.id.as_str()).to_owned()
}

fn poison(index: usize, delivery: &Delivery, detail: String) -> Failure {
    Failure::Poison { index, place: delivery.place().to_string(), path: None, detail }
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
