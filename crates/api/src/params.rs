//! Query parameters, taken one by one by name: what nobody takes is an error
//! that names it.
//!
//! Not here: what the parameters mean.

use axum::{extract::Query, http::Uri};
use tapedeck_contracts::{Timestamp, ids::MAX_ID_BYTES};

use crate::problem::Problem;

/// Rows of a page where nobody says.
pub(crate) const LIMIT_DEFAULT: usize = 100;
/// Rows of a page at most.
pub(crate) const LIMIT_MAX: usize = 1_000;

/// The parameters that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Params {
    left: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl Params {
    pub(crate) fn of(uri: &Uri) -> Result<Self, Problem> {
        let Query(left) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Problem::bad("query", format!("cannot be read: {error}")))?;
        Ok(Self { left, known: Vec::new() })
    }

    /// A parameter's text.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        self.known.push(name);
        let Some(at) = self.left.iter().position(|(key, _)| key == name) else { return Ok(None) };
        let (_, value) = self.left.swap_remove(at);
        if self.left.iter().any(|(key, _)| key == name) {
            return Err(Problem::bad(name, "given twice"));
        }
        if value.is_empty() {
            return Err(Problem::bad(name, "is empty; leave it out instead"));
        }
        Ok(Some(value))
    }

    /// A name or id.
    pub(crate) fn id(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        match self.text(name)? {
            Some(value) if value.len() > MAX_ID_BYTES => {
                Err(Problem::bad(name, format!("longer than {MAX_ID_BYTES} bytes")))
            }
            value => Ok(value),
        }
    }

    /// An instant.
    pub(crate) fn time(&mut self, name: &'static str) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        // A `+` of an offset that was not escaped arrives as a space.
        Timestamp::parse(&text.replace(' ', "+"))
            .map(Some)
            .map_err(|error| Problem::bad(name, format!("expected a time such as 2025-10-21T14:30:00Z: {error}")))
    }

    /// `from` and `to`, in that order.
    pub(crate) fn range(&mut self) -> Result<(Option<Timestamp>, Option<Timestamp>), Problem> {
        let (from, to) = (self.time("from")?, self.time("to")?);
        match (from, to) {
            (Some(first), Some(last)) if first > last => Err(Problem::bad("from", "lies after `to`")),
            range => Ok(range),
        }
    }

    /// A whole number within bounds.
    pub(crate) fn number(&mut self, name: &'static str, min: u64, max: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ => Err(Problem::bad(name, format!("expected a whole number from {min} to {max}, found {text:?}"))),
        }
    }

    /// How many rows.
    pub(crate) fn limit(&mut self) -> Result<usize, Problem> {
        let limit = self.number("limit", 1, LIMIT_MAX as u64)?;
        Ok(limit.map_or(LIMIT_DEFAULT, |limit| limit as usize))
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(Problem::bad(name, format!("expected one of {}, found {text:?}", known.join(", "))))
            }
        }
    }

    /// To be called at last: a parameter that is still there is not known here.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        let Some((name, _)) = self.left.first() else { return Ok(()) };
        let detail = if self.known.is_empty() {
            "unknown parameter; this takes none".to_owned()
        } else {
            let near = nearest(name, self.known.iter().copied());
            let hint = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
            format!("unknown parameter; {hint}known are {}", self.known.join(", "))
        };
        Err(Problem::bad(name.clone(), detail))
    }
}

/// The known name that a wrong one is nearest to, where one is near.
pub(crate) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Below it, names have less in common than most pairs of words do.
    const NEAR: f64 = 0.6;
    known
        .map(|name| (strsim::normalized_damerau_levenshtein(wrong, name), name))
        .filter(|(near, _)| *near >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params::of(&format!("/x?{query}").parse().unwrap()).unwrap()
    }

    #[test]
    fn an_unknown_parameter_is_named_with_the_nearest_known_one() {
        let mut query = params("acount=A");
        query.id("account").unwrap();
        let problem = query.finish().unwrap_err();
        assert_eq!(problem.errors[0].path, "acount");
        assert!(problem.detail.contains("did you mean `account`?"), "{}", problem.detail);
    }

    #[test]
    fn limits_outside_one_to_a_thousand_are_refused() {
        for bad in ["-1", "0", "1001", "ten", "1.5"] {
            let problem = params(&format!("limit={bad}")).limit().unwrap_err();
            assert_eq!(problem.errors[0].path, "limit", "{bad}");
        }
        assert_eq!(params("limit=1000").limit().unwrap(), 1_000);
        assert_eq!(params("").limit().unwrap(), 100);
    }

    #[test]
    fn an_offset_whose_plus_was_not_escaped_is_understood() {
        let time = params("from=2025-10-21T15:30:00+01:00").time("from").unwrap().unwrap();
        assert_eq!(time.to_string(), "2025-10-21T14:30:00.000000Z");
    }

    #[test]
    fn a_parameter_given_twice_is_refused() {
        assert_eq!(params("account=A&account=B").id("account").unwrap_err().detail, "account: given twice");
    }
}
