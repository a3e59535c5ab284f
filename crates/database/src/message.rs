//! What became of a message, as a tenant sees it: one message with its recipients, and its timeline.

use crate::connect::Database;
use crate::credential::time_from;
use crate::error::Fault;
use crate::projection::RecipientState;
use crate::scope::{Intent, Scoped, column, corrupt, parsed};
use mail::{ApiKeyId, CredentialId, DomainId, MessageId, StreamId, TenantId, Timestamp};
use registry::Access;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use tokio_postgres::Row;
use uuid::Uuid;

/// Attempts that a timeline shows.
const TIMELINE_ROWS_MAX: i64 = 1000;

/// A message as it is shown: never its text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MessageRow {
    /// The house's name for it.
    pub id: MessageId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Which kind of the tenant's mail.
    pub stream: StreamId,
    /// The domain of From.
    pub domain: DomainId,
    /// At the SMTP door: who brought it.
    pub credential: Option<CredentialId>,
    /// At the HTTP door: who brought it.
    pub api_key: Option<ApiKeyId>,
    /// When its 250 or 202 was due.
    pub accepted_at: Timestamp,
    /// Not attempted before; none for at once.
    pub not_before: Option<Timestamp>,
    /// Settled as expired from then on.
    pub expires_at: Timestamp,
    /// The address in From.
    pub header_from: String,
    /// As the client gave it.
    pub reverse_path: String,
    /// Decoded, and cut if it is very long.
    pub subject: String,
    /// Its Message-ID field.
    pub message_id_header: String,
    /// In the order in which they were named.
    pub tags: Vec<String>,
    /// What the client wants to be told with each event.
    pub metadata: BTreeMap<String, String>,
    /// Octets of header section and body as accepted.
    pub size: i64,
    /// In the order of the envelope.
    pub recipients: Vec<RecipientRow>,
}

/// One recipient of a message, and how far it has come.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecipientRow {
    /// Its number in the message, from 0.
    pub n: i32,
    /// As in RCPT TO.
    pub address: String,
    /// How far it has come.
    pub state: RecipientState,
    /// Attempts made so far.
    pub attempts: i32,
    /// What the last answer meant; none before the first.
    pub class: Option<String>,
    /// What the site said last.
    pub reply: Option<String>,
    /// When it is due again; none once it is settled.
    pub next_at: Option<Timestamp>,
    /// When something was last heard of it.
    pub updated_at: Timestamp,
}

/// One attempt, as the timeline shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttemptRow {
    /// Number of its recipient in the message, from 0.
    pub n: i32,
    /// 1 for the first.
    pub attempt: i32,
    /// When it ended.
    pub at: Timestamp,
    /// `delivered`, `deferred` or `failed`.
    pub verdict: String,
    /// What the answer meant: `recipient.unknown`.
    pub class: String,
    /// The coarse half of the class: `hard`.
    pub kind: String,
    /// What else the answer said something about: `path`.
    pub scope: String,
    /// Where in the session it was decided.
    pub stage: String,
    /// The reply code, three digits (RFC 5321 §4.2), if there was an answer.
    pub code: Option<i32>,
    /// The enhanced code (RFC 3463): the site's, or ours if there was no answer.
    pub enhanced: Option<String>,
    /// The site's words, cleaned.
    pub reply: Option<String>,
    /// Host that was spoken to; none if there was none.
    pub mx: Option<String>,
    /// The address that we spoke from.
    pub egress: Option<String>,
    /// Name of that source.
    pub source: Option<String>,
    /// Where the domain was found to lead.
    pub site: Option<String>,
    /// TLS version of the session; none if it was in plain text.
    pub tls: Option<String>,
    /// Profile whose rules were asked first.
    pub provider: String,
    /// The rule that decided; none when a code did.
    pub rule: Option<String>,
    /// Milliseconds, as in `AttemptNew`.
    pub duration_ms: i64,
    /// Milliseconds from being due until it was given to a session.
    pub queued_ms: i64,
    /// When it is tried again; none once it is settled.
    pub next_at: Option<Timestamp>,
}

/// A count of one day of one stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CounterRow {
    /// `YYYY-MM-DD`, in UTC.
    pub day: String,
    /// Counts are kept for each stream.
    pub stream: StreamId,
    /// What was counted: `accepted`, `delivered` and so on.
    pub what: String,
    /// Recipients.
    pub count: i64,
}

impl Database {
    /// With its recipients.
    ///
    /// # Errors
    /// `NotFound` for a message of another tenant as for none; else as [every call](Database#errors).
    pub async fn message_fetch(
        &self,
        access: &Access,
        tenant: TenantId,
        message: MessageId,
    ) -> Result<MessageRow, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Read, "fetch a message").await?;
        let mut found = [message_of(&scoped, tenant, message).await?];
        recipients_fill(&scoped, &mut found).await?;
        let [message] = found;
        Ok(message)
    }

    /// Which of these the tables know.
    ///
    /// # Errors
    /// As [every call](Database#errors); no right is needed.
    pub async fn messages_known(
        &self,
        access: &Access,
        tenant: TenantId,
        messages: &[MessageId],
    ) -> Result<HashSet<MessageId>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Note, "look for messages").await?;
        let ids: Vec<Uuid> = messages.iter().map(|message| message.uuid()).collect();
        let sql = "SELECT id FROM messages WHERE tenant_id = $1 AND id = ANY ($2)";
        let rows = scoped.rows(sql, &[&tenant.uuid(), &ids]).await?;
        rows.iter().map(|row| column(row, "id").map(MessageId::from_uuid)).collect()
    }

    /// Whether a recipient of the tenant waits whose message has not expired before `expired`. Others wait nowhere: what
    /// became of them was lost with a part of the journal.
    ///
    /// # Errors
    /// As [every call](Database#errors).
    pub async fn has_waiting(
        &self,
        access: &Access,
        tenant: TenantId,
        expired: Timestamp,
    ) -> Result<bool, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Read, "look for mail").await?;
        let sql = "SELECT EXISTS (
                       SELECT FROM recipients r JOIN messages m ON m.id = r.message_id AND m.tenant_id = $1
                       WHERE r.tenant_id = $1 AND r.state IN ('queued', 'deferred') AND m.expires_at >= $2) AS found";
        column(&scoped.one("answer", sql, &[&tenant.uuid(), &expired.to_jiff()]).await?, "found")
    }

    /// Its attempts, oldest first: the first 1000.
    ///
    /// # Errors
    /// `NotFound` for a message of another tenant as for none; else as [every call](Database#errors).
    pub async fn message_timeline(
        &self,
        access: &Access,
        tenant: TenantId,
        message: MessageId,
    ) -> Result<Vec<AttemptRow>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Read, "fetch a timeline").await?;
        message_of(&scoped, tenant, message).await?;
        let sql = "SELECT * FROM attempts WHERE tenant_id = $1 AND message_id = $2 ORDER BY at, n, attempt LIMIT $3";
        let rows = scoped.rows(sql, &[&tenant.uuid(), &message.uuid(), &TIMELINE_ROWS_MAX]).await?;
        rows.iter().map(attempt_from).collect()
    }

    /// Counts by day (UTC) and stream, for days from `since` to `until`, both included.
    ///
    /// # Errors
    /// As [every call](Database#errors).
    pub async fn counter_list(
        &self,
        access: &Access,
        tenant: TenantId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<CounterRow>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Read, "list counts").await?;
        let sql = "SELECT day::text AS day, stream_id, what, count FROM counters
                   WHERE tenant_id = $1 AND day BETWEEN ($2::timestamptz AT TIME ZONE 'UTC')::date
                                                    AND ($3::timestamptz AT TIME ZONE 'UTC')::date
                   ORDER BY day, stream_id, what";
        let rows = scoped.rows(sql, &[&tenant.uuid(), &since.to_jiff(), &until.to_jiff()]).await?;
        rows.iter()
            .map(|row| {
                Ok(CounterRow {
                    day: column(row, "day")?,
                    stream: StreamId::from_uuid(column(row, "stream_id")?),
                    what: column(row, "what")?,
                    count: column(row, "count")?,
                })
            })
            .collect()
    }
}

async fn message_of(scoped: &Scoped<'_>, tenant: TenantId, message: MessageId) -> Result<MessageRow, Fault> {
    let sql = "SELECT * FROM messages WHERE tenant_id = $1 AND id = $2";
    message_from(&scoped.one("message", sql, &[&tenant.uuid(), &message.uuid()]).await?)
}

pub(crate) async fn recipients_fill(scoped: &Scoped<'_>, messages: &mut [MessageRow]) -> Result<(), Fault> {
    let ids: Vec<Uuid> = messages.iter().map(|message| message.id.uuid()).collect();
    let sql = "SELECT * FROM recipients WHERE message_id = ANY ($1) ORDER BY message_id, n";
    let mut by_message: BTreeMap<Uuid, Vec<RecipientRow>> = BTreeMap::new();
    for row in &scoped.rows(sql, &[&ids]).await? {
        by_message.entry(column(row, "message_id")?).or_default().push(recipient_from(row)?);
    }
    for message in messages {
        message.recipients = by_message.remove(&message.id.uuid()).unwrap_or_default();
    }
    Ok(())
}

pub(crate) fn message_from(row: &Row) -> Result<MessageRow, Fault> {
    Ok(MessageRow {
        id: MessageId::from_uuid(column(row, "id")?),
        tenant: TenantId::from_uuid(column(row, "tenant_id")?),
        stream: StreamId::from_uuid(column(row, "stream_id")?),
        domain: DomainId::from_uuid(column(row, "domain_id")?),
        credential: column::<Option<Uuid>>(row, "credential_id")?.map(CredentialId::from_uuid),
        api_key: column::<Option<Uuid>>(row, "api_key_id")?.map(ApiKeyId::from_uuid),
        accepted_at: Timestamp::from_jiff(column(row, "accepted_at")?),
        not_before: time_from(row, "not_before")?,
        expires_at: Timestamp::from_jiff(column(row, "expires_at")?),
        header_from: column(row, "header_from")?,
        reverse_path: column(row, "reverse_path")?,
        subject: column(row, "subject")?,
        message_id_header: column(row, "message_id_header")?,
        tags: serde_json::from_value(column(row, "tags")?).map_err(|_| corrupt("tags"))?,
        metadata: serde_json::from_value(column(row, "metadata")?).map_err(|_| corrupt("metadata"))?,
        size: column(row, "size")?,
        recipients: Vec::new(),
    })
}

fn recipient_from(row: &Row) -> Result<RecipientRow, Fault> {
    Ok(RecipientRow {
        n: column(row, "n")?,
        address: column(row, "address")?,
        state: parsed(row, "state", RecipientState::parse)?,
        attempts: column(row, "attempts")?,
        class: column(row, "class")?,
        reply: column(row, "reply")?,
        next_at: time_from(row, "next_at")?,
        updated_at: Timestamp::from_jiff(column(row, "updated_at")?),
    })
}

fn attempt_from(row: &Row) -> Result<AttemptRow, Fault> {
    Ok(AttemptRow {
        n: column(row, "n")?,
        attempt: column(row, "attempt")?,
        at: Timestamp::from_jiff(column(row, "at")?),
        verdict: column(row, "verdict")?,
        class: column(row, "class")?,
        kind: column(row, "kind")?,
        scope: column(row, "scope")?,
        stage: column(row, "stage")?,
        code: column(row, "code")?,
        enhanced: column(row, "enhanced")?,
        reply: column(row, "reply")?,
        mx: column(row, "mx")?,
        egress: column(row, "egress")?,
        source: column(row, "source")?,
        site: column(row, "site")?,
        tls: column(row, "tls")?,
        provider: column(row, "provider")?,
        rule: column(row, "rule")?,
        duration_ms: column(row, "duration_ms")?,
        queued_ms: column(row, "queued_ms")?,
        next_at: time_from(row, "next_at")?,
    })
}
