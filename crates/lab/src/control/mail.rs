//! `/arrivals`, `/providers`, `/complaints`, `/bounces`: what came, who took it, what they send back.

use super::{Control, Problem, parse};
use crate::arrivals::{Arrival, Filter, Since};
use crate::bounces::{Action, BounceFormat, Verdict};
use crate::complaints::ComplaintFormat;
use crate::provider::{Change, Provider};
use crate::returns::{Errand, ErrandKind, ReturnError, Sent, perform};
use crate::world::{World, lock};
use ::mail::Timestamp;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    to: Option<String>,
    from: Option<String>,
    provider: Option<String>,
    /// RFC 3339, milliseconds since 1970, or the id of the last arrival seen.
    since: Option<String>,
    limit: Option<usize>,
    raw: Option<String>,
}

pub(super) async fn arrivals(
    State(control): State<Control>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Problem> {
    let with_raw = wants(wanted.raw.as_deref());
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    // A plus sign arrives as a space if the caller did not escape it, and no address has a space.
    let address = |text: Option<String>| given(text).map(|text| text.replace(' ', "+"));
    let filter = Filter {
        to: address(wanted.to),
        from: address(wanted.from),
        provider: given(wanted.provider),
        since: given(wanted.since).map(|text| since(&text)).transpose()?,
        limit: wanted.limit,
    };
    let found = lock(&control.world.arrivals).select(&filter);
    Ok(Json(found.iter().map(|arrival| show(arrival, with_raw)).collect()))
}

pub(super) async fn arrival(
    State(control): State<Control>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let found = lock(&control.world.arrivals).find(&id).cloned();
    found.map(|arrival| Json(show(&arrival, true))).ok_or_else(|| Problem::not_found("arrival", &id))
}

fn since(text: &str) -> Result<Since, Problem> {
    if text.starts_with("arr_") {
        return Ok(Since::Arrival(text.to_owned()));
    }
    let millis = || text.parse().ok().map(Timestamp::from_millis);
    // A plus sign of an offset arrives as a space if the caller did not escape it.
    let time = Timestamp::parse_rfc3339(&text.replace(' ', "+")).or_else(millis);
    time.map(Since::Time).ok_or_else(|| {
        Problem::unprocessable("since is a time as RFC 3339 writes it, or the id of an arrival")
    })
}

fn wants(flag: Option<&str>) -> bool {
    flag.is_some_and(|flag| !matches!(flag, "0" | "false" | "no"))
}

fn show(arrival: &Arrival, with_raw: bool) -> Value {
    let mut shown = json!({
        "id": arrival.id,
        "at": arrival.at,
        "provider": arrival.provider,
        "mx": arrival.mx,
        "peer_ip": arrival.peer.ip(),
        "ehlo": arrival.ehlo,
        "tls": arrival.tls,
        "mail_from": arrival.mail_from,
        "rcpt_to": arrival.rcpt_to,
        "bytes": arrival.octets,
        "sha256": arrival.sha256,
    });
    if with_raw {
        shown["raw"] = arrival.raw.as_ref().map_or(Value::Null, |raw| BASE64.encode(raw).into());
    }
    shown
}

pub(super) async fn providers(State(control): State<Control>) -> Json<Value> {
    let world = &control.world;
    Json(world.providers.iter().map(|provider| describe(world, provider)).collect())
}

pub(super) async fn provider(
    State(control): State<Control>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let world = &control.world;
    let provider = world.provider(&name).ok_or_else(|| Problem::not_found("provider", &name))?;
    Ok(Json(describe(world, provider)))
}

pub(super) async fn change(
    State(control): State<Control>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let world = &control.world;
    let provider = world.provider(&name).ok_or_else(|| Problem::not_found("provider", &name))?;
    let change: Change = parse(&body)?;
    lock(&provider.model).behaviour_mut().apply(change).map_err(Problem::unprocessable)?;
    Ok(Json(describe(world, provider)))
}

fn describe(world: &World, provider: &Provider) -> Value {
    let domains: Vec<&str> = provider.spec.sites.iter().flat_map(|site| site.domains).copied().collect();
    let mx: Vec<Value> =
        provider.hosts.iter().map(|host| json!({"host": host.name, "address": host.address})).collect();
    let behaviour = lock(&provider.model).behaviour().clone();
    let mut shown = json!({
        "name": provider.spec.name,
        "profile": provider.spec.profile,
        "domains": domains,
        "mx": mx,
        "changed": behaviour != world.first_behaviour(provider.spec),
    });
    if let (Value::Object(shown), Ok(Value::Object(behaviour))) =
        (&mut shown, serde_json::to_value(&behaviour))
    {
        shown.extend(behaviour);
    }
    shown
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ComplaintWanted {
    arrival: String,
    #[serde(default)]
    format: ComplaintFormat,
}

pub(super) async fn complain(State(control): State<Control>, body: Bytes) -> Result<Json<Sent>, Problem> {
    let wanted: ComplaintWanted = parse(&body)?;
    run(&control.world, Errand { arrival: wanted.arrival, kind: ErrandKind::Complaint(wanted.format) }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BounceWanted {
    arrival: String,
    #[serde(default)]
    format: BounceFormat,
    recipient: Option<String>,
    status: Option<String>,
    code: Option<u16>,
    text: Option<String>,
    action: Option<Action>,
}

pub(super) async fn bounce(State(control): State<Control>, body: Bytes) -> Result<Json<Sent>, Problem> {
    let wanted: BounceWanted = parse(&body)?;
    let default = Verdict::default();
    let verdict = Verdict {
        recipient: wanted.recipient,
        status: wanted.status.unwrap_or(default.status),
        code: wanted.code.unwrap_or(default.code),
        text: wanted.text.unwrap_or(default.text),
        action: wanted.action.unwrap_or(default.action),
    };
    verdict.check().map_err(Problem::unprocessable)?;
    run(&control.world, Errand { arrival: wanted.arrival, kind: ErrandKind::Bounce(wanted.format, verdict) })
        .await
}

async fn run(world: &World, errand: Errand) -> Result<Json<Sent>, Problem> {
    perform(world, &errand).await.map(Json).map_err(|error| {
        let status = match &error {
            ReturnError::NoArrival(_) => StatusCode::NOT_FOUND,
            ReturnError::NoInbound | ReturnError::NoAddress => StatusCode::CONFLICT,
            ReturnError::Fault(_) => StatusCode::BAD_GATEWAY,
        };
        Problem::new(status, error.to_string())
    })
}
