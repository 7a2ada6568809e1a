//! `tapedeck audit`: whether the records of explained decisions are those that were
//! written, checked here from the bytes alone.
//!
//! Not here: the check of one record (`tapedeck_roles::forensics`).

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    process::ExitCode,
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tapedeck_contracts::{
    Timestamp,
    events::{Action, decision::Outcome},
};
use tapedeck_flow::Stop;
use tapedeck_roles::forensics::{
    Anchor, FaultKind, FeatureSetId, Hash, Head, Stored, Verified,
    chain::{CheckError, Columns, Source, verify_source},
    verify,
};

mod trusted;

use trusted::{Place, anchors_of_file, anchors_of_log, keep_heads, read_heads};

use super::stop_on_signals;
use crate::{
    admin::Admin,
    cli::{AuditCommand, ExportArgs, VerifyArgs},
    config::Config,
    exit, show,
};

/// Records asked for at once: the api's own limit.
const PAGE: u64 = 1_000;
const PROGRESS: &str = "{wide_bar} {human_pos}/{human_len} {per_sec} {eta}";

#[derive(Debug, Deserialize)]
struct Chains {
    items: Vec<Chain>,
}

#[derive(Debug, Deserialize)]
struct Chain {
    chain: u32,
    head: Place,
    begins: Option<Place>,
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Line>,
}

/// A record as the api gives it and as an export has it, a line each.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    chain: u32,
    index: u64,
    hash: String,
    feature_set: String,
    record: String,
    decision_id: String,
    timestamp: Timestamp,
    symbol: String,
    account: Option<String>,
    action: Action,
    outcome: Outcome,
}

impl Line {
    fn stored(self) -> anyhow::Result<(FeatureSetId, Stored)> {
        let place = format!("chain {}, record {}", self.chain, self.index);
        let bytes = STANDARD.decode(&self.record).with_context(|| format!("{place}: the record is not base64"))?;
        let hash = Hash::parse(&self.hash).with_context(|| format!("{place}: `{}` is no hash", self.hash))?;
        let set = FeatureSetId::parse(&self.feature_set);
        let set = set.with_context(|| format!("{place}: `{}` names no feature set", self.feature_set))?;
        let columns = Columns {
            decision_id: self.decision_id,
            time: self.timestamp,
            symbol: self.symbol,
            account: self.account,
            action: self.action,
            outcome: self.outcome,
        };
        Ok((set, Stored { chain: self.chain, index: self.index, bytes, hash, columns }))
    }
}

/// What came of one chain.
#[derive(Debug, Serialize)]
struct Verdict {
    chain: u32,
    /// The index that the check began with.
    from: u64,
    /// Records that are as they were written, from there on.
    good: u64,
    /// Up to here, anchors vouch.
    anchored: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_bad: Option<u64>,
    /// What was not checked, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Where the next check may go on.
    #[serde(skip)]
    head: Option<Head>,
}

pub(super) fn run(config: &Config, command: &AuditCommand, json: bool) -> anyhow::Result<ExitCode> {
    let stop = Stop::new();
    stop_on_signals(&stop)?;
    match command {
        AuditCommand::Verify(args) => verify_all(config, args, json, &stop),
        AuditCommand::Export(args) => export(config, args, &stop),
    }
}

/// Where records come from.
enum Origin {
    Store(Box<Admin>),
    File(BufReader<File>),
}

fn verify_all(config: &Config, args: &VerifyArgs, json: bool, stop: &Stop) -> anyhow::Result<ExitCode> {
    let heads = args.resume.as_deref().map(read_heads).transpose()?.unwrap_or_default();
    let mut origin = match &args.file {
        Some(path) => Origin::File(BufReader::new(
            File::open(path).map_err(|error| exit::input(format!("cannot read {}: {error}", path.display())))?,
        )),
        None => Origin::Store(Box::new(Admin::connect_to_read(config)?)),
    };
    let done = verdicts(&mut origin, args, &heads, stop);
    if let Origin::Store(admin) = origin {
        admin.close();
    }
    let verdicts = done?;
    if let Some(path) = &args.resume {
        let good: Vec<Head> = verdicts.iter().filter_map(|verdict| verdict.head).collect();
        keep_heads(path, heads, &good)?;
    }
    tell(&verdicts, json);
    if stop.requested() {
        return Err(exit::Coded::interrupted().into());
    }
    let sound = verdicts.iter().all(|verdict| verdict.fault.is_none());
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verdicts(origin: &mut Origin, args: &VerifyArgs, heads: &[Head], stop: &Stop) -> anyhow::Result<Vec<Verdict>> {
    let anchors = match (&args.anchors, &*origin) {
        (Some(path), _) => anchors_of_file(path)?,
        (None, Origin::Store(admin)) => anchors_of_log(admin, stop)?,
        (None, Origin::File(_)) => Vec::new(),
    };
    let mut found = match origin {
        Origin::Store(admin) => of_store(admin, args.chain, heads, &anchors, stop)?,
        Origin::File(reader) => of_file(reader, args.chain, heads, &anchors, stop)?,
    };
    for verdict in &mut found {
        let end = verdict.from + verdict.good;
        let own = anchors.iter().filter(|anchor| anchor.chain == verdict.chain && anchor.records <= end);
        verdict.anchored = own.map(|anchor| anchor.records).max().unwrap_or(0);
    }
    Ok(found)
}

/// Checks the chains of a store, those too that it should have and has not.
fn of_store(
    admin: &Admin,
    only: Option<u32>,
    heads: &[Head],
    anchors: &[Anchor],
    stop: &Stop,
) -> anyhow::Result<Vec<Verdict>> {
    let chains: Chains = admin.get("/api/admin/chains", &[])?;
    let known = chains.items.iter().map(|chain| chain.chain);
    let known = known.chain(anchors.iter().map(|anchor| anchor.chain)).chain(heads.iter().map(|head| head.chain));
    let wanted: BTreeSet<u32> = known.filter(|chain| only.is_none_or(|only| only == *chain)).collect();
    if let (Some(chain), true) = (only, wanted.is_empty()) {
        return Err(no_chain(chain, &chains.items));
    }
    let bar = show::progress(true, chains.items.iter().map(|chain| chain.head.records).sum(), PROGRESS);
    let mut found = Vec::new();
    for chain in wanted {
        let stored = chains.items.iter().find(|item| item.chain == chain);
        let (start, note) = start(chain, stored, heads)?;
        found.push(Verdict { note, ..of_chain(admin, start, stored, anchors, stop, &bar)? });
        if stop.requested() {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(found)
}

/// A chain was asked for that is none of these.
fn no_chain(chain: u32, known: &[Chain]) -> anyhow::Error {
    let known: Vec<String> = known.iter().map(|known| known.chain.to_string()).collect();
    let known = match known.as_slice() {
        [] => "there are none yet: nothing was explained".to_owned(),
        known => format!("there are {}", known.join(", ")),
    };
    exit::input(format!("there is no chain {chain}; {known}"))
}

/// Where a check begins: where the last one ended, or where retention left the chain's
/// beginning, whichever is later; and what is left out by that.
fn start(chain: u32, stored: Option<&Chain>, heads: &[Head]) -> anyhow::Result<(Head, Option<String>)> {
    let known = heads.iter().find(|head| head.chain == chain).copied();
    let begins = stored.and_then(|stored| stored.begins.as_ref()).map(|place| place.head(chain)).transpose()?;
    Ok(match (known, begins) {
        (Some(known), Some(begins)) if begins.records > known.records => {
            let note = format!("retention took records {} to {} unchecked", known.records, begins.records - 1);
            (begins, Some(note))
        }
        (Some(known), _) => (known, None),
        (None, Some(begins)) => (begins, Some(format!("retention took the records before {}", begins.records))),
        (None, None) => (Head::start(chain), None),
    })
}

/// Why a check of a store's chain did not come to its end.
enum Ended {
    Stopped,
    Failed(anyhow::Error),
}

fn of_chain(
    admin: &Admin,
    start: Head,
    stored: Option<&Chain>,
    anchors: &[Anchor],
    stop: &Stop,
    bar: &ProgressBar,
) -> anyhow::Result<Verdict> {
    let chain = start.chain;
    let head = stored.map(|stored| stored.head.head(chain)).transpose()?;
    if let Some(fault) = other_head(admin, start, stored)? {
        return Ok(Verdict::of(start, Err(fault)));
    }
    // The last record of a page was found good when the next page is asked for.
    let (mut good, mut last) = (start, start);
    let page = |next: u64| {
        good = last;
        if stop.requested() {
            return Err(Ended::Stopped);
        }
        let rows = page(admin, chain, next).map_err(Ended::Failed)?;
        if let Some((_, row)) = rows.last() {
            last = Head { chain, records: row.index + 1, hash: row.hash };
        }
        Ok(rows)
    };
    let names = |id: FeatureSetId| feature_set(admin, id).map_err(Ended::Failed);
    let mut seen = start.records;
    let progress = |records: u64| {
        bar.inc(records.saturating_sub(seen));
        seen = records;
    };
    match verify_source(Source { head, page, names }, start, anchors.iter().copied(), progress) {
        Ok(verified) => Ok(Verdict::of(start, Ok(verified))),
        Err(CheckError::Fault(fault)) => Ok(Verdict::of(start, Err((fault.index, fault.kind)))),
        Err(CheckError::Read(Ended::Stopped)) => Ok(Verdict::stopped(start, good)),
        Err(CheckError::Read(Ended::Failed(error))) => Err(error),
    }
}

/// What is wrong where the last record before the check is there, with another hash than the
/// head that it goes on from.
fn other_head(admin: &Admin, start: Head, stored: Option<&Chain>) -> anyhow::Result<Option<(u64, FaultKind)>> {
    let begins = stored.and_then(|stored| stored.begins.as_ref()).map_or(0, |begins| begins.records);
    let Some(index) = start.records.checked_sub(1).filter(|index| *index >= begins) else { return Ok(None) };
    let rows = page(admin, start.chain, index)?;
    let before = rows.first().filter(|(_, row)| row.index == index);
    Ok(before.filter(|(_, row)| row.hash != start.hash).map(|_| (index, FaultKind::OtherHead)))
}

/// Records of a chain from the api.
fn page(admin: &Admin, chain: u32, from: u64) -> anyhow::Result<Vec<(FeatureSetId, Stored)>> {
    let query = [("from", from.to_string()), ("limit", PAGE.to_string())];
    let page: Page = admin.get(&format!("/api/admin/chains/{chain}"), &query)?;
    page.items.into_iter().map(Line::stored).collect()
}

/// The bytes of names from the api; none where it has none of this id.
fn feature_set(admin: &Admin, id: FeatureSetId) -> anyhow::Result<Option<Bytes>> {
    #[derive(Deserialize)]
    struct Item {
        bytes: String,
    }
    let found: Option<Item> = admin.find(&format!("/api/admin/feature-sets/{id}"))?;
    found.map(|item| Ok(STANDARD.decode(item.bytes).context("a feature set is not base64")?.into())).transpose()
}

/// Checks the records of a file, which has its chains one after the other.
fn of_file(
    reader: &mut BufReader<File>,
    only: Option<u32>,
    heads: &[Head],
    anchors: &[Anchor],
    stop: &Stop,
) -> anyhow::Result<Vec<Verdict>> {
    let mut lines = reader.lines().enumerate().map(|(at, line)| -> anyhow::Result<Line> {
        let line = line.with_context(|| format!("line {}", at + 1))?;
        serde_json::from_str(&line).map_err(|error| exit::input(format!("line {} is no record: {error}", at + 1)))
    });
    let mut ahead = lines.next().transpose()?;
    let mut found = Vec::new();
    while let Some(chain) = ahead.as_ref().map(|line| line.chain) {
        let first = ahead.as_ref().map_or(0, |line| line.index);
        let is_wanted = only.is_none_or(|only| only == chain);
        let known = heads.iter().find(|head| head.chain == chain).copied();
        if is_wanted && first > 0 && known.is_none() {
            return Err(exit::input(format!(
                "chain {chain} begins with record {first}: give the head before it with --resume, or export from 0"
            )));
        }
        let mut next = || -> anyhow::Result<Option<Line>> {
            let Some(line) = ahead.take_if(|line| line.chain == chain) else { return Ok(None) };
            ahead = lines.next().transpose()?;
            Ok(Some(line))
        };
        if is_wanted {
            let start = known.unwrap_or_else(|| Head::start(chain));
            found.push(of_lines(start, anchors, &mut next)?);
        }
        // What follows a fault.
        while next()?.is_some() {}
        if stop.requested() {
            return Ok(found);
        }
    }
    // Anchored chains of which nothing is there.
    let anchored: BTreeSet<u32> = anchors.iter().map(|anchor| anchor.chain).collect();
    for chain in anchored.into_iter().filter(|chain| only.is_none_or(|only| only == *chain)) {
        if found.iter().all(|verdict| verdict.chain != chain) {
            found.push(of_lines(Head::start(chain), anchors, || Ok(None))?);
        }
    }
    Ok(found)
}

/// Checks one chain whose records come one by one.
fn of_lines(
    start: Head,
    anchors: &[Anchor],
    mut next: impl FnMut() -> anyhow::Result<Option<Line>>,
) -> anyhow::Result<Verdict> {
    let mut failed = None;
    let records = std::iter::from_fn(|| {
        let stored = next().and_then(|line| line.map(Line::stored).transpose());
        let stored = stored.unwrap_or_else(|error| {
            failed = Some(error);
            None
        });
        stored.map(|(_, stored)| stored)
    });
    let found = verify(start, anchors.iter().copied(), records);
    failed.map_or_else(|| Ok(Verdict::of(start, found.map_err(|fault| (fault.index, fault.kind)))), Err)
}

impl Verdict {
    fn of(start: Head, found: Result<Verified, (u64, FaultKind)>) -> Self {
        match found {
            Ok(verified) => Self::stopped(start, verified.head),
            Err((index, kind)) => Self {
                good: kind.good_up_to(index).saturating_sub(start.records),
                fault: Some(kind.to_string()),
                first_bad: Some(index),
                head: None,
                ..Self::stopped(start, start)
            },
        }
    }

    /// Good as far as it came.
    fn stopped(start: Head, good: Head) -> Self {
        Self {
            chain: start.chain,
            from: start.records,
            good: good.records.saturating_sub(start.records),
            anchored: 0,
            fault: None,
            first_bad: None,
            note: None,
            head: Some(good),
        }
    }
}

fn tell(verdicts: &[Verdict], json: bool) {
    let good: u64 = verdicts.iter().map(|verdict| verdict.good).sum();
    let bad = verdicts.iter().filter(|verdict| verdict.fault.is_some()).count();
    if json {
        return show::json(&json!({ "ok": bad == 0, "records": good, "chains": verdicts }));
    }
    let rows: Vec<Vec<String>> = verdicts
        .iter()
        .map(|verdict| {
            let said = match (&verdict.fault, verdict.first_bad) {
                (Some(fault), Some(index)) => format!("record {index}: {fault}"),
                _ => verdict.note.clone().map_or("as written".to_owned(), |note| format!("as written; {note}")),
            };
            let numbers = [u64::from(verdict.chain), verdict.from, verdict.good, verdict.anchored];
            numbers.iter().map(|number| show::thousands(*number)).chain([said]).collect()
        })
        .collect();
    show::table(&["chain", "from", "good", "anchored", ""], &rows);
    match (bad, verdicts.is_empty()) {
        (_, true) => show::say("there are no records to check"),
        (0, _) if good == 1 => show::say("1 record is as it was written"),
        (0, _) => show::say(&format!("{} records are as they were written", show::thousands(good))),
        _ => {
            let chains = show::count(verdicts.len() as u64, "chain", "chains");
            let verb = if bad == 1 { "is" } else { "are" };
            show::say(&format!("{bad} of {chains} {verb} not what was written"));
        }
    }
}

fn export(config: &Config, args: &ExportArgs, stop: &Stop) -> anyhow::Result<ExitCode> {
    let admin = Admin::connect_to_read(config)?;
    let done = write(&admin, args, stop);
    admin.close();
    let count = done?;
    if stop.requested() {
        return Err(exit::Coded::interrupted().into());
    }
    show::say(&show::count(count, "record", "records"));
    Ok(ExitCode::SUCCESS)
}

fn write(admin: &Admin, args: &ExportArgs, stop: &Stop) -> anyhow::Result<u64> {
    let chains: Chains = admin.get("/api/admin/chains", &[])?;
    if let Some(chain) = args.chain.filter(|only| chains.items.iter().all(|chain| chain.chain != *only)) {
        return Err(no_chain(chain, &chains.items));
    }
    let sink: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(File::create(path).with_context(|| format!("cannot write {}", path.display()))?),
        None => Box::new(std::io::stdout().lock()),
    };
    let mut sink = BufWriter::new(sink);
    let wanted: Vec<&Chain> =
        chains.items.iter().filter(|chain| args.chain.is_none_or(|only| only == chain.chain)).collect();
    let bar =
        show::progress(true, wanted.iter().map(|chain| chain.head.records.saturating_sub(args.from)).sum(), PROGRESS);
    let mut count = 0;
    for chain in wanted {
        let mut from = args.from;
        while !stop.requested() {
            let query = [("from", from.to_string()), ("limit", PAGE.to_string())];
            let page: Page = admin.get(&format!("/api/admin/chains/{}", chain.chain), &query)?;
            let Some(last) = page.items.last() else { break };
            // Always forward, whatever indices a page says.
            from = (last.index + 1).max(from + 1);
            for line in &page.items {
                serde_json::to_writer(&mut sink, line)?;
                sink.write_all(b"\n")?;
            }
            count += page.items.len() as u64;
            bar.inc(page.items.len() as u64);
        }
    }
    sink.flush()?;
    bar.finish_and_clear();
    Ok(count)
}
