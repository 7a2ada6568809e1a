//! Consumer groups of one process: who is there, who owns what, and how
//! partitions move from one member to the next. Pure: time is handed in.
//!
//! A partition moves in three steps, as Kafka's cooperative rebalance does: the
//! old owner's poll says that it is revoked, the old owner comes back (it may
//! commit until then), and only then the new owner's poll says that it is
//! assigned.
//!
//! Not here: committed offsets, and reading.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::assign::{self, Wish};
use crate::TopicPartition;

/// All groups that have members.
#[derive(Debug)]
pub(crate) struct Groups {
    groups: BTreeMap<Arc<str>, Group>,
    next_seat: u64,
    left: bool,
    session_timeout: Duration,
}

/// What a member holds to prove its seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) group: Arc<str>,
    seat: u64,
}

/// What a poll is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The seat is lost.
    Lost,
    /// These were given up: no commit of them from now on.
    Revoked(Vec<TopicPartition>),
    /// These are its own from now on.
    Assigned(Vec<TopicPartition>),
    /// Nothing changed.
    Stay,
}

#[derive(Debug, Default)]
struct Group {
    seats: BTreeMap<u64, Seat>,
    partitions: BTreeMap<Arc<str>, u32>,
    changed: bool,
}

#[derive(Debug)]
struct Seat {
    member: String,
    topics: Vec<Arc<str>>,
    target: BTreeSet<TopicPartition>,
    owned: BTreeSet<TopicPartition>,
    /// Told to the member as revoked; it may still commit them until it polls.
    leaving: BTreeSet<TopicPartition>,
    seen: Instant,
    /// The writer is writing for this seat: it cannot be taken away meanwhile.
    writing: bool,
}

impl Groups {
    pub(crate) fn new(session_timeout: Duration) -> Self {
        Self { groups: BTreeMap::new(), next_seat: 0, left: false, session_timeout }
    }

    /// A new member, of topics with so many partitions.
    pub(crate) fn join(&mut self, group: &str, member: &str, topics: &[(Arc<str>, u32)], now: Instant) -> Ticket {
        let name = self.groups.get_key_value(group).map_or_else(|| Arc::from(group), |(name, _)| Arc::clone(name));
        let ticket = Ticket { group: Arc::clone(&name), seat: self.next_seat };
        self.next_seat += 1;
        let group = self.groups.entry(name).or_default();
        group.partitions.extend(topics.iter().cloned());
        let seat = Seat {
            member: member.to_owned(),
            topics: topics.iter().map(|(topic, _)| Arc::clone(topic)).collect(),
            target: BTreeSet::new(),
            owned: BTreeSet::new(),
            leaving: BTreeSet::new(),
            seen: now,
            writing: false,
        };
        group.seats.insert(ticket.seat, seat);
        group.expire(now, self.session_timeout);
        group.share();
        ticket
    }

    /// A member left.
    pub(crate) fn leave(&mut self, ticket: &Ticket) {
        if let Some(group) = self.groups.get_mut(&ticket.group)
            && group.seats.remove(&ticket.seat).is_some()
        {
            group.share();
            self.left = true;
        }
        self.groups.retain(|_, group| !group.seats.is_empty());
    }

    /// A member polls: what changes for it.
    pub(crate) fn poll(&mut self, ticket: &Ticket, now: Instant) -> Step {
        let timeout = self.session_timeout;
        let Some(group) = self.groups.get_mut(&ticket.group) else { return Step::Lost };
        if group.expire(now, timeout) {
            group.share();
        }
        let Some(seat) = group.seats.get_mut(&ticket.seat) else { return Step::Lost };
        seat.seen = now;
        group.changed |= !seat.leaving.is_empty();
        seat.leaving.clear();
        let leaving: BTreeSet<_> = seat.owned.difference(&seat.target).cloned().collect();
        if !leaving.is_empty() {
            seat.owned.retain(|partition| !leaving.contains(partition));
            seat.leaving.clone_from(&leaving);
            return Step::Revoked(leaving.into_iter().collect());
        }
        let wanted: Vec<_> = seat.target.difference(&seat.owned).cloned().collect();
        let free: Vec<_> = wanted.into_iter().filter(|partition| !group.is_held(partition)).collect();
        if free.is_empty() {
            return Step::Stay;
        }
        let seat = group.seats.get_mut(&ticket.seat).expect("the seat was there just now");
        seat.owned.extend(free.iter().cloned());
        Step::Assigned(free)
    }

    /// Whether the member has its seat and may commit these; from then on until
    /// [`Groups::end_write`] the seat cannot be taken away.
    pub(crate) fn begin_write<'a>(
        &mut self,
        ticket: &Ticket,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
        now: Instant,
    ) -> bool {
        let timeout = self.session_timeout;
        let Some(group) = self.groups.get_mut(&ticket.group) else { return false };
        if group.expire(now, timeout) {
            group.share();
        }
        let shared = &group.partitions;
        let Some(seat) = group.seats.get_mut(&ticket.seat) else { return false };
        let holds_some = !(seat.owned.is_empty() && seat.leaving.is_empty());
        // What the group shares out must be the member's own; what it reads by
        // assignment goes with any partition that it owns.
        let allowed = partitions.into_iter().all(|partition| {
            if shared.contains_key(&partition.topic) {
                seat.owned.contains(partition) || seat.leaving.contains(partition)
            } else {
                holds_some
            }
        });
        seat.writing |= allowed;
        allowed
    }

    /// What was written for the member is visible, or was not written.
    pub(crate) fn end_write(&mut self, ticket: &Ticket, now: Instant) {
        if let Some(seat) = self.groups.get_mut(&ticket.group).and_then(|group| group.seats.get_mut(&ticket.seat)) {
            seat.writing = false;
            seat.seen = now;
        }
    }

    /// Whether something changed since the last call that others wait for.
    pub(crate) fn take_changed(&mut self) -> bool {
        self.groups
            .values_mut()
            .fold(std::mem::take(&mut self.left), |changed, group| std::mem::take(&mut group.changed) || changed)
    }

    /// Whether a group has members.
    pub(crate) fn has_members(&mut self, group: &str, now: Instant) -> bool {
        let timeout = self.session_timeout;
        self.groups.get_mut(group).is_some_and(|group| {
            if group.expire(now, timeout) {
                group.share();
            }
            !group.seats.is_empty()
        })
    }

    /// Members of each group, with what they own.
    pub(crate) fn members(&self) -> BTreeMap<Arc<str>, Vec<(String, Vec<TopicPartition>)>> {
        let of = |group: &Group| {
            group.seats.values().map(|seat| (seat.member.clone(), seat.owned.iter().cloned().collect())).collect()
        };
        self.groups.iter().map(|(name, group)| (Arc::clone(name), of(group))).collect()
    }
}

impl Group {
    /// Takes the seats of who did not poll for too long; true where there were any.
    fn expire(&mut self, now: Instant, timeout: Duration) -> bool {
        let before = self.seats.len();
        self.seats.retain(|_, seat| seat.writing || now.saturating_duration_since(seat.seen) <= timeout);
        before != self.seats.len()
    }

    fn is_held(&self, partition: &TopicPartition) -> bool {
        self.seats.values().any(|seat| seat.owned.contains(partition) || seat.leaving.contains(partition))
    }

    /// Says anew who is to own what.
    fn share(&mut self) {
        self.changed = true;
        let mut wishes: Vec<Wish> = self
            .seats
            .values_mut()
            .map(|seat| Wish { topics: &seat.topics, target: std::mem::take(&mut seat.target) })
            .collect();
        assign::share(&self.partitions, &mut wishes);
        let targets: Vec<_> = wishes.into_iter().map(|wish| wish.target).collect();
        for (seat, target) in self.seats.values_mut().zip(targets) {
            seat.target = target;
        }
    }
}
