//! What is kept event by event: reports, risk metrics with what is held, alerts
//! and signals. Metrics and signals are states and hints: they are compared with
//! their neighbours of the same time only, instead of having their ids kept.
//!
//! Not here: sums.

use std::collections::{BTreeMap, HashSet};

use rust_decimal::Decimal;
use tapedeck_contracts::{
    Event,
    events::{Alert, Envelope, ExecutionReport, RiskMetrics, Signal},
};

use super::{
    claims::ingested_us,
    codec::{Time, get},
    connect::Session,
    reports::{self, EXEC_REPORTS},
    sheet::{Kind, Sheet, Table},
    sums::Sums,
};
use crate::{
    Batch, Result, Row,
    common::{curves::unrealized, json, values, words},
};

/// The symbol that stands for the whole account.
const WHOLE_ACCOUNT: &str = "";

const RISK_METRICS: Table = Table {
    name: "risk_metrics",
    columns: &[
        ("ingested_at", Kind::Time),
        ("account", Kind::Text),
        ("time", Kind::Time),
        ("place", Kind::Int),
        ("event_id", Kind::Text),
        ("body", Kind::Text),
    ],
    on_conflict: "",
};
const RISK_LATEST: Table = Table {
    name: "risk_latest",
    columns: &[("account", Kind::Text), ("time", Kind::Time), ("place", Kind::Int), ("body", Kind::Text)],
    on_conflict: "ON CONFLICT (account) DO UPDATE SET time = excluded.time, place = excluded.place, \
                  body = excluded.body WHERE (excluded.time, excluded.place) > (risk_latest.time, risk_latest.place)",
};
const UNREALIZED_CURVE: Table = Table {
    name: "unrealized_curve",
    columns: &[
        ("ingested_at", Kind::Time),
        ("account", Kind::Text),
        ("symbol", Kind::Text),
        ("time", Kind::Time),
        ("place", Kind::Int),
        ("unrealized", Kind::Num),
    ],
    on_conflict: "",
};
const UNREALIZED_TOTALS: Table = Table {
    name: "unrealized_totals",
    columns: &[
        ("account", Kind::Text),
        ("symbol", Kind::Text),
        ("time", Kind::Time),
        ("place", Kind::Int),
        ("unrealized", Kind::Num),
    ],
    on_conflict: "ON CONFLICT (account, symbol) DO UPDATE SET time = excluded.time, place = excluded.place, \
                  unrealized = excluded.unrealized \
                  WHERE (excluded.time, excluded.place) >= (unrealized_totals.time, unrealized_totals.place)",
};
const ALERTS: Table = Table {
    name: "alerts",
    columns: &[
        ("ingested_at", Kind::Time),
        ("time", Kind::Time),
        ("place", Kind::Int),
        ("severity", Kind::Text),
        ("account", Kind::Text),
        ("body", Kind::Text),
    ],
    on_conflict: "",
};
const SIGNALS: Table = Table {
    name: "signals",
    columns: &[
        ("ingested_at", Kind::Time),
        ("time", Kind::Time),
        ("place", Kind::Int),
        ("symbol", Kind::Text),
        ("event_id", Kind::Text),
        ("body", Kind::Text),
    ],
    on_conflict: "",
};

/// Time and place: the newest is the highest.
type When = (i64, i64);

/// The account (none of a signal), time and id of an event.
type Known = (String, i64, String);

/// What a batch adds.
pub(super) struct States<'a> {
    ingested_us: i64,
    reports: Sheet,
    metrics: Sheet,
    alerts: Sheet,
    signals: Sheet,
    unrealized: Sheet,
    /// The newest of the batch, by account.
    latest: BTreeMap<&'a str, (When, String)>,
    /// The newest of the batch, by account and symbol.
    held: BTreeMap<(&'a str, String), (When, Decimal)>,
    /// Metrics and signals that are there already.
    known: HashSet<Known>,
}

impl<'a> States<'a> {
    pub(super) fn load(session: &mut Session, batch: &'a Batch, sums: &Sums<'_>, copies: bool) -> Result<Self> {
        Ok(Self {
            ingested_us: ingested_us(batch),
            reports: Sheet::new(&EXEC_REPORTS, copies),
            metrics: Sheet::new(&RISK_METRICS, copies),
            alerts: Sheet::new(&ALERTS, copies),
            signals: Sheet::new(&SIGNALS, copies),
            unrealized: Sheet::new(&UNREALIZED_CURVE, copies),
            latest: BTreeMap::new(),
            held: BTreeMap::new(),
            known: known(session, batch, sums)?,
        })
    }

    /// Keeps a report.
    pub(super) fn report(&mut self, row: &Row, report: &ExecutionReport, place: i64) -> Result<()> {
        reports::write(&mut self.reports, row, report, self.ingested_us, place)
    }

    /// Keeps metrics; false where they are there already.
    pub(super) fn metrics(&mut self, row: &'a Row, metrics: &'a RiskMetrics, sums: &mut Sums<'a>) -> Result<bool> {
        let (place, time_us) = (values::place(&row.origin)?, metrics.timestamp.micros());
        let account = sums.account(&metrics.account);
        if !self.known.insert((metrics.account.clone(), time_us, row.event_id.0.clone())) {
            return Ok(false);
        }
        let body = json(metrics)?;
        self.metrics.row().time(self.ingested_us).text(&metrics.account).time(time_us).int(place);
        self.metrics.text(row.event_id.as_str()).text(&body);
        let before = account.metrics(metrics);
        let symbols: Vec<String> = metrics.positions.iter().map(|position| position.symbol.clone()).collect();
        let whole = WHOLE_ACCOUNT.to_owned();
        let (by_symbol, held) = unrealized(metrics, &symbols, &whole, before.as_deref().unwrap_or_default())?;
        if before.is_some() {
            account.held = held;
        }
        for (symbol, sum) in by_symbol {
            self.unrealized.row().time(self.ingested_us).text(&metrics.account).text(&symbol);
            self.unrealized.time(time_us).int(place).num(sum);
            let newest = self.held.entry((&metrics.account, symbol)).or_insert(((time_us, place), sum));
            if newest.0 <= (time_us, place) {
                *newest = ((time_us, place), sum);
            }
        }
        let newest = self.latest.entry(&metrics.account).or_insert_with(|| ((time_us, place), String::new()));
        if newest.0 <= (time_us, place) {
            *newest = ((time_us, place), body);
        }
        Ok(true)
    }

    /// Keeps an alert whose event id is new.
    pub(super) fn alert(&mut self, row: &Row, alert: &Alert) -> Result<()> {
        let place = values::place(&row.origin)?;
        let body = json(alert)?;
        self.alerts.row().time(self.ingested_us).time(alert.timestamp.micros()).int(place);
        let severity = words::text(words::SEVERITIES, &alert.severity);
        self.alerts.text(severity).optional_text(alert.account.as_deref()).text(&body);
        Ok(())
    }

    /// Keeps a signal; false where it is there already.
    pub(super) fn signal(&mut self, row: &Row, signal: &Envelope<Signal>) -> Result<bool> {
        let (place, time_us) = (values::place(&row.origin)?, signal.timestamp.micros());
        if !self.known.insert((String::new(), time_us, row.event_id.0.clone())) {
            return Ok(false);
        }
        let body = json(signal)?;
        self.signals.row().time(self.ingested_us).time(time_us).int(place);
        self.signals.text(&signal.data.market_data.symbol).text(row.event_id.as_str()).text(&body);
        Ok(true)
    }

    pub(super) fn send(self, session: &mut Session) -> Result<()> {
        for sheet in [self.reports, self.metrics, self.alerts, self.signals, self.unrealized] {
            sheet.send(session)?;
        }
        let mut latest = Sheet::new(&RISK_LATEST, false);
        for (account, ((time_us, place), body)) in self.latest {
            latest.row().text(account).time(time_us).int(place).text(&body);
        }
        latest.send(session)?;
        let mut held = Sheet::new(&UNREALIZED_TOTALS, false);
        for ((account, symbol), ((time_us, place), sum)) in self.held {
            held.row().text(account).text(&symbol).time(time_us).int(place).num(sum);
        }
        held.send(session)?;
        Ok(())
    }
}

/// The metrics and signals of the batch that are there already. Metrics that
/// come after all of their account cannot be.
fn known(session: &mut Session, batch: &Batch, sums: &Sums<'_>) -> Result<HashSet<Known>> {
    let (mut accounts, mut metrics_times, mut metrics_ids) = (Vec::new(), Vec::new(), Vec::new());
    let (mut times, mut ids) = (Vec::new(), Vec::new());
    for row in &batch.rows {
        match &row.event {
            Event::RiskMetrics(metrics) if sums.metrics_us(&metrics.account) >= Some(metrics.timestamp.micros()) => {
                accounts.push(metrics.account.as_str());
                metrics_times.push(Time::of(metrics.timestamp));
                metrics_ids.push(row.event_id.as_str());
            }
            Event::Signal(signal) => {
                times.push(Time::of(signal.timestamp));
                ids.push(row.event_id.as_str());
            }
            _ => {}
        }
    }
    let mut known = HashSet::new();
    if !ids.is_empty() {
        let sql = "SELECT '', s.time, s.event_id FROM unnest($1::timestamptz[], $2::text[]) AS k(time, event_id) \
                   JOIN signals s ON s.time = k.time AND s.event_id = k.event_id";
        for row in session.query(sql, &[&times, &ids])? {
            known.insert((get(&row, 0)?, get::<Time>(&row, 1)?.0, get(&row, 2)?));
        }
    }
    if !accounts.is_empty() {
        let sql = "SELECT r.account, r.time, r.event_id \
                   FROM unnest($1::text[], $2::timestamptz[], $3::text[]) AS k(account, time, event_id) \
                   JOIN risk_metrics r ON r.account = k.account AND r.time = k.time AND r.event_id = k.event_id";
        for row in session.query(sql, &[&accounts, &metrics_times, &metrics_ids])? {
            known.insert((get(&row, 0)?, get::<Time>(&row, 1)?.0, get(&row, 2)?));
        }
    }
    Ok(known)
}
