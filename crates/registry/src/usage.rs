//! What tenants and credentials have used of their limits: a rate (GCRA) and a count per day for each.
//!
//! The unit is a recipient. A charge is all or nothing: every limit is looked at before one is touched. A message
//! with more recipients than a second's burst is taken when the rate is free and paid off afterwards; refusing it
//! for ever would be a limit nobody set; one with more than a day's is refused before it comes here
//! (`Snapshot::may_have_recipients`). Days are UTC. Kept by each node; `restore` fills in what is known after a restart,
//! so that a restart is not a new day, and `add` what is found out later.

use crate::credential::Limits;
use crate::tenant::Plan;
use mail::{CredentialId, Refusal, RefusalKind, TenantId, Timestamp};
use std::collections::HashMap;
use std::time::Duration;

const SECOND_MICROS: i64 = 1_000_000;
const DAY_MILLIS: i64 = 86_400_000;

/// A stored count of one day, for `Usage::restore`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayCount {
    /// Whose count it is.
    pub tenant: TenantId,
    /// None: of the tenant as a whole.
    pub credential: Option<CredentialId>,
    /// As [`Timestamp::day`] gives it: days since 1970-01-01, in UTC.
    pub day: i64,
    /// Recipients that were taken on that day.
    pub recipients: u64,
}

/// What was used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Recipients since midnight UTC.
    pub today: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Meter {
    /// GCRA: the theoretical arrival time in microseconds; at or below `now` means the rate is free.
    arrival_micros: i64,
    /// When it was looked at last. A clock that is set back takes what is owed along: the rate is of the time that passes.
    seen_micros: i64,
    day: i64,
    today: u64,
}

/// A count and a rate for each tenant and each credential that has sent; small, and kept for the run of the process.
#[derive(Debug, Default)]
pub struct Usage {
    tenants: HashMap<TenantId, Meter>,
    credentials: HashMap<CredentialId, Meter>,
}

impl Usage {
    /// Nobody has used anything.
    pub fn new() -> Usage {
        Usage::default()
    }

    /// Takes over what other nodes or an earlier run have counted. A larger count of our own is kept.
    pub fn restore(&mut self, counts: impl IntoIterator<Item = DayCount>) {
        for count in counts {
            let meter = self.meter_mut(&count);
            if count.day > meter.day {
                (meter.day, meter.today) = (count.day, count.recipients);
            } else if count.day == meter.day {
                meter.today = meter.today.max(count.recipients);
            }
        }
    }

    /// Adds what was used before this run and was not known when it began: nothing of it may be in what was restored.
    pub fn add(&mut self, counts: impl IntoIterator<Item = DayCount>) {
        for count in counts {
            let meter = self.meter_mut(&count);
            if count.day > meter.day {
                (meter.day, meter.today) = (count.day, 0);
            }
            if count.day == meter.day {
                meter.today = meter.today.saturating_add(count.recipients);
            }
        }
    }

    fn meter_mut(&mut self, count: &DayCount) -> &mut Meter {
        match count.credential {
            None => self.tenants.entry(count.tenant).or_default(),
            Some(credential) => self.credentials.entry(credential).or_default(),
        }
    }

    /// What the tenant has used of its day.
    pub fn of_tenant(&self, tenant: TenantId, now: Timestamp) -> Used {
        used(self.tenants.get(&tenant), now)
    }

    /// What the credential has used of its day.
    pub fn of_credential(&self, credential: CredentialId, now: Timestamp) -> Used {
        used(self.credentials.get(&credential), now)
    }

    /// Charges `recipients` to the tenant and to the credential, or refuses and charges nothing.
    ///
    /// # Errors
    /// `QuotaExhausted` if they do not fit into what is left of the day of either, with the time until
    /// midnight UTC; `RateLimited` if the rate of either is not free, with the time until it is. The tenant
    /// is looked at first.
    pub fn charge(
        &mut self,
        (tenant, plan): (TenantId, &Plan),
        credential: Option<(CredentialId, &Limits)>,
        recipients: u64,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let tenant_meter = self.tenants.entry(tenant).or_default();
        tenant_meter.turn(now);
        tenant_meter.look("account", plan.per_second, plan.per_day, recipients, now)?;
        if let Some((id, limits)) = credential {
            let meter = self.credentials.entry(id).or_default();
            meter.turn(now);
            meter.look("credential", limits.per_second, limits.per_day, recipients, now)?;
            meter.take(limits.per_second, recipients, now);
        }
        tenant_meter.take(plan.per_second, recipients, now);
        Ok(())
    }

    /// Drops what has not been used today; called by the owner now and then so that the maps stay as small as the
    /// set of tenants that send.
    pub fn forget_idle(&mut self, now: Timestamp) {
        self.tenants.retain(|_, meter| meter.day >= now.day());
        self.credentials.retain(|_, meter| meter.day >= now.day());
    }
}

impl Meter {
    fn turn(&mut self, now: Timestamp) {
        if now.day() > self.day {
            (self.day, self.today) = (now.day(), 0);
        }
        let back = self.seen_micros.saturating_sub(micros(now)).max(0);
        self.arrival_micros = self.arrival_micros.saturating_sub(back);
        self.seen_micros = micros(now);
    }

    fn look(
        &self,
        whose: &str,
        per_second: Option<u32>,
        per_day: Option<u64>,
        recipients: u64,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if let Some(limit) = per_day
            && self.today.saturating_add(recipients) > limit
        {
            let text = format!("the limit of {limit} recipients a day of this {whose} is used up");
            return Err(Refusal::new(RefusalKind::QuotaExhausted, text).with_retry_after(until_next_day(now)));
        }
        if let Some(limit) = per_second {
            // Burst of one second: conforming while the backlog is shorter than that.
            let ahead = self.arrival_micros.saturating_sub(micros(now));
            let slack = SECOND_MICROS - interval(limit);
            if ahead > slack {
                let wait = Duration::from_micros(u64::try_from(ahead - slack).unwrap_or(0));
                let text = format!("the rate of {limit} recipients a second of this {whose} is exceeded");
                return Err(Refusal::new(RefusalKind::RateLimited, text).with_retry_after(wait));
            }
        }
        Ok(())
    }

    fn take(&mut self, per_second: Option<u32>, recipients: u64, now: Timestamp) {
        self.today = self.today.saturating_add(recipients);
        if let Some(limit) = per_second {
            let cost = interval(limit).saturating_mul(i64::try_from(recipients).unwrap_or(i64::MAX));
            self.arrival_micros = self.arrival_micros.max(micros(now)).saturating_add(cost);
        }
    }
}

fn used(meter: Option<&Meter>, now: Timestamp) -> Used {
    Used { today: meter.filter(|meter| meter.day == now.day()).map_or(0, |meter| meter.today) }
}

fn interval(per_second: u32) -> i64 {
    SECOND_MICROS / i64::from(per_second.max(1))
}

fn micros(now: Timestamp) -> i64 {
    now.as_millis().saturating_mul(1000)
}

fn until_next_day(now: Timestamp) -> Duration {
    let left = DAY_MILLIS - now.as_millis().rem_euclid(DAY_MILLIS);
    Duration::from_millis(u64::try_from(left).unwrap_or(0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::Random;

    const NOW: Timestamp = Timestamp::from_millis(1_795_425_249_120);

    fn tenant() -> TenantId {
        TenantId::mint(NOW, &mut Random::from_number(1))
    }

    fn credential() -> CredentialId {
        CredentialId::mint(NOW, &mut Random::from_number(2))
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_a_tenant_for_as_long() {
        let plan = Plan { per_second: Some(10), ..Plan::default() };
        let mut usage = Usage::new();
        let mut send = |count, now| usage.charge((tenant(), &plan), None, count, now);
        send(30, NOW).unwrap();
        let before = send(1, NOW).unwrap_err().retry_after.unwrap();
        let hour = 3_600_000;
        let back = Timestamp::from_millis(NOW.as_millis() - hour);
        assert_eq!(
            send(1, back).unwrap_err().retry_after,
            Some(before),
            "what is owed is owed still, and no more"
        );
        send(1, Timestamp::from_millis(back.as_millis() + 3_000)).unwrap();
        // Forward again: the time that is said to have passed counts.
        send(1, NOW).unwrap();
    }

    #[test]
    fn the_day_is_refused_until_midnight_and_then_begins_again() {
        let plan = Plan { per_day: Some(3), ..Plan::default() };
        let mut usage = Usage::new();
        usage.charge((tenant(), &plan), None, 3, NOW).unwrap();
        let refusal = usage.charge((tenant(), &plan), None, 1, NOW).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::QuotaExhausted);
        let wait = refusal.retry_after.unwrap();
        assert!(wait > Duration::from_secs(14 * 3600) && wait < Duration::from_secs(15 * 3600));
        usage.charge((tenant(), &plan), None, 1, NOW.saturating_add(wait)).unwrap();
        assert_eq!(usage.of_tenant(tenant(), NOW.saturating_add(wait)).today, 1);
    }

    #[test]
    fn a_rate_allows_a_burst_of_a_second_and_says_when_it_is_free_again() {
        let plan = Plan { per_second: Some(10), ..Plan::default() };
        let mut usage = Usage::new();
        for _ in 0..10 {
            usage.charge((tenant(), &plan), None, 1, NOW).unwrap();
        }
        let refusal = usage.charge((tenant(), &plan), None, 1, NOW).unwrap_err();
        assert_eq!(
            (refusal.kind, refusal.retry_after),
            (RefusalKind::RateLimited, Some(Duration::from_millis(100)))
        );
        usage.charge((tenant(), &plan), None, 1, NOW.saturating_add(Duration::from_millis(100))).unwrap();
    }

    #[test]
    fn a_message_with_more_recipients_than_the_burst_is_taken_and_paid_off() {
        let plan = Plan { per_second: Some(10), ..Plan::default() };
        let mut usage = Usage::new();
        usage.charge((tenant(), &plan), None, 50, NOW).unwrap();
        let wait = usage.charge((tenant(), &plan), None, 1, NOW).unwrap_err().retry_after.unwrap();
        assert_eq!(wait, Duration::from_millis(4_100));
    }

    #[test]
    fn a_refusal_of_the_credential_costs_the_tenant_nothing() {
        let (plan, limits) = (Plan::default(), Limits { per_day: Some(1), ..Limits::default() });
        let mut usage = Usage::new();
        usage.charge((tenant(), &plan), Some((credential(), &limits)), 1, NOW).unwrap();
        assert!(usage.charge((tenant(), &plan), Some((credential(), &limits)), 1, NOW).is_err());
        assert_eq!(usage.of_tenant(tenant(), NOW).today, 1);
        assert_eq!(usage.of_credential(credential(), NOW).today, 1);
    }

    #[test]
    fn the_tables_are_as_small_as_the_set_of_those_who_sent_today() {
        let (plan, limits) = (Plan::default(), Limits::default());
        let mut usage = Usage::new();
        usage.charge((tenant(), &plan), Some((credential(), &limits)), 1, NOW).unwrap();
        usage.forget_idle(NOW);
        assert_eq!((usage.tenants.len(), usage.credentials.len()), (1, 1));
        usage.forget_idle(NOW.saturating_add(Duration::from_secs(86_400)));
        assert_eq!((usage.tenants.len(), usage.credentials.len()), (0, 0));
    }

    #[test]
    fn a_restart_is_not_a_new_day_and_old_counts_do_not_come_back() {
        let plan = Plan { per_day: Some(5), ..Plan::default() };
        let count = |day, recipients| DayCount { tenant: tenant(), credential: None, day, recipients };
        let mut usage = Usage::new();
        usage.restore([count(NOW.day(), 5), count(NOW.day() - 1, 900)]);
        assert!(usage.charge((tenant(), &plan), None, 1, NOW).is_err());
        usage.forget_idle(NOW.saturating_add(Duration::from_secs(86_400)));
        assert_eq!(usage.of_tenant(tenant(), NOW).today, 0);
    }
    #[test]
    fn what_is_found_out_later_is_added_to_what_was_used_meanwhile_unless_the_day_is_over() {
        let count = |day, recipients| DayCount { tenant: tenant(), credential: None, day, recipients };
        let mut usage = Usage::new();
        usage.restore([count(NOW.day(), 5)]);
        usage.charge((tenant(), &Plan::default()), None, 2, NOW).unwrap();
        usage.add([count(NOW.day(), 4), count(NOW.day() - 1, 900)]);
        assert_eq!(usage.of_tenant(tenant(), NOW).today, 11);
        let tomorrow = NOW.saturating_add(Duration::from_secs(86_400));
        usage.charge((tenant(), &Plan::default()), None, 1, tomorrow).unwrap();
        usage.add([count(NOW.day(), 4)]);
        assert_eq!(usage.of_tenant(tenant(), tomorrow).today, 1);
    }
}
