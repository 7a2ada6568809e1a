//! What people see: tables, one JSON value, complaints.
//!
//! Not here: what is in them.

#![expect(clippy::print_stderr, reason = "this is the part that talks to a terminal")]

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// How often a bar is drawn: a person sees it move, and no terminal is flooded.
const TICK: Duration = Duration::from_millis(200);

/// A table with a header; columns whose cells are all numbers stand to the right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    let numeric =
        |text: &String| text == "-" || text.replace([',', '.', '%', '-'], "").bytes().all(|b| b.is_ascii_digit());
    for (index, _) in header.iter().enumerate() {
        if !rows.is_empty()
            && rows.iter().all(|row| row.get(index).is_some_and(numeric))
            && let Some(column) = table.column_mut(index)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    out(&table.trim_fmt());
}

/// One JSON value.
pub(crate) fn json(value: &impl Serialize) {
    out(&serde_json::to_string_pretty(value).expect("what is shown is plain data"));
}

/// A line on stdout. A reader that went away (`| head`) ends the program quietly.
pub(crate) fn out(text: &str) {
    if writeln!(std::io::stdout().lock(), "{text}").is_err() {
        std::process::exit(0);
    }
}

/// Bytes on stdout, as they are.
pub(crate) fn raw(bytes: &[u8]) {
    if std::io::stdout().lock().write_all(bytes).is_err() {
        std::process::exit(0);
    }
}

/// A line for a person, on stderr.
pub(crate) fn say(text: &str) {
    // Nobody may be left to read it, and that must not end what is at work.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// An error with its causes.
pub(crate) fn complain(error: &anyhow::Error) {
    eprintln!("tapedeck: {error:#}");
}

/// A bar on stderr that counts up to `count`, drawn as `template` says; none where it is
/// not `wanted`, or nobody would see it.
pub(crate) fn progress(wanted: bool, count: u64, template: &str) -> ProgressBar {
    if !wanted || !has_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(count);
    bar.set_style(ProgressStyle::with_template(template).expect("the templates are part of this crate"));
    bar.enable_steady_tick(TICK);
    bar
}

/// Whether a progress bar would be seen.
pub(crate) fn has_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether stdout is a terminal that can be cleared.
pub(crate) fn is_page() -> bool {
    std::io::stdout().is_terminal()
}

/// A number with its thousands apart.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// So many of something, in its right number.
pub(crate) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(n), if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_is_not_many() {
        assert_eq!(super::count(1, "row", "rows"), "1 row");
        assert_eq!(super::count(0, "row", "rows"), "0 rows");
        assert_eq!(super::count(1_200, "row", "rows"), "1,200 rows");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(super::thousands(0), "0");
        assert_eq!(super::thousands(999), "999");
        assert_eq!(super::thousands(1_234_567), "1,234,567");
    }
}
