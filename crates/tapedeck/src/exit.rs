//! Exit codes, so that a script knows what happened: 0 done, 1 failed, 2 wrong
//! use (clap's own), 3 wrong config or input, 4 the data folder is taken or
//! unfit, 5 interrupted before the end.
//!
//! Not here: the messages.

use std::process::ExitCode;

/// Wrong config or input: nothing was started.
pub(crate) const INPUT: u8 = 3;
/// The data folder is held by another process, damaged, or too new.
pub(crate) const FOLDER: u8 = 4;
/// Stopped by a signal before the work was done.
pub(crate) const INTERRUPTED: u8 = 5;

/// An error with the exit code it ends in.
#[derive(Debug)]
pub(crate) struct Coded {
    pub(crate) code: u8,
    message: String,
}

impl std::fmt::Display for Coded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Coded {}

impl Coded {
    /// A signal came before the end.
    pub(crate) fn interrupted() -> Self {
        Self { code: INTERRUPTED, message: "stopped before the end; the same command goes on from here".into() }
    }
}

/// A signal came before the end, and nothing is kept of what was done.
pub(crate) fn interrupted(message: impl std::fmt::Display) -> anyhow::Error {
    Coded { code: INTERRUPTED, message: message.to_string() }.into()
}

/// An error of input or config.
pub(crate) fn input(message: impl std::fmt::Display) -> anyhow::Error {
    Coded { code: INPUT, message: message.to_string() }.into()
}

/// An error of the data folder.
pub(crate) fn folder(message: impl std::fmt::Display) -> anyhow::Error {
    Coded { code: FOLDER, message: message.to_string() }.into()
}

/// The exit code of an error.
pub(crate) fn code_of(error: &anyhow::Error) -> ExitCode {
    error.chain().find_map(|cause| cause.downcast_ref::<Coded>()).map_or(ExitCode::FAILURE, |c| ExitCode::from(c.code))
}
