//! Onboarding: everything a new tenant needs to send its first message, in one transaction.
//!
//! Tenant, streams `transactional` and `marketing`, domain with two DKIM keys, API key, SMTP credential and, if asked
//! for, a webhook. All of it exists or none. The keys are made before the transaction begins, because RSA takes a
//! tenth of a second and nobody should wait for it with locks in hand. Secrets are in the answer and nowhere else.

use crate::api_key::{ApiKeyNew, ApiKeyRow, api_key_insert};
use crate::audit::Change;
use crate::connect::Database;
use crate::credential::{CredentialNew, CredentialRow, credential_insert};
use crate::dkim_key::{dkim_keys_insert, new_keys};
use crate::domain::{DomainNew, DomainRow, domain_insert, domain_of};
use crate::endpoint::{EndpointNew, EndpointRow, endpoint_insert};
use crate::error::Fault;
use crate::kept::Made;
use crate::scope::{Intent, Scoped, column};
use crate::stream::{StreamNew, stream_insert};
use crate::tenant::{TenantNew, tenant_insert};
use mail::{Domain, PoolId, TenantId};
use registry::{Access, DisplayName, Generation, KeyState, Plan, Slug, Stream, StreamKind, Tenant};
use serde_json::json;
use zeroize::Zeroizing;

/// What the operator gives.
#[derive(Debug, Clone)]
pub struct Onboarding {
    /// For people.
    pub name: DisplayName,
    /// The first domain; a claim until its records are found.
    pub domain: Domain,
    /// How much of its mail is taken.
    pub plan: Plan,
    /// Name of the pool of both streams; none takes the default.
    pub pool: Option<Slug>,
    /// Made too, if wanted.
    pub webhook: Option<EndpointNew>,
}

/// What the installation gives.
#[derive(Debug, Clone)]
pub struct OnboardingDefaults {
    /// Host of the inbound listener, where return paths point.
    pub return_path_target: Domain,
    /// Name of the pool that is used when none is asked for.
    pub pool: Slug,
}

/// What the tenant gets. The secrets are shown this once.
#[derive(Debug)]
pub struct Onboarded {
    /// The tenant.
    pub tenant: Tenant,
    /// The domain, with the records to publish.
    pub domain: DomainRow,
    /// One for each kind of mail.
    pub streams: Vec<Stream>,
    /// Its first key.
    pub api_key: ApiKeyRow,
    /// The text of the key: shown once.
    pub api_key_text: Zeroizing<String>,
    /// Its first SMTP credential.
    pub credential: CredentialRow,
    /// The password of it: shown once.
    pub password: Zeroizing<String>,
    /// The endpoint and its secret, shown once; none if none was wanted.
    pub webhook: Option<(EndpointRow, Zeroizing<String>)>,
    /// A snapshot of this generation or later knows the tenant.
    pub generation: Generation,
}

impl Database {
    /// Everything in one transaction: all of it is there, or nothing.
    ///
    /// # Errors
    /// `Forbidden` for whoever is held to one tenant; `Missing` if no shared pool has this name; `Conflict`
    /// of `domain` if another tenant has proved the domain; `Invalid` for a plan, a domain or the URL of a
    /// webhook that is not allowed; `Sealing` if a key or a secret cannot be made or sealed; else as
    /// [every call](Database#errors).
    pub async fn tenant_onboard(
        &self,
        access: &Access,
        onboarding: &Onboarding,
        defaults: &OnboardingDefaults,
    ) -> Result<Onboarded, Fault> {
        if !access.is_house() {
            return Err(Fault::Forbidden);
        }
        let keys = new_keys().await?;
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Change, "onboard a tenant").await?;

        let new = TenantNew { name: onboarding.name.clone(), plan: onboarding.plan.clone() };
        let tenant = tenant_insert(self, &scoped, &new).await?;
        let streams = self.streams_make(&scoped, tenant.id, onboarding, defaults).await?;
        let new = DomainNew {
            name: onboarding.domain.clone(),
            return_path_target: defaults.return_path_target.clone(),
        };
        let domain = domain_insert(self, &scoped, tenant.id, &new).await?;
        dkim_keys_insert(self, &scoped, (tenant.id, domain), &keys, KeyState::Active, &[]).await?;
        let domain = domain_of(&scoped, tenant.id, domain).await?;

        let first =
            DisplayName::parse("first").map_err(|_| Fault::Corrupt { trying: "name a key", what: "name" })?;
        let (api_key, api_key_text) =
            api_key_insert(self, &scoped, Some(tenant.id), &ApiKeyNew::named(first.clone())).await?;
        let (credential, password) =
            credential_insert(self, &scoped, tenant.id, &CredentialNew::named(first)).await?;
        let webhook = match &onboarding.webhook {
            None => None,
            Some(new) => Some(endpoint_insert(self, &scoped, tenant.id, new).await?),
        };
        let detail = json!({
            "name": tenant.name, "domain": domain.name.as_str(), "plan": tenant.plan, "api_key": api_key.id,
            "credential": credential.id, "webhook": webhook.as_ref().map(|(endpoint, _)| endpoint.id),
        });
        let change = Change {
            action: "tenant.onboard",
            tenant: Some(tenant.id),
            object: tenant.id.to_string(),
            detail,
        };
        let generation = scoped.record(self, change).await?;
        let onboarded = Onboarded {
            tenant,
            domain,
            streams,
            api_key,
            api_key_text,
            credential,
            password,
            webhook,
            generation,
        };
        scoped.commit_made(Made::Onboarded(&onboarded)).await?;
        Ok(onboarded)
    }

    async fn streams_make(
        &self,
        scoped: &Scoped<'_>,
        tenant: TenantId,
        onboarding: &Onboarding,
        defaults: &OnboardingDefaults,
    ) -> Result<Vec<Stream>, Fault> {
        let name = onboarding.pool.as_ref().unwrap_or(&defaults.pool);
        let sql = "SELECT id FROM pools WHERE name = $1 AND tenant_id IS NULL";
        let row = scoped.optional(sql, &[&name.as_str()]).await?.ok_or(Fault::Missing { field: "pool" })?;
        let pool = PoolId::from_uuid(column(&row, "id")?);
        let mut streams = Vec::with_capacity(2);
        for kind in [StreamKind::Transactional, StreamKind::Marketing] {
            let name = Slug::parse(kind.as_str())
                .map_err(|_| Fault::Corrupt { trying: "name a stream", what: "name" })?;
            let expires_after = kind.expires_after_default();
            let new = StreamNew { name, kind, pool, overflow_pool: None, expires_after };
            streams.push(stream_insert(self, scoped, tenant, &new).await?);
        }
        Ok(streams)
    }
}
