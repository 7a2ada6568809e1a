//! One file as a source of market events: CSV or NDJSON, told by its first line.
//!
//! Not here: merging several, and what a row means.

use std::{borrow::Cow, collections::BTreeMap, path::Path, sync::Arc};

use tapedeck_contracts::{
    Dec, Timestamp,
    events::{MarketData, MarketKind},
};

use super::{
    bad_input::BadInput,
    columns::{Cells, Field, Layout},
    config::{BarTime, SourceConfig},
    csv_line::{self, delimiter_of},
    lines::{Lines, Progress, whole},
    ndjson::{self, Keys},
    rows::{CellError, RowMaker, likely_interval},
};

/// Rows looked at to find how long bars are: enough that one gap in the
/// recording is outvoted.
const SCOUTED_ROWS: usize = 1_000;

/// An event and where it stands in its input.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceEvent {
    /// The event.
    pub data: MarketData,
    /// What names its input in ids: the hash of its file, or the settings of
    /// its generator.
    pub input: Arc<str>,
    /// Its line in the file, or its number in the generator; from 1.
    pub line: u64,
}

/// A file, row by row.
pub(super) struct FileSource {
    hash: Arc<str>,
    lines: Lines,
    pub(super) format: Format,
    pub(super) rows: RowMaker,
    /// Whether the line in the buffer is a row that was not taken yet.
    pending: bool,
}

/// How the lines are read.
pub(super) enum Format {
    /// Cells and what separates them.
    Csv {
        /// Where each field is.
        layout: Box<Layout>,
        /// What is between two cells.
        delimiter: u8,
    },
    /// An object a line.
    Ndjson(Keys),
}

impl FileSource {
    /// Opens a file, finds out how it is made, and stands before its first row.
    pub(super) fn open(
        path: &Path,
        config: &SourceConfig,
        hash: &str,
        progress: Option<Arc<Progress>>,
    ) -> Result<Self, BadInput> {
        let mut source = Self::bare(path, config, hash, progress)?;
        if source.rows.interval.is_none() {
            let (bars, interval) = scout(path, config)?;
            if bars && interval.is_none() && config.bar_time == BarTime::Open {
                let detail =
                    "how long a bar is cannot be told from its times: give `interval`, such as `interval = \"1m\"`";
                return Err(whole(&source.lines.file, detail.into()));
            }
            source.rows.interval = interval;
        }
        Ok(source)
    }

    fn bare(path: &Path, config: &SourceConfig, hash: &str, progress: Option<Arc<Progress>>) -> Result<Self, BadInput> {
        let mut lines = Lines::open(path, progress)?;
        let rows = RowMaker::new(config).map_err(|detail| whole(&lines.file, detail))?;
        if !lines.advance()? {
            return Err(whole(&lines.file, "is empty: not even a header line".into()));
        }
        let (format, pending) = recognise(&lines, config)?;
        Ok(Self { hash: hash.into(), lines, format, rows, pending })
    }

    /// The next event; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<SourceEvent>, BadInput> {
        let Some(data) = self.row(|rows, cells, line| rows.event(cells, line))? else {
            return Ok(None);
        };
        Ok(Some(SourceEvent { data, input: Arc::clone(&self.hash), line: self.lines.line }))
    }

    /// A mistake in the line that was read last.
    pub(super) fn bad_here(&self, detail: String) -> BadInput {
        self.lines.bad(None, detail)
    }

    fn row<T>(
        &mut self,
        make: impl FnOnce(&mut RowMaker, &Cells<Cow<'_, str>>, u64) -> Result<T, CellError>,
    ) -> Result<Option<T>, BadInput> {
        if !std::mem::take(&mut self.pending) && !self.lines.advance()? {
            return Ok(None);
        }
        let text = self.lines.text()?;
        let cells = match &self.format {
            Format::Csv { layout, delimiter } => csv_line::cells(text, *delimiter, layout),
            Format::Ndjson(keys) => keys.cells(text),
        };
        let cells = cells.map_err(|detail| self.lines.bad(None, detail))?;
        let made = make(&mut self.rows, &cells, self.lines.line);
        made.map(Some).map_err(|(field, detail)| {
            let column = field.map(|field| match &self.format {
                Format::Csv { layout, .. } => layout.describe(field),
                Format::Ndjson(_) => format!("`{}`", field.name()),
            });
            self.lines.bad(column, detail)
        })
    }
}

/// Tells CSV from NDJSON, and a header from a row, by the first line; also
/// whether that line is a row.
fn recognise(lines: &Lines, config: &SourceConfig) -> Result<(Format, bool), BadInput> {
    let text = lines.text()?.trim();
    if text.starts_with('{') {
        return Ok((Format::Ndjson(Keys::new(&config.columns)), true));
    }
    if text.starts_with('[') {
        return Err(lines.bad(None, "a JSON array: write one object a line (`jq -c '.[]'`)".into()));
    }
    let delimiter = delimiter_of(text);
    let cells = csv_line::split(text, delimiter).map_err(|detail| lines.bad(None, detail))?;
    let names: Vec<String> = cells.iter().map(|cell| cell.trim().to_owned()).collect();
    let is_row = names.iter().any(|name| Dec::parse(name).is_ok());
    let layout = if is_row {
        Layout::of_numbers(names.len(), &config.columns)
    } else {
        Layout::of_header(&names, &config.columns)
    };
    let layout = layout.map_err(|detail| lines.bad(None, detail))?;
    match layout.complain(config.symbol.is_some()) {
        Some(detail) => Err(lines.bad(None, detail)),
        None => Ok((Format::Csv { layout: Box::new(layout), delimiter }, is_row)),
    }
}

/// Looks at the first rows: whether there are bars, and how long they are.
fn scout(path: &Path, config: &SourceConfig) -> Result<(bool, Option<(i64, String)>), BadInput> {
    let mut source = FileSource::bare(path, config, "", None)?;
    let mut last: BTreeMap<String, Timestamp> = BTreeMap::new();
    let mut gaps = Vec::new();
    let (mut bars, mut others) = (false, false);
    for _ in 0..SCOUTED_ROWS {
        let event = match source.next() {
            Ok(Some(event)) => event,
            Ok(None) => break,
            // Said when the row is read in its turn, unless nothing goes without it.
            Err(bad) if !others && likely_interval(&gaps).is_none() => return Err(bad),
            Err(_) => break,
        };
        if event.data.kind != Some(MarketKind::Bar) {
            others = true;
            continue;
        }
        bars = true;
        let time = event.data.timestamp;
        if let Some(before) = last.insert(event.data.symbol, time) {
            gaps.push(time.micros() - before.micros());
        }
    }
    Ok((bars, likely_interval(&gaps)))
}

/// Which of our fields the file gives, and from where.
pub(super) fn describe(format: &Format) -> Vec<(Field, String)> {
    match format {
        Format::Ndjson(_) => Vec::new(),
        Format::Csv { layout, .. } => {
            let there = Field::ALL.into_iter().filter(|field| layout.columns[*field as usize].is_some());
            there.map(|field| (field, layout.describe(field))).collect()
        }
    }
}

impl Format {
    /// Its name, for people.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Csv { layout, .. } if layout.names.is_empty() => "CSV without header",
            Self::Csv { .. } => "CSV",
            Self::Ndjson(_) => ndjson::NAME,
        }
    }
}

#[cfg(test)]
mod tests;
