//! Why decisions were made: one explanation, the list of them, what mattered over
//! time, and what would have been.
//!
//! Not here: what a record's bytes say, which who writes them tells through
//! [`Explains`].

use std::collections::BTreeMap;

use serde_json::Value;
use tapedeck_store::{Explained, Store, StoreError};

use crate::{app::App, problem::Problem};

pub(crate) mod explanation;
pub(crate) mod importance;
pub(crate) mod list;
pub(crate) mod one;
pub(crate) mod re_decide;
pub(crate) mod what_if;

/// Why there is no answer.
#[derive(Debug)]
pub enum ExplainsError {
    /// The store does not give what is kept.
    Store(StoreError),
    /// A part of the question is wrong.
    Wrong {
        /// Where, as a JSON path of the question.
        path: String,
        /// What was expected and what was found.
        detail: String,
    },
    /// A model that decided cannot be had now; the text says what to do.
    Unavailable(String),
    /// What is kept cannot be read.
    Broken(String),
}

impl From<StoreError> for ExplainsError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Says what records mean: implemented by who writes them. Blocking.
pub trait Explains: Send + Sync {
    /// The whole answer about a decision, with the `top` features of the largest |SHAP
    /// value|; none where it was not explained.
    ///
    /// # Errors
    /// What is kept cannot be read.
    fn explanation(&self, store: &dyn Store, decision_id: &str, top: usize) -> Result<Option<Value>, ExplainsError>;

    /// Decisions as items of a list, in their order; one whose record cannot be read says so in
    /// its `error`.
    fn items(&self, rows: &[Explained]) -> Vec<Value>;

    /// The names of a feature set's features, in their order.
    ///
    /// # Errors
    /// The bytes are no feature set.
    fn features(&self, feature_set: &[u8]) -> Result<Vec<String>, ExplainsError>;

    /// What the models that decided would have said of other values, where null is a
    /// missing value; none where the decision was not explained.
    ///
    /// # Errors
    /// A feature is unknown, a value is not for the model, a model is not there.
    fn what_if(
        &self,
        store: &dyn Store,
        decision_id: &str,
        features: &BTreeMap<String, Option<f64>>,
    ) -> Result<Option<Value>, ExplainsError>;

    /// What these versions, by specialist, would have decided instead of those that did:
    /// counts, means, and the decisions of another action.
    ///
    /// # Errors
    /// A specialist is unknown, a model is not there or of other features, what is kept
    /// cannot be read.
    fn re_decide(
        &self,
        store: &dyn Store,
        rows: &[Explained],
        versions: &BTreeMap<String, String>,
    ) -> Result<Value, ExplainsError>;
}

impl App {
    /// Asks who explains, on a thread that may block.
    pub(crate) async fn explain<T, F>(&self, call: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Explains, &dyn Store) -> Result<T, ExplainsError> + Send + 'static,
    {
        let explains = self.explains.clone();
        let explains = explains.ok_or_else(|| Problem::unavailable("this process explains nothing", 1))?;
        // Only the store's own failures count against it.
        let answer = self.store(move |store| match call(&*explains, store) {
            Err(ExplainsError::Store(error)) => Err(error),
            answer => Ok(answer),
        });
        answer.await?.map_err(|error| match error {
            ExplainsError::Store(error) => error.into(),
            ExplainsError::Wrong { path, detail } => {
                Problem::field(axum::http::StatusCode::UNPROCESSABLE_ENTITY, path, detail)
            }
            ExplainsError::Unavailable(detail) => Problem::unavailable(detail, 1),
            // Said to who asks: nobody but a person who looks at the store can mend it.
            ExplainsError::Broken(detail) => Problem::new(
                axum::http::StatusCode::INTERNAL_SERVER_ERROR,
                format!("what is stored cannot be read: {detail}. `tapedeck audit verify` finds what was changed"),
            ),
        })
    }
}
