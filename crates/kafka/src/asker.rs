//! The client that asks the coordinators of groups for what they keep.
//!
//! librdkafka (up to 2.12) asks a coordinator about any group, but does not mend what
//! it believes of coordinators afterwards:
//! - A coordinator that has moved answers so, and librdkafka tells its own group to
//!   look again. A client without a group has none to tell, and the process ends with
//!   a SIGSEGV (confluentinc/librdkafka#5040). So this client is a consumer with a
//!   group, which it never joins.
//! - It goes on asking the broker that it found first, also where that one answers
//!   that it is not the coordinator, or is gone for good. So a client that did not
//!   find the coordinator is replaced by a new one, which looks again.
//!
//! Not here: what is asked (`native`) and what the answers mean (`groups`).

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rdkafka::{
    client::Client as NativeClient,
    consumer::{BaseConsumer, Consumer as _},
    error::RDKafkaErrorCode as Code,
};

use crate::{
    client::{Client, is_away},
    native::{Found, Refusal, has_code},
    watch::{Watcher, locked},
};

/// A client that was started within so long knows the newest that brokers say of
/// coordinators: while they do not agree on one, a new client would know no more.
const NEW: Duration = Duration::from_millis(250);

/// The client that asks, started with the first question.
#[derive(Default)]
pub(crate) struct Asker {
    current: Mutex<Option<Arc<Asking>>>,
}

struct Asking {
    started: Instant,
    consumer: BaseConsumer<Watcher>,
}

impl Asker {
    /// Asks the coordinator of a group (the cluster's name of it).
    ///
    /// # Errors
    /// The refusal. Where it says that the coordinator was not found, the next
    /// question looks for it again.
    pub(crate) fn ask(
        &self,
        client: &Client,
        group: &str,
        question: impl FnOnce(&NativeClient<Watcher>) -> Result<Vec<Found>, Refusal>,
    ) -> Result<Vec<Found>, Refusal> {
        let asking = self.current(client, group)?;
        let answer = question(asking.consumer.client());
        asking.hear();
        let missed = match &answer {
            Ok(found) => found.iter().any(|found| has_code(found, is_elsewhere)),
            Err(refusal) => is_elsewhere(refusal.code),
        };
        if missed && asking.started.elapsed() >= NEW {
            self.replace(&asking);
        }
        answer
    }

    fn current(&self, client: &Client, group: &str) -> Result<Arc<Asking>, Refusal> {
        let mut current = locked(&self.current);
        if let Some(asking) = &*current {
            return Ok(Arc::clone(asking));
        }
        let asking = Arc::new(Asking::start(client, group)?);
        *current = Some(Arc::clone(&asking));
        Ok(asking)
    }

    /// The next question starts a new client; this one ends with its last question.
    fn replace(&self, asking: &Arc<Asking>) {
        let mut current = locked(&self.current);
        let is_it = current.as_ref().is_some_and(|now| Arc::ptr_eq(now, asking));
        let gone = if is_it { current.take() } else { None };
        // It may take a moment to end, and nobody has to wait for that.
        drop(current);
        drop(gone);
    }
}

impl Asking {
    /// Its group is the one that is asked about first: whoever may ask about a group
    /// may look for its coordinator too.
    fn start(client: &Client, group: &str) -> Result<Self, Refusal> {
        let mut config = client.native_config();
        config.set("group.id", group);
        config.set("group.protocol", "classic");
        config.set("enable.auto.commit", "false");
        config.set("statistics.interval.ms", "0");
        let consumer = config.create_with_context(Watcher::new(&client.book, "groups"))?;
        Ok(Self { started: Instant::now(), consumer })
    }

    /// Takes what it tells between questions, which nobody else would.
    fn hear(&self) {
        // As many as may have come since the last question; the rest with the next.
        const MOST: usize = 16;
        for _ in 0..MOST {
            if self.consumer.poll(Duration::ZERO).is_none() {
                break;
            }
        }
    }
}

/// Whether a refusal may come of asking the wrong broker.
fn is_elsewhere(code: Code) -> bool {
    matches!(code, Code::NotCoordinator | Code::CoordinatorNotAvailable | Code::WaitingForCoordinator) || is_away(code)
}
