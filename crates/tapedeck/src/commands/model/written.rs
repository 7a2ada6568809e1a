//! Margins and contributions as lines: CSV with a header, or NDJSON.
//!
//! Not here: how they are made.

use std::io::{self, Write};

use serde_json::{Map, Value, json};
use tapedeck_shap::Ensemble;

use super::rows::Rows;
use crate::cli::RowFormat;

/// Writes rows one after the other.
pub(super) struct Writer<W: Write> {
    lines: Lines<W>,
    keep: Vec<String>,
    features: Vec<String>,
    outputs: usize,
    explain: bool,
}

enum Lines<W: Write> {
    Csv(Box<csv::Writer<W>>),
    Ndjson(W),
}

/// A line that is being put together, as CSV has it: numbers with all their digits.
fn digits(number: f64) -> String {
    number.to_string()
}

impl<W: Write> Writer<W> {
    /// Writes the header, where there is one.
    ///
    /// # Errors
    /// The sink does not take it.
    pub(super) fn begin(
        sink: W,
        format: RowFormat,
        keep: &[String],
        model: &Ensemble,
        explain: bool,
    ) -> anyhow::Result<Self> {
        let (features, outputs) = (model.features.clone(), model.outputs());
        let lines = match format {
            RowFormat::Ndjson => Lines::Ndjson(sink),
            RowFormat::Csv => {
                let mut csv = csv::Writer::from_writer(sink);
                let mut header = vec!["row"];
                header.extend(keep.iter().map(String::as_str));
                header.extend((outputs > 1).then_some("output"));
                if explain {
                    header.extend(features.iter().map(String::as_str));
                    header.push("base_value");
                }
                header.push("margin");
                unless_closed(csv.write_record(&header).map_err(io::Error::from))?;
                Lines::Csv(Box::new(csv))
            }
        };
        Ok(Self { lines, keep: keep.to_vec(), features, outputs, explain })
    }

    /// Writes the rows of a block: a line for each row and output.
    ///
    /// # Errors
    /// The sink does not take them.
    pub(super) fn rows(&mut self, rows: &Rows, margins: &[f64], phi: &[f64]) -> anyhow::Result<()> {
        let mut phi = phi.chunks_exact(self.features.len() + 1);
        for (at, margin) in margins.iter().enumerate() {
            let (row, output) = (at / self.outputs, at % self.outputs);
            let phi = if self.explain { phi.next() } else { None };
            let written = match &mut self.lines {
                Lines::Csv(csv) => {
                    let mut line = vec![rows.number(row).to_string()];
                    line.extend_from_slice(rows.kept(row));
                    line.extend((self.outputs > 1).then(|| output.to_string()));
                    line.extend(phi.into_iter().flatten().map(|phi| digits(*phi)));
                    line.push(digits(*margin));
                    csv.write_record(&line).map_err(io::Error::from)
                }
                Lines::Ndjson(sink) => {
                    let mut line = Map::new();
                    line.insert("row".into(), rows.number(row).into());
                    let kept = self.keep.iter().cloned().zip(rows.kept(row).iter().cloned().map(Value::String));
                    if !self.keep.is_empty() {
                        line.insert("kept".into(), Value::Object(kept.collect()));
                    }
                    if self.outputs > 1 {
                        line.insert("output".into(), output.into());
                    }
                    if let Some((base, phi)) = phi.and_then(<[f64]>::split_last) {
                        let shap = self.features.iter().cloned().zip(phi.iter().map(|phi| json!(phi)));
                        line.insert("base_value".into(), json!(base));
                        line.insert("shap".into(), Value::Object(shap.collect()));
                    }
                    line.insert("margin".into(), json!(margin));
                    writeln!(sink, "{}", Value::Object(line))
                }
            };
            unless_closed(written)?;
        }
        Ok(())
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// The sink does not take it.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        unless_closed(match &mut self.lines {
            Lines::Csv(csv) => csv.flush(),
            Lines::Ndjson(sink) => sink.flush(),
        })
    }
}

/// A reader that went away (`| head`) ends the program quietly.
fn unless_closed(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}
