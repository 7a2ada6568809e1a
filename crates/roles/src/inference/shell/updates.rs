//! New models while decisions go on: `model_updates` is read whole, by every process,
//! on a thread of its own that loads what is announced and puts it into the set.
//!
//! Not here: what becomes of a model (`models`).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tapedeck_contracts::{
    Event, EventId,
    events::{Alert, ModelUpdate, Severity},
};
use tapedeck_flow::{Delivery, Failure, Outbound, Stop};
use tapedeck_log::{Log, LogError, LogRecord, PollLimits, Reader, Record, TopicPartition};

use super::{MODEL_UPDATES, ROLE};
use crate::inference::models::{History, ModelError, Models, Updated, version_of};

/// How often updates are looked for, and a version that is not there yet: new models
/// come by the hour, and a fifth of a second is late for none.
const LOOK: Duration = Duration::from_millis(200);

/// Where it is told that a model cannot be had.
const ALERTS: &str = "alerts.v1";

/// Updates that wait for their files; beyond that the next is reported at once.
const MAX_WAITING: usize = 64;

/// Of one look. It may wait a little, so that catching up does not spin.
const LIMITS: PollLimits = PollLimits { max_records: 500, max_bytes: 4 << 20, timeout: Duration::from_millis(10) };

/// What the state says of models: those that were current, and how far the updates
/// were read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptModels {
    pub(super) history: History,
    /// By partition: the offset of the next update.
    pub(super) next: BTreeMap<u32, u64>,
}

impl KeptModels {
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and numbers")
    }

    pub(super) fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    fn is_after(&self, other: &Self) -> bool {
        other.next.is_empty() || self.next.values().sum::<u64>() > other.next.values().sum()
    }
}

/// Loads what is announced, once it is started.
pub(super) struct Loader {
    log: Arc<dyn Log>,
    models: Arc<Models>,
    wait: Duration,
    /// Where the thread goes on, and then how far it is.
    shared: Arc<Mutex<KeptModels>>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    pub(super) fn new(log: Arc<dyn Log>, models: Arc<Models>, wait_s: u64) -> Self {
        let shared = Arc::new(Mutex::new(KeptModels { history: models.history(), next: BTreeMap::new() }));
        Self { log, models, wait: Duration::from_secs(wait_s), shared, stop: Stop::new(), thread: None }
    }

    /// A partition's state says how far an earlier process was. The furthest counts,
    /// until the thread runs and knows better itself.
    pub(super) fn go_on_from(&mut self, kept: &KeptModels) {
        let mut shared = lock(&self.shared);
        if self.thread.is_some() || !kept.is_after(&shared) {
            return;
        }
        for missing in self.models.restore(&kept.history) {
            tracing::error!(role = ROLE, missing, "a model that decided before cannot be read; an older one decides");
        }
        *shared = KeptModels { history: self.models.history(), next: kept.next.clone() };
    }

    /// Reads what is announced already, and goes on beside. Called again it does
    /// nothing.
    ///
    /// # Errors
    /// Those of the log.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        if self.thread.is_some() {
            return Ok(());
        }
        let mut updates =
            Updates::open(Arc::clone(&self.log), Arc::clone(&self.models), self.wait, &lock(&self.shared))?;
        updates.catch_up()?;
        *lock(&self.shared) = updates.kept();
        let (shared, stop) = (Arc::clone(&self.shared), self.stop.clone());
        let work = move || {
            while !stop.wait(LOOK) {
                match updates.look() {
                    Ok(true) => *lock(&shared) = updates.kept(),
                    Ok(false) => {}
                    // Transient or not, the models that decide go on.
                    Err(error) => tracing::warn!(role = ROLE, %error, "updates of models cannot be read; tried again"),
                }
            }
        };
        let thread = std::thread::Builder::new().name("models".into()).spawn(work);
        self.thread = Some(thread.map_err(|error| Failure::Transient(format!("no thread for models: {error}")))?);
        Ok(())
    }

    /// What is to be kept of it as of now.
    pub(super) fn kept(&self) -> KeptModels {
        lock(&self.shared).clone()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.stop.request();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn lock(shared: &Mutex<KeptModels>) -> MutexGuard<'_, KeptModels> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The topic, and what waits for its file.
struct Updates {
    log: Arc<dyn Log>,
    models: Arc<Models>,
    reader: Box<dyn Reader>,
    places: Vec<TopicPartition>,
    waiting: VecDeque<Waiting>,
    wait: Duration,
    next: BTreeMap<u32, u64>,
}

struct Waiting {
    /// Of the update's event.
    id: EventId,
    update: ModelUpdate,
    partition: u32,
    offset: u64,
    since: Instant,
}

impl Updates {
    fn open(log: Arc<dyn Log>, models: Arc<Models>, wait: Duration, kept: &KeptModels) -> Result<Self, Failure> {
        let topics = log.topics()?;
        let topic = topics.iter().find(|topic| &*topic.config.name == MODEL_UPDATES);
        let count = topic.map_or(0, |topic| topic.config.partitions);
        let places: Vec<TopicPartition> =
            (0..count).map(|partition| TopicPartition::new(MODEL_UPDATES, partition)).collect();
        let mut next = BTreeMap::new();
        for place in &places {
            let (start, end) = log.bounds(place)?;
            let kept = kept.next.get(&place.partition).copied().unwrap_or(start);
            next.insert(place.partition, kept.clamp(start, end));
        }
        let mut reader = log.reader()?;
        reader.assign(&places.iter().map(|place| (place.clone(), next[&place.partition])).collect::<Vec<_>>())?;
        Ok(Self { log, models, reader, places, waiting: VecDeque::new(), wait, next })
    }

    /// Reads to the end as of now.
    fn catch_up(&mut self) -> Result<(), Failure> {
        for place in self.places.clone() {
            let end = self.log.bounds(&place)?.1;
            while self.reader.position(&place).is_some_and(|next| next < end) {
                self.look()?;
            }
        }
        Ok(())
    }

    /// Takes what was announced since, and looks again for what was not there; says
    /// whether anything is to be kept anew.
    fn look(&mut self) -> Result<bool, LogError> {
        let records = self.reader.poll(LIMITS)?;
        let mut changed = !records.is_empty();
        for record in records {
            self.take(record);
        }
        for place in &self.places {
            if let Some(next) = self.reader.position(place) {
                changed |= self.next.insert(place.partition, next) != Some(next);
            }
        }
        for waiting in std::mem::take(&mut self.waiting) {
            let before = self.waiting.len();
            self.apply(waiting);
            changed |= self.waiting.len() == before;
        }
        Ok(changed)
    }

    fn take(&mut self, record: LogRecord) {
        let (partition, offset) = (record.partition, record.offset);
        match Delivery::decode(record, 0) {
            Ok(Delivery { id, event: Event::ModelUpdate(update), .. }) => {
                // What waited for this specialist's file is out of date.
                self.waiting.retain(|waiting| waiting.update.specialist() != update.specialist());
                self.apply(Waiting { id, update: *update, partition, offset, since: Instant::now() });
            }
            Ok(_) => {}
            Err(error) => tracing::error!(role = ROLE, %error, "a model update that cannot be read is left out"),
        }
    }

    fn apply(&mut self, waiting: Waiting) {
        match self.models.update(&waiting.update) {
            Ok(Updated::Swapped { specialist, version }) => {
                tracing::info!(role = ROLE, specialist, version, "another model decides");
            }
            Ok(Updated::Unchanged(why)) => tracing::info!(role = ROLE, why, "a model update changes nothing"),
            Ok(Updated::Unknown(why)) => {
                let model = &waiting.update.model_id;
                tracing::warn!(role = ROLE, model, why, "a model update is about no model here");
                self.tell(unknown(&waiting, &why), waiting);
            }
            Err(ModelError::NotThere(_)) if waiting.since.elapsed() < self.wait && self.waiting.len() < MAX_WAITING => {
                self.waiting.push_back(waiting);
            }
            Err(error) => {
                let model = &waiting.update.model_id;
                tracing::error!(role = ROLE, model, %error, "the model that decided goes on");
                self.tell(missing(&waiting, &error), waiting);
            }
        }
    }

    /// Writes the alert of an update.
    fn tell(&mut self, alert: Record, waiting: Waiting) {
        let model = &waiting.update.model_id;
        match self.log.append(vec![alert]) {
            // Told later: it is tried again with the model itself.
            Err(LogError::Transient(_)) if self.waiting.len() < MAX_WAITING => self.waiting.push_back(waiting),
            Err(error) => tracing::error!(role = ROLE, model, %error, "the alert of it cannot be written"),
            Ok(_) => {}
        }
    }

    /// What still waits is read again after a restart.
    fn kept(&self) -> KeptModels {
        let mut next = self.next.clone();
        for waiting in &self.waiting {
            let at = next.entry(waiting.partition).or_insert(waiting.offset);
            *at = waiting.offset.min(*at);
        }
        KeptModels { history: self.models.history(), next }
    }
}

/// The alert for a version that was announced and does not decide.
fn missing(waiting: &Waiting, error: &ModelError) -> Record {
    let text = format!(
        "{} was announced and does not decide, the version before it goes on: {error}",
        waiting.update.model_id
    );
    alert(waiting, "MODEL_NOT_LOADED", Severity::Error, text)
}

/// The alert for a specialist that is none of those here: a name that is misspelt, or one of
/// another program.
fn unknown(waiting: &Waiting, why: &str) -> Record {
    let text = format!("{} was announced and changes nothing: {why}", waiting.update.model_id);
    alert(waiting, "MODEL_UNKNOWN", Severity::Warning, text)
}

/// An alert of an update. Every process that reads it says the same under the same id.
fn alert(waiting: &Waiting, code: &str, severity: Severity, message: String) -> Record {
    let Waiting { id, update, .. } = waiting;
    let specialist = update.specialist();
    let context = [
        ("model_id", update.model_id.clone()),
        ("specialist", specialist.to_owned()),
        ("version", version_of(update).unwrap_or_default()),
    ];
    let id = EventId::derived(id, ROLE, ALERTS, specialist, 0);
    let alert = Alert {
        event_id: id.clone(),
        timestamp: update.timestamp,
        severity,
        code: code.into(),
        message,
        context: context.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect(),
        source: ROLE.into(),
        account: None,
        decision_id: None,
    };
    let outbound = Outbound::first(ALERTS, id, Event::Alert(Box::new(alert)));
    outbound.into_record(ROLE).expect("an alert is text")
}
