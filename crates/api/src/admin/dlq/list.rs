//! `GET /api/admin/dlq`: dead letters, newest first, page by page.
//!
//! Not here: their bodies; `letter` shows one.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{extract::State, http::Uri, response::Response};
use serde::Serialize;
use tapedeck_flow::{
    Failure,
    redrive::{Found, Newest, Part, Recent, Register, Scanned, ids_within, parts},
};
use tapedeck_log::Log;
use utoipa::ToSchema;

use super::{
    DeadLetterItem,
    ask::{self, DlqParams, Query},
    problem,
};
use crate::{
    app::{App, lock},
    problem::{Problem, ProblemBody},
    routes::json,
};

/// Records read for one page: a filter that little passes takes several pages.
const MAX_EXAMINED: u64 = 20_000;
/// The same in time, half of what a request may take.
pub(super) const MAX_TIME: Duration = Duration::from_secs(5);

/// Dead letters.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetters {
    items: Vec<DeadLetterItem>,
    /// Where to go on; also where nothing passed so far and more is to be read.
    next_cursor: Option<String>,
    /// Records that were read for this page.
    examined: u64,
    /// Those that are no dead letters of tapedeck.
    unreadable: u64,
}

/// Dead letters, newest first; the open ones unless another status is asked for.
#[utoipa::path(get, path = "/api/admin/dlq", tag = "admin", params(DlqParams), responses(
    (status = 200, description = "Dead letters, and where to go on", body = DeadLetters),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn dlq_list(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri)?;
    let bound_to = query.bound_to("list");
    let ends = query.cursor.as_deref().map(|cursor| app.cursors.read_positions(&bound_to, cursor)).transpose()?;
    let register = app.dlq.register();
    let (mut page, ends) = app.log(move |log| Ok(read(log.as_ref(), &register, &query, ends))).await??;
    page.next_cursor = ends.map(|ends| app.cursors.write_positions(&bound_to, &ends));
    Ok(json(&page))
}

/// Of partitions by their index, the offset before which to read on.
type Ends = BTreeMap<u32, u64>;

fn read(
    log: &dyn Log,
    register: &Mutex<Register>,
    query: &Query,
    resumed: Option<Ends>,
) -> Result<(DeadLetters, Option<Ends>), Problem> {
    let topics = log.topics()?;
    let topic = query.filter.topic.as_deref().map(|topic| ask::origin(topic, &topics)).transpose()?;
    let now = parts(&topics, topic.as_deref());
    let wanted: Vec<Part> = (0_u32..)
        .zip(&now)
        .map(|(index, part)| match &resumed {
            None => part.clone(),
            Some(ends) => Part { end: ends.get(&index).copied().unwrap_or(0).min(part.end), ..part.clone() },
        })
        .collect();
    lock(register).refresh(log).map_err(problem)?;
    let mut page = Page { log, now: &now, began_at: &wanted, looked_after: HashSet::new(), recent: Recent::default() };
    let mut newest = Newest::new(log, wanted.clone());
    let mut answer = DeadLetters { items: Vec::new(), next_cursor: None, examined: 0, unreadable: 0 };
    let began = Instant::now();
    while answer.items.len() < query.limit && answer.examined < MAX_EXAMINED && began.elapsed() < MAX_TIME {
        let Some(scanned) = newest.next_record().map_err(problem)? else { return Ok((answer, None)) };
        answer.examined += 1;
        let Scanned::Letter(found) = scanned else {
            answer.unreadable += 1;
            continue;
        };
        if !query.filter.matches(found.id, &found.place, &found.letter) {
            continue;
        }
        let closed = lock(register).get(found.id).cloned();
        if query.shown.passes(closed.as_ref().map(|closed| closed.status)) && page.is_new(&found).map_err(problem)? {
            answer.items.push(DeadLetterItem::new(&found, closed.as_ref()));
        }
    }
    let ends: Ends = (0_u32..).zip(newest.ends()).filter(|(index, end)| *end > now[*index as usize].start).collect();
    Ok((answer, (!ends.is_empty()).then_some(ends)))
}

/// What is shown already, on this page or the one before.
struct Page<'a> {
    log: &'a dyn Log,
    now: &'a [Part],
    began_at: &'a [Part],
    looked_after: HashSet<usize>,
    recent: Recent,
}

impl Page<'_> {
    /// Whether the dead letter does not lie behind this place too. Its other copy
    /// may be on the page before: what lies just behind the beginning of this page
    /// is looked at, once for each partition that has something to show.
    fn is_new(&mut self, found: &Found) -> Result<bool, Failure> {
        let of = |part: &Part| *part.place.topic == *found.place.topic && part.place.partition == found.place.partition;
        if let Some(index) = self.now.iter().position(of)
            && self.looked_after.insert(index)
        {
            let behind = Part { start: self.began_at[index].end, ..self.now[index].clone() };
            ids_within(self.log, &behind, &mut self.recent)?;
        }
        Ok(self.recent.insert(found.id))
    }
}
