//! A cluster's config on the servers that all tests share, and all that the api
//! answers about what was traded.
//!
//! Not here: what is asserted.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Deck, text};

/// A config with names of its own on both servers, where they are there; `more` is
/// added to it as it is.
pub fn config(dir: &Path, what: &str, more: &str) -> Option<PathBuf> {
    let (kafka, postgres) = (tapedeck_testbed::kafka()?, tapedeck_testbed::postgres()?);
    Some(config_of(dir, what, (&kafka, &format!("{}.", tapedeck_testbed::name(what))), &postgres, more))
}

/// The same for one broker and a prefix, and one database.
pub fn config_of(dir: &Path, what: &str, (kafka, prefix): (&str, &str), postgres: &str, more: &str) -> PathBuf {
    let (path, secret) = (dir.join(format!("{what}.toml")), dir.join(format!("{what}.password")));
    let (url, password) = without_password(postgres);
    std::fs::write(&secret, password).unwrap();
    let config = format!(
        "{more}\n[log]\nkind = \"kafka\"\n\n[kafka]\nbootstrap_servers = \"{kafka}\"\nprefix = \"{prefix}\"\n\n\
         [store]\nkind = \"postgres\"\n\n[postgres]\nurl = \"{url}\"\npassword = \"file:{}\"\ntls = \"disable\"\n",
        text(&secret)
    );
    std::fs::write(&path, config).unwrap();
    path
}

/// A URL as the config takes it, and the password that it held.
fn without_password(url: &str) -> (String, String) {
    let (before, place) = url.split_once('@').unwrap();
    let (scheme_and_user, password) = before.rsplit_once(':').unwrap();
    (format!("{scheme_and_user}@{place}"), password.to_owned())
}

/// What the api answers about all that was traded. Cursors name offsets, which are a
/// log's own, and are left out.
pub fn answers(deck: &Deck) -> Vec<(String, Value)> {
    let lists = ["/api/fills", "/api/fills?symbol=AAA", "/api/orders", "/api/alerts"];
    let mut answers: Vec<(String, Value)> =
        lists.iter().map(|path| ((*path).to_owned(), Value::from(deck.all(path)))).collect();
    let accounts = deck.get("/api/accounts");
    let account = accounts["items"][0]["account"].as_str().unwrap().to_owned();
    let fills = answers[0].1.as_array().unwrap();
    let time = |fill: Option<&Value>| fill.unwrap()["timestamp"].as_str().unwrap().to_owned();
    let (to, from) = (time(fills.first()), time(fills.last()));
    let others = [
        "/api/accounts".to_owned(),
        format!("/api/positions/latest?account={account}"),
        format!("/api/metrics/risk?account={account}"),
        format!("/api/metrics/symbols?account={account}"),
        format!("/api/pnl?account={account}&from={from}&to={to}&interval=1h"),
        format!("/api/pnl?account={account}&symbol=AAA&from={from}&to={to}&interval=1h"),
    ];
    answers.extend(others.into_iter().map(|path| {
        let answer = deck.get(&path);
        (path, answer)
    }));
    answers
}
