//! `tapedeck topics` as clap sees it.
//!
//! Not here: what the commands do.

use clap::{Args, Subcommand};

use super::Role;

const APPLY_HELP: &str = "It makes what is missing and sets retention and clean-up. It never takes partitions or \
copies away, deletes only what --delete names, and adds partitions only to what --allow-grow names: keys lie elsewhere \
afterwards, so that order by key, the state of roles and the test for duplicates do not hold for what is there.

Examples:
  tapedeck topics apply --dry-run
  tapedeck topics apply
  tapedeck topics apply --allow-grow audit-logs
  tapedeck topics apply --delete old-topic";

const ACLS_HELP: &str = "Each role gets a principal of its own: the prefix and the role's name. A process that runs \
several roles has one principal, which --principal names. Without --apply nothing is changed: what is printed can be \
run, or given to who may.

Examples:
  tapedeck topics acls
  tapedeck topics acls --roles recorder,api --principal User:ops --json
  tapedeck topics acls --principal-prefix User:prod- --apply";

#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// All topics with partitions, records and bytes
    List,
    /// One topic, by partition
    Describe {
        /// The topic
        topic: String,
    },
    /// What differs between the catalogue and the cluster, and what `apply` would do
    Plan,
    /// Make the difference between the catalogue and the cluster
    #[command(after_help = APPLY_HELP)]
    Apply(ApplyArgs),
    /// Ends and rates, again and again
    #[command(after_help = "Examples:\n  tapedeck topics watch\n  tapedeck topics watch exec.reports.v1 --every 1s")]
    Watch(WatchArgs),
    /// The rights that each role needs on a secured cluster
    #[command(after_help = ACLS_HELP)]
    Acls(AclsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Topics that may get more partitions
    #[arg(long, value_name = "TOPIC", num_args = 1..)]
    pub(crate) allow_grow: Vec<String>,
    /// Topics to delete with all that they hold
    #[arg(long, value_name = "TOPIC", num_args = 1..)]
    pub(crate) delete: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Which topics; all that hold something where absent
    pub(crate) topics: Vec<String>,
    /// How often it looks
    #[arg(long, default_value = "2s", value_name = "TIME")]
    pub(crate) every: String,
    /// End after so many looks
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) looks: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct AclsArgs {
    /// Which roles; all where absent
    #[arg(long, value_delimiter = ',', value_name = "ROLE,…")]
    pub(crate) roles: Vec<Role>,
    /// What stands before a role's name in its principal
    #[arg(long, default_value = "User:tapedeck-", value_name = "TEXT")]
    pub(crate) principal_prefix: String,
    /// One principal for all these roles
    #[arg(long, value_name = "NAME", conflicts_with = "principal_prefix")]
    pub(crate) principal: Option<String>,
    /// Give the rights, as somebody who may
    #[arg(long)]
    pub(crate) apply: bool,
}
