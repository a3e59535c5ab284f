//! `/webhook-sink` makes sinks. The address of a sink is where it is called (POST) and looked at (GET).

use super::{Control, Problem, parse, parse_or_default};
use crate::hooks::{Call, Hook, Manner};
use crate::world::lock;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest delay that can be set.
const DELAY_MS_MAX: u64 = 600_000;

pub(super) async fn open(State(control): State<Control>, body: Bytes) -> Result<Json<Value>, Problem> {
    let manner: Manner = parse_or_default(&body)?;
    check(manner)?;
    let id = control.world.token();
    if !lock(&control.world.hooks).open(&id, manner) {
        return Err(Problem::new(StatusCode::CONFLICT, "there are as many webhook sinks as the lab allows"));
    }
    Ok(Json(json!({"id": id, "url": url(&control, &id)})))
}

pub(super) async fn show(
    State(control): State<Control>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let mut hooks = lock(&control.world.hooks);
    let hook = hooks.find(&id).ok_or_else(|| Problem::not_found("webhook sink", &id))?;
    Ok(Json(describe(&control, &id, hook)))
}

pub(super) async fn set(
    State(control): State<Control>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let manner: Manner = parse(&body)?;
    check(manner)?;
    let mut hooks = lock(&control.world.hooks);
    let hook = hooks.find(&id).ok_or_else(|| Problem::not_found("webhook sink", &id))?;
    hook.apply(manner);
    Ok(Json(describe(&control, &id, hook)))
}

pub(super) async fn close(
    State(control): State<Control>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let closed = lock(&control.world.hooks).close(&id);
    if closed { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("webhook sink", &id)) }
}

/// Records, waits, answers.
pub(super) async fn call(
    State(control): State<Control>,
    Path(id): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        named
            .entry(name.as_str().to_owned())
            .and_modify(|all| *all = format!("{all}, {value}"))
            .or_insert_with(|| value.into_owned());
    }
    let call = Call {
        at: control.world.clock.timestamp(),
        method: method.to_string(),
        path: uri.to_string(),
        headers: named,
        body: String::from_utf8_lossy(&body).into_owned(),
        body_base64: BASE64.encode(&body),
        status: 0,
    };
    let answer = lock(&control.world.hooks).record(&id, call);
    let (status, delay_ms) = answer.ok_or_else(|| Problem::not_found("webhook sink", &id))?;
    tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    Ok(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
}

fn check(manner: Manner) -> Result<(), Problem> {
    if manner.status.is_some_and(|status| !(200..600).contains(&status)) {
        return Err(Problem::unprocessable("status is an HTTP status from 200 to 599"));
    }
    if manner.delay_ms.is_some_and(|delay| delay > DELAY_MS_MAX) {
        return Err(Problem::unprocessable("delay_ms is at most 600000"));
    }
    Ok(())
}

fn describe(control: &Control, id: &str, hook: &Hook) -> Value {
    json!({
        "id": id,
        "url": url(control, id),
        "status": hook.status,
        "delay_ms": hook.delay_ms,
        "total": hook.total,
        "calls": hook.calls,
    })
}

fn url(control: &Control, id: &str) -> String {
    format!("http://{}/webhook-sink/{id}", control.address)
}
