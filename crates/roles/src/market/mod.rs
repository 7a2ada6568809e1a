//! The market role: files and generators become numbered market events.
//!
//! Not here: strategies and fills.

mod bad_input;
mod check;
mod columns;
pub mod config;
mod csv_line;
mod file;
mod generator;
mod input;
mod inspect;
mod lines;
mod merge;
mod ndjson;
mod pace;
mod rows;
mod sequencer;
mod state;
mod stopped;
#[cfg(test)]
mod testing;
mod times;

pub use bad_input::BadInput;
pub use check::check;
pub use columns::Field;
pub use file::SourceEvent;
pub use generator::{Generator, GeneratorState, Regime};
pub use inspect::{FileSummary, inspect};
pub use lines::Progress;
pub use pace::{Clock, SystemClock};
pub use sequencer::{run, run_with_clock};
pub use state::{SourceState, load_states};
pub use times::parse_interval;

/// The role's name in groups, state topics and `producer_service`.
pub const ROLE: &str = "market";
/// Where market events are written.
pub const TOPIC: &str = "market-data-updates";
