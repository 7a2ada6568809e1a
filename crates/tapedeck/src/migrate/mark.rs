//! The mark of a move that was begun and has not ended, on both sides of its
//! target: who starts on half of a log or of a store would add to it, and the
//! move could never end.
//!
//! Not here: how far the move came, which is told by what the target holds.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tapedeck_log::{Headers, Log, PollLimits, Record, TopicConfig, TopicPartition};
use tapedeck_store::{Batch, OffsetMove, Store};

use super::rows::GROUP;
use crate::exit;

/// The topic that is there while a log is moved to; its one record says from where.
pub(crate) const TOPIC: &str = "tapedeck.migration";
/// The same in the store: a position of the move's group, as if it were a topic's.
const STORE_MARK: &str = "migration";
/// Positions that the mark takes: the moves from one to the next are the store's own.
const BEGUN: u64 = 1;
const ENDED: u64 = 2;
const READ: PollLimits = PollLimits { max_records: 10, max_bytes: 1 << 20, timeout: Duration::from_millis(100) };
/// A topic of two records is read in a fraction of it; one that is not is reported.
const PATIENCE: Duration = Duration::from_secs(10);
/// How times are said.
const SECONDS: &str = "%Y-%m-%dT%H:%M:%SZ";

/// What the record in the topic says.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    /// The folder that is moved.
    from: String,
    at: String,
}

/// What the last record says.
enum Said {
    Begun(Begun),
    /// It has no value.
    Ended,
}

/// Marks a log that is moved to, where it is not marked yet.
///
/// # Errors
/// Those of the log.
pub(super) fn begin_log(log: &dyn Log, dir: &Path) -> anyhow::Result<()> {
    if !has_topic(log)? {
        log.create_topics(&[topic()])?;
    }
    if matches!(read(log)?, Some(Said::Begun(_))) {
        return Ok(());
    }
    let from = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()).display().to_string();
    let begun = Begun { from, at: jiff::Timestamp::now().strftime(SECONDS).to_string() };
    say(log, Some(serde_json::to_vec(&begun)?.into()))
}

/// Takes the mark away again: by its record, since not every log deletes topics, nor
/// lets everybody do so.
///
/// # Errors
/// Those of the log.
pub(super) fn end_log(log: &dyn Log) -> anyhow::Result<()> {
    if !has_topic(log)? {
        return Ok(());
    }
    say(log, None)?;
    if let Err(error) = log.delete_topics(&[Arc::from(TOPIC)]) {
        tracing::info!("{TOPIC} stays, and says that nothing is moved: {error}");
    }
    Ok(())
}

/// The move to a log that has not ended; none where there is none.
///
/// # Errors
/// Those of the log.
pub(super) fn of_log(log: &dyn Log) -> anyhow::Result<Option<String>> {
    if !has_topic(log)? {
        return Ok(None);
    }
    Ok(match read(log) {
        Ok(Some(Said::Begun(begun))) => Some(format!("{} was begun at {}", begun.from, begun.at)),
        Ok(Some(Said::Ended)) => None,
        // Who may not read it knows at least that it is there.
        Ok(None) | Err(_) => Some("a folder was begun".to_owned()),
    })
}

/// The last record.
fn read(log: &dyn Log) -> anyhow::Result<Option<Said>> {
    let place = TopicPartition::new(TOPIC, 0);
    let (start, end) = log.bounds(&place)?;
    let mut reader = log.reader()?;
    reader.assign(&[(place.clone(), start)])?;
    let (mut said, began) = (None, Instant::now());
    while reader.position(&place).is_none_or(|next| next < end) {
        ensure!(began.elapsed() < PATIENCE, "{TOPIC} does not bring what lies before its end {end}");
        for record in reader.poll(READ)? {
            said = Some(match record.value {
                Some(value) => Said::Begun(serde_json::from_slice(&value)?),
                None => Said::Ended,
            });
        }
    }
    Ok(said)
}

fn say(log: &dyn Log, value: Option<Bytes>) -> anyhow::Result<()> {
    let record = Record {
        topic: TOPIC.into(),
        partition: Some(0),
        key: Some(Bytes::from_static(b"move")),
        value,
        headers: Headers::new(),
        timestamp_ms: None,
    };
    log.append(vec![record])?;
    Ok(())
}

/// Marks a store that is moved to, where it is not marked yet.
///
/// # Errors
/// Those of the store.
pub(super) fn begin_store(store: &dyn Store) -> anyhow::Result<()> {
    match position(store)? {
        None => set(store, None, BEGUN, jiff::Timestamp::now().as_millisecond()),
        Some(_) => Ok(()),
    }
}

/// Takes the mark away again.
///
/// # Errors
/// Those of the store.
pub(super) fn end_store(store: &dyn Store) -> anyhow::Result<()> {
    match position(store)? {
        Some((BEGUN, at_ms)) => set(store, Some(BEGUN), ENDED, at_ms),
        _ => Ok(()),
    }
}

/// The move to a store that has not ended, as [`of_log`] tells it.
///
/// # Errors
/// Those of the store.
pub(super) fn of_store(store: &dyn Store) -> anyhow::Result<Option<String>> {
    Ok(position(store)?.filter(|(at, _)| *at == BEGUN).map(|(_, at_ms)| {
        let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
        format!("was begun at {}", at.strftime(SECONDS))
    }))
}

fn position(store: &dyn Store) -> anyhow::Result<Option<(u64, i64)>> {
    let at = store.resume(GROUP, &[(Arc::from(STORE_MARK), 0)])?;
    let at = at.first().and_then(|at| Some((at.next?, at.last?.0)));
    Ok(at.map(|(next, at_ms)| (next, at_ms.cast_signed())))
}

fn set(store: &dyn Store, expected: Option<u64>, next: u64, at_ms: i64) -> anyhow::Result<()> {
    let moved =
        OffsetMove { topic: Arc::from(STORE_MARK), partition: 0, expected, next, last: (at_ms.cast_unsigned(), 0) };
    store.apply(&Batch { group: GROUP.into(), rows: Vec::new(), offsets: vec![moved], ingested_at_ms: 0 })?;
    Ok(())
}

/// Refuses to start on a log that was moved to in part.
///
/// # Errors
/// It was, with what to do; those of the log.
pub(crate) fn refuse_half_moved_log(log: &dyn Log, prefix: &str) -> anyhow::Result<()> {
    let Some(begun) = of_log(log)? else { return Ok(()) };
    let all = if prefix.is_empty() { String::new() } else { format!(" (they begin with `{prefix}`)") };
    Err(exit::input(format!(
        "the topics there{all} are half moved: a move of {begun}, and has not ended. Nothing was started, since it could not \
         be ended any more. Go on with it: the same `tapedeck migrate --to FILE --data FOLDER` again. Or give it up: drop \
         postgres.schema, take another kafka.prefix or delete its topics with {TOPIC} as the last (`tapedeck topics apply \
         --delete TOPIC…`), and delete migration.json in the folder that was moved"
    )))
}

/// The same for a store.
///
/// # Errors
/// As for [`refuse_half_moved_log`].
pub(crate) fn refuse_half_moved_store(store: &dyn Store, schema: &str) -> anyhow::Result<()> {
    let Some(begun) = of_store(store)? else { return Ok(()) };
    Err(exit::input(format!(
        "schema `{schema}` is half moved: a move into it {begun}, and has not ended. Nothing was started, since it could not \
         be ended any more. Go on with it: the same `tapedeck migrate --to FILE --data FOLDER` again. Or give it up: drop the \
         schema (or name another in [postgres] schema), delete its topics with {TOPIC} as the last, and delete \
         migration.json in the folder that was moved"
    )))
}

fn has_topic(log: &dyn Log) -> anyhow::Result<bool> {
    Ok(log.topics()?.iter().any(|info| &*info.config.name == TOPIC))
}

fn topic() -> TopicConfig {
    TopicConfig {
        name: TOPIC.into(),
        partitions: 1,
        retention: None,
        retention_bytes: None,
        // Never deleted, since without retention; nor compacted, which would take the last word.
        delete: true,
        compact: false,
    }
}
