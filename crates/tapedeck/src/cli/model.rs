//! `tapedeck model` as clap sees it.
//!
//! Not here: what its commands do.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

const ROWS_HELP: &str = "Rows are CSV with a header that names the model's features, in any order; `model inspect` lists them. An empty \
cell, `nan` and `null` are missing values. A row with a value that the model cannot take ends the command with its line; what was \
written before stays.

Numbers come out in margin space (log-odds where the objective is logistic), each with all its digits.";

const EXPLAIN_EXAMPLES: &str =
    "SHAP values are exact and path-dependent: for each row and output the contributions of all features and \
`base_value` add up to `margin`, up to rounding; how far off the worst row is, is said at the end.

Examples:
  tapedeck model explain v7.json --rows rows.csv > shap.csv
  tapedeck model explain v7.txt --rows rows.csv --keep trade_id --format ndjson --output shap.ndjson";

/// What to do with a model's file.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// What a file holds: trees, objective, features, and which of them it looks at
    #[command(after_help = "Examples:\n  tapedeck model inspect v7.json\n  tapedeck model inspect v7.txt --json")]
    Inspect {
        /// XGBoost's JSON or UBJSON, or LightGBM's text
        file: PathBuf,
        /// Also the trees after the best iteration
        #[arg(long)]
        all_trees: bool,
    },
    /// The margins of rows
    #[command(long_about = ROWS_HELP, after_help = "Example:\n  tapedeck model predict v7.json --rows rows.csv")]
    Predict(RowsArgs),
    /// The SHAP values of rows
    #[command(long_about = ROWS_HELP, after_help = EXPLAIN_EXAMPLES)]
    Explain(RowsArgs),
}

/// A model and rows for it.
#[derive(Debug, Args)]
pub(crate) struct RowsArgs {
    /// XGBoost's JSON or UBJSON, or LightGBM's text
    pub(crate) file: PathBuf,
    /// CSV with a header; - is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) rows: PathBuf,
    /// A column that is no feature and comes out beside each row
    #[arg(long, value_name = "COLUMN")]
    pub(crate) keep: Vec<String>,
    /// Leave out columns that the model does not know, instead of refusing them
    #[arg(long)]
    pub(crate) ignore_unknown: bool,
    /// How rows come out; NDJSON with --json
    #[arg(long, value_enum, default_value_t = RowFormat::Csv)]
    pub(crate) format: RowFormat,
    /// Where they go, instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Also the trees after the best iteration
    #[arg(long)]
    pub(crate) all_trees: bool,
    /// Compute contributions in f64 throughout; slower, for models of many hundred trees
    #[arg(long)]
    pub(crate) f64: bool,
}

/// How rows come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowFormat {
    Csv,
    Ndjson,
}
