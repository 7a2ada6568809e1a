//! `tapedeck audit`: whether the records of explained decisions are those that were
//! written, checked here from the bytes alone.
//!
//! Not here: the check of one record (`tapedeck_roles::forensics`).

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tapedeck_contracts::{
    Timestamp,
    events::{Action, AuditEntry, decision::Outcome},
};
use tapedeck_flow::Stop;
use tapedeck_roles::forensics::{Anchor, Hash, Head, Stored, chain::Columns, verify};

use super::stop_on_signals;
use crate::{
    admin::Admin,
    cli::{AuditCommand, ExportArgs, VerifyArgs},
    config::Config,
    exit, show,
};

/// Records asked for at once: the api's own limit.
const PAGE: u64 = 1_000;
/// Where anchors are.
const AUDIT: &str = "audit-logs";

/// A place in a chain, as the api and the file of heads have it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Place {
    records: u64,
    hash: String,
}

impl Place {
    fn head(&self, chain: u32) -> anyhow::Result<Head> {
        let hash = Hash::parse(&self.hash);
        let hash = hash.ok_or_else(|| exit::input(format!("chain {chain}: `{}` is no hash", self.hash)))?;
        Ok(Head { chain, records: self.records, hash })
    }
}

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
    record: String,
    decision_id: String,
    timestamp: Timestamp,
    symbol: String,
    account: Option<String>,
    action: Action,
    outcome: Outcome,
}

impl Line {
    fn stored(self) -> anyhow::Result<Stored> {
        let place = format!("chain {}, record {}", self.chain, self.index);
        let bytes = STANDARD.decode(&self.record).with_context(|| format!("{place}: the record is not base64"))?;
        let hash = Hash::parse(&self.hash).with_context(|| format!("{place}: `{}` is no hash", self.hash))?;
        let columns = Columns {
            decision_id: self.decision_id,
            time: self.timestamp,
            symbol: self.symbol,
            account: self.account,
            action: self.action,
            outcome: self.outcome,
        };
        Ok(Stored { chain: self.chain, index: self.index, bytes, hash, columns })
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
enum Source {
    Store(Box<Admin>),
    File(BufReader<File>),
}

fn verify_all(config: &Config, args: &VerifyArgs, json: bool, stop: &Stop) -> anyhow::Result<ExitCode> {
    let heads = args.resume.as_deref().map(read_heads).transpose()?.unwrap_or_default();
    let mut source = match &args.file {
        Some(path) => Source::File(BufReader::new(
            File::open(path).map_err(|error| exit::input(format!("cannot read {}: {error}", path.display())))?,
        )),
        None => Source::Store(Box::new(Admin::connect(config)?)),
    };
    let done = verdicts(&mut source, args, &heads, stop);
    if let Source::Store(admin) = source {
        admin.close();
    }
    let verdicts = done?;
    if let Some(path) = &args.resume {
        keep_heads(path, heads, &verdicts)?;
    }
    tell(&verdicts, json);
    if stop.requested() {
        return Err(exit::Coded::interrupted().into());
    }
    let sound = verdicts.iter().all(|verdict| verdict.fault.is_none());
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verdicts(source: &mut Source, args: &VerifyArgs, heads: &[Head], stop: &Stop) -> anyhow::Result<Vec<Verdict>> {
    let known = |chain: u32| heads.iter().find(|head| head.chain == chain).copied();
    let anchors = match (&args.anchors, &*source) {
        (Some(path), _) => anchors_of_file(path)?,
        (None, Source::Store(admin)) => anchors_of_log(admin, stop)?,
        (None, Source::File(_)) => Vec::new(),
    };
    match source {
        Source::Store(admin) => {
            let chains: Chains = admin.get("/api/admin/chains", &[])?;
            let wanted: Vec<&Chain> =
                chains.items.iter().filter(|chain| args.chain.is_none_or(|only| only == chain.chain)).collect();
            if let (Some(chain), true) = (args.chain, wanted.is_empty()) {
                return Err(exit::input(format!("there is no chain {chain}")));
            }
            let bar = progress(wanted.iter().map(|chain| chain.head.records).sum());
            let mut found = Vec::new();
            for chain in wanted {
                let begins = chain.begins.as_ref().map(|place| place.head(chain.chain)).transpose()?;
                let start = known(chain.chain).or(begins).unwrap_or_else(|| Head::start(chain.chain));
                let mut pages = Pages { admin, chain: chain.chain, next: start.records, page: Vec::new().into_iter() };
                found.push(one(start, &anchors, stop, || {
                    bar.inc(1);
                    pages.next()
                })?);
                if stop.requested() {
                    break;
                }
            }
            bar.finish_and_clear();
            Ok(found)
        }
        Source::File(reader) => of_file(reader, args.chain, &known, &anchors, stop),
    }
}

/// Records of a chain from the api, page by page.
struct Pages<'a> {
    admin: &'a Admin,
    chain: u32,
    next: u64,
    page: std::vec::IntoIter<Line>,
}

impl Pages<'_> {
    fn next(&mut self) -> anyhow::Result<Option<Line>> {
        if let Some(line) = self.page.next() {
            return Ok(Some(line));
        }
        let query = [("from", self.next.to_string()), ("limit", PAGE.to_string())];
        let page: Page = self.admin.get(&format!("/api/admin/chains/{}", self.chain), &query)?;
        // Two rows may say the same index where somebody bent them.
        self.next = page.items.last().map_or(self.next, |line| line.index + 1);
        self.page = page.items.into_iter();
        Ok(self.page.next())
    }
}

/// Checks the records of a file, which has its chains one after the other.
fn of_file(
    reader: &mut BufReader<File>,
    only: Option<u32>,
    known: &dyn Fn(u32) -> Option<Head>,
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
        let start = known(chain).unwrap_or_else(|| Head::start(chain));
        if is_wanted && start.records == 0 && first > 0 && known(chain).is_none() {
            return Err(exit::input(format!(
                "chain {chain} begins with record {first}: give the head before it with --resume, or export from 0"
            )));
        }
        let mut next = || -> anyhow::Result<Option<Line>> {
            let is_of_chain = |line: &Line| line.chain == chain;
            let Some(line) = ahead.take_if(|line| is_of_chain(line)) else { return Ok(None) };
            ahead = lines.next().transpose()?;
            Ok(Some(line))
        };
        if is_wanted {
            found.push(one(start, anchors, stop, &mut next)?);
        }
        // What follows a fault.
        while next()?.is_some() {}
        if stop.requested() {
            break;
        }
    }
    Ok(found)
}

/// Checks one chain from a head on.
fn one(
    start: Head,
    anchors: &[Anchor],
    stop: &Stop,
    mut next: impl FnMut() -> anyhow::Result<Option<Line>>,
) -> anyhow::Result<Verdict> {
    let (mut failed, mut last) = (None, start);
    let records = std::iter::from_fn(|| {
        if stop.requested() {
            return None;
        }
        let stored = next().and_then(|line| line.map(Line::stored).transpose());
        let stored = stored.unwrap_or_else(|error| {
            failed = Some(error);
            None
        })?;
        // Asked for the next one, the check has found this one good.
        last = Head { chain: start.chain, records: stored.index + 1, hash: stored.hash };
        Some(stored)
    });
    let found = verify(start, anchors.iter().copied(), records);
    if let Some(error) = failed {
        return Err(error);
    }
    let verdict = Verdict {
        chain: start.chain,
        from: start.records,
        good: last.records.saturating_sub(start.records),
        anchored: start.records,
        fault: None,
        first_bad: None,
        head: Some(last),
    };
    Ok(match found {
        // Not at its end: the anchors beyond say nothing.
        _ if stop.requested() => verdict,
        Ok(verified) => Verdict { anchored: verified.anchored, head: Some(verified.head), ..verdict },
        Err(fault) => Verdict {
            good: fault.index.saturating_sub(start.records),
            fault: Some(fault.kind.to_string()),
            first_bad: Some(fault.index),
            head: None,
            ..verdict
        },
    })
}

fn anchors_of_log(admin: &Admin, stop: &Stop) -> anyhow::Result<Vec<Anchor>> {
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

fn anchors_of_file(path: &Path) -> anyhow::Result<Vec<Anchor>> {
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
fn read_heads(path: &Path) -> anyhow::Result<Vec<Head>> {
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
fn keep_heads(path: &Path, mut heads: Vec<Head>, verdicts: &[Verdict]) -> anyhow::Result<()> {
    for head in verdicts.iter().filter_map(|verdict| verdict.head) {
        heads.retain(|known| known.chain != head.chain);
        heads.push(head);
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
                _ => "as written".to_owned(),
            };
            let numbers = [u64::from(verdict.chain), verdict.from, verdict.good, verdict.anchored];
            numbers.iter().map(|number| show::thousands(*number)).chain([said]).collect()
        })
        .collect();
    show::table(&["chain", "from", "good", "anchored", ""], &rows);
    match (bad, verdicts.is_empty()) {
        (_, true) => show::say("there are no records to check"),
        (0, _) => show::say(&format!("{} records are as they were written", show::thousands(good))),
        _ => show::say(&format!("{bad} of {} chains are not what was written", verdicts.len())),
    }
}

fn export(config: &Config, args: &ExportArgs, stop: &Stop) -> anyhow::Result<ExitCode> {
    let admin = Admin::connect(config)?;
    let done = write(&admin, args, stop);
    admin.close();
    let count = done?;
    if stop.requested() {
        return Err(exit::Coded::interrupted().into());
    }
    show::say(&format!("{} records", show::thousands(count)));
    Ok(ExitCode::SUCCESS)
}

fn write(admin: &Admin, args: &ExportArgs, stop: &Stop) -> anyhow::Result<u64> {
    let sink: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(File::create(path).with_context(|| format!("cannot write {}", path.display()))?),
        None => Box::new(std::io::stdout().lock()),
    };
    let mut sink = BufWriter::new(sink);
    let chains: Chains = admin.get("/api/admin/chains", &[])?;
    let wanted: Vec<&Chain> =
        chains.items.iter().filter(|chain| args.chain.is_none_or(|only| only == chain.chain)).collect();
    let bar = progress(wanted.iter().map(|chain| chain.head.records.saturating_sub(args.from)).sum());
    let mut count = 0;
    for chain in wanted {
        let mut pages = Pages { admin, chain: chain.chain, next: args.from, page: Vec::new().into_iter() };
        while let Some(line) = pages.next()? {
            serde_json::to_writer(&mut sink, &line)?;
            sink.write_all(b"\n")?;
            count += 1;
            bar.inc(1);
            if stop.requested() {
                break;
            }
        }
    }
    sink.flush()?;
    bar.finish_and_clear();
    Ok(count)
}

fn progress(count: u64) -> ProgressBar {
    if !show::has_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(count);
    let style = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} {per_sec} {eta}");
    bar.set_style(style.expect("the template is part of this crate"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
