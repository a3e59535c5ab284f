//! A tenant's messages, newest first, narrowed to what somebody looks for.
//!
//! A page costs the same however much mail the tenant and the house have. One filter that has an index says which messages
//! are looked at, in the order of the page; the other filters are held against those, `LOOKED_MAX` of them at most. If that is
//! not enough for a page, it is short, even empty, and its cursor goes on behind what was looked at.
//!
//! What may surprise: the planner is told to use nothing but indexes. Under row security it knows little about how many rows
//! a filter leaves, and where it guesses that they are many it reads the mail of all tenants.

use crate::connect::Database;
use crate::error::Fault;
use crate::message::{MessageRow, message_from, recipients_fill};
use crate::page::{List, Page, PageRequest, id_cursor};
use crate::projection::RecipientState;
use crate::scope::{Intent, Scoped, column};
use mail::{StreamId, TenantId, Timestamp};
use registry::Access;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::{Builder, Uuid};

/// Messages that are held against filters for one page.
const LOOKED_MAX: i64 = 10_000;
/// An id begins with the time it was made at, which is a little before its message was accepted; clocks may be set.
const ID_SLACK: Duration = Duration::from_secs(60);

const INDEXES_ONLY: &str =
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
    set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
    set_config('enable_hashagg', 'off', true), set_config('enable_sort', 'off', true)";

/// What a list is narrowed to; everything that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageFilter {
    /// Address of one of its recipients, whole.
    pub recipient: Option<String>,
    /// At least one recipient is in this state; with `recipient` it is that one.
    pub state: Option<RecipientState>,
    /// The stream it was sent into.
    pub stream: Option<StreamId>,
    /// One of its tags.
    pub tag: Option<String>,
    /// Its Message-ID field, as it stands there.
    pub message_id_header: Option<String>,
    /// Accepted then or later.
    pub since: Option<Timestamp>,
    /// Accepted before.
    pub until: Option<Timestamp>,
}

impl Database {
    /// Newest first, each with its recipients. A page may have fewer rows than were asked for, or none, and a cursor all the
    /// same. A message of a call that was made again after a failure stands where the call was first made.
    ///
    /// # Errors
    /// `Invalid` for a cursor of another list; else as [every call](Database#errors).
    pub async fn message_list(
        &self,
        access: &Access,
        tenant: TenantId,
        filter: &MessageFilter,
        page: &PageRequest,
    ) -> Result<Page<MessageRow>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Read, "list messages").await?;
        scoped.batch(INDEXES_ONLY).await?;
        let search = Search::of(tenant, filter, page)?;
        let rows = search.found(&scoped).await?;
        let mut page =
            page.finish(rows, message_from, |message| id_cursor(List::Messages, message.id.uuid()))?;
        if page.next.is_none() && !search.rest.is_empty() {
            page.next = search.looked_up_to(&scoped).await?.map(|id| id_cursor(List::Messages, id));
        }
        recipients_fill(&scoped, &mut page.rows).await?;
        Ok(page)
    }
}

/// A statement in the making.
struct Search {
    /// Of what is looked at: the tenant, the bounds of the ids, how many, and the filter that has an index.
    values: Vec<Value>,
    /// The messages that are looked at: their ids, newest first.
    looked: String,
    /// What else must hold of each.
    rest: Vec<String>,
    /// Of `rest`; their places are behind those of `values`.
    rest_values: Vec<Value>,
    /// Rows of the page, and one more.
    fetch: i64,
}

type Value = Box<dyn ToSql + Sync + Send>;

impl Search {
    fn of(tenant: TenantId, filter: &MessageFilter, page: &PageRequest) -> Result<Search, Fault> {
        let mut before = page.before_id(List::Messages)?;
        if let Some(until) = filter.until {
            before = before.min(first_id(until.saturating_add(ID_SLACK)));
        }
        let slack = i64::try_from(ID_SLACK.as_millis()).unwrap_or(0);
        let from = filter
            .since
            .map(|since| first_id(Timestamp::from_millis(since.as_millis().saturating_sub(slack))));
        let mut values: Vec<Value> = vec![
            Box::new(tenant.uuid()),
            Box::new(before),
            Box::new(from.unwrap_or(Uuid::nil())),
            Box::new(LOOKED_MAX),
        ];
        // The first that is there leaves the fewest.
        let (looked, indexed): (String, Vec<Value>) = match filter {
            MessageFilter { recipient: Some(address), state: None, .. } => {
                (of_recipients("address = $5"), vec![Box::new(address.clone())])
            }
            // That recipient is in the state.
            MessageFilter { recipient: Some(address), state: Some(state), .. } => (
                of_recipients("address = $5 AND state = $6"),
                vec![Box::new(address.clone()), Box::new(state.as_str())],
            ),
            MessageFilter { message_id_header: Some(text), .. } => {
                (of_messages("AND message_id_header = $5"), vec![Box::new(text.clone())])
            }
            MessageFilter { state: Some(state), .. } => {
                (of_recipients("state = $5"), vec![Box::new(state.as_str())])
            }
            _ => (of_messages(""), Vec::new()),
        };
        values.extend(indexed);
        let (rest, rest_values) = (Vec::new(), Vec::new());
        let mut search = Search { values, looked, rest, rest_values, fetch: page.fetch() };
        search.narrow(filter);
        Ok(search)
    }

    /// What no index has said.
    fn narrow(&mut self, filter: &MessageFilter) {
        let MessageFilter { recipient, state, stream, tag, message_id_header, since, until } = filter;
        if let (Some(_), Some(text)) = (recipient, message_id_header) {
            self.hold("m.message_id_header =", Box::new(text.clone()));
        }
        if let (None, Some(state), Some(_)) = (recipient, state, message_id_header) {
            let place = self.place(Box::new(state.as_str()));
            self.rest.push(format!(
                "EXISTS (SELECT FROM recipients r WHERE r.tenant_id = $1 AND r.message_id = m.id AND r.state = {place})"
            ));
        }
        if let Some(stream) = stream {
            self.hold("m.stream_id =", Box::new(stream.uuid()));
        }
        if let Some(tag) = tag {
            self.hold("m.tags ?", Box::new(tag.clone()));
        }
        if let Some(since) = since {
            self.hold("m.accepted_at >=", Box::new(since.to_jiff()));
        }
        if let Some(until) = until {
            self.hold("m.accepted_at <", Box::new(until.to_jiff()));
        }
    }

    fn hold(&mut self, condition: &str, value: Value) {
        let place = self.place(value);
        self.rest.push(format!("{condition} {place}"));
    }

    fn place(&mut self, value: Value) -> String {
        self.rest_values.push(value);
        format!("${}", self.values.len() + self.rest_values.len())
    }

    /// The rows of the page, and one more if there is one.
    async fn found(&self, scoped: &Scoped<'_>) -> Result<Vec<Row>, Fault> {
        let Search { values, looked, rest, rest_values, fetch } = self;
        let rest: String = rest.iter().map(|condition| format!(" AND {condition}")).collect();
        let sql = format!(
            "SELECT m.* FROM ({looked}) l JOIN messages m ON m.id = l.id
             WHERE m.tenant_id = $1{rest} ORDER BY l.id DESC LIMIT {fetch}"
        );
        scoped.rows(&sql, &borrowed(values.iter().chain(rest_values))).await
    }

    /// The last that was looked at, if there may be more behind it.
    async fn looked_up_to(&self, scoped: &Scoped<'_>) -> Result<Option<Uuid>, Fault> {
        let sql = format!("SELECT count(*) AS looked, min(id::text)::uuid AS last FROM ({}) l", self.looked);
        let row = scoped.one("page", &sql, &borrowed(self.values.iter())).await?;
        let looked: i64 = column(&row, "looked")?;
        if looked < LOOKED_MAX { Ok(None) } else { column(&row, "last") }
    }
}

fn borrowed<'v>(values: impl Iterator<Item = &'v Value>) -> Vec<&'v (dyn ToSql + Sync)> {
    values.map(|value| &**value as &(dyn ToSql + Sync)).collect()
}

fn of_recipients(indexed: &str) -> String {
    format!(
        "SELECT DISTINCT message_id AS id FROM recipients
         WHERE tenant_id = $1 AND message_id < $2 AND message_id >= $3 AND {indexed}
         ORDER BY message_id DESC LIMIT $4"
    )
}

fn of_messages(indexed: &str) -> String {
    format!(
        "SELECT id FROM messages WHERE tenant_id = $1 AND id < $2 AND id >= $3 {indexed}
         ORDER BY id DESC LIMIT $4"
    )
}

/// The least of the ids that are made then.
fn first_id(at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    let mut id = *Builder::from_unix_timestamp_millis(millis, &[0; 10]).as_uuid().as_bytes();
    id[6..].fill(0);
    Uuid::from_bytes(id)
}
