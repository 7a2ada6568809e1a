//! The clients: threads that send the load to whatever process is up, write down
//! what they are promised, and send again what was not answered.
//!
//! Not here: what they send (`load`).

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rand_pcg::{Pcg64, rand_core::Rng};
use serde_json::Value;
use tapedeck_flow::Stop;

use super::{
    client::{Answer, Client},
    ledger::{Ledger, Promise},
    load::{ALERTS_TOPIC, Ack, Name, Poison, REPORTS_TOPIC, Run},
};

/// Requests a second of a client: many small ones, so that a kill meets some on
/// their way.
pub(crate) const REQUESTS_PER_S: u64 = 50;
/// A request takes at most 10 s in the process; a client that gives up before
/// would send again beside itself.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Between two tries of what a living process refuses for now.
const AGAIN: Duration = Duration::from_millis(20);

/// Where the process is, while it is up.
#[derive(Default)]
pub(crate) struct Target {
    /// How many processes there were, and the url of the one that is up.
    now: Mutex<(u64, Option<String>)>,
    changed: Condvar,
}

impl Target {
    pub(crate) fn up(&self, url: &str) {
        let mut now = self.lock();
        *now = (now.0 + 1, Some(url.to_owned()));
        self.changed.notify_all();
    }

    pub(crate) fn down(&self) {
        self.lock().1 = None;
    }

    /// The process that is up, and its number; none where none comes in time.
    fn wait(&self, timeout: Duration) -> Option<(u64, String)> {
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, |now| now.1.is_none());
        let now = waited.unwrap_or_else(PoisonError::into_inner).0;
        Some((now.0, now.1.clone()?))
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Option<String>)> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all clients share.
pub(crate) struct Shared {
    pub(crate) run: Run,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) target: Target,
    pub(crate) stop: Stop,
    /// Events out of a thousand that are poison, for now.
    pub(crate) poison_permille: AtomicU64,
}

impl Shared {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client with keys of its own, so that it alone says in which order they go.
pub(crate) struct Lane {
    ack: Ack,
    keys: Vec<Key>,
    per_request: u64,
    rng: Pcg64,
}

struct Key {
    name: String,
    next: u64,
    /// The newest good event that was promised: what poison can repeat.
    kept: Option<u64>,
}

type Batch = Vec<(Name, Option<Poison>)>;

impl Lane {
    pub(crate) fn new(ack: Ack, keys: impl Iterator<Item = String>, rate: u64, seed: u64) -> Self {
        let keys: Vec<Key> = keys.map(|name| Key { name, next: 1, kept: None }).collect();
        // Each client has a stream of its own.
        let stream = keys.first().map_or(0, |key| key.name.bytes().fold(0, |sum, byte| sum * 256 + u128::from(byte)));
        Self { ack, keys, per_request: rate.div_ceil(REQUESTS_PER_S).max(1), rng: Pcg64::new(u128::from(seed), stream) }
    }

    /// Sends until somebody asks to stop.
    ///
    /// # Errors
    /// The ledger cannot be written, or the process answers what it never should.
    pub(crate) fn run(&mut self, shared: &Shared) -> anyhow::Result<()> {
        let pace = Duration::from_millis(1_000 / REQUESTS_PER_S);
        let mut open: Batch = Vec::new();
        let mut last = 0;
        let mut client = None;
        while !shared.stop.requested() {
            let Some((number, url)) = shared.target.wait(pace) else { continue };
            if number != last {
                // A process died on what is open. Some clients then send again,
                // some do not; while it lived all do, for it may still be at it.
                if self.rng.next_u64().is_multiple_of(2) {
                    open.clear();
                }
                (last, client) = (number, Some(Client::new(&url, TIMEOUT)));
            }
            let Some(client) = &client else { continue };
            let began = Instant::now();
            if open.is_empty() {
                open = self.fresh(shared.poison_permille.load(Relaxed));
            }
            if self.send(shared, client, &open)? {
                open.clear();
                shared.stop.wait(pace.saturating_sub(began.elapsed()));
            } else {
                shared.stop.wait(AGAIN);
            }
        }
        Ok(())
    }

    fn fresh(&mut self, poison_permille: u64) -> Batch {
        let mut batch = Vec::new();
        for _ in 0..self.per_request {
            let at = (self.rng.next_u64() % self.keys.len() as u64) as usize;
            let dice = self.rng.next_u64();
            let key = &mut self.keys[at];
            let name = Name::new(&key.name, key.next);
            key.next += 1;
            let poison = (dice % 1_000 < poison_permille && !name.is_alert()).then(|| match key.kept {
                Some(kept) if dice & (1 << 40) == 0 => Poison::ChangedFill(Name::new(&key.name, kept)),
                _ => Poison::HugeNumber,
            });
            batch.push((name, poison));
        }
        batch
    }

    /// Sends a batch; false where it must be sent again.
    fn send(&mut self, shared: &Shared, client: &Client, batch: &Batch) -> anyhow::Result<bool> {
        shared.ledger().send(batch.iter().map(|(name, poison)| (name, poison.is_some())))?;
        let mut body = Vec::new();
        for (name, poison) in batch {
            serde_json::to_writer(&mut body, &shared.run.body(name, poison.as_ref()))?;
            body.push(b'\n');
        }
        let alerts = batch.iter().any(|(name, _)| name.is_alert());
        let topic = if alerts { ALERTS_TOPIC } else { REPORTS_TOPIC };
        let path = format!("/api/v1/events/{topic}{}", if self.ack == Ack::Spool { "?ack=spool" } else { "" });
        let results = match client.post(&path, "application/x-ndjson", &body) {
            Answer::Came(202 | 400, value) => value["results"].as_array().cloned().unwrap_or_default(),
            // Busy, or its log is away: it may take it later.
            Answer::Came(429 | 500.., _) | Answer::None(_) => return Ok(false),
            Answer::Came(status, value) => anyhow::bail!("{path} was answered with {status}: {}", value["detail"]),
        };
        anyhow::ensure!(results.len() == batch.len(), "{} results of {} events", results.len(), batch.len());
        self.note(shared, batch, &results)?;
        Ok(true)
    }

    fn note(&mut self, shared: &Shared, batch: &Batch, results: &[Value]) -> anyhow::Result<()> {
        let promise = |result: &Value| match result["status"].as_str() {
            Some("accepted") => Promise::Kept(self.ack),
            _ => Promise::Refused,
        };
        let answers = batch.iter().zip(results).map(|((name, _), result)| (name, promise(result)));
        shared.ledger().answer(answers)?;
        for ((name, poison), result) in batch.iter().zip(results) {
            if poison.is_none()
                && promise(result) != Promise::Refused
                && let Some(key) = self.keys.iter_mut().find(|key| key.name == name.key)
            {
                key.kept = Some(name.n);
            }
        }
        Ok(())
    }
}
