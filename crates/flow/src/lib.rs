//! Delivery: how records become events that a role handles once in effect, and
//! how what a role decides becomes records.
//!
//! Not here: Kafka's client, SQL, HTTP, and what any role does.

pub mod failure;
pub mod inbound;
pub mod outbound;

pub use failure::Failure;
pub use inbound::{Delivery, Meta};
pub use outbound::Outbound;
