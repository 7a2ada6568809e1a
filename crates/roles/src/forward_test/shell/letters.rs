//! Dead letters of the role: records that cannot be read and records that the
//! broker will not take, gathered over one step and written before it.
//!
//! Not here: what a dead letter looks like (`flow`), and passing its record.

use std::time::SystemTime;

use tapedeck_contracts::{Timestamp, catalogue::group_of};
use tapedeck_flow::{
    Boundaries, Failure, Gauges,
    boundary::Boundary,
    dead_letter::{Account, ErrorClass, dead_letter},
    inbound::{Unread, place_of},
};
use tapedeck_log::{Log, LogRecord, Record};

use super::{ROLE, decoder::Tried, guarded::Refused};

/// Those that are not written yet.
#[derive(Debug)]
pub(super) struct Letters {
    group: String,
    /// As large as the log takes a record.
    max_record_bytes: usize,
    records: Vec<Record>,
    /// Bytes of them.
    bytes: usize,
}

impl Letters {
    pub(super) fn new(log: &dyn Log) -> Self {
        Self { group: group_of(ROLE), max_record_bytes: log.max_record_bytes(), records: Vec::new(), bytes: 0 }
    }

    /// The role's group.
    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// A record that cannot be read.
    pub(super) fn unread(&mut self, unread: &Unread, tried: &Tried) {
        let account = self.account(unread.class, unread.detail.clone(), tried.times, (tried.first, now()));
        self.push(&unread.record, &Account { path: unread.path.clone(), ..account });
    }

    /// A record that the broker will not take.
    pub(super) fn refused(&mut self, record: &LogRecord, refused: &Refused) {
        let class = if refused.panicked { ErrorClass::Panic } else { ErrorClass::Handler };
        let account = self.account(class, refused.detail.clone(), refused.attempts, (refused.first, refused.last));
        self.push(record, &account);
    }

    /// Bytes that wait to be written.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes them; what is passed after this is kept.
    ///
    /// # Errors
    /// Transient, whatever the log says: what is not kept must not be passed, so
    /// the role waits until it can be written.
    pub(super) fn write(&mut self, log: &dyn Log, boundaries: &Boundaries, gauges: &Gauges) -> Result<(), Failure> {
        if self.records.is_empty() {
            return Ok(());
        }
        let count = self.records.len();
        self.bytes = 0;
        log.append(std::mem::take(&mut self.records))
            .map_err(|error| Failure::Transient(format!("{count} dead letters cannot be written: {error}")))?;
        Gauges::add(&gauges.dead_letters, count);
        boundaries.pass(Boundary::DeadLetter);
        Ok(())
    }

    fn account(
        &self,
        class: ErrorClass,
        error: String,
        attempts: u32,
        (first_failure, last_failure): (Timestamp, Timestamp),
    ) -> Account {
        let (role, group) = (ROLE.to_owned(), self.group.clone());
        Account { role, group, class, error, path: None, attempts, first_failure, last_failure }
    }

    fn push(&mut self, record: &LogRecord, account: &Account) {
        let (place, class, error) = (place_of(record), account.class.name(), &account.error);
        tracing::warn!(role = ROLE, %place, class, error, "set aside as a dead letter");
        let letter = dead_letter(record, account, self.max_record_bytes);
        self.bytes += letter.bytes();
        self.records.push(letter);
    }
}

/// The clock, for what a person reads of a failure.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
