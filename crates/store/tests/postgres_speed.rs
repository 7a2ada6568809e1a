//! How fast PostgreSQL takes execution reports, by the size of a batch.
//!
//! Not here: queries under load, which are the benchmarks'.
#![expect(clippy::print_stdout, reason = "figures are printed")]

use std::{sync::Arc, time::Instant};

use tapedeck_contracts::EventId;
use tapedeck_store::{
    Batch, PostgresConfig, PostgresStore, Store,
    conformance::samples::{GROUP, TOPIC, moved, row, rows, trade},
};

use self::postgres_servers::on_postgres;

mod postgres_servers;

/// Fills of four accounts in eight symbols, each of an order of its own.
fn batch(store: &dyn Store, size: u64) -> Batch {
    let expected = store.resume(GROUP, &[(Arc::from(TOPIC), 0)]).expect("resume")[0].next;
    let first = expected.unwrap_or(0);
    let reports = (first..first + size).map(|n| {
        let mut report = trade(n);
        // Ids as a venue makes them: they come in no order.
        let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        report.event_id = EventId(format!("{:08x}-0000-4000-8000-{n:012x}", mixed >> 32));
        report.account = format!("ACC-{}", mixed >> 20 & 3);
        report.symbol = format!("SYM{}USDT", mixed >> 30 & 7);
        row(n, report)
    });
    Batch { offsets: vec![moved(expected, first + size)], ..rows(reports.collect()) }
}

fn measure(what: &str, config: &PostgresConfig) {
    let store = PostgresStore::open(config).expect("a store");
    for (size, times) in [(1_000, 40), (4_000, 12), (8_000, 8)] {
        let batches = (0..times).map(|_| batch(&*store, size));
        let mut seconds = 0.0;
        for batch in batches {
            let started = Instant::now();
            let applied = store.apply(&batch).expect("apply");
            seconds += started.elapsed().as_secs_f64();
            assert_eq!(applied.stored, batch.rows.len());
        }
        let rate = f64::from(u32::try_from(size * times).expect("a small number")) / seconds;
        println!("{what}, batches of {size}: {rate:.0} reports/s");
    }
}

#[test]
#[ignore = "measures for some seconds; run it by its name"]
fn reports_applied_in_a_second() {
    let Some(config) = on_postgres() else { return };
    measure("COPY", &config);
    let config = PostgresConfig { bulk: "arrays".into(), schema: tapedeck_testbed::name("arrays"), ..config };
    measure("arrays", &config);
}
