//! What the rate benchmarks of a Kafka client share: the records, the settings, and
//! the line that one run ends with.
//!
//! Not here: any client.

use std::time::Duration;

use serde_json::{Value, json};

use crate::decision;

/// Records of one step: as many as the emitter sends at once.
pub const STEP: usize = 4_096;
/// Different bodies; they repeat after so many, far beyond what a codec looks back at.
const BODIES: u64 = 16_384;

/// Settings of librdkafka that both sides run with: the defaults of `[kafka]`.
pub const PRODUCER: [(&str, &str); 8] = [
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("compression.codec", "lz4"),
    ("linger.ms", "5"),
    ("batch.size", "1048576"),
    ("queue.buffering.max.kbytes", "131072"),
    ("queue.buffering.max.messages", "0"),
    ("delivery.timeout.ms", "60000"),
];

/// The same for reading.
pub const CONSUMER: [(&str, &str); 4] = [
    ("enable.auto.commit", "false"),
    ("auto.offset.reset", "earliest"),
    ("isolation.level", "read_committed"),
    ("queued.max.messages.kbytes", "65536"),
];

/// Keys and bodies of about 1.2 KB, made before the clock runs.
pub fn records() -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut decisions = decision::of_all_symbols();
    let body = |n| {
        let decision = &mut decisions[decision::symbol_of(n)];
        decision::renew(decision, n);
        (decision.symbol.clone().into_bytes(), serde_json::to_vec(decision).unwrap_or_default())
    };
    (0..BODIES).map(body).collect()
}

/// What one run came to.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Records acknowledged, or read.
    pub records: u64,
    /// In how long.
    pub took: Duration,
}

impl Rate {
    /// Records a second.
    pub fn per_s(&self) -> f64 {
        self.records as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// The line that a peer prints.
    pub fn line(&self) -> String {
        json!({ "records": self.records, "seconds": self.took.as_secs_f64() }).to_string()
    }

    /// Reads a peer's line; none where it is another.
    pub fn of_line(line: &str) -> Option<Self> {
        let said: Value = serde_json::from_str(line).ok()?;
        let seconds = said.get("seconds")?.as_f64()?;
        Some(Self { records: said.get("records")?.as_u64()?, took: Duration::try_from_secs_f64(seconds).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_back_from_its_line() {
        let rate = Rate { records: 3_000, took: Duration::from_millis(1_500) };
        let back = Rate::of_line(&rate.line()).unwrap();
        assert_eq!((back.records, back.took, back.per_s()), (3_000, rate.took, 2_000.0));
        assert!(Rate::of_line("error: no broker").is_none());
    }
}
