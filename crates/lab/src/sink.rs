//! A fast listener for load: accepts everything, keeps nothing, counts.
//!
//! For measuring what a sender can do, without the cost of a provider's model. Offers what a large site offers; TLS
//! with a certificate of its own. Loopback only.

use crate::error::{Fault, require_loopback};
use crate::session::command::Command;
use crate::tls::{Authority, Identity};
use crate::wire::{Data, Stream, Wire};
use mail::{Clock, Instant};
use serde::Serialize;
use std::fmt;
use std::io::{ErrorKind, Result};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const LINE_OCTETS_MAX: usize = 4_096;
/// When enough has come, sessions that are amid a message have this long to end it; those between two end at once.
const GOODBYE: Duration = Duration::from_secs(5);

/// Where to listen, and when it is enough.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    /// The address; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Whether STARTTLS is there.
    pub tls: SinkTls,
    /// Stops after so many messages; 0: runs until the shutdown.
    pub count: u64,
    /// Before the answer to each message.
    pub delay: Duration,
    /// At a time; more are closed at once.
    pub connections_max: usize,
    /// Octets; a larger message that comes by DATA is refused with 552.
    pub message_octets_max: usize,
}

/// Whether STARTTLS is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkTls {
    /// With a certificate made at the start.
    Offered,
    /// Plain text only.
    NotOffered,
}

/// What a sink took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SinkFigures {
    /// Since the start.
    pub connections: u64,
    /// STARTTLS that came to its end.
    pub tls_sessions: u64,
    /// Taken.
    pub messages: u64,
    /// Of the messages taken.
    pub recipients: u64,
    /// Of the messages taken.
    pub octets: u64,
    /// From the first message to the last.
    pub seconds: f64,
    /// Over those seconds.
    pub messages_per_second: f64,
}

#[derive(Default)]
struct Counters {
    connections: AtomicU64,
    tls_sessions: AtomicU64,
    messages: AtomicU64,
    recipients: AtomicU64,
    octets: AtomicU64,
    /// Microseconds of the clock; 0: none yet.
    first: AtomicU64,
    last: AtomicU64,
}

struct Sink {
    options: SinkOptions,
    identity: Option<Identity>,
    clock: Arc<dyn Clock>,
    counters: Counters,
    full: CancellationToken,
}

impl Default for SinkOptions {
    fn default() -> SinkOptions {
        SinkOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: SinkTls::Offered,
            count: 0,
            delay: Duration::ZERO,
            connections_max: 4_096,
            message_octets_max: 50 << 20,
        }
    }
}

/// Receives until the shutdown, or until enough has come. `bound` hears the address once it listens.
///
/// # Errors
/// `NotLoopback` for an address that is not on loopback; `Bind` if it cannot be listened on; `Certificate` or
/// `Tls` if TLS cannot be set up. A client that goes away is no fault.
pub async fn run(
    options: SinkOptions,
    clock: Arc<dyn Clock>,
    bound: watch::Sender<Option<SocketAddr>>,
    shutdown: CancellationToken,
) -> std::result::Result<SinkFigures, Fault> {
    let address = require_loopback("the sink", options.listen)?;
    let fault = |source| Fault::Bind { what: "the sink", address, source };
    let listener = TcpListener::bind(address).await.map_err(fault)?;
    let identity = match options.tls {
        SinkTls::Offered => Some(Authority::new()?.identity("sink.lab.test")?),
        SinkTls::NotOffered => None,
    };
    bound.send_replace(Some(listener.local_addr().map_err(fault)?));
    let places = Arc::new(Semaphore::new(options.connections_max));
    let full = shutdown.child_token();
    let sink = Arc::new(Sink { options, identity, clock, counters: Counters::default(), full: full.clone() });
    let ending = shutdown.child_token();
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = full.cancelled() => break,
            accepted = async { (listener.accept().await, places.clone().acquire_owned().await) } => accepted,
        };
        let (Ok((stream, _)), Ok(place)) = accepted else { continue };
        let (sink, ending) = (sink.clone(), ending.clone());
        tracker.spawn(async move {
            let _place = place;
            tokio::select! {
                () = ending.cancelled() => {}
                // A client that goes away is no fault.
                _ = sink.converse(stream) => {}
            }
        });
    }
    tracker.close();
    // Clients still wait for the answers to what was counted.
    if tokio::time::timeout(GOODBYE, tracker.wait()).await.is_err() {
        ending.cancel();
        tracker.wait().await;
    }
    Ok(sink.counters.figures())
}

impl Sink {
    async fn converse(&self, stream: TcpStream) -> Result<()> {
        let _ = stream.set_nodelay(true);
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        let mut wire = Wire::new(Stream::Plain(stream));
        let (mut encrypted, mut recipients, mut chunks) = (false, 0, 0);
        let mut full = pin!(self.full.cancelled());
        wire.say("220 sink.lab.test ESMTP");
        loop {
            let line = tokio::select! {
                // Waiting for a line sends what was said, so whoever was counted has its answer.
                biased;
                line = wire.line(LINE_OCTETS_MAX) => line?,
                () = &mut full => {
                    wire.say("421 4.3.2 Enough has come");
                    wire.close().await;
                    return Ok(());
                }
            };
            match Command::parse(&line) {
                Command::Ehlo(_) => self.offer(&mut wire, encrypted),
                Command::Helo(_) => wire.say("250 sink.lab.test"),
                Command::Mail(..) => {
                    (recipients, chunks) = (0, 0);
                    wire.say("250 2.1.0 OK");
                }
                Command::Rcpt(..) => {
                    recipients += 1;
                    wire.say("250 2.1.5 OK");
                }
                Command::Data => {
                    wire.say("354 Go ahead");
                    match wire.data(self.options.message_octets_max).await? {
                        Data::Whole(raw) => self.take(&mut wire, recipients, raw.len()).await?,
                        Data::TooLong => wire.say("552 5.3.4 Message too large"),
                    }
                }
                Command::Bdat { octets, last } => {
                    wire.octets(octets, None).await?;
                    chunks = octets.saturating_add(chunks);
                    if last {
                        self.take(&mut wire, recipients, chunks).await?;
                    } else {
                        wire.say("250 2.0.0 OK");
                    }
                }
                Command::StartTls if !encrypted && self.identity.is_some() => {
                    wire = self.handshake(wire).await?;
                    encrypted = true;
                }
                Command::Quit => {
                    wire.say("221 2.0.0 Bye");
                    wire.close().await;
                    return Ok(());
                }
                Command::Rset | Command::Noop | Command::Vrfy => wire.say("250 2.0.0 OK"),
                Command::StartTls | Command::Unknown => wire.say("502 5.5.1 Command not implemented"),
                Command::Malformed(reply) => wire.say(reply),
            }
        }
    }

    fn offer(&self, wire: &mut Wire, encrypted: bool) {
        wire.say("250-sink.lab.test");
        if !encrypted && self.identity.is_some() {
            wire.say("250-STARTTLS");
        }
        for line in [
            "250-PIPELINING",
            "250-8BITMIME",
            "250-SMTPUTF8",
            "250-ENHANCEDSTATUSCODES",
            "250-DSN",
            "250 CHUNKING",
        ] {
            wire.say(line);
        }
    }

    async fn take(&self, wire: &mut Wire, recipients: u64, octets: usize) -> Result<()> {
        if !self.options.delay.is_zero() {
            tokio::time::sleep(self.options.delay).await;
        }
        let counters = &self.counters;
        let now = self.clock.instant().as_micros().max(1);
        let _ = counters.first.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        counters.last.fetch_max(now, Ordering::Relaxed);
        counters.recipients.fetch_add(recipients, Ordering::Relaxed);
        counters.octets.fetch_add(octets as u64, Ordering::Relaxed);
        let messages = counters.messages.fetch_add(1, Ordering::Relaxed) + 1;
        wire.say("250 2.0.0 OK");
        if self.options.count != 0 && messages >= self.options.count {
            self.full.cancel();
        }
        Ok(())
    }

    async fn handshake(&self, mut wire: Wire) -> Result<Wire> {
        let identity = self.identity.as_ref().ok_or(ErrorKind::Unsupported)?;
        wire.say("220 2.0.0 Ready to start TLS");
        let stream = TlsAcceptor::from(identity.0.clone()).accept(wire.into_plain().await?).await?;
        self.counters.tls_sessions.fetch_add(1, Ordering::Relaxed);
        Ok(Wire::new(Stream::Tls(Box::new(stream.into()))))
    }
}

impl Counters {
    fn figures(&self) -> SinkFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let span =
            Instant::from_micros(read(&self.last)).saturating_since(Instant::from_micros(read(&self.first)));
        let (messages, seconds) = (read(&self.messages), span.as_secs_f64());
        SinkFigures {
            connections: read(&self.connections),
            tls_sessions: read(&self.tls_sessions),
            messages,
            recipients: read(&self.recipients),
            octets: read(&self.octets),
            seconds,
            messages_per_second: if seconds > 0.0 { messages as f64 / seconds } else { 0.0 },
        }
    }
}

impl fmt::Display for SinkFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "messages     {:>12}   {:.1}/s over {:.2} s",
            self.messages, self.messages_per_second, self.seconds
        )?;
        writeln!(f, "recipients   {:>12}", self.recipients)?;
        writeln!(f, "octets       {:>12}", self.octets)?;
        write!(f, "connections  {:>12}   {} with TLS", self.connections, self.tls_sessions)
    }
}
