//! How a role on the trading path runs: what it makes is emitted at once, and state,
//! `@at` and offsets follow when that is durable. Without an emitter it is appended
//! before that step.
//!
//! Not here: what a role makes (its handler).

use tapedeck_flow::{
    Emitter, Failure, Phase,
    backoff::Backoff,
    runtime::{self, EmitStep, Handler, LogEffect, LogStep, Setup},
};

/// Runs a role on this thread until somebody asks to stop.
///
/// # Errors
/// Fatal: a person must act, and the text says how.
pub(crate) fn run(
    setup: Setup,
    emitter: Option<&Emitter>,
    handler: impl Handler<Effect = LogEffect>,
) -> Result<(), Failure> {
    let Some(emitter) = emitter else {
        let step = step_of(&setup);
        return runtime::run(setup, handler, step);
    };
    let Some(step) = open(&setup, emitter)? else { return Ok(()) };
    runtime::run(setup, handler, step)
}

/// The step that emits, once what an earlier process left behind is sent; none
/// where somebody asked to stop before.
fn open(setup: &Setup, emitter: &Emitter) -> Result<Option<EmitStep>, Failure> {
    let role = &setup.role;
    let mut backoff = Backoff::default();
    loop {
        match EmitStep::open(step_of(setup), &setup.log, role, emitter, &setup.stop) {
            Err(Failure::Transient(detail)) => {
                tracing::warn!(role, detail, "what was left behind is sent again");
                setup.gauges.set_phase(Phase::Retrying(detail));
                if setup.stop.wait(backoff.next_wait()) {
                    return Ok(None);
                }
            }
            opened => return opened,
        }
    }
}

fn step_of(setup: &Setup) -> LogStep {
    LogStep::new(setup.log.clone(), &setup.role).watched_by(setup.boundaries.clone())
}
