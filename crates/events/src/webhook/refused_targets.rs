//! Everything a tenant might write to make us call ourselves or our neighbours, against listeners that count who comes.
//!
//! Tests only. The listeners are on loopback, at the ports that the targets name; none of them may see a connection.

use super::call::tests::{endpoint, event};
use super::call::{Answer, Caller};
use super::names::tests::name_server_of_each;
use crate::Config;
use mail::Timestamp;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn call(caller: &Caller, url: &str) -> Answer {
    caller.call(&endpoint(url.to_owned()), &event(), Timestamp::UNIX_EPOCH).await
}

/// Says one thing to whoever connects, and counts them.
async fn listener(at: &str, says: String) -> (SocketAddr, Arc<AtomicU32>) {
    let (listener, count) = (TcpListener::bind(at).await.unwrap(), Arc::new(AtomicU32::new(0)));
    let (address, counter) = (listener.local_addr().unwrap(), Arc::clone(&count));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            // The whole of a request comes in one piece; to close with something unread would be a reset.
            let mut request = [0; 8192];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(says.as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut request)).await;
        }
    });
    (address, count)
}

const GOOD: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

const HOSTS: &[&str] = &[
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0X7F.0.0.1",
    "017700000001",
    "0177.0.0.01",
    "127.0.0.1%00.example",
    "0",
    "0.0.0.0",
    "0x0",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[ff02::1]",
    "[::ffff:10.0.0.1]",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "１２７.０.０.１",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "user@127.0.0.1",
    "hooks.example@127.0.0.1",
    "hooks.example:443@127.0.0.1",
    "127.0.0.1#@hooks.example",
    "127.0.0.1\\@hooks.example",
];

#[tokio::test]
async fn no_spelling_of_our_own_or_a_private_address_is_connected_to() {
    let (four, seen) = listener("127.0.0.1:0", GOOD.to_owned()).await;
    let six = format!("[::1]:{}", four.port());
    // A host without IPv6 has nothing there to count.
    let _six = TcpListener::bind(&six).await;
    let caller = Caller::new(&Config::default()).unwrap();
    let mut tried = 0;
    for host in HOSTS {
        for url in [
            format!("https://{host}:{}/x", four.port()),
            format!("http://{host}:{}/x", four.port()),
            format!("https://{host}/x"),
        ] {
            let answer = call(&caller, &url).await;
            assert!(matches!(answer, Answer::Broken(_)), "{url}: {answer:?}");
            // A name may also lead nowhere; an address must not even be tried.
            let is_name = host.contains("example") || host.to_lowercase().contains(['l', 'ⓛ']);
            assert!(is_name || answer != Answer::Broken("no connection could be made"), "{url} was tried");
            tried += 1;
        }
    }
    for scheme in [
        "file:///etc/passwd",
        "gopher://127.0.0.1/_x",
        "ftp://127.0.0.1/",
        "dict://127.0.0.1/",
        "data:,x",
        "unix:/tmp/x",
        "jar:x",
    ] {
        assert!(matches!(call(&caller, scheme).await, Answer::Broken(_)), "{scheme}");
    }
    println!("{tried} targets, {} connections", seen.load(Ordering::SeqCst));
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}

/// An operator's network is called, its neighbours are not: by name, by port, or by whatever the name says the next time.
#[tokio::test]
async fn a_name_that_changes_its_mind_is_looked_at_again_before_every_connection() {
    let (allowed, came) = listener("127.0.0.2:0", GOOD.to_owned()).await;
    let (_, seen) = listener(&format!("127.0.0.1:{}", allowed.port()), GOOD.to_owned()).await;
    for (answers, first) in [
        (vec![[127, 0, 0, 2], [127, 0, 0, 1]], Answer::Taken(204)),
        (vec![[127, 0, 0, 2], [10, 0, 0, 1]], Answer::Taken(204)),
        (
            vec![[127, 0, 0, 1], [127, 0, 0, 1]],
            Answer::Broken("the address is private, loopback or reserved"),
        ),
    ] {
        let config = Config {
            webhook_allow_networks: vec!["127.0.0.2/32".parse().unwrap()],
            dns_servers: vec![name_server_of_each(answers).await],
            ..Config::default()
        };
        let caller = Caller::new(&config).unwrap();
        let url = format!("http://rebind.example:{}/x", allowed.port());
        assert_eq!(call(&caller, &url).await, first);
        let again = call(&caller, &url).await;
        assert_eq!(again, Answer::Broken("the address is private, loopback or reserved"));
    }
    assert_eq!((came.load(Ordering::SeqCst), seen.load(Ordering::SeqCst)), (2, 0));
}

#[tokio::test]
async fn no_redirect_is_followed_wherever_it_leads() {
    let (inside, seen) = listener("127.0.0.1:0", GOOD.to_owned()).await;
    for status in [301, 302, 303, 307, 308] {
        let says = format!(
            "HTTP/1.1 {status} Go\r\nlocation: http://{inside}/x\r\ncontent-length: 0\r\nrefresh: 0; url=http://{inside}/\r\n\r\n"
        );
        let (outside, came) = listener("127.0.0.2:0", says).await;
        let config =
            Config { webhook_allow_networks: vec!["127.0.0.0/8".parse().unwrap()], ..Config::default() };
        let caller = Caller::new(&config).unwrap();
        assert_eq!(call(&caller, &format!("http://{outside}/x")).await, Answer::Refused(status));
        assert_eq!(came.load(Ordering::SeqCst), 1);
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}
