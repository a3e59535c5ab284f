//! How large a batch would become, before anything of it is made. Pure.
//!
//! Attachments and values multiply by the number of recipients: one call of a few megabytes could ask for gigabytes of
//! memory, and quotas are charged only later. The bound counts what would be written, generously, and refuses first.

use crate::problem::{Kind, Problem};
use crate::send_body::SendMessage;
use crate::variables::names;

/// Octets of all messages of one batch together.
const BATCH_OCTETS_MAX: usize = 256 << 20;
/// Places for values in all templates of one batch.
const PLACES_MAX: usize = 10_000;
/// An escaped character is at most so much longer (`&quot;`).
const ESCAPED_MAX: usize = 6;

/// Refuses a batch whose messages would be too large together.
pub fn check(message: &SendMessage) -> Result<(), Problem> {
    let templates = [&message.subject, &message.text, &message.html].into_iter().flatten();
    let templates: Vec<&String> = templates.chain(message.headers.values()).collect();
    let places: Vec<&str> =
        templates.iter().flat_map(|template| names(template)).take(PLACES_MAX + 1).collect();
    if places.len() > PLACES_MAX {
        let text = format!("subject, texts and headers have more than {PLACES_MAX} places for variables");
        return Err(Problem::new(Kind::BodyTooLarge, text));
    }
    let fixed: usize = templates.iter().map(|template| template.len()).sum::<usize>()
        + message.attachments.iter().map(|attachment| attachment.content.len()).sum::<usize>();
    let mut total = 0_usize;
    for recipient in &message.recipients {
        let values = places.iter().filter_map(|name| recipient.variables.get(*name));
        let own = values.fold(0_usize, |sum, value| sum.saturating_add(value.len() * ESCAPED_MAX));
        total = total.saturating_add(fixed).saturating_add(own);
    }
    if total > BATCH_OCTETS_MAX {
        let text = format!(
            "the messages of this batch would be about {total} octets together, at most {BATCH_OCTETS_MAX} are taken; \
             name fewer recipients in a call or send less in each message"
        );
        return Err(Problem::new(Kind::BodyTooLarge, text));
    }
    Ok(())
}
