//! Our reading, with the rules that submission holds a message to (`ingress/src/submission.rs`).

use crate::others::Reading;
use mail::message::{HeaderLimits, HeaderSection};

/// The reading, or the sentence that the sender is shown.
pub fn read(raw: &[u8]) -> Result<Reading, String> {
    let section = HeaderSection::parse(raw, &HeaderLimits::default()).map_err(|error| error.to_string())?;
    if let Some(name) = section.repeated_field().filter(|name| !matches!(*name, "from" | "bcc")) {
        return Err(format!("the message has more than one {name} field"));
    }
    let authors = section.from_addresses().map_err(|error| error.to_string())?;
    let [author] = authors.as_slice() else { return Err("From must hold exactly one address".to_owned()) };
    let names = section.fields().iter().map(|field| field.name().to_ascii_lowercase()).collect();
    Ok(Reading { names: Some(names), authors: vec![author.to_string()], body: Some(section.body().to_vec()) })
}
