//! Writes into the audit who tried to send as somebody else.
//!
//! The doors count (`ingress::Denied`), and here the counts become entries: at once for the first try of a sender, then once
//! in ten minutes. It is outside of the path of mail, which knows no database; while PostgreSQL is away the counts of that
//! time are lost, and the log says so; so are up to ten minutes of counts when the process dies. Run by housekeeping.

use database::Database;
use ingress::{Denied, Submission};
use registry::{Access, SenderKey};
use serde_json::json;
use std::pin::pin;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const HOUSE: Access = Access::house("refused sender");
/// How long a first try is not in the audit yet.
const EVERY: Duration = Duration::from_secs(2);
/// How long a stop waits for the last of it.
const LAST_MAX: Duration = Duration::from_secs(2);

/// Until `stop` fires; then what was counted since, unless PostgreSQL takes too long for it.
pub async fn keep_writing(database: &Database, submission: &Submission, stop: &CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        // What is taken out of the counts stands nowhere else: a stop lets it be written.
        let mut writing = pin!(write_all(database, submission.denied()));
        if stop.run_until_cancelled(&mut writing).await.is_none() {
            in_time(writing).await;
        }
    }
    in_time(write_all(database, submission.denied_since())).await;
}

async fn in_time(writing: impl Future<Output = ()>) {
    if tokio::time::timeout(LAST_MAX, writing).await.is_err() {
        tracing::warn!("the audit lacks who tried to send as somebody else lately");
    }
}

async fn write_all(database: &Database, denied: Vec<Denied>) {
    let mut left = denied.into_iter();
    while let Some(one) = left.next() {
        let tenant = one.sender.tenant();
        let Err(fault) = write(database, one).await else { continue };
        // Each of them would wait for a database that is away.
        let more = if fault.is_passing() { left.by_ref().count() } else { 0 };
        let error = &fault as &dyn std::error::Error;
        tracing::warn!(error, tenant.id = %tenant, more, "the audit lacks who tried to send as somebody else");
    }
}

async fn write(
    database: &Database,
    Denied { sender, sentences, others }: Denied,
) -> Result<(), database::Fault> {
    let key = match sender.key() {
        SenderKey::Credential(id) => id.to_string(),
        SenderKey::ApiKey(id) => id.to_string(),
        SenderKey::User(id) => id.to_string(),
    };
    let count = others + sentences.iter().map(|(_, count)| count).sum::<u64>();
    let refused: Vec<_> =
        sentences.iter().map(|(text, count)| json!({"reason": text, "count": count})).collect();
    let detail = json!({"code": "sender_not_allowed", "count": count, "refused": refused});
    database.audit_note_within(&HOUSE, sender.tenant(), "message.refuse", key, detail).await
}
