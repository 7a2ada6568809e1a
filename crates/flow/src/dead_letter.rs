//! A dead letter: a record that a group could not handle, with its key, value and
//! headers as they were and the account of what failed behind them.
//!
//! Not here: when a record becomes one (`runtime`), and sending it again
//! (`redrive`).

use sha2::{Digest as _, Sha256};
use tapedeck_contracts::{
    EventId, Timestamp,
    catalogue::dlq_of,
    headers::{self as names, Place, Redrive},
};
use tapedeck_log::{Headers, LogRecord, Record};

use crate::inbound::place_of;

/// Of an error's text as much as a person reads; a body may be quoted in it.
const MAX_ERROR_BYTES: usize = 2_048;
/// A path longer than this names nothing that a person finds by hand.
const MAX_PATH_BYTES: usize = 512;

/// What becomes of a record that can never be handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aside {
    /// It becomes a dead letter, and its partition goes on.
    #[default]
    DeadLetter,
    /// Its partition stops: a replay is evidence, and one with a hole is none.
    Stop,
}

/// Which sort of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorClass {
    /// The bytes are not JSON of UTF-8.
    Undecodable,
    /// The body is not what the contract asks for.
    Invalid,
    /// The schema that its frame names is not known, or its body does not fit it.
    Schema,
    /// The handler refused it, or failed on it however often it was tried.
    Handler,
    /// The handler panicked on it.
    Panic,
    /// The store refused it.
    Store,
}

impl ErrorClass {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Undecodable, Self::Invalid, Self::Schema, Self::Handler, Self::Panic, Self::Store];

    /// Its word in the header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Invalid => "invalid",
            Self::Schema => "schema",
            Self::Handler => "handler",
            Self::Panic => "panic",
            Self::Store => "store",
        }
    }

    /// The class of a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == text)
    }
}

/// What failed, as the reader of the record knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The role whose group could not handle it.
    pub role: String,
    /// That group.
    pub group: String,
    /// Which sort of failure.
    pub class: ErrorClass,
    /// The failure in words.
    pub error: String,
    /// Where in the body, as a JSON path, if it is the body.
    pub path: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it failed first.
    pub first_failure: Timestamp,
    /// When it failed last.
    pub last_failure: Timestamp,
}

/// A part of the record that did not fit into its dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Omitted {
    /// `key`, `value` or `headers`.
    pub part: String,
    /// How large it is.
    pub bytes: usize,
    /// SHA-256 of it, in hex.
    pub sha256: String,
}

/// A dead letter as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its id, the same however often it was written.
    pub id: EventId,
    /// Where the record lies.
    pub origin: Place,
    /// When the record was written, in ms since the epoch.
    pub timestamp_ms: i64,
    /// The version of tapedeck that failed.
    pub version: String,
    /// What failed.
    pub account: Account,
    /// For whom and how often the record had been sent again when it failed.
    pub redrive: Option<Redrive>,
    /// The record's key.
    pub key: Option<bytes::Bytes>,
    /// The record's value.
    pub value: Option<bytes::Bytes>,
    /// The record's headers.
    pub headers: Headers,
    /// What of these three is not here but, as long as the topic keeps it, at
    /// `origin`.
    pub omitted: Vec<Omitted>,
}

/// The dead letter of a record, for the same partition of the dead letter topic.
/// What would make it larger than `max_bytes` is left out and accounted for:
/// the value first, then the headers, then the key.
pub fn dead_letter(record: &LogRecord, account: &Account, max_bytes: usize) -> Record {
    let mut letter = Record {
        topic: dlq_of(&record.topic).into(),
        partition: Some(record.partition),
        key: record.key.clone(),
        value: record.value.clone(),
        headers: Headers::new(),
        timestamp_ms: None,
    };
    let mut kept = Some(&record.headers);
    let mut omitted = Vec::new();
    let value = record.value.as_deref().unwrap_or_default();
    for part in ["value", "headers", "key"] {
        letter.headers = headers_of(record, account, kept, &omitted);
        if letter.bytes() <= max_bytes {
            return letter;
        }
        omitted.push(match part {
            "value" => omit(part, value),
            "headers" => omit(part, record.headers.as_bytes()),
            _ => omit(part, record.key.as_deref().unwrap_or_default()),
        });
        match part {
            "value" => letter.value = Some(bytes::Bytes::new()),
            "headers" => kept = None,
            _ => letter.key = Some(bytes::Bytes::new()),
        }
    }
    letter.headers = headers_of(record, account, kept, &omitted);
    letter
}

impl DeadLetter {
    /// Reads a record of a dead letter topic.
    ///
    /// # Errors
    /// The name of a header that is missing or cannot be read: somebody else
    /// wrote it.
    pub fn read(record: &LogRecord) -> Result<Self, String> {
        let text = |name: &str| {
            let value = record.headers.text(name);
            value
                .map(str::to_owned)
                .ok_or_else(|| format!("this is no dead letter of tapedeck: header `{name}` is missing"))
        };
        let bad = |name: &str| format!("header `{name}` cannot be read");
        let number = |name: &str| text(name)?.parse::<u64>().map_err(|_| bad(name));
        let time = |name: &str| Timestamp::parse(&text(name)?).map_err(|_| bad(name));
        let (before, omitted) = original(&record.headers);
        let left_out = |part: &str| omitted.iter().any(|one| one.part == part);
        let partition = u32::try_from(number(names::DLQ_PARTITION)?).map_err(|_| bad(names::DLQ_PARTITION))?;
        Ok(Self {
            id: EventId(text(names::DLQ_ID)?),
            origin: Place { topic: text(names::DLQ_TOPIC)?, partition, offset: number(names::DLQ_OFFSET)? },
            timestamp_ms: text(names::DLQ_TIMESTAMP)?.parse().map_err(|_| bad(names::DLQ_TIMESTAMP))?,
            version: text(names::DLQ_VERSION)?,
            account: Account {
                role: text(names::DLQ_ROLE)?,
                group: text(names::DLQ_GROUP)?,
                class: ErrorClass::parse(&text(names::DLQ_ERROR_CLASS)?).ok_or_else(|| bad(names::DLQ_ERROR_CLASS))?,
                error: text(names::DLQ_ERROR)?,
                path: record.headers.text(names::DLQ_ERROR_PATH).map(str::to_owned),
                attempts: u32::try_from(number(names::DLQ_ATTEMPTS)?).unwrap_or(u32::MAX),
                first_failure: time(names::DLQ_FIRST_FAILURE)?,
                last_failure: time(names::DLQ_LAST_FAILURE)?,
            },
            redrive: before.text(names::REDRIVE).and_then(Redrive::parse),
            key: record.key.clone().filter(|_| !left_out("key")),
            value: record.value.clone().filter(|_| !left_out("value")),
            headers: before,
            omitted,
        })
    }
}

/// The id of the dead letter of a record in a group: that of its place, so that
/// it is the same after a crash between writing it and going on.
fn id_of(record: &LogRecord, account: &Account) -> EventId {
    let place = EventId::from_place(&record.topic, record.partition, record.offset);
    EventId::derived(&place, &account.role, &dlq_of(&record.topic), &account.group, 0)
}

/// Those of the record, untouched, and the account behind them; its first is
/// [`names::DLQ_ID`], and that is how the two are told apart.
fn headers_of(record: &LogRecord, account: &Account, kept: Option<&Headers>, omitted: &[Omitted]) -> Headers {
    // How often it was sent again is known even where its headers did not fit.
    let redrive = record.headers.iter().filter(|(name, _)| kept.is_none() && *name == names::REDRIVE);
    let before = kept.into_iter().flat_map(Headers::iter).chain(redrive);
    let before = before.map(|(name, value)| (name, value.to_vec()));
    let place = place_of(record);
    let mut own = vec![
        (names::DLQ_ID, id_of(record, account).0),
        (names::DLQ_ERROR_CLASS, account.class.name().to_owned()),
        (names::DLQ_ERROR, cut(&account.error, MAX_ERROR_BYTES)),
        (names::DLQ_TOPIC, place.topic),
        (names::DLQ_PARTITION, place.partition.to_string()),
        (names::DLQ_OFFSET, place.offset.to_string()),
        (names::DLQ_TIMESTAMP, record.timestamp_ms.to_string()),
        (names::DLQ_GROUP, account.group.clone()),
        (names::DLQ_ROLE, account.role.clone()),
        (names::DLQ_VERSION, env!("CARGO_PKG_VERSION").to_owned()),
        (names::DLQ_ATTEMPTS, account.attempts.to_string()),
        (names::DLQ_FIRST_FAILURE, account.first_failure.to_string()),
        (names::DLQ_LAST_FAILURE, account.last_failure.to_string()),
    ];
    own.extend(account.path.as_ref().map(|path| (names::DLQ_ERROR_PATH, cut(path, MAX_PATH_BYTES))));
    own.extend(omitted.iter().map(|one| (names::DLQ_OMITTED, format!("{}/{}/{}", one.part, one.bytes, one.sha256))));
    Headers::build(before.chain(own.into_iter().map(|(name, value)| (name, value.into_bytes()))))
}

/// The headers of the record itself, and what was left out.
fn original(headers: &Headers) -> (Headers, Vec<Omitted>) {
    let all: Vec<(&str, &[u8])> = headers.iter().collect();
    let own = all.iter().rposition(|(name, _)| *name == names::DLQ_ID).unwrap_or(all.len());
    let omitted = all[own..].iter().filter(|(name, _)| *name == names::DLQ_OMITTED);
    let omitted = omitted.filter_map(|(_, value)| {
        let mut parts = std::str::from_utf8(value).ok()?.splitn(3, '/');
        let part = parts.next()?.to_owned();
        let bytes = parts.next()?.parse().ok()?;
        Some(Omitted { part, bytes, sha256: parts.next()?.to_owned() })
    });
    let omitted = omitted.collect();
    (Headers::build(all[..own].iter().copied()), omitted)
}

fn omit(part: &str, bytes: &[u8]) -> Omitted {
    let sha256 = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Omitted { part: part.to_owned(), bytes: bytes.len(), sha256 }
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;

    fn record(value: &[u8], headers: Headers) -> LogRecord {
        LogRecord {
            topic: Arc::from("alerts.v1"),
            partition: 3,
            offset: 41,
            timestamp_ms: 1_700_000_000_123,
            key: Some(Bytes::from_static(b"ACC-1")),
            value: Some(Bytes::copy_from_slice(value)),
            headers,
        }
    }

    fn account() -> Account {
        let at = Timestamp::parse("2026-11-21T10:00:00.000001Z").unwrap();
        Account {
            role: "recorder".into(),
            group: "tapedeck.recorder".into(),
            class: ErrorClass::Invalid,
            error: "`severity` is missing".into(),
            path: Some("$.severity".into()),
            attempts: 1,
            first_failure: at,
            last_failure: at,
        }
    }

    fn read_back(letter: Record) -> DeadLetter {
        let lies = LogRecord {
            topic: letter.topic,
            partition: letter.partition.unwrap(),
            offset: 7,
            timestamp_ms: 0,
            key: letter.key,
            value: letter.value,
            headers: letter.headers,
        };
        DeadLetter::read(&lies).unwrap()
    }

    #[test]
    fn a_dead_letter_gives_back_the_record_and_the_account_as_they_were() {
        // A stranger's headers may bear our names and even be those of a dead letter.
        let strange =
            Headers::build([("a", "1"), (names::DLQ_ID, "x"), (names::DLQ_OMITTED, "value/1/00"), ("a", "2")]);
        let record = record(&[0xff, 0x00], strange);
        let letter = dead_letter(&record, &account(), 1 << 20);
        assert_eq!((&*letter.topic, letter.partition), ("alerts.v1.dlq", Some(3)));
        let found = read_back(letter.clone());
        assert_eq!((&found.key, &found.value, &found.headers), (&record.key, &record.value, &record.headers));
        assert_eq!((&found.account, &found.origin), (&account(), &place_of(&record)));
        assert_eq!((found.timestamp_ms, found.omitted.len()), (record.timestamp_ms, 0));
        assert_eq!(dead_letter(&record, &account(), 1 << 20), letter, "written again it is the same");
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_accounted_for() {
        let big = vec![b'x'; 5_000];
        let again = Redrive { group: "tapedeck.recorder".into(), n: 2 };
        let headers = Headers::build([("h", vec![b'y'; 3_000]), (names::REDRIVE, again.to_string().into_bytes())]);
        let record = record(&big, headers);
        let without_value = dead_letter(&record, &account(), 5_000);
        assert!(without_value.bytes() <= 5_000);
        let found = read_back(without_value);
        assert_eq!((found.value, found.headers), (None, record.headers.clone()));
        assert_eq!((found.omitted[0].part.as_str(), found.omitted[0].bytes), ("value", 5_000));
        assert_eq!(found.omitted[0], omit("value", &big));
        let bare = dead_letter(&record, &account(), 1_500);
        assert!(bare.bytes() <= 1_500);
        let found = read_back(bare);
        assert_eq!(found.omitted.iter().map(|one| one.part.as_str()).collect::<Vec<_>>(), ["value", "headers"]);
        assert_eq!((found.key, found.account), (record.key, account()));
        assert_eq!(found.redrive, Some(again), "the guard against loops counts on");
    }

    #[test]
    fn a_record_that_is_no_dead_letter_is_told_by_the_header_it_lacks() {
        let error = DeadLetter::read(&record(b"{}", Headers::new())).unwrap_err();
        assert!(error.contains(names::DLQ_PARTITION) || error.contains(names::DLQ_ID), "{error}");
    }
}
