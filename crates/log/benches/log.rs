//! What the embedded log takes and gives a second, on this machine's disk.
//!
//! `cargo bench -p tapedeck-log --bench log` runs all of it, in a folder under
//! the target directory; `-- /dev/shm` after it in another one, here without a
//! disk, which shows what the processor alone would allow.
//!
//! Not here: what a test could check.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for a terminal that ends at the first error")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tapedeck_log::{
    EmbeddedConfig, EmbeddedLog, GroupOffset, Headers, Log, PollLimits, Polled, Record, TopicConfig, TopicPartition,
};

/// Bytes of a record's value; with key and headers about 900.
const VALUE_BYTES: usize = 800;
const PARTITIONS: u32 = 8;

fn main() {
    // Cargo itself adds `--bench`.
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let folder = folder.unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    println!("cargo bench -p tapedeck-log --bench log -- {folder}   # records of 900 bytes, {PARTITIONS} partitions");
    let dir = tempfile::tempdir_in(folder).unwrap();
    for compress in [false, true] {
        println!("compress = {compress}");
        for batch in [100, 500, 2000] {
            append(dir.path(), compress, batch, 1);
        }
        append(dir.path(), compress, 500, 4);
        single(dir.path(), compress);
        transact(dir.path(), compress);
    }
}

fn open(dir: &Path, compress: bool) -> (tempfile::TempDir, Arc<EmbeddedLog>) {
    let dir = tempfile::tempdir_in(dir).unwrap();
    let log = EmbeddedLog::open(dir.path(), EmbeddedConfig { compress, ..EmbeddedConfig::default() }).unwrap();
    let topic = |name: &str, partitions| TopicConfig {
        name: name.into(),
        partitions,
        retention: None,
        retention_bytes: None,
        delete: true,
        compact: false,
    };
    log.create_topics(&[topic("t", PARTITIONS), topic("out", PARTITIONS)]).unwrap();
    (dir, log)
}

/// JSON with numbers that differ, so that compression has the work it will have.
fn record(topic: &Arc<str>, n: u64) -> Record {
    let noise = |i: u64| (n * 31 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut value = format!("{{\"event_id\":\"{:016x}{:016x}\",\"n\":{n},\"features\":{{", noise(1), noise(2));
    for i in 0.. {
        if value.len() >= VALUE_BYTES {
            break;
        }
        value += &format!("\"feature_{i}\":{}.{},", noise(i) % 100, noise(i + 7) % 100_000);
    }
    let headers = Headers::build([("ce_id", format!("{:016x}", noise(3))), ("ce_type", "decision".into())]);
    Record {
        topic: Arc::clone(topic),
        partition: None,
        key: Some(Bytes::from(format!("SYM{}", n % 64))),
        value: Some(Bytes::from(value)),
        headers,
        timestamp_ms: None,
    }
}

/// Appends from some threads, then reads all of it: first what is on disk after
/// a reopen.
fn append(dir: &Path, compress: bool, batch: usize, threads: usize) {
    const RECORDS: usize = 200_000;
    let (dir, log) = open(dir, compress);
    let topic: Arc<str> = "t".into();
    let pool: Vec<Record> = (0..20_000).map(|n| record(&topic, n)).collect();
    let each = RECORDS / threads;
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (log, pool) = (&log, &pool);
            scope.spawn(move || {
                for nth in 0..each / batch {
                    let from = (nth * batch + thread * 1000) % (pool.len() - batch);
                    log.append(pool[from..from + batch].to_vec()).unwrap();
                }
            });
        }
    });
    let took = began.elapsed();
    let bytes: u64 = pool.iter().map(size).sum::<u64>() / pool.len() as u64 * RECORDS as u64;
    println!(
        "  append {batch:>5} a call, {threads} threads: {:>9} records/s {:>6} MB/s, {} MB on disk",
        per_second(RECORDS, took),
        per_second(bytes as usize, took) / 1_000_000,
        log.disk_bytes() / 1_000_000
    );
    log.close();
    if threads == 1 {
        let log = EmbeddedLog::open(dir.path(), EmbeddedConfig { compress, ..EmbeddedConfig::default() }).unwrap();
        read(&*log, RECORDS / batch * batch);
    }
}

fn read(log: &dyn Log, records: usize) {
    let mut reader = log.reader().unwrap();
    let places: Vec<_> = (0..PARTITIONS).map(|n| (TopicPartition::new("t", n), 0)).collect();
    reader.assign(&places).unwrap();
    let limits = PollLimits { max_records: 5000, max_bytes: 8 << 20, timeout: Duration::ZERO };
    let (began, mut count) = (Instant::now(), 0);
    while count < records {
        count += reader.poll(limits).unwrap().len();
    }
    println!("    read back from the file:        {:>9} records/s", per_second(records, began.elapsed()));
}

/// Durable appends of one record, one after the other.
fn single(dir: &Path, compress: bool) {
    let (_dir, log) = open(dir, compress);
    let topic: Arc<str> = "t".into();
    let times = timed(1000, |n| drop(log.append(vec![record(&topic, n)]).unwrap()));
    println!("  append one record, durable:       {}", percentiles(times));
}

/// Steps of 100 records taken, 100 written and an offset moved.
fn transact(dir: &Path, compress: bool) {
    let (_dir, log) = open(dir, compress);
    let (from, to): (Arc<str>, Arc<str>) = ("t".into(), "out".into());
    log.append((0..100).map(|n| record(&from, n)).collect()).unwrap();
    let mut member = log.join("g", "a", &[from]).unwrap();
    let limits = PollLimits { max_records: 100, max_bytes: 1 << 20, timeout: Duration::ZERO };
    assert!(matches!(member.poll(limits).unwrap(), Polled::Assigned(_)), "the only member owns all");
    let records: Vec<_> = (0..100).map(|n| record(&to, n)).collect();
    let began = Instant::now();
    let times = timed(300, |n| {
        let offsets: Vec<_> = (0..PARTITIONS)
            .map(|partition| GroupOffset { partition: TopicPartition::new("t", partition), next: n })
            .collect();
        member.transact(records.clone(), &offsets).unwrap();
    });
    println!(
        "  transact 100 records, 8 offsets:  {}, {} records/s",
        percentiles(times),
        per_second(30_000, began.elapsed())
    );
}

fn timed(count: u64, mut work: impl FnMut(u64)) -> Vec<Duration> {
    let once = |n| {
        let began = Instant::now();
        work(n);
        began.elapsed()
    };
    (0..count).map(once).collect()
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_micros();
    format!("p50 {} us, p99 {} us, p99.9 {} us", at(0.5), at(0.99), at(0.999))
}

fn per_second(count: usize, took: Duration) -> u64 {
    (count as f64 / took.as_secs_f64()) as u64
}

fn size(record: &Record) -> u64 {
    let len = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
    (len(&record.key) + len(&record.value) + record.headers.as_bytes().len()) as u64
}
