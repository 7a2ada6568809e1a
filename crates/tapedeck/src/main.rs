//! tapedeck: the event backbone of a trading operation, in one binary. This is
//! the door: it reads the command line and the environment, and ends with an
//! exit code that means something.
//!
//! Not here: what the commands do (`commands`), and how the parts are put
//! together (`deck`).

use std::{collections::BTreeMap, process::ExitCode};

use clap::Parser;

/// Events are made on one thread and dropped on another, many small pieces each:
/// what the system's allocator does slowly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod admin;
mod awaited;
mod backends;
mod chaos;
mod cli;
mod commands;
mod config;
mod decides;
mod deck;
mod digest;
mod emitters;
mod exit;
mod explains;
mod folder;
mod framing;
mod known_topics;
mod migrate;
mod priority;
mod replay;
mod show;
mod topics;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let variables = environment();
    init_tracing(&cli, &variables);
    match commands::run(cli, &variables) {
        Ok(code) => code,
        Err(error) => {
            let code = exit::code_of(&error);
            show::complain(&error);
            code
        }
    }
}

/// The only place that reads the environment. Whole, since secrets are referred to
/// by any name.
#[expect(clippy::disallowed_methods, reason = "this is the binary's config")]
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn init_tracing(cli: &cli::Cli, variables: &BTreeMap<String, String>) {
    let level = variables.get("TAPEDECK_LOG").map_or(if cli.verbose { "info" } else { "warn" }, String::as_str);
    let filter =
        tracing_subscriber::EnvFilter::try_new(level).unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_ansi(show::has_terminal());
    if cli.json_logs { builder.json().init() } else { builder.compact().init() }
}
