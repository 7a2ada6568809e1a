//! From PostgreSQL's errors to the store's: what will be done about each.
//!
//! Not here: poison, which is found by looking at a row, not by the server.

use tokio_postgres::{Error, error::SqlState};

use crate::StoreError;

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let Some(refused) = error.as_db_error() else {
            return lost(&error.to_string());
        };
        let code = refused.code();
        let said = format!("{} ({})", refused.message(), code.code());
        match code.code() {
            "53100" => Self::Transient(format!(
                "the disk of PostgreSQL is full: free some space, the store goes on by itself: {said}"
            )),
            "42501" => Self::Fatal(format!(
                "the role may not do this in PostgreSQL: {said}. The role of tapedeck owns the tables of its schema; give \
                 it them with `ALTER TABLE … OWNER TO role`, or at least `GRANT USAGE ON SCHEMA …` and `GRANT SELECT, \
                 INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA … TO role`"
            )),
            "25006" => Self::Transient(format!("this PostgreSQL takes no writes, as a standby does: {said}")),
            "42P01" | "42703" | "3F000" | "42883" => Self::Fatal(format!(
                "the tables are not those of this version: {said}. Was the schema changed by hand, or restored in part? \
                 Restore it from a backup, or drop it and start again: what the log still holds is read into a new one"
            )),
            "XX001" | "XX002" => {
                Self::Fatal(format!("PostgreSQL says its data is damaged: {said}. Restore it from a backup"))
            }
            code if is_passing(code) => Self::Transient(format!("PostgreSQL cannot do this now: {said}")),
            code if code.starts_with("28") => refused_to_let_us_in(&said),
            _ => Self::Fatal(format!("the store cannot go on: PostgreSQL says {said}")),
        }
    }
}

/// What passes by itself: connections, memory, locks, time-outs, a server that
/// goes down or comes up, and a statement prepared before a table changed.
fn is_passing(code: &str) -> bool {
    const PASSING: &[&str] = &[
        "0A000", // a cached plan whose table changed
        "23514", // a partition that another process dropped: it is made again (there are no CHECKs of ours)
        "25P03", // we were silent in a transaction for too long
        "55006", // in use
        "55P03", // a lock that was not to be had
        "57014", // a statement that took too long
        "57P01", "57P02", "57P03", "57P05", // the server ends, ended, or starts
    ];
    code.starts_with("08") || code.starts_with("40") || code.starts_with("53") || PASSING.contains(&code)
}

/// Whether a connection is of no use after this error.
pub(super) fn ends_the_connection(error: &Error) -> bool {
    match error.code() {
        None => error.is_closed() || error.as_db_error().is_none(),
        Some(code) => {
            let code = code.code();
            code.starts_with("08") || code.starts_with("57P") || matches!(code, "25P03" | "25006" | "0A000")
        }
    }
}

/// The answer did not come.
pub(super) fn lost(detail: &str) -> StoreError {
    StoreError::Transient(format!("the connection to PostgreSQL was lost: {detail}"))
}

/// The error of a connection that did not come about.
pub(super) fn connecting(error: &Error, address: &str) -> StoreError {
    match (error.code(), error.as_db_error()) {
        (Some(code), Some(refused)) if *code == SqlState::INVALID_CATALOG_NAME => StoreError::Fatal(format!(
            "PostgreSQL at {address}: {}: create it with `createdb`, or name another in [postgres] url",
            refused.message()
        )),
        (Some(code), Some(refused)) if code.code().starts_with("28") => {
            refused_to_let_us_in(&format!("{address}: {} ({})", refused.message(), code.code()))
        }
        (Some(_), Some(refused)) if is_passing(refused.code().code()) => {
            StoreError::Transient(format!("PostgreSQL at {address} takes no connection now: {}", refused.message()))
        }
        (Some(_), Some(refused)) => {
            StoreError::Fatal(format!("PostgreSQL at {address} refuses the connection: {}", refused.message()))
        }
        _ => not_connected(error, address),
    }
}

fn refused_to_let_us_in(said: &str) -> StoreError {
    StoreError::Fatal(format!(
        "PostgreSQL does not let us in: {said}. Check user and password in [postgres], and the server's pg_hba.conf"
    ))
}

/// Before the server could say anything: the network, TLS, or a missing password.
fn not_connected(error: &Error, address: &str) -> StoreError {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !said.contains(&inner_text) {
            said = format!("{said}: {inner_text}");
        }
        cause = inner.source();
    }
    let (tls, config) = (said.contains("TLS"), said.contains("password") || said.contains("configuration"));
    if tls {
        return StoreError::Fatal(format!(
            "no TLS with PostgreSQL at {address}: {said}. Check [postgres] tls and ca_file, and the server's certificate"
        ));
    }
    if config {
        return refused_to_let_us_in(&format!("{address}: {said}"));
    }
    StoreError::Transient(format!(
        "PostgreSQL at {address} cannot be reached: {said}. Check that it runs, the address, and what lies between"
    ))
}

/// What is stored cannot be what was stored.
pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Fatal(format!("the store holds {what} that cannot be read: restore the schema from a backup"))
}
