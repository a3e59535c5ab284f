//! The domain watch: asks the DNS about every domain now and then, without anybody pressing a button.
//!
//! A pending domain becomes verified, a verified one whose record is gone degrades, a degraded one recovers or fails;
//! what follows from a check is decided in `registry::domain_records` and stored as `verify` stores it. One node at a
//! time is enough, more do no harm. The domain that was not looked at for the longest time is first, and a pass is
//! bounded, so a burst of new domains delays the others and loses none. A domain whose row cannot be read is logged and
//! goes to the end.

use crate::config::Config;
use crate::dns::DnsChecker;
use database::{Database, Fault};
use futures_util::StreamExt as _;
use mail::{Clock, DomainId, TenantId, Timestamp};
use registry::{Access, DomainRecord, Purpose, RecordState};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two passes.
const PASS_EVERY: Duration = Duration::from_secs(10);
/// Domains of one pass.
const DOMAINS_PER_PASS: u32 = 100;
/// Domains that are asked about at the same time.
const CHECKS_MAX: usize = 16;

/// Looks at the records of every domain again and again, so that one that goes bad is noticed.
pub struct DomainWatch {
    database: Database,
    dns: DnsChecker,
    clock: Arc<dyn Clock>,
    every: Duration,
}

impl DomainWatch {
    /// Asks nothing before `run`.
    pub fn new(database: Database, dns: DnsChecker, clock: Arc<dyn Clock>, config: &Config) -> DomainWatch {
        let every = Duration::from_secs(config.domain_check_seconds);
        DomainWatch { database, dns, clock, every }
    }

    /// Until `shutdown` fires. While PostgreSQL is away nothing is checked.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(PASS_EVERY) => {}
            }
            let pass = tokio::select! {
                () = shutdown.cancelled() => return,
                pass = self.pass() => pass,
            };
            if let Err(fault) = pass {
                tracing::warn!(
                    fault = &fault as &dyn std::error::Error,
                    "domains cannot be checked at the moment"
                );
            }
        }
    }

    /// Checks what is due, at most 100 domains; returns how many domains that were.
    ///
    /// # Errors
    /// As [every call](Database#errors) if what is due cannot be read; `Unavailable` while PostgreSQL is
    /// away, which ends the pass early. What is wrong with one domain is logged, and errs only if the domain
    /// cannot be put to the end.
    pub async fn pass(&self) -> Result<usize, Fault> {
        let access = Access::house("domain watch");
        let every = i64::try_from(self.every.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp::from_millis(self.clock.timestamp().as_millis().saturating_sub(every));
        let due = self.database.domains_due(&access, before, DOMAINS_PER_PASS).await?;
        let (access, count) = (&access, due.len());
        let checks = due.into_iter().map(|(tenant, domain)| self.check_or_postpone(access, tenant, domain));
        let mut checks = futures_util::stream::iter(checks).buffer_unordered(CHECKS_MAX);
        while let Some(checked) = checks.next().await {
            checked?;
        }
        Ok(count)
    }

    /// A domain that cannot be checked for reasons of ours must not keep the others waiting.
    async fn check_or_postpone(
        &self,
        access: &Access,
        tenant: TenantId,
        domain: DomainId,
    ) -> Result<(), Fault> {
        match self.check(access, tenant, domain).await {
            // Given up in the meantime.
            Ok(()) | Err(Fault::NotFound(_)) => Ok(()),
            Err(fault @ Fault::Unavailable { .. }) => Err(fault),
            Err(fault) => {
                cannot_check(tenant, domain, &fault);
                self.database.domain_postpone(access, tenant, domain).await
            }
        }
    }

    async fn check(&self, access: &Access, tenant: TenantId, domain: DomainId) -> Result<(), Fault> {
        let row = self.database.domain_fetch(access, tenant, domain).await?;
        let mut records = self.dns.check(row.expected()).await;
        match self.database.domain_check(access, tenant, domain, &records).await {
            Err(Fault::Conflict { .. }) => {
                taken(&mut records);
                self.database.domain_check(access, tenant, domain, &records).await.map(drop)
            }
            checked => checked.map(drop),
        }
    }
}

fn cannot_check(tenant: TenantId, domain: DomainId, fault: &Fault) {
    let fault = fault as &dyn std::error::Error;
    tracing::error!(tenant.id = %tenant, domain.id = %domain, fault, "a domain cannot be checked");
}

/// Everything is published, but another account has proved the domain: said where the tenant looks for it.
fn taken(records: &mut [DomainRecord]) {
    for record in records.iter_mut().filter(|record| record.purpose == Purpose::Ownership) {
        record.state = RecordState::Mismatch;
        record.hint = "Another account has verified this domain; it must give it up first.".to_owned();
    }
}

impl std::fmt::Debug for DomainWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DomainWatch(…)")
    }
}
