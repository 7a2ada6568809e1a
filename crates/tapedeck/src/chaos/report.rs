//! The report of a rehearsal: one JSON value, or a table.
//!
//! Not here: how its figures come about.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Serialize;

use super::{observe::Trading, run::Course, verdict::Verdict};
use crate::show;

/// What happened, and what came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Nothing lost, nothing twice, all in order, and no problem.
    pub(crate) ok: bool,
    pub(crate) seed: u64,
    pub(crate) run: String,
    pub(crate) elapsed_s: f64,
    pub(crate) kills: Kills,
    pub(crate) terminations: u64,
    pub(crate) pauses: u64,
    /// Times that dead letters were sent again.
    pub(crate) redrives: u64,
    pub(crate) faults: BTreeMap<String, u64>,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
    pub(crate) trading: Option<Trading>,
    /// From the start of a process to its first served answer.
    pub(crate) answered_ms: Option<Spread>,
    /// From the start of a process until all that was in the log then is stored.
    pub(crate) caught_up_ms: Option<Spread>,
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) data_bytes: u64,
    pub(crate) problems: Vec<String>,
    pub(crate) data: PathBuf,
    pub(crate) ledger: PathBuf,
    /// Whether the folder is still there.
    pub(crate) kept: bool,
}

/// `kill -9`, by where.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Kills {
    pub(crate) all: u64,
    pub(crate) at_random: u64,
    pub(crate) at_boundaries: BTreeMap<&'static str, u64>,
    /// Cycles in which a boundary was not passed often enough; killed at random.
    pub(crate) not_reached: BTreeMap<&'static str, u64>,
}

impl Kills {
    pub(crate) fn of(course: &Course) -> Self {
        Self {
            all: course.kills(),
            at_random: course.kills_at_random,
            at_boundaries: course.kills_at.clone(),
            not_reached: course.not_reached.clone(),
        }
    }
}

/// How a time spreads, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) samples: usize,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// None without samples.
    pub(crate) fn of(samples: &[Duration]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        let ms = |time: &Duration| (time.as_secs_f64() * 1e4).round() / 10.0;
        // The smallest sample that so many of a hundred do not exceed.
        let at = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).map(ms);
        Some(Self { samples: sorted.len(), p50: at(50)?, p95: at(95)?, max: at(100)? })
    }
}

impl Report {
    /// Shows it to a person.
    pub(crate) fn print(&self) {
        let mut rows = Vec::new();
        let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
        let number = show::thousands;
        let (kills, verdict, dead) = (&self.kills, &self.verdict, &self.verdict.dead_letters);
        row("seed", self.seed.to_string());
        row("kill -9", format!("{} ({} at random)", number(kills.all), number(kills.at_random)));
        for (boundary, count) in &kills.at_boundaries {
            let missed =
                kills.not_reached.get(boundary).map_or_else(String::new, |n| format!(" (not reached {n} times)"));
            row(&format!("  at {boundary}"), format!("{}{missed}", number(*count)));
        }
        for (boundary, count) in kills.not_reached.iter().filter(|(name, _)| !kills.at_boundaries.contains_key(*name)) {
            row(&format!("  at {boundary}"), format!("0 (not reached {count} times)"));
        }
        row("SIGTERM", number(self.terminations));
        row("SIGSTOP", number(self.pauses));
        row("redrives", number(self.redrives));
        for (fault, count) in &self.faults {
            row(fault, number(*count));
        }
        row("written", number(verdict.written));
        row("acknowledged (log)", number(verdict.acknowledged));
        row("accepted (spool)", number(verdict.accepted));
        row("without an answer", number(verdict.unknown));
        row("stored", number(verdict.stored));
        row("lost", number(verdict.lost));
        row("visible twice", number(verdict.twice));
        row("out of order", number(verdict.out_of_order));
        row("never sent", number(verdict.never_sent));
        row("dead-lettered", format!("{} of {} expected", number(dead.found), number(dead.expected)));
        row("dead-lettered wrongly", number(dead.unexpected));
        if let Some(trading) = &self.trading {
            row("paper executions", number(trading.executions));
            row("  missing, twice", format!("{}, {}", trading.missing, trading.twice));
            row("  money off", trading.money_off.clone());
        }
        for (name, spread) in [("to first answer, ms", self.answered_ms), ("to caught up, ms", self.caught_up_ms)] {
            if let Some(Spread { samples, p50, p95, max }) = spread {
                row(name, format!("p50 {p50}, p95 {p95}, max {max} ({samples} starts)"));
            }
        }
        if let Some(bytes) = self.peak_memory_bytes {
            row("peak memory", mib(bytes));
        }
        row("data folder", mib(self.data_bytes));
        row("took", format!("{} s", self.elapsed_s));
        show::table(&["figure", "value"], &rows);
        self.explain();
    }

    /// What is wrong, and where to look.
    fn explain(&self) {
        for (what, names) in &self.verdict.examples {
            show::out(&format!("{}: {}", what.replace('_', " "), names.join(", ")));
        }
        for problem in &self.problems {
            show::out(&format!("problem: {problem}"));
        }
        if self.ok {
            show::out("nothing lost, nothing twice, all in order");
        }
        if self.kept {
            let (data, ledger) = (self.data.display(), self.ledger.display());
            show::out(&format!(
                "kept: {data}\n  tapedeck chaos --verify {ledger} --data {data}   compares again\n  tapedeck up --roles \
                 recorder,api --data {data}   serves it"
            ));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a size for people")]
fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_samples_that_were_seen() {
        let samples: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(Spread::of(&samples), Some(Spread { samples: 100, p50: 50.0, p95: 95.0, max: 100.0 }));
        assert_eq!(Spread::of(&[]), None);
    }
}
