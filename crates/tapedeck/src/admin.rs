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
    backends::{self, LOG_FILE},
    chaos::rehearsal::Rehearsal,
    cli::Role,
    config::{Config, LogKind},
    deck::{Deck, Mode},
    exit,
    folder::{Claim, Folder},
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
        Self::connect_with(config, |folder, config| {
            let mut deck = Deck::open_to_look(folder, config, Stop::new())?;
            deck.serve(config)?;
            Ok(deck)
        })
    }

    /// The same to add to the log, unless somebody began to move to it and has not finished.
    ///
    /// # Errors
    /// Those of [`Admin::connect`], and that log or store are half moved.
    pub(crate) fn connect_to_write(config: &Config) -> anyhow::Result<Self> {
        Self::connect_with(config, |folder, config| {
            let mut deck = Deck::open_to_look(folder, config, Stop::new())?;
            backends::refuse_half_moved(&config.data.dir, config, Some(&*deck.log), &*deck.store)?;
            deck.serve(config)?;
            Ok(deck)
        })
    }

    /// The same to read what is there: a folder where nothing is stays as it is.
    ///
    /// # Errors
    /// Those of [`Admin::connect`], and that the folder holds no log.
    pub(crate) fn connect_to_read(config: &Config) -> anyhow::Result<Self> {
        expect_log(config)?;
        Self::connect(config)
    }

    /// The same for events that are kept to be sent; the log may be away.
    ///
    /// # Errors
    /// Those of [`Admin::connect`].
    pub(crate) fn connect_to_emit(config: &Config) -> anyhow::Result<Self> {
        Self::connect_with(config, |folder, config| {
            let mut deck = Deck::open_to_stay(folder, config, Stop::new(), &Rehearsal::default())?;
            deck.start(config, &[Role::Api], Mode::Live)?;
            Ok(deck)
        })
    }

    fn connect_with(
        config: &Config,
        open: impl FnOnce(Folder, &Config) -> anyhow::Result<Deck>,
    ) -> anyhow::Result<Self> {
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
                let deck = open(folder, &config)?;
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

    /// Gets an answer; none where there is no such thing.
    ///
    /// # Errors
    /// Those of [`Admin::get`] but for a 404.
    pub(crate) fn find<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Option<T>> {
        let answer = self.agent.get(format!("{}{path}", self.base)).call();
        match answer {
            Ok(answer) if answer.status() == 404 => Ok(None),
            answer => read(answer, &self.base).map(Some),
        }
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

    /// The same, and says where the log turned out to be one that cannot be had: what was
    /// kept to be sent stays, until that is mended.
    ///
    /// # Errors
    /// The cluster refuses.
    pub(crate) fn close_emitting(self) -> anyhow::Result<()> {
        let failure = self.own.as_ref().and_then(Deck::late_failure);
        self.close();
        failure.map_or(Ok(()), |error| Err(error.context("the events are kept, and cannot be sent yet")))
    }
}

/// Refuses a folder that holds no log, where one would be made by looking.
///
/// # Errors
/// It holds none.
pub(crate) fn expect_log(config: &Config) -> anyhow::Result<()> {
    let dir = &config.data.dir;
    if config.log.kind == LogKind::Embedded && dir.exists() && !dir.join(LOG_FILE).exists() {
        return Err(exit::folder(format!(
            "{} is no data folder of tapedeck: there is no {LOG_FILE} in it. Name the folder of `tapedeck up` or `tapedeck \
             demo` with --data",
            dir.display()
        )));
    }
    Ok(())
}

/// A problem with a field of the body that we made, in the words of who gave the
/// flags: `$.max_redrives: …` is `--max-redrives: …`.
fn in_flags(detail: &str) -> String {
    let Some((field, rest)) = detail.strip_prefix("$.").and_then(|rest| rest.split_once(": ")) else {
        return detail.to_owned();
    };
    // A member of a map: `$.model.bull: …` is `--model bull: …`.
    if let Some((map, member)) = field.split_once('.') {
        return format!("--{} {member}: {rest}", map.replace('_', "-"));
    }
    match field.split_once('[') {
        // What has no flag is told by its place on the command line.
        Some((_, index)) => match index.trim_end_matches(']').parse::<usize>() {
            Ok(index) => format!("argument {}: {rest}", index + 1),
            Err(_) => detail.to_owned(),
        },
        None => format!("--{}: {rest}", field.replace('_', "-")),
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
        return Err(exit::input(in_flags(detail)));
    }
    Ok(serde_json::from_value(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_a_flag_made_is_named_by_the_flag() {
        assert_eq!(in_flags("$.class: expected one of a, b"), "--class: expected one of a, b");
        assert_eq!(in_flags("$.max_redrives: expected at least 1"), "--max-redrives: expected at least 1");
        assert_eq!(in_flags("$.model.a_b: no version"), "--model a_b: no version");
        assert_eq!(in_flags("$.which[1]: no id"), "argument 2: no id");
        assert_eq!(in_flags("there is no topic `a: b`"), "there is no topic `a: b`");
    }
}
