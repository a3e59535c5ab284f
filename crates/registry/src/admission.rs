//! The registry check: may this be taken, as whose mail, in which stream, from which pool? Read this first.
//!
//! One pure function, `Snapshot::admit`, asked by both doors before a message is prepared; its answer, `Admitted`,
//! cannot be made anywhere else. Around it: who is at the door (`authenticate`), and the early check of a
//! reverse-path, so that MAIL FROM can already be refused. A refusal names what the client sent and nothing of
//! another tenant; a domain of somebody else and a domain of nobody get the same answer.

use crate::access::{Access, Actor, Right};
use crate::credential::{ApiKey, CredentialRef};
use crate::domain::SendingDomain;
use crate::pool::EgressPool;
use crate::secret::parse_api_key;
use crate::snapshot::Snapshot;
use crate::stream::Stream;
use crate::tenant::{Tenant, TenantStatus};
use crate::throttle::Guess;
use crate::usage::Usage;
use mail::message::Agent;
use mail::{
    ApiKeyId, CredentialId, Domain, Envelope, Mailbox, Refusal, RefusalKind, ReversePath, StreamId, TenantId,
    Timestamp, UserId, echo,
};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Tags of one message.
pub const TAGS_MAX: usize = 10;
/// Characters of a tag; it has at least one.
pub const TAG_CHARS_MAX: usize = 64;
/// Metadata pairs of one message.
pub const METADATA_MAX: usize = 20;
/// Octets of the key of a metadata pair in UTF-8; it has at least one.
pub const METADATA_KEY_OCTETS_MAX: usize = 64;
/// Octets of the value of a metadata pair in UTF-8; it may be empty.
pub const METADATA_VALUE_OCTETS_MAX: usize = 512;
/// How far ahead a message may be scheduled.
pub const SEND_AT_AHEAD_MAX: Duration = Duration::from_secs(30 * 86_400);

/// What proved who is sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SenderKey {
    /// An SMTP credential.
    Credential(CredentialId),
    /// An API key.
    ApiKey(ApiKeyId),
    /// A person who logged in to the API.
    User(UserId),
}

/// Somebody who was let in and may submit for one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sender {
    tenant: TenantId,
    key: SenderKey,
}

/// What the header section or the JSON asked for, as text: nothing in it is trusted yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Steering {
    /// `X-Posthouse-Stream` or `stream`: its name.
    pub stream: Option<String>,
    /// `X-Posthouse-Pool` or `pool`: its name.
    pub pool: Option<String>,
    /// `X-Posthouse-Tags` or `tags`: they come back in events.
    pub tags: Vec<String>,
    /// `X-Posthouse-Metadata` or `metadata`: names and values, which come back in events.
    pub metadata: Vec<(String, String)>,
    /// Not to be attempted before.
    pub send_at: Option<Timestamp>,
}

/// A message at the door.
#[derive(Debug, Clone)]
pub struct Offer<'a> {
    /// Who has shown a secret at the door.
    pub sender: Sender,
    /// Whom it is from and for; its reverse-path is checked like From.
    pub envelope: &'a Envelope,
    /// Every mailbox of the From fields, in order.
    pub from: &'a [Mailbox],
    /// Whoever else the header section says has sent it.
    pub agents: &'a [Agent],
    /// Octets of header section and body.
    pub size: u64,
    /// What the client wants done with it.
    pub steering: Steering,
}

/// A message that may be taken. Only `Snapshot::admit` makes one.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Whose it is, as it was when it was taken.
    pub tenant: Arc<Tenant>,
    /// Which kind of the tenant's mail it is: how long it is tried, and who may overtake it.
    pub stream: Arc<Stream>,
    /// The signing domain: the one of From.
    pub domain: Arc<SendingDomain>,
    /// Whose addresses it leaves from.
    pub pool: Arc<EgressPool>,
    /// What AUTH was given, at the SMTP door.
    pub credential: Option<CredentialId>,
    /// What the request carried, at the HTTP door.
    pub api_key: Option<ApiKeyId>,
    /// In the order in which they were named.
    pub tags: Vec<String>,
    /// Names and values in the order in which they were named.
    pub metadata: Vec<(String, String)>,
    /// Not to be attempted before.
    pub send_at: Option<Timestamp>,
    /// From then on it is settled as expired, whatever was tried.
    pub expires_at: Timestamp,
    _proof: Proof,
}

#[derive(Debug, Clone, Copy)]
struct Proof;

impl Sender {
    /// Whoever has shown this credential.
    pub fn of_credential(credential: &CredentialRef) -> Sender {
        Sender { tenant: credential.tenant, key: SenderKey::Credential(credential.id) }
    }

    /// None if the access does not reach the tenant, may not send, or is one of our own workers.
    pub fn of_access(access: &Access, tenant: TenantId) -> Option<Sender> {
        let access = access.within(tenant)?;
        let key = match access.actor() {
            Actor::User(user) => SenderKey::User(user),
            Actor::ApiKey(key) => SenderKey::ApiKey(key),
            Actor::House(_) => return None,
        };
        access.may(Right::Send).then_some(Sender { tenant, key })
    }

    /// Whose mail it is.
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// What limits and sessions are counted by.
    pub const fn key(&self) -> SenderKey {
        self.key
    }

    /// None at the HTTP door.
    pub const fn credential(&self) -> Option<CredentialId> {
        match self.key {
            SenderKey::Credential(id) => Some(id),
            SenderKey::ApiKey(_) | SenderKey::User(_) => None,
        }
    }

    /// None at the SMTP door.
    pub const fn api_key(&self) -> Option<ApiKeyId> {
        match self.key {
            SenderKey::ApiKey(id) => Some(id),
            SenderKey::Credential(_) | SenderKey::User(_) => None,
        }
    }
}

impl Snapshot {
    /// SMTP AUTH.
    ///
    /// # Errors
    /// `BadCredential`. Unknown, wrong, revoked, expired and from a foreign network are one answer after one
    /// amount of work; which it was stands in the detail.
    pub fn authenticate(
        &self,
        username: &str,
        password: &str,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<CredentialRef, Refusal> {
        let shown = self.secrets.password_macs(password);
        let credential = self.credential_by_username(username);
        let matches = shown.matches(credential.map(|c| &c.secret_mac));
        match credential {
            None => Err(bad_credential("unknown")),
            Some(_) if !matches => Err(bad_credential("wrong secret")),
            Some(credential) if !credential.is_usable(peer, now) => {
                Err(bad_credential("revoked, expired or network"))
            }
            Some(credential) => Ok(Arc::clone(credential)),
        }
    }

    /// By which the throttle knows a wrong secret again.
    pub fn guess(&self, username: &str, password: &str) -> Guess {
        self.secrets.guess(username, password)
    }

    /// `Authorization: Bearer ph_live_…`.
    ///
    /// # Errors
    /// `BadCredential`, alike whatever is wrong with it: no key by its form, unknown, wrong, revoked, expired
    /// or shown from elsewhere. Which it was stands in the detail.
    pub fn authenticate_api_key(
        &self,
        text: &str,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<Arc<ApiKey>, Refusal> {
        let (id, secret) = parse_api_key(text).ok_or_else(|| bad_credential("not an API key"))?;
        let shown = self.secrets.api_key_macs(secret);
        let key = self.api_key(id);
        let matches = match key {
            None => shown.matches(None),
            Some(key) => key.has_secret(&shown, now),
        };
        match key {
            None => Err(bad_credential("unknown")),
            Some(_) if !matches => Err(bad_credential("wrong secret")),
            Some(key) if !key.is_usable(peer, now) => Err(bad_credential("revoked, expired or network")),
            Some(key) => Ok(Arc::clone(key)),
        }
    }

    /// MAIL FROM. Has no opinion of the null reverse-path: the doors refuse it (`not_null`,
    /// `ingress/src/submission.rs`).
    ///
    /// # Errors
    /// `BadCredential` if what was shown at the beginning is revoked or expired by now, `TenantPaused` or
    /// `TenantClosing` by the tenant's status, `SenderNotAllowed` for a domain that the tenant has not proved
    /// or the credential may not use.
    pub fn may_use_reverse_path(
        &self,
        sender: &Sender,
        path: &ReversePath,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.open_tenant(sender, now)?;
        match path.domain() {
            None => Ok(()),
            Some(domain) => self.usable_domain(sender, domain, None).map(|_| ()),
        }
    }

    /// MAIL with SIZE, and every message: what the plan allows.
    ///
    /// # Errors
    /// `MessageTooLarge` for more octets than the plan's `message_octets_max`.
    pub fn may_have_octets(&self, sender: &Sender, octets: u64) -> Result<(), Refusal> {
        let max = self.tenant(sender.tenant).map_or(u64::MAX, |tenant| tenant.plan.message_octets_max);
        if octets > max {
            let text = format!("the message is larger than the {max} octets that this account may send");
            return Err(Refusal::new(RefusalKind::MessageTooLarge, text));
        }
        Ok(())
    }

    /// RCPT, and every message: how many recipients one may have. More than fit into a day would be told to come back
    /// for ever.
    ///
    /// # Errors
    /// `TooManyRecipients` for more than the plan's `recipients_max` or `per_day`, or the credential's
    /// `per_day`.
    pub fn may_have_recipients(&self, sender: &Sender, recipients: u64) -> Result<(), Refusal> {
        let Some(tenant) = self.tenant(sender.tenant) else { return Ok(()) };
        let credential = sender.credential().and_then(|id| self.credential(id));
        let limits = [
            (Some(u64::from(tenant.plan.recipients_max)), "this account", "in one message"),
            (tenant.plan.per_day, "this account", "a day"),
            (credential.and_then(|credential| credential.limits.per_day), "this credential", "a day"),
        ];
        // A limit of none is for the usage to refuse: no splitting helps.
        let over = |max: u64| max > 0 && recipients > max;
        match limits.into_iter().find(|(max, ..)| max.is_some_and(over)) {
            Some((Some(max), whose, period)) => {
                let text = format!(
                    "{whose} may send to {max} recipients {period}; send to the rest in another message"
                );
                Err(Refusal::new(RefusalKind::TooManyRecipients, text))
            }
            Some((None, ..)) | None => Ok(()),
        }
    }

    /// The registry check. Charges the usage only when everything else is allowed.
    ///
    /// # Errors
    /// The first refusal, in this order: `BadCredential`, `TenantPaused` or `TenantClosing` as in
    /// `may_use_reverse_path`; `BadSteering` without any recipient; those of `may_have_octets` and
    /// `may_have_recipients`; `SenderNotAllowed` for the domain of the reverse-path; `AmbiguousFrom` unless
    /// From has one mailbox; `SenderNotAllowed` for the domain of From, Sender or a Resent- field;
    /// `BadSteering` for tags, metadata or a time beyond their limits; `UnknownReference` for a stream or
    /// pool that is not the tenant's to use; `LocalTrouble` if the stream's pool is gone; and last as
    /// [`Usage::charge`] does.
    pub fn admit(&self, offer: &Offer<'_>, usage: &mut Usage, now: Timestamp) -> Result<Admitted, Refusal> {
        let tenant = self.open_tenant(&offer.sender, now)?;
        let recipients = offer.envelope.recipients.len() as u64;
        if recipients == 0 {
            return Err(Refusal::new(RefusalKind::BadSteering, "the message has no recipient"));
        }
        self.may_have_octets(&offer.sender, offer.size)?;
        self.may_have_recipients(&offer.sender, recipients)?;
        self.may_use_reverse_path(&offer.sender, &offer.envelope.reverse_path, now)?;
        let domain = match offer.from {
            [from] => self.usable_domain(&offer.sender, from.domain(), None)?,
            _ => return Err(Refusal::new(RefusalKind::AmbiguousFrom, "From must hold exactly one address")),
        };
        offer.agents.iter().try_for_each(|agent| self.may_name_agent(&offer.sender, agent))?;
        check_steering(&offer.steering, now)?;
        let stream = self.stream_of(offer)?;
        let pool = self.pool_of(offer, stream)?;

        let credential = offer.sender.credential().and_then(|id| self.credential(id));
        let limits = credential.map(|credential| (credential.id, &credential.limits));
        usage.charge((tenant.id, &tenant.plan), limits, recipients, now)?;

        let starts = offer.steering.send_at.map_or(now, |at| at.max(now));
        Ok(Admitted {
            tenant: Arc::clone(tenant),
            stream: Arc::clone(stream),
            domain: Arc::clone(domain),
            pool: Arc::clone(pool),
            credential: offer.sender.credential(),
            api_key: offer.sender.api_key(),
            tags: offer.steering.tags.clone(),
            metadata: offer.steering.metadata.clone(),
            send_at: offer.steering.send_at.filter(|at| *at > now),
            expires_at: starts.saturating_add(stream.expires_after),
            _proof: Proof,
        })
    }

    /// The tenant, if its doors are open and the key that was shown at the beginning of the session still counts: it is
    /// neither revoked nor expired. Networks are of the beginning only.
    fn open_tenant(&self, sender: &Sender, now: Timestamp) -> Result<&Arc<Tenant>, Refusal> {
        let goes_on = |end: Option<Timestamp>| end.is_none_or(|end| now < end);
        let holds = match sender.key {
            SenderKey::Credential(id) => {
                self.credential(id).is_some_and(|own| own.tenant == sender.tenant && goes_on(own.expires_at))
            }
            SenderKey::ApiKey(id) => self.api_key(id).is_some_and(|own| goes_on(own.expires_at)),
            SenderKey::User(_) => true,
        };
        let tenant =
            self.tenant(sender.tenant).filter(|_| holds).ok_or_else(|| bad_credential("gone since"))?;
        match tenant.status {
            TenantStatus::Active => Ok(tenant),
            TenantStatus::Paused => Err(Refusal::new(RefusalKind::TenantPaused, "this account is paused")),
            TenantStatus::Quarantined => {
                Err(Refusal::new(RefusalKind::TenantPaused, "this account is under review"))
            }
            TenantStatus::Closing => Err(Refusal::new(RefusalKind::TenantClosing, "this account is closed")),
        }
    }

    /// A refusal ends with `remedy`, or with what helps a reverse-path and From.
    fn usable_domain(
        &self,
        sender: &Sender,
        name: &Domain,
        remedy: Option<&str>,
    ) -> Result<&Arc<SendingDomain>, Refusal> {
        let not_allowed = |text: &str, usual: &str| {
            let text = format!("{text}; {}", remedy.unwrap_or(usual));
            Refusal::new(RefusalKind::SenderNotAllowed, text)
        };
        let domain = self.sending_domain(sender.tenant, name).filter(|domain| domain.may_send());
        let domain = domain.ok_or_else(|| {
            let text = format!("{name} is not a verified domain of this account");
            not_allowed(&text, "verify it, or send from one that is")
        })?;
        let credential = sender.credential().and_then(|id| self.credential(id));
        if credential.is_some_and(|credential| !credential.may_use(name)) {
            let text = format!("this credential may not use {name}");
            return Err(not_allowed(&text, "use one that may, or another domain"));
        }
        Ok(domain)
    }

    /// Sender and the Resent- fields: a name that mail programs show is proved like the one in From.
    fn may_name_agent(&self, sender: &Sender, agent: &Agent) -> Result<(), Refusal> {
        let remedy = Some("use a domain of From, or leave the field out");
        self.usable_domain(sender, agent.mailbox.domain(), remedy).map(|_| ()).map_err(|refusal| {
            let text = format!("{}: {}", agent.field.as_str(), refusal.public());
            Refusal::new(refusal.kind, text)
        })
    }

    /// The stream that was asked for, the one the key is bound to, or the tenant's first.
    fn stream_of(&self, offer: &Offer<'_>) -> Result<&Arc<Stream>, Refusal> {
        let tenant = offer.sender.tenant;
        let unknown = |text: String| Refusal::new(RefusalKind::UnknownReference, text);
        let asked = match &offer.steering.stream {
            None => None,
            Some(name) => {
                Some(self.stream_by_name(tenant, name).ok_or_else(|| unknown(no_such("stream", name)))?)
            }
        };
        let bound = self.bound_stream(&offer.sender).and_then(|id| self.stream(id));
        match (asked, bound) {
            (Some(asked), Some(bound)) if asked.id != bound.id => {
                Err(unknown(format!("this credential sends in the stream {} only", bound.name)))
            }
            (Some(stream), _) | (None, Some(stream)) => Ok(stream),
            (None, None) => self
                .stream_default(tenant)
                .ok_or_else(|| unknown("this account has no stream; create one first".to_owned())),
        }
    }

    fn bound_stream(&self, sender: &Sender) -> Option<StreamId> {
        match sender.key {
            SenderKey::Credential(id) => self.credential(id)?.stream,
            SenderKey::ApiKey(id) => self.api_key(id)?.stream,
            SenderKey::User(_) => None,
        }
    }

    /// The stream's pool, unless another one was asked for that is the tenant's own or that one of its streams uses.
    fn pool_of(&self, offer: &Offer<'_>, stream: &Stream) -> Result<&Arc<EgressPool>, Refusal> {
        let tenant = offer.sender.tenant;
        match &offer.steering.pool {
            None => self.pool(stream.pool).ok_or_else(|| {
                Refusal::new(RefusalKind::LocalTrouble, "local trouble, try again later")
                    .with_detail("pool is gone")
            }),
            Some(name) => self
                .pools()
                .find(|pool| pool.name.as_str() == name.as_str() && self.is_assigned(pool, tenant))
                .ok_or_else(|| Refusal::new(RefusalKind::UnknownReference, no_such("pool", name))),
        }
    }

    /// Whether the tenant may choose this pool: it is its own, or an operator put one of its streams there.
    pub fn is_assigned(&self, pool: &EgressPool, tenant: TenantId) -> bool {
        let of_streams = || {
            let streams = self.streams_of(tenant).iter();
            streams.flat_map(|stream| [Some(stream.pool), stream.overflow_pool]).any(|id| id == Some(pool.id))
        };
        pool.is_open_to(tenant) && (pool.tenant.is_some() || of_streams())
    }
}

fn bad_credential(detail: &str) -> Refusal {
    Refusal::new(RefusalKind::BadCredential, "wrong user name or password").with_detail(detail)
}

fn no_such(what: &str, name: &str) -> String {
    match echo(name) {
        Some(name) => format!("there is no {what} {name} that this account may use"),
        None => format!("there is no {what} of the name that was given"),
    }
}

fn check_steering(steering: &Steering, now: Timestamp) -> Result<(), Refusal> {
    let bad = |text: String| Err(Refusal::new(RefusalKind::BadSteering, text));
    let plain = |text: &str| !text.chars().any(char::is_control);
    if steering.tags.len() > TAGS_MAX {
        return bad(format!("at most {TAGS_MAX} tags"));
    }
    if steering.tags.iter().any(|tag| tag.is_empty() || tag.chars().count() > TAG_CHARS_MAX || !plain(tag)) {
        return bad(format!("a tag has 1 to {TAG_CHARS_MAX} characters and no control character"));
    }
    if steering.metadata.len() > METADATA_MAX {
        return bad(format!("at most {METADATA_MAX} metadata entries"));
    }
    let fits = |(key, value): &(String, String)| {
        !key.is_empty()
            && key.len() <= METADATA_KEY_OCTETS_MAX
            && value.len() <= METADATA_VALUE_OCTETS_MAX
            && plain(key)
            && plain(value)
    };
    if !steering.metadata.iter().all(fits) {
        return bad(format!(
            "a metadata key has at most {METADATA_KEY_OCTETS_MAX} octets and a value {METADATA_VALUE_OCTETS_MAX}"
        ));
    }
    if steering.send_at.is_some_and(|at| at > now.saturating_add(SEND_AT_AHEAD_MAX)) {
        return bad("the time to send at is more than 30 days ahead".to_owned());
    }
    Ok(())
}
