//! Questions to the process over HTTP, told apart by whether an answer came.
//!
//! Not here: what is asked.

use std::time::Duration;

use serde_json::Value;

/// An answer of the largest page of records stays far below it.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// What came back.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A status and its JSON; null where it was none.
    Came(u16, Value),
    /// Nothing, or half of it.
    None(String),
}

/// Asks one process.
pub(crate) struct Client {
    base: String,
    agent: ureq::Agent,
}

impl Client {
    /// A client that waits so long for an answer.
    pub(crate) fn new(base: &str, timeout: Duration) -> Self {
        let agent = ureq::Agent::config_builder().timeout_global(Some(timeout)).http_status_as_error(false).build();
        Self { base: base.to_owned(), agent: agent.into() }
    }

    pub(crate) fn get(&self, path: &str, query: &[(&str, &str)]) -> Answer {
        let request = self.agent.get(format!("{}{path}", self.base));
        read(query.iter().fold(request, |request, (name, value)| request.query(*name, *value)).call())
    }

    pub(crate) fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        read(self.agent.post(format!("{}{path}", self.base)).header("content-type", content_type).send(body))
    }

    /// An answer that must come and be good.
    ///
    /// # Errors
    /// None came, or another.
    pub(crate) fn must(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        match self.get(path, query) {
            Answer::Came(200, value) => Ok(value),
            Answer::Came(status, value) => anyhow::bail!("{path} was answered with {status}: {}", value["detail"]),
            Answer::None(why) => anyhow::bail!("{path} was not answered: {why}"),
        }
    }

    /// Text that must come.
    ///
    /// # Errors
    /// None came.
    pub(crate) fn text(&self, path: &str) -> anyhow::Result<String> {
        Ok(self.agent.get(format!("{}{path}", self.base)).call()?.body_mut().read_to_string()?)
    }
}

fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Answer::None(error.to_string()),
    };
    let status = answer.status().as_u16();
    match answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec() {
        Ok(bytes) => Answer::Came(status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)),
        Err(error) => Answer::None(error.to_string()),
    }
}
