//! Our answer: no. A closed list, with one table to the SMTP reply and one to the HTTP problem.
//!
//! A refusal has two faces: a public sentence that says what is wrong and how to mend it, and a detail for the log.
//! It does not implement `Display`, so the inside cannot be sent by accident. Who asks again and when follows from
//! the kind; local trouble is never permanent.

use crate::status::{EnhancedStatus, Reply};
use std::time::Duration;

/// Every reason for which a door says no. Adding one means adding a row to `row()` and to docs/API.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// No credential was given.
    AuthenticationRequired,
    /// AUTH before TLS.
    EncryptionRequired,
    /// Wrong, unknown, revoked, expired or from a network that is not allowed: one answer for all.
    BadCredential,
    /// Too many wrong secrets from this network for this credential.
    CredentialLocked,
    /// MAIL FROM or From is not of a verified domain of this tenant, or the credential may not use it.
    SenderNotAllowed,
    /// No From, several, or one that can be read in two ways.
    AmbiguousFrom,
    /// A stream, pool or other thing that a header or field names does not exist for this tenant.
    UnknownReference,
    /// A steering header or field has a value that cannot be used.
    BadSteering,
    /// Too many recipients in a second: of the tenant or the credential.
    RateLimited,
    /// The recipients of the day are used up; again from midnight UTC.
    QuotaExhausted,
    /// The tenant is paused: by itself or by an operator.
    TenantPaused,
    /// The tenant is being deleted; nothing of it is taken any more.
    TenantClosing,
    /// Longer than what was offered as SIZE (RFC 1870).
    MessageTooLarge,
    /// More than one message, or a day of this tenant, may have.
    TooManyRecipients,
    /// Header section, line or structure outside limits, bare CR or LF.
    MessageMalformed,
    /// Received fields beyond the hop limit (RFC 5321 §6.3).
    MailLoop,
    /// The disk, the journal or the registry is not ready.
    LocalTrouble,
    /// The tenant holds its share of all mail in flight; there is room for others.
    ShareUsedUp,
    /// No room is left for mail (RFC 5321 §4.2.2, RFC 3463 X.3.1).
    StorageFull,
    /// The disk does not come back; nothing is taken until it does.
    DiskStalled,
    /// We are shutting down.
    ShuttingDown,
    /// Too many connections, in total, of this credential or from this address.
    TooManyConnections,
    /// Nothing here takes mail for this recipient.
    NoSuchRecipient,
}

/// A refusal as it travels from the decision to the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Everything that a program may go by: reply, status and code follow from it.
    pub kind: RefusalKind,
    public: String,
    detail: Option<String>,
    /// How long to wait before asking again makes sense; none if nobody knows.
    pub retry_after: Option<Duration>,
}

/// Octets of a word that is repeated.
const ECHO_OCTETS_MAX: usize = 64;

struct Row {
    code: u16,
    enhanced: EnhancedStatus,
    status: u16,
    problem: &'static str,
}

impl Refusal {
    /// `public` is shown to the client; it ends without a full stop, may name what the client itself sent, and never
    /// anything of another tenant.
    pub fn new(kind: RefusalKind, public: impl Into<String>) -> Refusal {
        Refusal { kind, public: public.into(), detail: None, retry_after: None }
    }

    /// For the log only.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Refusal {
        self.detail = Some(detail.into());
        self
    }

    /// Says when asking again makes sense: it becomes `Retry-After` at the API.
    pub fn with_retry_after(mut self, wait: Duration) -> Refusal {
        self.retry_after = Some(wait);
        self
    }

    /// What is wrong and how to mend it, for the client. Holds nothing of another tenant.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// For the log alone.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// The SMTP reply of contract: code, enhanced status, sentence, `retry in N s` where a time is known.
    pub fn to_reply(&self) -> Reply {
        let row = row(self.kind);
        let text = match self.retry_after {
            Some(wait) => format!("{}; retry in {} s", self.public, whole_seconds(wait)),
            None => self.public.clone(),
        };
        Reply::new(row.code, Some(row.enhanced), text)
    }

    /// The status of the problem+json answer.
    pub fn http_status(&self) -> u16 {
        row(self.kind).status
    }

    /// The stable `code` of the problem document.
    pub fn problem_code(&self) -> &'static str {
        row(self.kind).problem
    }

    /// Whole seconds, rounded up, so that nobody is asked to come too early.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(whole_seconds)
    }
}

/// A word from outside as a public sentence may repeat it: short and printable ASCII, or not at all.
pub fn echo(word: &str) -> Option<&str> {
    let plain = (1..=ECHO_OCTETS_MAX).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_graphic());
    plain.then_some(word)
}

/// Rounded up, at least one: a client told to wait 0 s would come back too early.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_millis().div_ceil(1000) as u64).max(1)
}

const fn row(kind: RefusalKind) -> Row {
    const fn r(code: u16, e: (u8, u16, u16), status: u16, problem: &'static str) -> Row {
        Row { code, enhanced: EnhancedStatus::new(e.0, e.1, e.2), status, problem }
    }
    match kind {
        RefusalKind::AuthenticationRequired => r(530, (5, 7, 0), 401, "authentication_required"),
        RefusalKind::EncryptionRequired => r(530, (5, 7, 0), 403, "encryption_required"),
        RefusalKind::BadCredential => r(535, (5, 7, 8), 401, "bad_credential"),
        RefusalKind::CredentialLocked => r(454, (4, 7, 0), 429, "credential_locked"),
        RefusalKind::SenderNotAllowed => r(550, (5, 7, 1), 403, "sender_not_allowed"),
        RefusalKind::AmbiguousFrom => r(550, (5, 7, 1), 422, "ambiguous_from"),
        RefusalKind::UnknownReference => r(550, (5, 7, 1), 422, "unknown_reference"),
        RefusalKind::BadSteering => r(554, (5, 6, 0), 422, "bad_steering"),
        RefusalKind::RateLimited => r(451, (4, 7, 1), 429, "rate_limited"),
        RefusalKind::QuotaExhausted => r(451, (4, 7, 1), 429, "quota_exhausted"),
        RefusalKind::TenantPaused => r(450, (4, 7, 1), 403, "tenant_paused"),
        RefusalKind::TenantClosing => r(550, (5, 7, 1), 403, "tenant_closing"),
        RefusalKind::MessageTooLarge => r(552, (5, 3, 4), 413, "message_too_large"),
        RefusalKind::TooManyRecipients => r(452, (4, 5, 3), 422, "too_many_recipients"),
        RefusalKind::MessageMalformed => r(554, (5, 6, 0), 422, "message_malformed"),
        RefusalKind::MailLoop => r(554, (5, 4, 6), 422, "mail_loop"),
        RefusalKind::LocalTrouble => r(451, (4, 3, 0), 503, "try_again_later"),
        RefusalKind::ShareUsedUp => r(451, (4, 3, 0), 429, "too_many_requests"),
        RefusalKind::StorageFull => r(452, (4, 3, 1), 507, "storage_full"),
        RefusalKind::DiskStalled => r(421, (4, 3, 0), 503, "try_again_later"),
        RefusalKind::ShuttingDown => r(421, (4, 3, 2), 503, "shutting_down"),
        RefusalKind::TooManyConnections => r(421, (4, 7, 0), 429, "too_many_connections"),
        RefusalKind::NoSuchRecipient => r(550, (5, 1, 1), 422, "no_such_recipient"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_trouble_is_never_permanent() {
        use RefusalKind::*;
        let ours = [
            CredentialLocked,
            RateLimited,
            QuotaExhausted,
            TenantPaused,
            LocalTrouble,
            ShareUsedUp,
            StorageFull,
            DiskStalled,
            ShuttingDown,
            TooManyConnections,
            TooManyRecipients,
        ];
        for kind in ours {
            let reply = Refusal::new(kind, "x").to_reply();
            assert!(reply.code.is_transient(), "{kind:?}");
            assert_eq!(reply.enhanced.map(EnhancedStatus::class), Some(4), "{kind:?}");
        }
    }

    #[test]
    fn a_quota_says_when_to_come_back() {
        let refusal = Refusal::new(RefusalKind::QuotaExhausted, "the limit of 5 messages a day is used up")
            .with_retry_after(Duration::from_millis(1200));
        assert_eq!(
            refusal.to_reply().to_line(),
            "451 4.7.1 the limit of 5 messages a day is used up; retry in 2 s"
        );
        assert_eq!((refusal.http_status(), refusal.problem_code()), (429, "quota_exhausted"));
    }

    #[test]
    fn a_full_disk_is_told_from_other_trouble() {
        let refusal =
            Refusal::new(RefusalKind::StorageFull, "no room").with_retry_after(Duration::from_secs(30));
        assert_eq!(refusal.to_reply().to_line(), "452 4.3.1 no room; retry in 30 s");
        assert_eq!((refusal.http_status(), refusal.problem_code()), (507, "storage_full"));
        let other = Refusal::new(RefusalKind::LocalTrouble, "later");
        assert_eq!((other.to_reply().to_line().as_str(), other.http_status()), ("451 4.3.0 later", 503));
    }

    #[test]
    fn a_word_is_repeated_only_if_it_is_short_and_plain() {
        for word in ["", "a b", "a\r\nb", "n\u{e4}he", "\u{1b}[31m", &"x".repeat(65)] {
            assert_eq!(echo(word), None, "{word:?}");
        }
        let longest = "x".repeat(64);
        assert_eq!((echo("nowhere"), echo(&longest)), (Some("nowhere"), Some(longest.as_str())));
    }

    #[test]
    fn the_detail_stays_inside() {
        let refusal =
            Refusal::new(RefusalKind::BadCredential, "wrong user name or password").with_detail("revoked");
        assert!(!refusal.to_reply().to_line().contains("revoked"));
        assert_eq!(refusal.detail(), Some("revoked"));
    }
}
