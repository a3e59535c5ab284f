//! The shell of the DNS: UDP and TCP on one loopback address, wire format through hickory-proto.
//!
//! Refuses what is not one IN query. Answers that do not fit a datagram are truncated, so that the TCP side is used
//! as in real life. A zone that is told to time out gets no answer on either.

use super::record::{Data, Kind};
use super::zones::{Answer, Zones};
use crate::error::{Fault, require_loopback};
use crate::world::lock;
use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, SOA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Seconds that an answer, also a negative one, may be kept: tests publish and look at once.
const TTL: u32 = 1;
/// Octets of a datagram without EDNS (RFC 1035 §2.3.4), and the most that we send with it.
const DATAGRAM_OCTETS: u16 = 512;
const DATAGRAM_OCTETS_MAX: u16 = 1_232;
const TCP_CONNECTIONS_MAX: usize = 256;
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Ports tried until one is free for UDP and TCP.
const PORT_TRIES: usize = 20;
/// Octets of one character-string in TXT.
const TXT_CHUNK: usize = 255;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

pub(crate) struct DnsServer {
    udp: UdpSocket,
    tcp: TcpListener,
    zones: Arc<Mutex<Zones>>,
    queries: Arc<AtomicU64>,
}

impl DnsServer {
    /// Binds both; after this every query is answered.
    pub async fn bind(
        address: SocketAddr,
        zones: Arc<Mutex<Zones>>,
        queries: Arc<AtomicU64>,
    ) -> Result<DnsServer, Fault> {
        let address = require_loopback("the DNS", address)?;
        let fault = |source| Fault::Bind { what: "DNS", address, source };
        let mut tries = 0;
        loop {
            let udp = UdpSocket::bind(address).await.map_err(fault)?;
            let bound = udp.local_addr().map_err(fault)?;
            match TcpListener::bind(bound).await {
                Ok(tcp) => return Ok(DnsServer { udp, tcp, zones, queries }),
                Err(_) if address.port() == 0 && tries < PORT_TRIES => tries += 1,
                Err(source) => return Err(fault(source)),
            }
        }
    }

    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    pub fn run(self, tracker: &TaskTracker, shutdown: &CancellationToken) {
        let DnsServer { udp, tcp, zones, queries } = self;
        tracker.spawn(serve_udp(udp, zones.clone(), queries.clone(), shutdown.clone()));
        let connections = TaskTracker::clone(tracker);
        tracker.spawn(serve_tcp(tcp, zones, queries, connections, shutdown.clone()));
    }
}

async fn serve_udp(
    socket: UdpSocket,
    zones: Arc<Mutex<Zones>>,
    queries: Arc<AtomicU64>,
    shutdown: CancellationToken,
) {
    let mut buffer = vec![0; 4_096];
    loop {
        let received = tokio::select! {
            () = shutdown.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        // An ICMP error of an earlier answer surfaces here; it is nobody's trouble.
        let Ok((length, peer)) = received else { continue };
        queries.fetch_add(1, Ordering::Relaxed);
        if let Some(answer) = respond(&zones, &buffer[..length], Transport::Udp) {
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

async fn serve_tcp(
    listener: TcpListener,
    zones: Arc<Mutex<Zones>>,
    queries: Arc<AtomicU64>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(TCP_CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (Ok((stream, _)), Ok(place)) = (accepted, places.clone().try_acquire_owned()) else { continue };
        let (zones, queries, shutdown) = (zones.clone(), queries.clone(), shutdown.clone());
        tracker.spawn(async move {
            let _place = place;
            tokio::select! {
                () = shutdown.cancelled() => {}
                _ = tokio::time::timeout(TCP_IDLE, talk_tcp(stream, &zones, &queries)) => {}
            }
        });
    }
}

/// RFC 7766: two octets of length before each message, any number of queries.
async fn talk_tcp(mut stream: TcpStream, zones: &Mutex<Zones>, queries: &AtomicU64) -> std::io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut request = vec![0; usize::from(length)];
        stream.read_exact(&mut request).await?;
        queries.fetch_add(1, Ordering::Relaxed);
        let Some(answer) = respond(zones, &request, Transport::Tcp) else { continue };
        let mut framed = Vec::with_capacity(answer.len() + 2);
        framed.extend_from_slice(&u16::try_from(answer.len()).unwrap_or(u16::MAX).to_be_bytes());
        framed.extend_from_slice(&answer);
        stream.write_all(&framed).await?;
    }
}

/// The answer to one request; none to nonsense and when the zone is to be silent.
fn respond(zones: &Mutex<Zones>, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let request = Message::from_vec(request).ok()?;
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata = Metadata::response_from_request(&request.metadata);
    response.metadata.authoritative = true;
    response.metadata.recursion_available = true;
    response.add_queries(request.queries.iter().cloned());
    let mut room = DATAGRAM_OCTETS;
    if let Some(asked) = &request.edns {
        room = asked.max_payload().clamp(DATAGRAM_OCTETS, DATAGRAM_OCTETS_MAX);
        let mut edns = Edns::new();
        edns.set_max_payload(DATAGRAM_OCTETS_MAX);
        response.set_edns(edns);
    }
    response.metadata.response_code = match (request.metadata.op_code, request.queries.as_slice()) {
        (OpCode::Query, [query]) if query.query_class() == DNSClass::IN => {
            let name = query.name().to_lowercase().to_ascii();
            let name = name.strip_suffix('.').unwrap_or(&name);
            let answer = lock(zones).answer(name, kind_of(query.query_type()));
            fill(&mut response, answer)?
        }
        (OpCode::Query, [_]) => ResponseCode::Refused,
        (OpCode::Query, _) => ResponseCode::FormErr,
        _ => ResponseCode::NotImp,
    };
    let bytes = response.to_vec().ok()?;
    if transport == Transport::Udp && bytes.len() > usize::from(room) {
        return response.truncate().to_vec().ok();
    }
    Some(bytes)
}

fn fill(response: &mut Message, answer: Answer) -> Option<ResponseCode> {
    match answer {
        Answer::Records(records) => {
            let records = records.iter().filter_map(|(owner, data)| to_record(owner, data));
            response.add_answers(records.collect::<Vec<_>>());
            Some(ResponseCode::NoError)
        }
        Answer::NoData => {
            response.add_authority(authority());
            Some(ResponseCode::NoError)
        }
        Answer::NoName => {
            response.add_authority(authority());
            Some(ResponseCode::NXDomain)
        }
        Answer::Trouble => Some(ResponseCode::ServFail),
        Answer::Silence => None,
    }
}

fn kind_of(record_type: RecordType) -> Option<Kind> {
    match record_type {
        RecordType::A => Some(Kind::A),
        RecordType::AAAA => Some(Kind::Aaaa),
        RecordType::CNAME => Some(Kind::Cname),
        RecordType::MX => Some(Kind::Mx),
        RecordType::PTR => Some(Kind::Ptr),
        RecordType::TXT => Some(Kind::Txt),
        _ => None,
    }
}

fn to_record(owner: &str, data: &Data) -> Option<Record> {
    let data = match data {
        Data::A(address) => RData::A(A(*address)),
        Data::Aaaa(address) => RData::AAAA(AAAA(*address)),
        Data::Cname(target) => RData::CNAME(CNAME(to_name(target)?)),
        Data::Mx(preference, exchange) => RData::MX(MX::new(*preference, to_name(exchange)?)),
        Data::Ptr(target) => RData::PTR(PTR(to_name(target)?)),
        Data::Txt(text) => {
            let mut chunks: Vec<&[u8]> = text.as_bytes().chunks(TXT_CHUNK).collect();
            if chunks.is_empty() {
                chunks.push(b"");
            }
            RData::TXT(TXT::from_bytes(chunks))
        }
    };
    Some(Record::from_rdata(to_name(owner)?, TTL, data))
}

fn to_name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// The SOA of the root says how long "no" may be remembered (RFC 2308 §5).
fn authority() -> Record {
    let name = |text: &str| to_name(text).unwrap_or_else(Name::root);
    let soa = SOA::new(name("dns.lab.test"), name("hostmaster.lab.test"), 1, 60, 60, 60, TTL);
    Record::from_rdata(Name::root(), TTL, RData::SOA(soa))
}
