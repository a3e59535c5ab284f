//! The fields we write into every message: where it came in, whose it is, where complaints go.
//!
//! Values only; `prepare.rs` puts them in. Everything here is made of our own names, ids and times, or was parsed;
//! no text of a client is copied into a field. The client's address is hidden unless the node is told to show it: it
//! is often somebody's desk.

use crate::config::{HeaderConfig, Limits};
use crate::submission::{Door, Offer};
use mail::message::HeaderSection;
use mail::token::{TokenKey, TokenSubject};
use mail::{Domain, MessageId, Refusal, RefusalKind, Timestamp};
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

/// Whether the message is in a loop: it has passed more hosts than any real way has, or this one more often than it may
/// (RFC 5321 §6.3). Once before is no loop: a list's server may send on through us what it got from us.
pub(crate) fn check_hops(
    section: &HeaderSection<'_>,
    hostname: &Domain,
    limits: &Limits,
) -> Result<(), Refusal> {
    let text = if section.received_count() > limits.received_fields_max {
        format!("the message went through more than {} hops; is there a loop", limits.received_fields_max)
    } else if own_hops(section, hostname) > limits.received_own_fields_max {
        format!("the message comes back to {hostname} again and again; there is a loop")
    } else {
        return Ok(());
    };
    Err(Refusal::new(RefusalKind::MailLoop, text))
}

/// Received fields that this host wrote: with its name, our mark and an id of ours.
fn own_hops(section: &HeaderSection<'_>, hostname: &Domain) -> usize {
    section.all("received").filter(|field| is_own(&field.value(), hostname)).count()
}

/// What `received` writes. Other hosts may fold it in other places and change the case of names; words stay words.
fn is_own(value: &str, hostname: &Domain) -> bool {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let is_host = |word: &str| word.eq_ignore_ascii_case(hostname.as_str());
    let by = words.windows(3).position(|w| w[0] == "by" && is_host(w[1]) && w[2] == "(posthouse)");
    by.is_some_and(|at| {
        words[at..].windows(2).any(|w| w[0] == "id" && MessageId::parse(w[1].trim_end_matches(';')).is_ok())
    })
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
