//! A server on a free port, its log and store in a fresh folder, and a small
//! blocking HTTP client.
//!
//! Not here: tests.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
};

use serde_json::Value;
use tapedeck_api::{ApiConfig, Deps, InstrumentInfo, Server, WsConfig, serve};
use tapedeck_contracts::Dec;
use tapedeck_flow::{Gauges, Phase, Stop};
use tapedeck_log::{EmbeddedConfig, EmbeddedLog, Log, TopicConfig};
use tapedeck_store::{
    Store,
    conformance::samples,
    sqlite::{SqliteConfig, SqliteStore},
};
use tempfile::TempDir;

/// A server and what is behind it.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) log: Arc<EmbeddedLog>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) gauges: Arc<Gauges>,
    server: Option<Server>,
    stop: Stop,
    pub(crate) folder: Option<TempDir>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Config of a free port.
pub(crate) fn free_port() -> ApiConfig {
    ApiConfig { listen: "127.0.0.1:0".into(), ..ApiConfig::default() }
}

pub(crate) fn topics() -> Vec<TopicConfig> {
    tapedeck_flow::topics::of_catalogue(None)
}

pub(crate) fn open_log(folder: &Path) -> Arc<EmbeddedLog> {
    let log = EmbeddedLog::open(folder, EmbeddedConfig::default()).unwrap();
    log.create_topics(&topics()).unwrap();
    log
}

pub(crate) fn deps(folder: &Path, log: Arc<EmbeddedLog>) -> Deps {
    Deps {
        log,
        store: SqliteStore::open(&folder.join("store.db"), SqliteConfig::default()).unwrap(),
        instruments: vec![InstrumentInfo {
            venue: "BINANCE".into(),
            symbol: "BTCUSDT".into(),
            quote_currency: "USDT".into(),
            tick: Some(Dec::parse("0.1").unwrap()),
            lot: Dec::parse("0.001").unwrap(),
            margin_rate: Dec::parse("0.05").unwrap(),
        }],
        roles: vec![("recorder".into(), Arc::new(Gauges::default()))],
        producer: None,
        decides: None,
        emitters: Vec::new(),
        explains: None,
        memory_cap_bytes: 512 << 20,
        stop: Stop::new(),
        boundaries: Default::default(),
        cursor_key: [7; 32],
    }
}

impl Running {
    /// With the defaults.
    pub(crate) fn start() -> Self {
        Self::with(free_port(), WsConfig::default())
    }

    pub(crate) fn with(api: ApiConfig, ws: WsConfig) -> Self {
        Self::over(tempfile::tempdir().unwrap(), api, ws)
    }

    pub(crate) fn over(folder: TempDir, api: ApiConfig, ws: WsConfig) -> Self {
        let log = open_log(folder.path());
        let deps = deps(folder.path(), Arc::clone(&log));
        Self::of(deps, log, folder, api, ws)
    }

    /// Over these parts.
    pub(crate) fn of(deps: Deps, log: Arc<EmbeddedLog>, folder: TempDir, api: ApiConfig, ws: WsConfig) -> Self {
        let (store, stop) = (Arc::clone(&deps.store), deps.stop.clone());
        let gauges = Arc::clone(&deps.roles[0].1);
        gauges.set_phase(Phase::Running);
        let server = serve(deps, api, ws).unwrap();
        Self { addr: server.addr(), log, store, gauges, server: Some(server), stop, folder: Some(folder) }
    }

    /// Stops everything and gives the folder back.
    pub(crate) fn stop(mut self) -> TempDir {
        self.end();
        self.folder.take().unwrap()
    }

    fn end(&mut self) {
        self.stop.request();
        if let Some(server) = self.server.take() {
            server.join();
        }
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], b"")
    }

    pub(crate) fn post(&self, target: &str, media: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send("POST", target, &[("content-type", media)], body.as_ref())
    }

    pub(crate) fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut socket = TcpStream::connect(self.addr).unwrap();
        let mut head = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "host") {
            head += &format!("host: {}\r\n", self.addr);
        }
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        socket.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        // A server that refuses a body may close before it has read it all.
        let _ = socket.write_all(body);
        let mut text = Vec::new();
        let _ = socket.read_to_end(&mut text);
        parse(&String::from_utf8(text).unwrap())
    }

    /// Three fills of ACC-1 (the last one sold), an open order, and metrics.
    pub(crate) fn with_trades(self) -> Self {
        let mut fourth = samples::new_order(4);
        fourth.timestamp = samples::at(4);
        let mut batch = samples::reports([samples::trade(1), samples::trade(2), samples::sale(3, "12.3"), fourth]);
        batch.rows.push(samples::row(10, samples::session_started("ACC-1")));
        batch.rows.push(samples::row(11, samples::metrics(5, "ACC-1", Some("500"))));
        self.store.apply(&batch).unwrap();
        self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Answer { status, headers, body: body.to_owned() }
}
