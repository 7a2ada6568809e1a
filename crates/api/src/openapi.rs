//! The API's description, OpenAPI 3.1, gathered from the handlers.
//!
//! Not here: the page that shows it.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use utoipa::OpenApi;

use crate::{admin, ess, events, forensics, problem, routes, ws};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "tapedeck",
        description = "Events in, answers out. Decimals are strings, percentages and ratios are numbers, times are RFC 3339 in UTC. Errors are RFC 9457 problem details."
    ),
    paths(
        routes::pnl::pnl,
        routes::positions::positions,
        routes::fills::fills,
        routes::risk::risk,
        routes::symbols::symbols,
        routes::orders::orders,
        routes::accounts::accounts,
        routes::accounts::instruments,
        routes::alerts::alerts,
        ws::socket::alerts,
        ess::trip,
        ess::arm,
        events::post,
        routes::decisions::decide,
        forensics::list::explanations,
        forensics::importance::importance,
        forensics::what_if::what_if,
        forensics::re_decide::re_decide,
        forensics::one::explanation,
        admin::topics::topics,
        admin::groups::groups,
        admin::reset::reset,
        admin::skip::skip,
        admin::commit::commit,
        admin::records::records,
        admin::raw::post_records,
        admin::dlq::list::dlq_list,
        admin::dlq::groups::dlq_groups,
        admin::dlq::letter::dlq_letter,
        admin::dlq::jobs::dlq_replay,
        admin::dlq::jobs::dlq_purge,
        admin::dlq::jobs::dlq_jobs,
        admin::dlq::jobs::dlq_job,
        admin::dlq::jobs::dlq_job_cancel,
        admin::chains::chains,
        admin::chains::chain,
        admin::chains::feature_set,
        admin::roles::roles,
        admin::emitter::emitter,
        routes::health::live,
        routes::health::ready,
        routes::health::metrics,
    ),
    components(schemas(problem::ProblemBody))
)]
struct Api;

/// The description as JSON text, as `/openapi.json` serves it.
pub fn document() -> String {
    let mut text = Api::openapi().to_pretty_json().expect("a description is JSON");
    text.push('\n');
    text
}

/// `GET /openapi.json`.
pub(crate) async fn serve() -> Response {
    let mut response = document().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
