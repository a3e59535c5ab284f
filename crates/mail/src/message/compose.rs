//! A message from its parts: what `POST …/messages` describes becomes CRLF MIME (RFC 5322, RFC 2045, RFC 2183).
//!
//! Encoding, folding and MIME structure come from `mail-builder`; the choice of structure and every check are ours.
//! Its generated Message-ID, Date and boundaries read the clock and the host name, so they are always given here.
//! Refuses fields that we or the structure own and values that would end a line.

use super::edit::{FieldError, check_field};
use crate::{Domain, Mailbox, Random, Timestamp};
use base64::Engine;
use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::date::Date;
use mail_builder::headers::message_id::MessageId;
use mail_builder::headers::raw::Raw;
use mail_builder::headers::text::Text;
use mail_builder::mime::{BodyPart, MimePart};

/// A mailbox with the name shown for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedMailbox {
    /// What people see; encoded where it is not ASCII (RFC 2047).
    pub name: Option<String>,
    /// The address itself.
    pub mailbox: Mailbox,
}

/// How an attachment is meant to be shown (RFC 2183).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// A file beside the text.
    Attachment,
    /// Referred to by the HTML part as `cid:<content id>`.
    Inline {
        /// Without angle brackets.
        content_id: String,
    },
}

/// A part that is not the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// What the receiver's program calls it; no path.
    pub filename: String,
    /// `type/subtype`, without parameters.
    pub content_type: String,
    /// Beside the text, or in it.
    pub disposition: Disposition,
    /// The octets themselves; the encoding is ours.
    pub content: Vec<u8>,
}

/// Everything a structured message consists of. There is no Bcc: recipients who are not shown belong to the envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composition {
    /// The From field: one author.
    pub from: NamedMailbox,
    /// The To field; left out if empty.
    pub to: Vec<NamedMailbox>,
    /// The Cc field; left out if empty. There is no Bcc: an envelope says who gets it.
    pub cc: Vec<NamedMailbox>,
    /// The Reply-To field; left out if empty.
    pub reply_to: Vec<NamedMailbox>,
    /// May be empty; encoded where it is not ASCII.
    pub subject: String,
    /// `text/plain` in UTF-8, with any line ends.
    pub text: Option<String>,
    /// `text/html` in UTF-8; with a text it is the better alternative (RFC 2046 §5.1.4).
    pub html: Option<String>,
    /// Further fields in order; values are text, encoded where they are not ASCII.
    pub headers: Vec<(String, String)>,
    /// In this order behind the text.
    pub attachments: Vec<Attachment>,
}

/// Why a composition is refused. The sentences are public.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum CompositionError {
    #[error("a message needs a text part, an HTML part or an attachment")]
    Empty,
    #[error("the field {0} is set by its own member or by the service")]
    ReservedField(String),
    #[error("the field {name} cannot be used: {error}")]
    Field { name: String, error: FieldError },
    #[error("{0} cannot have line ends or control characters")]
    Control(&'static str),
    #[error(
        "{0} is not a content type such as image/png, or one of a part that cannot be encoded (message, multipart)"
    )]
    ContentType(String),
    #[error("{0} is not a content id: use letters, digits and . _ - @")]
    ContentId(String),
}

/// Fields a composition may not bring along: they are members of it, or the service writes them.
const RESERVED_FIELDS: [&str; 15] = [
    "from",
    "sender",
    "to",
    "cc",
    "bcc",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "received",
    "return-path",
    "dkim-signature",
];

/// The raw message with Date and a Message-ID below `id_domain`.
///
/// # Errors
/// The first thing that cannot be put into a message: `Empty` without any part, `Control` in the subject, a
/// shown name or a file name, `ReservedField` or `Field` for a further field, `ContentType` (also for
/// `multipart/*` and `message/*`) or `ContentId` of an attachment.
pub fn compose(
    composition: &Composition,
    id_domain: &Domain,
    now: Timestamp,
    random: &mut Random,
) -> Result<Vec<u8>, CompositionError> {
    check(composition)?;
    let mut builder = MessageBuilder::new()
        .header("From", address(&composition.from))
        .header("Subject", Text::new(composition.subject.as_str()))
        .header("Date", Date::new(now.as_millis().div_euclid(1000)))
        .header("Message-ID", MessageId::new(format!("{}@{id_domain}", token(random))))
        .header("MIME-Version", Raw::new("1.0"));
    for (name, list) in
        [("To", &composition.to), ("Cc", &composition.cc), ("Reply-To", &composition.reply_to)]
    {
        if !list.is_empty() {
            builder = builder.header(name, Address::new_list(list.iter().map(address).collect()));
        }
    }
    for (name, value) in &composition.headers {
        builder = if value.is_ascii() {
            builder.header(name.as_str(), Raw::new(value.as_str()))
        } else {
            builder.header(name.as_str(), Text::new(value.as_str()))
        };
    }
    let mut raw = Vec::new();
    builder.body(body(composition, random)).serialize(&mut raw);
    if !raw.ends_with(b"\r\n") {
        raw.extend_from_slice(b"\r\n");
    }
    Ok(raw)
}

/// mixed( alternative( text, related( html, inline… ) ), attachment… ), with every level left out that has one part.
fn body<'x>(composition: &'x Composition, random: &mut Random) -> MimePart<'x> {
    let (inline, attached): (Vec<_>, Vec<_>) =
        composition.attachments.iter().partition(|a| matches!(a.disposition, Disposition::Inline { .. }));
    let text = composition.text.as_deref().map(|text| MimePart::new("text/plain", text));
    let html = composition.html.as_deref().map(|html| {
        let parts = std::iter::once(MimePart::new("text/html", html)).chain(inline.iter().map(|a| part(a)));
        multipart("related", parts.collect(), random)
    });
    // Without HTML nothing refers to an inline part; it is then shown like an attachment.
    let beside = if composition.html.is_some() { Vec::new() } else { inline };
    let readable: Vec<_> = text.into_iter().chain(html).collect();
    let mut parts = Vec::new();
    if !readable.is_empty() {
        parts.push(multipart("alternative", readable, random));
    }
    parts.extend(beside.into_iter().chain(attached).map(part));
    multipart("mixed", parts, random)
}

/// The only part itself, or a multipart of all.
fn multipart<'x>(subtype: &str, mut parts: Vec<MimePart<'x>>, random: &mut Random) -> MimePart<'x> {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    // "=_" cannot occur in quoted-printable or base64 (RFC 2045 §6.7).
    let boundary = format!("=_{}", token(random));
    MimePart::new(ContentType::new(format!("multipart/{subtype}")).attribute("boundary", boundary), parts)
}

fn part(attachment: &Attachment) -> MimePart<'_> {
    // It was checked.
    let (essence, parameters) = content_type(&attachment.content_type).unwrap_or_default();
    let content_type = ContentType::new(essence).attribute("name", attachment.filename.as_str());
    let content_type =
        parameters.into_iter().fold(content_type, |made, (name, value)| made.attribute(name, value));
    let disposition = match attachment.disposition {
        Disposition::Attachment => "attachment",
        Disposition::Inline { .. } => "inline",
    };
    // Encoded here: left to itself, the builder writes text attachments as they are and changes their line ends.
    let encoded = fold_base64(&attachment.content);
    let part = MimePart::new(content_type, BodyPart::Binary(encoded.into_bytes().into()))
        .header(
            "Content-Disposition",
            ContentType::new(disposition).attribute("filename", attachment.filename.as_str()),
        )
        .transfer_encoding("base64");
    match &attachment.disposition {
        Disposition::Attachment => part,
        Disposition::Inline { content_id } => part.cid(content_id.as_str()),
    }
}

/// Base 64 in lines of 76 characters (RFC 2045 §6.8).
fn fold_base64(content: &[u8]) -> String {
    let mut text = String::with_capacity(content.len().div_ceil(57) * 78);
    for chunk in content.chunks(57) {
        base64::engine::general_purpose::STANDARD.encode_string(chunk, &mut text);
        text.push_str("\r\n");
    }
    text
}

fn address(named: &NamedMailbox) -> Address<'_> {
    Address::new_address(named.name.as_deref(), named.mailbox.to_string())
}

fn token(random: &mut Random) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random.bytes::<18>())
}

fn check(composition: &Composition) -> Result<(), CompositionError> {
    if composition.text.is_none() && composition.html.is_none() && composition.attachments.is_empty() {
        return Err(CompositionError::Empty);
    }
    no_controls("the subject", &composition.subject)?;
    let lists = [&composition.to, &composition.cc, &composition.reply_to];
    for named in lists.into_iter().flatten().chain([&composition.from]) {
        no_controls("a name", named.name.as_deref().unwrap_or_default())?;
    }
    for (name, value) in &composition.headers {
        if RESERVED_FIELDS.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            return Err(CompositionError::ReservedField(name.clone()));
        }
        check_field(name, value).map_err(|error| CompositionError::Field { name: name.clone(), error })?;
    }
    composition.attachments.iter().try_for_each(check_attachment)
}

/// `type/subtype` in lower case and the parameters behind it (RFC 2045 §5.1), but for `name`, which is the file's. None for what
/// is no type, or one whose parts must not be encoded in base 64 (§6.4).
fn content_type(text: &str) -> Option<(String, Vec<(String, String)>)> {
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-_".contains(&b))
    };
    let mut parts = text.split(';').map(|part| part.trim_matches([' ', '\t']));
    let essence = parts.next()?.to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/')?;
    if !is_token(kind) || !is_token(subtype) || matches!(kind, "multipart" | "message") {
        return None;
    }
    let mut parameters: Vec<(String, String)> = Vec::new();
    for part in parts {
        let (name, value) = part.split_once('=')?;
        let name = name.to_ascii_lowercase();
        let value = value.strip_prefix('"').map_or(Some(value), |quoted| quoted.strip_suffix('"'))?;
        let is_plain = value.bytes().all(|b| (b' '..=b'~').contains(&b) && !b"\"\\".contains(&b));
        let is_known = name == "name" || parameters.iter().any(|(known, _)| *known == name);
        if !is_token(&name) || value.is_empty() || !is_plain || is_known {
            return None;
        }
        parameters.push((name, value.to_owned()));
    }
    Some((essence, parameters))
}

fn check_attachment(attachment: &Attachment) -> Result<(), CompositionError> {
    no_controls("a file name", &attachment.filename)?;
    if content_type(&attachment.content_type).is_none() {
        return Err(CompositionError::ContentType(attachment.content_type.clone()));
    }
    match &attachment.disposition {
        Disposition::Attachment => Ok(()),
        Disposition::Inline { content_id } => {
            let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-@".contains(&b);
            let valid = !content_id.is_empty() && content_id.len() <= 200 && content_id.bytes().all(legal);
            if valid { Ok(()) } else { Err(CompositionError::ContentId(content_id.clone())) }
        }
    }
}

fn no_controls(what: &'static str, text: &str) -> Result<(), CompositionError> {
    if text.chars().any(char::is_control) { Err(CompositionError::Control(what)) } else { Ok(()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::message::{HeaderLimits, HeaderSection, normalize_line_endings};

    fn named(name: Option<&str>, mailbox: &str) -> NamedMailbox {
        NamedMailbox { name: name.map(str::to_string), mailbox: Mailbox::parse(mailbox).unwrap() }
    }

    fn simple() -> Composition {
        Composition {
            from: named(Some("Anna, \"A\""), "a@news.client.example"),
            to: vec![named(None, "b@example.org")],
            cc: Vec::new(),
            reply_to: Vec::new(),
            subject: "Hello".to_string(),
            text: Some("Hi\n".to_string()),
            html: None,
            headers: Vec::new(),
            attachments: Vec::new(),
        }
    }

    fn attachment(disposition: Disposition) -> Attachment {
        Attachment {
            filename: "größe.png".to_string(),
            content_type: "image/png".to_string(),
            disposition,
            content: vec![0, 10, 13, 255],
        }
    }

    fn raw(composition: &Composition) -> Result<String, CompositionError> {
        let domain = Domain::parse("news.client.example").unwrap();
        let now = Timestamp::from_millis(1_795_425_249_120);
        compose(composition, &domain, now, &mut Random::from_number(4))
            .map(|raw| String::from_utf8(raw).unwrap())
    }

    #[test]
    fn nothing_can_be_smuggled_into_the_header_section() {
        let mut list: Vec<Composition> = Vec::new();
        for (name, value) in
            [("X-A", "1\r\nBcc: x"), ("X-A", "1\n2"), ("X A", "1"), ("From", "x@y.example"), ("bcc", "z")]
        {
            list.push(Composition { headers: vec![(name.to_string(), value.to_string())], ..simple() });
        }
        list.push(Composition { subject: "a\r\nBcc: x".to_string(), ..simple() });
        list.push(Composition { to: vec![named(Some("x\ny"), "b@example.org")], ..simple() });
        list.push(Composition { text: None, ..simple() });
        for content_type in [
            "image",
            "image/png; x",
            "image/png; x=",
            "image/png; x=y; X=z",
            "image/png; name=other.png",
            "text/plain; x=\"y",
            "text/plain; x=a\r\nb",
            "text/plain; x=é",
            "multipart/mixed",
            "message/rfc822",
            "a/b\r\n",
            "",
        ] {
            let attachment =
                Attachment { content_type: content_type.to_string(), ..attachment(Disposition::Attachment) };
            list.push(Composition { attachments: vec![attachment], ..simple() });
        }
        for content_id in ["", "a b", "a>\r\n"] {
            let disposition = Disposition::Inline { content_id: content_id.to_string() };
            list.push(Composition { attachments: vec![attachment(disposition)], ..simple() });
        }
        let filename = Attachment { filename: "a\r\nb".to_string(), ..attachment(Disposition::Attachment) };
        list.push(Composition { attachments: vec![filename], ..simple() });
        for composition in list {
            assert!(raw(&composition).is_err(), "{composition:?}");
        }
    }

    #[test]
    fn a_simple_message_is_small_and_complete() {
        let raw = raw(&simple()).unwrap();
        let section = HeaderSection::parse(raw.as_bytes(), &HeaderLimits::default()).unwrap();
        assert_eq!(section.from_addresses().unwrap()[0].to_string(), "a@news.client.example");
        assert_eq!(section.first("date").unwrap().value(), "Mon, 23 Nov 2026 09:14:09 +0000");
        assert!(section.message_id().unwrap().ends_with("@news.client.example>"));
        assert_eq!(section.first("content-type").unwrap().value(), "text/plain; charset=\"utf-8\"");
        assert_eq!(section.body(), b"Hi\r\n");
        assert_eq!(section.repeated_field(), None);
    }

    #[test]
    fn every_part_has_its_place_and_every_line_its_end() {
        let composition = Composition {
            subject: "Grüße ".repeat(40),
            text: Some(format!("long {}\nline\n", "x".repeat(2000))),
            html: Some("<p>Grüße <img src=\"cid:logo@x\"></p>".to_string()),
            headers: vec![
                ("X-Order".to_string(), "ä7".to_string()),
                ("List-Unsubscribe".to_string(), "<https://x.example/u>".to_string()),
            ],
            attachments: vec![
                attachment(Disposition::Inline { content_id: "logo@x".to_string() }),
                attachment(Disposition::Attachment),
            ],
            ..simple()
        };
        let raw = raw(&composition).unwrap();
        assert_eq!(normalize_line_endings(raw.as_bytes()), raw.as_bytes());
        assert!(raw.split("\r\n").all(|line| line.len() <= 998 && line.is_ascii()));
        let section = HeaderSection::parse(raw.as_bytes(), &HeaderLimits::default()).unwrap();
        assert_eq!(section.subject().unwrap(), "Grüße ".repeat(40));
        assert_eq!(section.first("list-unsubscribe").unwrap().value(), "<https://x.example/u>");
        let order = [
            "multipart/mixed",
            "multipart/alternative",
            "text/plain",
            "multipart/related",
            "text/html",
            "<logo@x>",
            "attachment",
        ];
        let places: Vec<_> = order.iter().map(|text| raw.find(text).unwrap()).collect();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(raw.matches("AAoN/w==\r\n").count(), 2);
    }

    #[test]
    fn a_content_type_keeps_its_parameters() {
        let content_type = "Text/Calendar; method=REQUEST; charset=\"UTF-8\"".to_owned();
        let attachment = Attachment { content_type, ..attachment(Disposition::Attachment) };
        let raw = raw(&Composition { attachments: vec![attachment], ..simple() }).unwrap();
        let text = raw.replace("\r\n\t", " ").replace("\r\n ", " ");
        let line = text.lines().find(|line| line.contains("text/calendar")).unwrap();
        for part in ["method=\"REQUEST\"", "charset=\"UTF-8\""] {
            assert!(line.contains(part), "{line}");
        }
    }
}
