//! What a parser says, in the words of the contract: `expected a string, found
//! 12`, with the path of the field itself rather than of the object around it.
//!
//! Not here: what is checked after parsing, which speaks this way by itself.

use serde::de::IgnoredAny;
use serde_json::error::Category;

use crate::{DecodeError, FieldError};

/// Turns a parser's error at a path into ours.
pub(crate) fn explain(text: &str, path: String, error: &serde_json::Error) -> DecodeError {
    let message = strip_position(&error.to_string()).to_owned();
    if error.classify() == Category::Data {
        return DecodeError::Field(field_error(path, &message));
    }
    let found = token_at(text, offset_of(text, error.line(), error.column()));
    if found.contains("NaN") || found.contains("Infinity") {
        return DecodeError::Field(FieldError::new(
            path,
            format!("expected a number, found {found}, which JSON has not"),
        ));
    }
    // JSON it is, only not what the contract has here: serde_json calls both a syntax error.
    if serde_json::from_str::<IgnoredAny>(text).is_ok() {
        let expected = if message == "number out of range" { "a number that fits 64 bits" } else { "a string" };
        return DecodeError::Field(FieldError::new(path, format!("expected {expected}, found {found}")));
    }
    DecodeError::NotJson { detail: error.to_string() }
}

fn field_error(path: String, message: &str) -> FieldError {
    if let Some(name) = quoted_after(message, "missing field `") {
        return FieldError::new(format!("{path}.{name}"), "missing");
    }
    if let Some(name) = quoted_after(message, "duplicate field `") {
        // The path may end at the second value already.
        let suffix = format!(".{name}");
        let path = if path.ends_with(&suffix) { path } else { path + &suffix };
        return FieldError::new(path, "expected once, found twice");
    }
    if let Some(found) = quoted_after(message, "unknown variant `")
        && let Some((_, words)) = message.split_once("`, expected ")
    {
        let words = words.trim_start_matches("one of ").replace('`', "");
        return FieldError::new(path, format!("expected one of {words}, found {found:?}"));
    }
    let kinds = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    if let Some((found, expected)) = kinds.and_then(|kinds| kinds.rsplit_once(", expected ")) {
        return FieldError::new(path, format!("expected {}, found {}", name_expected(expected), name_found(found)));
    }
    if message.starts_with("invalid length") {
        return FieldError::new(path, "expected an object, found an array");
    }
    FieldError::new(path, message)
}

/// Rust's words for what a field holds, in JSON's.
fn name_expected(expected: &str) -> &str {
    match expected {
        "f32" | "f64" => "a number",
        "i32" | "i64" => "a whole number",
        "u32" | "u64" | "usize" => "a whole number of at least 0",
        "a map" => "an object",
        "a sequence" => "an array",
        "a boolean" => "true or false",
        "string or map" | "variant identifier" => "a string",
        _ if expected.starts_with("struct ") => "an object",
        _ => expected,
    }
}

fn name_found(found: &str) -> String {
    match found {
        "map" => "an object".into(),
        "sequence" => "an array".into(),
        _ => match found.split_once(' ') {
            Some(("string", text)) => text.into(),
            // integer `12`, floating point `1.5`, boolean `true`
            Some((_, _)) if found.ends_with('`') => found[..found.len() - 1].rsplit('`').next().unwrap_or(found).into(),
            _ => found.into(),
        },
    }
}

fn quoted_after<'a>(message: &'a str, start: &str) -> Option<&'a str> {
    let rest = message.strip_prefix(start)?;
    rest.rfind("`, expected ").map(|at| &rest[..at]).or_else(|| rest.strip_suffix('`'))
}

/// `serde_json` appends ` at line 1 column 17`, which the path makes superfluous.
fn strip_position(message: &str) -> &str {
    message.rfind(" at line ").map_or(message, |at| &message[..at])
}

/// The byte that a line and column (both from 1, in bytes) mean.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (before + column.saturating_sub(1)).min(text.len())
}

/// The value around a byte, as far as an error message should show it.
fn token_at(text: &str, offset: usize) -> &str {
    const SHOWN: usize = 40;
    let ends = |byte: u8| matches!(byte, b',' | b':' | b'}' | b']' | b'[' | b'{') || byte.is_ascii_whitespace();
    let bytes = text.as_bytes();
    let inside = |at: usize| bytes.get(at).is_some_and(|byte| !ends(*byte));
    let mut from = offset;
    while from > 0 && inside(from - 1) {
        from -= 1;
    }
    let mut to = offset;
    while inside(to) {
        to += 1;
    }
    let mut shown = to.min(from + SHOWN);
    while !text.is_char_boundary(shown) {
        shown -= 1;
    }
    if from >= to { "something else" } else { &text[from..shown] }
}
