//! What has to be tidied up now and then: answers kept for repeated calls, old messages, what an earlier
//! master key sealed, tenants that are closing.
//!
//! A tenant that was deleted through the API is closing: its doors are shut, its mail drains. It is erased when nothing of
//! it waits any more in the tables, when delivery here holds nothing of it, and when all that the journal had after the
//! doors were shut has been told: otherwise its last events would vanish. All of it is idempotent, so that every node may
//! do it; while PostgreSQL is away nothing is done and nothing is lost.

use crate::config::Housekeeping as Config;
use anyhow::Context;
use database::{Database, PageRequest};
use egress::EgressHandle;
use ingress::Submission;
use mail::{Clock, TenantId, Timestamp};
use registry::{Access, TenantStatus};
use spool::{Position, Spool};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const HOUSE: Access = Access::house("housekeeping");
const DAY: Duration = Duration::from_secs(86_400);
const HOUR_MILLIS: i64 = 3_600_000;
/// Messages forgotten in one go.
const MESSAGES_PER_PART: u32 = 10_000;
/// Events forgotten in one transaction.
const EVENTS_PER_PART: u32 = 5_000;

pub struct Housekeeping {
    pub database: Database,
    pub spool: Spool,
    pub egress: EgressHandle,
    pub submission: Arc<Submission>,
    pub clock: Arc<dyn Clock>,
    pub config: Config,
}

/// What is remembered from one pass to the next.
#[derive(Default)]
struct Memory {
    /// Tenants that are closing; from the second look on, where the journal ended at that time. Not at the first: who
    /// was let in a moment before the doors were shut may still be writing then.
    closing: HashMap<TenantId, Option<Position>>,
    /// The day on which old counts were forgotten.
    counted_day: Option<i64>,
    /// The hour in which it was looked for what an earlier master key sealed.
    resealed_hour: Option<i64>,
}

impl Housekeeping {
    pub async fn run(self: Arc<Housekeeping>, stop: CancellationToken) {
        tokio::join!(
            self.passes(&stop),
            crate::denied::keep_writing(&self.database, &self.submission, &stop)
        );
    }

    async fn passes(&self, stop: &CancellationToken) {
        let every = Duration::from_secs(self.config.every_seconds.max(1));
        let mut memory = Memory::default();
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            match stop.run_until_cancelled(self.pass(&mut memory)).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::warn!(error = format!("{error:#}"), "housekeeping has to wait"),
            }
        }
    }

    async fn pass(&self, memory: &mut Memory) -> anyhow::Result<()> {
        panics::place("housekeeping");
        self.submission.tidy();
        let (database, now) = (&self.database, self.clock.timestamp());
        let days = |days: u32| earlier(now, DAY * days);
        let before = earlier(now, Duration::from_secs(u64::from(self.config.idempotency_hours) * 3600));
        database.idempotency_forget(&HOUSE, before).await.context("cannot forget old calls")?;
        let before = days(self.config.message_days);
        let messages = || database.message_forget(&HOUSE, before, MESSAGES_PER_PART);
        while messages().await.context("cannot forget old messages")? == u64::from(MESSAGES_PER_PART) {}
        let before = days(self.config.event_days);
        let events = || database.event_forget(&HOUSE, before, EVENTS_PER_PART);
        while events().await.context("cannot forget old events")? == u64::from(EVENTS_PER_PART) {}
        let before = days(self.config.retired_key_days);
        database.dkim_keys_retire(&HOUSE, before).await.context("cannot remove retired keys")?;
        // These have no index by day: once a day is often enough.
        if memory.counted_day != Some(now.day()) {
            let before = days(self.config.usage_days);
            database.counts_forget(&HOUSE, before).await.context("cannot forget old counts")?;
            memory.counted_day = Some(now.day());
        }
        self.erase_closed(memory).await?;
        self.reseal(memory, now).await
    }

    /// A node that was not restarted yet may go on sealing with an earlier key, so one look is not enough.
    async fn reseal(&self, memory: &mut Memory, now: Timestamp) -> anyhow::Result<()> {
        let hour = now.as_millis().div_euclid(HOUR_MILLIS);
        if memory.resealed_hour == Some(hour) || !self.database.has_earlier_keys() {
            return Ok(());
        }
        let resealed = self.database.reseal(&HOUSE).await.context("cannot seal secrets anew")?;
        if resealed.rows > 0 {
            tracing::info!(
                rows = resealed.rows,
                "what earlier master keys sealed is sealed with the one in force"
            );
        }
        memory.resealed_hour = Some(hour);
        Ok(())
    }

    async fn erase_closed(&self, memory: &mut Memory) -> anyhow::Result<()> {
        let mut page = PageRequest::first();
        let end = self.spool.status().end;
        let told = events::told_up_to(&self.database, &self.spool).await;
        let told = told.context("cannot look how far the journal is told")?;
        loop {
            let tenants = self.database.tenant_list(&HOUSE, &page).await.context("cannot list tenants")?;
            for tenant in tenants.rows.iter().filter(|tenant| tenant.status == TenantStatus::Closing) {
                if memory.is_told(tenant.id, end, told) && self.is_drained(tenant.id).await? {
                    self.erase(tenant.id, memory).await;
                }
            }
            match tenants.next {
                Some(cursor) => page = PageRequest::new(None, Some(&cursor))?,
                None => return Ok(()),
            }
        }
    }

    async fn erase(&self, tenant: TenantId, memory: &mut Memory) {
        match self.database.tenant_erase(&HOUSE, tenant).await {
            Ok(()) => {
                memory.closing.remove(&tenant);
                tracing::info!(tenant.id = %tenant, "a closed tenant is erased");
            }
            // One that cannot be erased must not keep the others.
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(tenant.id = %tenant, error, "a closed tenant cannot be erased yet");
            }
        }
    }

    /// Whether nothing of the tenant waits: not in delivery, and not in the tables, where what has expired a day ago waits for
    /// nothing that could still come.
    async fn is_drained(&self, tenant: TenantId) -> anyhow::Result<bool> {
        if self.egress.holds(tenant).await.context("cannot ask delivery what it holds")? {
            return Ok(false);
        }
        // A node that was away for longer may still tell of one: by then nobody is left to hear it.
        let expired = earlier(self.clock.timestamp(), DAY);
        let waiting = self.database.has_waiting(&HOUSE, tenant, expired).await;
        Ok(!waiting.context("cannot look for waiting mail")?)
    }
}

impl Memory {
    /// Whether everything that the journal had after the doors of a tenant were shut has been told.
    fn is_told(&mut self, tenant: TenantId, end: Position, told: Position) -> bool {
        match self.closing.entry(tenant) {
            Entry::Occupied(seen) => told >= *seen.into_mut().get_or_insert(end),
            Entry::Vacant(unseen) => {
                unseen.insert(None);
                false
            }
        }
    }
}

fn earlier(now: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(by))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::Random;

    #[test]
    fn a_tenant_is_not_erased_before_all_that_came_before_its_end_is_told() {
        let tenant = TenantId::mint(Timestamp::UNIX_EPOCH, &mut Random::from_number(1));
        let (at, mut memory) = (Position::from_u64, Memory::default());
        assert!(!memory.is_told(tenant, at(300), at(300)));
        assert!(!memory.is_told(tenant, at(500), at(499)));
        assert!(!memory.is_told(tenant, at(900), at(499)));
        // What others send meanwhile is not waited for.
        assert!(memory.is_told(tenant, at(900), at(500)));
    }
}
