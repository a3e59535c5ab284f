//! `Idempotency-Key`: the same call twice is done once, and answered the same byte for byte.
//!
//! The key belongs to whoever calls, key or person; what it stands for is method, path and body.
//! The same key for another request is refused. A call that comes while its twin is still running waits for the
//! twin's answer, and is told to come back if that takes too long. What failed with 5xx is not kept, so that a retry
//! is done again. A call whose process died is begun again by whoever repeats it, and what it has accepted already is not
//! accepted twice (`claim.rs`); a change of the tables has kept its answer with it (`once.rs`). Answers are kept sealed (`kept.rs`), because some hold secrets that are shown once.
//! From taking the key to keeping the answer a call is a task of its own: neither a client that goes away nor the time
//! limit of a request ends it half way, because then the work would be done and its answer kept by nobody. These tasks
//! are bounded in number and waited for at shutdown; the lease is renewed beside each for as long as it runs. One that has
//! lost its key all the same, because PostgreSQL was away for longer, keeps no answer and makes no change any more.
//! What may surprise: without the header nothing here touches the database, so sending goes on while it is away.

use crate::auth::Caller;
use crate::calls::Running;
use crate::claim::{self, Claim};
use crate::held::{carry, held, read_held};
use crate::in_force::{self, is_sending};
use crate::problem::{Kind, Passing, Problem};
use crate::state::{Api, trouble};
use aws_lc_rs::digest;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use database::{Begun, Held, Holder, Taken};
use registry::Access;
use std::convert::Infallible;
use std::time::Duration;

/// Characters of a key.
const KEY_CHARS_MAX: usize = 255;
/// How often a waiting call looks whether its twin on another node is done.
const POLL: Duration = Duration::from_millis(50);
/// Between two tries to keep an answer: one that is not kept is a call that is done twice.
const KEEP_PAUSE: Duration = Duration::from_millis(500);
/// Octets of an answer that can be kept; ours are far smaller.
const ANSWER_OCTETS_MAX: usize = 4 * 1024 * 1024;

pub async fn once(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Some(value) = request.headers().get("idempotency-key").filter(|_| request.method() == Method::POST)
    else {
        return next.run(request).await;
    };
    match key_of(value) {
        Ok(key) => run(&api, key, request, next).await.unwrap_or_else(IntoResponse::into_response),
        Err(problem) => problem.into_response(),
    }
}

async fn run(api: &Api, key: String, request: Request, next: Next) -> Result<Response, Problem> {
    let access = request.extensions().get::<Caller>().map(|caller| caller.access.clone());
    let access = access.ok_or_else(Problem::internal)?;
    let (mut parts, body) = request.into_parts();
    let turn = api.calls().turn(&access)?;
    // Reading is bounded by the largest body of any operation; the handler applies its own limit again.
    let mut held = held(api, &access, &parts.extensions);
    let body = read_held(&parts.headers, body, api.config().message_body_octets_max, &mut held).await?;
    let hash = fingerprint(&parts.method, parts.uri.path(), &body);
    carry(held, &mut parts.extensions);
    let call = Call { api: api.clone(), access, key, hash };
    let task = api.calls().spawn(async move {
        let _turn = turn;
        call.run(Request::from_parts(parts, Body::from(body)), next).await
    });
    // A panic in there was logged by its hook; what the call has done nobody knows, so its key is left to its lease.
    task.await.unwrap_or_else(|_| Err(Problem::internal()))
}

/// One call with its key.
struct Call {
    api: Api,
    access: Access,
    key: String,
    hash: [u8; 32],
}

impl Call {
    async fn run(&self, mut request: Request, next: Next) -> Result<Response, Problem> {
        let Call { api, access, key, .. } = self;
        let (claim, running) = match self.begin().await? {
            Start::Ours(claim, running) => (claim, running),
            Start::Kept(response) => {
                // It was kept with the change itself, which may not be in force here yet.
                if response.status().is_success() && !is_sending(request.uri()) {
                    in_force::wait(api).await;
                }
                return Ok(response);
            }
        };
        request.extensions_mut().insert(claim.clone());
        let response = tokio::select! {
            response = next.run(request) => response,
            never = self.hold(claim.holder()) => match never {},
        };
        if response.status().is_success() && claim.is_kept() {
            return Ok(response);
        }
        let held = (key.as_str(), claim.holder());
        finish(api, access, held, (response, running)).await
    }

    /// Nobody else may take the key while we are at it.
    async fn hold(&self, holder: Holder) -> Infallible {
        let Call { api, access, key, .. } = self;
        loop {
            tokio::time::sleep(lease(api) / 3).await;
            match api.database().idempotency_renew(access, (key, holder), lease(api)).await {
                Ok(Held::Still) => {}
                Ok(Held::Lost) => {
                    tracing::info!("an idempotency key was taken over by another call");
                    std::future::pending::<()>().await;
                }
                Err(fault) => {
                    tracing::warn!(%fault, "the lease of an idempotency key could not be renewed");
                }
            }
        }
    }
}

/// Longer than any call takes that nobody is still waiting for; after that whoever took the key is not alive any more.
fn lease(api: &Api) -> Duration {
    Duration::from_secs(api.config().request_seconds_max + 5)
}

/// What there is to do for a call.
enum Start {
    /// Everything. The key is held until the second is dropped.
    Ours(Claim, Running),
    Kept(Response),
}

impl Call {
    async fn begin(&self) -> Result<Start, Problem> {
        let Call { api, access, key, hash } = self;
        let owner = access.actor().to_string();
        let deadline = api.clock().instant() + Duration::from_secs(api.config().idempotency_wait_seconds);
        loop {
            // Here first, then in the table: while PostgreSQL was away the lease may have ended under the hands of a twin
            // that is still at work here, and whoever takes its key then keeps its answer from being kept.
            let left = deadline.saturating_since(api.clock().instant());
            let running = tokio::time::timeout(left, api.calls().run(&owner, key, *hash)).await;
            let running = running.map_err(|_| Problem::call_running())?;
            let ours =
                |taken: Taken, begun| Start::Ours(Claim::new((access, key), hash, (taken, begun)), running);
            match api.database().idempotency_begin(access, key, hash, lease(api)).await? {
                Begun::First(taken) => return Ok(ours(taken, claim::Begun::First)),
                Begun::Again(taken) => return Ok(ours(taken, claim::Begun::Again)),
                Begun::Done { status, body } => {
                    return Ok(Start::Kept(kept_answer(api, access, key, status, &body)?));
                }
                Begun::Mismatch => {
                    let detail = "this Idempotency-Key was used before for a different request";
                    return Err(Problem::new(Kind::IdempotencyMismatch, detail));
                }
                // On another node.
                Begun::Running => drop(ours),
            }
            if api.clock().instant() >= deadline {
                return Err(Problem::call_running());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn finish(
    api: &Api,
    access: &Access,
    held: (&str, Holder),
    (response, running): (Response, Running),
) -> Result<Response, Problem> {
    let status = response.status();
    // 429 is about this moment, not about this call.
    let is_passing =
        status == StatusCode::TOO_MANY_REQUESTS || response.extensions().get::<Passing>().is_some();
    if status.is_server_error() || is_passing {
        if let Err(fault) = api.database().idempotency_release(access, held).await {
            tracing::warn!(%fault, "an idempotency key could not be released; it ends by itself");
        }
        // A twin that waits here finds the key free in the table.
        drop(running);
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, ANSWER_OCTETS_MAX).await.map_err(|_| Problem::internal())?;
    // The work is done; a lost answer must not turn into a failure that makes the client do it again.
    let owner = access.actor().to_string();
    let sealed = api.tokens().seal_answer(&owner, held.0, &body, api.now());
    let sealed = sealed.map_err(|fault| trouble("seal", &fault))?;
    keep(api, access, held, (status, &sealed)).await;
    Ok(Response::from_parts(parts, Body::from(body)))
}

async fn keep(api: &Api, access: &Access, held: (&str, Holder), (status, sealed): (StatusCode, &[u8])) {
    // After that somebody else may have begun the call anew.
    let deadline = api.clock().instant() + lease(api);
    loop {
        match api.database().idempotency_finish(access, held, status.as_u16(), sealed).await {
            Ok(Held::Still) => return,
            Ok(Held::Lost) => {
                tracing::info!(
                    "an idempotency key was taken over by another call, which keeps its own answer"
                );
                return;
            }
            Err(fault) if fault.is_passing() && api.clock().instant() < deadline => {
                tokio::time::sleep(KEEP_PAUSE).await;
            }
            Err(fault) => {
                tracing::warn!(%fault, "an answer could not be kept for its idempotency key");
                return;
            }
        }
    }
}

fn kept_answer(
    api: &Api,
    access: &Access,
    key: &str,
    status: u16,
    sealed: &[u8],
) -> Result<Response, Problem> {
    let owner = access.actor().to_string();
    match api.tokens().open_answer(&owner, key, sealed) {
        Some(body) => Ok(replay(status, body)),
        // The token key was replaced since: the call was done, and its answer is gone.
        None => Err(Problem::new(
            Kind::StateConflict,
            "this call was done, but its answer cannot be read any more",
        )),
    }
}

fn replay(status: u16, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let empty = body.is_empty();
    let mut response = (status, Bytes::from(body)).into_response();
    response.headers_mut().remove(header::CONTENT_TYPE);
    if !empty {
        let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    response
}

fn key_of(value: &HeaderValue) -> Result<String, Problem> {
    let text = value.to_str().unwrap_or_default().trim();
    // The draft writes a structured-field string, most clients write it bare; both name the same key.
    let text = text.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(text);
    if text.is_empty() || text.len() > KEY_CHARS_MAX {
        let detail = format!("Idempotency-Key must be 1 to {KEY_CHARS_MAX} printable ASCII characters");
        return Err(Problem::new(Kind::InvalidParameter, detail));
    }
    Ok(text.to_owned())
}

fn fingerprint(method: &Method, path: &str, body: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [method.as_str().as_bytes(), path.as_bytes(), body] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_cannot_be_kept_are_refused() {
        for text in ["", "  ", "\"\"", &"x".repeat(256)] {
            assert!(key_of(&HeaderValue::from_str(text).unwrap()).is_err(), "{text:?}");
        }
        assert!(key_of(&HeaderValue::from_bytes(b"\xff").unwrap()).is_err());
        assert_eq!(key_of(&HeaderValue::from_static("\"a-1\"")).unwrap(), "a-1");
    }

    #[test]
    fn a_fingerprint_covers_method_path_and_body_each_by_itself() {
        let base = fingerprint(&Method::POST, "/v1/a", b"b");
        assert_ne!(base, fingerprint(&Method::POST, "/v1/", b"ab"));
        assert_ne!(base, fingerprint(&Method::POST, "/v1/a", b"c"));
        assert_ne!(base, fingerprint(&Method::PUT, "/v1/a", b"b"));
        assert_eq!(base, fingerprint(&Method::POST, "/v1/a", b"b"));
    }
}
