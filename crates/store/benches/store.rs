//! What a store does on this machine: reports applied a second, then the latency
//! of its queries over what was applied. SQLite's, or PostgreSQL's where its URL is
//! given in the place of a folder (in a schema of its own, which stays).
//!
//! Then the same of explained decisions, and what their index costs.
//!
//! `cargo bench -p tapedeck-store -- [reports, default 1000000] [folder | postgres://…] [explanations, default 200000]`
//!
//! Not here: HTTP, the log, decoding.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tapedeck_contracts::{
    Dec, EventId, Timestamp,
    events::{Action, OrderStatus, PositionView, decision::Outcome},
};
use tapedeck_store::{
    Batch, Explained, ExplainedQuery, FillsQuery, OrdersQuery, PnlQuery, PostgresConfig, PostgresStore, SqliteConfig,
    SqliteStore, Store,
    conformance::explained::{batch_of, explained},
    conformance::samples::{self, START, metrics, rows},
};

const BATCH: u64 = 4_096;
const ACCOUNTS: u64 = 4;
const SYMBOLS: u64 = 20;
const VENUES: u64 = 2;
/// Events are this far apart, so that a million are some seventeen minutes.
const STEP_US: i64 = 1_000;
/// Calls behind each percentile.
const CALLS: u64 = 1_000;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let reports = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let place = arguments.next().filter(|place| !place.is_empty());
    let explanations = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(200_000);
    if let Some(url) = place.as_deref().filter(|place| place.starts_with("postgres")) {
        // Not the URL, which may hold a password.
        println!("cargo bench -p tapedeck-store -- {reports} postgres://…");
        let store = PostgresStore::open(&in_new_schema(url)).expect("a store");
        all(&*store, reports, None);
        return of_explanations(&*store, explanations, None);
    }
    let own;
    let folder = match place {
        Some(folder) => folder.into(),
        None => {
            own = tempfile::tempdir().expect("a folder for the store");
            own.path().to_owned()
        }
    };
    println!("cargo bench -p tapedeck-store -- {reports}");
    let store = SqliteStore::open(&folder, SqliteConfig::default()).expect("a store");
    all(&*store, reports, Some(&folder));
    of_explanations(&*store, explanations, Some(&folder));
    cost_of_the_index();
}

/// A config of the URL, whose password goes where passwords belong.
fn in_new_schema(url: &str) -> PostgresConfig {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (who, place) = rest.split_once('@').expect("a user");
    let (user, password) = who.split_once(':').unwrap_or((who, ""));
    PostgresConfig {
        url: format!("{scheme}://{user}@{place}"),
        password: password.into(),
        schema: format!("bench_{}", std::process::id()),
        ..PostgresConfig::default()
    }
}

fn all(store: &dyn Store, reports: u64, folder: Option<&Path>) {
    if reports == 0 {
        return;
    }
    write(store, reports, folder);
    write_metrics(store, reports);
    read(store, reports);
}

/// Metrics as a replay gives them: one of each account a second of event time,
/// with this many positions each.
fn write_metrics(store: &dyn Store, reports: u64) {
    const POSITIONS: u64 = 5;
    let count = (reports / 10).clamp(1, 100_000);
    let mut on_cpu = Duration::ZERO;
    for first in (0..count).step_by(usize::try_from(BATCH).expect("a small number")) {
        let all = (first..count.min(first + BATCH)).map(|n| {
            let mut metrics = metrics(n, &format!("ACC-{}", n % ACCOUNTS), Some("500.25"));
            let position = metrics.positions[0].clone();
            metrics.event_id = EventId(format!("{:08x}-0000-4000-8000-{n:012x}", mix(n) >> 32));
            metrics.positions = (0..POSITIONS)
                .map(|at| PositionView { symbol: symbol(n / ACCOUNTS + at), ..position.clone() })
                .collect();
            metrics.timestamp = START.plus_micros(i64::try_from(n / ACCOUNTS).expect("a small number") * 1_000_000 + 1);
            samples::row_in(0, (1 << 32) + n, metrics)
        });
        let batch = rows(all.collect());
        let cpu_start = cpu_time();
        store.apply(&batch).expect("apply");
        on_cpu += cpu_time().saturating_sub(cpu_start);
    }
    println!(
        "apply: {:.1} us of processor for risk metrics of {POSITIONS} positions",
        on_cpu.as_secs_f64() * 1e6 / as_f64(count)
    );
}

fn write(store: &dyn Store, reports: u64, folder: Option<&Path>) {
    let mut spent = Duration::ZERO;
    let mut last_part = (0, Duration::ZERO);
    let mut slowest = Duration::ZERO;
    let mut on_cpu = Duration::ZERO;
    for first in (0..reports).step_by(usize::try_from(BATCH).expect("a small number")) {
        let batch = batch(first, reports.min(first + BATCH));
        let (start, cpu_start) = (Instant::now(), cpu_time());
        store.apply(&batch).expect("apply");
        let took = start.elapsed();
        on_cpu += cpu_time().saturating_sub(cpu_start);
        spent += took;
        slowest = slowest.max(took);
        if first >= reports - reports / 10 {
            last_part = (last_part.0 + batch.rows.len(), last_part.1 + took);
        }
    }
    let size = folder.map_or_else(|| "its server's".to_owned(), |folder| (size_of(folder) / reports).to_string());
    println!(
        "apply: {:.0} fills/s in batches of {BATCH} ({:.0}/s over the last tenth), {:.1} us of processor a fill, \
         slowest batch {} ms, {size} bytes a fill",
        as_f64(reports) / spent.as_secs_f64(),
        as_f64(last_part.0 as u64) / last_part.1.as_secs_f64(),
        on_cpu.as_secs_f64() * 1e6 / as_f64(reports),
        slowest.as_millis(),
    );
}

fn size_of(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).expect("the folder");
    files.map(|file| file.expect("a file").metadata().expect("its size").len()).sum()
}

/// Bytes of a record of three specialists and 20 features.
const RECORD: usize = 440;
/// As the decisions' topic has partitions.
const CHAINS: u64 = 8;
const FEATURES: usize = 20;

/// What writing took, of clock and of processor.
#[derive(Default)]
struct Spent {
    clock: Duration,
    processor: Duration,
    slowest: Duration,
    rows: u64,
}

impl std::fmt::Display for Spent {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / as_f64(self.rows.max(1));
        let (clock, processor) = (each(self.clock), each(self.processor));
        write!(
            out,
            "{clock:.1} us a row, {processor:.1} us of processor, slowest batch {} ms",
            self.slowest.as_millis()
        )
    }
}

/// Writes explanations and asks for them.
fn of_explanations(store: &dyn Store, count: u64, folder: Option<&Path>) {
    let size = folder.map_or(0, size_of);
    let parts = write_explanations(store, count, 4);
    for (part, spent) in (1..).zip(&parts) {
        println!("apply_explained: {RECORD} bytes in batches of {BATCH}, quarter {part} of {count}: {spent}");
    }
    if let Some(folder) = folder {
        println!("apply_explained: {} bytes a row", (size_of(folder) - size) / count);
    }
    measure("explanation by id, from anywhere", |n| {
        usize::from(store.explained(&explanation(mix(n) % count).decision_id).expect("a row").is_some())
    });
    measure("explanation by id, one of the last", |n| {
        usize::from(store.explained(&explanation(count - 1 - n % count).decision_id).expect("a row").is_some())
    });
    measure("explanation by id, unknown", |n| {
        usize::from(store.explained(&explanation(count + n).decision_id).expect("an answer").is_some())
    });
    let page = ExplainedQuery { limit: 100, ..ExplainedQuery::default() };
    let until = |n: u64| Some(time(mix(n) % count));
    measure("explanations, newest 100", |_| store.explanations(&page).expect("explanations").len());
    measure("explanations by symbol, 100 from anywhere", |n| {
        let query = ExplainedQuery { symbol: Some(symbol(n)), to: until(n), ..page.clone() };
        store.explanations(&query).expect("explanations").len()
    });
    measure("explanations by action and outcome, 100 from anywhere", |n| {
        let (action, outcome) = (Some(Action::Sell), Some(Outcome::Rejected));
        let query = ExplainedQuery { action, outcome, to: until(n), ..page.clone() };
        store.explanations(&query).expect("explanations").len()
    });
    measure("100 records of a chain, from anywhere", |n| {
        store.chain(0, mix(n) % (count / CHAINS).max(1), 100).expect("a chain").len()
    });
}

/// Writes explanations, and says what each of so many parts took.
fn write_explanations(store: &dyn Store, count: u64, parts: u64) -> Vec<Spent> {
    let mut spent: Vec<Spent> = (0..parts).map(|_| Spent::default()).collect();
    for first in (0..count).step_by(usize::try_from(BATCH).expect("a small number")) {
        let mut rows: Vec<Explained> = (first..count.min(first + BATCH)).map(explanation).collect();
        // As they are taken from the log: partition by partition.
        rows.sort_by_key(|row| row.chain);
        let written = rows.len() as u64;
        let mut batch = batch_of(rows);
        batch.importance = (0..SYMBOLS)
            .map(|n| tapedeck_store::Importance {
                hour: START,
                symbol: format!("SYM-{n}"),
                feature_set: batch.feature_sets[0].0,
                decisions: written / SYMBOLS,
                sums: vec![0.5; FEATURES],
            })
            .collect();
        let (start, cpu_start) = (Instant::now(), cpu_time());
        assert!(store.apply_explained(&batch).expect("apply").is_empty(), "all are new");
        let took = start.elapsed();
        let part = &mut spent[usize::try_from(first * parts / count).expect("a small number")];
        part.processor += cpu_time().saturating_sub(cpu_start);
        part.clock += took;
        part.slowest = part.slowest.max(took);
        part.rows += written;
    }
    spent
}

/// Decisions about [`SYMBOLS`], in as many chains as partitions, under random ids.
fn explanation(n: u64) -> Explained {
    let mut row = explained(n);
    let random = mix(n ^ 0x7777);
    row.decision_id = format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{n:012x}",
        random >> 32,
        random >> 16 & 0xffff,
        random & 0xfff,
        mix(random) & 0xfff
    );
    row.timestamp = time(n);
    row.symbol = symbol(n);
    row.account = Some("ACC-1".into());
    row.chain = u32::try_from(n % CHAINS).expect("small");
    row.index = n / CHAINS;
    row.origin.partition = row.chain;
    row.origin.offset = row.index;
    row.record = Bytes::from(vec![u8::try_from(random & 0xff).expect("a byte"); RECORD]);
    row
}

/// What a row costs less without its index: the same rows into a store that lacks it.
fn cost_of_the_index() {
    const ROWS: u64 = 100_000;
    let without = |index: Option<&str>| {
        let folder = tempfile::tempdir().expect("a folder for the store");
        let store = SqliteStore::open(folder.path(), SqliteConfig::default()).expect("a store");
        if let Some(index) = index {
            let conn = rusqlite::Connection::open(store.path()).expect("the file");
            conn.execute_batch(&format!("DROP INDEX {index}")).expect("an index less");
        }
        write_explanations(&*store, ROWS, 1).remove(0)
    };
    println!("with its index, {ROWS} rows: {}", without(None));
    println!("without forensics_time: {}", without(Some("forensics_time")));
}

/// Fills with random ids and, once a batch, the metrics of each account.
fn batch(first: u64, end: u64) -> Batch {
    let mut all = Vec::with_capacity(usize::try_from(end - first + ACCOUNTS).expect("a small number"));
    for n in first..end {
        let mut report = samples::trade(n);
        let random = mix(n);
        report.event_id = EventId(format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            random >> 32,
            random >> 16 & 0xffff,
            random & 0xfff,
            mix(random) & 0xfff,
            mix(random ^ n) & 0xffff_ffff_ffff
        ));
        report.timestamp = time(n);
        report.account = account(n);
        report.symbol = symbol(n);
        report.venue = format!("VENUE-{}", random / ACCOUNTS % VENUES);
        report.order.status = if n % 50 == 0 { OrderStatus::PartiallyFilled } else { OrderStatus::Filled };
        let fill = report.fill.as_mut().expect("a fill");
        fill.last_px = Dec::parse(&format!("{}.{:02}", 90_000 + random % 10_000, random % 100)).expect("a price");
        report.pnl.realized = Dec::parse(&format!("{}.{:04}", random % 100, random % 10_000)).expect("an amount");
        all.push(samples::row_in(u32::try_from(n % 8).expect("small"), n / 8, report));
    }
    for n in 0..ACCOUNTS {
        let mut metrics = metrics(first + n, &format!("ACC-{n}"), Some("500.25"));
        metrics.timestamp = time(end - 1);
        let offset = first + n;
        all.push(samples::row_in(u32::try_from(n).expect("small"), offset, metrics));
    }
    rows(all)
}

fn read(store: &dyn Store, reports: u64) {
    let page = FillsQuery { limit: 100, ..FillsQuery::default() };
    let until = |n: u64| Some(time(mix(n) % reports));
    measure("fills, newest 100", |_| store.fills(&page).expect("fills").len());
    measure("fills by account, 100 from anywhere", |n| {
        let query = FillsQuery { account: Some(account(n)), to: until(n), ..page.clone() };
        store.fills(&query).expect("fills").len()
    });
    measure("fills by symbol, 100 from anywhere", |n| {
        let query = FillsQuery { symbol: Some(symbol(n)), to: until(n), ..page.clone() };
        store.fills(&query).expect("fills").len()
    });
    measure("fills by account, symbol, venue, 100 from anywhere", |n| {
        let venue = Some("VENUE-1".to_owned());
        let query =
            FillsQuery { account: Some(account(n)), symbol: Some(symbol(n)), venue, to: until(n), ..page.clone() };
        store.fills(&query).expect("fills").len()
    });
    let whole_us = i64::try_from(reports).expect("a small number") * STEP_US;
    measure("pnl of an account, 1000 points", |n| {
        let interval_us = (whole_us / 1_000).max(1);
        let query =
            PnlQuery { account: account(n), symbol: None, from: START, to: START.plus_micros(whole_us), interval_us };
        store.pnl(&query).expect("pnl").len()
    });
    measure("latest risk of all accounts", |_| store.latest_risk(None).expect("risk").len());
    measure("symbol statistics of all accounts", |_| store.symbol_stats(None).expect("stats").len());
    measure("open orders of an account, 100", |n| {
        let query = OrdersQuery { account: Some(account(n)), open_only: true, limit: 100, ..OrdersQuery::default() };
        store.orders(&query).expect("orders").len()
    });
}

fn measure(what: &str, call: impl Fn(u64) -> usize) {
    let mut rows = 0;
    let cpu_start = cpu_time();
    let mut took: Vec<Duration> = (0..CALLS)
        .map(|n| {
            let start = Instant::now();
            rows = call(n);
            start.elapsed()
        })
        .collect();
    let on_cpu = cpu_time().saturating_sub(cpu_start).as_micros() / u128::from(CALLS);
    took.sort_unstable();
    let percentile = |share: usize| took[took.len() * share / 100].as_micros();
    println!("{what}: p50 {} us, p99 {} us, processor {on_cpu} us ({rows} rows)", percentile(50), percentile(99));
}

fn account(n: u64) -> String {
    format!("ACC-{}", mix(n) % ACCOUNTS)
}

fn symbol(n: u64) -> String {
    format!("SYM-{}", mix(n ^ 0x5555) % SYMBOLS)
}

fn time(n: u64) -> Timestamp {
    START.plus_micros(i64::try_from(n).expect("a small number") * STEP_US)
}

/// What this thread has used of a processor: on a machine that does other
/// things too, what the work costs. Zero where the system does not say.
fn cpu_time() -> Duration {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(said.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

/// Numbers that look random and are the same in every run (splitmix64).
fn mix(n: u64) -> u64 {
    let mut mixed = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[expect(clippy::cast_precision_loss, reason = "a rate for the eye")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
