//! What happens around every request: an id, a line in the log, a time limit, and an answer even if we panic.
//!
//! A problem carries the id in its body too. The `Request-Id` of a client is not taken over: an id that a stranger chose is no id. The log line names the route,
//! not the path, because a path may carry what does not belong into a log.

use crate::problem::{Kind, Problem, with_request_id};
use crate::state::Api;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use mail::RequestId;
use std::any::Any;
use std::time::Duration;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

pub async fn surround(State(api): State<Api>, request: Request, next: Next) -> Response {
    let id = RequestId::mint(api.now(), &mut api.random());
    let started = api.clock().instant();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let limit = Duration::from_secs(api.config().request_seconds_max);
    let response = match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(Kind::RequestTimeout, "the request was not complete in time").into_response(),
    };
    let text = id.to_string();
    let mut response = with_request_id(response, &text).await;
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    let took = api.clock().instant().saturating_since(started);
    let duration_ms = took.as_millis() as u64;
    let route = route.as_deref().unwrap_or("none");
    tracing::info!(request.id = %id, %method, route, status, duration_ms, "request answered");
    let (route, method) = (route.to_owned(), known(&method));
    metrics::histogram!("posthouse_api_request_seconds", "route" => route.clone(), "method" => method)
        .record(took.as_secs_f64());
    let status = status.to_string();
    metrics::counter!("posthouse_api_requests_total", "route" => route, "method" => method, "status" => status)
        .increment(1);
    metrics::gauge!("posthouse_api_requests_in_flight").set(api.requests().count() as f64);
    response
}

/// A client may make up a method; a label must not.
fn known(method: &Method) -> &'static str {
    let all =
        [("GET", Method::GET), ("POST", Method::POST), ("PATCH", Method::PATCH), ("DELETE", Method::DELETE)];
    all.iter().find(|(_, known)| known == method).map_or("other", |(word, _)| word)
}

/// A panic is a bug; the client gets an answer and the panic hook has logged it.
pub fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    Problem::internal().into_response()
}
