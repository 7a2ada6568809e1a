//! Figures for Prometheus: a metric's help text is its doc comment, and labels
//! have few values (routes of this crate, names of roles, groups and topics).
//!
//! Not here: counting, which is done where things happen.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::http::StatusCode;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tapedeck_flow::{Gauges, Phase};

use crate::app::lock;

/// Route and class of status.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RouteStatus {
    route: String,
    status: &'static str,
}

/// Route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Route {
    route: String,
}

/// Role.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Role {
    role: String,
}

/// Group and topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct GroupTopic {
    pub(crate) group: String,
    pub(crate) topic: String,
}

/// Topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Topic {
    pub(crate) topic: String,
}

/// Account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Account {
    pub(crate) account: String,
}

/// Declares metrics once: field, name on the wire, and doc comment as help.
macro_rules! figures {
    ($($(#[doc = $help:literal])+ $field:ident ($name:literal): $kind:ty = $make:expr,)+) => {
        /// All figures of this crate.
        pub(crate) struct Metrics {
            registry: std::sync::Mutex<Registry>,
            $($(#[doc = $help])+ pub(crate) $field: $kind,)+
        }

        impl Metrics {
            /// All at zero.
            pub(crate) fn new() -> Self {
                let mut registry = Registry::with_prefix("tapedeck");
                $(let $field: $kind = $make;
                registry.register($name, concat!($($help),+).trim().trim_end_matches('.'), $field.clone());)+
                Self { registry: std::sync::Mutex::new(registry), $($field,)+ }
            }
        }

        /// Name, kind and help of each, for review.
        #[cfg(test)]
        const FIGURES: &[[&str; 3]] = &[$([$name, stringify!($kind), concat!($($help),+)],)+];
    };
}

/// Upper bounds in seconds, about the goal of 20 ms.
fn seconds() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0])
}

figures! {
    /// HTTP requests answered, by route and class of status.
    requests("http_requests"): Family<RouteStatus, Counter> = Family::default(),
    /// Time from a request's head to its answer, by route.
    durations("http_request_duration_seconds"): Family<Route, Histogram> = Family::new_with_constructor(seconds),
    /// Sockets open now.
    ws_clients("ws_clients"): Gauge = Gauge::default(),
    /// Events sent to sockets.
    ws_sent("ws_events_sent"): Counter = Counter::default(),
    /// Sockets closed because they were too slow.
    ws_slow("ws_slow_clients_closed"): Counter = Counter::default(),
    /// Events taken from clients into the log.
    events_accepted("api_events_accepted"): Counter = Counter::default(),
    /// Events of clients refused.
    events_rejected("api_events_rejected"): Counter = Counter::default(),
    /// 1 while the breaker of the store refuses calls.
    store_breaker("api_store_breaker_open"): Gauge = Gauge::default(),
    /// Bytes of memory that the process holds.
    resident("process_resident_memory_bytes"): Gauge = Gauge::default(),
    /// 1 while a role is at work or stands by.
    role_up("role_up"): Family<Role, Gauge> = Family::default(),
    /// Records that a role handled.
    role_records("role_records"): Family<Role, Counter> = Family::default(),
    /// Batches that a role made visible.
    role_batches("role_batches"): Family<Role, Counter> = Family::default(),
    /// Records that a role left out because their event was handled before.
    role_duplicates("role_duplicates"): Family<Role, Counter> = Family::default(),
    /// Records that a role could not decode or handle.
    role_poison("role_poison"): Family<Role, Counter> = Family::default(),
    /// Tries of a role after a transient failure.
    role_retries("role_retries"): Family<Role, Counter> = Family::default(),
    /// Signals that came after their market event was passed.
    role_late("role_late_signals"): Family<Role, Counter> = Family::default(),
    /// Numbers of the sequencer that never came.
    role_gaps("role_sequence_gaps"): Family<Role, Counter> = Family::default(),
    /// Time that a role's last batch took from decode to visible.
    role_batch("role_batch_seconds"): Family<Role, Gauge<f64, AtomicU64>> = Family::default(),
    /// Records that a group has not taken yet, by topic.
    lag_records("group_lag_records"): Family<GroupTopic, Gauge> = Family::default(),
    /// Age of the oldest record that a group has not taken yet, by topic.
    lag_seconds("group_lag_seconds"): Family<GroupTopic, Gauge<f64, AtomicU64>> = Family::default(),
    /// Time until a group has no lag in a topic, at the rate of the last half minute; infinite where never, NaN where not known.
    lag_clear("group_lag_clear_in_seconds"): Family<GroupTopic, Gauge<f64, AtomicU64>> = Family::default(),
    /// Bytes of records kept, by topic.
    log_bytes("log_bytes"): Family<Topic, Gauge> = Family::default(),
    /// Dead letters that were neither redriven nor purged, by the topic of their records.
    dlq_depth("dlq_depth"): Family<Topic, Gauge> = Family::default(),
    /// Equity of an account, in its currency.
    equity("account_equity"): Family<Account, Gauge<f64, AtomicU64>> = Family::default(),
    /// Fall of an account from its peak of the day, in percent.
    drawdown("account_drawdown_daily_pct"): Family<Account, Gauge<f64, AtomicU64>> = Family::default(),
    /// Gross exposure of an account, in its currency.
    exposure("account_exposure_gross"): Family<Account, Gauge<f64, AtomicU64>> = Family::default(),
    /// 1 while the emergency stop of an account is not armed.
    ess("account_ess_tripped"): Family<Account, Gauge> = Family::default(),
}

impl Metrics {
    /// Counts a request.
    pub(crate) fn http(&self, route: &str, status: StatusCode, took: Duration) {
        let class = match status.as_u16() {
            100..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&RouteStatus { route: route.to_owned(), status: class }).inc();
        self.durations.get_or_create(&Route { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    /// Takes over what the roles say of themselves.
    pub(crate) fn roles(&self, roles: &[(String, Arc<Gauges>)]) {
        for (name, gauges) in roles {
            let role = Role { role: name.clone() };
            let up = matches!(gauges.phase(), Phase::Running | Phase::Standby);
            self.role_up.get_or_create(&role).set(i64::from(up));
            let counters = [
                (&self.role_records, &gauges.records),
                (&self.role_batches, &gauges.batches),
                (&self.role_duplicates, &gauges.duplicates),
                (&self.role_poison, &gauges.poison),
                (&self.role_retries, &gauges.retries),
                (&self.role_late, &gauges.late),
                (&self.role_gaps, &gauges.gaps),
            ];
            for (family, counter) in counters {
                let shown = family.get_or_create(&role);
                shown.inc_by(counter.load(Relaxed).saturating_sub(shown.get()));
            }
            #[expect(clippy::cast_precision_loss, reason = "a batch takes less than 285 years")]
            self.role_batch.get_or_create(&role).set(gauges.batch_us.load(Relaxed) as f64 / 1e6);
        }
    }

    /// The text format of Prometheus.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &lock(&self.registry)).expect("text takes all");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dashboards and alerts are made of these names: a change of one is a
    /// change of the contract.
    #[test]
    fn the_figures_are_the_ones_that_were_reviewed() {
        let lines = FIGURES.iter().map(|[name, kind, help]| format!("tapedeck_{name}: {kind}\n   {help}\n"));
        insta::assert_snapshot!("figures", lines.collect::<String>());
    }
}
