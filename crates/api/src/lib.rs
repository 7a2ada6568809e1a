//! The HTTP side of tapedeck: REST over the store and the log, sockets over the
//! log, problem details for every error, OpenAPI, metrics and probes.
//!
//! Not here: SQL, and anything that a role should have stored. There are no
//! locks yet, so [`serve`] binds to loopback addresses only.

mod admin;
mod app;
mod config;
mod cursor;
mod ess;
mod events;
mod forensics;
#[cfg(fuzzing)]
pub mod fuzzing;
mod layers;
mod listing;
mod metrics;
mod openapi;
mod outlook;
mod params;
mod problem;
mod process;
mod rate;
mod routes;
mod server;
mod ws;

pub use app::{Deps, InstrumentInfo};
pub use config::{ApiConfig, WsConfig};
pub use forensics::{Explains, ExplainsError};
pub use openapi::document as openapi_document;
pub use routes::decisions::{Decided, Decides, Question};
pub use server::{ApiError, Server, serve};
