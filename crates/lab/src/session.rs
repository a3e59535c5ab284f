//! One SMTP session at a provider's door: the shell around `provider::Model`.
//!
//! A server of its own, on purpose not the house's: the lab checks what the house sends, with the strictness of a
//! large site. It refuses what was not offered (parameters, 8-bit addresses), bare CR or LF in data, and mail for a
//! known provider at another one's door. Called by `listener.rs`.

pub(crate) mod command;
mod data;

use crate::provider::{Host, Provider, Speech, TlsMode, Verdict, Welcome, Why, count, is_misrouted};
use crate::wire::{Stream, Wire};
use crate::world::{World, lock};
use command::{Command, Parameters};
use mail::Mailbox;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// Octets of a command line; MAIL with all its parameters stays far below.
const LINE_OCTETS_MAX: usize = 4_096;
/// Wrong commands until the provider has enough.
const ERRORS_MAX: u32 = 20;

/// The end of the conversation, from inside of it.
enum Next {
    Continue,
    Close,
    /// The command that was just answered is STARTTLS.
    Handshake,
}

pub(crate) struct Session {
    pub world: Arc<World>,
    pub provider: Arc<Provider>,
    /// Which of the provider's hosts was called.
    pub host: usize,
    pub peer: SocketAddr,
}

/// What a session knows about its client.
#[derive(Default)]
struct Known {
    ehlo: Option<String>,
    tls: Option<&'static str>,
    messages: u32,
    errors: u32,
    transaction: Option<Transaction>,
}

#[derive(Default)]
struct Transaction {
    reverse_path: String,
    recipients: Vec<Mailbox>,
    smtputf8: bool,
    chunks: Vec<u8>,
    chunks_too_long: bool,
}

impl Session {
    /// Serves until either side has had enough.
    pub async fn run(self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        count(&self.provider.counters.connections);
        let ip = self.peer.ip();
        let welcome = lock(&self.provider.model).connect(ip);
        match welcome {
            // The peer going away is no fault of the lab's.
            Welcome::Greet => drop(self.converse(stream).await),
            Welcome::Refuse(why) => {
                count(&self.provider.counters.connections_refused);
                let mut wire = Wire::new(Stream::Plain(stream));
                self.refuse(&mut wire, why, "");
                wire.close().await;
            }
            Welcome::Drop => count(&self.provider.counters.connections_refused),
            Welcome::Silent => {
                count(&self.provider.counters.connections_refused);
                let _ =
                    tokio::time::timeout(self.world.config.command_timeout, read_to_the_end(stream)).await;
            }
        }
        lock(&self.provider.model).disconnect(ip);
    }

    async fn converse(&self, stream: TcpStream) -> Result<()> {
        let mut wire = Wire::new(Stream::Plain(stream));
        let mut known = Known::default();
        wire.say(&self.provider.spec.voice.greeting(self.host().name, self.world.serial()));
        loop {
            let line =
                match tokio::time::timeout(self.world.config.command_timeout, wire.line(LINE_OCTETS_MAX))
                    .await
                {
                    Ok(Ok(line)) => line,
                    Ok(Err(fault)) if fault.kind() == ErrorKind::InvalidData => {
                        wire.say("500 5.5.2 Syntax error, bad line");
                        wire.close().await;
                        return Err(fault);
                    }
                    Ok(Err(fault)) => return Err(fault),
                    Err(_) => {
                        wire.say(&format!("421 4.4.2 {} Error: timeout exceeded", self.host().name));
                        wire.close().await;
                        return Err(ErrorKind::TimedOut.into());
                    }
                };
            match self.handle(&mut wire, &mut known, &line).await? {
                Next::Continue => {}
                Next::Close => {
                    wire.close().await;
                    return Ok(());
                }
                Next::Handshake => wire = self.handshake(wire, &mut known).await?,
            }
        }
    }

    async fn handle(&self, wire: &mut Wire, known: &mut Known, line: &[u8]) -> Result<Next> {
        match Command::parse(line) {
            Command::Ehlo(name) => self.ehlo(wire, known, name),
            Command::Helo(name) => {
                (known.ehlo, known.transaction) = (Some(name), None);
                wire.say(&format!("250 {}", self.host().name));
            }
            Command::Mail(path, parameters) => return Ok(self.mail(wire, known, path, &parameters)),
            Command::Rcpt(path, parameters) => return self.rcpt(wire, known, &path, &parameters).await,
            Command::Data => return self.data(wire, known).await,
            Command::Bdat { octets, last } => return self.bdat(wire, known, octets, last).await,
            Command::Rset => {
                known.transaction = None;
                wire.say("250 2.0.0 Ok");
            }
            Command::Noop => wire.say("250 2.0.0 Ok"),
            Command::Vrfy => wire.say("252 2.1.5 Send some mail, I'll try my best"),
            Command::StartTls if known.tls.is_none() && self.tls_mode() != TlsMode::Off => {
                wire.say("220 2.0.0 Ready to start TLS");
                return Ok(Next::Handshake);
            }
            Command::Quit => {
                wire.say("221 2.0.0 Bye");
                return Ok(Next::Close);
            }
            Command::StartTls | Command::Unknown => {
                return Ok(mistake(wire, known, "502 5.5.1 Command not implemented"));
            }
            Command::Malformed(reply) => return Ok(mistake(wire, known, reply)),
        }
        Ok(Next::Continue)
    }

    fn ehlo(&self, wire: &mut Wire, known: &mut Known, name: String) {
        let features = self.provider.spec.voice.features();
        let mut lines = vec![
            format!("{} at your service, [{}]", self.host().name, self.peer.ip()),
            format!("SIZE {}", features.size),
        ];
        lines.extend(features.lines.iter().map(ToString::to_string));
        if known.tls.is_none() && self.tls_mode() != TlsMode::Off {
            lines.push("STARTTLS".to_owned());
        }
        if known.tls.is_some() && features.require_tls {
            lines.push("REQUIRETLS".to_owned());
        }
        let last = lines.len() - 1;
        for (i, line) in lines.iter().enumerate() {
            wire.say(&format!("250{}{line}", if i == last { ' ' } else { '-' }));
        }
        (known.ehlo, known.transaction) = (Some(name), None);
    }

    fn mail(&self, wire: &mut Wire, known: &mut Known, path: String, parameters: &Parameters) -> Next {
        if known.ehlo.is_none() {
            return mistake(wire, known, "503 5.5.1 Error: send HELO/EHLO first");
        }
        if known.transaction.is_some() {
            return mistake(wire, known, "503 5.5.1 Error: nested MAIL command");
        }
        let features = self.provider.spec.voice.features();
        if let Some(reply) = parameters.refuse_for_mail(&features, known.tls.is_some()) {
            return mistake(wire, known, reply);
        }
        if !path.is_empty() && Mailbox::parse(&path).is_err() {
            return mistake(wire, known, "553 5.1.7 Bad sender address syntax");
        }
        let smtputf8 = parameters.has("SMTPUTF8");
        if !path.is_ascii() && !smtputf8 {
            return mistake(wire, known, "553 5.6.7 SMTPUTF8 is required for this address");
        }
        if parameters
            .number("SIZE")
            .is_some_and(|size| size > features.size.min(self.world.config.message_octets_max))
        {
            return self.refuse(wire, Why::TooLarge, &path);
        }
        let now = self.world.clock.instant();
        let verdict =
            lock(&self.provider.model).sender(self.peer.ip(), known.messages, known.tls.is_some(), now);
        if let Verdict::Refuse(why) = verdict {
            return self.refuse(wire, why, &path);
        }
        known.transaction = Some(Transaction { reverse_path: path, smtputf8, ..Transaction::default() });
        wire.say("250 2.1.0 OK");
        Next::Continue
    }

    async fn rcpt(
        &self,
        wire: &mut Wire,
        known: &mut Known,
        path: &str,
        parameters: &Parameters,
    ) -> Result<Next> {
        let features = self.provider.spec.voice.features();
        if let Some(reply) = parameters.refuse_for_rcpt(&features) {
            return Ok(mistake(wire, known, reply));
        }
        let Some(transaction) = known.transaction.as_mut() else {
            return Ok(mistake(wire, known, "503 5.5.1 Error: need MAIL command"));
        };
        let Ok(recipient) = Mailbox::parse(path) else {
            return Ok(mistake(wire, known, "501 5.1.3 Bad recipient address syntax"));
        };
        if !recipient.is_ascii() && !transaction.smtputf8 {
            return Ok(mistake(wire, known, "553 5.6.7 SMTPUTF8 is required for this address"));
        }
        if transaction.recipients.len() >= self.world.config.recipients_max {
            return Ok(self.refuse(wire, Why::TooManyRecipients, path));
        }
        if is_misrouted(self.provider.spec, recipient.domain().as_str()) {
            return Ok(self.refuse(wire, Why::NoRelay, path));
        }
        let (dice, now) = (self.world.dice(), self.world.clock.instant());
        let decision = lock(&self.provider.model).recipient(&transaction.reverse_path, &recipient, dice, now);
        pause(wire, decision.delay).await?;
        match decision.verdict {
            Verdict::Accept => {
                transaction.recipients.push(recipient);
                wire.say("250 2.1.5 OK");
                Ok(Next::Continue)
            }
            Verdict::Refuse(why) => Ok(self.refuse(wire, why, path)),
        }
    }

    async fn handshake(&self, wire: Wire, known: &mut Known) -> Result<Wire> {
        let mut stream = wire.into_plain().await?;
        let counters = &self.provider.counters;
        if self.tls_mode() == TlsMode::Broken {
            count(&counters.tls_failures);
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"454 4.7.0 TLS not available\r\n").await?;
            return Err(Error::new(ErrorKind::ConnectionAborted, "broken on purpose"));
        }
        let accept = TlsAcceptor::from(self.host().identity.0.clone()).accept(stream);
        let stream = match tokio::time::timeout(self.world.config.command_timeout, accept).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(fault)) => {
                count(&counters.tls_failures);
                return Err(fault);
            }
            Err(_) => return Err(timed_out()),
        };
        count(&counters.tls_sessions);
        // Everything said before is forgotten (RFC 3207 §4.2).
        *known = Known {
            tls: Some(crate::tls::version_name(stream.get_ref().1.protocol_version())),
            ..Known::default()
        };
        Ok(Wire::new(Stream::Tls(Box::new(stream.into()))))
    }

    /// In the provider's words; 421 and refusals of the peer itself end the session.
    fn refuse(&self, wire: &mut Wire, why: Why, recipient: &str) -> Next {
        let speech =
            Speech { peer: self.peer.ip(), host: self.host().name, recipient, serial: self.world.serial() };
        let lines = self.provider.spec.voice.refusal(why, &speech);
        let closes = lines.first().is_some_and(|line| line.starts_with("421"));
        let transient = lines.first().is_some_and(|line| line.starts_with('4'));
        count(if transient { &self.provider.counters.deferred } else { &self.provider.counters.refused });
        lines.iter().for_each(|line| wire.say(line));
        if closes { Next::Close } else { Next::Continue }
    }

    fn host(&self) -> &Host {
        &self.provider.hosts[self.host]
    }

    fn tls_mode(&self) -> TlsMode {
        lock(&self.provider.model).behaviour().tls
    }
}

async fn read_to_the_end(mut stream: TcpStream) {
    let mut buffer = [0; 512];
    while tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.is_ok_and(|count| count > 0) {}
}

/// What was said before is not held back by a delay that a later command causes.
async fn pause(wire: &mut Wire, delay: Duration) -> Result<()> {
    if !delay.is_zero() {
        wire.flush().await?;
        tokio::time::sleep(delay).await;
    }
    Ok(())
}

fn mistake(wire: &mut Wire, known: &mut Known, reply: &str) -> Next {
    known.errors += 1;
    if known.errors > ERRORS_MAX {
        wire.say("421 4.7.0 Error: too many errors");
        return Next::Close;
    }
    wire.say(reply);
    Next::Continue
}

fn timed_out() -> Error {
    ErrorKind::TimedOut.into()
}
