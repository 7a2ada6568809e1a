//! Dead letters of the role: records that cannot be read and records that the
//! broker will not take, gathered over one step and written before it.
//!
//! Not here: what a dead letter looks like (`flow`), and passing its record.

use std::time::SystemTime;

use tapedeck_contracts::{Timestamp, catalogue::group_of};
use tapedeck_flow::{
    Boundaries, Failure,
    boundary::Boundary,
    dead_letter::{Account, ErrorClass, dead_letter},
};
use tapedeck_log::{Log, LogRecord, Record};

use super::{ROLE, guarded::Refused};

/// Those that are not written yet.
#[derive(Debug)]
pub(super) struct Letters {
    /// As large as the log takes a record.
    max_record_bytes: usize,
    records: Vec<Record>,
    /// Bytes of them.
    bytes: usize,
}

impl Letters {
    pub(super) fn new(log: &dyn Log) -> Self {
        Self { max_record_bytes: log.max_record_bytes(), records: Vec::new(), bytes: 0 }
    }

    /// A record that cannot be read.
    pub(super) fn unreadable(&mut self, record: &LogRecord, path: Option<String>, detail: String) {
        let class = if path.is_some() { ErrorClass::Invalid } else { ErrorClass::Undecodable };
        let at = now();
        self.push(record, class, detail, path, 1, (at, at));
    }

    /// A record that the broker will not take.
    pub(super) fn refused(&mut self, record: &LogRecord, refused: &Refused) {
        let class = if refused.panicked { ErrorClass::Panic } else { ErrorClass::Handler };
        let between = (refused.first, refused.last);
        self.push(record, class, refused.detail.clone(), None, refused.attempts, between);
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
    pub(super) fn write(&mut self, log: &dyn Log, boundaries: &Boundaries) -> Result<(), Failure> {
        if self.records.is_empty() {
            return Ok(());
        }
        let count = self.records.len();
        self.bytes = 0;
        log.append(std::mem::take(&mut self.records))
            .map_err(|error| Failure::Transient(format!("{count} dead letters cannot be written: {error}")))?;
        boundaries.pass(Boundary::DeadLetter);
        Ok(())
    }

    fn push(
        &mut self,
        record: &LogRecord,
        class: ErrorClass,
        error: String,
        path: Option<String>,
        attempts: u32,
        (first_failure, last_failure): (Timestamp, Timestamp),
    ) {
        let (role, group) = (ROLE.to_owned(), group_of(ROLE));
        let account = Account { role, group, class, error, path, attempts, first_failure, last_failure };
        let letter = dead_letter(record, &account, self.max_record_bytes);
        tracing::warn!(role = ROLE, place = %tapedeck_flow::inbound::place_of(record), class = class.name(),
            error = account.error, "set aside as a dead letter");
        self.bytes += letter.bytes();
        self.records.push(letter);
    }
}

/// The clock, for what a person reads of a failure.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
