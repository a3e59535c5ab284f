//! SMTP credentials: made, listed, rotated, revoked. A password is shown once, when it is made.

use crate::auth::{Manage, Named, Read, Within};
use crate::body::{Answer, Body, Result};
use crate::once::Once;
use crate::page::{Page, PageQuery, Query};
use crate::problem::Problem;
use crate::schema::network_of;
use crate::state::Api;
use crate::steering::stream_of;
use axum::extract::State;
use database::{CredentialNew, CredentialRow};
use ipnet::IpNet;
use mail::{CredentialId, Domain, StreamId, Timestamp};
use registry::{DisplayName, Limits, Right, Slug};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const SENDS: &str = "whoever has a credential sends";

/// An SMTP credential without its password.
#[derive(Serialize, ToSchema)]
#[schema(as = Credential)]
pub struct CredentialShape {
    #[schema(value_type = String)]
    id: CredentialId,
    #[schema(value_type = String)]
    name: DisplayName,
    username: String,
    /// Its mail goes into this stream and no other.
    #[schema(value_type = Option<String>)]
    stream: Option<StreamId>,
    /// It may send from these only; empty means every verified domain of the tenant.
    #[schema(value_type = Vec<String>)]
    domains: Vec<Domain>,
    /// It may be used from these only; empty means from anywhere.
    #[schema(value_type = Vec<String>)]
    networks: Vec<IpNet>,
    limits: LimitsShape,
    /// `pmta` reads PowerMTA's `X-` headers too.
    #[schema(value_type = Option<CompatShape>)]
    compat: Option<CompatShape>,
    /// Refuse a suppressed recipient instead of accepting and reporting it. Kept, and without effect yet: nobody is
    /// suppressed in this version.
    reject_suppressed: bool,
    #[schema(value_type = Option<String>, format = "date-time")]
    expires_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = "date-time")]
    revoked_at: Option<Timestamp>,
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
}

/// Another product whose headers are read.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Compat)]
pub enum CompatShape {
    Pmta,
}

/// Beside the limits of the tenant; null is no limit of its own.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = CredentialLimits)]
pub struct LimitsShape {
    /// Recipients a second.
    #[schema(minimum = 1)]
    per_second: Option<u32>,
    /// Recipients a day (UTC).
    #[schema(minimum = 1)]
    per_day: Option<u64>,
    /// Connections at a time.
    #[schema(minimum = 1)]
    connections: Option<u32>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCredential {
    /// For people.
    #[schema(value_type = String, format = "display-name", example = "shop backend")]
    name: DisplayName,
    /// Name or id.
    #[schema(value_type = Option<String>, format = "slug")]
    stream: Option<Slug>,
    #[serde(default)]
    #[schema(value_type = Vec<DomainText>, required = false, max_items = 100)]
    domains: Vec<Domain>,
    #[serde(default)]
    #[schema(max_items = 100)]
    networks: Vec<NetworkText>,
    #[serde(default)]
    limits: LimitsShape,
    compat: Option<CompatShape>,
    #[serde(default)]
    reject_suppressed: bool,
    #[schema(value_type = Option<String>, format = "date-time")]
    expires_at: Option<Timestamp>,
}

/// A domain name.
#[derive(ToSchema)]
#[schema(value_type = String, format = "domain")]
#[allow(dead_code, reason = "stands in the document for mail::Domain")]
pub struct DomainText(String);

/// `192.0.2.0/24`, or an address alone.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[schema(value_type = String, format = "network")]
pub struct NetworkText(pub String);

/// A credential and its password, shown this once.
#[derive(Serialize, ToSchema)]
pub struct CreatedCredential {
    #[serde(flatten)]
    credential: CredentialShape,
    password: String,
}

/// Create an SMTP credential
///
/// The password is shown this once.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/credentials", tag = "credentials", operation_id = "credential_create",
    request_body = CreateCredential, responses((status = 201, body = CreatedCredential, description = "with its password")))]
pub async fn create(
    State(api): State<Api>,
    once: Once,
    scope: Within<Manage>,
    Body(body): Body<CreateCredential>,
) -> Result<Answer<CreatedCredential>> {
    scope.expect_own(Right::Send, SENDS)?;
    expect_future(&api, body.expires_at)?;
    let LimitsShape { per_second, per_day, connections } = body.limits;
    let new = CredentialNew {
        name: body.name,
        stream: stream_of(&api.snapshot(), scope.tenant, body.stream.as_ref())?,
        domains: body.domains,
        networks: networks(&body.networks),
        limits: Limits { per_second, per_day, connections },
        compat_pmta: body.compat.is_some(),
        reject_suppressed: body.reject_suppressed,
        expires_at: body.expires_at,
    };
    let (row, password) = once.created().credential_create(&scope.access, scope.tenant, &new).await?;
    Ok(Answer::created(CreatedCredential::new(row, &password)))
}

/// List SMTP credentials
#[utoipa::path(get, path = "/v1/tenants/{tenant}/credentials", tag = "credentials", operation_id = "credential_list",
    params(PageQuery), responses((status = 200, body = Page<CredentialShape>, description = "a page of credentials")))]
pub async fn list(
    State(api): State<Api>,
    scope: Within<Read>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<CredentialShape>>> {
    let page = api.database().credential_list(&scope.access, scope.tenant, &query.request()?).await?;
    Ok(Answer::ok(Page::of(page, CredentialShape::from)))
}

/// Show an SMTP credential
#[utoipa::path(get, path = "/v1/tenants/{tenant}/credentials/{credential}", tag = "credentials",
    operation_id = "credential_fetch", responses((status = 200, body = CredentialShape, description = "without its password")))]
pub async fn fetch(
    State(api): State<Api>,
    scope: Within<Read>,
    Named(credential): Named<CredentialId>,
) -> Result<Answer<CredentialShape>> {
    let row = api.database().credential_fetch(&scope.access, scope.tenant, credential).await?;
    Ok(Answer::ok(row.into()))
}

/// Give a credential a new password
///
/// The old one ends at once.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/credentials/{credential}/rotate", tag = "credentials",
    operation_id = "credential_rotate",
    responses((status = 200, body = CreatedCredential, description = "with its new password")))]
pub async fn rotate(
    once: Once,
    scope: Within<Manage>,
    Named(credential): Named<CredentialId>,
) -> Result<Answer<CreatedCredential>> {
    scope.expect_own(Right::Send, SENDS)?;
    let (row, password) = once.ok().credential_rotate(&scope.access, scope.tenant, credential).await?;
    Ok(Answer::ok(CreatedCredential::new(row, &password)))
}

/// Revoke a credential
///
/// For good; it stays listed with the time it was revoked.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/credentials/{credential}", tag = "credentials",
    operation_id = "credential_revoke", responses((status = 200, body = CredentialShape, description = "revoked")))]
pub async fn revoke(
    State(api): State<Api>,
    scope: Within<Manage>,
    Named(credential): Named<CredentialId>,
) -> Result<Answer<CredentialShape>> {
    let row = api.database().credential_revoke(&scope.access, scope.tenant, credential).await?;
    Ok(Answer::ok(row.into()))
}

/// What has expired before it is made would only puzzle whoever tries it.
pub fn expect_future(api: &Api, expires_at: Option<Timestamp>) -> Result<()> {
    match expires_at {
        Some(at) if at <= api.now() => {
            Err(Problem::invalid_field("/expires_at", "invalid", "this time has passed"))
        }
        Some(_) | None => Ok(()),
    }
}

/// The schema has checked each of them.
pub fn networks(texts: &[NetworkText]) -> Vec<IpNet> {
    texts.iter().filter_map(|text| network_of(&text.0)).collect()
}

impl CreatedCredential {
    pub fn new(row: CredentialRow, password: &str) -> CreatedCredential {
        CreatedCredential { credential: row.into(), password: password.to_owned() }
    }
}

impl From<CredentialRow> for CredentialShape {
    fn from(row: CredentialRow) -> CredentialShape {
        let Limits { per_second, per_day, connections } = row.limits;
        CredentialShape {
            id: row.id,
            name: row.name,
            username: row.username,
            stream: row.stream,
            domains: row.domains,
            networks: row.networks,
            limits: LimitsShape { per_second, per_day, connections },
            compat: row.compat_pmta.then_some(CompatShape::Pmta),
            reject_suppressed: row.reject_suppressed,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            created_at: row.created_at,
        }
    }
}
