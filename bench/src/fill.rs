//! A store with many fills, made through `Store::apply` as the recorder does it.
//!
//! Not here: asking it.

use std::{path::Path, sync::Arc, time::Instant};

use tapedeck_contracts::{
    Dec, Event, EventId, Timestamp,
    events::{
        Costs, ExecType, ExecutionReport, Fill, Liquidity, Order, OrderStatus, OrderType, Pnl, Side, TimeInForce,
    },
};
use tapedeck_store::{
    Batch, OffsetMove, Origin, Row, Store,
    sqlite::{SqliteConfig, SqliteStore},
};

/// As many as the recorder applies at once.
const BATCH: u64 = 4_096;
const TOPIC: &str = "exec.reports.v1";

pub(crate) fn run(dir: &Path, rows: u64) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)?;
    let store = SqliteStore::open(&dir.join("store.db"), SqliteConfig::default())?;
    let topic: Arc<str> = TOPIC.into();
    let mut next: Vec<Option<u64>> = vec![None; 8];
    let began = Instant::now();
    let mut n = 0;
    while n < rows {
        let partition = (n / BATCH % 8) as u32;
        let first = next[partition as usize].unwrap_or(0);
        let count = BATCH.min(rows - n);
        let batch = Batch {
            group: "tapedeck.recorder".into(),
            rows: (0..count)
                .map(|i| Row {
                    origin: Origin { topic: Arc::clone(&topic), partition, offset: first + i },
                    event_id: EventId(id(n + i)),
                    event: Event::ExecutionReport(Box::new(report(n + i))),
                })
                .collect(),
            offsets: vec![OffsetMove {
                topic: Arc::clone(&topic),
                partition,
                expected: next[partition as usize],
                next: first + count,
                last: (first + count - 1, 0),
            }],
            ingested_at_ms: 1_700_000_000_000,
        };
        store.apply(&batch)?;
        next[partition as usize] = Some(first + count);
        n += count;
    }
    let elapsed = began.elapsed().as_secs_f64();
    println!(
        "{:<44} {:>10.0} rows/s  ({rows} rows in {elapsed:.1} s)",
        "execution reports applied to SQLite",
        rows as f64 / elapsed
    );
    Ok(())
}

fn id(n: u64) -> String {
    // Spread like random ids: an index gets no help from their order.
    format!("{:08x}-0000-4000-8000-{n:012x}", (n as u32).wrapping_mul(0x9e37_79b9))
}

/// The n-th report: 20 accounts, 40 symbols, a second apart.
pub(crate) fn report(n: u64) -> ExecutionReport {
    let quantity = Dec(1.into());
    let price = Dec::parse(&format!("{}.{:02}", 100 + n % 900, n % 100)).expect("a decimal");
    ExecutionReport {
        event_id: EventId(id(n)),
        schema_version: "1.0".into(),
        timestamp: Timestamp::from_micros(1_600_000_000_000_000 + n as i64 * 1_000_000),
        account: format!("ACC-{}", n % 20),
        venue: "SIM".into(),
        symbol: format!("SYM{}", n % 40),
        exec_type: ExecType::Trade,
        decision_id: None,
        strategy_id: Some("sma-crossover".into()),
        order: Order {
            order_id: format!("O{n}"),
            client_order_id: format!("C{n}"),
            side: if n.is_multiple_of(2) { Side::Buy } else { Side::Sell },
            order_type: OrderType::Market,
            quantity,
            limit_price: None,
            time_in_force: TimeInForce::Gtc,
            status: OrderStatus::Filled,
            cum_qty: quantity,
            leaves_qty: Dec::ZERO,
            avg_px: Some(price),
        },
        fill: Some(Fill {
            fill_id: format!("F{n}"),
            execution_number: Some(n / 20 + 1),
            last_qty: quantity,
            last_px: price,
            liquidity: Liquidity::Taker,
            ref_fill_id: None,
        }),
        costs: Costs {
            commission: Dec::parse("0.04").expect("a decimal"),
            currency: "USD".into(),
            slippage_bps: Some(1.0),
        },
        pnl: Pnl { realized: Dec::ZERO, unrealized: Dec::ZERO },
        reason: None,
    }
}
