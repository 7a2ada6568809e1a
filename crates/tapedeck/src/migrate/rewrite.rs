//! A record as the target gets it: the places that its headers and its state name
//! are those that they have there, and an id that came of its place stays.
//!
//! Not here: key, timestamp and body of events, which are never touched.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tapedeck_contracts::{
    EventId,
    catalogue::{Catalogue, DLQ_STATE},
    headers::{CAUSE, CE_ID, DLQ_OFFSET, DLQ_PARTITION, DLQ_TOPIC, ROOT},
};
use tapedeck_flow::{
    Delivery,
    inbound::kind_of,
    state::{AT, At},
};
use tapedeck_log::{Headers, LogRecord, Record};

use super::offsets::Offsets;

/// The record to append for one that was read.
///
/// # Errors
/// State that cannot be read, with its place.
pub(super) fn rewrite(record: LogRecord, offsets: &Offsets) -> anyhow::Result<Record> {
    let partition = Some(record.partition);
    if offsets.are_same() {
        let LogRecord { topic, key, value, headers, timestamp_ms, .. } = record;
        return Ok(Record { topic, partition, key, value, headers, timestamp_ms: Some(timestamp_ms) });
    }
    let value = match Catalogue::get().topic(&record.topic) {
        Some(topic) if topic.event.is_none() && topic.compact => state(&record, offsets)?,
        _ => record.value.clone(),
    };
    let headers = headers(&record, offsets);
    let LogRecord { topic, key, timestamp_ms, .. } = record;
    Ok(Record { topic, partition, key, value, headers, timestamp_ms: Some(timestamp_ms) })
}

fn headers(record: &LogRecord, offsets: &Offsets) -> Headers {
    let given_id = id_of_its_place(record, offsets);
    let names_places = record.headers.iter().any(|(name, _)| [CAUSE, ROOT, DLQ_OFFSET].contains(&name));
    if !names_places && given_id.is_none() {
        return record.headers.clone();
    }
    let original = original_offset(&record.headers, offsets);
    let mut pairs: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in record.headers.iter() {
        let text = std::str::from_utf8(value).ok();
        let mapped = match name {
            CAUSE | ROOT => text.and_then(|text| offsets.place(text)),
            DLQ_OFFSET => original.map(|offset| offset.to_string()),
            _ => None,
        };
        pairs.push((name.to_owned(), mapped.map_or_else(|| value.to_vec(), String::into_bytes)));
    }
    pairs.extend(given_id.map(|id| (CE_ID.to_owned(), id.0.into_bytes())));
    Headers::build(pairs.iter().map(|(name, value)| (name.as_str(), value)))
}

/// Where the record of a dead letter lies now.
fn original_offset(headers: &Headers, offsets: &Offsets) -> Option<u64> {
    let (topic, partition, offset) =
        (headers.text(DLQ_TOPIC)?, headers.text(DLQ_PARTITION)?.parse().ok()?, headers.text(DLQ_OFFSET)?.parse().ok()?);
    Some(offsets.next(topic, partition, offset))
}

/// The id of an event that is named by nothing but its place, where that changes.
fn id_of_its_place(record: &LogRecord, offsets: &Offsets) -> Option<EventId> {
    let kind = kind_of(&record.topic)?;
    let moves = offsets.next(&record.topic, record.partition, record.offset) != record.offset;
    if !moves || record.headers.text(CE_ID).is_some_and(|id| !id.is_empty()) {
        return None;
    }
    let of_place = EventId::from_place(&record.topic, record.partition, record.offset);
    Delivery::read(None, kind, record.clone()).ok().map(|delivery| delivery.id).filter(|id| *id == of_place)
}

/// State names positions in two places: `@at`, and where dead letters lie.
fn state(record: &LogRecord, offsets: &Offsets) -> anyhow::Result<Option<Bytes>> {
    let Some(value) = &record.value else { return Ok(None) };
    let wrong = |error: serde_json::Error| {
        let place = format!("{}/{}/{}", record.topic, record.partition, record.offset);
        anyhow::anyhow!("the state at {place} cannot be read ({error}): use the version that wrote it")
    };
    if record.key.as_deref() == Some(AT.as_bytes()) {
        let at: At = serde_json::from_slice(value).map_err(wrong)?;
        return Ok(Some(serde_json::to_vec(&mapped_at(at, offsets)).map_err(wrong)?.into()));
    }
    if *record.topic == *DLQ_STATE {
        let mut entry: Value = serde_json::from_slice(value).map_err(wrong)?;
        for place in entry["places"].as_array_mut().into_iter().flatten() {
            if let Some(mapped) = place.as_str().and_then(|text| offsets.place(text)) {
                *place = Value::String(mapped);
            }
        }
        return Ok(Some(serde_json::to_vec(&entry).map_err(wrong)?.into()));
    }
    Ok(Some(value.clone()))
}

fn mapped_at(at: At, offsets: &Offsets) -> At {
    let split = |place: &str| {
        place.rsplit_once('/').and_then(|(topic, part)| Some((Arc::<str>::from(topic), part.parse::<u32>().ok()?)))
    };
    let next =
        |place: &str, old: u64| split(place).map_or(old, |(topic, partition)| offsets.next(&topic, partition, old));
    // What was applied ahead and is gone since is not met again.
    let ahead = |place: &str, old: u64| match split(place)
        .and_then(|(topic, part)| offsets.part_of(&topic, part).map(|part| part.exact(old)))
    {
        Some(mapped) => mapped,
        None => Some(old),
    };
    At {
        ahead: at
            .ahead
            .iter()
            .map(|(place, all)| (place.clone(), all.iter().filter_map(|old| ahead(place, *old)).collect()))
            .collect(),
        next: at.next.into_iter().map(|(place, old)| (place.clone(), next(&place, old))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use tapedeck_log::TopicPartition;

    use super::{super::offsets::Part, *};

    /// Partition 0 of the topic holds what lies at 10 and after; of `b`, all.
    fn offsets(topic: &str) -> Offsets {
        let (mut part, mut offsets) = (Part::default(), Offsets::default());
        (10..20).for_each(|offset| part.push(offset));
        offsets.insert(&TopicPartition::new(topic, 0), part);
        offsets
    }

    fn record(topic: &str, key: &str, value: &str, headers: Headers) -> LogRecord {
        LogRecord {
            topic: topic.into(),
            partition: 0,
            offset: 12,
            timestamp_ms: 7,
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers,
        }
    }

    #[test]
    fn cause_root_and_the_place_of_a_dead_letter_are_mapped_and_all_else_stays() {
        let headers = Headers::build([
            (CAUSE, "market-data-updates/0/15"),
            (ROOT, "market-data-updates/0/3"),
            (DLQ_TOPIC, "market-data-updates"),
            (DLQ_PARTITION, "0"),
            (DLQ_OFFSET, "19"),
            ("tapedeck-seq", "s/4"),
        ]);
        let written = rewrite(record("a.dlq", "k", "not json", headers), &offsets("market-data-updates")).unwrap();
        let text = |name: &str| written.headers.text(name).unwrap().to_owned();
        assert_eq!((text(CAUSE), text(ROOT)), ("market-data-updates/0/5".into(), "market-data-updates/0/0".into()));
        assert_eq!((text(DLQ_OFFSET), text("tapedeck-seq")), ("9".into(), "s/4".into()));
        assert_eq!((written.value.as_deref(), written.timestamp_ms), (Some(&b"not json"[..]), Some(7)));
    }

    #[test]
    fn the_positions_of_a_state_are_mapped_and_its_other_keys_stay() {
        let topic = "tapedeck.forward-test.state";
        let at = r#"{"next":{"risk-commands/0":14,"other/1":3},"ahead":{"risk-commands/0":[16,2]}}"#;
        let written = rewrite(record(topic, AT, at, Headers::new()), &offsets("risk-commands")).unwrap();
        let found: At = serde_json::from_slice(&written.value.unwrap()).unwrap();
        assert_eq!((found.next["risk-commands/0"], found.next["other/1"]), (4, 3));
        assert_eq!(found.ahead["risk-commands/0"], [6]);
        let kept =
            rewrite(record(topic, "account/x", "{\"next\":1}", Headers::new()), &offsets("risk-commands")).unwrap();
        assert_eq!(kept.value.as_deref(), Some(&b"{\"next\":1}"[..]));
    }

    #[test]
    fn the_places_of_dead_letters_in_the_register_are_mapped() {
        let entry = r#"{"status":"purged","places":["alerts.v1.dlq/0/11"],"n":1}"#;
        let written = rewrite(record(DLQ_STATE, "id", entry, Headers::new()), &offsets("alerts.v1.dlq")).unwrap();
        let found: Value = serde_json::from_slice(&written.value.unwrap()).unwrap();
        assert_eq!((found["places"][0].as_str(), found["n"].as_u64()), (Some("alerts.v1.dlq/0/1"), Some(1)));
    }

    #[test]
    fn an_event_that_was_named_by_its_place_keeps_that_id() {
        let topic = "market-data-updates";
        let value = include_str!("../../../contracts/fixtures/market_data/1.0/bar.json");
        let named = rewrite(record(topic, "k", value, Headers::new()), &offsets(topic)).unwrap();
        assert_eq!(named.headers.text(CE_ID), Some(EventId::from_place(topic, 0, 12).as_str()));
        let given = rewrite(record(topic, "k", value, Headers::build([(CE_ID, "mine")])), &offsets(topic)).unwrap();
        assert_eq!(given.headers.text(CE_ID), Some("mine"));
        let unread = rewrite(record(topic, "k", "not an event", Headers::new()), &offsets(topic)).unwrap();
        assert_eq!(unread.headers.text(CE_ID), None);
    }
}
