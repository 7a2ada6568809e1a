//! Why decisions were made, as a person asks the real program: over HTTP, from the
//! command line, and of the chains that show whether anybody bent an answer.
//!
//! Not here: the mathematics, sentences and single records, which the role's tests hold.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use common::{Deck, bars, json, run, stderr, stdout, text};
use serde_json::{Value, json};

mod common;

const WHAT_IF: &str = "/api/v1/forensics/what-if";
const JSON: &str = "application/json";
const MINUTES: u64 = 400;
const SYMBOLS: [&str; 3] = ["AAA", "BBB", "CCC"];

/// A folder in which a file of bars was replayed, with decisions that trade.
fn replayed(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    replayed_with(dir, name, "100000")
}

/// The same, of an account that begins with so much.
fn replayed_with(dir: &Path, name: &str, equity: &str) -> (PathBuf, PathBuf) {
    let (file, config, data) = (dir.join("bars.csv"), dir.join("t.toml"), dir.join(name));
    bars(&file, &SYMBOLS, MINUTES, 23);
    let session = "[[sessions]]\nid = \"d\"\naccount = \"D\"\nmarket_source = \"replay\"\nsource = \"decisions\"\n";
    let equity = format!("starting_equity = \"{equity}\"\n\n");
    std::fs::write(&config, format!("{session}{equity}[inference]\nband = 0.01\nlot = \"0.001\"\n")).unwrap();
    let args = ["replay", text(&file), "--currency", "USD", "--config", text(&config), "--data", text(&data), "--json"];
    let outcome = json(&args);
    // What decided, without the session, whose source was the file.
    let serving = dir.join("serving.toml");
    std::fs::write(&serving, "[inference]\nband = 0.01\nlot = \"0.001\"\n").unwrap();
    assert_eq!(outcome["events"]["trading_decisions"], MINUTES * SYMBOLS.len() as u64, "{outcome}");
    (data, serving)
}

/// Compares an answer with its schema: every key is described, and every required one there.
fn as_described(document: &Value, schema: &Value, answer: &Value, path: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = document.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("{path}: no {name}"));
        return as_described(document, schema, answer, path);
    }
    if let Some(ways) = schema["oneOf"].as_array() {
        let way = ways.iter().find(|way| (way["type"] == "null") == answer.is_null());
        return as_described(
            document,
            way.unwrap_or_else(|| panic!("{path}: {answer} is none of {ways:?}")),
            answer,
            path,
        );
    }
    match answer {
        Value::Object(members) => {
            let (known, any) = (schema["properties"].as_object(), &schema["additionalProperties"]);
            for (name, value) in members {
                let of_it = known.and_then(|known| known.get(name)).or_else(|| any.is_object().then_some(any));
                let of_it = of_it.unwrap_or_else(|| panic!("{path}.{name} is not described"));
                as_described(document, of_it, value, &format!("{path}.{name}"));
            }
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                assert!(members.contains_key(name), "{path}.{name} is promised, and not there");
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                as_described(document, &schema["items"], item, &format!("{path}[{at}]"));
            }
        }
        value => {
            let name = match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::String(_) => "string",
                _ => "number",
            };
            let types = &schema["type"];
            let is = |one: &Value| one == name || (name == "number" && one == "integer");
            let fits = is(types) || types.as_array().is_some_and(|types| types.iter().any(is));
            assert!(fits, "{path}: {value} is described as {types}");
        }
    }
}

fn first(deck: &Deck, filters: &str) -> Value {
    deck.get(&format!("/api/v1/forensics?limit=1&{filters}"))["items"][0].clone()
}

#[test]
fn every_decision_of_a_replay_is_explained_and_found_by_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (data, config) = replayed(dir.path(), "data");
    let deck = Deck::start(&["up", "--roles", "api", "--config", text(&config), "--data", text(&data)]);

    let all = deck.all("/api/v1/forensics");
    assert_eq!(all.len() as u64, MINUTES * SYMBOLS.len() as u64);
    let times: Vec<&str> = all.iter().map(|item| item["timestamp"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older));
    for (filter, field, value) in
        [("action=BUY", "action", "BUY"), ("outcome=rejected", "outcome", "rejected"), ("symbol=BBB", "symbol", "BBB")]
    {
        let found = deck.all(&format!("/api/v1/forensics?{filter}"));
        let expected = all.iter().filter(|item| item[field] == value).count();
        assert!(expected > 0 && found.len() == expected, "{filter}: {} of {expected}", found.len());
        assert!(found.iter().all(|item| item[field] == value), "{filter}");
    }

    // One that was executed, whole.
    let fill = deck.get("/api/fills?limit=1")["items"][0].clone();
    let id = fill["decision_id"].as_str().unwrap();
    let why = deck.get(&format!("/api/v1/forensics/{id}"));
    let sums = &why["explanations"];
    let named: f64 = sums["features"].as_array().unwrap().iter().map(|feature| feature["shap"].as_f64().unwrap()).sum();
    let number = |value: &Value| value.as_f64().unwrap();
    let together = number(&sums["base_value"]) + named + number(&sums["other"]["shap"]);
    assert!((together - number(&sums["prediction"])).abs() < 1e-5, "{why}");
    let fills = why["execution_details"].as_array().unwrap();
    assert!(fills.iter().any(|execution| execution["fill_id"] == fill["fill_id"]), "{why}");
    // Nothing is answered that the description does not have, and nothing it promises is missing.
    let described = deck.get("/openapi.json");
    let schema = |path: &str| {
        described["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"].clone()
    };
    as_described(&described, &schema("/api/v1/forensics/{decision_id}"), &why, "$");
    as_described(&described, &schema("/api/v1/forensics"), &deck.get("/api/v1/forensics?limit=3"), "$");
    let short = deck.get(&format!("/api/v1/forensics/{id}?top=2"));
    assert_eq!(short["explanations"]["features"].as_array().unwrap().len(), 2);
    let features = sums["features"].as_array().unwrap().len() as u64 + sums["other"]["count"].as_u64().unwrap();
    assert_eq!(short["explanations"]["other"]["count"], features - 2);

    let mattered = deck.get("/api/v1/forensics/importance");
    assert_eq!(mattered["decisions"], all.len(), "{mattered}");
    let means: Vec<f64> =
        mattered["features"].as_array().unwrap().iter().map(|f| number(&f["mean_abs_shap"])).collect();
    assert!(means[0] > 0.0 && means.is_sorted_by(|more, less| more >= less));
}

#[test]
fn an_order_that_the_broker_refused_is_told_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    // Less than any order's margin.
    let (data, config) = replayed_with(dir.path(), "data", "0.001");
    let deck = Deck::start(&["up", "--roles", "api", "--config", text(&config), "--data", text(&data)]);
    let orders = deck.all("/api/orders");
    assert!(!orders.is_empty() && orders.iter().all(|order| order["status"] == "REJECTED"), "{orders:?}");
    let id = orders[0]["decision_id"].as_str().unwrap();
    let path = format!("/api/v1/forensics/{id}");
    let why = deck.get(&path);
    let described = deck.get("/openapi.json");
    let schema = &described["paths"]["/api/v1/forensics/{decision_id}"]["get"]["responses"]["200"];
    as_described(&described, &schema["content"]["application/json"]["schema"], &why, "$");
    assert_eq!((&why["outcome"], &why["execution_details"]), (&json!("accepted"), &json!([])));
    let order = &why["orders"][0];
    assert_eq!((&order["order_id"], &order["order_status"]), (&orders[0]["order_id"], &json!("REJECTED")));
    assert_eq!((&order["cum_qty"], &order["leaves_qty"], &order["avg_px"]), (&json!("0"), &json!("0"), &Value::Null));
    assert_eq!(order["reason"]["code"], "insufficient_margin", "{order}");
    let said = order["reason"]["text"].as_str().unwrap();
    assert!(said.contains("exceeds equity 0.001"), "{said}");
    let told = why["text"].as_str().unwrap();
    assert!(told.ends_with(&format!("Its order was refused by the broker: {said}.")), "{told}");
    assert_eq!(deck.terminate(), 0);
    let shown = stdout(&run(&["explain", id, "--data", text(&data)]));
    assert!(shown.contains(&format!("REJECTED, {}", order["side"].as_str().unwrap())), "{shown}");
    assert!(shown.contains(&format!("{said} (insufficient_margin)")), "{shown}");
}

#[test]
fn one_record_that_cannot_be_read_does_not_take_its_page_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (data, config) = replayed(dir.path(), "data");
    let exported = run(&["audit", "export", "--data", text(&data)]);
    let line: Value = serde_json::from_str(stdout(&exported).lines().nth(7).unwrap()).unwrap();
    let record = STANDARD.decode(line["record"].as_str().unwrap()).unwrap();
    // Somebody overwrites its first byte in the store's file, the version of its form. A page may lie there twice.
    let store = data.join("store.db");
    let mut bytes = std::fs::read(&store).unwrap();
    let begin = &record[..40];
    let found: Vec<usize> = (0..bytes.len() - begin.len()).filter(|at| bytes[*at..].starts_with(begin)).collect();
    assert!(!found.is_empty());
    found.iter().for_each(|at| bytes[*at] = 99);
    std::fs::write(&store, bytes).unwrap();

    let deck = Deck::start(&["up", "--roles", "api", "--config", text(&config), "--data", text(&data)]);
    let all = deck.all("/api/v1/forensics");
    assert_eq!(all.len() as u64, MINUTES * SYMBOLS.len() as u64);
    let bad: Vec<&Value> = all.iter().filter(|item| item.get("error").is_some()).collect();
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert_eq!(bad[0]["decision_id"], line["decision_id"]);
    let said = bad[0]["error"].as_str().unwrap();
    assert!(said.contains("cannot be read: version 99") && said.contains("`tapedeck audit verify --chain"), "{said}");
    assert!(all.iter().filter(|item| item.get("error").is_none()).all(|item| item["text"].is_string()));
    let described = deck.get("/openapi.json");
    let schema = &described["paths"]["/api/v1/forensics"]["get"]["responses"]["200"]["content"]["application/json"];
    as_described(&described, &schema["schema"], &json!({ "items": bad, "next_cursor": null }), "$");
}

#[test]
fn questions_that_have_no_answer_are_told_why() {
    let dir = tempfile::tempdir().unwrap();
    let (data, config) = replayed(dir.path(), "data");
    let deck = Deck::start(&["up", "--roles", "api", "--config", text(&config), "--data", text(&data)]);
    assert_eq!(deck.ask("/api/v1/forensics/no-such-decision").0, 404);
    assert_eq!(deck.ask("/api/v1/forensics?action=MAYBE").0, 400);
    assert_eq!(deck.ask("/api/v1/forensics/importance?from=2001-01-01T00:00:00Z&interval=1h").0, 400);

    let id = first(&deck, "action=BUY")["decision_id"].clone();
    let ask = |body: Value| deck.post(WHAT_IF, JSON, &body.to_string());
    let (status, answer) = ask(json!({"decision_id": id, "features": {}}));
    assert_eq!((status, &answer["before"]["action"], &answer["after"]["action"]), (200, &json!("BUY"), &json!("BUY")));
    let apart = answer["before"]["margin"].as_f64().unwrap() - answer["after"]["margin"].as_f64().unwrap();
    assert!(apart.abs() < 1e-5, "nothing was changed: {answer}");
    let (status, answer) = ask(json!({"decision_id": id, "features": {"rsi": null, "return_60": -0.05, "atr": 0.2}}));
    assert_eq!(status, 200);
    assert_ne!(answer["before"]["margin"], answer["after"]["margin"], "{answer}");
    let (status, problem) = ask(json!({"decision_id": id, "features": {"rsii": 1.0}}));
    assert_eq!((status, &problem["errors"][0]["path"]), (422, &json!("$.features.rsii")));
    assert_eq!(ask(json!({"decision_id": "no-such-decision", "features": {}})).0, 404);
    let twice = format!(r#"{{"decision_id":{id},"features":{{"rsi":1,"rsi":2}}}}"#);
    let (status, problem) = deck.post(WHAT_IF, JSON, &twice);
    assert_eq!(status, 400, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("duplicate field `rsi`"), "{problem}");
    // The same UUID, as other programs write it; and a stretch that begins after everything.
    let capitals = id.as_str().unwrap().to_uppercase();
    assert_eq!(deck.get(&format!("/api/v1/forensics/{capitals}"))["decision_id"], id);
    assert_eq!(ask(json!({"decision_id": capitals, "features": {}})).0, 200);
    let nothing = deck.get("/api/v1/forensics/importance?from=2100-01-01T00:00:00Z");
    assert_eq!((&nothing["decisions"], &nothing["from"]), (&json!(0), &nothing["to"]), "{nothing}");
    let turned = "/api/v1/forensics/importance?from=2024-01-02T00:00:00Z&to=2024-01-01T00:00:00Z";
    assert_eq!(deck.ask(turned).0, 400);
    assert_eq!(ask(json!({"decision": id})).0, 422);
}

#[test]
fn the_command_line_explains_and_finds_what_was_bent() {
    let dir = tempfile::tempdir().unwrap();
    let (data, _) = replayed(dir.path(), "data");
    let with = |args: &[&str]| run(&[args, &["--data", text(&data)]].concat());
    let exported = dir.path().join("records.ndjson");
    assert!(with(&["audit", "export", "--output", text(&exported)]).status.success());
    let lines: Vec<String> = std::fs::read_to_string(&exported).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len() as u64, MINUTES * SYMBOLS.len() as u64);

    let record: Value = serde_json::from_str(&lines[7]).unwrap();
    let output = with(&["explain", record["decision_id"].as_str().unwrap()]);
    let said = stdout(&output);
    assert!(said.contains("base value") && said.contains("prediction") && said.contains("risk checks"), "{said}");
    assert!(said.contains(record["hash"].as_str().unwrap()), "{said}");
    assert_eq!(with(&["explain", "no-such-decision"]).status.code(), Some(3));
    assert_eq!(with(&["explain", ""]).status.code(), Some(2));
    let no_chain = with(&["audit", "export", "--chain", "99"]);
    assert_eq!(no_chain.status.code(), Some(3));
    assert!(stderr(&no_chain).contains("there is no chain 99; there are 2, 7"), "{}", stderr(&no_chain));

    // From the store, then only what is new since.
    let heads = dir.path().join("heads.json");
    let verify = || json(&["audit", "verify", "--resume", text(&heads), "--data", text(&data), "--json"]);
    let sound = verify();
    assert_eq!((&sound["ok"], &sound["records"]), (&json!(true), &json!(lines.len())));
    assert_eq!(verify()["records"], 0);
    // A head that somebody changed is told at the record that it is of.
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&heads).unwrap()).unwrap();
    let mut other = kept.clone();
    other["chains"][0]["hash"] = json!("ab".repeat(32));
    std::fs::write(&heads, other.to_string()).unwrap();
    let output = with(&["audit", "verify", "--resume", text(&heads), "--json"]);
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let last = kept["chains"][0]["records"].as_u64().unwrap() - 1;
    assert_eq!((output.status.code(), &found["chains"][0]["first_bad"]), (Some(1), &json!(last)), "{found}");
    assert!(found["chains"][0]["fault"].as_str().unwrap().contains("another hash than the head"), "{found}");

    let bent = |what: &str, lines: &[String]| {
        let file = dir.path().join("bent.ndjson");
        std::fs::write(&file, lines.join("\n")).unwrap();
        let output = run(&["audit", "verify", "--file", text(&file), "--json"]);
        let found: Value =
            serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{what}: {}", stderr(&output)));
        assert_eq!((output.status.code(), &found["ok"]), (Some(1), &json!(false)), "{what}: {found}");
        let first = found["chains"].as_array().unwrap().iter().find_map(|chain| chain["first_bad"].as_u64());
        first.unwrap_or_else(|| panic!("{what}: {found}"))
    };
    let index = |at: usize| serde_json::from_str::<Value>(&lines[at]).unwrap()["index"].as_u64().unwrap();
    let changed = |from: &str, to: &str| {
        let mut all = lines.clone();
        assert!(all[7].contains(from), "{}", all[7]);
        all[7] = all[7].replacen(from, to, 1);
        all
    };
    let base64 = record["record"].as_str().unwrap();
    let flipped: String =
        base64.chars().enumerate().map(|(at, c)| if at == 40 { if c == 'A' { 'B' } else { 'A' } } else { c }).collect();
    assert_eq!(bent("a changed byte", &changed(base64, &flipped)), index(7));
    let symbol = format!("\"symbol\":\"{}\"", record["symbol"].as_str().unwrap());
    assert_eq!(bent("a changed column", &changed(&symbol, "\"symbol\":\"ZZZ\"")), index(7));
    let mut dropped = lines.clone();
    dropped.remove(7);
    assert_eq!(bent("a dropped record", &dropped), index(7));
    let mut swapped = lines.clone();
    swapped.swap(7, 8);
    assert_eq!(bent("two swapped", &swapped), index(7));
}

#[test]
fn what_is_cut_off_or_gone_as_a_whole_is_found_by_its_anchor() {
    let dir = tempfile::tempdir().unwrap();
    let (data, _) = replayed(dir.path(), "data");
    let with = |args: &[&str]| run(&[args, &["--data", text(&data)]].concat());
    let (exported, anchors) = (dir.path().join("records.ndjson"), dir.path().join("anchors.ndjson"));
    assert!(with(&["audit", "export", "--output", text(&exported)]).status.success());
    let entries = with(&["consume", "audit-logs", "--json"]);
    std::fs::write(&anchors, stdout(&entries)).unwrap();
    let all = std::fs::read_to_string(&exported).unwrap();
    let lines: Vec<&str> = all.lines().collect();
    let check = |lines: &[&str]| {
        std::fs::write(&exported, lines.join("\n")).unwrap();
        let output = run(&["audit", "verify", "--file", text(&exported), "--anchors", text(&anchors), "--json"]);
        let found: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)));
        (output.status.code(), found)
    };
    let (code, found) = check(&lines);
    assert_eq!(code, Some(0), "{found}");
    assert_eq!(found["chains"][0]["anchored"], found["chains"][0]["good"], "all of it is anchored: {found}");
    assert_eq!(check(&lines[..lines.len() - 1]).0, Some(1), "a cut end");
    let chain = |line: &str| serde_json::from_str::<Value>(line).unwrap()["chain"].clone();
    let without: Vec<&str> = lines.iter().copied().filter(|line| chain(line) != chain(lines[0])).collect();
    assert!(!without.is_empty());
    let (code, found) = check(&without);
    assert_eq!(code, Some(1), "{found}");
    let gone = found["chains"].as_array().unwrap().iter().find(|verdict| verdict["chain"] == chain(lines[0]));
    assert_eq!(gone.unwrap()["first_bad"], 0, "{found}");
}

#[test]
fn two_replays_of_a_file_end_with_the_same_chains() {
    let dir = tempfile::tempdir().unwrap();
    let heads = |name: &str| {
        let (data, config) = replayed(dir.path(), name);
        let deck = Deck::start(&["up", "--roles", "api", "--config", text(&config), "--data", text(&data)]);
        let chains = deck.get("/api/admin/chains")["items"].as_array().unwrap().clone();
        chains.iter().map(|chain| (chain["chain"].clone(), chain["head"].clone())).collect::<Vec<_>>()
    };
    let first = heads("one");
    assert!(!first.is_empty());
    assert_eq!(heads("two"), first);
}
