//! What the broker says: events with the ids that their cause gives them.
//!
//! Not here: when it says it.

use rust_decimal::Decimal;
use serde_json::{Map, Value};
use tapedeck_contracts::{
    Dec, Event, EventId, Timestamp,
    events::{
        Alert, Costs, Envelope, ExecType, ExecutionReport, Exposure, Fill, ForwardTest, Liquidity, Order as OrderView,
        OrderStatus, Pnl, Portfolio, PositionSide, PositionView, Reason, RiskMetrics, Severity, Side, TradeExecution,
        portfolio::{ForwardTestKind, ForwardTestMetrics, TradeStatus},
        risk::{Ess, RiskLimits},
    },
};

use super::{
    account::Account,
    book::Order,
    config::TradeSource,
    core::{Cause, Output},
    money::{self, Overflow, shown, to_f64, wire},
    params::Params,
    risk::{Gross, leverage},
    tape::Tape,
    var,
};

/// The role in ids, envelopes and alerts.
pub(super) const ROLE: &str = "forward-test";
const SCHEMA_VERSION: &str = "1.0";

const EXECUTIONS: &str = "exec.reports.v1";
const TRADES: &str = "trade-executions";
const METRICS: &str = "risk.metrics.v1";
const PORTFOLIO: &str = "portfolio-updates";
const SESSIONS: &str = "forward-test-events";
const ALERTS: &str = "alerts.v1";

/// Ordinals of what an event causes begin at 0; gaps noted before it and the
/// last figures after it have ranges of their own, so that no two ids meet.
pub(super) const GAP_ORDINALS: u32 = 1 << 20;
pub(super) const END_ORDINALS: u32 = 2 << 20;

/// Gathers what one event causes.
pub(super) struct Emit<'a> {
    pub cause: Cause<'a>,
    /// The account's time.
    pub now: Timestamp,
    pub outputs: Vec<Output>,
    first: u32,
    counts: Vec<(&'static str, String, u32)>,
}

impl<'a> Emit<'a> {
    pub(super) fn new(cause: Cause<'a>, now: Timestamp, first: u32) -> Self {
        Self { cause, now, outputs: Vec::new(), first, counts: Vec::new() }
    }

    fn next_id(&mut self, topic: &'static str, key: &str) -> EventId {
        let ordinal = match self.counts.iter_mut().find(|(t, k, _)| *t == topic && k == key) {
            Some((_, _, count)) => {
                *count += 1;
                *count
            }
            None => {
                self.counts.push((topic, key.to_owned(), self.first));
                self.first
            }
        };
        EventId::derived(self.cause.event_id, ROLE, topic, key, ordinal)
    }

    fn push(&mut self, topic: &'static str, id: EventId, event: Event) {
        self.outputs.push(Output { topic, id, event });
    }

    fn envelope<T>(&self, data: T) -> Box<Envelope<T>> {
        Box::new(Envelope { timestamp: self.now, producer_service: ROLE.into(), data })
    }

    /// An alert of an account, or of the role where there is none.
    pub(super) fn alert(
        &mut self,
        severity: Severity,
        code: &str,
        message: String,
        account: Option<&str>,
        context: &[(&str, Value)],
    ) {
        let id = self.next_id(ALERTS, account.unwrap_or(ROLE));
        let mut context: Map<String, Value> =
            context.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        if let Some(n) = self.cause.seq {
            context.insert("market_event".into(), n.into());
        }
        let alert = Alert {
            event_id: id.clone(),
            timestamp: self.now,
            severity,
            code: code.into(),
            message,
            context,
            source: ROLE.into(),
            account: account.map(str::to_owned),
            decision_id: None,
        };
        self.push(ALERTS, id, Event::Alert(Box::new(alert)));
    }
}

/// A fill as its report tells it.
pub(super) struct FillNote {
    pub number: u64,
    pub quantity: Decimal,
    pub price: Decimal,
    pub liquidity: Liquidity,
    pub commission: Decimal,
    pub realized: Decimal,
}

/// What happened to an order.
pub(super) struct Step {
    pub exec_type: ExecType,
    pub status: OrderStatus,
    pub at: Timestamp,
    pub fill: Option<FillNote>,
    pub reason: Option<Reason>,
}

/// A machine's word and a person's.
pub(super) fn reason(code: &str, text: impl Into<String>) -> Reason {
    Reason { code: code.into(), text: text.into() }
}

/// Says what happened to an order: the execution report, and for a fill the trade.
pub(super) fn execution(
    emit: &mut Emit<'_>,
    tape: &Tape,
    account: &Account,
    order: &Order,
    step: Step,
) -> Result<(), Overflow> {
    let symbol = &tape.symbols[order.symbol];
    let open = matches!(step.status, OrderStatus::New | OrderStatus::PartiallyFilled | OrderStatus::Filled);
    let unrealized = account.position(order.symbol).map_or(Decimal::ZERO, |p| p.value - p.held.cost);
    let id = emit.next_id(EXECUTIONS, &symbol.name);
    let report = ExecutionReport {
        event_id: id.clone(),
        schema_version: SCHEMA_VERSION.into(),
        timestamp: step.at,
        account: account.id.clone(),
        venue: symbol.venue.clone(),
        symbol: symbol.name.clone(),
        exec_type: step.exec_type,
        decision_id: order.decision.clone(),
        strategy_id: order.strategy.clone(),
        order: OrderView {
            order_id: format!("O{}", order.number),
            client_order_id: format!("C{}", order.number),
            side: order.side,
            order_type: order.order_type,
            quantity: money::sum(order.quantity),
            limit_price: order.limit.map(wire).transpose()?,
            time_in_force: order.time_in_force,
            status: step.status,
            cum_qty: money::sum(order.filled),
            leaves_qty: if open { money::sum(order.leaves()) } else { Dec::ZERO },
            avg_px: order.average_price(),
        },
        fill: match &step.fill {
            None => None,
            Some(fill) => Some(Fill {
                fill_id: format!("F{}", fill.number),
                execution_number: Some(fill.number),
                last_qty: money::sum(fill.quantity),
                last_px: wire(fill.price)?,
                liquidity: fill.liquidity,
                ref_fill_id: None,
            }),
        },
        costs: Costs {
            commission: money::sum(step.fill.as_ref().map_or(Decimal::ZERO, |fill| fill.commission)),
            currency: account.state.currency.clone(),
            slippage_bps: step.fill.as_ref().and_then(|fill| slippage_bps(order, fill.price)),
        },
        pnl: Pnl {
            realized: money::sum(step.fill.as_ref().map_or(Decimal::ZERO, |fill| fill.realized)),
            unrealized: money::sum(unrealized),
        },
        reason: step.reason,
    };
    emit.push(EXECUTIONS, id, Event::ExecutionReport(Box::new(report)));
    match step.fill {
        Some(fill) => trade(emit, account, order, &symbol.name, &fill, step.status, step.at),
        None => Ok(()),
    }
}

fn trade(
    emit: &mut Emit<'_>,
    account: &Account,
    order: &Order,
    symbol: &str,
    fill: &FillNote,
    status: OrderStatus,
    at: Timestamp,
) -> Result<(), Overflow> {
    let trade = TradeExecution {
        trade_id: format!("F{}", fill.number),
        session_id: account.session.clone(),
        symbol: symbol.to_owned(),
        action: order.side,
        quantity: money::sum(fill.quantity),
        price: wire(fill.price)?,
        status: if status == OrderStatus::Filled { TradeStatus::Filled } else { TradeStatus::PartiallyFilled },
        timestamp: at,
        decision_id: order.decision.clone(),
        fees: Some(money::sum(fill.commission)),
    };
    let id = emit.next_id(TRADES, symbol);
    let event = Event::TradeExecution(emit.envelope(trade));
    emit.push(TRADES, id, event);
    Ok(())
}

/// Basis points against the price of the event that caused the order, positive
/// where worse; rounded to a millionth.
fn slippage_bps(order: &Order, price: Decimal) -> Option<f64> {
    let worse = if order.side == Side::Buy { price - order.reference } else { order.reference - price };
    let bps = worse.checked_mul(Decimal::from(10_000))?.checked_div(order.reference)?;
    Some(to_f64(bps.round_dp(6)))
}

/// Says how the account stands: its risk and its portfolio.
pub(super) fn figures(emit: &mut Emit<'_>, tape: &Tape, params: &Params, account: &Account) -> Result<(), Overflow> {
    let id = emit.next_id(METRICS, &account.id);
    let gross = Gross::of(account, tape)?;
    let (long, short, total) = (gross.long, gross.short, gross.total());
    let equity = account.equity();
    let positions = positions(account, tape)?;
    let (equity_out, cash, margin) = (money::sum(equity), money::sum(account.state.cash), money::sum(gross.margin));
    let ess = &account.state.ess;
    let by_venue = gross.by_venue.into_iter().map(|(venue, sum)| (venue, money::sum(sum)));
    let metrics = RiskMetrics {
        event_id: id.clone(),
        schema_version: SCHEMA_VERSION.into(),
        timestamp: emit.now,
        account: account.id.clone(),
        currency: Some(account.state.currency.clone()),
        positions: positions.clone(),
        equity: equity_out,
        cash,
        margin,
        leverage: leverage(total, equity),
        exposure: Exposure {
            long: money::sum(long),
            short: money::sum(short),
            net: money::sum(long - short),
            gross: money::sum(total),
            by_venue: by_venue.collect(),
        },
        drawdown: account.state.peaks.drawdown(equity),
        var_95: account_var(account, tape)?.map(money::sum),
        risk_limit_pct: 100.0 * to_f64(total) / to_f64(account.max_gross),
        limits: Some(RiskLimits {
            max_gross: Dec(account.max_gross),
            daily_drawdown_pct: params.ess.daily_drawdown_pct,
        }),
        ess: Ess { state: ess.state, reason: ess.reason.clone(), since: ess.since },
    };
    emit.push(METRICS, id, Event::RiskMetrics(Box::new(metrics)));
    let portfolio = Portfolio {
        account: account.id.clone(),
        equity: equity_out,
        cash,
        margin,
        positions,
        realized_pnl: money::sum(account.state.realized),
        unrealized_pnl: money::sum(account.unrealized()),
    };
    let id = emit.next_id(PORTFOLIO, &account.id);
    let event = Event::Portfolio(emit.envelope(portfolio));
    emit.push(PORTFOLIO, id, event);
    Ok(())
}

fn positions(account: &Account, tape: &Tape) -> Result<Vec<PositionView>, Overflow> {
    let held = account.positions.iter().filter(|position| !position.held.quantity.is_zero());
    held.map(|position| {
        let symbol = &tape.symbols[position.symbol];
        let quantity = position.held.quantity;
        Ok(PositionView {
            symbol: symbol.name.clone(),
            venue: symbol.venue.clone(),
            side: if quantity.is_sign_positive() { PositionSide::Long } else { PositionSide::Short },
            quantity: money::sum(quantity.abs()),
            avg_entry_price: money::average(position.held.cost, quantity),
            mark_price: shown(symbol.state.mark.unwrap_or_default()),
            notional: money::sum(position.value.abs()),
            unrealized_pnl: money::sum(position.value - position.held.cost),
        })
    })
    .collect()
}

fn account_var(account: &Account, tape: &Tape) -> Result<Option<Decimal>, Overflow> {
    let held: Vec<_> = account
        .positions
        .iter()
        .filter(|position| !position.held.quantity.is_zero())
        .map(|position| (position.value, &tape.symbols[position.symbol].returns))
        .collect();
    if !held.is_empty() {
        return var::value_at_risk(&held);
    }
    // Nothing held risks nothing, once there is history to say so.
    let known = tape.sources[account.source].symbols.iter().map(|&at| tape.symbols[at].returns.len()).max();
    Ok(known.filter(|&returns| var::enough(returns)).map(|_| Decimal::ZERO))
}

/// Says that a session began, stands, or ended.
pub(super) fn session(
    emit: &mut Emit<'_>,
    params: &Params,
    account: &Account,
    event: ForwardTestKind,
) -> Result<(), Overflow> {
    let id = emit.next_id(SESSIONS, &account.session);
    let performance = &account.state.performance;
    let data = ForwardTest {
        session_id: account.session.clone(),
        event,
        metrics: ForwardTestMetrics {
            trades: performance.trips,
            win_rate: performance.win_rate(),
            sharpe: performance.sharpe(params.days_per_year),
            max_drawdown: account.state.peaks.max_drawdown(),
            pnl: money::sum(account.equity() - account.state.start),
        },
        account: Some(account.id.clone()),
        currency: Some(account.state.currency.clone()),
        starting_equity: Some(money::sum(account.state.start)),
        source: Some(match account.trades {
            TradeSource::Signals => "signals".into(),
            TradeSource::Decisions => "decisions".into(),
        }),
    };
    let event = Event::ForwardTest(emit.envelope(data));
    emit.push(SESSIONS, id, event);
    Ok(())
}
