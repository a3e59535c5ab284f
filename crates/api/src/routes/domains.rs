//! Sending domains: the records to publish, one-click checking, DKIM keys and their rotation.
//!
//! `verify` asks the DNS now and answers the domain with its records as just checked. What the records mean for the
//! domain is decided by `registry::domain_records`; here they are only looked up and handed over.

use crate::auth::{House, Manage, Named, Read, Within};
use crate::body::{Answer, Body, Result};
use crate::once::Once;
use crate::page::{Page, PageQuery, Query};
use crate::problem::{Kind, Problem};
use crate::routes::tenants::{OptionalReason, taken};
use crate::state::Api;
use axum::extract::State;
use axum::http::StatusCode;
use database::{DkimKeyRow, DomainNew, DomainRow, Fault};
use mail::dkim::KeyAlgorithm;
use mail::{DkimKeyId, Domain, DomainId, Timestamp};
use registry::{DomainRecord, DomainState, KeyState, Purpose, RecordKind, RecordState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = Domain)]
pub struct DomainShape {
    #[schema(value_type = String)]
    id: DomainId,
    #[schema(value_type = String, example = "news.client.example")]
    name: Domain,
    #[schema(value_type = DomainStateShape)]
    state: DomainState,
    /// What to publish in the DNS, and what was found there.
    records: Vec<RecordShape>,
    #[schema(value_type = Option<String>, format = "date-time")]
    checked_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = "date-time")]
    verified_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = "date-time")]
    degraded_at: Option<Timestamp>,
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
}

/// `pending`: not proved yet. `verified`: may send. `degraded`: a required record is gone; sends for 72 h more.
/// `failed`: does not send. `suspended`: stopped by an operator.
#[derive(ToSchema)]
#[schema(as = DomainState, rename_all = "lowercase")]
#[allow(dead_code, reason = "stands in the document for registry::DomainState")]
pub enum DomainStateShape {
    Pending,
    Verified,
    Degraded,
    Failed,
    Suspended,
}

/// A DNS record: what is expected and what was found.
#[derive(Serialize, ToSchema)]
#[schema(as = DomainRecord)]
pub struct RecordShape {
    #[schema(value_type = PurposeShape)]
    purpose: Purpose,
    #[serde(rename = "type")]
    #[schema(value_type = RecordKindShape)]
    kind: RecordKind,
    host: String,
    value: String,
    /// Whether the domain can be verified without it.
    required: bool,
    #[schema(value_type = RecordStateShape)]
    state: RecordState,
    found: Vec<String>,
    /// What to do about it.
    hint: String,
}

#[derive(ToSchema)]
#[schema(as = RecordPurpose, rename_all = "snake_case")]
#[allow(dead_code, reason = "stands in the document for registry::Purpose")]
pub enum PurposeShape {
    Ownership,
    Dkim1,
    Dkim2,
    ReturnPath,
    Dmarc,
    Tracking,
}

#[derive(ToSchema)]
#[schema(as = RecordKind, rename_all = "UPPERCASE")]
#[allow(dead_code, reason = "stands in the document for registry::RecordKind")]
pub enum RecordKindShape {
    Txt,
    Cname,
}

#[derive(ToSchema)]
#[schema(as = RecordState, rename_all = "lowercase")]
#[allow(dead_code, reason = "stands in the document for registry::RecordState")]
pub enum RecordStateShape {
    Missing,
    Ok,
    Mismatch,
    Error,
    Unchecked,
}

/// A DKIM key. The private half never leaves the house.
#[derive(Serialize, ToSchema)]
#[schema(as = DkimKey)]
pub struct KeyShape {
    #[schema(value_type = String)]
    id: DkimKeyId,
    selector: String,
    /// `rsa` (2048 bits) or `ed25519`.
    #[schema(value_type = String)]
    algorithm: &'static str,
    /// `next`: to be published, signs as soon as it is found. `active`: signs. `retiring`: leave it published a while.
    #[schema(value_type = String)]
    state: &'static str,
    /// The value of the TXT record at `<selector>._domainkey.<domain>`.
    record: String,
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
pub struct DkimKeys {
    data: Vec<KeyShape>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDomain {
    #[schema(value_type = String, format = "domain", example = "news.client.example")]
    name: Domain,
}

/// Add a sending domain
///
/// Answers the DNS records to publish. It may send as soon as `verify`, or our own check, has found them.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/domains", tag = "domains", operation_id = "domain_create",
    request_body = CreateDomain, responses((status = 201, body = DomainShape, description = "the domain and its records")))]
pub async fn create(
    State(api): State<Api>,
    once: Once,
    scope: Within<Manage>,
    Body(body): Body<CreateDomain>,
) -> Result<Answer<DomainShape>> {
    let new = DomainNew { name: body.name, return_path_target: api.config().return_path_target.clone() };
    let created = once.created().domain_create(&scope.access, scope.tenant, &new).await;
    let domain = created.map_err(|fault| match fault {
        // Which of the two it is, nobody is told who cannot see it in its own list.
        Fault::Conflict { .. } => taken(
            "/name",
            "name is taken: this account has added it before (see its list of domains), or another one has proved it; \
             if the domain is yours, ask the operator",
        ),
        other => Problem::from(other),
    })?;
    Ok(Answer::created(domain.into()))
}

/// List a tenant's domains
#[utoipa::path(get, path = "/v1/tenants/{tenant}/domains", tag = "domains", operation_id = "domain_list",
    params(PageQuery), responses((status = 200, body = Page<DomainShape>, description = "a page of domains")))]
pub async fn list(
    State(api): State<Api>,
    scope: Within<Read>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<DomainShape>>> {
    let page = api.database().domain_list(&scope.access, scope.tenant, &query.request()?).await?;
    Ok(Answer::ok(Page::of(page, DomainShape::from)))
}

/// Show a domain with its records
#[utoipa::path(get, path = "/v1/tenants/{tenant}/domains/{domain}", tag = "domains", operation_id = "domain_fetch",
    responses((status = 200, body = DomainShape, description = "the domain")))]
pub async fn fetch(
    State(api): State<Api>,
    scope: Within<Read>,
    Named(domain): Named<DomainId>,
) -> Result<Answer<DomainShape>> {
    let domain = api.database().domain_fetch(&scope.access, scope.tenant, domain).await?;
    Ok(Answer::ok(domain.into()))
}

/// Give a domain up
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/domains/{domain}", tag = "domains", operation_id = "domain_delete",
    responses((status = 204, description = "gone")))]
pub async fn delete(
    State(api): State<Api>,
    scope: Within<Manage>,
    Named(domain): Named<DomainId>,
) -> Result<StatusCode> {
    api.database().domain_delete(&scope.access, scope.tenant, domain).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Check the records now
///
/// Asks the DNS and answers the domain with its records as just checked.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/domains/{domain}/verify", tag = "domains", operation_id = "domain_verify",
    responses((status = 200, body = DomainShape, description = "the domain as just checked")))]
pub async fn verify(
    State(api): State<Api>,
    scope: Within<Manage>,
    Named(domain): Named<DomainId>,
) -> Result<Answer<DomainShape>> {
    let row = api.database().domain_to_check(&scope.access, scope.tenant, domain).await?;
    let records = api.dns().check(row.expected()).await;
    let row = api.database().domain_check(&scope.access, scope.tenant, domain, &records).await;
    let row = row.map_err(|fault| match fault {
        Fault::Conflict { .. } => Problem::new(
            Kind::Conflict,
            "the records are right, but another account has proved this domain before; \
             it has to give the domain up first: if the domain is yours, ask the operator",
        ),
        other => Problem::from(other),
    })?;
    Ok(Answer::ok(row.into()))
}

/// Stop a domain
///
/// Nothing is sent as it, whatever its records say, and its name stays taken: new mail is refused, what is queued waits. The
/// reason stands in the audit; the tenant sees the state. Operators only.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/domains/{domain}/suspend", tag = "domains", operation_id = "domain_suspend",
    request_body = OptionalReason, responses((status = 200, body = DomainShape, description = "the domain, suspended")))]
pub async fn suspend(
    once: Once,
    house: House<Manage>,
    scope: Within<Manage>,
    Named(domain): Named<DomainId>,
    Body(body): Body<OptionalReason>,
) -> Result<Answer<DomainShape>> {
    let (tables, reason) = (once.ok(), body.reason.as_deref());
    let row = tables.domain_suspend(&house.access, scope.tenant, domain, reason).await?;
    Ok(Answer::ok(row.into()))
}

/// End the stop of a domain
///
/// It is pending until the next check finds its records. Operators only.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/domains/{domain}/release", tag = "domains", operation_id = "domain_release",
    request_body = OptionalReason, responses((status = 200, body = DomainShape, description = "the domain, pending")))]
pub async fn release(
    once: Once,
    house: House<Manage>,
    scope: Within<Manage>,
    Named(domain): Named<DomainId>,
    Body(body): Body<OptionalReason>,
) -> Result<Answer<DomainShape>> {
    let (tables, reason) = (once.ok(), body.reason.as_deref());
    let row = tables.domain_release(&house.access, scope.tenant, domain, reason).await?;
    Ok(Answer::ok(row.into()))
}

/// List the DKIM keys of a domain
#[utoipa::path(get, path = "/v1/tenants/{tenant}/domains/{domain}/dkim-keys", tag = "domains",
    operation_id = "domain_keys", responses((status = 200, body = DkimKeys, description = "all of them")))]
pub async fn keys(
    State(api): State<Api>,
    scope: Within<Read>,
    Named(domain): Named<DomainId>,
) -> Result<Answer<DkimKeys>> {
    let keys = api.database().dkim_key_list(&scope.access, scope.tenant, domain).await?;
    Ok(Answer::ok(keys.into()))
}

/// Make the next DKIM keys
///
/// Publish their records beside the old ones; they sign from the first check that finds them, and the old ones retire.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/domains/{domain}/dkim-keys/rotate", tag = "domains",
    operation_id = "domain_keys_rotate", responses((status = 201, body = DkimKeys, description = "all keys, with the next ones")))]
pub async fn rotate(
    once: Once,
    scope: Within<Manage>,
    Named(domain): Named<DomainId>,
) -> Result<Answer<DkimKeys>> {
    let keys = once.created().dkim_key_rotate(&scope.access, scope.tenant, domain).await;
    let keys = keys.map_err(|fault| match fault {
        Fault::Conflict { field: "dkim_keys" } => Problem::new(
            Kind::Conflict,
            "the keys of the last rotation still wait for their DNS records (those with state next): \
             publish them, then verify the domain; from then on the next can be made",
        ),
        other => Problem::from(other),
    })?;
    Ok(Answer::created(keys.into()))
}

impl From<DomainRow> for DomainShape {
    fn from(row: DomainRow) -> DomainShape {
        DomainShape {
            id: row.id,
            name: row.name,
            state: row.state,
            records: row.records.into_iter().map(RecordShape::from).collect(),
            checked_at: row.checked_at,
            verified_at: row.verified_at,
            degraded_at: row.degraded_at,
            created_at: row.created_at,
        }
    }
}

impl From<DomainRecord> for RecordShape {
    fn from(record: DomainRecord) -> RecordShape {
        let DomainRecord { purpose, kind, host, value, required, state, found, hint } = record;
        RecordShape { purpose, kind, host, value, required, state, found, hint }
    }
}

impl From<Vec<DkimKeyRow>> for DkimKeys {
    fn from(keys: Vec<DkimKeyRow>) -> DkimKeys {
        DkimKeys { data: keys.into_iter().map(KeyShape::from).collect() }
    }
}

impl From<DkimKeyRow> for KeyShape {
    fn from(row: DkimKeyRow) -> KeyShape {
        let algorithm = match row.algorithm {
            KeyAlgorithm::Rsa => "rsa",
            KeyAlgorithm::Ed25519 => "ed25519",
        };
        let state = match row.state {
            KeyState::Next => "next",
            KeyState::Active => "active",
            KeyState::Retiring => "retiring",
        };
        let DkimKeyRow { id, selector, public_record, created_at, .. } = row;
        KeyShape { id, selector, algorithm, state, record: public_record, created_at }
    }
}
