//! A rehearsal from its first start to its verdict: the cycles of the schedule on
//! the real process, with clients at work, and then a look at what is left.
//!
//! Not here: what is chosen (`schedule`), and what it comes to (`verdict`).

use std::{
    collections::BTreeMap,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use tapedeck_flow::{Boundary, Stop};

use super::{
    Plan,
    child::{Child, LOOK, Program, Started, was_killed},
    client::{Answer, Client},
    drive::Shared,
    faults::Control,
    load::Name,
    observe::{self, Ends},
    schedule::{Cycle, End, FaultKind, Schedule, Trouble},
};
use crate::{cli::Role, show};

/// How long past its load a process may live that is to end at a boundary; then
/// it is killed where it stands, and counted as not reached.
const SEEK: Duration = Duration::from_secs(5);
/// A probe that a busy process may take.
const PROBE: Duration = Duration::from_secs(2);
/// How often recovery is looked at, and memory.
const PROBE_EVERY: Duration = Duration::from_millis(10);
const MEMORY_EVERY: Duration = Duration::from_millis(100);
/// Poison where dead letters are needed at once, out of a thousand.
const MUCH_POISON_PERMILLE: u64 = 100;
/// How often dead letters are sent again in a life that does so, and how many.
const REDRIVE_EVERY: Duration = Duration::from_millis(100);
const REDRIVE: &[u8] = br#"{"all":true,"limit":50,"force":true,"reason":"rehearsal"}"#;
/// How often a person is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// What happened on the way.
#[derive(Default)]
pub(crate) struct Course {
    /// `kill -9` at random moments.
    pub(crate) kills_at_random: u64,
    /// `kill -9` at boundaries that were reached.
    pub(crate) kills_at: BTreeMap<&'static str, u64>,
    /// Boundaries that were not passed often enough in their cycle.
    pub(crate) not_reached: BTreeMap<&'static str, u64>,
    pub(crate) terminations: u64,
    pub(crate) pauses: u64,
    /// Times that dead letters were sent again.
    pub(crate) redrives: u64,
    /// By what the log or the store did.
    pub(crate) faults: BTreeMap<String, u64>,
    /// From the start of a process to its first served answer.
    pub(crate) answered: Vec<Duration>,
    /// From there to when all was stored that was in the log then.
    pub(crate) caught_up: Vec<Duration>,
    pub(crate) peak_memory_bytes: Option<u64>,
    /// What must not happen and is no matter of counting events.
    pub(crate) problems: Vec<String>,
}

impl Course {
    pub(crate) fn kills(&self) -> u64 {
        self.kills_at_random + self.kills_at.values().sum::<u64>()
    }
}

/// Runs cycles until enough were killed, or the time is over.
pub(crate) struct Stage<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) program: &'a Program,
    pub(crate) shared: &'a Shared,
    pub(crate) stop: &'a Stop,
    pub(crate) course: Course,
    pub(crate) began: Instant,
    pub(crate) told: Instant,
}

/// A process under load, and what is known of its recovery.
struct Life {
    child: Child,
    probe: Client,
    /// When its first answer came.
    served: Instant,
    /// What the recorder must reach to have caught up; none once it has.
    ends: Option<Ends>,
    /// What must be served once it has caught up.
    promised: Vec<Name>,
    probed: Instant,
    weighed: Instant,
    redriven: Instant,
    paused: bool,
}

impl Stage<'_> {
    /// Runs all cycles.
    ///
    /// # Errors
    /// The process cannot be started or asked any more.
    pub(crate) fn run(&mut self) -> anyhow::Result<()> {
        let Plan { seed, kinds, boundaries, longest_trouble, .. } = self.plan;
        if let (true, Some(duration)) = (kinds.contains(&FaultKind::None), self.plan.duration) {
            return self.cycle(&Cycle::calm(duration));
        }
        let mut schedule = Schedule::new(*seed, kinds, boundaries, *longest_trouble);
        while !self.over() {
            let cycle = schedule.cycle();
            self.cycle(&cycle)?;
            self.tell();
        }
        Ok(())
    }

    fn over(&self) -> bool {
        self.stop.requested()
            || self.shared.stop.requested()
            || !self.course.problems.is_empty()
            || self.plan.kills.is_some_and(|kills| self.course.kills() >= kills)
            || self.plan.duration.is_some_and(|duration| self.began.elapsed() >= duration)
    }

    fn cycle(&mut self, cycle: &Cycle) -> anyhow::Result<()> {
        let kill_at = match cycle.end {
            End::KillAt(at) => Some(at),
            _ => None,
        };
        self.program.control(Control::default())?;
        let child = match self.program.start(&self.plan.roles(), kill_at)? {
            Started::Up(child) => child,
            Started::Ended(status) if kill_at.is_some() && was_killed(status) => {
                self.reached(cycle);
                return Ok(());
            }
            Started::Ended(status) => anyhow::bail!("the process did not start ({status}); {}", self.program.tail()),
        };
        if let Some(mut life) = self.serve(child, cycle)? {
            let usual = self.plan.poison_permille;
            let poison = if cycle.needs_poison() { usual.max(MUCH_POISON_PERMILLE) } else { usual };
            self.shared.poison_permille.store(poison, Relaxed);
            self.shared.target.up(&life.child.url);
            let lived = self.live(&mut life, cycle);
            self.shared.target.down();
            if lived? {
                self.end(life, cycle)?;
            }
        }
        Ok(())
    }

    /// Waits for the first served answer; none where the process ended before.
    fn serve(&mut self, mut child: Child, cycle: &Cycle) -> anyhow::Result<Option<Life>> {
        let probe = Client::new(&child.url, PROBE);
        loop {
            if self.has_ended(&mut child, cycle)? {
                return Ok(None);
            }
            if let Answer::Came(200, _) = probe.get("/api/accounts", &[]) {
                break;
            }
            std::thread::sleep(LOOK);
        }
        self.course.answered.push(child.since.elapsed());
        let ends = observe::recorder(&probe).map(|(_, ends)| ends);
        let promised = self.shared.ledger().book.newest_in_log();
        let now = Instant::now();
        let paused = false;
        Ok(Some(Life { child, probe, served: now, ends, promised, probed: now, weighed: now, redriven: now, paused }))
    }

    /// Lets it work, and troubles it; false where it has ended by then.
    fn live(&mut self, life: &mut Life, cycle: &Cycle) -> anyhow::Result<bool> {
        let mut troubled = None;
        let limit = match cycle.end {
            End::KillAt(_) => cycle.load.max(cycle.trouble.map_or(Duration::ZERO, |(_, to, _)| to)) + SEEK,
            _ => cycle.load,
        };
        while life.served.elapsed() < limit && !self.stop.requested() && !self.shared.stop.requested() {
            if self.has_ended(&mut life.child, cycle)? {
                return Ok(false);
            }
            let due = cycle.trouble.filter(|(from, to, _)| (*from..*to).contains(&life.served.elapsed()));
            let wanted = due.map(|(.., trouble)| trouble);
            if wanted != troubled {
                self.trouble(life, wanted)?;
                troubled = wanted;
            }
            self.look_at(life);
            if cycle.redrive && self.plan.poison_permille > 0 {
                self.redrive(life);
            }
            std::thread::sleep(LOOK);
        }
        Ok(true)
    }

    /// Begins a trouble, or ends what there is.
    fn trouble(&mut self, life: &mut Life, trouble: Option<Trouble>) -> anyhow::Result<()> {
        match trouble {
            Some(Trouble::Pause) => {
                self.course.pauses += 1;
                life.child.pause(true)?;
                life.paused = true;
            }
            Some(Trouble::Control(control)) => {
                let what =
                    |fault: super::faults::Fault| fault.to_string().split(':').next().unwrap_or_default().to_owned();
                let name = format!("log={} store={}", what(control.log), what(control.store));
                *self.course.faults.entry(name).or_default() += 1;
                self.program.control(control)?;
            }
            None => {
                self.program.control(Control::default())?;
                if std::mem::take(&mut life.paused) {
                    life.child.pause(false)?;
                }
            }
        }
        Ok(())
    }

    /// How far recovery is, and how much memory it took.
    fn look_at(&mut self, life: &mut Life) {
        if life.weighed.elapsed() >= MEMORY_EVERY {
            life.weighed = Instant::now();
            self.weigh(&life.child);
        }
        if life.paused || life.probed.elapsed() < PROBE_EVERY {
            return;
        }
        life.probed = Instant::now();
        match &life.ends {
            Some(ends) => {
                let Some((next, _)) = observe::recorder(&life.probe) else { return };
                let behind = |(place, end): (&(String, u64), &u64)| next.get(place).is_none_or(|next| next < end);
                if !ends.iter().any(behind) {
                    life.ends = None;
                    self.course.caught_up.push(life.child.since.elapsed());
                }
            }
            None => self.check(life),
        }
    }

    /// What was in the log when the process started must be served by now; one
    /// question a look, so that the load goes on.
    fn check(&mut self, life: &mut Life) {
        let Some(name) = life.promised.pop() else { return };
        match observe::newest(&life.probe, &self.shared.run, &name.key) {
            Some(newest) if newest < name.n => self.course.problems.push(format!(
                "{name} was promised before the start, and {newest} is the newest that is served of its key"
            )),
            Some(_) => {}
            // Busy, or its store is away: asked again.
            None => life.promised.push(name),
        }
    }

    /// Has dead letters sent again, of which there may be none yet.
    fn redrive(&mut self, life: &mut Life) {
        if life.paused || life.redriven.elapsed() < REDRIVE_EVERY {
            return;
        }
        life.redriven = Instant::now();
        if let Answer::Came(202, _) = life.probe.post("/api/admin/dlq/replay", "application/json", REDRIVE) {
            self.course.redrives += 1;
        }
    }

    fn weigh(&mut self, child: &Child) {
        self.course.peak_memory_bytes = self.course.peak_memory_bytes.max(child.peak_memory());
    }

    fn end(&mut self, mut life: Life, cycle: &Cycle) -> anyhow::Result<()> {
        self.weigh(&life.child);
        match cycle.end {
            End::Kill | End::KillAt(_) => {
                if self.has_ended(&mut life.child, cycle)? {
                    return Ok(());
                }
                life.child.kill()?;
                self.course.kills_at_random += 1;
                if let End::KillAt(at) = cycle.end {
                    *self.course.not_reached.entry(at.boundary.name()).or_default() += 1;
                }
            }
            End::Terminate => {
                if life.paused {
                    life.child.pause(false)?;
                }
                self.course.terminations += 1;
                self.terminate(life.child)?;
            }
        }
        Ok(())
    }

    /// Asks a process to stop; a problem where it does not do so in order.
    pub(crate) fn terminate(&mut self, child: Child) -> anyhow::Result<()> {
        match child.terminate()? {
            Some(status) if status.success() => {}
            Some(status) => {
                self.course.problems.push(format!("SIGTERM ended in {status}, not in order; {}", self.program.tail()));
            }
            None => {
                self.course.problems.push(format!("SIGTERM did not end the process in time; {}", self.program.tail()))
            }
        }
        Ok(())
    }

    /// Whether the process has ended; where nobody told it to, that is a problem.
    fn has_ended(&mut self, child: &mut Child, cycle: &Cycle) -> anyhow::Result<bool> {
        let Some(status) = child.ended()? else { return Ok(false) };
        if matches!(cycle.end, End::KillAt(_)) && was_killed(status) {
            self.reached(cycle);
        } else {
            self.course.problems.push(format!("the process ended by itself ({status}); {}", self.program.tail()));
        }
        Ok(true)
    }

    fn reached(&mut self, cycle: &Cycle) {
        if let End::KillAt(at) = cycle.end {
            *self.course.kills_at.entry(Boundary::name(at.boundary)).or_default() += 1;
        }
    }

    fn tell(&mut self) {
        if self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.told = Instant::now();
        let of = self.plan.kills.map_or_else(String::new, |kills| format!(" of {}", show::thousands(kills)));
        let written = self.shared.ledger().book.count(|_| true);
        show::say(&format!(
            "{}{of} kills in {} s, {} events sent",
            show::thousands(self.course.kills()),
            self.began.elapsed().as_secs(),
            show::thousands(written)
        ));
    }
}

impl Plan {
    /// The roles of the process under load.
    pub(crate) fn roles(&self) -> Vec<Role> {
        match self.trading {
            true => Role::ALL.to_vec(),
            false => vec![Role::Recorder, Role::Api],
        }
    }

    /// The same without what makes new events.
    pub(crate) fn roles_at_rest(&self) -> Vec<Role> {
        self.roles().into_iter().filter(|role| *role != Role::Market).collect()
    }
}
