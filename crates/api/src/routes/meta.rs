//! What machines and newcomers ask first: alive, ready, figures, document, reference, console.
//!
//! No credential is needed and nothing of a tenant is told. `/metrics` has no tenant, domain or address in its labels.

use crate::body::Answer;
use crate::state::{Api, Journal, Readiness, Reason, Vitals};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The page under `/console/` while the console is not part of the build.
const CONSOLE: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>posthouse</title>\
    <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"></head>\
    <body style=\"font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem\">\
    <h1>posthouse</h1><p>The operator's console is not part of this build. Everything it would do can be done with \
    the API: <a href=\"/docs\">read the reference</a>, or take <a href=\"/openapi.json\">the OpenAPI document</a>.</p>\
    <p>State of this node: <a href=\"/ready\">ready?</a> · <a href=\"/metrics\">metrics</a></p></body></html>";

#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`: a process that cannot say so does not answer.
    #[schema(value_type = String)]
    status: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ReadyAnswer {
    ready: bool,
    /// Why not; empty if it is.
    reasons: Vec<Reason>,
    /// Null until it is open.
    journal: Option<Journal>,
}

/// Is the process alive?
#[utoipa::path(get, path = "/health", tag = "node", responses((status = 200, body = Health, description = "alive")))]
pub async fn health() -> Answer<Health> {
    Answer::ok(Health { status: "ok" })
}

/// Can this node do its work?
#[utoipa::path(get, path = "/ready", tag = "node",
    responses((status = 200, body = ReadyAnswer, description = "ready"),
        (status = 503, body = ReadyAnswer, description = "not ready, with the reasons")))]
pub async fn ready(State(vitals): State<Vitals>) -> Answer<ReadyAnswer> {
    answer((vitals.readiness)())
}

/// 503 if there is any reason.
pub fn answer(readiness: Readiness) -> Answer<ReadyAnswer> {
    let Readiness { reasons, journal } = readiness;
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Answer(status, ReadyAnswer { ready: reasons.is_empty(), reasons, journal })
}

/// Figures for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "node",
    responses((status = 200, body = String, content_type = "text/plain", description = "text exposition format")))]
pub async fn metrics(State(vitals): State<Vitals>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (vitals.metrics)()).into_response()
}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "node",
    responses((status = 200, body = Object, description = "OpenAPI 3.1")))]
pub async fn openapi_json(State(api): State<Api>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], api.document()).into_response()
}

/// The reference for people
#[utoipa::path(get, path = "/docs", tag = "node",
    responses((status = 200, body = String, content_type = "text/html", description = "one page, no scripts")))]
pub async fn docs(State(api): State<Api>) -> Response {
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, policy)];
    (headers, api.docs()).into_response()
}

/// The operator's console
#[utoipa::path(get, path = "/console/", tag = "node",
    responses((status = 200, body = String, content_type = "text/html", description = "a page")))]
pub async fn console() -> Html<&'static str> {
    Html(CONSOLE)
}
