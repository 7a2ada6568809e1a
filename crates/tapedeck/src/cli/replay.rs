//! `tapedeck replay` as clap sees it: of files, and of decisions.
//!
//! Not here: what it does.

use std::path::PathBuf;

use clap::Args;
use tapedeck_contracts::Timestamp;

pub(crate) const EXAMPLES: &str = "Examples:
  tapedeck replay bars.csv.gz --symbol BTCUSDT --currency USDT
  tapedeck replay quotes.csv --symbol EURUSD --currency USD --columns time=1,bid=2,ask=3,volume=4
  tapedeck replay bars.csv --symbol BTCUSDT --currency USDT --speed max --json --data run1
  tapedeck replay --decisions --model bull_specialist@v2 --from 2026-01-01T00:00:00Z
  tapedeck replay --decisions --model bull_specialist@v2 --symbol BTCUSDT --ndjson > other.ndjson

The same command on the same folder continues after a kill, or prints the same
object if it had finished. `digest` is a SHA-256 over all executions: see docs/replay.md.

With --decisions nothing is run or written: explained decisions of the folder are asked of
other versions of their specialists, with the features, regimes and weights that were
recorded; risk checks, outcomes and positions stay as they were. Exit code 0 also where
decisions differ, 3 where a specialist or version is unknown, a model is of other features,
or no decision lies in the range.";

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// CSV or NDJSON, gzip too; several are merged by event time
    #[arg(required_unless_present = "decisions", conflicts_with = "decisions", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// `max`, or a multiple of real time such as 60x
    #[arg(long, default_value = "max")]
    pub(crate) speed: String,
    /// The symbol, where the file's rows do not say; with --decisions, only of this one
    #[arg(long)]
    pub(crate) symbol: Option<String>,
    /// The venue; that of the config's instruments, or SIM, where absent
    #[arg(long)]
    pub(crate) venue: Option<String>,
    /// Currency of the account, where `[[instruments]]` does not say
    #[arg(long)]
    pub(crate) currency: Option<String>,
    /// Our field to the file's column, by name or by number from 1
    #[arg(long, value_delimiter = ',', value_name = "FIELD=COLUMN,…")]
    pub(crate) columns: Vec<String>,
    /// Zone of times without one
    #[arg(long, default_value = "UTC")]
    pub(crate) tz: String,
    /// strptime format of the times
    #[arg(long)]
    pub(crate) time_format: Option<String>,
    /// Which end of a bar its time is: open or close
    #[arg(long, default_value = "open")]
    pub(crate) bar_time: String,
    /// Length of the file's bars (1m); found from its times where absent
    #[arg(long)]
    pub(crate) interval: Option<String>,
    /// What the volume counts: base, quote or contracts
    #[arg(long, default_value = "base")]
    pub(crate) volume_unit: String,
    #[command(flatten)]
    pub(crate) past: PastArgs,
}

/// Decisions of the past, and what decides instead.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "With --decisions")]
pub(crate) struct PastArgs {
    /// Decide explained decisions again, with other models, instead of running a file
    #[arg(long, requires = "model")]
    pub(crate) decisions: bool,
    /// The specialist, and the version that is to decide; may be repeated
    #[arg(long, requires = "decisions", value_name = "ID@VERSION", value_parser = model)]
    pub(crate) model: Vec<(String, String)>,
    /// From this time (RFC 3339, with a zone); from the first where absent
    #[arg(long, requires = "decisions", value_name = "TIME", value_parser = time)]
    pub(crate) from: Option<String>,
    /// Before this time
    #[arg(long, requires = "decisions", value_name = "TIME", value_parser = time)]
    pub(crate) to: Option<String>,
    /// Only of this account
    #[arg(long, requires = "decisions")]
    pub(crate) account: Option<String>,
    /// How many decisions are told that would have been others, the largest move of the margin first
    #[arg(long, requires = "decisions", value_name = "N", default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(0..=1_000))]
    pub(crate) top: u64,
    /// Every decision of another action as a line of JSON on stdout, newest first; the sums on stderr
    #[arg(long, requires = "decisions", conflicts_with = "json")]
    pub(crate) ndjson: bool,
}

/// A time as the api takes it.
fn time(text: &str) -> Result<String, String> {
    match Timestamp::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("expected a time with its zone (RFC 3339), such as 2026-01-01T00:00:00Z or \
                       2026-01-01T09:30:00-05:00"
            .into()),
    }
}

/// A specialist and a version of it. A version has no `@`; a name may.
fn model(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('@') {
        Some((specialist, version)) if !specialist.is_empty() && !version.is_empty() => {
            Ok((specialist.to_owned(), version.to_owned()))
        }
        _ => Err("expected a specialist and a version of it, such as bull_specialist@v2".into()),
    }
}

impl ReplayArgs {
    /// The flags at their defaults, for a replay that is not of a file.
    pub(crate) fn example() -> Self {
        Self {
            files: Vec::new(),
            speed: "max".into(),
            symbol: None,
            venue: None,
            currency: Some("USDT".into()),
            columns: Vec::new(),
            tz: "UTC".into(),
            time_format: None,
            bar_time: "open".into(),
            interval: None,
            volume_unit: "base".into(),
            past: PastArgs::default(),
        }
    }
}
