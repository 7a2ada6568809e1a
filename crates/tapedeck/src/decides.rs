//! What the api asks of inference: a decision on features that somebody posts, by the
//! models that decide at that moment.
//!
//! Not here: HTTP, and how a decision is made.

use std::{collections::BTreeSet, sync::Arc};

use tapedeck_api::{Decided, Decides, Question};
use tapedeck_contracts::{EventId, FieldError, Timestamp};
use tapedeck_roles::inference::{InferenceConfig, Models, posted};

/// The models, how they are weighed, and for whom and what they are asked.
pub(crate) struct Answers {
    pub(crate) config: InferenceConfig,
    pub(crate) models: Arc<Models>,
    /// Accounts of the config; where there are none, any is taken.
    pub(crate) accounts: BTreeSet<String>,
    /// Symbols of the config's instruments; where there are none, any is taken.
    pub(crate) symbols: BTreeSet<String>,
}

impl Decides for Answers {
    fn decide(&self, question: Question, id: EventId, at: Timestamp) -> Result<Decided, FieldError> {
        let Question { symbol, account, features, regime_probs, position_before, correlation_id } = question;
        known(&self.symbols, &symbol, "$.symbol", "no instrument of the config")?;
        if let Some(account) = &account {
            known(&self.accounts, account, "$.account", "no account of the config's sessions")?;
        }
        let question = posted::Question { symbol, account, features, regime_probs, position_before, correlation_id };
        let decided = posted::answer(&self.config, &self.models.current(), &question, id, at)?;
        Ok(Decided { decision: decided.decision, risk: decided.risk })
    }
}

/// Whether a name is one of those there are. Nobody would trade the decision otherwise, and who
/// asked would not see it: the name is misspelt, or the config lacks it.
fn known(names: &BTreeSet<String>, name: &str, path: &str, what: &str) -> Result<(), FieldError> {
    // An empty one is told by the decision's own check.
    if names.is_empty() || name.is_empty() || names.contains(name) {
        return Ok(());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Err(FieldError::new(path, format!("`{name}` is {what}; there are {}", names.join(", "))))
}
