//! From the body of `POST …/messages` to messages that can be offered at the door.
//!
//! Three forms: the parts of a message, a finished message (`raw`), and a batch that fills `{{name}}` for each
//! recipient. Which form a body has follows from its fields, and a field of another form is a mistake that is told.
//! Everything is checked for every recipient before the first message is offered: a batch whose last entry is wrong
//! sends nothing. Pure but for the randomness that composing is handed.

use crate::header_fields::composition_problem;
use crate::problem::{FieldError, Problem};
use crate::schema::{base64_of, mailbox_of};
use crate::send_body::{Address, AttachmentInput, BatchRecipient, SendMessage};
use crate::send_size;
use crate::variables::{Escape, Values, fill};
use bytes::Bytes;
use mail::message::compose::{Attachment, Composition, Disposition, NamedMailbox, compose};
use mail::message::header::{HeaderLimits, HeaderSection};
use mail::message::{Edit, has_clear_line_ends, mailbox_list, normalize_line_endings};
use mail::{BodyKind, Domain, Envelope, ForwardPath, Mailbox, Random, Recipient, ReversePath, Timestamp};
use mail::{Refusal, RefusalKind};
use registry::Steering;
use std::collections::BTreeMap;

/// One message, ready to be offered.
#[derive(Debug)]
pub struct Draft {
    pub envelope: Envelope,
    pub raw: Bytes,
    pub steering: Steering,
}

/// What composing needs from outside.
pub struct Press<'a> {
    pub now: Timestamp,
    pub random: &'a mut Random,
}

/// Of one call that are told: whoever mends these sees the others.
const ERRORS_MAX: usize = 100;

impl SendMessage {
    /// Every message of the body, or every mistake in it.
    pub fn into_drafts(self, press: &mut Press<'_>) -> Result<Vec<Draft>, Problem> {
        send_size::check(&self)?;
        if self.raw.is_some() {
            return self.into_raw_draft().map(|draft| vec![draft]);
        }
        if self.recipients.is_empty() {
            return self.into_parts_draft(press).map(|draft| vec![draft]);
        }
        self.into_batch_drafts(press)
    }

    fn into_parts_draft(self, press: &mut Press<'_>) -> Result<Draft, Problem> {
        let mut errors = self.missing_parts();
        if self.to.is_empty() && self.cc.is_empty() && self.bcc.is_empty() {
            errors.push(FieldError::new("/to", "missing", "a message needs a recipient in to, cc or bcc"));
        }
        errors.extend(self.field_errors());
        let composition = self.composition(&Values::new(), None, &mut errors);
        let recipients = self.envelope_recipients();
        let steering = self.steering(&BTreeMap::new());
        match composition {
            Some(composition) if errors.is_empty() => draft(&composition, recipients, steering, press),
            _ => Err(Problem::invalid_fields(errors)),
        }
    }

    fn into_batch_drafts(self, press: &mut Press<'_>) -> Result<Vec<Draft>, Problem> {
        let mut errors = self.missing_parts();
        for (name, list) in [("to", &self.to), ("cc", &self.cc), ("bcc", &self.bcc)] {
            if !list.is_empty() {
                errors.push(FieldError::new(
                    format!("/{name}"),
                    "not_allowed",
                    "a batch has its recipients in recipients",
                ));
            }
        }
        errors.extend(self.field_errors());
        let mut compositions = Vec::with_capacity(self.recipients.len());
        for (index, recipient) in self.recipients.iter().enumerate() {
            errors.extend(self.value_errors(index, recipient));
            compositions.push(self.composition(&recipient.variables, Some((index, recipient)), &mut errors));
        }
        if !errors.is_empty() {
            return Err(Problem::invalid_fields(errors));
        }
        let drafts = compositions.into_iter().flatten().zip(&self.recipients);
        drafts
            .map(|(composition, recipient)| {
                let to = composition.to.iter().map(|named| named.mailbox.clone()).collect();
                draft(&composition, to, self.steering(&recipient.metadata), press)
            })
            .collect()
    }

    fn into_raw_draft(mut self) -> Result<Draft, Problem> {
        let mut errors = Vec::new();
        let parts = [
            ("subject", self.subject.is_some()),
            ("text", self.text.is_some()),
            ("html", self.html.is_some()),
            ("reply_to", !self.reply_to.is_empty()),
            ("headers", !self.headers.is_empty()),
            ("attachments", !self.attachments.is_empty()),
            ("recipients", !self.recipients.is_empty()),
        ];
        for (name, _) in parts.iter().filter(|(_, given)| *given) {
            errors.push(FieldError::new(
                format!("/{name}"),
                "not_allowed",
                "raw is a whole message; leave this out",
            ));
        }
        if !errors.is_empty() {
            return Err(Problem::invalid_fields(errors));
        }
        let text = self.raw.take().unwrap_or_default();
        let raw = base64_of(&text).ok_or_else(|| Problem::invalid_field("/raw", "invalid", "not base64"))?;
        let from = self.from.as_deref().and_then(|text| mailbox_of(text).ok()).map(|(_, mailbox)| mailbox);
        let steering = self.steering(&BTreeMap::new());
        raw_draft(&raw, from, self.envelope_recipients(), steering)
    }

    /// What a composed message cannot do without.
    fn missing_parts(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.from.is_none() {
            errors.push(FieldError::new("/from", "missing", "this field is required"));
        }
        if self.subject.is_none() {
            errors.push(FieldError::new("/subject", "missing", "this field is required"));
        }
        if self.text.is_none() && self.html.is_none() {
            errors.push(FieldError::new("/text", "missing", "a message needs text or html"));
        }
        errors
    }

    pub(crate) fn composition(
        &self,
        values: &Values,
        batch: Option<(usize, &BatchRecipient)>,
        errors: &mut Vec<FieldError>,
    ) -> Option<Composition> {
        let mut fill_in = |text: &str, escape: Escape| match batch {
            None => text.to_owned(),
            Some((index, _)) => fill(text, values, escape).unwrap_or_else(|missing| {
                for name in missing.0 {
                    if errors.len() >= ERRORS_MAX {
                        break;
                    }
                    let pointer = format!("/recipients/{index}/variables/{name}");
                    let error = FieldError::new(
                        pointer,
                        "missing",
                        "the message uses this variable and it has no value",
                    );
                    // One variable in text, html and subject is one mistake.
                    if !errors.contains(&error) {
                        errors.push(error);
                    }
                }
                String::new()
            }),
        };
        let subject = fill_in(self.subject.as_deref().unwrap_or_default(), Escape::Nothing);
        let text = self.text.as_deref().map(|text| fill_in(text, Escape::Nothing));
        let html = self.html.as_deref().map(|html| fill_in(html, Escape::Html));
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), fill_in(value, Escape::Nothing)))
            .collect();
        let to = match batch {
            None => named(self.to.as_slice()),
            Some((_, recipient)) => named(std::slice::from_ref(&Address(recipient.to.clone()))),
        };
        Some(Composition {
            from: named(std::slice::from_ref(&Address(self.from.clone()?))).pop()?,
            to,
            cc: named(self.cc.as_slice()),
            reply_to: named(self.reply_to.as_slice()),
            subject,
            text,
            html,
            headers,
            attachments: self.attachments.iter().map(attachment).collect(),
        })
    }

    /// To, Cc and Bcc, each mailbox once.
    fn envelope_recipients(&self) -> Vec<Mailbox> {
        let mut seen = std::collections::HashSet::new();
        let all = [&self.to, &self.cc, &self.bcc].into_iter().flat_map(|list| named(list.as_slice()));
        all.map(|named| named.mailbox).filter(|mailbox| seen.insert(mailbox.clone())).collect()
    }

    fn steering(&self, metadata: &BTreeMap<String, String>) -> Steering {
        let mut all = self.metadata.clone();
        all.extend(metadata.iter().map(|(key, value)| (key.clone(), value.clone())));
        Steering {
            stream: self.stream.clone(),
            pool: self.pool.clone(),
            tags: self.tags.iter().map(|tag| tag.0.clone()).collect(),
            metadata: all.into_iter().collect(),
            send_at: self.send_at,
        }
    }
}

fn draft(
    composition: &Composition,
    recipients: Vec<Mailbox>,
    steering: Steering,
    press: &mut Press<'_>,
) -> Result<Draft, Problem> {
    let domain: &Domain = composition.from.mailbox.domain();
    let raw = compose(composition, domain, press.now, press.random)
        .map_err(|error| composition_problem(&error, composition))?;
    let envelope = envelope(ReversePath::Mailbox(composition.from.mailbox.clone()), recipients, &raw);
    Ok(Draft { envelope, raw: raw.into(), steering })
}

/// A finished message. Without recipients of its own they are those of To, Cc and Bcc; Bcc never leaves the house.
pub fn raw_draft(
    raw: &[u8],
    from: Option<Mailbox>,
    recipients: Vec<Mailbox>,
    steering: Steering,
) -> Result<Draft, Problem> {
    if !has_clear_line_ends(raw) {
        let text = "a line of the message ends with CR or LF alone; end all with CR LF, or all with LF";
        return Err(Refusal::new(RefusalKind::MessageMalformed, text).into());
    }
    let mut raw = normalize_line_endings(raw);
    // A last line without its end could not leave by DATA as it is; the signature is made of what leaves.
    if !raw.ends_with(b"\r\n") {
        raw.to_mut().extend_from_slice(b"\r\n");
    }
    let section = HeaderSection::parse(&raw, &HeaderLimits::default())
        .map_err(|fault| Problem::from(fault.to_refusal()))?;
    let from = match from {
        Some(from) => from,
        None => match section
            .from_addresses()
            .map_err(|fault| Problem::from(fault.to_refusal()))?
            .into_iter()
            .next()
        {
            Some(from) => from,
            None => return Err(Problem::invalid_field("/from", "missing", "the message has no From")),
        },
    };
    // The door refuses it too; but then it would be told as one of the fields beside `raw`.
    if let Some(refusal) = section.fields().iter().find_map(|field| ingress::unknown_field(field.name())) {
        return Err(refusal.into());
    }
    let recipients = if recipients.is_empty() { listed_recipients(&section)? } else { recipients };
    if recipients.is_empty() {
        return Err(Problem::invalid_field(
            "/to",
            "missing",
            "the message has no recipient in to, cc or bcc",
        ));
    }
    let mut edit = Edit::new();
    edit.remove("bcc");
    let raw = edit.apply(&section);
    let envelope = envelope(ReversePath::Mailbox(from), recipients, &raw);
    Ok(Draft { envelope, raw: raw.into(), steering })
}

fn listed_recipients(section: &HeaderSection<'_>) -> Result<Vec<Mailbox>, Problem> {
    let mut recipients: Vec<Mailbox> = Vec::new();
    for name in ["to", "cc", "bcc"] {
        for field in section.all(name).filter(|field| !names_nobody(&field.unfolded())) {
            let list = mailbox_list::parse(&field.unfolded()).map_err(|error| {
                let detail =
                    format!("the field {name} cannot be read ({error}); give the recipients beside raw");
                Problem::invalid_field("/raw", "invalid", detail)
            })?;
            recipients.extend(list);
        }
    }
    let mut seen = std::collections::HashSet::new();
    recipients.retain(|mailbox| seen.insert(mailbox.clone()));
    Ok(recipients)
}

/// Empty, or a group without members, which mail programs write when all recipients are in Bcc (RFC 5322 §3.4).
fn names_nobody(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let group = value.strip_suffix(b";").and_then(|group| group.trim_ascii_end().strip_suffix(b":"));
    let is_name =
        |name: &[u8]| name.iter().all(|octet| octet.is_ascii_alphanumeric() || b" -_.".contains(octet));
    value.is_empty() || group.is_some_and(is_name)
}

fn envelope(reverse_path: ReversePath, recipients: Vec<Mailbox>, raw: &[u8]) -> Envelope {
    let international = recipients.iter().any(|mailbox| !mailbox.is_ascii()) || !reverse_path.is_ascii();
    let recipients = recipients.into_iter().map(|mailbox| Recipient::new(ForwardPath(mailbox))).collect();
    let mut envelope = Envelope::new(reverse_path, recipients);
    envelope.smtputf8 = international;
    if !raw.is_ascii() {
        envelope.body = BodyKind::EightBitMime;
    }
    envelope
}

/// The schema has checked each of them.
fn named(list: &[Address]) -> Vec<NamedMailbox> {
    let parsed = list.iter().filter_map(|address| mailbox_of(&address.0).ok());
    parsed.map(|(name, mailbox)| NamedMailbox { name, mailbox }).collect()
}

fn attachment(input: &AttachmentInput) -> Attachment {
    let content_type = input.content_type.clone().unwrap_or_else(|| "application/octet-stream".to_owned());
    let disposition = match &input.content_id {
        Some(content_id) => Disposition::Inline { content_id: content_id.clone() },
        None => Disposition::Attachment,
    };
    // The schema has checked the base64.
    let content = base64_of(&input.content).unwrap_or_default();
    Attachment { filename: input.filename.clone(), content_type, disposition, content }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn drafts(body: Value) -> Result<Vec<Draft>, Problem> {
        let message: SendMessage = serde_json::from_value(body).unwrap();
        let now = Timestamp::from_millis(1_795_425_249_000);
        message.into_drafts(&mut Press { now, random: &mut Random::from_number(1) })
    }

    fn mistakes(body: Value) -> Value {
        let (parts, body) =
            axum::response::IntoResponse::into_response(drafts(body).unwrap_err()).into_parts();
        assert_eq!(parts.status, 422);
        let bytes =
            futures_util::FutureExt::now_or_never(axum::body::to_bytes(body, 10_000)).unwrap().unwrap();
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        document["errors"].as_array().unwrap().iter().map(|error| error["pointer"].clone()).collect()
    }

    #[test]
    fn every_missing_part_is_told() {
        assert_eq!(mistakes(json!({})), json!(["/from", "/subject", "/text", "/to"]));
        let batch = json!({"recipients": [{"to": "a@example.org"}], "to": ["b@example.org"]});
        assert_eq!(mistakes(batch), json!(["/from", "/subject", "/text", "/to"]));
        let raw = json!({"raw": "", "subject": "x", "html": "y"});
        assert_eq!(mistakes(raw), json!(["/subject", "/html"]));
    }

    #[test]
    fn a_variable_without_a_value_stops_the_whole_batch() {
        let batch = json!({"from": "news@client.example", "subject": "Hi {{name}}", "text": "{{name}}, {{code}}",
            "recipients": [{"to": "a@example.org", "variables": {"name": "A", "code": "1"}}, {"to": "b@example.org"}]});
        assert_eq!(mistakes(batch), json!(["/recipients/1/variables/name", "/recipients/1/variables/code"]));
    }

    #[test]
    fn what_the_header_section_cannot_hold_is_told_by_its_field() {
        let body = json!({"from": "news@client.example", "to": "a@example.org", "subject": "a\r\nBcc: b@example.org",
            "text": "x", "headers": {"X-A": "1\nBcc: c", "X B": "1", "X-A/B~": "\u{7}", "X-Fine": "1"}});
        assert_eq!(mistakes(body), json!(["/subject", "/headers/X B", "/headers/X-A", "/headers/X-A~1B~0"]));
        let file = |field: &str, value: &str| {
            let mut wrong = json!({"filename": "b", "content": "", "content_id": "c"});
            wrong[field] = json!(value);
            json!({"from": "news@client.example", "to": "a@example.org", "subject": "s", "text": "x",
                "attachments": [{"filename": "a", "content": ""}, wrong]})
        };
        for (field, value) in [("filename", "a\nb"), ("content_type", "image"), ("content_id", "a b")] {
            assert_eq!(mistakes(file(field, value)), json!([format!("/attachments/1/{field}")]));
        }
    }

    #[test]
    fn blind_recipients_are_in_the_envelope_only_and_nobody_twice() {
        let draft = drafts(
            json!({"from": "News <news@client.example>", "to": ["A <a@example.org>", "b@example.org"],
            "cc": ["a@example.org"], "bcc": ["c@example.org"], "subject": "Hi", "text": "x"}),
        );
        let draft = draft.unwrap().pop().unwrap();
        let to: Vec<_> = draft.envelope.recipients.iter().map(|r| r.forward_path.to_string()).collect();
        assert_eq!(to, ["a@example.org", "b@example.org", "c@example.org"]);
        assert_eq!(draft.envelope.reverse_path.to_string(), "news@client.example");
        assert!(!String::from_utf8_lossy(&draft.raw).contains("c@example.org"));
    }

    #[test]
    fn each_recipient_of_a_batch_gets_its_own_message() {
        let batch = json!({"from": "news@client.example", "subject": "Hi {{name}}", "html": "<p>{{name}}</p>",
            "metadata": {"order": "1"}, "recipients": [
                {"to": "a@example.org", "variables": {"name": "<A>"}, "metadata": {"order": "2"}},
                {"to": "b@example.org", "variables": {"name": "B"}}]});
        let drafts = drafts(batch).unwrap();
        let text = String::from_utf8_lossy(&drafts[0].raw).into_owned();
        assert!(text.contains("Subject: Hi <A>\r\n") && text.contains("&lt;A&gt;"), "{text}");
        assert!(!text.contains("b@example.org"));
        assert_eq!(drafts[0].steering.metadata, [("order".to_owned(), "2".to_owned())]);
        assert_eq!(drafts[1].envelope.recipients.len(), 1);
    }

    #[test]
    fn a_finished_message_loses_its_bcc_and_keeps_the_rest() {
        let raw = b"From: news@client.example\nTo: a@example.org\nBcc: b@example.org\nSubject: x\n\nbody\n";
        let draft = raw_draft(raw, None, Vec::new(), Steering::default()).unwrap();
        assert_eq!(draft.envelope.recipients.len(), 2);
        assert_eq!(
            &draft.raw[..],
            b"From: news@client.example\r\nTo: a@example.org\r\nSubject: x\r\n\r\nbody\r\n"
        );
        let nobody = raw_draft(b"From: news@client.example\n\nbody\n", None, Vec::new(), Steering::default());
        assert_eq!(nobody.unwrap_err().code(), "invalid_fields");
    }

    #[test]
    fn the_last_line_of_a_finished_message_gets_its_end() {
        let header = "From: news@client.example\r\nTo: a@example.org\r\n";
        for (raw, wanted) in [
            (format!("{header}\r\nbody"), format!("{header}\r\nbody\r\n")),
            (format!("{header}\r\nbody\r\n").replace('\r', ""), format!("{header}\r\nbody\r\n")),
            (format!("{header}\r\n"), format!("{header}\r\n")),
            (header.trim_end().to_owned(), format!("{header}\r\n")),
        ] {
            let draft = raw_draft(raw.as_bytes(), None, Vec::new(), Steering::default()).unwrap();
            assert_eq!(String::from_utf8_lossy(&draft.raw), wanted, "{raw:?}");
        }
    }

    #[test]
    fn a_finished_message_with_a_field_that_steers_nothing_is_refused() {
        let raw = b"X-Posthouse-Steam: marketing\nFrom: news@client.example\nTo: a@example.org\n\nbody\n";
        let problem = raw_draft(raw, None, Vec::new(), Steering::default()).unwrap_err();
        assert_eq!(problem.code(), "bad_steering");
        assert!(problem.detail().ends_with("did you mean X-Posthouse-Stream"), "{}", problem.detail());
    }
}
