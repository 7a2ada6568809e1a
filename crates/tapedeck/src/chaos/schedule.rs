//! The schedule: from a seed, what happens to the process in each cycle of its
//! life, and when. The same seed gives the same schedule.
//!
//! Not here: doing it (`run`).

use std::time::Duration;

use clap::ValueEnum;
use rand_pcg::{Pcg64, rand_core::Rng};
use tapedeck_flow::Boundary;

use super::{
    faults::{Control, Fault},
    rehearsal::KillAt,
};

/// How long a cycle runs under load, in ms: long enough that every role is at
/// work, short enough for a thousand cycles in half an hour.
const LOAD_MS: (u64, u64) = (150, 700);
/// One cycle in so many is also paused or starved.
const TROUBLE_IN: u64 = 3;
/// In one cycle of so many, dead letters are sent again.
const REDRIVE_IN: u64 = 8;
/// The shortest such trouble, in ms.
const TROUBLE_MIN_MS: u64 = 50;
/// How long the log is away for a boundary of the spool, at most, in ms.
const AWAY_MS: u64 = 1_000;
/// A slow part answers after 5 s at most: half of the deadline of a call.
const SLOW_MAX_MS: u64 = 5_000;
/// A boundary is passed at most so many times before the process ends there: about
/// what it is passed in a second of load.
const fn passes(boundary: Boundary) -> u64 {
    match boundary {
        Boundary::Ring => 100,
        Boundary::Append => 60,
        Boundary::Apply | Boundary::Commit => 30,
        Boundary::SpoolWrite | Boundary::Redrive => 6,
        Boundary::CatchUp => 3,
        Boundary::DeadLetter => 2,
    }
}

/// A kind of fault that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub(crate) enum FaultKind {
    /// `kill -9` at a random moment
    Kill,
    /// `kill -9` between two named steps of delivery
    Boundary,
    /// SIGSTOP for a while, then SIGCONT
    Pause,
    /// SIGTERM, and a start after the orderly end
    Term,
    /// The store stops, or slows down
    Store,
    /// The log stops, slows down, or refuses as a full disk does
    Log,
    /// Nothing, and by itself: one process lives to the end, while others break
    /// what it runs on
    None,
}

/// How a life of the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Kill,
    KillAt(KillAt),
    Terminate,
}

/// What happens on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Pause,
    Control(Control),
}

/// One life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cycle {
    /// From the first served answer to the end.
    pub(crate) load: Duration,
    /// From when to when, after the first served answer, and what.
    pub(crate) trouble: Option<(Duration, Duration, Trouble)>,
    pub(crate) end: End,
    /// Dead letters are sent again meanwhile.
    pub(crate) redrive: bool,
}

/// Cycles without end.
pub(crate) struct Schedule {
    rng: Pcg64,
    kinds: Vec<FaultKind>,
    longest_trouble_ms: u64,
    boundaries: Vec<Boundary>,
    /// What is left of a round of all boundaries.
    round: Vec<Boundary>,
}

impl Cycle {
    /// A life without troubles, and an orderly end.
    pub(crate) fn calm(load: Duration) -> Self {
        Self { load, trouble: None, end: End::Terminate, redrive: false }
    }

    /// Whether its end needs dead letters to be written.
    pub(crate) fn needs_poison(&self) -> bool {
        is_at(&self.end, &[Boundary::DeadLetter, Boundary::Redrive])
    }
}

impl Schedule {
    /// Cycles of a seed, of these kinds of faults and these boundaries.
    pub(crate) fn new(seed: u64, kinds: &[FaultKind], boundaries: &[Boundary], longest_trouble: Duration) -> Self {
        Self {
            rng: Pcg64::new(u128::from(seed), 1),
            kinds: kinds.to_vec(),
            longest_trouble_ms: u64::try_from(longest_trouble.as_millis()).unwrap_or(u64::MAX).max(TROUBLE_MIN_MS),
            boundaries: boundaries.to_vec(),
            round: Vec::new(),
        }
    }

    /// The next cycle.
    pub(crate) fn cycle(&mut self) -> Cycle {
        let end = self.end();
        let load = self.between(LOAD_MS);
        let trouble = self.troubled(&end).then(|| self.trouble(&end)).flatten().map(|trouble| {
            let (at, lasts) = match needs_trouble(&end) {
                // What must be gone for its boundary, is so from the start; long
                // enough that its loss is noticed, and for the one not before the end.
                true if is_at(&end, &[Boundary::SpoolWrite]) => (0, load + AWAY_MS),
                true => (0, self.between((AWAY_MS / 2, AWAY_MS))),
                false => (self.between((0, load)), self.between((TROUBLE_MIN_MS, self.longest_trouble_ms))),
            };
            (Duration::from_millis(at), Duration::from_millis(at + lasts), trouble)
        });
        let mut load = Duration::from_millis(load);
        // Every other end waits for the end of the trouble, the others may meet it.
        if let Some((_, to, _)) = trouble
            && (self.rng.next_u64().is_multiple_of(2) || self.only_troubles())
        {
            load += to;
        }
        let redrive = self.rng.next_u64().is_multiple_of(REDRIVE_IN) || is_at(&end, &[Boundary::Redrive]);
        Cycle { load, trouble, end, redrive }
    }

    /// Whether this cycle is troubled on its way.
    fn troubled(&mut self, end: &End) -> bool {
        self.rng.next_u64().is_multiple_of(TROUBLE_IN) || needs_trouble(end) || self.only_troubles()
    }

    /// Whether no end of the process was asked for.
    fn only_troubles(&self) -> bool {
        !self.kinds.iter().any(|kind| matches!(kind, FaultKind::Kill | FaultKind::Boundary | FaultKind::Term))
    }

    fn end(&mut self) -> End {
        // Two kills at random and two at a boundary for each orderly end.
        let ends: Vec<FaultKind> =
            [FaultKind::Kill, FaultKind::Boundary, FaultKind::Kill, FaultKind::Boundary, FaultKind::Term]
                .into_iter()
                .filter(|kind| self.kinds.contains(kind))
                .filter(|kind| *kind != FaultKind::Boundary || !self.boundaries.is_empty())
                .collect();
        match ends.get(self.below(ends.len())) {
            Some(FaultKind::Kill) => End::Kill,
            Some(FaultKind::Boundary) => {
                let boundary = self.boundary();
                End::KillAt(KillAt { boundary, nth: 1 + self.rng.next_u64() % passes(boundary) })
            }
            // With pauses and starving alone, a life must end too.
            _ => End::Terminate,
        }
    }

    /// Each boundary once before any comes again.
    fn boundary(&mut self) -> Boundary {
        if self.round.is_empty() {
            self.round.clone_from(&self.boundaries);
        }
        let at = self.below(self.round.len());
        self.round.swap_remove(at)
    }

    fn trouble(&mut self, end: &End) -> Option<Trouble> {
        if needs_trouble(end) {
            return Some(Trouble::Control(Control { log: Fault::Stopped, ..Control::default() }));
        }
        let kinds: Vec<FaultKind> = [FaultKind::Pause, FaultKind::Store, FaultKind::Log]
            .into_iter()
            .filter(|kind| self.kinds.contains(kind))
            .collect();
        let kind = kinds.get(self.below(kinds.len())).copied()?;
        let slow =
            Fault::Slow(Duration::from_millis(self.between((10, (self.longest_trouble_ms / 2).min(SLOW_MAX_MS)))));
        Some(match (kind, self.below(3)) {
            (FaultKind::Store, 0) => Trouble::Control(Control { store: slow, ..Control::default() }),
            (FaultKind::Store, _) => Trouble::Control(Control { store: Fault::Stopped, ..Control::default() }),
            (FaultKind::Log, 0) => Trouble::Control(Control { log: slow, ..Control::default() }),
            (FaultKind::Log, 1) => Trouble::Control(Control { log: Fault::Full, ..Control::default() }),
            (FaultKind::Log, _) => Trouble::Control(Control { log: Fault::Stopped, ..Control::default() }),
            _ => Trouble::Pause,
        })
    }

    fn below(&mut self, n: usize) -> usize {
        (self.rng.next_u64() % n.max(1) as u64) as usize
    }

    fn between(&mut self, (from, to): (u64, u64)) -> u64 {
        from + self.rng.next_u64() % (to.max(from) - from + 1)
    }
}

/// Whether a boundary is passed only while the log cannot be reached, or after.
fn needs_trouble(end: &End) -> bool {
    is_at(end, &[Boundary::SpoolWrite, Boundary::CatchUp])
}

fn is_at(end: &End, boundaries: &[Boundary]) -> bool {
    matches!(end, End::KillAt(at) if boundaries.contains(&at.boundary))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const ALL: [FaultKind; 6] =
        [FaultKind::Kill, FaultKind::Boundary, FaultKind::Pause, FaultKind::Term, FaultKind::Store, FaultKind::Log];

    fn cycles(seed: u64, kinds: &[FaultKind], n: usize) -> Vec<Cycle> {
        let mut schedule = Schedule::new(seed, kinds, &Boundary::ALL, Duration::from_millis(600));
        (0..n).map(|_| schedule.cycle()).collect()
    }

    #[test]
    fn a_seed_gives_the_same_schedule_again_and_another_seed_another() {
        assert_eq!(cycles(7, &ALL, 200), cycles(7, &ALL, 200));
        assert_ne!(cycles(7, &ALL, 200), cycles(8, &ALL, 200));
    }

    #[test]
    fn every_boundary_comes_once_before_any_comes_again() {
        let named = cycles(3, &ALL, 400).into_iter().filter_map(|cycle| match cycle.end {
            End::KillAt(at) => Some(at.boundary.name()),
            _ => None,
        });
        let named: Vec<_> = named.collect();
        for round in named.chunks_exact(Boundary::ALL.len()) {
            let counted = round.iter().fold(BTreeMap::new(), |mut counted, name| {
                *counted.entry(name).or_insert(0) += 1;
                counted
            });
            assert_eq!(counted.len(), Boundary::ALL.len(), "{round:?}");
        }
        assert!(named.len() > 100);
    }

    #[test]
    fn only_the_kinds_that_were_asked_for_come() {
        for cycle in cycles(5, &[FaultKind::Kill], 200) {
            assert_eq!((cycle.end, cycle.trouble), (End::Kill, None));
        }
        for cycle in cycles(5, &[FaultKind::Pause], 200) {
            assert_eq!(cycle.end, End::Terminate);
            // It is let go on before the end.
            assert!(cycle.trouble.is_some_and(|(_, to, trouble)| trouble == Trouble::Pause && to < cycle.load));
        }
    }

    #[test]
    fn the_log_is_away_where_a_boundary_of_the_spool_is_sought() {
        for cycle in cycles(9, &[FaultKind::Boundary], 200) {
            let End::KillAt(at) = cycle.end else { panic!("{cycle:?}") };
            let away = matches!(cycle.trouble, Some((.., Trouble::Control(Control { log: Fault::Stopped, .. }))));
            assert_eq!(away, matches!(at.boundary, Boundary::SpoolWrite | Boundary::CatchUp), "{cycle:?}");
        }
    }
}
