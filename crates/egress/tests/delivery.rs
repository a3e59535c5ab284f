//! Mail goes out: to the right host, from the right address, encrypted where it can be, over few connections.
#![allow(clippy::unwrap_used)]

mod house;

use house::House;
use house::site::{address, free_port, good, no_handshake, scripted};
use mail::Verdict;
use smtp::server::TlsMode;
use spool::Settlement;
use std::time::Duration;

#[tokio::test]
async fn a_message_arrives_as_it_was_given_from_the_address_of_its_source() {
    let (port, _keep) = free_port().await;
    let site = good(11, port, TlsMode::None).await;
    let mut house = House::new(port).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.send(&["anna@dest.example"]).await;
    let settled = house.settled().await;
    assert_eq!((settled.settlement, settled.attempt), (Settlement::Delivered, 1));
    let outcome = settled.outcome.unwrap();
    assert_eq!((outcome.verdict, outcome.mx.as_deref()), (Verdict::Delivered, Some("mx.dest.example")));
    assert_eq!(outcome.egress, Some("127.0.0.1".parse().unwrap()));
    assert_eq!(outcome.reply.unwrap().code.as_u16(), 250);
    assert_eq!(settled.source.unwrap().as_str(), "out-1");
    let arrivals = site.arrivals();
    assert_eq!(arrivals.len(), 1);
    assert_eq!(arrivals[0].forward_path, "anna@dest.example");
    assert_eq!(arrivals[0].reverse_path, "b+0@rp.client.example");
    assert_eq!(arrivals[0].raw, b"From: a@client.example\r\nSubject: hello\r\n\r\n.dots\r\nare kept\r\n");
    assert_eq!(arrivals[0].client_name, "out-1.house.example");
    assert_eq!(arrivals[0].peer, address(1));
    house.stop().await;
}

#[tokio::test]
async fn each_recipient_is_a_transaction_of_its_own_over_one_connection() {
    let (port, _keep) = free_port().await;
    let site = good(12, port, TlsMode::None).await;
    let mut house = House::with(port, |config| config.limits.connections = Some(1)).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.send(&["a@dest.example", "b@dest.example", "c@dest.example"]).await;
    for _ in 0..3 {
        assert_eq!(house.settled().await.settlement, Settlement::Delivered);
    }
    house.send(&["d@dest.example"]).await;
    assert_eq!(house.settled().await.settlement, Settlement::Delivered);
    let mut paths: Vec<_> = site.arrivals().into_iter().map(|a| (a.forward_path, a.reverse_path)).collect();
    paths.sort();
    assert_eq!(paths[2], ("c@dest.example".to_owned(), "b+2@rp.client.example".to_owned()));
    assert_eq!((paths.len(), site.connections()), (4, 1));
    house.stop().await;
}

#[tokio::test]
async fn a_connection_is_closed_after_the_messages_it_may_carry() {
    let (port, _keep) = free_port().await;
    let site = good(13, port, TlsMode::None).await;
    let mut house = House::with(port, |config| {
        config.limits.connections = Some(1);
        config.limits.messages_per_connection = Some(2);
    })
    .await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    for _ in 0..6 {
        house.send(&["a@dest.example"]).await;
    }
    for _ in 0..6 {
        assert_eq!(house.settled().await.settlement, Settlement::Delivered);
    }
    assert_eq!(site.connections(), 3);
    house.stop().await;
}

#[tokio::test]
async fn tls_is_used_when_it_is_offered_whatever_the_certificate() {
    let (port, _keep) = free_port().await;
    let site = good(14, port, TlsMode::Offered).await;
    let mut house = House::new(port).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.send(&["a@dest.example"]).await;
    let settled = house.settled().await;
    assert_eq!(settled.settlement, Settlement::Delivered);
    assert_eq!(settled.outcome.unwrap().tls.as_deref(), Some("TLSv1.3"));
    assert!(site.arrivals()[0].encrypted);
    house.stop().await;
}

#[tokio::test]
async fn broken_tls_falls_back_to_plain_text_and_is_remembered() {
    let (port, _keep) = free_port().await;
    let site = scripted(15, port, no_handshake).await;
    let mut house = House::with(port, |config| config.limits.messages_per_connection = Some(1)).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    for connections in [2, 3] {
        house.send(&["a@dest.example"]).await;
        let settled = house.settled().await;
        assert_eq!(settled.settlement, Settlement::Delivered);
        assert_eq!(settled.outcome.unwrap().tls, None);
        assert_eq!(site.connections(), connections);
    }
    house.stop().await;
}

#[tokio::test]
async fn a_message_is_not_sent_before_its_time() {
    let (port, _keep) = free_port().await;
    let site = good(16, port, TlsMode::None).await;
    let mut house = House::new(port).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    let not_before = house.clock_now().saturating_add(Duration::from_millis(1200));
    let message =
        house.send_with(&["a@dest.example"], |accepted| accepted.not_before = Some(not_before)).await;
    let waiting = loop {
        if let Some(views) = house.handle().why(message).await.unwrap() {
            break views;
        }
    };
    assert_eq!((waiting[0].reason.code(), waiting[0].until.is_some()), ("not_before", true));
    let settled = house.settled().await;
    assert!(settled.at >= not_before && site.arrivals().len() == 1);
    assert_eq!(house.handle().why(message).await.unwrap(), None);
    house.stop().await;
}

#[tokio::test]
async fn many_messages_share_few_connections_and_all_arrive_once() {
    let (port, _keep) = free_port().await;
    let site = good(17, port, TlsMode::None).await;
    let mut house = House::new(port).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    let recipients: Vec<String> = (0..500).map(|number| format!("r{number}@dest.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    house.send(&recipients).await;
    for _ in 0..500 {
        assert_eq!(house.settled().await.settlement, Settlement::Delivered);
    }
    let mut arrived: Vec<_> = site.arrivals().into_iter().map(|arrival| arrival.forward_path).collect();
    arrived.sort();
    arrived.dedup();
    assert_eq!(arrived.len(), 500);
    // 100 messages a connection by the default profile, 10 connections at a time.
    assert!(site.connections() <= 20, "{} connections", site.connections());
    house.stop().await;
}

/// With nothing in the way a message is on its way at once: nothing ticks between the journal and the connection.
#[tokio::test]
async fn from_the_queue_to_the_first_attempt_takes_no_time_worth_a_name() {
    let (port, _keep) = free_port().await;
    let site = good(19, port, TlsMode::None).await;
    let mut house = House::new(port).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    let mut worst = 0;
    // A machine that is busy with other things gets a second try.
    for _ in 0..2 {
        let mut queued = Vec::new();
        for _ in 0..200 {
            house.send(&["a@dest.example"]).await;
            queued.push(house.settled().await.queued_ms);
        }
        queued.sort_unstable();
        worst = queued[197];
        println!("{} ms p50, {worst} ms p99, {} ms at most", queued[100], queued[199]);
        if worst <= 20 {
            break;
        }
    }
    assert!(worst <= 20, "{worst} ms");
    house.stop().await;
}
