//! What the tests of full disks and slow parts share: a small disk that can be
//! filled, a load that knows what was accepted, and how much memory a deck takes.
//!
//! Not here: what is asserted.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{Deck, eventually};

/// What a deck that only waits may take more than one at rest, in MB: the
/// batches in hand, what the log keeps of its newest records for its readers
/// (their sum is bounded), and what SQLite maps.
pub const WAITING_MB: u64 = 192;

/// A file system of its own in memory, unmounted when dropped.
pub struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts one; none, and said so, where that is not allowed.
    pub fn mount(megabytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tapedeck-test"]).arg(dir.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { dir }),
            _ => {
                println!("skipped: mounting a small disk needs root");
                None
            }
        }
    }

    /// Makes a file of a data folder lie here, before it is there.
    pub fn holds(&self, path: &Path) {
        std::os::unix::fs::symlink(self.dir.path().join(path.file_name().unwrap()), path).unwrap();
    }

    /// The same for a folder.
    pub fn holds_folder(&self, path: &Path) {
        std::fs::create_dir(self.dir.path().join(path.file_name().unwrap())).unwrap();
        self.holds(path);
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        for size in [1 << 20, 1 << 12] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Gives it back.
    pub fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.dir.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is ending may still have a file open.
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

/// Execution reports in chunks, each posted until it is accepted.
#[derive(Default)]
pub struct Load {
    accepted: u64,
}

impl Load {
    /// Reports in a post.
    const CHUNK: u64 = 250;
    const TOPIC: &str = "/api/v1/events/exec.reports.v1";

    /// How many were.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Posts the next chunk, or the one before again where it was refused.
    pub fn post(&mut self, deck: &Deck) -> (u16, Value) {
        self.post_to(deck, Self::TOPIC)
    }

    /// The same, which the emitter takes.
    pub fn emit(&mut self, deck: &Deck) -> (u16, Value) {
        self.post_to(deck, &format!("{}?ack=spool", Self::TOPIC))
    }

    /// Posts until one is refused, and gives the refusal.
    pub fn post_until_refused(&mut self, deck: &Deck) -> (u16, Value) {
        eventually("a refusal", || Some(self.post(deck)).filter(|(status, _)| *status != 202))
    }

    /// Posts until one is accepted.
    pub fn post_until_accepted(&mut self, deck: &Deck) {
        eventually("a post to be accepted", || (self.post(deck).0 == 202).then_some(()));
    }

    /// Waits until all that was accepted is a fill, and nothing twice.
    pub fn all_stored(&self, deck: &Deck) {
        let fills = eventually("all that was accepted", || {
            // An account is known from its first fill, and a store that was away
            // may be refused for a moment more.
            if deck.ask("/api/fills?account=OUTAGE&limit=1").0 != 200 {
                return None;
            }
            let fills = deck.all("/api/fills?account=OUTAGE");
            (fills.len() as u64 >= self.accepted).then_some(fills)
        });
        let ids: BTreeSet<&str> = fills.iter().map(|fill| fill["event_id"].as_str().unwrap()).collect();
        assert_eq!((fills.len() as u64, ids.len() as u64), (self.accepted, self.accepted));
    }

    fn post_to(&mut self, deck: &Deck, path: &str) -> (u16, Value) {
        let body = (self.accepted..self.accepted + Self::CHUNK).fold(String::new(), |mut body, n| {
            writeln!(body, "{}", report(n)).unwrap();
            body
        });
        let (status, answer) = deck.post(path, "application/x-ndjson", &body);
        if status == 202 {
            assert_eq!(answer["accepted"].as_u64(), Some(Self::CHUNK), "{answer}");
            self.accepted += Self::CHUNK;
        }
        (status, answer)
    }
}

fn report(n: u64) -> String {
    format!(
        r#"{{"event_id":"00000000-0000-4000-9000-{n:012}","schema_version":"1.0","timestamp":"2026-01-02T03:04:05.{:06}Z","account":"OUTAGE","venue":"X","symbol":"S{}","exec_type":"TRADE","decision_id":null,"strategy_id":null,"order":{{"order_id":"O{n}","client_order_id":"C{n}","side":"BUY","type":"MARKET","quantity":"1","limit_price":null,"time_in_force":"GTC","status":"FILLED","cum_qty":"1","leaves_qty":"0","avg_px":"100.5"}},"fill":{{"fill_id":"F{n}","last_qty":"1","last_px":"100.5","liquidity":"TAKER"}},"costs":{{"commission":"0","currency":"USD","slippage_bps":null}},"pnl":{{"realized":"0","unrealized":"0"}}}}"#,
        n % 1_000_000,
        n % 5
    )
}

/// A file that tells log and store of a deck how to fail.
pub struct Faults {
    dir: tempfile::TempDir,
}

impl Faults {
    /// None yet.
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("faults")
    }

    /// `store=stop`, `store=slow:5000 log=full`; an empty text heals all.
    pub fn set(&self, text: &str) {
        let new = self.dir.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }
}

/// Resident memory now and at most so far, in MB; printed.
pub fn memory_mb(deck: &Deck, when: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", deck.pid())).unwrap();
    let mb = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    println!("memory {when}: {} MB, at most {} MB so far", mb("VmRSS"), mb("VmHWM"));
    mb("VmHWM")
}

/// How a role of the deck stands.
pub fn role(deck: &Deck, name: &str) -> Value {
    let roles = deck.get("/api/admin/roles");
    roles["items"].as_array().unwrap().iter().find(|role| role["role"] == name).unwrap().clone()
}

/// Checks that the process is up, that the others serve, and that no role gave up.
pub fn rest_goes_on(deck: &Deck) {
    assert_eq!(deck.ask("/health/live").0, 200);
    assert_eq!(deck.ask("/api/fills?account=OUTAGE&limit=1").0, 200);
    for role in deck.get("/api/admin/roles")["items"].as_array().unwrap() {
        assert!(!["failed", "blocked", "stopped"].contains(&role["phase"].as_str().unwrap()), "{role}");
    }
}
