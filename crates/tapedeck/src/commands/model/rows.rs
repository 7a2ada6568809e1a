//! Rows for a model out of CSV: columns found by name, values checked, each with its line.
//!
//! Not here: what a model says of them.

use std::{
    fs::File,
    io::{Read, stdin},
    path::Path,
};

use csv::{ReaderBuilder, StringRecord};
use indicatif::ProgressBar;
use tapedeck_shap::RowError;

use crate::{exit, show};

/// Names of columns that a message lists before it says how many more there are.
const NAMED: usize = 8;

/// CSV being read, a block of rows at a time.
pub(super) struct Rows {
    name: String,
    reader: csv::Reader<Box<dyn Read>>,
    /// Where each feature, and each column to be kept, stands in a line.
    features: Vec<(usize, String)>,
    kept_columns: Vec<usize>,
    size: Option<u64>,
    count: u64,
    record: StringRecord,
    values: Vec<f64>,
    kept: Vec<String>,
    /// The line of each row of the block.
    lines: Vec<u64>,
}

impl Rows {
    /// Opens a file, or stdin for `-`, and finds its columns.
    ///
    /// # Errors
    /// It cannot be read; a feature has no column, or a column is no feature.
    pub(super) fn open(path: &Path, features: &[String], keep: &[String], lenient: bool) -> anyhow::Result<Self> {
        let is_stdin = path.as_os_str() == "-";
        let name = if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
        let unreadable = |error: &dyn std::fmt::Display| exit::input(format!("cannot read {name}: {error}"));
        let (source, size): (Box<dyn Read>, _) = if is_stdin {
            (Box::new(stdin().lock()), None)
        } else {
            let file = File::open(path).map_err(|error| unreadable(&error))?;
            let size = file.metadata().ok().map(|metadata| metadata.len());
            (Box::new(file), size)
        };
        let mut reader = ReaderBuilder::new().trim(csv::Trim::All).from_reader(source);
        let header: Vec<String> =
            reader.headers().map_err(|error| unreadable(&error))?.iter().map(str::to_owned).collect();
        let (features, kept_columns) =
            columns(&header, features, keep, lenient).map_err(|detail| exit::input(format!("{name}: {detail}")))?;
        Ok(Self {
            name,
            reader,
            features,
            kept_columns,
            size,
            count: 0,
            record: StringRecord::new(),
            values: Vec::new(),
            kept: Vec::new(),
            lines: Vec::new(),
        })
    }

    /// Reads up to `most` rows, and says how many, and what is wrong with the one
    /// after them.
    pub(super) fn next_block(&mut self, most: usize) -> (usize, Option<anyhow::Error>) {
        self.values.clear();
        self.kept.clear();
        self.lines.clear();
        while self.lines.len() < most {
            match self.next_row() {
                Ok(true) => {}
                Ok(false) => break,
                Err(wrong) => {
                    self.values.truncate(self.lines.len() * self.features.len());
                    return (self.lines.len(), Some(wrong));
                }
            }
        }
        (self.lines.len(), None)
    }

    fn next_row(&mut self) -> anyhow::Result<bool> {
        let found = self.reader.read_record(&mut self.record);
        if !found.map_err(|error| exit::input(format!("{}: {error}", self.name)))? {
            return Ok(false);
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        for (column, feature) in &self.features {
            let text = self.record.get(*column).unwrap_or_default();
            let value = value(text).map_err(|detail| {
                exit::input(format!("{}, line {line}, column {} (`{feature}`): {detail}", self.name, column + 1))
            })?;
            self.values.push(value);
        }
        self.kept.extend(self.kept_columns.iter().map(|column| self.record[*column].to_owned()));
        self.lines.push(line);
        self.count += 1;
        Ok(true)
    }

    /// The numbers of the block's rows, one row after the other; NaN is a missing value.
    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }

    /// The kept columns of a row of the block.
    pub(super) fn kept(&self, row: usize) -> &[String] {
        &self.kept[row * self.kept_columns.len()..][..self.kept_columns.len()]
    }

    /// The number of a row of the block, from 1 in the whole file.
    pub(super) fn number(&self, row: usize) -> u64 {
        self.count - self.lines.len() as u64 + row as u64 + 1
    }

    /// How many rows there were.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// How far in the file it is.
    pub(super) fn bytes_read(&self) -> u64 {
        self.reader.position().byte()
    }

    /// The complaint of a model about the block, with its line.
    pub(super) fn wrong(&self, error: &RowError) -> anyhow::Error {
        if let RowError::Infinite { row, feature, name, too_large } = error {
            let (line, column) = (self.lines.get(*row), self.features.get(*feature));
            if let (Some(line), Some((column, _))) = (line, column) {
                let why = if *too_large { ", once it is rounded to the model's f32" } else { "" };
                let column = column + 1;
                return exit::input(format!(
                    "{}, line {line}, column {column} (`{name}`): the value is infinite{why}",
                    self.name
                ));
            }
        }
        exit::input(format!("{}: {error}", self.name))
    }

    /// A bar of bytes, where it is wanted and the size is known.
    pub(super) fn progress(&self, wanted: bool) -> ProgressBar {
        show::progress(wanted && self.size.is_some(), self.size.unwrap_or(0), "{wide_bar} {percent}% {eta}")
    }
}

/// A cell's number; NaN where it is missing. What is not finite is left to the model.
fn value(text: &str) -> Result<f64, String> {
    if text.is_empty() || ["nan", "null", "na"].iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Ok(f64::NAN);
    }
    text.parse().map_err(|_| format!("`{text}` is no number; an empty cell, `nan` or `null` is a missing value"))
}

type Columns = (Vec<(usize, String)>, Vec<usize>);

/// Where the features and the columns to be kept stand.
fn columns(header: &[String], features: &[String], keep: &[String], lenient: bool) -> Result<Columns, String> {
    let twice = header.iter().enumerate().find(|(at, name)| header[..*at].contains(name));
    if let Some((_, name)) = twice {
        return Err(format!("two columns are called `{name}`"));
    }
    let place = |name: &String| header.iter().position(|column| column == name);
    let kept: Vec<usize> = keep
        .iter()
        .map(|name| place(name).ok_or_else(|| format!("there is no column `{name}` to keep")))
        .collect::<Result<_, _>>()?;
    let missing: Vec<&String> = features.iter().filter(|name| place(name).is_none()).collect();
    if !missing.is_empty() {
        return Err(format!("the header has no column for {}", list(&missing)));
    }
    let unknown: Vec<&String> = header.iter().filter(|name| !features.contains(name) && !keep.contains(name)).collect();
    if !unknown.is_empty() && !lenient {
        return Err(format!(
            "the model knows no feature {}: keep a column with --keep NAME, or leave such columns out with --ignore-unknown",
            list(&unknown)
        ));
    }
    let found = features.iter().filter_map(|name| Some((place(name)?, name.clone()))).collect();
    Ok((found, kept))
}

fn list(names: &[&String]) -> String {
    let shown: Vec<String> = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn columns_are_found_by_name_and_what_is_missing_or_unknown_is_named() {
        let (header, features) = (names(&["id", "b", "a"]), names(&["a", "b"]));
        let (found, kept) = columns(&header, &features, &names(&["id"]), false).unwrap();
        assert_eq!((found[0].0, found[1].0, kept), (2, 1, vec![0]));
        let wrong =
            |header: &[&str], keep: &[&str]| columns(&names(header), &features, &names(keep), false).unwrap_err();
        assert!(wrong(&["a", "b", "c"], &[]).contains("`c`"));
        assert!(wrong(&["a"], &[]).contains("no column for `b`"));
        assert!(wrong(&["a", "b", "a"], &[]).contains("two columns are called `a`"));
        assert!(wrong(&["a", "b"], &["id"]).contains("no column `id`"));
        assert!(columns(&names(&["a", "b", "c"]), &features, &[], true).is_ok());
    }

    #[test]
    fn an_empty_cell_is_missing_and_a_word_is_wrong() {
        assert!(value("").unwrap().is_nan() && value("NaN").unwrap().is_nan() && value("null").unwrap().is_nan());
        assert_eq!(value("1e-3"), Ok(0.001));
        assert!(value("1,5").unwrap_err().contains("`1,5` is no number"));
    }
}
