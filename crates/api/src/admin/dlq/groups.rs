//! `GET /api/admin/dlq/groups`: dead letters counted by topic, group and error.
//!
//! Not here: what makes two errors the same (`flow::redrive`).

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{extract::State, http::Uri, response::Response};
use serde::Serialize;
use tapedeck_contracts::Timestamp;
use tapedeck_flow::redrive::{ErrorGroup, Forward, GroupKey, Part, Recent, Register, Scanned, ids_within, parts};
use tapedeck_log::Log;
use utoipa::ToSchema;

use super::{
    ask::{self, DlqParams, Query},
    list::MAX_TIME,
    problem,
};
use crate::{
    app::{App, lock},
    problem::{Problem, ProblemBody},
    routes::json,
};

/// Records read for one answer.
const MAX_EXAMINED: u64 = 50_000;
/// Groups of one answer; errors that fall together are few, and others fill pages.
const MAX_GROUPS: usize = 1_000;
/// Of what lies before the beginning of a page, as much is looked at again.
const BEFORE: u64 = 8_192;

/// Dead letters with the same topic, group, class and error.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DlqGroupItem {
    topic: String,
    group: String,
    class: &'static str,
    /// Numbers, ids and quoted values left out.
    error: String,
    count: u64,
    /// When the first and the last of them failed.
    #[schema(value_type = String, format = DateTime)]
    first: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last: Timestamp,
    /// The newest one: its id, and where it lies.
    example: String,
    example_place: String,
}

/// Groups of what was read for this answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DlqGroups {
    /// The largest first.
    items: Vec<DlqGroupItem>,
    /// Where to go on: the next answer counts what comes after, and the same
    /// group may be in it again.
    next_cursor: Option<String>,
    /// Records that were read for this answer.
    examined: u64,
    /// Those that are no dead letters of tapedeck.
    unreadable: u64,
}

/// Dead letters counted by error; `limit` does not count here.
#[utoipa::path(get, path = "/api/admin/dlq/groups", tag = "admin", params(DlqParams), responses(
    (status = 200, description = "Groups, and where to go on", body = DlqGroups),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn dlq_groups(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri)?;
    let bound_to = query.bound_to("groups");
    let from = query.cursor.as_deref().map(|cursor| app.cursors.read_positions(&bound_to, cursor)).transpose()?;
    let register = app.dlq.register();
    let (mut page, next) = app.log(move |log| Ok(read(log.as_ref(), &register, &query, from))).await??;
    page.next_cursor = next.map(|next| app.cursors.write_positions(&bound_to, &next));
    Ok(json(&page))
}

/// The index of the partition to go on with, and from where.
type From = BTreeMap<u32, u64>;

fn read(
    log: &dyn Log,
    register: &Mutex<Register>,
    query: &Query,
    resumed: Option<From>,
) -> Result<(DlqGroups, Option<From>), Problem> {
    let topics = log.topics()?;
    let topic = query.filter.topic.as_deref().map(|topic| ask::origin(topic, &topics)).transpose()?;
    lock(register).refresh(log).map_err(problem)?;
    let (first, offset) = resumed.and_then(|from| from.into_iter().next()).unwrap_or((0, 0));
    let mut count = Count {
        register,
        query,
        groups: BTreeMap::new(),
        recent: Recent::default(),
        examined: 0,
        unreadable: 0,
        began: Instant::now(),
    };
    let mut next = None;
    for (index, part) in (0_u32..).zip(parts(&topics, topic.as_deref())).skip(first as usize) {
        let start = if index == first { part.start.max(offset) } else { part.start };
        if index == first && start > part.start {
            let before = Part { start: part.start.max(start.saturating_sub(BEFORE)), end: start, ..part.clone() };
            ids_within(log, &before, &mut count.recent).map_err(problem)?;
        }
        let mut reached = start;
        let part = Part { start, ..part };
        let flow = Forward::new(log).each(&part, &mut |scanned| {
            reached = scanned.place().offset + 1;
            Ok(count.take(scanned))
        });
        if flow.map_err(problem)?.is_break() && reached < part.end {
            next = Some(From::from([(index, reached)]));
            break;
        }
        if count.is_full() {
            next = Some(From::from([(index + 1, 0)]));
            break;
        }
    }
    Ok((count.answer(), next))
}

struct Count<'a> {
    register: &'a Mutex<Register>,
    query: &'a Query,
    groups: BTreeMap<GroupKey, ErrorGroup>,
    recent: Recent,
    examined: u64,
    unreadable: u64,
    began: Instant,
}

impl Count<'_> {
    fn is_full(&self) -> bool {
        self.examined >= MAX_EXAMINED || self.groups.len() >= MAX_GROUPS || self.began.elapsed() > MAX_TIME
    }

    fn take(&mut self, scanned: Scanned) -> ControlFlow<()> {
        self.examined += 1;
        match scanned {
            Scanned::Unreadable(..) => self.unreadable += 1,
            Scanned::Letter(found) => {
                let status = lock(self.register).get(found.id).map(|closed| closed.status);
                let meant = self.query.filter.matches(found.id, &found.place, &found.letter);
                if meant && self.query.shown.passes(status) && self.recent.insert(found.id) {
                    let group = self.groups.entry(GroupKey::of(&found));
                    group.and_modify(|group| group.add(&found)).or_insert_with(|| ErrorGroup::of(&found));
                }
            }
        }
        if self.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn answer(self) -> DlqGroups {
        let mut items: Vec<DlqGroupItem> = self.groups.into_iter().map(item).collect();
        items.sort_by_key(|item| std::cmp::Reverse(item.count));
        DlqGroups { items, next_cursor: None, examined: self.examined, unreadable: self.unreadable }
    }
}

fn item((key, group): (GroupKey, ErrorGroup)) -> DlqGroupItem {
    DlqGroupItem {
        topic: key.topic,
        group: key.group,
        class: key.class,
        error: key.error,
        count: group.count,
        first: group.first,
        last: group.last,
        example: group.example.to_string(),
        example_place: group.example_place,
    }
}
