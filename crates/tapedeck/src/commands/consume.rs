//! `tapedeck consume`: records of a topic, for eyes or for scripts.
//!
//! Not here: membership; what it commits is a group's without members.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tapedeck_flow::Stop;

use super::stop_on_signals;
use crate::{admin::Admin, cli::ConsumeArgs, config::Config, exit, show};

/// Records asked for at once: the api's own limit.
const PAGE: usize = 1_000;
/// Between two looks where nothing new was there.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Shown>,
    /// From where the next page goes on, in all partitions.
    next: String,
    /// Where it ends, in all partitions.
    until: Option<String>,
    at_end: bool,
}

/// A record as the admin api gives it.
#[derive(Debug, Serialize, Deserialize)]
struct Shown {
    partition: u32,
    offset: u64,
    timestamp: String,
    key: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_encoding: Option<String>,
    headers: Value,
    #[serde(default, skip_serializing)]
    raw_headers: Vec<(String, String)>,
    value: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_encoding: Option<String>,
}

pub(super) fn run(config: &Config, args: &ConsumeArgs, json: bool) -> anyhow::Result<ExitCode> {
    let stop = Stop::new();
    stop_on_signals(&stop)?;
    let admin = Admin::connect_to_read(config)?;
    let done = read(&admin, args, json, &stop);
    admin.close();
    done?;
    Ok(ExitCode::SUCCESS)
}

fn read(admin: &Admin, args: &ConsumeArgs, json: bool, stop: &Stop) -> anyhow::Result<()> {
    let mut from = begin(admin, args)?;
    let mut until = args.to.clone();
    let mut left = args.limit.unwrap_or(usize::MAX);
    while left > 0 && !stop.requested() {
        let mut query = vec![("topic", args.topic.clone()), ("limit", PAGE.to_string())];
        query.extend(args.partition.map(|partition| ("partition", partition.to_string())));
        // What is committed is what was printed, so no more is asked for.
        if args.group.is_some() && left < PAGE {
            query[1].1 = left.to_string();
        }
        query.extend(args.format.is_some().then(|| ("raw", "true".to_owned())));
        query.extend(from.take().map(|from| ("from", from)));
        query.extend(until.take().map(|until| ("to", until)));
        let page: Page = admin.get("/api/admin/records", &query)?;
        until = page.until;
        let found: Vec<&Shown> = page.items.iter().filter(|record| wanted(record, args)).take(left).collect();
        left -= found.len();
        for record in found {
            print(record, args, json);
        }
        if let Some(group) = args.group.as_ref().filter(|_| !page.items.is_empty()) {
            commit(admin, group, &args.topic, &page.next)?;
        }
        from = Some(page.next);
        if page.at_end && (!args.follow || stop.wait(LOOK_EVERY)) {
            break;
        }
    }
    Ok(())
}

fn wanted(record: &Shown, args: &ConsumeArgs) -> bool {
    args.key.as_ref().is_none_or(|key| record.key.as_str() == Some(key))
        && args.grep.as_ref().is_none_or(|text| {
            record.value.to_string().contains(text.as_str()) || record.headers.to_string().contains(text.as_str())
        })
}

/// Where to begin: as the flags say, the last offsets, or where a group is.
fn begin(admin: &Admin, args: &ConsumeArgs) -> anyhow::Result<Option<String>> {
    let given = (args.from != "earliest").then(|| args.from.clone());
    if args.tail.is_none() && args.group.is_none() {
        return Ok(given);
    }
    let topics: Value = admin.get("/api/admin/topics", &[])?;
    let topic = topics["items"].as_array().into_iter().flatten().find(|topic| topic["topic"] == args.topic);
    let topic = topic.ok_or_else(|| exit::input(format!("there is no topic `{}`", args.topic)))?;
    let mut places = BTreeMap::new();
    for part in topic["partitions"].as_array().into_iter().flatten() {
        let number = |name: &str| part[name].as_u64().unwrap_or_default();
        let from = args.tail.map_or(number("start"), |tail| number("end").saturating_sub(tail).max(number("start")));
        places.insert(number("partition"), from);
    }
    if let Some(group) = &args.group {
        let groups: Value = admin.get("/api/admin/groups", &[])?;
        let found = groups["items"].as_array().into_iter().flatten().find(|found| found["group"] == *group);
        let offsets: Vec<&Value> =
            found.into_iter().flat_map(|found| found["offsets"].as_array().into_iter().flatten()).collect();
        let of_topic = || offsets.iter().filter(|offset| offset["topic"] == args.topic && offset["next"].is_u64());
        if of_topic().next().is_none() && given.is_some() {
            return Ok(given);
        }
        for offset in of_topic() {
            let next = offset["next"].as_u64().unwrap_or_default();
            places.entry(offset["partition"].as_u64().unwrap_or_default()).and_modify(|from| *from = next.max(*from));
        }
    }
    let places: Vec<String> = places.iter().map(|(partition, from)| format!("{partition}:{from}")).collect();
    Ok(Some(places.join(",")))
}

fn commit(admin: &Admin, group: &str, topic: &str, next: &str) -> anyhow::Result<()> {
    let place = |text: &str| {
        let (partition, next) = text.split_once(':')?;
        Some(json!({ "topic": topic, "partition": partition.parse::<u32>().ok()?, "next": next.parse::<u64>().ok()? }))
    };
    let offsets: Vec<Value> = next.split(',').filter_map(place).collect();
    let body = json!({ "offsets": offsets }).to_string();
    admin.post::<Value>(&format!("/api/admin/groups/{group}/commit"), "application/json", body.as_bytes())?;
    Ok(())
}

/// A record as the format wants it, its bytes untouched.
fn formatted(record: &Shown, format: &str) -> Vec<u8> {
    let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
    let time = || record.timestamp.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_millisecond);
    let mut out = Vec::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '%' || c == '\\' { chars.next() } else { None }) {
            ('%', Some('k')) => out.extend(bytes(&record.key)),
            ('%', Some('v')) => out.extend(bytes(&record.value)),
            ('%', Some('o')) => out.extend(record.offset.to_string().into_bytes()),
            ('%', Some('p')) => out.extend(record.partition.to_string().into_bytes()),
            ('%', Some('t')) => out.extend(time().to_string().into_bytes()),
            ('%', Some('h')) => {
                for (at, (name, value)) in record.raw_headers.iter().enumerate() {
                    out.extend(if at > 0 { &b","[..] } else { b"" });
                    out.extend(name.as_bytes());
                    out.push(b'=');
                    out.extend(STANDARD.decode(value).unwrap_or_default());
                }
            }
            ('\\', Some('n')) => out.push(b'\n'),
            ('\\', Some('t')) => out.push(b'\t'),
            ('%' | '\\', Some(other)) => out.extend(other.to_string().into_bytes()),
            (c, _) => out.extend(c.to_string().into_bytes()),
        }
    }
    out
}

fn print(record: &Shown, args: &ConsumeArgs, json: bool) {
    if let Some(format) = &args.format {
        return show::raw(&formatted(record, format));
    }
    if json {
        show::out(&serde_json::to_string(record).expect("what is shown is plain data"));
        return;
    }
    let key = record.key.as_str().unwrap_or("-");
    let headers = if args.headers { format!(" {}", record.headers) } else { String::new() };
    show::out(&format!("{} {}/{} {key}{headers} {}", record.timestamp, record.partition, record.offset, record.value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_gives_the_bytes_of_a_record_as_they_are() {
        let record: Shown = serde_json::from_value(json!({
            "partition": 3, "offset": 7, "timestamp": "2026-01-01T00:00:00Z", "key": STANDARD.encode(b"k\xff"),
            "headers": {}, "raw_headers": [["a", STANDARD.encode("1")], ["b", STANDARD.encode("2")]],
            "value": STANDARD.encode(" {\"x\": 1.0}\n"),
        }))
        .unwrap();
        let text = formatted(&record, "%p/%o %k %h %t %%\\t[%v]\\n");
        assert_eq!(text, b"3/7 k\xff a=1,b=2 1767225600000 %\t[ {\"x\": 1.0}\n]\n");
    }
}
