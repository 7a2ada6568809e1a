//! A rehearsal that only loads and counts, while a test breaks what it runs on:
//! `tapedeck chaos --faults none`, its ledger read as it grows, and its verdict.
//!
//! Not here: the ledger and the comparison, which are the program's own.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{eventually, tapedeck, text};

/// The long form of the tests of failures: `make soak` sets it.
#[expect(clippy::disallowed_methods, reason = "who runs the tests says how long they may take")]
pub fn is_long() -> bool {
    std::env::var_os("TAPEDECK_TEST_LONG").is_some_and(|value| !value.is_empty())
}

/// A size in the short form, and in the long one.
pub fn sized<T>(short: T, long: T) -> T {
    if is_long() { long } else { short }
}

/// Keys and the newest number of each.
pub type Newest = BTreeMap<String, u64>;

/// A process under load, and the clients that keep the ledger.
pub struct Rehearsal {
    chaos: Child,
    dir: TempDir,
}

impl Rehearsal {
    /// Starts it with this config, without what the load does not need, and waits
    /// until each key has been promised something.
    pub fn start(config: &str, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("deck.toml"), config).unwrap();
        let file = |name: &str| File::create(dir.path().join(name)).unwrap();
        let rate = sized("100", "5000");
        let chaos = tapedeck(&["--json", "--config"])
            .arg(dir.path().join("deck.toml"))
            .arg("--data")
            .arg(dir.path().join("data"))
            .args(["chaos", "--faults", "none", "--duration", "1h", "--seed", "1", "--rate", rate, "--keep"])
            // What can never be stored is tried again alone: that is tested without a cluster.
            .args(["--poison", "0%"])
            .args(args)
            .stdout(file("report.json"))
            .stderr(file("chaos.err"))
            .spawn()
            .unwrap();
        let mut rehearsal = Self { chaos, dir };
        rehearsal.promised_after(&Newest::new());
        rehearsal
    }

    /// Waits until each key has been promised an event that was sent after these.
    pub fn promised_after(&mut self, sent: &Newest) {
        // Two clients ask for the log, one for the spool, one of four sends alerts.
        const KEYS: usize = 13;
        eventually("each key to be promised something new", || {
            assert!(self.chaos.try_wait().unwrap().is_none(), "the rehearsal ended: {}", self.said());
            let promised = self.newest(&["log", "spool"]);
            let is_new = |(key, n): &(&String, &u64)| *n > sent.get(*key).unwrap_or(&0);
            (promised.iter().filter(is_new).count() == KEYS).then_some(())
        });
    }

    /// The newest event of each key that was sent.
    pub fn sent(&self) -> Newest {
        self.newest(&["sent"])
    }

    /// The same of those that only their spool was promised.
    pub fn spooled(&self) -> Newest {
        self.newest(&["spool"])
    }

    /// What a fault that began with `begin` costs: the time from its end until each
    /// key is promised again what was sent since, and until that is visible.
    pub fn recovers(&mut self, what: &str) {
        let (began, sent) = (Instant::now(), self.sent());
        self.promised_after(&sent);
        let promised = began.elapsed();
        let newest = self.newest(&["log", "spool"]);
        eventually("what was promised to be visible", || self.shows(&newest).then_some(()));
        println!(
            "{what}: promises again after {:.1} s, all visible after {:.1} s",
            promised.as_secs_f64(),
            began.elapsed().as_secs_f64()
        );
    }

    /// Ends the load, and has what is left compared with the ledger: nothing may be
    /// lost or visible twice.
    pub fn verdict(mut self) -> Value {
        super::signal(self.chaos.id(), "TERM");
        // What was read late may take long to be stored.
        let patience = Duration::from_secs(sized(180, 1_800));
        let asked = Instant::now();
        while self.chaos.try_wait().unwrap().is_none() {
            assert!(asked.elapsed() < patience, "no verdict within {patience:?}: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        let report = fs::read_to_string(self.dir.path().join("report.json")).unwrap();
        let report: Value = serde_json::from_str(&report).unwrap_or_else(|_| panic!("no report: {}", self.said()));
        if report["ok"] != true {
            let kept = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap()).keep();
            panic!("{report:#} kept: {}", kept.display());
        }
        for figure in ["lost", "twice", "out_of_order", "never_sent"] {
            assert_eq!(report[figure], 0, "{figure}: {report:#}");
        }
        let count = |figure: &str| report[figure].as_u64().unwrap();
        // How many is a matter of how long brokers were there; some is what was waited for.
        let some = count("acknowledged") > 0 && count("accepted") > 0;
        assert!(some && count("acknowledged") + count("accepted") > 200, "{report:#}");
        println!(
            "{} acknowledged, {} accepted for the spool, {} stored: 0 lost, 0 twice",
            count("acknowledged"),
            count("accepted"),
            count("stored")
        );
        report
    }

    /// Another process on the same log and store, with a folder of its own.
    pub fn second(&self, roles: &str) -> Second {
        let dir = tempfile::tempdir().unwrap();
        // On a cluster each rehearsal has names of its own, and it must use them too.
        fs::copy(self.data().join("cluster.json"), dir.path().join("cluster.json")).unwrap();
        let said = dir.path().join("said");
        let child = tapedeck(&["--config", text(&self.work().join("chaos.toml")), "--data", text(dir.path())])
            .args(["up", "--json", "--roles", roles])
            .env("TAPEDECK_EMITTER_RING_DIR", dir.path().join("rings"))
            .stdout(Stdio::null())
            .stderr(File::create(&said).unwrap())
            .spawn()
            .unwrap();
        Second { child, dir }
    }

    /// How many members the recorders' group has that own partitions.
    pub fn recorders_at_work(&self) -> Option<usize> {
        let groups = self.ask("/api/admin/groups")?;
        let recorder = groups["items"].as_array()?.iter().find(|group| group["group"] == "tapedeck.recorder")?;
        let owns = |member: &&Value| member["partitions"].as_array().is_some_and(|owned| !owned.is_empty());
        Some(recorder["members"].as_array()?.iter().filter(owns).count())
    }

    /// An answer of the process under load, where there is one.
    pub fn ask(&self, path: &str) -> Option<Value> {
        let said: Value = serde_json::from_str(&fs::read_to_string(self.work().join("process.out")).ok()?).ok()?;
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).build().into();
        let mut answer = agent.get(format!("{}{path}", said["url"].as_str()?)).call().ok()?;
        serde_json::from_slice(&answer.body_mut().read_to_vec().ok()?).ok()
    }

    /// Whether what is served of each key is as new as this.
    fn shows(&self, promised: &Newest) -> bool {
        let account = format!("CHAOS-{}", self.work().file_name().unwrap().to_str().unwrap().replace("chaos-", ""));
        promised.iter().all(|(key, n)| {
            let (list, field) = if key.starts_with('A') { ("alerts", "message") } else { ("fills", "order_id") };
            let symbol = if list == "fills" { format!("&symbol={key}") } else { String::new() };
            let page = self.ask(&format!("/api/{list}?account={account}&limit=1{symbol}"));
            let numbers = page.iter().flat_map(|page| page["items"].as_array().into_iter().flatten());
            let number = |row: &Value| row[field].as_str()?.rsplit_once('-')?.1.parse::<u64>().ok();
            numbers.filter_map(number).max().is_some_and(|newest| newest >= *n)
        })
    }

    /// The newest number of each key in lines of the ledger that begin so.
    fn newest(&self, words: &[&str]) -> Newest {
        let mut newest = Newest::new();
        for line in fs::read_to_string(self.work().join("ledger.txt")).unwrap_or_default().lines() {
            if let [word, key, n, ..] = line.split(' ').collect::<Vec<_>>()[..]
                && words.contains(&word)
                && let Ok(n) = n.parse::<u64>()
            {
                let known = newest.entry(key.to_owned()).or_insert(0);
                *known = n.max(*known);
            }
        }
        newest
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The folder of its ledger; where there is none yet, one that is not there.
    fn work(&self) -> PathBuf {
        let entries = fs::read_dir(self.data()).into_iter().flatten();
        let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("chaos-"));
        entries.map(|entry| entry.unwrap().path()).find(named).unwrap_or_else(|| self.data().join("none"))
    }

    /// What the rehearsal and its process said last.
    pub fn said(&self) -> String {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        let log = read(self.work().join("process.log"));
        let tail: Vec<&str> = log.lines().rev().take(10).collect();
        let told = ["chaos.err", "report.json"].map(|name| read(self.dir.path().join(name))).concat();
        format!("{told}{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"))
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("kept: {}; {}", self.dir.path().display(), self.said());
            self.dir.disable_cleanup(true);
        }
        if let Ok(None) = self.chaos.try_wait() {
            // What it started is in a group of its own, and would outlive it.
            let children = format!("/proc/{0}/task/{0}/children", self.chaos.id());
            for child in fs::read_to_string(children).unwrap_or_default().split_whitespace() {
                let _ = Command::new("kill").args(["-KILL", child]).status();
            }
            let _ = self.chaos.kill();
            let _ = self.chaos.wait();
        }
    }
}

/// A process beside the rehearsal's; killed when dropped.
pub struct Second {
    child: Child,
    dir: TempDir,
}

impl Second {
    pub fn pause(&self) {
        super::signal(self.child.id(), "STOP");
    }

    pub fn resume(&self) {
        super::signal(self.child.id(), "CONT");
    }

    /// SIGTERM, and an end in order.
    pub fn leave(mut self) {
        super::signal(self.child.id(), "TERM");
        let status = eventually("a process to end in order", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}: {}", fs::read_to_string(self.log()).unwrap_or_default());
    }

    /// Whether it is still there.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn log(&self) -> PathBuf {
        Path::new(self.dir.path()).join("said")
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
