//! Making topics and changing how long they keep their records.
//!
//! Not here: removing old records.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior, params};

use super::{
    schema,
    shared::{Shared, View, read, write},
};
use crate::{LogError, Result, TopicConfig};

/// Makes the topics that are not there; those that are take the new retention.
/// On the writer's thread.
pub(crate) fn create(shared: &Shared, connection: &mut Connection, wanted: &[TopicConfig]) -> Result<()> {
    let failed = |error| shared.write_failure(error);
    let known = read(&shared.topics).clone();
    for config in wanted {
        check(config, known.get(&config.name).map(|topic| topic.partitions.len()))?;
    }
    // Only this thread appends spans, so their places can be told beforehand.
    let mut grown = View { spans: read(&shared.view).spans.clone(), ..View::default() };
    let before = grown.spans.len();
    let mut made = BTreeMap::new();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    for config in wanted {
        if let Some(topic) = known.get(&config.name) {
            update(&transaction, topic.id, config).map_err(failed)?;
        } else if !made.contains_key(&config.name) {
            let id = insert(&transaction, config).map_err(failed)?;
            let topic = schema::load_topic(&transaction, id, config.clone(), &mut grown).map_err(failed)?;
            made.insert(Arc::clone(&topic.name), Arc::new(topic));
        }
    }
    transaction.commit().map_err(failed)?;
    write(&shared.view).spans.extend_from_slice(&grown.spans[before..]);
    let mut topics = write(&shared.topics);
    topics.extend(made);
    for config in wanted {
        if let Some(topic) = topics.get(&config.name) {
            set(&topic.config, config);
        }
    }
    Ok(())
}

fn check(config: &TopicConfig, there: Option<usize>) -> Result<()> {
    /// Kafka's own limit of a topic's name.
    const LONGEST: usize = 249;
    let name = &config.name;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > LONGEST || !name.chars().all(legal) {
        return Err(LogError::Fatal(format!(
            "`{name}` cannot be a topic: 1 to {LONGEST} of letters, digits, `.`, `_` and `-`"
        )));
    }
    match there {
        _ if config.partitions == 0 => Err(LogError::Fatal(format!("topic `{name}` needs at least one partition"))),
        Some(there) if there != config.partitions as usize => Err(LogError::Fatal(format!(
            "topic `{name}` has {there} partitions and {} are asked for; their number cannot change, since keys would \
             lie elsewhere: ask for {there}, or begin with an empty data folder",
            config.partitions
        ))),
        _ => Ok(()),
    }
}

fn set(place: &RwLock<TopicConfig>, config: &TopicConfig) {
    place.write().unwrap_or_else(PoisonError::into_inner).clone_from(config);
}

fn insert(connection: &Connection, config: &TopicConfig) -> rusqlite::Result<i64> {
    connection.execute(
        "INSERT INTO topics (name, partitions, retention_ms, retention_bytes, remove_old, compact)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            &*config.name,
            config.partitions,
            config.retention.map(millis),
            config.retention_bytes,
            config.delete,
            config.compact
        ],
    )?;
    let id = connection.last_insert_rowid();
    let mut statement = connection.prepare_cached("INSERT INTO partitions (topic_id, partition) VALUES (?1, ?2)")?;
    for partition in 0..config.partitions {
        statement.execute(params![id, partition])?;
    }
    Ok(id)
}

fn update(connection: &Connection, id: i64, config: &TopicConfig) -> rusqlite::Result<()> {
    connection.execute(
        "UPDATE topics SET retention_ms = ?2, retention_bytes = ?3, remove_old = ?4, compact = ?5 WHERE id = ?1",
        params![id, config.retention.map(millis), config.retention_bytes, config.delete, config.compact],
    )?;
    Ok(())
}

/// Milliseconds as SQLite's integers hold them; longer than any time is for ever.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
