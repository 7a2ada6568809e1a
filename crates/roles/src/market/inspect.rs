//! What a file is, as tapedeck understands it: to be shown before it is
//! replayed.
//!
//! Not here: replaying it.

use std::{collections::BTreeSet, path::Path};

use serde::Serialize;
use tapedeck_contracts::{Timestamp, events::MarketKind};

use super::{
    bad_input::BadInput,
    config::{BarTime, SourceConfig},
    file::{FileSource, describe},
    lines::{hash_file, whole},
};

/// Rows looked at: a file below is known whole, and a larger one costs a
/// fraction of a second.
const ROWS: u64 = 100_000;

/// A file, as it is understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileSummary {
    /// The file.
    pub path: String,
    /// Its size on disk.
    pub bytes: u64,
    /// SHA-256 of its bytes on disk, in hex: what ids are made of.
    pub sha256: String,
    /// CSV, CSV without header, NDJSON.
    pub format: &'static str,
    /// Of each of our fields, where it is read from; empty for NDJSON.
    pub columns: Vec<(&'static str, String)>,
    /// Kind of the first event.
    pub kind: MarketKind,
    /// Length of its bars.
    pub interval: Option<String>,
    /// Symbols of the rows looked at.
    pub symbols: Vec<String>,
    /// Time of the first event; of a bar, its end.
    pub first_time: Timestamp,
    /// Time of the last event, where the whole file was looked at.
    pub last_time: Option<Timestamp>,
    /// Number of events, where the whole file was looked at.
    pub events: Option<u64>,
    /// What was assumed, for people.
    pub notes: Vec<String>,
}

/// Looks into a file: its form, and its first 100,000 rows.
///
/// # Errors
/// The first mistake in them.
pub fn inspect(path: &Path, config: &SourceConfig) -> Result<FileSummary, BadInput> {
    let (sha256, bytes) = hash_file(path)?;
    let mut file = FileSource::open(path, config, &sha256, None)?;
    let first = file.next()?.ok_or_else(|| whole(&path.display().to_string(), "has a header and no rows".into()))?;
    let mut symbols = BTreeSet::from([first.data.symbol.clone()]);
    let (mut last_time, mut events) = (Some(first.data.timestamp), 1);
    while let Some(event) = file.next()? {
        if !symbols.contains(&event.data.symbol) {
            symbols.insert(event.data.symbol);
        }
        last_time = Some(event.data.timestamp);
        events += 1;
        if events == ROWS {
            break;
        }
    }
    let complete = events < ROWS || file.next()?.is_none();
    Ok(FileSummary {
        path: path.display().to_string(),
        bytes,
        sha256,
        format: file.format.name(),
        columns: describe(&file.format).into_iter().map(|(field, column)| (field.name(), column)).collect(),
        kind: first.data.kind(),
        interval: file.rows.interval.as_ref().map(|(_, text)| text.clone()),
        symbols: symbols.into_iter().collect(),
        first_time: first.data.timestamp,
        last_time: last_time.filter(|_| complete),
        events: complete.then_some(events),
        notes: notes(&file, config, first.data.kind(), first.data.volume.is_zero()),
    })
}

fn notes(file: &FileSource, config: &SourceConfig, kind: MarketKind, no_volume: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if file.rows.times.zone_assumed {
        notes.push(format!("times name no zone: taken as {} (`tz`)", config.tz));
    }
    if kind == MarketKind::Bar && config.bar_time == BarTime::Open {
        notes.push("the time of a bar is taken as its open, and the bar comes at its end (`bar_time`)".into());
    }
    if kind == MarketKind::Bar && config.interval.is_none() {
        notes.push("the length of bars was found from their times (`interval`)".into());
    }
    if file.rows.rounded > 0 {
        let count = file.rows.rounded;
        notes.push(format!("{count} volumes have more digits than are taken: rounded half to even to 10 decimals"));
    }
    if kind != MarketKind::Quote && no_volume {
        notes.push("the first event has no volume: a trade or bar without volume fills no order".into());
    }
    notes
}
