//! Replays of files through the real program: the same digest whatever happens
//! on the way, and money that a second, simple calculation agrees with.
//!
//! Not here: the roles' own tests.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::{collections::BTreeMap, fmt::Write as _, path::Path, process::Stdio, time::Duration};

use common::{Deck, Dice, bars, json, recording, run, stderr, tapedeck, text};
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::Value;
use sha2::{Digest, Sha256};

mod common;

fn replay(file: &Path, data: &Path, more: &[&str]) -> Value {
    let mut args = vec!["replay", text(file), "--currency", "USD", "--json", "--data", text(data)];
    args.extend(more);
    json(&args)
}

/// Starts a replay and kills it, again and again, each time after another while;
/// returns how often it was still at work.
fn cut(file: &Path, data: &Path, more: &[&str], times: u64, seed: u64) -> u64 {
    let mut dice = Dice::new(seed);
    let mut kills = 0;
    for _ in 0..times {
        let mut args = vec!["replay", text(file), "--currency", "USD", "--json", "--data", text(data)];
        args.extend(more);
        let mut child = tapedeck(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // A random moment is what is tested here, not a state that is waited for.
        std::thread::sleep(Duration::from_millis(20 + dice.below(400)));
        kills += u64::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    kills
}

#[test]
fn the_same_file_twice_gives_the_same_digest() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bars.csv");
    bars(&file, &["AAA"], 3_000, 1);
    let one = replay(&file, &dir.path().join("one"), &[]);
    let two = replay(&file, &dir.path().join("two"), &[]);
    assert!(one["fills"].as_u64().unwrap() > 100, "{one}");
    assert_eq!(one["digest"], two["digest"]);
    assert_eq!(one["events"], two["events"]);
    assert_eq!(one["pnl"], two["pnl"]);
    assert_eq!(one["pnl"][0]["adds_up"], true, "{one}");
}

#[test]
fn a_throttled_replay_has_the_digest_of_one_at_full_speed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bars.csv");
    bars(&file, &["AAA", "BBB"], 600, 2);
    let fast = replay(&file, &dir.path().join("fast"), &[]);
    // 600 minutes in about 3 s.
    let slow = replay(&file, &dir.path().join("slow"), &["--speed", "12000x"]);
    assert!(fast["fills"].as_u64().unwrap() > 20, "{fast}");
    assert_eq!(fast["digest"], slow["digest"]);
    assert_eq!(fast["events"], slow["events"]);
}

#[test]
fn a_replay_killed_at_random_moments_and_continued_ends_as_if_nothing_had_happened() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bars.csv");
    bars(&file, &["AAA", "BBB"], 4_000, 3);
    let whole = replay(&file, &dir.path().join("whole"), &[]);
    let data = dir.path().join("cut");
    let kills = cut(&file, &data, &[], 12, 4);
    assert!(kills > 0, "the replay was always over before the kill");
    let cut = replay(&file, &data, &[]);
    assert_eq!(whole["digest"], cut["digest"]);
    assert_eq!(whole["events"], cut["events"]);
    assert_eq!(whole["pnl"], cut["pnl"]);
}

#[test]
fn a_continued_replay_keeps_the_records_and_positions_from_before_the_kill() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bars.csv");
    bars(&file, &["AAA"], 2_000, 5);
    let data = dir.path().join("data");
    let args = ["replay", text(&file), "--currency", "USD", "--json", "--speed", "20000x", "--data", text(&data)];
    let mut child = tapedeck(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Some half a megabyte in the store is a good part of the file, and not all of it.
    let store = data.join("store.db-wal");
    common::eventually("rows in the store", || {
        std::fs::metadata(&store).is_ok_and(|file| file.len() > 500_000).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let before = {
        let deck = Deck::start(&["up", "--roles", "api", "--data", text(&data)]);
        deck.all("/api/fills")
    };
    let after = replay(&file, &data, &[]);
    assert_eq!(after["continued"], true);
    let deck = Deck::start(&["up", "--roles", "api", "--data", text(&data)]);
    let fills = deck.all("/api/fills");
    assert!(!before.is_empty() && before.len() < fills.len(), "{} of {}", before.len(), fills.len());
    assert_eq!(fills[fills.len() - before.len()..], before[..]);
}

#[test]
fn a_finished_replay_prints_the_same_object_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bars.csv");
    bars(&file, &["AAA"], 300, 6);
    let data = dir.path().join("data");
    assert_eq!(replay(&file, &data, &[]), replay(&file, &data, &[]));
}

#[test]
fn another_file_or_setting_on_the_same_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one.csv"), dir.path().join("two.csv"));
    bars(&one, &["AAA"], 100, 7);
    bars(&two, &["AAA"], 100, 8);
    let data = dir.path().join("data");
    replay(&one, &data, &[]);
    for (file, more, named) in [(&two, "UTC", "`files` differs"), (&one, "Europe/Berlin", "`sources` differs")] {
        let output = run(&["replay", text(file), "--currency", "USD", "--tz", more, "--data", text(&data)]);
        assert_eq!(output.status.code(), Some(3));
        let said = stderr(&output);
        assert!(said.contains(named) && said.contains("--data"), "{said}");
    }
}

#[test]
fn up_fed_the_same_file_ends_with_the_digest_of_the_replay() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bars.csv");
    bars(&file, &["AAA", "BBB"], 1_000, 9);
    let replayed = replay(&file, &dir.path().join("replay"), &["--config", text(&config(dir.path(), &file))]);
    let config = config(dir.path(), &file);
    let deck = Deck::start(&["up", "--config", text(&config), "--data", text(&dir.path().join("up"))]);
    let wanted = replayed["fills"].as_u64().unwrap();
    assert!(wanted > 20);
    let fills = common::eventually("all fills", || {
        // Without an account in the query, since it is there only with its first event.
        let fills = deck.all("/api/fills");
        (fills.len() as u64 >= wanted).then_some(fills)
    });
    assert_eq!(digest(fills), replayed["digest"].as_str().unwrap());
    assert_eq!(deck.terminate(), 0);
}

/// The digest as docs/replay.md says that anybody can make it.
fn digest(mut fills: Vec<Value>) -> String {
    let number = |fill: &Value| fill["execution_number"].as_u64().unwrap();
    let account = |fill: &Value| fill["account"].as_str().unwrap().to_owned();
    fills.sort_by_key(|fill| (account(fill), number(fill)));
    let mut lines = String::new();
    for fill in &fills {
        let field = |name: &str| fill[name].as_str().unwrap();
        writeln!(
            lines,
            "{}|{}|{}|{}|{}|{}|{}|{}",
            field("account"),
            field("symbol"),
            number(fill),
            field("side"),
            field("quantity"),
            field("price"),
            field("commission"),
            field("timestamp")
        )
        .unwrap();
    }
    Sha256::digest(lines).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn config(dir: &Path, file: &Path) -> std::path::PathBuf {
    let path = dir.join("tapedeck.toml");
    let text = format!(
        "[[sources]]\nid = \"replay\"\nkind = \"file\"\npath = {file:?}\nspeed = \"max\"\n\n\
         [[strategies]]\nid = \"sma\"\nkind = \"sma_crossover\"\nsession_id = \"s\"\nfast = 5\nslow = 15\n\n\
         [[sessions]]\nid = \"s\"\naccount = \"REPLAY\"\nmarket_source = \"replay\"\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Positions and money over raw executions, the simple way: a quantity and its
/// cost, nothing shared with the broker.
#[derive(Default)]
struct Book {
    quantity: Decimal,
    cost: Decimal,
    realized: Decimal,
    fees: Decimal,
}

fn money(value: Decimal) -> Decimal {
    value.round_dp_with_strategy(8, RoundingStrategy::MidpointNearestEven)
}

impl Book {
    fn take(&mut self, signed: Decimal, price: Decimal, fee: Decimal) {
        self.fees += fee;
        let closes = self.quantity.is_sign_positive() != signed.is_sign_positive() && !self.quantity.is_zero();
        let closed = if closes { self.quantity.abs().min(signed.abs()) } else { Decimal::ZERO };
        let notional = money(signed * price);
        if !closed.is_zero() {
            let released =
                if closed == self.quantity.abs() { self.cost } else { money(self.cost * closed / self.quantity.abs()) };
            let sign = if self.quantity.is_sign_positive() { Decimal::ONE } else { -Decimal::ONE };
            let proceeds = if closed == signed.abs() { -notional } else { money(closed * price) * sign };
            self.realized += proceeds - released;
            self.cost += -released + (notional + proceeds);
        } else {
            self.cost += notional;
        }
        self.quantity += signed;
    }
}

fn check_money(data: &Path) {
    let deck = Deck::start(&["up", "--roles", "api", "--data", text(data)]);
    let mut fills = deck.all("/api/fills");
    fills.sort_by_key(|fill| fill["execution_number"].as_u64().unwrap());
    let mut books: BTreeMap<String, Book> = BTreeMap::new();
    let decimal = |value: &Value| value.as_str().unwrap().parse::<Decimal>().unwrap();
    for fill in &fills {
        let sign = if fill["side"] == "BUY" { Decimal::ONE } else { -Decimal::ONE };
        let book = books.entry(fill["symbol"].as_str().unwrap().to_owned()).or_default();
        book.take(sign * decimal(&fill["quantity"]), decimal(&fill["price"]), decimal(&fill["commission"]));
    }
    let latest = deck.get("/api/positions/latest");
    let account = &latest["accounts"][0];
    let mut unrealized = Decimal::ZERO;
    let held: BTreeMap<&str, &Value> =
        account["positions"].as_array().unwrap().iter().map(|p| (p["symbol"].as_str().unwrap(), p)).collect();
    for (symbol, book) in &books {
        match held.get(symbol.as_str()) {
            None => assert!(book.quantity.is_zero(), "{symbol} should be held: {}", book.quantity),
            Some(position) => {
                assert_eq!(decimal(&position["quantity"]), book.quantity.abs(), "{symbol}");
                let side = if book.quantity.is_sign_positive() { "LONG" } else { "SHORT" };
                assert_eq!(position["side"], side);
                let own = money(book.quantity * decimal(&position["mark_price"])) - book.cost;
                assert_eq!(decimal(&position["unrealized_pnl"]), own, "{symbol}");
                unrealized += own;
            }
        }
    }
    let realized: Decimal = books.values().map(|book| book.realized).sum();
    let fees: Decimal = books.values().map(|book| book.fees).sum();
    let start = decimal(&deck.get("/api/accounts")["items"][0]["starting_equity"]);
    assert_eq!(decimal(&account["risk"]["equity"]) - start, realized + unrealized - fees);
}

#[test]
fn positions_and_pnl_agree_with_a_second_calculation_over_the_executions() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bars.csv");
    bars(&file, &["AAA", "BBB"], 2_000, 10);
    let data = dir.path().join("data");
    assert_eq!(replay(&file, &data, &[])["pnl"][0]["adds_up"], true);
    check_money(&data);
}

const QUOTES: &str = "time=1,bid=2,ask=3,volume=4";
/// The recordings, what must be said of each, and a speed at which it takes some seconds.
const RECORDINGS: [(&str, &[&str], &str); 3] = [
    ("btc-perp-1m-2022-01.csv.gz", &["--symbol", "BTCUSDT", "--volume-unit", "quote"], "500000x"),
    ("eurusd-quotes-2020-01.csv.gz", &["--symbol", "EURUSD", "--columns", QUOTES], "30000x"),
    ("usdjpy-ticks-2013-01.csv", &["--symbol", "USDJPY"], "1000x"),
];

#[test]
fn real_recordings_end_with_one_digest_at_full_speed_throttled_and_killed() {
    for (name, more, speed) in RECORDINGS {
        let Some(file) = recording(name) else { continue };
        let dir = tempfile::tempdir().unwrap();
        let whole = replay(&file, &dir.path().join("whole"), more);
        assert!(whole["fills"].as_u64().unwrap() > 0, "{name}: {whole}");
        assert_eq!(whole["pnl"][0]["adds_up"], true, "{name}: {whole}");
        check_money(&dir.path().join("whole"));

        let mut throttled = more.to_vec();
        throttled.extend(["--speed", speed]);
        let slow = replay(&file, &dir.path().join("slow"), &throttled);
        assert_eq!(whole["digest"], slow["digest"], "{name} throttled");

        let data = dir.path().join("cut");
        cut(&file, &data, more, 5, 23);
        let continued = replay(&file, &data, more);
        for what in ["digest", "events", "pnl"] {
            assert_eq!(whole[what], continued[what], "{name} killed: {what}");
        }
    }
}
