//! What the check of sources says.
//!
//! Not here: what other files' tests hold.

use super::*;
use crate::market::testing::{file_source, generator_source};

const MARKET: MarketConfig = MarketConfig { append_records: 500, append_age_ms: 5 };

fn problem(source: SourceConfig) -> String {
    let problems = check(&MARKET, &[source]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].clone()
}

#[test]
fn sources_that_make_sense_pass() {
    let sources = [file_source("a", "btc.csv"), generator_source("b")];
    assert_eq!(check(&MARKET, &sources), Vec::<String>::new());
}

#[test]
fn an_id_is_there_once() {
    let sources = [file_source("a", "x.csv"), generator_source("a")];
    assert_eq!(check(&MARKET, &sources), ["sources[1] `a`: this `id` is taken by another source: each needs its own"]);
    assert!(problem(file_source("a b", "x.csv")).contains("`id`: expected 1 to 64 letters"));
}

#[test]
fn a_file_source_needs_one_place() {
    let mut source = file_source("a", "x.csv");
    source.path = None;
    assert!(problem(source).contains("a file source needs `path`"));
    let mut source = file_source("a", "x.csv");
    source.paths = vec!["y.csv".into()];
    assert!(problem(source).contains("keep one of them"));
}

#[test]
fn an_unknown_column_names_the_nearest() {
    let mut source = file_source("a", "x.csv");
    source.columns.insert("pirce".into(), "Last".into());
    assert!(problem(source).contains("there is no field `pirce` (did you mean `price`?); the fields are time, symbol"));
    let mut source = file_source("a", "x.csv");
    source.columns.insert("time".into(), "a".into());
    source.columns.insert("timestamp".into(), "b".into());
    assert!(problem(source).contains("`time` is mapped twice"));
}

#[test]
fn zone_interval_and_format_are_checked() {
    let mut source = file_source("a", "x.csv");
    source.tz = "Europe/Berlim".into();
    assert!(problem(source).contains("there is no time zone `Europe/Berlim`"));
    let mut source = file_source("a", "x.csv");
    source.interval = Some("1 minute".into());
    assert!(problem(source).contains("such as `1m`"));
    let mut source = file_source("a", "x.csv");
    source.time_format = Some("%Q".into());
    assert!(problem(source).contains("`time_format`"));
}

#[test]
fn a_generator_without_end_does_not_run_at_full_speed() {
    let mut source = generator_source("g");
    source.events = None;
    assert!(problem(source).contains("would fill the disk"));
    let mut source = generator_source("g");
    source.start = Some("yesterday".into());
    assert!(problem(source).contains("`start` \"yesterday\""));
    let mut source = generator_source("g");
    source.symbol = Some("X".into());
    assert!(problem(source).contains("belong to a file"));
    let mut source = file_source("f", "x.csv");
    source.events = Some(1);
    assert!(problem(source).contains("`events` belongs to a generator"));
}

#[test]
fn limits_of_a_batch_are_checked() {
    let config = MarketConfig { append_records: 0, append_age_ms: 60_000 };
    assert_eq!(check(&config, &[]).len(), 2);
}
