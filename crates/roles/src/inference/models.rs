//! The specialists: read from `<dir>/<specialist>/<version>.{json,ubj,txt}`, checked
//! against the features, and swapped as a whole when an update comes.
//!
//! Whoever decides takes the set that is current and works with it: a swap waits for
//! nobody and nobody for a swap. What was current stays at hand for a while, to go
//! back to and to explain what it decided.
//!
//! Not here: reading a file's trees (`tapedeck_shap`), the topic of updates (`shell`).

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use tapedeck_contracts::events::{ModelUpdate, decision::StabilityCheck};
use tapedeck_shap::Ensemble;

use super::{
    config::InferenceConfig,
    features::{self, COUNT, Row},
};

/// The endings that a model's file may have, in the order they are looked for.
const ENDINGS: [&str; 3] = ["json", "ubj", "txt"];

/// A file above this is no model that decides in well under a millisecond.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// The demo's specialists of bull, bear and sideways, as `scripts/train.py` made them.
const DEMO: [&[u8]; 3] = [
    include_bytes!("../../../../models/bull_specialist/v1.json"),
    include_bytes!("../../../../models/bear_specialist/v1.ubj"),
    include_bytes!("../../../../models/sideways_specialist/v1.txt"),
];
const DEMO_VERSION: &str = "v1";

/// Why a model is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// No such file, yet: it is worth looking again.
    #[error("{0}")]
    NotThere(String),
    /// It is there and cannot be used, however often it is read.
    #[error("{0}")]
    Unusable(String),
    /// No file that could come would be it.
    #[error("{0}")]
    Never(String),
}

/// One version of a specialist.
pub struct Model {
    specialist: String,
    version: String,
    ensemble: Ensemble,
    /// Where each column of the model stands in a [`Row`].
    columns: Vec<usize>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.specialist, self.version)
    }
}

impl Model {
    /// A specialist of an ensemble: one output in log-odds, over our features.
    ///
    /// # Errors
    /// What it is instead.
    pub fn new(specialist: &str, version: &str, ensemble: Ensemble) -> Result<Self, String> {
        if ensemble.outputs() != 1 {
            return Err(format!("a specialist has one output, this model has {}", ensemble.outputs()));
        }
        let objective = ensemble.objective.trim();
        if !matches!(objective, "binary:logistic" | "binary:logitraw" | "binary" | "binary sigmoid:1") {
            return Err(format!(
                "a specialist is a model of log-odds (binary:logistic, or LightGBM's binary), this one is `{objective}`"
            ));
        }
        if ensemble.averaged_over.is_some() {
            return Err("a random forest of LightGBM has no log-odds: its trees are averaged".into());
        }
        let unknown: Vec<&str> =
            ensemble.features.iter().map(String::as_str).filter(|name| features::place_of(name).is_none()).collect();
        if !unknown.is_empty() {
            return Err(format!(
                "it was trained on features that are none of ours: {}; docs/decisions.md lists the {COUNT} there are",
                unknown.join(", ")
            ));
        }
        let columns = ensemble.features.iter().filter_map(|name| features::place_of(name)).collect();
        Ok(Self { specialist: specialist.to_owned(), version: version.to_owned(), ensemble, columns })
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// They are no model, or none for us.
    pub fn read(specialist: &str, version: &str, bytes: &[u8]) -> Result<Self, String> {
        Self::new(specialist, version, Ensemble::read(bytes).map_err(|error| error.to_string())?)
    }

    /// Its name.
    pub fn specialist(&self) -> &str {
        &self.specialist
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its trees.
    pub fn ensemble(&self) -> &Ensemble {
        &self.ensemble
    }

    /// Where each of its columns stands in a [`Row`].
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// The log-odds of a row.
    ///
    /// # Errors
    /// A value is infinite in the model's arithmetic.
    pub fn margin(&self, row: &Row) -> Result<f64, String> {
        let mut values = [f64::NAN; COUNT];
        for (value, place) in values.iter_mut().zip(&self.columns) {
            *value = row[*place].unwrap_or(f64::NAN);
        }
        let mut margin = [0.0];
        self.ensemble
            .margins(&values[..self.columns.len()], &mut margin)
            .map_err(|error| format!("{} {}: {error}", self.specialist, self.version))?;
        Ok(margin[0])
    }
}

/// One version of each specialist, in the config's order.
#[derive(Clone, Debug)]
pub struct ModelSet {
    models: [Arc<Model>; 3],
}

impl ModelSet {
    /// A set of bull's, bear's and sideways' specialist.
    pub fn new(models: [Arc<Model>; 3]) -> Self {
        Self { models }
    }

    /// The models.
    pub fn models(&self) -> &[Arc<Model>; 3] {
        &self.models
    }

    /// The log-odds of each.
    ///
    /// # Errors
    /// Those of [`Model::margin`].
    pub fn margins(&self, row: &Row) -> Result<[f64; 3], String> {
        let [bull, bear, sideways] = &self.models;
        Ok([bull.margin(row)?, bear.margin(row)?, sideways.margin(row)?])
    }

    /// Version by specialist.
    pub fn versions(&self) -> BTreeMap<String, String> {
        self.models.iter().map(|model| (model.specialist.clone(), model.version.clone())).collect()
    }

    /// Places of the features that any of them looks at, in the order of a [`Row`].
    pub fn columns(&self) -> impl Iterator<Item = usize> {
        let mut used = [false; COUNT];
        self.models.iter().flat_map(|model| &model.columns).for_each(|place| used[*place] = true);
        (0..COUNT).filter(move |place| used[*place])
    }
}

/// What became of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Updated {
    /// This version decides from now on.
    Swapped {
        /// The specialist.
        specialist: String,
        /// Its version.
        version: String,
    },
    /// Nothing changed; the text says why.
    Unchanged(String),
    /// It is about none of the specialists here; the text names those there are.
    Unknown(String),
}

/// The versions that were current of each specialist, oldest first: the last one is.
pub type History = BTreeMap<String, Vec<String>>;

/// All models at hand, and the set that decides.
pub struct Models {
    dir: Option<PathBuf>,
    specialists: [String; 3],
    keep: usize,
    current: RwLock<Arc<ModelSet>>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// By specialist, the least recently used first, at most `keep` of each.
    models: BTreeMap<String, VecDeque<Arc<Model>>>,
    history: History,
}

impl Held {
    /// A version that is at hand; it is the last to go then. A name that is not known
    /// leaves nothing behind: names come from outside, and there is no end of them.
    fn take_up(&mut self, specialist: &str, version: &str) -> Option<Arc<Model>> {
        let models = self.models.get_mut(specialist)?;
        let at = models.iter().position(|model| model.version == version)?;
        let model = models.remove(at)?;
        models.push_back(Arc::clone(&model));
        Some(model)
    }
}

impl Models {
    /// The newest version of each specialist in the config's folder, or the demo's
    /// where it names none. The newest is the one with the largest number.
    ///
    /// # Errors
    /// Which file is missing or cannot be used.
    pub fn open(config: &InferenceConfig) -> Result<Self, ModelError> {
        let dir = config.models.dir.clone();
        let load = |at: usize| match &dir {
            None => demo(at, &config.specialists[at]),
            Some(dir) => load(dir, &config.specialists[at], &newest(dir, &config.specialists[at])?),
        };
        let models = [Arc::new(load(0)?), Arc::new(load(1)?), Arc::new(load(2)?)];
        let mut held = Held::default();
        for model in &models {
            held.models.entry(model.specialist.clone()).or_default().push_back(Arc::clone(model));
            held.history.insert(model.specialist.clone(), vec![model.version.clone()]);
        }
        Ok(Self {
            dir,
            specialists: config.specialists.clone(),
            keep: config.models.keep.max(2),
            current: RwLock::new(Arc::new(ModelSet::new(models))),
            held: Mutex::new(held),
        })
    }

    /// The set that decides now.
    pub fn current(&self) -> Arc<ModelSet> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A version of a specialist: at hand, or read from the folder.
    ///
    /// # Errors
    /// It is not there, or cannot be used.
    pub fn version(&self, specialist: &str, version: &str) -> Result<Arc<Model>, ModelError> {
        if let Some(model) = self.lock().take_up(specialist, version) {
            return Ok(model);
        }
        let model = Arc::new(self.read(specialist, version)?);
        let mut held = self.lock();
        let models = held.models.entry(specialist.to_owned()).or_default();
        models.push_back(Arc::clone(&model));
        if models.len() > self.keep {
            models.pop_front();
        }
        Ok(model)
    }

    /// The names of the specialists.
    pub fn specialists(&self) -> &[String; 3] {
        &self.specialists
    }

    /// The versions of a specialist that there are files of, by name; those with a number
    /// in the order of it, at last.
    pub fn versions(&self, specialist: &str) -> Vec<String> {
        match &self.dir {
            None => vec![DEMO_VERSION.to_owned()],
            Some(dir) => {
                let mut found: Vec<(Option<u64>, String)> = files(&dir.join(specialist)).unwrap_or_default();
                found.sort();
                found.dedup();
                found.into_iter().map(|(_, version)| version).collect()
            }
        }
    }

    /// Which versions were current, of each specialist.
    pub fn history(&self) -> History {
        self.lock().history.clone()
    }

    /// Goes on with a history that was kept: the newest version of each that can be
    /// read. Says what could not be.
    pub fn restore(&self, history: &History) -> Vec<String> {
        let mut missing = Vec::new();
        for specialist in &self.specialists {
            let versions = history.get(specialist).into_iter().flatten().rev();
            for version in versions {
                match self.swap(specialist, version) {
                    Ok(()) => {
                        let mut held = self.lock();
                        let kept = history.get(specialist).into_iter().flatten();
                        let mut kept: Vec<String> = kept.take_while(|kept| *kept != version).cloned().collect();
                        kept.push(version.clone());
                        held.history.insert(specialist.clone(), kept);
                        break;
                    }
                    Err(error) => missing.push(format!("{specialist} {version}: {error}")),
                }
            }
        }
        missing
    }

    /// Does what an update says: its version decides from now on; or, where the
    /// version did not hold, the one before it does again.
    ///
    /// # Errors
    /// The version is not there (yet), or cannot be used; the old one goes on.
    pub fn update(&self, update: &ModelUpdate) -> Result<Updated, ModelError> {
        let specialist = update.specialist();
        if !self.specialists.iter().any(|known| known == specialist) {
            let known = self.specialists.join(", ");
            return Ok(Updated::Unknown(format!("`{specialist}` is none of the specialists: there are {known}")));
        }
        let version = version_of(update)
            .ok_or_else(|| ModelError::Unusable(format!("`{}` names no version (`_v<n>`)", update.model_id)))?;
        match update.stability_check {
            StabilityCheck::Passed => self.go_on(specialist, &version),
            StabilityCheck::FailedRollback => self.go_back(specialist, &version),
        }
    }

    fn go_on(&self, specialist: &str, version: &str) -> Result<Updated, ModelError> {
        if self.lock().history[specialist].last().is_some_and(|last| last == version) {
            return Ok(Updated::Unchanged(format!("{specialist} {version} decides already")));
        }
        self.swap(specialist, version)?;
        let mut held = self.lock();
        let history = held.history.entry(specialist.to_owned()).or_default();
        history.retain(|known| known != version);
        history.push(version.to_owned());
        if history.len() > self.keep {
            history.remove(0);
        }
        Ok(Updated::Swapped { specialist: specialist.to_owned(), version: version.to_owned() })
    }

    fn go_back(&self, specialist: &str, failed: &str) -> Result<Updated, ModelError> {
        let history = self.lock().history[specialist].clone();
        if history.last().is_none_or(|last| last != failed) {
            self.lock().history.entry(specialist.to_owned()).or_default().retain(|known| known != failed);
            return Ok(Updated::Unchanged(format!("{specialist} {failed} did not hold, and does not decide")));
        }
        let Some(before) = history.iter().rev().nth(1) else {
            return Err(ModelError::Unusable(format!(
                "{specialist} {failed} did not hold, and no version before it is known: it goes on; put another into \
                 the folder and announce it"
            )));
        };
        self.swap(specialist, before)?;
        self.lock().history.entry(specialist.to_owned()).or_default().pop();
        Ok(Updated::Swapped { specialist: specialist.to_owned(), version: before.clone() })
    }

    /// Puts a version into the set: a new set, at once.
    fn swap(&self, specialist: &str, version: &str) -> Result<(), ModelError> {
        let model = self.version(specialist, version)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let mut models = current.models.clone();
        for place in models.iter_mut().filter(|place| place.specialist == specialist) {
            *place = Arc::clone(&model);
        }
        *current = Arc::new(ModelSet::new(models));
        Ok(())
    }

    fn read(&self, specialist: &str, version: &str) -> Result<Model, ModelError> {
        let at = self.specialists.iter().position(|known| known == specialist);
        match (&self.dir, at) {
            (Some(dir), _) => load(dir, specialist, version),
            (None, Some(at)) if version == DEMO_VERSION => demo(at, specialist),
            (None, Some(_)) => Err(ModelError::Never(format!(
                "{specialist} {version}: the demo's specialists have no version but {DEMO_VERSION}; set \
                 `inference.models.dir`"
            ))),
            (None, None) => Err(ModelError::Never(format!(
                "{specialist} {version}: the demo's specialists are {}; set `inference.models.dir`",
                self.specialists.join(", ")
            ))),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version that an update is about: as written, or what `model_id` ends with.
pub fn version_of(update: &ModelUpdate) -> Option<String> {
    if let Some(version) = &update.version {
        return Some(version.clone());
    }
    let (_, number) = update.model_id.rsplit_once("_v")?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then(|| format!("v{number}"))
}

fn demo(at: usize, specialist: &str) -> Result<Model, ModelError> {
    Model::read(specialist, DEMO_VERSION, DEMO[at]).map_err(ModelError::Unusable)
}

fn load(dir: &Path, specialist: &str, version: &str) -> Result<Model, ModelError> {
    // Both come from outside, and name a file.
    if [specialist, version].iter().any(|name| name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.')) {
        return Err(ModelError::Never(format!("`{specialist}` `{version}` cannot be the name of a file")));
    }
    let folder = dir.join(specialist);
    let paths = ENDINGS.map(|ending| folder.join(format!("{version}.{ending}")));
    let there: Vec<&PathBuf> = paths.iter().filter(|path| path.is_file()).collect();
    let path = match there[..] {
        [path] => path,
        [] => {
            let text = format!("{}/{version}.json, .ubj or .txt: there is no such file", folder.display());
            return Err(ModelError::NotThere(text));
        }
        _ => {
            let names: Vec<String> = there.iter().map(|path| path.display().to_string()).collect();
            return Err(ModelError::Unusable(format!(
                "{specialist} {version} is there more than once: {}; leave the one that decided, and give the other a \
                 version of its own",
                names.join(" and ")
            )));
        }
    };
    let unusable = |detail: String| ModelError::Unusable(format!("{}: {detail}", path.display()));
    let bytes = fs::metadata(path).map_err(|error| unusable(error.to_string()))?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(unusable(format!("{bytes} bytes are more than the {MAX_FILE_BYTES} that a model may have")));
    }
    let bytes = fs::read(path).map_err(|error| unusable(error.to_string()))?;
    Model::read(specialist, version, &bytes).map_err(unusable)
}

/// The version in a specialist's folder that has the largest number.
fn newest(dir: &Path, specialist: &str) -> Result<String, ModelError> {
    let folder = dir.join(specialist);
    let found = files(&folder).map_err(|error| {
        ModelError::NotThere(format!("{}: {error}; every specialist has a folder of its own", folder.display()))
    })?;
    let unnumbered: Vec<&str> =
        found.iter().filter(|(number, _)| number.is_none()).map(|(_, version)| version.as_str()).collect();
    if !unnumbered.is_empty() {
        tracing::warn!(
            "{}: {} cannot be the newest version, as the name has no number (`v<n>` or `<n>`, as in v12.json); it \
             decides once a model_update names it",
            folder.display(),
            unnumbered.join(", ")
        );
    }
    found
        .into_iter()
        .filter(|(number, _)| number.is_some())
        .max()
        .map(|(_, version)| version)
        .ok_or_else(|| ModelError::NotThere(format!("{}: no `v<n>.json`, `.ubj` or `.txt` is in it", folder.display())))
}

/// The versions that a folder has files of, each with its number where it has one.
fn files(folder: &Path) -> std::io::Result<Vec<(Option<u64>, String)>> {
    let version = |path: PathBuf| {
        let ending = path.extension()?.to_str()?;
        let version = path.file_stem()?.to_str()?.to_owned();
        let number: Option<u64> = version.strip_prefix('v').unwrap_or(&version).parse().ok();
        ENDINGS.contains(&ending).then_some((number, version))
    };
    Ok(fs::read_dir(folder)?.filter_map(|entry| version(entry.ok()?.path())).collect())
}

#[cfg(test)]
pub(super) mod tests;
