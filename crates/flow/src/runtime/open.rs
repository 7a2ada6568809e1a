//! Opening a partition: where its effect says to go on, whether the log still
//! holds what was read there, and the ids of the last events before.
//!
//! Not here: seeking, and giving the state to the handler.

use tapedeck_contracts::catalogue::Catalogue;
use tapedeck_log::{PollLimits, TopicPartition};

use super::{Resume, Setup, held::Held, queue::Queue};
use crate::{Failure, Ledger, opener::Opener, record_hash::record_hash};

/// One record, which lies in the log.
const ONE: PollLimits =
    PollLimits { max_records: 1, max_bytes: 8 << 20, timeout: std::time::Duration::from_millis(100) };

/// Opens a partition that was just assigned.
///
/// # Errors
/// Fatal where log and effect contradict each other; transient where the log
/// cannot be read.
pub(super) fn open(setup: &Setup, place: &TopicPartition, resume: &Resume) -> Result<Held, Failure> {
    let topic = Catalogue::get().topic(&place.topic);
    let Some((kind, compacted)) = topic.and_then(|topic| Some((topic.event?, topic.compact))) else {
        return Err(Failure::Fatal(format!(
            "topic `{}` carries no event of the contract; it cannot be read",
            place.topic
        )));
    };
    let (start, end) = setup.log.bounds(place)?;
    let next = opener(setup).begin(place, resume.next)?;
    if let (Some((offset, hash)), false) = (resume.last, compacted) {
        compare(setup, place, (start, end), offset, hash)?;
    }
    Ok(Held {
        place: place.clone(),
        kind,
        compacted,
        ledger: Ledger::starting_at(next),
        window: opener(setup).refill(place, Some(kind), next, setup.config.dedupe_window, |_| true)?,
        ahead: resume.held.iter().copied().filter(|offset| *offset >= next).collect(),
        opened_at: next,
        visible: resume.next,
        last: resume.last,
        set_aside: None,
        queue: Queue::default(),
        ordeal: None,
        later: None,
        sought: false,
        hopeless: 0,
        letters_wait: false,
        blocked: None,
        // Whoever was assigned it paused it.
        paused: true,
        stale: false,
        unsure: false,
    })
}

/// Retention took records before they were read: counted, said, alerted.
///
/// # Errors
/// Those of the log.
pub(super) fn missed(setup: &Setup, place: &TopicPartition, next: u64, start: u64) -> Result<(), Failure> {
    opener(setup).missed(place, next, start)
}

/// The position is beyond the end of the log.
pub(super) fn truncated(setup: &Setup, place: &TopicPartition, next: u64, end: u64) -> Failure {
    opener(setup).truncated(place, next, end)
}

fn opener(setup: &Setup) -> Opener<'_> {
    let begin_anew = format!("`tapedeck groups reset {} --with-state --to earliest`", setup.group());
    Opener { log: &*setup.log, role: &setup.role, begin_anew, gauges: &setup.gauges }
}

/// Whether the log still holds the last record whose effect is visible.
fn compare(
    setup: &Setup,
    place: &TopicPartition,
    (start, end): (u64, u64),
    offset: u64,
    hash: u64,
) -> Result<(), Failure> {
    if offset < start {
        return Ok(()); // Retention took it; nobody can tell any more.
    }
    let mut found = None;
    if offset < end {
        let mut reader = setup.log.reader()?;
        reader.assign(&[(place.clone(), offset)])?;
        while found.is_none() && reader.position(place).is_some_and(|next| next < end) {
            found = reader.poll(ONE)?.into_iter().next();
        }
    }
    match found {
        Some(record) if record.offset == offset && record_hash(&record) == hash => Ok(()),
        Some(record) if record.offset == offset => {
            Err(opener(setup).contradiction(place, &format!("keeps another record at offset {offset} now")))
        }
        _ => Err(opener(setup).contradiction(place, &format!("keeps no record at offset {offset} any more"))),
    }
}
