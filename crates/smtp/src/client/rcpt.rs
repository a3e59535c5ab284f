//! RCPT of the client: one line and one result per recipient (RFC 5321 §3.3, DSN by RFC 3461).

use super::mail::Delivery;
use super::site::Site;
use super::{BreakKind, Failure, Stage};
use crate::extension::Extension;
use ::mail::{Notify, Recipient, Reply};

pub(super) fn say(recipient: &Recipient, site: &mut Site) {
    site.out.extend_from_slice(format!("RCPT TO:<{}>", recipient.forward_path).as_bytes());
    if site.offers(Extension::Dsn) {
        if let Some(notify) = recipient.notify {
            site.out.extend_from_slice(notify_text(notify).as_bytes());
        }
        say_parameter(site, " ORCPT=", recipient.original.as_deref());
    }
    site.say(&[]);
}

/// A value that could end the line or the parameter is left out, wherever it came from.
pub(super) fn say_parameter(site: &mut Site, keyword: &str, value: Option<&str>) {
    if let Some(value) =
        value.filter(|value| !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic()))
    {
        site.out.extend_from_slice(keyword.as_bytes());
        site.out.extend_from_slice(value.as_bytes());
    }
}

fn notify_text(notify: Notify) -> String {
    match notify {
        Notify::Never => " NOTIFY=NEVER".to_owned(),
        Notify::When { success, failure, delay } => {
            let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
            let given: Vec<&str> = words.iter().filter(|(given, _)| *given).map(|(_, word)| *word).collect();
            if given.is_empty() { String::new() } else { format!(" NOTIFY={}", given.join(",")) }
        }
    }
}

pub(super) fn on_reply(delivery: &mut Delivery, index: usize, reply: Reply) -> Result<(), BreakKind> {
    if delivery.results[index].is_some() {
        // MAIL was refused; in a pipeline the recipients are answered all the same.
        return Ok(());
    }
    match reply.code.as_u16() / 100 {
        2 => delivery.accepted += 1,
        4 | 5 => delivery.results[index] = Some(Err(Failure::Refused { stage: Stage::Rcpt, reply })),
        _ => return Err(BreakKind::Protocol),
    }
    Ok(())
}
