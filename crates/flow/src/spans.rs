//! Reads known stretches of several partitions, with one reader for all of them: on a
//! cluster each reader has connections of its own, and one for each partition would
//! cost seconds where a broker is dead.
//!
//! Not here: what is looked for there.

use std::time::Duration;

use tapedeck_log::{Log, LogRecord, PollLimits, TopicPartition};

use crate::Failure;

/// Large, since nothing else can be done before all is read.
const LIMITS: PollLimits = PollLimits { max_records: 10_000, max_bytes: 8 << 20, timeout: Duration::from_millis(100) };
/// So many records beyond the stretches are read in vain before the reader is told to
/// read the others alone: about what one costs to begin anew.
const MOST_IN_VAIN: usize = 50_000;

/// A stretch of a partition: the records from an offset up to, and not with, another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) place: TopicPartition,
    pub(crate) from: u64,
    pub(crate) until: u64,
}

/// Hands over each record of these stretches with the index of its stretch; the
/// records of one come in their order. No two are of the same partition.
///
/// # Errors
/// Those of the log, and of who is handed the records.
pub(crate) fn read(
    log: &dyn Log,
    spans: &[Span],
    mut take: impl FnMut(usize, LogRecord) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut left: Vec<usize> = (0..spans.len()).filter(|index| spans[*index].from < spans[*index].until).collect();
    if left.is_empty() {
        return Ok(());
    }
    let mut reader = log.reader()?;
    let mut from: Vec<_> = left.iter().map(|index| (spans[*index].place.clone(), spans[*index].from)).collect();
    loop {
        reader.assign(&from)?;
        let mut in_vain = 0;
        while !left.is_empty() && in_vain < MOST_IN_VAIN {
            for record in reader.poll(LIMITS)? {
                let is_its =
                    |place: &TopicPartition| place.partition == record.partition && place.topic == record.topic;
                match left.iter().find(|index| is_its(&spans[**index].place)) {
                    Some(index) if record.offset < spans[*index].until => take(*index, record)?,
                    _ => in_vain += 1,
                }
            }
            left.retain(|index| {
                let span = &spans[*index];
                reader.position(&span.place).is_some_and(|position| position < span.until)
            });
        }
        if left.is_empty() {
            return Ok(());
        }
        let goes_on = |index: &usize| {
            let place = &spans[*index].place;
            Some((place.clone(), reader.position(place)?))
        };
        from = left.iter().filter_map(goes_on).collect();
    }
}
