//! A disk that is full under the log, the store and the spool: writers are told what
//! to do, everything else goes on, and when there is room nothing is missing.
//! The disks are small file systems in memory, which takes root to mount.
//!
//! Not here: parts that are stopped or slow (`slow`).

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]
#![allow(clippy::print_stdout, reason = "what was measured is printed")]

use common::{
    Deck, eventually,
    outage::{Faults, Load, SmallDisk, WAITING_MB, memory_mb, rest_goes_on, role},
    run, stderr, stdout, text,
};
use serde_json::Value;

mod common;

/// Room for a log and a store of some thousand events, and soon filled.
const DISK_MB: u32 = 48;
/// How often the full deck is asked whether all else goes on.
const LOOKS: usize = 20;

/// The numbers of the sequencer on the log, in their order.
fn market_numbers(data: &str) -> Vec<u64> {
    let output = run(&["consume", "market-data-updates", "--json", "--data", data]);
    assert!(output.status.success(), "{}", stderr(&output));
    let number = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        record["headers"]["tapedeck-seq"].as_str().unwrap().rsplit_once('/').unwrap().1.parse::<u64>().unwrap()
    };
    let mut numbers: Vec<u64> = stdout(&output).lines().map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_full_disk_under_the_log_refuses_writers_in_words_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(DISK_MB) else { return };
    let dir = tempfile::tempdir().unwrap();
    disk.holds(&dir.path().join("log.db"));
    let deck = Deck::start(&["demo", "--data", text(dir.path())]).unheard();
    let mut load = Load::default();
    load.post_until_accepted(&deck);
    load.all_stored(&deck);
    let before = memory_mb(&deck, "before");
    disk.fill();
    let (status, problem) = load.post_until_refused(&deck);
    assert_eq!(status, 503, "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("disk full") && detail.contains("free space"), "{detail}");
    for _ in 0..LOOKS {
        assert_eq!(load.post(&deck).0, 503);
        rest_goes_on(&deck);
    }
    eventually("the market to wait for the log", || (role(&deck, "market")["phase"] == "retrying").then_some(()));
    assert!(memory_mb(&deck, "while full") < before + WAITING_MB);
    let stood = role(&deck, "forward-test")["last_seq"].as_u64().unwrap();
    disk.make_room();
    load.post_until_accepted(&deck);
    load.all_stored(&deck);
    eventually("the market to go on", || {
        (role(&deck, "forward-test")["last_seq"].as_u64().unwrap() > stood).then_some(())
    });
    assert!(memory_mb(&deck, "after") < before + WAITING_MB);
    assert_eq!(deck.terminate(), 0);
    let numbers = market_numbers(text(dir.path()));
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "every number once: {numbers:?}");
    assert!(numbers.len() as u64 > stood);
}

#[test]
fn a_full_disk_under_the_store_holds_its_partitions_and_all_else_goes_on() {
    let Some(disk) = SmallDisk::mount(DISK_MB) else { return };
    let dir = tempfile::tempdir().unwrap();
    disk.holds(&dir.path().join("store.db"));
    let deck = Deck::start(&["demo", "--data", text(dir.path())]).unheard();
    let mut load = Load::default();
    load.post_until_accepted(&deck);
    load.all_stored(&deck);
    let before = memory_mb(&deck, "before");
    disk.fill();
    let waiting = eventually("the recorder to wait for the store", || {
        assert_eq!(load.post(&deck).0, 202, "the log has room");
        let recorder = role(&deck, "recorder");
        (recorder["phase"] == "retrying").then_some(recorder)
    });
    assert!(waiting["detail"].as_str().unwrap().contains("disk full: free some space"), "{waiting}");
    let traded = role(&deck, "forward-test")["last_seq"].as_u64().unwrap();
    for _ in 0..LOOKS {
        assert_eq!(load.post(&deck).0, 202);
        rest_goes_on(&deck);
    }
    eventually("the market to be traded meanwhile", || {
        (role(&deck, "forward-test")["last_seq"].as_u64().unwrap() > traded).then_some(())
    });
    assert!(memory_mb(&deck, "while full") < before + WAITING_MB);
    disk.make_room();
    load.all_stored(&deck);
    assert!(memory_mb(&deck, "after") < before + WAITING_MB);
    assert_eq!(deck.terminate(), 0);
}

#[test]
fn a_full_disk_under_the_spool_refuses_what_cannot_be_kept_and_keeps_the_rest() {
    let Some(disk) = SmallDisk::mount(DISK_MB) else { return };
    let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::new());
    disk.holds_folder(&dir.path().join("emitter"));
    let path = faults.path();
    let variables = [
        ("TAPEDECK_CHAOS_FAULTS", text(&path)),
        // Small, so that the spool is needed soon; a breaker that looks again soon.
        ("TAPEDECK_LOG_MAX_RECORD_BYTES", "65536"),
        ("TAPEDECK_EMITTER_RING_BYTES", "131072"),
        ("TAPEDECK_EMITTER_BREAKER_OPEN_MS", "200"),
    ];
    let deck = Deck::start_with(&["up", "--roles", "recorder,api", "--data", text(dir.path())], &variables).unheard();
    let mut load = Load::default();
    assert_eq!(load.emit(&deck).0, 202);
    load.all_stored(&deck);
    let before = memory_mb(&deck, "before");
    faults.set("log=stop");
    for _ in 0..3 {
        assert_eq!(load.emit(&deck).0, 202, "the spool has room");
    }
    disk.fill();
    let (status, problem) = eventually("a refusal", || Some(load.emit(&deck)).filter(|(status, _)| *status != 202));
    assert_eq!(status, 503, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("free the disk"), "{problem}");
    for _ in 0..LOOKS {
        assert_eq!(load.emit(&deck).0, 503);
        rest_goes_on(&deck);
    }
    assert!(memory_mb(&deck, "while full") < before + WAITING_MB);
    disk.make_room();
    eventually("room to be noticed", || (load.emit(&deck).0 == 202).then_some(()));
    faults.set("");
    load.all_stored(&deck);
    assert!(memory_mb(&deck, "after") < before + WAITING_MB);
    assert_eq!(deck.terminate(), 0);
}
