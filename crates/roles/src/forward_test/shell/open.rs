//! Becoming the active process: the state is read, the broker and the join are
//! put where it says, the inputs are opened there, and the ids of the records
//! before are remembered again.
//!
//! Not here: going on from there.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tapedeck_contracts::{
    EventKind,
    catalogue::{group_of, state_topic},
    headers,
};
use tapedeck_flow::{
    Failure,
    opener::{Before, Opener},
    state::{self, AT, At},
};
use tapedeck_log::{Log, LogRecord, Reader, TopicPartition};

use super::{
    GivenUp, JoinConfig, ROLE,
    decoder::Decoder,
    guarded::Guarded,
    inputs::{COMMANDS, DECISIONS, INFERENCE_GROUP, INPUTS, Inputs, SIGNALS, STRATEGY_GROUP, TopicReader, kind_of},
    letters::Letters,
    step::{Active, Batch, Current, Listens},
};
use crate::{
    Context,
    forward_test::{
        BrokerSetup,
        config::SessionConfig,
        join::{Join, JoinSetup, MARKET_TOPIC, SourceAt},
    },
    market,
};

/// The key of a source's place begins so.
pub(super) const SOURCE: &str = "@seq/";
/// Event ids remembered per partition: no emitter's ring holds more records.
const DEDUPE_WINDOW: usize = 65_536;
/// How a source stands, as the state keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SourceNote {
    /// The number that is taken next.
    pub(super) next: u64,
    /// The last number, where its end was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ended: Option<u64>,
    /// Numbers whose records were set aside before their turn came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) empty: Vec<u64>,
}

/// The last number of a source, once everything of it is applied and its end as
/// well; none before.
///
/// # Errors
/// Those of the log; fatal where the state cannot be read.
pub fn source_ended(log: &dyn Log, source: &str) -> Result<Option<u64>, Failure> {
    let topic: Arc<str> = state_topic(ROLE).into();
    let key = format!("{SOURCE}{source}");
    let note: Option<SourceNote> =
        state::load(log, &topic, 0)?.get(&key).map(|value| read(&topic, &key, value)).transpose()?;
    Ok(note.and_then(|note| note.ended))
}

impl Active {
    /// Reads the state and opens the inputs where it says.
    ///
    /// # Errors
    /// Fatal where state, setup and log contradict each other.
    pub(super) fn open(
        context: &Context,
        setup: &BrokerSetup,
        config: &JoinConfig,
        given_up: Option<GivenUp>,
    ) -> Result<Self, Failure> {
        let log = &*context.log;
        let topic: Arc<str> = state_topic(ROLE).into();
        let saved = state::load(log, &topic, 0)?;
        let broker = broker_of(setup, &topic, &saved)?;
        let at: Option<At> = saved.get(AT).map(|value| read(&topic, AT, value)).transpose()?;
        let mut topics = open_topics(log, setup.trades_decisions())?;
        let partitions = [0, 1, 2].map(|input: usize| topics[input].places.len() as u32);
        let wait_ms = (!config.replay).then_some(i64::try_from(config.join_wait_ms).unwrap_or(i64::MAX));
        let makers = makers(setup, config);
        let mut join = Join::new(&JoinSetup { partitions, strategies: !makers.is_empty(), wait_ms });
        let sources = continue_sources(&topic, &saved, &mut join)?;
        let fallback = if at.is_some() { BTreeMap::new() } else { committed(log)? };
        let goes_on = at.is_some();
        let at = at.unwrap_or_default();
        let opener = Opener { log, role: ROLE, begin_anew: begin_anew(), gauges: &context.gauges };
        let mut before = Vec::new();
        for input in INPUTS {
            let reader = &mut topics[input as usize];
            for (index, place) in reader.places.iter().enumerate() {
                let (name, kind) = (place.to_string(), kind_of(&place.topic));
                let known = at.next.get(&name).or_else(|| fallback.get(&name)).copied();
                let next = opener.begin(place, next_of(log, place, known, goes_on)?)?;
                let ahead = at.ahead.get(&name).map_or(&[][..], Vec::as_slice);
                join.start_at(input, index, next, ahead);
                reader.next.push(next);
                before.push(Before { place: place.clone(), kind, next });
            }
            reader.assign(vec![true; reader.places.len()])?;
        }
        // What has a number needs no id.
        let by_id = |record: &LogRecord| {
            kind_of(&record.topic) != EventKind::MarketData || record.headers.get(headers::SEQ).is_none()
        };
        let mut windows = opener.refill(&before, DEDUPE_WINDOW, by_id)?.into_iter();
        for reader in &mut topics {
            reader.windows.extend(windows.by_ref().take(reader.places.len()));
        }
        let listens = listens(setup);
        let inputs = Inputs {
            log: Arc::clone(&context.log),
            topics,
            scan: None,
            share: context.budget.share(),
            sources: open_sources(log)?,
            aside: context.aside,
            decoder: Decoder::default(),
            letters: Letters::new(log),
            listened: listens.sessions.values().cloned().collect(),
            makers,
            given_up,
            bad: None,
            exhausted: false,
            began: None,
        };
        Ok(Self {
            context: context.clone(),
            batch_max_events: config.batch_max_events.max(1),
            listens,
            topic,
            broker,
            join,
            inputs,
            sources,
            visible: at,
            batch: Batch::default(),
            wait: None,
            current: Current::Nothing,
        })
    }
}

/// The broker as the state has it.
fn broker_of(setup: &BrokerSetup, topic: &str, saved: &BTreeMap<String, Bytes>) -> Result<Guarded, Failure> {
    let kept = saved.iter().filter(|(key, _)| *key != AT && !key.starts_with(SOURCE));
    let kept = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
    Guarded::new(setup.clone(), kept).map_err(|detail| Failure::Fatal(format!("{topic}: {detail}")))
}

/// Where a partition goes on: where it is known to stand. Decisions that were there
/// before they were traded are not made up for.
fn next_of(log: &dyn Log, place: &TopicPartition, known: Option<u64>, goes_on: bool) -> Result<Option<u64>, Failure> {
    match known {
        None if goes_on && kind_of(&place.topic) == EventKind::TradingDecision => Ok(Some(log.bounds(place)?.1)),
        known => Ok(known),
    }
}

/// Orders and fills are counted in the state, so the store's must go with it.
fn begin_anew() -> String {
    format!("`tapedeck groups reset {} --with-state --to earliest --force`, with store.db removed", group_of(ROLE))
}

/// The market source of each session and of each account.
fn listens(setup: &BrokerSetup) -> Listens {
    let of = |name: fn(&SessionConfig) -> &String| {
        setup.sessions.iter().map(|session| (name(session).clone(), session.market_source.clone())).collect()
    };
    Listens { sessions: of(|session| &session.id), accounts: of(|session| &session.account) }
}

/// The groups whose offsets on the market data close it: all that make what is traded.
fn makers(setup: &BrokerSetup, config: &JoinConfig) -> Vec<&'static str> {
    let strategies = config.strategies.then_some(STRATEGY_GROUP);
    strategies.into_iter().chain((config.decides && setup.trades_decisions()).then_some(INFERENCE_GROUP)).collect()
}

fn open_topics(log: &dyn Log, decisions: bool) -> Result<[TopicReader; 3], Failure> {
    let there = log.topics()?;
    let open = |topics: &[&str]| {
        let mut places = Vec::new();
        for topic in topics {
            let info = there.iter().find(|info| &*info.config.name == *topic).ok_or_else(|| {
                Failure::Fatal(format!("topic `{topic}` is not in the log: make the topics of the catalogue first"))
            })?;
            let name = &info.config.name;
            places.extend(info.partitions.iter().map(|part| TopicPartition::new(Arc::clone(name), part.partition)));
        }
        Ok::<_, Failure>(TopicReader {
            reader: log.reader()?,
            assigned: vec![false; places.len()],
            next: Vec::new(),
            bad: vec![false; places.len()],
            windows: Vec::new(),
            places,
        })
    };
    let traded: &[&str] = if decisions { &[SIGNALS, DECISIONS] } else { &[SIGNALS] };
    Ok([open(&[MARKET_TOPIC])?, open(traded)?, open(&[COMMANDS])?])
}

fn open_sources(log: &dyn Log) -> Result<Box<dyn Reader>, Failure> {
    let place = TopicPartition::new(state_topic(market::ROLE), 0);
    let mut reader = log.reader()?;
    reader.assign(&[(place.clone(), log.bounds(&place)?.0)])?;
    Ok(reader)
}

fn continue_sources(
    topic: &str,
    saved: &BTreeMap<String, Bytes>,
    join: &mut Join,
) -> Result<BTreeMap<Arc<str>, SourceNote>, Failure> {
    let mut sources = BTreeMap::new();
    for (key, value) in saved {
        let Some(source) = key.strip_prefix(SOURCE) else { continue };
        let note: SourceNote = read(topic, key, value)?;
        let source: Arc<str> = source.into();
        let (next, ended, empty) = (note.next, note.ended, note.empty.clone());
        join.start_source(&SourceAt { source: Arc::clone(&source), next, ended, empty });
        sources.insert(source, note);
    }
    Ok(sources)
}

fn read<'a, T: Deserialize<'a>>(topic: &str, key: &str, value: &'a Bytes) -> Result<T, Failure> {
    serde_json::from_slice(value).map_err(|error| {
        Failure::Fatal(format!("{topic}, key `{key}`: {error}; it was written by another version: go on with that one"))
    })
}

/// The group's offsets, by place: they count where there is no state.
fn committed(log: &dyn Log) -> Result<BTreeMap<String, u64>, Failure> {
    let offsets = log.committed(&group_of(ROLE))?;
    Ok(offsets.into_iter().map(|offset| (offset.partition.to_string(), offset.next)).collect())
}
