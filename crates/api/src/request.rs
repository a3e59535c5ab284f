//! What happens around every request: an id, a line in the log, a time limit, and an answer even if we panic.
//!
//! A problem carries the id in its body too. The `Request-Id` of a client is not taken over: an id that a stranger chose is no id. The log line names the route,
//! not the path, because a path may carry what does not belong into a log.

use crate::problem::{Kind, Problem, with_request_id};
use crate::state::Vitals;
use crate::unread::noted;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use mail::RequestId;
use std::any::Any;
use std::sync::PoisonError;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

pub async fn surround(State(vitals): State<Vitals>, request: Request, next: Next) -> Response {
    let id = {
        let mut random = vitals.random.lock().unwrap_or_else(PoisonError::into_inner);
        RequestId::mint(vitals.clock.timestamp(), &mut random)
    };
    let started = vitals.clock.instant();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let version = request.version();
    let (parts, body) = request.into_parts();
    let (body, reading) = noted(body);
    let request = Request::from_parts(parts, body);
    let response = match tokio::time::timeout(vitals.request_max, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(Kind::RequestTimeout, "the request was not complete in time").into_response(),
    };
    let text = id.to_string();
    let mut response = with_request_id(response, &text).await;
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    // RFC 9112 §9.6. HTTP/2 ends the stream and not the connection.
    if !reading.is_over() && version <= Version::HTTP_11 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let status = response.status().as_u16();
    let took = vitals.clock.instant().saturating_since(started);
    let duration_ms = took.as_millis() as u64;
    let route = route.as_deref().unwrap_or("none");
    tracing::info!(request.id = %id, %method, route, status, duration_ms, "request answered");
    let (route, method) = (route.to_owned(), known(&method));
    metrics::histogram!("posthouse_api_request_seconds", "route" => route.clone(), "method" => method)
        .record(took.as_secs_f64());
    let status = status.to_string();
    metrics::counter!("posthouse_api_requests_total", "route" => route, "method" => method, "status" => status)
        .increment(1);
    response
}

/// On a request that a proxy in front of us may have read in another way: what is wrong with it.
#[derive(Debug, Clone, Copy)]
pub struct Ambiguous(&'static str);

/// Such a request is refused, and its connection closed.
pub async fn refuse_ambiguous(request: Request, next: Next) -> Response {
    let Some(&Ambiguous(detail)) = request.extensions().get() else { return next.run(request).await };
    let mut response = Problem::new(Kind::InvalidParameter, detail).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// As it came over the wire (RFC 9112 §3.2, §6.1). hyper has seen to two lengths and to what is no request.
pub fn ambiguous(request: &Request) -> Option<Ambiguous> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let is_old = request.version() < Version::HTTP_11;
    if hosts > 1 || (request.version() == Version::HTTP_11 && hosts == 0) {
        return Some(Ambiguous("a request of HTTP/1.1 has exactly one Host"));
    }
    // RFC 9112 §3.2.2: what stands in the target counts, and others may go by the field.
    let target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let differs =
        |host: &HeaderValue| target.is_some_and(|target| !target.eq_ignore_ascii_case(host.as_bytes()));
    if request.headers().get(header::HOST).is_some_and(differs) {
        return Some(Ambiguous("the host of the request's target is not that of its Host field"));
    }
    let mut codings = request.headers().get_all(header::TRANSFER_ENCODING).iter();
    let chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    match (codings.next(), codings.next()) {
        (None, _) => None,
        (Some(coding), None) if chunked(coding) && !is_old => None,
        (Some(_), _) => Some(Ambiguous("the only transfer coding is chunked, once")),
    }
}

/// A client may make up a method; a label must not.
fn known(method: &Method) -> &'static str {
    let all = [
        ("GET", Method::GET),
        ("POST", Method::POST),
        ("PUT", Method::PUT),
        ("PATCH", Method::PATCH),
        ("DELETE", Method::DELETE),
    ];
    all.iter().find(|(_, known)| known == method).map_or("other", |(word, _)| word)
}

/// A panic is a bug; the client gets an answer and the panic hook has logged it.
pub fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    Problem::internal().into_response()
}
