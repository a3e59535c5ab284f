//! The lab's control: HTTP, for tests, demonstrations and the curious.
//!
//! Every call of the contract, nothing that a provider would not know of itself. Answers are JSON, errors are
//! `application/problem+json`. There is no authentication: it listens on loopback and holds nothing but invented
//! mail. One file per thing: dns, mail (arrivals, providers, returns), hooks.

mod dns;
mod hooks;
mod mail;

use crate::world::{World, lock};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Octets of what the framework says about a call that it refuses.
const REJECTION_OCTETS_MAX: usize = 4096;

/// What every handler is given.
#[derive(Clone)]
struct Control {
    world: Arc<World>,
    address: SocketAddr,
}

/// An error as the caller sees it.
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    detail: String,
}

pub(crate) async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    world: Arc<World>,
    shutdown: CancellationToken,
) {
    let app = router(Control { world, address });
    let served = axum::serve(listener, app).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    // Calls that are just being delayed on purpose do not hold up the end.
    tokio::select! {
        served = served => if let Err(error) = served {
            tracing::warn!(%error, "the lab's control has ended");
        },
        () = async {
            shutdown.cancelled().await;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        } => {}
    }
}

fn router(control: Control) -> Router {
    let octets_max = control.world.config.request_octets_max;
    Router::new()
        .route("/", get(index))
        .route("/dns", get(dns::list).delete(dns::withdraw))
        .route("/dns/publish", post(dns::publish))
        .route("/dns/faults", get(dns::faults).put(dns::deceive))
        .route("/arrivals", get(mail::arrivals))
        .route("/arrivals/{id}", get(mail::arrival))
        .route("/providers", get(mail::providers))
        .route("/providers/{name}", get(mail::provider).put(mail::change))
        .route("/complaints", post(mail::complain))
        .route("/bounces", post(mail::bounce))
        .route("/webhook-sink", post(hooks::open))
        .route("/webhook-sink/{id}", get(hooks::show).put(hooks::set).delete(hooks::close).post(hooks::call))
        .route("/inbound", put(set_inbound))
        .route("/stats", get(stats))
        .route("/reset", post(reset))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is no such call; GET / lists them"))
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this call does not take this method; GET / lists them",
            )
        })
        .layer(DefaultBodyLimit::max(octets_max))
        .layer(map_response(as_problem))
        .with_state(control)
}

/// What the framework refuses before a handler sees it (a query that cannot be read, a body that is too large) it
/// says in plain text; our callers are promised a problem.
async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_text =
        response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !is_text || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let said = axum::body::to_bytes(response.into_body(), REJECTION_OCTETS_MAX).await.unwrap_or_default();
    Problem::new(status, String::from_utf8_lossy(&said)).into_response()
}

async fn index() -> Json<Value> {
    Json(json!({"calls": [
        "POST /dns/publish", "GET /dns", "DELETE /dns?host=&type=", "GET /dns/faults", "PUT /dns/faults",
        "GET /arrivals?to=&from=&provider=&since=&limit=&raw=1", "GET /arrivals/{id}", "GET /providers", "GET /providers/{name}",
        "PUT /providers/{name}", "POST /complaints", "POST /bounces", "POST /webhook-sink", "POST /webhook-sink/{id}", "GET /webhook-sink/{id}",
        "PUT /webhook-sink/{id}", "DELETE /webhook-sink/{id}", "PUT /inbound", "GET /stats", "POST /reset"
    ]}))
}

async fn stats(State(control): State<Control>) -> Json<Value> {
    let world = &control.world;
    let counts: BTreeMap<_, _> =
        world.providers.iter().map(|provider| (provider.spec.name, provider.counters.counts())).collect();
    let sum = |read: fn(&crate::provider::Counts) -> u64| counts.values().map(read).sum::<u64>();
    let (arrivals_total, arrivals_kept) = {
        let arrivals = lock(&world.arrivals);
        (arrivals.total(), arrivals.len())
    };
    Json(json!({
        "arrivals": arrivals_total,
        "arrivals_kept": arrivals_kept,
        "messages": sum(|c| c.messages),
        "recipients": sum(|c| c.recipients),
        "deferred": sum(|c| c.deferred),
        "refused": sum(|c| c.refused),
        "connections": sum(|c| c.connections),
        "tls_sessions": sum(|c| c.tls_sessions),
        "dns_queries": world.dns_queries.load(Ordering::Relaxed),
        "returns_accepted": world.returns_accepted.load(Ordering::Relaxed),
        "returns_refused": world.returns_refused.load(Ordering::Relaxed),
        "webhook_sinks": lock(&world.hooks).len(),
        "inbound": world.inbound(),
        "providers": counts,
    }))
}

async fn reset(State(control): State<Control>) -> StatusCode {
    control.world.reset();
    StatusCode::NO_CONTENT
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Inbound {
    address: SocketAddr,
}

async fn set_inbound(State(control): State<Control>, body: axum::body::Bytes) -> Result<StatusCode, Problem> {
    let inbound: Inbound = parse(&body)?;
    control.world.set_inbound(inbound.address).map_err(|fault| Problem::unprocessable(fault.to_string()))?;
    Ok(StatusCode::NO_CONTENT)
}

/// JSON whatever the Content-Type says: people type `curl -d`.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::unprocessable(error.to_string()))
}

/// As `parse`; nothing at all is an empty object.
fn parse_or_default<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Problem> {
    if body.iter().all(u8::is_ascii_whitespace) { Ok(T::default()) } else { parse(body) }
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem { status, detail: detail.into() }
    }

    fn unprocessable(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    fn not_found(what: &str, name: &str) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, format!("there is no {what} {name:?}"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("error");
        let body = json!({"title": title, "status": self.status.as_u16(), "detail": self.detail});
        (self.status, [(CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}
