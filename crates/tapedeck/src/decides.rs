//! What the api asks of inference: a decision on features that somebody posts, by the
//! models that decide at that moment.
//!
//! Not here: HTTP, and how a decision is made.

use std::sync::Arc;

use tapedeck_api::{Decided, Decides, Question};
use tapedeck_contracts::{EventId, FieldError, Timestamp};
use tapedeck_roles::inference::{InferenceConfig, Models, posted};

/// The models, and how they are weighed.
pub(crate) struct Answers {
    pub(crate) config: InferenceConfig,
    pub(crate) models: Arc<Models>,
}

impl Decides for Answers {
    fn decide(&self, question: Question, id: EventId, at: Timestamp) -> Result<Decided, FieldError> {
        let Question { symbol, account, features, regime_probs, position_before, correlation_id } = question;
        let question = posted::Question { symbol, account, features, regime_probs, position_before, correlation_id };
        let decided = posted::answer(&self.config, &self.models.current(), &question, id, at)?;
        Ok(Decided { decision: decided.decision, risk: decided.risk })
    }
}
