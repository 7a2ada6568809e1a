//! Decisions on their way to the log, as the trading path emits them, and the count
//! of those that came.
//!
//! Not here: the body of a decision (`tapedeck-bench-pace`).

use std::{cell::RefCell, sync::Arc, time::Duration};

use tapedeck_bench_pace::decision;
use tapedeck_contracts::{
    ByName, Event, EventId,
    headers::{Place, Seq},
};
use tapedeck_flow::Outbound;
use tapedeck_log::{Log, PollLimits, Record, TopicPartition};
use tapedeck_roles::inference::{InferenceConfig, Models};

/// Where decisions go.
pub(crate) const TOPIC: &str = "trading_decisions";

/// The next decision of each symbol, made new in place: what deciding costs is not
/// what is measured.
pub(crate) struct Decisions(Vec<Outbound>);

impl Decisions {
    pub(crate) fn new() -> Self {
        let outbound = |body| {
            let place = Place { topic: "market-data-updates".into(), partition: 3, offset: 0 };
            let seq = Seq { source: "binance".into(), n: 0 };
            Outbound {
                topic: TOPIC.into(),
                id: EventId(String::new()),
                event: Event::TradingDecision(Box::new(body)),
                cause: Some(place.clone()),
                root: Some((place, Some(seq))),
                seq: None,
                correlation_id: Some("8f14e45f-ceea-467f-a1d8-3b2c9f0a7e11".into()),
            }
        };
        Self(decision::of_all_symbols().into_iter().map(outbound).collect())
    }

    /// The same as these models would have made them: their versions, and the features
    /// that they know.
    pub(crate) fn of(models: &Models) -> Self {
        let set = models.current();
        let models = set.models().iter();
        let features: ByName<_> =
            models.flat_map(|model| &model.ensemble().features).map(|name| (name.clone(), Some(0.0))).collect();
        let mut decisions = Self::new();
        for outbound in &mut decisions.0 {
            if let Event::TradingDecision(body) = &mut outbound.event {
                body.features.clone_from(&features);
                body.model_versions = set.versions().into_iter().collect();
            }
        }
        decisions
    }

    /// How many features a decision has.
    pub(crate) fn features(&self) -> usize {
        match self.0.first().map(|outbound| &outbound.event) {
            Some(Event::TradingDecision(body)) => body.features.len(),
            _ => 0,
        }
    }

    /// Makes the n-th decision.
    pub(crate) fn make(&mut self, n: u64) -> &Outbound {
        let outbound = &mut self.0[decision::symbol_of(n)];
        decision::write_id(&mut outbound.id, n);
        if let Event::TradingDecision(body) = &mut outbound.event {
            decision::renew(body, n);
        }
        if let Some(place) = &mut outbound.cause {
            place.offset = n;
        }
        if let Some((place, seq)) = &mut outbound.root {
            place.offset = n;
            seq.iter_mut().for_each(|seq| seq.n = n);
        }
        outbound
    }

    /// The n-th decision, made before.
    pub(crate) fn made(&self, n: u64) -> &Outbound {
        &self.0[decision::symbol_of(n)]
    }
}

/// The n-th decision of the demo's specialists, as inference would append it.
pub(crate) fn record(n: u64) -> anyhow::Result<Record> {
    thread_local! {
        static DECISIONS: RefCell<Decisions> =
            RefCell::new(Decisions::of(&Models::open(&InferenceConfig::default()).expect("the demo's models")));
    }
    DECISIONS.with_borrow_mut(|decisions| Ok(decisions.make(n).clone().into_record("inference")?))
}

/// What lies in the log of decisions 0 to `count` - 1.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Decisions that are there.
    pub(crate) distinct: u64,
    /// Records that repeat one.
    pub(crate) repeated: u64,
    /// Decisions whose first record comes after that of a later one of the same key.
    pub(crate) out_of_order: u64,
}

/// Reads all that the log holds of them.
pub(crate) fn find(log: &dyn Log, count: u64) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let mut seen = vec![false; count as usize];
    // What a key's newest is; keys are symbols, and a symbol stays in its partition.
    let mut newest = [None; decision::SYMBOLS];
    let mut reader = log.reader()?;
    let topics = log.topics()?;
    let partitions =
        topics.iter().find(|topic| &*topic.config.name == TOPIC).map_or(0, |topic| topic.config.partitions);
    let places = (0..partitions).map(|partition| TopicPartition::new(TOPIC, partition));
    let ends: Vec<_> = places.map(|place| log.bounds(&place).map(|(_, end)| (place, end))).collect::<Result<_, _>>()?;
    reader.assign(&ends.iter().map(|(place, _)| (place.clone(), 0)).collect::<Vec<_>>())?;
    let limits = PollLimits { max_records: 10_000, max_bytes: 16 << 20, timeout: Duration::from_millis(100) };
    while ends.iter().any(|(place, end)| reader.position(place).unwrap_or(0) < *end) {
        for record in reader.poll(limits)? {
            let id = record.headers.get("ce_id").unwrap_or_default();
            let Some(n) = std::str::from_utf8(id).ok().and_then(decision::number).filter(|n| *n < count) else {
                anyhow::bail!("{}/{}/{} is none of ours", record.topic, record.partition, record.offset)
            };
            if std::mem::replace(&mut seen[n as usize], true) {
                found.repeated += 1;
                continue;
            }
            found.distinct += 1;
            let newest = &mut newest[decision::symbol_of(n)];
            found.out_of_order += u64::from(newest.is_some_and(|newest| newest > n));
            *newest = (*newest).max(Some(n));
        }
    }
    Ok(found)
}

/// A log for a role, as the emitter takes it.
pub(crate) fn as_log<L: Log + 'static>(log: &Arc<L>) -> Arc<dyn Log> {
    Arc::clone(log) as Arc<dyn Log>
}
