//! Mail with REQUIRETLS (RFC 8689): only over TLS whose certificate is good, only to servers that pass the demand on.
#![allow(clippy::unwrap_used)]

mod house;

use house::House;
use house::site::{address, certificate, free_port, good, good_at, no_handshake, scripted, usual};
use mail::MessageId;
use smtp::server::TlsMode;
use spool::Settlement;

async fn send_demanding(house: &mut House) -> MessageId {
    house.send_with(&["a@dest.example"], |accepted| accepted.require_tls = true).await
}

#[tokio::test]
async fn it_arrives_over_checked_tls_with_the_demand() {
    let (port, _keep) = free_port().await;
    let (acceptor, pem) = certificate("mx.dest.example");
    let site = good_at(address(71), port, TlsMode::Offered, acceptor).await;
    let mut house = House::trusting(port, &pem).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    send_demanding(&mut house).await;
    assert_eq!(house.settled().await.settlement, Settlement::Delivered);
    let arrival = site.arrivals()[0].clone();
    assert!(arrival.encrypted && arrival.require_tls);
    // Other mail may ride along on the same connection.
    house.send(&["a@dest.example"]).await;
    assert_eq!(house.settled().await.settlement, Settlement::Delivered);
    assert_eq!((site.connections(), site.arrivals()[1].require_tls), (1, false));
    house.stop().await;
}

#[tokio::test]
async fn a_session_with_an_unchecked_certificate_is_not_used_and_the_path_goes_on_for_others() {
    let (port, _keep) = free_port().await;
    let site = good(72, port, TlsMode::Offered).await;
    let mut house = House::trusting(port, &certificate("mx.dest.example").1).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.send(&["a@dest.example"]).await;
    assert_eq!(house.settled().await.settlement, Settlement::Delivered);
    for connections in 2..12 {
        let message = send_demanding(&mut house).await;
        let attempted = house.attempted().await;
        assert_eq!((attempted.message, attempted.outcome.class.as_str()), (message, "tls.failed"));
        assert_eq!(site.connections(), connections);
    }
    house.send(&["a@dest.example"]).await;
    assert_eq!(house.settled().await.settlement, Settlement::Delivered);
    assert!(site.arrivals().iter().all(|arrival| !arrival.require_tls));
    house.stop().await;
}

#[tokio::test]
async fn tls_that_is_remembered_as_broken_is_tried_again_and_its_failure_is_no_bounce() {
    let (port, _keep) = free_port().await;
    let site = scripted(73, port, no_handshake).await;
    let mut house = House::trusting(port, "").await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.send(&["a@dest.example"]).await;
    assert_eq!(house.settled().await.outcome.unwrap().tls, None);
    send_demanding(&mut house).await;
    let attempted = house.attempted().await;
    assert_eq!((attempted.outcome.class.as_str(), attempted.outcome.stage), ("tls.failed", "starttls"));
    house.stop().await;
}

#[tokio::test]
async fn the_next_exchanger_is_tried_when_one_does_not_pass_the_demand_on() {
    let (port, _keep) = free_port().await;
    let plain = scripted(74, port, |_, line| usual(line)).await;
    let (acceptor, pem) = certificate("mx2.dest.example");
    let site = good_at(address(75), port, TlsMode::Offered, acceptor).await;
    let mut house = House::trusting(port, &pem).await;
    house.route("dest.example", 5, "mx1.dest.example", plain.address);
    house.route("dest.example", 10, "mx2.dest.example", site.address);
    send_demanding(&mut house).await;
    let settled = house.settled().await;
    assert_eq!(settled.settlement, Settlement::Delivered);
    assert_eq!(settled.outcome.unwrap().mx.as_deref(), Some("mx2.dest.example"));
    // One that might have is no reason to give up, whatever the others lack.
    house.route("half.example", 5, "mx3.half.example", site.address);
    house.route("half.example", 10, "mx4.half.example", plain.address);
    house.send_with(&["a@half.example"], |accepted| accepted.require_tls = true).await;
    assert_eq!(house.attempted().await.outcome.class.as_str(), "tls.failed");
    house.route("none.example", 5, "mx5.none.example", plain.address);
    house.send_with(&["a@none.example"], |accepted| accepted.require_tls = true).await;
    let settled = house.settled().await;
    assert_eq!(
        (settled.settlement, settled.outcome.unwrap().class.as_str()),
        (Settlement::Failed, "tls.required")
    );
    house.stop().await;
}
