//! Servers of a test's own, which it may break; they end when they are dropped.
//!
//! Not here: how they are started, which the scripts say.

use std::{ffi::OsStr, fs, path::Path};

use tempfile::TempDir;

use crate::{Proxy, scripts};

/// Kafka brokers, numbered from 1; each is broker and controller.
pub struct Cluster {
    dir: TempDir,
    bootstrap: String,
    proxies: Vec<Proxy>,
}

impl Cluster {
    /// Brokers that clients reach without a password.
    #[must_use]
    pub fn start(brokers: u32) -> Option<Self> {
        Self::start_with(&["--brokers", &brokers.to_string()], Vec::new())
    }

    /// One broker with users, certificates and an authorizer: [`Self::secret`].
    #[must_use]
    pub fn start_secure() -> Option<Self> {
        Self::start_with(&["--secure"], Vec::new())
    }

    /// Brokers that clients reach through proxies alone: [`Self::proxy`]. Among
    /// themselves they speak directly.
    #[must_use]
    pub fn start_behind_proxies(brokers: u32) -> Option<Self> {
        let proxies: Vec<Proxy> = (0..brokers).map(|_| Proxy::before_none()).collect();
        let ports: Vec<String> = proxies.iter().map(|proxy| proxy.port().to_string()).collect();
        let cluster = Self::start_with(&["--brokers", &brokers.to_string(), "--advertise", &ports.join(",")], proxies)?;
        for (number, proxy) in (1..=brokers).zip(&cluster.proxies) {
            proxy.lead_to(&cluster.address(number));
        }
        Some(cluster)
    }

    fn start_with(options: &[&str], proxies: Vec<Proxy>) -> Option<Self> {
        let dir = scripts::folder("kafka");
        let mut arguments: Vec<&OsStr> = vec!["start".as_ref(), dir.path().as_ref()];
        arguments.extend(options.iter().map(OsStr::new));
        let bootstrap = scripts::start("Kafka", "kafka.sh", &arguments)?;
        Some(Self { dir, bootstrap, proxies })
    }

    /// What clients are told: the addresses of all brokers, or of their proxies; of a
    /// secured one its listener `SASL_SSL`.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Where one broker listens, past any proxy.
    ///
    /// # Panics
    /// When there is no such broker.
    #[must_use]
    pub fn address(&self, broker: u32) -> String {
        let file = self.dir.path().join(format!("node{broker}/address"));
        fs::read_to_string(file).expect("a broker of this cluster").trim().to_owned()
    }

    /// The proxy before one broker.
    ///
    /// # Panics
    /// When the cluster was not started behind proxies, or there is no such broker.
    #[must_use]
    pub fn proxy(&self, broker: u32) -> &Proxy {
        &self.proxies[broker as usize - 1]
    }

    /// A value of a secured cluster: addresses of other listeners, users, passwords,
    /// certificates. Their names are in `scripts/kafka-secure.sh`.
    ///
    /// # Panics
    /// When there is no such name.
    #[must_use]
    pub fn secret(&self, name: &str) -> String {
        let all = fs::read_to_string(self.dir.path().join("secure.env")).expect("a secured cluster");
        let value = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("secure.env has no {name}")).to_owned()
    }

    /// Ends one broker as a crash does.
    pub fn kill(&self, broker: u32) {
        self.node("kill", broker);
    }

    /// Starts one broker that is down, on the data it has; returns when it is up.
    pub fn start_again(&self, broker: u32) {
        self.node("start-node", broker);
    }

    /// Stops one broker where it stands; its connections stay open.
    pub fn pause(&self, broker: u32) {
        self.node("pause", broker);
    }

    /// Lets a paused broker go on.
    pub fn resume(&self, broker: u32) {
        self.node("resume", broker);
    }

    /// Ends all brokers in order.
    pub fn stop_all(&self) {
        scripts::run("kafka.sh", &["stop".as_ref(), self.dir.path().as_ref()]);
    }

    /// Starts all brokers that are down, at their old addresses; returns when they are up.
    pub fn start_all(&self) {
        scripts::run("kafka.sh", &["start".as_ref(), self.dir.path().as_ref()]);
    }

    fn node(&self, what: &str, broker: u32) {
        scripts::run("kafka.sh", &[what.as_ref(), self.dir.path().as_ref(), broker.to_string().as_ref()]);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        scripts::end("kafka.sh", self.dir.path());
    }
}

/// A PostgreSQL 15; address and data stay while it is down.
pub struct Postgres {
    dir: TempDir,
    url: String,
}

impl Postgres {
    /// A server with nothing in it.
    #[must_use]
    pub fn start() -> Option<Self> {
        let dir = scripts::folder("postgres");
        let url = scripts::start("PostgreSQL", "postgres.sh", &["start".as_ref(), dir.path().as_ref()])?;
        Some(Self { dir, url })
    }

    /// As a superuser, on the database `postgres`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `host:port`, for a proxy before it.
    ///
    /// # Panics
    /// Never: a URL has them.
    #[must_use]
    pub fn address(&self) -> &str {
        self.url.split(['@', '/']).nth(3).expect("postgres://user:password@host:port/database")
    }

    /// PEM file of who signed its certificate.
    #[must_use]
    pub fn ca_file(&self) -> std::path::PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// SIGKILL of all its processes.
    pub fn kill(&self) {
        self.call("kill");
    }

    /// Ends it in order; open connections are closed.
    pub fn stop(&self) {
        self.call("stop");
    }

    /// Starts it again; after a kill it recovers first.
    pub fn start_again(&self) {
        self.call("start");
    }

    fn call(&self, what: &str) {
        scripts::run("postgres.sh", &[what.as_ref(), self.dir.path().as_ref()]);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        scripts::end("postgres.sh", self.dir.path());
    }
}

/// A TimescaleDB in one process: one session at a time, no COPY, no background jobs.
pub struct Timescale {
    dir: TempDir,
    /// Where it answers, the extension already created.
    pub url: String,
}

impl Timescale {
    /// A server with nothing in it but the extension.
    #[must_use]
    pub fn start() -> Option<Self> {
        let dir = scripts::folder("timescale");
        let url = scripts::start("TimescaleDB", "timescale.sh", &["start".as_ref(), dir.path().as_ref()])?;
        Some(Self { dir, url })
    }

    /// Where its data and its log are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Timescale {
    fn drop(&mut self) {
        scripts::end("timescale.sh", self.dir.path());
    }
}
