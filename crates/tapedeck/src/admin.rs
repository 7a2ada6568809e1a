//! The command line's way to a log that may be held by another process: the
//! admin api. Where nobody holds the folder, this process opens it and serves
//! the api to itself, so that there is one way and not two.
//!
//! Not here: what is asked.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tapedeck_flow::Stop;

use crate::{
    config::{Config, LogKind},
    deck::{Claim, Deck, Folder},
    exit,
};

/// What an answer may take: long polls of `consume --follow` wait 10 s themselves.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Tables of all topics and pages of a thousand records stay far below it.
const MAX_ANSWER_BYTES: u64 = 256 << 20;

/// Asks the process that holds the folder, which may be this one.
pub(crate) struct Admin {
    base: String,
    agent: ureq::Agent,
    own: Option<Deck>,
}

impl Admin {
    /// Finds the process that holds the folder, or opens the folder itself.
    ///
    /// # Errors
    /// The folder is held by a process that serves no api, or is damaged.
    pub(crate) fn connect(config: &Config) -> anyhow::Result<Self> {
        let dir = &config.data.dir;
        if !dir.exists() && config.log.kind == LogKind::Embedded {
            return Err(exit::folder(format!("there is no data folder {}: name one with --data", dir.display())));
        }
        let (base, own) = match Folder::claim(dir)? {
            Claim::Taken(Some(address)) => (address, None),
            Claim::Taken(None) => {
                return Err(exit::folder(format!(
                    "another tapedeck works in {} without serving the api: wait for it, or run it with the api role",
                    dir.display()
                )));
            }
            Claim::Ours(folder) => {
                let mut config = config.clone();
                "127.0.0.1:0".clone_into(&mut config.api.listen);
                let mut deck = Deck::open_to_look(folder, &config, Stop::new())?;
                deck.serve(&config)?;
                (deck.url().unwrap_or_default(), Some(deck))
            }
        };
        let agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build();
        Ok(Self { base, agent: agent.into(), own })
    }

    /// Gets an answer.
    ///
    /// # Errors
    /// The process does not answer, or refuses; the problem's own words.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<T> {
        let request = self.agent.get(format!("{}{path}", self.base));
        let request = query.iter().fold(request, |request, (name, value)| request.query(*name, value));
        read(request.call(), &self.base)
    }

    /// Posts a body and gets an answer; also one that says that nothing was taken.
    ///
    /// # Errors
    /// The process does not answer, or refuses; the problem's own words.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, content_type: &str, body: &[u8]) -> anyhow::Result<T> {
        let request = self.agent.post(format!("{}{path}", self.base)).header("content-type", content_type);
        read(request.send(body), &self.base)
    }

    /// Asks for the end of something and gets it as it is now.
    ///
    /// # Errors
    /// The process does not answer, or refuses; the problem's own words.
    pub(crate) fn delete<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        read(self.agent.delete(format!("{}{path}", self.base)).call(), &self.base)
    }

    /// Ends in order, where the folder was opened here.
    pub(crate) fn close(self) {
        if let Some(deck) = self.own {
            deck.shut_down();
        }
    }
}

fn read<T: DeserializeOwned>(
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    base: &str,
) -> anyhow::Result<T> {
    let mut answer = answer
        .map_err(|error| anyhow::anyhow!("the tapedeck at {base} does not answer ({error}): is it still running?"))?;
    let status = answer.status();
    let bytes = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec()?;
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|_| anyhow::anyhow!("{base} answered {status}, not JSON"))?;
    // The result of an events post is one also where none was taken, and is a problem too.
    if !status.is_success() && value.get("results").is_none() {
        let detail = value["detail"].as_str().or(value["title"].as_str()).unwrap_or_default();
        return Err(exit::input(detail));
    }
    Ok(serde_json::from_value(value)?)
}
