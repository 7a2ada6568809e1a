//! The commands: what each line of `--help` does.
//!
//! Not here: flags and help texts (`cli`), and the parts put together (`deck`).

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use tapedeck_flow::Stop;

use crate::{
    chaos::rehearsal::Rehearsal,
    cli::{Cli, Command, ConfigCommand},
    config::{self, Config},
    exit, show,
};

mod audit;
mod bench;
mod chaos;
mod consume;
mod demo;
mod dlq;
mod explain;
mod groups;
mod migrate;
mod model;
mod produce;
mod re_decide;
mod replay;
mod schema;
mod topics;
mod up;

/// Does what the command line asks for.
///
/// # Errors
/// What went wrong and what to do; some carry an exit code of their own.
pub(crate) fn run(cli: Cli, variables: &BTreeMap<String, String>) -> anyhow::Result<ExitCode> {
    if let Command::Config(ConfigCommand::Show { defaults: true }) = &cli.command {
        show::out(include_str!("../../default.toml").trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let mut config = config::load(cli.config.as_deref(), variables).map_err(exit::input)?;
    if let Some(dir) = &cli.data {
        config.data.dir.clone_from(dir);
    }
    let json = cli.json;
    match cli.command {
        Command::Config(command) => check_or_show(&config, &command, cli.config, json),
        Command::Up(args) => up::run(&checked(config)?, &args, &Rehearsal::of(variables).map_err(exit::input)?, json),
        Command::Demo(args) => demo::run(config, cli.config.as_deref(), cli.data, &args, json),
        Command::Replay(args) if args.past.decisions => re_decide::run(&config, &args, json),
        Command::Replay(args) => replay::run(config, cli.data, &args, json),
        Command::Topics(command) => topics::run(&config, &command, json),
        Command::Groups(command) => groups::run(&config, &command, json),
        Command::Dlq(command) => dlq::run(&config, &command, json),
        Command::Schema(command) => schema::run(&config, &command, json),
        Command::Produce(args) => produce::run(&config, &args, json),
        Command::Consume(args) => consume::run(&config, &args, json),
        Command::Migrate(args) => migrate::run(config, cli.data, &args, variables, json),
        Command::Explain(args) => explain::run(&config, &args, json),
        Command::Audit(command) => audit::run(&config, &command, json),
        Command::Model(command) => model::run(&command, json),
        Command::Bench(args) => bench::run(&config, &args, json),
        Command::Chaos(args) => chaos::run(config, cli.data, &args, variables, json),
    }
}

/// The config, where nothing is wrong with it.
///
/// # Errors
/// Everything that is wrong, a line each.
pub(crate) fn checked(config: Config) -> anyhow::Result<Config> {
    let wrong = config.check();
    if wrong.is_empty() {
        Ok(config)
    } else {
        Err(exit::input(format!("the config is wrong:\n  {}", wrong.join("\n  "))))
    }
}

fn check_or_show(
    config: &Config,
    command: &ConfigCommand,
    file: Option<PathBuf>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Check => {
            checked(config.clone())?;
            let idle = config.idle();
            let what = file.map_or("the defaults".to_owned(), |file| file.display().to_string());
            if json {
                show::json(&serde_json::json!({ "ok": true, "config": what, "idle": idle }));
            } else {
                idle.iter().for_each(|text| show::say(&format!("note: {text}")));
                show::out(&format!("{what}: ok"));
            }
        }
        ConfigCommand::Show { .. } if json => show::json(config),
        ConfigCommand::Show { .. } => show::out(toml::to_string_pretty(config)?.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Turns the first SIGTERM or Ctrl-C into the wish to stop, and the second into
/// an end at once: the log and the store bear it.
///
/// # Errors
/// The system takes no signal handlers.
pub(crate) fn stop_on_signals(stop: &Stop) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let stop = stop.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for (count, _) in signals.forever().enumerate() {
            if count > 0 {
                std::process::exit(i32::from(exit::INTERRUPTED));
            }
            stop.request();
        }
    })?;
    Ok(())
}
