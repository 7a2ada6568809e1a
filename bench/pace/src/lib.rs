//! The load of the benchmarks, the same for the emitter and for its peers: trading
//! decisions of about 1 KB, called for at a steady pace on one thread that never
//! sleeps, and the time of each call.
//!
//! Not here: what is called.

#![expect(clippy::print_stdout, reason = "printing figures is its job")]

pub mod decision;
pub mod laps;
pub mod rates;

use std::{
    hint,
    time::{Duration, Instant},
};

pub use laps::Laps;

/// A pace and how long it is held.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Calls a second; 0 is as fast as they go.
    pub per_s: u64,
    /// For how long.
    pub time: Duration,
}

/// What a run at a pace came to.
#[derive(Debug)]
pub struct Run {
    /// The time of each call.
    pub laps: Laps,
    /// The longest time between two looks at the clock while there was nothing to
    /// do: how long the machine held the thread up by itself.
    pub longest_stall: Duration,
    /// How far behind its due time a call began at most.
    pub latest: Duration,
    /// From the first call to the end of the last.
    pub elapsed: Duration,
}

impl Pace {
    /// How many calls are due in all; at no pace, the most that are kept account of.
    pub fn calls(&self) -> u64 {
        // A call that goes as fast as it can is one that waits for something: ten
        // million are more than any of them made.
        if self.per_s == 0 { 10_000_000 } else { (self.per_s as f64 * self.time.as_secs_f64()) as u64 }
    }

    /// Prepares the load for call `n`, from 0, and calls when it is due. A call that is
    /// late is made at once, so that the rate is kept where the calls allow it; the
    /// run ends with its time, also where calls are left.
    pub fn run<L>(
        &self,
        clock: Clock,
        load: &mut L,
        mut prepare: impl FnMut(&mut L, u64),
        mut call: impl FnMut(&mut L, u64),
    ) -> Run {
        let mut laps = Laps::with_room(self.calls());
        let (mut longest_stall, mut latest) = (Duration::ZERO, Duration::ZERO);
        let began = Instant::now();
        for n in 0..self.calls() {
            let due = match self.per_s {
                0 => Duration::ZERO,
                per_s => Duration::from_nanos((u128::from(n) * 1_000_000_000 / u128::from(per_s)) as u64),
            };
            prepare(load, n);
            let mut before = Instant::now();
            while before - began < due {
                hint::spin_loop();
                let now = Instant::now();
                longest_stall = longest_stall.max(now - before);
                before = now;
            }
            let since = before - began;
            if since > self.time {
                break;
            }
            latest = latest.max(since.saturating_sub(due));
            call(load, n);
            laps.push((Instant::now() - before).saturating_sub(clock.cost));
        }
        Run { laps, longest_stall, latest, elapsed: began.elapsed() }
    }

    /// The same loop with a call that does nothing but burn `work`: what the machine
    /// itself does to a call that is as long.
    pub fn idle(&self, clock: Clock, work: Duration) -> Run {
        self.run(
            clock,
            &mut (),
            |(), _| (),
            |(), _| {
                let began = Instant::now();
                while began.elapsed() + clock.cost < work {
                    hint::spin_loop();
                }
            },
        )
    }
}

impl Run {
    /// One line, and the loop's own troubles.
    pub fn print(&self, what: &str) {
        self.laps.print(what, &format!("  longest stall outside the call {}", laps::show(self.longest_stall)));
    }

    /// Calls a second.
    pub fn rate(&self) -> f64 {
        self.laps.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// The monotonic clock, and what one look at it costs, which is taken off each
/// call's time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The median over many looks.
    pub cost: Duration,
}

impl Clock {
    /// Measures the clock with itself.
    pub fn measure() -> Self {
        const LOOKS: usize = 1_000_000;
        let mut costs: Vec<Duration> = Vec::with_capacity(LOOKS);
        for _ in 0..LOOKS {
            let before = Instant::now();
            costs.push(before.elapsed());
        }
        costs.sort_unstable();
        Self { cost: costs[LOOKS / 2] }
    }

    /// Says what was measured.
    pub fn print(&self) {
        println!("one look at the clock: {} (taken off each call's time)", laps::show(self.cost));
    }
}
