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
    /// The house's name for it: the row's key.
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
    /// When it was taken.
    pub accepted_at: Timestamp,
    /// Not attempted before; none for at once.
    pub not_before: Option<Timestamp>,
    /// Settled as expired from then on.
    pub expires_at: Timestamp,
    /// The address in From.
    pub header_from: String,
    /// As the client gave it.
    pub reverse_path: String,
    /// Decoded.
    pub subject: String,
    /// Its Message-ID field.
    pub message_id_header: String,
    /// In the order in which they were named.
    pub tags: Vec<String>,
    /// Names and values.
    pub metadata: Vec<(String, String)>,
    /// Octets of header section and body.
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
    /// What it belongs to.
    pub message: MessageId,
    /// Number of the recipient in the message, from 0.
    pub recipient: u32,
    /// 1 for the first.
    pub attempt: u32,
    /// Whose message it is.
    pub tenant: TenantId,
    /// Which kind of the tenant's mail.
    pub stream: StreamId,
    /// When it ended.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
    /// Name of the source that it left from; none if nothing connected.
    pub source: Option<String>,
    /// Where the domain was found to lead; none if it was not found.
    pub site: Option<String>,
    /// When it is tried again; none if it settled the recipient.
    pub next_at: Option<Timestamp>,
    /// Milliseconds from when the connection was ready (an attempt that found none: from when it was taken
    /// up) to the answer.
    pub duration_ms: u64,
    /// Milliseconds from being due until it was given to a session.
    pub queued_ms: u64,
}

/// How a recipient ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecipientState {
    /// Accepted; not tried yet.
    Queued,
    /// Tried, and due again.
    Deferred,
    /// A site took it.
    Delivered,
    /// Refused for good, or nowhere to go: the address or its domain is no good.
    Bounced,
    /// Ended for good by anything else: a refusal of us or of the content, something the site lacks.
    Failed,
    /// It was not delivered in time.
    Expired,
    /// It is on a suppression list, and was never tried. No version writes it yet.
    Suppressed,
    /// Somebody took it back.
    Cancelled,
}

/// The end of one recipient, to become part of its row.
#[derive(Debug, Clone)]
pub struct SettlementNew {
    /// What it belongs to.
    pub message: MessageId,
    /// Number of the recipient in the message, from 0.
    pub recipient: u32,
    /// Whose message it is.
    pub tenant: TenantId,
    /// Which kind of the tenant's mail.
    pub stream: StreamId,
    /// When it was settled.
    pub at: Timestamp,
    /// One of the last six states.
    pub state: RecipientState,
    /// What the last answer meant; none if no site was asked.
    pub class: Option<String>,
    /// The site's words, cleaned.
    pub reply: Option<String>,
}

/// What a reader has read, and how far.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Accepted messages.
    pub messages: Vec<MessageNew>,
    /// What was tried.
    pub attempts: Vec<AttemptNew>,
    /// What came to its end.
    pub settlements: Vec<SettlementNew>,
    /// To be told by the API and by webhooks.
    pub events: Vec<Event>,
    /// Whose place in the journal moves with them.
    pub cursor_name: String,
    /// Opaque here: whatever the reader needs to go on.
    pub position: Vec<u8>,
}

impl Database {
    /// Writes a batch and the cursor, all or nothing. What belongs to a tenant or a message that is gone is
    /// dropped alone.
    ///
    /// # Errors
    /// `Forbidden` for whoever is held to one tenant; else as [every call](Database#errors).
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

    /// Where a reader was; none before its first batch, and none for whoever is held to one tenant.
    ///
    /// # Errors
    /// As [every call](Database#errors).
    pub async fn cursor_fetch(&self, access: &Access, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "fetch a cursor").await?;
        let row = scoped.optional("SELECT position FROM cursors WHERE name = $1", &[&name]).await?;
        row.map(|row| column(&row, "position")).transpose()
    }

    /// The counts of today (UTC), in recipients, for `Usage::restore`; for whoever is held to one tenant its
    /// own.
    ///
    /// # Errors
    /// As [every call](Database#errors).
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
    /// In JSON and in the tables: `queued`.
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

    /// The state with this word; none if there is none such.
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
