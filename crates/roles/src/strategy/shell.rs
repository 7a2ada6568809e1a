//! The strategy role's shell: market events in, signals out, one instance of all
//! strategies for each partition of the market.
//!
//! Signals are emitted at once, and the next events handled while they are on
//! their way; state, `@at` and offsets move in one step when the signals are
//! durable. After a crash between the two the same signals come again with the
//! same ids, and readers drop them. Without an emitter the signals are appended
//! before that step.
//!
//! Not here: when a strategy signals (`core`).

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tapedeck_contracts::{
    Event, EventId, Timestamp,
    events::{Compilation, Envelope, Signal},
};
use tapedeck_flow::{
    Delivery, DeliveryConfig, Failure, Outbound,
    backoff::Backoff,
    runtime::{Handler, LogEffect, StateChange},
};
use tapedeck_log::{LogError, Record, TopicPartition};

use super::{config::StrategyConfig, core::Strategies};
use crate::{Context, emitting};

/// The role's name.
pub const ROLE: &str = "strategy";
/// What it reads.
pub const MARKET: &str = "market-data-updates";
/// Where its signals go.
pub const SIGNALS: &str = "strategy-signals";
/// Where it says which strategies were loaded.
pub const COMPILATIONS: &str = "strategy-compilations";

/// Runs the strategies on this thread until somebody asks to stop.
///
/// # Errors
/// Fatal: a person must act, and the text says how.
pub fn run(ctx: Context, strategies: Vec<StrategyConfig>, delivery: DeliveryConfig) -> Result<(), Failure> {
    let (_, compilations) = Strategies::compile(&strategies);
    announce(&ctx, compilations)?;
    let emitter = ctx.emitter.clone();
    let setup = ctx.setup(ROLE, &[MARKET], delivery);
    emitting::run(setup, emitter.as_deref(), Shell::new(strategies))
}

/// The handler: gives each market event to the strategies of its partition.
struct Shell {
    config: Vec<StrategyConfig>,
    /// By partition.
    running: BTreeMap<u32, Strategies>,
    signals: Arc<str>,
}

impl Shell {
    fn new(config: Vec<StrategyConfig>) -> Self {
        Self { config, running: BTreeMap::new(), signals: SIGNALS.into() }
    }

    /// The records of what an event made the strategies say.
    fn records(&self, cause: &Delivery, signals: Vec<Signal>, out: &mut Vec<Record>) -> Result<(), Failure> {
        // One event may close the bars of several symbols.
        let mut ordinals: BTreeMap<String, u32> = BTreeMap::new();
        for signal in signals {
            let symbol = &signal.market_data.symbol;
            let ordinal = ordinals.entry(symbol.clone()).or_default();
            let id = EventId::derived(&cause.id, ROLE, SIGNALS, symbol, *ordinal);
            *ordinal += 1;
            let event = Event::Signal(Box::new(envelope(cause.event_time(), signal)));
            out.push(Outbound::caused_by(cause, Arc::clone(&self.signals), id, event).into_record(ROLE)?);
        }
        Ok(())
    }
}

impl Handler for Shell {
    type Effect = LogEffect;

    fn assigned(&mut self, partition: &TopicPartition, state: &BTreeMap<String, Bytes>) -> Result<(), Failure> {
        let (mut strategies, _) = Strategies::compile(&self.config);
        for (key, value) in state {
            strategies.restore(key, value).map_err(|detail| {
                Failure::Fatal(format!(
                    "the state `{key}` of {partition} cannot be read: {detail}. Use the version that wrote it, or \
                     clear it with `tapedeck groups reset tapedeck.{ROLE} --with-state --to earliest`"
                ))
            })?;
        }
        self.running.insert(partition.partition, strategies);
        Ok(())
    }

    fn handle(&mut self, batch: &[Delivery]) -> Result<LogEffect, Failure> {
        let mut effect = LogEffect::default();
        for delivery in batch {
            let Event::MarketData(market) = &delivery.event else { continue };
            let Some(strategies) = self.running.get_mut(&delivery.record.partition) else { continue };
            let signals = strategies.market(&market.data);
            self.records(delivery, signals, &mut effect.first)?;
        }
        for (partition, strategies) in &mut self.running {
            let changed = strategies.take_changed().into_iter();
            effect.state.extend(changed.map(|(key, value)| StateChange {
                partition: *partition,
                key,
                value: Some(value),
            }));
        }
        Ok(effect)
    }

    fn revoked(&mut self, partition: &TopicPartition) {
        self.running.remove(&partition.partition);
    }
}

/// Says which strategies run and which do not. The ids come of strategy and
/// settings, so a start without a change says nothing new.
fn announce(ctx: &Context, compilations: Vec<Compilation>) -> Result<(), Failure> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
    let record = |compilation: Compilation| {
        let strategy = EventId::from(compilation.strategy_id.as_str());
        let id = EventId::derived(&strategy, ROLE, COMPILATIONS, &compilation.version, 0);
        let event = Event::Compilation(Box::new(envelope(now, compilation)));
        Outbound::first(COMPILATIONS, id, event).into_record(ROLE)
    };
    let records = compilations.into_iter().map(record).collect::<Result<Vec<_>, _>>()?;
    if records.is_empty() {
        return Ok(());
    }
    // A log that is away for a moment is waited for, as everywhere.
    let mut backoff = Backoff::default();
    loop {
        match ctx.log.append(records.clone()) {
            Err(LogError::Transient(detail)) => {
                tracing::warn!(role = ROLE, detail, "compilations are written again");
                if ctx.stop.wait(backoff.next_wait()) {
                    return Ok(());
                }
            }
            written => return Ok(written.map(drop)?),
        }
    }
}

fn envelope<T>(timestamp: Timestamp, data: T) -> Envelope<T> {
    Envelope { timestamp, producer_service: ROLE.to_owned(), data }
}
