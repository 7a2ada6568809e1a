//! Delivery: how records become events that a role handles once in effect, and
//! how what a role decides becomes records.
//!
//! Not here: Kafka's client, SQL, HTTP, and what any role does.

pub mod backoff;
pub mod bisect;
pub mod boundary;
pub mod breaker;
pub mod budget;
pub mod config;
pub mod dead_letter;
pub mod dedupe;
pub mod emitter;
pub mod failure;
pub mod gauges;
pub mod inbound;
pub mod ledger;
pub mod opener;
pub mod outbound;
pub mod record_hash;
pub mod redrive;
pub mod runtime;
pub mod seat;
mod spans;
pub mod state;
pub mod stop;
pub mod topics;

pub use boundary::{Boundaries, Boundary};
pub use breaker::{Breaker, BreakerState};
pub use budget::Budget;
pub use config::DeliveryConfig;
pub use dead_letter::{Aside, DeadLetter};
pub use emitter::{EmitError, Emitter, EmitterConfig, EmitterStats, Producer, Ticket};
pub use failure::Failure;
pub use gauges::{Gauges, Phase};
pub use inbound::{Delivery, Meta};
pub use ledger::Ledger;
pub use outbound::Outbound;
pub use seat::Seat;
pub use stop::Stop;
