//! A second thread that reads records into deliveries: of a poll that brought many, it
//! reads the later half while the role takes in the first. Reading is a function of the
//! record, so what the role does, and in which order, stays as it was.
//!
//! Not here: what becomes of a record that was read, and values in a frame, for which
//! somebody may have to be asked.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use tapedeck_contracts::EventKind;
use tapedeck_log::{LogRecord, Unframe};

use crate::{
    Delivery, Failure,
    inbound::{Unread, is_framed},
};

/// Records of a poll from which a second thread is worth its two wake-ups (some 20 us).
const MANY: usize = 512;
/// Records that a thread reads before it lets others have its core (some 40 us): while
/// both threads read there may be no other, and who serves would wait a tick (4 ms).
const GIVE_WAY_EVERY: usize = 32;

/// A record of a poll.
pub(super) enum Entry {
    /// As it lies in the log.
    Raw(LogRecord),
    /// As it was read.
    Read(Result<Delivery, Box<Unread>>),
}

impl Entry {
    pub(super) fn record(&self) -> &LogRecord {
        match self {
            Self::Raw(record) => record,
            Self::Read(Ok(delivery)) => &delivery.record,
            Self::Read(Err(unread)) => &unread.record,
        }
    }

    pub(super) fn read(self, unframe: Option<&dyn Unframe>, kind: EventKind) -> Result<Delivery, Box<Unread>> {
        match self {
            Self::Raw(record) => Delivery::read(unframe, kind, record),
            Self::Read(read) => read,
        }
    }
}

/// Records with what they are, and where they go once they are read.
struct Job {
    records: Vec<(EventKind, LogRecord)>,
    reply: SyncSender<Vec<Entry>>,
}

/// The thread, started when it is first of use.
#[derive(Default)]
pub(super) struct Ahead {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// What a poll brought: what is still to be read, and what the other thread reads.
pub(super) struct Entries {
    first: std::vec::IntoIter<LogRecord>,
    later: Option<Receiver<Vec<Entry>>>,
    read: std::vec::IntoIter<Entry>,
}

impl Ahead {
    /// Hands the later half of many records of topics of one kind to the other thread.
    pub(super) fn split(&mut self, role: &str, kind: Option<EventKind>, mut records: Vec<LogRecord>) -> Entries {
        let mut later = None;
        if let Some(kind) = kind
            && records.len() >= MANY
            && let Some(jobs) = self.jobs(role)
        {
            let rest = records.split_off(records.len() / 2);
            let (reply, replies) = sync_channel(1);
            let job = Job { records: rest.into_iter().map(|record| (kind, record)).collect(), reply };
            match jobs.send(job) {
                Ok(()) => later = Some(replies),
                // It is gone, and the records are still ours.
                Err(back) => records.extend(back.0.records.into_iter().map(|(_, record)| record)),
            }
        }
        Entries { first: records.into_iter(), later, read: Vec::new().into_iter() }
    }

    fn jobs(&mut self, role: &str) -> Option<&SyncSender<Job>> {
        if self.jobs.is_none() && thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
            let (jobs, inbox) = sync_channel::<Job>(1);
            // Without a second thread all is read on the first.
            let thread = thread::Builder::new().name(format!("{role}-reads")).spawn(move || {
                for job in inbox {
                    let mut entries = Vec::with_capacity(job.records.len());
                    for record in job.records {
                        give_way(entries.len());
                        entries.push(read(record));
                    }
                    // Who asked may have lost its seat meanwhile.
                    let _ = job.reply.send(entries);
                }
            });
            self.thread = thread.ok();
            self.jobs = self.thread.is_some().then_some(jobs);
        }
        self.jobs.as_ref()
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.jobs = None;
        self.thread.take().into_iter().for_each(|thread| _ = thread.join());
    }
}

impl Entries {
    /// The next one, in the order of the poll.
    ///
    /// # Errors
    /// Fatal where the other thread ended, and with it what it was to read.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Failure> {
        if let Some(record) = self.first.next() {
            if self.later.is_some() {
                give_way(self.first.len());
            }
            return Ok(Some(Entry::Raw(record)));
        }
        if let Some(later) = self.later.take() {
            let gone = |_| Failure::Fatal("the thread that reads records ended; start again".to_owned());
            self.read = later.recv().map_err(gone)?.into_iter();
        }
        Ok(self.read.next())
    }
}

fn give_way(records: usize) {
    if records.is_multiple_of(GIVE_WAY_EVERY) {
        thread::yield_now();
    }
}

/// Reads what can be read without asking anybody.
fn read((kind, record): (EventKind, LogRecord)) -> Entry {
    match &record.value {
        Some(value) if !is_framed(value) => Entry::Read(Delivery::read(None, kind, record)),
        _ => Entry::Raw(record),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tapedeck_log::Headers;

    use super::*;

    fn record(offset: u64) -> LogRecord {
        let value = match offset % 5 {
            0 => None,
            1 => Some("\0\0\0\0\u{1}framed".to_owned()),
            2 => Some("not JSON".to_owned()),
            _ => Some(format!(
                r#"{{"event_id":"e-{offset}","timestamp":"2025-01-01T00:00:00Z","symbol":"A","from":"bull","to":"bear","probs":{{"bull":1}},"previous_probs":{{"bull":1}}}}"#
            )),
        };
        LogRecord {
            topic: "regime_changes".into(),
            partition: 0,
            offset,
            timestamp_ms: 0,
            key: None,
            value: value.map(Bytes::from),
            headers: Headers::new(),
        }
    }

    /// What each record came to, in order.
    fn read_all(mut entries: Entries) -> Vec<Result<Delivery, (u64, String)>> {
        let mut all = Vec::new();
        while let Some(entry) = entries.next().unwrap() {
            let read = entry.read(None, EventKind::RegimeChange);
            all.push(read.map_err(|unread| (unread.record.offset, unread.detail)));
        }
        all
    }

    #[test]
    fn records_read_on_two_threads_are_those_read_on_one_in_their_order() {
        let mut ahead = Ahead::default();
        for count in [0, 1, 511, 512, 2_001] {
            let records: Vec<_> = (0..count).map(record).collect();
            let alone = Ahead::default().split("test", None, records.clone());
            let both = ahead.split("test", Some(EventKind::RegimeChange), records);
            assert_eq!(read_all(both), read_all(alone), "{count} records");
        }
    }

    #[test]
    fn what_nobody_asked_for_any_more_is_not_handed_out_later() {
        let mut ahead = Ahead::default();
        drop(ahead.split("test", Some(EventKind::RegimeChange), (0..1_000).map(record).collect()));
        let next = ahead.split("test", Some(EventKind::RegimeChange), (5_000..6_000).map(record).collect());
        let found = read_all(next).into_iter().map(|read| read.map_or_else(|error| error.0, |it| it.record.offset));
        assert_eq!(found.collect::<Vec<_>>(), (5_000..6_000).collect::<Vec<_>>());
    }
}
