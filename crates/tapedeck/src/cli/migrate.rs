//! `tapedeck migrate` as clap sees it.
//!
//! Not here: moving.

use std::path::PathBuf;

use clap::Args;

pub(super) const HELP: &str =
    "The source is the folder of --data (or of --from's data.dir), with no process at work in \
it. Topics, keys, headers, times, committed offsets, the state of roles and the store's rows are copied, read back and \
compared; nothing of the source is changed. A run that was ended goes on with the same command. docs/cluster.md says \
what becomes of offsets.

Examples:
  tapedeck migrate --to cluster.toml --dry-run
  tapedeck migrate --to cluster.toml --from tapedeck.toml
  tapedeck migrate --to cluster.toml --data tapedeck-data --json

Exit codes: 0 all is equal, 1 something differs or failed, 3 the target is not empty, 4 the folder is taken.";

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Config of the cluster: log.kind "kafka", store.kind "postgres"
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
    /// Config of what is moved; --config or the defaults where absent
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// Look through the source and say what would be moved
    #[arg(long)]
    pub(crate) dry_run: bool,
}
