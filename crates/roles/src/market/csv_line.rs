//! A line of CSV into cells: quotes are understood, cells over several lines are
//! not (no market data has them, and so a broken quote costs one line).
//!
//! Not here: which cell is what.

use std::borrow::Cow;

use super::columns::{Cells, Field, Layout};

/// The separator of a line: the most frequent of comma, semicolon, tab and bar.
pub(super) fn delimiter_of(line: &str) -> u8 {
    let count = |delimiter: u8| line.bytes().filter(|byte| *byte == delimiter).count();
    // `max_by_key` takes the last of equals, so the comma comes last.
    *b"|\t;,".iter().max_by_key(|delimiter| count(**delimiter)).expect("there are four")
}

/// All cells of a line.
pub(super) fn split(line: &str, delimiter: u8) -> Result<Vec<Cow<'_, str>>, String> {
    let mut cells = Vec::new();
    walk(line, delimiter, |_, cell| cells.push(cell))?;
    Ok(cells)
}

/// The cells of the fields in a line.
pub(super) fn cells<'a>(line: &'a str, delimiter: u8, layout: &Layout) -> Result<Cells<Cow<'a, str>>, String> {
    let mut found: Cells<Cow<'a, str>> = [const { None }; Field::COUNT];
    let width = walk(line, delimiter, |at, cell| {
        if let Some(field) = layout.columns.iter().position(|column| *column == Some(at)) {
            found[field] = Some(cell);
        }
    })?;
    if width != layout.width {
        return Err(format!(
            "{width} columns, where the first line has {}: the line is cut off or has a separator too many",
            layout.width
        ));
    }
    Ok(found)
}

/// Calls `take` with each cell and its place, and returns how many there are.
fn walk<'a>(line: &'a str, delimiter: u8, mut take: impl FnMut(usize, Cow<'a, str>)) -> Result<usize, String> {
    let mut rest = line;
    for at in 0.. {
        let (cell, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted, delimiter)?,
            None => match rest.as_bytes().iter().position(|byte| *byte == delimiter) {
                Some(end) => (Cow::Borrowed(&rest[..end]), Some(&rest[end + 1..])),
                None => (Cow::Borrowed(rest), None),
            },
        };
        take(at, cell);
        match after {
            Some(after) => rest = after,
            None => return Ok(at + 1),
        }
    }
    Ok(0)
}

/// A quoted cell and what comes after its separator.
fn unquote(quoted: &str, delimiter: u8) -> Result<(Cow<'_, str>, Option<&str>), String> {
    let mut from = 0;
    loop {
        let open = || "a quote is opened and not closed in the same line".to_owned();
        let end = from + quoted[from..].find('"').ok_or_else(open)?;
        let after = &quoted[end + 1..];
        if after.starts_with('"') {
            from = end + 2;
            continue;
        }
        let cell = &quoted[..end];
        let cell = if cell.contains('"') { Cow::Owned(cell.replace("\"\"", "\"")) } else { Cow::Borrowed(cell) };
        return match after.as_bytes().first() {
            None => Ok((cell, None)),
            Some(byte) if *byte == delimiter => Ok((cell, Some(&after[1..]))),
            Some(_) => Err("text after a closing quote".to_owned()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(line: &str) -> Vec<String> {
        split(line, delimiter_of(line)).unwrap().into_iter().map(Cow::into_owned).collect()
    }

    #[test]
    fn a_line_falls_into_its_cells() {
        assert_eq!(cells("a,b,,c"), ["a", "b", "", "c"]);
        assert_eq!(cells("a;b;1,5"), ["a", "b", "1,5"]);
        assert_eq!(cells("a\tb"), ["a", "b"]);
        assert_eq!(cells("\"a,b\",\"c\"\"d\",e,"), ["a,b", "c\"d", "e", ""]);
        assert_eq!(cells("alone"), ["alone"]);
    }

    #[test]
    fn a_broken_quote_is_refused() {
        assert!(split("\"a,b", b',').unwrap_err().contains("not closed"));
        assert!(split("\"a\"b,c", b',').unwrap_err().contains("after a closing quote"));
    }
}
