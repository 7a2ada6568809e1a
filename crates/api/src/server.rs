//! From deps and config to a listening server with threads of its own, and its
//! end within ten seconds.
//!
//! Not here: what the routes do.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::{
    Router, middleware,
    response::IntoResponse,
    routing::{get, post},
};
use tapedeck_flow::Stop;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    admin,
    app::{App, BLOCKING_THREADS, Deps},
    config::{ApiConfig, WsConfig},
    ess, events, forensics, layers, openapi,
    problem::Problem,
    routes, ws,
    ws::hub::{Hub, Tail},
};

/// Open requests may end within this; with the next one it stays below 10 s.
const DRAIN: Duration = Duration::from_secs(8);
/// Calls that still block are left behind after this.
const LEAVE: Duration = Duration::from_secs(1);
/// How often the wish to stop is asked for, where nobody wakes.
const STOP_WAIT: Duration = Duration::from_secs(3600);
/// Threads that run handlers; what blocks has threads of its own.
const MAX_WORKERS: usize = 4;

/// Why the server did not start; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// `listen` is not an address.
    #[error("api.listen = {listen:?} is not an address with a port, such as 127.0.0.1:7380: {detail}")]
    BadAddress {
        /// The address.
        listen: String,
        /// What is wrong with it.
        detail: String,
    },
    /// `listen` can be reached from other machines.
    #[error(
        "api.listen = {listen:?} can be reached from other machines, and there are no locks yet: anyone there could stop \
         the trading. Use 127.0.0.1 or [::1], and a tunnel (ssh -L) from elsewhere"
    )]
    NotLoopback {
        /// The address.
        listen: String,
    },
    /// Another process listens there.
    #[error(
        "{listen} is in use by another process: end it (is tapedeck running already?), or choose another port with \
         api.listen or TAPEDECK_API_LISTEN"
    )]
    InUse {
        /// The address.
        listen: String,
    },
    /// The machine refused.
    #[error("cannot listen on {listen}: {source}")]
    Io {
        /// The address.
        listen: String,
        /// What the machine said.
        source: io::Error,
    },
    /// The log cannot be read.
    #[error("the sockets cannot read the alerts: {0}")]
    Log(#[from] tapedeck_log::LogError),
}

/// A server at work. It ends when the process's [`Stop`] is requested.
pub struct Server {
    addr: SocketAddr,
    thread: JoinHandle<()>,
    tail: Tail,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Server {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until it has ended, at most 10 s after the wish to stop: open
    /// requests are answered, sockets closed with 1001.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the server's thread panicked");
        }
        self.tail.join();
    }
}

/// Binds, and serves on threads of its own until stop is requested.
///
/// # Errors
/// The address cannot be used, with what to do; or the log cannot be read.
pub fn serve(deps: Deps, api: ApiConfig, ws: WsConfig) -> Result<Server, ApiError> {
    let listener = bind(&api.listen)?;
    let io_error = |source| ApiError::Io { listen: api.listen.clone(), source };
    let addr = listener.local_addr().map_err(io_error)?;
    listener.set_nonblocking(true).map_err(io_error)?;
    let workers = thread::available_parallelism().map_or(2, usize::from).min(MAX_WORKERS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("api")
        .enable_all()
        .build()
        .map_err(io_error)?;

    let stop = deps.stop.clone();
    let (hub, tail) = Hub::start(Arc::clone(&deps.log), stop.clone(), ws.queue_events)?;
    let app = Arc::new(App::new(deps, api, ws, hub));
    let thread = thread::Builder::new()
        .name("api-server".into())
        .spawn(move || run(runtime, listener, app, stop))
        .expect("a thread at start");
    tracing::info!(%addr, "serving");
    Ok(Server { addr, thread, tail })
}

fn bind(listen: &str) -> Result<TcpListener, ApiError> {
    let bad = |detail: String| ApiError::BadAddress { listen: listen.to_owned(), detail };
    let addresses: Vec<SocketAddr> = listen.to_socket_addrs().map_err(|error| bad(error.to_string()))?.collect();
    if addresses.is_empty() {
        return Err(bad("it names no address".into()));
    }
    if addresses.iter().any(|address| !address.ip().is_loopback()) {
        return Err(ApiError::NotLoopback { listen: listen.to_owned() });
    }
    TcpListener::bind(&addresses[..]).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ApiError::InUse { listen: listen.to_owned() },
        _ => ApiError::Io { listen: listen.to_owned(), source },
    })
}

fn run(runtime: tokio::runtime::Runtime, listener: TcpListener, app: Arc<App>, stop: Stop) {
    let hub = Arc::clone(&app.hub);
    let (sockets, most) = (Arc::clone(&app.sockets), app.ws.max_clients);
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener that does not block");
        tokio::spawn(admin::groups::watch(Arc::clone(&app)));
        let service = router(app).into_make_service_with_connect_info::<SocketAddr>();
        let (stopping, mut stopped) = tokio::sync::watch::channel(false);
        watch(stop, stopping);
        let mut late = stopped.clone();
        let serving = axum::serve(listener, service).with_graceful_shutdown(async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
            hub.close();
        });
        let deadline = async move {
            let _ = late.wait_for(|stopped| *stopped).await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            ended = async {
                let ended = serving.await;
                // Sockets live on beside the server: all seats are back when each
                // has said goodbye, and what is left of the runtime is dropped.
                let _ = sockets.acquire_many(u32::try_from(most).unwrap_or(u32::MAX)).await;
                ended
            } => if let Err(error) = ended {
                tracing::error!(%error, "the server ended");
            },
            () = deadline => tracing::warn!("requests were still open after {} s; they are cut off", DRAIN.as_secs()),
        }
    });
    runtime.shutdown_timeout(LEAVE);
}

/// Turns the wish to stop, which blocks, into one that tasks can wait for.
fn watch(stop: Stop, stopping: tokio::sync::watch::Sender<bool>) {
    thread::Builder::new()
        .name("api-stop".into())
        .spawn(move || {
            while !stop.wait(STOP_WAIT) {}
            stopping.send_replace(true);
        })
        .expect("a thread at start");
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(routes::pages::landing))
        .route("/docs", get(routes::pages::docs))
        .route("/openapi.json", get(openapi::serve))
        .route("/health/live", get(routes::health::live))
        .route("/health/ready", get(routes::health::ready))
        .route("/metrics", get(routes::health::metrics))
        .route("/api/pnl", get(routes::pnl::pnl))
        .route("/api/positions/latest", get(routes::positions::positions))
        .route("/api/fills", get(routes::fills::fills))
        .route("/api/metrics/risk", get(routes::risk::risk))
        .route("/api/metrics/symbols", get(routes::symbols::symbols))
        .route("/api/orders", get(routes::orders::orders))
        .route("/api/accounts", get(routes::accounts::accounts))
        .route("/api/instruments", get(routes::accounts::instruments))
        .route("/api/alerts", get(routes::alerts::alerts))
        .route("/api/risk/ess/trip", post(ess::trip))
        .route("/api/risk/ess/arm", post(ess::arm))
        .route("/api/v1/events/{topic}", post(events::post))
        .route("/api/v1/decisions", post(routes::decisions::decide))
        .route("/api/v1/forensics", get(forensics::list::explanations))
        .route("/api/v1/forensics/importance", get(forensics::importance::importance))
        .route("/api/v1/forensics/what-if", post(forensics::what_if::what_if))
        .route("/api/v1/forensics/re-decide", post(forensics::re_decide::re_decide))
        .route("/api/v1/forensics/{decision_id}", get(forensics::one::explanation))
        .route("/api/admin/topics", get(admin::topics::topics))
        .route("/api/admin/groups", get(admin::groups::groups))
        .route("/api/admin/groups/{group}/reset", post(admin::reset::reset))
        .route("/api/admin/groups/{group}/skip", post(admin::skip::skip))
        .route("/api/admin/groups/{group}/commit", post(admin::commit::commit))
        .route("/api/admin/records", get(admin::records::records))
        .route("/api/admin/records/{topic}", post(admin::raw::post_records))
        .route("/api/admin/dlq", get(admin::dlq::list::dlq_list))
        .route("/api/admin/dlq/groups", get(admin::dlq::groups::dlq_groups))
        .route("/api/admin/dlq/letters/{topic}/{partition}/{offset}", get(admin::dlq::letter::dlq_letter))
        .route("/api/admin/dlq/replay", post(admin::dlq::jobs::dlq_replay))
        .route("/api/admin/dlq/purge", post(admin::dlq::jobs::dlq_purge))
        .route("/api/admin/dlq/jobs", get(admin::dlq::jobs::dlq_jobs))
        .route("/api/admin/dlq/jobs/{id}", get(admin::dlq::jobs::dlq_job).delete(admin::dlq::jobs::dlq_job_cancel))
        .route("/api/admin/chains", get(admin::chains::chains))
        .route("/api/admin/chains/{chain}", get(admin::chains::chain))
        .route("/api/admin/feature-sets/{id}", get(admin::chains::feature_set))
        .route("/api/admin/roles", get(admin::roles::roles))
        .route("/api/admin/emitter", get(admin::emitter::emitter))
        .route("/ws/alerts", get(ws::socket::alerts))
        .fallback(layers::no_such_path)
        .method_not_allowed_fallback(layers::no_such_method)
        .layer(CatchPanicLayer::custom(|_| Problem::internal("a handler panicked").into_response()))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), layers::around))
        .with_state(app)
}
