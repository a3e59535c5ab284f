//! Both kinds of TLS, what happens around STARTTLS, and a certificate that is replaced.

use crate::support::{Client, PASSWORD, World, message, write_certificate};

#[tokio::test]
async fn commands_behind_starttls_in_the_clear_are_thrown_away() {
    let world = World::new().await;
    let mut client = world.connect().await;
    client.expect("EHLO desk.example", "250").await;
    client.send(b"STARTTLS\r\nEHLO injected.example\r\n").await;
    assert!(client.reply().await.starts_with("220"));
    if let Ok(mut client) = client.into_tls(&world.certificate).await {
        // Nothing of before the handshake is known after it.
        assert!(client.say("MAIL FROM:<a@client.example>").await.starts_with("5"));
    }
}

#[tokio::test]
async fn a_broken_handshake_ends_that_session_only() {
    let world = World::new().await;
    let mut client = world.connect().await;
    client.expect("EHLO desk.example", "250").await;
    client.expect("STARTTLS", "220").await;
    client.send(b"this is no ClientHello\r\n").await;
    let _ = client.reply().await;
    world.log_in().await;
}

#[tokio::test]
async fn implicit_tls_offers_auth_at_once_and_no_starttls() {
    let world = World::new().await;
    let address = world.addresses().submissions.unwrap();
    let mut client = Client::connect_tls(address, &world.certificate).await.unwrap();
    let offer = client.expect("EHLO desk.example", "250").await;
    assert!(offer.contains("AUTH PLAIN LOGIN") && offer.contains("REQUIRETLS"), "{offer}");
    assert!(!offer.contains("STARTTLS"), "{offer}");
    client.expect(&Client::plain("client", PASSWORD), "235").await;
    let reply = client.submit("a@client.example", &["anna@example.org"], &message("a@client.example")).await;
    assert!(reply.starts_with("250 2.0.0 queued as msg_"), "{reply}");
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_to_the_next_connection() {
    let world = World::new().await;
    let address = world.addresses().submissions.unwrap();
    let mut before = Client::connect_tls(address, &world.certificate).await.unwrap();
    assert!(!world.tls.reload().await.unwrap(), "nothing changed");

    let old_key = std::fs::read(&world.key).unwrap();
    let spare = world.directory.path().join("spare.pem");
    write_certificate(&world.certificate, &spare);
    assert!(world.tls.reload().await.is_err(), "the certificate and the old key do not fit");
    assert_eq!(std::fs::read(&world.key).unwrap(), old_key);
    assert!(Client::connect_tls(address, &world.certificate).await.is_err(), "the old pair is still in use");

    std::fs::rename(&spare, &world.key).unwrap();
    assert!(world.tls.reload().await.unwrap());
    let after = Client::connect_tls(address, &world.certificate).await.unwrap();
    assert_ne!(before.shown, after.shown);
    before.expect("NOOP", "250").await;
}

#[tokio::test]
async fn files_that_are_no_certificate_are_named() {
    let world = World::new().await;
    let config = ingress::TlsConfig::default();
    let missing = world.directory.path().join("missing.pem");
    let fault = ingress::Tls::load(&missing, &world.key, &config).await.unwrap_err();
    assert!(fault.to_string().contains("missing.pem"), "{fault}");
    std::fs::write(&missing, "nothing").unwrap();
    let fault = ingress::Tls::load(&missing, &world.key, &config).await.unwrap_err();
    assert!(fault.to_string().contains("missing.pem"), "{fault}");
    let fault = ingress::Tls::load(&world.certificate, &missing, &config).await.unwrap_err();
    assert!(fault.to_string().contains("missing.pem"), "{fault}");
}
