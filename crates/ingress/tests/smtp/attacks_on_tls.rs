//! M3 and M16 at the doors: STARTTLS with commands behind it, a ClientHello octet by octet, old protocols and weak
//! suites, HTTP at a mail port.

use crate::support::{Client, PASSWORD, World, message};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(10);

/// All that a server says until it closes.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut octets = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut octets)).await;
    // A reset is an end, too.
    let _ = read.expect("the server closes in time");
    octets
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_with_starttls_in_one_segment_is_no_command_at_both_doors() {
    let world = World::new().await;
    let addresses = world.addresses();
    for (address, injected) in [
        (addresses.submission.unwrap(), "EHLO evil.example\r\nAUTH PLAIN AGNsaWVudAB3cm9uZw==\r\n"),
        (addresses.submission.unwrap(), "RSET\r\nQUIT\r\n"),
        (addresses.inbound.unwrap(), "EHLO evil.example\r\nMAIL FROM:<>\r\n"),
    ] {
        let mut client = Client::connect(address).await;
        client.send(format!("EHLO desk.example\r\nSTARTTLS\r\n{injected}").as_bytes()).await;
        assert!(client.reply().await.starts_with("250"));
        assert!(client.reply().await.starts_with("220"));
        // The octets in clear were dropped or are taken for a broken handshake; in no case for commands.
        let Ok(mut client) = client.into_tls(&world.certificate).await else { continue };
        let reply = client.say("MAIL FROM:<a@client.example>").await;
        assert!(reply.starts_with("503 5.5.1 EHLO first"), "{reply}");
    }
}

/// RFC 8446 lets a handshake come in pieces of any size.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_hello_octet_by_octet_is_a_client_hello() {
    let world = World::new().await;
    let address = world.addresses().submissions.unwrap();
    let mut client = Client::connect_dripping(address, &world.certificate).await;
    client.expect("EHLO desk.example", "250").await;
    client.expect(&Client::plain("client", PASSWORD), "235").await;
    let reply = client.submit("a@client.example", &["anna@example.org"], &message("a@client.example")).await;
    assert!(reply.starts_with("250"), "{reply}");
}

/// A ClientHello by hand: the highest version offered and the suites.
fn client_hello(version: u16, suites: &[u16]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend_from_slice(&[7; 32]);
    body.push(0);
    body.extend_from_slice(&(suites.len() as u16 * 2).to_be_bytes());
    suites.iter().for_each(|suite| body.extend_from_slice(&suite.to_be_bytes()));
    body.extend_from_slice(&[1, 0]);
    // supported_groups and signature_algorithms, as RFC 5246 wants them.
    let extensions = [0, 10, 0, 6, 0, 4, 0, 23, 0, 24, 0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1];
    body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    body.extend_from_slice(&extensions);
    let mut record = vec![22, 3, 1];
    record.extend_from_slice(&(body.len() as u16 + 4).to_be_bytes());
    record.extend_from_slice(&[1, 0]);
    record.extend_from_slice(&(body.len() as u16).to_be_bytes());
    [record, body].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_and_weak_suites_get_an_alert() {
    // Good ones for version 1.2, so that the version alone is refused.
    const GOOD: [u16; 4] = [0xc02b, 0xc02c, 0xcca9, 0xc02f];
    // RSA key exchange, CBC, 3DES, RC4, export, anonymous, null.
    const WEAK: [u16; 14] = [
        0x002f, 0x0035, 0x009c, 0x009d, 0xc009, 0xc013, 0xc014, 0x000a, 0x0005, 0x0004, 0x0003, 0x0018,
        0x0034, 0x0001,
    ];
    let world = World::new().await;
    let address = world.addresses().submissions.unwrap();
    for (name, hello) in [
        ("SSL 3.0", client_hello(0x0300, &GOOD)),
        ("TLS 1.0", client_hello(0x0301, &GOOD)),
        ("TLS 1.1", client_hello(0x0302, &GOOD)),
        ("weak suites", client_hello(0x0303, &WEAK)),
        ("no suite", client_hello(0x0303, &[])),
    ] {
        let mut stream = connect(address).await;
        stream.write_all(&hello).await.unwrap();
        let said = rest(&mut stream).await;
        assert!(said.first() == Some(&21), "{name}: an alert and not {said:?}");
        assert!(said.len() <= 7, "{name}: {said:?}");
    }
    // The same by hand with what is good is answered: the test is about what it says it is about.
    let mut stream = connect(address).await;
    stream.write_all(&client_hello(0x0303, &GOOD)).await.unwrap();
    let mut first = [0; 1];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(first, [22], "a ServerHello");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_and_rubbish_are_closed_at_once_at_every_port() {
    let world = World::new().await;
    let addresses = world.addresses();
    let ports = [addresses.submission.unwrap(), addresses.submissions.unwrap(), addresses.inbound.unwrap()];
    let body = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\nEHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n";
    for address in ports {
        for text in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "HEAD / HTTP/1.0\r\n\r\n",
            "CONNECT a.example:25 HTTP/1.1\r\n\r\n",
            body,
        ] {
            let mut stream = connect(address).await;
            let began = tokio::time::Instant::now();
            stream.write_all(text.as_bytes()).await.unwrap();
            let said = String::from_utf8_lossy(&rest(&mut stream).await).into_owned();
            assert!(began.elapsed() < Duration::from_secs(5));
            let obeyed = said.lines().any(|line| line.starts_with("250") || line.starts_with("354"));
            assert!(!obeyed, "{address}: {said}");
        }
    }
    // A TLS port that gets no TLS, and a mail port that gets nothing else.
    let mut stream = connect(ports[1]).await;
    stream.write_all(b"EHLO x\r\n").await.unwrap();
    assert!(!rest(&mut stream).await.starts_with(b"220"));
    let mut stream = connect(ports[0]).await;
    stream.write_all(&client_hello(0x0303, &[0xc02b])).await.unwrap();
    stream.write_all(b"\r\nQUIT\r\n").await.unwrap();
    let said = String::from_utf8_lossy(&rest(&mut stream).await).into_owned();
    assert!(said.lines().all(|line| line.starts_with('2') || line.starts_with('5')), "{said}");
    world.log_in().await;
}
