//! The shell of the role: each source on a thread of its own, its events
//! numbered without gaps, appended in batches, and continued after a kill.
//!
//! Not here: what a file or a generator gives.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread,
    time::Duration,
};

use tapedeck_contracts::{Event, EventId, Timestamp, events::Envelope, headers::Seq};
use tapedeck_flow::{Aside, Failure, Gauges, Outbound, Phase, Seat, Stop, backoff::Backoff, boundary::Boundary};
use tapedeck_log::Record;

use super::{
    ROLE, TOPIC,
    bad_input::BadInput,
    check::check,
    config::{MarketConfig, SourceConfig},
    file::SourceEvent,
    generator::GeneratorState,
    input::{Input, begin, hash_files, made_of, subscriptions},
    lines::Progress,
    pace::{Clock, Pace, SystemClock},
    state::{SourceState, load_states},
    stopped::{Stopped, stopped_alert},
};
use crate::Context;

/// How often the seat is kept while the sources work: well within any session.
const KEEP: Duration = Duration::from_millis(100);
/// The first and the longest wait between two tries of an append. It is tried
/// until it works or somebody asks to stop: a source has nothing else to do.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Runs the role until somebody asks to stop. `progress` counts along.
///
/// # Errors
/// A source that cannot go on, with what to do.
pub fn run(
    ctx: &Context,
    config: &MarketConfig,
    sources: &[SourceConfig],
    progress: &Arc<Progress>,
) -> Result<(), Failure> {
    run_with_clock(ctx, config, sources, progress, &SystemClock::default())
}

/// As [`run`], by another clock.
///
/// # Errors
/// A source that cannot go on, with what to do.
pub fn run_with_clock(
    ctx: &Context,
    config: &MarketConfig,
    sources: &[SourceConfig],
    progress: &Arc<Progress>,
    clock: &dyn Clock,
) -> Result<(), Failure> {
    let result = stand_by_and_run(ctx, config, sources, progress, clock);
    ctx.gauges.set_phase(match &result {
        Ok(()) => Phase::Stopped,
        Err(failure) => Phase::Failed(failure.to_string()),
    });
    result
}

fn stand_by_and_run(
    ctx: &Context,
    config: &MarketConfig,
    sources: &[SourceConfig],
    progress: &Arc<Progress>,
    clock: &dyn Clock,
) -> Result<(), Failure> {
    let problems = check(config, sources);
    if !problems.is_empty() {
        return Err(Failure::Fatal(problems.join("\n")));
    }
    let mut backoff = Backoff::default();
    while !ctx.stop.requested() {
        match hold_seat(ctx, config, sources, progress, clock, &mut backoff) {
            Err(failure @ (Failure::Transient(_) | Failure::Fenced(_))) => {
                tracing::warn!(role = ROLE, %failure, "joined again; the sources go on from their state");
                Gauges::add(&ctx.gauges.retries, 1);
                ctx.gauges.set_phase(Phase::Retrying(failure.to_string()));
                ctx.stop.wait(backoff.next_wait());
            }
            ended => return ended,
        }
    }
    Ok(())
}

/// From the seat to the wish to stop, or to a failure.
fn hold_seat(
    ctx: &Context,
    config: &MarketConfig,
    sources: &[SourceConfig],
    progress: &Arc<Progress>,
    clock: &dyn Clock,
    backoff: &mut Backoff,
) -> Result<(), Failure> {
    let mut seat = Seat::join(ctx.log.as_ref(), ROLE, &ctx.member)?;
    // Who was tried again goes on being so until it is at work.
    if !seat.keep()? || ctx.gauges.phase() == Phase::Starting {
        ctx.gauges.set_phase(Phase::Standby);
    }
    while seat.wait(&ctx.stop)? {
        let states = load_states(ctx.log.as_ref())?;
        backoff.reset();
        ctx.gauges.set_phase(Phase::Running);
        run_sources(ctx, config, sources, progress, clock, (&mut seat, &states))?;
        ctx.gauges.set_phase(Phase::Standby);
    }
    Ok(())
}

/// Runs all sources while the seat is held and nobody asks to stop.
fn run_sources(
    ctx: &Context,
    config: &MarketConfig,
    sources: &[SourceConfig],
    progress: &Arc<Progress>,
    clock: &dyn Clock,
    (seat, states): (&mut Seat, &BTreeMap<String, SourceState>),
) -> Result<(), Failure> {
    let stop = Stop::new();
    let lost = AtomicBool::new(false);
    let failed = Mutex::new(None);
    let stopped = Stopped::default();
    thread::scope(|scope| {
        for source in sources {
            let state = states.get(&source.id).cloned();
            let (stop, lost, failed, stopped) = (&stop, &lost, &failed, &stopped);
            scope.spawn(move || {
                let sequencer = Sequencer { ctx, config, source, progress, clock, stop, lost, stopped };
                if let Err(failure) = sequencer.run(state) {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
                    stop.request();
                }
            });
        }
        let kept = loop {
            match seat.keep() {
                Ok(true) => {}
                other => {
                    lost.store(true, SeqCst);
                    break other.map(|_| ());
                }
            }
            if stop.requested() || ctx.stop.wait(KEEP) {
                break Ok(());
            }
        };
        stop.request();
        kept
    })?;
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// One source on its way to the log.
struct Sequencer<'a> {
    ctx: &'a Context,
    config: &'a MarketConfig,
    source: &'a SourceConfig,
    progress: &'a Arc<Progress>,
    clock: &'a dyn Clock,
    stop: &'a Stop,
    /// The seat is lost: another process writes now, and its state is the newer.
    lost: &'a AtomicBool,
    /// What is told of sources that cannot go on.
    stopped: &'a Stopped,
}

/// Records that wait for their append.
struct Batch {
    topic: Arc<str>,
    records: Vec<Record>,
    /// The number of the last one.
    n: u64,
    /// Its event time.
    last_time: Option<Timestamp>,
    /// Where the generator stood after it.
    generator: Option<GeneratorState>,
    /// When the first of them came, on the monotonic clock.
    since_us: i64,
}

impl Default for Batch {
    fn default() -> Self {
        Self { topic: TOPIC.into(), records: Vec::new(), n: 0, last_time: None, generator: None, since_us: 0 }
    }
}

impl Sequencer<'_> {
    fn run(&self, state: Option<SourceState>) -> Result<(), Failure> {
        let Some((mut input, mut state)) = self.prepare(state)? else {
            return Ok(());
        };
        let live = if self.source.start.is_none() { state.started } else { None };
        let mut pace = Pace::new(self.source.speed, live, self.clock);
        let mut batch = Batch { n: state.acked, ..Batch::default() };
        loop {
            let event = match input.next() {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(bad) => {
                    // What stands before the mistake is good.
                    let flushed = self.flush(&mut batch, &mut state)?;
                    return if flushed { self.stop_source(&bad, &mut state) } else { Ok(()) };
                }
            };
            if !self.wait_until_due(&event, pace.as_mut(), &mut batch, &mut state)? {
                // The event in hand was not numbered: it comes again after a start.
                return self.leave(&mut batch, state);
            }
            self.push(&mut batch, event, input.state())?;
            if batch.records.len() >= self.config.append_records && !self.flush(&mut batch, &mut state)? {
                return Ok(());
            }
        }
        if self.flush(&mut batch, &mut state)? {
            state.done = Some(state.acked);
            self.append(vec![state.record(&self.source.id)])?;
            tracing::info!(source = %self.source.id, events = state.acked, "the source is at its end");
        }
        Ok(())
    }

    /// The input, standing before the first event that the log may lack; none
    /// where there is nothing left to do.
    fn prepare(&self, known: Option<SourceState>) -> Result<Option<(Input, SourceState)>, Failure> {
        let hashes = hash_files(self.source)?;
        let made_of = made_of(self.source, &hashes);
        let mut state = match known {
            Some(state) => {
                state.check_same(&self.source.id, &made_of)?;
                state
            }
            None => {
                let started = begin(self.source, self.clock.now());
                let state = SourceState { made_of, started, ..SourceState::default() };
                // Before the first event, so that no event is there whose origin is not known.
                let mut records = subscriptions(self.source, self.clock.now())?;
                records.push(state.record(&self.source.id));
                if !self.append(records)? {
                    return Ok(None);
                }
                state
            }
        };
        self.ctx.gauges.last_seq.fetch_max(state.acked, Relaxed);
        if state.done.is_some() {
            return Ok(None);
        }
        let opened = Input::open(self.source, &state, &hashes, self.progress);
        match opened.and_then(|input| self.skip(input, state.acked)) {
            Ok(input) => Ok(input.map(|input| (input, state))),
            Err(bad) => self.stop_source(&bad, &mut state).map(|()| None),
        }
    }

    /// The input behind its first events; none where somebody asked to stop.
    fn skip(&self, mut input: Input, events: u64) -> Result<Option<Input>, BadInput> {
        for _ in input.given()..events {
            if self.stop.requested() || input.next()?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(input))
    }

    /// Waits for an event's time, and writes meanwhile what waited long enough;
    /// false where somebody asked to stop.
    fn wait_until_due(
        &self,
        event: &SourceEvent,
        pace: Option<&mut Pace>,
        batch: &mut Batch,
        state: &mut SourceState,
    ) -> Result<bool, Failure> {
        let Some(pace) = pace else { return Ok(!self.stop.requested()) };
        let age = i64::try_from(self.config.append_age_ms).unwrap_or(i64::MAX).saturating_mul(1_000);
        loop {
            if self.stop.requested() {
                return Ok(false);
            }
            let wait = pace.due_in(event.data.timestamp, self.clock);
            let mut left = wait;
            if !batch.records.is_empty() {
                let due_us = batch.since_us.saturating_add(age).saturating_sub(self.clock.monotonic_us());
                left = left.min(Duration::from_micros(u64::try_from(due_us).unwrap_or(0)));
                if left.is_zero() && due_us <= 0 && !self.flush(batch, state)? {
                    return Ok(false);
                }
            }
            if wait.is_zero() {
                return Ok(true);
            }
            if !left.is_zero() {
                self.clock.wait(self.stop, left);
            }
        }
    }

    fn push(&self, batch: &mut Batch, event: SourceEvent, generator: Option<GeneratorState>) -> Result<(), Failure> {
        if batch.records.is_empty() {
            batch.since_us = self.clock.monotonic_us();
        }
        batch.n += 1;
        batch.last_time = Some(event.data.timestamp);
        batch.generator = generator;
        let id = EventId::from_file(&event.input, event.line);
        let envelope = Envelope { timestamp: event.data.timestamp, producer_service: ROLE.into(), data: event.data };
        let mut outbound = Outbound::first(Arc::clone(&batch.topic), id, Event::MarketData(Box::new(envelope)));
        outbound.correlation_id = Some(outbound.id.0.clone());
        outbound.seq = Some(Seq { source: self.source.id.clone(), n: batch.n });
        batch.records.push(outbound.into_record(ROLE)?);
        Ok(())
    }

    /// Appends what waits, with the state up to the append before; false where
    /// somebody asked to stop before the log took it.
    fn flush(&self, batch: &mut Batch, state: &mut SourceState) -> Result<bool, Failure> {
        if batch.records.is_empty() {
            return Ok(true);
        }
        state.stopped = None;
        let mut records = std::mem::take(&mut batch.records);
        let count = records.len();
        records.push(state.record(&self.source.id));
        if !self.append(records)? {
            return Ok(false);
        }
        state.acked = batch.n;
        state.last_time = batch.last_time;
        state.generator = batch.generator.take();
        self.ctx.gauges.last_seq.fetch_max(batch.n, Relaxed);
        Gauges::add(&self.ctx.gauges.records, count);
        Gauges::add(&self.ctx.gauges.batches, 1);
        Gauges::add(&self.progress.events, count);
        Ok(true)
    }

    /// The input has a mistake: live, this source ends here, which its state and
    /// one alert say, and the others go on; a replay ends.
    fn stop_source(&self, bad: &BadInput, state: &mut SourceState) -> Result<(), Failure> {
        if self.ctx.aside == Aside::Stop {
            return Err(bad.clone().into());
        }
        let why = bad.to_string();
        let message = self.stopped.tell(self.ctx, &self.source.id, &why, state.acked);
        if state.stopped.as_ref() != Some(&why) {
            state.stopped = Some(why);
            let alert = stopped_alert(&self.source.id, state, message, self.clock.now()).into_record(ROLE)?;
            self.append(vec![alert, state.record(&self.source.id)])?;
        }
        Ok(())
    }

    /// Writes what is numbered and how far that is, and goes.
    fn leave(&self, batch: &mut Batch, mut state: SourceState) -> Result<(), Failure> {
        if !self.lost.load(SeqCst) && self.flush(batch, &mut state)? {
            self.append(vec![state.record(&self.source.id)])?;
        }
        Ok(())
    }

    /// Appends until the log has it; false where somebody asked to stop before.
    fn append(&self, records: Vec<Record>) -> Result<bool, Failure> {
        let mut backoff = RETRY.0;
        loop {
            match self.ctx.log.append_kept(&records) {
                Ok(_) => {
                    self.ctx.boundaries.pass(Boundary::Append);
                    if backoff > RETRY.0 {
                        self.ctx.gauges.set_phase(Phase::Running);
                    }
                    return Ok(true);
                }
                Err(error) if error.is_transient() => {
                    tracing::warn!(source = %self.source.id, %error, "append failed, trying again");
                    self.ctx.gauges.set_phase(Phase::Retrying(error.to_string()));
                    Gauges::add(&self.ctx.gauges.retries, 1);
                    if self.clock.wait(self.stop, backoff) {
                        return Ok(false);
                    }
                    backoff = (backoff * 2).min(RETRY.1);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
