//! Limits of connections: in total, of one address, of one credential, of one tenant; and clients that are slow.

use crate::support::{Client, PASSWORD, World, message};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn strangers_that_have_only_come_keep_their_places_and_one_more_is_told_421() {
    let world = World::with(|plan| plan.config.limits.strangers_max = 2).await;
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

/// Slowloris: many connections that never say whose they are keep nobody out.
#[tokio::test]
async fn a_crowd_that_does_not_log_in_makes_room_for_who_does() {
    let world = World::with(|plan| {
        plan.config.limits.strangers_max = 20;
        plan.config.limits.stranger_seconds_min = 0;
    })
    .await;
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(world.connect().await);
    }
    let mut honest = Vec::new();
    for _ in 0..10 {
        honest.push(world.log_in().await);
    }
    // Whoever was here longest was told; its place served all ten, one after the other.
    let told = crowd[0].reply().await;
    assert!(told.starts_with("421 4.7.0") && told.contains("authenticate"), "{told}");
    crowd[1].expect("NOOP", "250").await;
    crowd[19].expect("NOOP", "250").await;
    for client in &mut honest {
        client.expect("NOOP", "250").await;
    }
}

#[tokio::test]
async fn one_tenant_has_half_of_the_house_at_most() {
    let world = World::with(|plan| plan.config.limits.connections_max = 6).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(world.log_in().await);
    }
    let mut fourth = world.encrypted().await;
    let told = fourth.say(&Client::plain("client", PASSWORD)).await;
    assert!(told.starts_with("421 4.7.0") && told.contains("its share"), "{told}");
    // What was said in one group with it has its own answers, in front.
    let mut fifth = world.encrypted().await;
    let group = format!("NOOP\r\nRSET\r\n{}\r\n", Client::plain("client", PASSWORD));
    fifth.send(group.as_bytes()).await;
    let replies = [fifth.reply().await, fifth.reply().await, fifth.reply().await];
    assert!(replies[0].starts_with("250") && replies[1].starts_with("250"), "{replies:?}");
    assert!(replies[2].starts_with("421 4.7.0") && replies[2].contains("its share"), "{replies:?}");
}

#[tokio::test]
async fn octets_under_way_have_a_share_too() {
    let world = World::with(|plan| plan.config.limits.octets_in_flight_max = 40_000).await;
    let mut client = world.log_in().await;
    let large = format!("{}{}", message("a@client.example"), "0123456789abcdef\r\n".repeat(2_000));
    let told = client.submit("a@client.example", &["b@example.org"], &large).await;
    assert!(told.starts_with("451 4.3.0") && told.contains("your account"), "{told}");
    let mut client = world.log_in().await;
    let told = client.submit("a@client.example", &["b@example.org"], &message("a@client.example")).await;
    assert!(told.starts_with("250"), "{told}");
}

/// S7: of many large messages at once those that are let in come to their end.
#[tokio::test]
async fn a_declared_size_is_kept_free_and_what_does_not_fit_is_refused_before_it_begins() {
    let world = World::with(|plan| plan.config.limits.octets_in_flight_max = 100_000).await;
    let large = format!("{}{}", message("a@client.example"), "0123456789abcdef\r\n".repeat(1_600));
    let declared = format!("MAIL FROM:<a@client.example> SIZE={}", large.len());
    let (mut first, mut second) = (world.log_in().await, world.log_in().await);
    first.expect(&declared, "250").await;
    let told = second.expect(&declared, "452 4.3.1").await;
    assert!(told.contains("your account") && told.contains("retry in"), "{told}");
    // Without a word about its size it takes what is there, and does not push out the one that was sure of its room.
    let undeclared = second.submit("a@client.example", &["b@example.org"], &large).await;
    assert!(undeclared.starts_with("451 4.3.0"), "{undeclared}");
    first.expect("RCPT TO:<b@example.org>", "250").await;
    first.expect("DATA", "354").await;
    first.send(format!("{large}.\r\n").as_bytes()).await;
    let told = first.reply().await;
    assert!(told.starts_with("250"), "{told}");
    // Its room is free again, and so is that of a transaction that came to nothing.
    for _ in 0..3 {
        first.expect(&declared, "250").await;
        first.expect("RSET", "250").await;
    }
    let mut third = world.log_in().await;
    third.expect(&declared, "250").await;
    third.expect("RCPT TO:<b@example.org>", "250").await;
    // A chunk announces itself.
    let mut fourth = world.log_in().await;
    fourth.expect("MAIL FROM:<a@client.example>", "250").await;
    fourth.expect("RCPT TO:<b@example.org>", "250").await;
    fourth.send(format!("BDAT {} LAST\r\n{large}", large.len()).as_bytes()).await;
    let told = fourth.reply().await;
    assert!(told.starts_with("452 4.3.1") && told.contains("your account"), "{told}");
    fourth.expect("NOOP", "250").await;
    third.send(format!("BDAT {} LAST\r\n{large}", large.len()).as_bytes()).await;
    let told = third.reply().await;
    assert!(told.starts_with("250"), "{told}");
}

#[tokio::test]
async fn who_announces_a_message_and_does_not_send_it_keeps_no_room_for_ever() {
    let world = World::with(|plan| {
        plan.config.limits.octets_in_flight_max = 100_000;
        plan.config.session.claim_seconds_max = 1;
        plan.config.session.idle_commands_max = u32::MAX;
    })
    .await;
    let (mut idle, mut other) = (world.log_in().await, world.log_in().await);
    idle.expect("MAIL FROM:<a@client.example> SIZE=50000", "250").await;
    idle.expect("RCPT TO:<b@example.org>", "250").await;
    other.expect("MAIL FROM:<a@client.example> SIZE=50000", "452 4.3.1").await;
    while world.submission.octets_held() > 0 {
        idle.expect("NOOP", "250").await;
    }
    other.expect("MAIL FROM:<a@client.example> SIZE=50000", "250").await;
    // Now it finds no room itself; the session goes on.
    idle.expect("DATA", "452 4.3.1").await;
    other.expect("RSET", "250").await;
    let told = idle.submit("a@client.example", &["b@example.org"], &message("a@client.example")).await;
    assert!(told.starts_with("250"), "{told}");
}

/// S7: clients that say no SIZE and are together more than their tenant's share.
#[tokio::test]
async fn of_messages_that_grow_beyond_the_share_the_oldest_comes_to_its_end() {
    let world = World::with(|plan| plan.config.limits.octets_in_flight_max = 200_000).await;
    let (half, rest) = ("0123456789abcdef\r\n".repeat(2_500), "0123456789abcdef\r\n".repeat(2_000));
    let mut clients = [world.log_in().await, world.log_in().await];
    let mut arrived = 0;
    for client in &mut clients {
        client.expect("MAIL FROM:<a@client.example>", "250").await;
        client.expect("RCPT TO:<b@example.org>", "250").await;
        client.expect("DATA", "354").await;
        client.send(format!("{}{half}", message("a@client.example")).as_bytes()).await;
        arrived += half.len() as u64;
        while world.submission.octets_held() < arrived {
            tokio::task::yield_now().await;
        }
    }
    // 90,000 of 100,000 are here. A third is told before it begins, and both go on.
    let mut third = world.log_in().await;
    third.expect("MAIL FROM:<a@client.example>", "250").await;
    third.expect("RCPT TO:<b@example.org>", "250").await;
    third.expect("DATA", "452 4.3.1").await;
    let [mut oldest, mut youngest] = clients;
    oldest.send(format!("{rest}.\r\n").as_bytes()).await;
    let told = oldest.reply().await;
    assert!(told.starts_with("250"), "{told}");
    let told = youngest.reply().await;
    assert!(told.starts_with("451 4.3.0") && told.contains("retry in"), "{told}");
    let told = third.submit("a@client.example", &["b@example.org"], &message("a@client.example")).await;
    assert!(told.starts_with("250"), "{told}");
}

#[tokio::test]
async fn one_address_has_a_limit_for_who_has_not_logged_in() {
    let world = World::with(|plan| plan.config.limits.connections_per_address_max = 2).await;
    let (_first, _second) = (world.connect().await, world.connect().await);
    let (_, greeting) = Client::connect_raw(world.addresses().submissions.unwrap()).await;
    assert_eq!(greeting, "", "there is nobody who could read a reply before the handshake");
    let (_, greeting) = Client::connect_raw(world.addresses().submission.unwrap()).await;
    assert!(greeting.starts_with("421 4.7.0") && greeting.contains("your address"), "{greeting}");
    // Returned mail has places of its own.
    let (_, greeting) = Client::connect_raw(world.addresses().inbound.unwrap()).await;
    assert!(greeting.starts_with("220"), "{greeting}");
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

/// A program that opens a hundred connections at once and logs in on each, as bulk senders do.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_twice_the_limit_is_served() {
    let world = Arc::new(World::with(|plan| plan.config.limits.connection_wait_ms_max = 8_000).await);
    let burst: Vec<_> = (0..100)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.log_in().await })
        })
        .collect();
    let mut held = Vec::new();
    for client in burst {
        held.push(client.await.unwrap());
    }
    assert_eq!(held.len(), 100);
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
async fn a_message_that_trickles_in_is_closed() {
    let world = World::with(|plan| {
        plan.config.session.data_seconds_max = 60;
        plan.config.session.data_grace_seconds = 1;
    })
    .await;
    let mut client = world.log_in().await;
    client.expect("MAIL FROM:<a@client.example>", "250").await;
    client.expect("RCPT TO:<anna@example.org>", "250").await;
    client.expect("DATA", "354").await;
    // Often enough for the time between blocks, far below 512 octets a second.
    let began = tokio::time::Instant::now();
    loop {
        client.send(b"x").await;
        if let Ok(reply) = tokio::time::timeout(Duration::from_millis(100), client.reply()).await {
            assert!(reply.starts_with("421 4."), "{reply}");
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "the session is still open");
    }
    assert!(client.is_closed().await);
}

/// By DATA and by chunks: what has come stays what it is, the last block is awaited, and the session must end.
async fn ends_after_a_second(change: fn(&mut smtp::Limits), conversations: &[&[(&str, &str)]]) {
    let world = World::with(|plan| {
        plan.config.session.data_seconds_max = 60;
        plan.config.session.data_grace_seconds = 60;
        change(&mut plan.config.session);
    })
    .await;
    for steps in conversations {
        let mut client = world.log_in().await;
        client.expect("MAIL FROM:<a@client.example>", "250").await;
        client.expect("RCPT TO:<anna@example.org>", "250").await;
        let began = tokio::time::Instant::now();
        for (said, answer) in *steps {
            client.send(said.as_bytes()).await;
            if !answer.is_empty() {
                let reply = client.reply().await;
                assert!(reply.starts_with(answer), "{steps:?}: {reply}");
            }
        }
        let reply = client.reply().await;
        assert!(reply.starts_with("421 4.4.2"), "{steps:?}: {reply}");
        assert!(began.elapsed() >= Duration::from_secs(1), "{steps:?}: {:?}", began.elapsed());
        assert!(client.is_closed().await);
    }
    // Nothing of it was taken: what is taken first is honest.
    let mut client = world.log_in().await;
    let reply = client.submit("a@client.example", &["anna@example.org"], &message("a@client.example")).await;
    assert!(reply.starts_with("250"), "{reply}");
    assert!(world.accepted().await.1.contains("Hello Anna."));
}

#[tokio::test]
async fn the_last_block_of_a_message_has_the_time_of_a_block() {
    let conversations: [&[(&str, &str)]; 3] = [
        &[("DATA\r\n", "354"), ("x\r\n.", "")],
        &[("BDAT 9 LAST\r\ntext", "")],
        &[("BDAT 4\r\ntext", "250"), ("BDAT 9 LAST\r\n", "")],
    ];
    ends_after_a_second(|limits| limits.data_seconds_max = 1, &conversations).await;
}

#[tokio::test]
async fn the_last_block_of_a_message_has_what_is_left_of_the_time_of_its_message() {
    let conversations: [&[(&str, &str)]; 4] = [
        &[("DATA\r\n", "354"), ("x\r\n.\r", "")],
        &[("BDAT 9 LAST\r\ntext", "")],
        &[("BDAT 4\r\ntext", "250"), ("BDAT 9999 LAST\r\n", "")],
        // Chunks that are whole: the clock runs on between them.
        &[("BDAT 1\r\nx", "250"), ("BDAT 1\r\nx", "250")],
    ];
    ends_after_a_second(|limits| limits.data_grace_seconds = 1, &conversations).await;
}

/// Every descriptor of this process is taken: who is in goes on, who waits outside gets in when there is room again.
#[tokio::test(flavor = "multi_thread")]
async fn running_out_of_descriptors_stops_nobody_who_is_in() {
    let world = World::new().await;
    let mut inside = world.log_in().await;
    // The journal opens its first segment now.
    inside.submit("a@client.example", &["a@example.org"], &message("a@client.example")).await;
    let mut limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limits.current = Some(256);
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limits).unwrap();
    let mut taken: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    assert!(taken.len() > 100);
    // One descriptor for the client's side, none for the server's.
    taken.pop();
    let outside = tokio::spawn({
        let address = world.addresses().submission.unwrap();
        async move { Client::connect(address).await }
    });
    let reply = inside.submit("a@client.example", &["a@example.org"], &message("a@client.example")).await;
    assert!(reply.starts_with("250"), "{reply}");
    assert!(!outside.is_finished());
    drop(taken);
    let mut outside = outside.await.unwrap();
    outside.expect("NOOP", "250").await;
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
    let reply = world
        .log_in()
        .await
        .submit("a@client.example", &["a@example.org"], &message("a@client.example"))
        .await;
    assert!(reply.starts_with("250"), "{reply}");
}

#[tokio::test]
async fn a_stranger_takes_no_room_with_octets_that_nobody_keeps() {
    let world = World::with(|plan| plan.config.limits.octets_in_flight_max = 100_000).await;
    let mut stranger = Client::connect(world.addresses().submission.unwrap()).await;
    // Read and thrown away, so that what follows is not taken for commands.
    stranger.send(b"BDAT 200000\r\n").await;
    stranger.send(&[b'x'; 199_999]).await;
    let mail = message("a@client.example");
    let reply = world.log_in().await.submit("a@client.example", &["a@example.org"], &mail).await;
    assert!(reply.starts_with("250"), "{reply}");
    stranger.send(b"x").await;
    assert_eq!(stranger.reply().await, "502 5.5.1 not offered");
}
