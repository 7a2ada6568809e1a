//! A record's body for eyes: JSON with the place that is wrong marked, text with
//! the place where it stops being JSON, and other bytes in hexadecimal. Pure.
//!
//! Not here: where the body comes from.

use std::fmt;

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::clean;

/// Lines shown: a few screens.
const MAX_LINES: usize = 120;
/// Where the mark lies further down, of its surroundings.
const AROUND: usize = 20;
/// Of a line, as much is shown.
const MAX_LINE: usize = 240;
/// Of other bytes, as many are shown.
const MAX_HEX: usize = 512;
/// Deeper values are shown on one line.
const MAX_DEPTH: usize = 64;

/// The lines of a body, with an arrow under the place at `path`.
pub(super) fn lines(body: &[u8], path: Option<&str>) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(body) else { return hex(body) };
    match serde_json::from_str::<&RawValue>(text) {
        Ok(json) => {
            let mut laid = Laid { lines: Vec::new(), target: path, best: None };
            laid.value(json.get(), "$".to_owned(), String::new(), "", 0);
            laid.marked()
        }
        Err(error) => {
            let lines: Vec<String> = text.lines().map(clean).collect();
            let before = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
            // The column counts bytes.
            let most = error.column().saturating_sub(1).min(before.len());
            let end = (0..=most).rev().find(|at| before.is_char_boundary(*at)).unwrap_or(0);
            let arrow = format!("{}^ {error}", " ".repeat(clean(&before[..end]).chars().count().min(MAX_LINE)));
            within(lines, Some((error.line().saturating_sub(1), arrow)))
        }
    }
}

/// JSON on its way to lines, in the order and with the digits it was written in.
struct Laid<'a> {
    lines: Vec<String>,
    target: Option<&'a str>,
    /// The line of the value nearest to the target, and that value's path.
    best: Option<(usize, String)>,
}

/// The members of an object, in order; a name may come again.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Laid<'_> {
    fn value(&mut self, raw: &str, path: String, name: String, comma: &str, depth: usize) {
        let raw = raw.trim();
        let indent = "  ".repeat(depth);
        self.note(&path);
        let members = (depth < MAX_DEPTH && raw.starts_with('{')).then(|| serde_json::from_str::<Members>(raw));
        let elements = (depth < MAX_DEPTH && raw.starts_with('[')).then(|| serde_json::from_str::<Vec<&RawValue>>(raw));
        if let Some(Ok(Members(members))) = members.filter(|_| raw.len() > 2) {
            self.lines.push(format!("{indent}{name}{{"));
            for (index, (key, value)) in members.iter().enumerate() {
                let comma = if index + 1 < members.len() { "," } else { "" };
                let shown = format!("{}: ", serde_json::Value::from(key.as_str()));
                self.value(value.get(), format!("{path}.{key}"), clean(&shown), comma, depth + 1);
            }
            self.lines.push(format!("{indent}}}{comma}"));
        } else if let Some(Ok(elements)) = elements.filter(|_| raw.len() > 2) {
            self.lines.push(format!("{indent}{name}["));
            for (index, value) in elements.iter().enumerate() {
                let comma = if index + 1 < elements.len() { "," } else { "" };
                self.value(value.get(), format!("{path}[{index}]"), String::new(), comma, depth + 1);
            }
            self.lines.push(format!("{indent}]{comma}"));
        } else {
            self.lines.push(format!("{indent}{name}{}{comma}", clean(raw)));
        }
    }

    /// Remembers the line to come where its value is the target or holds it.
    fn note(&mut self, path: &str) {
        let Some(target) = self.target else { return };
        let holds = target.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        if holds && self.best.as_ref().is_none_or(|(_, best)| path.len() > best.len()) {
            self.best = Some((self.lines.len(), path.to_owned()));
        }
    }

    fn marked(self) -> Vec<String> {
        let mark = self.best.zip(self.target).map(|((line, path), target)| {
            let indent = self.lines[line].len() - self.lines[line].trim_start().len();
            let what = if path == target { target.to_owned() } else { format!("{target} is not there") };
            (line, format!("{}^ {}", " ".repeat(indent), clean(&what)))
        });
        within(self.lines, mark)
    }
}

/// As many lines as are shown, with the mark under its line.
fn within(lines: Vec<String>, mark: Option<(usize, String)>) -> Vec<String> {
    let at = mark.as_ref().map_or(0, |(line, _)| (*line).min(lines.len().saturating_sub(1)));
    let (head, from, to) = if lines.len() <= MAX_LINES || at + AROUND < MAX_LINES {
        (0, 0, lines.len().min(MAX_LINES))
    } else {
        (AROUND.min(at - AROUND), at - AROUND, lines.len().min(at + AROUND + 1))
    };
    let left_out = |count: usize| format!("… {count} lines left out (--json gives all)");
    let mut shown = Vec::new();
    shown.extend(lines[..head].iter().map(|line| cut(line)));
    if from > head {
        shown.push(left_out(from - head));
    }
    for (index, line) in lines.iter().enumerate().take(to).skip(from) {
        shown.push(cut(line));
        if let Some((_, arrow)) = mark.as_ref().filter(|_| index == at) {
            shown.push(cut(arrow));
        }
    }
    if lines.is_empty() {
        shown.extend(mark.map(|(_, arrow)| arrow));
    }
    if to < lines.len() {
        shown.push(left_out(lines.len() - to));
    }
    shown
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(MAX_LINE) {
        Some((end, _)) => format!("{}… ({} characters)", &line[..end], line.chars().count()),
        None => line.to_owned(),
    }
}

/// Sixteen bytes a line: where, which, and as text where they are printable.
fn hex(body: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = body[..body.len().min(MAX_HEX)]
        .chunks(16)
        .enumerate()
        .map(|(nth, bytes)| {
            let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let text: String = bytes
                .iter()
                .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' })
                .collect();
            format!("{:08x}  {:<47}  {text}", nth * 16, digits.join(" "))
        })
        .collect();
    if body.len() > MAX_HEX {
        lines.push(format!("… {} bytes left out (--json gives them in base64)", body.len() - MAX_HEX));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wrong_field_is_marked_in_the_body_as_it_was_written() {
        let body = br#"{"b":1.50,"order":{"limit_price":"abc","qty":[1,{"x":2}]},"a":null}"#;
        let shown = lines(body, Some("$.order.limit_price")).join("\n");
        assert_eq!(
            shown,
            r#"{
  "b": 1.50,
  "order": {
    "limit_price": "abc",
    ^ $.order.limit_price
    "qty": [
      1,
      {
        "x": 2
      }
    ]
  },
  "a": null
}"#
        );
        let deep = lines(body, Some("$.order.qty[1].x"));
        let at = deep.iter().position(|line| line.contains("^ $.order.qty[1].x")).unwrap();
        assert!(deep[at - 1].contains("\"x\": 2"), "{deep:?}");
    }

    #[test]
    fn a_field_that_is_missing_is_marked_where_it_should_be() {
        let shown = lines(br#"{"order":{"qty":1}}"#, Some("$.order.side"));
        assert_eq!(shown[1..3], ["  \"order\": {", "  ^ $.order.side is not there"]);
        let whole = lines(b"[]", Some("$.event_id"));
        assert_eq!(whole, ["[]", "^ $.event_id is not there"]);
    }

    #[test]
    fn text_that_is_not_json_is_marked_where_it_stops_being_it() {
        let shown = lines(b"{\n  \"a\": 1,,\n}", None);
        assert_eq!(shown[1], "  \"a\": 1,,");
        assert_eq!(shown[2], "         ^ key must be a string at line 2 column 10");
        let wide = lines("[\"äö\",,]".as_bytes(), None);
        assert!(wide[1].starts_with("      ^ "), "{wide:?}");
        assert!(lines(b"", None)[0].contains("EOF"), "{:?}", lines(b"", None));
    }

    #[test]
    fn bytes_that_are_not_text_are_shown_in_hexadecimal() {
        let shown = lines(&[0xff, b'A', 0x00], None);
        assert_eq!(shown, ["00000000  ff 41 00                                         .A."]);
        let long = lines(&[0xfe; 600], None);
        assert!(long.len() == 33 && long[32].contains("88 bytes left out"), "{:?}", long.last());
    }

    #[test]
    fn a_large_body_is_cut_around_its_mark() {
        let rows: Vec<String> = (0..1_000).map(|n| format!("\"r{n}\":\"{}\"", "x".repeat(300))).collect();
        let body = format!("{{{}}}", rows.join(","));
        let shown = lines(body.as_bytes(), Some("$.r700"));
        let at = shown.iter().position(|line| line.contains("^ $.r700")).unwrap();
        assert!(shown[at - 1].contains("\"r700\""));
        assert!(shown.len() < 80 && shown.iter().any(|line| line.contains("lines left out")));
        assert!(shown.iter().all(|line| line.chars().count() < 280));
    }

    #[test]
    fn a_body_nested_a_thousand_times_is_shown_too() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(lines(deep.as_bytes(), Some("$[0]")).len() < 2 * MAX_LINES);
    }
}
