//! The process that is rehearsed with: this very program, started, asked, stopped
//! and killed.
//!
//! Not here: when (`run`).

use std::{
    fs::File,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{
    faults::Control,
    rehearsal::{FAULTS, KILL_AT, KillAt},
};
use crate::cli::Role;

/// A start may recover a long history; one that takes longer hangs.
const START: Duration = Duration::from_secs(120);
/// What a stop may take: the contract's 10 s, and as long again for a busy machine.
const STOP: Duration = Duration::from_secs(20);
/// How often it is looked whether something has come.
pub(crate) const LOOK: Duration = Duration::from_millis(2);
/// How much of what the process said is repeated where it ended badly.
const TAIL_LINES: usize = 12;

/// What is started again and again.
pub(crate) struct Program {
    /// Its data folder.
    pub(crate) data: PathBuf,
    /// Where config, control file and output lie.
    pub(crate) work: PathBuf,
    /// Variables of this process that the other shall not see: its config is a
    /// file that has them in it.
    pub(crate) hidden: Vec<String>,
}

/// A process at work.
pub(crate) struct Child {
    process: std::process::Child,
    pub(crate) url: String,
    /// When it was started.
    pub(crate) since: Instant,
}

/// How a start went.
pub(crate) enum Started {
    Up(Child),
    /// It ended before it served.
    Ended(ExitStatus),
}

impl Program {
    pub(crate) fn config(&self) -> PathBuf {
        self.work.join("chaos.toml")
    }

    fn control_file(&self) -> PathBuf {
        self.work.join("faults")
    }

    /// What the processes said, one after the other.
    pub(crate) fn log(&self) -> PathBuf {
        self.work.join("process.log")
    }

    /// Says how log and store fail from now on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn control(&self, control: Control) -> anyhow::Result<()> {
        let beside = self.work.join("faults.new");
        std::fs::write(&beside, control.to_string())
            .and_then(|()| std::fs::rename(&beside, self.control_file()))
            .with_context(|| format!("cannot write {}", self.control_file().display()))
    }

    /// Starts it and waits until it says where it serves.
    ///
    /// # Errors
    /// It cannot be started, or says nothing for long.
    pub(crate) fn start(&self, roles: &[Role], kill_at: Option<KillAt>) -> anyhow::Result<Started> {
        let said = self.work.join("process.out");
        let roles: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
        command.args(["--json", "--config"]).arg(self.config()).arg("--data").arg(&self.data);
        command.args(["up", "--roles", &roles.join(",")]);
        for name in &self.hidden {
            command.env_remove(name);
        }
        command.env(FAULTS, self.control_file());
        if let Some(at) = kill_at {
            command.env(KILL_AT, at.to_string());
        }
        let log = File::options().create(true).append(true).open(self.log())?;
        // A group of its own: Ctrl-C ends the rehearsal, which ends the process.
        command.stdin(Stdio::null()).stdout(File::create(&said)?).stderr(log).process_group(0);
        let since = Instant::now();
        let mut process = command.spawn().context("cannot start this program again")?;
        loop {
            if let Some(status) = process.try_wait()? {
                return Ok(Started::Ended(status));
            }
            let text = std::fs::read_to_string(&said)?;
            if let Some(url) = serde_json::from_str(&text).ok().and_then(|value: Value| url_of(&value)) {
                return Ok(Started::Up(Child { process, url, since }));
            }
            if since.elapsed() > START {
                process.kill()?;
                process.wait()?;
                anyhow::bail!("the process said nothing for {START:?}; {}", self.tail());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The last that the process said.
    pub(crate) fn tail(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(TAIL_LINES).collect();
        let lines: Vec<&str> = lines.into_iter().rev().collect();
        format!("the last lines of {}:\n{}", self.log().display(), lines.join("\n"))
    }
}

fn url_of(said: &Value) -> Option<String> {
    Some(said["url"].as_str()?.to_owned())
}

impl Child {
    /// How it ended, once it has.
    ///
    /// # Errors
    /// The system does not say.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// SIGTERM, and how it ended; none where it did not end in time, and was killed.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn terminate(mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.signal(Signal::TERM)?;
        let asked = Instant::now();
        while asked.elapsed() < STOP {
            if let Some(status) = self.process.try_wait()? {
                return Ok(Some(status));
            }
            std::thread::sleep(LOOK);
        }
        self.kill()?;
        Ok(None)
    }

    /// Stops it where it stands, or lets it go on.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn pause(&self, pause: bool) -> anyhow::Result<()> {
        self.signal(if pause { Signal::STOP } else { Signal::CONT })
    }

    /// The most memory it has held, in bytes, where the system tells.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(kib.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).context("the process has no number")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal process {}", self.process.id()))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Ended already, in most cases.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether a process was ended by `kill -9`.
pub(crate) fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}

/// Bytes of all files in a folder.
pub(crate) fn bytes_in(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let size = |path: PathBuf| match path.symlink_metadata() {
        Ok(data) if data.is_dir() => bytes_in(&path),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(|entry| size(entry.path())).sum()
}
