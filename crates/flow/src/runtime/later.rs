//! A record that cannot be read now and may be later: the schema that its frame
//! names is not known yet, or who knows it cannot be asked. It is not taken: its
//! partition is put back to it and paused, and it is polled again when its time
//! has come. What was read before it goes on meanwhile.
//!
//! Not here: records that were read and cannot be handled now (`alone`).

use std::time::{Duration, Instant};

use tapedeck_contracts::Timestamp;
use tapedeck_log::Member;

use super::{Handler, Step, held::Held, letters::Fault, serve::Runtime};
use crate::{
    Failure, Gauges,
    backoff::Backoff,
    inbound::{Remedy, Unread, is_for_others},
    opener::now,
};

/// A record that waits in the log until it can be read.
#[derive(Debug)]
pub(super) struct Later {
    offset: u64,
    /// Tries after which what it names was not known.
    tries: u32,
    first_failure: Timestamp,
    /// Between those tries.
    backoff: Backoff,
    /// While nobody can be asked.
    away: Backoff,
    /// Who cannot be asked, and why.
    trouble: Option<String>,
    due: Instant,
}

impl Held {
    /// How long until a record that could not be read is polled again; none where
    /// nothing is in the way of polling.
    pub(super) fn poll_wait(&self) -> Option<Duration> {
        self.later.as_ref()?.due.checked_duration_since(Instant::now()).filter(|wait| !wait.is_zero())
    }

    /// Why records of it cannot be read now.
    pub(super) fn reading_trouble(&self) -> Option<&str> {
        self.later.as_ref()?.trouble.as_deref()
    }
}

impl<H: Handler, S: Step<Effect = H::Effect>> Runtime<H, S> {
    /// Whether a record waits in the log because it cannot be read now; its
    /// partition is put back to it then.
    ///
    /// # Errors
    /// Those of the log.
    pub(super) fn read_later(
        &mut self,
        member: &mut dyn Member,
        slot: usize,
        unread: &Unread,
    ) -> Result<bool, Failure> {
        let (group, config, gauges) = (self.setup.group(), &self.setup.config, &self.setup.gauges);
        let (held, offset) = (&mut self.held[slot], unread.record.offset);
        if unread.remedy == Remedy::Aside || held.ahead.contains(&offset) || is_for_others(&unread.record, &group) {
            return Ok(false);
        }
        let mut later = held.later.take().filter(|later| later.offset == offset).unwrap_or_else(|| Later {
            offset,
            tries: 0,
            first_failure: now(),
            backoff: config.record_backoff(),
            away: Backoff::default(),
            trouble: None,
            due: Instant::now(),
        });
        let had_trouble = later.trouble.take().is_some();
        let wait = if unread.remedy == Remedy::Again {
            later.tries += 1;
            later.away.reset();
            if later.tries >= config.record_tries {
                held.hopeless = held.hopeless.saturating_add(1);
                held.later = Some(later);
                return Ok(false);
            }
            Gauges::add(&gauges.record_retries, 1);
            held.wait(&mut later.backoff)
        } else {
            Gauges::add(&gauges.retries, 1);
            later.trouble = Some(unread.detail.clone());
            later.away.next_wait()
        };
        later.due = Instant::now() + wait;
        let has_trouble = later.trouble.is_some();
        (held.later, held.sought) = (Some(later), true);
        member.seek(&held.place, offset)?;
        let (place, detail) = (&held.place, &unread.detail);
        tracing::debug!(role = self.setup.role, partition = %place, offset, detail, "cannot be read now");
        if had_trouble != has_trouble {
            self.show_phase();
        }
        Ok(true)
    }

    /// A record was read, or is never read: nothing waits for it any more. Gives
    /// what it went through, as the start of an account of its failure.
    pub(super) fn read_at_last(&mut self, slot: usize, unread: Option<&Unread>) -> Option<Fault> {
        let held = &mut self.held[slot];
        let later = held.later.take();
        if let (None, Some(_)) = (unread, &later) {
            held.hopeless = 0;
        }
        if later.as_ref().is_some_and(|later| later.trouble.is_some()) {
            self.show_phase();
        }
        let unread = unread?;
        let fault = Fault::first(unread.class, unread.detail.clone(), unread.path.clone());
        Some(match later {
            Some(later) => Fault { tries: later.tries.max(1), first_failure: later.first_failure, ..fault },
            None => fault,
        })
    }
}
