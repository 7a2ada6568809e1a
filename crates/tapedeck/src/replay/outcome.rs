//! What came of a replay: events by topic, executions, money, and the digest.
//!
//! Not here: waiting for it.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tapedeck_contracts::{Dec, catalogue::Catalogue, headers};
use tapedeck_log::{Log, LogRecord, PollLimits, TopicInfo, TopicPartition};
use tapedeck_store::{OrdersQuery, Store};

use crate::{deck::Deck, digest::digest};

/// The one object that a replay prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Events by topic, each counted once.
    pub(crate) events: BTreeMap<String, u64>,
    /// Number of executions.
    pub(crate) fills: u64,
    /// Orders that are still open.
    pub(crate) open_orders: usize,
    /// Money by account.
    pub(crate) pnl: Vec<AccountPnl>,
    /// Of the run that finished.
    pub(crate) elapsed_s: f64,
    /// Market events a second, of the run that finished.
    pub(crate) events_per_s: f64,
    /// Whether an earlier run was cut off and this one went on.
    pub(crate) continued: bool,
    /// SHA-256 over all executions.
    pub(crate) digest: String,
    /// Where it is kept.
    pub(crate) data: String,
}

/// An account's money.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AccountPnl {
    pub(crate) account: String,
    pub(crate) currency: Option<String>,
    pub(crate) realized: Dec,
    pub(crate) unrealized: Dec,
    pub(crate) fees: Dec,
    /// realized + unrealized - fees.
    pub(crate) total: Dec,
    pub(crate) starting_equity: Option<Dec>,
    pub(crate) equity: Option<Dec>,
    /// Whether equity - starting equity is the total, to the last digit.
    pub(crate) adds_up: bool,
}

pub(crate) fn of(deck: &Deck, events: u64, elapsed: Duration, continued: bool, dir: &Path) -> anyhow::Result<Outcome> {
    let (digest, fills) = digest(&*deck.store)?;
    Ok(Outcome {
        events: count(&*deck.log, events)?,
        fills,
        open_orders: open_orders(&*deck.store)?,
        pnl: money(&*deck.store)?,
        elapsed_s: (elapsed.as_secs_f64() * 1e3).round() / 1e3,
        events_per_s: (events as f64 / elapsed.as_secs_f64()).round(),
        continued,
        digest,
        data: dir.display().to_string(),
    })
}

fn open_orders(store: &dyn Store) -> anyhow::Result<usize> {
    let mut query = OrdersQuery { open_only: true, limit: 1_000, ..OrdersQuery::default() };
    let mut count = 0;
    loop {
        let page = store.orders(&query)?;
        count += page.len();
        match page.last() {
            Some(last) => query.after = Some(last.key),
            None => return Ok(count),
        }
    }
}

fn money(store: &dyn Store) -> anyhow::Result<Vec<AccountPnl>> {
    let mut all = Vec::new();
    for account in store.accounts()? {
        let stats = store.symbol_stats(Some(&account.account))?;
        let realized = stats.iter().map(|s| s.realized.0).sum();
        let fees = stats.iter().map(|s| s.fees.0).sum();
        let risk = store.latest_risk(Some(&account.account))?;
        let unrealized = risk.iter().flat_map(|risk| &risk.positions).map(|p| p.unrealized_pnl.0).sum();
        let equity = risk.first().map(|risk| risk.equity).or(account.equity);
        let total = realized + unrealized - fees;
        let start = account.starting_equity;
        all.push(AccountPnl {
            account: account.account,
            currency: account.currency,
            realized: Dec(realized),
            unrealized: Dec(unrealized),
            fees: Dec(fees),
            total: Dec(total),
            starting_equity: start,
            equity,
            adds_up: matches!((equity, start), (Some(equity), Some(start)) if equity.0 - start.0 == total),
        });
    }
    Ok(all)
}

/// Events by topic. What is written outside of transactions may lie in the log
/// twice after a kill; readers drop the second, and so does this count.
fn count(log: &dyn Log, market_events: u64) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for topic in log.topics()? {
        let name = &topic.config.name;
        if Catalogue::get().topic(name).is_none_or(|known| known.event.is_none()) {
            continue;
        }
        let events = match &**name {
            "market-data-updates" => market_events,
            "strategy-signals"
            | "strategy-compilations"
            | "symbol-subscriptions"
            | "alerts.v1"
            | "trading_decisions"
            | "regime_changes"
            | "risk_decisions" => distinct(log, &topic)?,
            // On a cluster markers of transactions take offsets between the records.
            _ if topic.replication.is_some() => {
                let mut records = 0;
                read(log, &topic, |_| records += 1)?;
                records
            }
            _ => topic.partitions.iter().map(|p| p.end - p.start).sum(),
        };
        if events > 0 {
            counts.insert(name.to_string(), events);
        }
    }
    Ok(counts)
}

fn distinct(log: &dyn Log, topic: &TopicInfo) -> anyhow::Result<u64> {
    let mut seen = HashSet::new();
    read(log, topic, |record| {
        seen.insert(record.headers.get(headers::CE_ID).map(<[u8]>::to_vec));
    })?;
    Ok(seen.len() as u64)
}

/// Every record of a topic, from start to end.
fn read(log: &dyn Log, topic: &TopicInfo, mut take: impl FnMut(&LogRecord)) -> anyhow::Result<()> {
    /// A few megabytes at once.
    const LIMITS: PollLimits =
        PollLimits { max_records: 10_000, max_bytes: 8 << 20, timeout: Duration::from_millis(50) };
    for partition in &topic.partitions {
        let place = TopicPartition::new(topic.config.name.clone(), partition.partition);
        let mut reader = log.reader()?;
        reader.assign(&[(place.clone(), partition.start)])?;
        while reader.position(&place).is_some_and(|next| next < partition.end) {
            reader.poll(LIMITS)?.iter().for_each(&mut take);
        }
    }
    Ok(())
}
