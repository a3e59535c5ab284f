//! What a header section cannot hold, told by the field of the body that it stands in.
//!
//! Each field of a header section is one line, and some of them are ours to write. Composing refuses the rest of what
//! cannot be a message; its refusals get their pointers here too. Pure.

use crate::problem::{FieldError, Problem};
use crate::send_body::{BatchRecipient, SendMessage};
use crate::variables::names;
use mail::message::compose::{Attachment, Composition, CompositionError, Disposition};
use mail::message::edit::check_field;
use std::collections::BTreeSet;

/// Those that composing refuses, as a person writes them; a test holds the two together.
const RESERVED_FIELDS: [&str; 15] = [
    "From",
    "Sender",
    "To",
    "Cc",
    "Bcc",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Received",
    "Return-Path",
    "DKIM-Signature",
];

impl SendMessage {
    /// What the header section cannot hold: each field of it is one line, and some are ours.
    pub(crate) fn field_errors(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.subject.as_deref().unwrap_or_default().chars().any(char::is_control) {
            let detail = "a subject cannot have line ends or control characters";
            errors.push(FieldError::new("/subject", "invalid", detail));
        }
        for (name, value) in &self.headers {
            if RESERVED_FIELDS.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
                let detail = format!(
                    "this field is written by us or has a place of its own in the body; so have {}",
                    RESERVED_FIELDS.join(", ")
                );
                errors.push(FieldError::new(pointer("/headers", name), "not_allowed", detail));
            } else if let Err(error) = check_field(name, value) {
                errors.push(FieldError::new(pointer("/headers", name), "invalid", error.to_string()));
            } else if let Some(refusal) = ingress::unknown_field(name) {
                errors.push(FieldError::new(pointer("/headers", name), "invalid", refusal.public()));
            }
        }
        errors
    }

    /// Values that would end a line of the header section.
    pub(crate) fn value_errors(&self, index: usize, recipient: &BatchRecipient) -> Vec<FieldError> {
        let templates = self.subject.iter().chain(self.headers.values());
        let used: BTreeSet<&str> = templates.flat_map(|template| names(template)).collect();
        let broken = |name: &&str| {
            recipient.variables.get(*name).is_some_and(|value| value.chars().any(char::is_control))
        };
        let at = format!("/recipients/{index}/variables");
        let detail =
            "the subject or a header field uses it, so it cannot have line ends or control characters";
        let error = |name: &str| FieldError::new(pointer(&at, name), "invalid", detail);
        used.into_iter().filter(broken).map(error).collect()
    }
}

/// What only composing finds: most of it is about attachments.
pub(crate) fn composition_problem(error: &CompositionError, composition: &Composition) -> Problem {
    let attachment = |field: &str, wrong: &dyn Fn(&Attachment) -> bool| {
        let index = composition.attachments.iter().position(wrong).unwrap_or_default();
        format!("/attachments/{index}/{field}")
    };
    let at = match error {
        CompositionError::Empty => "/text".to_owned(),
        CompositionError::ReservedField(name) | CompositionError::Field { name, .. } => {
            pointer("/headers", name)
        }
        // Subject and addresses were checked before: what is left is the name of a file.
        CompositionError::Control(_) => {
            attachment("filename", &|a: &Attachment| a.filename.chars().any(char::is_control))
        }
        CompositionError::ContentType(text) => {
            attachment("content_type", &|a: &Attachment| a.content_type == *text)
        }
        CompositionError::ContentId(text) => attachment(
            "content_id",
            &|a: &Attachment| matches!(&a.disposition, Disposition::Inline { content_id } if content_id == text),
        ),
    };
    Problem::invalid_field(&at, "invalid", error.to_string())
}

/// RFC 6901: a name below a pointer.
fn pointer(above: &str, name: &str) -> String {
    format!("{above}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::variables::Values;
    use mail::message::compose::compose;
    use mail::{Random, Timestamp};
    use serde_json::json;

    #[test]
    fn every_field_that_composing_refuses_is_named_in_the_answer() {
        let body = json!({"from": "news@client.example", "to": "a@example.org", "subject": "s", "text": "x"});
        let message: SendMessage = serde_json::from_value(body).unwrap();
        let composition = message.composition(&Values::new(), None, &mut Vec::new()).unwrap();
        let now = Timestamp::from_millis(1_795_425_249_000);
        for name in RESERVED_FIELDS {
            let headers = vec![(name.to_owned(), "x".to_owned())];
            let composition = Composition { headers, ..composition.clone() };
            let domain = composition.from.mailbox.domain().clone();
            let refused = compose(&composition, &domain, now, &mut Random::from_number(1));
            assert_eq!(refused, Err(CompositionError::ReservedField(name.to_owned())));
        }
        let body = json!({"headers": {"from": "b@example.org"}});
        let message: SendMessage = serde_json::from_value(body).unwrap();
        let errors = message.field_errors();
        assert_eq!((errors.len(), errors[0].pointer.as_str()), (1, "/headers/from"));
        assert!(errors[0].detail.contains("Message-ID"));
    }

    #[test]
    fn a_field_that_steers_nothing_is_told_with_the_one_that_is_meant() {
        let body = json!({"headers": {"X-Posthouse-Stream": "marketing", "x-posthouse-steam": "marketing"}});
        let message: SendMessage = serde_json::from_value(body).unwrap();
        let errors = message.field_errors();
        assert_eq!((errors.len(), errors[0].pointer.as_str()), (1, "/headers/x-posthouse-steam"));
        assert!(errors[0].detail.ends_with("did you mean X-Posthouse-Stream"), "{}", errors[0].detail);
    }

    #[test]
    fn a_value_that_would_end_a_line_is_told_by_its_recipient() {
        let batch = json!({"subject": "Hi {{name}}", "text": "{{name}}, {{address}}",
            "headers": {"X-Order": "{{order}}"}, "recipients": [
                {"to": "a@example.org", "variables": {"name": "A", "order": "1", "address": "1\r\n2"}},
                {"to": "b@example.org", "variables": {"name": "B\r\nBcc: c", "order": "\n", "address": ""}}]});
        let message: SendMessage = serde_json::from_value(batch).unwrap();
        assert!(message.value_errors(0, &message.recipients[0]).is_empty());
        let errors = message.value_errors(1, &message.recipients[1]);
        let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/recipients/1/variables/name", "/recipients/1/variables/order"]);
    }
}
