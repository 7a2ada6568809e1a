//! What the registry said of ids: a schema never changes, so that one answer is
//! enough; that an id is not known is believed only for a while, and only after
//! it was asked for several times.
//!
//! Not here: asking.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use crate::Plan;

/// Schemas that are remembered: more than a large company has versions. The
/// oldest goes first.
const MAX_SCHEMAS: usize = 4_096;
/// Ids that are remembered as not known. Who sends more in ten seconds costs a
/// question each.
const MAX_UNKNOWN: usize = 1_024;
/// Asked for so often in vain, an id is not asked for again for a while: a topic
/// full of it must not become a flood of questions.
const TRIES: u32 = 5;
/// That while.
const FORGET: Duration = Duration::from_secs(10);

/// How bodies of a schema are opened.
#[derive(Debug, PartialEq)]
pub(crate) enum Schema {
    /// The body is JSON.
    Json,
    /// The body is read by this.
    Avro(Plan),
    /// It is not, and why.
    Unusable(String),
}

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct Known(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    schemas: HashMap<u32, Arc<Schema>>,
    order: VecDeque<u32>,
    unknown: HashMap<u32, (u32, Instant)>,
}

impl Known {
    /// The schema of an id, where it is remembered.
    pub(crate) fn schema(&self, id: u32) -> Option<Arc<Schema>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).schemas.get(&id).cloned()
    }

    /// Remembers a schema.
    pub(crate) fn remember(&self, id: u32, schema: Arc<Schema>) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.unknown.remove(&id);
        if inner.schemas.insert(id, schema).is_none() {
            inner.order.push_back(id);
        }
        if inner.schemas.len() > MAX_SCHEMAS
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.schemas.remove(&oldest);
        }
    }

    /// Whether an id was asked for often enough to be believed unknown.
    pub(crate) fn is_hopeless(&self, id: u32) -> bool {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        inner.unknown.get(&id).is_some_and(|(tries, last)| *tries >= TRIES && last.elapsed() < FORGET)
    }

    /// The registry does not know an id.
    pub(crate) fn not_found(&self, id: u32) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if inner.unknown.len() >= MAX_UNKNOWN && !inner.unknown.contains_key(&id) {
            inner.unknown.clear();
        }
        let (tries, last) = inner.unknown.entry(id).or_insert((0, Instant::now()));
        *tries = if last.elapsed() < FORGET { tries.saturating_add(1) } else { 1 };
        *last = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_hopeless_only_after_some_questions_and_no_more_once_it_is_known() {
        let known = Known::default();
        for _ in 0..TRIES {
            assert!(!known.is_hopeless(7));
            known.not_found(7);
        }
        assert!(known.is_hopeless(7) && !known.is_hopeless(8));
        known.remember(7, Arc::new(Schema::Json));
        assert!(!known.is_hopeless(7));
        assert_eq!(known.schema(7).as_deref(), Some(&Schema::Json));
    }

    #[test]
    fn neither_schemas_nor_unknown_ids_fill_the_memory() {
        let known = Known::default();
        for id in 0..10_000 {
            known.remember(id, Arc::new(Schema::Json));
            known.not_found(id + 1_000_000);
        }
        let inner = known.0.read().unwrap_or_else(PoisonError::into_inner);
        assert_eq!((inner.schemas.len(), inner.order.len()), (MAX_SCHEMAS, MAX_SCHEMAS));
        assert!(inner.unknown.len() <= MAX_UNKNOWN);
        assert!(inner.schemas.contains_key(&9_999) && !inner.schemas.contains_key(&0));
    }
}
