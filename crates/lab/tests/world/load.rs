//! The load generator against the sink and against a provider.

use crate::running::{clock, start};
use lab::load::{LoadTls, Sender};
use lab::{LoadFigures, LoadOptions, SinkFigures, SinkOptions, sink};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

async fn sink_for(count: u64) -> (SocketAddr, JoinHandle<SinkFigures>, CancellationToken) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (bound, mut address) = watch::channel(None);
    let shutdown = CancellationToken::new();
    let options = SinkOptions { count, ..SinkOptions::default() };
    let running = sink::run(options, clock(), bound, shutdown.clone());
    let handle = tokio::spawn(async move { running.await.unwrap() });
    let address = address.wait_for(Option::is_some).await.unwrap().unwrap();
    (address, handle, shutdown)
}

async fn load(options: LoadOptions) -> LoadFigures {
    let senders = vec![Sender { login: None, from: "news@client.example".into() }];
    lab::load::run(LoadOptions { senders, ..options }, clock(), CancellationToken::new()).await.unwrap()
}

#[tokio::test]
async fn a_sink_beyond_loopback_is_refused() {
    let (bound, _) = watch::channel(None);
    let options = SinkOptions { listen: "0.0.0.0:0".parse().unwrap(), ..SinkOptions::default() };
    assert!(sink::run(options, clock(), bound, CancellationToken::new()).await.is_err());
}

#[tokio::test]
async fn refusals_and_broken_connections_are_counted_and_shown() {
    let running = start().await;
    let to = running.door("mx.plain.example").await;
    let figures = load(LoadOptions {
        to,
        count: 5,
        connections: 2,
        domains: vec!["gmail.com".into()],
        ..LoadOptions::default()
    })
    .await;
    assert_eq!((figures.accepted, figures.refused, figures.failures), (0, 5, 0), "{figures}");
    assert!(
        figures.first_refusal.as_deref().is_some_and(|text| text.contains("Relay access denied")),
        "{figures}"
    );
    let nobody = load(LoadOptions {
        to: "127.25.254.1:9".parse().unwrap(),
        count: 1,
        connections: 1,
        ..LoadOptions::default()
    })
    .await;
    assert_eq!(nobody.accepted, 0);
    assert!(nobody.failures > 0 && nobody.first_failure.is_some(), "{nobody}");
}

#[tokio::test]
async fn everything_sent_is_counted_on_both_sides() {
    let (to, sink, _shutdown) = sink_for(300).await;
    let figures = load(LoadOptions {
        to,
        count: 300,
        connections: 4,
        size: 2_000,
        recipients: 2,
        ..LoadOptions::default()
    })
    .await;
    assert_eq!((figures.accepted, figures.refused, figures.failures), (300, 0, 0), "{figures}");
    assert!(figures.latency_ms.p50 > 0.0 && figures.latency_ms.p50 <= figures.latency_ms.max);
    let taken = sink.await.unwrap();
    assert_eq!((taken.messages, taken.recipients, taken.tls_sessions), (300, 600, 4), "{taken}");
}

#[tokio::test]
async fn a_full_sink_ends_although_a_client_keeps_its_connection() {
    let (to, sink, _shutdown) = sink_for(1).await;
    let mut stream = tokio::net::TcpStream::connect(to).await.unwrap();
    let message = b"EHLO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nBDAT 2 LAST\r\n\r\n";
    stream.write_all(message).await.unwrap();
    let mut said = String::new();
    // Until the sink closes: its last answer but one is for the message.
    stream.read_to_string(&mut said).await.unwrap();
    let last: Vec<&str> = said.lines().rev().take(2).map(|line| &line[..3]).collect();
    assert_eq!(last, ["421", "250"], "{said}");
    assert_eq!(sink.await.unwrap().messages, 1);
}

#[tokio::test]
async fn a_rate_is_kept() {
    let (to, sink, shutdown) = sink_for(0).await;
    let options = LoadOptions {
        to,
        tls: LoadTls::Plain,
        count: 50,
        rate: Some(100.0),
        connections: 5,
        ..LoadOptions::default()
    };
    let figures = load(options).await;
    assert!(figures.seconds >= 0.48, "{figures}");
    shutdown.cancel();
    assert_eq!(sink.await.unwrap().messages, 50);
}

#[tokio::test]
async fn tls_is_used_where_it_is_required_and_broken_tls_is_a_failure() {
    let running = start().await;
    let options = |to, domain: &str| LoadOptions {
        to,
        count: 1,
        connections: 1,
        domains: vec![domain.to_owned()],
        ..LoadOptions::default()
    };
    let door = running.door("mx.tls-required.example").await;
    let figures = load(options(door, "tls-required.example")).await;
    assert_eq!((figures.accepted, figures.failures), (1, 0), "{figures}");
    let plain = load(LoadOptions { tls: LoadTls::Plain, ..options(door, "tls-required.example") }).await;
    assert_eq!((plain.accepted, plain.refused), (0, 1), "{plain}");
    let broken = load(options(running.door("mx.tls-broken.example").await, "tls-broken.example")).await;
    assert_eq!(broken.accepted, 0);
    assert!(broken.failures > 0, "{broken}");
    let arrivals = running.get("/arrivals").await;
    assert_eq!(arrivals.as_array().unwrap().len(), 1);
    assert_eq!(arrivals[0]["tls"], "TLSv1.3");
}
