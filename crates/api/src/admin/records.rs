//! `GET /api/admin/records`: records of a topic, from a place or a time on.
//!
//! Not here: groups; reading so moves no offsets.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{extract::State, http::Uri, response::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::value::RawValue;
use tapedeck_contracts::Timestamp;
use tapedeck_log::{Log, LogError, LogRecord, PollLimits, TopicInfo, TopicPartition};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    params::{Params, nearest},
    problem::{Problem, ProblemBody},
    routes::json,
};

/// Bytes of values in one answer: about as much as a browser shows.
const MAX_BYTES: usize = 4 << 20;
/// How long `follow` waits for the first record; below every proxy's patience.
const FOLLOW: Duration = Duration::from_secs(5);
/// How often `follow` looks.
const LOOK: Duration = Duration::from_millis(50);
/// Reads in a row that may bring nothing before the end: what is left may be
/// markers, or removed meanwhile.
const EMPTY_READS: u32 = 5;
/// How long a read waits for records that are there.
const POLL: Duration = Duration::from_millis(100);

/// Which records.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RecordsParams {
    /// The topic.
    #[param(value_type = String)]
    topic: Option<String>,
    /// One partition; else all of them.
    partition: Option<u32>,
    /// `earliest`, `latest`, an offset (of one partition), a time (records written at
    /// or after it), or the `next` of the answer before. `earliest` by default.
    from: Option<String>,
    /// Only before this: an offset (of one partition), a time, `latest`, or the `until`
    /// of the answer before; to the end by default.
    to: Option<String>,
    /// Bytes as they are: keys, values and headers in base64.
    #[param(required = false, default = false)]
    raw: bool,
    /// Records at most, 1 to 1000.
    #[param(required = false, minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
    /// Wait up to 5 s for the first record where there is none yet.
    #[param(required = false, default = false)]
    follow: bool,
}

impl RecordsParams {
    fn read(uri: &Uri) -> Result<Self, Problem> {
        let mut query = Params::of(uri)?;
        let partition = query.number("partition", 0, u64::from(u32::MAX))?;
        let params = Self {
            topic: query.text("topic")?,
            partition: partition.and_then(|partition| u32::try_from(partition).ok()),
            from: query.text("from")?,
            to: query.text("to")?,
            raw: query.word("raw", &[("true", true), ("false", false)])?.unwrap_or(false),
            limit: query.limit()?,
            follow: query.word("follow", &[("true", true), ("false", false)])?.unwrap_or(false),
        };
        query.finish()?;
        Ok(params)
    }
}

/// A record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordItem {
    partition: u32,
    offset: u64,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// Text, or base64 with `key_encoding`.
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Option<&'static str>,
    /// Text, or base64 where it is not UTF-8; empty with `raw`.
    headers: BTreeMap<String, String>,
    /// With `raw`: all of them in their order, names and base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Vec<String>>>)]
    raw_headers: Option<Vec<(String, String)>>,
    /// JSON, or base64 text with `value_encoding`; null is a tombstone.
    #[schema(value_type = Object)]
    value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_encoding: Option<&'static str>,
}

/// Records.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Records {
    topic: String,
    items: Vec<RecordItem>,
    /// The `from` that goes on after these.
    next: String,
    /// The `to` of the following requests, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// Whether the end of the log, as of the request, or `to` was reached.
    at_end: bool,
}

/// Records of a topic, in offset order within each partition.
#[utoipa::path(get, path = "/api/admin/records", tag = "admin", params(RecordsParams), responses(
    (status = 200, description = "Records, and where to go on", body = Records),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn records(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    let params = RecordsParams::read(&uri)?;
    let topic = params.topic.clone().ok_or_else(|| Problem::bad("topic", "needed; /api/admin/topics lists them"))?;
    let params = Arc::new(params);
    let (mut from, until) = start(&app, &topic, &params).await?;
    let give_up = Instant::now() + FOLLOW;
    loop {
        let (topic, asked, places, until) = (topic.clone(), Arc::clone(&params), from.clone(), until.clone());
        let answer = app.log(move |log| Ok(read(log.as_ref(), topic, &asked, &places, &until))).await??;
        if !params.follow || !answer.0.items.is_empty() || Instant::now() >= give_up {
            return Ok(json(&answer.0));
        }
        from = answer.1;
        // Waiting holds no thread: appends need those.
        tokio::time::sleep(LOOK).await;
    }
}

/// Places and the offsets to read them from.
type Places = Vec<(TopicPartition, u64)>;

/// From where and up to where; the second is empty where that is the end.
async fn start(app: &App, topic: &str, params: &Arc<RecordsParams>) -> Result<(Places, Places), Problem> {
    let (topic, params) = (topic.to_owned(), Arc::clone(params));
    app.log(move |log| {
        let both = |from: Places| ends(log.as_ref(), &from, &params).map(|until| (from, until));
        Ok(positions(log.as_ref(), &topic, &params).and_then(both))
    })
    .await?
}

/// Before which offsets records are wanted; empty where that is the end.
fn ends(log: &dyn Log, from: &Places, params: &RecordsParams) -> Result<Places, Problem> {
    let Some(text) = params.to.as_deref() else { return Ok(Vec::new()) };
    let resumed = is_positions(text).then(|| parse_positions(text)).transpose()?;
    let mut ends = Vec::new();
    for (place, _) in from {
        let end = log.bounds(place)?.1;
        let offset = match (&resumed, text) {
            (Some(resumed), _) => resumed.get(&place.partition).copied().unwrap_or(end),
            (None, "latest") => end,
            (None, text) => offset_of(log, place, text, from.len() == 1)?,
        };
        ends.push((place.clone(), offset));
    }
    Ok(ends)
}

fn read(
    log: &dyn Log,
    topic: String,
    params: &RecordsParams,
    from: &[(TopicPartition, u64)],
    until: &[(TopicPartition, u64)],
) -> Result<(Records, Places), Problem> {
    let limit = params.limit;
    let mut ends = BTreeMap::new();
    for (place, _) in from {
        let end = log.bounds(place)?.1;
        let wanted = until.iter().find(|(known, _)| known == place).map_or(end, |(_, until)| *until);
        ends.insert(place.clone(), end.min(wanted));
    }
    let mut reader = log.reader()?;
    reader.assign(from)?;
    let (mut items, mut bytes, mut empty) = (Vec::new(), 0, 0);
    let mut at_end;
    loop {
        let left = limit - items.len();
        at_end = ends.iter().all(|(place, end)| reader.position(place).is_some_and(|next| next >= *end));
        if left == 0 || bytes >= MAX_BYTES || at_end || empty == EMPTY_READS {
            break;
        }
        let limits = PollLimits { max_records: left, max_bytes: MAX_BYTES - bytes, timeout: POLL };
        let records = reader.poll(limits)?;
        empty = if records.is_empty() { empty + 1 } else { 0 };
        for record in records {
            let place = TopicPartition::new(Arc::clone(&record.topic), record.partition);
            if until.is_empty() || ends.get(&place).is_some_and(|end| record.offset < *end) {
                bytes += record.value.as_ref().map_or(0, bytes::Bytes::len);
                items.push(if params.raw { raw_item(&record) } else { item(log, &record) });
            }
        }
    }
    let reached: Places =
        from.iter().map(|(place, start)| (place.clone(), reader.position(place).unwrap_or(*start))).collect();
    let until = (!until.is_empty()).then(|| shown(until));
    Ok((Records { topic, items, next: shown(&reached), until, at_end }, reached))
}

/// Places as `from` and `to` take them.
fn shown(places: &[(TopicPartition, u64)]) -> String {
    let place = |(place, offset): &(TopicPartition, u64)| format!("{}:{offset}", place.partition);
    places.iter().map(place).collect::<Vec<_>>().join(",")
}

/// A topic of the log; 404 with the nearest name where there is none.
pub(super) fn find<'a>(topics: &'a [TopicInfo], topic: &str) -> Result<&'a TopicInfo, Problem> {
    topics.iter().find(|info| &*info.config.name == topic).ok_or_else(|| {
        let near = nearest(topic, topics.iter().map(|info| &*info.config.name));
        let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        Problem::not_found(format!("there is no topic `{topic}`{hint}"))
    })
}

/// Where to read from, in each partition asked for.
fn positions(log: &dyn Log, topic: &str, params: &RecordsParams) -> Result<Places, Problem> {
    let topics = log.topics()?;
    let info = find(&topics, topic)?;
    let count = info.config.partitions;
    if let Some(partition) = params.partition.filter(|partition| *partition >= count) {
        return Err(Problem::bad("partition", format!("`{topic}` has partitions 0 to {}, not {partition}", count - 1)));
    }
    let resumed = params.from.as_deref().filter(|from| is_positions(from)).map(parse_positions).transpose()?;
    let mut from = Vec::new();
    for partition in (0..count).filter(|partition| params.partition.is_none_or(|only| only == *partition)) {
        let place = TopicPartition::new(topic, partition);
        let (start, end) = log.bounds(&place)?;
        let offset = match (params.from.as_deref(), &resumed) {
            (_, Some(resumed)) => resumed.get(&partition).copied().unwrap_or(start),
            (None | Some("earliest"), _) => start,
            (Some("latest"), _) => end,
            (Some(text), _) => offset_of(log, &place, text, params.partition.is_some() || count == 1)?,
        };
        if !(start..=end).contains(&offset) {
            let error = LogError::OutOfRange { partition: place, wanted: offset, start, end };
            return Err(Problem::bad("from", error.to_string()));
        }
        from.push((place, offset));
    }
    Ok(from)
}

/// Whether a text has the form of `next`: `partition:offset,…`.
fn is_positions(text: &str) -> bool {
    text.contains(':') && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':' || byte == b',')
}

fn parse_positions(text: &str) -> Result<BTreeMap<u32, u64>, Problem> {
    let one = |part: &str| {
        let (partition, offset) = part.split_once(':')?;
        Some((partition.parse().ok()?, offset.parse().ok()?))
    };
    let all: Option<BTreeMap<u32, u64>> = text.split(',').map(one).collect();
    all.ok_or_else(|| Problem::bad("from", format!("expected the `next` of an answer, found {text:?}")))
}

fn offset_of(log: &dyn Log, place: &TopicPartition, text: &str, one_partition: bool) -> Result<u64, Problem> {
    if let Ok(offset) = text.parse::<u64>() {
        if one_partition {
            return Ok(offset);
        }
        return Err(Problem::bad("from", "an offset means something in one partition only; name the partition"));
    }
    let time = Timestamp::parse(&text.replace(' ', "+")).map_err(|error| {
        Problem::bad("from", format!("expected earliest, latest, an offset or a time, found {text:?}: {error}"))
    })?;
    Ok(log.offset_at(place, time.millis())?)
}

fn item(log: &dyn Log, record: &LogRecord) -> RecordItem {
    let (key, key_encoding) = match record.key.as_deref().map(text) {
        Some((text, encoding)) => (Some(text), encoding),
        None => (None, None),
    };
    let (value, value_encoding) = match &record.value {
        None => (None, None),
        Some(value) => {
            let unframe = log.unframe().filter(|unframe| unframe.is_framed(value));
            let body = unframe.and_then(|unframe| unframe.open(&record.topic, value).ok());
            match serde_json::from_slice::<Box<RawValue>>(body.as_ref().unwrap_or(value)) {
                Ok(json) => (Some(json), None),
                Err(_) => (serde_json::value::to_raw_value(&STANDARD.encode(value)).ok(), Some("base64")),
            }
        }
    };
    RecordItem {
        partition: record.partition,
        offset: record.offset,
        timestamp: Timestamp::from_millis(record.timestamp_ms),
        key,
        key_encoding,
        headers: record.headers.iter().map(|(name, value)| (name.to_owned(), text(value).0)).collect(),
        raw_headers: None,
        value,
        value_encoding,
    }
}

/// A record whose bytes are all kept.
fn raw_item(record: &LogRecord) -> RecordItem {
    let value = record.value.as_deref().and_then(|bytes| serde_json::value::to_raw_value(&STANDARD.encode(bytes)).ok());
    let headers = record.headers.iter().map(|(name, value)| (name.to_owned(), STANDARD.encode(value)));
    RecordItem {
        partition: record.partition,
        offset: record.offset,
        timestamp: Timestamp::from_millis(record.timestamp_ms),
        key: record.key.as_deref().map(|key| STANDARD.encode(key)),
        key_encoding: record.key.is_some().then_some("base64"),
        headers: BTreeMap::new(),
        raw_headers: Some(headers.collect()),
        value_encoding: value.is_some().then_some("base64"),
        value,
    }
}

/// Bytes as text, or as base64 with the word that says so.
pub(crate) fn text(bytes: &[u8]) -> (String, Option<&'static str>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (STANDARD.encode(bytes), Some("base64")),
    }
}
