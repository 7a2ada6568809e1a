//! Two plain pages for people: what there is, and the API's documentation. They
//! load nothing from elsewhere.
//!
//! Not here: the deck.

use axum::response::Html;

/// `GET /`.
pub(crate) async fn landing() -> Html<&'static str> {
    Html(include_str!("../../pages/landing.html"))
}

/// `GET /docs`.
pub(crate) async fn docs() -> Html<&'static str> {
    Html(include_str!("../../pages/docs.html"))
}
