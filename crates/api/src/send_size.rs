//! How large the messages of a call would become, before anything of them is made. Pure.
//!
//! What all recipients share multiplies by their number: one call of a few megabytes could ask for gigabytes of memory,
//! and quotas are charged only later. The bound counts everything that would be written or carried along, generously,
//! and refuses first. A single message is a batch of one whose text has no places for values.

use crate::problem::{Kind, Problem};
use crate::send_body::{Addresses, SendMessage};
use crate::variables::names;
use std::collections::BTreeMap;

/// Octets of all messages of one call together.
const CALL_OCTETS_MAX: usize = 256 << 20;
/// Places for values in all templates of one batch.
const PLACES_MAX: usize = 10_000;
/// An escaped character is at most so much longer (`&quot;`).
const ESCAPED_MAX: usize = 6;

/// Octets of the messages of a call. Refuses one whose messages would be too large together.
pub fn check(message: &SendMessage) -> Result<usize, Problem> {
    check_within(message, CALL_OCTETS_MAX)
}

fn check_within(message: &SendMessage, octets_max: usize) -> Result<usize, Problem> {
    let total = octets(message)?;
    if total > octets_max {
        let text = format!(
            "the messages of this call would be about {total} octets together, at most {octets_max} are taken; \
             name fewer recipients in a call or send less in each message"
        );
        return Err(Problem::new(Kind::BodyTooLarge, text));
    }
    Ok(total)
}

fn octets(message: &SendMessage) -> Result<usize, Problem> {
    let templates = [&message.subject, &message.text, &message.html].into_iter().flatten();
    let templates: Vec<&String> = templates.chain(message.headers.values()).collect();
    let shared = templates.iter().map(|template| template.len()).sum::<usize>() + carried(message);
    if message.recipients.is_empty() {
        return Ok(shared);
    }
    let places: Vec<&str> =
        templates.iter().flat_map(|template| names(template)).take(PLACES_MAX + 1).collect();
    if places.len() > PLACES_MAX {
        let text = format!("subject, texts and headers have more than {PLACES_MAX} places for variables");
        return Err(Problem::new(Kind::BodyTooLarge, text));
    }
    let own = message.recipients.iter().map(|recipient| {
        let values = places.iter().filter_map(|name| recipient.variables.get(*name));
        let values = values.fold(0_usize, |sum, value| sum.saturating_add(value.len() * ESCAPED_MAX));
        shared.saturating_add(values).saturating_add(pairs(&recipient.metadata))
    });
    Ok(own.fold(0, usize::saturating_add))
}

/// What goes into every message as it is.
fn carried(message: &SendMessage) -> usize {
    let raw = message.raw.as_ref().map_or(0, String::len);
    let attachments = message.attachments.iter().map(|attachment| attachment.content.len()).sum::<usize>();
    let lists = [&message.to, &message.cc, &message.bcc, &message.reply_to];
    let addresses = lists.into_iter().map(written).sum::<usize>();
    let names = message.headers.keys().map(String::len).sum::<usize>();
    raw + attachments + addresses + names + pairs(&message.metadata)
}

fn written(list: &Addresses) -> usize {
    list.as_slice().iter().map(|address| address.0.len()).sum()
}

fn pairs(metadata: &BTreeMap<String, String>) -> usize {
    metadata.iter().map(|(key, value)| key.len() + value.len()).sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn refused(body: Value, octets_max: usize) -> bool {
        let message: SendMessage = serde_json::from_value(body).unwrap();
        check_within(&message, octets_max).is_err_and(|problem| problem.code() == "body_too_large")
    }

    #[test]
    fn a_single_message_is_bounded_by_everything_it_carries() {
        let large = "x".repeat(1000);
        for (field, value) in [
            ("text", json!(large)),
            ("raw", json!(large)),
            ("headers", json!({"X-A": large})),
            ("metadata", json!({"a": large})),
            ("reply_to", json!([format!("{large}@example.org")])),
            ("attachments", json!([{"filename": "a", "content": large}])),
        ] {
            assert!(refused(json!({field: value}), 999), "{field}");
            assert!(!refused(json!({field: value}), 1100), "{field}");
        }
    }

    #[test]
    fn what_a_batch_shares_counts_for_each_of_its_recipients() {
        let to = |variables: Value, metadata: Value| json!({"to": "a@example.org", "variables": variables, "metadata": metadata});
        let large = "x".repeat(100);
        let shared = json!({"metadata": {"a": large}, "recipients": vec![to(json!({}), json!({})); 20]});
        assert!(refused(shared.clone(), 1999) && !refused(shared, 2100));
        let own =
            json!({"text": "{{a}}", "recipients": vec![to(json!({"a": large}), json!({"b": large})); 20]});
        assert!(refused(own.clone(), 13_999) && !refused(own, 14_200));
    }

    #[test]
    fn braces_of_a_single_message_are_text_and_not_counted() {
        let text = "{{a}}".repeat(PLACES_MAX + 1);
        assert!(!refused(json!({"text": text}), 100_000));
        assert!(refused(json!({"text": text, "recipients": [{"to": "a@example.org"}]}), 100_000));
    }
}
