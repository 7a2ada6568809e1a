//! Risk metrics, alerts and signals as they are kept: the body whole, beside
//! the columns they are asked for by; and the newest metrics of an account.
//!
//! Not here: asking for alerts.

use rusqlite::{Connection, OptionalExtension, params};
use tapedeck_contracts::events::{Alert, Envelope, RiskMetrics, Signal};

use super::{
    apply::Step,
    codec::{self, Id, code},
    curves,
    failure::damaged,
    names::Names,
};
use crate::{Result, Row, common::json};

/// Keeps metrics; false where they are there already.
pub(super) fn keep_metrics(step: &mut Step<'_>, row: &Row, metrics: &RiskMetrics) -> Result<bool> {
    let (conn, place) = (step.conn, codec::place(&row.origin)?);
    let (account, time_us) = (step.names.intern(conn, &metrics.account)?, metrics.timestamp.micros());
    let id = Id::of(row.event_id.as_str());
    if !step.accounts.is_after_all(conn, account, metrics.timestamp)?
        && conn
            .prepare_cached("SELECT 1 FROM risk_metrics WHERE account = ?1 AND time_us = ?2 AND event_id = ?3")?
            .exists(params![account, time_us, id])?
    {
        return Ok(false);
    }
    conn.prepare_cached(
        "INSERT INTO risk_metrics (account, time_us, place, ingested_ms, event_id, body) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![account, time_us, place, step.ingested_ms, id, json(metrics)?])?;
    let before = step.accounts.metrics(conn, account, metrics)?;
    let at = (account, place, step.ingested_ms);
    let held = curves::unrealized(conn, step.names, metrics, at, before.as_deref().unwrap_or_default())?;
    if before.is_some() {
        step.accounts.hold(conn, account, held)?;
    }
    Ok(true)
}

/// Keeps an alert whose event id is new.
pub(super) fn keep_alert(step: &mut Step<'_>, row: &Row, alert: &Alert) -> Result<bool> {
    let conn = step.conn;
    let account = alert.account.as_deref().map(|name| step.names.intern(conn, name)).transpose()?;
    conn.prepare_cached(
        "INSERT INTO alerts (time_us, place, ingested_ms, severity, account, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        alert.timestamp.micros(),
        codec::place(&row.origin)?,
        step.ingested_ms,
        code(codec::SEVERITIES, &alert.severity),
        account,
        json(alert)?
    ])?;
    Ok(true)
}

/// Keeps a signal; false where it is there already.
pub(super) fn keep_signal(step: &mut Step<'_>, row: &Row, signal: &Envelope<Signal>) -> Result<bool> {
    let (conn, id) = (step.conn, Id::of(row.event_id.as_str()));
    let time_us = signal.timestamp.micros();
    let known = conn
        .prepare_cached("SELECT 1 FROM signals WHERE time_us = ?1 AND event_id = ?2")?
        .exists(params![time_us, id])?;
    if known {
        return Ok(false);
    }
    let symbol = step.names.intern(conn, &signal.data.market_data.symbol)?;
    conn.prepare_cached(
        "INSERT INTO signals (time_us, place, ingested_ms, symbol, event_id, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![time_us, codec::place(&row.origin)?, step.ingested_ms, symbol, id, json(signal)?])?;
    Ok(true)
}

pub(super) const LATEST: &str =
    "SELECT body FROM risk_metrics WHERE account = ?1 ORDER BY time_us DESC, place DESC LIMIT 1";

/// The newest metrics of one account, or of each, by name.
pub(super) fn latest(conn: &Connection, names: &mut Names, account: Option<&str>) -> Result<Vec<RiskMetrics>> {
    let accounts = match account {
        Some(name) => names.find(conn, name)?.into_iter().collect(),
        None => conn
            .prepare_cached("SELECT account FROM accounts")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<i64>>>()?,
    };
    let mut all = Vec::with_capacity(accounts.len());
    for account in accounts {
        let body: Option<String> =
            conn.prepare_cached(LATEST)?.query_row(params![account], |row| row.get(0)).optional()?;
        if let Some(body) = body {
            all.push(serde_json::from_str::<RiskMetrics>(&body).map_err(|_| damaged("risk metrics"))?);
        }
    }
    all.sort_by(|a, b| a.account.cmp(&b.account));
    Ok(all)
}
