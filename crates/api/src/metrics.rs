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
use tapedeck_flow::{Gauges, Phase, emitter::EmitterStats};

use tapedeck_log::Figure;

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

/// Emitter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Emitter {
    emitter: String,
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
            fn zero() -> Self {
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
    /// What all roles together may hold in memory of what they read.
    memory_cap("memory_cap_bytes"): Gauge = Gauge::default(),
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
    /// Dead letters that a role wrote.
    role_dead_letters("role_dead_letters"): Family<Role, Counter> = Family::default(),
    /// Records that a role left out because they were sent again for another group.
    role_redriven_skipped("role_redriven_skipped"): Family<Role, Counter> = Family::default(),
    /// Tries of single records after a failure that was theirs.
    role_record_retries("role_record_retries"): Family<Role, Counter> = Family::default(),
    /// Offsets that retention took from the log before a role read them.
    role_missed("role_missed_offsets"): Family<Role, Counter> = Family::default(),
    /// Bytes that a role holds of what it read and has not made visible yet.
    role_in_flight("role_in_flight_bytes"): Family<Role, Gauge> = Family::default(),
    /// Age of the oldest record that a role read and has not settled yet; 0 where there is none.
    role_oldest("role_oldest_unsettled_seconds"): Family<Role, Gauge<f64, AtomicU64>> = Family::default(),
    /// Partitions that a role has paused.
    role_paused("role_paused_partitions"): Family<Role, Gauge> = Family::default(),
    /// Time that a role's last batch took from decode to visible.
    role_batch("role_batch_seconds"): Family<Role, Gauge<f64, AtomicU64>> = Family::default(),
    /// Breaker of an emitter: 0 closed, 1 open, 2 trying one send.
    emitter_breaker("emitter_breaker_state"): Family<Emitter, Gauge> = Family::default(),
    /// Records that wait in the spool of an emitter.
    emitter_spool_records("emitter_spool_records"): Family<Emitter, Gauge> = Family::default(),
    /// Bytes on disk of the spool of an emitter.
    emitter_spool_bytes("emitter_spool_bytes"): Family<Emitter, Gauge> = Family::default(),
    /// Bytes that wait in the rings of an emitter.
    emitter_ring_bytes("emitter_ring_bytes"): Family<Emitter, Gauge> = Family::default(),
    /// Sends of an emitter that failed since one worked.
    emitter_failures("emitter_consecutive_send_failures"): Family<Emitter, Gauge> = Family::default(),
    /// Files of an earlier process that an emitter set aside unsent.
    emitter_kept_files("emitter_kept_files"): Family<Emitter, Gauge> = Family::default(),
    /// Records that an emitter took from the program.
    emitter_emitted("emitter_emitted_records"): Family<Emitter, Counter> = Family::default(),
    /// Records of an emitter that are durable in the log.
    emitter_sent("emitter_sent_records"): Family<Emitter, Counter> = Family::default(),
    /// Records that their source gave up because ring and spool of an emitter were full.
    emitter_dropped("emitter_dropped_records"): Family<Emitter, Counter> = Family::default(),
    /// Records of an emitter that the log refused for good.
    emitter_refused("emitter_refused_records"): Family<Emitter, Counter> = Family::default(),
    /// Times that an emitter did not take an event because ring and spool were full.
    emitter_full("emitter_full"): Family<Emitter, Counter> = Family::default(),
    /// Records of an earlier process left out, because their cause is handled again.
    emitter_left_out("emitter_left_out_records"): Family<Emitter, Counter> = Family::default(),
    /// Damaged or unfinished records that an emitter found.
    emitter_torn("emitter_torn_records"): Family<Emitter, Counter> = Family::default(),
    /// Calls of an emitter to the log.
    emitter_sends("emitter_sends"): Family<Emitter, Counter> = Family::default(),
    /// Calls of an emitter to the log that failed.
    emitter_send_failures("emitter_send_failures"): Family<Emitter, Counter> = Family::default(),
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
    /// All at zero, but for what does not change.
    pub(crate) fn new(memory_cap_bytes: u64) -> Self {
        let metrics = Self::zero();
        metrics.memory_cap.set(i64::try_from(memory_cap_bytes).unwrap_or(i64::MAX));
        metrics
    }

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

    /// Takes over what the roles say of themselves; `now_ms` is in ms since the epoch.
    pub(crate) fn roles(&self, roles: &[(String, Arc<Gauges>)], now_ms: i64) {
        for (name, gauges) in roles {
            let role = Role { role: name.clone() };
            let up = matches!(gauges.phase(), Phase::Running | Phase::Standby);
            self.role_up.get_or_create(&role).set(i64::from(up));
            let counters = [
                (&self.role_records, &gauges.records),
                (&self.role_batches, &gauges.batches),
                (&self.role_duplicates, &gauges.duplicates),
                (&self.role_poison, &gauges.poison),
                (&self.role_dead_letters, &gauges.dead_letters),
                (&self.role_redriven_skipped, &gauges.redriven_skipped),
                (&self.role_retries, &gauges.retries),
                (&self.role_record_retries, &gauges.record_retries),
                (&self.role_late, &gauges.late),
                (&self.role_gaps, &gauges.gaps),
                (&self.role_missed, &gauges.missed),
            ];
            counters.into_iter().for_each(|(family, counter)| raise(&family.get_or_create(&role), counter));
            show(&self.role_in_flight.get_or_create(&role), &gauges.in_flight_bytes);
            show(&self.role_paused.get_or_create(&role), &gauges.paused);
            self.role_oldest.get_or_create(&role).set(oldest_unsettled_seconds(gauges, now_ms));
            #[expect(clippy::cast_precision_loss, reason = "a batch takes less than 285 years")]
            self.role_batch.get_or_create(&role).set(gauges.batch_us.load(Relaxed) as f64 / 1e6);
        }
    }

    /// Takes over what the emitters say of themselves.
    pub(crate) fn emitters(&self, emitters: &[(String, Arc<EmitterStats>)]) {
        for (name, stats) in emitters {
            let emitter = Emitter { emitter: name.clone() };
            let gauges = [
                (&self.emitter_breaker, &stats.breaker),
                (&self.emitter_spool_records, &stats.spooled_records),
                (&self.emitter_spool_bytes, &stats.spooled_bytes),
                (&self.emitter_ring_bytes, &stats.ring_bytes),
                (&self.emitter_failures, &stats.send_failures_in_row),
                (&self.emitter_kept_files, &stats.kept_files),
            ];
            gauges.into_iter().for_each(|(family, gauge)| show(&family.get_or_create(&emitter), gauge));
            let counters = [
                (&self.emitter_emitted, &stats.emitted),
                (&self.emitter_sent, &stats.sent),
                (&self.emitter_dropped, &stats.dropped),
                (&self.emitter_refused, &stats.refused),
                (&self.emitter_torn, &stats.torn),
                (&self.emitter_sends, &stats.sends),
                (&self.emitter_send_failures, &stats.send_failures),
                (&self.emitter_full, &stats.full),
                (&self.emitter_left_out, &stats.left_out),
            ];
            counters.into_iter().for_each(|(family, counter)| raise(&family.get_or_create(&emitter), counter));
        }
    }

    /// The text format of Prometheus, with what the log tells of itself.
    pub(crate) fn text(&self, of_log: &[Figure]) -> String {
        const END: &str = "# EOF\n";
        let mut text = String::new();
        encode(&mut text, &lock(&self.registry)).expect("text takes all");
        text.truncate(text.trim_end_matches(END).len());
        write_figures(&mut text, of_log);
        text.push_str(END);
        text
    }
}

/// A family a name, its numbers together, as the format wants it.
fn write_figures(text: &mut String, figures: &[Figure]) {
    let mut names: Vec<&str> = figures.iter().map(|figure| figure.name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let of_name = || figures.iter().filter(|figure| figure.name == name);
        let Some(first) = of_name().next() else { continue };
        let (kind, ending) = if first.is_counter { ("counter", "_total") } else { ("gauge", "") };
        let help = first.help.trim_end_matches('.');
        text.push_str(&format!("# HELP tapedeck_{name} {help}.\n# TYPE tapedeck_{name} {kind}\n"));
        for figure in of_name() {
            let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let label = figure.label.as_ref().map(|(label, value)| format!("{{{label}=\"{}\"}}", quoted(value)));
            text.push_str(&format!("tapedeck_{name}{ending}{} {}\n", label.unwrap_or_default(), figure.value));
        }
    }
}

/// Brings a counter up to what was counted elsewhere.
fn raise(shown: &Counter, counted: &AtomicU64) {
    shown.inc_by(counted.load(Relaxed).saturating_sub(shown.get()));
}

fn show(shown: &Gauge, value: &AtomicU64) {
    shown.set(i64::try_from(value.load(Relaxed)).unwrap_or(i64::MAX));
}

/// Age of the oldest record that a role read and has not settled; 0 where there is none.
pub(crate) fn oldest_unsettled_seconds(gauges: &Gauges, now_ms: i64) -> f64 {
    let oldest_ms = i64::try_from(gauges.oldest_unsettled_ms.load(Relaxed)).unwrap_or(i64::MAX);
    if oldest_ms == 0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "an age in ms is far below 2^52")]
    let age_ms = now_ms.saturating_sub(oldest_ms).max(0) as f64;
    age_ms / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_log_tells_of_itself_stands_before_the_end_and_by_family() {
        let figure = |label: Option<&str>, value| Figure {
            name: "kafka_broker_rtt_seconds",
            help: "Time of a round trip.",
            is_counter: false,
            label: label.map(|label| ("broker", label.to_owned())),
            value,
        };
        let sent = Figure { name: "kafka_sent_records", is_counter: true, ..figure(None, 7.0) };
        let text = Metrics::new(1).text(&[figure(Some("1"), 0.5), sent, figure(Some("a\"b"), 2.0)]);
        let wanted = "# HELP tapedeck_kafka_broker_rtt_seconds Time of a round trip.\n\
                      # TYPE tapedeck_kafka_broker_rtt_seconds gauge\n\
                      tapedeck_kafka_broker_rtt_seconds{broker=\"1\"} 0.5\n\
                      tapedeck_kafka_broker_rtt_seconds{broker=\"a\\\"b\"} 2\n\
                      # HELP tapedeck_kafka_sent_records Time of a round trip.\n\
                      # TYPE tapedeck_kafka_sent_records counter\n\
                      tapedeck_kafka_sent_records_total 7\n\
                      # EOF\n";
        assert!(text.ends_with(wanted), "{text}");
        assert_eq!(text.matches("# EOF").count(), 1);
    }

    /// Dashboards and alerts are made of these names: a change of one is a
    /// change of the contract.
    #[test]
    fn the_figures_are_the_ones_that_were_reviewed() {
        let lines = FIGURES.iter().map(|[name, kind, help]| format!("tapedeck_{name}: {kind}\n   {help}\n"));
        insta::assert_snapshot!("figures", lines.collect::<String>());
    }
}
