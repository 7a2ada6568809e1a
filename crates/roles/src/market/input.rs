//! What a source is made of: its files or its generator, opened where its state
//! says, and the words that tell whether it is still the same.
//!
//! Not here: numbering and appending.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use tapedeck_contracts::{
    Event, EventId, Timestamp,
    events::{Envelope, MarketKind, Subscription, market::SubscriptionAction},
};
use tapedeck_flow::{Failure, Outbound};
use tapedeck_log::Record;

use super::{
    ROLE,
    bad_input::BadInput,
    config::{SourceConfig, SourceKind},
    file::{FileSource, SourceEvent},
    generator::{Generator, GeneratorState},
    lines::{Progress, hash_file, whole},
    merge::Merge,
    state::SourceState,
};

/// Where the wish for a symbol is written.
const SUBSCRIPTIONS: &str = "symbol-subscriptions";

/// Where events come from.
pub(super) enum Input {
    /// Files, merged.
    Files(Merge),
    /// No file.
    Generator(Generator),
}

impl Input {
    /// Opens a source: files at their first event, a generator where its state
    /// says.
    ///
    /// # Errors
    /// What is wrong before the first event of a file, or with it.
    pub(super) fn open(
        source: &SourceConfig,
        state: &SourceState,
        hashes: &[(PathBuf, String, u64)],
        progress: &Arc<Progress>,
    ) -> Result<Self, BadInput> {
        if source.kind == SourceKind::Generator {
            let start = state.started.unwrap_or_default();
            let mut generator =
                Generator::new(source, start).map_err(|problem| whole(&format!("source `{}`", source.id), problem))?;
            if let Some(state) = &state.generator {
                generator.restore(state);
            }
            return Ok(Self::Generator(generator));
        }
        let mut files = Vec::new();
        for (path, hash, bytes) in hashes {
            progress.bytes_total.fetch_add(*bytes, Relaxed);
            files.push(FileSource::open(path, source, hash, Some(Arc::clone(progress)))?);
        }
        let merge = Merge::new(files)?;
        if merge.zone_assumed() {
            tracing::info!(source = %source.id, tz = %source.tz, "times name no zone: taken as this one");
        }
        Ok(Self::Files(merge))
    }

    /// The next event; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<SourceEvent>, BadInput> {
        match self {
            Self::Files(files) => files.next(),
            Self::Generator(generator) => Ok(generator.next_event()),
        }
    }

    /// Events that an opened input stands behind.
    pub(super) fn given(&self) -> u64 {
        self.state().map_or(0, |state| state.given)
    }

    /// Where a generator stands.
    pub(super) fn state(&self) -> Option<GeneratorState> {
        match self {
            Self::Files(_) => None,
            Self::Generator(generator) => Some(generator.state()),
        }
    }
}

/// The files of a source, their hashes and sizes.
pub(super) fn hash_files(source: &SourceConfig) -> Result<Vec<(PathBuf, String, u64)>, Failure> {
    let mut hashes: Vec<(PathBuf, String, u64)> = Vec::new();
    for path in source.paths.iter().chain(&source.path) {
        let (hash, bytes) = hash_file(path)?;
        if let Some((same, ..)) = hashes.iter().find(|(_, other, _)| *other == hash) {
            let detail = format!("holds the same bytes as {}: name each file once", same.display());
            return Err(whole(&path.display().to_string(), detail).into());
        }
        hashes.push((path.clone(), hash, bytes));
    }
    Ok(hashes)
}

/// The settings that change the events of a source, for its state.
pub(super) fn made_of(source: &SourceConfig, hashes: &[(PathBuf, String, u64)]) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::from([("venue".to_owned(), source.venue.clone())]);
    let mut put = |name: &str, value: Option<String>| settings.extend(value.map(|value| (name.to_owned(), value)));
    put("interval", source.interval.clone());
    if source.kind == SourceKind::Generator {
        put("seed", Some(source.seed.to_string()));
        put("step_ms", Some(source.step_ms.to_string()));
        put("symbols", Some(source.symbols.join(",")));
        put("start", source.start.clone());
        put("events", source.events.map(|events| events.to_string()));
        return settings;
    }
    for (at, (_, hash, _)) in hashes.iter().enumerate() {
        put(&format!("SHA-256 of file {}", at + 1), Some(hash.clone()));
    }
    put("symbol", source.symbol.clone());
    put("tz", Some(source.tz.clone()));
    put("time_format", source.time_format.clone());
    put("bar_time", Some(format!("{:?}", source.bar_time).to_lowercase()));
    for (ours, theirs) in &source.columns {
        put(&format!("column {ours}"), Some(theirs.clone()));
    }
    settings
}

/// The event time that a generator begins at: as configured, else now, on a
/// whole step.
pub(super) fn begin(source: &SourceConfig, now: Timestamp) -> Option<Timestamp> {
    if source.kind != SourceKind::Generator {
        return None;
    }
    let configured = source.start.as_deref().and_then(|start| Timestamp::parse(start).ok());
    let interval = source.interval.as_deref().and_then(|interval| super::parse_interval(interval).ok());
    let step = interval.or_else(|| i64::try_from(source.step_ms).ok()?.checked_mul(1_000)).unwrap_or(1).max(1);
    Some(configured.unwrap_or_else(|| Timestamp::from_micros(now.micros() - now.micros().rem_euclid(step))))
}

/// The wishes for the symbols that a source is known to bring before it is read.
pub(super) fn subscriptions(source: &SourceConfig, now: Timestamp) -> Result<Vec<Record>, Failure> {
    let mut symbols: Vec<String> = source.symbol.iter().cloned().collect();
    let mut kinds = Vec::new();
    if source.kind == SourceKind::Generator {
        let generator = Generator::new(source, now).map_err(|problem| fatal(source, &problem))?;
        symbols = generator.symbols().map(str::to_owned).collect();
        kinds.push(if source.interval.is_some() { MarketKind::Bar } else { MarketKind::Quote });
    }
    let wish = |symbol: String| {
        let id = EventId::from_file(&format!("subscription {} {} {symbol}", source.id, source.venue), 1);
        let data = Subscription {
            symbol,
            venue: source.venue.clone(),
            action: SubscriptionAction::Subscribe,
            kinds: kinds.clone(),
            requested_by: format!("{ROLE}/{}", source.id),
        };
        let envelope = Envelope { timestamp: now, producer_service: ROLE.into(), data };
        Outbound::first(SUBSCRIPTIONS, id, Event::Subscription(Box::new(envelope))).into_record(ROLE)
    };
    symbols.into_iter().map(wish).collect()
}

fn fatal(source: &SourceConfig, problem: &str) -> Failure {
    Failure::Fatal(format!("source `{}`: {problem}", source.id))
}
