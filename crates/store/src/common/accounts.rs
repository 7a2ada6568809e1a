//! Accounts: what their sessions, reports and metrics say of them.
//!
//! Not here: reading and writing them, and risk metrics in full.

use rust_decimal::Decimal;
use tapedeck_contracts::{
    Dec, Timestamp,
    events::{Envelope, ExecutionReport, ForwardTest, RiskMetrics, portfolio::ForwardTestKind},
};

use crate::AccountRow;

/// An account as it stands. `S` is how a store names a symbol.
pub(crate) struct Account<S> {
    /// As its session or its metrics name it.
    pub(crate) currency: Option<String>,
    /// That of its first commission, until it is named.
    pub(crate) fee_currency: Option<String>,
    pub(crate) session_id: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) starting_equity: Option<Decimal>,
    pub(crate) equity: Option<Decimal>,
    /// Time of the newest metrics.
    pub(crate) metrics_us: Option<i64>,
    /// Symbols held at the newest metrics.
    pub(crate) held: Vec<S>,
    pub(crate) as_of_us: Option<i64>,
}

impl<S> Default for Account<S> {
    fn default() -> Self {
        Self {
            currency: None,
            fee_currency: None,
            session_id: None,
            source: None,
            starting_equity: None,
            equity: None,
            metrics_us: None,
            held: Vec::new(),
            as_of_us: None,
        }
    }
}

/// The account that an event of a session changes: only one that begins does.
pub(crate) fn begun(event: &Envelope<ForwardTest>) -> Option<&str> {
    match event.data.event {
        ForwardTestKind::Started => event.data.account.as_deref(),
        _ => None,
    }
}

impl<S: Clone> Account<S> {
    fn seen_at(&mut self, time: Timestamp) {
        self.as_of_us = self.as_of_us.max(Some(time.micros()));
    }

    /// Notes a report; says whether its commission is in the account's currency.
    pub(crate) fn report(&mut self, report: &ExecutionReport) -> bool {
        self.seen_at(report.timestamp);
        if self.currency.is_none() && self.fee_currency.is_none() {
            self.fee_currency = Some(report.costs.currency.clone());
        }
        let own = self.currency.as_ref().or(self.fee_currency.as_ref());
        own == Some(&report.costs.currency)
    }

    /// Whether metrics of this time come after all that were kept of the account.
    pub(crate) fn is_after_all(&self, time: Timestamp) -> bool {
        self.metrics_us < Some(time.micros())
    }

    /// Notes metrics; older ones than the newest change nothing. Returns the
    /// symbols that were held before, where these are the newest.
    pub(crate) fn metrics(&mut self, metrics: &RiskMetrics) -> Option<Vec<S>> {
        self.seen_at(metrics.timestamp);
        if self.metrics_us > Some(metrics.timestamp.micros()) {
            return None;
        }
        self.metrics_us = Some(metrics.timestamp.micros());
        self.equity = Some(*metrics.equity);
        if metrics.currency.is_some() {
            self.currency.clone_from(&metrics.currency);
        }
        Some(self.held.clone())
    }

    /// Notes a session that [`begun`].
    pub(crate) fn session(&mut self, event: &Envelope<ForwardTest>) {
        let test = &event.data;
        self.seen_at(event.timestamp);
        self.session_id = Some(test.session_id.clone());
        self.source.clone_from(&test.source);
        self.starting_equity = test.starting_equity.map(|equity| *equity);
        if self.equity.is_none() {
            self.equity = self.starting_equity;
        }
        if test.currency.is_some() {
            self.currency.clone_from(&test.currency);
        }
    }

    /// The answer to a query.
    pub(crate) fn into_answer(self, account: String) -> AccountRow {
        AccountRow {
            account,
            currency: self.currency.or(self.fee_currency),
            session_id: self.session_id,
            source: self.source,
            starting_equity: self.starting_equity.map(Dec),
            equity: self.equity.map(Dec),
            as_of: Timestamp::from_micros(self.as_of_us.unwrap_or_default()),
        }
    }
}
