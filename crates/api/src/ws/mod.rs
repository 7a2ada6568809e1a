//! Sockets: alerts as they come, from the log, and whatever a client missed.
//!
//! Not here: the history in the store; `/api/alerts` has that.

pub(crate) mod hub;
pub(crate) mod replay;
pub(crate) mod seq;
pub(crate) mod socket;

use axum::extract::ws::Utf8Bytes;
use serde::Serialize;
use tapedeck_contracts::{Timestamp, events::Alert};

/// The topic that sockets show.
pub(crate) const ALERTS: &str = "alerts.v1";
/// Sockets are in no group: what is sent again for any is not for them.
const SCREENS: &str = "";

/// An event as it is sent.
#[derive(Serialize)]
struct Message<'a> {
    seq: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: Timestamp,
    payload: &'a Alert,
}

/// The text of an alert.
fn text_of(seq: &str, alert: &Alert) -> Utf8Bytes {
    let message = Message { seq, kind: "alert", timestamp: alert.timestamp, payload: alert };
    serde_json::to_string(&message).expect("an alert was JSON before").into()
}
