//! `tapedeck dlq` as clap sees it.
//!
//! Not here: what its commands do.

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};

const REPLAY_EXAMPLES: &str =
    "What is sent again goes to the group that failed; others skip it. Ctrl-C ends it between two steps, \
and the same command goes on with what is still open; nothing is sent twice.

Examples:
  tapedeck dlq replay --topic exec.reports.v1 --error \"limit_price\" --dry-run
  tapedeck dlq replay alerts.v1.dlq/2/17
  tapedeck dlq replay --all --rate 200 --reason \"schema 1.1 is out\"";

const PURGE_EXAMPLES: &str =
    "A purged dead letter is open no more; it lies in its topic until retention takes it, and the audit log \
keeps who gave it up and why.

Examples:
  tapedeck dlq purge --topic alerts.v1 --class undecodable --reason \"a probe of the new feed\"
  tapedeck dlq purge alerts.v1.dlq/2/17 --reason \"sent twice\" --dry-run";

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Dead letters, newest first; the open ones
    #[command(
        after_help = "Examples:\n  tapedeck dlq list --topic exec.reports.v1\n  tapedeck dlq list --all -n 1000 --json"
    )]
    List {
        #[command(flatten)]
        filter: DlqFilter,
        /// Those that were redriven or purged too
        #[arg(long)]
        all: bool,
        /// At most so many
        #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
    },
    /// How many there are of each topic, group and error
    #[command(after_help = "Example:\n  tapedeck dlq groups --from 2026-01-01T00:00:00Z")]
    Groups {
        #[command(flatten)]
        filter: DlqFilter,
        /// Count those that were redriven or purged too
        #[arg(long)]
        all: bool,
    },
    /// One dead letter, with the place in its body that is wrong
    #[command(after_help = "Example:\n  tapedeck dlq show alerts.v1.dlq/2/17")]
    Show {
        /// Its id, or its place
        #[arg(value_name = "ID|TOPIC.dlq/PARTITION/OFFSET")]
        which: String,
    },
    /// Send records again to the group that failed
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay {
        #[command(flatten)]
        what: DlqWhat,
        /// Records a second at most
        #[arg(long, default_value_t = 1_000, value_name = "N")]
        rate: u32,
        /// A record that was sent again so often is refused
        #[arg(long, default_value_t = 3, value_name = "N")]
        max_redrives: u32,
        /// Send it all the same
        #[arg(long)]
        force: bool,
        /// Why, for the audit log
        #[arg(long, value_parser = NonEmptyStringValueParser::new())]
        reason: Option<String>,
    },
    /// Mark dead letters as needing nothing
    #[command(after_help = PURGE_EXAMPLES)]
    Purge {
        #[command(flatten)]
        what: DlqWhat,
        /// Why, for the audit log
        #[arg(long, value_parser = NonEmptyStringValueParser::new())]
        reason: Option<String>,
    },
}

/// Which dead letters.
#[derive(Debug, Args)]
pub(crate) struct DlqFilter {
    /// The topic whose records they are
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) topic: Option<String>,
    /// The group that failed, such as tapedeck.recorder
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) group: Option<String>,
    /// undecodable, invalid, handler, panic or store
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) class: Option<String>,
    /// A part of the error's text
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) error: Option<String>,
    /// The record's key
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) key: Option<String>,
    /// Failed at or after this time
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Failed before or at this time
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
}

/// Which dead letters to act on.
#[derive(Debug, Args)]
pub(crate) struct DlqWhat {
    /// Dead letters by id or place
    #[arg(value_name = "ID|TOPIC.dlq/PARTITION/OFFSET")]
    pub(crate) which: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: DlqFilter,
    /// All that are open, where no filter is given
    #[arg(long)]
    pub(crate) all: bool,
    /// At most so many
    #[arg(long, short = 'n')]
    pub(crate) limit: Option<u64>,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}
