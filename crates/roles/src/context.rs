//! What every role is given: the log, the wish to stop, a name, its gauges.
//!
//! Not here: config, which each role has of its own.

use std::sync::Arc;

use tapedeck_flow::{Aside, Boundaries, Budget, DeliveryConfig, Gauges, Stop, emitter::Emitter, runtime::Setup};
use tapedeck_log::Log;

/// What a role's thread works with.
#[derive(Clone)]
pub struct Context {
    /// The log.
    pub log: Arc<dyn Log>,
    /// When to stop.
    pub stop: Stop,
    /// This process's name in the groups.
    pub member: String,
    /// What the role says of itself.
    pub gauges: Arc<Gauges>,
    /// Is told of the boundaries that the role passes.
    pub boundaries: Boundaries,
    /// What becomes of a record that can never be handled.
    pub aside: Aside,
    /// What the role emits through; none where its events go in a step with its
    /// offsets.
    pub emitter: Option<Arc<Emitter>>,
    /// What waits in the memory of the process's roles counts here.
    pub budget: Arc<Budget>,
}

impl Context {
    /// What the consumer runtime of a role works with that reads these topics.
    pub(crate) fn setup(self, role: &str, topics: &[&str], config: DeliveryConfig) -> Setup {
        Setup {
            log: self.log,
            role: role.to_owned(),
            member: self.member,
            topics: topics.iter().map(|topic| Arc::from(*topic)).collect(),
            config,
            stop: self.stop,
            gauges: self.gauges,
            boundaries: self.boundaries,
            aside: self.aside,
            budget: self.budget,
        }
    }
}
