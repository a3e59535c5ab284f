//! A change is in force on this node before it is answered.
//!
//! The node works from a snapshot that follows the database by a moment. Somebody who creates an API key and uses it
//! at once must not be told that it does not exist, so after a change we wait until the snapshot has caught up. If
//! that takes too long the answer is given anyway: the change is durable, only this node is slow.

use crate::state::Api;
use axum::extract::{Request, State};
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::Response;
use database::PageRequest;
use registry::{Access, Generation};
use std::time::Duration;

/// How long an answer is held back at most.
const WAIT_MAX: Duration = Duration::from_secs(2);

pub async fn settle(State(api): State<Api>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let sends = is_sending(request.uri());
    let response = next.run(request).await;
    if !reads && !sends && response.status().is_success() {
        wait(&api).await;
    }
    response
}

/// What is sent changes nothing that the snapshot knows.
pub(crate) fn is_sending(uri: &Uri) -> bool {
    uri.path().ends_with("/messages")
}

pub(crate) async fn wait(api: &Api) {
    // The audit has one entry for each generation, so its newest entry names the newest generation.
    let newest = async {
        let page = PageRequest::new(Some(1), None)?;
        api.database().audit_list(&Access::house("in force"), &page).await
    };
    let Ok(page) = newest.await else {
        return;
    };
    let Some(entry) = page.rows.first() else {
        return;
    };
    if !api.snapshots().reached(Generation(entry.generation), WAIT_MAX).await {
        tracing::warn!("the snapshot did not catch up with a change in time");
    }
}
