//! The tables for handlers that change them: the answer of a call with an `Idempotency-Key` is kept with its change.
//!
//! A handler that takes a `Once` says with which status it answers, and makes its one change with the tables it gets. What
//! is kept there is what the handler answers, for both are made by `octets`. So a call whose process died behind its commit
//! is answered when it is repeated, and nothing is made twice (design/0010). What may surprise: a call without a key gets the
//! tables as they are; and what is kept is sealed, because some of it is a secret that is shown once.

use crate::claim::Claim;
use crate::problem::Problem;
use crate::routes::{api_keys, credentials, domains, pools, sources, streams, tenants, users, webhooks};
use crate::state::Api;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use database::{Answer, Database, Keeping, Made};
use serde_json::to_vec;
use std::sync::Arc;

/// The tables for one change.
#[derive(Debug)]
pub struct Once {
    api: Api,
    claim: Option<Claim>,
}

impl FromRequestParts<Api> for Once {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Once, Problem> {
        Ok(Once { api: api.clone(), claim: parts.extensions.get::<Claim>().cloned() })
    }
}

impl Once {
    pub fn api(&self) -> &Api {
        &self.api
    }

    pub fn ok(&self) -> Database {
        self.answering(StatusCode::OK)
    }

    pub fn created(&self) -> Database {
        self.answering(StatusCode::CREATED)
    }

    pub fn accepted(&self) -> Database {
        self.answering(StatusCode::ACCEPTED)
    }

    fn answering(&self, status: StatusCode) -> Database {
        let Some(claim) = self.claim.clone() else { return self.api.database().clone() };
        let (access, key, holder) = (claim.access().clone(), claim.key().to_owned(), claim.holder());
        let api = self.api.clone();
        let answer = move |made: Made<'_>| {
            let body = octets(made).ok()?;
            let owner = claim.access().actor().to_string();
            let body = api.tokens().seal_answer(&owner, claim.key(), &body, api.now()).ok()?;
            claim.set_kept();
            Some(Answer { status: status.as_u16(), body })
        };
        self.api.database().keeping(Keeping { access, key, holder, answer: Arc::new(answer) })
    }
}

/// The body of the answer to whoever made this.
fn octets(made: Made<'_>) -> serde_json::Result<Vec<u8>> {
    match made {
        Made::Onboarded(onboarded) => to_vec(&tenants::OnboardedTenant::from(onboarded)),
        Made::Tenant(tenant) => to_vec(&tenants::TenantShape::from(tenant.clone())),
        Made::Stream(stream) => to_vec(&streams::StreamShape::from(stream.clone())),
        Made::Domain(domain) => to_vec(&domains::DomainShape::from(domain.clone())),
        Made::DkimKeys(keys) => to_vec(&domains::DkimKeys::from(keys.to_vec())),
        Made::Credential(row, password) => {
            to_vec(&credentials::CreatedCredential::new(row.clone(), password))
        }
        Made::ApiKey(row, secret) => to_vec(&api_keys::CreatedApiKey::new(row.clone(), secret)),
        Made::Endpoint(row, secret) => to_vec(&webhooks::CreatedWebhook::new(row.clone(), secret)),
        Made::Event(event) => to_vec(&webhooks::TestedWebhook { event }),
        Made::Replayed(replayed) => to_vec(&webhooks::ReplayedWebhook::from(replayed)),
        Made::Pool(pool) => to_vec(&pools::PoolShape::from(pool.clone())),
        Made::Source(source) => to_vec(&sources::SourceShape::from(source.clone())),
        Made::User(user) => to_vec(&users::UserShape::from(user.clone())),
    }
}
