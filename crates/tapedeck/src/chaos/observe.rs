//! What is served of a run: its rows in the order they came in, its dead letters,
//! and whether the paper account is whole.
//!
//! Not here: comparing (`verdict`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value;

use super::{
    client::{Answer, Client},
    load::{ALERTS_TOPIC, Name, REPORTS_TOPIC, Run},
    verdict::Seen,
};

/// How long everything may take to come to rest; longer, and it never will.
const REST: Duration = Duration::from_secs(300);
const RECORDER: &str = "tapedeck.recorder";
/// What is not in the log yet.
const WAITING: [&str; 2] = ["tapedeck_emitter_spool_records", "tapedeck_emitter_ring_bytes"];
/// So often in a row all must be at rest: what one role has done, the next reads.
const LOOKS_AT_REST: u32 = 4;
const LOOK: Duration = Duration::from_millis(100);

/// Waits until no group lags and nothing waits in a spool.
///
/// # Errors
/// It does not come to rest; names what lags.
pub(crate) fn settle(client: &Client) -> anyhow::Result<()> {
    let began = Instant::now();
    let (mut at_rest, mut why) = (0, String::new());
    while at_rest < LOOKS_AT_REST {
        match unrest(client) {
            None => at_rest += 1,
            Some(found) => (at_rest, why) = (0, found),
        }
        anyhow::ensure!(began.elapsed() < REST, "not at rest after {REST:?}: {why}");
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// What is not at rest.
fn unrest(client: &Client) -> Option<String> {
    if let Answer::Came(503, value) = client.get("/health/ready", &[]) {
        return Some(value["detail"].as_str().unwrap_or("not ready").to_owned());
    }
    let groups = match client.get("/api/admin/groups", &[]) {
        Answer::Came(200, value) => value,
        other => return Some(format!("groups: {other:?}")),
    };
    // On a cluster a seat is taken seconds after the start, and nobody lags before.
    if !groups["items"].as_array().into_iter().flatten().any(has_recorder) {
        return Some("no recorder has a partition yet".to_owned());
    }
    let lagging = groups["items"].as_array().into_iter().flatten().find(|group| group["lag_records"] != 0);
    if let Some(group) = lagging {
        return Some(format!("group {} is {} records behind", group["group"], group["lag_records"]));
    }
    match client.text("/metrics") {
        Ok(text) => waiting(&text),
        Err(why) => Some(format!("metrics: {why:#}")),
    }
}

fn has_recorder(group: &Value) -> bool {
    let owns = |member: &Value| member["partitions"].as_array().is_some_and(|owned| !owned.is_empty());
    group["group"] == RECORDER && group["members"].as_array().is_some_and(|members| members.iter().any(owns))
}

/// What still waits in a ring or a spool, of a page of metrics.
fn waiting(metrics: &str) -> Option<String> {
    let waits = |line: &&str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_default();
        WAITING.iter().any(|waiting| name.starts_with(waiting)) && value.parse::<f64>().is_ok_and(|value| value > 0.0)
    };
    metrics.lines().find(waits).map(str::to_owned)
}

/// Reads all that is served of a run.
///
/// # Errors
/// The process does not answer.
pub(crate) fn seen(client: &Client, run: &Run) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    let account = run.account();
    pages(client, "/api/fills", &account, |row| take(&mut seen, row["order_id"].as_str()))?;
    pages(client, "/api/alerts", &account, |row| take(&mut seen, row["message"].as_str()))?;
    // Lists give the newest first.
    seen.stored.values_mut().for_each(|numbers| numbers.reverse());
    for topic in [REPORTS_TOPIC, ALERTS_TOPIC] {
        dead_letters(client, &format!("{topic}.dlq"), &account, &mut seen.dead)?;
    }
    Ok(seen)
}

fn take(seen: &mut Seen, text: Option<&str>) {
    match text.and_then(Name::read) {
        Some(name) => seen.stored.entry(name.key).or_default().push(name.n),
        None => seen.strange.push(text.unwrap_or("a row without a name").to_owned()),
    }
}

/// All rows of a list, a page at a time.
fn pages(client: &Client, path: &str, account: &str, mut row: impl FnMut(&Value)) -> anyhow::Result<()> {
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("account", account), ("limit", "1000")];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = match client.get(path, &query) {
            Answer::Came(200, page) => page,
            // Nobody has heard of an account without rows.
            Answer::Came(404, _) if cursor.is_none() => return Ok(()),
            other => anyhow::bail!("{path} was answered with {other:?}"),
        };
        page["items"].as_array().into_iter().flatten().for_each(&mut row);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(()),
        }
    }
}

fn dead_letters(client: &Client, topic: &str, account: &str, dead: &mut Vec<Name>) -> anyhow::Result<()> {
    let mut from = "earliest".to_owned();
    loop {
        let page = client.must("/api/admin/records", &[("topic", topic), ("limit", "1000"), ("from", &from)])?;
        for record in page["items"].as_array().into_iter().flatten() {
            let body = &record["value"];
            if body["account"] == account {
                let text = body["order"]["order_id"].as_str().or(body["message"].as_str());
                dead.push(text.and_then(Name::read).with_context(|| format!("a dead letter without a name: {body}"))?);
            }
        }
        if page["at_end"] == true {
            return Ok(());
        }
        page["next"].as_str().context("a page of records that does not say where to go on")?.clone_into(&mut from);
    }
}

/// The number of the newest event that is served of a key, 0 where none is; none
/// without an answer.
pub(crate) fn newest(client: &Client, run: &Run, key: &str) -> Option<u64> {
    let account = run.account();
    let alert = Name::new(key, 1).is_alert();
    let (path, symbol) = if alert { ("/api/alerts", None) } else { ("/api/fills", Some(("symbol", key))) };
    let mut query = vec![("account", account.as_str()), ("limit", "1")];
    query.extend(symbol);
    match client.get(path, &query) {
        Answer::Came(200, page) => {
            let row = &page["items"][0];
            let text = row["order_id"].as_str().or(row["message"].as_str());
            Some(text.and_then(Name::read).map_or(0, |name| name.n))
        }
        _ => None,
    }
}

/// The paper account: its executions, and whether its money adds up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Trading {
    /// Executions that are visible.
    pub(crate) executions: u64,
    /// Numbers from 1 to the highest that are not there.
    pub(crate) missing: u64,
    /// Numbers that are there again.
    pub(crate) twice: u64,
    /// Equity, less what it began with, less what all symbols made: 0.
    pub(crate) money_off: String,
}

impl Trading {
    pub(crate) fn holds(&self) -> bool {
        self.missing + self.twice == 0 && self.money_off == "0"
    }
}

/// Looks at the paper account.
///
/// # Errors
/// The process does not answer.
pub(crate) fn trading(client: &Client, account: &str) -> anyhow::Result<Trading> {
    let (mut numbers, mut executions, mut highest) = (BTreeSet::new(), 0, 0);
    pages(client, "/api/fills", account, |row| {
        let number = row["execution_number"].as_u64().unwrap_or_default();
        (executions, highest) = (executions + 1, number.max(highest));
        numbers.insert(number);
    })?;
    let known = numbers.range(1..).count() as u64;
    let off = if executions == 0 { Decimal::ZERO } else { money_off(client, account)? };
    Ok(Trading {
        executions,
        missing: highest - known,
        twice: executions - numbers.len() as u64,
        money_off: off.normalize().to_string(),
    })
}

fn money_off(client: &Client, account: &str) -> anyhow::Result<Decimal> {
    let accounts = client.must("/api/accounts", &[])?;
    let own = accounts["items"].as_array().into_iter().flatten().find(|item| item["account"] == account);
    let own = own.with_context(|| format!("account {account} is not listed"))?;
    let stats = client.must("/api/metrics/symbols", &[("account", account)])?;
    let mut made = Decimal::ZERO;
    for symbol in stats["items"].as_array().into_iter().flatten() {
        made += money(symbol, "realized")? + money(symbol, "unrealized")? - money(symbol, "fees")?;
    }
    Ok(money(own, "equity")? - money(own, "starting_equity")? - made)
}

fn money(of: &Value, field: &str) -> anyhow::Result<Decimal> {
    of[field].as_str().unwrap_or_default().parse().with_context(|| format!("no {field} in {of}"))
}

/// How far the recorder must come to have read all that was in the log: the end
/// of each partition.
pub(crate) type Ends = BTreeMap<(String, u64), u64>;

/// Where the recorder stands, and where the log ends; none without an answer.
pub(crate) fn recorder(client: &Client) -> Option<(Ends, Ends)> {
    let Answer::Came(200, groups) = client.get("/api/admin/groups", &[]) else { return None };
    let group = groups["items"].as_array()?.iter().find(|group| group["group"] == RECORDER)?;
    let (mut next, mut ends) = (Ends::new(), Ends::new());
    for offset in group["offsets"].as_array()? {
        let place = (offset["topic"].as_str()?.to_owned(), offset["partition"].as_u64()?);
        next.insert(place.clone(), offset["next"].as_u64().unwrap_or_default());
        ends.insert(place, offset["end"].as_u64()?);
    }
    Some((next, ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_in_a_spool_is_found_among_the_metrics() {
        let page = |records: u64| {
            format!(
                "# TYPE tapedeck_emitter_spool_records gauge\ntapedeck_role_up{{role=\"api\"}} 1\n\
                 tapedeck_emitter_ring_bytes{{emitter=\"api\"}} 0\ntapedeck_emitter_spool_records{{emitter=\"api\"}} {records}\n"
            )
        };
        assert_eq!(waiting(&page(0)), None);
        assert!(waiting(&page(7)).unwrap().contains("spool_records"));
    }
}
