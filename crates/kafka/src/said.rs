//! What was said a moment ago: a broker that is away fails once a second in every
//! client, and a person wants to read it once.
//!
//! Not here: writing lines.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The same line is passed on once in so long: often enough to be seen to last.
const EVERY: Duration = Duration::from_secs(60);
/// So many different lines are remembered: a cluster has a few brokers, each with a few
/// ways to fail.
const REMEMBERED: usize = 64;

/// Lines that were passed on.
#[derive(Debug, Default)]
pub(crate) struct Said(VecDeque<Line>);

#[derive(Debug)]
struct Line {
    text: String,
    at: Instant,
    held_back: u64,
}

impl Said {
    /// Whether to pass a line on now; if so, how often it was held back before.
    pub(crate) fn pass(&mut self, line: &str, now: Instant) -> Option<u64> {
        let text = without_numbers(line);
        if let Some(known) = self.0.iter_mut().find(|known| known.text == text) {
            if now.saturating_duration_since(known.at) < EVERY {
                known.held_back += 1;
                return None;
            }
            known.at = now;
            return Some(std::mem::take(&mut known.held_back));
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Line { text, at: now, held_back: 0 });
        Some(0)
    }
}

/// A line without its numbers, which are times and counts, but for those of its first
/// word: the name of a broker.
fn without_numbers(line: &str) -> String {
    let first = line.find(' ').unwrap_or(line.len());
    let rest = line[first..].chars().filter(|c| !c.is_ascii_digit());
    line[..first].chars().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: &str = "kafka-1:9092/1: Connect failed: Connection refused (after 0ms in state CONNECT)";

    #[test]
    fn a_line_that_comes_again_is_held_back_for_a_minute_and_counted() {
        let (mut said, began) = (Said::default(), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(said.pass(DOWN, began), Some(0));
        assert_eq!(said.pass(&DOWN.replace("0ms", "17ms, 29 identical suppressed"), after(1)), Some(0));
        for second in 1..60 {
            assert_eq!(said.pass(&DOWN.replace("0ms", &format!("{second}ms")), after(second)), None);
        }
        assert_eq!(said.pass(DOWN, after(60)), Some(59));
        assert_eq!(said.pass(DOWN, after(61)), None);
    }

    #[test]
    fn another_broker_is_another_line_and_memory_is_bounded() {
        let (mut said, now) = (Said::default(), Instant::now());
        for broker in 0..1_000 {
            assert_eq!(said.pass(&DOWN.replace("kafka-1", &format!("kafka-{broker}")), now), Some(0));
        }
        assert_eq!(said.0.len(), REMEMBERED);
    }
}
