//! JSON in and JSON out: the two ends of every handler.
//!
//! `Body<T>` reads a request body of type `T`: content type, size, JSON, then every rule of the published schema of
//! `T`, and only then serde. A handler that holds a `Body<T>` has a value whose fields were all checked; what is left
//! to it is what only the registry knows. What may surprise: a body is read even where the caller may not do the
//! thing; authentication runs before, in a layer.

use crate::json;
use crate::problem::{FieldError, Kind, Problem};
use crate::state::Api;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// A JSON body that obeys the published schema of `T`.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + ToSchema> FromRequest<Api> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Body<T>, Problem> {
        read_checked(request, api, |_, _| {}).await.map(Body)
    }
}

/// As `Body`, with a further look at the fields, so that its mistakes are told together with those of the schema.
pub async fn read_checked<T: DeserializeOwned + ToSchema>(
    request: Request,
    api: &Api,
    look: impl FnOnce(&serde_json::Value, &mut Vec<FieldError>),
) -> Result<T, Problem> {
    let typed = expect_content_type(request.headers(), "application/json");
    let bytes = read(request.into_body(), api.config().body_octets_max).await?;
    // No body at all says nothing, like `{}`; whether that is enough is for the schema to say.
    if bytes.is_empty() {
        return parse_checked(b"{}", api, look);
    }
    typed?;
    parse_checked(&bytes, api, look)
}

/// Checks and reads a body that is already in memory.
pub fn parse<T: DeserializeOwned + ToSchema>(bytes: &[u8], api: &Api) -> Result<T, Problem> {
    parse_checked(bytes, api, |_, _| {})
}

fn parse_checked<T: DeserializeOwned + ToSchema>(
    bytes: &[u8],
    api: &Api,
    look: impl FnOnce(&serde_json::Value, &mut Vec<FieldError>),
) -> Result<T, Problem> {
    let value = json::read(bytes)
        .map_err(|error| Problem::new(Kind::MalformedJson, format!("the body is not JSON: {error}")))?;
    let mut errors = api.schemas().check(&T::name(), &value);
    look(&value, &mut errors);
    if !errors.is_empty() {
        return Err(Problem::invalid_fields(errors));
    }
    // The schema let it pass, so this only fails for a rule that a schema cannot say.
    serde_json::from_value(value).map_err(|error| Problem::new(Kind::InvalidFields, error.to_string()))
}

/// Reads a body up to a limit; nothing beyond it is kept.
pub async fn read(body: axum::body::Body, octets_max: usize) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, octets_max).await.map_err(|error| {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(cause) = source {
            if cause.to_string().contains("length limit exceeded") {
                return Problem::new(
                    Kind::BodyTooLarge,
                    format!("the body is larger than {octets_max} octets"),
                );
            }
            source = cause.source();
        }
        Problem::new(Kind::MalformedJson, "the body could not be read to its end")
    })
}

pub fn content_type(headers: &HeaderMap) -> &str {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

fn expect_content_type(headers: &HeaderMap, wanted: &str) -> Result<(), Problem> {
    if content_type(headers).eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(Problem::new(Kind::UnsupportedMediaType, format!("send the body as {wanted}")))
}

/// For PATCH: a field that is there, even as null, is different from one that is not.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A JSON answer with its status.
#[derive(Debug)]
pub struct Answer<T>(pub StatusCode, pub T);

impl<T> Answer<T> {
    pub fn ok(value: T) -> Answer<T> {
        Answer(StatusCode::OK, value)
    }

    pub fn created(value: T) -> Answer<T> {
        Answer(StatusCode::CREATED, value)
    }

    pub fn accepted(value: T) -> Answer<T> {
        Answer(StatusCode::ACCEPTED, value)
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.1) {
            Ok(body) => (self.0, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => {
                tracing::error!(%error, "an answer could not be written as JSON");
                Problem::internal().into_response()
            }
        }
    }
}

/// What every handler returns.
pub type Result<T, E = Problem> = std::result::Result<T, E>;
