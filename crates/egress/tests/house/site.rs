//! Sites: one that behaves, around `smtp::server`, and one that says line by line what the test wants.

use mail::{Domain, EnhancedStatus, Instant, Reply};
use smtp::server::{Action, Answer, Role, ServerConfig, Session, TlsMode, Transaction};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A message that a site took.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub reverse_path: String,
    pub forward_path: String,
    pub raw: Vec<u8>,
    pub encrypted: bool,
    pub require_tls: bool,
    pub peer: IpAddr,
    pub client_name: String,
}

#[derive(Clone)]
pub struct Site {
    pub address: IpAddr,
    pub port: u16,
    pub arrivals: Arc<Mutex<Vec<Arrival>>>,
    pub connections: Arc<AtomicU32>,
    dots: Arc<AtomicU32>,
}

impl Site {
    fn new(address: IpAddr, port: u16) -> Site {
        Site { address, port, arrivals: Arc::default(), connections: Arc::default(), dots: Arc::default() }
    }

    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::SeqCst)
    }

    /// Messages that a scripted site has seen the end of.
    pub fn final_dots(&self) -> u32 {
        self.dots.load(Ordering::SeqCst)
    }

    pub fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.lock().unwrap().clone()
    }
}

/// A free port on 127.0.0.1, and a listener that keeps it.
pub async fn free_port() -> (u16, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap().port(), listener)
}

async fn listen(last: u8, port: u16) -> TcpListener {
    TcpListener::bind(SocketAddr::new(address(last), port)).await.unwrap()
}

pub fn address(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

/// A site at 127.0.0.`last` that takes everything.
pub async fn good(last: u8, port: u16, tls: TlsMode) -> Site {
    good_at(address(last), port, tls, certificate("mx.site.example").0).await
}

/// The same at any address, with a certificate from `certificate`.
pub async fn good_at(address: IpAddr, port: u16, tls: TlsMode, acceptor: TlsAcceptor) -> Site {
    let listener = TcpListener::bind(SocketAddr::new(address, port)).await.unwrap();
    let site = Site::new(address, port);
    let serving = site.clone();
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            serving.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream, peer.ip(), serving.clone(), acceptor.clone(), tls));
        }
    });
    site
}

async fn serve(stream: TcpStream, peer: IpAddr, site: Site, acceptor: TlsAcceptor, tls: TlsMode) {
    let hostname = Domain::parse("mx.site.example").unwrap();
    let config = ServerConfig::new(hostname, Role::Inbound, tls, smtp::Limits::default());
    let mut machine = Session::new(config, Instant::ZERO);
    let mut stream: Box<dyn Wire> = Box::new(stream);
    let mut buffer = vec![0; 16 * 1024];
    let mut encrypted = false;
    loop {
        while let Some(action) = machine.poll_action() {
            let answer = match action {
                Action::Send(octets) => {
                    if stream.write_all(&octets).await.is_err() {
                        return;
                    }
                    continue;
                }
                Action::Close => return,
                Action::StartTls => match acceptor.accept(stream).await {
                    Ok(tls) => {
                        stream = Box::new(tls);
                        encrypted = true;
                        Answer::TlsDone { version: "TLSv1.3".to_owned(), cipher: "AES".to_owned() }
                    }
                    Err(_) => return,
                },
                Action::CheckCredential { .. } => unreachable!("an inbound session has no AUTH"),
                Action::CheckReversePath { .. } => Answer::ReversePathOk,
                Action::CheckRecipient(_) => Answer::RecipientOk,
                Action::CheckRoom { .. } => Answer::RoomOk,
                Action::Accept(transaction) => {
                    site.arrivals.lock().unwrap().push(arrival(&transaction, encrypted, peer));
                    Answer::Accepted { reply: Reply::new(250, Some(EnhancedStatus::new(2, 0, 0)), "taken") }
                }
            };
            machine.handle_answer(answer, Instant::ZERO);
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => machine.handle_eof(),
            Ok(count) => machine.handle_bytes(&buffer[..count], Instant::ZERO),
        }
    }
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

fn arrival(transaction: &Transaction, encrypted: bool, peer: IpAddr) -> Arrival {
    Arrival {
        reverse_path: transaction.envelope.reverse_path.to_string(),
        forward_path: transaction.envelope.recipients[0].forward_path.to_string(),
        raw: transaction.raw.to_vec(),
        encrypted,
        require_tls: transaction.envelope.require_tls,
        peer,
        client_name: transaction.client_name.clone(),
    }
}

/// A certificate for a host, as the host needs it and as PEM for those who are to trust it.
pub fn certificate(host: &str) -> (TlsAcceptor, String) {
    certificate_until(host, 4096)
}

/// One that is good up to the beginning of that year.
pub fn certificate_until(host: &str, year: i32) -> (TlsAcceptor, String) {
    let mut parameters = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
    parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
    let signing_key = rcgen::KeyPair::generate().unwrap();
    let cert = parameters.self_signed(&signing_key).unwrap();
    let made = rcgen::CertifiedKey { cert, signing_key };
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

/// What a scripted site does after a line.
pub enum Say {
    Line(&'static str),
    Owned(String),
    Octets(&'static [u8]),
    /// An octet every now and then, and no end of line.
    Drip(&'static str),
    /// After so many milliseconds.
    Late(u64, &'static str),
    /// Closes without a word.
    Close,
    /// Closes its half, and goes on reading.
    HalfClose,
    /// Says this, reads nothing more and leaves the connection open.
    Deaf(&'static str),
    /// Says this and reads on, a little now and then.
    Sip(&'static str),
    /// Says this and closes.
    Last(&'static str),
    /// Says nothing any more, and leaves the connection open.
    Silence,
}

/// A site that answers each line of the client as `script` says; the first call is for the greeting, with an empty
/// line; the line with the final dot is `.`. The number counts connections from 1.
pub async fn scripted(last: u8, port: u16, script: fn(u32, &str) -> Say) -> Site {
    let listener = listen(last, port).await;
    let site = Site::new(address(last), port);
    let serving = site.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let number = serving.connections.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::spawn(follow_script(stream, number, serving.clone(), script));
        }
    });
    site
}

async fn follow_script(stream: TcpStream, number: u32, site: Site, script: fn(u32, &str) -> Say) {
    let mut stream = BufReader::new(stream);
    let (mut line, mut in_data) = (String::new(), false);
    loop {
        let command = line.trim_end().to_owned();
        if !in_data || command == "." {
            site.dots.fetch_add(u32::from(command == "."), Ordering::SeqCst);
            let reply = match script(number, &command) {
                Say::Line(text) => text.to_owned(),
                Say::Owned(text) => text,
                Say::Octets(octets) => {
                    let _ = stream.write_all(octets).await;
                    line.clear();
                    let mut raw = Vec::new();
                    // What follows need not be text.
                    if !matches!(stream.read_until(b'\n', &mut raw).await, Ok(1..)) {
                        return;
                    }
                    line = String::from_utf8_lossy(&raw).into_owned();
                    continue;
                }
                Say::Drip(text) => {
                    for octet in text.bytes() {
                        if stream.write_all(&[octet]).await.is_err() {
                            return;
                        }
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    return std::future::pending().await;
                }
                Say::Late(time, text) => {
                    tokio::time::sleep(Duration::from_millis(time)).await;
                    text.to_owned()
                }
                Say::HalfClose => {
                    let _ = stream.shutdown().await;
                    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                    return;
                }
                Say::Deaf(text) => {
                    let _ = stream.write_all(format!("{text}\r\n").as_bytes()).await;
                    return std::future::pending().await;
                }
                Say::Sip(text) => {
                    let _ = stream.write_all(format!("{text}\r\n").as_bytes()).await;
                    let mut little = vec![0; 64 * 1024];
                    while matches!(stream.read(&mut little).await, Ok(1..)) {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    return;
                }
                Say::Close => return,
                Say::Silence => return std::future::pending().await,
                Say::Last(text) => {
                    let _ = stream.write_all(format!("{text}\r\n").as_bytes()).await;
                    return;
                }
            };
            in_data = command.eq_ignore_ascii_case("DATA") && reply.starts_with("354");
            if stream.write_all(format!("{reply}\r\n").as_bytes()).await.is_err() {
                return;
            }
        }
        line.clear();
        if !matches!(stream.read_line(&mut line).await, Ok(1..)) {
            return;
        }
    }
}

/// The answers of a plain old site that takes everything.
pub fn usual(line: &str) -> Say {
    let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
    Say::Line(match verb.as_str() {
        "" => "220 mx.site.example ESMTP",
        "DATA" => "354 go on",
        "QUIT" => "221 bye",
        _ => "250 fine",
    })
}

/// Offers TLS, and goes away when it is taken up.
pub fn no_handshake(_: u32, line: &str) -> Say {
    match line {
        "STARTTLS" => Say::Last("220 go on\r\nthis is no handshake"),
        _ if line.starts_with("EHLO") => Say::Line("250-mx.site.example\r\n250 STARTTLS"),
        _ => usual(line),
    }
}
