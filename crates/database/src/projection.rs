//! The projection: what the journal says, as tables that can be asked.
//!
//! `projection_apply` writes a batch and the reader's cursor in one transaction, so after a crash the reader goes on
//! exactly behind what is in the tables. Applying a batch twice changes nothing: rows that are there are left alone,
//! a settled recipient stays settled, and counts follow from what really changed. One reader per cursor name.
//! A message may come in parts, some of its recipients in each; a part that is repeated changes nothing either.
//! What a row belongs to may be deleted at any moment, by the erasure of a tenant or by housekeeping: it is held until
//! the commit, and a row whose parent has gone is dropped alone.

use crate::connect::Database;
use crate::error::Fault;
use crate::event::events_insert;
use crate::projection_rows::{
    attempts_insert, messages_hold, messages_insert, recipients_insert, settlements_apply, tenants_hold,
};
use crate::quota::quota_warnings;
use crate::scope::{Intent, Scoped, column};
use mail::{ApiKeyId, CredentialId, DomainId, Event, MessageId, Outcome, StreamId, TenantId, Timestamp};
use registry::{Access, DayCount};
use uuid::Uuid;

/// A message as it was accepted.
#[derive(Debug, Clone)]
pub struct MessageNew {
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
    pub metadata: Vec<(String, String)>,
    pub size: u64,
    /// Recipients of the whole message.
    pub recipients_count: u32,
    /// The number of the first of `recipients`: 0 unless an earlier part had the ones before.
    pub recipients_first: u32,
    /// Forward-paths, in the order of their numbers.
    pub recipients: Vec<String>,
}

/// One attempt for one recipient.
#[derive(Debug, Clone)]
pub struct AttemptNew {
    pub message: MessageId,
    pub recipient: u32,
    pub attempt: u32,
    pub tenant: TenantId,
    pub stream: StreamId,
    pub at: Timestamp,
    pub outcome: Outcome,
    pub source: Option<String>,
    pub site: Option<String>,
    pub next_at: Option<Timestamp>,
    pub duration_ms: u64,
    pub queued_ms: u64,
}

/// How a recipient ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecipientState {
    Queued,
    Deferred,
    Delivered,
    Bounced,
    Failed,
    Expired,
    Suppressed,
    Cancelled,
}

#[derive(Debug, Clone)]
pub struct SettlementNew {
    pub message: MessageId,
    pub recipient: u32,
    pub tenant: TenantId,
    pub stream: StreamId,
    pub at: Timestamp,
    pub state: RecipientState,
    pub class: Option<String>,
    pub reply: Option<String>,
}

/// What a reader has read, and how far.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub messages: Vec<MessageNew>,
    pub attempts: Vec<AttemptNew>,
    pub settlements: Vec<SettlementNew>,
    pub events: Vec<Event>,
    pub cursor_name: String,
    /// Opaque here: whatever the reader needs to go on.
    pub position: Vec<u8>,
}

impl Database {
    /// Writes a batch and the cursor, all or nothing.
    pub async fn projection_apply(&self, access: &Access, batch: &Batch) -> Result<(), Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Note, "write the projection").await?;
        let now = self.now();
        tenants_hold(&scoped, batch).await?;
        messages_insert(&scoped, &batch.messages).await?;
        messages_hold(&scoped, batch).await?;
        recipients_insert(&scoped, &batch.messages).await?;
        attempts_insert(&scoped, &batch.attempts).await?;
        settlements_apply(&scoped, &batch.settlements).await?;
        events_insert(&scoped, &batch.events, now).await?;
        events_insert(&scoped, &quota_warnings(&scoped, &batch.messages, now).await?, now).await?;
        cursor_store(&scoped, &batch.cursor_name, &batch.position, now).await?;
        scoped.commit().await
    }

    /// Where a reader was; none before its first batch.
    pub async fn cursor_fetch(&self, access: &Access, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "fetch a cursor").await?;
        let row = scoped.optional("SELECT position FROM cursors WHERE name = $1", &[&name]).await?;
        row.map(|row| column(&row, "position")).transpose()
    }

    /// Today's counts, for `Usage::restore`.
    pub async fn usage_restore(&self, access: &Access) -> Result<Vec<DayCount>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "fetch today's usage").await?;
        let today = self.now();
        let sql = "SELECT tenant_id, credential_id, recipients FROM usage_days
                   WHERE day = ($1::timestamptz AT TIME ZONE 'UTC')::date";
        let rows = scoped.rows(sql, &[&today.to_jiff()]).await?;
        let mut counts = Vec::with_capacity(rows.len() * 2);
        let mut tenants = std::collections::BTreeMap::<Uuid, u64>::new();
        for row in &rows {
            let (tenant, credential): (Uuid, Uuid) =
                (column(row, "tenant_id")?, column(row, "credential_id")?);
            let recipients = u64::try_from(column::<i64>(row, "recipients")?).unwrap_or(0);
            *tenants.entry(tenant).or_default() += recipients;
            if !credential.is_nil() {
                let (tenant, credential) =
                    (TenantId::from_uuid(tenant), Some(CredentialId::from_uuid(credential)));
                counts.push(DayCount { tenant, credential, day: today.day(), recipients });
            }
        }
        counts.extend(tenants.into_iter().map(|(tenant, recipients)| DayCount {
            tenant: TenantId::from_uuid(tenant),
            credential: None,
            day: today.day(),
            recipients,
        }));
        Ok(counts)
    }
}

async fn cursor_store(scoped: &Scoped<'_>, name: &str, position: &[u8], now: Timestamp) -> Result<(), Fault> {
    scoped
        .execute(
            "INSERT INTO cursors (name, position, updated_at) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET position = $2, updated_at = $3",
            &[&name, &position, &now.to_jiff()],
        )
        .await?;
    Ok(())
}

impl RecipientState {
    pub const fn as_str(self) -> &'static str {
        match self {
            RecipientState::Queued => "queued",
            RecipientState::Deferred => "deferred",
            RecipientState::Delivered => "delivered",
            RecipientState::Bounced => "bounced",
            RecipientState::Failed => "failed",
            RecipientState::Expired => "expired",
            RecipientState::Suppressed => "suppressed",
            RecipientState::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<RecipientState> {
        const ALL: [RecipientState; 8] = [
            RecipientState::Queued,
            RecipientState::Deferred,
            RecipientState::Delivered,
            RecipientState::Bounced,
            RecipientState::Failed,
            RecipientState::Expired,
            RecipientState::Suppressed,
            RecipientState::Cancelled,
        ];
        ALL.into_iter().find(|state| state.as_str() == text)
    }
}
