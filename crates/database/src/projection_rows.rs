//! The rows of the projection: how a batch becomes a handful of statements, whatever its size.
//!
//! Every table gets its rows as arrays, one per column, through `unnest`: a thousand attempts are one round trip. What
//! is there already is left alone, and only what is new is counted. Called by `projection.rs`, which holds the parents
//! of all rows first: between looking for a parent and the check of the reference somebody may delete it, and then the
//! whole statement would fail.

use crate::error::Fault;
use crate::projection::{AttemptNew, Batch, MessageNew, SettlementNew};
use crate::scope::{Scoped, column};
use mail::{ApiKeyId, ClassKind, CredentialId, Timestamp, Verdict};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap, HashSet};
use uuid::Uuid;

/// Characters of a reply or an address that are kept.
const TEXT_CHARS_MAX: usize = 1000;

/// Those that are there stay until the commit.
pub(crate) async fn tenants_hold(scoped: &Scoped<'_>, batch: &Batch) -> Result<(), Fault> {
    let tenants = batch.messages.iter().map(|m| m.tenant.uuid());
    let tenants = tenants.chain(batch.attempts.iter().map(|a| a.tenant.uuid()));
    let tenants = tenants.chain(batch.settlements.iter().map(|s| s.tenant.uuid()));
    let tenants = tenants.chain(batch.events.iter().map(|event| event.tenant.uuid()));
    hold(scoped, "SELECT FROM tenants WHERE id = ANY ($1) ORDER BY id FOR KEY SHARE", tenants.collect()).await
}

/// Those that are there stay until the commit: of this batch, or what its attempts are about.
pub(crate) async fn messages_hold(scoped: &Scoped<'_>, batch: &Batch) -> Result<(), Fault> {
    let messages = batch.messages.iter().map(|m| m.id.uuid());
    let messages = messages.chain(batch.attempts.iter().map(|a| a.message.uuid()));
    hold(scoped, "SELECT FROM messages WHERE id = ANY ($1) ORDER BY id FOR KEY SHARE", messages.collect())
        .await
}

async fn hold(scoped: &Scoped<'_>, sql: &str, ids: BTreeSet<Uuid>) -> Result<(), Fault> {
    if ids.is_empty() {
        return Ok(());
    }
    scoped.execute(sql, &[&ids.into_iter().collect::<Vec<_>>()]).await?;
    Ok(())
}

/// Without their recipients.
pub(crate) async fn messages_insert(scoped: &Scoped<'_>, messages: &[MessageNew]) -> Result<(), Fault> {
    if messages.is_empty() {
        return Ok(());
    }
    let each = |f: fn(&MessageNew) -> Uuid| messages.iter().map(f).collect::<Vec<_>>();
    let text = |f: fn(&MessageNew) -> &str| messages.iter().map(|m| clean(f(m))).collect::<Vec<_>>();
    scoped
        .execute(
            "INSERT INTO messages (id, tenant_id, stream_id, domain_id, credential_id, api_key_id, accepted_at,
                                   not_before, expires_at, header_from, reverse_path, subject, message_id_header,
                                   tags, metadata, size, recipients)
             SELECT m.* FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[],
                                    $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::text[],
                                    $11::text[], $12::text[], $13::text[], $14::jsonb[], $15::jsonb[],
                                    $16::bigint[], $17::int[])
                             AS m (id, tenant_id, stream_id, domain_id, credential_id, api_key_id, accepted_at,
                                   not_before, expires_at, header_from, reverse_path, subject, message_id_header,
                                   tags, metadata, size, recipients)
             WHERE EXISTS (SELECT FROM tenants t WHERE t.id = m.tenant_id)
             ON CONFLICT (id) DO NOTHING",
            &[
                &each(|m| m.id.uuid()),
                &each(|m| m.tenant.uuid()),
                &each(|m| m.stream.uuid()),
                &each(|m| m.domain.uuid()),
                &messages.iter().map(|m| m.credential.map(CredentialId::uuid)).collect::<Vec<_>>(),
                &messages.iter().map(|m| m.api_key.map(ApiKeyId::uuid)).collect::<Vec<_>>(),
                &messages.iter().map(|m| m.accepted_at.to_jiff()).collect::<Vec<_>>(),
                &messages.iter().map(|m| m.not_before.map(Timestamp::to_jiff)).collect::<Vec<_>>(),
                &messages.iter().map(|m| m.expires_at.to_jiff()).collect::<Vec<_>>(),
                &text(|m| &m.header_from),
                &text(|m| &m.reverse_path),
                &text(|m| &m.subject),
                &text(|m| &m.message_id_header),
                &messages.iter().map(|m| json!(m.tags)).collect::<Vec<_>>(),
                &messages.iter().map(metadata_of).collect::<Vec<_>>(),
                &messages.iter().map(|m| i64::try_from(m.size).unwrap_or(i64::MAX)).collect::<Vec<_>>(),
                &messages.iter().map(|m| number(m.recipients_count)).collect::<Vec<_>>(),
            ],
        )
        .await?;
    Ok(())
}

/// Counted as accepted is what was not there: of a message that came in parts, each part by itself.
pub(crate) async fn recipients_insert(scoped: &Scoped<'_>, messages: &[MessageNew]) -> Result<(), Fault> {
    if messages.is_empty() {
        return Ok(());
    }
    let (mut ids, mut numbers, mut tenants, mut addresses, mut times) =
        (vec![], vec![], vec![], vec![], vec![]);
    for message in messages {
        for (n, address) in (message.recipients_first..).zip(&message.recipients) {
            ids.push(message.id.uuid());
            numbers.push(number(n));
            tenants.push(message.tenant.uuid());
            addresses.push(clean(address));
            times.push(message.accepted_at.to_jiff());
        }
    }
    let inserted = scoped
        .rows(
            "WITH fresh AS (
                 INSERT INTO recipients (message_id, n, tenant_id, address, state, updated_at)
                 SELECT id, n, tenant, address, 'queued', at
                 FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::timestamptz[])
                      AS r (id, n, tenant, address, at)
                 WHERE EXISTS (SELECT FROM messages m WHERE m.id = r.id)
                 ON CONFLICT DO NOTHING RETURNING message_id)
             SELECT message_id, count(*) AS recipients FROM fresh GROUP BY message_id",
            &[&ids, &numbers, &tenants, &addresses, &times],
        )
        .await?;
    let mut fresh = HashMap::with_capacity(inserted.len());
    for row in &inserted {
        fresh.insert(column::<Uuid>(row, "message_id")?, column::<i64>(row, "recipients")?);
    }
    // `remove`, so that a message that stands twice in the batch counts once.
    let counted = messages.iter().filter_map(|m| Some((m, fresh.remove(&m.id.uuid())?)));
    count_accepted(scoped, &counted.collect::<Vec<_>>()).await
}

/// Counts per stream and, for the limits, per credential and day.
async fn count_accepted(scoped: &Scoped<'_>, accepted: &[(&MessageNew, i64)]) -> Result<(), Fault> {
    let each = |f: fn(&MessageNew) -> Uuid| accepted.iter().map(|(m, _)| f(m)).collect::<Vec<_>>();
    let tenants = each(|m| m.tenant.uuid());
    let credentials = each(|m| m.credential.map_or(Uuid::nil(), CredentialId::uuid));
    let times: Vec<_> = accepted.iter().map(|(m, _)| m.accepted_at.to_jiff()).collect();
    let counts: Vec<i64> = accepted.iter().map(|(_, count)| *count).collect();
    scoped
        .execute(
            "INSERT INTO usage_days AS u (tenant_id, credential_id, day, recipients)
             SELECT tenant, credential, (at AT TIME ZONE 'UTC')::date AS day, sum(n)
             FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[]) AS m (tenant, credential, at, n)
             GROUP BY tenant, credential, day
             ON CONFLICT (day, tenant_id, credential_id) DO UPDATE SET recipients = u.recipients + excluded.recipients",
            &[&tenants, &credentials, &times, &counts],
        )
        .await?;
    let streams = each(|m| m.stream.uuid());
    let what = vec!["accepted"; accepted.len()];
    count_up(scoped, &tenants, &streams, &times, &what, &counts).await
}

pub(crate) async fn attempts_insert(scoped: &Scoped<'_>, attempts: &[AttemptNew]) -> Result<(), Fault> {
    if attempts.is_empty() {
        return Ok(());
    }
    let columns = AttemptColumns::of(attempts);
    let inserted = scoped
        .rows(
            "INSERT INTO attempts (message_id, n, attempt, tenant_id, at, verdict, class, kind, scope, stage, code,
                                   enhanced, reply, mx, egress, source, site, tls, provider, rule, duration_ms,
                                   queued_ms, next_at)
             SELECT a.* FROM unnest($1::uuid[], $2::int[], $3::int[], $4::uuid[], $5::timestamptz[], $6::text[],
                                    $7::text[], $8::text[], $9::text[], $10::text[], $11::int[], $12::text[],
                                    $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[],
                                    $19::text[], $20::text[], $21::bigint[], $22::bigint[], $23::timestamptz[])
                             AS a (message_id, n, attempt, tenant_id, at, verdict, class, kind, scope, stage, code,
                                   enhanced, reply, mx, egress, source, site, tls, provider, rule, duration_ms,
                                   queued_ms, next_at)
             WHERE EXISTS (SELECT FROM messages m WHERE m.id = a.message_id)
             ON CONFLICT DO NOTHING RETURNING message_id, n, attempt",
            &[
                &columns.messages, &columns.numbers, &columns.attempts, &columns.tenants, &columns.times,
                &columns.verdicts, &columns.classes, &columns.kinds, &columns.scopes, &columns.stages,
                &columns.codes, &columns.enhanced, &columns.replies, &columns.mx, &columns.egress, &columns.sources,
                &columns.sites, &columns.tls, &columns.providers, &columns.rules, &columns.durations,
                &columns.queued, &columns.next,
            ],
        )
        .await?;
    let mut fresh = HashSet::with_capacity(inserted.len());
    for row in &inserted {
        fresh.insert((
            column::<Uuid>(row, "message_id")?,
            column::<i32>(row, "n")?,
            column::<i32>(row, "attempt")?,
        ));
    }
    // A settled recipient keeps its state; of two attempts the later one wins.
    scoped
        .execute(
            "UPDATE recipients r SET attempts = greatest(r.attempts, a.attempt), updated_at = a.at,
                    class = a.class, reply = a.reply, next_at = a.next_at,
                    state = CASE WHEN a.verdict = 'deferred' THEN 'deferred' ELSE r.state END
             FROM (SELECT DISTINCT ON (id, n) * FROM unnest($1::uuid[], $2::int[], $3::int[], $4::timestamptz[],
                          $5::text[], $6::text[], $7::text[], $8::timestamptz[])
                          AS a (id, n, attempt, at, verdict, class, reply, next_at)
                   ORDER BY id, n, attempt DESC) a
             WHERE r.message_id = a.id AND r.n = a.n AND r.state IN ('queued', 'deferred') AND r.attempts < a.attempt",
            &[
                &columns.messages, &columns.numbers, &columns.attempts, &columns.times, &columns.verdicts,
                &columns.classes, &columns.replies, &columns.next,
            ],
        )
        .await?;
    let fresh: Vec<&AttemptNew> = attempts
        .iter()
        .filter(|a| fresh.contains(&(a.message.uuid(), number(a.recipient), number(a.attempt))))
        .collect();
    let tenants: Vec<Uuid> = fresh.iter().map(|a| a.tenant.uuid()).collect();
    let streams: Vec<Uuid> = fresh.iter().map(|a| a.stream.uuid()).collect();
    let times: Vec<_> = fresh.iter().map(|a| a.at.to_jiff()).collect();
    let what: Vec<&str> = fresh
        .iter()
        .map(|a| if a.outcome.verdict == Verdict::Deferred { "deferred" } else { "attempted" })
        .collect();
    count_up(scoped, &tenants, &streams, &times, &what, &vec![1; fresh.len()]).await
}

pub(crate) async fn settlements_apply(
    scoped: &Scoped<'_>,
    settlements: &[SettlementNew],
) -> Result<(), Fault> {
    if settlements.is_empty() {
        return Ok(());
    }
    let messages: Vec<Uuid> = settlements.iter().map(|s| s.message.uuid()).collect();
    let numbers: Vec<i32> = settlements.iter().map(|s| number(s.recipient)).collect();
    let states: Vec<&str> = settlements.iter().map(|s| s.state.as_str()).collect();
    let times: Vec<_> = settlements.iter().map(|s| s.at.to_jiff()).collect();
    let classes: Vec<Option<&str>> = settlements.iter().map(|s| s.class.as_deref()).collect();
    let replies: Vec<Option<String>> = settlements.iter().map(|s| s.reply.as_deref().map(clean)).collect();
    let changed = scoped
        .rows(
            "UPDATE recipients r SET state = s.state, updated_at = s.at, next_at = NULL,
                    class = coalesce(s.class, r.class), reply = coalesce(s.reply, r.reply)
             FROM (SELECT DISTINCT ON (id, n) * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::timestamptz[],
                          $5::text[], $6::text[]) AS s (id, n, state, at, class, reply) ORDER BY id, n) s
             WHERE r.message_id = s.id AND r.n = s.n AND r.state IN ('queued', 'deferred')
             RETURNING r.message_id, r.n",
            &[&messages, &numbers, &states, &times, &classes, &replies],
        )
        .await?;
    let mut fresh = HashSet::with_capacity(changed.len());
    for row in &changed {
        fresh.insert((column::<Uuid>(row, "message_id")?, column::<i32>(row, "n")?));
    }
    // `remove`, so that a settlement that stands twice in the batch counts once.
    let fresh: Vec<&SettlementNew> =
        settlements.iter().filter(|s| fresh.remove(&(s.message.uuid(), number(s.recipient)))).collect();
    let tenants: Vec<Uuid> = fresh.iter().map(|s| s.tenant.uuid()).collect();
    let streams: Vec<Uuid> = fresh.iter().map(|s| s.stream.uuid()).collect();
    let times: Vec<_> = fresh.iter().map(|s| s.at.to_jiff()).collect();
    let what: Vec<&str> = fresh.iter().map(|s| s.state.as_str()).collect();
    count_up(scoped, &tenants, &streams, &times, &what, &vec![1; fresh.len()]).await
}

async fn count_up(
    scoped: &Scoped<'_>,
    tenants: &[Uuid],
    streams: &[Uuid],
    times: &[jiff::Timestamp],
    what: &[&str],
    counts: &[i64],
) -> Result<(), Fault> {
    if tenants.is_empty() {
        return Ok(());
    }
    scoped
        .execute(
            "INSERT INTO counters AS c (tenant_id, stream_id, day, what, count)
             SELECT tenant, stream, (at AT TIME ZONE 'UTC')::date AS day, what, sum(n)
             FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::bigint[])
                  AS e (tenant, stream, at, what, n)
             GROUP BY tenant, stream, day, what
             ON CONFLICT (tenant_id, day, stream_id, what) DO UPDATE SET count = c.count + excluded.count",
            &[&tenants, &streams, &times, &what, &counts],
        )
        .await?;
    Ok(())
}

/// The attempts turned on their side, as `unnest` wants them.
#[derive(Default)]
struct AttemptColumns {
    messages: Vec<Uuid>,
    numbers: Vec<i32>,
    attempts: Vec<i32>,
    tenants: Vec<Uuid>,
    times: Vec<jiff::Timestamp>,
    verdicts: Vec<&'static str>,
    classes: Vec<String>,
    kinds: Vec<&'static str>,
    scopes: Vec<&'static str>,
    stages: Vec<&'static str>,
    codes: Vec<Option<i32>>,
    enhanced: Vec<Option<String>>,
    replies: Vec<Option<String>>,
    mx: Vec<Option<String>>,
    egress: Vec<Option<String>>,
    sources: Vec<Option<String>>,
    sites: Vec<Option<String>>,
    tls: Vec<Option<String>>,
    providers: Vec<String>,
    rules: Vec<Option<String>>,
    durations: Vec<i64>,
    queued: Vec<i64>,
    next: Vec<Option<jiff::Timestamp>>,
}

impl AttemptColumns {
    fn of(attempts: &[AttemptNew]) -> AttemptColumns {
        let mut columns = AttemptColumns::default();
        for attempt in attempts {
            columns.push(attempt);
        }
        columns
    }

    fn push(&mut self, attempt: &AttemptNew) {
        let outcome = &attempt.outcome;
        self.messages.push(attempt.message.uuid());
        self.numbers.push(number(attempt.recipient));
        self.attempts.push(number(attempt.attempt));
        self.tenants.push(attempt.tenant.uuid());
        self.times.push(attempt.at.to_jiff());
        self.verdicts.push(outcome.verdict.as_str());
        self.classes.push(outcome.class.as_str().to_owned());
        self.kinds.push(ClassKind::as_str(outcome.kind));
        self.scopes.push(outcome.scope.as_str());
        self.stages.push(outcome.stage);
        self.codes.push(outcome.reply.as_ref().map(|reply| i32::from(reply.code.as_u16())));
        self.enhanced.push(outcome.enhanced().map(|status| status.to_string()));
        self.replies.push(outcome.words().map(|text| clean(&text)));
        self.mx.push(outcome.mx.clone());
        self.egress.push(outcome.egress.map(|address| address.to_string()));
        self.sources.push(attempt.source.clone());
        self.sites.push(attempt.site.clone());
        self.tls.push(outcome.tls.clone());
        self.providers.push(outcome.provider.to_string());
        self.rules.push(outcome.rule.as_ref().map(ToString::to_string));
        self.durations.push(i64::try_from(attempt.duration_ms).unwrap_or(i64::MAX));
        self.queued.push(i64::try_from(attempt.queued_ms).unwrap_or(i64::MAX));
        self.next.push(attempt.next_at.map(Timestamp::to_jiff));
    }
}

/// PostgreSQL's text has no NUL, and a reply may be long.
fn clean(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(TEXT_CHARS_MAX).collect()
}

fn metadata_of(message: &MessageNew) -> Value {
    let entry =
        |(key, value): &(String, String)| (key.replace('\0', ""), Value::String(value.replace('\0', "")));
    Value::Object(message.metadata.iter().map(entry).collect())
}

fn number(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
