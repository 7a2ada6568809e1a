//! Which dead letters a request means: query parameters and bodies to a filter.
//!
//! Not here: reading dead letters.

use axum::http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use tapedeck_contracts::{Timestamp, catalogue::origin_of_dlq, headers::Place};
use tapedeck_flow::{dead_letter::ErrorClass, redrive::Filter};
use tapedeck_log::TopicInfo;
use utoipa::{IntoParams, ToSchema};

use crate::{
    params::{Params, nearest},
    problem::Problem,
};

/// Names in one request: as many as a person pastes; more have something in
/// common that is a filter.
const MAX_NAMES: usize = 1_000;
/// Long enough for a sentence or two.
const MAX_REASON_BYTES: usize = 1_024;
/// Times that a record is sent again before a person must look.
const MAX_REDRIVES: u32 = 3;
/// Records a second where nobody says: a small part of what a recorder stores, so
/// that what comes live is not late for it.
const RATE_PER_S: u32 = 1_000;
/// Faster than any log here writes.
const MAX_RATE_PER_S: u32 = 1_000_000;

/// What became of the dead letters that are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Open,
    Redriven,
    Purged,
    All,
}

impl Shown {
    pub(super) fn passes(self, status: Option<tapedeck_flow::redrive::Status>) -> bool {
        use tapedeck_flow::redrive::Status;
        match self {
            Self::All => true,
            Self::Open => status.is_none(),
            Self::Redriven => status == Some(Status::Redriven),
            Self::Purged => status == Some(Status::Purged),
        }
    }
}

/// Which dead letters.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters; `read` takes them by name")]
pub(crate) struct DlqParams {
    /// The topic whose records they are.
    topic: Option<String>,
    /// The group that failed.
    group: Option<String>,
    /// `undecodable`, `invalid`, `handler`, `panic` or `store`.
    class: Option<String>,
    /// A part of the error's text.
    error: Option<String>,
    /// The record's key.
    key: Option<String>,
    /// Failed at or after this time.
    from: Option<String>,
    /// Failed before or at this time.
    to: Option<String>,
    /// The dead letter's id.
    id: Option<String>,
    /// `open` (the default), `redriven`, `purged` or `all`.
    status: Option<String>,
    /// Items at most, 1 to 1000.
    #[param(required = false, minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The same, read.
pub(super) struct Query {
    pub(super) filter: Filter,
    pub(super) shown: Shown,
    pub(super) limit: usize,
    pub(super) cursor: Option<String>,
}

impl Query {
    pub(super) fn read(uri: &Uri) -> Result<Self, Problem> {
        let mut query = Params::of(uri)?;
        let classes: Vec<_> = ErrorClass::ALL.into_iter().map(|class| (class.name(), class)).collect();
        let topic = query.id("topic")?.map(|topic| origin_of_dlq(&topic).map_or(topic.clone(), str::to_owned));
        let group = query.id("group")?;
        let class = query.word("class", &classes)?;
        let (error, key) = (query.text("error")?, query.text("key")?);
        let (from, to) = query.range()?;
        let id = query.text("id")?.map(|id| id.parse().map_err(|why| Problem::bad("id", why))).transpose()?;
        let words =
            [("open", Shown::Open), ("redriven", Shown::Redriven), ("purged", Shown::Purged), ("all", Shown::All)];
        let shown = query.word("status", &words)?.unwrap_or(Shown::Open);
        let limit = query.limit()?;
        let cursor = query.text("cursor")?;
        query.finish()?;
        let ids = id.into_iter().collect();
        let filter = Filter { topic, group, class, error, key, from, to, ids, ..Filter::default() };
        Ok(Self { filter, shown, limit, cursor })
    }

    /// What a cursor is bound to.
    pub(super) fn bound_to(&self, what: &str) -> String {
        format!("dlq/{what}/{:?}/{:?}", self.filter, self.shown)
    }
}

/// Which dead letters to send again or to purge, and how.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DlqRequest {
    /// The topic whose records they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    /// The group that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    /// `undecodable`, `invalid`, `handler`, `panic` or `store`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    /// A part of the error's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The record's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Failed at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Failed before or at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Dead letters by id or by place (`<topic>.dlq/<partition>/<offset>`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    which: Vec<String>,
    /// Needed where nothing above is given.
    #[serde(default)]
    all: bool,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    /// Records a second at most; 1000 where absent. Not for a purge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate: Option<u32>,
    /// A record that was sent so often is refused; 3 where absent. Not for a purge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_redrives: Option<u32>,
    /// Send it all the same. Not for a purge.
    #[serde(default)]
    force: bool,
    /// Why, for the audit log; a purge needs it.
    #[serde(default)]
    pub(super) reason: String,
    /// Only say what would be done.
    #[serde(default)]
    pub(super) dry_run: bool,
}

impl DlqRequest {
    /// The filter, checked against the topics that there are.
    pub(super) fn filter(&self, topics: &[TopicInfo]) -> Result<Filter, Problem> {
        let class = match self.class.as_deref() {
            None => None,
            Some(word) => Some(ErrorClass::parse(word).ok_or_else(|| {
                let words: Vec<_> = ErrorClass::ALL.iter().map(|class| class.name()).collect();
                wrong("$.class", format!("expected one of {}, found {word:?}", words.join(", ")))
            })?),
        };
        if self.from.zip(self.to).is_some_and(|(from, to)| from > to) {
            return Err(wrong("$.from", "lies after `to`"));
        }
        let mut filter = Filter {
            topic: self.topic.as_deref().map(|topic| origin(topic, topics)).transpose()?,
            group: self.group.clone(),
            class,
            error: self.error.clone(),
            key: self.key.clone(),
            from: self.from,
            to: self.to,
            ..Filter::default()
        };
        if self.which.len() > MAX_NAMES {
            return Err(wrong("$.which", format!("more than {MAX_NAMES}: give a filter that they have in common")));
        }
        for (index, name) in self.which.iter().enumerate() {
            if name.contains('/') {
                let place = Place::parse(name).filter(|place| origin_of_dlq(&place.topic).is_some());
                let place = place.ok_or_else(|| {
                    wrong(
                        &format!("$.which[{index}]"),
                        format!("`{name}` is no place of a dead letter, such as alerts.v1.dlq/0/17"),
                    )
                })?;
                filter.places.insert(place.to_string());
            } else {
                filter.ids.insert(name.parse().map_err(|why| wrong(&format!("$.which[{index}]"), why))?);
            }
        }
        if filter.is_empty() && !self.all {
            return Err(wrong(
                "$.all",
                "say which: give a filter, ids or places, or `all` (--all) for all that are open",
            ));
        }
        Ok(filter)
    }

    pub(super) fn limit(&self) -> Result<Option<u64>, Problem> {
        match self.limit {
            Some(0) => Err(wrong("$.limit", "expected at least 1; dry_run (--dry-run) does nothing")),
            limit => Ok(limit),
        }
    }

    /// Rate and the bound of redrives.
    pub(super) fn pace(&self) -> Result<(u32, u32), Problem> {
        let rate = self.rate.unwrap_or(RATE_PER_S);
        if !(1..=MAX_RATE_PER_S).contains(&rate) {
            return Err(wrong("$.rate", format!("expected 1 to {MAX_RATE_PER_S} records a second, found {rate}")));
        }
        let max_redrives = self.max_redrives.unwrap_or(MAX_REDRIVES);
        if max_redrives == 0 {
            return Err(wrong("$.max_redrives", "expected at least 1, else nothing may be sent again"));
        }
        Ok((rate, max_redrives))
    }

    pub(super) fn force(&self) -> bool {
        self.force
    }

    /// Refuses what only a replay takes.
    pub(super) fn refuse_pace(&self) -> Result<(), Problem> {
        let given =
            [("$.rate", self.rate.is_some()), ("$.max_redrives", self.max_redrives.is_some()), ("$.force", self.force)];
        match given.iter().find(|(_, given)| *given) {
            Some((path, _)) => Err(wrong(path, "goes with a replay only")),
            None => Ok(()),
        }
    }

    /// The reason, where it is needed or given.
    pub(super) fn reason(&self, needed: bool) -> Result<String, Problem> {
        let reason = self.reason.trim();
        if reason.is_empty() && needed && !self.dry_run {
            return Err(wrong("$.reason", "needed (--reason): the audit log keeps why dead letters were given up"));
        }
        if reason.len() > MAX_REASON_BYTES {
            return Err(wrong("$.reason", format!("longer than {MAX_REASON_BYTES} bytes")));
        }
        Ok(reason.to_owned())
    }
}

/// The topic whose dead letters are meant; its dead letter topic is as good.
pub(super) fn origin(topic: &str, topics: &[TopicInfo]) -> Result<String, Problem> {
    let name = origin_of_dlq(topic).unwrap_or(topic);
    let mut known = topics.iter().filter_map(|info| origin_of_dlq(&info.config.name));
    if known.clone().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let near = nearest(name, &mut known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    Err(Problem::not_found(format!("there is no topic `{name}` with dead letters{near}")))
}

fn wrong(path: &str, detail: impl Into<String>) -> Problem {
    Problem::field(StatusCode::UNPROCESSABLE_ENTITY, path, detail)
}
