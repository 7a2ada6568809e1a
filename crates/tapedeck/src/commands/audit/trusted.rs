//! What a check takes as given: anchors of the audit log, and the heads that an
//! earlier check ended with.
//!
//! Not here: the check.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tapedeck_contracts::events::AuditEntry;
use tapedeck_flow::Stop;
use tapedeck_roles::forensics::{AUDIT, Anchor, Hash, Head};

use super::PAGE;
use crate::{admin::Admin, exit, show};

/// A place in a chain, as the api and the file of heads have it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) records: u64,
    pub(super) hash: String,
}

impl Place {
    pub(super) fn head(&self, chain: u32) -> anyhow::Result<Head> {
        let hash = Hash::parse(&self.hash);
        let hash = hash.ok_or_else(|| exit::input(format!("chain {chain}: `{}` is no hash", self.hash)))?;
        Ok(Head { chain, records: self.records, hash })
    }
}

pub(super) fn anchors_of_log(admin: &Admin, stop: &Stop) -> anyhow::Result<Vec<Anchor>> {
    #[derive(Deserialize)]
    struct Entries {
        items: Vec<Value>,
        next: String,
        at_end: bool,
    }
    let mut anchors = Vec::new();
    let mut query = vec![("topic", AUDIT.to_owned()), ("limit", PAGE.to_string())];
    while !stop.requested() {
        let page: Entries = admin.get("/api/admin/records", &query)?;
        anchors.extend(page.items.iter().filter_map(anchor));
        if page.at_end {
            break;
        }
        query.truncate(2);
        query.push(("from", page.next));
    }
    Ok(anchors)
}

pub(super) fn anchors_of_file(path: &Path) -> anyhow::Result<Vec<Anchor>> {
    let unreadable = |error: &dyn std::fmt::Display| exit::input(format!("cannot read {}: {error}", path.display()));
    let reader = BufReader::new(File::open(path).map_err(|error| unreadable(&error))?);
    let mut anchors = Vec::new();
    for (at, line) in reader.lines().enumerate() {
        let line = line.map_err(|error| unreadable(&error))?;
        let value: Value = serde_json::from_str(&line)
            .map_err(|error| exit::input(format!("{}, line {}: {error}", path.display(), at + 1)))?;
        anchors.extend(anchor(&value));
    }
    if anchors.is_empty() {
        return Err(exit::input(format!("{} has no anchors", path.display())));
    }
    Ok(anchors)
}

/// The anchor in a record of the audit log, as the api shows one, or in its value.
fn anchor(record: &Value) -> Option<Anchor> {
    let value = record.get("value").unwrap_or(record);
    let entry: AuditEntry = serde_json::from_value(value.get("data")?.clone()).ok()?;
    match Anchor::from_entry(&entry) {
        Ok(anchor) => anchor,
        Err(error) => {
            show::say(&format!("left out: {error}"));
            None
        }
    }
}

#[derive(Deserialize)]
struct Kept {
    chains: Vec<KeptHead>,
}

#[derive(Serialize, Deserialize)]
struct KeptHead {
    chain: u32,
    #[serde(flatten)]
    place: Place,
}

/// The heads of an earlier check; none where the file is not there yet.
pub(super) fn read_heads(path: &Path) -> anyhow::Result<Vec<Head>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(exit::input(format!("cannot read {}: {error}", path.display()))),
    };
    let kept: Kept = serde_json::from_str(&text)
        .map_err(|error| exit::input(format!("{} holds no heads of an earlier check: {error}", path.display())))?;
    kept.chains.iter().map(|kept| kept.place.head(kept.chain)).collect()
}

/// Keeps the heads of the good chains, and of those that were not checked.
pub(super) fn keep_heads(path: &Path, mut heads: Vec<Head>, good: &[Head]) -> anyhow::Result<()> {
    for head in good {
        heads.retain(|known| known.chain != head.chain);
        heads.push(*head);
    }
    heads.sort_by_key(|head| head.chain);
    let place = |head: &Head| Place { records: head.records, hash: head.hash.to_string() };
    let chains: Vec<KeptHead> = heads.iter().map(|head| KeptHead { chain: head.chain, place: place(head) }).collect();
    let text = serde_json::to_string_pretty(&json!({ "chains": chains }))?;
    let half = path.with_extension("new");
    std::fs::write(&half, text)
        .and_then(|()| std::fs::rename(&half, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
