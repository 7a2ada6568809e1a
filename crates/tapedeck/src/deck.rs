//! The parts put together: a data folder with its log and store, the roles on
//! their threads, the api, and the way to an orderly end.
//!
//! Not here: what the roles do, and the commands that use a deck.

use std::{
    collections::BTreeSet,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use tapedeck_api::{Decides, Deps, Server};
use tapedeck_flow::{
    Aside, Boundaries, Budget, DeliveryConfig, Failure, Gauges, Phase, Stop,
    emitter::{Emitter, Producer},
};
use tapedeck_log::{Log, TopicConfig};
use tapedeck_roles::{
    Context, forensics, forward_test,
    inference::{self, Models},
    market, recorder, strategy,
};
use tapedeck_store::{Retention, Store};

use crate::{
    awaited::Later,
    backends::{self, LOG_FILE, STORE_FILE},
    chaos::rehearsal::Rehearsal,
    cli::Role,
    config::{Config, LogKind, StoreKind},
    decides::Answers,
    emitters::Emitters,
    exit,
    explains::Why,
    folder::Folder,
    framing::{self, Framing},
    priority,
};

/// What a replay remembers of itself; its folder keeps everything.
pub(crate) const REPLAY_FILE: &str = "replay.json";

/// What a stop may take, as the contract says: SIGTERM to the end.
const DRAIN: Duration = Duration::from_secs(10);
/// How often it is looked whether threads have ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A role at work.
struct Running {
    role: Role,
    gauges: Arc<Gauges>,
    thread: JoinHandle<()>,
}

/// A folder with its log and store open, and what runs on them.
pub(crate) struct Deck {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) stop: Stop,
    awaited: Later,
    boundaries: Boundaries,
    framing: Framing,
    emitters: Emitters,
    /// The memory of all roles.
    budget: Arc<Budget>,
    /// The specialists, once for all who decide, answer questions or explain.
    models: Option<Arc<Models>>,
    running: Vec<Running>,
    server: Option<Server>,
    // Last, so that the folder is given back when all else is closed.
    folder: Folder,
}

impl Deck {
    /// Opens log and store in a folder, and makes the catalogue's topics.
    ///
    /// # Errors
    /// The folder's files are damaged, too new, or cannot be written; a server does
    /// not answer, or refuses.
    pub(crate) fn open(folder: Folder, config: &Config, stop: Stop) -> anyhow::Result<Self> {
        let (log, store) = Self::parts(&folder, config)?;
        backends::refuse_half_moved(folder.dir(), config, Some(&*log), &*store)?;
        backends::make_topics(&*log, config, &wanted_topics(&folder, config))?;
        Self::of(folder, config, stop, (log, store, Later::default()), &Rehearsal::default())
    }

    /// The same to look inside: topics of a cluster stay as they are.
    ///
    /// # Errors
    /// Those of [`Deck::open`].
    pub(crate) fn open_to_look(folder: Folder, config: &Config, stop: Stop) -> anyhow::Result<Self> {
        if config.log.kind == LogKind::Embedded {
            return Self::open(folder, config, stop);
        }
        let (log, store) = Self::parts(&folder, config)?;
        Self::of(folder, config, stop, (log, store, Later::default()), &Rehearsal::default())
    }

    /// The same to run for good: servers that are away are waited for, and what is
    /// emitted is kept meanwhile. With the faults of a rehearsal around log and store.
    ///
    /// # Errors
    /// Those of [`Deck::open`], but for servers that do not answer.
    pub(crate) fn open_to_stay(
        folder: Folder,
        config: &Config,
        stop: Stop,
        rehearsal: &Rehearsal,
    ) -> anyhow::Result<Self> {
        let (dir, wanted, mut later) = (folder.dir(), wanted_topics(&folder, config), Later::default());
        let store: Arc<dyn Store> = match config.store.kind {
            StoreKind::Sqlite => Self::store(&folder, config)?,
            StoreKind::Postgres => {
                let awaited = later.store.insert(backends::await_store(dir, config, stop.clone())?);
                Arc::clone(awaited) as Arc<dyn Store>
            }
        };
        let log: Arc<dyn Log> = match config.log.kind {
            LogKind::Embedded => {
                let log = backends::open_log(dir, config)?;
                backends::make_topics(&*log, config, &wanted)?;
                log
            }
            LogKind::Kafka => {
                let awaited = later.log.insert(backends::await_log(dir, config, wanted, stop.clone())?);
                Arc::clone(awaited) as Arc<dyn Log>
            }
        };
        Self::of(folder, config, stop, (log, store, later), rehearsal)
    }

    fn parts(folder: &Folder, config: &Config) -> anyhow::Result<(Arc<dyn Log>, Arc<dyn Store>)> {
        let store = Self::store(folder, config)?;
        Ok((backends::open_log(folder.dir(), config)?, store))
    }

    fn store(folder: &Folder, config: &Config) -> anyhow::Result<Arc<dyn Store>> {
        let dir = folder.dir();
        let is_embedded = config.log.kind == LogKind::Embedded && config.store.kind == StoreKind::Sqlite;
        if is_embedded && dir.join(LOG_FILE).exists() && !dir.join(STORE_FILE).exists() {
            tracing::warn!(
                "{} has a log and no store: the store is made anew, and the recorder fills it from what the log still holds",
                dir.display()
            );
        }
        backends::open_store(dir, config)
    }

    fn of(
        folder: Folder,
        config: &Config,
        stop: Stop,
        (log, store, awaited): Opened,
        rehearsal: &Rehearsal,
    ) -> anyhow::Result<Self> {
        let (log, store, boundaries) = (rehearsal.log(log), rehearsal.store(store), rehearsal.boundaries());
        let (log, framing) = framing::before(log, config)?;
        Ok(Self {
            emitters: Emitters::on(&log, folder.dir(), config, wanted_topics(&folder, config)),
            log,
            store,
            stop,
            awaited,
            boundaries,
            framing,
            budget: Arc::new(Budget::new(config.delivery.memory_cap_bytes)),
            models: None,
            running: Vec::new(),
            server: None,
            folder,
        })
    }

    /// Starts roles, each on a thread of its own; the api last, so that it can
    /// tell how the others stand.
    ///
    /// # Errors
    /// The api cannot listen.
    pub(crate) fn start(&mut self, config: &Config, roles: &[Role], mode: Mode) -> anyhow::Result<()> {
        self.framing.prepare()?;
        self.models = models_for(config, roles)?;
        for role in roles.iter().copied().filter(|role| *role != Role::Api) {
            self.spawn(role, config, mode)?;
        }
        if mode == Mode::Live && !roles.contains(&Role::Inference) {
            self.follow_models(config)?;
        }
        if roles.contains(&Role::Recorder) {
            let (store, stop, rules) = (Arc::clone(&self.store), self.stop.clone(), retention(config));
            let awaited = self.awaited.of(Role::Recorder);
            std::thread::Builder::new().name("retention".into()).spawn(move || {
                if awaited.wait(&stop)
                    && let Err(failure) = recorder::run_retention(&*store, &rules, &stop)
                {
                    tracing::error!("old rows are not deleted any more: {failure}");
                }
            })?;
        }
        if roles.contains(&Role::Api) {
            // With it, what an earlier process left is sent too, before anything newer.
            let producer = self.emitter(Role::Api, config)?.producer().map_err(exit::folder)?;
            self.serve_with(config, Some(producer))?;
        }
        Ok(())
    }

    /// Keeps the models up to date where inference, which else does, runs elsewhere.
    fn follow_models(&self, config: &Config) -> anyhow::Result<()> {
        let Some(models) = self.models.clone() else { return Ok(()) };
        let (log, stop, awaited) = (Arc::clone(&self.log), self.stop.clone(), self.awaited.of(Role::Inference));
        let wait_s = config.inference_section.models.wait_s;
        std::thread::Builder::new().name("models".into()).spawn(move || {
            if !awaited.wait(&stop) {
                return;
            }
            if let Err(failure) = inference::shell::follow(log, models, wait_s, &stop, &Gauges::default()) {
                tracing::error!("models that are announced are not loaded here any more: {failure}");
            }
        })?;
        Ok(())
    }

    /// Serves the api to the command line: nothing is emitted.
    ///
    /// # Errors
    /// The address is taken, or not ours to listen on.
    pub(crate) fn serve(&mut self, config: &Config) -> anyhow::Result<()> {
        self.serve_with(config, None)
    }

    fn serve_with(&mut self, config: &Config, producer: Option<Producer>) -> anyhow::Result<()> {
        let deps = Deps {
            log: Arc::clone(&self.log),
            store: Arc::clone(&self.store),
            boundaries: self.boundaries.clone(),
            instruments: config.instruments.iter().map(|instrument| instrument_info(instrument, config)).collect(),
            roles: self.running.iter().map(|r| (r.role.name().to_owned(), Arc::clone(&r.gauges))).collect(),
            decides: self.decides(config).filter(|_| producer.is_some()),
            producer,
            memory_cap_bytes: config.delivery.memory_cap_bytes as u64,
            emitters: self.emitters.stats(),
            explains: Some(Arc::new(Why::new(self.models.clone(), config.inference()))),
            cursor_key: match config.cursor_secret() {
                Some(secret) => Sha256::digest(secret).into(),
                None => self.folder.cursor_key()?,
            },
            stop: self.stop.clone(),
        };
        let server = tapedeck_api::serve(deps, config.api.clone(), config.ws.clone()).map_err(exit::input)?;
        self.folder.publish(&format!("http://{}", server.addr()))?;
        self.server = Some(server);
        Ok(())
    }

    /// Who answers questions for decisions.
    fn decides(&self, config: &Config) -> Option<Arc<dyn Decides>> {
        let models = self.models.clone()?;
        let section = config.inference();
        let mut accounts: BTreeSet<String> = config.sessions.iter().map(|session| session.account.clone()).collect();
        if !accounts.is_empty() {
            accounts.extend(section.account.clone());
        }
        let symbols = config.instruments.iter().map(|instrument| instrument.symbol.clone()).collect();
        Some(Arc::new(Answers { config: section, models, accounts, symbols }))
    }

    /// Where the api listens.
    pub(crate) fn url(&self) -> Option<String> {
        self.server.as_ref().map(|server| format!("http://{}", server.addr()))
    }

    /// The gauges of a role that runs here.
    pub(crate) fn gauges(&self, role: Role) -> Option<&Gauges> {
        self.running.iter().find(|running| running.role == role).map(|running| &*running.gauges)
    }

    /// The first role that failed or cannot go on, and why; not one that only
    /// tries again.
    pub(crate) fn trouble(&self) -> Option<(Role, String)> {
        self.running.iter().find_map(|running| match running.gauges.phase() {
            Phase::Failed(why) | Phase::Blocked(why) => Some((running.role, why)),
            _ => None,
        })
    }

    /// The first role that ended with an error, and why.
    pub(crate) fn failed(&self) -> Option<(Role, String)> {
        self.running.iter().find_map(|running| match running.gauges.phase() {
            Phase::Failed(why) => Some((running.role, why)),
            _ => None,
        })
    }

    /// Why log or store could not be opened, where they were waited for and cannot be had.
    pub(crate) fn late_failure(&self) -> Option<anyhow::Error> {
        self.awaited.failure()
    }

    /// Asks all to stop and waits: each takes no more, makes visible what it
    /// handled, and leaves. What does not end in time is left behind: log and
    /// store bear the end of the process at any moment.
    pub(crate) fn shut_down(mut self) {
        self.stop.request();
        let began = Instant::now();
        while self.running.iter().any(|running| !running.thread.is_finished()) && began.elapsed() < DRAIN {
            std::thread::sleep(LOOK_EVERY);
        }
        for running in self.running.drain(..) {
            if running.thread.is_finished() {
                // A panic of the thread was written down by the panic hook.
                let _ = running.thread.join();
            } else {
                tracing::error!(role = running.role.name(), "did not end within {DRAIN:?}; it is left behind");
            }
        }
        if let Some(server) = self.server.take() {
            server.join();
        }
        // After all who emit, so that nothing is emitted behind their backs.
        self.emitters.close(began + DRAIN);
    }

    fn emitter(&mut self, role: Role, config: &Config) -> anyhow::Result<Arc<Emitter>> {
        self.emitters.open(role.name(), &config.emitter, self.boundaries.clone())
    }

    fn spawn(&mut self, role: Role, config: &Config, mode: Mode) -> anyhow::Result<()> {
        let gauges = Arc::new(Gauges::default());
        let context = Context {
            log: Arc::clone(&self.log),
            stop: self.stop.clone(),
            member: format!("{}-{}", role.name(), self.folder.member()?),
            gauges: Arc::clone(&gauges),
            boundaries: self.boundaries.clone(),
            aside: match mode {
                Mode::Live => Aside::DeadLetter,
                Mode::Replay => Aside::Stop,
            },
            emitter: emits(role, config).then(|| self.emitter(role, config)).transpose()?,
            budget: Arc::clone(&self.budget),
        };
        let work = self.work_of(role, context, config, mode);
        let (own, stop, awaited) = (Arc::clone(&gauges), self.stop.clone(), self.awaited.of(role));
        let thread = std::thread::Builder::new().name(role.name().into()).spawn(move || {
            if !awaited.wait(&stop) {
                return own.set_phase(Phase::Stopped);
            }
            if role == Role::Forensics {
                priority::let_others_first();
            }
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
                .unwrap_or_else(|_| Err(Failure::Fatal("the role panicked; the lines above say where".into())));
            match ended {
                // A role that is blocked says why until the end.
                Ok(()) if matches!(own.phase(), Phase::Blocked(_)) => {}
                Ok(()) => own.set_phase(Phase::Stopped),
                Err(failure) => {
                    own.set_phase(Phase::Failed(failure.to_string()));
                    // A role that cannot go on must be seen: the process ends, and says why.
                    stop.request();
                }
            }
        })?;
        self.running.push(Running { role, gauges, thread });
        Ok(())
    }

    /// What the thread of a role does.
    fn work_of(&self, role: Role, context: Context, config: &Config, mode: Mode) -> Work {
        let config = config.clone();
        match role {
            Role::Market => Box::new(move || market::run(&context, &config.market, &config.sources, &Arc::default())),
            Role::Strategy => {
                Box::new(move || strategy::shell::run(context, config.strategies_of_sources(), config.delivery))
            }
            Role::Inference => {
                let models = self.models.clone().expect("they are opened where inference runs");
                Box::new(move || inference_work(context, &config, models, mode))
            }
            Role::ForwardTest => Box::new(move || {
                let join = forward_test::shell::JoinConfig {
                    join_wait_ms: config.broker.join_wait_ms,
                    batch_max_events: config.broker.batch_max_events,
                    replay: mode == Mode::Replay,
                    strategies: !config.strategies.is_empty(),
                    decides: config.decides(),
                };
                forward_test::shell::run(context, config.broker_setup(), join)
            }),
            Role::Forensics => {
                let (store, models) =
                    (Arc::clone(&self.store), self.models.clone().expect("they are opened where forensics runs"));
                // As long as inference waits for a file that it is told of.
                let wait_s = config.inference_section.models.wait_s;
                let record_wait = (wait_s > 0).then_some(Duration::from_secs(wait_s));
                let delivery = DeliveryConfig { record_wait, ..config.delivery };
                Box::new(move || forensics::run(context, store, models, delivery))
            }
            Role::Recorder => {
                let store = Arc::clone(&self.store);
                Box::new(move || recorder::run(context, store, config.delivery))
            }
            Role::Api => Box::new(|| Ok(())),
        }
    }
}

/// Decides, or only keeps the models up to date where nobody asked for decisions.
fn inference_work(context: Context, config: &Config, models: Arc<Models>, mode: Mode) -> Result<(), Failure> {
    if !config.decides() {
        let wait_s = config.inference_section.models.wait_s;
        return inference::shell::follow(context.log, models, wait_s, &context.stop, &context.gauges);
    }
    let order = match mode {
        Mode::Live => inference::shell::Order::AtHand,
        Mode::Replay => inference::shell::Order::Numbered,
    };
    let joining = inference::shell::Joining {
        strategies: !config.strategies.is_empty(),
        wait_ms: (mode == Mode::Live).then_some(config.broker.join_wait_ms),
    };
    inference::shell::run(context, config.inference(), models, order, joining, config.delivery.clone())
}

/// A log, a store, and which of them may come later.
type Opened = (Arc<dyn Log>, Arc<dyn Store>, Later);

/// The topics that a folder's log must have.
fn wanted_topics(folder: &Folder, config: &Config) -> Vec<TopicConfig> {
    backends::wanted_topics(config, backends::keeps_all(folder.dir()))
}

/// Whether roles wait for each other as long as it takes (a replay), or as long
/// as a live market allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Live,
    Replay,
}

type Work = Box<dyn FnOnce() -> Result<(), Failure> + Send>;

/// Whether a role is on the trading path, where what it makes is emitted at once.
fn emits(role: Role, config: &Config) -> bool {
    role == Role::Strategy || (role == Role::Inference && config.decides())
}

/// The models, where one of the roles works with them.
///
/// # Errors
/// They cannot be read, and a role cannot do without.
fn models_for(config: &Config, roles: &[Role]) -> anyhow::Result<Option<Arc<Models>>> {
    if !roles.iter().any(|role| matches!(role, Role::Inference | Role::Forensics | Role::Api)) {
        return Ok(None);
    }
    match Models::open(&config.inference()) {
        Ok(models) => Ok(Some(Arc::new(models))),
        Err(error) if roles.iter().any(|role| matches!(role, Role::Inference | Role::Forensics)) => {
            Err(exit::input(format!("the models of [inference]: {error}; see docs/decisions.md")))
        }
        Err(error) => {
            tracing::warn!("no models, so questions for decisions are not answered here: {error}");
            Ok(None)
        }
    }
}

fn retention(config: &Config) -> Vec<Retention> {
    let days = &config.store.retention_days;
    [
        ("exec_reports", days.exec_reports),
        ("risk_metrics", days.risk_metrics),
        ("alerts", days.alerts),
        ("signals", days.signals),
        ("forensics", days.forensics),
    ]
    .into_iter()
    .filter(|(_, days)| *days > 0)
    .map(|(table, days)| Retention { table: table.into(), keep: Duration::from_secs(days * 86_400) })
    .collect()
}

fn instrument_info(
    instrument: &tapedeck_roles::instruments::Instrument,
    config: &Config,
) -> tapedeck_api::InstrumentInfo {
    tapedeck_api::InstrumentInfo {
        venue: instrument.venue.clone(),
        symbol: instrument.symbol.clone(),
        quote_currency: instrument.quote_currency.clone(),
        tick: instrument.tick,
        lot: instrument.lot,
        margin_rate: instrument.margin_rate.unwrap_or(config.risk.margin_rate),
    }
}
