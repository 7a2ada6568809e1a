//! Reading a record into an event: a value in a frame whose schema is not known
//! yet is tried a few times in its place, since the order of all that follows
//! depends on it.
//!
//! Not here: what becomes of a record that cannot be read.

use std::time::Duration;

use tapedeck_contracts::{EventKind, Timestamp};
use tapedeck_flow::{
    Delivery, DeliveryConfig, Failure, Gauges,
    inbound::{Remedy, Unread},
};
use tapedeck_log::{Log, LogRecord};

use super::letters::now;

/// What a record that is never read went through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried {
    pub(super) times: u32,
    pub(super) first: Timestamp,
}

/// Reads records.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// Records that went through all their tries since waiting last helped one.
    hopeless: u32,
}

impl Decoder {
    /// The event of a record, or why it has none.
    ///
    /// # Errors
    /// Transient where who knows its frame cannot be asked.
    pub(super) fn read(
        &mut self,
        log: &dyn Log,
        kind: EventKind,
        mut record: LogRecord,
        gauges: &Gauges,
    ) -> Result<Result<Delivery, (Box<Unread>, Tried)>, Failure> {
        // The tries and waits of any record; the broker has no section of its own.
        let config = DeliveryConfig::default();
        let mut backoff = config.record_backoff();
        let mut tried: Option<Tried> = None;
        loop {
            let unread = match Delivery::read(log.unframe(), kind, record) {
                Ok(delivery) => {
                    if tried.is_some() {
                        self.hopeless = 0;
                    }
                    return Ok(Ok(delivery));
                }
                Err(unread) => unread,
            };
            let tried = tried.get_or_insert_with(|| Tried { times: 0, first: now() });
            tried.times += 1;
            match unread.remedy {
                Remedy::Wait => return Err(Failure::Transient(unread.detail)),
                Remedy::Again if tried.times < config.record_tries => {
                    Gauges::add(&gauges.record_retries, 1);
                    std::thread::sleep(self.wait(backoff.next_wait()));
                    record = unread.record;
                }
                Remedy::Again => {
                    self.hopeless = self.hopeless.saturating_add(1);
                    return Ok(Err((unread, *tried)));
                }
                Remedy::Aside => return Ok(Err((unread, *tried))),
            }
        }
    }

    /// A record that waited in vain halves the waits of the next: a topic full of
    /// such records must not take for ever.
    fn wait(&self, wait: Duration) -> Duration {
        1_u32.checked_shl(self.hopeless).map_or(Duration::ZERO, |share| wait / share)
    }
}
