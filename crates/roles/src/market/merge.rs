//! Several files as one source, in the order of the sequencer: event time, then
//! the bytes of the symbol, then the place in the input (file, line).
//!
//! Not here: numbering.

use std::collections::VecDeque;

use tapedeck_contracts::Timestamp;

use super::{
    bad_input::BadInput,
    file::{FileSource, SourceEvent},
};

/// Events of one instant must be held to be ordered; more of them than this are
/// times that lost their digits.
const MAX_AT_ONCE: usize = 100_000;

/// Files that are read side by side.
pub(super) struct Merge {
    files: Vec<(FileSource, Option<SourceEvent>)>,
    /// The events of the instant that is being given, in order.
    instant: VecDeque<SourceEvent>,
    /// The mistake that comes after them.
    failed: Option<BadInput>,
}

impl Merge {
    /// Stands before the first event of them.
    pub(super) fn new(files: Vec<FileSource>) -> Result<Self, BadInput> {
        let heads = files.into_iter().map(|mut file| file.next().map(|head| (file, head)));
        Ok(Self { files: heads.collect::<Result<_, _>>()?, instant: VecDeque::new(), failed: None })
    }

    /// The next event; none when all files are at their end.
    pub(super) fn next(&mut self) -> Result<Option<SourceEvent>, BadInput> {
        if self.instant.is_empty() {
            match self.failed.take() {
                Some(bad) => return Err(bad),
                None => self.gather(),
            }
        }
        Ok(self.instant.pop_front())
    }

    /// Whether a time came without a zone so far.
    pub(super) fn zone_assumed(&self) -> bool {
        self.files.iter().any(|(file, _)| file.rows.times.zone_assumed)
    }

    /// Takes all events of the next instant.
    fn gather(&mut self) {
        let time_of = |head: &Option<SourceEvent>| head.as_ref().map(|event| event.data.timestamp);
        let Some(now) = self.files.iter().filter_map(|(_, head)| time_of(head)).min() else {
            return;
        };
        for (file, head) in &mut self.files {
            while time_of(head) == Some(now) && self.failed.is_none() {
                self.instant.extend(head.take());
                let next = file.next().and_then(|next| check_room(self.instant.len(), now, file).map(|()| next));
                match next {
                    Ok(next) => *head = next,
                    Err(bad) => self.failed = Some(bad),
                }
            }
        }
        if self.instant.len() > 1 {
            // Stable: files and lines keep their order within a symbol.
            self.instant.make_contiguous().sort_by(|a, b| a.data.symbol.as_bytes().cmp(b.data.symbol.as_bytes()));
        }
    }
}

fn check_room(held: usize, now: Timestamp, file: &FileSource) -> Result<(), BadInput> {
    if held <= MAX_AT_ONCE {
        return Ok(());
    }
    Err(file.bad_here(format!("more than {MAX_AT_ONCE} events at {now}: the times of the file have too few digits")))
}
