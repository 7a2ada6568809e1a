//! Execution reports as they are kept: the report itself, and the newest of each
//! order.
//!
//! Not here: what a report adds to the sums.

use std::collections::{BTreeMap, HashSet};

use tapedeck_contracts::events::{ExecutionReport, Order};

use super::{
    apply::Series,
    claims::{at, columns, refs},
    connect::Session,
    sheet::{Kind, Sheet, Table, parameters},
};
use crate::{
    Result, Row,
    common::{poison, words},
};

/// The reports themselves.
pub(super) const EXEC_REPORTS: Table = Table {
    name: "exec_reports",
    columns: &[
        ("ingested_at", Kind::Time),
        ("time", Kind::Time),
        ("place", Kind::Int),
        ("account", Kind::Text),
        ("venue", Kind::Text),
        ("symbol", Kind::Text),
        ("strategy_id", Kind::Text),
        ("exec_type", Kind::Text),
        ("event_id", Kind::Text),
        ("decision_id", Kind::Text),
        ("order_id", Kind::Text),
        ("client_order_id", Kind::Text),
        ("side", Kind::Text),
        ("order_type", Kind::Text),
        ("quantity", Kind::Num),
        ("limit_price", Kind::Num),
        ("time_in_force", Kind::Text),
        ("status", Kind::Text),
        ("cum_qty", Kind::Num),
        ("leaves_qty", Kind::Num),
        ("avg_px", Kind::Num),
        ("fill_id", Kind::Text),
        ("execution_number", Kind::Int),
        ("last_qty", Kind::Num),
        ("last_px", Kind::Num),
        ("liquidity", Kind::Text),
        ("ref_fill_id", Kind::Text),
        ("commission", Kind::Num),
        ("currency", Kind::Text),
        ("slippage_bps", Kind::Float),
        ("realized", Kind::Num),
        ("unrealized", Kind::Num),
        ("reason", Kind::Text),
    ],
    on_conflict: "",
};

/// Adds a report to its sheet.
///
/// # Errors
/// Poison where its execution number is beyond what is kept.
pub(super) fn write(
    sheet: &mut Sheet,
    row: &Row,
    report: &ExecutionReport,
    ingested_us: i64,
    place: i64,
) -> Result<()> {
    let fill = report.fill.as_ref();
    let number = fill.and_then(|fill| fill.execution_number).map(i64::try_from).transpose();
    let number = number.map_err(|_| poison("$.fill.execution_number is beyond 2^63"))?;
    let reason = report.reason.as_ref().map(words::reason);
    sheet.row().time(ingested_us).time(report.timestamp.micros()).int(place);
    sheet.text(&report.account).text(&report.venue).text(&report.symbol);
    sheet.optional_text(report.strategy_id.as_deref()).text(words::text(words::EXEC_TYPES, &report.exec_type));
    sheet.text(row.event_id.as_str()).optional_text(report.decision_id.as_deref()).text(&report.order.order_id);
    write_order(sheet, &report.order);
    sheet.optional_text(fill.map(|fill| fill.fill_id.as_str())).optional_int(number);
    sheet.optional_num(fill.map(|fill| *fill.last_qty)).optional_num(fill.map(|fill| *fill.last_px));
    sheet.optional_text(fill.map(|fill| words::text(words::LIQUIDITIES, &fill.liquidity)));
    sheet.optional_text(fill.and_then(|fill| fill.ref_fill_id.as_deref()));
    sheet.num(*report.costs.commission).text(&report.costs.currency).optional_float(report.costs.slippage_bps);
    sheet.num(*report.pnl.realized).num(*report.pnl.unrealized).optional_text(reason.as_deref());
    Ok(())
}

/// What the order says, from its client's id to its average price.
fn write_order(sheet: &mut Sheet, order: &Order) {
    sheet.text(&order.client_order_id).text(words::text(words::SIDES, &order.side));
    sheet.text(words::text(words::ORDER_TYPES, &order.order_type)).num(*order.quantity);
    sheet.optional_num(order.limit_price.map(|price| *price));
    sheet.text(words::text(words::TIMES_IN_FORCE, &order.time_in_force));
    sheet.text(words::text(words::STATUSES, &order.status)).num(*order.cum_qty).num(*order.leaves_qty);
    sheet.optional_num(order.avg_px.map(|price| *price));
}

/// The orders that a batch touches, each with its newest report in it.
#[derive(Default)]
pub(super) struct Orders<'a>(BTreeMap<(Series<'a>, &'a str), Newest<'a>>);

struct Newest<'a> {
    report: &'a ExecutionReport,
    place: i64,
    /// Time of the first report in the batch; an order that is stored keeps its own.
    created_us: i64,
}

const ORDERS: Table = Table {
    name: "orders",
    columns: &[
        ("account", Kind::Text),
        ("venue", Kind::Text),
        ("symbol", Kind::Text),
        ("order_id", Kind::Text),
        ("time", Kind::Time),
        ("place", Kind::Int),
        ("ingested_at", Kind::Time),
        ("created_at", Kind::Time),
        ("open", Kind::Bool),
        ("client_order_id", Kind::Text),
        ("side", Kind::Text),
        ("order_type", Kind::Text),
        ("quantity", Kind::Num),
        ("limit_price", Kind::Num),
        ("time_in_force", Kind::Text),
        ("status", Kind::Text),
        ("cum_qty", Kind::Num),
        ("leaves_qty", Kind::Num),
        ("avg_px", Kind::Num),
        ("decision_id", Kind::Text),
        ("strategy_id", Kind::Text),
        ("reason", Kind::Text),
    ],
    on_conflict: "ON CONFLICT (account, venue, symbol, order_id) DO UPDATE SET time = excluded.time, \
                  place = excluded.place, ingested_at = excluded.ingested_at, open = excluded.open, \
                  client_order_id = excluded.client_order_id, side = excluded.side, \
                  order_type = excluded.order_type, quantity = excluded.quantity, \
                  limit_price = excluded.limit_price, time_in_force = excluded.time_in_force, \
                  status = excluded.status, cum_qty = excluded.cum_qty, leaves_qty = excluded.leaves_qty, \
                  avg_px = excluded.avg_px, decision_id = excluded.decision_id, strategy_id = excluded.strategy_id, \
                  reason = excluded.reason",
};

impl<'a> Orders<'a> {
    pub(super) fn report(&mut self, series: Series<'a>, report: &'a ExecutionReport, place: i64) {
        let created_us = report.timestamp.micros();
        self.0
            .entry((series, &report.order.order_id))
            .and_modify(|known| (known.report, known.place) = (report, place))
            .or_insert(Newest { report, place, created_us });
    }

    /// Writes them: those that are not there yet by COPY, where it can be had. Nobody else writes
    /// them meanwhile, since their accounts are locked.
    pub(super) fn send(self, session: &mut Session, ingested_us: i64, copies: bool) -> Result<()> {
        let standing = if copies { Some(self.standing(session)?) } else { None };
        let (mut new, mut known) = (Sheet::of_new(&ORDERS), Sheet::new(&ORDERS, false));
        for ((series, order_id), Newest { report, place, created_us }) in self.0 {
            let is_new = standing.as_ref().is_some_and(|standing| !standing.contains(&(series, order_id)));
            let sheet = if is_new { &mut new } else { &mut known };
            sheet.row().text(series.account).text(series.venue).text(series.symbol).text(order_id);
            sheet.time(report.timestamp.micros()).int(place).time(ingested_us).time(created_us);
            sheet.bool(words::is_open(report.order.status));
            write_order(sheet, &report.order);
            sheet.optional_text(report.decision_id.as_deref()).optional_text(report.strategy_id.as_deref());
            sheet.optional_text(report.reason.as_ref().map(words::reason).as_deref());
        }
        known.send(session)?;
        new.send(session)?;
        Ok(())
    }

    /// Those that are there already.
    fn standing(&self, session: &mut Session) -> Result<HashSet<(Series<'a>, &'a str)>> {
        if self.0.is_empty() {
            return Ok(HashSet::new());
        }
        let sql = format!(
            "SELECT k.n FROM unnest({}) WITH ORDINALITY AS k(account, venue, symbol, order_id, n) \
             JOIN orders USING (account, venue, symbol, order_id)",
            parameters(&ORDERS.columns[..4])
        );
        let keys: Vec<_> = self.0.keys().copied().collect();
        session.query(&sql, &refs(&columns(&keys)))?.iter().map(|row| at(row, &keys).copied()).collect()
    }
}
