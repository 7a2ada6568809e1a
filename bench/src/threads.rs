//! What each thread of this process took of the processor, and its memory, as Linux
//! tells it; nothing elsewhere.
//!
//! Not here: how long anything took.

use std::{collections::BTreeMap, fs};

/// Ticks a second of the times in `/proc`: 100 wherever Linux runs.
const TICKS_PER_S: f64 = 100.0;

/// Seconds of processor, by the names of threads. What threads took that have ended is
/// under `ended`.
pub(crate) fn cpu_s() -> BTreeMap<String, f64> {
    let mut by_name: BTreeMap<String, f64> = BTreeMap::new();
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for task in tasks {
        let read = |name| fs::read_to_string(task.path().join(name));
        if let (Ok(name), Ok(stat)) = (read("comm"), read("stat")) {
            *by_name.entry(name.trim().to_owned()).or_default() += seconds_of(&stat);
        }
    }
    let all = fs::read_to_string("/proc/self/stat").map_or(0.0, |stat| seconds_of(&stat));
    let living: f64 = by_name.values().sum();
    by_name.insert("ended".to_owned(), (all - living).max(0.0));
    by_name
}

/// Prints what each took since `before`, in microseconds for each of `count`.
pub(crate) fn print_since(before: &BTreeMap<String, f64>, count: u64) {
    let mut took: Vec<(f64, String)> = cpu_s()
        .into_iter()
        .map(|(name, now)| ((now - before.get(&name).copied().unwrap_or(0.0)) * 1e6 / count as f64, name))
        .filter(|(us, _)| *us >= 0.05)
        .collect();
    took.sort_by(|one, other| other.0.total_cmp(&one.0));
    let sum: f64 = took.iter().map(|(us, _)| us).sum();
    let each: Vec<String> = took.iter().map(|(us, name)| format!("{name} {us:.1}")).collect();
    println!("    processor, us a decision: {sum:.1} in all: {}", each.join(", "));
}

/// Lets all other threads go first, as the program lets the role that explains; threads
/// that this one starts are alike.
pub(crate) fn let_others_first() {
    // Elsewhere it would be the whole process. Where it may not, the thread stays as it is.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, 10);
}

/// Forgets what the process had of memory at most until now.
pub(crate) fn forget_peak() {
    // Where it may not, the peak is that of the whole process.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The most memory that this process had since, in MB; none where nobody tells.
pub(crate) fn peak_mb() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kb| kb / 1_024)
}

/// User and system time; the fields are counted behind the name, which may hold anything.
fn seconds_of(stat: &str) -> f64 {
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_S
}
