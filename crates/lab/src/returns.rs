//! What providers send back: complaints and bounces about what they accepted.
//!
//! Composed by `complaints.rs` and `bounces.rs`, sent by the lab's client to the inbound listener that it was told.
//! A bounce goes from the null reverse-path to the arrival's reverse-path. A complaint goes to the address that the
//! message names for it (CFBL-Address, RFC 9477), else to the reverse-path. On demand from the control, or by the
//! provider itself from a bounded queue, some time after the arrival.

use crate::arrivals::{Arrival, field};
use crate::bounces::{self, BounceFormat};
use crate::client::{Dialog, Letter, Protection};
use crate::complaints::{self, ComplaintFormat};
use crate::error::Fault;
use crate::provider::Voice;
use crate::world::{World, lock};
use mail::{Mailbox, ReversePath, Timestamp};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Something to send back about an arrival.
#[derive(Debug, Clone)]
pub(crate) struct Errand {
    pub arrival: String,
    pub kind: ErrandKind,
}

#[derive(Debug, Clone)]
pub(crate) enum ErrandKind {
    Complaint(ComplaintFormat),
    Bounce(BounceFormat, bounces::Verdict),
}

/// What became of an errand.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sent {
    pub arrival: String,
    pub format: &'static str,
    pub mail_from: String,
    pub rcpt_to: String,
    pub accepted: bool,
    /// Of the inbound listener.
    pub reply: String,
}

/// Why an errand could not be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReturnError {
    #[error("there is no arrival {0}, or it is no longer kept")]
    NoArrival(String),
    #[error("the lab was not told where the inbound listener is")]
    NoInbound,
    #[error("the arrival has a null reverse-path and names no address for reports: there is nobody to tell")]
    NoAddress,
    #[error("the inbound listener cannot be reached: {0}")]
    Fault(#[from] Fault),
}

/// A finished message with its envelope.
pub(crate) struct Parcel {
    pub mail_from: String,
    pub rcpt_to: String,
    pub raw: Vec<u8>,
}

/// When and with which number a return is made: everything that is not in the arrival.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub now: Timestamp,
    pub serial: u64,
}

impl Errand {
    /// In the format that this provider uses.
    pub fn complaint_of(voice: Voice, arrival: String) -> Errand {
        let format = match voice {
            Voice::Yahoo => ComplaintFormat::Yahoo,
            Voice::Microsoft | Voice::Exchange => ComplaintFormat::Microsoft,
            _ => ComplaintFormat::Arf,
        };
        Errand { arrival, kind: ErrandKind::Complaint(format) }
    }

    pub fn bounce_of(voice: Voice, arrival: String) -> Errand {
        let format = match voice {
            Voice::Gmail => BounceFormat::Gmail,
            Voice::Microsoft | Voice::Exchange => BounceFormat::Exchange,
            Voice::Gmx => BounceFormat::Exim,
            Voice::Yahoo => BounceFormat::Qmail,
            _ => BounceFormat::Postfix,
        };
        Errand { arrival, kind: ErrandKind::Bounce(format, bounces::Verdict::default()) }
    }
}

/// Sends errands as they come due. All wait equally long, so the queue is in order.
pub(crate) async fn run(
    world: Arc<World>,
    mut errands: mpsc::Receiver<(mail::Instant, Errand)>,
    shutdown: CancellationToken,
) {
    loop {
        let next = tokio::select! {
            () = shutdown.cancelled() => return,
            next = errands.recv() => next,
        };
        let Some((due, errand)) = next else { return };
        let wait = due.saturating_since(world.clock.instant());
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        if let Err(error) = perform(&world, &errand).await {
            tracing::debug!(%error, "a provider could not send something back");
        }
    }
}

/// Composes and sends now.
pub(crate) async fn perform(world: &World, errand: &Errand) -> Result<Sent, ReturnError> {
    let arrival = lock(&world.arrivals).find(&errand.arrival).cloned();
    let arrival = arrival.ok_or_else(|| ReturnError::NoArrival(errand.arrival.clone()))?;
    let inbound = world.inbound().ok_or(ReturnError::NoInbound)?;
    let stamp = Stamp { now: world.clock.timestamp(), serial: world.serial() };
    let (format, parcel) = match &errand.kind {
        ErrandKind::Complaint(format) => {
            let to = report_address(&arrival).ok_or(ReturnError::NoAddress)?;
            (format.as_str(), complaints::compose(*format, &arrival, to, stamp))
        }
        ErrandKind::Bounce(format, verdict) => {
            let to = mailbox(&arrival.mail_from).ok_or(ReturnError::NoAddress)?;
            (format.as_str(), bounces::compose(*format, verdict, &arrival, to, stamp))
        }
    };
    let reply = send(inbound, arrival.mx, &parcel).await?;
    let counter = if reply.is_positive() { &world.returns_accepted } else { &world.returns_refused };
    counter.fetch_add(1, Ordering::Relaxed);
    Ok(Sent {
        arrival: arrival.id,
        format,
        mail_from: parcel.mail_from,
        rcpt_to: parcel.rcpt_to,
        accepted: reply.is_positive(),
        reply: reply.text,
    })
}

async fn send(inbound: SocketAddr, ehlo: &str, parcel: &Parcel) -> Result<crate::client::Answer, Fault> {
    let mut dialog = Dialog::open(inbound, ehlo, Protection::IfOffered).await?;
    let recipients = [parcel.rcpt_to.clone()];
    let answer = dialog
        .send(&Letter { reverse_path: &parcel.mail_from, recipients: &recipients, raw: &parcel.raw })
        .await?;
    dialog.quit().await;
    Ok(answer)
}

/// The first address of CFBL-Address, else the reverse-path.
fn report_address(arrival: &Arrival) -> Option<Mailbox> {
    let named = arrival.raw.as_ref().and_then(|raw| field(raw, "cfbl-address"));
    let named = named.and_then(|value| {
        mailbox(value.split([';', ',']).next().unwrap_or_default().trim().trim_matches(['<', '>']))
    });
    named.or_else(|| mailbox(&arrival.mail_from))
}

fn mailbox(text: &str) -> Option<Mailbox> {
    match ReversePath::parse(text) {
        Ok(ReversePath::Mailbox(mailbox)) => Some(mailbox),
        Ok(ReversePath::Null) | Err(_) => None,
    }
}

/// The header section of what arrived, up to and with its last line end.
pub(crate) fn header_of(arrival: &Arrival) -> String {
    let raw = arrival.raw.as_deref().unwrap_or_default();
    let end = memchr::memmem::find(raw, b"\r\n\r\n").map_or(raw.len(), |i| i + 2);
    String::from_utf8_lossy(&raw[..end]).into_owned()
}

/// The whole of what arrived, as text.
pub(crate) fn text_of(arrival: &Arrival) -> String {
    String::from_utf8_lossy(arrival.raw.as_deref().unwrap_or_default()).into_owned()
}
