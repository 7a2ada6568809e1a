//! `tapedeck explain` and `tapedeck audit` as clap sees them.
//!
//! Not here: what they do.

use std::path::PathBuf;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};

/// Which decision to explain.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The decision's id; `GET /api/v1/forensics` lists them
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) decision_id: String,
    /// How many features are named, the largest contribution first
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    pub(crate) top: u64,
    /// Name all features
    #[arg(long, conflicts_with = "top")]
    pub(crate) all: bool,
}

pub(crate) const VERIFY_EXAMPLES: &str =
    "Exit code 1 where a record is not what was written, with the first bad one of each chain. Anchors are read from \
audit-logs, or from --anchors (what `tapedeck consume audit-logs --json` printed, kept elsewhere).

Examples:
  tapedeck audit verify
  tapedeck audit verify --resume heads.json        only what is new since the last time
  tapedeck audit export -o records.ndjson          for a check on another machine:
  tapedeck audit verify --file records.ndjson --anchors audit-logs.ndjson";

/// What to do with the chains of explained decisions.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check that no record was changed, removed, added or moved
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// Write records as NDJSON, for a check elsewhere
    #[command(after_help = "Example:\n  tapedeck audit export --chain 3 --from 10000 -o records.ndjson")]
    Export(ExportArgs),
}

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// One chain; all where absent
    #[arg(long)]
    pub(crate) chain: Option<u32>,
    /// Records that `audit export` wrote, instead of the store's
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Anchors from a file of audit entries, instead of those in the log
    #[arg(long, value_name = "FILE")]
    pub(crate) anchors: Option<PathBuf>,
    /// Go on from the heads in this file, and keep the new ones there
    #[arg(long, value_name = "FILE")]
    pub(crate) resume: Option<PathBuf>,
}

/// What to write.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// One chain; all where absent
    #[arg(long)]
    pub(crate) chain: Option<u32>,
    /// The index of the first record of each chain, such as 10000
    #[arg(long, default_value_t = 0, value_name = "INDEX")]
    pub(crate) from: u64,
    /// Where it goes, instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}
