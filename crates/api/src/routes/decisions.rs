//! `POST /api/v1/decisions`: features in, a decision out. It is emitted like any other
//! before the answer, which waits for no log: the caller trades on it, and what reads
//! the tape explains it.
//!
//! Not here: deciding, which whoever holds the models does ([`Decides`]).

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tapedeck_contracts::{
    Body as _, Dec, Event, EventId, FieldError, Timestamp,
    events::{RiskDecision, TradingDecision},
};
use tapedeck_flow::emitter::EmitError;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::{App, lock, now},
    ess::record,
    events::body::{self, Media},
    layers::Context,
    problem::{Problem, ProblemBody},
    routes,
};

/// Where decisions go.
const DECISIONS: &str = "trading_decisions";
/// Where their risk checks go.
const RISK: &str = "risk_decisions";
/// Ring and spool empty as fast as the log takes events: seconds, where it takes any.
const FULL_RETRY_S: u64 = 5;

/// Who decides on features that somebody posts.
pub trait Decides: Send + Sync {
    /// The decision of this id, made at this time, without waiting for anything.
    ///
    /// # Errors
    /// The first field of the question that is missing or wrong, by its JSON path.
    fn decide(&self, question: Question, id: EventId, at: Timestamp) -> Result<Decided, FieldError>;
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The instrument.
    pub symbol: String,
    /// For whom; whose the decider's decisions are where absent.
    pub account: Option<String>,
    /// By name; none is a missing value.
    pub features: BTreeMap<String, Option<f64>>,
    /// Probability of each regime.
    pub regime_probs: Option<BTreeMap<String, f64>>,
    /// The position before the decision.
    pub position_before: Option<Dec>,
    /// What it belongs to across topics.
    pub correlation_id: Option<String>,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// The decision.
    pub decision: TradingDecision,
    /// Its risk checks, where there was something to trade; its event id is still to be
    /// given.
    pub risk: Option<RiskDecision>,
}

/// A question for a decision.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionQuestion {
    /// The instrument.
    symbol: String,
    /// For whom; the account of `[inference]` where absent.
    account: Option<String>,
    /// Every feature of every model that decides, by its name in docs/decisions.md; null
    /// is a missing value.
    #[schema(value_type = BTreeMap<String, Option<f64>>)]
    #[serde(deserialize_with = "tapedeck_contracts::unique::map")]
    features: BTreeMap<String, Box<RawValue>>,
    /// Probability of bull, bear and sideways; those before the first bar where absent.
    regime_probs: Option<BTreeMap<String, f64>>,
    /// The position before the decision, 0 where absent.
    #[schema(value_type = Option<String>)]
    position_before: Option<Dec>,
    /// The request's id where absent.
    correlation_id: Option<String>,
}

/// Decides on features that are posted.
#[utoipa::path(post, path = "/api/v1/decisions", tag = "commands", request_body = DecisionQuestion, responses(
    (status = 200, description = "The decision as `trading_decisions` has it, rejected ones too; emitted, and kept by this process until the log has it", body = Object),
    (status = "4XX", description = "What is wrong with the request; 422 names the feature", body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, description = "No models here, or nothing more can be kept", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    request: axum::body::Body,
) -> Result<Response, Problem> {
    let Some(decides) = app.decides.clone() else {
        return Err(Problem::unavailable("this process has no models to decide with: run `tapedeck up`", 60));
    };
    body::media(&headers, &[Media::Json])?;
    let bytes: Bytes = body::read(request, app.api.body_limit_bytes).await?;
    let question = question(body::parse(&bytes)?, &context).map_err(unprocessable)?;
    let decision = app
        .emit(move |producer| {
            let Decided { decision, risk } =
                decides.decide(question, EventId::from(Uuid::new_v4()), now()).map_err(unprocessable)?;
            decision.validate().map_err(unprocessable)?;
            let id = decision.decision_id.clone();
            let mut records = Vec::with_capacity(2);
            if let Some(risk) = risk {
                let risk_id = EventId::derived(&id, "api", RISK, &risk.symbol, 0);
                let risk = RiskDecision { event_id: Some(risk_id.clone()), ..risk };
                records.push(record(RISK, risk_id, Event::RiskDecision(Box::new(risk)), &context)?);
            }
            // Last: an answer that is not given has no decision on the tape.
            let event = Event::TradingDecision(Box::new(decision));
            records.push(record(DECISIONS, id, event.clone(), &context)?);
            let mut producer = lock(producer);
            for record in &records {
                producer.emit_record(record).map_err(not_kept)?;
            }
            Ok(event)
        })
        .await?;
    match &decision {
        Event::TradingDecision(decision) => Ok(routes::json(decision)),
        _ => Err(Problem::internal("a decision is a decision")),
    }
}

/// The question of a body.
fn question(asked: DecisionQuestion, context: &Context) -> Result<Question, FieldError> {
    let mut features = BTreeMap::new();
    for (name, raw) in asked.features {
        let value: Option<f64> = serde_json::from_str(raw.get()).map_err(|_| {
            let found: String = raw.get().chars().take(40).collect();
            FieldError::new(format!("$.features.{name}"), format!("expected a finite number or null, found {found}"))
        })?;
        features.insert(name, value);
    }
    Ok(Question {
        symbol: asked.symbol,
        account: asked.account,
        features,
        regime_probs: asked.regime_probs,
        position_before: asked.position_before,
        correlation_id: asked.correlation_id.or_else(|| Some(context.request_id.clone())),
    })
}

fn unprocessable(error: FieldError) -> Problem {
    Problem::field(StatusCode::UNPROCESSABLE_ENTITY, error.path, error.detail)
}

fn not_kept(error: EmitError) -> Problem {
    match error {
        EmitError::TooLarge { .. } | EmitError::UnknownTopic(_) => Problem::internal(&error.to_string()),
        error => {
            Problem::unavailable(format!("this process can keep no more decisions for the log: {error}"), FULL_RETRY_S)
        }
    }
}
