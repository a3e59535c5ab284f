//! What was said at the last attempt for a recipient, read back as an outcome: for who ends without another one.
//!
//! The tables keep a reply as one line, cut if it is long. Its text comes back without code and enhanced code, so that
//! it is printed as it was stored. What the tables cannot tell is not made up: such a row is not given.

use crate::connect::Database;
use crate::error::Fault;
use crate::scope::{Intent, column, corrupt};
use mail::{
    Class, ClassKind, EnhancedStatus, MessageId, Outcome, Reply, ReplyCode, Scope, Verdict, stage_named,
};
use registry::Access;
use std::collections::HashMap;
use tokio_postgres::Row;
use uuid::Uuid;

/// A recipient, and how often it was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tried {
    /// The message.
    pub message: MessageId,
    /// Number of the recipient in the message, from 0.
    pub recipient: u32,
    /// Number of its last attempt, 1 for the first.
    pub attempt: u32,
}

/// The last of the attempts, which are a handful for each recipient.
const LAST_SQL: &str = "
    SELECT a.* FROM unnest($1::uuid[], $2::int[], $3::int[]) AS w (message_id, n, attempt)
    CROSS JOIN LATERAL (
        SELECT * FROM attempts
        WHERE message_id = w.message_id AND n = w.n AND attempt BETWEEN 1 AND w.attempt
        ORDER BY attempt DESC LIMIT 1) a";

impl Database {
    /// What came of the last attempt for each of these; nothing for those whose attempts are not known.
    ///
    /// # Errors
    /// As [every call](Database#errors).
    pub async fn attempts_last(
        &self,
        access: &Access,
        tried: &[Tried],
    ) -> Result<HashMap<(MessageId, u32), Outcome>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "fetch last attempts").await?;
        let messages: Vec<Uuid> = tried.iter().map(|tried| tried.message.uuid()).collect();
        let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        let recipients: Vec<i32> = tried.iter().map(|tried| number(tried.recipient)).collect();
        let attempts: Vec<i32> = tried.iter().map(|tried| number(tried.attempt)).collect();
        let mut outcomes = HashMap::with_capacity(tried.len());
        for row in &scoped.rows(LAST_SQL, &[&messages, &recipients, &attempts]).await? {
            let message = MessageId::from_uuid(column(row, "message_id")?);
            let recipient = u32::try_from(column::<i32>(row, "n")?).map_err(|_| corrupt("n"))?;
            if let Some(outcome) = outcome_from(row)? {
                outcomes.insert((message, recipient), outcome);
            }
        }
        Ok(outcomes)
    }
}

fn outcome_from(row: &Row) -> Result<Option<Outcome>, Fault> {
    let enhanced: Option<String> = column(row, "enhanced")?;
    let (code, words): (Option<i32>, Option<String>) = (column(row, "code")?, column(row, "reply")?);
    let (verdict, kind, scope): (String, String, String) =
        (column(row, "verdict")?, column(row, "kind")?, column(row, "scope")?);
    let egress: Option<String> = column(row, "egress")?;
    let (Some(verdict), Some(kind), Some(scope)) =
        (Verdict::parse(&verdict), ClassKind::parse(&kind), Scope::parse(&scope))
    else {
        return Ok(None);
    };
    let status = enhanced.as_deref().and_then(EnhancedStatus::parse);
    let code = code.and_then(|code| u16::try_from(code).ok()).and_then(ReplyCode::new);
    let reply = code.map(|code| reply_from(code, status, words.as_deref().unwrap_or_default()));
    Ok(Some(Outcome {
        verdict,
        class: Class::stored(&column::<String>(row, "class")?),
        kind,
        scope,
        stage: stage_named(&column::<String>(row, "stage")?),
        trouble: if reply.is_none() { words } else { None },
        status: if reply.is_none() { status } else { None },
        reply,
        rule: column::<Option<String>>(row, "rule")?.map(Into::into),
        mx: column(row, "mx")?,
        egress: egress.and_then(|address| address.parse().ok()),
        tls: column(row, "tls")?,
        provider: column::<String>(row, "provider")?.into(),
    }))
}

/// The line that `Reply::to_line` made, in its parts again.
fn reply_from(code: ReplyCode, enhanced: Option<EnhancedStatus>, line: &str) -> Reply {
    let head = enhanced.map_or(code.to_string(), |enhanced| format!("{code} {enhanced}"));
    let text = line.strip_prefix(&head).unwrap_or(line);
    Reply { code, enhanced, lines: vec![text.strip_prefix(' ').unwrap_or(text).to_owned()] }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_printed_as_it_was_stored() {
        let status = EnhancedStatus::new(4, 3, 0);
        for (reply, line) in [
            (Reply::new(451, Some(status), "not now"), "451 4.3.0 not now"),
            (Reply::new(451, None, "not now"), "451 not now"),
            (Reply { lines: vec!["not".into(), "now".into()], ..Reply::new(451, None, "") }, "451 not now"),
            (Reply::new(451, Some(status), "451 4.3.0 twice"), "451 4.3.0 451 4.3.0 twice"),
        ] {
            assert_eq!(reply.to_line(), line);
            assert_eq!(reply_from(reply.code, reply.enhanced, line).to_line(), line);
        }
    }
}
