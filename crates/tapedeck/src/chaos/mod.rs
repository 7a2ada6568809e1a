//! Rehearsals: the real binary under load, killed, paused and starved by a seeded
//! schedule, and at the end an account of what was lost.
//!
//! Not here: flags and help (`cli`, `commands::chaos`).

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tapedeck_flow::{Boundary, Stop};

use crate::{backends::OwnNames, config::Config, exit, show};

mod child;
mod client;
mod drive;
mod faults;
mod ledger;
mod load;
mod observe;
pub(crate) mod rehearsal;
mod report;
mod run;
mod schedule;
mod setup;
mod verdict;

pub(crate) use report::Report;
pub(crate) use schedule::FaultKind;

use child::{Program, Started};
use client::Client;
use drive::{Lane, Shared, Target};
use ledger::{Book, Ledger};
use load::{Ack, Run};
use report::{Kills, Spread};
use run::{Course, Stage};
use verdict::Verdict;

/// Reading a long history page by page is not to be mistaken for no answer.
const ASK: Duration = Duration::from_secs(60);
/// The part of the load that is alerts: one event of so many.
const ALERTS_IN: u64 = 10;
/// Keys of a client.
const KEYS: u64 = 4;

/// What a rehearsal is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Until so many were killed.
    pub(crate) kills: Option<u64>,
    /// At most so long, without the look at what is left.
    pub(crate) duration: Option<Duration>,
    /// Events a second, all clients together.
    pub(crate) rate: u64,
    pub(crate) seed: u64,
    pub(crate) kinds: Vec<FaultKind>,
    pub(crate) boundaries: Vec<Boundary>,
    pub(crate) poison_permille: u64,
    pub(crate) longest_trouble: Duration,
    /// A generated market, strategies and a paper account beside the load.
    pub(crate) trading: bool,
    /// Keep the folder also where all is well.
    pub(crate) keep: bool,
}

/// A rehearsal on a folder.
pub(crate) struct Rehearse {
    plan: Plan,
    program: Program,
    run: Run,
    /// The folder goes with it where all is well.
    own: Option<tempfile::TempDir>,
    stop: Stop,
}

impl Rehearse {
    /// Prepares a rehearsal in a folder, or in one of its own.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn new(
        plan: Plan,
        config: Config,
        data: Option<PathBuf>,
        hidden: Vec<String>,
        stop: Stop,
    ) -> anyhow::Result<Self> {
        let own = match &data {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("tapedeck-chaos-").tempdir().map_err(exit::folder)?),
        };
        let data = data.or_else(|| own.as_ref().map(|own| own.path().to_owned())).context("a folder")?;
        let id = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let work = data.join(format!("chaos-{id}"));
        std::fs::create_dir_all(&work).map_err(|error| {
            exit::folder(format!("cannot write in {}: {error}; give another folder with --data", data.display()))
        })?;
        // To the second: what is stored has microseconds, and no more.
        let now = jiff::Timestamp::now().round(jiff::Unit::Second).context("a clock within the calendar")?;
        let run = Run { id, time: now.to_string() };
        let program = Program { data, work, hidden };
        // On a cluster a rehearsal shares nothing with what runs there.
        OwnNames::give(&program.data, &config, "chaos")?;
        let text = toml::to_string_pretty(&setup::config(config, &program.data)?)?;
        std::fs::write(program.config(), text)?;
        Ok(Self { plan, program, run, own, stop })
    }

    /// Runs it, and looks at what is left.
    ///
    /// # Errors
    /// The process cannot be started or asked any more; the folder is kept then.
    pub(crate) fn perform(self) -> anyhow::Result<Report> {
        let path = self.program.work.join("ledger.txt");
        let ledger = Ledger::create(&path, &self.run)?;
        let result = self.load_and_look(ledger, &path);
        self.finish(result, path)
    }

    /// Compares an earlier ledger with what its folder serves now.
    ///
    /// # Errors
    /// The ledger makes no sense, or the process cannot be asked.
    pub(crate) fn verify(mut self, ledger: &Path) -> anyhow::Result<Report> {
        let (run, book) = ledger::read(ledger).map_err(|error| exit::input(format!("{error:#}")))?;
        self.run = run;
        let mut course = Course::default();
        let result = self.look(&book, &mut course).map(|looked| (looked, course, Duration::ZERO));
        let result = result.map(|(looked, course, elapsed)| self.report(looked, &course, elapsed, ledger));
        self.finish(result, ledger.to_owned())
    }

    fn load_and_look(&self, ledger: Ledger, path: &Path) -> anyhow::Result<Report> {
        let began = Instant::now();
        let shared = Shared {
            run: self.run.clone(),
            ledger: Mutex::new(ledger),
            target: Target::default(),
            stop: Stop::new(),
            poison_permille: AtomicU64::new(self.plan.poison_permille),
        };
        let mut course = self.load(&shared, began)?;
        show::say("looking at what is left");
        let looked = self.look(&shared.ledger().book, &mut course);
        looked.map(|looked| self.report(looked, &course, began.elapsed(), path))
    }

    /// The cycles, with clients at work.
    fn load(&self, shared: &Shared, began: Instant) -> anyhow::Result<Course> {
        let Self { plan, program, stop, .. } = self;
        let mut stage = Stage { plan, program, shared, stop, course: Course::default(), began, told: began };
        std::thread::scope(|scope| {
            let lanes: Vec<_> = self
                .lanes()
                .into_iter()
                .map(|mut lane| {
                    scope.spawn(move || {
                        let result = lane.run(shared);
                        // One client less is another load: the rehearsal ends, and says why.
                        shared.stop.request();
                        result
                    })
                })
                .collect();
            let ran = stage.run();
            shared.stop.request();
            for lane in lanes {
                if let Err(error) = lane.join().expect("a client does not panic") {
                    stage.course.problems.push(format!("a client: {error:#}"));
                }
            }
            ran.map(|()| stage.course)
        })
    }

    /// Two clients that ask for the log, one that asks for the spool, one of alerts.
    fn lanes(&self) -> Vec<Lane> {
        let Plan { rate, seed, .. } = self.plan;
        let keys =
            |letter: char, client: u64| (client * KEYS..(client + 1) * KEYS).map(move |n| format!("{letter}{n:02}"));
        let alerts = rate / ALERTS_IN;
        let each = (rate - alerts) / 3;
        vec![
            Lane::new(Ack::Log, keys('L', 0), each, seed),
            Lane::new(Ack::Log, keys('L', 1), each, seed),
            Lane::new(setup::SECOND_PROMISE, keys('P', 0), each, seed),
            Lane::new(Ack::Log, keys('A', 0).take(1), alerts, seed),
        ]
    }

    /// Starts the process once more without anything that makes events, waits
    /// until it is at rest, and reads all that it serves.
    fn look(&self, book: &Book, course: &mut Course) -> anyhow::Result<Looked> {
        self.program.control(faults::Control::default())?;
        let child = match self.program.start(&self.plan.roles_at_rest(), None)? {
            Started::Up(child) => child,
            Started::Ended(status) => anyhow::bail!("the process did not start ({status}); {}", self.program.tail()),
        };
        let client = Client::new(&child.url, ASK);
        // What does not come to rest is a problem, and what is served is compared all the same.
        if let Err(why) = observe::settle(&client) {
            course.problems.push(format!("{why:#}"));
        }
        let verdict = Verdict::of(book, &observe::seen(&client, &self.run)?);
        let trading = match self.plan.trading {
            true => Some(observe::trading(&client, setup::PAPER)?),
            false => None,
        };
        if let Some(trading) = trading.as_ref().filter(|trading| !trading.holds()) {
            course.problems.push(format!("the paper account is not whole: {trading:?}"));
        }
        course.peak_memory_bytes = course.peak_memory_bytes.max(child.peak_memory());
        match child.terminate()? {
            Some(status) if status.success() => {}
            ended => course.problems.push(format!("SIGTERM at rest ended in {ended:?}; {}", self.program.tail())),
        }
        Ok(Looked { verdict, trading })
    }

    fn report(&self, looked: Looked, course: &Course, elapsed: Duration, ledger: &Path) -> Report {
        let ok = looked.verdict.holds() && course.problems.is_empty();
        Report {
            ok,
            seed: self.plan.seed,
            run: self.run.id.clone(),
            elapsed_s: (elapsed.as_secs_f64() * 10.0).round() / 10.0,
            kills: Kills::of(course),
            terminations: course.terminations,
            pauses: course.pauses,
            redrives: course.redrives,
            faults: course.faults.clone(),
            verdict: looked.verdict,
            trading: looked.trading,
            answered_ms: Spread::of(&course.answered),
            caught_up_ms: Spread::of(&course.caught_up),
            peak_memory_bytes: course.peak_memory_bytes,
            data_bytes: child::bytes_in(&self.program.data),
            problems: course.problems.clone(),
            data: self.program.data.clone(),
            ledger: ledger.to_owned(),
            kept: self.own.is_none() || self.plan.keep || !ok,
        }
    }

    /// Keeps the folder where something is to be seen in it.
    fn finish(self, result: anyhow::Result<Report>, ledger: PathBuf) -> anyhow::Result<Report> {
        let kept = result.as_ref().map_or(true, |report| report.kept);
        if kept && let Some(own) = self.own {
            let _ = own.keep();
        }
        result.with_context(|| {
            format!(
                "the rehearsal did not come to its end; kept: {}, ledger {}",
                self.program.data.display(),
                ledger.display()
            )
        })
    }
}

/// What was found at the end.
struct Looked {
    verdict: Verdict,
    trading: Option<observe::Trading>,
}

/// The boundaries that a process passes under the load of a rehearsal.
pub(crate) fn boundaries(poison_permille: u64) -> Vec<Boundary> {
    let of_poison = [Boundary::DeadLetter, Boundary::Redrive];
    Boundary::ALL.into_iter().filter(|boundary| poison_permille > 0 || !of_poison.contains(boundary)).collect()
}
