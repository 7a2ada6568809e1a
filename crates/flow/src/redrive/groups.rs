//! Dead letters that failed for the same reason, put together: the error's text
//! without what differs from record to record. Pure.
//!
//! Not here: reading them.

use tapedeck_contracts::Timestamp;

use super::{Found, LetterId};

/// A text longer than this differs at its end for reasons that do not matter.
const MAX_TEXT: usize = 240;
/// Hexadecimal digits in a row, one of them 0 to 9, that are an id and no word.
const ID_DIGITS: usize = 8;

/// What dead letters of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    /// The topic of the records.
    pub topic: String,
    /// The group that failed.
    pub group: String,
    /// The sort of failure, as its word.
    pub class: &'static str,
    /// The error, with numbers, ids and quoted values left out.
    pub error: String,
}

/// Dead letters with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorGroup {
    /// How many.
    pub count: u64,
    /// When the first of them failed.
    pub first: Timestamp,
    /// When the last of them failed.
    pub last: Timestamp,
    /// The newest one.
    pub example: LetterId,
    /// Its place in its dead letter topic.
    pub example_place: String,
}

impl GroupKey {
    /// The key of a dead letter.
    pub fn of(found: &Found) -> Self {
        let account = &found.letter.account;
        Self {
            topic: found.letter.origin.topic.clone(),
            group: account.group.clone(),
            class: account.class.name(),
            error: normalised(&account.error),
        }
    }
}

impl ErrorGroup {
    /// A group of one.
    pub fn of(found: &Found) -> Self {
        let at = found.letter.account.last_failure;
        Self { count: 1, first: at, last: at, example: found.id, example_place: found.place.to_string() }
    }

    /// And one more.
    pub fn add(&mut self, found: &Found) {
        let one = Self::of(found);
        if one.last >= self.last {
            (self.example, self.example_place) = (one.example, one.example_place);
        }
        self.count += 1;
        self.first = self.first.min(one.first);
        self.last = self.last.max(one.last);
    }
}

/// An error's text with what is different for each record left out: values in
/// double quotes become `"…"`, ids `<id>`, numbers `#`.
pub fn normalised(error: &str) -> String {
    let mut out = String::with_capacity(error.len().min(MAX_TEXT));
    let mut rest = error;
    while let Some(first) = rest.chars().next() {
        if out.len() >= MAX_TEXT {
            out.push('…');
            break;
        }
        let (taken, shown) = match first {
            '"' => quoted(rest),
            _ if first.is_ascii_alphanumeric() => word(rest),
            _ => (first.len_utf8(), &rest[..first.len_utf8()]),
        };
        // What joins digits to one number or id is left out with them.
        let joins = matches!(shown, "." | "-" | "," | ":") && ends_in_mark(&out);
        let again = is_mark(shown) && ends_in_mark(&out);
        if again || joins && rest[taken..].starts_with(|c: char| c.is_ascii_digit()) {
            rest = &rest[taken..];
            continue;
        }
        out.push_str(shown);
        rest = &rest[taken..];
    }
    out
}

fn is_mark(shown: &str) -> bool {
    matches!(shown, "#" | "<id>")
}

fn ends_in_mark(out: &str) -> bool {
    out.ends_with('#') || out.ends_with("<id>")
}

/// A quoted value, to its closing quote; a lone quote is only that.
fn quoted(text: &str) -> (usize, &str) {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return (at + 1, "\"…\""),
            _ => {}
        }
    }
    (1, "\"")
}

/// A word, a number, or an id.
fn word(text: &str) -> (usize, &str) {
    let hex = |b: u8| b.is_ascii_hexdigit() || b == b'-';
    let id = text.bytes().take_while(|b| hex(*b)).count();
    let whole = !text[id..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let digits = text[..id].bytes().filter(u8::is_ascii_hexdigit).count();
    let letters = text[..id].bytes().any(|b| b.is_ascii_alphabetic());
    let numbers = text[..id].bytes().any(|b| b.is_ascii_digit());
    if whole && digits >= ID_DIGITS && letters && numbers {
        let end = text[..id].trim_end_matches('-').len();
        return (end, "<id>");
    }
    let number = text.bytes().take_while(u8::is_ascii_digit).count();
    if number > 0 {
        return (number, "#");
    }
    let end = text.bytes().take_while(|b| b.is_ascii_alphabetic() || *b == b'_').count().max(1);
    (end, &text[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_that_differ_in_values_only_fall_together() {
        let same = [
            [
                "fill F1 of ACC-1 at 100.5 is stored with another price",
                "fill F22 of ACC-9 at 7 is stored with another price",
            ],
            ["expected a decimal, found \"abc\"", "expected a decimal, found \"x \\\" y\""],
            [
                "decision 00000000-0000-4000-8000-00000000000a is unknown",
                "decision 9f5e0b1d-62a1-5c2b-9f5e-0b1d2c3e4f50 is unknown",
            ],
            ["expected value at line 1 column 2", "expected value at line 10 column 233"],
        ];
        for [left, right] in same {
            assert_eq!(normalised(left), normalised(right));
        }
        assert_ne!(normalised("`severity` is missing"), normalised("`message` is missing"));
        assert_eq!(normalised("expected a decimal, found \"abc\""), "expected a decimal, found \"…\"");
        assert_eq!(normalised("at 2026-01-02T03:04:05.000001Z the feed failed"), "at #T#Z the feed failed");
    }

    proptest! {
        #[test]
        fn normalising_never_panics_and_is_bounded(text in ".{0,600}") {
            prop_assert!(normalised(&text).len() <= MAX_TEXT + 600);
        }

        #[test]
        fn numbers_never_tell_errors_apart(a: u64, b: u64) {
            prop_assert_eq!(normalised(&format!("row {a} is taken")), normalised(&format!("row {b} is taken")));
        }
    }
}
