//! What the tests of the binary share: files of made-up prices, runs of the real
//! program, and questions to its api.
//!
//! Not here: what is asserted.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::{
    fmt::Write as _,
    fs::File,
    io::{BufRead, BufReader, Read, Seek},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    time::{Duration, Instant},
};

use serde_json::Value;

pub mod cluster;
pub mod outage;
pub mod rehearsal;
pub mod socket;

/// Nothing here takes so long unless it hangs; then the test must end, and say so.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the run of the tests is told of its servers and its length; to the program these would be
/// keys that it does not know.
const OF_THE_TESTS: [&str; 7] = [
    "TAPEDECK_TEST_KAFKA",
    "TAPEDECK_TEST_KAFKA3",
    "TAPEDECK_TEST_POSTGRES",
    "TAPEDECK_TEST_REGISTRY",
    "TAPEDECK_TEST_SERVERS",
    "TAPEDECK_TEST_LONG",
    "TAPEDECK_CACHE",
];

pub fn tapedeck(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tapedeck"));
    for name in OF_THE_TESTS {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs a command to its end. Its output goes to files, so that it never waits
/// for a reader.
pub fn run(args: &[&str]) -> Output {
    let (mut stdout, mut stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let mut command = tapedeck(args);
    let mut child = command.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap()).spawn().unwrap();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{args:?} did not end within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let read = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    Output { status, stdout: read(&mut stdout), stderr: read(&mut stderr) }
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs a command that must succeed, and reads the JSON it prints.
pub fn json(args: &[&str]) -> Value {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}{}", stdout(&output), stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits until something is there.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running `tapedeck up` (or demo), ended when dropped.
pub struct Deck {
    child: Option<Child>,
    pub url: String,
}

impl Deck {
    /// Starts the program and waits for the address it prints.
    pub fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    /// The same with variables of its environment.
    pub fn start_with(args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut all = vec!["--json"];
        all.extend(args);
        // Beside the data: a deck that is killed leaves nothing elsewhere.
        let data = args.iter().position(|arg| *arg == "--data").map(|at| Path::new(args[at + 1]).join("rings"));
        let mut child = tapedeck(&all)
            .env("TAPEDECK_API_LISTEN", "127.0.0.1:0")
            .envs(data.map(|rings| ("TAPEDECK_EMITTER_RING_DIR", rings)))
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, mut errors) = (first_value(child.stdout.take().unwrap()), child.stderr.take().unwrap());
        let said = said.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let _ = child.kill();
            let mut text = String::new();
            errors.read_to_string(&mut text).unwrap();
            panic!("{args:?} said nothing: {text}");
        });
        // Kept open: a program whose stderr is closed cannot say what it waits for.
        child.stderr = Some(errors);
        let url = said["url"].as_str().unwrap_or_default().to_owned();
        Self { child: Some(child), url }
    }

    /// Starts it, and closes the other end of its stderr.
    pub fn start_unheard(args: &[&str]) -> Self {
        Self::start(args).unheard()
    }

    /// Closes the other end of its stderr: a deck that has much to say would
    /// wait for a reader.
    pub fn unheard(mut self) -> Self {
        self.child.as_mut().and_then(|child| child.stderr.take());
        self
    }

    /// The process, of one that is not ended.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub fn ask(&self, path: &str) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent.get(format!("{}{path}", self.url)).call().unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.body_mut().read_to_vec().unwrap()).unwrap_or(Value::Null))
    }

    /// An answer that is no JSON.
    pub fn text(&self, path: &str) -> String {
        ureq::get(format!("{}{path}", self.url)).call().unwrap().body_mut().read_to_string().unwrap()
    }

    pub fn post(&self, path: &str, content_type: &str, body: &str) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request = agent.post(format!("{}{path}", self.url)).header("content-type", content_type);
        let mut answer = request.send(body).unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.body_mut().read_to_vec().unwrap()).unwrap_or(Value::Null))
    }

    /// All items of a list, page by page.
    pub fn all(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{separator}limit=1000{cursor}"));
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// `SIGTERM`, and the exit code.
    pub fn terminate(mut self) -> i32 {
        let mut child = self.child.take().unwrap();
        signal(child.id(), "TERM");
        child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Deck {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends a process a signal.
pub fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

/// The first JSON value of a stream, once it is whole; nothing where it ends before.
fn first_value(stream: impl Read + Send + 'static) -> Receiver<Value> {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        let mut text = String::new();
        for line in BufReader::new(stream).lines() {
            text.push_str(&line.unwrap());
            if let Ok(value) = serde_json::from_str(&text) {
                return sender.send(value).unwrap();
            }
        }
    });
    receiver
}

/// Numbers that look random and are always the same.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n` (xorshift64*, Vigna 2016).
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

/// One-minute bars of a random walk in cents, a CSV with a header; `symbols` take
/// turns within each minute.
pub fn bars(path: &Path, symbols: &[&str], minutes: u64, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut close: Vec<u64> = symbols.iter().map(|_| 10_000 + dice.below(5_000)).collect();
    let mut text = "timestamp,symbol,open,high,low,close,volume\n".to_owned();
    let cents = |n: u64| format!("{}.{:02}", n / 100, n % 100);
    for minute in 0..minutes {
        for (index, symbol) in symbols.iter().enumerate() {
            let open = close[index];
            let next = (open + dice.below(61)).saturating_sub(30).max(100);
            let (high, low) = (open.max(next) + dice.below(10), open.min(next) - dice.below(10));
            let time = 1_700_000_040 + minute * 60;
            writeln!(
                text,
                "{time},{symbol},{},{},{},{},{}",
                cents(open),
                cents(high),
                cents(low),
                cents(next),
                1 + dice.below(500)
            )
            .unwrap();
            close[index] = next;
        }
    }
    std::fs::write(path, text).unwrap();
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The real recordings, where they are; a test that needs them says that it was
/// skipped where they are not.
pub fn recording(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/market").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {name} is not on this machine");
    None
}
