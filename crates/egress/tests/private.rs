//! A tenant's DNS that leads to our own machine or our neighbours: nothing is connected to, whatever it says, at every attempt.
#![allow(clippy::unwrap_used)]

mod house;

use house::House;
use house::site::{free_port, good};
use mail::Verdict;
use smtp::server::TlsMode;

const DENIED: [&str; 26] = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fc00::1",
    "fe80::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2001:db8::1",
    "::127.0.0.1",
];

/// Only the one site that the operator allows. IPv6 ends a step earlier, because the house sends from IPv4; that the rule holds
/// for it too is said beside it (`connect.rs`).
#[tokio::test]
async fn an_exchanger_at_a_private_address_is_not_connected_to_at_any_attempt() {
    let (port, ours) = free_port().await;
    let site = good(77, port, TlsMode::None).await;
    let allowed = site.address;
    let mut house = House::with(port, |config| {
        config.lab_loopback_only = false;
        config.allow_networks = vec![ipnet::IpNet::from(allowed)];
    })
    .await;
    for (n, address) in DENIED.iter().enumerate() {
        house.route(&format!("d{n}.example"), 10, &format!("mx.d{n}.example"), address.parse().unwrap());
    }
    let recipients: Vec<String> = (0..DENIED.len()).map(|n| format!("a@d{n}.example")).collect();
    house.send(&recipients.iter().map(String::as_str).collect::<Vec<_>>()).await;
    // Twice each: the rule holds at every attempt and not only at the first.
    for _ in 0..DENIED.len() * 2 {
        let attempted = house.attempted().await;
        assert_eq!(attempted.outcome.verdict, Verdict::Deferred);
        let trouble = attempted.outcome.trouble.unwrap_or_default();
        assert!(
            trouble.contains("not an address that mail may be sent to")
                || trouble.contains("of a kind (IPv4, IPv6)"),
            "{trouble}"
        );
    }
    house.stop().await;
    assert_eq!(site.connections(), 0);
    let came = tokio::time::timeout(std::time::Duration::from_millis(1), ours.accept()).await;
    assert!(came.is_err(), "somebody connected to 127.0.0.1");
}

/// The control: with the network allowed the same house connects.
#[tokio::test]
async fn what_the_operator_allows_is_connected_to_and_its_neighbour_in_the_same_answer_is_not() {
    let (port, ours) = free_port().await;
    let site = good(78, port, TlsMode::None).await;
    let allowed = site.address;
    let mut house = House::with(port, |config| {
        config.lab_loopback_only = false;
        config.allow_networks = vec![ipnet::IpNet::from(allowed)];
    })
    .await;
    house.route("both.example", 10, "mx.both.example", "127.0.0.1".parse().unwrap());
    house.route("both.example", 20, "mx2.both.example", allowed);
    house.send(&["a@both.example"]).await;
    house.settled().await;
    assert_eq!(site.arrivals().len(), 1);
    house.stop().await;
    assert!(tokio::time::timeout(std::time::Duration::from_millis(1), ours.accept()).await.is_err());
}
