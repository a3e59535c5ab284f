//! Our reading, with the rules that submission holds a message to (`ingress/src/submission.rs`), and of To and Cc as a raw
//! call without recipients reads them (`api/src/draft.rs`).
//!
//! By SMTP nobody reads To or Cc: the envelope says who gets a message (RFC 5321 §3.6.1), suppression and events go by the
//! envelope, Bcc is taken out whatever it says, and what a mail program shows in To vouches for nobody. Groups and quoted
//! local-parts, which we cannot read without doubt, are common there. So a To of two readings is not refused by that door; it
//! is refused by the call that would send to it, which is the one place where a second reading could reach somebody.

use crate::others::Reading;
use mail::message::{HeaderLimits, HeaderSection, mailbox_list};

/// The reading, or the sentence that the sender is shown.
pub fn read(raw: &[u8]) -> Result<Reading, String> {
    let section = HeaderSection::parse(raw, &HeaderLimits::default()).map_err(|error| error.to_string())?;
    if let Some(name) = section.repeated_field().filter(|name| !matches!(*name, "from" | "bcc")) {
        return Err(format!("the message has more than one {name} field"));
    }
    let authors = section.from_addresses().map_err(|error| error.to_string())?;
    let [author] = authors.as_slice() else { return Err("From must hold exactly one address".to_owned()) };
    let names = section.fields().iter().map(|field| field.name().to_ascii_lowercase()).collect();
    Ok(Reading {
        names: Some(names),
        authors: vec![author.to_string()],
        to: recipients(&section, "to"),
        cc: recipients(&section, "cc"),
        body: Some(section.body().to_vec()),
        // Nothing of ours reads MIME: a body goes out as it came in.
        parts: None,
    })
}

/// None if the field would be refused where it decides about anything.
fn recipients(section: &HeaderSection<'_>, name: &str) -> Option<Vec<String>> {
    let fields = section.all(name).filter(|field| !field.unfolded().trim_ascii().is_empty());
    let lists: Result<Vec<_>, _> = fields.map(|field| mailbox_list::parse(&field.unfolded())).collect();
    Some(lists.ok()?.into_iter().flatten().map(|mailbox| mailbox.to_string()).collect())
}
