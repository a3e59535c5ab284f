//! Events, pulled: the same ones that webhooks push, in one order, from a cursor on.
//!
//! What may surprise: events never end, so every page has a cursor. An empty page gives back the cursor it was asked
//! with, and the reader asks again later.

use crate::auth::{Read, Within};
use crate::body::{Answer, Result};
use crate::page::{Page, PageQuery, Query};
use crate::state::Api;
use axum::extract::State;
use mail::{Event, EventId, EventKind, TenantId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventShape {
    #[schema(value_type = String)]
    id: EventId,
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "message.delivered")]
    kind: EventKind,
    #[schema(value_type = String, format = "date-time")]
    timestamp: Timestamp,
    #[schema(value_type = String)]
    tenant: TenantId,
    /// What happened; its fields follow from the type.
    #[schema(value_type = Object)]
    data: serde_json::Value,
}

/// Read events
///
/// Oldest first, from the cursor on. Keep `next_cursor` and ask again: events never end.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/events", tag = "events", operation_id = "event_list", params(PageQuery),
    responses((status = 200, body = Page<EventShape>, description = "a page of events")))]
pub async fn list(
    State(api): State<Api>,
    scope: Within<Read>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<EventShape>>> {
    let page = api.database().event_list(&scope.access, scope.tenant, &query.request()?).await?;
    let mut page = Page::of(page, |row| EventShape::from(row.event));
    page.next_cursor = page.next_cursor.or(query.cursor);
    Ok(Answer::ok(page))
}

impl From<Event> for EventShape {
    fn from(event: Event) -> EventShape {
        let Event { id, kind, timestamp, tenant, data } = event;
        EventShape { id, kind, timestamp, tenant, data }
    }
}
