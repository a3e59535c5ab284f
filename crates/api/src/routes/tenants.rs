//! Tenants: onboarding, what they are called, whether their doors are open. The house's example of an operation.
//!
//! Every resource is done like this one. A public shape for what is answered and one for each body, because a table
//! may change and the API may not. The schema checks fields, the database checks what only rows know, and a handler
//! has one thing to do between them. What a handler needs stands in its signature: `House<Manage>` is an operator who
//! may change things, `Within<Read>` anybody who may read the tenant of the path, and there is no third way in.
//! What may surprise: `DELETE` closes a tenant, and what it queued still goes out; erasing follows when nothing is left.

use crate::auth::{House, Manage, Read, Within};
use crate::body::{Answer, Body, Result, read_checked};
use crate::once::Once;
use crate::page::{Page, PageQuery, Query};
use crate::problem::{FieldError, Kind, Problem};
use crate::routes::domains::DomainShape;
use crate::routes::plan::{PlanChange, PlanShape};
use crate::routes::streams::StreamShape;
use crate::routes::webhooks::target_error;
use crate::state::Api;
use axum::extract::{Request, State};
use database::{Database, EndpointNew, Fault, Onboarded, Onboarding, OnboardingDefaults, TenantChange};
use mail::{Domain, EventKind, PoolId, TenantId, Timestamp};
use registry::{Access, DisplayName, Plan, Slug, Tenant, TenantStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A tenant as it is shown.
#[derive(Serialize, ToSchema)]
#[schema(as = Tenant)]
pub struct TenantShape {
    #[schema(value_type = String, example = "ten_01jd8x3k5v7q9r2t4w6y8z0a1b")]
    pub id: TenantId,
    #[schema(value_type = String, example = "Example Ltd")]
    pub name: DisplayName,
    #[schema(value_type = StatusShape)]
    pub status: TenantStatus,
    /// Why it is not active, in words.
    pub status_reason: Option<String>,
    pub plan: PlanShape,
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = "date-time")]
    pub updated_at: Timestamp,
}

/// `active`: as its plan allows. `paused`: mail is refused and queued mail waits. `quarantined`: so on suspicion. `closing`: mail is refused, what is queued goes out, then everything is erased.
#[derive(ToSchema)]
#[schema(as = TenantStatus, rename_all = "lowercase")]
#[allow(dead_code, reason = "stands in the document for registry::TenantStatus")]
pub enum StatusShape {
    Active,
    Paused,
    Quarantined,
    Closing,
}

/// What onboarding needs to know.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OnboardTenant {
    #[schema(value_type = String, format = "display-name", example = "Example Ltd")]
    name: DisplayName,
    /// The domain it will send from.
    #[schema(value_type = String, format = "domain", example = "news.client.example")]
    domain: Domain,
    #[serde(default)]
    plan: Option<PlanShape>,
    /// Name or id of the shared pool that its mail leaves from; the default pool if absent.
    #[schema(value_type = Option<String>, format = "slug")]
    #[serde(default)]
    pool: Option<Slug>,
    /// Where its events are sent.
    #[serde(default)]
    webhook: Option<OnboardWebhook>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OnboardWebhook {
    #[schema(format = "http-url", max_length = 2048)]
    url: String,
    /// Event types; every one if empty.
    #[schema(value_type = Vec<EventType>, required = false, max_items = 50)]
    #[serde(default)]
    types: Vec<EventKind>,
}

/// One of the event types.
#[derive(ToSchema)]
#[schema(value_type = String, format = "event-type")]
#[allow(dead_code, reason = "stands in the document for mail::EventKind")]
pub struct EventType(String);

/// A tenant with everything it needs to begin. The secrets are shown this once.
#[derive(Serialize, ToSchema)]
pub struct OnboardedTenant {
    tenant: TenantShape,
    /// With the DNS records to publish.
    domain: DomainShape,
    streams: Vec<StreamShape>,
    api_key: ShownSecret,
    smtp_credential: ShownCredential,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<ShownSecret>,
}

#[derive(Serialize, ToSchema)]
pub struct ShownSecret {
    pub id: String,
    pub secret: String,
}

#[derive(Serialize, ToSchema)]
pub struct ShownCredential {
    pub id: String,
    pub username: String,
    pub password: String,
}

/// What may be changed; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateTenant {
    #[schema(value_type = Option<String>, format = "display-name")]
    name: Option<DisplayName>,
    /// Of the plan, too, what is left out stays; null ends a limit. Operators only.
    plan: Option<PlanChange>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusReason {
    /// Why, in words that the tenant may read.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// What may be said, and need not be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OptionalReason {
    /// Why, in words that the tenant may read.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: Option<String>,
}

/// Onboard a tenant
///
/// Makes the tenant, its domain with the DNS records to publish, a transactional and a marketing stream, an API key and
/// an SMTP credential, all or nothing. Operators only.
#[utoipa::path(post, path = "/v1/tenants", tag = "tenants", operation_id = "tenant_onboard", request_body = OnboardTenant,
    responses((status = 201, body = OnboardedTenant, description = "the tenant, and its secrets this once")))]
pub async fn onboard(once: Once, house: House<Manage>, request: Request) -> Result<Answer<OnboardedTenant>> {
    let api = once.api();
    let body: OnboardTenant =
        read_checked(request, api, |body, errors| onboarding_errors(api, body, errors)).await?;
    let onboarding = Onboarding {
        name: body.name,
        domain: body.domain,
        plan: body.plan.map_or_else(Plan::default, Plan::from),
        pool: body.pool.map(|pool| pool_name(api, pool)),
        webhook: body.webhook.map(|OnboardWebhook { url, types }| EndpointNew { url, kinds: types }),
    };
    let defaults = OnboardingDefaults {
        return_path_target: api.config().return_path_target.clone(),
        pool: api.config().default_pool.clone(),
    };
    let onboarded = once.created().tenant_onboard(&house.access, &onboarding, &defaults).await;
    let onboarded = onboarded.map_err(|fault| not_onboarded(fault, &onboarding, &defaults))?;
    Ok(Answer::created((&onboarded).into()))
}

/// List tenants
///
/// Newest first. Operators only.
#[utoipa::path(get, path = "/v1/tenants", tag = "tenants", operation_id = "tenant_list", params(PageQuery),
    responses((status = 200, body = Page<TenantShape>, description = "a page of tenants")))]
pub async fn list(
    State(api): State<Api>,
    house: House<Read>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<TenantShape>>> {
    let page = api.database().tenant_list(&house.access, &query.request()?).await?;
    Ok(Answer::ok(Page::of(page, TenantShape::from)))
}

/// Show a tenant
#[utoipa::path(get, path = "/v1/tenants/{tenant}", tag = "tenants", operation_id = "tenant_fetch",
    responses((status = 200, body = TenantShape, description = "the tenant")))]
pub async fn fetch(State(api): State<Api>, scope: Within<Read>) -> Result<Answer<TenantShape>> {
    let tenant = api.database().tenant_fetch(&scope.access, scope.tenant).await?;
    Ok(Answer::ok(tenant.into()))
}

/// Change a tenant
///
/// A tenant may rename itself; its plan is the operator's.
#[utoipa::path(patch, path = "/v1/tenants/{tenant}", tag = "tenants", operation_id = "tenant_update",
    request_body = UpdateTenant, responses((status = 200, body = TenantShape, description = "the tenant as it is now")))]
pub async fn update(
    State(api): State<Api>,
    scope: Within<Manage>,
    Body(body): Body<UpdateTenant>,
) -> Result<Answer<TenantShape>> {
    let (database, access) = (api.database(), &scope.caller.access);
    let mut change = TenantChange { name: body.name, plan: None, plan_before: None };
    let Some(plan) = body.plan else {
        return Ok(Answer::ok(database.tenant_update(access, scope.tenant, &change).await?.into()));
    };
    if !access.is_house() {
        return Err(Fault::Forbidden.into());
    }
    loop {
        // Whoever may change a plan need not be able to read it.
        let before = database.tenant_fetch(&Access::house("change a plan"), scope.tenant).await?.plan;
        change.plan = Some(plan.of(&before));
        change.plan_before = Some(before);
        match database.tenant_update(access, scope.tenant, &change).await {
            // By somebody else, in between; the fields that this call leaves out are theirs.
            Err(Fault::Changed { .. }) => {}
            outcome => return Ok(Answer::ok(outcome?.into())),
        }
    }
}

/// Close a tenant
///
/// Its mail is refused from now on; what is queued still goes out, then everything is erased. Operators only.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}", tag = "tenants", operation_id = "tenant_delete",
    responses((status = 202, body = TenantShape, description = "closing")))]
pub async fn delete(
    State(api): State<Api>,
    _house: House<Manage>,
    scope: Within<Manage>,
) -> Result<Answer<TenantShape>> {
    let Answer(_, tenant) = set_status(api.database(), &scope, TenantStatus::Closing, None).await?;
    Ok(Answer::accepted(tenant))
}

/// Pause a tenant
///
/// Mail is refused for the time being and queued mail waits. Operators only.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/pause", tag = "tenants", operation_id = "tenant_pause",
    request_body = StatusReason, responses((status = 200, body = TenantShape, description = "paused")))]
pub async fn pause(
    once: Once,
    _house: House<Manage>,
    scope: Within<Manage>,
    Body(body): Body<StatusReason>,
) -> Result<Answer<TenantShape>> {
    expect_status(once.api(), &scope, &[TenantStatus::Active]).await?;
    set_status(&once.ok(), &scope, TenantStatus::Paused, Some(body.reason)).await
}

/// End a pause
///
/// Of a paused tenant only; a quarantine ends with `release`. Operators only.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/resume", tag = "tenants", operation_id = "tenant_resume",
    request_body = OptionalReason, responses((status = 200, body = TenantShape, description = "active again")))]
pub async fn resume(
    once: Once,
    _house: House<Manage>,
    scope: Within<Manage>,
    Body(body): Body<OptionalReason>,
) -> Result<Answer<TenantShape>> {
    expect_status(once.api(), &scope, &[TenantStatus::Paused]).await?;
    set_status(&once.ok(), &scope, TenantStatus::Active, body.reason).await
}

/// Put a tenant into quarantine
///
/// As a pause, on suspicion: it ends with `release` and not with `resume`. Operators only.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/quarantine", tag = "tenants", operation_id = "tenant_quarantine",
    request_body = StatusReason, responses((status = 200, body = TenantShape, description = "in quarantine")))]
pub async fn quarantine(
    once: Once,
    _house: House<Manage>,
    scope: Within<Manage>,
    Body(body): Body<StatusReason>,
) -> Result<Answer<TenantShape>> {
    expect_status(once.api(), &scope, &[TenantStatus::Active, TenantStatus::Paused]).await?;
    set_status(&once.ok(), &scope, TenantStatus::Quarantined, Some(body.reason)).await
}

/// Release a tenant from quarantine
///
/// Operators only.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/release", tag = "tenants", operation_id = "tenant_release",
    request_body = OptionalReason, responses((status = 200, body = TenantShape, description = "active again")))]
pub async fn release(
    once: Once,
    _house: House<Manage>,
    scope: Within<Manage>,
    Body(body): Body<OptionalReason>,
) -> Result<Answer<TenantShape>> {
    expect_status(once.api(), &scope, &[TenantStatus::Quarantined]).await?;
    set_status(&once.ok(), &scope, TenantStatus::Active, body.reason).await
}

/// Two operators at a time may both pass; coming back from closing is refused under the row's lock as well.
async fn expect_status(api: &Api, scope: &Within<Manage>, from: &[TenantStatus]) -> Result<()> {
    let status = api.database().tenant_fetch(&scope.access, scope.tenant).await?.status;
    if from.contains(&status) {
        return Ok(());
    }
    let detail = match status {
        TenantStatus::Active => "the tenant is active",
        TenantStatus::Paused => "the tenant is paused; resume ends that",
        TenantStatus::Quarantined => "the tenant is in quarantine; release ends that",
        TenantStatus::Closing => "a closing tenant cannot come back",
    };
    Err(Problem::new(Kind::StateConflict, detail))
}

/// The caller's own access, not the one held to the tenant: lifting a quarantine is the house's.
async fn set_status(
    tables: &Database,
    scope: &Within<Manage>,
    status: TenantStatus,
    reason: Option<String>,
) -> Result<Answer<TenantShape>> {
    let access = &scope.caller.access;
    let changed = tables.tenant_set_status(access, scope.tenant, status, reason.as_deref()).await;
    let tenant = changed.map_err(|fault| match fault {
        // Nothing in the request is wrong: the tenant is in a state from which this does not lead.
        Fault::Invalid { field: "status", reason } => Problem::new(Kind::StateConflict, reason),
        other => Problem::from(other),
    })?;
    Ok(Answer::ok(tenant.into()))
}

/// What the database says of an onboarding, in its words.
fn not_onboarded(fault: Fault, asked: &Onboarding, defaults: &OnboardingDefaults) -> Problem {
    match fault {
        Fault::Missing { field: "pool" } if asked.pool.is_none() => Problem::invalid_field(
            "/pool",
            "missing",
            format!(
                "the default pool {} (api.default_pool) is not there yet: make a source and then this pool \
                 (POST /v1/sources, POST /v1/pools), or name another pool here",
                defaults.pool
            ),
        ),
        Fault::Missing { field: "pool" } => {
            Problem::invalid_field("/pool", "unknown_reference", "there is no shared pool of this name or id")
        }
        Fault::Conflict { field: "domain" } => taken(
            "/domain",
            "domain is taken: another tenant has proved it; it may give it up, or be suspended",
        ),
        other => Problem::from(other),
    }
}

/// A clash with what exists, in words that help.
pub fn taken(pointer: &str, detail: &str) -> Problem {
    let error = FieldError::new(pointer, "taken", detail);
    Problem::new(Kind::Conflict, detail).with_errors(vec![error])
}

/// What only the registry knows of the fields of an onboarding.
fn onboarding_errors(api: &Api, body: &Value, errors: &mut Vec<FieldError>) {
    let target = body["webhook"]["url"].as_str();
    errors.extend(target.and_then(|url| target_error(api, "/webhook/url", url)));
    // The snapshot may be a moment behind: alone its word does not count, and the database is asked.
    if let Some(pool) = body["pool"].as_str().and_then(|text| Slug::parse(text).ok())
        && !errors.is_empty()
    {
        let name = pool_name(api, pool);
        if !api.snapshot().pools().any(|known| known.tenant.is_none() && known.name == name) {
            errors.push(FieldError::new("/pool", "unknown_reference", format!("there is no pool {name}")));
        }
    }
}

/// An id is a slug too; as the name of a pool it would only ever confuse.
fn pool_name(api: &Api, pool: Slug) -> Slug {
    let known = PoolId::parse(pool.as_str())
        .ok()
        .and_then(|id| api.snapshot().pool(id).map(|pool| pool.name.clone()));
    known.unwrap_or(pool)
}

impl From<&Onboarded> for OnboardedTenant {
    fn from(onboarded: &Onboarded) -> OnboardedTenant {
        let Onboarded { api_key, api_key_text, credential, password, .. } = onboarded;
        OnboardedTenant {
            tenant: onboarded.tenant.clone().into(),
            domain: onboarded.domain.clone().into(),
            streams: onboarded.streams.iter().cloned().map(StreamShape::from).collect(),
            api_key: ShownSecret { id: api_key.id.to_string(), secret: api_key_text.to_string() },
            smtp_credential: ShownCredential {
                id: credential.id.to_string(),
                username: credential.username.clone(),
                password: password.to_string(),
            },
            webhook: onboarded
                .webhook
                .as_ref()
                .map(|(row, secret)| ShownSecret { id: row.id.to_string(), secret: secret.to_string() }),
        }
    }
}

impl From<Tenant> for TenantShape {
    fn from(tenant: Tenant) -> TenantShape {
        let Tenant { id, name, status, status_reason, plan, created_at, updated_at } = tenant;
        TenantShape { id, name, status, status_reason, plan: plan.into(), created_at, updated_at }
    }
}
