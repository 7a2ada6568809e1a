//! The record of a dead letter as it is sent again: itself, with one header more
//! that names the group that takes it.
//!
//! Not here: whether it may be sent again (`run`).

use sha2::{Digest as _, Sha256};
use tapedeck_contracts::{
    Event, EventId,
    headers::{CE_ID, REDRIVE, Redrive},
};
use tapedeck_log::{Headers, Log, Record};

use super::scan::record_at;
use crate::{DeadLetter, Failure, dead_letter::Omitted, inbound::kind_of};

/// Why what was left out of a dead letter cannot be found any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its {part} ({bytes} bytes) was too large for the dead letter, and {origin} {why}")]
pub struct Missing {
    /// Which part.
    pub part: String,
    /// How large it was.
    pub bytes: usize,
    /// Where the record lay.
    pub origin: String,
    /// What is there instead.
    pub why: &'static str,
}

/// Puts what was left out of a dead letter back in, from where the record lies.
///
/// # Errors
/// Those of the log; inside, why it cannot be found any more.
pub fn restore(log: &dyn Log, letter: &mut DeadLetter) -> Result<Result<(), Missing>, Failure> {
    if letter.omitted.is_empty() {
        return Ok(Ok(()));
    }
    let missing = |omitted: &Omitted, why| Missing {
        part: omitted.part.clone(),
        bytes: omitted.bytes,
        origin: letter.origin.to_string(),
        why,
    };
    let Some(record) = record_at(log, &letter.origin)? else {
        return Ok(Err(missing(&letter.omitted[0], "holds no record any more")));
    };
    for omitted in &letter.omitted {
        let found: &[u8] = match omitted.part.as_str() {
            "value" => record.value.as_deref().unwrap_or_default(),
            "headers" => record.headers.as_bytes(),
            _ => record.key.as_deref().unwrap_or_default(),
        };
        let sha256: String = Sha256::digest(found).iter().map(|byte| format!("{byte:02x}")).collect();
        if sha256 != omitted.sha256 {
            return Ok(Err(missing(omitted, "holds another record now")));
        }
    }
    for omitted in std::mem::take(&mut letter.omitted) {
        match omitted.part.as_str() {
            "value" => letter.value = record.value.clone(),
            "headers" => {
                letter.headers = record.headers.clone();
                letter.redrive = letter.headers.text(REDRIVE).and_then(Redrive::parse);
            }
            _ => letter.key = record.key.clone(),
        }
    }
    Ok(Ok(()))
}

/// The record of a whole dead letter for its group: the same key, value and
/// partition, the same headers, and who takes it for the how-manieth time. One
/// that brought no event id keeps the id that its first place gave it.
pub fn again(letter: &DeadLetter, n: u32) -> Record {
    let redrive = Redrive { group: letter.account.group.clone(), n }.to_string();
    let before = letter.headers.iter().filter(|(name, _)| *name != REDRIVE).map(|(name, value)| (name, value.to_vec()));
    let id = made_of_place(letter).map(|id| (CE_ID, id.0.into_bytes()));
    Record {
        topic: letter.origin.topic.as_str().into(),
        partition: Some(letter.origin.partition),
        key: letter.key.clone(),
        value: letter.value.clone(),
        headers: Headers::build(before.chain(id).chain([(REDRIVE, redrive.into_bytes())])),
        timestamp_ms: None,
    }
}

/// The id that the record has from its place, where it brings none.
fn made_of_place(letter: &DeadLetter) -> Option<EventId> {
    /// A body of any kind that names itself.
    #[derive(serde::Deserialize)]
    struct Named {
        #[serde(rename = "event_id")]
        _event_id: serde::de::IgnoredAny,
    }
    let value = letter.value.as_deref().unwrap_or_default();
    let decoded = kind_of(&letter.origin.topic).and_then(|kind| Event::decode(kind, value).ok());
    let brings = letter.headers.get(CE_ID).is_some()
        || match decoded {
            Some(event) => event.event_id().is_some(),
            None => serde_json::from_slice::<Named>(value).is_ok(),
        };
    let place = &letter.origin;
    (!brings).then(|| EventId::from_place(&place.topic, place.partition, place.offset))
}
