//! Administration over the API.

use serde_json::{Value, json};
use tapedeck_contracts::events::Severity;
use tapedeck_log::{GroupOffset, Log, TopicPartition};
use tapedeck_store::conformance::samples;

use crate::support::Running;

fn post_alerts(api: &Running, numbers: std::ops::RangeInclusive<u64>) {
    let lines: String = numbers
        .map(|n| serde_json::to_string(&samples::alert(n, Severity::Info, Some("ACC-1"))).unwrap() + "\n")
        .collect();
    assert_eq!(api.post("/api/v1/events/alerts.v1", "application/x-ndjson", lines).status, 202);
}

/// The partition that the alerts of ACC-1 go to.
fn partition(api: &Running) -> u32 {
    (0..4).find(|p| api.log.bounds(&TopicPartition::new("alerts.v1", *p)).unwrap().1 > 0).unwrap()
}

fn item<'a>(body: &'a Value, name: &str, value: &str) -> &'a Value {
    body["items"].as_array().unwrap().iter().find(|item| item[name] == value).unwrap_or_else(|| panic!("{body}"))
}

#[test]
fn topics_are_listed_with_their_partitions_and_bytes() {
    let api = Running::start();
    post_alerts(&api, 1..=3);
    let body = api.get("/api/admin/topics").json();
    let topic = item(&body, "topic", "alerts.v1");
    assert_eq!(
        (&topic["event"], &topic["cleanup"], &topic["records"], &topic["retention_ms"]),
        (&json!("alert"), &json!("delete"), &json!(3), &json!(30_u64 * 24 * 3_600_000))
    );
    assert_eq!(topic["partitions"].as_array().unwrap().len(), 4);
    assert!(topic["bytes"].as_u64().unwrap() > 0);
}

#[test]
fn groups_show_their_lag_and_can_be_moved() {
    let api = Running::start();
    post_alerts(&api, 1..=5);
    let place = TopicPartition::new("alerts.v1", partition(&api));
    api.log.reset_offsets("mine", &[GroupOffset { partition: place.clone(), next: 4 }]).unwrap();
    let body = api.get("/api/admin/groups").json();
    let group = item(&body, "group", "mine");
    assert_eq!((&group["lag_records"], &group["members"]), (&json!(1), &json!([])), "{group}");
    assert!(group["lag_seconds"].as_f64().unwrap() >= 0.0);

    let target = "/api/admin/groups/mine/reset";
    let dry = api.post(target, "application/json", r#"{"to":"earliest","dry_run":true}"#);
    assert_eq!(dry.json()["moved"][0]["after"], 0, "{}", dry.body);
    assert_eq!(api.log.committed("mine").unwrap()[0].next, 4, "a dry run changes nothing");
    let moved = api.post(target, "application/json", r#"{"to":2}"#).json();
    assert_eq!(
        moved["moved"],
        json!([{ "topic": "alerts.v1", "partition": place.partition, "before": 4, "after": 2 }])
    );
    assert_eq!(api.log.committed("mine").unwrap()[0].next, 2);
    api.post(target, "application/json", r#"{"to":"latest"}"#);
    assert_eq!(api.log.committed("mine").unwrap()[0].next, 5);
    let audit = api.get("/api/admin/records?topic=audit-logs").json();
    assert_eq!(audit["items"][0]["value"]["data"]["action"], "groups.reset");
}

#[test]
fn groups_show_by_topic_what_waits_and_what_their_role_counted() {
    let api = Running::start();
    post_alerts(&api, 1..=5);
    let place = TopicPartition::new("alerts.v1", partition(&api));
    api.log.reset_offsets("tapedeck.recorder", &[GroupOffset { partition: place.clone(), next: 1 }]).unwrap();
    api.log.reset_offsets("mine", &[GroupOffset { partition: place, next: 5 }]).unwrap();
    api.gauges.retries.store(3, std::sync::atomic::Ordering::Relaxed);
    let body = api.get("/api/admin/groups").json();
    let recorder = item(&body, "group", "tapedeck.recorder");
    assert_eq!((&recorder["retries"], &recorder["topics"][0]["lag_records"]), (&json!(3), &json!(4)), "{recorder}");
    assert_eq!(recorder["topics"][0]["clear_in_seconds"], Value::Null, "one look tells nothing of a rate");
    let mine = item(&body, "group", "mine");
    assert_eq!((&mine["retries"], &mine["topics"][0]["trend"]), (&Value::Null, &json!("clear")), "{mine}");
    assert_eq!(mine["topics"][0]["clear_in_seconds"], 0.0);
}

#[test]
fn a_reset_that_would_do_harm_is_refused() {
    let api = Running::start();
    post_alerts(&api, 1..=1);
    let reset =
        |group: &str, body: &str| api.post(&format!("/api/admin/groups/{group}/reset"), "application/json", body);
    let state = reset("tapedeck.forward-test", r#"{"to":"earliest"}"#);
    assert!(state.status == 409 && state.body.contains("with_state"), "{}", state.body);
    assert_eq!(reset("nobody", r#"{"to":"earliest"}"#).status, 404);
    assert_eq!(reset("mine", r#"{"to":"soon","topic":"alerts.v1"}"#).status, 422);
    assert_eq!(reset("mine", r#"{"to":99,"topic":"alerts.v1"}"#).status, 422);
    assert_eq!(reset("mine", r#"{"to":"earliest","topics":"alerts.v1"}"#).status, 422);
    let _member = api.log.join("busy", "m1", &["alerts.v1".into()]).unwrap();
    let busy = reset("busy", r#"{"to":"earliest","topic":"alerts.v1"}"#);
    assert!(busy.status == 409 && busy.body.contains("members"), "{}", busy.body);
}

#[test]
fn records_are_read_page_by_page_from_a_place_or_a_time() {
    let api = Running::start();
    post_alerts(&api, 1..=5);
    let place = partition(&api);
    let first = api.get("/api/admin/records?topic=alerts.v1&limit=2").json();
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    assert_eq!(first["at_end"], false);
    let item = &first["items"][0];
    assert_eq!((&item["key"], &item["offset"], &item["partition"]), (&json!("ACC-1"), &json!(0), &json!(place)));
    assert_eq!(item["value"]["event_id"], "alert-1");
    assert_eq!(item["headers"]["ce_id"], "alert-1");
    let next = first["next"].as_str().unwrap();
    let rest = api.get(&format!("/api/admin/records?topic=alerts.v1&from={next}")).json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["at_end"]), (3, &json!(true)));

    let count = |query: &str| {
        let answer = api.get(&format!("/api/admin/records?topic=alerts.v1&{query}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["items"].as_array().unwrap().len()
    };
    assert_eq!(count(&format!("partition={place}&from=3")), 2);
    assert_eq!(count("from=latest"), 0);
    assert_eq!(count("from=2020-01-01T00:00:00Z"), 5);
    assert_eq!(count("from=2100-01-01T00:00:00Z"), 0);
}

#[test]
fn following_waits_for_the_first_record() {
    let api = Running::start();
    std::thread::scope(|threads| {
        let answer = threads.spawn(|| api.get("/api/admin/records?topic=alerts.v1&from=latest&follow=true").json());
        // Posted until the reader, which began at the end as of its start, sees one.
        let mut n = 1;
        while !answer.is_finished() {
            post_alerts(&api, n..=n);
            n += 1;
        }
        let body = answer.join().unwrap();
        assert!(!body["items"].as_array().unwrap().is_empty(), "{body}");
    });
}

#[test]
fn bytes_that_are_not_json_are_shown_as_base64() {
    let api = Running::start();
    let record = tapedeck_log::Record {
        topic: "alerts.v1".into(),
        partition: Some(1),
        key: Some(vec![0xff, 0xfe].into()),
        value: Some(vec![1, 2, 3].into()),
        headers: tapedeck_log::Headers::new(),
        timestamp_ms: None,
    };
    api.log.append(vec![record]).unwrap();
    let item = &api.get("/api/admin/records?topic=alerts.v1").json()["items"][0];
    assert_eq!((&item["key"], &item["key_encoding"]), (&json!("//4="), &json!("base64")));
    assert_eq!((&item["value"], &item["value_encoding"]), (&json!("AQID"), &json!("base64")));
}

#[test]
fn roles_say_how_they_stand() {
    let api = Running::start();
    let body = api.get("/api/admin/roles").json();
    assert_eq!((&body["items"][0]["role"], &body["items"][0]["phase"]), (&json!("recorder"), &json!("running")));
}

fn kept(api: &Running, topic: &str, partition: u32) -> Value {
    let state = tapedeck_flow::state::load(&*api.log, &topic.into(), partition).unwrap();
    state.get("@at").map_or(Value::Null, |at| serde_json::from_slice(at).unwrap())
}

/// Alerts stand for any record here: what they say does not matter.
fn write(api: &Running, topic: &str, partition: u32, count: usize) {
    let record = tapedeck_log::Record {
        topic: topic.into(),
        partition: Some(partition),
        key: None,
        value: Some(vec![1].into()),
        headers: tapedeck_log::Headers::new(),
        timestamp_ms: None,
    };
    api.log.append(vec![record; count]).unwrap();
}

fn note(api: &Running, topic: &str, partition: u32, key: &str, value: &str) {
    let record = tapedeck_flow::state::record(&topic.into(), partition, key, Some(value.as_bytes().to_vec()));
    api.log.append(vec![record]).unwrap();
}

const MARKET_DATA: &str = "market-data-updates";

#[test]
fn a_skipped_record_moves_the_place_beside_the_state_and_the_group_with_it() {
    let api = Running::start();
    write(&api, MARKET_DATA, 1, 5);
    note(
        &api,
        "tapedeck.strategy.state",
        1,
        "@at",
        r#"{"next":{"market-data-updates/1":2},"ahead":{"market-data-updates/1":[3]}}"#,
    );
    let skip = |group: &str, topic: &str, offset: u64, rest: &str| {
        let body = format!(r#"{{"topic":"{topic}","partition":1,"offset":{offset},"reason":"broken"{rest}}}"#);
        api.post(&format!("/api/admin/groups/{group}/skip"), "application/json", body)
    };
    let strategy = "tapedeck.strategy";
    assert_eq!(skip(strategy, MARKET_DATA, 4, "").status, 409, "it stands before");
    assert_eq!(skip(strategy, MARKET_DATA, 1, "").status, 409, "it is past");
    assert_eq!(skip(strategy, MARKET_DATA, 9, "").status, 404);
    assert_eq!(skip(strategy, "no-such", 2, "").status, 404);
    assert_eq!(skip("tapedeck.market", MARKET_DATA, 2, "").status, 409);
    assert_eq!(skip(strategy, MARKET_DATA, 2, r#","dry_run":true"#).json()["after"], 4);
    assert_eq!(kept(&api, "tapedeck.strategy.state", 1)["next"]["market-data-updates/1"], 2);
    let done = skip(strategy, MARKET_DATA, 2, "");
    assert_eq!(done.status, 200, "{}", done.body);
    assert_eq!(kept(&api, "tapedeck.strategy.state", 1), json!({ "next": { "market-data-updates/1": 4 } }));
    let place = TopicPartition::new(MARKET_DATA, 1);
    assert_eq!(api.log.committed(strategy).unwrap(), [GroupOffset { partition: place, next: 4 }]);
    assert!(api.log.groups().unwrap().iter().all(|group| group.members.is_empty()));
    let no_reason = r#"{"topic":"market-data-updates","partition":1,"offset":4,"reason":" "}"#;
    assert_eq!(api.post("/api/admin/groups/tapedeck.strategy/skip", "application/json", no_reason).status, 422);
    let audit = api.get("/api/admin/records?topic=audit-logs").json();
    assert_eq!(audit["items"].as_array().unwrap().len(), 1, "{audit}");
    assert_eq!(audit["items"][0]["value"]["data"]["reason"], "broken");
}

#[test]
fn the_paper_broker_skips_a_record_out_of_turn_and_keeps_its_other_places() {
    let api = Running::start();
    write(&api, "strategy-signals", 1, 4);
    let at = r#"{"next":{"market-data-updates/0":7,"strategy-signals/1":1}}"#;
    note(&api, "tapedeck.forward-test.state", 0, "@at", at);
    let skip = |offset: u64| {
        let body = format!(r#"{{"topic":"strategy-signals","partition":1,"offset":{offset},"reason":"broken"}}"#);
        let done = api.post("/api/admin/groups/tapedeck.forward-test/skip", "application/json", body);
        assert_eq!(done.status, 200, "{}", done.body);
    };
    skip(2);
    let expected = json!({ "next": { "market-data-updates/0": 7, "strategy-signals/1": 1 }, "ahead": { "strategy-signals/1": [2] } });
    assert_eq!(kept(&api, "tapedeck.forward-test.state", 0), expected);
    skip(1);
    let expected = json!({ "next": { "market-data-updates/0": 7, "strategy-signals/1": 3 } });
    assert_eq!(kept(&api, "tapedeck.forward-test.state", 0), expected);
}

#[test]
fn state_and_offsets_are_cleared_together_and_not_while_a_role_is_there() {
    let api = Running::start();
    write(&api, MARKET_DATA, 1, 5);
    note(&api, "tapedeck.strategy.state", 1, "@at", r#"{"next":{"market-data-updates/1":4}}"#);
    note(&api, "tapedeck.strategy.state", 1, "ema/BTC", "{}");
    let place = TopicPartition::new(MARKET_DATA, 1);
    api.log.reset_offsets("tapedeck.strategy", &[GroupOffset { partition: place, next: 4 }]).unwrap();
    let reset = |group: &str, body: &str| {
        api.post(&format!("/api/admin/groups/tapedeck.{group}/reset"), "application/json", body)
    };
    let all = r#"{"to":"earliest","with_state":true}"#;
    let member = api.log.join("tapedeck.strategy", "m", &[MARKET_DATA.into()]).unwrap();
    assert_eq!(reset("strategy", all).status, 409);
    assert_eq!(kept(&api, "tapedeck.strategy.state", 1)["next"]["market-data-updates/1"], 4);
    drop(member);
    let part = r#"{"to":"earliest","with_state":true,"topic":"market-data-updates"}"#;
    assert_eq!(reset("strategy", part).status, 422, "state without its place");
    let done = reset("strategy", all);
    assert_eq!((done.status, &done.json()["state_keys_cleared"]), (200, &json!(2)), "{}", done.body);
    assert_eq!(kept(&api, "tapedeck.strategy.state", 1), Value::Null);
    assert_eq!(api.log.committed("tapedeck.strategy").unwrap()[0].next, 0);
    let unsaid = reset("forward-test", all);
    assert!(unsaid.status == 409 && unsaid.body.contains("force"), "{}", unsaid.body);
    let forced = reset("forward-test", r#"{"to":"earliest","with_state":true,"force":true}"#);
    assert!(forced.status == 200 && forced.json()["warning"].is_string(), "{}", forced.body);
    assert_eq!(reset("market", all).status, 409);
}
