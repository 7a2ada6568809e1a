//! What the emitter holds, under one lock: the taking ends of the rings, the
//! spool, and which of it the log has not answered for. The rules of order are
//! kept here:
//!
//! - While the spool holds anything, nothing is sent from a ring.
//! - When a ring moves to the spool, what the log was given and has not
//!   acknowledged goes first; from then on it belongs to the spool.
//! - A ring lets go of frames when they are acknowledged, or on disk in the spool.
//!
//! Not here: time, and calling the log.

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    batch::Batch,
    config::EmitterConfig,
    frame::{self, Found},
    home::Home,
    leftovers::Leftover,
    ring::RingReader,
    spool::{Frameset, Position, Refused, Spool},
    stats::{EmitterStats, add},
    topics::Topics,
};

/// Frames are moved to the spool in writes of about so many bytes.
const WRITTEN_AT_ONCE: usize = 1 << 20;
/// So many bytes are moved, and waited for on the disk, under one lock: a producer
/// that finds its ring full waits for no more.
const MOVED_AT_ONCE: u64 = 4 << 20;

/// The last frame of a batch may reach so far beyond its bytes, mostly.
const SPARE: usize = 16 << 10;

/// What a producer and the sender both know of the producer's stream.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) stream: u64,
    /// All numbers up to it are in the log, or set aside for good.
    pub(super) durable: AtomicU64,
    /// The producer is in the middle of an `emit()`.
    pub(super) busy: AtomicBool,
    /// The producer is gone.
    pub(super) gone: AtomicBool,
}

/// The taking end of a ring.
pub(super) struct Slot {
    pub(super) reader: RingReader,
    pub(super) line: Arc<Line>,
    pub(super) path: PathBuf,
    /// Held, so that nobody else takes the ring for one that was left.
    pub(super) file: File,
}

/// Where the batch comes from that the log was given and has not acknowledged.
pub(super) enum Source {
    /// From rings: the stream of each, and where in it the batch ends.
    Rings(Vec<(u64, u64)>),
    /// From the spool, where it ends there.
    Spool(Position),
}

/// Everything that producers and the sender take turns to touch.
pub(super) struct Core {
    pub(super) home: Home,
    pub(super) slots: Vec<Slot>,
    pub(super) spool: Spool,
    pub(super) out: Option<Source>,
    pub(super) leftover: Leftover,
    /// The ring that is asked first for the next batch.
    turn: usize,
    buffer: Vec<u8>,
}

impl Slot {
    /// Records that are still needed.
    pub(super) fn records(&self) -> u64 {
        let (mut at, mut frame, mut records) = (self.reader.released(), Vec::new(), 0);
        while self.reader.next(&mut at, &mut frame) {
            frame.clear();
            records += 1;
        }
        records
    }
}

impl Core {
    pub(super) fn new(home: Home, spool: Spool, leftover: Leftover) -> Self {
        Self { home, slots: Vec::new(), spool, out: None, leftover, turn: 0, buffer: Vec::new() }
    }

    /// The next records for the log from the spool; none where there is nothing,
    /// or leftovers wait for whom they are asked of. An empty batch stands for
    /// damage that was passed over.
    ///
    /// # Errors
    /// The spool cannot be read.
    pub(super) fn next_of_spool(
        &mut self,
        config: &EmitterConfig,
        topics: &Topics,
    ) -> io::Result<Option<(Batch, Position)>> {
        if let Some(next) = self.leftover.take() {
            return Ok(Some(next));
        }
        let leftovers_end = self.leftover.end.filter(|end| !self.spool.has_read(*end));
        if self.spool.is_read() || (leftovers_end.is_some() && !self.leftover.may_be_read()) {
            return Ok(None);
        }
        let (frames, end) = self.spool.read(config.batch_max_records, config.batch_max_bytes, leftovers_end)?;
        let mut batch = Batch::of(frames, topics);
        batch.is_leftover = leftovers_end.is_some();
        Ok(Some((batch, end)))
    }

    /// Whether the spool has a batch that may be sent.
    pub(super) fn spool_has_next(&self) -> bool {
        let leftovers_are_next = self.leftover.end.is_some_and(|end| !self.spool.has_read(end));
        self.leftover.has_judged() || (!self.spool.is_read() && (!leftovers_are_next || self.leftover.may_be_read()))
    }

    /// The next records for the log straight from the rings, where nothing older
    /// waits; they count as given to the log.
    pub(super) fn next_of_rings(&mut self, config: &EmitterConfig, topics: &Topics) -> Option<Batch> {
        if self.out.is_some() || !self.spool.is_drained() {
            return None;
        }
        let waiting = self.ring_bytes();
        if waiting == 0 {
            return None;
        }
        // Room for all at once: a list that grows would copy what it holds each time.
        let room = usize::try_from(waiting).unwrap_or(usize::MAX).min(config.batch_max_bytes) + SPARE;
        let mut frames = Frameset { bytes: Vec::with_capacity(room), heads: Vec::new() };
        let mut ends = Vec::new();
        let count = self.slots.len();
        for nth in 0..count {
            let slot = &self.slots[(self.turn + nth) % count];
            let mut at = slot.reader.released();
            while frames.heads.len() < config.batch_max_records && frames.bytes.len() < config.batch_max_bytes {
                let begin = frames.bytes.len();
                if !slot.reader.next(&mut at, &mut frames.bytes) {
                    break;
                }
                match frame::read(&frames.bytes[begin..]) {
                    Found::Frame(head) => frames.heads.push((begin, head)),
                    found => unreachable!("a ring gives what was put in, not {found:?}"),
                }
            }
            if at != slot.reader.released() {
                ends.push((slot.line.stream, at));
            }
        }
        self.turn = (self.turn + 1) % count.max(1);
        if ends.is_empty() {
            return None;
        }
        self.out = Some(Source::Rings(ends));
        Some(Batch::of(frames, topics))
    }

    /// The log has the batch that it was given: whoever holds it lets go.
    pub(super) fn acknowledge(&mut self, batch: &Batch) {
        match self.out.take() {
            Some(Source::Rings(ends)) => {
                for (stream, end) in ends {
                    if let Some(slot) = self.slot(stream) {
                        slot.reader.release(end);
                    }
                }
            }
            Some(Source::Spool(end)) => self.spool.acknowledge(end, batch.frames),
            None => {}
        }
        for id in &batch.newest {
            if let Some(slot) = self.slot(id.stream) {
                slot.line.durable.store(id.sequence, Ordering::Release);
            }
        }
        if batch.is_leftover {
            self.leftover.settled(batch);
        }
    }

    /// Moves a piece of the rings that are chosen to the spool, as far as it takes
    /// it; what is given to the log, always whole.
    ///
    /// # Errors
    /// The spool took less than all; what it took is safe there.
    pub(super) fn move_to_spool(&mut self, chosen: &dyn Fn(&Slot) -> bool) -> Result<(), Refused> {
        let given = match &self.out {
            Some(Source::Rings(ends)) => ends.clone(),
            _ => Vec::new(),
        };
        let wanted = |slot: &Slot| slot.reader.used() > 0 && chosen(slot);
        if !self.slots.iter().any(wanted) {
            return Ok(());
        }
        let mark = self.spool.mark();
        let mut moved: Vec<(u64, u64)> = Vec::new();
        for (stream, end) in &given {
            if let Err(refused) = self.copy(*stream, *end, u64::MAX, &mut moved) {
                self.spool.go_back(&mark);
                return Err(refused);
            }
        }
        let given_end = self.spool.end();
        let rest: Vec<(u64, u64)> = self
            .slots
            .iter()
            .filter(|slot| wanted(slot))
            .map(|slot| (slot.line.stream, slot.reader.published()))
            .collect();
        let (mut result, mut left) = (Ok(()), MOVED_AT_ONCE);
        for (stream, end) in rest {
            match self.copy(stream, end, left, &mut moved) {
                Ok(copied) => left = left.saturating_sub(copied),
                Err(refused) => {
                    result = Err(refused);
                    break;
                }
            }
        }
        if let Err(refused) = self.spool.sync() {
            self.spool.go_back(&mark);
            return result.and(Err(refused));
        }
        for (stream, end) in moved {
            if let Some(slot) = self.slot(stream) {
                slot.reader.release(end.max(slot.reader.released()));
            }
        }
        if !given.is_empty() {
            self.out = Some(Source::Spool(given_end));
            self.spool.skip_to(given_end);
        }
        result
    }

    /// Removes rings whose producer is gone and that hold nothing.
    pub(super) fn remove_abandoned(&mut self) {
        let is_done = |slot: &Slot| slot.line.gone.load(Ordering::Acquire) && slot.reader.used() == 0;
        while let Some(at) = self.slots.iter().position(is_done) {
            let slot = self.slots.swap_remove(at);
            if let Err(error) = self.home.remove_ring(&slot.path) {
                tracing::warn!(%error, ring = %slot.path.display(), "an empty ring cannot be deleted");
            }
        }
    }

    /// Lets go of all files, so that the folder can be used again, and says how
    /// many records stay in them.
    pub(super) fn leave(&mut self) -> u64 {
        let rings: u64 = self.slots.iter().map(Slot::records).sum();
        for slot in self.slots.drain(..) {
            // The map of a producer that lives on would hold it otherwise.
            let _ = slot.file.unlock();
        }
        self.home.leave();
        rings + self.spool.records()
    }

    /// Bytes in all rings.
    pub(super) fn ring_bytes(&self) -> u64 {
        self.slots.iter().map(|slot| slot.reader.used()).sum()
    }

    /// Says how things stand.
    pub(super) fn report(&mut self, stats: &EmitterStats) {
        add(&stats.torn, self.spool.take_torn());
        stats.ring_bytes.store(self.ring_bytes(), Ordering::Relaxed);
        stats.spooled_bytes.store(self.spool.bytes(), Ordering::Relaxed);
        stats.spooled_records.store(self.spool.records(), Ordering::Relaxed);
    }

    fn slot(&mut self, stream: u64) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.line.stream == stream)
    }

    /// Copies a ring's frames up to an end to the spool, from where `moved` says
    /// it is copied already, about so many bytes at most, and notes how far it
    /// came. Says how many bytes it copied.
    fn copy(&mut self, stream: u64, end: u64, most: u64, moved: &mut Vec<(u64, u64)>) -> Result<u64, Refused> {
        let Some(slot) = self.slots.iter().find(|slot| slot.line.stream == stream) else { return Ok(0) };
        let known = moved.iter().position(|(moved, _)| *moved == stream);
        let nth = known.unwrap_or_else(|| {
            moved.push((stream, slot.reader.released()));
            moved.len() - 1
        });
        let mut at = moved[nth].1;
        let begin = at;
        while at < end && at - begin < most {
            self.buffer.clear();
            let mut records = 0;
            while at < end && self.buffer.len() < WRITTEN_AT_ONCE && slot.reader.next(&mut at, &mut self.buffer) {
                records += 1;
            }
            self.spool.write(&self.buffer, records)?;
            moved[nth].1 = at;
        }
        Ok(at - begin)
    }
}
