//! The consumer runtime: the straight way of a record through a role that scales
//! by partitions. Poll, decode, leave out duplicates, handle a batch, take one
//! last step that makes it visible; on one thread, in that order, but for a step that
//! works beside it: then the next batch is read and handled meanwhile.
//!
//! The position beside the effect is believed: the step says where a partition
//! goes on, and the group's committed offset is a published copy that follows.
//!
//! Not here: what a role does (its [`Handler`]), and where the effect goes (its
//! [`Step`]), so this knows neither store nor api. Roles with one active process
//! ([`crate::Seat`]) do not run here.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use tapedeck_contracts::catalogue::group_of;
use tapedeck_log::{Log, Member, TopicPartition};

use crate::{Boundaries, Budget, Delivery, DeliveryConfig, Failure, Gauges, Stop, dead_letter::Aside, emitter::Ticket};

mod ahead;
mod alone;
mod batch;
mod emit_step;
mod flight;
mod handed;
mod held;
mod later;
mod letters;
mod log_step;
mod open;
mod queue;
mod serve;

pub use emit_step::EmitStep;
pub use log_step::{LogEffect, LogStep, StateChange};

/// What a role does with deliveries. Its state in memory is a copy of what the
/// last step made visible, with what was handled since; it is dropped and given
/// again whenever a step failed.
pub trait Handler {
    /// What a batch comes to: records and state, or rows.
    type Effect: Default;

    /// A partition is held from now on, with the state that was made visible of
    /// it. It replaces what the handler knows of that partition.
    ///
    /// # Errors
    /// Fatal where the state cannot be read.
    fn assigned(&mut self, partition: &TopicPartition, state: &BTreeMap<String, Bytes>) -> Result<(), Failure>;

    /// Handles a batch: deliveries of partitions held, in the order of each. After
    /// an error or a panic the state of the partitions in the batch is given
    /// again, and the batch comes again: without the record that an error named,
    /// or in parts, so that the one is found that makes it panic.
    ///
    /// # Errors
    /// Poison names the record that can never be handled, unready the one that
    /// cannot be handled now: its partition waits and it is tried alone.
    fn handle(&mut self, batch: &[Delivery]) -> Result<Self::Effect, Failure>;

    /// A partition is no longer held; its state is dropped.
    fn revoked(&mut self, partition: &TopicPartition);
}

/// The last step: makes a batch's effect and the positions visible in one act.
pub trait Step {
    /// What a batch comes to.
    type Effect: Default;

    /// Where to go on, for each partition asked for, in that order.
    ///
    /// # Errors
    /// Transient where log or store cannot be reached.
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Resume>, Failure>;

    /// The state alone of these partitions, which are open, after a failure that
    /// made nothing visible.
    ///
    /// # Errors
    /// Those of [`Step::resume`], which is what is asked unless a step knows better.
    fn restate(&mut self, partitions: &[TopicPartition]) -> Result<Vec<BTreeMap<String, Bytes>>, Failure> {
        Ok(self.resume(partitions)?.into_iter().map(|resume| resume.state).collect())
    }

    /// Makes the effect and the moves visible: both or neither.
    ///
    /// # Errors
    /// Transient leaves open which of the two it was, and [`Step::resume`] says
    /// it. Poison and unready name a delivery of the batch, refused names none;
    /// fenced means that another process has gone on; nothing is visible after
    /// these.
    fn perform(&mut self, member: &mut dyn Member, effect: Self::Effect, moves: &[Move]) -> Result<(), Failure>;

    /// Whether effects are handed over when they are handled, and made visible
    /// when what was handed over is durable: then the next batch is handled
    /// meanwhile, and none waits for company.
    fn hands_over(&self) -> bool {
        false
    }

    /// Hands over what of an effect goes out at once, and says by which ticket it
    /// is durable. Asked only of a step that hands over.
    ///
    /// # Errors
    /// After an error the batch is handled again, and the same is handed over
    /// again, with the same ids.
    fn hand_over(&mut self, _effect: &mut Self::Effect) -> Result<Ticket, Failure> {
        Ok(Ticket::default())
    }

    /// What an effect that was handed over holds in memory, in bytes, while it
    /// waits to be made visible.
    fn bytes_of(&self, _effect: &Self::Effect) -> usize {
        0
    }

    /// All tickets up to this one are durable.
    fn durable(&self) -> Ticket {
        Ticket::default()
    }

    /// [`Step::perform`] for several effects that were handed over and are
    /// durable, in their order.
    ///
    /// # Errors
    /// Those of [`Step::perform`] that name no record.
    fn perform_handed(
        &mut self,
        _member: &mut dyn Member,
        _effects: &[HandedOver<'_, Self::Effect>],
        _moves: &[Move],
    ) -> Result<(), Failure> {
        Err(Failure::Fatal("this step hands nothing over".into()))
    }

    /// Whether the step can be taken beside the thread that asks for it: then the next
    /// batch is read and handled meanwhile, and dropped and handled again where the step
    /// fails. Never of a step that hands over.
    fn works_beside(&self) -> bool {
        false
    }

    /// Begins [`Step::perform`] and does not wait for it. Nothing but [`Step::publish`], of
    /// moves that ended before, is asked of the step before [`Step::end`].
    ///
    /// # Errors
    /// It was not begun.
    fn begin(&mut self, _effect: Self::Effect, _moves: &[Move]) -> Result<(), Failure> {
        Err(Failure::Fatal("this step does nothing beside".into()))
    }

    /// Waits for what was begun.
    ///
    /// # Errors
    /// Those of [`Step::perform`].
    fn end(&mut self, _member: &mut dyn Member) -> Result<(), Failure> {
        Ok(())
    }

    /// Tells the group of moves that were begun beside and are visible, where
    /// [`Step::end`] did not; moves of several steps at once, the newest of each partition.
    ///
    /// # Errors
    /// Fenced ones.
    fn publish(&mut self, _member: &mut dyn Member, _moves: &[Move]) -> Result<(), Failure> {
        Ok(())
    }
}

/// An effect that was handed over.
#[derive(Debug)]
pub struct HandedOver<'a, E> {
    /// The effect of a batch.
    pub effect: &'a E,
    /// Numbers of the partitions that it is still of: what it holds of others is
    /// somebody else's by now, and is not made visible.
    pub partitions: Vec<u32>,
}

/// Where a partition goes on, as it stands beside the effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// The offset of the next record to take; none where nothing was made
    /// visible yet, and then it is the start of the log.
    pub next: Option<u64>,
    /// Offsets at or beyond `next` that are visible already.
    pub held: Vec<u64>,
    /// Offset and [`record_hash`](crate::record_hash::record_hash) of the last
    /// record whose effect is visible.
    pub last: Option<(u64, u64)>,
    /// The role's state of the partition.
    pub state: BTreeMap<String, Bytes>,
}

/// A move of the position in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The partition.
    pub partition: TopicPartition,
    /// Where the position stood; none where there was none yet.
    pub expected: Option<u64>,
    /// The offset of the next record to take.
    pub next: u64,
    /// Offsets beyond `next` that are settled.
    pub ahead: Vec<u64>,
    /// Offset and hash of the last record whose effect is visible then; none
    /// where there never was one.
    pub last: Option<(u64, u64)>,
}

/// What a role's runtime works with.
#[derive(Clone)]
pub struct Setup {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The role; its group is `tapedeck.<role>`.
    pub role: String,
    /// This process's name in the group.
    pub member: String,
    /// What it reads.
    pub topics: Vec<Arc<str>>,
    /// Sizes and times.
    pub config: DeliveryConfig,
    /// When to stop.
    pub stop: Stop,
    /// What it says of itself.
    pub gauges: Arc<Gauges>,
    /// Is told of the boundaries that are passed.
    pub boundaries: Boundaries,
    /// What becomes of a record that can never be handled.
    pub aside: Aside,
    /// What waits in memory counts here, with that of the process's other roles.
    pub budget: Arc<Budget>,
}

impl Setup {
    /// The consumer group.
    pub fn group(&self) -> String {
        group_of(&self.role)
    }
}

/// Runs a role on this thread until somebody asks to stop: what was handled is
/// then made visible, and the group left, within the drain time.
///
/// Failures that pass are tried again without end, the partitions held
/// meanwhile. A record that can never be handled becomes a dead letter, and is
/// settled once that is durable; one that cannot be handled now is tried a few
/// times alone before it does, its partition held and the others not. Where
/// [`Aside::Stop`] is asked for, such a record stops its partition instead, with
/// a clear message in the gauges. A lost seat drops the state and joins again.
///
/// # Errors
/// [`Failure::Fatal`]: a person must act, and the text says how.
pub fn run<H: Handler, S: Step<Effect = H::Effect>>(setup: Setup, handler: H, step: S) -> Result<(), Failure> {
    serve::Runtime::new(setup, handler, step).run()
}
