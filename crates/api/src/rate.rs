//! A token bucket for each client address, in a map with a bound.
//!
//! Not here: a clock; the caller says what time it is.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Addresses remembered at most (about 600 KB). Buckets that are full again are
/// forgotten first; if none is, newcomers share one bucket until some are.
const MAX_CLIENTS: usize = 10_000;

/// What one address may still do.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// Token buckets by client address.
#[derive(Debug)]
pub(crate) struct RateLimit {
    per_s: f64,
    burst: f64,
    buckets: HashMap<Option<IpAddr>, Bucket>,
}

impl RateLimit {
    pub(crate) fn new(per_s: u32, burst: u32) -> Self {
        Self { per_s: f64::from(per_s.max(1)), burst: f64::from(burst.max(1)), buckets: HashMap::new() }
    }

    /// Takes a token of this address, or says after how long there is one.
    pub(crate) fn take(&mut self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let key = self.slot(client, now);
        let (per_s, burst) = (self.per_s, self.burst);
        let bucket = self.buckets.entry(key).or_insert(Bucket { tokens: burst, at: now });
        let grown = now.saturating_duration_since(bucket.at).as_secs_f64() * per_s;
        bucket.tokens = (bucket.tokens + grown).min(burst);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - bucket.tokens) / per_s))
    }

    /// The key of an address: its own, or the shared one when the map is full.
    fn slot(&mut self, client: IpAddr, now: Instant) -> Option<IpAddr> {
        if self.buckets.contains_key(&Some(client)) {
            return Some(client);
        }
        if self.buckets.len() >= MAX_CLIENTS {
            let full_after = Duration::from_secs_f64(self.burst / self.per_s);
            self.buckets.retain(|_, bucket| now.saturating_duration_since(bucket.at) < full_after);
        }
        (self.buckets.len() < MAX_CLIENTS).then_some(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn a_burst_passes_and_then_only_the_rate() {
        let (mut limit, start) = (RateLimit::new(10, 3), Instant::now());
        for _ in 0..3 {
            assert!(limit.take(address(1), start).is_ok());
        }
        let wait = limit.take(address(1), start).unwrap_err();
        assert!(wait <= Duration::from_millis(100) && wait > Duration::from_millis(90), "{wait:?}");
        assert!(limit.take(address(2), start).is_ok(), "another address has a bucket of its own");
        assert!(limit.take(address(1), start + Duration::from_millis(101)).is_ok());
    }

    #[test]
    fn the_map_never_grows_beyond_its_bound() {
        let (mut limit, start) = (RateLimit::new(1, 1), Instant::now());
        for n in 0..20_000 {
            let _ = limit.take(address(n), start);
        }
        assert!(limit.buckets.len() <= MAX_CLIENTS + 1);
        assert!(limit.take(address(30_000), start).is_err(), "newcomers share a bucket that is empty");
        assert!(limit.take(address(30_000), start + Duration::from_secs(2)).is_ok(), "full buckets were forgotten");
    }
}
