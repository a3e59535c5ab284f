//! Attacks on the doors with real sockets: smuggling, open relay, guessing, arguments. The machine behind them is
//! attacked at every split point by `crates/smtp/tests/attacks.rs`; here it is what TCP, TLS and the shells make of it.

use crate::nine::NINE;
use crate::support::{Client, PASSWORD, World, message};
use std::time::Duration;
use tokio::sync::mpsc;

const SMUGGLED: &str = "MAIL FROM:<evil@client.example>\r\nRCPT TO:<evil@example.org>\r\nDATA\r\nFrom: evil@client.example\r\n\r\nx\r\n.\r\n";
const ENVELOPE: [&str; 2] = ["MAIL FROM:<a@client.example>", "RCPT TO:<anna@example.org>"];

async fn patient() -> World {
    World::with(|plan| {
        plan.config.session.errors_max = 100_000;
        plan.config.session.idle_commands_max = 100_000;
    })
    .await
}

/// M1 over TCP, under both kinds of TLS, by DATA and by BDAT, in pieces that are TLS records of their own.
#[tokio::test(flavor = "multi_thread")]
async fn of_an_attack_and_an_honest_message_the_honest_one_is_accepted() {
    let world = patient().await;
    let submissions = world.addresses().submissions.unwrap();
    let mut implicit = Client::connect_tls(submissions, &world.certificate).await.unwrap();
    implicit.expect("EHLO desk.example", "250").await;
    implicit.expect(&Client::plain("client", PASSWORD), "235").await;
    let mut clients = [implicit, world.log_in().await];
    let mut attacks = 0;
    for client in &mut clients {
        for sequence in NINE {
            let text = format!("From: a@client.example\r\n\r\nx{sequence}{SMUGGLED}");
            let near = text.find(sequence).unwrap();
            for cut in (near..near + sequence.len() + 2).chain([0, text.len() - 3]) {
                for by_chunk in [false, true] {
                    let command =
                        if by_chunk { format!("BDAT {} LAST", text.len()) } else { "DATA".to_owned() };
                    client
                        .send(format!("{}\r\n{}\r\n{command}\r\n", ENVELOPE[0], ENVELOPE[1]).as_bytes())
                        .await;
                    client.send(&text.as_bytes()[..cut]).await;
                    client.send(&text.as_bytes()[cut..]).await;
                    let wanted: &[&str] =
                        if by_chunk { &["250", "250", "554"] } else { &["250", "250", "354", "554"] };
                    for code in wanted {
                        let reply = client.reply().await;
                        assert!(reply.starts_with(code), "{sequence:?} cut at {cut}: {reply}");
                    }
                    attacks += 1;
                }
            }
        }
        let honest = message("a@client.example");
        let reply = client.submit("a@client.example", &["anna@example.org"], &honest).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    println!("M1 over sockets: {attacks} attacks");
    // A third one, so that all before it would have been seen.
    let last = message("last@client.example");
    assert!(clients[0].submit("last@client.example", &["anna@example.org"], &last).await.starts_with("250"));
    let accepted = world.all_accepted(3).await;
    assert_eq!(accepted.len(), 3, "one for each honest message");
    assert!(accepted.iter().all(|(record, raw)| {
        !raw.contains("evil")
            && record.recipients.len() == 1
            && !record.reverse_path.to_string().contains("evil")
    }));
    assert_eq!(accepted[2].0.header_from, "last@client.example");
}

/// Recipients that some server once relayed for. `remote.example` is nobody here, `mx.posthouse.test` is this host.
const RELAYED: [&str; 38] = [
    "user@remote.example",
    "user@REMOTE.example.",
    "user%remote.example",
    "user%remote.example@mx.posthouse.test",
    "user%remote.example@[127.0.0.1]",
    "user%remote.example%other.example@mx.posthouse.test",
    "user@remote.example@mx.posthouse.test",
    "user@remote.example@[127.0.0.1]",
    "user@mx.posthouse.test@remote.example",
    "user@@remote.example",
    "\"user@remote.example\"",
    "\"user@remote.example\"@mx.posthouse.test",
    "\"user@remote.example\"@[127.0.0.1]",
    "\"user%remote.example\"@mx.posthouse.test",
    "\"user\"@remote.example",
    "remote.example!user",
    "remote.example!user@mx.posthouse.test",
    "remote.example!user@[127.0.0.1]",
    "other.example!remote.example!user",
    "remote.example!user%mx.posthouse.test",
    "@mx.posthouse.test:user@remote.example",
    "@[127.0.0.1]:user@remote.example",
    "@mx.posthouse.test,@other.example:user@remote.example",
    "@remote.example:user@mx.posthouse.test",
    "user@[127.0.0.1]",
    "user@[IPv6:::1]",
    "user@127.0.0.1",
    "user@localhost",
    "user",
    "<user@remote.example>",
    "user@remote.example>,<user@mx.posthouse.test",
    "user@remote.example,user@mx.posthouse.test",
    "user@client.example",
    "postmaster@remote.example",
    "b+forged@rp.client.example",
    "user=remote.example@mx.posthouse.test",
    "user@remote.example\\@mx.posthouse.test",
    "|/bin/sh@mx.posthouse.test",
];
const SENDERS: [&str; 7] = [
    "",
    "spam@other.example",
    "a@client.example",
    "postmaster@mx.posthouse.test",
    "root",
    "a@[127.0.0.1]",
    "@other.example:a@client.example",
];

/// M10: without a login nothing is relayed, at any door, in any form of address.
#[tokio::test(flavor = "multi_thread")]
async fn no_form_of_address_makes_a_relay_of_a_door() {
    let (sender, mut returned) = mpsc::channel(8);
    let world = World::with(|plan| {
        plan.config.session.errors_max = 100_000;
        plan.config.session.idle_commands_max = 100_000;
        plan.returned = Some(sender);
    })
    .await;
    let inbound = Client::connect(world.addresses().inbound.unwrap()).await;
    for (door, mut client) in [
        ("submission", world.connect().await),
        ("submission, TLS", world.encrypted().await),
        ("inbound", inbound),
    ] {
        client.expect("EHLO mx.remote.example", "250").await;
        for reverse_path in SENDERS {
            for recipient in RELAYED {
                client.expect("RSET", "250").await;
                let mail = client.say(&format!("MAIL FROM:<{reverse_path}>")).await;
                assert!(door == "inbound" || mail.starts_with('5'), "{door}: {mail}");
                let reply = client.say(&format!("RCPT TO:<{recipient}>")).await;
                assert!(reply.starts_with('5'), "{door}: <{reverse_path}> to <{recipient}>: {reply}");
                assert!(client.say("DATA").await.starts_with('5'), "{door}: <{recipient}>");
            }
        }
    }
    assert!(returned.try_recv().is_err(), "something was taken for returned mail");
    // The first record there is, is that of an honest client.
    let mut client = world.log_in().await;
    let honest = message("a@client.example");
    assert!(client.submit("a@client.example", &["anna@example.org"], &honest).await.starts_with("250"));
    let (record, _) = world.accepted().await;
    assert_eq!(record.recipients[0].forward_path.to_string(), "anna@example.org");
}

/// M9: what is told, and how long it takes, does not say which user names exist.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_and_a_wrong_secret_take_the_same_time() {
    const TIMES: usize = 250;
    let world = World::with(|plan| {
        let throttle = &mut plan.config.throttle;
        throttle.free_failures = 1_000_000;
        throttle.failures_to_lock = 1_000_000;
        throttle.failures_per_network_minute_max = 1_000_000;
        throttle.failures_per_credential_minute_max = 1_000_000;
        plan.config.session.credential_failures_max = 1_000_000;
        plan.config.session.errors_max = 1_000_000;
    })
    .await;
    let mut client = world.encrypted().await;
    let mut took = [Vec::new(), Vec::new()];
    let mut replies = Vec::new();
    for number in 0..TIMES {
        for (index, name) in ["client", "nobody"].into_iter().enumerate() {
            let asked = tokio::time::Instant::now();
            replies.push(client.expect(&Client::plain(name, &format!("wrong {number}")), "535 5.7.8").await);
            took[index].push(asked.elapsed());
        }
    }
    replies.dedup();
    assert_eq!(replies.len(), 1, "{replies:?}");
    let medians = took.map(|mut times| {
        times.sort_unstable();
        times[TIMES / 2]
    });
    println!("M9: median of {TIMES}: wrong secret {:?}, unknown name {:?}", medians[0], medians[1]);
    assert!(medians[0].abs_diff(medians[1]) <= Duration::from_millis(5), "{medians:?}");
}

/// M9: ten thousand guesses from one network, and from a hundred. The owner gets in from elsewhere all the time.
#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_stopped_and_the_owner_gets_in_from_elsewhere() {
    let world = World::with(|plan| {
        plan.config.session.credential_failures_max = 1_000_000;
        plan.config.session.errors_max = 1_000_000;
        plan.config.limits.connections_per_address_max = 1_000;
    })
    .await;
    let address = world.addresses().submissions.unwrap();
    for networks in [1_u8, 100] {
        let guesses = 10_000 / u32::from(networks);
        let (mut heard, began) = (0, tokio::time::Instant::now());
        for network in 0..networks {
            let from = [127, 1, network, 1];
            let mut client = Client::connect_tls_from(from, address, &world.certificate).await;
            client.expect("EHLO bot.example", "250").await;
            for guess in 0..guesses {
                let reply = client
                    .say(&Client::plain("client", &format!("guess {networks} {network} {guess}")))
                    .await;
                assert!(reply.starts_with("535") || reply.starts_with("454"), "{reply}");
                heard += usize::from(reply.starts_with("535"));
            }
        }
        let minutes = began.elapsed().as_secs() as usize / 60;
        println!(
            "M9: 10,000 guesses from {networks} networks in {:?}, {heard} of them were told that they are wrong",
            began.elapsed()
        );
        // 8 and 2; more only if a minute ends within, when each network may try again.
        assert!(heard <= 20 + 10 * minutes, "{heard} guesses from {networks} networks were answered");
    }
    let mut owner = Client::connect_tls_from([127, 9, 9, 9], address, &world.certificate).await;
    owner.expect("EHLO desk.example", "250").await;
    owner.expect(&Client::plain("client", PASSWORD), "235").await;
}

/// M12: a message that has been around too often is refused as a loop; one that came a long way is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_too_many_hops_is_refused_as_a_loop() {
    let world = World::new().await;
    let mut client = world.log_in().await;
    for (hops, wanted) in
        [(25, "250"), (30, "250"), (31, "554 5.4.6"), (100, "554 5.4.6"), (900, "554 5.4.6")]
    {
        let raw = format!("{}{}", "Received: from a by b; x\r\n".repeat(hops), message("a@client.example"));
        let reply = client.submit("a@client.example", &["anna@example.org"], &raw).await;
        assert!(reply.starts_with(wanted), "{hops}: {reply}");
    }
}
