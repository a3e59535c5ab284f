//! Limits of connections: in total, of one address, of one credential, of one tenant; and clients that are slow.

use crate::support::{Client, PASSWORD, World, message};

#[tokio::test]
async fn one_connection_too_many_in_total_is_told_421() {
    let world = World::with(|plan| plan.config.limits.connections_max = 2).await;
    let (first, _second) = (world.connect().await, world.connect().await);
    let (_, greeting) = Client::connect_raw(world.addresses().submission.unwrap()).await;
    assert!(greeting.starts_with("421 4.7.0"), "{greeting}");
    drop(first);
    // The place is free as soon as the server has seen the end.
    for _ in 0..100 {
        let (_, greeting) = Client::connect_raw(world.addresses().submission.unwrap()).await;
        if greeting.starts_with("220") {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the place was never given back");
}

#[tokio::test]
async fn one_address_has_a_limit_for_who_has_not_logged_in() {
    let world = World::with(|plan| plan.config.limits.connections_per_address_max = 2).await;
    let (_first, _second) = (world.connect().await, world.connect().await);
    let (_, greeting) = Client::connect_raw(world.addresses().inbound.unwrap()).await;
    assert!(greeting.starts_with("421 4.7.0") && greeting.contains("your address"), "{greeting}");
}

#[tokio::test]
async fn who_has_logged_in_makes_room_for_the_next() {
    let world = World::with(|plan| plan.config.limits.connections_per_address_max = 1).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(world.log_in().await);
    }
    assert_eq!(held.len(), 5);
}

#[tokio::test]
async fn a_credential_and_a_tenant_have_limits_of_their_own() {
    let world = World::with(|plan| plan.registry.credentials[0].limits.connections = Some(1)).await;
    let _first = world.log_in().await;
    let mut second = world.encrypted().await;
    second.expect(&Client::plain("client", PASSWORD), "421 4.7.0").await;
    let world = World::with(|plan| plan.registry.tenant.plan.connections_max = 1).await;
    let _first = world.log_in().await;
    let mut second = world.encrypted().await;
    second.expect(&Client::plain("client", PASSWORD), "421 4.7.0").await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed() {
    let world = World::with(|plan| plan.config.session.command_seconds_max = 1).await;
    let mut client = world.connect().await;
    let reply = client.reply().await;
    assert!(reply.starts_with("421 4."), "{reply}");
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn too_many_octets_at_once_are_deferred_and_given_back() {
    let world = World::with(|plan| plan.config.limits.octets_in_flight_max = 100_000).await;
    let mail = format!("{}{}", message("a@client.example"), "0123456789012345678901234567\r\n".repeat(4_000));
    let mut client = world.log_in().await;
    client.expect("MAIL FROM:<a@client.example>", "250").await;
    client.expect("RCPT TO:<anna@example.org>", "250").await;
    client.expect("DATA", "354").await;
    client.send(format!("{mail}.\r\n").as_bytes()).await;
    let reply = client.reply().await;
    assert!(reply.starts_with("4"), "{reply}");
    let reply = world.log_in().await.submit("a@client.example", &["a@example.org"], &message("a@client.example")).await;
    assert!(reply.starts_with("250"), "{reply}");
}
