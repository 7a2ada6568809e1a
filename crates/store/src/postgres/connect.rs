//! Connections to PostgreSQL: how one is made, what is set on it, and the calls
//! that are sent over it, each with an end.
//!
//! Not here: how many there are and who has them ([`super::pool`]).

use std::{
    collections::HashMap,
    future::Future,
    str::FromStr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use postgres_openssl::MakeTlsConnector;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{
    Client, Row, Statement,
    config::{Host, SslMode, TargetSessionAttrs},
    error::SqlState,
    types::{ToSql, Type},
};

use super::{PostgresConfig, failure};
use crate::{Result, StoreError};

/// Statements kept prepared on a connection: all of this crate's, with room.
const STATEMENTS: usize = 192;

/// How much longer than the server we wait for an answer: a server that is
/// there ends a statement by itself, and says so.
const GRACE: Duration = Duration::from_secs(1);

/// A silent peer is found dead after about so long, where nothing is asked.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);

/// How connections are made.
pub(super) struct Connector {
    config: tokio_postgres::Config,
    tls: MakeTlsConnector,
    schema: String,
    statement_timeout: Duration,
    connect_timeout: Duration,
    /// Where to, for people: never with a password.
    pub(super) address: String,
}

impl Connector {
    /// Reads the config; connects to nothing yet.
    ///
    /// # Errors
    /// Fatal, with the field that is wrong.
    pub(super) fn new(config: &PostgresConfig) -> Result<Self> {
        let wrong = |field: &str, detail: &str| StoreError::Fatal(format!("[postgres] {field}: {detail}"));
        // The parser's own error may quote a password.
        let mut parsed = tokio_postgres::Config::from_str(&config.url).map_err(|_| {
            wrong("url", "expected `postgres://user@host:port/database` or `host=… port=… user=… dbname=…`")
        })?;
        if parsed.get_password().is_some() {
            return Err(wrong("url", "take the password out of it and refer to it in `password`: addresses are shown"));
        }
        if parsed.get_hosts().is_empty() {
            return Err(wrong("url", "it names no host"));
        }
        if config.schema.is_empty() || config.schema.contains('\0') {
            return Err(wrong("schema", "expected the name of a schema"));
        }
        if !config.password.is_empty() {
            parsed.password(&config.password);
        }
        let connect_timeout = Duration::from_millis(config.connect_timeout_ms.max(1));
        let statement_timeout = Duration::from_millis(config.statement_timeout_ms.max(1));
        parsed.connect_timeout(connect_timeout);
        parsed.keepalives_idle(KEEPALIVE_IDLE);
        parsed.tcp_user_timeout(statement_timeout + GRACE);
        if parsed.get_application_name().is_none() {
            parsed.application_name("tapedeck");
        }
        if parsed.get_hosts().len() > 1 {
            // Of a primary and its standbys, the one that is the primary now.
            parsed.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        parsed.ssl_mode(match config.tls.as_str() {
            "disable" => SslMode::Disable,
            "prefer" => SslMode::Prefer,
            "require" | "verify" => SslMode::Require,
            other => {
                return Err(wrong("tls", &format!("expected disable, prefer, require or verify, found `{other}`")));
            }
        });
        Ok(Self {
            address: address(&parsed),
            tls: tls(config)?,
            config: parsed,
            schema: config.schema.clone(),
            statement_timeout,
            connect_timeout,
        })
    }

    /// How long a call may take in all.
    pub(super) fn call_timeout(&self) -> Duration {
        self.statement_timeout
    }

    /// A new connection, by `deadline` or by the connect timeout.
    ///
    /// # Errors
    /// Transient where the server cannot be reached or will not have more
    /// connections; fatal where it knows no such user or database.
    pub(super) fn connect(&self, deadline: Instant) -> Result<Session> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| StoreError::Transient(format!("no room for another connection: {error}")))?;
        let left = deadline.saturating_duration_since(Instant::now()).min(self.connect_timeout);
        let connecting = async {
            let (client, connection) = self.config.connect(self.tls.clone()).await?;
            // It runs while a call waits, and ends when the client is dropped.
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to PostgreSQL ended");
                }
            });
            Ok(client)
        };
        let client = runtime
            .block_on(async { tokio::time::timeout(left, connecting).await })
            .map_err(|_| {
                StoreError::Transient(format!(
                    "PostgreSQL at {} did not answer within {} ms: check that it runs, the address, and what lies between",
                    self.address,
                    left.as_millis()
                ))
            })?
            .map_err(|error| failure::connecting(&error, &self.address))?;
        let mut session =
            Session { client: Some(client), runtime: Some(runtime), statements: HashMap::new(), lost: false, deadline };
        session.set_up(&self.schema, self.statement_timeout)?;
        Ok(session)
    }
}

/// The hosts, ports and database of a config.
fn address(config: &tokio_postgres::Config) -> String {
    let ports = config.get_ports();
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(at, host)| {
            let port = ports.get(at).or_else(|| ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(folder) => format!("{}/.s.PGSQL.{port}", folder.display()),
            }
        })
        .collect();
    let database = config.get_dbname().or_else(|| config.get_user()).unwrap_or("postgres");
    format!("{}/{database}", hosts.join(","))
}

fn tls(config: &PostgresConfig) -> Result<MakeTlsConnector> {
    let broken = |detail: String| StoreError::Fatal(format!("[postgres] TLS cannot be set up: {detail}"));
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(|error| broken(error.to_string()))?;
    if !config.ca_file.is_empty() {
        builder.set_ca_file(&config.ca_file).map_err(|error| {
            broken(format!("ca_file `{}` is no readable PEM file of certificates ({error})", config.ca_file))
        })?;
    }
    let verify = config.tls == "verify";
    builder.set_verify(if verify { SslVerifyMode::PEER } else { SslVerifyMode::NONE });
    let mut connector = MakeTlsConnector::new(builder.build());
    connector.set_callback(move |connection, _| {
        connection.set_verify_hostname(verify);
        Ok(())
    });
    Ok(connector)
}

/// A connection, and what is prepared on it. Calls block; none waits longer
/// than the deadline of the call that has it, and a second.
pub(super) struct Session {
    client: Option<Client>,
    runtime: Option<Runtime>,
    statements: HashMap<Box<str>, Statement>,
    /// Whether an answer did not come: what the server did is then unknown, and
    /// the connection is never used again.
    lost: bool,
    deadline: Instant,
}

impl Session {
    /// Rows of a query, prepared on its first use.
    ///
    /// # Errors
    /// As [`failure`] sorts them.
    pub(super) fn query(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        let statement = self.prepared(sql)?;
        self.wait(async |client| client.query(&statement, params).await)
    }

    /// One row of a query, where there is one.
    ///
    /// # Errors
    /// As for [`Self::query`].
    pub(super) fn query_opt(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>> {
        Ok(self.query(sql, params)?.into_iter().next())
    }

    /// How many rows a statement touched.
    ///
    /// # Errors
    /// As for [`Self::query`].
    pub(super) fn execute(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        let statement = self.prepared(sql)?;
        self.wait(async |client| client.execute(&statement, params).await)
    }

    /// Runs statements without parameters.
    ///
    /// # Errors
    /// As for [`Self::query`].
    pub(super) fn batch(&mut self, sql: &str) -> Result<()> {
        self.wait(async |client| client.batch_execute(sql).await)
    }

    /// Sends a whole COPY.
    ///
    /// # Errors
    /// As for [`Self::query`].
    pub(super) fn copy(&mut self, sql: &str, bytes: Bytes) -> Result<u64> {
        let statement = self.prepared(sql)?;
        self.wait(async |client| copied(client, &statement, bytes).await)
    }

    /// Sends a whole COPY of rows that are new, as far as is known. Inside a transaction.
    /// False where one of them is there already: none of them is kept then.
    ///
    /// # Errors
    /// As for [`Self::query`].
    pub(super) fn copy_new(&mut self, sql: &str, bytes: Bytes) -> Result<bool> {
        let statement = self.prepared(sql)?;
        self.batch("SAVEPOINT new_rows")?;
        let are_new = self.wait(async |client| match copied(client, &statement, bytes).await {
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(false),
            done => done.map(|_| true),
        })?;
        self.batch(if are_new { "RELEASE new_rows" } else { "ROLLBACK TO new_rows; RELEASE new_rows" })?;
        Ok(are_new)
    }

    /// Runs `work` in a transaction, which ends with a COMMIT where it gives Ok,
    /// else with nothing kept.
    ///
    /// # Errors
    /// Those of `work`, and of the server.
    pub(super) fn transaction<T>(&mut self, begin: &str, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.batch(begin)?;
        let done = work(self).and_then(|value| self.batch("COMMIT").map(|()| value));
        if done.is_err() && !self.is_lost() && self.batch("ROLLBACK").is_err() {
            self.lost = true;
        }
        done
    }

    /// Whether the connection is of no use any more.
    pub(super) fn is_lost(&self) -> bool {
        self.lost || self.client.as_ref().is_none_or(Client::is_closed)
    }

    /// The deadline of the call under way.
    pub(super) fn work_until(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Looks whether the server has closed the connection while nobody asked.
    pub(super) fn look(&mut self) -> bool {
        if let Some(runtime) = &self.runtime {
            // Through the reactor and back: bytes that have come, then the task that reads them.
            runtime.block_on(async {
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
            });
        }
        !self.is_lost()
    }

    fn prepared(&mut self, sql: &str) -> Result<Statement> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.wait(async |client| client.prepare_typed(sql, &[] as &[Type]).await)?;
        if self.statements.len() >= STATEMENTS {
            self.statements.clear();
        }
        self.statements.insert(sql.into(), statement.clone());
        Ok(statement)
    }

    fn wait<T>(
        &mut self,
        call: impl AsyncFnOnce(&Client) -> std::result::Result<T, tokio_postgres::Error>,
    ) -> Result<T> {
        let (Some(client), Some(runtime), false) = (&self.client, &self.runtime, self.lost) else {
            return Err(failure::lost("the connection was given up"));
        };
        let left = self.deadline.saturating_duration_since(Instant::now()) + GRACE;
        match block_on(runtime, left, call(client)) {
            None => {
                self.lost = true;
                Err(failure::lost(&format!("no answer within {} ms: it is given up", left.as_millis())))
            }
            Some(Err(error)) => {
                self.lost |= failure::ends_the_connection(&error);
                Err(error.into())
            }
            Some(Ok(value)) => Ok(value),
        }
    }

    /// What every connection is set to.
    fn set_up(&mut self, schema: &str, statement_timeout: Duration) -> Result<()> {
        let timeout_ms = statement_timeout.as_millis();
        // A server that lost us in the middle of a transaction must not hold its locks for long.
        // A plan never depends on what is bound: planning over the parts of a table anew costs more
        // than most queries.
        self.batch(&format!(
            "SET search_path TO {schema}, pg_catalog; SET statement_timeout TO {timeout_ms}; \
             SET idle_in_transaction_session_timeout TO {timeout_ms}; SET TimeZone TO 'UTC'; SET jit TO off; \
             SET plan_cache_mode TO force_generic_plan; \
             SET client_min_messages TO warning",
            schema = quoted(schema),
        ))
    }
}

async fn copied(
    client: &Client,
    statement: &Statement,
    bytes: Bytes,
) -> std::result::Result<u64, tokio_postgres::Error> {
    use futures_util::SinkExt;
    let mut sink = std::pin::pin!(client.copy_in(statement).await?);
    sink.feed(bytes).await?;
    sink.finish().await
}

fn block_on<T>(runtime: &Runtime, left: Duration, call: impl Future<Output = T>) -> Option<T> {
    runtime.block_on(async { tokio::time::timeout(left, call).await.ok() })
}

impl Drop for Session {
    fn drop(&mut self) {
        // The client first: its connection then says goodbye, if it can at once.
        drop(self.client.take());
        if let Some(runtime) = self.runtime.take() {
            // Never waits, so that a store can be dropped anywhere.
            runtime.shutdown_background();
        }
    }
}

/// An identifier as SQL takes it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
