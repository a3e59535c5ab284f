//! The message of the client: by BDAT where CHUNKING is offered, else by DATA (RFC 3030, RFC 5321 §4.1.1.4).
//!
//! DATA may be sent ahead with MAIL and RCPT; a chunk waits until a recipient is accepted, so that no message is sent to
//! nobody. It goes in one chunk: a second one would win nothing. While the end is held, the chunk is; by DATA only the
//! dot is.

use super::mail::{Delivery, Expected, Next};
use super::site::Site;
use super::{BreakKind, Failure, Stage};
use crate::extension::Extension;
use crate::text::{Dots, Text, end_of};
use ::mail::Reply;
use bytes::Bytes;

/// Says DATA or sends the chunk. `None` if that has to wait, or if there is nobody to send to.
pub(super) fn begin(delivery: &mut Delivery, site: &mut Site) -> Option<Expected> {
    let answered = delivery.expected.is_empty();
    if answered && delivery.accepted == 0 {
        delivery.next = Next::Nothing;
        return None;
    }
    if !site.offers(Extension::Chunking) {
        site.say(&["DATA"]);
        return Some(Expected::Data);
    }
    if !answered || site.end_held {
        return None;
    }
    let raw = delivery.transaction.raw.clone();
    site.say(&["BDAT ", &raw.len().to_string(), " LAST"]);
    site.begin_body(raw.len());
    site.send_text(Text::new(raw, Dots::Kept));
    Some(Expected::Final)
}

pub(super) fn on_reply(delivery: &mut Delivery, reply: Reply, site: &mut Site) -> Result<(), BreakKind> {
    match reply.code.as_u16() {
        354 if delivery.accepted > 0 => {
            let raw = delivery.transaction.raw.clone();
            delivery.next = Next::Dot(end_of(&raw));
            site.begin_body(raw.len());
            site.send_text(Text::new(raw, Dots::Doubled));
        }
        354 => {
            // RFC 2920 §3.1: the site waits for a message although it took no recipient.
            site.say(&["."]);
            delivery.expected.push_back(Expected::Abandoned);
        }
        400..=599 => delivery.settle_open(&Failure::Refused { stage: Stage::Data, reply }),
        _ => return Err(BreakKind::Protocol),
    }
    Ok(())
}

/// The end of the text by DATA, unless it is held. Its answer is what the machine waits for from here on.
pub(super) fn end(dot: Bytes, site: &mut Site) -> Option<Expected> {
    if site.end_held {
        return None;
    }
    site.send_text(Text::new(dot, Dots::Kept));
    site.await_final();
    Some(Expected::Final)
}

pub(super) fn on_final(delivery: &mut Delivery, reply: Reply, site: &mut Site) -> Result<(), BreakKind> {
    // An answer before all was written: the rest is not sent, and what the site makes of half a message is its affair.
    if !site.texts.is_empty() {
        return early(delivery, reply);
    }
    match reply.code.as_u16() / 100 {
        2 => {
            site.needs_reset = false;
            delivery.settle_accepted(&reply);
        }
        4 | 5 => {
            // RFC 3030 §2: after a chunk that failed the state is not known.
            site.needs_reset = site.offers(Extension::Chunking);
            delivery.settle_open(&Failure::Refused { stage: Stage::Final, reply });
        }
        _ => return Err(BreakKind::Protocol),
    }
    Ok(())
}

/// The recipients get the site's answer; the session cannot go on in the middle of a message.
fn early(delivery: &mut Delivery, reply: Reply) -> Result<(), BreakKind> {
    if !reply.code.is_positive() {
        delivery.settle_open(&Failure::Refused { stage: Stage::Body, reply });
    }
    Err(BreakKind::Protocol)
}
