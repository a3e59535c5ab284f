//! Mail over IPv6, and sites that have both kinds of address: the source decides.
#![allow(clippy::unwrap_used)]

mod house;

use house::House;
use house::site::{address, certificate, free_port, good, good_at};
use smtp::server::TlsMode;
use spool::Settlement;
use std::net::{IpAddr, Ipv6Addr, TcpListener};

const SIX: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A machine may have no IPv6 at all.
fn is_here() -> bool {
    let here = TcpListener::bind((SIX, 0)).is_ok();
    if !here {
        testkit::skipped("mail over IPv6", "this machine has no ::1");
    }
    here
}

#[tokio::test]
async fn a_site_with_both_kinds_of_address_is_reached_by_that_of_the_source() {
    if !is_here() {
        return;
    }
    let (port, _keep) = free_port().await;
    let six = good_at(SIX, port, TlsMode::Offered, certificate("mx.dest.example").0).await;
    let four = good(81, port, TlsMode::None).await;
    let mut house = House::new(port).await;
    house.route("dest.example", 10, "mx.dest.example", four.address);
    house.resolver.address("mx.dest.example", SIX);
    house.set_source(SIX);
    house.send(&["a@dest.example"]).await;
    let settled = house.settled().await;
    assert_eq!((settled.settlement, settled.outcome.unwrap().egress), (Settlement::Delivered, Some(SIX)));
    assert_eq!((six.arrivals().len(), six.arrivals()[0].peer, four.connections()), (1, SIX, 0));
    assert!(six.arrivals()[0].encrypted);
    house.stop().await;

    let mut house = House::new(port).await;
    house.route("dest.example", 10, "mx.dest.example", SIX);
    house.resolver.address("mx.dest.example", four.address);
    house.send(&["a@dest.example"]).await;
    assert_eq!(house.settled().await.outcome.unwrap().egress, Some(address(1)));
    assert_eq!((six.connections(), four.arrivals()[0].peer), (1, address(1)));
    house.stop().await;
}

#[tokio::test]
async fn a_site_that_the_source_cannot_reach_is_deferred_and_says_why() {
    if !is_here() {
        return;
    }
    let (port, _keep) = free_port().await;
    let six = good_at(SIX, port, TlsMode::None, certificate("mx.dest.example").0).await;
    let mut house = House::new(port).await;
    house.route("dest.example", 10, "mx.dest.example", SIX);
    house.send(&["a@dest.example"]).await;
    let attempted = house.attempted().await;
    assert!(attempted.outcome.trouble.unwrap().contains("IPv6"));
    assert_eq!(six.connections(), 0);
    // When the house has an address of that kind, it goes out.
    house.set_source(SIX);
    loop {
        if let house::Told::Settled(settled) = house.told().await {
            assert_eq!(settled.settlement, Settlement::Delivered);
            break;
        }
    }
    house.stop().await;
}
