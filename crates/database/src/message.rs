//! What became of a message, as a tenant sees it: the list, one message with its recipients, and its timeline.

use crate::connect::Database;
use crate::credential::time_from;
use crate::error::Fault;
use crate::page::{Page, PageRequest};
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

/// What a list is narrowed to; everything that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageFilter {
    pub recipient: Option<String>,
    pub state: Option<RecipientState>,
    pub stream: Option<StreamId>,
    pub tag: Option<String>,
    pub message_id_header: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MessageRow {
    pub id: MessageId,
    pub tenant: TenantId,
    pub stream: StreamId,
    pub domain: DomainId,
    pub credential: Option<CredentialId>,
    pub api_key: Option<ApiKeyId>,
    pub accepted_at: Timestamp,
    pub not_before: Option<Timestamp>,
    pub expires_at: Timestamp,
    pub header_from: String,
    pub reverse_path: String,
    pub subject: String,
    pub message_id_header: String,
    pub tags: Vec<String>,
    pub metadata: BTreeMap<String, String>,
    pub size: i64,
    pub recipients: Vec<RecipientRow>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecipientRow {
    pub n: i32,
    pub address: String,
    pub state: RecipientState,
    pub attempts: i32,
    pub class: Option<String>,
    pub reply: Option<String>,
    pub next_at: Option<Timestamp>,
    pub updated_at: Timestamp,
}

/// One attempt, as the timeline shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttemptRow {
    pub n: i32,
    pub attempt: i32,
    pub at: Timestamp,
    pub verdict: String,
    pub class: String,
    pub kind: String,
    pub scope: String,
    pub stage: String,
    pub code: Option<i32>,
    pub enhanced: Option<String>,
    pub reply: Option<String>,
    pub mx: Option<String>,
    pub egress: Option<String>,
    pub source: Option<String>,
    pub site: Option<String>,
    pub tls: Option<String>,
    pub provider: String,
    pub rule: Option<String>,
    pub duration_ms: i64,
    pub queued_ms: i64,
    pub next_at: Option<Timestamp>,
}

/// A count of one day of one stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CounterRow {
    pub day: String,
    pub stream: StreamId,
    pub what: String,
    pub count: i64,
}

impl Database {
    /// Newest first, each with its recipients.
    pub async fn message_list(
        &self,
        access: &Access,
        tenant: TenantId,
        filter: &MessageFilter,
        page: &PageRequest,
    ) -> Result<Page<MessageRow>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Read, "list messages").await?;
        let rows = scoped
            .rows(
                "SELECT m.* FROM messages m WHERE m.tenant_id = $1 AND m.id < $2
                   AND ($4::text IS NULL OR EXISTS (SELECT FROM recipients r WHERE r.message_id = m.id AND r.address = $4))
                   AND ($5::text IS NULL OR EXISTS (SELECT FROM recipients r WHERE r.message_id = m.id AND r.state = $5))
                   AND ($6::uuid IS NULL OR m.stream_id = $6)
                   AND ($7::text IS NULL OR m.tags ? $7)
                   AND ($8::text IS NULL OR m.message_id_header = $8)
                   AND ($9::timestamptz IS NULL OR m.accepted_at >= $9)
                   AND ($10::timestamptz IS NULL OR m.accepted_at < $10)
                 ORDER BY m.id DESC LIMIT $3",
                &[
                    &tenant.uuid(),
                    &page.before_id(),
                    &page.fetch(),
                    &filter.recipient,
                    &filter.state.map(RecipientState::as_str),
                    &filter.stream.map(StreamId::uuid),
                    &filter.tag,
                    &filter.message_id_header,
                    &filter.since.map(Timestamp::to_jiff),
                    &filter.until.map(Timestamp::to_jiff),
                ],
            )
            .await?;
        let mut page = page.finish(rows, message_from, |message| page.id_cursor(message.id.uuid()))?;
        recipients_fill(&scoped, &mut page.rows).await?;
        Ok(page)
    }

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

    /// Every attempt, oldest first.
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

    /// Counts by day and stream, for days from `since` to `until`, both included.
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

async fn recipients_fill(scoped: &Scoped<'_>, messages: &mut [MessageRow]) -> Result<(), Fault> {
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

fn message_from(row: &Row) -> Result<MessageRow, Fault> {
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
