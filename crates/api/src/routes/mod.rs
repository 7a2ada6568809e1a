//! What is read: one module an endpoint. A handler reads its parameters, asks
//! the store once, and writes the rows straight to bytes.
//!
//! Not here: commands, posted events and administration.

pub(crate) mod accounts;
pub(crate) mod alerts;
pub(crate) mod decisions;
pub(crate) mod fills;
pub(crate) mod health;
pub(crate) mod orders;
pub(crate) mod pages;
pub(crate) mod pnl;
pub(crate) mod positions;
pub(crate) mod risk;
pub(crate) mod symbols;

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// A JSON answer.
pub(crate) fn json<T: Serialize>(value: &T) -> Response {
    let body = serde_json::to_vec(value).expect("answers are text, decimals and finite numbers");
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
