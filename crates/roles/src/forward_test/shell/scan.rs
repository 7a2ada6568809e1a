//! Looking over signals that are too many for the memory: of each some thousand in
//! a row only their lowest roots are kept, some hundred bytes.
//!
//! Not here: what the join makes of it.

use tapedeck_contracts::headers::{self, Place, Seq};
use tapedeck_flow::Failure;
use tapedeck_log::{Log, LogRecord, PollLimits, Reader, TopicPartition};

use super::inputs::at;
use crate::forward_test::join::{Join, MARKET_TOPIC, Roots, Unread};

/// One poll of it, well below a second of work, so that the seat is looked after.
const LIMITS: PollLimits =
    PollLimits { max_records: 10_000, max_bytes: 8 << 20, timeout: std::time::Duration::from_millis(20) };
/// Records in one stretch: so many more than it needs may the join hold of a
/// partition. Few in tests, as what it holds at all.
const STRETCH: usize = if cfg!(test) { 16 } else { 1_024 };

/// On its way to the ends that were asked for.
pub(super) struct Scan {
    /// The strategies' offsets, asked for before the ends.
    pub(super) committed: Vec<u64>,
    pub(super) asked_ms: i64,
    reader: Box<dyn Reader>,
    places: Vec<TopicPartition>,
    ends: Vec<u64>,
    /// By partition: where each stretch begins, and the roots in it.
    stretches: Vec<Vec<Unread>>,
    /// Records in the last stretch of each.
    counted: Vec<usize>,
}

impl Scan {
    /// Begins at these offsets.
    ///
    /// # Errors
    /// Those of the log.
    pub(super) fn begin(
        log: &dyn Log,
        places: &[TopicPartition],
        from: &[u64],
        ends: Vec<u64>,
        committed: Vec<u64>,
        asked_ms: i64,
    ) -> Result<Self, Failure> {
        let mut reader = log.reader()?;
        let starts: Vec<_> = places.iter().cloned().zip(from.iter().copied()).collect();
        reader.assign(&starts)?;
        let (stretches, counted) = (vec![Vec::new(); places.len()], vec![0; places.len()]);
        Ok(Self { committed, asked_ms, reader, places: places.to_vec(), ends, stretches, counted })
    }

    /// Goes on a little; gives what lies in each partition once it is through.
    ///
    /// # Errors
    /// Those of the log.
    pub(super) fn go_on(&mut self, join: &Join) -> Result<Option<Vec<Vec<Unread>>>, Failure> {
        let reached =
            |(place, end): (&TopicPartition, &u64)| self.reader.position(place).is_none_or(|next| next >= *end);
        if self.places.iter().zip(&self.ends).all(reached) {
            return Ok(Some(self.finish()));
        }
        for record in self.reader.poll(LIMITS)? {
            let at = at(&self.places, &record);
            if record.offset >= self.ends[at] {
                continue;
            }
            let (stretches, counted) = (&mut self.stretches[at], &mut self.counted[at]);
            if stretches.is_empty() || *counted == STRETCH {
                stretches.push(Unread { from: record.offset, roots: Roots::default() });
                *counted = 0;
            }
            *counted += 1;
            if let Some(stretch) = stretches.last_mut() {
                take_root(&record, join, &mut stretch.roots);
            }
        }
        Ok(None)
    }

    /// From the roots of each stretch to those of all from it on.
    fn finish(&mut self) -> Vec<Vec<Unread>> {
        let with_ends = std::mem::take(&mut self.stretches).into_iter().zip(&self.ends);
        with_ends
            .map(|(mut stretches, &end)| {
                stretches.push(Unread { from: end, roots: Roots::default() });
                for at in (1..stretches.len()).rev() {
                    let (before, behind) = stretches.split_at_mut(at);
                    before[at - 1].roots.lower(&behind[0].roots);
                }
                stretches
            })
            .collect()
    }
}

/// The root of a signal, from its headers alone. One whose root was passed waits
/// for nothing, and nothing for it.
fn take_root(record: &LogRecord, join: &Join, roots: &mut Roots) {
    if let Some(seq) = record.headers.text(headers::ROOT_SEQ).and_then(Seq::parse) {
        if seq.n >= join.next_number(&seq.source) {
            roots.number(&seq.source, seq.n);
        }
        return;
    }
    let root = record.headers.text(headers::ROOT).and_then(Place::parse);
    if let Some(place) = root.filter(|place| place.topic == MARKET_TOPIC) {
        roots.place(place.partition as usize, place.offset);
    }
}
