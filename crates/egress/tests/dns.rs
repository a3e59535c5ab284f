//! What the resolver makes of a DNS server's answers, definite ones and all others.
#![allow(clippy::unwrap_used)]

use egress::resolve::{DnsResolver, Resolver};
use egress::{Config, Route, Unresolved};
use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, NS, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use mail::Domain;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn mx(preference: u16, host: &str) -> RData {
    RData::MX(MX::new(preference, name(host)))
}

fn a(last: u8) -> RData {
    RData::A(A::new(192, 0, 2, last))
}

/// The zone: what there is, what fails, and nothing else.
fn answer(question: &str, kind: RecordType) -> (ResponseCode, Vec<RData>) {
    let found = match (question, kind) {
        ("two.example.", RecordType::MX) => vec![mx(20, "B.Two.example."), mx(10, "a.two.example.")],
        ("a.two.example." | "b.two.example.", RecordType::A) => vec![a(1)],
        ("a.two.example.", RecordType::AAAA) => vec![RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))],
        ("null.example.", RecordType::MX) => vec![mx(0, ".")],
        ("plain.example.", RecordType::A) => vec![a(2)],
        ("alias.example.", RecordType::MX) => vec![mx(10, "mx.alias.example.")],
        ("mx.alias.example.", RecordType::A) => {
            vec![RData::CNAME(CNAME(name("real.example."))), a(3)]
        }
        ("self.example.", RecordType::MX) => vec![mx(10, "mx.house.example."), mx(20, "b.two.example.")],
        ("lost.example.", RecordType::MX) => vec![mx(10, "gone.example.")],
        ("half.example.", RecordType::MX) => vec![mx(10, "broken.example."), mx(20, "b.two.example.")],
        ("unlucky.example.", RecordType::MX) => vec![mx(10, "broken.example.")],
        ("broken.example.", _) | ("servfail.example.", _) => return (ResponseCode::ServFail, vec![]),
        ("refused.example.", _) => return (ResponseCode::Refused, vec![]),
        ("my_co.example.", RecordType::MX) => vec![mx(10, "a.two.example.")],
        ("gone.example." | "nowhere.example." | "no_co.example.", _) => {
            return (ResponseCode::NXDomain, vec![]);
        }
        ("literal.example.", RecordType::MX) => vec![mx(10, "192.0.2.9.")],
        ("loops.example.", RecordType::MX) => vec![mx(10, "a.two.example."), mx(20, "local.example.")],
        ("near.example.", RecordType::MX) => vec![mx(10, "local.example."), mx(20, "b.two.example.")],
        ("local.example.", RecordType::A) => vec![RData::A(A::new(127, 0, 0, 1))],
        ("backup.example.", RecordType::MX) => {
            vec![mx(10, "b.two.example."), mx(20, "silent1.example."), mx(30, "silent2.example.")]
        }
        ("front.example.", RecordType::MX) => {
            vec![mx(10, "silent1.example."), mx(20, "silent2.example."), mx(30, "b.two.example.")]
        }
        ("unclear.example.", RecordType::MX) => vec![mx(10, "silent1.example."), mx(20, "local.example.")],
        ("family.example.", RecordType::MX) => vec![mx(10, "only4.family.example.")],
        ("only4.family.example.", RecordType::A) => vec![a(4)],
        ("mute.example.", RecordType::MX) => vec![mx(10, "silent1.example."), mx(20, "silent2.example.")],
        _ => vec![],
    };
    (ResponseCode::NoError, found)
}

/// Questions that get no answer at all.
fn is_dropped(question: &str, kind: RecordType) -> bool {
    question.starts_with("silent") || (question.starts_with("only4") && kind == RecordType::AAAA)
}

async fn server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let mut message = Message::from_vec(&buffer[..length]).unwrap();
            let query = message.queries[0].clone();
            if is_dropped(&query.name().to_ascii(), query.query_type()) {
                continue;
            }
            let asked = query.name().clone();
            let (code, found) = answer(&asked.to_ascii().to_ascii_lowercase(), query.query_type());
            message.metadata.message_type = MessageType::Response;
            message.metadata.recursion_available = true;
            message.metadata.response_code = code;
            let mut owner = asked.clone();
            for data in found {
                let next = match &data {
                    RData::CNAME(target) => target.0.clone(),
                    _ => owner.clone(),
                };
                message.add_answer(Record::from_rdata(owner, 120, data));
                owner = next;
            }
            if message.answers.is_empty() && matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
                let soa = SOA::new(name("ns.example."), name("root.example."), 1, 60, 60, 60, 60);
                message.add_authority(Record::from_rdata(name("example."), 60, RData::SOA(soa)));
            }
            if asked.to_ascii().starts_with("lame") {
                message.authorities.clear();
                message.metadata.authoritative = false;
                let ns = RData::NS(NS(name("a.root-servers.net.")));
                message.add_authority(Record::from_rdata(Name::root(), 60, ns));
            }
            // Nobody listens on TCP.
            message.metadata.truncation = asked.to_ascii().starts_with("long");
            message.edns = None;
            message.additionals.clear();
            socket.send_to(&message.to_vec().unwrap(), peer).await.unwrap();
        }
    });
    address
}

async fn resolve(domain: &str) -> Result<Route, Unresolved> {
    resolve_with(domain, |_| {}).await
}

async fn resolve_with(domain: &str, change: impl FnOnce(&mut Config)) -> Result<Route, Unresolved> {
    let mut config = Config {
        dns_servers: vec![server().await],
        own_names: vec!["MX.house.example".to_owned()],
        ..Config::default()
    };
    change(&mut config);
    let resolver = DnsResolver::new(&config).unwrap();
    resolver.resolve(&Domain::parse(domain).unwrap()).await
}

#[tokio::test]
async fn exchangers_come_in_order_with_their_addresses_of_both_kinds() {
    let route = resolve("two.example").await.unwrap();
    let hosts: Vec<_> = route.exchangers.iter().map(|one| (one.host.as_str(), one.addresses.len())).collect();
    assert_eq!(hosts, [("a.two.example", 2), ("b.two.example", 1)]);
    assert_eq!((route.site.as_str(), route.lifetime.as_secs()), ("a.two.example,b.two.example", 120));
}

#[tokio::test]
async fn a_name_that_is_not_there_is_definite() {
    assert_eq!(resolve("nowhere.example").await, Err(Unresolved::NoSuchDomain));
    assert_eq!(resolve("null.example").await, Err(Unresolved::NullMx));
    assert_eq!(resolve("lost.example").await, Err(Unresolved::NoAddress));
    assert_eq!(resolve("self.example").await, Err(Unresolved::Loop));
    // It exists, and has neither MX nor address.
    assert_eq!(resolve("empty.example").await, Err(Unresolved::NoSuchDomain));
}

#[tokio::test]
async fn a_server_that_fails_is_never_a_definite_answer() {
    for domain in ["servfail.example", "refused.example", "unlucky.example", "lame.example", "long.example"] {
        let answer = resolve(domain).await;
        assert!(matches!(answer, Err(Unresolved::Temporary(_))), "{domain}: {answer:?}");
    }
}

#[tokio::test]
async fn one_exchanger_with_an_address_is_enough() {
    let route = resolve("half.example").await.unwrap();
    assert_eq!(route.exchangers.len(), 1);
    assert_eq!(route.exchangers[0].host, "b.two.example");
}

/// No host name, and a name all the same: whether there is one the DNS says.
#[tokio::test]
async fn a_name_with_an_underscore_is_looked_up_as_it_is() {
    assert_eq!(resolve("my_co.example").await.unwrap().exchangers[0].host, "a.two.example");
    assert_eq!(resolve("no_co.example").await, Err(Unresolved::NoSuchDomain));
}

#[tokio::test]
async fn without_mx_the_address_of_the_domain_counts_and_aliases_are_followed() {
    let route = resolve("plain.example").await.unwrap();
    assert_eq!((route.exchangers[0].host.as_str(), route.site.as_str()), ("plain.example", "plain.example"));
    let route = resolve("alias.example").await.unwrap();
    assert_eq!(route.exchangers[0].addresses.len(), 1);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_no_definite_answer_either() {
    let began = tokio::time::Instant::now();
    let answer = resolve_with("silent.example", |config| config.resolve_seconds_max = 1).await;
    assert!(matches!(answer, Err(Unresolved::Temporary(_))), "{answer:?}");
    assert!(began.elapsed() <= Duration::from_secs(3), "{:?}", began.elapsed());
}

/// N6: name servers of single exchangers, or for one kind of record, that never answer. What the others said counts.
#[tokio::test]
async fn one_silent_exchanger_or_family_does_not_hide_the_others() {
    let limit = Duration::from_secs(3);
    let ask = |domain: &'static str| async move {
        let began = tokio::time::Instant::now();
        let found = resolve_with(domain, |config| config.resolve_seconds_max = limit.as_secs());
        let found = tokio::time::timeout(limit, found).await.expect(domain);
        println!("{domain}: {:?}", began.elapsed());
        found
    };
    for (domain, host) in [
        ("backup.example", "b.two.example"),
        ("front.example", "b.two.example"),
        ("family.example", "only4.family.example"),
    ] {
        let route = ask(domain).await.expect(domain);
        let hosts: Vec<_> =
            route.exchangers.iter().map(|one| (one.host.as_str(), one.addresses.len())).collect();
        assert_eq!(hosts, [(host, 1)], "{domain}");
        // What was left out is asked for again soon.
        let whole = domain == "family.example";
        assert_eq!(route.lifetime.as_secs(), if whole { 120 } else { 60 }, "{domain}");
    }
    let none = ask("mute.example").await;
    assert!(matches!(none, Err(Unresolved::Temporary(_))), "{none:?}");
}

#[tokio::test]
async fn an_address_in_place_of_an_exchanger_is_not_looked_up_and_not_called() {
    assert_eq!(resolve("literal.example").await, Err(Unresolved::NoAddress));
}

/// RFC 5321 §5.1: we, and everything not preferred to us, by address as by name.
#[tokio::test]
async fn an_exchanger_at_our_own_door_is_ourselves() {
    for door in ["127.0.0.1:25", "0.0.0.0:25"] {
        let ours = |config: &mut Config| config.own_door = Some(door.parse().unwrap());
        assert_eq!(resolve_with("near.example", ours).await, Err(Unresolved::Loop), "{door}");
        assert_eq!(resolve_with("local.example", ours).await, Err(Unresolved::Loop), "{door}");
        let route = resolve_with("loops.example", ours).await.unwrap();
        assert_eq!(route.exchangers.len(), 1, "{door}");
        assert!(resolve_with("two.example", ours).await.is_ok(), "{door}");
        // One that is preferred to us and cannot be asked for now may be the way: that is no loop.
        let unclear = resolve_with("unclear.example", ours).await;
        assert!(matches!(unclear, Err(Unresolved::Temporary(_))), "{door}: {unclear:?}");
    }
    // In the lab mail goes to another port than ours, and exchangers have addresses of this host.
    let elsewhere = |config: &mut Config| config.own_door = Some("0.0.0.0:2525".parse().unwrap());
    assert!(resolve_with("near.example", elsewhere).await.is_ok());
}
