//! Every row of the contract's table for SMTP submission: the case, the code, the enhanced status.

use crate::support::{Client, PASSWORD, Registry, World, message};
use registry::{Limits, TenantStatus};
use std::net::IpAddr;

const TO: &[&str] = &["anna@example.org"];

/// The refusal of a whole submission by a logged-in client.
async fn refused(world: &World, from: &str, message: &str) -> String {
    world.log_in().await.submit(from, TO, message).await
}

#[tokio::test]
async fn nothing_is_taken_before_auth_and_no_auth_before_tls() {
    let world = World::new().await;
    let mut client = world.connect().await;
    let offer = client.expect("EHLO desk.example", "250").await;
    assert!(
        offer.contains("STARTTLS") && !offer.contains("AUTH") && !offer.contains("REQUIRETLS"),
        "{offer}"
    );
    client.expect(&Client::plain("client", PASSWORD), "530 5.7.0").await;
    client.expect("MAIL FROM:<a@client.example>", "530 5.7.0").await;
    let mut client = world.encrypted().await;
    client.expect("MAIL FROM:<a@client.example>", "530 5.7.0").await;
}

#[tokio::test]
async fn wrong_unknown_revoked_expired_and_foreign_get_one_answer() {
    let world = World::with(|plan| {
        let Registry { credentials, tenant, secrets, .. } = &mut plan.registry;
        let mut more = ["revoked", "expired", "elsewhere"]
            .map(|name| crate::support::credential(tenant.id, name, secrets));
        more[0].revoked_at = Some(crate::support::START);
        more[1].expires_at = Some(crate::support::START);
        more[2].networks = vec!["192.0.2.0/24".parse().unwrap()];
        credentials.extend(more);
    })
    .await;
    let mut replies = Vec::new();
    let cases = [
        ("client", "wrong"),
        ("nobody", PASSWORD),
        ("revoked", PASSWORD),
        ("expired", PASSWORD),
        ("elsewhere", PASSWORD),
    ];
    for (username, password) in cases {
        let mut client = world.encrypted().await;
        replies.push(client.expect(&Client::plain(username, password), "535 5.7.8").await);
    }
    replies.dedup();
    assert_eq!(replies.len(), 1, "{replies:?}");
}

#[tokio::test]
async fn wrong_secrets_lock_the_credential_for_this_network() {
    let world = World::with(|plan| {
        plan.config.throttle.failures_to_lock = 3;
        plan.config.session.credential_failures_max = 100;
    })
    .await;
    let mut client = world.encrypted().await;
    for password in ["wrong", "more wrong", "most wrong"] {
        client.expect(&Client::plain("client", password), "535 5.7.8").await;
    }
    let reply = client.expect(&Client::plain("client", PASSWORD), "454 4.7.0").await;
    assert!(reply.contains("retry in"), "{reply}");
    // Another credential of the same network is not meant.
    client.expect(&Client::plain("other", "wrong"), "535 5.7.8").await;
}

#[tokio::test]
async fn wrong_secrets_of_neighbours_do_not_keep_a_right_one_out() {
    let world = World::with(|plan| {
        plan.config.throttle.failures_per_network_minute_max = 3;
        plan.config.throttle.failures_per_credential_minute_max = 3;
        plan.config.session.credential_failures_max = 100;
    })
    .await;
    let mut client = world.encrypted().await;
    for name in ["one", "two", "three"] {
        client.expect(&Client::plain(name, "wrong"), "535 5.7.8").await;
    }
    // Who guesses on is told to come back; unknown and known names hear the same.
    let unknown = client.expect(&Client::plain("four", "wrong"), "454 4.7.0").await;
    let known = client.expect(&Client::plain("client", "wrong"), "454 4.7.0").await;
    assert_eq!(unknown, known);
    client.expect(&Client::plain("client", PASSWORD), "235 2.7.0").await;
}

#[tokio::test]
async fn a_client_that_tries_two_mechanisms_gave_one_wrong_secret() {
    let world = World::with(|plan| {
        plan.config.throttle.failures_to_lock = 3;
        plan.config.session.credential_failures_max = 100;
    })
    .await;
    let mut client = world.encrypted().await;
    for password in ["wrong", "wrong", "also wrong", "also wrong"] {
        client.expect(&Client::plain("client", password), "535 5.7.8").await;
    }
    client.expect(&Client::plain("client", PASSWORD), "235 2.7.0").await;
}

#[tokio::test]
async fn a_reverse_path_of_another_domain_is_refused_by_name() {
    let world = World::new().await;
    for (from, named) in [("a@other.example", "other.example"), ("a@pending.example", "pending.example")] {
        let reply = refused(&world, from, &message("a@client.example")).await;
        assert!(reply.starts_with("550 5.7.1") && reply.contains(named), "{reply}");
    }
    let reply = refused(&world, "a@sub.client.example", &message("a@client.example")).await;
    assert!(reply.starts_with("550 5.7.1") && reply.contains("sub.client.example"), "{reply}");
}

#[tokio::test]
async fn who_tries_to_send_as_somebody_else_is_noted_for_the_audit_once_with_counts() {
    let world = World::new().await;
    // In the envelope, and in the message.
    for _ in 0..3 {
        refused(&world, "a@other.example", &message("a@client.example")).await;
    }
    refused(&world, "a@client.example", &message("a@another.example")).await;
    refused(&world, "", &message("a@client.example")).await;
    let denied = world.submission.denied();
    assert_eq!(denied.len(), 1, "{denied:?}");
    let of = |domain: &str| {
        let of_it = denied[0].sentences.iter().filter(|(sentence, _)| sentence.contains(domain));
        of_it.map(|(_, count)| count).sum::<u64>()
    };
    assert_eq!((of("other.example"), of("another.example"), denied[0].others), (3 + 1, 1, 0), "{denied:?}");
    assert_eq!(world.submission.denied(), []);
}

#[tokio::test]
async fn the_null_reverse_path_is_refused_by_its_rule() {
    let world = World::new().await;
    let reply = refused(&world, "", &message("a@client.example")).await;
    assert!(reply.starts_with("550 5.7.1") && reply.contains("null reverse-path"), "{reply}");
}

#[tokio::test]
async fn a_from_that_is_foreign_missing_or_ambiguous_is_refused() {
    let world = World::new().await;
    let to = "To: anna@example.org\r\n";
    for (header, named) in [
        ("From: a@other.example\r\n".to_owned(), "other.example"),
        ("From: a@pending.example\r\n".to_owned(), "pending.example"),
        ("Subject: x\r\n".to_owned(), "no From"),
        ("From: a@client.example, b@client.example\r\n".to_owned(), "exactly one address"),
        ("From: a@client.example\r\nFrom: b@client.example\r\n".to_owned(), "more than one From"),
        ("From: a@client.example\r\nfrom : b@other.example\r\n".to_owned(), ""),
        ("From: \"a@client.example\" <b@other.example>\r\n".to_owned(), "other.example"),
        ("From: a@client.example <b@other.example>\r\n".to_owned(), "From"),
        ("From: x:a@client.example;\r\n".to_owned(), "From"),
    ] {
        let reply = refused(&world, "a@client.example", &format!("{header}{to}\r\nx\r\n")).await;
        let code = if named.is_empty() { "554 5.6.0" } else { "550 5.7.1" };
        assert!(reply.starts_with(code) && reply.contains(named), "{header:?}: {reply}");
    }
}

#[tokio::test]
async fn a_credential_for_one_domain_cannot_use_another_of_its_tenant() {
    let world = World::with(|plan| {
        plan.registry.credentials[0].domains = vec![mail::Domain::parse("news.example").unwrap()];
    })
    .await;
    let reply = refused(&world, "a@client.example", &message("a@client.example")).await;
    assert!(reply.starts_with("550 5.7.1") && reply.contains("client.example"), "{reply}");
}

#[tokio::test]
async fn a_used_up_quota_says_when_to_come_back() {
    let world = World::with(|plan| plan.registry.tenant.plan.per_day = Some(1)).await;
    let mut client = world.log_in().await;
    let mail = message("a@client.example");
    assert!(client.submit("a@client.example", TO, &mail).await.starts_with("250 2.0.0 queued as msg_"));
    let reply = client.submit("a@client.example", TO, &mail).await;
    assert!(reply.starts_with("451 4.7.1") && reply.contains("retry in "), "{reply}");
    let world = World::with(|plan| {
        plan.registry.credentials[0].limits = Limits { per_second: Some(1), ..Limits::default() };
    })
    .await;
    let mut client = world.log_in().await;
    client.submit("a@client.example", TO, &mail).await;
    let reply = client.submit("a@client.example", TO, &mail).await;
    assert!(reply.starts_with("451 4.7.1") && reply.ends_with("retry in 1 s"), "{reply}");
}

#[tokio::test]
async fn a_recipient_over_the_plan_is_refused_when_it_is_named() {
    let world = World::with(|plan| plan.registry.tenant.plan.recipients_max = 2).await;
    let mut client = world.log_in().await;
    for _ in 0..2 {
        client.expect("MAIL FROM:<a@client.example>", "250").await;
        client.expect("RCPT TO:<a@example.org>", "250").await;
        client.expect("RCPT TO:<b@example.org>", "250").await;
        client.expect("RCPT TO:<c@example.org>", "452 4.5.3").await;
        client.expect("RSET", "250").await;
    }
}

#[tokio::test]
async fn a_recipient_that_no_day_has_room_for_is_refused_when_it_is_named() {
    let world = World::with(|plan| {
        plan.registry.tenant.plan.per_day = Some(5);
        plan.registry.credentials[0].limits = Limits { per_day: Some(2), ..Limits::default() };
    })
    .await;
    let mut client = world.log_in().await;
    client.expect("MAIL FROM:<a@client.example>", "250").await;
    client.expect("RCPT TO:<a@example.org>", "250").await;
    client.expect("RCPT TO:<b@example.org>", "250").await;
    let reply = client.expect("RCPT TO:<c@example.org>", "452 4.5.3").await;
    assert!(reply.contains("this credential may send to 2 recipients a day; send to the rest in"), "{reply}");
    client.expect("DATA", "354").await;
}

#[tokio::test]
async fn a_paused_tenant_waits_and_a_closing_one_does_not() {
    let mut world = World::new().await;
    let mut client = world.log_in().await;
    for (status, code) in [
        (TenantStatus::Paused, "450 4.7.1"),
        (TenantStatus::Quarantined, "450 4.7.1"),
        (TenantStatus::Closing, "550 5.7.1"),
    ] {
        world.change_registry(|registry| registry.tenant.status = status);
        client.expect("MAIL FROM:<a@client.example>", code).await;
    }
}

#[tokio::test]
async fn who_is_named_beside_the_author_must_be_of_a_verified_domain_too() {
    let world = World::new().await;
    let with = |fields: &str| format!("{fields}\r\n{}", message("a@client.example"));
    for (fields, wanted) in [
        ("Sender: root@host.lan", "550 5.7.1 Sender: host.lan is not a verified domain of this account; use"),
        ("Sender: a@pending.example", "550 5.7.1 Sender: pending.example is not"),
        ("Resent-From: x@other.example", "550 5.7.1 Resent-From: other.example is not"),
        ("Resent-Sender: x@other.example", "550 5.7.1 Resent-Sender: other.example is not"),
        ("Sender: a@client.example b", "554 5.6.0 the Sender field cannot be read"),
        ("Sender: root@localhost", "554 5.6.0 the Sender field cannot be read"),
        ("Sender: b@client.example", "250"),
        ("Resent-From: b@client.example\r\nResent-Sender: c@client.example", "250"),
    ] {
        let reply = refused(&world, "a@client.example", &with(fields)).await;
        assert!(reply.starts_with(wanted), "{fields}: {reply}");
    }
}

#[tokio::test]
async fn who_is_revoked_in_the_middle_of_a_session_sends_no_more() {
    let mut world = World::new().await;
    let mut client = world.log_in().await;
    world.change_registry(|registry| registry.credentials.clear());
    let reply = client.say("MAIL FROM:<a@client.example>").await;
    assert!(reply.starts_with("535 5.7.8"), "{reply}");
}

#[tokio::test]
async fn size_recipients_header_and_line_limits_have_their_codes() {
    let world = World::with(|plan| {
        plan.config.session.message_octets_max = 4_000;
        plan.config.session.header_octets_max = 2_000;
        plan.config.session.recipients_max = 2;
        plan.config.limits.received_fields_max = 3;
    })
    .await;
    let mut client = world.log_in().await;
    client.expect("MAIL FROM:<a@client.example> SIZE=4001", "552 5.3.4").await;
    let long = format!("{}{}", message("a@client.example"), "x".repeat(70).add_line().repeat(60));
    let reply = client.submit("a@client.example", TO, &long).await;
    assert!(reply.starts_with("552 5.3.4") && reply.contains("larger than 4000 octets"), "{reply}");
    client.expect("RSET", "250").await;
    client.expect("MAIL FROM:<a@client.example>", "250").await;
    client.expect("RCPT TO:<a@example.org>", "250").await;
    client.expect("RCPT TO:<b@example.org>", "250").await;
    client.expect("RCPT TO:<c@example.org>", "452 4.5.3").await;
    client.expect("RSET", "250").await;
    let header = format!("{}{}", "X-A: b\r\n".repeat(300), message("a@client.example"));
    let reply = client.submit("a@client.example", TO, &header).await;
    assert!(reply.starts_with("554 5.6.0") && reply.contains("longer than 2000 octets"), "{reply}");
    let line = format!("{}{}\r\n", message("a@client.example"), "x".repeat(999));
    let reply = world.log_in().await.submit("a@client.example", TO, &line).await;
    assert!(reply.starts_with("554 5.6.0") && reply.contains("longer than 998 octets"), "{reply}");
    let hops = format!("{}{}", "Received: x\r\n".repeat(4), message("a@client.example"));
    let reply = world.log_in().await.submit("a@client.example", TO, &hops).await;
    assert!(reply.starts_with("554 5.4.6"), "{reply}");
}

#[tokio::test]
async fn a_plan_may_allow_less_than_the_house() {
    let world = World::with(|plan| {
        plan.registry.tenant.plan.message_octets_max = 50;
        plan.registry.tenant.plan.recipients_max = 1;
    })
    .await;
    assert!(refused(&world, "a@client.example", &message("a@client.example")).await.starts_with("552 5.3.4"));
    let mut client = world.log_in().await;
    let reply = client.expect("MAIL FROM:<a@client.example> SIZE=51", "552 5.3.4").await;
    assert!(reply.contains("50 octets"), "{reply}");
    client.expect("MAIL FROM:<a@client.example> SIZE=50", "250").await;
    let mut world = world;
    world.change_registry(|registry| registry.tenant.plan.message_octets_max = 5_000);
    let mut client = world.log_in().await;
    let reply = client
        .submit("a@client.example", &["a@b.example", "c@b.example"], &message("a@client.example"))
        .await;
    assert!(reply.starts_with("452 4.5.3"), "{reply}");
}

#[tokio::test]
async fn a_bare_line_feed_is_refused() {
    let world = World::new().await;
    let mut client = world.log_in().await;
    let smuggled = format!("{}x\n.\r\nMAIL FROM:<b@other.example>\r\n", message("a@client.example"));
    let reply = client.submit("a@client.example", TO, &smuggled).await;
    assert!(reply.starts_with("554 5.6.0"), "{reply}");
}

#[tokio::test]
async fn steering_that_cannot_be_followed_is_refused() {
    let world = World::new().await;
    for (field, code) in [
        ("X-Posthouse-Stream: nothing\r\n", "550 5.7.1"),
        ("X-Posthouse-Pool: somebody-elses\r\n", "550 5.7.1"),
        ("X-Posthouse-Send-At: soon\r\n", "554 5.6.0"),
        ("X-Posthouse-Send-At: 2027-11-23T09:14:09Z\r\n", "554 5.6.0"),
        ("X-Posthouse-Metadata: {\r\n", "554 5.6.0"),
        ("X-Posthouse-Steam: marketing\r\n", "554 5.6.0"),
        ("Subject: second\r\n", "554 5.6.0"),
    ] {
        let reply =
            refused(&world, "a@client.example", &format!("{field}{}", message("a@client.example"))).await;
        assert!(reply.starts_with(code), "{field:?}: {reply}");
    }
}

#[tokio::test]
async fn a_registry_that_is_not_loaded_is_our_trouble() {
    let world = World::with(|plan| plan.registry.generation = 0).await;
    let mut client = world.encrypted().await;
    let reply = client.expect(&Client::plain("client", PASSWORD), "4").await;
    assert!(!reply.contains("535"), "{reply}");
    assert!(world.addresses().submission.is_some_and(|a| a.ip() == IpAddr::from([127, 0, 0, 1])));
}

trait AddLine {
    fn add_line(self) -> String;
}

impl AddLine for String {
    fn add_line(self) -> String {
        self + "\r\n"
    }
}
