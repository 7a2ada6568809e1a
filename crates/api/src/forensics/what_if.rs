//! `POST /api/v1/forensics/what-if`: the same models, the same weights, other values.
//!
//! Not here: the models.

use std::{collections::BTreeMap, sync::Arc};

use axum::{body::Body, extract::State, http::HeaderMap, response::Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::one::in_either_case;
use crate::{
    app::App,
    events::body::{self, Media},
    problem::{Problem, ProblemBody},
    routes::json,
};

/// A decision, and what would be different.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhatIfBody {
    decision_id: String,
    /// Values by name, instead of the decision's; null is a missing value.
    #[serde(deserialize_with = "tapedeck_contracts::unique::map")]
    features: BTreeMap<String, Option<f64>>,
}

/// What the models that decided would have said of other values: margin, probability,
/// action, and each feature's SHAP value before and after.
#[utoipa::path(post, path = "/api/v1/forensics/what-if", tag = "forensics", request_body = WhatIfBody, responses(
    (status = 200, description = "Both, side by side", body = Object),
    (status = 404, description = "There is no such decision, or it was not explained", body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, description = "An unknown feature, or a value that the models do not take", body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, description = "A model that decided cannot be had", body = ProblemBody, content_type = "application/problem+json"),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn what_if(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Problem> {
    body::media(&headers, &[Media::Json])?;
    let asked: WhatIfBody = body::parse(&body::read(request, app.api.body_limit_bytes).await?)?;
    let id = asked.decision_id.clone();
    let answer = app.explain(move |explains, store| {
        in_either_case(&asked.decision_id, |id| explains.what_if(store, id, &asked.features))
    });
    let answer = answer.await?;
    let answer = answer.ok_or_else(|| Problem::not_found(format!("there is no explanation of a decision `{id}`")))?;
    Ok(json(&answer))
}
