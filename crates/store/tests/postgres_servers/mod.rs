//! Configs for the servers that tests run on, and a way past the store.
//!
//! Not here: starting them.
#![allow(dead_code, reason = "each test file uses what it needs")]

use tapedeck_store::PostgresConfig;
use tapedeck_testbed::{Timescale, name, postgres, timescale};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls};

/// A schema of its own in a database of its own, without the extension.
pub(crate) fn on_postgres() -> Option<PostgresConfig> {
    Some(of(&postgres()?))
}

/// A schema of its own beside the extension, where one session is served at a
/// time and COPY cannot be had; the server ends with what is returned.
pub(crate) fn on_timescale() -> Option<(Timescale, PostgresConfig)> {
    let server = timescale()?;
    let config = PostgresConfig {
        read_connections: 0,
        bulk: "arrays".into(),
        timescale: "yes".into(),
        tls: "disable".into(),
        ..of(&server.url)
    };
    Some((server, config))
}

/// A config of the URL, whose password goes where passwords belong.
pub(crate) fn of(url: &str) -> PostgresConfig {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (who, place) = rest.split_once('@').expect("user and password");
    let (user, password) = who.split_once(':').unwrap_or((who, ""));
    PostgresConfig {
        url: format!("{scheme}://{user}@{place}"),
        password: password.into(),
        schema: name("store"),
        ..PostgresConfig::default()
    }
}

/// A connection past the store, for what an administrator does.
pub(crate) struct Admin {
    runtime: Runtime,
    client: Client,
}

impl Admin {
    /// Connects as the store of this config does, without TLS, to its schema.
    pub(crate) fn of(config: &PostgresConfig) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut settings: tokio_postgres::Config = config.url.parse().expect("a URL");
        settings.password(&config.password);
        let client = runtime.block_on(async {
            let (client, connection) = settings.connect(NoTls).await.expect("a connection");
            tokio::spawn(connection);
            client
        });
        let admin = Self { runtime, client };
        admin.run(&format!("SET search_path TO \"{}\", public", config.schema));
        admin
    }

    /// Runs statements.
    pub(crate) fn run(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The numbers in the first column.
    pub(crate) fn numbers(&self, sql: &str) -> Vec<i64> {
        let rows = self.runtime.block_on(self.client.query(sql, &[]));
        rows.unwrap_or_else(|error| panic!("{sql}: {error:?}")).iter().map(|row| row.get(0)).collect()
    }
}
