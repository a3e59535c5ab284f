//! A client that says what it is told and shows what it hears.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

pub struct Client {
    stream: Box<dyn Both>,
    heard: Vec<u8>,
    /// DER of the certificate that the server showed.
    pub shown: Option<Vec<u8>>,
}

const PATIENCE: Duration = Duration::from_secs(10);

impl Client {
    /// Connects and reads the greeting.
    pub async fn connect(address: SocketAddr) -> Client {
        let (mut client, greeting) = Client::connect_raw(address).await;
        assert!(greeting.starts_with("220 ") && greeting.ends_with(".posthouse.test ESMTP"), "{greeting}");
        client.heard.clear();
        client
    }

    /// Connects and gives the first line, whatever it is.
    pub async fn connect_raw(address: SocketAddr) -> (Client, String) {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut client = Client { stream: Box::new(stream), heard: Vec::new(), shown: None };
        let first = client.reply().await;
        (client, first)
    }

    /// TLS from the first octet.
    pub async fn connect_tls(address: SocketAddr, certificate: &Path) -> io::Result<Client> {
        let stream = TcpStream::connect(address).await?;
        let client = Client { stream: Box::new(stream), heard: Vec::new(), shown: None };
        let mut client = client.into_tls(certificate).await?;
        assert!(client.reply().await.starts_with("220 "));
        Ok(client)
    }

    /// The same from an address of our choice.
    pub async fn connect_tls_from(from: [u8; 4], address: SocketAddr, certificate: &Path) -> Client {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        let stream = socket.connect(address).await.unwrap();
        let client = Client { stream: Box::new(stream), heard: Vec::new(), shown: None };
        let mut client = client.into_tls(certificate).await.unwrap();
        assert!(client.reply().await.starts_with("220 "));
        client
    }

    /// TLS, where every octet of ours is written alone.
    pub async fn connect_dripping(address: SocketAddr, certificate: &Path) -> Client {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let client = Client { stream: Box::new(Drip(stream)), heard: Vec::new(), shown: None };
        let mut client = client.into_tls(certificate).await.unwrap();
        assert!(client.reply().await.starts_with("220 "));
        client
    }

    /// The handshake; the server must show this certificate.
    pub async fn into_tls(self, certificate: &Path) -> io::Result<Client> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect(ServerName::try_from("localhost").unwrap(), self.stream).await?;
        let shown = stream.get_ref().1.peer_certificates().map(|chain| chain[0].to_vec());
        Ok(Client { stream: Box::new(stream), heard: Vec::new(), shown })
    }

    /// `AUTH PLAIN` with its initial response.
    pub fn plain(username: &str, password: &str) -> String {
        format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{username}\0{password}")))
    }

    pub async fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// One reply, all of its lines, without the last CRLF; empty when the server has closed.
    pub async fn reply(&mut self) -> String {
        loop {
            if let Some(end) = end_of_reply(&self.heard) {
                let reply = self.heard.drain(..end).collect::<Vec<u8>>();
                return String::from_utf8(reply).unwrap().trim_end().to_owned();
            }
            let mut buffer = [0; 4096];
            match tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer))
                .await
                .expect("a reply in time")
            {
                Ok(0) | Err(_) => return String::new(),
                Ok(length) => self.heard.extend_from_slice(&buffer[..length]),
            }
        }
    }

    /// One command and its reply.
    pub async fn say(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes()).await;
        self.reply().await
    }

    pub async fn expect(&mut self, command: &str, wanted: &str) -> String {
        let reply = self.say(command).await;
        assert!(reply.starts_with(wanted), "to {command:?} came {reply:?} and not {wanted:?}");
        reply
    }

    /// A transaction up to its final dot, and the answer to the first thing that was refused.
    pub async fn submit(&mut self, reverse_path: &str, recipients: &[&str], message: &str) -> String {
        let mut reply = self.say(&format!("MAIL FROM:<{reverse_path}>")).await;
        if !reply.starts_with("250") {
            return reply;
        }
        for recipient in recipients {
            reply = self.say(&format!("RCPT TO:<{recipient}>")).await;
            if !reply.starts_with("250") {
                return reply;
            }
        }
        self.expect("DATA", "354").await;
        self.say(&format!("{message}.")).await
    }

    /// Whether the server has closed the connection.
    pub async fn is_closed(&mut self) -> bool {
        self.heard.is_empty() && self.reply().await.is_empty()
    }
}

/// Writes one octet at a time.
struct Drip(TcpStream);

impl AsyncRead for Drip {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Drip {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let one = &octets[..octets.len().min(1)];
        Pin::new(&mut self.0).poll_write(context, one)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// The end of the first whole reply: a line whose fourth octet is no hyphen.
fn end_of_reply(heard: &[u8]) -> Option<usize> {
    let mut start = 0;
    while let Some(length) = heard[start..].windows(2).position(|pair| pair == b"\r\n") {
        let line = &heard[start..start + length];
        start += length + 2;
        if line.get(3) != Some(&b'-') {
            return Some(start);
        }
    }
    None
}
