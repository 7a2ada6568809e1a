//! Configs for the servers that tests run on.
//!
//! Not here: starting them.

use tapedeck_store::PostgresConfig;
use tapedeck_testbed::{Timescale, name, postgres, timescale};

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
