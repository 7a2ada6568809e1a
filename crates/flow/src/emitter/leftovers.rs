//! What an earlier process left behind, and who decides what of it is sent: the
//! role that goes on from where that process was. Until it is asked, or a
//! producer is made, leftovers wait; and all that is newer waits behind them.
//!
//! Not here: finding them.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tapedeck_log::Record;

use super::{Leftovers, batch::Batch, shared::Shared, spool::Position};
use crate::{Failure, Stop};

/// How often a wish to stop is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judge {
    /// Nobody yet.
    Awaited,
    /// A role, record by record.
    Role,
    /// All are sent.
    Nobody,
}

/// How it stands with what was left.
pub(super) struct Leftover {
    /// Where it ends in the spool; none where there is nothing left of it.
    pub(super) end: Option<Position>,
    pub(super) judge: Judge,
    /// The next batch of it, to be judged.
    offered: Option<(Batch, Position)>,
    /// The next batch of it, judged.
    judged: Option<(Batch, Position)>,
    done: Leftovers,
}

impl Leftover {
    pub(super) fn until(end: Option<Position>) -> Self {
        Self { end, judge: Judge::Awaited, offered: None, judged: None, done: Leftovers::default() }
    }

    /// A batch was read that somebody must judge.
    pub(super) fn offer(&mut self, batch: Batch, end: Position) {
        self.offered = Some((batch, end));
    }

    /// Whether the batch after those that were read may be.
    pub(super) fn may_be_read(&self) -> bool {
        match self.judge {
            Judge::Awaited => false,
            Judge::Role => self.offered.is_none(),
            Judge::Nobody => true,
        }
    }

    /// Whether a batch may be sent.
    pub(super) fn has_judged(&self) -> bool {
        self.judged.is_some() || (self.judge == Judge::Nobody && self.offered.is_some())
    }

    /// A batch that may be sent.
    pub(super) fn take(&mut self) -> Option<(Batch, Position)> {
        self.judged.take().or_else(|| if self.judge == Judge::Nobody { self.offered.take() } else { None })
    }

    /// A batch of it is in the log.
    pub(super) fn settled(&mut self, batch: &Batch) {
        self.done.sent += batch.own_records();
        self.done.left_out += batch.left_out;
    }
}

impl Shared {
    /// Sends what was left, as [`super::Emitter::send_leftovers`] says.
    pub(super) fn send_leftovers(
        self: &Arc<Self>,
        keep: &mut dyn FnMut(&Record) -> bool,
        stop: &Stop,
    ) -> Result<Leftovers, Failure> {
        let mut core = self.core();
        core.leftover.done = Leftovers::default();
        loop {
            let Some(end) = core.leftover.end else { return Ok(core.leftover.done) };
            if core.spool.has_passed(end) {
                core.leftover.end = None;
                continue;
            }
            if self.is_closed() {
                return Err(Failure::Fatal("the emitter was closed while it sent what was left".into()));
            }
            if stop.requested() {
                core.leftover.judge = Judge::Awaited;
                let remaining = core.spool.records();
                return Ok(Leftovers { remaining, ..core.leftover.done });
            }
            if core.leftover.judge != Judge::Role {
                core.leftover.judge = Judge::Role;
                self.wake_sender();
            }
            let is_free = core.leftover.judged.is_none();
            if let Some((mut batch, end)) = core.leftover.offered.take_if(|_| is_free) {
                drop(core);
                batch.retain(keep);
                core = self.core();
                core.leftover.judged = Some((batch, end));
                self.wake_sender();
            }
            let waited = self.leftovers_moved.wait_timeout(core, LOOK);
            core = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All that was left is sent, unless a role was asked.
    pub(super) fn free_leftovers(&self) {
        let mut core = self.core();
        if core.leftover.judge == Judge::Awaited {
            core.leftover.judge = Judge::Nobody;
            self.wake_sender();
        }
    }
}
