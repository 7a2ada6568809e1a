//! The one active process of a role: who holds partition 0 of the role's state
//! topic, in the role's group. Others stand by.
//!
//! Not here: reading the role's inputs, which the active one does by assignment.

use std::{sync::Arc, time::Duration};

use tapedeck_contracts::catalogue::{group_of, state_topic};
use tapedeck_log::{GroupOffset, Log, Member, Placement, PollLimits, Polled, Record};

use crate::{Failure, Stop};

/// How long one wait for the seat lasts before the wish to stop is asked for.
const WAIT: Duration = Duration::from_millis(100);

/// A membership that is active while it holds partition 0.
pub struct Seat {
    member: Box<dyn Member>,
    held: bool,
}

impl Seat {
    /// Joins the role's group on its state topic.
    ///
    /// # Errors
    /// Those of the log.
    pub fn join(log: &dyn Log, role: &str, member: &str) -> Result<Self, Failure> {
        let topic: Arc<str> = state_topic(role).into();
        Ok(Self { member: log.join(&group_of(role), member, &[topic])?, held: false })
    }

    /// Waits until this process is the active one; false where somebody asked to
    /// stop before.
    ///
    /// # Errors
    /// Those of the log.
    pub fn wait(&mut self, stop: &Stop) -> Result<bool, Failure> {
        while !stop.requested() {
            if self.poll(WAIT)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Keeps the seat, and says whether it is still held. To be called at least
    /// once a batch.
    ///
    /// # Errors
    /// Those of the log.
    pub fn keep(&mut self) -> Result<bool, Failure> {
        self.poll(Duration::ZERO)
    }

    /// Records, state and the group's offsets in one step, as the active process.
    ///
    /// # Errors
    /// [`Failure::Fenced`] where the seat is lost; nothing was written then.
    pub fn transact(&mut self, records: Vec<Record>, offsets: &[GroupOffset]) -> Result<Vec<Placement>, Failure> {
        Ok(self.member.transact(records, offsets)?)
    }

    fn poll(&mut self, timeout: Duration) -> Result<bool, Failure> {
        // State is read by assignment, so whatever is owned here stays paused.
        match self.member.poll(PollLimits { max_records: 1, max_bytes: 1, timeout })? {
            Polled::Assigned(partitions) => self.member.pause(&partitions),
            Polled::Revoked(_) | Polled::Records(_) => {}
        }
        self.held = self.member.assignment().iter().any(|owned| owned.partition == 0);
        Ok(self.held)
    }
}
