//! What reading and writing the two busiest events costs, in nanoseconds each:
//! `cargo bench -p tapedeck-contracts`.
//!
//! Not here: the log and the roles around it, which `tapedeck bench` measures.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{hint::black_box, time::Instant};

use tapedeck_contracts::{
    Dec, Timestamp,
    decode::decode,
    events::{Envelope, ExecutionReport, MarketData},
};

const BAR: &str = r#"{"timestamp":"2022-01-03T00:01:00.000000Z","producer_service":"market","data":{"symbol":"BTCUSDT","price":"47286.18","volume":"27.38025","timestamp":"2022-01-03T00:01:00.000000Z","source":"file","kind":"bar","open":"47297.08","high":"47315.25","low":"47250.01","close":"47286.18","interval":"1m","final":true}}"#;
const QUOTE: &str = r#"{"timestamp":"2020-01-02T17:00:00.123456Z","producer_service":"market","data":{"symbol":"EURUSD","price":1.117105,"volume":0,"timestamp":"2020-01-02T17:00:00.123456Z","source":"file","bid":1.11709,"ask":1.11712}}"#;
const REPORT: &str = include_str!("../fixtures/execution_report/1.0/contract.json");

fn main() {
    let bar: Envelope<MarketData> = decode(BAR.as_bytes()).expect("the bar is right");
    let report: ExecutionReport = decode(REPORT.as_bytes()).expect("the report is right");
    let compact = serde_json::to_vec(&report).expect("reports are JSON");
    let time = Timestamp::from_micros(1_641_168_060_123_456);
    let price = Dec::parse("47286.18").expect("a decimal");

    measure("market event (bar), decode", || decode::<Envelope<MarketData>>(black_box(BAR.as_bytes())));
    measure("market event (quote), decode", || decode::<Envelope<MarketData>>(black_box(QUOTE.as_bytes())));
    measure("market event (bar), encode", || serde_json::to_vec(black_box(&bar)));
    measure("execution report, decode", || decode::<ExecutionReport>(black_box(&compact)));
    measure("execution report, encode", || serde_json::to_vec(black_box(&report)));
    measure("time, parse", || Timestamp::parse(black_box("2022-01-03T00:01:00.123456Z")));
    measure("time, format", || serde_json::to_vec(black_box(&time)));
    measure("decimal, parse", || Dec::parse(black_box("47286.18")));
    measure("decimal, format", || serde_json::to_vec(black_box(&price)));
}

/// Prints the median of many rounds, so that a stall of the machine is not a figure.
fn measure<T>(what: &str, mut work: impl FnMut() -> T) {
    const ROUNDS: usize = 200;
    const REPEATS: u32 = 2_000;
    let mut round_ns: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..REPEATS {
                black_box(work());
            }
            start.elapsed().as_nanos() as f64 / f64::from(REPEATS)
        })
        .collect();
    round_ns.sort_by(f64::total_cmp);
    println!("{what:<32} {:>8.0} ns", round_ns[ROUNDS / 2]);
}
