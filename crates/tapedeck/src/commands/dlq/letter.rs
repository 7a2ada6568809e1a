//! `tapedeck dlq show`: one dead letter with everything that is known of it.
//!
//! Not here: how its body is laid out (`body`).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{Page, body, clean};
use crate::{admin::Admin, exit, show};

/// Shows one, by id or place.
pub(super) fn show(admin: &Admin, which: &str, json: bool) -> anyhow::Result<()> {
    let place = if which.contains('/') { which.to_owned() } else { place_of(admin, which)? };
    let mut parts = place.rsplitn(3, '/');
    let (Some(offset), Some(partition), Some(topic)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(exit::input(format!("`{which}` is no place of a dead letter, such as alerts.v1.dlq/0/17")));
    };
    let letter: Value = admin.get(&format!("/api/admin/dlq/letters/{topic}/{partition}/{offset}"), &[])?;
    if json {
        show::json(&letter);
    } else {
        tell(&letter);
    }
    Ok(())
}

/// Looks for an id, newest first.
fn place_of(admin: &Admin, id: &str) -> anyhow::Result<String> {
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("id", id.to_owned()), ("status", "all".to_owned()), ("limit", "1".to_owned())];
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: Page<Value> = admin.get("/api/admin/dlq", &query)?;
        if let Some(place) = page.items.first().and_then(|item| item["place"].as_str()) {
            return Ok(place.to_owned());
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Err(exit::input(format!(
                "no dead letter has the id {id}; they are kept 14 days, and `tapedeck dlq list --all` shows them"
            )));
        }
    }
}

fn tell(letter: &Value) {
    let line = |name: &str, value: String| show::out(&format!("{name:<10} {value}"));
    let field = |name: &str| plain(&letter[name]);
    line("id", format!("{}, {}", field("id"), field("status")));
    if let Some(closed) = letter["closed"].as_object() {
        let reason = clean(closed["reason"].as_str().unwrap_or_default());
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let (status, at, actor) = (plain(&closed["status"]), plain(&closed["at"]), plain(&closed["actor"]));
        line(&status, format!("at {at} by {actor}{why}"));
    }
    line("lies at", format!("{}, written {}", field("place"), field("written_at")));
    let key = if letter["key"].is_null() { "no key".to_owned() } else { format!("key {}", field("key")) };
    line(
        "record",
        format!("{}/{}/{}, written {}, {key}", field("topic"), field("partition"), field("offset"), field("timestamp")),
    );
    line("failed in", format!("{} (role {}, version {})", field("group"), field("role"), field("version")));
    let tries =
        if letter["attempts"] == 1 { "1 attempt".to_owned() } else { format!("{} attempts", field("attempts")) };
    line("when", format!("{} to {}, {tries}", field("first_failure"), field("last_failure")));
    if letter["redrives"] != 0 {
        line("redriven", format!("{} times before it failed here", field("redrives")));
    }
    line("class", field("class"));
    line("error", field("error"));
    if !letter["path"].is_null() {
        line("path", field("path"));
    }
    for omitted in letter["omitted"].as_array().into_iter().flatten() {
        line("left out", format!("the {} of {} bytes: it was too large", plain(&omitted["part"]), omitted["bytes"]));
    }
    if !letter["omitted_gone"].is_null() {
        line("and gone", field("omitted_gone"));
    }
    headers(letter);
    value(letter);
    show::out("");
    let place = field("place");
    show::out(&format!("to send it again: tapedeck dlq replay {place}"));
    show::out(&format!("to give it up:    tapedeck dlq purge {place} --reason \"…\""));
}

fn headers(letter: &Value) {
    let headers = letter["headers"].as_array().map_or(&[][..], Vec::as_slice);
    show::out(if headers.is_empty() { "\nheaders: none" } else { "\nheaders:" });
    for header in headers {
        let encoding = header["encoding"].as_str().map_or_else(String::new, |word| format!(" ({word})"));
        show::out(&format!("  {}: {}{encoding}", plain(&header["name"]), plain(&header["value"])));
    }
}

fn value(letter: &Value) {
    let Some(text) = letter["value"].as_str() else {
        show::out("\nbody: none");
        return;
    };
    let bytes = match letter["value_encoding"].as_str() {
        Some(_) => STANDARD.decode(text).unwrap_or_default(),
        None => text.as_bytes().to_vec(),
    };
    let cut = if letter["value_cut"] == true { ", the first MiB of it" } else { "" };
    show::out(&format!("\nbody: {} bytes{cut}", letter["value_bytes"]));
    for line in body::lines(&bytes, letter["path"].as_str()) {
        show::out(&format!("  {line}"));
    }
}

/// A text or number as a terminal may see it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), clean)
}
