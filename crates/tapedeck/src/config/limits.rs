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
    must(delivery.batch_max_records > 0, "delivery.batch_max_records must be at least 1".into());
    must(emitter.batch_max_records > 0, "emitter.batch_max_records must be at least 1".into());
    must(emitter.batch_max_bytes > 0, "emitter.batch_max_bytes must be at least 1".into());
    must(
        emitter.send_timeout_ms > 0,
        "emitter.send_timeout_ms must be at least 1: a send that may take no time never works".into(),
    );
    must(emitter.breaker_failures > 0, "emitter.breaker_failures must be at least 1".into());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Compression;

    const LOG: LogConfig = LogConfig {
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
        assert!(wrong(|emitter, _| emitter.spool_max_bytes = 1 << 20).contains("cannot be larger than the spool"));
        assert!(wrong(|_, delivery| delivery.dedupe_window = 1_000).starts_with("delivery.dedupe_window is 1000"));
        assert!(wrong(|emitter, _| emitter.breaker_failures = 0).starts_with("emitter.breaker_failures"));
    }
}
