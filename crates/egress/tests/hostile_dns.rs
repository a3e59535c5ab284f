//! N7: a name server that wants to hurt us. Whatever it says, a look-up ends in time, keeps little, names nobody else's
//! site and does not panic.
//!
//! No signature of DNSSEC is checked here, so the costs of NSEC3 (RFC 9276) are none: such records are passed over like any that
//! was not asked for. TXT is not read either; `registry/src/domain_records.rs` reads those of a tenant's own domain.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod house;

use egress::resolve::{DnsResolver, Resolver};
use egress::{Config, Route, Unresolved};
use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CNAME, MX, NULL, SOA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use house::House;
use house::site::{Say, address, free_port, scripted, usual};
use mail::{Domain, Verdict};
use std::net::SocketAddr;
use std::time::Duration;
use testkit::held::{self, Counting};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::Instant;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SECONDS_MAX: u64 = 3;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// A name of labels that no zone file could hold.
fn labels(labels: &[&[u8]]) -> Name {
    Name::from_labels(labels.iter().map(|label| label.to_vec())).unwrap()
}

fn mx(preference: u16, host: Name) -> RData {
    RData::MX(MX::new(preference, host))
}

fn a(number: usize) -> RData {
    RData::A(A::new(198, 51, (number / 250) as u8, (number % 250) as u8))
}

fn alias(target: &str) -> RData {
    RData::CNAME(CNAME(name(target)))
}

/// Owner (if another than was asked), TTL and data.
type Answer = Vec<(Option<Name>, u32, RData)>;

fn answers(question: &str, kind: RecordType) -> Answer {
    let plain = |data: Vec<RData>| data.into_iter().map(|data| (None, 120, data)).collect();
    match (question, kind) {
        ("mx.good.example.", RecordType::A) => plain(vec![a(1)]),
        // A thousand exchangers, and addresses to the edge of what a message can hold (64 KB).
        ("crowd.example.", RecordType::MX) => {
            plain((0..1000).map(|n| mx(n, name(&format!("h{n}.crowd.example.")))).collect())
        }
        (host, RecordType::A) if host.ends_with(".crowd.example.") => plain((0..2000).map(a).collect()),
        ("heavy.example.", RecordType::MX) => {
            let text = TXT::new(vec!["\u{200b}".repeat(83); 230]);
            vec![(None, 120, mx(10, name("mx.good.example."))), (None, 120, RData::TXT(text))]
        }
        ("full.example.", RecordType::MX) => plain(vec![mx(10, name("h.full.example."))]),
        ("h.full.example.", RecordType::A) => plain((0..2000).map(a).collect()),
        ("wide.example.", RecordType::MX) => {
            let host = |n: usize| name(&format!("{n}.{}.example.", "w".repeat(60)));
            plain((0..600).map(|n| mx(10, host(n))).collect())
        }
        ("loop.example.", _) => plain(vec![alias("loop.example.")]),
        ("ping.example.", _) => plain(vec![alias("pong.example.")]),
        ("pong.example.", _) => plain(vec![alias("ping.example.")]),
        ("spin.example.", RecordType::MX) => plain(vec![mx(10, name("ping.example."))]),
        ("chain.example.", RecordType::MX) => plain(vec![mx(10, name("c0.chain.example."))]),
        (host, RecordType::A | RecordType::AAAA) if host.ends_with(".chain.example.") => {
            let number: usize = host[1..].split('.').next().unwrap().parse().unwrap();
            plain(vec![alias(&format!("c{}.chain.example.", number + 1))])
        }
        ("odd.example.", RecordType::MX) => plain(vec![
            mx(1, labels(&[b"a\0b", b"example"])),
            mx(2, labels(&[b"a.b", b"example"])),
            mx(3, labels(&[b"a\r\nb", b"example"])),
            mx(4, labels(&[b"a b", b"example"])),
            mx(5, labels(&[b"\xff\xfe", b"example"])),
            mx(6, labels(&[b"\xe2\x80\x8b", b"example"])),
            mx(7, labels(&[&[b'x'; 63], &[b'x'; 63], &[b'x'; 63], &[b'x'; 61]])),
            mx(8, name("mx.good.example.")),
        ]),
        // The text of this one name is that of the two names of somebody else's exchangers.
        ("thief.example.", RecordType::MX) => {
            plain(vec![mx(10, labels(&[b"mx1", b"bank", b"example,mx2", b"bank", b"example"]))])
        }
        ("bank.example.", RecordType::MX) => {
            plain(vec![mx(10, name("mx1.bank.example.")), mx(20, name("mx2.bank.example."))])
        }
        (host, RecordType::A) if host.contains("bank.example.") || host.contains("bank") => plain(vec![a(7)]),
        ("never.example.", RecordType::MX) => vec![(None, 0, mx(10, name("mx.good.example.")))],
        ("ever.example.", RecordType::MX) => vec![(None, 1 << 31, mx(10, name("mx.good.example.")))],
        ("ages.example.", RecordType::MX) => vec![(None, i32::MAX as u32, mx(10, name("mx.good.example.")))],
        // Answers about somebody else, along with a question that was not asked.
        ("foreign.example.", RecordType::MX) => {
            let victim = Some(name("victim.example."));
            vec![(victim, 86_400, mx(0, name("mx.evil.example.")))]
        }
        ("victim.example.", RecordType::MX) => plain(vec![mx(10, name("mx.good.example."))]),
        ("mx.evil.example.", RecordType::A) => plain(vec![a(66)]),
        _ => vec![],
    }
}

/// What stands in the authority section. Of one domain: that somebody else's zone says so, with the proofs that nothing is there.
fn authorities(question: &str) -> Vec<Record> {
    if question != "sealed.example." {
        return Vec::new();
    }
    let zone = SOA::new(name("ns.victim.example."), name("x.victim.example."), 1, 3600, 600, 86_400, 86_400);
    let mut records = vec![Record::from_rdata(name("victim.example."), 86_400, RData::SOA(zone))];
    // NSEC3 with SHA-1, 65,535 rounds, salt and hash: the CPU attack of RFC 9276 on whoever validates.
    let proof = [&[1, 0, 0xff, 0xff, 8][..], &[0x5a; 8], &[20], &[0x42; 20]].concat();
    for n in 0..700 {
        let data = RData::Unknown { code: RecordType::from(50), rdata: NULL::with(proof.clone()) };
        records.push(Record::from_rdata(name(&format!("{n:032}.sealed.example.")), 86_400, data));
    }
    records
}

fn reply(octets: &[u8]) -> Option<Message> {
    let mut message = Message::from_vec(octets).ok()?;
    let query = message.queries.first()?.clone();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    message.metadata.response_code = ResponseCode::NoError;
    message.edns = None;
    message.additionals.clear();
    let question = query.name().to_ascii().to_ascii_lowercase();
    for (owner, ttl, data) in answers(&question, query.query_type()) {
        message.add_answer(Record::from_rdata(owner.unwrap_or_else(|| query.name().clone()), ttl, data));
    }
    message.authorities = authorities(&question);
    Some(message)
}

/// UDP that says what fits and points to TCP for the rest; TCP beside it.
async fn server() -> SocketAddr {
    let (socket, listener) = loop {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
            break (socket, listener);
        }
    };
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let Some(mut message) = reply(&buffer[..length]) else { continue };
            let octets = message.to_vec().unwrap();
            if octets.len() <= 512 {
                let _ = socket.send_to(&octets, peer).await;
                continue;
            }
            message.answers.clear();
            message.authorities.clear();
            message.metadata.truncation = true;
            let _ = socket.send_to(&message.to_vec().unwrap(), peer).await;
        }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_stream(stream));
        }
    });
    address
}

async fn answer_stream(mut stream: TcpStream) -> Option<()> {
    loop {
        let length = stream.read_u16().await.ok()?;
        let mut octets = vec![0; usize::from(length)];
        stream.read_exact(&mut octets).await.ok()?;
        let octets = reply(&octets)?.to_vec().ok()?;
        stream.write_u16(octets.len().try_into().ok()?).await.ok()?;
        stream.write_all(&octets).await.ok()?;
    }
}

struct Asker(DnsResolver);

impl Asker {
    async fn new() -> Asker {
        Asker::of(server().await)
    }

    fn of(server: SocketAddr) -> Asker {
        let config =
            Config { dns_servers: vec![server], resolve_seconds_max: SECONDS_MAX, ..Config::default() };
        Asker(DnsResolver::new(&config).unwrap())
    }

    async fn ask(&self, domain: &str) -> Result<Route, Unresolved> {
        let began = Instant::now();
        let found = self.0.resolve(&Domain::parse(domain).unwrap()).await;
        println!("N7 {domain}: {:?}, {}", began.elapsed(), if found.is_ok() { "a route" } else { "none" });
        assert!(began.elapsed() < Duration::from_secs(SECONDS_MAX + 2), "{domain}: {:?}", began.elapsed());
        found
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_become_a_few_exchangers_with_a_few_addresses() {
    let asker = Asker::new().await;
    let route = asker.ask("crowd.example").await.unwrap();
    assert!(route.exchangers.len() <= 8, "{}", route.exchangers.len());
    assert!(route.exchangers.iter().all(|one| one.addresses.len() <= 8));
    assert_eq!(route.exchangers[0].host, "h0.crowd.example");
    assert!(route.site.as_str().len() < 200, "a site has a short name");
    let route = asker.ask("heavy.example").await.unwrap();
    assert_eq!(route.exchangers.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn loops_and_chains_of_aliases_end() {
    let asker = Asker::new().await;
    for domain in ["loop.example", "ping.example", "spin.example", "chain.example"] {
        let found = asker.ask(domain).await;
        // Never a definite answer out of a name server's confusion, unless it said that there is no address.
        assert!(
            matches!(found, Err(Unresolved::Temporary(_) | Unresolved::NoAddress | Unresolved::NoSuchDomain)),
            "{domain}: {found:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_no_names_are_not_looked_up_and_the_others_count() {
    let route = Asker::new().await.ask("odd.example").await.unwrap();
    let hosts: Vec<&str> = route.exchangers.iter().map(|one| one.host.as_str()).collect();
    assert_eq!(hosts, ["mx.good.example"]);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.,".contains(&b);
    assert!(route.site.as_str().bytes().all(plain), "{}", route.site.as_str());
}

/// What is learned of a site (its pace, its pauses) belongs to its own exchangers.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_take_the_name_of_anothers_site() {
    let asker = Asker::new().await;
    let bank = asker.ask("bank.example").await.unwrap();
    let thief = asker.ask("thief.example").await;
    assert!(!thief.is_ok_and(|route| route.site == bank.site), "a site under another's name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_to_live_is_neither_nothing_for_ever_nor_for_ever() {
    let asker = Asker::new().await;
    for domain in ["never.example", "ever.example", "ages.example"] {
        let route = asker.ask(domain).await.unwrap();
        println!("N7 {domain}: kept for {:?}", route.lifetime);
        assert!(route.lifetime <= Duration::from_secs(86_400), "{domain}: {:?}", route.lifetime);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_somebody_else_is_not_believed() {
    let asker = Asker::new().await;
    let foreign = asker.ask("foreign.example").await;
    let called = |route: &Route| route.exchangers.iter().any(|one| one.host == "mx.evil.example");
    println!("N7 foreign.example: {foreign:?}");
    let victim = asker.ask("victim.example").await.unwrap();
    assert!(!called(&victim), "a record that nobody asked for is remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_of_nothing_cost_nothing_and_say_nothing_of_others() {
    let asker = Asker::new().await;
    let sealed = asker.ask("sealed.example").await;
    println!("N7 sealed.example: {sealed:?}");
    assert!(sealed.is_err());
    assert!(asker.ask("victim.example").await.is_ok(), "another zone's word ends somebody's mail");
}

/// The name server has a thread of its own, so that what this one holds is the resolver's.
fn server_elsewhere() -> SocketAddr {
    let (told, tells) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            told.send(server().await).unwrap();
            std::future::pending::<()>().await;
        });
    });
    tells.recv().unwrap()
}

/// The catalogue wants a mebibyte for a look-up. An answer of 64 KB takes a little more while it is read, and a domain asks for
/// the addresses of eight exchangers at once.
#[test]
fn a_look_up_takes_little_memory_whatever_is_answered() {
    let server = server_elsewhere();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asker = runtime.block_on(async { Asker::of(server) });
    // What is made once.
    let _ = runtime.block_on(asker.ask("good.example"));
    let domains = ["heavy.example", "full.example", "wide.example", "sealed.example", "chain.example"];
    for (domain, most_kib) in
        domains.map(|domain| (domain, 2_048)).into_iter().chain([("crowd.example", 8_192)])
    {
        let before = held::now();
        let most = held::most(|| drop(runtime.block_on(asker.ask(domain)))) / 1024;
        let kept = (held::now() - before) / 1024;
        println!("N7 {domain}: {most} KiB at most, {kept} KiB afterwards");
        assert!(most <= most_kib && kept < 64, "{domain}: {most} KiB, {kept} KiB are kept");
    }
}

/// An attempt: five addresses at most (`addresses_per_attempt_max`), two of them as far as a transaction.
#[tokio::test]
async fn of_eight_exchangers_with_eight_addresses_an_attempt_visits_five_and_speaks_to_two() {
    fn mute(_: u32, _: &str) -> Say {
        Say::Close
    }
    fn breaks_off(_: u32, line: &str) -> Say {
        if line.starts_with("MAIL") { Say::Close } else { usual(line) }
    }
    for (script, visits) in [(mute as fn(u32, &str) -> Say, 5), (breaks_off, 2)] {
        let (port, _keep) = free_port().await;
        let mut house = House::with(port, |config| config.retry_seconds = vec![3600]).await;
        let mut sites = Vec::new();
        for number in 0..64 {
            let site = scripted(100 + number, port, script).await;
            house.route("many.example", 10, &format!("mx{}.many.example", number % 8), address(100 + number));
            sites.push(site);
        }
        house.send(&["a@many.example"]).await;
        assert_eq!(house.attempted().await.outcome.verdict, Verdict::Deferred);
        house.stop().await;
        let connections: u32 = sites.iter().map(house::site::Site::connections).sum();
        println!("N7: {connections} of 64 addresses visited in an attempt");
        assert_eq!(connections, visits);
    }
}
