//! The way in. Read this first: `accept()` is the whole of it, on one page.
//!
//! Both doors call it, SMTP (`session.rs`) and HTTP (`api`), with an offer: who, for whom, which bytes. It checks the
//! header section, asks the registry (`Admitted`), prepares the message (`Prepared`) and appends it to the spool
//! (`Committed`). There is no other success: whoever holds an `Accepted` may say 250 or 202, because it holds the
//! proof that the record was synced. Checking and signing are one job on a signing thread; nothing here waits for
//! anything but that thread and the disk, and never for the database.
//!
//! What may surprise: a message that was charged to a quota and then could not be stored stays charged. Giving it
//! back would let a failing disk be hammered without limit.

use crate::config::Config;
use crate::denied::{Denials, Denied};
use crate::error::{Denial, Fault};
use crate::metrics::{self, Stage};
use crate::octets::{Held, Octets};
use crate::prepare::{self, Parcel, Prepared, Workshop};
use crate::signer::Signers;
use crate::steering::{self, Dialect};
use crate::trace;
use bytes::Bytes;
use mail::message::{Agent, HeaderLimits, HeaderSection};
use mail::token::TokenKey;
use mail::{
    Clock, Domain, Envelope, Mailbox, MessageId, Random, Refusal, RefusalKind, ReversePath, Timestamp,
};
use registry::{Generation, Party, Sender, Snapshot, Steering, Usage};
use spool::{Committed, Intake};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The registry as this node holds it now.
pub type SnapshotSource = Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync>;

/// What a submission is made of.
pub struct SubmissionParts {
    /// Where accepted mail is made durable.
    pub intake: Intake,
    /// The registry as it is now; asked for each message.
    pub snapshot: SnapshotSource,
    /// Shared with whoever restores day counts and shows them.
    pub usage: Arc<Mutex<Usage>>,
    /// Signs the reverse-paths that lead back.
    pub token_key: Arc<TokenKey>,
    /// For Received fields, ids and limits.
    pub clock: Arc<dyn Clock>,
    /// For ids.
    pub random: Random,
    /// Our name in greetings and trace fields.
    pub hostname: Domain,
    /// Limits and fields.
    pub config: Config,
}

/// The way in. One per node.
///
/// # Errors
/// `accept` and `accept_as` deny with a `Refusal`, our answer: of the octets themselves (`MessageTooLarge`,
/// `TooManyRecipients`, `MessageMalformed`, `AmbiguousFrom`, `MailLoop`), of what they ask for
/// (`BadSteering`), of [`Snapshot::admit`], `SenderNotAllowed` for a null reverse-path, `StorageFull` without
/// room in the journal, `LocalTrouble` before the registry is loaded. Or with a `Fault`, of our surroundings:
/// `Spool` if the journal does not take it, `Signing` and `Field` if it cannot be prepared, `SigningStopped`
/// if the signing thread is gone. A message that is denied was not taken; from the charge on it stays
/// charged.
pub struct Submission {
    intake: Intake,
    snapshot: SnapshotSource,
    usage: Arc<Mutex<Usage>>,
    token_key: Arc<TokenKey>,
    clock: Arc<dyn Clock>,
    random: Mutex<Random>,
    hostname: Domain,
    config: Config,
    header_limits: HeaderLimits,
    /// With room for what we add.
    outgoing_limits: HeaderLimits,
    signers: Signers,
    octets: Arc<Octets>,
    denials: Mutex<Denials>,
}

/// A message at the door; not `registry::Offer`, which is made of it. Lines end with CRLF.
#[derive(Debug)]
pub struct Offer {
    /// Who has shown a secret at the door.
    pub sender: Sender,
    /// Whom it is from and for.
    pub envelope: Envelope,
    /// Header section and body, as the client sent it.
    pub raw: Bytes,
    /// What the request itself asked for; header fields fill what it left open. SMTP leaves all open.
    pub steering: Steering,
    /// Whence it came: the API's own peer, or the proxy's word for it.
    pub peer: IpAddr,
    /// Through which door.
    pub door: Door,
}

/// How a message came in, for its trace field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// A session with one of our listeners.
    Smtp {
        /// `ESMTPSA` and its like (RFC 3848).
        protocol: &'static str,
        /// The argument of EHLO: letters, digits and `.-_:[]`.
        client_name: String,
    },
    /// The API.
    Http,
}

/// A message that is ours now; not `spool::Accepted`, the record. Only `accept` and `accept_as` make one.
#[derive(Debug, Clone, Copy)]
#[must_use = "the client waits for its 250 or 202"]
pub struct Accepted {
    /// The house's name for it, which the client is told.
    pub message: MessageId,
    /// Proof that it is durable: nothing else makes a 250 or a 202.
    pub committed: Committed,
}

/// Fields that we add to a message, and their octets.
const OWN_FIELDS_MAX: usize = 16;
const OWN_FIELDS_OCTETS_MAX: usize = 16 * 1024;

/// What a client is told to wait when there is no room. Room comes from outside, and seldom within seconds.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(30);
/// What a client is told to wait while the disk is stalled: long enough for one that stutters.
const STALL_RETRY_AFTER: Duration = Duration::from_secs(10);

impl Submission {
    /// Starts the signing threads.
    ///
    /// # Errors
    /// `Thread` if the system gives no thread.
    pub fn start(parts: SubmissionParts) -> Result<Arc<Submission>, Fault> {
        let signers = Signers::start(parts.config.signing_threads, parts.config.signing_queue_max)?;
        Ok(Submission::with(parts, signers))
    }

    /// Without threads: nothing is checked or signed but by `step`. For simulations in one thread.
    pub fn stepped(parts: SubmissionParts) -> Arc<Submission> {
        let signers = Signers::stepped(parts.config.signing_queue_max);
        Submission::with(parts, signers)
    }

    /// Checks and signs one message that waits for it. False if none does.
    pub fn step(&self) -> bool {
        self.signers.step()
    }

    fn with(parts: SubmissionParts, signers: Signers) -> Arc<Submission> {
        let header_limits = HeaderLimits {
            octets_max: parts.config.session.header_octets_max,
            line_octets_max: parts.config.session.text_line_octets_max,
            ..HeaderLimits::default()
        };
        let outgoing_limits = HeaderLimits {
            octets_max: header_limits.octets_max + OWN_FIELDS_OCTETS_MAX,
            fields_max: header_limits.fields_max + OWN_FIELDS_MAX,
            ..header_limits
        };
        Arc::new(Submission {
            octets: Octets::new(parts.config.limits.octets_in_flight_max),
            intake: parts.intake,
            snapshot: parts.snapshot,
            usage: parts.usage,
            token_key: parts.token_key,
            clock: parts.clock,
            random: Mutex::new(parts.random),
            hostname: parts.hostname,
            config: parts.config,
            header_limits,
            outgoing_limits,
            signers,
            denials: Mutex::default(),
        })
    }

    /// Takes the responsibility for a message.
    ///
    /// # Errors
    /// Why not, as [the way in](Submission#errors) says it.
    pub async fn accept(self: &Arc<Submission>, offer: Offer) -> Result<Accepted, Denial> {
        let now = self.clock.timestamp();
        let id = MessageId::mint(now, &mut self.random.lock().unwrap_or_else(PoisonError::into_inner));
        self.accept_as(id, offer).await
    }

    /// The same for a message whose id was chosen before, so that it is taken once however often it is offered: for a
    /// call with an `Idempotency-Key` (`api/src/claim.rs`). What waits in the journal under this id is not written again
    /// (`without_repetitions`, `spool/src/commit.rs`); whether it was there and is gone, the caller has to know.
    ///
    /// # Errors
    /// Why not, as [the way in](Submission#errors) says it.
    pub async fn accept_as(self: &Arc<Submission>, id: MessageId, offer: Offer) -> Result<Accepted, Denial> {
        let (began, door, sender) = (self.clock.instant(), offer.door.as_str(), offer.sender);
        let tenant = sender.tenant();
        let result = self.take_in(id, offer).await;
        let took = self.clock.instant().saturating_since(began);
        metrics::submitted(door, &result, took);
        let duration_ms = took.as_millis() as u64;
        match &result {
            Ok(Accepted { message, .. }) => {
                tracing::debug!(tenant.id = %tenant, message.id = %message, door, duration_ms, "message accepted");
            }
            Err(Denial::Refusal(refusal)) => {
                self.note_refusal(sender, refusal);
                let code = refusal.problem_code();
                tracing::debug!(tenant.id = %tenant, door, code, duration_ms, "message refused");
            }
            Err(Denial::Fault(_)) => {}
        }
        metrics::octets_in_flight(self.octets.held());
        if let Err(Denial::Fault(fault)) = &result {
            tracing::error!(error = fault as &dyn std::error::Error, "a message could not be accepted");
        }
        result
    }

    /// Lets go of counts that no limit needs any more. Called now and then by housekeeping.
    pub fn tidy(&self) {
        let now = self.clock.timestamp();
        self.usage.lock().unwrap_or_else(PoisonError::into_inner).forget_idle(now);
    }

    /// Counts it, if somebody tried to send as somebody else.
    pub(crate) fn note_refusal(&self, sender: Sender, refusal: &Refusal) {
        if refusal.kind == RefusalKind::SenderNotAllowed {
            self.denials.lock().unwrap_or_else(PoisonError::into_inner).note(sender, refusal.public());
        }
    }

    /// What the audit should know by now of who tried to send as somebody else. Each is given out once.
    pub fn denied(&self) -> Vec<Denied> {
        let now = self.clock.timestamp();
        self.denials.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }

    /// All of it that was not told yet, for a stop: there is no later.
    pub fn denied_since(&self) -> Vec<Denied> {
        self.denials.lock().unwrap_or_else(PoisonError::into_inner).take_all()
    }

    async fn take_in(self: &Arc<Submission>, id: MessageId, offer: Offer) -> Result<Accepted, Denial> {
        let this = Arc::clone(self);
        let party = Party::Tenant(offer.sender.tenant());
        let asked = self.clock.instant();
        let job = move || {
            let begun = this.clock.instant();
            metrics::stage(Stage::Wait, begun.saturating_since(asked));
            let prepared = this.admit_and_prepare(id, &offer);
            metrics::stage(Stage::Sign, this.clock.instant().saturating_since(begun));
            prepared
        };
        let prepared = self.signers.run(party, job).await??;
        let signed = self.clock.instant();
        let appended = self.intake.append(prepared.record, prepared.raw).await;
        metrics::stage(Stage::Commit, self.clock.instant().saturating_since(signed));
        match appended {
            Ok(committed) => Ok(Accepted { message: id, committed }),
            Err(spool::Fault::TooLarge { .. }) => {
                Err(Refusal::new(RefusalKind::MessageTooLarge, "the message is too large to be stored here")
                    .into())
            }
            Err(spool::Fault::Full) => Err(full().into()),
            Err(source) => Err(Fault::Spool { source }.into()),
        }
    }

    fn admit_and_prepare(&self, id: MessageId, offer: &Offer) -> Result<Prepared, Denial> {
        let now = self.clock.timestamp();
        let snapshot = self.loaded_snapshot()?;
        let section = self.check(offer)?;
        let from = section.from_addresses().map_err(|error| error.to_refusal())?;
        let [author] = from.as_slice() else {
            return Err(Refusal::new(RefusalKind::AmbiguousFrom, "From must hold exactly one address").into());
        };
        let agents = section.agents().map_err(|error| error.to_refusal())?;
        let dialect = dialect_of(&snapshot, &offer.sender);
        let steered = steering::read(&section, dialect, offer.steering.clone())?;
        let admitted = self.admit(&snapshot, offer, (author, &agents), steered.steering, now)?;
        let parcel = Parcel {
            admitted: &admitted,
            offer,
            section: &section,
            from: author,
            dialect,
            envelope_id: steered.envelope_id,
        };
        let workshop = Workshop {
            hostname: &self.hostname,
            headers: &self.config.headers,
            header_limits: &self.outgoing_limits,
            token_key: &self.token_key,
            id,
            now,
        };
        prepare::prepare(&parcel, &workshop)
    }

    /// What can be said about the bytes without knowing whose they are.
    fn check<'a>(&self, offer: &'a Offer) -> Result<HeaderSection<'a>, Refusal> {
        let limits = &self.config.session;
        // The client counts what it sends (RFC 1870 §3); the end of the last line may be ours.
        if offer.raw.len() > limits.message_octets_max.saturating_add("\r\n".len()) {
            let text = format!("the message is larger than {} octets", limits.message_octets_max);
            return Err(Refusal::new(RefusalKind::MessageTooLarge, text));
        }
        if offer.envelope.recipients.len() > limits.recipients_max {
            let max = limits.recipients_max;
            let text = format!("more than {max} recipients in one message; send to the rest in another one");
            return Err(Refusal::new(RefusalKind::TooManyRecipients, text));
        }
        not_null(&offer.envelope.reverse_path)?;
        let section = HeaderSection::parse(&offer.raw, &self.header_limits)
            .map_err(|malformed| malformed.to_refusal())?;
        if let Some(name) = section.repeated_field().filter(|name| !matches!(*name, "from" | "bcc")) {
            let text = format!("the message has more than one {name} field");
            return Err(Refusal::new(RefusalKind::MessageMalformed, text));
        }
        trace::check_hops(&section, &self.hostname, &self.config.limits)?;
        check_body(section.body(), limits.text_line_octets_max)?;
        Ok(section)
    }

    /// Holds the lock on the usage for the microseconds that admission takes.
    fn admit(
        &self,
        snapshot: &Snapshot,
        offer: &Offer,
        (author, agents): (&Mailbox, &[Agent]),
        steering: Steering,
        now: Timestamp,
    ) -> Result<registry::Admitted, Refusal> {
        let offer = registry::Offer {
            sender: offer.sender,
            envelope: &offer.envelope,
            from: std::slice::from_ref(author),
            agents,
            size: offer.raw.len() as u64,
            steering,
        };
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        panics::place("admission-with-lock");
        snapshot.admit(&offer, &mut usage, now)
    }

    /// While the disk does not come back nothing new is let in: it would only be gathered. What is under way is answered
    /// when the disk is back.
    ///
    /// # Errors
    /// `DiskStalled` while one group of records takes `stall_ms_max` of the journal or longer. It says to
    /// come back in 10 s.
    pub fn check_disk(&self) -> Result<(), Refusal> {
        match self.intake.stalled() {
            None => Ok(()),
            Some(lasts) => {
                Err(Refusal::new(RefusalKind::DiskStalled, "our disk is slow; please try again later")
                    .with_detail(format!("one group of records has taken {} ms so far", lasts.as_millis()))
                    .with_retry_after(STALL_RETRY_AFTER))
            }
        }
    }

    /// The registry, unless it is of generation 0: nothing was ever changed in it, and nobody is called unknown then.
    pub(crate) fn loaded_snapshot(&self) -> Result<Arc<Snapshot>, Refusal> {
        let snapshot = (self.snapshot)();
        if snapshot.generation() == Generation::default() {
            return Err(Refusal::new(
                RefusalKind::LocalTrouble,
                "not ready yet; please try again in a moment",
            ));
        }
        Ok(snapshot)
    }

    /// What is in flight of this tenant: to be held before a message is read, and until it is answered.
    pub fn hold_octets(&self, party: Party) -> Held {
        self.octets.hold(party)
    }

    /// Octets in flight, of everybody.
    pub fn octets_held(&self) -> u64 {
        self.octets.held()
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn hostname(&self) -> &Domain {
        &self.hostname
    }

    pub(crate) fn token_key(&self) -> &TokenKey {
        &self.token_key
    }
}

/// The journal keeps what room is left for the records of mail that it has (`spool.reserve_octets`).
fn full() -> Refusal {
    Refusal::new(RefusalKind::StorageFull, "there is no room for more mail just now; nothing was taken")
        .with_retry_after(FULL_RETRY_AFTER)
}

/// Bounces are made by us, and a submitted message without a reverse-path could not come back to its tenant.
pub(crate) fn not_null(path: &ReversePath) -> Result<(), Refusal> {
    match path {
        ReversePath::Mailbox(_) => Ok(()),
        ReversePath::Null => Err(Refusal::new(
            RefusalKind::SenderNotAllowed,
            "the null reverse-path <> is not accepted for submission; use an address of a verified domain",
        )),
    }
}

fn dialect_of(snapshot: &Snapshot, sender: &Sender) -> Dialect {
    let credential = sender.credential().and_then(|id| snapshot.credential(id));
    match credential {
        Some(credential) if credential.compat_pmta => Dialect::PowerMta,
        Some(_) | None => Dialect::Own,
    }
}

/// What would have to be changed on the way out: lines that are too long, NUL, an end of line that is not CRLF.
fn check_body(body: &[u8], line_octets_max: usize) -> Result<(), Refusal> {
    let malformed = |text: String| Refusal::new(RefusalKind::MessageMalformed, text);
    if memchr::memchr(0, body).is_some() {
        return Err(malformed("the body has a NUL".to_owned()));
    }
    let mut rest = body;
    while !rest.is_empty() {
        let (content, after) = match memchr::memchr(b'\n', rest) {
            Some(at) => (rest[..at].strip_suffix(b"\r"), &rest[at + 1..]),
            None => (Some(rest), &rest[..0]),
        };
        let Some(content) = content.filter(|content| memchr::memchr(b'\r', content).is_none()) else {
            return Err(malformed("the body has a bare CR or LF".to_owned()));
        };
        if content.len() > line_octets_max {
            return Err(malformed(format!("the body has a line of more than {line_octets_max} octets")));
        }
        rest = after;
    }
    Ok(())
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Submission").field("signers", &self.signers).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_would_have_to_be_changed_is_refused() {
        for body in [&b"a\nb\r\n"[..], b"a\rb\r\n", b"\n", b"\r", b"a\r\r\n", b"a\0\r\n", &[b'x'; 999]] {
            assert!(check_body(body, 998).is_err(), "{body:?}");
        }
        for body in [&b""[..], b"a", b"\r\n\r\n", b"a\r\nb", &[b'x'; 998]] {
            assert!(check_body(body, 998).is_ok(), "{body:?}");
        }
    }
}
