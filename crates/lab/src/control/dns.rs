//! `/dns`: publish, list, withdraw, deceive.

use super::{Control, Problem, parse};
use crate::dns::{Data, Deception, Kind, Publication};
use crate::world::lock;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The `records` array of a domain as the API gives it, one record, or an object that holds the array.
#[derive(Deserialize)]
#[serde(untagged)]
enum Publishing {
    Many(Vec<Publication>),
    Wrapped { records: Vec<Publication> },
    One(Publication),
}

pub(super) async fn publish(State(control): State<Control>, body: Bytes) -> Result<Json<Value>, Problem> {
    let records = match parse::<Publishing>(&body) {
        Ok(Publishing::Many(records) | Publishing::Wrapped { records }) => records,
        Ok(Publishing::One(record)) => vec![record],
        Err(_) => {
            return Err(Problem::unprocessable(r#"the body is [{"host":"…","type":"TXT","value":"…"}, …]"#));
        }
    };
    let published = lock(&control.world.zones)
        .publish(&records)
        .map_err(|error| Problem::unprocessable(error.to_string()))?;
    Ok(Json(json!({"published": published})))
}

#[derive(Serialize)]
pub(super) struct Shown {
    host: String,
    #[serde(rename = "type")]
    kind: &'static str,
    value: String,
}

pub(super) async fn list(State(control): State<Control>) -> Json<Vec<Shown>> {
    let show = |(host, data): (&str, &Data)| Shown {
        host: host.to_owned(),
        kind: data.kind().as_str(),
        value: data.to_value(),
    };
    Json(lock(&control.world.zones).published().map(show).collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    #[serde(alias = "name")]
    host: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

pub(super) async fn withdraw(
    State(control): State<Control>,
    Query(which): Query<Which>,
) -> Result<Json<Value>, Problem> {
    let host = crate::dns::host_name(&which.host)
        .ok_or_else(|| Problem::unprocessable("host is not a host name"))?;
    let kind = match which.kind.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => Some(
            Kind::parse(text)
                .ok_or_else(|| Problem::unprocessable("type is one of A AAAA CNAME MX PTR TXT"))?,
        ),
        None => None,
    };
    Ok(Json(json!({"removed": lock(&control.world.zones).withdraw(&host, kind)})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ZoneFault {
    #[serde(alias = "host", alias = "domain", alias = "name")]
    zone: String,
    #[serde(alias = "kind", alias = "mode")]
    fault: FaultName,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FaultName {
    Servfail,
    Timeout,
    Lie,
    /// The zone is healed.
    #[serde(alias = "ok")]
    None,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ZoneFaults {
    Many(Vec<ZoneFault>),
    One(ZoneFault),
}

pub(super) async fn deceive(State(control): State<Control>, body: Bytes) -> Result<StatusCode, Problem> {
    let faults = match parse::<ZoneFaults>(&body) {
        Ok(ZoneFaults::Many(faults)) => faults,
        Ok(ZoneFaults::One(fault)) => vec![fault],
        Err(_) => {
            return Err(Problem::unprocessable(
                r#"the body is {"zone":"…","fault":"servfail|timeout|lie|none"} or a list of such"#,
            ));
        }
    };
    let name = |fault: &ZoneFault| crate::dns::host_name(&fault.zone);
    let named =
        faults.iter().map(|fault| name(fault).map(|zone| (zone, fault.fault))).collect::<Option<Vec<_>>>();
    let named = named.ok_or_else(|| Problem::unprocessable("zone is not a host name"))?;
    let mut zones = lock(&control.world.zones);
    for (zone, fault) in named {
        let deception = match fault {
            FaultName::Servfail => Some(Deception::Servfail),
            FaultName::Timeout => Some(Deception::Timeout),
            FaultName::Lie => Some(Deception::Lie),
            FaultName::None => None,
        };
        zones.deceive(&zone, deception);
    }
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn faults(State(control): State<Control>) -> Json<Value> {
    let zones = lock(&control.world.zones);
    Json(zones.faults().map(|(zone, fault)| json!({"zone": zone, "fault": fault})).collect())
}
