//! `tapedeck produce`: events from a file or stdin to a topic, in bites that the
//! api takes, with the line of each that it refuses.
//!
//! Not here: what is checked of an event.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    process::ExitCode,
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use tapedeck_contracts::catalogue::Catalogue;

use crate::{
    admin::Admin,
    cli::{AckArg, ProduceArgs},
    config::Config,
    exit, show,
};

/// Lines in one request: a round trip each, well below the api's body limit for
/// events of usual size.
const LINES: usize = 500;
/// Bytes in one request: half of the api's default body limit.
const BYTES: usize = 4 << 20;

#[derive(Debug, Deserialize)]
struct Answer {
    results: Vec<LineResult>,
}

#[derive(Debug, Deserialize)]
struct LineResult {
    line: u64,
    status: String,
    error: Option<LineError>,
}

#[derive(Debug, Deserialize)]
struct LineError {
    path: Option<String>,
    detail: String,
}

#[derive(Debug, Default, Serialize)]
struct Sent {
    topic: String,
    accepted: u64,
    rejected: u64,
    errors: Vec<String>,
    /// `spool` where the accepted are kept and not in the log yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    ack: Option<&'static str>,
}

/// Whether lines are records as they are.
fn is_raw(args: &ProduceArgs) -> bool {
    args.is_raw() || Catalogue::get().topic(&args.topic).is_none()
}

pub(super) fn run(config: &Config, args: &ProduceArgs, json: bool) -> anyhow::Result<ExitCode> {
    let input: Box<dyn BufRead> = match &args.file {
        Some(path) => {
            let file =
                File::open(path).map_err(|error| exit::input(format!("cannot read {}: {error}", path.display())))?;
            Box::new(BufReader::new(file))
        }
        None => Box::new(BufReader::new(std::io::stdin())),
    };
    let admin = match args.ack {
        AckArg::Log => Admin::connect_to_write(config)?,
        AckArg::Spool if is_raw(args) => {
            return Err(exit::input(
                "--ack spool takes events of the catalogue, without -K, -H, -Z and -p: records as they stand go to the log",
            ));
        }
        AckArg::Spool => Admin::connect_to_emit(config)?,
    };
    let sent = send(&admin, args, input);
    admin.close_emitting()?;
    let sent = sent?;
    if json {
        show::json(&sent);
    } else {
        for error in &sent.errors {
            show::say(error);
        }
        let kept = if sent.ack == Some("spool") { ", kept to be sent when the log takes them" } else { "" };
        show::out(&format!("{}: {} accepted, {} rejected{kept}", sent.topic, sent.accepted, sent.rejected));
    }
    Ok(if sent.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::INPUT) })
}

fn send(admin: &Admin, args: &ProduceArgs, input: impl BufRead) -> anyhow::Result<Sent> {
    let topic = &args.topic;
    let is_raw = is_raw(args);
    let ack = (args.ack == AckArg::Spool).then_some("spool");
    let path = match (is_raw, ack) {
        (true, _) => format!("/api/admin/records/{topic}"),
        (false, None) => format!("/api/v1/events/{topic}"),
        (false, Some(ack)) => format!("/api/v1/events/{topic}?ack={ack}"),
    };
    let headers = headers(args)?;
    let mut sent = Sent { topic: topic.clone(), ack, ..Sent::default() };
    let mut body = Vec::new();
    // The lines of the input that the lines of the body are.
    let mut numbers = Vec::new();
    for (index, line) in input.split(b'\n').enumerate() {
        let line = line.context("cannot read the input")?;
        let number = index as u64 + 1;
        if is_raw {
            match record(&line, args, &headers) {
                Ok(record) => body.extend_from_slice(record.as_bytes()),
                Err(why) => {
                    sent.rejected += 1;
                    sent.errors.push(format!("line {number}: {why}"));
                    continue;
                }
            }
        } else if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        } else {
            body.extend_from_slice(&line);
        }
        body.push(b'\n');
        numbers.push(index as u64 + 1);
        if numbers.len() == LINES || body.len() >= BYTES {
            flush(admin, &path, &mut body, &mut numbers, &mut sent)?;
        }
    }
    flush(admin, &path, &mut body, &mut numbers, &mut sent)?;
    Ok(sent)
}

/// The headers of the flags, names and base64.
fn headers(args: &ProduceArgs) -> anyhow::Result<Vec<(String, String)>> {
    let one = |text: &String| {
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty())?;
        Some((name.to_owned(), STANDARD.encode(value)))
    };
    let wrong = |text: &String| exit::input(format!("-H {text}: expected NAME=VALUE"));
    args.headers.iter().map(|text| one(text).ok_or_else(|| wrong(text))).collect()
}

/// A line as the api takes records.
fn record(line: &[u8], args: &ProduceArgs, headers: &[(String, String)]) -> Result<String, String> {
    let (key, value) = match &args.key_separator {
        None => (None, line),
        Some(separator) if separator.is_empty() => return Err("-K names no separator".into()),
        Some(separator) => {
            let at = line.windows(separator.len()).position(|part| part == separator.as_bytes());
            let at = at.ok_or_else(|| format!("there is no `{separator}` between key and value"))?;
            (Some(&line[..at]), &line[at + separator.len()..])
        }
    };
    let value = (!args.tombstones || !value.is_empty()).then(|| STANDARD.encode(value));
    let key = key.map(|key| STANDARD.encode(key));
    Ok(serde_json::json!({ "partition": args.partition, "key": key, "value": value, "headers": headers }).to_string())
}

fn flush(admin: &Admin, path: &str, body: &mut Vec<u8>, numbers: &mut Vec<u64>, sent: &mut Sent) -> anyhow::Result<()> {
    if numbers.is_empty() {
        return Ok(());
    }
    let answer: Answer = admin.post(path, "application/x-ndjson", body)?;
    for result in answer.results {
        if result.status == "accepted" {
            sent.accepted += 1;
            continue;
        }
        sent.rejected += 1;
        let line = usize::try_from(result.line).ok().and_then(|line| numbers.get(line.wrapping_sub(1)));
        let error = result.error.map_or_else(String::new, |e| match e.path {
            // `$` is the whole line, and `$.price` its field.
            Some(path) if path == "$" => e.detail,
            Some(path) => format!("{}: {}", path.strip_prefix("$.").unwrap_or(&path), e.detail),
            None => e.detail,
        });
        sent.errors.push(format!("line {}: {error}", line.copied().unwrap_or(result.line)));
    }
    body.clear();
    numbers.clear();
    Ok(())
}
