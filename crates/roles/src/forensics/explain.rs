//! From a batch of decisions to their records: each explained by the very versions of
//! the models that decided, many rows at a time.
//!
//! Decisions with the same names and the same versions share a [`Mixture`] and go
//! through the trees in blocks, whose rows are the lanes of a vector.
//!
//! Not here: a record's place in its chain and the decision before it (`step`), and
//! where decisions come from (`shell`).

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use tapedeck_contracts::{ByName, events::TradingDecision};
use tapedeck_shap::{Explainer, RowError, Scratch};

use super::{ExplainError, Explanation, FeatureSet, Mixture, Model, Part, Record};
use crate::inference::models::{self, ModelSet, Models};

/// Rows that go through a model at once: enough to fill the widest vector many times,
/// and few enough that what comes out (20 features: 86 KB a model) stays in the cache.
pub const BLOCK_ROWS: usize = 512;
/// Rows of a batch that are worth a second thread: starting it costs as much as explaining
/// some ten, and both halves still fill whole blocks.
const ROWS_FOR_TWO: usize = 4 * BLOCK_ROWS;
/// Names and versions that are kept ready: three specialists, each with the versions
/// of some days, in a few mixtures of old and new.
const MAX_PLANS: usize = 64;
/// Models that are kept ready to explain; each is a few times its file's size.
const MAX_READY: usize = 64;
/// Records that are kept to be filled again: those of the largest batch, some 10 MB.
const MAX_POOLED: usize = 8_192;

/// A decision's record without its place in a chain.
#[derive(Debug)]
pub struct Draft {
    /// All but chain, index and the decision before it. Boxed: it goes from hand to hand.
    pub record: Box<Record>,
    /// Its names.
    pub mixture: Arc<Mixture>,
}

/// Why a batch could not be explained: which decision of it, and whether to try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// Which one of the batch, from 0.
    pub index: usize,
    /// Where in the decision, as a JSON path.
    pub path: Option<String>,
    /// Why, and what to do.
    pub detail: String,
    /// What it needs may still come.
    pub may_come: bool,
}

/// Records that were used and can be filled again, so that their texts and lists take
/// memory once. Shared by who fills them and who is done with them.
#[derive(Clone, Debug, Default)]
pub struct Pool(Arc<Mutex<Records>>);

/// Boxed, so that a record that changes hands is not copied.
type Records = Vec<Box<Record>>;

impl Pool {
    /// Takes a record: an old one, whose content means nothing, or a new one.
    fn take(&self) -> Box<Record> {
        self.lock().pop().unwrap_or_default()
    }

    /// Gives records back.
    pub fn give(&self, drafts: impl IntoIterator<Item = Draft>) {
        let mut records = self.lock();
        let room = MAX_POOLED.saturating_sub(records.len());
        records.extend(drafts.into_iter().take(room).map(|draft| draft.record));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A version of a specialist, ready to explain.
struct Ready {
    model: Arc<models::Model>,
    explainer: Explainer,
}

/// Names and versions that decisions share.
struct Plan {
    mixture: Arc<Mixture>,
    /// The decision that it was made for: one with the same names and versions is told
    /// by a few comparisons.
    names: Names,
    /// One for each specialist of the names, in their order.
    members: Vec<Arc<Ready>>,
}

impl Plan {
    /// Whether a decision has these names, and was made by these versions.
    fn is_for(&self, decision: &TradingDecision, current: &ModelSet) -> bool {
        let mut named = 0;
        let mut same = |member: &Arc<Ready>| {
            let (specialist, version) = (member.model.specialist(), member.model.version());
            match decision.model_versions.get(specialist) {
                Some(name) => {
                    named += 1;
                    name == version
                }
                None => current_version(current, specialist) == Some(version),
            }
        };
        if !self.names.are_of(decision) {
            return false;
        }
        let is_complete = decision.model_versions.len() == self.members.len();
        (is_complete && decision.model_versions == self.names.versions)
            || (self.members.iter().all(&mut same) && named == decision.model_versions.len())
    }
}

/// What a decision names.
struct Names {
    features: ByName<()>,
    regimes: ByName<()>,
    specialists: ByName<()>,
    checks: ByName<()>,
    versions: ByName<String>,
}

impl Names {
    fn of(decision: &TradingDecision) -> Self {
        Self {
            features: decision.features.keys().map(|name| (name, ())).collect(),
            regimes: decision.regime_probs.keys().map(|name| (name, ())).collect(),
            specialists: decision.strategy_weights.keys().map(|name| (name, ())).collect(),
            checks: decision.risk_checks.keys().map(|name| (name, ())).collect(),
            versions: decision.model_versions.clone(),
        }
    }

    /// Whether the decision has these names; its versions are another question.
    fn are_of(&self, decision: &TradingDecision) -> bool {
        self.features.has_names_of(&decision.features)
            && self.regimes.has_names_of(&decision.regime_probs)
            && self.specialists.has_names_of(&decision.strategy_weights)
            && self.checks.has_names_of(&decision.risk_checks)
    }
}

fn current_version<'a>(current: &'a ModelSet, specialist: &str) -> Option<&'a str> {
    let model = current.models().iter().find(|model| model.specialist() == specialist)?;
    Some(model.version())
}

/// Decisions of a batch that share a plan, by their places in it.
struct Group {
    plan: Arc<Plan>,
    places: Vec<usize>,
}

/// Explains batches of decisions.
pub struct Explaining {
    models: Arc<Models>,
    pool: Pool,
    /// With when each was last used.
    plans: Vec<(Arc<Plan>, u64)>,
    ready: Vec<(Arc<Ready>, u64)>,
    /// Counts batches.
    now: u64,
    work: Work,
    /// Of a second thread, for large batches.
    beside: Work,
}

/// Memory that explaining works in.
#[derive(Default)]
struct Work {
    scratch: Scratch,
    /// Values of all features, a row a decision of the block.
    values: Vec<f64>,
    /// Rows of one model.
    rows: Vec<f64>,
    /// Of each model, what comes out for the block.
    phi: Vec<Vec<f64>>,
    margins: Vec<Vec<f64>>,
    explanation: Explanation,
}

impl Explaining {
    /// Explains with these models; records are taken from the pool.
    pub fn new(models: Arc<Models>, pool: Pool) -> Self {
        Self {
            models,
            pool,
            plans: Vec::new(),
            ready: Vec::new(),
            now: 0,
            work: Work::default(),
            beside: Work::default(),
        }
    }

    /// The records of decisions, in their order. A decision that names no versions is
    /// explained by those that are current now.
    ///
    /// # Errors
    /// The first decision found that cannot be explained; then none is.
    pub fn explain(&mut self, decisions: &[&TradingDecision]) -> Result<Vec<Draft>, Refusal> {
        self.now += 1;
        let current = self.models.current();
        let (mut groups, mut last): (Vec<Group>, usize) = (Vec::new(), 0);
        let mut drafts = Vec::with_capacity(decisions.len());
        for (index, decision) in decisions.iter().enumerate() {
            let is_for = |group: &Group| group.plan.is_for(decision, &current);
            // Decisions alike come in runs.
            let known = match groups.get(last) {
                Some(group) if is_for(group) => Some(last),
                _ => groups.iter().position(is_for),
            };
            last = match known {
                Some(known) => known,
                None => {
                    let plan = self.plan(decision, &current).map_err(|refusal| Refusal { index, ..refusal })?;
                    groups.push(Group { plan, places: Vec::new() });
                    groups.len() - 1
                }
            };
            groups[last].places.push(index);
            let mixture = Arc::clone(&groups[last].plan.mixture);
            drafts.push(Draft { record: self.pool.take(), mixture });
        }
        self.work_through(&groups, decisions, &mut drafts)?;
        Ok(drafts)
    }

    /// Explains all groups, the later half of a large batch on a second thread.
    fn work_through(
        &mut self,
        groups: &[Group],
        decisions: &[&TradingDecision],
        drafts: &mut [Draft],
    ) -> Result<(), Refusal> {
        let many = drafts.len() >= ROWS_FOR_TWO && thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
        let middle = if many { drafts.len() / 2 } else { drafts.len() };
        let (first, later) = drafts.split_at_mut(middle);
        let (work, beside) = (&mut self.work, &mut self.beside);
        thread::scope(|scope| {
            let mut other = None;
            if !later.is_empty() {
                let later = || beside.part(groups, decisions, middle, later);
                let started = thread::Builder::new().name("forensics-half".to_owned()).spawn_scoped(scope, later);
                other = Some(started.map_err(|error| Refusal {
                    may_come: true,
                    ..refusal(None, format!("no thread can be started to explain on: {error}"))
                })?);
            }
            let ours = work.part(groups, decisions, 0, first);
            let theirs = other.map_or(Ok(()), |other| match other.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            ours.and(theirs)
        })
    }

    /// The plan of a decision: at hand, or made.
    fn plan(&mut self, decision: &TradingDecision, current: &ModelSet) -> Result<Arc<Plan>, Refusal> {
        if let Some((plan, used)) = self.plans.iter_mut().find(|(plan, _)| plan.is_for(decision, current)) {
            *used = self.now;
            return Ok(Arc::clone(plan));
        }
        let set = FeatureSet::of(decision).map_err(|error| refusal(None, error.to_string()))?;
        let stranger = decision.model_versions.keys().find(|name| !decision.strategy_weights.contains_key(name));
        if let Some(name) = stranger {
            return Err(explain_error(&ExplainError::MissingWeight(name.to_owned())));
        }
        let members = decision.strategy_weights.keys().map(|specialist| self.ready(decision, specialist, current));
        let members: Vec<Arc<Ready>> = members.collect::<Result<_, _>>()?;
        let models: Vec<Model<'_>> = members
            .iter()
            .map(|member| Model { specialist: member.model.specialist(), features: member.explainer.features() })
            .collect();
        let mixture = Mixture::new(set, &models).map_err(|error| explain_error(&error))?;
        let plan = Arc::new(Plan { mixture: Arc::new(mixture), names: Names::of(decision), members });
        if self.plans.len() >= MAX_PLANS {
            drop_oldest(&mut self.plans);
        }
        self.plans.push((Arc::clone(&plan), self.now));
        Ok(plan)
    }

    /// The version of a specialist that a decision means, ready to explain.
    fn ready(
        &mut self,
        decision: &TradingDecision,
        specialist: &str,
        current: &ModelSet,
    ) -> Result<Arc<Ready>, Refusal> {
        let named = decision.model_versions.get(specialist).map(String::as_str);
        let Some(version) = named.or_else(|| current_version(current, specialist)) else {
            return Err(explain_error(&ExplainError::MissingModel(specialist.to_owned())));
        };
        let is_it = |ready: &Ready| ready.model.specialist() == specialist && ready.model.version() == version;
        if let Some((ready, used)) = self.ready.iter_mut().find(|(ready, _)| is_it(ready)) {
            *used = self.now;
            return Ok(Arc::clone(ready));
        }
        let wait = |detail: String| Refusal {
            index: 0,
            path: Some(format!("$.model_versions.{specialist}")),
            detail: format!("{specialist} {version}, which decided, cannot be had: {detail}"),
            may_come: true,
        };
        let model = self.models.version(specialist, version).map_err(|error| {
            // A file may come, or be replaced; what is no file's name, or not built in, never comes.
            let may_come = !matches!(error, models::ModelError::Never(_));
            Refusal { may_come, ..wait(error.to_string()) }
        })?;
        let explainer = Explainer::new(model.ensemble()).map_err(|error| wait(error.to_string()))?;
        let ready = Arc::new(Ready { model, explainer });
        if self.ready.len() >= MAX_READY {
            drop_oldest(&mut self.ready);
        }
        self.ready.push((Arc::clone(&ready), self.now));
        Ok(ready)
    }
}

impl Work {
    /// Explains those of a batch whose drafts these are, from the one at `from` on.
    fn part(
        &mut self,
        groups: &[Group],
        decisions: &[&TradingDecision],
        from: usize,
        drafts: &mut [Draft],
    ) -> Result<(), Refusal> {
        let decisions = &decisions[from..from + drafts.len()];
        let mut here = Vec::new();
        for group in groups {
            let ours = group.places.iter().filter_map(|place| place.checked_sub(from));
            here.clear();
            here.extend(ours.filter(|place| *place < drafts.len()));
            for places in here.chunks(BLOCK_ROWS) {
                let done = self.block(&group.plan, decisions, places, drafts);
                done.map_err(|refusal| Refusal { index: from + refusal.index, ..refusal })?;
            }
        }
        Ok(())
    }

    /// Explains the decisions at these places, which share a plan.
    fn block(
        &mut self,
        plan: &Plan,
        decisions: &[&TradingDecision],
        places: &[usize],
        drafts: &mut [Draft],
    ) -> Result<(), Refusal> {
        let width = plan.mixture.set().features().len();
        self.values.clear();
        for place in places {
            self.values.extend(decisions[*place].features.values().map(|value| value.unwrap_or(f64::NAN)));
        }
        let models = plan.members.len();
        self.phi.resize_with(models.max(self.phi.len()), Vec::new);
        self.margins.resize_with(models.max(self.margins.len()), Vec::new);
        for (nth, member) in plan.members.iter().enumerate() {
            self.member(plan, nth, member, width, places)?;
        }
        let mut parts: Vec<Part<'_>> = Vec::with_capacity(models);
        for (row, place) in places.iter().enumerate() {
            parts.clear();
            parts.extend(plan.members.iter().enumerate().map(|(nth, member)| {
                let each = member.explainer.contributions();
                Part {
                    version: member.model.version(),
                    margin: self.margins[nth][row],
                    phi: &self.phi[nth][row * each..][..each],
                }
            }));
            let (decision, draft) = (decisions[*place], &mut drafts[*place]);
            let weighed =
                plan.mixture.weigh(decision.strategy_weights.values().copied(), &parts, &mut self.explanation);
            weighed.map_err(|error| Refusal { index: *place, ..explain_error(&error) })?;
            plan.mixture.fill_own(&mut draft.record, decision, &parts, &self.explanation);
        }
        Ok(())
    }

    /// What one model says of the block.
    fn member(
        &mut self,
        plan: &Plan,
        nth: usize,
        member: &Ready,
        width: usize,
        places: &[usize],
    ) -> Result<(), Refusal> {
        self.rows.clear();
        for values in self.values.chunks_exact(width.max(1)) {
            plan.mixture.gather(nth, values, &mut self.rows);
        }
        let (phi, margins) = (&mut self.phi[nth], &mut self.margins[nth]);
        phi.resize(places.len() * member.explainer.contributions(), 0.0);
        margins.resize(places.len(), 0.0);
        let explained = member.explainer.explain_f64(&self.rows, &mut self.scratch, phi);
        let explained = explained.and_then(|()| member.explainer.margins_f64(&self.rows, &mut self.scratch, margins));
        explained.map_err(|error| match error {
            RowError::Infinite { row, name, too_large, .. } => {
                let why = if too_large { " once it is rounded to f32, as that model does" } else { "" };
                let model = (member.model.specialist(), member.model.version());
                let detail = format!("`{name}` is infinite for {} {}{why}", model.0, model.1);
                Refusal { index: places[row], ..refusal(Some(format!("$.features.{name}")), detail) }
            }
            other => Refusal { index: places[0], ..refusal(None, other.to_string()) },
        })
    }
}

fn refusal(path: Option<String>, detail: String) -> Refusal {
    Refusal { index: 0, path, detail, may_come: false }
}

fn explain_error(error: &ExplainError) -> Refusal {
    refusal(error.path(), error.to_string())
}

/// Makes room in a list whose entries say when they were last used.
fn drop_oldest<T>(list: &mut Vec<(T, u64)>) {
    let oldest = (0..list.len()).min_by_key(|at| list[*at].1);
    oldest.into_iter().for_each(|at| _ = list.swap_remove(at));
}

#[cfg(test)]
mod tests;
