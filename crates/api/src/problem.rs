//! How the API says no: `application/problem+json` (RFC 9457) with a stable `code` and a pointer per wrong field.
//!
//! A problem is made from three things only: a `Kind` of this file, a `Refusal` of the registry check, or a `Fault` of
//! the database. Causes stay inside: a fault is logged here, once, and the client reads that it was our trouble and
//! when to come back. The list of codes is closed; `/docs` prints it. What may surprise: an object of another tenant is
//! `not_found`, never `forbidden`, so that ids cannot be probed.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mail::Refusal;
use serde::Serialize;
use std::time::Duration;

/// How long a client should wait when our own surroundings failed and nobody knows better.
const TROUBLE_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The same, for the answer to a call that runs already.
const CALL_RETRY_AFTER: Duration = Duration::from_secs(2);

/// The media type of RFC 9457.
const PROBLEM_TYPE: &str = "application/problem+json";

macro_rules! kinds {
    ($($name:ident $status:literal $code:literal $meaning:literal;)*) => {
        /// Every problem that is not a refusal of the registry check.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($name),* }

        impl Kind {
            pub const ALL: &[Kind] = &[$(Kind::$name),*];

            pub const fn status(self) -> u16 {
                match self { $(Kind::$name => $status),* }
            }

            pub const fn code(self) -> &'static str {
                match self { $(Kind::$name => $code),* }
            }

            /// What it means and what to do, for `/docs`.
            pub const fn meaning(self) -> &'static str {
                match self { $(Kind::$name => $meaning),* }
            }
        }
    };
}

kinds! {
    MalformedJson 400 "malformed_json" "The body is not JSON; the detail says where it stops being readable.";
    InvalidParameter 400 "invalid_parameter" "A query parameter or header has a value that cannot be used.";
    AuthenticationRequired 401 "authentication_required" "Send `Authorization: Bearer` with an API key or a token.";
    BadCredential 401 "bad_credential" "The key, token or password is wrong, expired or revoked.";
    Forbidden 403 "forbidden" "The credential is good but may not do this; it lacks the scope or role that the detail names.";
    NotFound 404 "not_found" "There is no such thing, or it is not yours.";
    MethodNotAllowed 405 "method_not_allowed" "This path exists, but not with this method.";
    RequestTimeout 408 "request_timeout" "The request was not complete in time.";
    Conflict 409 "conflict" "It clashes with what exists; the errors name the field.";
    StateConflict 409 "state_conflict" "The thing is in a state in which this cannot be done.";
    CallRunning 409 "call_running" "A call with the same Idempotency-Key is still running; ask again shortly.";
    PreconditionFailed 412 "precondition_failed" "It was changed since it was read: If-Match names another state. Read it again, then change that.";
    BodyTooLarge 413 "body_too_large" "The body is larger than this operation takes.";
    UnsupportedMediaType 415 "unsupported_media_type" "Send the content type that the operation documents.";
    InvalidFields 422 "invalid_fields" "Fields are missing, unknown or unusable; the errors name every one of them.";
    IdempotencyMismatch 422 "idempotency_mismatch" "This Idempotency-Key was used before for a different request.";
    TooManyRequests 429 "too_many_requests" "Too many API requests, or too much mail of your account at once; Retry-After says when to go on.";
    TooManyLogins 429 "too_many_logins" "Too many failed logins; Retry-After says when to try again.";
    Internal 500 "internal" "A bug of ours; quote the Request-Id.";
    TryAgainLater 503 "try_again_later" "Our surroundings are in trouble. Retry-After says when to try again; a change is made once if it has an Idempotency-Key.";
}

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the request body.
    #[schema(example = "/domain")]
    pub pointer: String,
    /// `missing`, `unknown_field`, `wrong_type`, `invalid`, `too_long`, `too_short`, `too_large`, `too_small`,
    /// `too_many`, `too_few`, `not_allowed`, `taken`, `unknown_reference`.
    #[schema(value_type = String)]
    pub code: &'static str,
    pub detail: String,
}

impl FieldError {
    pub fn new(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> FieldError {
        FieldError { pointer: shown(pointer.into()), code, detail: shown(detail.into()) }
    }
}

/// Octets that are shown of one text: names come from outside, and a problem has its bound.
const SHOWN_OCTETS_MAX: usize = 1_000;

fn shown(mut text: String) -> String {
    if text.len() > SHOWN_OCTETS_MAX {
        let end = (0..=SHOWN_OCTETS_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Why a request was not done.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    retry_after_seconds: Option<u64>,
}

/// A problem as it is written.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// Where the code is explained, relative to this server.
    #[serde(rename = "type")]
    #[schema(example = "/docs#problem-invalid_fields")]
    kind: String,
    #[schema(example = "Invalid fields")]
    title: String,
    #[schema(example = 422)]
    status: u16,
    detail: String,
    /// Stable, made for programs.
    #[schema(value_type = String, example = "invalid_fields")]
    code: &'static str,
    /// Every wrong field of the request at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
    /// The `Request-Id` of this answer, for those who keep bodies and not headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, example = "req_0000000000")]
    request_id: Option<String>,
}

/// Octets of a problem at most; one is made of our own words.
const PROBLEM_OCTETS_MAX: usize = 1 << 20;

/// Writes the id of the request into an answer that is a problem; every other answer stays as it is. Done when the answer
/// leaves, because one that was kept for an `Idempotency-Key` is given to several requests.
pub async fn with_request_id(response: Response, id: &str) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE);
    if kind.is_none_or(|kind| kind != PROBLEM_TYPE) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let octets = axum::body::to_bytes(body, PROBLEM_OCTETS_MAX).await.unwrap_or_default();
    let body = match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&octets) {
        Ok(mut document) => {
            document.insert("request_id".to_owned(), id.into());
            serde_json::to_vec(&document).unwrap_or_default()
        }
        Err(_) => octets.to_vec(),
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, body.into())
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        let status = StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Problem {
            status,
            code: kind.code(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_seconds: None,
        }
    }

    pub fn invalid_fields(errors: Vec<FieldError>) -> Problem {
        let detail = match errors.as_slice() {
            // The empty pointer is the whole body.
            [only] if only.pointer.is_empty() => format!("the body {}", only.detail),
            [only] => format!("{}: {}", only.pointer, only.detail),
            several => format!("{} fields cannot be used", several.len()),
        };
        Problem { errors, ..Problem::new(Kind::InvalidFields, detail) }
    }

    pub fn invalid_field(pointer: &str, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::invalid_fields(vec![FieldError::new(pointer, code, detail)])
    }

    pub fn not_found(what: &str) -> Problem {
        Problem::new(Kind::NotFound, format!("there is no such {what}"))
    }

    /// Somebody else is at it, under the same `Idempotency-Key`.
    pub fn call_running() -> Problem {
        Problem::new(Kind::CallRunning, "a call with this Idempotency-Key is still running")
            .with_retry_after(CALL_RETRY_AFTER)
    }

    pub fn unavailable() -> Problem {
        Problem::new(
            Kind::TryAgainLater,
            "this cannot be answered at the moment; try again, and a change with its Idempotency-Key",
        )
        .with_retry_after(TROUBLE_RETRY_AFTER)
    }

    pub fn internal() -> Problem {
        Problem::new(Kind::Internal, "something broke on our side; quote the Request-Id")
    }

    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Problem {
        self.errors = errors;
        self
    }

    /// Rounded up: a client told to wait 0 s would come back too early.
    pub fn with_retry_after(mut self, wait: Duration) -> Problem {
        self.retry_after_seconds = Some((wait.as_millis().div_ceil(1000) as u64).max(1));
        self
    }

    pub fn code(&self) -> &'static str {
        self.code
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// A refusal carries its own row of status and code.
impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        if let Some(detail) = refusal.detail() {
            tracing::info!(code = refusal.problem_code(), detail, "request refused");
        }
        Problem {
            status: StatusCode::from_u16(refusal.http_status()).unwrap_or(StatusCode::FORBIDDEN),
            code: refusal.problem_code(),
            detail: refusal.public().to_owned(),
            errors: Vec::new(),
            retry_after_seconds: refusal.retry_after_seconds(),
        }
    }
}

/// On an answer that is about this moment and not about the call, although its status is not one of those.
#[derive(Debug, Clone, Copy)]
pub struct Passing;

/// 450 at the SMTP door: the same mail is taken when the tenant goes on.
const TENANT_PAUSED: &str = "tenant_paused";

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = ProblemDocument {
            kind: format!("/docs#problem-{}", self.code),
            title: title(self.code),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code,
            errors: self.errors,
            request_id: None,
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = (self.status, [(header::CONTENT_TYPE, PROBLEM_TYPE)], body).into_response();
        if self.code == TENANT_PAUSED {
            response.extensions_mut().insert(Passing);
        }
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// `quota_exhausted` → `Quota exhausted`.
fn title(code: &str) -> String {
    let mut text = code.replace('_', " ");
    if let Some(first) = text.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::RefusalKind;

    async fn written(problem: Problem) -> (Response, serde_json::Value) {
        let (parts, body) = problem.into_response().into_parts();
        let bytes = axum::body::to_bytes(body, 10_000).await.unwrap();
        (Response::from_parts(parts, axum::body::Body::empty()), serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn a_problem_names_every_wrong_field() {
        let errors = vec![
            FieldError::new("/name", "missing", "this field is required"),
            FieldError::new("/domain", "invalid", "the domain is empty"),
        ];
        let (response, body) = written(Problem::invalid_fields(errors)).await;
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(
            body,
            serde_json::json!({"type": "/docs#problem-invalid_fields", "title": "Invalid fields", "status": 422,
                "detail": "2 fields cannot be used", "code": "invalid_fields", "errors": [
                {"pointer": "/name", "code": "missing", "detail": "this field is required"},
                {"pointer": "/domain", "code": "invalid", "detail": "the domain is empty"}]})
        );
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_code_and_its_time_and_hides_its_detail() {
        let refusal = Refusal::new(RefusalKind::QuotaExhausted, "the limit of 5 messages a day is used up")
            .with_detail("inside")
            .with_retry_after(Duration::from_millis(1500));
        let (response, body) = written(refusal.into()).await;
        assert_eq!((response.status().as_u16(), &body["code"]), (429, &"quota_exhausted".into()));
        assert_eq!(response.headers()["retry-after"], "2");
        assert!(!body.to_string().contains("inside"));
    }

    #[test]
    fn our_trouble_says_when_to_come_back() {
        assert!(Problem::unavailable().retry_after_seconds.is_some());
    }

    #[test]
    fn codes_are_unique() {
        for (index, kind) in Kind::ALL.iter().enumerate() {
            assert!(Kind::ALL[index + 1..].iter().all(|other| other.code() != kind.code()), "{kind:?}");
        }
    }
}
