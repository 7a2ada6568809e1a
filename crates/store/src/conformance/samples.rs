//! Events and batches for the conformance suite, and for measuring.
//!
//! Not here: random ones, which are the property tests' own.

use std::sync::Arc;

use tapedeck_contracts::{
    Dec, Event, EventId, Timestamp,
    events::{
        Alert, Costs, Drawdown, Envelope, EssState, ExecType, ExecutionReport, Exposure, Fill, ForwardTest, Liquidity,
        Order, OrderStatus, OrderType, Pnl, PositionSide, PositionView, RiskMetrics, Severity, Side, TimeInForce,
        portfolio::{ForwardTestKind, ForwardTestMetrics},
        risk::Ess,
    },
};

use crate::{Batch, OffsetMove, Origin, Row};

/// The topic of the samples.
pub const TOPIC: &str = "exec.reports.v1";
/// Their group.
pub const GROUP: &str = "tapedeck.recorder";
/// Their time 0: 2025-10-21T14:30:00.123456Z.
pub const START: Timestamp = Timestamp::from_micros(1_761_057_000_123_456);

/// A decimal.
///
/// # Panics
/// The text is none.
pub fn dec(text: &str) -> Dec {
    Dec::parse(text).expect("a sample's decimal")
}

/// The sample time that many seconds after [`START`].
pub fn at(seconds: i64) -> Timestamp {
    START.plus_micros(seconds * 1_000_000)
}

/// A fill of ACC-1 in BTCUSDT on BINANCE: bought 0.5 at 95000, 19 USDT of
/// commission, nothing realised; the n-th, n seconds after [`START`].
pub fn trade(n: u64) -> ExecutionReport {
    ExecutionReport {
        event_id: EventId(format!("00000000-0000-4000-8000-{n:012x}")),
        schema_version: "1.0".into(),
        timestamp: at(i64::try_from(n).expect("a small number")),
        account: "ACC-1".into(),
        venue: "BINANCE".into(),
        symbol: "BTCUSDT".into(),
        exec_type: ExecType::Trade,
        decision_id: None,
        strategy_id: Some("sma-crossover".into()),
        order: Order {
            order_id: format!("O{n}"),
            client_order_id: format!("C{n}"),
            side: Side::Buy,
            order_type: OrderType::Limit,
            quantity: dec("0.5"),
            limit_price: Some(dec("95001")),
            time_in_force: TimeInForce::Gtc,
            status: OrderStatus::Filled,
            cum_qty: dec("0.5"),
            leaves_qty: Dec::ZERO,
            avg_px: Some(dec("95000")),
        },
        fill: Some(Fill {
            fill_id: format!("F{n}"),
            execution_number: Some(n),
            last_qty: dec("0.5"),
            last_px: dec("95000"),
            liquidity: Liquidity::Taker,
            ref_fill_id: None,
        }),
        costs: Costs { commission: dec("19"), currency: "USDT".into(), slippage_bps: Some(0.5) },
        pnl: Pnl { realized: Dec::ZERO, unrealized: Dec::ZERO },
        reason: None,
    }
}

/// The same, sold, with what it realised.
pub fn sale(n: u64, realized: &str) -> ExecutionReport {
    let mut report = trade(n);
    report.order.side = Side::Sell;
    report.pnl.realized = dec(realized);
    report
}

/// The same order when it was new: no fill, no costs.
pub fn new_order(n: u64) -> ExecutionReport {
    let mut report = trade(n);
    report.event_id = EventId(format!("new-{n}"));
    report.exec_type = ExecType::New;
    report.order.status = OrderStatus::New;
    report.order.cum_qty = Dec::ZERO;
    report.order.leaves_qty = report.order.quantity;
    report.order.avg_px = None;
    report.fill = None;
    report.costs.commission = Dec::ZERO;
    report.costs.slippage_bps = None;
    report
}

/// Metrics of an account that holds 0.5 BTCUSDT with this unrealized PnL, or
/// nothing where there is none.
pub fn metrics(n: u64, account: &str, unrealized: Option<&str>) -> RiskMetrics {
    let position = unrealized.map(|unrealized| PositionView {
        symbol: "BTCUSDT".into(),
        venue: "BINANCE".into(),
        side: PositionSide::Long,
        quantity: dec("0.5"),
        avg_entry_price: dec("95000"),
        mark_price: dec("96000"),
        notional: dec("48000"),
        unrealized_pnl: dec(unrealized),
    });
    RiskMetrics {
        event_id: EventId(format!("metrics-{n}")),
        schema_version: "1.0".into(),
        timestamp: at(i64::try_from(n).expect("a small number")),
        account: account.into(),
        currency: Some("USDT".into()),
        positions: position.into_iter().collect(),
        equity: dec("100481"),
        cash: dec("52481"),
        margin: dec("2400"),
        leverage: 0.4777,
        exposure: Exposure {
            long: dec("48000"),
            short: Dec::ZERO,
            net: dec("48000"),
            gross: dec("48000"),
            by_venue: [("BINANCE".to_owned(), dec("48000"))].into(),
        },
        drawdown: Drawdown { daily: 0.4, weekly: 1.1, max: 3.2 },
        var_95: None,
        risk_limit_pct: 48.0,
        limits: None,
        ess: Ess { state: EssState::Armed, reason: None, since: None },
    }
}

/// An alert, about an account or about none.
pub fn alert(n: u64, severity: Severity, account: Option<&str>) -> Alert {
    Alert {
        event_id: EventId(format!("alert-{n}")),
        timestamp: at(i64::try_from(n).expect("a small number")),
        severity,
        code: "RISK_DRAWDOWN".into(),
        message: "daily drawdown 5.1 %, limit 5 %".into(),
        context: [("limit_pct".to_owned(), 5.into())].into_iter().collect(),
        source: "risk".into(),
        account: account.map(str::to_owned),
        decision_id: None,
    }
}

/// A session that began with 100000 USDT.
pub fn session_started(account: &str) -> Event {
    Event::ForwardTest(Box::new(Envelope {
        timestamp: START,
        producer_service: "forward-test".into(),
        data: ForwardTest {
            session_id: "S1".into(),
            event: ForwardTestKind::Started,
            metrics: ForwardTestMetrics::default(),
            account: Some(account.into()),
            currency: Some("USDT".into()),
            starting_equity: Some(dec("100000")),
            source: Some("signals".into()),
        },
    }))
}

/// A row at an offset of partition 0. Events in an envelope get an id of their place.
pub fn row(offset: u64, event: impl Into<Sample>) -> Row {
    row_in(0, offset, event)
}

/// A row at an offset of a partition.
pub fn row_in(partition: u32, offset: u64, event: impl Into<Sample>) -> Row {
    let Sample(event) = event.into();
    let event_id = event.event_id().cloned().unwrap_or_else(|| EventId::from_place(TOPIC, partition, offset));
    Row { origin: Origin { topic: Arc::from(TOPIC), partition, offset }, event_id, event }
}

/// Rows without offsets.
pub fn rows(rows: Vec<Row>) -> Batch {
    Batch { group: GROUP.into(), rows, offsets: Vec::new(), ingested_at_ms: START.millis() }
}

/// Reports at the offsets from 0, without moving offsets.
pub fn reports(reports: impl IntoIterator<Item = ExecutionReport>) -> Batch {
    rows((0..).zip(reports).map(|(offset, report)| row(offset, report)).collect())
}

/// A move in partition 0, with a hash made of the last offset.
pub fn moved(expected: Option<u64>, next: u64) -> OffsetMove {
    let last = next.saturating_sub(1);
    OffsetMove { topic: Arc::from(TOPIC), partition: 0, expected, next, last: (last, u64::MAX - last) }
}

/// An event of any of the kinds that samples are made of.
pub struct Sample(pub Event);

impl From<ExecutionReport> for Sample {
    fn from(report: ExecutionReport) -> Self {
        Self(Event::ExecutionReport(Box::new(report)))
    }
}

impl From<RiskMetrics> for Sample {
    fn from(metrics: RiskMetrics) -> Self {
        Self(Event::RiskMetrics(Box::new(metrics)))
    }
}

impl From<Alert> for Sample {
    fn from(alert: Alert) -> Self {
        Self(Event::Alert(Box::new(alert)))
    }
}

impl From<Event> for Sample {
    fn from(event: Event) -> Self {
        Self(event)
    }
}
