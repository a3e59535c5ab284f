//! The door for returned mail: no relay, no backscatter, nothing taken that is not kept.

use crate::support::{Client, World};
use ingress::ReturnedMail;
use mail::token::{TokenKey, TokenSubject};
use mail::{Domain, MessageId, Random, Refusal, RefusalKind};
use tokio::sync::mpsc;

const BOUNCE: &str = "From: mailer-daemon@example.org\r\nSubject: failed\r\n\r\nno such user\r\n";

fn subject() -> TokenSubject {
    TokenSubject {
        message: MessageId::mint(crate::support::START, &mut Random::from_number(5)),
        recipient: 3,
    }
}

fn address(key: &TokenKey) -> String {
    key.reverse_path(subject(), &Domain::parse("rp.client.example").unwrap()).to_string()
}

async fn connect(world: &World) -> Client {
    let mut client = Client::connect(world.addresses().inbound.unwrap()).await;
    let offer = client.expect("EHLO mx.example.org", "250").await;
    assert!(offer.contains("STARTTLS") && !offer.contains("AUTH"), "{offer}");
    client
}

#[tokio::test]
async fn only_a_signed_token_is_a_recipient() {
    let world = World::new().await;
    let mut client = connect(&world).await;
    client.expect("MAIL FROM:<>", "250").await;
    let forged = address(&TokenKey::new(b"another key"));
    let elsewhere =
        ["gmail.com", "client.example", "xrp.client.example", "rp.nobody.example", "mx.posthouse.test"]
            .map(|domain| address(&world.token_key).replace("rp.client.example", domain));
    let others = ["anna@client.example", "postmaster@client.example", "anna%x@rp.client.example", &forged];
    for recipient in others.into_iter().chain(elsewhere.iter().map(String::as_str)) {
        client.expect(&format!("RCPT TO:<{recipient}>"), "550 5.1.1").await;
    }
    client.expect("DATA", "5").await;
}

#[tokio::test]
async fn without_a_handler_returned_mail_is_deferred() {
    let world = World::new().await;
    let mut client = connect(&world).await;
    let to = address(&world.token_key);
    let reply = client.submit("", &[&to], BOUNCE).await;
    assert!(reply.starts_with("451 4.3.0"), "{reply}");
}

#[tokio::test]
async fn a_250_waits_for_the_handler_and_a_refusal_of_his_is_passed_on() {
    let (sender, mut receiver) = mpsc::channel::<ReturnedMail>(1);
    let world = World::with(|plan| plan.returned = Some(sender)).await;
    let handler = tokio::spawn(async move {
        let first = receiver.recv().await.unwrap();
        let seen = (first.subjects.clone(), first.reverse_path.to_string(), first.raw.clone());
        first.answer.send(Ok(())).unwrap();
        let second = receiver.recv().await.unwrap();
        second.answer.send(Err(Refusal::new(RefusalKind::LocalTrouble, "later"))).unwrap();
        seen
    });
    let mut client = connect(&world).await;
    let to = address(&world.token_key).to_uppercase();
    assert!(client.submit("", &[&to], BOUNCE).await.starts_with("250 2.0.0"));
    assert!(client.submit("", &[&to], BOUNCE).await.starts_with("451 4.3.0"));
    let (subjects, reverse_path, raw) = handler.await.unwrap();
    assert_eq!((subjects, reverse_path.as_str()), (vec![subject()], ""));
    assert_eq!(raw, BOUNCE.as_bytes());
    // The handler has gone: nothing is kept, so nothing is taken.
    assert!(client.submit("", &[&to], BOUNCE).await.starts_with("451 4.3.0"));
}
