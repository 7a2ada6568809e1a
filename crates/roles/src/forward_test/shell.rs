//! The forward-test role: waits until it is the active one, takes its state,
//! and goes read, join, apply, transact, until it is told to stop. What it
//! applied and did not transact is forgotten whenever something fails, so that
//! trying again gives the same.
//!
//! Not here: the order of the inputs (`join`), and what they do (`core`).

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use tapedeck_flow::{Failure, Gauges, Phase, Seat, backoff::Backoff};

use super::BrokerSetup;
use crate::Context;

#[cfg(test)]
mod flaky;
mod inputs;
mod open;
mod step;
#[cfg(test)]
mod tests;

pub use open::source_ended;
use step::Active;

/// The role's name in groups, state topics and `ce_source`.
pub const ROLE: &str = "forward-test";
/// A record that ends its step by the same panic so often will always do so.
const SAME_PANICS: u32 = 5;
/// A record that was refused is reached once more with everything before it
/// transacted, so that only what lies behind it waits.
const SAME_REFUSALS: u32 = 2;
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
    /// Whether the strategy role runs anywhere; without, no price waits.
    pub strategies: bool,
}

/// How the active process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// It was asked to stop, and everything applied is visible.
    Stopped,
    /// Another process is the active one.
    SeatLost,
}

/// A record that ended a step.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trouble {
    /// Where it lies, or what it was where it lies nowhere.
    place: String,
    /// What the broker said of it.
    detail: String,
    panicked: bool,
    times: u32,
}

/// Why the active process could not go on.
#[derive(Debug)]
enum Broken {
    /// Said by the log, or of a record that cannot be read.
    Failed(Failure),
    /// The broker refused a record, or panicked over it.
    Refused { place: String, detail: String, panicked: bool },
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
        let mut trouble: Option<Trouble> = None;
        while !self.context.stop.requested() {
            let broken = match self.hold_seat(&mut trouble, &mut backoff) {
                Ok(Left::Stopped) => return Ok(()),
                Ok(Left::SeatLost) => continue,
                Err(broken) => broken,
            };
            match broken {
                Broken::Failed(Failure::Fatal(detail)) => return Err(Failure::Fatal(detail)),
                Broken::Failed(failure) => {
                    tracing::warn!(role = ROLE, %failure, "state dropped, read again");
                    Gauges::add(&self.context.gauges.retries, 1);
                    self.context.gauges.set_phase(Phase::Retrying(failure.to_string()));
                    self.context.stop.wait(backoff.next_wait());
                }
                Broken::Refused { place, detail, panicked } => {
                    let now = counted(trouble.take(), place, detail, panicked);
                    let most = if panicked { SAME_PANICS } else { SAME_REFUSALS };
                    if now.times >= most {
                        return self.blocked(&now.place, &format!("{}: {}", now.place, now.detail));
                    }
                    tracing::warn!(role = ROLE, place = now.place, detail = now.detail, "state dropped, read again");
                    trouble = Some(now);
                }
            }
        }
        Ok(())
    }

    /// From the seat to its end. Whatever is in memory is dropped with it.
    fn hold_seat(&self, trouble: &mut Option<Trouble>, backoff: &mut Backoff) -> Result<Left, Broken> {
        let mut seat = Seat::join(&*self.context.log, ROLE, &self.context.member)?;
        // Who was tried again goes on being so until it is at work.
        if !seat.keep()? || self.context.gauges.phase() == Phase::Starting {
            self.context.gauges.set_phase(Phase::Standby);
        }
        if !seat.wait(&self.context.stop)? {
            return Ok(Left::Stopped);
        }
        let mut active = Active::open(&self.context, &self.setup, &self.join)?;
        self.context.gauges.set_phase(Phase::Running);
        loop {
            if self.context.stop.requested() {
                active.flush(&mut seat)?;
                return Ok(Left::Stopped);
            }
            if !seat.keep()? {
                return Ok(Left::SeatLost);
            }
            // A step that led to trouble is taken in single events, so that all
            // before the record that caused it is visible.
            let careful = trouble.is_some();
            let stepped = catch_unwind(AssertUnwindSafe(|| active.step(&mut seat, careful)));
            match stepped {
                Ok(step) => step?,
                Err(panic) => {
                    return Err(Broken::Refused { place: active.at(), detail: text_of(&*panic), panicked: true });
                }
            }
            backoff.reset();
            if trouble.as_ref().is_some_and(|trouble| active.is_past(&trouble.place)) {
                *trouble = None;
            }
        }
    }

    /// A record cannot be applied: nothing behind it may be, so the role waits
    /// for a person, keeps its seat and answers the wish to stop.
    fn blocked(&self, place: &str, what: &str) -> Result<(), Failure> {
        Gauges::add(&self.context.gauges.poison, 1);
        let text = format!("{what}. {}", remedy(place));
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

/// What follows the words on a record that cannot be applied; only one that lies
/// in the log can be given up.
fn remedy(place: &str) -> String {
    let stopped = "The paper broker stopped before this record, since the order of what follows depends on it; \
         everything before it is kept. Correct what the message names and start again";
    match place.split('/').count() {
        3 => format!(
            "{stopped}; or, where the record can never be applied, stop the process and give it up: `tapedeck groups \
             skip tapedeck.{ROLE} {place} --reason \"...\"`"
        ),
        _ => stopped.to_owned(),
    }
}

fn counted(before: Option<Trouble>, place: String, detail: String, panicked: bool) -> Trouble {
    let now = Trouble { place, detail, panicked, times: 1 };
    match before {
        Some(before) if Trouble { times: 1, ..before.clone() } == now => Trouble { times: before.times + 1, ..now },
        _ => now,
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    format!("the broker panicked: {}", text.unwrap_or("without a message"))
}
