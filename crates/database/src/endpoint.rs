//! Webhook endpoints. Their secrets sign every call, so they are sealed rather than hashed; a rotation keeps the one
//! before, so that a receiver can change over without losing a call.
//!
//! Whether a URL may be called at all (scheme, private networks) is decided by `events` when it calls, on the
//! address; here only the text is looked at.

use crate::audit::Change;
use crate::connect::Database;
use crate::error::Fault;
use crate::kept::Made;
use crate::left_out::LeftOut;
use crate::page::{List, Page, PageRequest};
use crate::scope::{Intent, Scoped, Whose, column, corrupt, parsed};
use crate::seal::Binding;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::{EndpointId, EventKind, Random, TenantId, Timestamp};
use registry::{Access, Endpoint, EndpointState};
use serde_json::json;
use std::sync::Arc;
use tokio_postgres::Row;
use zeroize::Zeroizing;

/// Octets of a URL, at most.
pub const ENDPOINT_URL_OCTETS_MAX: usize = 2048;

/// An endpoint to be made. Its secret is drawn here, shown once and sealed.
#[derive(Debug, Clone)]
pub struct EndpointNew {
    /// `https://…`; the caller has parsed it.
    pub url: String,
    /// Empty: every kind.
    pub kinds: Vec<EventKind>,
}

/// What is to be changed; what is none stays.
#[derive(Debug, Clone, Default)]
pub struct EndpointChange {
    /// Where calls go from now on.
    pub url: Option<String>,
    /// What it is told from now on; empty means everything.
    pub kinds: Option<Vec<EventKind>>,
    /// A disabled endpoint is set to active by the tenant once it works again.
    pub state: Option<EndpointState>,
}

/// An endpoint as it is listed: everything but its secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointRow {
    /// Never used again.
    pub id: EndpointId,
    /// Whose events it is told.
    pub tenant: TenantId,
    /// Where calls go.
    pub url: String,
    /// Empty means everything.
    pub kinds: Vec<EventKind>,
    /// Whether it is called.
    pub state: EndpointState,
    /// Why it is not, in words for the tenant.
    pub state_reason: Option<String>,
    /// UTC.
    pub created_at: Timestamp,
}

impl Database {
    /// The endpoint and its secret, `whsec_…`.
    ///
    /// # Errors
    /// `Invalid` for a URL that does not begin with `http://` or `https://`, is longer than
    /// `ENDPOINT_URL_OCTETS_MAX`, or has a blank or a control character; `Sealing` if the secret cannot be
    /// sealed; else as [every call](Database#errors).
    pub async fn endpoint_create(
        &self,
        access: &Access,
        tenant: TenantId,
        new: &EndpointNew,
    ) -> Result<(EndpointRow, Zeroizing<String>), Fault> {
        let mut client = self.client(access).await?;
        let scoped =
            self.scope(&mut client, access, Some(tenant), Intent::Change, "create an endpoint").await?;
        let (row, secret) = endpoint_insert(self, &scoped, tenant, new).await?;
        scoped.record(self, change_of("endpoint.create", &row)).await?;
        scoped.commit_made(Made::Endpoint(&row, &secret)).await?;
        Ok((row, secret))
    }

    /// One endpoint, without its secrets.
    ///
    /// # Errors
    /// `NotFound` for an endpoint of another tenant as for none; else as [every call](Database#errors).
    pub async fn endpoint_fetch(
        &self,
        access: &Access,
        tenant: TenantId,
        endpoint: EndpointId,
    ) -> Result<EndpointRow, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Read, "fetch an endpoint").await?;
        endpoint_from(&row_of(&scoped, tenant, endpoint).await?)
    }

    /// All of the tenant, newest first.
    ///
    /// # Errors
    /// `Invalid` for a cursor of another list; else as [every call](Database#errors).
    pub async fn endpoint_list(
        &self,
        access: &Access,
        tenant: TenantId,
        page: &PageRequest,
    ) -> Result<Page<EndpointRow>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Read, "list endpoints").await?;
        scoped.newest((List::Endpoints, "endpoints"), tenant, page, endpoint_from, |row| row.id.uuid()).await
    }

    /// Changes what is given.
    ///
    /// # Errors
    /// `NotFound` for an endpoint of another tenant as for none; `Invalid` for a URL that `endpoint_create`
    /// would not take; else as [every call](Database#errors).
    pub async fn endpoint_update(
        &self,
        access: &Access,
        tenant: TenantId,
        endpoint: EndpointId,
        change: &EndpointChange,
    ) -> Result<EndpointRow, Fault> {
        if let Some(url) = &change.url {
            check_url(url)?;
        }
        let mut client = self.client(access).await?;
        let scoped =
            self.scope(&mut client, access, Some(tenant), Intent::Change, "update an endpoint").await?;
        let kinds = change.kinds.as_deref().map(words);
        let sql = "UPDATE endpoints SET url = coalesce($3, url), kinds = coalesce($4, kinds),
                          state = coalesce($5, state), state_reason = CASE WHEN $5 IS NULL THEN state_reason END
                   WHERE tenant_id = $1 AND id = $2 RETURNING *";
        let state = change.state.map(EndpointState::as_str);
        let row = scoped
            .one("webhook", sql, &[&tenant.uuid(), &endpoint.uuid(), &change.url, &kinds, &state])
            .await?;
        let row = endpoint_from(&row)?;
        scoped.record(self, change_of("endpoint.update", &row)).await?;
        scoped.commit().await?;
        Ok(row)
    }

    /// For the deliverer, after a 410: the endpoint rests and the tenant is told.
    ///
    /// # Errors
    /// As [every call](Database#errors); an endpoint that rests already or is gone is no fault.
    pub async fn endpoint_disable(
        &self,
        access: &Access,
        tenant: TenantId,
        endpoint: EndpointId,
        reason: &str,
    ) -> Result<(), Fault> {
        let mut client = self.client(access).await?;
        let scoped =
            self.scope(&mut client, access, Some(tenant), Intent::Change, "disable an endpoint").await?;
        let sql = "UPDATE endpoints SET state = 'disabled', state_reason = $3
                   WHERE tenant_id = $1 AND id = $2 AND state <> 'disabled' RETURNING *";
        let Some(row) = scoped.optional(sql, &[&tenant.uuid(), &endpoint.uuid(), &reason]).await? else {
            return Ok(());
        };
        let row = endpoint_from(&row)?;
        let data = json!({ "webhook": row.id, "reason": reason });
        crate::event::event_insert(self, &scoped, tenant, EventKind::WebhookDisabled, data).await?;
        scoped.record(self, change_of("endpoint.disable", &row)).await?;
        scoped.commit().await
    }

    /// A new secret; the one before goes on signing beside it until the next rotation.
    ///
    /// # Errors
    /// `NotFound` for an endpoint of another tenant as for none; `Sealing` if the secret cannot be sealed;
    /// else as [every call](Database#errors).
    pub async fn endpoint_rotate(
        &self,
        access: &Access,
        tenant: TenantId,
        endpoint: EndpointId,
    ) -> Result<(EndpointRow, Zeroizing<String>), Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Change, "rotate a secret").await?;
        let (secret, sealed) = new_secret(self, tenant, endpoint)?;
        let sql = "UPDATE endpoints SET secrets = ARRAY[$3::bytea, secrets[1]]
                   WHERE tenant_id = $1 AND id = $2 RETURNING *";
        let row = scoped.one("webhook", sql, &[&tenant.uuid(), &endpoint.uuid(), &sealed]).await?;
        let row = endpoint_from(&row)?;
        scoped.record(self, change_of("endpoint.rotate", &row)).await?;
        scoped.commit_made(Made::Endpoint(&row, &secret)).await?;
        Ok((row, secret))
    }

    /// Its calls go with it, those under way too.
    ///
    /// # Errors
    /// `NotFound` for an endpoint of another tenant as for none; else as [every call](Database#errors).
    pub async fn endpoint_delete(
        &self,
        access: &Access,
        tenant: TenantId,
        endpoint: EndpointId,
    ) -> Result<(), Fault> {
        let mut client = self.client(access).await?;
        let scoped =
            self.scope(&mut client, access, Some(tenant), Intent::Change, "delete an endpoint").await?;
        let row = endpoint_from(&row_of(&scoped, tenant, endpoint).await?)?;
        let sql = "DELETE FROM endpoints WHERE tenant_id = $1 AND id = $2";
        scoped.execute(sql, &[&tenant.uuid(), &endpoint.uuid()]).await?;
        scoped.record(self, change_of("endpoint.delete", &row)).await?;
        scoped.commit().await
    }
}

pub(crate) async fn endpoint_insert(
    database: &Database,
    scoped: &Scoped<'_>,
    tenant: TenantId,
    new: &EndpointNew,
) -> Result<(EndpointRow, Zeroizing<String>), Fault> {
    check_url(&new.url)?;
    let now = database.now();
    let id = EndpointId::mint(now, &mut database.random());
    let (secret, sealed) = new_secret(database, tenant, id)?;
    let row = scoped
        .one(
            "webhook",
            "INSERT INTO endpoints (id, tenant_id, url, kinds, secrets, state, created_at)
             VALUES ($1, $2, $3, $4, ARRAY[$5::bytea], $6, $7) RETURNING *",
            &[
                &id.uuid(),
                &tenant.uuid(),
                &new.url,
                &words(&new.kinds),
                &sealed,
                &EndpointState::Active.as_str(),
                &now.to_jiff(),
            ],
        )
        .await?;
    Ok((endpoint_from(&row)?, secret))
}

/// Every endpoint with its secrets opened, for the follower; without those whose secrets do not open.
pub(crate) async fn endpoints_all(
    database: &Database,
    scoped: &Scoped<'_>,
    whose: Whose<'_>,
    left_out: &mut LeftOut,
) -> Result<Vec<Endpoint>, Fault> {
    let sql = "SELECT * FROM endpoints WHERE $1::uuid[] IS NULL OR tenant_id = ANY ($1)";
    let mut endpoints = Vec::new();
    for row in &scoped.rows(sql, &[&whose]).await? {
        let EndpointRow { id, tenant, url, kinds, state, .. } = endpoint_from(row)?;
        let opened = secrets_from(database, row, endpoint_binding(tenant, id));
        let Some(secrets) = left_out.keep(("endpoint", id.uuid(), Some(tenant)), opened) else { continue };
        endpoints.push(Endpoint { id, tenant, secrets, url: url.into(), kinds, state });
    }
    Ok(endpoints)
}

fn secrets_from(database: &Database, row: &Row, binding: Binding) -> Result<Vec<Arc<str>>, Fault> {
    let sealed: Vec<&[u8]> = column(row, "secrets")?;
    let open = |sealed: &[u8]| {
        let plain = database.keys().sealing.open(binding, sealed)?;
        std::str::from_utf8(&plain).map(Arc::from).map_err(|_| corrupt("secrets"))
    };
    sealed.into_iter().map(open).collect()
}

async fn row_of(scoped: &Scoped<'_>, tenant: TenantId, endpoint: EndpointId) -> Result<Row, Fault> {
    let sql = "SELECT * FROM endpoints WHERE tenant_id = $1 AND id = $2";
    scoped.one("webhook", sql, &[&tenant.uuid(), &endpoint.uuid()]).await
}

/// `whsec_` and 24 octets in base64, as Standard Webhooks asks.
fn new_secret(
    database: &Database,
    tenant: TenantId,
    endpoint: EndpointId,
) -> Result<(Zeroizing<String>, Vec<u8>), Fault> {
    let mut random: Random = database.random();
    let secret = Zeroizing::new(format!("whsec_{}", STANDARD.encode(random.bytes::<24>())));
    let sealed = database.keys().sealing.seal(
        endpoint_binding(tenant, endpoint),
        secret.as_bytes(),
        database.now(),
        &mut random,
    )?;
    Ok((secret, sealed))
}

pub(crate) const fn endpoint_binding(tenant: TenantId, endpoint: EndpointId) -> Binding {
    Binding { purpose: "webhook-secret", tenant: tenant.uuid(), row: endpoint.uuid() }
}

fn check_url(url: &str) -> Result<(), Fault> {
    let invalid = |reason: &str| Err(Fault::Invalid { field: "url", reason: reason.to_owned() });
    // RFC 3986 §3.1: in any case.
    let begins =
        |scheme: &str| url.get(..scheme.len()).is_some_and(|found| found.eq_ignore_ascii_case(scheme));
    if !begins("https://") && !begins("http://") {
        return invalid("must begin with https:// or http://");
    }
    if url.len() > ENDPOINT_URL_OCTETS_MAX {
        return invalid("is longer than 2048 octets");
    }
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return invalid("has a blank or a control character");
    }
    Ok(())
}

fn words(kinds: &[EventKind]) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.as_str()).collect()
}

fn change_of(action: &'static str, row: &EndpointRow) -> Change {
    // Not the URL: it may carry a token.
    let detail = json!({ "kinds": words(&row.kinds), "state": row.state, "reason": row.state_reason });
    Change { action, tenant: Some(row.tenant), object: row.id.to_string(), detail }
}

fn endpoint_from(row: &Row) -> Result<EndpointRow, Fault> {
    let kinds: Vec<&str> = column(row, "kinds")?;
    Ok(EndpointRow {
        id: EndpointId::from_uuid(column(row, "id")?),
        tenant: TenantId::from_uuid(column(row, "tenant_id")?),
        url: column(row, "url")?,
        kinds: kinds
            .into_iter()
            .map(|text| EventKind::parse(text).ok_or_else(|| corrupt("kinds")))
            .collect::<Result<_, Fault>>()?,
        state: parsed(row, "state", EndpointState::parse)?,
        state_reason: column(row, "state_reason")?,
        created_at: Timestamp::from_jiff(column(row, "created_at")?),
    })
}
