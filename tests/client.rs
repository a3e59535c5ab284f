//! A submitting client that has nothing to do with the house's own code: SMTP over TLS, and HTTP.
//!
//! It can stop anywhere in a transaction, which no library lets one do, and tells the exact words of every reply.

use crate::house::{House, PATIENCE, Tenant, web};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// Where a tenant submits and as whom.
#[derive(Clone)]
pub struct Door {
    smtp: String,
    http: String,
    tls: Arc<rustls::ClientConfig>,
    username: String,
    password: String,
    key: String,
    /// An address of the tenant's domain.
    pub sender: String,
    web: reqwest::blocking::Client,
}

/// A logged in session.
pub struct Client {
    stream: BufReader<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>,
}

/// A reply; its lines are joined by newlines, without the codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Of its last line.
    pub code: u16,
    /// Its lines, joined.
    pub text: String,
}

/// An answer to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// The header field, as it came.
    pub retry_after: Option<String>,
    /// Whole.
    pub body: String,
}

impl Door {
    /// The doors of a house for one tenant.
    pub fn of(house: &House, tenant: &Tenant) -> Door {
        let web = web();
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(house.text("/ca")).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Door {
            smtp: house.text("/smtp/submissions"),
            http: house.text("/api"),
            tls: Arc::new(tls),
            username: tenant.username.clone(),
            password: tenant.password.clone(),
            key: tenant.key.clone(),
            sender: format!("x@{}", tenant.domain),
            web,
        }
    }

    /// Where the API listens: address and port.
    pub fn api(&self) -> &str {
        self.http.trim_start_matches("http://")
    }

    /// A session after the greeting, EHLO and AUTH.
    ///
    /// # Errors
    /// As [`greet`](Door::greet); `Other` with the words of a reply that is neither 250 to EHLO nor 235 to
    /// AUTH.
    pub fn connect(&self) -> io::Result<Client> {
        let mut client = self.greet()?;
        client.expect(250, "EHLO client.example")?;
        let secret = format!("\0{}\0{}", self.username, self.password);
        let secret = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, secret);
        client.expect(235, &format!("AUTH PLAIN {secret}"))?;
        Ok(client)
    }

    /// A session after the greeting.
    ///
    /// # Errors
    /// What the connection or TLS errs with, `WouldBlock` after 60 seconds of silence among it; `Other` with
    /// the words of a greeting that is not 220.
    pub fn greet(&self) -> io::Result<Client> {
        let stream = TcpStream::connect(&self.smtp)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let name = "localhost".try_into().map_err(io::Error::other)?;
        let session = rustls::ClientConnection::new(Arc::clone(&self.tls), name).map_err(io::Error::other)?;
        let mut client = Client { stream: BufReader::new(rustls::StreamOwned::new(session, stream)) };
        let greeting = client.reply()?;
        if greeting.code == 220 { Ok(client) } else { Err(refused(&greeting)) }
    }

    /// Submits a finished message over HTTP.
    ///
    /// # Errors
    /// What the HTTP client errs with if no whole answer comes within 60 seconds. Any status is an answer.
    pub fn post(&self, recipients: &[String], raw: &[u8]) -> reqwest::Result<Answer> {
        answer(self.request(recipients, raw))
    }

    /// The same with a key that makes repeating it harmless.
    ///
    /// # Errors
    /// As [`post`](Door::post).
    pub fn post_once(&self, recipients: &[String], raw: &[u8], key: &str) -> reqwest::Result<Answer> {
        answer(self.request(recipients, raw).header("idempotency-key", key))
    }

    fn request(&self, recipients: &[String], raw: &[u8]) -> reqwest::blocking::RequestBuilder {
        let request = self.web.post(format!("{}/v1/tenants/self/messages", self.http)).bearer_auth(&self.key);
        request.header("content-type", "application/json").body(body(recipients, raw))
    }
}

/// What is posted for a finished message.
pub fn body(recipients: &[String], raw: &[u8]) -> String {
    let raw = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, raw);
    serde_json::json!({"to": recipients, "raw": raw}).to_string()
}

fn answer(request: reqwest::blocking::RequestBuilder) -> reqwest::Result<Answer> {
    let answer = request.send()?;
    let header = answer.headers().get("retry-after");
    let retry_after = header.map(|value| value.to_str().unwrap_or_default().to_owned());
    Ok(Answer { status: answer.status().as_u16(), retry_after, body: answer.text()? })
}

impl Answer {
    /// Of the message that was accepted.
    pub fn message(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        Some(body["id"].as_str()?.to_owned())
    }
}

impl Reply {
    /// Of the message that was accepted.
    pub fn message(&self) -> Option<String> {
        Some(self.text.split("queued as ").nth(1)?.split_whitespace().next()?.to_owned())
    }
}

impl Client {
    /// A whole transaction by DATA, up to the reply to its final dot. An earlier refusal is returned as the
    /// reply.
    ///
    /// # Errors
    /// As [`reply`](Client::reply), and what writing errs with.
    pub fn submit(&mut self, sender: &str, recipients: &[String], raw: &[u8]) -> io::Result<Reply> {
        if let Some(refusal) = self.envelope(sender, recipients)? {
            return Ok(refusal);
        }
        let go_ahead = self.command("DATA")?;
        if go_ahead.code != 354 {
            return Ok(go_ahead);
        }
        self.write(&stuffed(raw))?;
        self.reply()
    }

    /// The same by BDAT, in two chunks.
    ///
    /// # Errors
    /// As [`submit`](Client::submit).
    pub fn submit_in_chunks(&mut self, sender: &str, recipients: &[String], raw: &[u8]) -> io::Result<Reply> {
        if let Some(refusal) = self.envelope(sender, recipients)? {
            return Ok(refusal);
        }
        let (first, last) = raw.split_at(raw.len() / 2);
        self.write(&[format!("BDAT {}\r\n", first.len()).as_bytes(), first].concat())?;
        let reply = self.reply()?;
        if reply.code != 250 {
            return Ok(reply);
        }
        self.write(&[format!("BDAT {} LAST\r\n", last.len()).as_bytes(), last].concat())?;
        self.reply()
    }

    /// MAIL and RCPT; the first refusal, if there is one.
    ///
    /// # Errors
    /// As [`submit`](Client::submit).
    pub fn envelope(&mut self, sender: &str, recipients: &[String]) -> io::Result<Option<Reply>> {
        self.envelope_by(&format!("MAIL FROM:<{sender}>"), recipients)
    }

    /// The same for a message of so many octets (RFC 1870).
    ///
    /// # Errors
    /// As [`submit`](Client::submit).
    pub fn envelope_of(
        &mut self,
        sender: &str,
        recipients: &[String],
        octets: usize,
    ) -> io::Result<Option<Reply>> {
        self.envelope_by(&format!("MAIL FROM:<{sender}> SIZE={octets}"), recipients)
    }

    fn envelope_by(&mut self, mail: &str, recipients: &[String]) -> io::Result<Option<Reply>> {
        let mut lines = format!("{mail}\r\n");
        for recipient in recipients {
            lines.push_str(&format!("RCPT TO:<{recipient}>\r\n"));
        }
        self.write(lines.as_bytes())?;
        let mut refusal = None;
        for _ in 0..=recipients.len() {
            let reply = self.reply()?;
            if reply.code == 421 {
                return Ok(Some(reply));
            }
            if reply.code != 250 {
                refusal.get_or_insert(reply);
            }
        }
        Ok(refusal)
    }

    /// Says a line and reads the reply.
    ///
    /// # Errors
    /// As [`submit`](Client::submit).
    pub fn command(&mut self, line: &str) -> io::Result<Reply> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// Sends the octets as they are.
    ///
    /// # Errors
    /// What the connection errs with, `WouldBlock` if it takes nothing for 60 seconds among it.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(octets)?;
        stream.flush()
    }

    /// The next reply, however many lines it has.
    ///
    /// # Errors
    /// `UnexpectedEof` if the connection ends; `WouldBlock` after 60 seconds of silence, or what
    /// [`patience`](Client::patience) says; `Other` for a line that is no reply; `InvalidData` for one that
    /// is no UTF-8.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code = code.ok_or_else(|| io::Error::other(format!("not a reply: {line}")))?;
            text.push_str(line.get(4..).unwrap_or_default().trim_end());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, text });
            }
            text.push('\n');
        }
    }

    /// Both ends of the connection as the house sees them in its system calls: its own, then ours.
    pub fn ends(&self) -> String {
        let socket = &self.stream.get_ref().sock;
        format!("[{}->{}]", socket.peer_addr().unwrap(), socket.local_addr().unwrap())
    }

    /// How long a reply is waited for.
    ///
    /// # Errors
    /// `InvalidInput` for no time at all.
    pub fn patience(&mut self, time: Duration) -> io::Result<()> {
        self.stream.get_ref().sock.set_read_timeout(Some(time))
    }

    /// Gone without a word: the kernel resets what still comes.
    pub fn vanish(self) {
        let socket = &self.stream.get_ref().sock;
        let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
    }

    fn expect(&mut self, code: u16, line: &str) -> io::Result<Reply> {
        let reply = self.command(line)?;
        if reply.code == code { Ok(reply) } else { Err(refused(&reply)) }
    }
}

/// The octets of a message as DATA wants them, with the final dot.
pub fn stuffed(raw: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(raw.len() + 64);
    for line in raw.split_inclusive(|octet| *octet == b'\n') {
        if line.first() == Some(&b'.') {
            octets.push(b'.');
        }
        octets.extend_from_slice(line);
    }
    octets.extend_from_slice(b".\r\n");
    octets
}

fn refused(reply: &Reply) -> io::Error {
    io::Error::other(format!("{} {}", reply.code, reply.text))
}
