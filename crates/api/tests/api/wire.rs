//! HTTP as an attacker writes it, octet by octet: requests that can be read in two ways, floods of frames, headers without
//! an end. Each costs its own connection and nobody else's time.

use crate::server::{PATIENCE, running};
use api::Config;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SECOND: &str = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Writes as much as is taken, and reads until the other side closes. None if it does not.
async fn exchange(address: SocketAddr, octets: &[u8]) -> Option<Vec<u8>> {
    let stream = TcpStream::connect(address).await.unwrap();
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

/// Behind a proxy that reads the other way a second answer would be somebody else's.
#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_ends_its_connection() {
    let running = running(Config::default(), &[]).await;
    let control = exchange(running.address, post("Content-Length: 0\r\n", "").as_bytes()).await.unwrap();
    assert_eq!(statuses(&control), [204, 200]);
    let chunked = "Transfer-Encoding: chunked\r\n";
    let control = exchange(running.address, post(chunked, "0\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(statuses(&control), [204, 200]);
    let headers = [
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
    let mut requests: Vec<String> = headers.iter().map(|headers| post(headers, "0\r\n\r\n")).collect();
    requests.push(format!("GET /health HTTP/1.1\r\n\r\n{SECOND}"));
    requests.push(format!("POST /v1/auth/logout HTTP/1.0\r\nHost: x\r\n{chunked}\r\n0\r\n\r\n{SECOND}"));
    for request in &requests {
        let answer = exchange(running.address, request.as_bytes()).await;
        let answer = answer.unwrap_or_else(|| panic!("goes on after {request:?}"));
        assert_eq!(statuses(&answer), [400], "{request:?}");
    }
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
    for request in &requests[headers.len() + 2..] {
        let answer = exchange(running.address, request.as_bytes()).await;
        let answer =
            answer.unwrap_or_else(|| panic!("goes on after {:?}", &request[..request.len().min(200)]));
        assert!(statuses(&answer).len() <= 1, "{:?}", &request[..request.len().min(200)]);
    }
    println!("{} requests", requests.len());
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
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
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

/// Milliseconds of the slowest but one of a hundred answers to somebody else.
async fn p99(address: SocketAddr) -> u128 {
    let mut took = Vec::new();
    for _ in 0..100 {
        let began = Instant::now();
        let answer = exchange(address, SECOND.as_bytes()).await.expect("another client is not answered");
        assert_eq!(statuses(&answer), [200]);
        took.push(began.elapsed().as_millis());
    }
    took.sort_unstable();
    took[98]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_end_their_connection_and_nobody_elses() {
    let running = running(Config::default(), &[]).await;
    let address = running.address;
    let streams = |make: fn(u32) -> Vec<u8>| (0..20_000).flat_map(|n| make(2 * n + 1)).collect::<Vec<u8>>();
    let after_headers =
        |flags: u8, block: &[u8], more: Vec<u8>| [frame(HEADERS, flags, 1, block), more].concat();
    let many = |one: Vec<u8>| one.repeat(100_000);
    let floods = [
        // CVE-2023-44487.
        (
            "rapid reset",
            streams(|id| {
                [
                    frame(HEADERS, END_STREAM | END_HEADERS, id, GET),
                    frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()),
                ]
                .concat()
            }),
        ),
        ("streams that are opened and left", streams(|id| frame(HEADERS, END_HEADERS, id, POST))),
        // CVE-2024-27316 and its like.
        ("continuation", after_headers(END_STREAM, GET, many(frame(CONTINUATION, 0, 1, FIELD)))),
        ("empty continuation", after_headers(END_STREAM, GET, many(frame(CONTINUATION, 0, 1, b"")))),
        (
            "large continuation",
            after_headers(END_STREAM, GET, frame(CONTINUATION, 0, 1, &FIELD.repeat(3_000)).repeat(100)),
        ),
        ("empty data", after_headers(END_HEADERS, POST, many(frame(DATA, 0, 1, b"")))),
    ];
    let alone = p99(address).await;
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, b"")].concat();
    for (name, flood) in floods {
        let flood = [preface.as_slice(), &flood].concat();
        let answer = exchange(address, &flood).await.unwrap_or_else(|| panic!("{name} goes on"));
        // A reset may overtake the GOAWAY.
        assert!(matches!(goaway(&answer), Some(CALM) | None), "{name}: {:?}", goaway(&answer));
    }
    // Again, by sixteen at a time for as long as somebody else asks.
    let flood = [
        preface,
        streams(|id| {
            [
                frame(HEADERS, END_STREAM | END_HEADERS, id, GET),
                frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()),
            ]
            .concat()
        }),
    ]
    .concat();
    let floods = std::sync::Arc::new(flood);
    let attackers: Vec<_> = (0..16)
        .map(|_| {
            let flood = std::sync::Arc::clone(&floods);
            tokio::spawn(async move {
                loop {
                    exchange(address, &flood).await.expect("the flood goes on");
                }
            })
        })
        .collect();
    let beside = p99(address).await;
    attackers.iter().for_each(tokio::task::JoinHandle::abort);
    println!("another client's p99: {alone} ms alone, {beside} ms beside sixteen rapid resets");
    assert!(Duration::from_millis(beside as u64) < Duration::from_secs(5));
}
