//! What every request passes before and after its handler: its id, the checks
//! of host and origin, the limits, the deadline, and the body of its problem.
//!
//! Not here: what a request is about.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use uuid::Uuid;

use crate::{
    app::{App, lock},
    problem::{MEDIA_TYPE, Problem},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// A client's request id is taken up to this length.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// What a handler may know of its request.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) request_id: String,
    /// W3C trace context: the client's, or a new one.
    pub(crate) traceparent: String,
}

impl Context {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let request_id = text(&REQUEST_ID)
            .filter(|id| !id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES)
            .map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
        let traceparent = text(&TRACEPARENT).filter(|text| is_traceparent(text)).map_or_else(
            || {
                let span = Uuid::new_v4().simple().to_string();
                format!("00-{}-{}-00", Uuid::new_v4().simple(), &span[..16])
            },
            str::to_owned,
        );
        Self { request_id, traceparent }
    }
}

/// The layer around every route.
pub(crate) async fn around(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let context = Context::of(request.headers());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let instance = request.uri().path().to_owned();
    request.extensions_mut().insert(context.clone());

    let response = match admit(&app, &request, route.as_deref()) {
        Err(problem) => problem.into_response(),
        Ok(_permit) => {
            let deadline = Duration::from_millis(app.api.request_timeout_ms);
            match tokio::time::timeout(deadline, next.run(request)).await {
                Ok(response) => response,
                Err(_) => Problem::unavailable(
                    format!("no answer within {} ms; ask for less at a time", app.api.request_timeout_ms),
                    1,
                )
                .into_response(),
            }
        }
    };
    let response = finish(response, &instance, &context);
    app.metrics.http(route.as_deref().unwrap_or("unmatched"), response.status(), started.elapsed());
    response
}

/// Answers for a path that is not there.
pub(crate) async fn no_such_path(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}; /openapi.json lists what there is", uri.path()))
}

/// Answers for a method that a path does not take.
pub(crate) async fn no_such_method(method: Method) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not for this path; /openapi.json says what is"))
}

/// The checks before a handler; what it returns is held while the handler works.
fn admit<'a>(
    app: &'a App,
    request: &Request,
    route: Option<&str>,
) -> Result<Option<tokio::sync::SemaphorePermit<'a>>, Problem> {
    check_host(request.headers())?;
    if *request.method() != Method::GET && *request.method() != Method::HEAD {
        check_origin(request.headers())?;
    }
    // Probes and the emergency stop must get through when everything else is refused.
    if matches!(route, Some("/health/live" | "/health/ready" | "/metrics" | "/api/risk/ess/trip")) {
        return Ok(None);
    }
    let client = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    if let Some(client) = client
        && let Err(wait) = lock(&app.rate).take(client, Instant::now())
    {
        let mut problem = Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("more than {} requests a second from {client}", app.api.rate_limit_per_s),
        );
        problem.retry_after_s = Some(wait.as_secs() + 1);
        return Err(problem);
    }
    let permit = app.requests.try_acquire();
    permit.map(Some).map_err(|_| Problem::unavailable("too many requests at work at the same time", 1))
}

/// A page of the web must not reach a loopback service under a name that its
/// owner points at 127.0.0.1, so only loopback names are answered.
fn check_host(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(host) = headers.get(header::HOST) else { return Ok(()) };
    if host.to_str().is_ok_and(is_loopback) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "only localhost, 127.0.0.1 and [::1] are answered as Host"))
}

/// Browsers name the page that asks; only pages of this machine may.
pub(crate) fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let allowed = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")))
        .is_some_and(is_loopback);
    if allowed {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "only pages of this machine may do this (Origin)"))
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex =
        |part: &str, len| part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    parts.len() == 4
        && parts[0] == "00"
        && hex(parts[1], 32)
        && hex(parts[2], 16)
        && hex(parts[3], 2)
        && parts[1].bytes().any(|b| b != b'0')
        && parts[2].bytes().any(|b| b != b'0')
}

/// Writes the problem's body and the headers that every answer carries.
fn finish(mut response: Response, instance: &str, context: &Context) -> Response {
    let status = response.status();
    let problem = response.extensions_mut().remove::<Problem>();
    let is_error = status.is_client_error() || status.is_server_error();
    if let Some(problem) = problem.or_else(|| is_error.then(|| framework_problem(status))) {
        let body = problem.body(instance, &context.request_id);
        let (mut parts, _) = response.into_parts();
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        parts.headers.remove(header::CONTENT_LENGTH);
        response = Response::from_parts(parts, body.into());
    }
    let headers = response.headers_mut();
    for (name, value) in [(REQUEST_ID, &context.request_id), (TRACEPARENT, &context.traceparent)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// An error that the framework answered before a handler of ours was asked.
fn framework_problem(status: StatusCode) -> Problem {
    Problem::new(status, "the request could not be read; /openapi.json says how it should look")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_answered() {
        for good in ["localhost", "localhost:7380", "127.0.0.1:1", "127.0.0.9", "[::1]:7380", "[::1]"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in ["evil.example", "localhost.evil.example:7380", "10.0.0.1:7380", "[::2]:1", ""] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }

    #[test]
    fn trace_contexts_are_checked_before_they_are_passed_on() {
        assert!(is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(!is_traceparent("00-00000000000000000000000000000000-00f067aa0ba902b7-01"));
        assert!(!is_traceparent("00-4BF92F3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(!is_traceparent("hello"));
    }
}
