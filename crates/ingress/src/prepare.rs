//! From an admitted message to what is stored: trace, ids, signatures, and a reverse-path that leads back to us.
//!
//! Runs on a signing thread, as a straight line without waiting. It removes what is only for us (steering, Bcc) or
//! only ours to say (Return-Path, Feedback-ID, complaint addresses), adds what is missing, signs for the author's
//! domain and for the pool's platform domain, and makes one reverse-path per recipient, because one transaction on
//! the way out has one recipient. The body is not touched: its octets, and with them signatures that the client made
//! itself, stay as they came.
//!
//! What may surprise: a domain without an active key sends unsigned; admission does not refuse it, verification of
//! the domain watches it.

use crate::config::HeaderConfig;
use crate::error::{Denial, Fault};
use crate::steering::{self, Dialect};
use crate::submission::Offer;
use crate::trace;
use bytes::Bytes;
use mail::dkim::{SigningKey, SigningRequest, body_hash, sign};
use mail::message::edit::FieldError;
use mail::message::{Edit, HeaderLimits, HeaderSection};
use mail::token::{TokenKey, TokenSubject};
use mail::{BodyKind, Domain, Mailbox, MessageId, ReversePath, Timestamp};
use registry::Admitted;
use spool::RecipientRecord;

/// What may be stored now.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub record: spool::Accepted,
    pub raw: Bytes,
}

/// Everything that preparation needs besides the message.
#[derive(Debug)]
pub(crate) struct Workshop<'a> {
    pub hostname: &'a Domain,
    pub headers: &'a HeaderConfig,
    pub header_limits: &'a HeaderLimits,
    pub token_key: &'a TokenKey,
    pub id: MessageId,
    pub now: Timestamp,
}

/// The message as it was admitted.
#[derive(Debug)]
pub(crate) struct Parcel<'a> {
    pub admitted: &'a Admitted,
    pub offer: &'a Offer,
    pub section: &'a HeaderSection<'a>,
    pub from: &'a Mailbox,
    pub dialect: Dialect,
    /// From a header field; wins over MAIL's ENVID.
    pub envelope_id: Option<String>,
}

/// Removed always: ours to say, or for nobody's eyes.
const REMOVED: [&str; 6] =
    ["Bcc", "Resent-Bcc", "Return-Path", "Feedback-ID", "CFBL-Address", "CFBL-Feedback-ID"];

pub(crate) fn prepare(parcel: &Parcel<'_>, workshop: &Workshop<'_>) -> Result<Prepared, Denial> {
    let header =
        edit(parcel, workshop).map_err(|source| Fault::Field { source })?.apply_header(parcel.section);
    let raw = seal(parcel, workshop, &header)?;
    Ok(Prepared { record: record(parcel, workshop, &header, &raw)?, raw })
}

/// The header section without what must go and with what must come, not signed yet.
fn edit(parcel: &Parcel<'_>, workshop: &Workshop<'_>) -> Result<Edit, FieldError> {
    let Parcel { admitted, section, offer, .. } = parcel;
    let Workshop { hostname, headers, token_key, id, now, .. } = workshop;
    let mut edit = Edit::new();
    for name in REMOVED.iter().chain(steering::removed_fields(parcel.dialect)) {
        edit.remove(name);
    }
    for field in section.all("dkim-signature").filter(|field| is_ours(&field.value(), admitted)) {
        // Somebody else's signature in a name that is ours to sign for would be worth less than none. Those in other
        // names are none of our business.
        edit.remove_field(field);
    }
    let recipients = offer.envelope.recipients.len();
    if section.first("list-unsubscribe").is_none()
        && let Some(url) = trace::unsubscribe_url(*id, admitted, recipients, token_key, headers)
    {
        // Without its field it meant nothing, beside ours it would be one too many (RFC 8058 §3.1).
        edit.remove("List-Unsubscribe-Post");
        edit.prepend("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")?;
        edit.prepend("List-Unsubscribe", &format!("<{url}>"))?;
    }
    if let Some(domain) = &headers.complaint_domain {
        edit.prepend("CFBL-Address", &trace::complaint_address(*id, token_key, domain))?;
    }
    edit.prepend("Feedback-ID", &trace::feedback_id(admitted, headers))?;
    if section.first("message-id").is_none() {
        edit.prepend("Message-ID", &trace::message_id(*id, parcel.from.domain()))?;
    }
    if section.first("date").is_none() {
        edit.prepend("Date", &now.to_rfc5322())?;
    }
    let received = trace::received(offer, hostname, *id, *now, headers);
    edit.prepend_folded(format!("Received: {received}\r\n"))?;
    Ok(edit)
}

/// The whole message with its signatures: the tenant's on top, the platform's below.
fn seal(parcel: &Parcel<'_>, workshop: &Workshop<'_>, header: &[u8]) -> Result<Bytes, Denial> {
    let body = parcel.section.body();
    let admitted = parcel.admitted;
    let platform = admitted.pool.platform.as_ref();
    let platform = platform.map(|platform| (&platform.domain, &*platform.selector, &*platform.signer));
    let own = admitted.domain.signing_keys().map(|key| (&admitted.domain.name, &*key.selector, &*key.signer));
    let signers: Vec<(&Domain, &str, &SigningKey)> = own.chain(platform).collect();

    let mut fields = Vec::with_capacity(signers.len());
    if !signers.is_empty() {
        let section = parse(header, workshop)?;
        let body_hash = body_hash(body);
        for (domain, selector, key) in signers {
            let request = SigningRequest {
                domain,
                selector,
                key,
                header: &section,
                body_hash: &body_hash,
                timestamp: workshop.now,
            };
            let fault = |source| Fault::Signing { domain: domain.clone(), source };
            fields.push(sign(&request).map_err(fault)?);
        }
    }
    let signed: usize = fields.iter().map(String::len).sum();
    let mut raw = Vec::with_capacity(signed + header.len() + body.len());
    for field in &fields {
        raw.extend_from_slice(field.as_bytes());
    }
    raw.extend_from_slice(header);
    raw.extend_from_slice(body);
    Ok(raw.into())
}

fn record(
    parcel: &Parcel<'_>,
    workshop: &Workshop<'_>,
    header: &[u8],
    raw: &Bytes,
) -> Result<spool::Accepted, Denial> {
    let (admitted, envelope) = (parcel.admitted, &parcel.offer.envelope);
    let section = parse(header, workshop)?;
    Ok(spool::Accepted {
        message: workshop.id,
        tenant: admitted.tenant.id,
        stream: admitted.stream.id,
        domain: admitted.domain.id,
        credential: admitted.credential,
        api_key: admitted.api_key,
        pool: admitted.pool.id,
        accepted_at: workshop.now,
        not_before: admitted.send_at,
        expires_at: admitted.expires_at,
        reverse_path: envelope.reverse_path.clone(),
        message_id_header: section.message_id().unwrap_or_default(),
        subject: section.subject().unwrap_or_default(),
        header_from: parcel.from.to_string(),
        tags: admitted.tags.clone(),
        metadata: admitted.metadata.clone(),
        // What the message is counts, not what MAIL said: a site must not be told 7BIT about 8-bit octets.
        body_kind: if raw.is_ascii() { envelope.body } else { BodyKind::EightBitMime },
        smtputf8: envelope.smtputf8,
        require_tls: envelope.require_tls,
        dsn_return: envelope.dsn_return,
        envelope_id: parcel.envelope_id.clone().or_else(|| envelope.envelope_id.clone()),
        recipients: recipients(parcel, workshop),
        size: raw.len() as u64,
    })
}

fn recipients(parcel: &Parcel<'_>, workshop: &Workshop<'_>) -> Vec<RecipientRecord> {
    let domain = &parcel.admitted.domain.return_path;
    let record = |(number, recipient): (u32, &mail::Recipient)| {
        let subject = TokenSubject { message: workshop.id, recipient: number };
        RecipientRecord {
            forward_path: recipient.forward_path.clone(),
            reverse_path: ReversePath::Mailbox(workshop.token_key.reverse_path(subject, domain)),
            notify: recipient.notify,
            original: recipient.original.clone(),
        }
    };
    (0..).zip(&parcel.offer.envelope.recipients).map(record).collect()
}

fn parse<'a>(header: &'a [u8], workshop: &Workshop<'_>) -> Result<HeaderSection<'a>, Denial> {
    HeaderSection::parse(header, workshop.header_limits).map_err(|malformed| malformed.to_refusal().into())
}

/// Whether the `d=` of a signature is a domain that we are about to sign for. Without a key of ours for it the client's
/// own signature is the only one that its domain gets, and stays.
fn is_ours(signature: &str, admitted: &Admitted) -> bool {
    let domain = signature.split(';').find_map(|tag| {
        let (name, value) = tag.split_once('=')?;
        (name.trim() == "d").then(|| Domain::parse(value.trim()).ok()).flatten()
    });
    let platform = admitted.pool.platform.as_ref().map(|platform| &platform.domain);
    let own = admitted.domain.signing_keys().next().map(|_| &admitted.domain.name);
    domain.is_some_and(|domain| [own, platform].contains(&Some(&domain)))
}
