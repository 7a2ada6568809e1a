//! The emitter on a disk that is full, and through an outage that would not fit
//! into memory.
//!
//! Not here: a spool that has reached its own limit.

use std::{fs, path::Path, process::Command, sync::Arc};

use tapedeck_flow::{Boundaries, EmitError, Emitter, EmitterConfig};
use tapedeck_log::Log;

use crate::{
    faulty::Mood,
    stage::{LONG, Stage, get, numbers, record, wait_for},
};

/// A small disk of its own; none where this user may not mount one.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()).output();
        mount.is_ok_and(|mount| mount.status.success()).then_some(Self(dir))
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options]).arg(self.path()).status().unwrap().success());
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is still held goes when it is let go of.
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn a_disk_that_is_full_refuses_and_loses_nothing_that_was_accepted() {
    let Some(disk) = Disk::mount("2m") else {
        eprintln!("skipped: no tmpfs can be mounted here");
        return;
    };
    let stage = Stage::new(Mood::Down);
    let open = || {
        let log = Arc::clone(&stage.log) as Arc<dyn Log>;
        Emitter::open(log, disk.path(), "full", &stage.config, Boundaries::default())
    };
    let emitter = open().unwrap();
    let mut producer = emitter.producer().unwrap();
    let mut accepted = 0;
    let mut refused = 0;
    while refused < 100 {
        match producer.emit_record(&record(&accepted.to_string())) {
            Ok(_) => accepted += 1,
            Err(EmitError::Full) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(accepted > 10_000, "{accepted}");
    assert_eq!(emitter.close(std::time::Duration::ZERO).remaining, accepted);
    // The next start waits for room on the disk.
    let ballast = disk.path().join("ballast");
    assert!(fs::write(&ballast, vec![0; 1 << 20]).is_err(), "the disk is full");
    assert!(open().is_err());
    fs::remove_file(&ballast).unwrap();
    disk.grow("8m");
    stage.log.set(Mood::Well);
    let emitter = open().unwrap();
    emitter.send_leftovers(&mut |_| true, &Default::default()).unwrap();
    assert_eq!(stage.values(), numbers(0..accepted));
    assert_eq!(emitter.close(LONG).remaining, 0);
}

/// Kilobytes that this process holds.
fn resident_kb() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[test]
fn memory_does_not_grow_with_an_outage() {
    let mut stage = Stage::new(Mood::Down);
    let defaults = EmitterConfig::default();
    stage.config.ring_bytes = 4 << 20;
    stage.config.segment_bytes = 8 << 20;
    (stage.config.batch_max_records, stage.config.batch_max_bytes) =
        (defaults.batch_max_records, defaults.batch_max_bytes);
    let emitter = stage.emitter();
    let mut producer = emitter.producer().unwrap();
    let mut large = record("0");
    large.value = Some(vec![b'x'; 10_000].into());
    let before = resident_kb().unwrap_or(0);
    for _ in 0..12_000 {
        producer.emit_record(&large).unwrap();
    }
    let stats = emitter.stats();
    wait_for("all is in the spool", &stats, |stats| get(&stats.spooled_records) == 12_000);
    let grown_kb = resident_kb().unwrap_or(0).saturating_sub(before);
    assert!(get(&stats.spooled_bytes) > 110 << 20);
    // Buffers, a batch or two; other tests of this process hold something too.
    assert!(grown_kb < 60 << 10, "{grown_kb} kB more after 120 MB were emitted");
    stage.log.set(Mood::Well);
    wait_for("all is sent", &stats, |stats| get(&stats.sent) == 12_000);
    assert_eq!(emitter.close(LONG).remaining, 0);
}
