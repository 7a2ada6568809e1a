//! What of a batch is new: event ids and fills are put where only one of each
//! can be, and those that were there already are told apart. In this order every
//! writer waits: offsets, event ids, accounts, what is kept by account; each in
//! the order of its keys. So two that write at once never wait in a circle.
//!
//! Not here: what becomes of the new.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, btree_map::Entry};

use tapedeck_contracts::{
    Event,
    events::{ExecutionReport, Fill},
};
use tokio_postgres::types::ToSql;

use super::{
    apply::Series,
    codec::{Numeric, get, word},
    connect::Session,
    failure::damaged,
    sheet::{Kind, Sheet, Table, parameters},
};
use crate::{
    Batch, Result, Row,
    common::{
        at_row,
        identity::{content, event_key},
        other_content, poison,
        stats::Replaced,
        values,
        words::SIDES,
    },
};

const EVENT_IDS: Table =
    Table { name: "event_ids", columns: &[("id", Kind::Bytes)], on_conflict: "ON CONFLICT DO NOTHING" };

/// Says of each row whether its event is new, and remembers those that are.
pub(super) fn events(session: &mut Session, rows: &[Row], copies: bool) -> Result<Vec<bool>> {
    let mut is_new = vec![true; rows.len()];
    let mut first = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        let Some(key) = event_key(row) else { continue };
        match first.entry(key) {
            Entry::Vacant(unseen) => _ = unseen.insert(index),
            Entry::Occupied(_) => is_new[index] = false,
        }
    }
    let filled = |mut sheet: Sheet| {
        first.keys().for_each(|key| {
            sheet.row().bytes(key);
        });
        sheet
    };
    // Ids that are there already are rare: readers drop what they have seen.
    let are_new = copies && filled(Sheet::of_new(&EVENT_IDS)).send_new(session)?;
    if !are_new && filled(Sheet::new(&EVENT_IDS, false)).send(session)? < count(first.len()) {
        // Those that were there before this transaction.
        let keys: Vec<&[u8]> = first.keys().map(Vec::as_slice).collect();
        let known = session.query(
            "SELECT id FROM event_ids WHERE id = ANY($1::bytea[]) AND xmin <> pg_current_xact_id()::xid",
            &[&keys],
        )?;
        for row in known {
            if let Some(index) = first.get(get::<&[u8]>(&row, 0)?) {
                is_new[*index] = false;
            }
        }
    }
    Ok(is_new)
}

const FILL_IDS: Table = Table {
    name: "fill_ids",
    columns: &[
        ("account", Kind::Text),
        ("venue", Kind::Text),
        ("symbol", Kind::Text),
        ("fill_id", Kind::Text),
        ("content", Kind::Int),
        ("ingested_at", Kind::Time),
        ("time", Kind::Time),
        ("place", Kind::Int),
    ],
    on_conflict: "ON CONFLICT DO NOTHING",
};

/// A fill's name.
type FillKey<'a> = (Series<'a>, &'a str);

/// The fill of a row, where it has one.
fn fill_of(row: &Row) -> Option<(&ExecutionReport, &Fill)> {
    match &row.event {
        Event::ExecutionReport(report) => report.fill.as_ref().map(|fill| (&**report, fill)),
        _ => None,
    }
}

/// Takes from the new rows those whose fill is there already, and remembers the
/// fills of the others. After the accounts were locked.
///
/// # Errors
/// Poison where a fill is there already and says something else.
pub(super) fn fills(session: &mut Session, batch: &Batch, is_new: &mut [bool], copies: bool) -> Result<()> {
    let mut first: BTreeMap<FillKey<'_>, (usize, i64)> = BTreeMap::new();
    for (index, row) in batch.rows.iter().enumerate() {
        let Some((report, fill)) = fill_of(row).filter(|_| is_new[index]) else { continue };
        let (key, said) = ((Series::of(report), fill.fill_id.as_str()), content(report));
        match first.get(&key) {
            None => _ = first.insert(key, (index, said)),
            Some((_, known)) if *known == said => is_new[index] = false,
            Some(_) => return Err(at_row(index, other_content(report, &fill.fill_id))),
        }
    }
    let are_new = copies && filled(Sheet::of_new(&FILL_IDS), batch, &first)?.send_new(session)?;
    if !are_new && filled(Sheet::new(&FILL_IDS, false), batch, &first)?.send(session)? < count(first.len()) {
        for (index, known) in contents(session, &first)? {
            let Some((report, fill)) = fill_of(&batch.rows[index]) else { continue };
            if known != content(report) {
                return Err(at_row(index, other_content(report, &fill.fill_id)));
            }
            is_new[index] = false;
        }
    }
    Ok(())
}

fn filled(mut sheet: Sheet, batch: &Batch, fills: &BTreeMap<FillKey<'_>, (usize, i64)>) -> Result<Sheet> {
    for ((series, fill_id), (index, said)) in fills {
        let row = &batch.rows[*index];
        let Some((report, _)) = fill_of(row) else { continue };
        sheet.row().text(series.account).text(series.venue).text(series.symbol).text(fill_id).int(*said);
        sheet.time(ingested_us(batch)).time(report.timestamp.micros()).int(values::place(&row.origin)?);
    }
    Ok(sheet)
}

const FILL_KEY: &[(&str, Kind)] =
    &[("account", Kind::Text), ("venue", Kind::Text), ("symbol", Kind::Text), ("fill_id", Kind::Text)];

/// What the fills say that were there before this transaction, by row of the batch.
fn contents(session: &mut Session, first: &BTreeMap<FillKey<'_>, (usize, i64)>) -> Result<BTreeMap<usize, i64>> {
    let sql = format!(
        "SELECT k.n, f.content FROM fill_ids f JOIN unnest({}) WITH ORDINALITY AS k(account, venue, symbol, fill_id, n) \
         USING (account, venue, symbol, fill_id) WHERE f.xmin <> pg_current_xact_id()::xid",
        parameters(FILL_KEY)
    );
    let keys: Vec<_> = first.keys().copied().collect();
    let mut known = BTreeMap::new();
    for row in session.query(&sql, &refs(&columns(&keys)))? {
        known.insert(first[at(&row, &keys)?].0, get(&row, 1)?);
    }
    Ok(known)
}

/// Keys of a series and a name in it, as columns.
pub(super) fn columns<'a>(keys: &[(Series<'a>, &'a str)]) -> [Vec<&'a str>; 4] {
    let column = |of: fn(&(Series<'a>, &'a str)) -> &'a str| keys.iter().map(of).collect();
    [column(|key| key.0.account), column(|key| key.0.venue), column(|key| key.0.symbol), column(|key| key.1)]
}

/// The key that a row answers, by its number.
pub(super) fn at<'a, K>(row: &tokio_postgres::Row, keys: &'a [K]) -> Result<&'a K> {
    let number: i64 = get(row, 0)?;
    let key = usize::try_from(number - 1).ok().and_then(|at| keys.get(at));
    key.ok_or_else(|| damaged("an answer to no question"))
}

/// Columns as parameters.
pub(super) fn refs<'a>(columns: &'a [Vec<&str>]) -> Vec<&'a (dyn ToSql + Sync)> {
    columns.iter().map(|column| column as _).collect()
}

/// The fills that corrections and cancels name, while their rows are kept: those
/// of the store, and then those of the batch itself as it goes on.
#[derive(Default)]
pub(super) struct Named<'a>(HashMap<FillKey<'a>, Option<Replaced>>);

impl<'a> Named<'a> {
    /// Reads what the new rows name.
    pub(super) fn load(session: &mut Session, batch: &'a Batch, is_new: &[bool]) -> Result<Self> {
        let rows = batch.rows.iter().zip(is_new).filter(|(_, is_new)| **is_new);
        let mut named: HashMap<FillKey<'a>, Option<Replaced>> = rows
            .filter_map(|(row, _)| fill_of(row))
            .filter_map(|(report, fill)| Some(((Series::of(report), fill.ref_fill_id.as_deref()?), None)))
            .collect();
        if named.is_empty() {
            return Ok(Self(named));
        }
        let sql = format!(
            "SELECT k.n, e.side, e.last_qty, e.last_px FROM fill_ids f \
             JOIN unnest({}) WITH ORDINALITY AS k(account, venue, symbol, fill_id, n) \
             USING (account, venue, symbol, fill_id) \
             JOIN exec_reports e ON e.ingested_at = f.ingested_at AND e.account = f.account AND e.symbol = f.symbol \
             AND e.venue = f.venue AND e.time = f.time AND e.place = f.place AND e.fill_id = f.fill_id",
            parameters(FILL_KEY)
        );
        let keys: Vec<_> = named.keys().copied().collect();
        for row in session.query(&sql, &refs(&columns(&keys)))? {
            let found = Replaced {
                side: word(SIDES, &row, 1)?,
                quantity: get::<Numeric>(&row, 2)?.0,
                price: get::<Numeric>(&row, 3)?.0,
            };
            named.insert(*at(&row, &keys)?, Some(found));
        }
        Ok(Self(named))
    }

    /// The fill that this one names, and from here on itself.
    pub(super) fn take(&mut self, series: Series<'a>, report: &ExecutionReport, fill: &'a Fill) -> Option<Replaced> {
        let named = fill.ref_fill_id.as_deref().and_then(|id| self.0.get(&(series, id)).copied()).flatten();
        if let Some(own) = self.0.get_mut(&(series, fill.fill_id.as_str())) {
            *own = Some(Replaced { side: report.order.side, quantity: *fill.last_qty, price: *fill.last_px });
        }
        named
    }
}

/// Makes sure that these accounts have a row, and locks them.
pub(super) fn accounts(session: &mut Session, touched: &BTreeSet<&str>, known: &mut HashSet<String>) -> Result<()> {
    let missing: Vec<&str> = touched.iter().copied().filter(|account| !known.contains(*account)).collect();
    if !missing.is_empty() {
        // In their order and before any lock: who waits here holds nothing that is kept by account.
        session
            .execute("INSERT INTO accounts (account) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", &[&missing])?;
        known.extend(missing.into_iter().map(str::to_owned));
    }
    let touched: Vec<&str> = touched.iter().copied().collect();
    if !touched.is_empty() {
        session.execute(
            "SELECT FROM accounts WHERE account = ANY($1::text[]) ORDER BY account FOR NO KEY UPDATE",
            &[&touched],
        )?;
    }
    Ok(())
}

/// Longer names do not fit an index row of PostgreSQL (some 2,700 bytes for three of them).
const MOST_NAME_BYTES: usize = 512;

/// Refuses what PostgreSQL's texts cannot hold, before the server does: it would
/// not say which row it was.
///
/// # Errors
/// Poison, with the first such row and its field.
pub(super) fn refuse_unfit(rows: &[Row]) -> Result<()> {
    for (index, row) in rows.iter().enumerate() {
        refuse_unfit_texts(&texts(row)).map_err(|error| at_row(index, error))?;
    }
    Ok(())
}

/// Refuses texts that PostgreSQL cannot keep.
///
/// # Errors
/// Poison, with the field.
pub(super) fn refuse_unfit_texts(texts: &[(&str, &str)]) -> Result<()> {
    for (field, text) in texts {
        if text.contains('\0') {
            return Err(poison(format!("{field} holds a NUL, which PostgreSQL cannot keep: leave it out")));
        }
        if text.len() > MOST_NAME_BYTES {
            let detail = format!("{field} has {} bytes, of {MOST_NAME_BYTES} at most: shorten it", text.len());
            return Err(poison(detail));
        }
    }
    Ok(())
}

/// The texts of a row that are kept as such.
fn texts(row: &Row) -> Vec<(&'static str, &str)> {
    let mut texts = vec![("event_id", row.event_id.as_str())];
    match &row.event {
        Event::ExecutionReport(report) => {
            let (order, fill) = (&report.order, report.fill.as_ref());
            texts.extend([
                ("$.account", report.account.as_str()),
                ("$.venue", &report.venue),
                ("$.symbol", &report.symbol),
                ("$.order.order_id", &order.order_id),
                ("$.order.client_order_id", &order.client_order_id),
                ("$.costs.currency", &report.costs.currency),
            ]);
            let optional = [
                ("$.strategy_id", report.strategy_id.as_deref()),
                ("$.decision_id", report.decision_id.as_deref()),
                ("$.fill.fill_id", fill.map(|fill| fill.fill_id.as_str())),
                ("$.fill.ref_fill_id", fill.and_then(|fill| fill.ref_fill_id.as_deref())),
            ];
            texts.extend(optional.into_iter().filter_map(|(field, text)| Some((field, text?))));
        }
        Event::RiskMetrics(metrics) => {
            texts.push(("$.account", &metrics.account));
            texts.extend(metrics.currency.as_deref().map(|currency| ("$.currency", currency)));
            texts.extend(metrics.positions.iter().map(|position| ("$.positions[].symbol", position.symbol.as_str())));
        }
        Event::Alert(alert) => texts.extend(alert.account.as_deref().map(|account| ("$.account", account))),
        Event::Signal(signal) => texts.push(("$.data.market_data.symbol", &signal.data.market_data.symbol)),
        Event::ForwardTest(test) => {
            let test = &test.data;
            let optional = [("$.data.account", &test.account), ("$.data.currency", &test.currency)];
            texts.extend(optional.into_iter().filter_map(|(field, text)| Some((field, text.as_deref()?))));
            texts.push(("$.data.session_id", &test.session_id));
            texts.extend(test.source.as_deref().map(|source| ("$.data.source", source)));
        }
        _ => {}
    }
    texts
}

/// When the batch was taken from the log.
pub(super) fn ingested_us(batch: &Batch) -> i64 {
    batch.ingested_at_ms.saturating_mul(1_000)
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
