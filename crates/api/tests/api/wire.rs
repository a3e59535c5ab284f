//! HTTP as an attacker writes it, octet by octet: requests that can be read in two ways, floods of frames, headers without
//! an end. Each costs its own connection and nobody else's time.

use crate::server::{PATIENCE, running};
use api::Config;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const SECOND: &str = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// All of 127/8 is this machine.
async fn connect(from: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(address).await.unwrap()
}

async fn exchange(address: SocketAddr, octets: &[u8]) -> Option<Vec<u8>> {
    exchange_from(Ipv4Addr::LOCALHOST, address, octets).await
}

/// Writes as much as is taken, and reads until the other side closes. None if it does not.
async fn exchange_from(from: Ipv4Addr, address: SocketAddr, octets: &[u8]) -> Option<Vec<u8>> {
    let stream = connect(from, address).await;
    let (mut reading, mut writing) = stream.into_split();
    let mut answer = Vec::new();
    let write = async {
        // It is right to close before all is read.
        let _ = writing.write_all(octets).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = write => unreachable!(),
        read = timeout(PATIENCE, reading.read_to_end(&mut answer)) => read.ok().map(|_| ())?,
    }
    Some(answer)
}

/// The status of each answer.
fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer);
    text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)?.parse().ok()).collect()
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /v1/auth/logout HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}{SECOND}")
}

/// Header fields that a proxy may read in another way than we.
const TWO_READINGS: &[&str] = &[
    "Content-Length: 0\r\nContent-Length: 33\r\n",
    "Content-Length: 0, 33\r\n",
    "Content-Length: +0\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 0x0\r\n",
    "Content-Length: \r\n",
    "Content-Length : 33\r\n",
    "Content-Length: 99999999999999999999999\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: \u{b}chunked\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: identity, chunked\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "Transfer-Encoding:\r\n chunked\r\n",
    "X: y\rTransfer-Encoding: chunked\r\n",
    "X: y\0z\r\n",
    "Host: y\r\n",
];

/// Behind a proxy that reads the other way a second answer would be somebody else's.
#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_ends_its_connection() {
    let running = running(Config::default(), &[]).await;
    let control = exchange(running.address, post("Content-Length: 0\r\n", "").as_bytes()).await.unwrap();
    assert_eq!(statuses(&control), [204, 200]);
    let chunked = "Transfer-Encoding: chunked\r\n";
    let control = exchange(running.address, post(chunked, "0\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(statuses(&control), [204, 200]);
    let mut requests: Vec<String> = TWO_READINGS.iter().map(|headers| post(headers, "0\r\n\r\n")).collect();
    requests.push(format!("GET /health HTTP/1.1\r\n\r\n{SECOND}"));
    requests.push(format!("GET http://y/health HTTP/1.1\r\nHost: x\r\n\r\n{SECOND}"));
    requests.push(format!("POST /v1/auth/logout HTTP/1.0\r\nHost: x\r\n{chunked}\r\n0\r\n\r\n{SECOND}"));
    let mut in_words = 0;
    for request in &requests {
        let answer = exchange(running.address, request.as_bytes()).await;
        let answer = answer.unwrap_or_else(|| panic!("goes on after {request:?}"));
        assert_eq!(statuses(&answer), [400], "{request:?}");
        // hyper has no words for what it does not take for a request; the rest is an answer like every other.
        let text = String::from_utf8_lossy(&answer);
        let words = ["request-id: req_", "application/problem+json", "\"request_id\":\"req_"];
        assert!(text.contains("content-length: 0") || words.iter().all(|word| text.contains(word)), "{text}");
        in_words += usize::from(text.contains("\"code\":\"invalid_parameter\""));
    }
    assert!(in_words >= 5, "{in_words} of them have a problem document");
    // Here the answer may be that of the first request, and no second one is heard.
    for headers in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 60\r\n",
    ] {
        requests.push(post(headers, "0\r\n\r\n"));
    }
    for body in [
        "0x0\r\n\r\n",
        "-1\r\n\r\n",
        "10000000000000000\r\n\r\n",
        "\r\n\r\n",
        "0;a\nb\r\n\r\n",
        "1\r\naXX0\r\n\r\n",
    ] {
        requests.push(post(chunked, body));
    }
    requests.push(post(chunked, &format!("0;{}\r\n\r\n", "a".repeat(65_536))));
    requests.push(post(chunked, &format!("0\r\nX: {}\r\n\r\n", "a".repeat(1_000_000))));
    for request in &requests[TWO_READINGS.len() + 3..] {
        let answer = exchange(running.address, request.as_bytes()).await;
        let answer =
            answer.unwrap_or_else(|| panic!("goes on after {:?}", &request[..request.len().min(200)]));
        assert!(statuses(&answer).len() <= 1, "{:?}", &request[..request.len().min(200)]);
    }
    println!("{} requests", requests.len());
}

/// A client that is not told sends its next request into a connection that closes.
#[tokio::test]
async fn a_refusal_before_the_body_was_read_says_that_the_connection_ends() {
    let running = running(Config::default(), &[]).await;
    for target in ["/v1/tenants/self/messages", "/v1/nope", "/health"] {
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
        );
        let answer = exchange(running.address, head.as_bytes()).await.expect("it is kept open");
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        assert!(text.contains("connection: close") && statuses(&answer).len() == 1, "{text}");
    }
    // Nothing was left to read.
    let none = format!("POST /v1/nope HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n{SECOND}");
    assert_eq!(statuses(&exchange(running.address, none.as_bytes()).await.unwrap()), [404, 200]);
    let read = "POST /v1/auth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let read = exchange(running.address, format!("{read}{SECOND}").as_bytes()).await.unwrap();
    assert_eq!(statuses(&read), [422, 200]);
}

#[tokio::test]
async fn headers_without_an_end_are_refused_before_they_are_kept() {
    let running = running(Config::default(), &[]).await;
    let start = "GET /health HTTP/1.1\r\nHost: x\r\n";
    for request in [
        format!("{start}X: {}\r\n\r\n", "a".repeat(1_000_000)),
        format!("{start}{}\r\n", "X: a\r\n".repeat(100_000)),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1_000_000)),
    ] {
        let answer = exchange(running.address, request.as_bytes()).await.expect("it is kept open");
        assert_eq!(statuses(&answer), [431], "{} octets", request.len());
    }
}

/// One frame (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// HPACK: `GET http://x/` and `POST http://x/v1/auth/logout`.
const GET: &[u8] = b"\x82\x86\x84\x41\x01x";
const POST: &[u8] = b"\x83\x86\x44\x0f/v1/auth/logout\x41\x01x";
/// A field of its own, `a: b`.
const FIELD: &[u8] = b"\x00\x01a\x01b";
/// ENHANCE_YOUR_CALM (RFC 9113 §7).
const CALM: u32 = 11;

/// The code of the last GOAWAY.
fn goaway(mut answer: &[u8]) -> Option<u32> {
    let mut code = None;
    while let Some((head, rest)) = answer.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = rest.get(..length)?;
        if head[3] == GOAWAY {
            code = payload.get(4..8).map(|code| u32::from_be_bytes(code.try_into().unwrap()));
        }
        answer = &rest[length..];
    }
    code
}

fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, b"")].concat()
}

/// 20,000 streams; each is what is made for its number.
fn streams(make: fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..20_000).flat_map(|n| make(2 * n + 1)).collect()
}

/// CVE-2023-44487.
fn made_and_taken_back(id: u32) -> Vec<u8> {
    let get = frame(HEADERS, END_STREAM | END_HEADERS, id, GET);
    [get, frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())].concat()
}

fn ping() -> Vec<u8> {
    frame(PING, 0, 0, &[7; 8])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_end_their_connection_and_nobody_elses() {
    let running = running(Config::default(), &[]).await;
    let address = running.address;
    let after_headers =
        |flags: u8, block: &[u8], more: Vec<u8>| [frame(HEADERS, flags, 1, block), more].concat();
    let many = |one: Vec<u8>| one.repeat(100_000);
    let floods = [
        ("rapid reset", streams(made_and_taken_back)),
        ("streams that are opened and left", streams(|id| frame(HEADERS, END_HEADERS, id, POST))),
        // CVE-2024-27316 and its like.
        ("continuation", after_headers(END_STREAM, GET, many(frame(CONTINUATION, 0, 1, FIELD)))),
        ("empty continuation", after_headers(END_STREAM, GET, many(frame(CONTINUATION, 0, 1, b"")))),
        (
            "large continuation",
            after_headers(END_STREAM, GET, frame(CONTINUATION, 0, 1, &FIELD.repeat(3_000)).repeat(100)),
        ),
        ("empty data", after_headers(END_HEADERS, POST, many(frame(DATA, 0, 1, b"")))),
        // CVE-2019-9512, 9515 and their like.
        ("pings", many(ping())),
        ("settings", many(frame(SETTINGS, 0, 0, b""))),
        ("room that nobody needs", many(frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()))),
        ("a body an octet at a time", after_headers(END_HEADERS, POST, many(frame(DATA, 0, 1, b"x")))),
        ("priorities", many(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9]))),
        ("frames that nobody knows", many(frame(77, 0, 0, b""))),
    ];
    for (n, (name, flood)) in floods.into_iter().enumerate() {
        let flood = [preface(), flood].concat();
        let from = Ipv4Addr::new(127, 0, 1, n as u8);
        let answer = exchange_from(from, address, &flood).await.unwrap_or_else(|| panic!("{name} goes on"));
        // A reset may overtake the GOAWAY.
        assert!(matches!(goaway(&answer), Some(CALM) | None), "{name}: {:?}", goaway(&answer));
        let answer = exchange(address, SECOND.as_bytes()).await.expect("another client is not answered");
        assert_eq!(statuses(&answer), [200], "beside {name}");
    }
}

/// One that waits until its requests are at work before it takes them back.
#[tokio::test]
async fn whoever_takes_back_what_is_at_work_is_closed_too() {
    let running = running(Config::default(), &[]).await;
    let mut stream = connect(Ipv4Addr::LOCALHOST, running.address).await;
    stream.write_all(&preface()).await.unwrap();
    let (mut read, mut rounds) = (vec![0; 65_536], 0);
    let closed = async {
        loop {
            let ids = || (0..10).map(|n| 2 * (10 * rounds + n) + 1);
            let made = ids().flat_map(|id| frame(HEADERS, END_HEADERS, id, POST)).collect::<Vec<u8>>();
            let taken_back =
                ids().flat_map(|id| frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())).collect::<Vec<u8>>();
            if stream.write_all(&[made, ping()].concat()).await.is_err()
                || !matches!(stream.read(&mut read).await, Ok(1..))
                || stream.write_all(&taken_back).await.is_err()
            {
                return;
            }
            rounds += 1;
            assert!(rounds < 1_000, "ten thousand requests were taken back");
        }
    };
    timeout(PATIENCE, closed).await.expect("it is kept open");
    println!("closed after {rounds} times ten");
}

/// The next connection waits, whoever it is for; one that is there already does not.
#[tokio::test]
async fn after_a_flood_its_address_waits_and_is_answered_then() {
    let running = running(Config { flood_pause_seconds: 1, ..Config::default() }, &[]).await;
    let address = running.address;
    let mut there = connect(Ipv4Addr::LOCALHOST, address).await;
    let ask = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut answer = [0; 12];
    there.write_all(ask).await.unwrap();
    there.read_exact(&mut answer).await.unwrap();
    for flood in [streams(made_and_taken_back), ping().repeat(100_000)] {
        exchange(address, &[preface(), flood].concat()).await.expect("the flood goes on");
        there.write_all(ask).await.unwrap();
        let began = Instant::now();
        let other = exchange_from(Ipv4Addr::new(127, 0, 0, 9), address, SECOND.as_bytes()).await.unwrap();
        assert_eq!(statuses(&other), [200]);
        timeout(PATIENCE, there.read_exact(&mut answer)).await.expect("it waits").unwrap();
        let others = began.elapsed();
        let waited = exchange(address, SECOND.as_bytes()).await.expect("it waits for ever");
        println!("answered after {:?}, others after {others:?}", began.elapsed());
        assert_eq!(statuses(&waited), [200]);
        assert!(began.elapsed() >= Duration::from_secs(1), "its address did not wait");
        running.parts.clock.advance(Duration::from_secs(1));
    }
}

/// Clients that flood for as long as they live, on threads of their own.
struct Crowd {
    stop: CancellationToken,
    connections: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<Duration>>,
}

impl Crowd {
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

    /// Sixteen connections at a time.
    fn flood(address: SocketAddr, flood: &Arc<Vec<u8>>) -> Crowd {
        let (stop, connections) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
        let threads = (0..2).map(|_| {
            let (stop, connections, flood) = (stop.clone(), Arc::clone(&connections), Arc::clone(flood));
            std::thread::spawn(move || {
                let one = || async {
                    loop {
                        let _ = exchange_from(Crowd::ADDRESS, address, &flood).await;
                        connections.fetch_add(1, Ordering::Relaxed);
                    }
                };
                let eight = futures_util::future::join_all((0..8).map(|_| one()));
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    tokio::select! { _ = eight => {}, () = stop.cancelled() => {} }
                });
                cpu_of_this_thread()
            })
        });
        let threads = threads.collect();
        Crowd { stop, connections, threads }
    }

    /// Connections that were closed, and what the crowd itself took of the processors.
    fn end(self) -> (u64, Duration) {
        self.stop.cancel();
        let cpu = self.threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        (self.connections.load(Ordering::Relaxed), cpu)
    }
}

fn cpu_of_this_thread() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// The slowest but one of a hundred answers to somebody else.
async fn p99(address: SocketAddr) -> Duration {
    let mut took = Vec::new();
    for _ in 0..100 {
        let began = Instant::now();
        let from = Ipv4Addr::new(127, 0, 0, 9);
        let answer = exchange_from(from, address, SECOND.as_bytes()).await;
        assert_eq!(statuses(&answer.expect("another client is not answered")), [200]);
        took.push(began.elapsed());
    }
    took.sort_unstable();
    took[98]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_crowd_that_floods_others_are_answered_as_if_it_were_not_there() {
    let resets = || ("rapid resets", streams(made_and_taken_back));
    let room = frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes());
    let crowds = [
        (0, resets()),
        (1, resets()),
        (1, ("pings", ping().repeat(1_000_000))),
        (1, ("room that nobody needs", room.repeat(1_000_000))),
    ];
    for (pause, (name, flood)) in crowds {
        let running = running(Config { flood_pause_seconds: pause, ..Config::default() }, &[]).await;
        let (address, flood) = (running.address, Arc::new([preface(), flood].concat()));
        let alone = p99(address).await;
        let (crowd, began) = (Crowd::flood(address, &flood), Instant::now());
        let mut again = tokio::time::interval(Duration::from_millis(5));
        while crowd.connections.load(Ordering::Relaxed) < 16 {
            again.tick().await;
        }
        let beside = p99(address).await;
        let took = began.elapsed();
        let (connections, cpu) = crowd.end();
        println!(
            "{name} by sixteen, a pause of {pause} s: another client's p99 {beside:?}, {alone:?} alone; \
             {connections} connections in {took:?}, the crowd's own share {:.2} of a processor",
            cpu.as_secs_f64() / took.as_secs_f64()
        );
        // Without a pause to see what it is good for.
        if let Some(rounds) = took.as_secs().checked_div(pause) {
            assert!(connections <= 16 * (2 + rounds), "{name} came again and again");
            assert!(beside <= (4 * alone).max(Duration::from_millis(250)), "{name}");
        }
    }
}
