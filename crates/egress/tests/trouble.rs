//! Mail that cannot go out: what is tried again, what ends, and what is never connected to.
#![allow(clippy::unwrap_used)]

mod house;

use house::House;
use house::site::{Say, address, free_port, good, scripted, usual};
use mail::{ClassKind, Verdict};
use registry::TenantStatus;
use smtp::server::TlsMode;
use spool::Settlement;
use std::time::Duration;

#[tokio::test]
async fn an_unknown_user_bounces_at_once() {
    fn script(_: u32, line: &str) -> Say {
        if line.starts_with("RCPT") { Say::Line("550 5.1.1 no such user here") } else { usual(line) }
    }
    let (port, _keep) = free_port().await;
    let site = scripted(21, port, script).await;
    let mut house = House::new(port).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.send(&["nobody@dest.example"]).await;
    let settled = house.settled().await;
    assert_eq!((settled.settlement, settled.attempt), (Settlement::Bounced, 1));
    let outcome = settled.outcome.unwrap();
    assert_eq!((outcome.class.as_str(), outcome.stage), ("recipient.unknown", "rcpt"));
    assert_eq!((outcome.verdict, outcome.kind), (Verdict::Failed, ClassKind::Hard));
    assert_eq!(outcome.reply.unwrap().to_line(), "550 5.1.1 no such user here");
    house.stop().await;
}

#[tokio::test]
async fn a_4yz_is_tried_again_when_the_schedule_says() {
    fn script(connection: u32, line: &str) -> Say {
        match line {
            _ if connection == 1 && line.starts_with("RCPT") => Say::Last("451 4.7.1 come back later"),
            _ => usual(line),
        }
    }
    let (port, _keep) = free_port().await;
    let site = scripted(22, port, script).await;
    let mut house = House::new(port).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.send(&["a@dest.example"]).await;
    let attempted = house.attempted().await;
    assert_eq!((attempted.attempt, attempted.outcome.verdict), (1, Verdict::Deferred));
    assert!(attempted.next_at > attempted.at);
    let settled = house.settled().await;
    assert_eq!((settled.settlement, settled.attempt), (Settlement::Delivered, 2));
    assert!(settled.at >= attempted.next_at);
    house.stop().await;
}

#[tokio::test]
async fn the_next_exchanger_is_tried_when_the_first_does_not_answer_or_refuses() {
    fn busy(_: u32, _: &str) -> Say {
        Say::Last("421 4.3.2 too busy")
    }
    let (port, _keep) = free_port().await;
    let refusing = scripted(23, port, busy).await;
    let site = good(24, port, TlsMode::None).await;
    let mut house = House::new(port).await;
    // Nobody listens on .99.
    house.route("dest.example", 5, "mx0.dest.example", address(99));
    house.route("dest.example", 10, "mx1.dest.example", refusing.address);
    house.route("dest.example", 20, "mx2.dest.example", site.address);
    house.send(&["a@dest.example"]).await;
    let settled = house.settled().await;
    assert_eq!((settled.settlement, settled.attempt), (Settlement::Delivered, 1));
    assert_eq!(settled.outcome.unwrap().mx.as_deref(), Some("mx2.dest.example"));
    assert_eq!(refusing.connections(), 1);
    house.stop().await;
}

#[tokio::test]
async fn a_null_mx_and_a_domain_that_does_not_exist_end_without_a_connection() {
    let (port, _keep) = free_port().await;
    let mut house = House::new(port).await;
    house.resolver.mx("null.example", 0, "");
    for (recipient, code) in [("a@null.example", "5.1.10"), ("a@nowhere.example", "5.1.2")] {
        house.send(&[recipient]).await;
        let settled = house.settled().await;
        assert_eq!(settled.settlement, Settlement::Bounced);
        let outcome = settled.outcome.unwrap();
        assert_eq!(outcome.enhanced().map(|status| status.to_string()).as_deref(), Some(code));
        assert!(!outcome.trouble.unwrap().contains(code));
        assert_eq!(outcome.stage, "resolve");
    }
    house.stop().await;
}

/// N7: each of these has an address at which somebody listens, and none of them may be called there.
#[tokio::test]
async fn a_loop_and_an_address_for_an_exchanger_end_without_a_connection() {
    let (port, _keep) = free_port().await;
    let site = good(31, port, TlsMode::None).await;
    let mut house = House::new(port).await;
    house.resolver.own_name("mx.house.example");
    house.route("self.example", 10, "mx.house.example", site.address);
    house.resolver.mx("self.example", 20, "mx.dest.example").address("mx.dest.example", site.address);
    house.route("literal.example", 10, &site.address.to_string(), site.address);
    house.resolver.mx("null.example", 0, "").address("null.example", site.address);
    for (recipient, code) in
        [("a@self.example", "5.4.6"), ("a@literal.example", "5.4.4"), ("a@null.example", "5.1.10")]
    {
        house.send(&[recipient]).await;
        let settled = house.settled().await;
        assert_eq!((settled.settlement, settled.attempt), (Settlement::Bounced, 1), "{recipient}");
        let outcome = settled.outcome.unwrap();
        assert_eq!(outcome.stage, "resolve", "{recipient}");
        assert_eq!(outcome.enhanced().map(|status| status.to_string()).as_deref(), Some(code), "{recipient}");
    }
    assert_eq!(site.connections(), 0);
    house.stop().await;
}

#[tokio::test]
async fn without_mx_the_domain_itself_takes_the_mail() {
    let (port, _keep) = free_port().await;
    let site = good(25, port, TlsMode::None).await;
    let mut house = House::new(port).await;
    house.resolver.address("plain.example", site.address);
    house.send(&["a@plain.example"]).await;
    assert_eq!(house.settled().await.settlement, Settlement::Delivered);
    house.stop().await;
}

#[tokio::test]
async fn a_failing_dns_defers_and_never_bounces() {
    let (port, _keep) = free_port().await;
    let site = good(26, port, TlsMode::None).await;
    let mut house = House::new(port).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.resolver.fail("dest.example", "SERVFAIL");
    house.send(&["a@dest.example"]).await;
    let attempted = house.attempted().await;
    assert_eq!((attempted.outcome.stage, attempted.outcome.verdict), ("resolve", Verdict::Deferred));
    house.resolver.fail("dest.example", "");
    loop {
        if let house::Told::Settled(settled) = house.told().await {
            assert_eq!(settled.settlement, Settlement::Delivered);
            break;
        }
    }
    house.stop().await;
}

#[tokio::test]
async fn loopback_is_not_connected_to_outside_the_lab() {
    let (port, _keep) = free_port().await;
    let site = good(27, port, TlsMode::None).await;
    let mut house = House::with(port, |config| config.lab_loopback_only = false).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.send(&["a@dest.example"]).await;
    let attempted = house.attempted().await;
    assert!(
        attempted.outcome.trouble.unwrap().contains("127.0.0.27 is not an address that mail may be sent to")
    );
    assert_eq!(site.connections(), 0);
    house.stop().await;
}

#[tokio::test]
async fn a_dead_site_is_probed_and_not_hammered() {
    let (port, _keep) = free_port().await;
    let mut house = House::with(port, |config| config.window_initial = 1).await;
    house.route("dead.example", 10, "mx.dead.example", address(98));
    let mut messages = Vec::new();
    for _ in 0..5 {
        messages.push(house.send(&["a@dead.example"]).await);
    }
    let attempted = house.attempted().await;
    assert_eq!((attempted.outcome.class.as_str(), attempted.outcome.stage), ("remote.down", "connect"));
    // The other four wait for the probe in a minute, and know why.
    let mut reasons = Vec::new();
    for message in messages {
        for view in house.handle().why(message).await.unwrap().unwrap() {
            reasons.push((view.reason.code(), view.until.is_some()));
        }
    }
    reasons.sort();
    assert_eq!(reasons, [("held", true), ("held", true), ("held", true), ("held", true), ("retry", true)]);
    let queues = house.handle().queues(10).await.unwrap();
    assert_eq!((queues.len(), queues[0].ready), (1, 4));
    house.stop().await;
}

#[tokio::test]
async fn mail_expires_before_a_closed_site() {
    let (port, _keep) = free_port().await;
    let mut house = House::new(port).await;
    house.route("dead.example", 10, "mx.dead.example", address(98));
    let expires = house.clock_now().saturating_add(Duration::from_millis(1500));
    house.send_with(&["a@dead.example"], |accepted| accepted.expires_at = expires).await;
    loop {
        if let house::Told::Settled(settled) = house.told().await {
            assert_eq!(settled.settlement, Settlement::Expired);
            assert!(settled.at >= expires && settled.attempt >= 1);
            break;
        }
    }
    house.stop().await;
}

#[tokio::test]
async fn a_kept_connection_that_the_site_closed_costs_no_attempt() {
    fn script(connection: u32, line: &str) -> Say {
        match line {
            "." if connection == 1 => Say::Last("250 taken"),
            _ => usual(line),
        }
    }
    let (port, _keep) = free_port().await;
    let site = scripted(28, port, script).await;
    let mut house = House::with(port, |config| config.limits.connections = Some(1)).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.send(&["a@dest.example", "b@dest.example", "c@dest.example"]).await;
    for _ in 0..3 {
        let settled = house.settled().await;
        assert_eq!((settled.settlement, settled.attempt), (Settlement::Delivered, 1));
    }
    assert_eq!(site.connections(), 2);
    house.stop().await;
}

#[tokio::test]
async fn a_cancelled_message_is_settled_as_that_and_never_sent() {
    let (port, _keep) = free_port().await;
    let site = good(29, port, TlsMode::None).await;
    let mut house = House::new(port).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    let later = house.clock_now().saturating_add(Duration::from_secs(600));
    let message =
        house.send_with(&["a@dest.example", "b@dest.example"], |a| a.not_before = Some(later)).await;
    while house.handle().why(message).await.unwrap().is_none() {}
    assert_eq!(house.handle().cancel(message).await.unwrap(), 2);
    for _ in 0..2 {
        let settled = house.settled().await;
        assert_eq!((settled.settlement, settled.outcome), (Settlement::Cancelled, None));
    }
    assert_eq!((house.handle().cancel(message).await.unwrap(), site.connections()), (0, 0));
    house.stop().await;
}

#[tokio::test]
async fn mail_of_a_paused_tenant_waits_and_goes_out_when_it_is_resumed() {
    let (port, _keep) = free_port().await;
    let site = good(30, port, TlsMode::None).await;
    let mut house = House::new(port).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.set_status(TenantStatus::Quarantined);
    let message = house.send(&["a@dest.example"]).await;
    let reason = loop {
        if let Some(views) = house.handle().why(message).await.unwrap() {
            break views[0].reason.code();
        }
    };
    assert_eq!((reason, site.connections()), ("tenant_held", 0));
    house.set_status(TenantStatus::Active);
    assert_eq!(house.settled().await.settlement, Settlement::Delivered);
    house.stop().await;
}
