//! Decisions of the real program: the same whatever is killed on the way, traded in
//! their account's session, and made for whoever asks.
//!
//! Not here: how a decision is made, which the role's tests hold.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use common::{Deck, Dice, bars, eventually, json, run, stderr, stdout, tapedeck, text};
use serde_json::{Value, json};

mod common;

const POST: &str = "/api/v1/decisions";
const JSON: &str = "application/json";

/// One account trades signals, another decisions; `speed` of the file's market.
fn config(dir: &Path, file: &Path, speed: &str) -> PathBuf {
    let path = dir.join(format!("{speed}.toml"));
    let text = format!(
        "[[sources]]\nid = \"replay\"\nkind = \"file\"\npath = {file:?}\nspeed = \"{speed}\"\n\n\
         [[strategies]]\nid = \"sma\"\nkind = \"sma_crossover\"\nsession_id = \"s\"\nfast = 5\nslow = 15\n\n\
         [[sessions]]\nid = \"s\"\naccount = \"SIGNALS\"\nmarket_source = \"replay\"\n\n\
         [[sessions]]\nid = \"d\"\naccount = \"DECISIONS\"\nmarket_source = \"replay\"\nsource = \"decisions\"\n\n\
         [inference]\nband = 0.01\nlot = \"0.001\"\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Everything that lies in a topic, by event id: what comes twice is the same.
fn all(data: &Path, topic: &str) -> BTreeMap<String, Value> {
    let output = run(&["consume", topic, "--from", "earliest", "--json", "--data", text(data)]);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    for line in stdout(&output).lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let id = record["headers"]["ce_id"].as_str().unwrap().to_owned();
        let before = all.insert(id.clone(), record["value"].clone());
        assert!(before.is_none_or(|before| before == record["value"]), "{id} was decided again, differently");
    }
    all
}

/// The deck has gone through so many bars of the file.
fn until_applied(deck: &Deck, last: &str) {
    eventually("all bars", || {
        let accounts = deck.get("/api/accounts");
        let ended = |account: &Value| account["as_of"].as_str() == Some(last);
        let accounts = accounts["items"].as_array()?;
        (accounts.len() == 2 && accounts.iter().all(ended)).then_some(())
    });
}

#[test]
fn whatever_is_killed_the_same_decisions_are_made_under_the_same_ids_and_none_is_missing() {
    const MINUTES: u64 = 600;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bars.csv");
    bars(&file, &["AAA"], MINUTES, 21);
    let last = "2023-11-15T08:14:00.000000Z";

    let calm = dir.path().join("calm");
    let deck = Deck::start(&["up", "--config", text(&config(dir.path(), &file, "max")), "--data", text(&calm)]);
    until_applied(&deck, last);
    assert_eq!(deck.terminate(), 0);
    let expected = all(&calm, "trading_decisions");
    assert_eq!(expected.len() as u64, MINUTES, "one for each final bar");
    let of = |what: &str| expected.values().filter(|decision| decision["action"] == what).count();
    assert!(of("BUY") > 100 && of("HOLD") > 10, "{} {}", of("BUY"), of("HOLD"));
    let rejected = |reason: &str| expected.values().filter(|decision| decision["reasons"][0] == reason).count();
    assert!(rejected("not_warm") > 0);

    let cut = dir.path().join("cut");
    // Some six seconds of market.
    let config = config(dir.path(), &file, "6000x");
    let mut dice = Dice::new(5);
    for _ in 0..5 {
        let deck = Deck::start(&["up", "--config", text(&config), "--data", text(&cut)]);
        // A random moment is what is tested here, not a state that is waited for.
        std::thread::sleep(Duration::from_millis(200 + dice.below(700)));
        deck.kill();
    }
    let deck = Deck::start(&["up", "--config", text(&config), "--data", text(&cut)]);
    until_applied(&deck, last);
    assert_eq!(deck.terminate(), 0);
    assert_eq!(all(&cut, "trading_decisions"), expected);
    for topic in ["risk_decisions", "regime_changes"] {
        assert_eq!(all(&cut, topic), all(&calm, topic), "{topic}");
    }
}

#[test]
fn a_replay_of_both_sources_has_one_digest_also_where_it_is_killed_and_continued() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bars.csv");
    // The last one lies in a partition that signals do not have.
    bars(&file, &["AAA", "BBB", "ETHUSDT"], 1_500, 22);
    let config = config(dir.path(), &file, "max");
    let args = |data: &Path| {
        let args = ["replay", text(&file), "--currency", "USD", "--json", "--config", text(&config), "--data"];
        args.map(str::to_owned).into_iter().chain([text(data).to_owned()]).collect::<Vec<_>>()
    };
    let replay = |data: &Path| json(&args(data).iter().map(String::as_str).collect::<Vec<_>>());
    let (one, two, cut) = (dir.path().join("one"), dir.path().join("two"), dir.path().join("cut"));
    let first = replay(&one);
    assert_eq!(first["events"]["trading_decisions"], 4_500, "{first}");
    assert!(first["pnl"].as_array().unwrap().iter().all(|pnl| pnl["adds_up"] == true), "{first}");
    let reports = all(&one, "exec.reports.v1");
    for (account, of_decision) in [("SIGNALS", false), ("DECISIONS", true)] {
        let own: Vec<_> = reports.values().filter(|report| report["account"] == account).collect();
        assert!(own.iter().filter(|report| report["exec_type"] == "TRADE").count() > 20, "{account} hardly trades");
        assert!(own.iter().all(|report| report["decision_id"].is_string() == of_decision), "{account}");
    }
    // What trades is what was accepted, and nothing else.
    let decisions = all(&one, "trading_decisions");
    for report in reports.values().filter(|report| report["account"] == "DECISIONS") {
        let decision = &decisions[report["decision_id"].as_str().unwrap()];
        assert_eq!((&decision["outcome"], &decision["account"]), (&json!("accepted"), &json!("DECISIONS")));
        assert_eq!(decision["action"], report["order"]["side"]);
    }

    let second = replay(&two);
    let mut dice = Dice::new(6);
    for _ in 0..6 {
        let args = args(&cut);
        let mut child = tapedeck(&args.iter().map(String::as_str).collect::<Vec<_>>())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(100 + dice.below(900)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let third = replay(&cut);
    for other in [&second, &third] {
        assert_eq!(other["digest"], first["digest"]);
        assert_eq!(other["events"], first["events"]);
        assert_eq!(other["pnl"], first["pnl"]);
    }
    assert_eq!(all(&two, "trading_decisions"), decisions);
    assert_eq!(all(&cut, "trading_decisions"), decisions);
}

/// A question with every feature that the demo's specialists look at.
fn question() -> Value {
    let names = [
        "return_1",
        "return_5",
        "return_15",
        "return_60",
        "volatility_15",
        "volatility_60",
        "volatility_ratio",
        "rsi",
        "macd",
        "macd_signal",
        "bollinger_place",
        "atr",
        "volume_ratio",
        "range_place_20",
        "sma_distance_10",
        "sma_distance_30",
        "skew_30",
        "up_share_20",
        "autocorrelation_30",
        "since_high_60",
    ];
    let features: serde_json::Map<_, _> = names.iter().map(|name| ((*name).to_owned(), json!(0.01))).collect();
    json!({ "symbol": "BTCUSDT", "account": "ASKED", "features": features })
}

#[test]
fn a_question_over_http_is_answered_with_a_decision_that_is_on_the_tape() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let deck = Deck::start(&["up", "--data", text(&data)]);
    let (status, decision) = deck.post(POST, JSON, &question().to_string());
    assert_eq!(status, 200, "{decision}");
    assert_eq!((&decision["account"], &decision["symbol"]), (&json!("ASKED"), &json!("BTCUSDT")));
    assert_eq!(decision["features"].as_object().unwrap().len(), 20);
    // A missing value is one too.
    let mut missing = question();
    missing["features"]["rsi"] = Value::Null;
    assert_eq!(deck.post(POST, JSON, &missing.to_string()).0, 200);

    for (change, path, words) in [
        (json!({ "features": { "rsl": 1 } }), "$.features.rsl", "did you mean `rsi`?"),
        (
            json!({ "features": { "rsi": "high" } }),
            "$.features.rsi",
            "expected a finite number or null, found \"high\"",
        ),
        (json!({ "regime_probs": { "bull": 0.5, "bear": 0.5, "sideways": 0.5 } }), "$.regime_probs", "sum to 1"),
        (json!({ "symbol": "" }), "$.symbol", "found an empty string"),
    ] {
        let mut wrong = question();
        for (key, value) in change.as_object().unwrap() {
            match value.as_object().filter(|_| key == "features") {
                Some(features) => wrong[key].as_object_mut().unwrap().extend(features.clone()),
                None => wrong[key] = value.clone(),
            }
        }
        let (status, problem) = deck.post(POST, JSON, &wrong.to_string());
        let error = &problem["errors"][0];
        assert_eq!((status, &error["path"]), (422, &json!(path)), "{problem}");
        assert!(error["detail"].as_str().unwrap().contains(words), "{problem}");
    }
    let large = question().to_string().replacen("\"rsi\":0.01", "\"rsi\":1e39", 1);
    let (status, problem) = deck.post(POST, JSON, &large);
    assert_eq!((status, &problem["errors"][0]["path"]), (422, &json!("$.features.rsi")), "{problem}");
    let mut missing = question();
    missing["features"].as_object_mut().unwrap().remove("atr");
    let (status, problem) = deck.post(POST, JSON, &missing.to_string());
    assert_eq!((status, &problem["errors"][0]["path"]), (422, &json!("$.features.atr")), "{problem}");
    let infinite = question().to_string().replacen("0.01", "1e999", 1);
    let (status, problem) = deck.post(POST, JSON, &infinite);
    assert_eq!(status, 422, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("found 1e999"), "{problem}");

    // Killed at once: what was answered is on the tape after the next start.
    deck.kill();
    let deck = Deck::start(&["up", "--data", text(&data)]);
    eventually("the decisions in the log", || {
        let emitters = deck.get("/api/admin/emitter");
        let api = emitters["items"].as_array()?.iter().find(|e| e["emitter"] == "api").cloned()?;
        (api["spooled_records"] == 0 && api["ring_bytes"] == 0).then_some(())
    });
    assert_eq!(deck.terminate(), 0);
    let kept = all(&data, "trading_decisions");
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[decision["decision_id"].as_str().unwrap()], decision);
}

#[test]
fn a_question_is_answered_while_the_log_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (data, faults) = (dir.path().join("data"), dir.path().join("faults"));
    let away = [("TAPEDECK_CHAOS_FAULTS", text(&faults))];
    std::fs::write(&faults, "log=full").unwrap();
    let deck = Deck::start_with(&["up", "--data", text(&data)], &away);
    let asked: Vec<_> = (0..20).map(|_| deck.post(POST, JSON, &question().to_string())).collect();
    for (status, decision) in &asked {
        assert_eq!(*status, 200, "{decision}");
    }
    std::fs::write(&faults, "log=ok").unwrap();
    eventually("the decisions in the log", || {
        let topics = deck.get("/api/admin/topics");
        let topic = topics["items"].as_array()?.iter().find(|topic| topic["topic"] == "trading_decisions")?.clone();
        (topic["records"] == 20).then_some(())
    });
    assert_eq!(deck.terminate(), 0);
    let kept = all(&data, "trading_decisions");
    assert!(asked.iter().all(|(_, decision)| kept[decision["decision_id"].as_str().unwrap()] == *decision));
}

#[test]
fn the_demo_shows_decisions_and_what_came_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let deck = Deck::start(&["demo", "--trade", "decisions", "--speed", "120x", "--data", text(dir.path())]);
    let fill = eventually("a fill of a decision", || {
        let (status, page) = deck.ask("/api/fills?account=DEMO&limit=1");
        page["items"].as_array().filter(|_| status == 200)?.first().cloned()
    });
    assert_eq!(deck.terminate(), 0);
    let decision = all(dir.path(), "trading_decisions").remove(fill["decision_id"].as_str().unwrap()).unwrap();
    assert_eq!((&decision["outcome"], &decision["action"]), (&json!("accepted"), &fill["side"]));
}

#[test]
fn a_process_of_the_api_alone_answers_with_the_model_that_was_announced_last() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    for file in ["bull_specialist/v1.json", "bear_specialist/v1.ubj", "sideways_specialist/v1.txt"] {
        std::fs::create_dir_all(models.join(file).parent().unwrap()).unwrap();
        std::fs::copy(shipped.join(file), models.join(file)).unwrap();
    }
    let path = dir.path().join("tapedeck.toml");
    std::fs::write(&path, format!("[inference.models]\ndir = {models:?}\n")).unwrap();
    let data = dir.path().join("data");
    let deck = Deck::start(&["up", "--roles", "api", "--config", text(&path), "--data", text(&data)]);
    let version = || {
        let (status, decision) = deck.post(POST, JSON, &question().to_string());
        assert_eq!(status, 200, "{decision}");
        decision["model_versions"]["bull_specialist"].clone()
    };
    assert_eq!(version(), "v1");
    // Its file comes after its announcement.
    let update = json!({
        "event_type": "model_update", "timestamp": "2025-01-01T00:00:00Z", "model_id": "bull_specialist_v2",
        "update_type": "incremental", "stability_check": "passed", "performance_metrics": {},
        "data_window": { "start": "2025-01-01T00:00:00Z", "end": "2025-01-01T00:00:00Z" },
    });
    assert_eq!(deck.post("/api/v1/events/model_updates", JSON, &update.to_string()).0, 202);
    std::fs::copy(models.join("bull_specialist/v1.json"), models.join("bull_specialist/v2.json")).unwrap();
    eventually("the new model", || (version() == "v2").then_some(()));
    assert_eq!(deck.terminate(), 0);
}

#[test]
fn models_that_cannot_be_read_are_named_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    std::fs::create_dir_all(models.join("bull_specialist")).unwrap();
    std::fs::write(models.join("bull_specialist/v3.json"), "{").unwrap();
    let path = dir.path().join("tapedeck.toml");
    std::fs::write(&path, format!("[inference.models]\ndir = {models:?}\n")).unwrap();
    let output = run(&["up", "--config", text(&path), "--data", text(&dir.path().join("data"))]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("bull_specialist/v3.json"), "{}", stderr(&output));
}

#[test]
fn decisions_on_signals_are_traded_the_same_in_every_replay() {
    let dir = tempfile::tempdir().unwrap();
    let (file, config) = (dir.path().join("bars.csv"), dir.path().join("t.toml"));
    bars(&file, &["AAA", "BBB", "CCC"], 400, 31);
    let text_of = "[[strategies]]\nid = \"turns\"\nkind = \"sma_crossover\"\nsession_id = \"d\"\nfast = 2\nslow = 5\n\n\
        [[sessions]]\nid = \"d\"\naccount = \"D\"\nmarket_source = \"replay\"\nsource = \"decisions\"\n\n\
        [inference]\ntrigger = \"signals\"\nband = 0.001\nlot = \"0.001\"\n";
    std::fs::write(&config, text_of).unwrap();
    let replayed = |name: &str| {
        let data = dir.path().join(name);
        let args =
            ["replay", text(&file), "--currency", "USD", "--config", text(&config), "--data", text(&data), "--json"];
        (json(&args), all(&data, "trading_decisions"))
    };
    let (first, decisions) = replayed("first");
    let signals = first["events"]["strategy-signals"].as_u64().unwrap();
    assert!(signals > 50 && first["events"]["trading_decisions"] == signals, "{first}");
    assert!(first["fills"].as_u64().unwrap() > 0, "{first}");
    assert!(decisions.values().all(|one| one["signal"]["strategy_id"] == "turns"), "{decisions:?}");
    let said = |reason: &str| decisions.values().filter(|one| one["reasons"].to_string().contains(reason)).count();
    assert!(said("signal_disagrees") > 0 && said("newest_features") == 0);
    let (second, again) = replayed("second");
    assert_eq!((&second["digest"], &again), (&first["digest"], &decisions));
}

#[test]
fn a_question_for_an_account_or_symbol_that_nobody_trades_is_refused_with_those_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let (config, data) = (dir.path().join("t.toml"), dir.path().join("data"));
    let text_of = "[[sources]]\nid = \"m\"\nkind = \"generator\"\nvenue = \"SIM\"\nsymbols = [\"BTCUSDT\"]\nevents = 1\n\n\
        [[instruments]]\nvenue = \"SIM\"\nsymbol = \"BTCUSDT\"\nquote_currency = \"USDT\"\n\n\
        [[sessions]]\nid = \"s\"\naccount = \"TRADES\"\ncurrency = \"USDT\"\nmarket_source = \"m\"\nsource = \"decisions\"\n";
    std::fs::write(&config, text_of).unwrap();
    let deck = Deck::start(&["up", "--config", text(&config), "--data", text(&data)]);
    let ask = |account: &str, symbol: &str| {
        let mut question = question();
        (question["account"], question["symbol"]) = (json!(account), json!(symbol));
        deck.post(POST, JSON, &question.to_string())
    };
    assert_eq!(ask("TRADES", "BTCUSDT").0, 200);
    for (account, symbol, path, known) in
        [("TRADER", "BTCUSDT", "$.account", "TRADES"), ("TRADES", "BTCUSD", "$.symbol", "BTCUSDT")]
    {
        let (status, problem) = ask(account, symbol);
        let error = &problem["errors"][0];
        assert_eq!((status, &error["path"]), (422, &json!(path)), "{problem}");
        assert!(error["detail"].as_str().unwrap().ends_with(&format!("there are {known}")), "{problem}");
    }
}
