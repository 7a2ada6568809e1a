//! Dead letters over the API.
//!
//! Not here: that each is sent once whatever ends when, which `flow` tests.

use bytes::Bytes;
use serde_json::{Value, json};
use tapedeck_contracts::Timestamp;
use tapedeck_flow::{
    Seat, Stop,
    dead_letter::{Account, ErrorClass, dead_letter},
    redrive::SEAT,
};
use tapedeck_log::{Headers, Log, LogRecord, Record, TopicPartition};

use crate::support::Running;

const GROUP: &str = "tapedeck.recorder";

/// Writes alerts that nobody can store and their dead letters, over two partitions.
fn bury(api: &Running, numbers: std::ops::Range<u64>, error: impl Fn(u64) -> String) {
    let record = |n: u64| Record {
        topic: "alerts.v1".into(),
        partition: Some((n % 2) as u32),
        key: Some(Bytes::from(format!("k{n}"))),
        value: Some(Bytes::from(format!("{{\"n\":{n}}}"))),
        headers: Headers::build([("h", "1")]),
        timestamp_ms: None,
    };
    let records: Vec<Record> = numbers.clone().map(record).collect();
    let placed = api.log.append_kept(&records).unwrap();
    let letter = |((n, record), placed): ((u64, Record), tapedeck_log::Placement)| {
        let at = Timestamp::from_millis(1_700_000_000_000 + i64::try_from(n).unwrap());
        let account = Account {
            role: "recorder".into(),
            group: GROUP.into(),
            class: ErrorClass::Invalid,
            error: error(n),
            path: Some("$.n".into()),
            attempts: 1,
            first_failure: at,
            last_failure: at,
        };
        let lies = LogRecord {
            topic: record.topic,
            partition: placed.partition,
            offset: placed.offset,
            timestamp_ms: 1,
            key: record.key,
            value: record.value,
            headers: record.headers,
        };
        dead_letter(&lies, &account, 1 << 20)
    };
    let letters: Vec<Record> = numbers.zip(records).zip(placed).map(letter).collect();
    api.log.append(letters).unwrap();
}

/// All items, page by page.
fn all(api: &Running, target: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("{target}{cursor}")).json();
        items.extend(page["items"].as_array().unwrap_or_else(|| panic!("{page}")).iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

/// Begins a job and waits for its end.
fn job(api: &Running, what: &str, body: &Value) -> Value {
    let begun = api.post(&format!("/api/admin/dlq/{what}"), "application/json", body.to_string());
    assert_eq!(begun.status, 202, "{}", begun.body);
    let id = begun.json()["id"].as_str().unwrap().to_owned();
    loop {
        let job = api.get(&format!("/api/admin/dlq/jobs/{id}")).json();
        if job["state"] != "running" {
            return job;
        }
        // As often as possible would be more than the rate limit takes.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn refused(api: &Running, what: &str, body: &Value, status: u16, path: &str) -> String {
    let answer = api.post(&format!("/api/admin/dlq/{what}"), "application/json", body.to_string());
    assert_eq!(answer.status, status, "{body}: {}", answer.body);
    if !path.is_empty() {
        assert_eq!(answer.json()["errors"][0]["path"], path, "{}", answer.body);
    }
    answer.json()["detail"].as_str().unwrap().to_owned()
}

#[test]
fn dead_letters_are_listed_newest_first_page_by_page_each_once() {
    let api = Running::start();
    bury(&api, 0..250, |n| format!("row {n} is taken"));
    // Written again after a crash, behind a page's end.
    let again = api.get("/api/admin/dlq?limit=1").json()["items"][0].clone();
    let place = again["place"].as_str().unwrap().to_owned();
    let copy = copy_of(&api, &place);
    api.log.append(vec![copy]).unwrap();
    let items = all(&api, "/api/admin/dlq?limit=40");
    assert_eq!(items.len(), 250);
    let mut ids: Vec<&str> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 250);
    let offsets: Vec<u64> = items
        .iter()
        .filter(|item| item["place"].as_str().unwrap().starts_with("alerts.v1.dlq/0/"))
        .map(|item| item["offset"].as_u64().unwrap())
        .collect();
    assert!(offsets.is_sorted_by(|a, b| a > b), "{offsets:?}");
    let item = items.iter().find(|item| item["key"] == "k7").unwrap();
    assert_eq!(
        (&item["topic"], &item["group"], &item["class"], &item["path"], &item["status"], &item["value_bytes"]),
        (&json!("alerts.v1"), &json!(GROUP), &json!("invalid"), &json!("$.n"), &json!("open"), &json!(7))
    );
    for (filter, count) in [
        ("key=k7", 1),
        ("error=row%201", 111),
        ("topic=alerts.v1.dlq&class=invalid", 250),
        ("class=store", 0),
        ("topic=exec.reports.v1", 0),
        ("group=tapedeck.notifier", 0),
        ("from=2023-11-14T22:13:20.240Z", 10),
        ("to=2023-11-14T22:13:20.004Z", 5),
        (&format!("id={}", item["id"].as_str().unwrap()), 1),
    ] {
        assert_eq!(all(&api, &format!("/api/admin/dlq?limit=1000&{filter}")).len(), count, "{filter}");
    }
    let other = api.get("/api/admin/dlq?limit=40").json()["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(api.get(&format!("/api/admin/dlq?limit=40&key=k7&cursor={other}")).status, 400);
    assert_eq!(api.get("/api/admin/dlq?class=bad").status, 400);
    assert_eq!(api.get("/api/admin/dlq?id=7").status, 400);
    let unknown = api.get("/api/admin/dlq?topic=alert.v1");
    assert!(unknown.status == 404 && unknown.body.contains("did you mean `alerts.v1`"), "{}", unknown.body);
}

/// The record at a place of a dead letter topic, to be written once more.
fn copy_of(api: &Running, place: &str) -> Record {
    let place = tapedeck_contracts::headers::Place::parse(place).unwrap();
    let mut reader = api.log.reader().unwrap();
    let part = TopicPartition::new(place.topic.as_str(), place.partition);
    reader.assign(&[(part, place.offset)]).unwrap();
    let limits =
        tapedeck_log::PollLimits { max_records: 1, max_bytes: 1 << 20, timeout: std::time::Duration::from_secs(5) };
    let found = reader.poll(limits).unwrap().remove(0);
    Record {
        topic: found.topic,
        partition: Some(found.partition),
        key: found.key,
        value: found.value,
        headers: found.headers,
        timestamp_ms: None,
    }
}

#[test]
fn dead_letters_are_counted_by_what_went_wrong() {
    let api = Running::start();
    bury(&api, 0..30, |n| format!("row {n} is taken"));
    bury(&api, 30..42, |_| "`severity` is missing".into());
    let groups = api.get("/api/admin/dlq/groups").json();
    let items = groups["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "{groups}");
    assert_eq!((&items[0]["error"], &items[0]["count"]), (&json!("row # is taken"), &json!(30)));
    assert_eq!((&items[1]["error"], &items[1]["count"]), (&json!("`severity` is missing"), &json!(12)));
    assert_eq!(
        (&items[0]["first"], &items[0]["last"]),
        (&json!("2023-11-14T22:13:20.000000Z"), &json!("2023-11-14T22:13:20.029000Z"))
    );
    assert_eq!((&groups["next_cursor"], &groups["examined"]), (&Value::Null, &json!(42)));
    let example = items[1]["example"].as_str().unwrap();
    assert_eq!(all(&api, &format!("/api/admin/dlq?id={example}"))[0]["place"], items[1]["example_place"]);
    let only = api.get("/api/admin/dlq/groups?error=severity").json();
    assert_eq!(only["items"].as_array().unwrap().len(), 1);
}

#[test]
fn one_dead_letter_is_shown_with_its_record_and_what_became_of_it() {
    let api = Running::start();
    bury(&api, 0..1, |_| "no".into());
    let target = "/api/admin/dlq/letters/alerts.v1.dlq/0/0";
    let shown = api.get(target).json();
    assert_eq!((&shown["value"], &shown["headers"]), (&json!("{\"n\":0}"), &json!([{ "name": "h", "value": "1" }])));
    assert_eq!((&shown["closed"], &shown["value_cut"], &shown["omitted"]), (&Value::Null, &json!(false), &json!([])));
    job(&api, "purge", &json!({ "which": [shown["id"]], "reason": "a test order" }));
    let shown = api.get(target).json();
    assert_eq!((&shown["status"], &shown["closed"]["reason"]), (&json!("purged"), &json!("a test order")));
    for (target, status) in [
        ("/api/admin/dlq/letters/alerts.v1.dlq/0/9", 404),
        ("/api/admin/dlq/letters/alerts.v1.dlq/0/x", 400),
        ("/api/admin/dlq/letters/alerts.v1/0/0", 400),
        ("/api/admin/dlq/letters/nothing.dlq/0/0", 404),
    ] {
        assert_eq!(api.get(target).status, status, "{target}");
    }
}

#[test]
fn a_replay_sends_what_is_open_and_leaves_entries_in_the_audit_log() {
    let api = Running::start();
    bury(&api, 0..1_100, |n| format!("row {n} is taken"));
    let depth = |topic: &str| {
        let text = api.get("/metrics").body;
        let line = format!("tapedeck_dlq_depth{{topic=\"{topic}\"}} ");
        text.lines().find_map(|text| text.strip_prefix(&line)).map(str::to_owned)
    };
    assert_eq!((depth("alerts.v1").as_deref(), depth("task-updates").as_deref()), (Some("1100"), Some("0")));
    let dry = job(&api, "replay", &json!({ "all": true, "dry_run": true }));
    assert_eq!((&dry["state"], &dry["done"], &dry["dry_run"]), (&json!("done"), &json!(1100), &json!(true)));
    assert_eq!(dry["samples"].as_array().unwrap().len(), 100);
    assert_eq!(api.get("/api/admin/records?topic=audit-logs").json()["items"], json!([]), "a dry run leaves none");

    let done = job(&api, "replay", &json!({ "topic": "alerts.v1", "rate": 1_000_000, "reason": "schema 1.1 is out" }));
    assert_eq!((&done["state"], &done["done"], &done["refused"]), (&json!("done"), &json!(1100), &json!(0)));
    assert_eq!(done["done_by"], json!([{ "topic": "alerts.v1", "group": GROUP, "count": 1100 }]));
    assert_eq!(job(&api, "replay", &json!({ "all": true }))["done"], 0);
    let ends = |p| api.log.bounds(&TopicPartition::new("alerts.v1", p)).unwrap().1;
    assert_eq!(ends(0) + ends(1), 2_200);
    assert_eq!(depth("alerts.v1").as_deref(), Some("0"));
    assert_eq!(all(&api, "/api/admin/dlq?limit=1000").len(), 0);
    let closed = all(&api, "/api/admin/dlq?limit=1000&status=all");
    assert!(closed.len() == 1_100 && closed.iter().all(|item| item["status"] == "redriven"));
    assert_eq!(all(&api, "/api/admin/dlq?limit=1000&status=purged").len(), 0);

    let audit = api.get("/api/admin/records?topic=audit-logs").json();
    let data: Vec<&Value> = audit["items"].as_array().unwrap().iter().map(|item| &item["value"]["data"]).collect();
    assert_eq!(data.len(), 4);
    assert_eq!((&data[0]["action"], &data[0]["reason"]), (&json!("dlq.replay"), &json!("schema 1.1 is out")));
    assert_eq!((&data[0]["actor"], &data[0]["object"]), (&json!("local"), &json!("dlq/alerts.v1")));
    assert_eq!(data[0]["after"]["request"]["topic"], "alerts.v1");
    assert_eq!(data[1]["action"], "dlq.replay.ended");
    assert_eq!((&data[1]["after"]["done"], &data[1]["after"]["outcome"]), (&json!(1100), &json!("done")));
    let jobs = api.get("/api/admin/dlq/jobs").json();
    assert_eq!(jobs["items"].as_array().unwrap().len(), 3);
}

#[test]
fn a_second_job_waits_for_the_first_which_can_be_cancelled() {
    let api = Running::start();
    bury(&api, 0..50, |_| "no".into());
    let begun = api.post("/api/admin/dlq/replay", "application/json", r#"{"all":true,"rate":1}"#).json();
    let id = begun["id"].as_str().unwrap();
    let why = refused(&api, "purge", &json!({ "all": true, "reason": "r" }), 409, "");
    assert!(why.contains(id) && why.contains("DELETE"), "{why}");
    let target = format!("/api/admin/dlq/jobs/{id}");
    assert_eq!(api.send("DELETE", &target, &[], b"").status, 202);
    let ended = loop {
        let job = api.get(&target).json();
        if job["state"] != "running" {
            break job;
        }
        // As often as possible would be more than the rate limit takes.
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    assert_eq!(ended["state"], "cancelled");
    let left = 50 - ended["done"].as_u64().unwrap();
    assert!(left > 0);
    assert_eq!(job(&api, "purge", &json!({ "all": true, "reason": "r" }))["done"], left);
    assert_eq!(api.get("/api/admin/dlq/jobs/7").status, 404);
}

#[test]
fn a_redriver_of_another_process_fails_the_job_in_words() {
    let api = Running::start();
    bury(&api, 0..1, |_| "no".into());
    let mut seat = Seat::join(api.log.as_ref(), SEAT, "another").unwrap();
    assert!(seat.wait(&Stop::new()).unwrap());
    let failed = job(&api, "replay", &json!({ "all": true }));
    assert_eq!(failed["state"], "failed");
    assert!(failed["error"].as_str().unwrap().contains("another redrive or purge is at work"), "{failed}");
}

#[test]
fn a_request_that_means_nothing_is_refused_at_its_place() {
    let api = Running::start();
    bury(&api, 0..1, |_| "no".into());
    let replay = |body: Value, path| refused(&api, "replay", &body, 422, path);
    assert!(replay(json!({}), "$.all").contains("--all"));
    replay(json!({ "class": "bad" }), "$.class");
    replay(json!({ "which": ["7"] }), "$.which[0]");
    replay(json!({ "which": ["alerts.v1/0/0"] }), "$.which[0]");
    replay(json!({ "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z" }), "$.from");
    replay(json!({ "from": "soon" }), "$.from");
    replay(json!({ "all": true, "rate": 0 }), "$.rate");
    replay(json!({ "all": true, "limit": 0 }), "$.limit");
    replay(json!({ "all": true, "max_redrives": 0 }), "$.max_redrives");
    replay(json!({ "all": true, "reason": "x".repeat(1_025) }), "$.reason");
    replay(json!({ "all": true, "topics": "alerts.v1" }), "$.topics");
    refused(&api, "replay", &json!({ "topic": "alert.v1" }), 404, "");
    refused(&api, "purge", &json!({ "all": true }), 422, "$.reason");
    refused(&api, "purge", &json!({ "all": true, "reason": "  " }), 422, "$.reason");
    refused(&api, "purge", &json!({ "all": true, "reason": "r", "force": true }), 422, "$.force");
    refused(&api, "purge", &json!({ "reason": "r" }), 422, "$.all");
    let missing = job(&api, "replay", &json!({ "which": ["00000000-0000-4000-8000-000000000001"] }));
    assert!(missing["missing"][0].as_str().unwrap().contains("there is no such dead letter"), "{missing}");
    assert_eq!(all(&api, "/api/admin/dlq?limit=10").len(), 1, "nothing was done");
}
