//! What every handler shares, and the only two ways to the store and the log:
//! on threads that may block, so many at a time and no more.
//!
//! Not here: routes.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tapedeck_contracts::{Dec, Timestamp};
use tapedeck_flow::{
    Boundaries, Breaker, BreakerState, Gauges, Stop,
    emitter::{EmitterStats, Producer},
};
use tapedeck_log::{Log, LogError};
use tapedeck_store::{AccountRow, Store, StoreError};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use crate::{
    admin::{
        dlq::Dlq,
        groups::{Courses, GroupItem},
    },
    config::{ApiConfig, WsConfig},
    cursor::Cursors,
    forensics::Explains,
    metrics::Metrics,
    params::nearest,
    problem::Problem,
    rate::RateLimit,
    routes::decisions::Decides,
    ws::hub::Hub,
};

/// Calls of the store at a time: as many as it has readers. More would wait
/// inside it, where nobody sees them.
const STORE_CALLS: usize = 4;
/// So many failures of the store in a row shut it: one may be chance, five are not.
const STORE_FAILURES: u32 = 5;
/// How long requests are then refused at once; the next call after it tries the store.
const STORE_SHUT_FOR: Duration = Duration::from_secs(5);
/// Calls of the log at a time: short reads, and appends that share one commit.
const LOG_CALLS: usize = 16;
/// Calls of the emitter at a time. They have places of their own, since those of
/// the log are all taken when it does not answer, which is when these are needed;
/// more than two would only wait for the producer.
const EMIT_CALLS: usize = 2;
/// Threads that may block: one for each call, and a few for probes.
pub(crate) const BLOCKING_THREADS: usize = STORE_CALLS + LOG_CALLS + EMIT_CALLS + 8;
/// How long the list of accounts is believed: new accounts are rare, and one
/// that is not in the list is looked for at once.
const ACCOUNTS_FOR: Duration = Duration::from_secs(1);

/// What the HTTP side works with.
pub struct Deps {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The instruments of the config.
    pub instruments: Vec<InstrumentInfo>,
    /// The roles of this process, by name.
    pub roles: Vec<(String, Arc<Gauges>)>,
    /// What events go through that do not wait for the log; none where this process
    /// emits nothing.
    pub producer: Option<Producer>,
    /// Who answers questions for decisions; none where this process has no models.
    pub decides: Option<Arc<dyn Decides>>,
    /// How the emitters of this process stand, by name.
    pub emitters: Vec<(String, Arc<EmitterStats>)>,
    /// Who explains decisions; none where this process has nobody.
    pub explains: Option<Arc<dyn Explains>>,
    /// What all roles together may hold in memory of what they read.
    pub memory_cap_bytes: u64,
    /// When to stop.
    pub stop: Stop,
    /// Told when a part of a redrive is done.
    pub boundaries: Boundaries,
    /// Signs cursors: random bytes, kept in the data folder so that cursors
    /// outlive a restart.
    pub cursor_key: [u8; 32],
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deps").field("roles", &self.roles).finish_non_exhaustive()
    }
}

/// An instrument as `/api/instruments` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct InstrumentInfo {
    /// Where it trades.
    pub venue: String,
    /// Its name there.
    pub symbol: String,
    /// What a price is in.
    pub quote_currency: String,
    /// Prices are multiples of it; null is off.
    #[schema(value_type = Option<String>)]
    pub tick: Option<Dec>,
    /// Quantities are multiples of it.
    #[schema(value_type = String)]
    pub lot: Dec,
    /// Margin as a share of gross.
    #[schema(value_type = String)]
    pub margin_rate: Dec,
}

/// What every handler shares.
pub(crate) struct App {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) instruments: Vec<InstrumentInfo>,
    pub(crate) roles: Vec<(String, Arc<Gauges>)>,
    pub(crate) decides: Option<Arc<dyn Decides>>,
    pub(crate) emitters: Vec<(String, Arc<EmitterStats>)>,
    pub(crate) cursors: Cursors,
    pub(crate) api: ApiConfig,
    pub(crate) ws: WsConfig,
    pub(crate) hub: Arc<Hub>,
    pub(crate) explains: Option<Arc<dyn Explains>>,
    pub(crate) metrics: Metrics,
    pub(crate) rate: Mutex<RateLimit>,
    pub(crate) requests: Semaphore,
    pub(crate) sockets: Arc<Semaphore>,
    pub(crate) dlq: Dlq,
    pub(crate) stop: Stop,
    /// When this process began to serve: the clock of rates.
    pub(crate) started: Instant,
    pub(crate) courses: Mutex<Courses>,
    /// The lag that was read last, one reader at a time.
    pub(crate) groups: tokio::sync::Mutex<Option<(Instant, Arc<Vec<GroupItem>>)>>,
    store_calls: Arc<Semaphore>,
    log_calls: Arc<Semaphore>,
    emit_calls: Arc<Semaphore>,
    /// One for all threads: an event takes a microsecond, and one ring keeps the
    /// order of a client whichever thread serves it.
    producer: Option<Arc<Mutex<Producer>>>,
    breaker: Arc<Mutex<Breaker>>,
    accounts: Mutex<Option<(Instant, Arc<Vec<AccountRow>>)>>,
}

impl App {
    pub(crate) fn new(deps: Deps, api: ApiConfig, ws: WsConfig, hub: Arc<Hub>) -> Self {
        Self {
            cursors: Cursors::new(deps.cursor_key),
            log: deps.log,
            store: deps.store,
            instruments: deps.instruments,
            roles: deps.roles,
            decides: deps.decides,
            emitters: deps.emitters,
            explains: deps.explains,
            producer: deps.producer.map(|producer| Arc::new(Mutex::new(producer))),
            emit_calls: Arc::new(Semaphore::new(EMIT_CALLS)),
            metrics: Metrics::new(deps.memory_cap_bytes),
            rate: Mutex::new(RateLimit::new(api.rate_limit_per_s, api.rate_limit_burst)),
            requests: Semaphore::new(api.max_concurrent),
            sockets: Arc::new(Semaphore::new(ws.max_clients)),
            dlq: Dlq::new(deps.boundaries),
            stop: deps.stop,
            started: Instant::now(),
            courses: Mutex::default(),
            groups: tokio::sync::Mutex::default(),
            store_calls: Arc::new(Semaphore::new(STORE_CALLS)),
            log_calls: Arc::new(Semaphore::new(LOG_CALLS)),
            breaker: Arc::new(Mutex::new(Breaker::new(STORE_FAILURES, STORE_SHUT_FOR))),
            accounts: Mutex::default(),
            api,
            ws,
            hub,
        }
    }

    /// Asks the store on a thread that may block. The call goes on when the
    /// request is given up; its place is free when it ends.
    pub(crate) async fn store<T, F>(&self, call: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    {
        let permit = Arc::clone(&self.store_calls).acquire_owned().await.expect("never closed");
        if let Some(wait) = lock(&self.breaker).refuse(Instant::now()) {
            return Err(Problem::unavailable("the store has failed five times in a row", wait.as_secs() + 1));
        }
        let (store, breaker) = (Arc::clone(&self.store), Arc::clone(&self.breaker));
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let result = call(store.as_ref());
            match &result {
                Ok(_) => lock(&breaker).success(),
                Err(_) => lock(&breaker).failure(Instant::now()),
            }
            result
        });
        Ok(done.await.map_err(|error| Problem::internal(&error.to_string()))??)
    }

    /// Calls the log on a thread that may block.
    pub(crate) async fn log<T, F>(&self, call: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<dyn Log>) -> Result<T, LogError> + Send + 'static,
    {
        let permit = Arc::clone(&self.log_calls).acquire_owned().await.expect("never closed");
        let log = Arc::clone(&self.log);
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            call(&log)
        });
        Ok(done.await.map_err(|error| Problem::internal(&error.to_string()))??)
    }

    /// Emits on a thread that may block.
    pub(crate) async fn emit<T, F>(&self, call: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&Mutex<Producer>) -> Result<T, Problem> + Send + 'static,
    {
        let Some(producer) = self.producer.clone() else {
            return Err(Problem::unavailable("this process emits nothing; leave `ack` out, or run `tapedeck up`", 1));
        };
        let permit = Arc::clone(&self.emit_calls).acquire_owned().await.expect("never closed");
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            call(&producer)
        });
        done.await.map_err(|error| Problem::internal(&error.to_string()))?
    }

    /// Whether the breaker of the store refuses calls.
    pub(crate) fn store_breaker_open(&self) -> bool {
        lock(&self.breaker).state() != BreakerState::Closed
    }

    /// All accounts, as of now.
    pub(crate) async fn accounts(&self) -> Result<Arc<Vec<AccountRow>>, Problem> {
        let rows = Arc::new(self.store(|store| store.accounts()).await?);
        *lock(&self.accounts) = Some((Instant::now(), Arc::clone(&rows)));
        Ok(rows)
    }

    /// The account asked for, or the only one there is. None where there is no
    /// account at all and none was asked for.
    pub(crate) async fn account(&self, asked: Option<&str>) -> Result<Option<String>, Problem> {
        let known = lock(&self.accounts).clone().filter(|(at, _)| at.elapsed() < ACCOUNTS_FOR);
        if let Some((_, rows)) = known
            && let Ok(Some(name)) = choose(&rows, asked)
        {
            return Ok(Some(name));
        }
        choose(&self.accounts().await?, asked)
    }
}

/// The row of the account asked for, or of the only one there is.
pub(crate) fn choose(rows: &[AccountRow], asked: Option<&str>) -> Result<Option<String>, Problem> {
    let names = || rows.iter().map(|row| row.account.as_str());
    match asked {
        Some(name) if names().any(|known| known == name) => Ok(Some(name.to_owned())),
        Some(name) => {
            let hint = match nearest(name, names()) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => "; /api/accounts lists them".to_owned(),
            };
            Err(Problem::not_found(format!("there is no account `{name}`{hint}")))
        }
        None if rows.len() > 1 => {
            let names: Vec<&str> = names().collect();
            let detail = format!("needed, because there are several accounts: {}", names.join(", "));
            Err(Problem::bad("account", detail))
        }
        None => Ok(rows.first().map(|row| row.account.clone())),
    }
}

/// The clock of the machine.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A lock whose data stays whole when a thread panics while it holds it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
