//! Opening partitions: where their effect says to go on, whether the log still
//! holds what was read there, and the ids of the last events before.
//!
//! Not here: seeking, and giving the state to the handler.

use tapedeck_contracts::catalogue::Catalogue;
use tapedeck_log::TopicPartition;

use super::{Resume, Setup, held::Held, queue::Queue};
use crate::{
    Failure, Ledger,
    dedupe::Window,
    opener::{Before, Opener},
    record_hash::record_hash,
    spans::{self, Span},
};

/// Opens partitions that were just assigned, all at once.
///
/// # Errors
/// Fatal where log and effect contradict each other; transient where the log
/// cannot be read.
pub(super) fn open(setup: &Setup, places: &[TopicPartition], resumes: &[Resume]) -> Result<Vec<Held>, Failure> {
    let (mut before, mut compact, mut visible) = (Vec::with_capacity(places.len()), Vec::new(), Vec::new());
    for (place, resume) in places.iter().zip(resumes) {
        let topic = Catalogue::get().topic(&place.topic);
        let Some((kind, compacted)) = topic.and_then(|topic| Some((topic.event?, topic.compact))) else {
            return Err(Failure::Fatal(format!(
                "topic `{}` carries no event of the contract; it cannot be read",
                place.topic
            )));
        };
        let next = opener(setup).begin(place, resume.next)?;
        if let (Some((offset, hash)), false) = (resume.last, compacted) {
            visible.push((place, offset, hash));
        }
        before.push(Before { place: place.clone(), kind, next });
        compact.push(compacted);
    }
    compare(setup, &visible)?;
    let windows = opener(setup).refill(&before, setup.config.dedupe_window, |_| true)?;
    let opened = before.into_iter().zip(compact).zip(windows).zip(resumes);
    Ok(opened.map(|(((before, compacted), window), resume)| held(before, compacted, window, resume)).collect())
}

fn held(before: Before, compacted: bool, window: Window, resume: &Resume) -> Held {
    let Before { place, kind, next } = before;
    Held {
        kind,
        compacted,
        place,
        ledger: Ledger::starting_at(next),
        window,
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
    }
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

/// Whether the log still holds the last records whose effect is visible: partition,
/// offset and hash of each.
fn compare(setup: &Setup, visible: &[(&TopicPartition, u64, u64)]) -> Result<(), Failure> {
    let mut spans = Vec::with_capacity(visible.len());
    for (place, offset, _) in visible {
        let (start, end) = setup.log.bounds(place)?;
        // What retention took nobody can tell any more.
        let (from, until) = if *offset < start { (*offset, *offset) } else { (*offset, end.min(offset + 1)) };
        if *offset >= end {
            return Err(missing(setup, place, *offset));
        }
        spans.push(Span { place: (*place).clone(), from, until });
    }
    let mut found = vec![None; spans.len()];
    spans::read(&*setup.log, &spans, |index, record| {
        found[index] = Some(record_hash(&record));
        Ok(())
    })?;
    for ((found, span), (place, offset, hash)) in found.iter().zip(&spans).zip(visible) {
        match found {
            _ if span.from == span.until => {}
            Some(found) if found == hash => {}
            Some(_) => {
                let what = format!("keeps another record at offset {offset} now");
                return Err(opener(setup).contradiction(place, &what));
            }
            None => return Err(missing(setup, place, *offset)),
        }
    }
    Ok(())
}

fn missing(setup: &Setup, place: &TopicPartition, offset: u64) -> Failure {
    opener(setup).contradiction(place, &format!("keeps no record at offset {offset} any more"))
}
