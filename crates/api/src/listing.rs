//! Lists on the wire: JSON with a cursor, or CSV where the client asks for it.
//!
//! Not here: what is in the lists.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tapedeck_store::PageKey;

use crate::{app::App, problem::Problem};

/// Where a CSV answer carries the next page's cursor.
const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");

/// How the client wants a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Csv,
}

impl Format {
    /// CSV where `Accept` names it before JSON.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let at = |name| accept.find(name).unwrap_or(usize::MAX);
        if at("text/csv") < at("application/json") { Self::Csv } else { Self::Json }
    }
}

/// A list, ready to be sent.
pub(crate) struct Rendered {
    format: Format,
    body: Vec<u8>,
    next: Option<String>,
}

#[derive(Serialize)]
struct List<'a, T> {
    items: &'a [T],
    next_cursor: Option<&'a str>,
}

impl Rendered {
    /// Writes items straight to bytes.
    pub(crate) fn new<T: Serialize>(format: Format, items: &[T], next: Option<String>) -> Self {
        let body = match format {
            Format::Json => {
                let mut body = Vec::with_capacity(64 + items.len() * 512);
                serde_json::to_writer(&mut body, &List { items, next_cursor: next.as_deref() })
                    .expect("rows are text, decimals and finite numbers");
                body
            }
            Format::Csv => csv_of(items),
        };
        Self { format, body, next }
    }
}

impl IntoResponse for Rendered {
    fn into_response(self) -> Response {
        let media_type = match self.format {
            Format::Json => "application/json",
            Format::Csv => "text/csv; charset=utf-8",
        };
        let mut response = self.body.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        if self.format == Format::Csv
            && let Some(next) = self.next
            && let Ok(next) = HeaderValue::from_str(&next)
        {
            headers.insert(NEXT_CURSOR, next);
        }
        response
    }
}

fn csv_of<T: Serialize>(items: &[T]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for item in items {
        writer.serialize(item).expect("rows are flat");
    }
    writer.into_inner().expect("memory takes all")
}

/// Cuts what was read one beyond the limit, and makes the cursor of the next
/// page where there was one beyond.
pub(crate) fn page<R>(
    app: &App,
    filters: &str,
    rows: &mut Vec<R>,
    limit: usize,
    key: impl Fn(&R) -> PageKey,
) -> Option<String> {
    if rows.len() <= limit {
        return None;
    }
    rows.truncate(limit);
    rows.last().map(|row| app.cursors.write(filters, key(row)))
}

/// The row after which a page begins.
pub(crate) fn after(app: &App, filters: &str, cursor: Option<&str>) -> Result<Option<PageKey>, Problem> {
    cursor.map(|text| app.cursors.read(filters, text)).transpose()
}
