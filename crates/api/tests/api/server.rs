//! The listener: slow clients, shutdown, readiness.

use crate::harness::{OPERATOR, PASSWORD, hold_changes, somebody_waits, state};
use api::Config;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct Running {
    pub address: SocketAddr,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    pub parts: crate::harness::Parts,
}

pub async fn running(config: Config, reasons: &'static [&'static str]) -> Running {
    let (mut state, parts) = state(config).await;
    state.readiness = std::sync::Arc::new(|| api::Readiness {
        reasons: reasons.iter().map(|code| api::Reason { code, detail: "it is so".to_owned() }).collect(),
        journal: Some(api::Journal {
            loading_percent: Some(42),
            quarantined: 3,
            segments_pinned: 2,
            segments_owed: 1,
        }),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let task = tokio::spawn(api::serve(listener, state, shutdown.clone()));
    Running { address, shutdown, task, parts }
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_node_that_is_not_ready_says_why() {
    let running = running(Config::default(), &["journal_sealed"]).await;
    let answer = ask(running.address, "GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 503")
            && answer.contains(r#"{"code":"journal_sealed","detail":"it is so"}"#),
        "{answer}"
    );
    running.shutdown.cancel();
    timeout(PATIENCE, running.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_node_that_still_loads_its_journal_is_ready_and_says_how_far_it_is() {
    let running = running(Config::default(), &[]).await;
    let answer = ask(running.address, "GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let journal = r#""journal":{"loading_percent":42,"quarantined":3,"segments_pinned":2,"segments_owed":1}"#;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(journal), "{answer}");
    running.shutdown.cancel();
    timeout(PATIENCE, running.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_headers_is_cut_off_and_others_are_served() {
    let running = running(Config { header_seconds_max: 1, ..Config::default() }, &[]).await;
    let mut slow = TcpStream::connect(running.address).await.unwrap();
    slow.write_all(b"GET /health HTTP/1.1\r\nHost:").await.unwrap();
    let answer = ask(running.address, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, slow.read_to_end(&mut rest)).await.expect("the slow client is cut off");
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
}

#[tokio::test]
async fn a_crowd_that_asks_nothing_keeps_nobody_out() {
    let running = running(Config::default(), &[]).await;
    let mut crowd = Vec::new();
    for _ in 0..1100 {
        crowd.push(timeout(PATIENCE, TcpStream::connect(running.address)).await.unwrap().unwrap());
    }
    // From the same address, and from another.
    let request = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert!(ask(running.address, request).await.starts_with("HTTP/1.1 200"));
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.9:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(running.address).await.unwrap();
    other.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(PATIENCE, other.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // The first of the crowd made room.
    assert_eq!(timeout(PATIENCE, crowd[0].read(&mut answer)).await.unwrap().unwrap_or(0), 0);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let running = running(Config { header_seconds_max: 1, ..Config::default() }, &[]).await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    let mut asked = TcpStream::connect(running.address).await.unwrap();
    asked.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, silent.read_to_end(&mut rest)).await.expect("the silent client is cut off");
    assert!(rest.is_empty());
    let _ = timeout(PATIENCE, asked.read_to_end(&mut rest)).await.expect("so is one that asked long ago");
    assert!(rest.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_refuses_new_ones() {
    let running = running(Config::default(), &[]).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    timeout(PATIENCE, idle.read_exact(&mut first)).await.unwrap().unwrap();
    running.shutdown.cancel();
    timeout(PATIENCE, running.task).await.unwrap().unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, idle.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

fn post(path: &str, headers: &str, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn shutdown_waits_for_a_call_whose_client_is_gone_and_its_answer_is_kept() {
    let mut running = running(Config::default(), &[]).await;
    let login = json!({"email": OPERATOR, "password": PASSWORD});
    let answer = ask(running.address, &post("/v1/auth/token", "", &login)).await;
    let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let headers = format!(
        "Authorization: Bearer {}\r\nIdempotency-Key: k\r\n",
        answer["access_token"].as_str().unwrap()
    );
    let held = hold_changes(&running.parts.database).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let onboard = json!({"name": "A", "domain": "a.example"});
    stream.write_all(post("/v1/tenants", &headers, &onboard).as_bytes()).await.unwrap();
    somebody_waits(&running.parts.database).await;
    drop(stream);
    running.shutdown.cancel();
    let early = timeout(Duration::from_millis(500), &mut running.task).await;
    assert!(early.is_err(), "the call is not waited for");
    held.batch_execute("COMMIT").await.unwrap();
    timeout(PATIENCE, running.task).await.unwrap().unwrap();
    let admin = running.parts.database.admin().await;
    let row = admin.query_one("SELECT status FROM idempotency_keys", &[]).await.unwrap();
    assert_eq!(row.get::<_, Option<i16>>(0), Some(201));
}
