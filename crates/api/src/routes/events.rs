//! Events, pulled: the same ones that webhooks push, in one order, from a cursor on.
//!
//! What may surprise: events never end, so every page has a cursor. An empty page gives back the cursor it was asked
//! with, and the reader asks again later.

use crate::auth::{Read, Within};
use crate::body::{Answer, Result};
use crate::page::{Page, Query, request};
use crate::state::Api;
use axum::extract::State;
use mail::{Event, EventId, EventKind, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

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

/// From which event on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Rows wanted, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only what happened at or after this time. What was told more than an hour late may be missing; to miss nothing,
    /// follow the cursor.
    #[param(value_type = Option<String>, format = "date-time")]
    since: Option<Timestamp>,
}

/// Read events
///
/// Oldest first, from the cursor on; without a cursor from `since` on, or from the oldest that is kept. Keep
/// `next_cursor` and ask again: events never end.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/events", tag = "events", operation_id = "event_list", params(EventQuery),
    responses((status = 200, body = Page<EventShape>, description = "a page of events")))]
pub async fn list(
    State(api): State<Api>,
    scope: Within<Read>,
    Query(query): Query<EventQuery>,
) -> Result<Answer<Page<EventShape>>> {
    let page = request(query.limit, query.cursor.as_deref())?;
    let page = api.database().event_list(&scope.access, scope.tenant, &page, query.since).await?;
    Ok(Answer::ok(Page::of(page, |row| EventShape::from(row.event))))
}

impl From<Event> for EventShape {
    fn from(event: Event) -> EventShape {
        let Event { id, kind, timestamp, tenant, data } = event;
        EventShape { id, kind, timestamp, tenant, data }
    }
}
