//! The way in that HTTP uses: the same `accept()`, with what the request asked for beside what the header says.

use crate::support::{START, World, message};
use ingress::{Denial, Door, Offer};
use mail::{ApiKeyId, Envelope, ForwardPath, Random, Recipient, RefusalKind, ReversePath};
use registry::{Access, ApiKey, Right, Rights, Role, Sender, Steering};

/// A world with an API key of its tenant that may send.
async fn world() -> (World, Sender) {
    let mut world = World::new().await;
    let key = ApiKey {
        id: ApiKeyId::mint(START, &mut Random::from_number(3)),
        tenant: Some(world.registry.tenant.id),
        secret_mac: [0; 32],
        previous: None,
        role: Role::Admin,
        rights: Rights::NONE.with(Right::Send),
        stream: None,
        networks: Vec::new(),
        expires_at: None,
        revoked_at: None,
    };
    let access = Access::of_api_key(&key).unwrap();
    let sender = Sender::of_access(&access, world.registry.tenant.id).unwrap();
    world.change_registry(|registry| registry.api_keys.push(key));
    (world, sender)
}

fn offer(sender: Sender, reverse_path: &str, raw: String) -> Offer {
    let recipient = Recipient::new(ForwardPath::parse("anna@example.org").unwrap());
    Offer {
        sender,
        envelope: Envelope::new(ReversePath::parse(reverse_path).unwrap(), vec![recipient]),
        raw: raw.into(),
        steering: Steering::default(),
        peer: [127, 0, 0, 1].into(),
        door: Door::Http,
    }
}

async fn refused(world: &World, offer: Offer) -> RefusalKind {
    match world.submission.accept(offer).await {
        Err(Denial::Refusal(refusal)) => refusal.kind,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_same_rules_hold_for_http() {
    let (world, sender) = world().await;
    let ours = || message("a@client.example");
    let cases = [
        ("", ours(), RefusalKind::SenderNotAllowed),
        ("a@other.example", ours(), RefusalKind::SenderNotAllowed),
        ("a@client.example", message("a@other.example"), RefusalKind::SenderNotAllowed),
        ("a@client.example", message("a@client.example, b@client.example"), RefusalKind::AmbiguousFrom),
        ("a@client.example", "no header".to_owned(), RefusalKind::MessageMalformed),
        ("a@client.example", ours() + "bare\nline feed\r\n", RefusalKind::MessageMalformed),
        ("a@client.example", ours() + "NUL\0\r\n", RefusalKind::MessageMalformed),
        ("a@client.example", ours() + &"x".repeat(999), RefusalKind::MessageMalformed),
        ("a@client.example", "Received: x\r\n".repeat(31) + &ours(), RefusalKind::MailLoop),
    ];
    for (reverse_path, raw, kind) in cases {
        assert_eq!(refused(&world, offer(sender, reverse_path, raw.clone())).await, kind, "{raw:?}");
    }
    let nobody =
        Offer { envelope: Envelope { recipients: Vec::new(), ..envelope() }, ..offer(sender, "", ours()) };
    assert_eq!(refused(&world, nobody).await, RefusalKind::BadSteering);
}

fn envelope() -> Envelope {
    Envelope::new(ReversePath::parse("a@client.example").unwrap(), Vec::new())
}

#[tokio::test]
async fn what_the_request_asked_for_is_recorded_with_its_key() {
    let (world, sender) = world().await;
    let mut offer = offer(sender, "a@client.example", message("a@client.example"));
    offer.steering.stream = Some("marketing".into());
    offer.steering.tags = vec!["nov26".into()];
    offer.steering.metadata = vec![("order".into(), "77".into())];
    let accepted = world.submission.accept(offer).await.unwrap();
    let (record, raw) = world.accepted().await;
    assert_eq!((record.message, accepted.committed.message()), (accepted.message, accepted.message));
    assert_eq!((record.api_key, record.credential), (sender.api_key(), None));
    assert_eq!(
        (record.stream, record.tags.as_slice()),
        (world.registry.streams[1].id, &["nov26".to_owned()][..])
    );
    assert!(raw.contains("(posthouse) with HTTP id msg_"), "{raw}");
}

/// What each house has taken is offered to the other, as a forwarder between them would.
async fn hops_between_two_houses(own_max: usize) -> (usize, String) {
    let house = |hostname| {
        World::with(move |plan| {
            plan.hostname = hostname;
            plan.config.limits.received_own_fields_max = own_max;
        })
    };
    let worlds = [house("one.posthouse.test").await, house("two.posthouse.test").await];
    let mut raw = message("a@client.example");
    for hop in 0.. {
        let world = &worlds[hop % 2];
        let mut client = world.log_in().await;
        let reply = client.submit("a@client.example", &["anna@example.org"], &raw).await;
        if !reply.starts_with("250") {
            return (hop, reply);
        }
        raw = world.all_accepted(hop / 2 + 1).await.pop().unwrap().1;
    }
    unreachable!("a loop of messages ends");
}

#[tokio::test]
async fn two_houses_that_point_at_each_other_end_it() {
    let (hops, reply) = hops_between_two_houses(1).await;
    assert_eq!(hops, 4, "twice through each");
    assert!(reply.starts_with("554 5.4.6") && reply.contains("one.posthouse.test again"), "{reply}");
    let (hops, reply) = hops_between_two_houses(usize::MAX).await;
    assert_eq!(hops, 31, "as if neither knew its own name");
    assert!(reply.starts_with("554 5.4.6") && reply.contains("more than 30 hops"), "{reply}");
}

#[tokio::test]
async fn only_what_this_host_wrote_counts_as_its_own() {
    let world = World::new().await;
    let mut client = world.log_in().await;
    client.submit("a@client.example", &["anna@example.org"], &message("a@client.example")).await;
    let (_, once) = world.accepted().await;
    let own = &once[once.find("Received:").unwrap()..];
    let own = &own[..own.find(";").unwrap()];
    let received = |text: &str| format!("{text};\r\n\tMon, 23 Nov 2026 09:14:09 +0000\r\n");
    let own = received(own);
    for (more, wanted) in [
        (String::new(), "250"),
        (own.replace("mx.posthouse.test", "mx.elsewhere.test"), "250"),
        (own.replace("(posthouse)", "(Postfix)"), "250"),
        (own.replace("id msg_", "id "), "250"),
        // Folded elsewhere, in other letters.
        (own.replace(" with", "\r\n\twith").replace("mx.posthouse", "MX.Posthouse"), "554 5.4.6"),
        (own.clone(), "554 5.4.6"),
    ] {
        let raw = format!("{own}{more}{}", message("a@client.example"));
        let reply = client.submit("a@client.example", &["anna@example.org"], &raw).await;
        assert!(reply.starts_with(wanted), "{more:?}: {reply}");
    }
}
