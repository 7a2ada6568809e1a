//! The forward-test role: waits until it is the active one, takes its state,
//! and goes read, join, apply, transact, until it is told to stop. What it
//! applied and did not transact is forgotten whenever something fails, so that
//! trying again gives the same.
//!
//! Not here: the order of the inputs (`join`), and what they do (`core`).

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use tapedeck_contracts::headers::Place;
use tapedeck_flow::{Failure, Gauges, Phase, Seat, backoff::Backoff, inbound::place_of};
use tapedeck_log::LogRecord;

use super::BrokerSetup;
use crate::Context;

mod decoder;
#[cfg(test)]
mod flaky;
mod guarded;
mod inputs;
mod letters;
mod open;
mod scan;
mod step;
#[cfg(test)]
mod tests;

pub use open::source_ended;
use step::Active;

/// The role's name in groups, state topics and `ce_source`.
pub const ROLE: &str = "forward-test";
/// Panics in a row outside of the broker's core, after which the next one is not
/// waited for.
const PANICS: u32 = 5;
/// How often a role that cannot go on looks after its seat.
const BLOCKED_TICK: Duration = Duration::from_millis(100);

/// How the role joins its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinConfig {
    /// Live: how long a price waits for its signals, and a hole for its number.
    pub join_wait_ms: u64,
    /// Market events in one transact.
    pub batch_max_events: usize,
    /// Waits without end instead: a replay is evidence.
    pub replay: bool,
    /// Whether the strategy role makes signals anywhere; without, no price waits for
    /// them.
    pub strategies: bool,
    /// Whether the inference role makes decisions anywhere; where they are traded, a
    /// price waits for them.
    pub decides: bool,
}

/// How the active process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// It was asked to stop, and everything applied is visible.
    Stopped,
    /// Another process is the active one.
    SeatLost,
}

/// What the broker will not take and what may not be set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
struct GivenUp {
    /// Where it lies, or what it is where it lies nowhere.
    place: String,
    /// What the broker said of it.
    detail: String,
}

/// Why the active process could not go on.
#[derive(Debug)]
enum Broken {
    /// Said by the log.
    Failed(Failure),
    /// The broker refused this, or panicked over it.
    Refused(GivenUp),
    /// Something else panicked.
    Panicked(GivenUp),
}

impl<F: Into<Failure>> From<F> for Broken {
    fn from(failure: F) -> Self {
        Self::Failed(failure.into())
    }
}

/// Runs the role until it is asked to stop.
///
/// # Errors
/// Fatal ones, which a person must end; everything else is tried again. A record
/// that cannot be applied leaves the role in [`Phase::Blocked`], where it only
/// answers the wish to stop.
pub fn run(context: Context, setup: BrokerSetup, join: JoinConfig) -> Result<(), Failure> {
    let role = Role { context, setup, join };
    let ended = role.serve();
    match &ended {
        Ok(()) if matches!(role.context.gauges.phase(), Phase::Blocked(_)) => {}
        Ok(()) => role.context.gauges.set_phase(Phase::Stopped),
        Err(failure) => role.context.gauges.set_phase(Phase::Failed(failure.to_string())),
    }
    ended
}

struct Role {
    context: Context,
    setup: BrokerSetup,
    join: JoinConfig,
}

impl Role {
    fn serve(&self) -> Result<(), Failure> {
        let mut backoff = Backoff::default();
        let mut panics = 0;
        let mut given_up: Option<GivenUp> = None;
        while !self.context.stop.requested() {
            let broken = match self.hold_seat(given_up.as_ref(), &mut backoff, &mut panics) {
                Ok(Left::Stopped) => return Ok(()),
                Ok(Left::SeatLost) => continue,
                Err(broken) => broken,
            };
            let why = match broken {
                Broken::Failed(Failure::Fatal(detail)) => return Err(Failure::Fatal(detail)),
                Broken::Failed(failure) => failure.to_string(),
                // A record is the end of its partition when it is read again, and
                // then everything before it is made visible.
                Broken::Refused(what) if what.lies_in_the_log() && given_up.as_ref() != Some(&what) => {
                    let why = what.to_string();
                    given_up = Some(what);
                    why
                }
                Broken::Refused(what) => return self.blocked(&what),
                Broken::Panicked(what) => {
                    panics += 1;
                    if panics >= PANICS {
                        return self.blocked(&what);
                    }
                    what.to_string()
                }
            };
            tracing::warn!(role = ROLE, why, "state dropped, read again");
            Gauges::add(&self.context.gauges.retries, 1);
            self.context.gauges.set_phase(Phase::Retrying(why));
            self.context.stop.wait(backoff.next_wait());
        }
        Ok(())
    }

    /// From the seat to its end. Whatever is in memory is dropped with it.
    fn hold_seat(&self, given_up: Option<&GivenUp>, backoff: &mut Backoff, panics: &mut u32) -> Result<Left, Broken> {
        let mut seat = Seat::join(&*self.context.log, ROLE, &self.context.member)?;
        // Who was tried again goes on being so until it is at work.
        if !seat.keep()? || self.context.gauges.phase() == Phase::Starting {
            self.context.gauges.set_phase(Phase::Standby);
        }
        if !seat.wait(&self.context.stop)? {
            return Ok(Left::Stopped);
        }
        if self.context.gauges.phase() == Phase::Standby {
            // Nobody else is: reading the state and the ids of a long log takes seconds.
            self.context.gauges.set_phase(Phase::Starting);
        }
        let mut active = Active::open(&self.context, &self.setup, &self.join, given_up.cloned())?;
        self.context.gauges.set_phase(Phase::Running);
        loop {
            if self.context.stop.requested() {
                active.flush(&mut seat)?;
                return Ok(Left::Stopped);
            }
            if !seat.keep()? {
                return Ok(Left::SeatLost);
            }
            match catch_unwind(AssertUnwindSafe(|| active.step(&mut seat))) {
                Ok(step) => step?,
                Err(panic) => {
                    return Err(Broken::Panicked(GivenUp { place: active.at(), detail: text_of(&*panic) }));
                }
            }
            backoff.reset();
            *panics = 0;
        }
    }

    /// A record cannot be applied: nothing behind it may be, so the role waits
    /// for a person, keeps its seat and answers the wish to stop.
    fn blocked(&self, what: &GivenUp) -> Result<(), Failure> {
        Gauges::add(&self.context.gauges.poison, 1);
        let text = format!("{what}. {}", remedy(&what.place));
        tracing::error!(role = ROLE, "{text}");
        self.context.gauges.set_phase(Phase::Blocked(text));
        let mut seat = Seat::join(&*self.context.log, ROLE, &self.context.member)?;
        while !self.context.stop.wait(BLOCKED_TICK) {
            if let Err(failure) = seat.keep() {
                tracing::warn!(role = ROLE, %failure, "the seat of a blocked role");
            }
        }
        Ok(())
    }
}

impl GivenUp {
    fn lies_in_the_log(&self) -> bool {
        Place::parse(&self.place).is_some()
    }

    /// Whether it is this record.
    fn is(&self, record: &LogRecord) -> bool {
        place_of(record).to_string() == self.place
    }
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.detail)
    }
}

/// What follows the words on a record that cannot be applied; only one that lies
/// in the log can be given up.
fn remedy(place: &str) -> String {
    let stopped = "The paper broker stopped before this record, since the order of what follows depends on it; \
         everything before it is kept. Correct what the message names and start again";
    match Place::parse(place) {
        Some(_) => format!(
            "{stopped}; or, where the record can never be applied, stop the process and give it up: `tapedeck groups \
             skip tapedeck.{ROLE} {place} --reason \"...\"`"
        ),
        None => stopped.to_owned(),
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    format!("the broker panicked: {}", text.unwrap_or("without a message"))
}
