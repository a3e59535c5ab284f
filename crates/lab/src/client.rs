//! A small SMTP client: what providers use to send returns, and what the load generator is made of.
//!
//! It uses what the server offers (STARTTLS, AUTH PLAIN, CHUNKING, PIPELINING) and verifies no certificate, because
//! it speaks on loopback only. Not the house's client, on purpose: see lib.rs.

use crate::error::{Fault, require_loopback};
use crate::tls::careless_client;
use crate::wire::{Stream, Wire, stuff};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const LINE_OCTETS_MAX: usize = 2_048;
/// Lines of one reply.
const REPLY_LINES_MAX: usize = 64;
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Not at all.
    Plain,
    /// STARTTLS; an error if it is not offered.
    StartTls,
    /// STARTTLS if it is offered.
    IfOffered,
    /// TLS from the first octet.
    Implicit,
}

/// A whole reply: `250 2.0.0 queued`, lines joined by spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub code: u16,
    pub text: String,
}

pub(crate) struct Dialog {
    wire: Wire,
    peer: SocketAddr,
    /// The keywords of EHLO, in upper case.
    offered: Vec<String>,
}

/// One message to one or more recipients.
pub(crate) struct Letter<'a> {
    /// Empty for the null reverse-path.
    pub reverse_path: &'a str,
    pub recipients: &'a [String],
    /// Ends with CRLF.
    pub raw: &'a [u8],
}

impl Answer {
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }
}

impl Dialog {
    /// Connects and introduces itself; on return the session is ready for AUTH or MAIL.
    pub async fn open(peer: SocketAddr, ehlo: &str, protection: Protection) -> Result<Dialog, Fault> {
        let peer = require_loopback("the server that is called", peer)?;
        let stream = TcpStream::connect(peer).await.map_err(|source| Fault::Dialog {
            peer,
            doing: "connecting",
            source,
        })?;
        let _ = stream.set_nodelay(true);
        let wire = match protection {
            Protection::Implicit => secure(stream, peer).await?,
            Protection::Plain | Protection::StartTls | Protection::IfOffered => {
                Wire::new(Stream::Plain(stream))
            }
        };
        let mut dialog = Dialog { wire, peer, offered: Vec::new() };
        dialog.expect("waiting for the greeting").await?;
        dialog.introduce(ehlo).await?;
        let wanted = protection == Protection::StartTls
            || (protection == Protection::IfOffered && dialog.offers("STARTTLS"));
        if wanted {
            dialog.wire.say("STARTTLS");
            dialog.expect("starting TLS").await?;
            let fault = |source| Fault::Dialog { peer, doing: "starting TLS", source };
            dialog.wire = secure(dialog.wire.into_plain().await.map_err(fault)?, peer).await?;
            dialog.introduce(ehlo).await?;
        }
        Ok(dialog)
    }

    pub async fn authenticate(&mut self, username: &str, password: &str) -> Result<(), Fault> {
        let secret = BASE64.encode(format!("\0{username}\0{password}"));
        self.wire.say(&format!("AUTH PLAIN {secret}"));
        self.expect("authenticating").await.map(drop)
    }

    /// One transaction. The answer is the last one, or the first that said no.
    pub async fn send(&mut self, letter: &Letter<'_>) -> Result<Answer, Fault> {
        let (pipelining, chunking) = (self.offers("PIPELINING"), self.offers("CHUNKING"));
        let mail = self.mail_command(letter);
        self.wire.say(&mail);
        let mut refused = if pipelining { None } else { self.refusal("naming the sender").await? };
        for recipient in letter.recipients {
            self.wire.say(&format!("RCPT TO:<{recipient}>"));
            if !pipelining && refused.is_none() {
                refused = self.refusal("naming a recipient").await?;
            }
        }
        let commands = if pipelining { letter.recipients.len() + 1 } else { 0 };
        if chunking {
            self.wire.say(&format!("BDAT {} LAST", letter.raw.len()));
            self.wire.say_octets(letter.raw);
            refused = self.refusals(commands, refused).await?;
            let last = self.answer("sending the message").await?;
            return self.conclude(refused.unwrap_or(last)).await;
        }
        if !pipelining && refused.is_some() {
            return self.conclude(refused.unwrap_or(Answer { code: 451, text: String::new() })).await;
        }
        self.wire.say("DATA");
        refused = self.refusals(commands, refused).await?;
        let go_ahead = self.answer("asking to send the message").await?;
        if go_ahead.code != 354 {
            return self.conclude(refused.unwrap_or(go_ahead)).await;
        }
        self.wire.say_octets(&stuff(letter.raw));
        let last = self.answer("sending the message").await?;
        self.conclude(refused.unwrap_or(last)).await
    }

    pub async fn quit(mut self) {
        self.wire.say("QUIT");
        let _ = self.answer("saying goodbye").await;
        self.wire.close().await;
    }

    fn mail_command(&self, letter: &Letter<'_>) -> String {
        let mut command = format!("MAIL FROM:<{}>", letter.reverse_path);
        if self.offers("SIZE") {
            command.push_str(&format!(" SIZE={}", letter.raw.len()));
        }
        if !letter.raw.is_ascii() && self.offers("8BITMIME") {
            command.push_str(" BODY=8BITMIME");
        }
        let ascii = letter.recipients.iter().all(|to| to.is_ascii()) && letter.reverse_path.is_ascii();
        if !ascii && self.offers("SMTPUTF8") {
            command.push_str(" SMTPUTF8");
        }
        command
    }

    fn offers(&self, keyword: &str) -> bool {
        self.offered.iter().any(|own| own == keyword)
    }

    /// After a refusal the transaction may still be open.
    async fn conclude(&mut self, answer: Answer) -> Result<Answer, Fault> {
        if !answer.is_positive() && answer.code != 421 {
            self.wire.say("RSET");
            self.expect("resetting").await?;
        }
        Ok(answer)
    }

    async fn introduce(&mut self, ehlo: &str) -> Result<(), Fault> {
        self.wire.say(&format!("EHLO {ehlo}"));
        let offered = self.expect("introducing myself").await?.text.to_ascii_uppercase();
        self.offered = offered.split(' ').map(str::to_owned).collect();
        Ok(())
    }

    async fn refusals(&mut self, count: usize, mut first: Option<Answer>) -> Result<Option<Answer>, Fault> {
        for _ in 0..count {
            let refusal = self.refusal("naming sender and recipients").await?;
            first = first.or(refusal);
        }
        Ok(first)
    }

    async fn refusal(&mut self, doing: &'static str) -> Result<Option<Answer>, Fault> {
        let answer = self.answer(doing).await?;
        Ok((!answer.is_positive()).then_some(answer))
    }

    async fn expect(&mut self, doing: &'static str) -> Result<Answer, Fault> {
        let answer = self.answer(doing).await?;
        if answer.is_positive() {
            return Ok(answer);
        }
        Err(Fault::Unexpected { peer: self.peer, doing, reply: answer.text })
    }

    async fn answer(&mut self, doing: &'static str) -> Result<Answer, Fault> {
        let read = tokio::time::timeout(REPLY_TIMEOUT, self.read_answer());
        let slow = |_| Fault::Slow { what: doing, seconds: REPLY_TIMEOUT.as_secs() };
        read.await.map_err(slow)?.map_err(|source| Fault::Dialog { peer: self.peer, doing, source })
    }

    async fn read_answer(&mut self) -> std::io::Result<Answer> {
        let nonsense = || std::io::Error::new(std::io::ErrorKind::InvalidData, "not an SMTP reply");
        let mut text = String::new();
        for _ in 0..REPLY_LINES_MAX {
            let line = String::from_utf8_lossy(&self.wire.line(LINE_OCTETS_MAX).await?).into_owned();
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok()).ok_or_else(nonsense)?;
            if text.is_empty() {
                text.push_str(line.get(..3).unwrap_or_default());
            }
            text.push(' ');
            text.push_str(line.get(4..).unwrap_or_default());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Answer { code, text: text.trim_end().to_owned() });
            }
        }
        Err(nonsense())
    }
}

async fn secure(stream: TcpStream, peer: SocketAddr) -> Result<Wire, Fault> {
    let connector = TlsConnector::from(careless_client()?);
    let stream = connector.connect(ServerName::IpAddress(peer.ip().into()), stream).await;
    let stream = stream.map_err(|source| Fault::Dialog { peer, doing: "negotiating TLS", source })?;
    Ok(Wire::new(Stream::Tls(Box::new(stream.into()))))
}
