//! What an operation does not have is refused, not passed over: a query parameter, or a body where there is none.
//!
//! Whoever sends what nobody reads believes that it was heard: `POST …/messages?to=` would send to somebody else. The
//! published document knows what each operation takes, so one layer asks it for all of them. Bodies that an operation has
//! are checked where they are read (`body.rs`). The layer also says in `Location` where to find what was made, of an answer
//! that was kept as well. What may surprise: `{}` is no body, for many clients cannot send nothing; and GET is not asked
//! for its body, because proxies lose it.

use crate::body::read;
use crate::page::names;
use crate::problem::{FieldError, Kind, Problem};
use crate::state::Api;
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::collections::HashMap;

/// Fields of one body that are told to be unknown.
const ERRORS_MAX: usize = 100;
/// Octets of an answer to whoever made something; ours are far smaller.
const ANSWER_OCTETS_MAX: usize = 1024 * 1024;

/// Every operation of the document, by path and method in lower case.
#[derive(Debug)]
pub struct Operations(HashMap<String, HashMap<String, Takes>>);

/// What the document says of one operation.
#[derive(Debug)]
struct Takes {
    query: Vec<String>,
    body: Content,
    made: Made,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Nothing,
    Own,
}

/// Whether an answer with 201 has a `Location`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Shown,
    Unshown,
}

impl Operations {
    /// Takes them out of the completed document.
    pub fn from_document(document: &Value) -> Operations {
        let paths = document["paths"].as_object().into_iter().flatten();
        Operations(paths.map(|(path, item)| (path.clone(), of_path(item))).collect())
    }

    fn of(&self, method: &Method, path: &str) -> Option<&Takes> {
        // HEAD is answered by who answers GET.
        let method = if method == Method::HEAD { "get" } else { &*method.as_str().to_ascii_lowercase() };
        self.0.get(path)?.get(method)
    }
}

fn of_path(item: &Value) -> HashMap<String, Takes> {
    let all = item.as_object().into_iter().flatten();
    all.map(|(method, operation)| {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let query = parameters.filter(|parameter| parameter["in"] == "query");
        let has_body = operation.get("requestBody").is_some() || method == "get";
        let is_shown = operation["responses"]["201"]["headers"].get("Location").is_some();
        let takes = Takes {
            query: query.filter_map(|parameter| Some(parameter["name"].as_str()?.to_owned())).collect(),
            body: if has_body { Content::Own } else { Content::Nothing },
            made: if is_shown { Made::Shown } else { Made::Unshown },
        };
        (method.clone(), takes)
    })
    .collect()
}

/// The layer. It stands before the one for `Idempotency-Key`, so that nothing and `{}` are the same call.
pub async fn expected(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let Some(takes) = path.and_then(|path| api.operations().of(request.method(), path.as_str())) else {
        return next.run(request).await;
    };
    if let Err(problem) = check_query(request.uri().query().unwrap_or_default(), &takes.query) {
        return problem.into_response();
    }
    if takes.body == Content::Nothing {
        let (mut parts, body) = request.into_parts();
        if let Err(problem) = expect_nothing(body, api.config().body_octets_max).await {
            return problem.into_response();
        }
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.remove(header::TRANSFER_ENCODING);
        request = Request::from_parts(parts, Body::empty());
    }
    let collection = (takes.made == Made::Shown).then(|| request.uri().path().to_owned());
    let response = next.run(request).await;
    match collection {
        Some(collection) if response.status() == StatusCode::CREATED => {
            with_location(response, &collection).await
        }
        Some(_) | None => response,
    }
}

fn check_query(query: &str, known: &[String]) -> Result<(), Problem> {
    let invalid = |detail: String| Err(Problem::new(Kind::InvalidParameter, detail));
    let Some(names) = names(query) else { return invalid("the query string cannot be read".to_owned()) };
    match names.into_iter().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) => invalid(format!("there is no parameter {name} here")),
    }
}

async fn expect_nothing(body: Body, octets_max: usize) -> Result<(), Problem> {
    let octets = read(body, octets_max).await?;
    let octets = octets.trim_ascii();
    if octets.is_empty() {
        return Ok(());
    }
    let value: Value = serde_json::from_slice(octets)
        .map_err(|error| Problem::new(Kind::MalformedJson, format!("the body is not JSON: {error}")))?;
    let Value::Object(fields) = value else {
        return Err(Problem::invalid_field("", "wrong_type", "must be left out: this call has none"));
    };
    let unknown = |name: &String| {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        FieldError::new(pointer, "unknown_field", "there is no such field; this call has none")
    };
    let errors: Vec<FieldError> = fields.keys().take(ERRORS_MAX).map(unknown).collect();
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(errors)) }
}

/// What was made is shown below the collection it was made in.
async fn with_location(response: Response, collection: &str) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(octets) = axum::body::to_bytes(body, ANSWER_OCTETS_MAX).await else {
        return Problem::internal().into_response();
    };
    if let Some(value) = location(&octets, collection) {
        parts.headers.insert(header::LOCATION, value);
    }
    Response::from_parts(parts, Body::from(octets))
}

fn location(octets: &Bytes, collection: &str) -> Option<HeaderValue> {
    let made: Value = serde_json::from_slice(octets).ok()?;
    // Of an onboarding it is the tenant.
    let id = made.get("id").or_else(|| made.pointer("/tenant/id"))?.as_str()?;
    HeaderValue::from_str(&format!("{collection}/{id}")).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_known_by_its_decoded_name() {
        let known = ["limit".to_owned()];
        for (query, refused) in [
            ("", None),
            ("limit=1", None),
            ("l%69mit=1", None),
            ("x=1", Some("x")),
            ("limit=1&%78=", Some("x")),
        ] {
            let detail = check_query(query, &known).err().map(|problem| problem.detail().to_owned());
            assert_eq!(detail, refused.map(|name| format!("there is no parameter {name} here")), "{query}");
        }
    }

    #[tokio::test]
    async fn nothing_and_an_empty_object_are_no_body_and_anything_else_is_one() {
        for nothing in ["", "{}", " {\r\n}\n"] {
            assert!(expect_nothing(Body::from(nothing), 100).await.is_ok(), "{nothing:?}");
        }
        for (body, code) in [
            ("{{", "malformed_json"),
            ("x=1", "malformed_json"),
            ("[]", "invalid_fields"),
            ("null", "invalid_fields"),
            ("{\"a/b\":1}", "invalid_fields"),
        ] {
            assert_eq!(expect_nothing(Body::from(body), 100).await.unwrap_err().code(), code, "{body}");
        }
        let large = Body::from(" ".repeat(101));
        assert_eq!(expect_nothing(large, 100).await.unwrap_err().code(), "body_too_large");
    }
}
