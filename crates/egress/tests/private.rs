//! A tenant's DNS that leads to our own machine or our neighbours: nothing is connected to, whatever it says, at every attempt.
//!
//! Counted are the listeners that loopback and this machine's own address allow, at the one port that mail goes to and at another
//! that stands for our API or PostgreSQL. Networks that are not here cannot be listened on: of those the sentence is read.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod house;

use house::House;
use house::site::{free_port, good};
use mail::Verdict;
use smtp::server::TlsMode;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

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

/// What listens on this machine, and who came.
struct Watch(Vec<TcpListener>);

impl Watch {
    /// Beside 127.0.0.1, of which the port is taken: others of 127/8, ::1, and the address that this machine has in its network.
    fn beside(first: tokio::net::TcpListener) -> Watch {
        let first = first.into_std().unwrap();
        let port = first.local_addr().unwrap().port();
        let others = ["127.8.8.8", "127.255.255.254", "::1"].map(|text| text.parse().unwrap());
        let mut listeners = vec![first];
        for address in others.into_iter().chain(own_address()) {
            match TcpListener::bind(SocketAddr::new(address, port)) {
                Ok(listener) => listeners.push(listener),
                Err(error) => testkit::skipped("T7", &format!("nobody can listen at {address}: {error}")),
            }
        }
        listeners.iter().for_each(|listener| listener.set_nonblocking(true).unwrap());
        Watch(listeners)
    }

    /// Those who came since the last time.
    fn connections(&self) -> usize {
        self.0.iter().map(|listener| std::iter::from_fn(|| listener.accept().ok()).count()).sum()
    }
}

/// If it is a private one; a public one may be sent to, unless it is our own door (`resolve/dns.rs`).
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Sends nothing: it only asks which way packets would go.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!mail::network::is_public(address) && !address.is_loopback()).then_some(address)
}

/// Which of these addresses lead to a listener, as the kernel sees it. The control for a count of nothing.
fn reachable(addresses: &[IpAddr], port: u16, watch: &Watch) -> usize {
    let patience = Duration::from_millis(300);
    // Nobody knocks at the neighbours of whoever runs this.
    let is_ours = |address: &IpAddr| {
        let address = address.to_canonical();
        address.is_loopback() || address.is_unspecified() || Some(address) == own_address()
    };
    let is_here = |address: &&IpAddr| {
        is_ours(address) && TcpStream::connect_timeout(&SocketAddr::new(**address, port), patience).is_ok()
    };
    let here: Vec<&IpAddr> = addresses.iter().filter(is_here).collect();
    println!("T7: {} of {} addresses lead to a listener: {here:?}", here.len(), addresses.len());
    assert_eq!(watch.connections(), here.len(), "a listener does not count");
    here.len()
}

/// Sends to a domain behind each address, and reads of each what became of its first two attempts: the rule holds at every one.
async fn attempt(house: &mut House, addresses: &[IpAddr], allowed: fn(&str) -> bool) {
    for (n, address) in addresses.iter().enumerate() {
        house.route(&format!("d{n}.example"), 10, &format!("mx.d{n}.example"), *address);
    }
    let recipients: Vec<String> = (0..addresses.len()).map(|n| format!("a@d{n}.example")).collect();
    house.send(&recipients.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for _ in 0..addresses.len() * 2 {
        let attempted = house.attempted().await;
        assert_eq!(attempted.outcome.verdict, Verdict::Deferred);
        let trouble = attempted.outcome.trouble.unwrap_or_default();
        assert!(allowed(&trouble), "{trouble}");
    }
}

fn is_refused(trouble: &str) -> bool {
    trouble.contains("not an address that mail may be sent to")
}

/// Only the one site that the operator allows. An address of the family that the house does not send from ends a step earlier, so
/// the house sends from IPv6 too.
#[tokio::test]
async fn an_exchanger_at_a_private_address_is_not_connected_to_at_any_attempt() {
    let (port, ours) = free_port().await;
    let (other_port, neighbour) = free_port().await;
    let (watch, neighbours) = (Watch::beside(ours), Watch::beside(neighbour));
    let site = good(77, port, TlsMode::None).await;
    let allowed = site.address;
    let denied: Vec<IpAddr> = DENIED.iter().map(|text| text.parse().unwrap()).chain(own_address()).collect();
    for source in ["127.0.0.1", "::1"].map(|text| text.parse::<IpAddr>().unwrap()) {
        let mut house = House::with(port, |config| {
            config.lab_loopback_only = false;
            config.allow_networks = vec![ipnet::IpNet::from(allowed)];
        })
        .await;
        house.set_source(source);
        attempt(&mut house, &denied, |trouble| {
            is_refused(trouble) || trouble.contains("of a kind (IPv4, IPv6)")
        })
        .await;
        house.stop().await;
        assert_eq!(
            (site.connections(), watch.connections(), neighbours.connections()),
            (0, 0, 0),
            "from {source}"
        );
    }
    assert!(reachable(&denied, port, &watch) >= 3, "nobody could have come");
    reachable(&denied, other_port, &neighbours);
}

/// Each family from a source of its own, so that the rule itself is what refuses.
#[tokio::test]
async fn it_is_the_rule_that_refuses_and_not_the_family() {
    let (port, ours) = free_port().await;
    let watch = Watch::beside(ours);
    for source in ["127.0.0.1", "::1"].map(|text| text.parse::<IpAddr>().unwrap()) {
        let mut house = House::with(port, |config| config.lab_loopback_only = false).await;
        house.set_source(source);
        let same = DENIED.iter().map(|text| text.parse::<IpAddr>().unwrap());
        let same: Vec<IpAddr> = same.filter(|address| address.is_ipv4() == source.is_ipv4()).collect();
        attempt(&mut house, &same, is_refused).await;
        house.stop().await;
        assert_eq!(watch.connections(), 0, "from {source}");
        println!("T7: {} addresses refused by the rule from {source}", same.len());
    }
}

/// The control: with the network allowed the same house connects.
#[tokio::test]
async fn what_the_operator_allows_is_connected_to_and_its_neighbour_in_the_same_answer_is_not() {
    let (port, ours) = free_port().await;
    let watch = Watch::beside(ours);
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
    assert_eq!(watch.connections(), 0);
}
