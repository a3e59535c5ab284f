//! The registry check: first everything that is refused, then what an admission says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use mail::dkim::SigningKey;
use mail::message::{Agent, AgentField};
use mail::{
    CredentialId, DkimKeyId, Domain, DomainId, Envelope, ForwardPath, Mailbox, PoolId, Recipient,
    RefusalKind, ReversePath, StreamId, TenantId, Timestamp,
};
use registry::{
    Access, Credential, DomainKey, DomainState, EgressPool, Generation, KeyState, Limits, Offer, Plan, Role,
    SecretKey, Sender, SendingDomain, Snapshot, SnapshotBuilder, Steering, Stream, StreamKind, Tenant,
    TenantStatus, Usage, sample,
};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const NOW: Timestamp = Timestamp::from_millis(1_795_425_249_120);
const PEER: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

const ONE: TenantId = TenantId::from_uuid(Uuid::from_u128(1));
const TWO: TenantId = TenantId::from_uuid(Uuid::from_u128(2));

fn secrets() -> Arc<SecretKey> {
    Arc::new(SecretKey::new(&[7; 32]))
}

fn tenant(id: TenantId, status: TenantStatus, plan: Plan) -> Tenant {
    Tenant { status, plan, ..sample::tenant(id, NOW) }
}

fn stream(number: u128, tenant: TenantId, kind: StreamKind, pool: u128) -> Stream {
    sample::stream(StreamId::from_uuid(id(number)), tenant, kind, PoolId::from_uuid(id(pool)), NOW)
}

fn pool(number: u128, name: &str, tenant: Option<TenantId>) -> EgressPool {
    sample::pool(PoolId::from_uuid(id(number)), name, tenant)
}

fn domain(number: u128, tenant: TenantId, name: &str, state: DomainState) -> SendingDomain {
    let key = |number, selector| {
        let signer = Arc::new(SigningKey::generate_ed25519().unwrap());
        sample::key(DkimKeyId::from_uuid(id(number)), selector, signer)
    };
    let keys = vec![key(1, "b"), DomainKey { state: KeyState::Next, ..key(2, "c") }];
    sample::domain(DomainId::from_uuid(id(number)), tenant, name, state, keys)
}

fn credential() -> Credential {
    sample::credential(
        CredentialId::from_uuid(id(50)),
        ONE,
        "anna",
        secrets().password_mac("secret", Timestamp::UNIX_EPOCH),
    )
}

/// Tenant one with a verified, a pending and a suspended domain; tenant two with a domain and a pool of its own.
fn builder(status: TenantStatus, plan: Plan) -> SnapshotBuilder {
    SnapshotBuilder::new(Generation(3), NOW, secrets())
        .tenant(tenant(ONE, status, plan))
        .tenant(tenant(TWO, TenantStatus::Active, Plan::default()))
        .stream(stream(11, ONE, StreamKind::Transactional, 21))
        .stream(stream(12, ONE, StreamKind::Marketing, 22))
        .pool(pool(21, "shared-a", None))
        .pool(pool(22, "shared-b", None))
        .pool(pool(23, "shared-c", None))
        .pool(pool(24, "mine", Some(ONE)))
        .pool(pool(25, "theirs", Some(TWO)))
        .domain(domain(31, ONE, "one.example", DomainState::Verified))
        .domain(domain(32, ONE, "pending.example", DomainState::Pending))
        .domain(domain(33, ONE, "late.example", DomainState::Degraded))
        .domain(domain(34, ONE, "stopped.example", DomainState::Suspended))
        .domain(domain(35, TWO, "two.example", DomainState::Verified))
        .domain(domain(36, TWO, "pending.example", DomainState::Verified))
}

fn snapshot() -> Snapshot {
    builder(TenantStatus::Active, Plan::default()).credential(credential()).build()
}

fn envelope(reverse_path: &str, recipients: usize) -> Envelope {
    let recipient = |n| Recipient::new(ForwardPath::parse(&format!("r{n}@example.net")).unwrap());
    Envelope::new(ReversePath::parse(reverse_path).unwrap(), (0..recipients).map(recipient).collect())
}

/// What comes of a message from `a@one.example` to one recipient, after `change`.
struct Case {
    snapshot: Snapshot,
    from: Vec<&'static str>,
    agents: Vec<(AgentField, &'static str)>,
    envelope: Envelope,
    size: u64,
    steering: Steering,
}

impl Case {
    fn new() -> Case {
        Case::of(snapshot())
    }

    fn of(snapshot: Snapshot) -> Case {
        let envelope = envelope("a@one.example", 1);
        let (from, agents) = (vec!["a@one.example"], Vec::new());
        Case { snapshot, from, agents, envelope, size: 1000, steering: Steering::default() }
    }

    fn admit(&self) -> Result<registry::Admitted, mail::Refusal> {
        let from: Vec<Mailbox> = self.from.iter().map(|text| Mailbox::parse(text).unwrap()).collect();
        let sender = Sender::of_credential(&Arc::new(credential()));
        let steering = self.steering.clone();
        let agent = |(field, text): &(AgentField, &str)| Agent {
            field: *field,
            mailbox: Mailbox::parse(text).unwrap(),
        };
        let agents: Vec<Agent> = self.agents.iter().map(agent).collect();
        let (envelope, size) = (&self.envelope, self.size);
        let offer = Offer { sender, envelope, from: &from, agents: &agents, size, steering };
        self.snapshot.admit(&offer, &mut Usage::new(), NOW)
    }

    fn refused(&self) -> RefusalKind {
        self.admit().unwrap_err().kind
    }
}

/// A session may be open for long.
#[test]
fn a_credential_that_expires_within_a_session_sends_nothing_more() {
    for (end, refused) in [(NOW, true), (NOW.saturating_add(Duration::from_millis(1)), false)] {
        let credential = Credential { expires_at: Some(end), ..credential() };
        let snapshot = builder(TenantStatus::Active, Plan::default()).credential(credential).build();
        let case = Case::of(snapshot);
        let sender = Sender::of_credential(&Arc::new(self::credential()));
        let path = case.snapshot.may_use_reverse_path(&sender, &case.envelope.reverse_path, NOW);
        for outcome in [path, case.admit().map(|_| ())] {
            let kind = outcome.err().map(|refusal| refusal.kind);
            assert_eq!(kind, refused.then_some(RefusalKind::BadCredential), "{end}");
        }
    }
}

#[test]
fn a_wrong_unknown_expired_or_revoked_credential_gets_one_answer() {
    let ended = Credential { expires_at: Some(NOW), ..credential() };
    let away = Credential { networks: vec!["198.51.100.0/24".parse().unwrap()], ..credential() };
    let revoked = Credential { revoked_at: Some(NOW), ..credential() };
    let mut answers = vec![
        snapshot().authenticate("anna", "wrong", PEER, NOW).unwrap_err(),
        snapshot().authenticate("nobody", "secret", PEER, NOW).unwrap_err(),
    ];
    for credential in [ended, away, revoked] {
        let snapshot = builder(TenantStatus::Active, Plan::default()).credential(credential).build();
        answers.push(snapshot.authenticate("anna", "secret", PEER, NOW).unwrap_err());
    }
    assert!(answers.iter().all(|refusal| refusal.kind == RefusalKind::BadCredential));
    assert!(answers.iter().all(|refusal| refusal.public() == answers[0].public()));
    assert!(snapshot().authenticate("anna", "secret", PEER, NOW).is_ok());
}

#[test]
fn a_network_holds_for_ipv4_clients_of_an_ipv6_listener() {
    let credential = Credential { networks: vec!["192.0.2.0/24".parse().unwrap()], ..credential() };
    let snapshot = builder(TenantStatus::Active, Plan::default()).credential(credential).build();
    assert!(snapshot.authenticate("anna", "secret", "::ffff:192.0.2.1".parse().unwrap(), NOW).is_ok());
    assert!(snapshot.authenticate("anna", "secret", "::1".parse().unwrap(), NOW).is_err());
}

#[test]
fn a_domain_that_is_not_this_tenants_own_and_proved_is_refused_in_one_way() {
    for from in
        ["a@two.example", "a@nowhere.example", "a@pending.example", "a@stopped.example", "a@sub.one.example"]
    {
        let case = Case { from: vec![from], ..Case::new() };
        let refusal = case.admit().unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::SenderNotAllowed, "{from}");
        let domain = from.split_once('@').unwrap().1;
        let said =
            format!("{domain} is not a verified domain of this account; verify it, or send from one that is");
        assert_eq!(refusal.public(), said);
        let case = Case { envelope: envelope(from, 1), ..Case::new() };
        assert_eq!(case.refused(), RefusalKind::SenderNotAllowed, "MAIL FROM {from}");
    }
}

#[test]
fn no_from_or_two_are_ambiguous() {
    assert_eq!(Case { from: vec![], ..Case::new() }.refused(), RefusalKind::AmbiguousFrom);
    let two = vec!["a@one.example", "b@one.example"];
    assert_eq!(Case { from: two, ..Case::new() }.refused(), RefusalKind::AmbiguousFrom);
}

#[test]
fn a_tenant_that_is_not_active_is_refused_for_now_or_for_good() {
    for (status, kind) in [
        (TenantStatus::Paused, RefusalKind::TenantPaused),
        (TenantStatus::Quarantined, RefusalKind::TenantPaused),
        (TenantStatus::Closing, RefusalKind::TenantClosing),
    ] {
        let snapshot = builder(status, Plan::default()).credential(credential()).build();
        assert_eq!(Case::of(snapshot).refused(), kind);
    }
}

#[test]
fn a_credential_that_vanished_during_the_session_is_refused() {
    let snapshot = builder(TenantStatus::Active, Plan::default()).build();
    assert_eq!(Case::of(snapshot).refused(), RefusalKind::BadCredential);
}

#[test]
fn a_credential_bound_to_domains_or_a_stream_may_use_no_other() {
    let late = Domain::parse("late.example").unwrap();
    let bound = Credential { domains: vec![late], ..credential() };
    let snapshot = builder(TenantStatus::Active, Plan::default()).credential(bound).build();
    assert_eq!(Case::of(snapshot).refused(), RefusalKind::SenderNotAllowed);

    let bound = Credential { stream: Some(StreamId::from_uuid(id(12))), ..credential() };
    let snapshot = builder(TenantStatus::Active, Plan::default()).credential(bound).build();
    let mut case = Case::of(snapshot);
    assert_eq!(case.admit().unwrap().stream.kind, StreamKind::Marketing);
    case.steering.stream = Some("transactional".to_owned());
    assert_eq!(case.refused(), RefusalKind::UnknownReference);
}

#[test]
fn size_and_recipients_are_bounded_by_the_plan() {
    let plan = Plan { message_octets_max: 2000, recipients_max: 2, ..Plan::default() };
    let with = |size, recipients| {
        let snapshot = builder(TenantStatus::Active, plan.clone()).credential(credential()).build();
        Case { size, envelope: envelope("a@one.example", recipients), ..Case::of(snapshot) }
    };
    assert_eq!(with(2001, 1).refused(), RefusalKind::MessageTooLarge);
    assert_eq!(with(2000, 3).refused(), RefusalKind::TooManyRecipients);
    assert!(with(2000, 2).admit().is_ok());
}

#[test]
fn more_recipients_than_a_day_allows_are_never_told_to_come_back() {
    let plan = Plan { per_day: Some(5), ..Plan::default() };
    let with = |credential: Credential, recipients| {
        let snapshot = builder(TenantStatus::Active, plan.clone()).credential(credential).build();
        Case { envelope: envelope("a@one.example", recipients), ..Case::of(snapshot) }
    };
    let refusal = with(credential(), 6).admit().unwrap_err();
    assert_eq!((refusal.kind, refusal.retry_after), (RefusalKind::TooManyRecipients, None));
    assert!(refusal.public().contains("this account may send to 5 recipients a day"), "{refusal:?}");
    assert!(with(credential(), 5).admit().is_ok());
    let limits = Limits { per_day: Some(2), ..Limits::default() };
    let refusal = with(Credential { limits, ..credential() }, 3).admit().unwrap_err();
    assert_eq!((refusal.kind, refusal.retry_after), (RefusalKind::TooManyRecipients, None));
    assert!(refusal.public().contains("this credential may send to 2 recipients a day"), "{refusal:?}");
    // Nothing at all a day: no message is small enough, so it is the limit that is told.
    let limits = Limits { per_day: Some(0), ..Limits::default() };
    assert_eq!(with(Credential { limits, ..credential() }, 1).refused(), RefusalKind::QuotaExhausted);
}

#[test]
fn a_name_that_does_not_exist_is_repeated_if_it_is_plain() {
    let refused = |steering| Case { steering, ..Case::new() }.admit().unwrap_err().public().to_owned();
    let stream = |name: &str| refused(Steering { stream: Some(name.to_owned()), ..Steering::default() });
    let pool = |name: &str| refused(Steering { pool: Some(name.to_owned()), ..Steering::default() });
    assert_eq!(stream("nowhere"), "there is no stream nowhere that this account may use");
    assert_eq!(pool("nowhere"), "there is no pool nowhere that this account may use");
    // Whether somebody else has one of that name is not told.
    assert_eq!(pool("theirs"), "there is no pool theirs that this account may use");
    for odd in ["no where", "n\u{f6}where", "a\r\nb", &"x".repeat(65)] {
        assert_eq!(stream(odd), "there is no stream of the name that was given");
        assert_eq!(pool(odd), "there is no pool of the name that was given");
    }
}

#[test]
fn steering_that_cannot_be_used_is_refused() {
    let refused = |steering: Steering| Case { steering, ..Case::new() }.refused();
    let text = |text: &str| Some(text.to_owned());
    let none = Steering::default;
    assert_eq!(refused(Steering { stream: text("unknown"), ..none() }), RefusalKind::UnknownReference);
    for pool in ["unknown", "theirs", "shared-c"] {
        assert_eq!(refused(Steering { pool: text(pool), ..none() }), RefusalKind::UnknownReference, "{pool}");
    }
    assert_eq!(refused(Steering { tags: vec!["x".to_owned(); 11], ..none() }), RefusalKind::BadSteering);
    assert_eq!(refused(Steering { tags: vec!["a\nb".to_owned()], ..none() }), RefusalKind::BadSteering);
    let long = vec![("k".to_owned(), "v".repeat(513))];
    assert_eq!(refused(Steering { metadata: long, ..none() }), RefusalKind::BadSteering);
    let far = Some(NOW.saturating_add(Duration::from_secs(31 * 86_400)));
    assert_eq!(refused(Steering { send_at: far, ..none() }), RefusalKind::BadSteering);
}

#[test]
fn who_else_is_named_as_the_sender_is_of_a_verified_domain_of_the_tenant_too() {
    for field in [AgentField::Sender, AgentField::ResentFrom, AgentField::ResentSender] {
        let mut case = Case::new();
        case.agents = vec![(field, "a@one.example"), (field, "a@elsewhere.example")];
        let refusal = case.admit().unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::SenderNotAllowed);
        let wanted = format!(
            "{}: elsewhere.example is not a verified domain of this account; use a domain of From, or leave the field out",
            field.as_str()
        );
        assert_eq!(refusal.public(), wanted);
        case.agents.pop();
        case.admit().unwrap();
    }
}

#[test]
fn a_refused_message_is_not_charged() {
    let snapshot = snapshot();
    let mut usage = Usage::new();
    let sender = Sender::of_credential(&Arc::new(credential()));
    let envelope = envelope("a@one.example", 5);
    let mut offer =
        Offer { sender, envelope: &envelope, from: &[], agents: &[], size: 1, steering: Steering::default() };
    snapshot.admit(&offer, &mut usage, NOW).unwrap_err();
    assert_eq!(usage.of_tenant(ONE, NOW).today, 0);
    let from = [Mailbox::parse("a@one.example").unwrap()];
    offer.from = &from;
    snapshot.admit(&offer, &mut usage, NOW).unwrap();
    assert_eq!(usage.of_tenant(ONE, NOW).today, 5);
}

#[test]
fn only_an_access_that_may_send_becomes_a_sender() {
    let user = mail::UserId::from_uuid(id(9));
    let viewer = Access::of_user(user, Role::Viewer, Some(ONE)).unwrap();
    assert!(Sender::of_access(&viewer, ONE).is_none());
    assert!(Sender::of_access(&Access::house("test"), ONE).is_none());
    let admin = Access::of_user(user, Role::Admin, Some(ONE)).unwrap();
    assert!(Sender::of_access(&admin, TWO).is_none());
    assert_eq!(Sender::of_access(&admin, ONE).unwrap().tenant(), ONE);
}

#[test]
fn what_is_admitted_says_how_it_goes_on() {
    let mut case = Case::new();
    let admitted = case.admit().unwrap();
    assert_eq!((admitted.stream.kind, admitted.pool.name.as_str()), (StreamKind::Transactional, "shared-a"));
    assert_eq!(admitted.domain.signing_keys().map(|key| &*key.selector).collect::<Vec<_>>(), ["b"]);
    assert_eq!(admitted.expires_at, NOW.saturating_add(Duration::from_secs(86_400)));
    assert_eq!(admitted.send_at, None);

    let later = NOW.saturating_add(Duration::from_secs(600));
    case.steering = Steering {
        stream: Some("marketing".to_owned()),
        pool: Some("mine".to_owned()),
        send_at: Some(later),
        ..Steering::default()
    };
    case.from = vec!["a@late.example"];
    case.envelope = envelope("", 1);
    let admitted = case.admit().unwrap();
    assert_eq!((admitted.stream.kind, admitted.pool.name.as_str()), (StreamKind::Marketing, "mine"));
    assert_eq!(admitted.send_at, Some(later));
    assert_eq!(admitted.expires_at, later.saturating_add(Duration::from_secs(86_400)));
}
