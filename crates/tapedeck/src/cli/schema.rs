//! `tapedeck schema` as clap sees it.
//!
//! Not here: what its commands do.

use clap::{Args, Subcommand};

const REGISTER_EXAMPLES: &str =
    "A schema that would break readers of the newest version is not registered; the registry's own words say why. \
Where the registry has no rule for the subject (NONE), the rule is BACKWARD.

Examples:
  tapedeck schema register --all --dry-run
  tapedeck schema register exec.reports.v1";

#[derive(Debug, Subcommand)]
pub(crate) enum SchemaCommand {
    /// The topics that carry events, and how their schemas stand in the registry
    #[command(after_help = "Examples:\n  tapedeck schema list\n  tapedeck schema list --json")]
    List,
    /// The schema of a topic as this version writes it; no registry is needed
    #[command(
        after_help = "Examples:\n  tapedeck schema show exec.reports.v1 --format avro\n  tapedeck schema show exec.reports.v1 --registered"
    )]
    Show {
        /// The topic
        topic: String,
        /// json or avro, instead of the config's
        #[arg(long, value_parser = ["json", "avro"])]
        format: Option<String>,
        /// The newest version that the registry has, instead
        #[arg(long)]
        registered: bool,
    },
    /// Whether schemas may be registered; exit code 1 where one would break readers
    #[command(after_help = "Examples:\n  tapedeck schema check exec.reports.v1\n  tapedeck schema check --all --json")]
    Check(SchemaWhat),
    /// Register schemas that are not there yet
    #[command(after_help = REGISTER_EXAMPLES)]
    Register {
        #[command(flatten)]
        what: SchemaWhat,
        /// Only say what would be registered
        #[arg(long)]
        dry_run: bool,
    },
}

/// Of which topics.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct SchemaWhat {
    /// One topic
    pub(crate) topic: Option<String>,
    /// All topics that `[registry]` names; all that carry events where it names none
    #[arg(long)]
    pub(crate) all: bool,
}
