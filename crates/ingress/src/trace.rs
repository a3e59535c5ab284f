//! The fields we write into every message: where it came in, whose it is, where complaints go.
//!
//! Values only; `prepare.rs` puts them in. Everything here is made of our own names, ids and times, or was parsed;
//! no text of a client is copied into a field. The client's address is hidden unless the node is told to show it: it
//! is often somebody's desk.

use crate::config::HeaderConfig;
use crate::submission::{Door, Offer};
use mail::token::{TokenKey, TokenSubject};
use mail::{Domain, MessageId, Timestamp};
use registry::{Admitted, StreamKind};
use std::net::IpAddr;

/// Octets of a field of Feedback-ID that come from a tag.
const CAMPAIGN_OCTETS_MAX: usize = 40;

/// `Received:` as RFC 5321 §4.4 has it, without its name.
pub(crate) fn received(
    offer: &Offer,
    hostname: &Domain,
    id: MessageId,
    now: Timestamp,
    config: &HeaderConfig,
) -> String {
    let (protocol, client_name) = match &offer.door {
        Door::Smtp { protocol, client_name } => (*protocol, client_name.as_str()),
        Door::Http => ("HTTP", "client"),
    };
    let from = match (config.show_client, offer.peer.to_canonical()) {
        (false, _) => String::new(),
        (true, IpAddr::V4(v4)) => format!("from {client_name} ([{v4}])\r\n\t"),
        (true, IpAddr::V6(v6)) => format!("from {client_name} ([IPv6:{v6}])\r\n\t"),
    };
    format!("{from}by {hostname} (posthouse) with {protocol} id {id};\r\n\t{}", now.to_rfc5322())
}

/// `campaign:stream:tenant:sender`, read from the right by Gmail, which reports complaints for each of the four.
/// The same text must not stand in two of them, so a campaign named like its stream is left out.
pub(crate) fn feedback_id(admitted: &Admitted, config: &HeaderConfig) -> String {
    let stream = admitted.stream.name.as_str();
    let campaign = admitted.tags.first().map(|tag| identifier(tag)).filter(|campaign| campaign != stream);
    let campaign = campaign.unwrap_or_default();
    format!("{campaign}:{stream}:{}:{}", admitted.tenant.id, identifier(&config.feedback_sender))
}

/// `Message-ID` for a message that has none: the id we also answer with, at the author's domain.
pub(crate) fn message_id(id: MessageId, domain: &Domain) -> String {
    format!("<{id}@{domain}>")
}

/// `CFBL-Address` (RFC 9477) for the first recipient: the report also carries the message id.
pub(crate) fn complaint_address(id: MessageId, key: &TokenKey, domain: &Domain) -> String {
    let subject = TokenSubject { message: id, recipient: 0 };
    format!("{}; report=arf", key.reverse_path(subject, domain))
}

/// The URL of `List-Unsubscribe` for a message of a marketing stream with one recipient; with more of them the field
/// could not say who wants to leave.
pub(crate) fn unsubscribe_url(
    id: MessageId,
    admitted: &Admitted,
    recipients: usize,
    key: &TokenKey,
    config: &HeaderConfig,
) -> Option<String> {
    let base = config.unsubscribe_url.as_ref()?;
    match admitted.stream.kind {
        StreamKind::Marketing if recipients == 1 => {
            let subject = TokenSubject { message: id, recipient: 0 };
            let mailbox = key.reverse_path(subject, &admitted.domain.return_path);
            let token = mailbox.local_part().as_str().trim_start_matches("b+");
            Some(format!("{}/{token}", base.as_str()))
        }
        StreamKind::Marketing | StreamKind::Transactional => None,
    }
}

/// Letters, digits and hyphens of any text, so that it can stand between colons.
fn identifier(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    text.chars().take(CAMPAIGN_OCTETS_MAX).map(plain).collect()
}
