//! The command line as clap sees it: names, flags, help and examples.
//!
//! Not here: what the commands do.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tapedeck_roles::forward_test::config::TradeSource;

use crate::chaos::FaultKind;

mod audit;
mod dlq;
mod migrate;
mod model;
mod replay;
mod schema;
mod topics;

pub(crate) use audit::{AuditCommand, ExplainArgs, ExportArgs, VerifyArgs};
pub(crate) use dlq::{DlqCommand, DlqFilter, DlqWhat};
pub(crate) use migrate::MigrateArgs;
pub(crate) use model::{ModelCommand, RowFormat, RowsArgs};
pub(crate) use replay::ReplayArgs;
pub(crate) use schema::{SchemaCommand, SchemaWhat};
pub(crate) use topics::{AclsArgs, ApplyArgs, TopicsCommand, WatchArgs};

/// The event backbone of a trading operation.
#[derive(Debug, Parser)]
#[command(name = "tapedeck", version, about, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Config file (TOML); only what differs from the defaults
    #[arg(long, short, global = true, env = "TAPEDECK_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Data folder, instead of the config's
    #[arg(long, short, global = true, env = "TAPEDECK_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// One JSON value on stdout instead of tables
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say more on stderr
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    /// Logs on stderr as JSON lines
    #[arg(long, global = true)]
    pub(crate) json_logs: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "Examples:
  tapedeck demo                                  a generated market into every role
  tapedeck replay bars.csv --symbol BTCUSDT      what would the strategies have done
  tapedeck up --config tapedeck.toml             run for good
  tapedeck groups lag                            who is behind, and how far

Exit codes: 0 done, 1 failed, 2 wrong use, 3 wrong config or input,
4 data folder taken or unfit, 5 interrupted before the end.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the roles until SIGTERM or Ctrl-C
    #[command(after_help = "Examples:\n  tapedeck up\n  tapedeck up --roles recorder,api --config tapedeck.toml")]
    Up(UpArgs),
    /// Run everything on a generated market, and print what to open
    #[command(after_help = "Example:\n  tapedeck demo --data demo-data")]
    Demo(DemoArgs),
    /// Run a file through every role, and print what came of it; or decide the past again
    #[command(after_help = replay::EXAMPLES)]
    Replay(ReplayArgs),
    /// Check or show the config
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The topics of the log
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// The consumer groups of the log
    #[command(subcommand)]
    Groups(GroupsCommand),
    /// The records that a group could not handle
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// The schemas of the topics, and what a schema registry says of them
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Write events or records to a topic, one a line
    #[command(
        after_help = "Examples:\n  tapedeck produce exec.reports.v1 reports.ndjson\n  cat reports.ndjson | tapedeck produce exec.reports.v1\n  tapedeck produce somebodys-topic -K: -H source=hand lines.txt\n\nA topic of the catalogue takes its events, which get key and headers. With -K, -H, -Z or -p, and to any other topic, a line is a record as it stands.\n\nWith --ack spool the process that holds the folder keeps the events and sends them when the log takes them; where none does, this one keeps them, and the next start sends what it could not."
    )]
    Produce(ProduceArgs),
    /// Read records of a topic
    #[command(
        after_help = "Examples:\n  tapedeck consume alerts.v1 --follow\n  tapedeck consume exec.reports.v1 --from 2026-01-01T00:00:00Z --key BTCUSDT --json\n  tapedeck consume somebodys-topic --tail 10 --format '%p/%o %k: %v\\\\n'\n  tapedeck consume alerts.v1 --group mine -n 100"
    )]
    Consume(ConsumeArgs),
    /// Carry the embedded log and store over to a cluster, and compare
    #[command(after_help = migrate::HELP)]
    Migrate(MigrateArgs),
    /// Why a decision was made, feature by feature
    #[command(
        after_help = "Examples:\n  tapedeck explain 550e8400-e29b-41d4-a716-446655440000\n  tapedeck explain 550e8400-e29b-41d4-a716-446655440000 --all --json"
    )]
    Explain(ExplainArgs),
    /// The chains of explained decisions: whether anybody bent them
    #[command(subcommand)]
    Audit(AuditCommand),
    /// A model's file: what it holds, what it says of rows, and why
    #[command(subcommand)]
    Model(ModelCommand),
    /// Measure the log, the store and a replay on this machine
    #[command(after_help = "Examples:\n  tapedeck bench\n  tapedeck bench replay --events 1000000")]
    Bench(BenchArgs),
    /// Kill, pause and starve a deck under load, and count what was lost
    #[command(after_help = CHAOS_EXAMPLES)]
    Chaos(ChaosArgs),
}

const CHAOS_EXAMPLES: &str = "Examples:
  tapedeck chaos                                     20 kills in a folder of its own
  tapedeck chaos --kills 1000 --seed 7 --json
  tapedeck chaos --duration 10m --faults pause,store,log --trouble 60s
  tapedeck chaos --verify DIR/chaos-1a2b3c4d/ledger.txt --data DIR

It runs this very program on a folder of its own (or --data), sends it events and keeps
a ledger of what was answered. At the end it compares the ledger with what is served:
lost, visible twice and out of order must be 0, or the exit code is 1. docs/soak.md
says how to read the rest.";

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Which roles; all where absent
    #[arg(long, value_delimiter = ',', value_name = "ROLE,…")]
    pub(crate) roles: Vec<Role>,
}

/// A part of tapedeck that runs on a thread of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Role {
    Market,
    Strategy,
    Inference,
    Forensics,
    ForwardTest,
    Recorder,
    Api,
}

impl Role {
    pub(crate) const ALL: [Role; 7] =
        [Role::Market, Role::Strategy, Role::Inference, Role::ForwardTest, Role::Recorder, Role::Forensics, Role::Api];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Market => "market",
            Role::Strategy => "strategy",
            Role::Inference => "inference",
            Role::Forensics => "forensics",
            Role::ForwardTest => "forward-test",
            Role::Recorder => "recorder",
            Role::Api => "api",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Seed of the generated market
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
    /// How many seconds of the market pass in one second
    #[arg(long, default_value = "20x")]
    pub(crate) speed: String,
    /// What the account trades: signals of strategies, or decisions of specialists
    #[arg(long, default_value = "signals", value_name = "SOURCE", value_parser = trade_source)]
    pub(crate) trade: TradeSource,
}

fn trade_source(text: &str) -> Result<TradeSource, String> {
    match text {
        "signals" => Ok(TradeSource::Signals),
        "decisions" => Ok(TradeSource::Decisions),
        _ => Err("expected signals or decisions".into()),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the config; names line and key of a mistake
    Check,
    /// Print the effective config
    Show {
        /// Every key at its default, with its reason
        #[arg(long)]
        defaults: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupsCommand {
    /// All groups
    List,
    /// Members and offsets of a group
    Describe {
        /// The group, such as tapedeck.recorder
        group: String,
    },
    /// How far groups are behind, in records and seconds, and when that will be gone
    #[command(
        after_help = "The rates are those of the last half minute, as the process saw them that holds the folder; so is the time until the lag is gone. OLDEST S is the age of the oldest record that is not settled. Retries and dead letters are those since the role started, and known where it runs in that process.\n\nExamples:\n  tapedeck groups lag\n  tapedeck groups lag tapedeck.recorder --json"
    )]
    Lag {
        /// One group; all where absent
        group: Option<String>,
    },
    /// Move a group that has no members
    #[command(
        after_help = "A role with state (tapedeck.strategy, tapedeck.forward-test) moves only with --with-state, as a whole. The paper broker's accounts begin again then, and the numbers of their fills with them: remove store.db too, or the recorder stops at fills that are stored with another content. Hence --force.\n\nExamples:\n  tapedeck groups reset mine --topic alerts.v1 --to earliest --dry-run\n  tapedeck groups reset mine --topic alerts.v1 --to 2026-01-01T00:00:00Z\n  tapedeck groups reset tapedeck.recorder --to earliest\n  tapedeck groups reset tapedeck.strategy --with-state --to earliest"
    )]
    Reset {
        /// The group
        group: String,
        /// One topic; all that the group has offsets of where absent
        #[arg(long)]
        topic: Option<String>,
        /// One partition of the topic; all where absent
        #[arg(long, requires = "topic")]
        partition: Option<u32>,
        /// earliest, latest, an offset, or a time
        #[arg(long)]
        to: String,
        /// Clear the role's state too; without it a group with state is not moved
        #[arg(long)]
        with_state: bool,
        /// Clear the paper broker's accounts too
        #[arg(long)]
        force: bool,
        /// Only say what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Give up one record that a group without members can never handle
    #[command(
        after_help = "The record stays in the log, and the audit log keeps who gave it up and why. A corrected event needs an event_id of its own, since one that was skipped counts as seen.\n\nExamples:\n  tapedeck groups skip tapedeck.recorder exec.reports.v1/3/1042 --reason \"two prices\""
    )]
    Skip {
        /// The group
        group: String,
        /// The record
        #[arg(value_name = "TOPIC/PARTITION/OFFSET")]
        record: String,
        /// Why, for the audit log
        #[arg(long)]
        reason: String,
        /// Only say what would change
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ProduceArgs {
    /// The topic
    pub(crate) topic: String,
    /// Lines; stdin where absent
    pub(crate) file: Option<PathBuf>,
    /// What stands between key and value of a line; without it there is no key
    #[arg(short = 'K', long, value_name = "TEXT")]
    pub(crate) key_separator: Option<String>,
    /// A header of each record
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    pub(crate) headers: Vec<String>,
    /// An empty value is a tombstone
    #[arg(short = 'Z', long)]
    pub(crate) tombstones: bool,
    /// The partition; else the key chooses
    #[arg(long, short = 'p')]
    pub(crate) partition: Option<u32>,
    /// What is waited for: that events are in the log, or that they outlive the process
    #[arg(long, value_enum, default_value_t = AckArg::Log)]
    pub(crate) ack: AckArg,
}

/// What `produce` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AckArg {
    // That events are durable in the log.
    Log,
    // That they are kept to be sent; the log may be away.
    Spool,
}

impl ProduceArgs {
    /// Whether lines are records as they are, and not events to be completed.
    pub(crate) fn is_raw(&self) -> bool {
        self.key_separator.is_some() || !self.headers.is_empty() || self.tombstones || self.partition.is_some()
    }
}

#[derive(Debug, Args)]
pub(crate) struct ConsumeArgs {
    /// The topic
    pub(crate) topic: String,
    /// One partition; all where absent
    #[arg(long)]
    pub(crate) partition: Option<u32>,
    /// earliest, latest, an offset, or a time (by when it was written)
    #[arg(long, default_value = "earliest")]
    pub(crate) from: String,
    /// Only before this: latest, an offset, or a time
    #[arg(long)]
    pub(crate) to: Option<String>,
    /// The last so many offsets of each partition
    #[arg(long, value_name = "N", conflicts_with = "from")]
    pub(crate) tail: Option<u64>,
    /// Bytes as they are: %k key, %v value, %h headers, %o offset, %p partition, %t ms since the epoch; \\n and \\t
    #[arg(long, value_name = "TEXT", conflicts_with = "headers")]
    pub(crate) format: Option<String>,
    /// Show headers too
    #[arg(long)]
    pub(crate) headers: bool,
    /// Go on where this group is, and commit what was printed
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tail", "key", "grep"])]
    pub(crate) group: Option<String>,
    /// Only records with this key
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Only records whose value or headers contain this text
    #[arg(long)]
    pub(crate) grep: Option<String>,
    /// At most so many records
    #[arg(long, short = 'n')]
    pub(crate) limit: Option<usize>,
    /// Wait for more
    #[arg(long, short)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// What to measure
    #[arg(value_enum, default_value = "all")]
    pub(crate) what: BenchWhat,
    /// Market events of the replay
    #[arg(long, default_value_t = 300_000)]
    pub(crate) events: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchWhat {
    All,
    Log,
    Replay,
}

#[derive(Debug, Args)]
pub(crate) struct ChaosArgs {
    /// How many times `kill -9`; 20 where neither this nor a duration is given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) kills: Option<u64>,
    /// At most so long, such as 10m
    #[arg(long, value_name = "TIME")]
    pub(crate) duration: Option<String>,
    /// Events a second
    #[arg(long, default_value_t = 500, value_name = "N")]
    pub(crate) rate: u64,
    /// What the schedule is drawn from; printed, so that it can be run again
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Which kinds of faults
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "kill,boundary,pause,term,store,log",
        value_name = "KIND,…"
    )]
    pub(crate) faults: Vec<FaultKind>,
    /// Share of events that can never be stored
    #[arg(long, default_value = "1%", value_name = "SHARE")]
    pub(crate) poison: String,
    /// How long a pause, or a fault of log or store, lasts at most
    #[arg(long, default_value = "600ms", value_name = "TIME")]
    pub(crate) trouble: String,
    /// Only the load: no market, strategies and paper account beside it
    #[arg(long)]
    pub(crate) no_trading: bool,
    /// Keep the folder also where all is well
    #[arg(long)]
    pub(crate) keep: bool,
    /// Only compare an earlier ledger with what its folder (--data) serves
    #[arg(long, value_name = "LEDGER")]
    pub(crate) verify: Option<PathBuf>,
}
