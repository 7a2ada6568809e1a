//! What sizes and waits must be to each other.
//!
//! Not here: what is wrong within a role's own section.

use tapedeck_flow::{config::DeliveryConfig, emitter::EmitterConfig};

use super::LogConfig;

/// A small event with its headers, as the ring keeps it: the most that a ring
/// holds is its size through this.
const SMALL_EVENT_BYTES: u64 = 1_024;

/// What is wrong, each line with its remedy.
pub(super) fn check(log: &LogConfig, delivery: &DeliveryConfig, emitter: &EmitterConfig) -> Vec<String> {
    let record = log.max_record_bytes as u64;
    let mut wrong = Vec::new();
    let mut must = |holds: bool, text: String| {
        if !holds {
            wrong.push(text);
        }
    };
    for (key, value, least, most, why) in ranges(log, delivery, emitter) {
        must(
            (least..=most).contains(&value),
            format!("{key} is {value}: it must be between {least} and {most}, since {why}"),
        );
    }
    must(!emitter.ring_dir.is_empty(), "emitter.ring_dir is empty: it must be `auto` or the path of a folder".into());
    must(
        delivery.record_retry_first_ms <= delivery.record_retry_longest_ms,
        format!(
            "delivery.record_retry_first_ms is {}: the first wait cannot be longer than delivery.record_retry_longest_ms = {}",
            delivery.record_retry_first_ms, delivery.record_retry_longest_ms
        ),
    );
    must(
        emitter.ring_bytes >= 2 * record,
        format!(
            "emitter.ring_bytes is {}: it must hold two of the largest records (2 x log.max_record_bytes = {}), one that is sent and one that comes",
            emitter.ring_bytes,
            2 * record
        ),
    );
    must(
        emitter.segment_bytes >= record,
        format!(
            "emitter.segment_bytes is {}: a file of the spool must hold the largest record (log.max_record_bytes = {record})",
            emitter.segment_bytes
        ),
    );
    must(
        emitter.segment_bytes <= emitter.spool_max_bytes,
        format!(
            "emitter.segment_bytes is {}: a file of the spool cannot be larger than the spool (emitter.spool_max_bytes = {})",
            emitter.segment_bytes, emitter.spool_max_bytes
        ),
    );
    let held = emitter.ring_bytes / SMALL_EVENT_BYTES;
    must(
        delivery.dedupe_window as u64 >= held,
        format!(
            "delivery.dedupe_window is {}: after a kill a whole ring may be sent again, {held} events of {SMALL_EVENT_BYTES} bytes; remember as many, or make emitter.ring_bytes smaller",
            delivery.dedupe_window
        ),
    );
    wrong
}

type Range = (&'static str, u64, u64, u64, &'static str);

/// Key, value, the least and the most that works, and why.
fn ranges(log: &LogConfig, delivery: &DeliveryConfig, emitter: &EmitterConfig) -> [Range; 15] {
    const ANY: u64 = u64::MAX;
    [
        ("log.max_record_bytes", log.max_record_bytes as u64, 4_096, 64 << 20, "an event with its headers must fit"),
        ("log.session_timeout_ms", log.session_timeout_ms, 1_000, 3_600_000, "a seat is kept between two batches"),
        ("delivery.batch_max_records", delivery.batch_max_records as u64, 1, ANY, "a batch holds something"),
        ("delivery.batch_max_bytes", delivery.batch_max_bytes as u64, 1, ANY, "a batch holds something"),
        ("delivery.batch_max_age_ms", delivery.batch_max_age_ms, 0, 10_000, "a record waits so long for company"),
        ("delivery.drain_timeout_ms", delivery.drain_timeout_ms, 0, 10_000, "SIGTERM ends the process within 10 s"),
        ("delivery.record_tries", u64::from(delivery.record_tries), 1, 100, "the partition is held meanwhile"),
        (
            "delivery.record_retry_longest_ms",
            delivery.record_retry_longest_ms,
            0,
            60_000,
            "the partition is held meanwhile",
        ),
        ("emitter.batch_max_records", emitter.batch_max_records as u64, 1, ANY, "a batch holds something"),
        ("emitter.batch_max_bytes", emitter.batch_max_bytes as u64, 1, ANY, "a batch holds something"),
        ("emitter.linger_ms", emitter.linger_ms, 0, 1_000, "what was emitted waits so long before it is sent"),
        ("emitter.send_timeout_ms", emitter.send_timeout_ms, 1, 600_000, "a send takes some time, and must end"),
        ("emitter.breaker_failures", u64::from(emitter.breaker_failures), 1, 1_000, "a failure opens the breaker"),
        ("emitter.breaker_open_ms", emitter.breaker_open_ms, 1, 3_600_000, "a log that is back is found by a probe"),
        ("emitter.spool_max_bytes", emitter.spool_max_bytes, 1 << 20, ANY, "it takes what the log does not"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Compression, LogKind};

    const LOG: LogConfig = LogConfig {
        kind: LogKind::Embedded,
        max_record_bytes: 1 << 20,
        max_topic_bytes: 0,
        compression: Compression::None,
        session_timeout_ms: 45_000,
    };

    fn wrong(change: impl FnOnce(&mut EmitterConfig, &mut DeliveryConfig)) -> String {
        let (mut emitter, mut delivery) = (EmitterConfig::default(), DeliveryConfig::default());
        change(&mut emitter, &mut delivery);
        check(&LOG, &delivery, &emitter).join("; ")
    }

    #[test]
    fn the_defaults_fit_each_other() {
        assert_eq!(wrong(|_, _| {}), "");
    }

    #[test]
    fn sizes_that_cannot_hold_what_they_must_are_named_with_their_reason() {
        assert!(wrong(|emitter, _| emitter.ring_bytes = 1 << 20).starts_with("emitter.ring_bytes is 1048576"));
        assert!(wrong(|emitter, _| emitter.segment_bytes = 1 << 10).starts_with("emitter.segment_bytes is 1024"));
        assert!(wrong(|emitter, _| emitter.linger_ms = 60_000).starts_with("emitter.linger_ms is 60000"));
        assert!(wrong(|emitter, _| emitter.ring_dir.clear()).starts_with("emitter.ring_dir is empty"));
        assert!(wrong(|_, delivery| delivery.batch_max_bytes = 0).starts_with("delivery.batch_max_bytes is 0"));
        assert!(wrong(|_, delivery| delivery.record_retry_first_ms = 5_000).contains("cannot be longer"));
        assert!(wrong(|emitter, _| emitter.spool_max_bytes = 1 << 20).contains("cannot be larger than the spool"));
        assert!(wrong(|_, delivery| delivery.dedupe_window = 1_000).starts_with("delivery.dedupe_window is 1000"));
        assert!(wrong(|emitter, _| emitter.breaker_failures = 0).starts_with("emitter.breaker_failures"));
    }
}
