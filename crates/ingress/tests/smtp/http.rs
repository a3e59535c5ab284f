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
        ("a@client.example", "Received: x\r\n".repeat(101) + &ours(), RefusalKind::MailLoop),
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
