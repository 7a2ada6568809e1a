//! `GET /api/admin/chains`: the chains of explained decisions and their records as
//! they are kept, for who checks them.
//!
//! Not here: the check; whoever does not trust this process does it elsewhere.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::Uri,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use tapedeck_contracts::{
    Timestamp,
    events::{Action, decision::Outcome},
};
use tapedeck_store::{ChainHead, Explained};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    params::{LIMIT_MAX, Params},
    problem::{Problem, ProblemBody},
    routes::json,
};

/// A hash as 64 hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A place in a chain, and the hash of the record before that place.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChainPlace {
    /// How many records the chain has up to here.
    records: u64,
    /// The hash of the last of them.
    hash: String,
}

/// A chain.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChainItem {
    chain: u32,
    /// Where it ends.
    head: ChainPlace,
    /// Where the last anchor in `audit-logs` is; null where there is none.
    anchored: Option<ChainPlace>,
    /// Where retention took its beginning; null where it is whole.
    begins: Option<ChainPlace>,
}

impl From<ChainHead> for ChainItem {
    fn from(head: ChainHead) -> Self {
        let place = |(records, hash): (u64, [u8; 32])| ChainPlace { records, hash: hex(&hash) };
        Self {
            chain: head.chain,
            head: place((head.records, head.hash)),
            anchored: head.anchored.map(place),
            begins: head.begins.map(place),
        }
    }
}

/// All chains.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Chains {
    items: Vec<ChainItem>,
    /// Always null: all are given.
    next_cursor: Option<String>,
}

/// The chains, and where each ends.
#[utoipa::path(get, path = "/api/admin/chains", tag = "admin", responses(
    (status = 200, description = "The chains, by number", body = Chains),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn chains(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    Params::of(&uri)?.finish()?;
    let items = app.store(|store| Ok(store.chain_heads()?.into_iter().map(ChainItem::from).collect())).await?;
    Ok(json(&Chains { items, next_cursor: None }))
}

/// Which records of a chain.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read below")]
pub(crate) struct ChainParams {
    /// The index of the first (0).
    from: Option<u64>,
    /// Records at most, 1 to 1000.
    #[param(required = false, minimum = 1, maximum = 1000, default = 1000)]
    limit: usize,
}

/// A record as it is kept, with the columns by which it is found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChainRecord {
    chain: u32,
    index: u64,
    hash: String,
    /// Names the names of its numbers.
    feature_set: String,
    /// Its bytes in base64.
    record: String,
    decision_id: String,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    symbol: String,
    account: Option<String>,
    #[schema(value_type = String)]
    action: Action,
    #[schema(value_type = String)]
    outcome: Outcome,
}

impl From<Explained> for ChainRecord {
    fn from(row: Explained) -> Self {
        Self {
            chain: row.chain,
            index: row.index,
            hash: hex(&row.hash),
            feature_set: hex(&row.feature_set),
            record: STANDARD.encode(&row.record),
            decision_id: row.decision_id,
            timestamp: row.timestamp,
            symbol: row.symbol,
            account: row.account,
            action: row.action,
            outcome: row.outcome,
        }
    }
}

/// Records of a chain.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChainRecords {
    items: Vec<ChainRecord>,
}

/// Records of a chain in its order, from an index on; fewer than `limit` are the last.
#[utoipa::path(get, path = "/api/admin/chains/{chain}", tag = "admin",
    params(("chain" = u32, Path, description = "The chain: the partition of its decisions"), ChainParams),
    responses(
        (status = 200, description = "Records as they are kept", body = ChainRecords),
        (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn chain(State(app): State<Arc<App>>, Path(chain): Path<u32>, uri: Uri) -> Result<Response, Problem> {
    let mut query = Params::of(&uri)?;
    let from = query.number("from", 0, i64::MAX.unsigned_abs())?.unwrap_or(0);
    let limit = query.number("limit", 1, LIMIT_MAX as u64)?.map_or(LIMIT_MAX, |limit| limit as usize);
    query.finish()?;
    let items = app.store(move |store| store.chain(chain, from, limit)).await?;
    Ok(json(&ChainRecords { items: items.into_iter().map(ChainRecord::from).collect() }))
}

/// The names of records' numbers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FeatureSetItem {
    /// Made of its bytes.
    id: String,
    /// Its bytes in base64.
    bytes: String,
}

/// The feature set that records name, as it is kept.
#[utoipa::path(get, path = "/api/admin/feature-sets/{id}", tag = "admin",
    params(("id" = String, Path, description = "32 hexadecimal digits")),
    responses(
        (status = 200, description = "Its bytes", body = FeatureSetItem),
        (status = 404, description = "There is none of this id", body = ProblemBody, content_type = "application/problem+json"),
        (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn feature_set(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    Params::of(&uri)?.finish()?;
    let number = u128::from_str_radix(&id, 16).ok().filter(|_| id.len() == 32 && !id.starts_with('+'));
    let number = number.ok_or_else(|| Problem::bad("id", "expected 32 hexadecimal digits"))?;
    let found = app.store(move |store| store.feature_set(number.to_be_bytes())).await?;
    let bytes = found.ok_or_else(|| Problem::not_found(format!("there is no feature set {id}")))?;
    Ok(json(&FeatureSetItem { id, bytes: STANDARD.encode(&bytes) }))
}
