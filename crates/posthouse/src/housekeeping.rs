//! What has to be tidied up now and then: answers kept for repeated calls, old messages, tenants that are closing.
//!
//! A tenant that was deleted through the API is closing: its doors are shut, its mail drains. When nothing of it waits
//! any more it is erased. All of it is idempotent, so that every node may do it; while PostgreSQL is away nothing is
//! done and nothing is lost.

use anyhow::Context;
use database::{Database, MessageFilter, PageRequest, RecipientState};
use mail::{Clock, TenantId, Timestamp};
use registry::{Access, TenantStatus};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const HOUSE: Access = Access::house("housekeeping");
const DAY: Duration = Duration::from_secs(86_400);
/// Messages forgotten in one transaction.
const MESSAGES_PER_PASS: u32 = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seconds between two passes.
    pub every_seconds: u64,
    /// Days that a message and its attempts can be searched after it was accepted.
    pub message_days: u32,
    /// Hours that the answer to a call with an `Idempotency-Key` is kept.
    pub idempotency_hours: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config { every_seconds: 60, message_days: 45, idempotency_hours: 24 }
    }
}

pub struct Housekeeping {
    pub database: Database,
    pub clock: Arc<dyn Clock>,
    pub config: Config,
}

impl Housekeeping {
    pub async fn run(self, stop: CancellationToken) {
        let every = Duration::from_secs(self.config.every_seconds.max(1));
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            match stop.run_until_cancelled(self.pass()).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::warn!(error = format!("{error:#}"), "housekeeping has to wait"),
            }
        }
    }

    async fn pass(&self) -> anyhow::Result<()> {
        let keep = Duration::from_secs(u64::from(self.config.idempotency_hours) * 3600);
        self.database.idempotency_forget(&HOUSE, keep).await.context("cannot forget old calls")?;
        let before = earlier(self.clock.timestamp(), DAY * self.config.message_days);
        while self
            .database
            .message_forget(&HOUSE, before, MESSAGES_PER_PASS)
            .await
            .context("cannot forget old messages")?
            == u64::from(MESSAGES_PER_PASS)
        {}
        self.erase_closed().await
    }

    async fn erase_closed(&self) -> anyhow::Result<()> {
        let mut page = PageRequest::first();
        loop {
            let tenants = self.database.tenant_list(&HOUSE, &page).await.context("cannot list tenants")?;
            for tenant in tenants.rows.iter().filter(|tenant| tenant.status == TenantStatus::Closing) {
                if self.is_drained(tenant.id).await? {
                    match self.database.tenant_erase(&HOUSE, tenant.id).await {
                        Ok(()) => tracing::info!(tenant.id = %tenant.id, "a closed tenant is erased"),
                        // One that cannot be erased must not keep the others.
                        Err(error) => {
                            let error = &error as &dyn std::error::Error;
                            tracing::warn!(tenant.id = %tenant.id, error, "a closed tenant cannot be erased yet");
                        }
                    }
                }
            }
            match tenants.next {
                Some(cursor) => page = PageRequest::new(None, Some(&cursor))?,
                None => return Ok(()),
            }
        }
    }

    /// Whether nothing of the tenant waits, as far as the projection has come.
    async fn is_drained(&self, tenant: TenantId) -> anyhow::Result<bool> {
        for state in [RecipientState::Queued, RecipientState::Deferred] {
            let filter = MessageFilter { state: Some(state), ..MessageFilter::default() };
            let waiting = self.database.message_list(&HOUSE, tenant, &filter, &PageRequest::first()).await;
            if !waiting.context("cannot look for waiting mail")?.rows.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn earlier(now: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(by))
}
