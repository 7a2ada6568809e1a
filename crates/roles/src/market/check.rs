//! Whether what the config says of sources makes sense, before anything starts.
//!
//! Not here: looking into files.

use std::collections::BTreeSet;

use tapedeck_contracts::Timestamp;

use super::{
    columns::Field,
    config::{MarketConfig, SourceConfig, SourceKind, Speed},
    times::{TimeReader, parse_interval},
};

/// What is wrong with the sources, in the order of the config; empty when
/// nothing is.
pub fn check(config: &MarketConfig, sources: &[SourceConfig]) -> Vec<String> {
    let mut problems = Vec::new();
    // A batch much larger than this holds more than a minute of replay.
    if !(1..=100_000).contains(&config.append_records) {
        problems.push(format!("market.append_records: expected 1 to 100000, found {}", config.append_records));
    }
    if config.append_age_ms > 10_000 {
        problems.push(format!("market.append_age_ms: expected at most 10000, found {}", config.append_age_ms));
    }
    let mut ids = BTreeSet::new();
    for (at, source) in sources.iter().enumerate() {
        let mut found = id_problems(&source.id);
        if !ids.insert(source.id.as_str()) {
            found.push("this `id` is taken by another source: each needs its own".into());
        }
        if source.venue.is_empty() || source.venue.len() > 64 {
            found.push("`venue`: expected a name of 1 to 64 bytes".into());
        }
        match source.kind {
            SourceKind::File => file_problems(source, &mut found),
            SourceKind::Generator => generator_problems(source, &mut found),
        }
        if let Some(interval) = &source.interval {
            found.extend(parse_interval(interval).err());
        }
        problems.extend(found.into_iter().map(|problem| format!("sources[{at}] `{}`: {problem}", source.id)));
    }
    problems
}

fn id_problems(id: &str) -> Vec<String> {
    // It is part of a header of every record.
    const MAX_ID_BYTES: usize = 64;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if id.is_empty() || id.len() > MAX_ID_BYTES || !id.chars().all(plain) {
        return vec![format!("`id`: expected 1 to {MAX_ID_BYTES} letters, digits, `-`, `_` or `.`")];
    }
    Vec::new()
}

fn file_problems(source: &SourceConfig, found: &mut Vec<String>) {
    match (source.paths.len(), &source.path) {
        (0, None) => found.push("a file source needs `path` (or `paths`, to merge several)".into()),
        (1.., Some(_)) => found.push("`path` and `paths` are both given: keep one of them".into()),
        _ => {}
    }
    found.extend(TimeReader::new(&source.tz, source.time_format.as_deref()).err());
    let mut mapped = BTreeSet::new();
    for name in source.columns.keys() {
        match Field::named(name) {
            Err(problem) => found.push(format!("columns: {problem}")),
            Ok(field) if !mapped.insert(field) => found.push(format!("columns: `{}` is mapped twice", field.name())),
            Ok(_) => {}
        }
    }
    for (given, name) in [
        (!source.symbols.is_empty(), "symbols"),
        (source.start.is_some(), "start"),
        (source.events.is_some(), "events"),
    ] {
        if given {
            found.push(format!("`{name}` belongs to a generator, not to a file"));
        }
    }
}

fn generator_problems(source: &SourceConfig, found: &mut Vec<String>) {
    if source.step_ms == 0 {
        found.push("`step_ms`: expected 1 or more".into());
    }
    if let Some(start) = &source.start
        && let Err(error) = Timestamp::parse(start)
    {
        found.push(format!("`start` {start:?}: {error}; an example is `2024-01-01T00:00:00Z`"));
    }
    if source.events.is_none() && source.speed == Speed::Max {
        found.push(
            "a generator without end at full speed would fill the disk: give `events`, or a `speed` such as `1x`"
                .into(),
        );
    }
    if source.symbols.iter().any(|symbol| symbol.trim().is_empty() || symbol.len() > 64) {
        found.push("`symbols`: expected names of 1 to 64 bytes".into());
    }
    let files = source.path.is_some() || !source.paths.is_empty();
    if files || !source.columns.is_empty() || source.symbol.is_some() || source.time_format.is_some() {
        found
            .push("`path`, `paths`, `columns`, `symbol` and `time_format` belong to a file, not to a generator".into());
    }
}

#[cfg(test)]
mod tests;
