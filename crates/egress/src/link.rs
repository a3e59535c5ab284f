//! The shell around `smtp::client`: moves octets and time, decides nothing. It lets go of the end of a message when the
//! record of the one before is durable.
//!
//! `next` performs what the machine wants until it says something that matters to the caller. Small writes are put
//! together into one; the blocks of a long message go one by one, with the machine's timer for each.

use crate::measured;
use bytes::Bytes;
use mail::{Clock, Instant};
use smtp::client::{
    Action, Answer, BreakKind, ClientConfig, DeliveryReport, Failure, Session, Stage, Transaction,
};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Octets that are put together.
const TOGETHER: usize = 64 * 1024;
const READ: usize = 4 * 1024;
/// For the end of TLS to be written.
const GOODBYE: Duration = Duration::from_secs(5);

pub(crate) struct Link {
    wire: Wire,
    machine: Session,
    clock: Arc<dyn Clock>,
    /// What the next write takes along.
    out: Bytes,
    input: Box<[u8; READ]>,
    /// What no message is ended without.
    proof: Option<oneshot::Receiver<()>>,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// During a handshake, or after one that failed.
    None,
}

/// What matters to the caller.
pub(crate) enum Step {
    /// Shake hands: `start_tls`.
    StartTls,
    Ready,
    OpeningFailed(Failure),
    Report(DeliveryReport),
    Closed,
}

impl Link {
    pub fn new(stream: TcpStream, config: ClientConfig, clock: Arc<dyn Clock>) -> Link {
        let machine = Session::new(config, clock.instant());
        let (wire, input) = (Wire::Plain(stream), Box::new([0; READ]));
        Link { wire, machine, clock, out: Bytes::new(), input, proof: None }
    }

    /// Ends no further message until `proof` is there.
    pub fn hold(&mut self, proof: oneshot::Receiver<()>) {
        self.machine.hold_end();
        self.proof = Some(proof);
    }

    /// Returns when nothing is held any more, or never will be released.
    pub async fn released(&mut self) {
        if let Some(proof) = self.proof.take() {
            // Whoever was to tell is gone only if the journal takes nothing any more.
            let _ = proof.await;
        }
    }

    pub fn deliver(&mut self, transaction: Transaction) {
        self.machine.deliver(transaction, self.clock.instant());
    }

    /// Whether the site passes on that a message requires TLS (RFC 8689).
    pub fn offers_require_tls(&self) -> bool {
        self.machine.is_encrypted() && self.machine.offer().extensions.contains(smtp::Extension::RequireTls)
    }

    /// Performs actions and feeds answers until there is a step.
    pub async fn next(&mut self) -> Step {
        loop {
            while let Some(action) = self.machine.poll_action() {
                let step = match action {
                    Action::Send(octets) => {
                        self.send(octets).await;
                        continue;
                    }
                    Action::StartTls => Step::StartTls,
                    Action::Ready => Step::Ready,
                    Action::OpeningFailed(failure) => Step::OpeningFailed(failure),
                    Action::Report(report) => Step::Report(report),
                    Action::Close => return Step::Closed,
                };
                self.flush().await;
                return step;
            }
            self.flush().await;
            if self.machine.wants_input() {
                self.read().await;
            }
        }
    }

    /// Shakes hands within `limit` and tells the machine. Says the version of the protocol.
    pub async fn start_tls(
        &mut self,
        connector: &TlsConnector,
        name: Option<rustls::pki_types::ServerName<'static>>,
        limit: Duration,
    ) -> Option<String> {
        let version = match (std::mem::replace(&mut self.wire, Wire::None), name) {
            (Wire::Plain(stream), Some(name)) => {
                match tokio::time::timeout(limit, connector.connect(name, stream)).await {
                    Ok(Ok(stream)) => {
                        let version = stream.get_ref().1.protocol_version();
                        self.wire = Wire::Tls(Box::new(stream));
                        Some(version.map_or("TLS", |version| version.as_str().unwrap_or("TLS")).to_owned())
                    }
                    Ok(Err(_)) => None,
                    Err(_) => {
                        measured::ran_out(Stage::StartTls.name());
                        None
                    }
                }
            }
            _ => None,
        };
        let answer = if version.is_some() { Answer::TlsDone } else { Answer::TlsFailed };
        self.machine.handle_answer(answer, self.clock.instant());
        version.map(|version| version.replace("TLSv1_", "TLSv1."))
    }

    /// Says QUIT and waits for the end, as long as the machine waits.
    pub async fn quit(&mut self) {
        self.machine.quit(self.clock.instant());
        while !matches!(self.next().await, Step::Closed) {}
        if let Wire::Tls(stream) = &mut self.wire {
            // Nobody waits for the peer's close_notify; one that does not even take ours must not keep the slot.
            let _ = tokio::time::timeout(GOODBYE, stream.shutdown()).await;
        }
    }

    /// Returns when an idle session is no more: the site closed it, or said something nobody asked for.
    pub async fn ended(&mut self) {
        let _ = self.wire.read(&mut self.input[..]).await;
    }

    async fn send(&mut self, octets: Bytes) {
        // The usual case: all that is said before an answer comes in one piece, and nothing is copied or kept. A full block
        // goes at once: kept here it would be written when the machine believes that all is said.
        if self.out.is_empty() && octets.len() < TOGETHER {
            self.out = octets;
            return;
        }
        if self.out.len() + octets.len() <= TOGETHER {
            self.out = [&self.out[..], &octets[..]].concat().into();
            return;
        }
        let before = std::mem::take(&mut self.out);
        // The machine hears of both when both are written: the answer to the last block of a message would be waited for
        // while that block is still on its way. What was not taken in time broke the session; the rest is for nobody.
        if self.put(&before).await && self.machine.wants_input() {
            self.write(&octets).await;
        }
    }

    async fn flush(&mut self) {
        let octets = std::mem::take(&mut self.out);
        if !octets.is_empty() {
            self.write(&octets).await;
        }
    }

    async fn write(&mut self, octets: &[u8]) {
        if self.put(octets).await {
            self.machine.handle_written(self.clock.instant());
        }
    }

    /// A block that cannot be written breaks the session; what follows is for nothing, and the machine knows. False then.
    async fn put(&mut self, octets: &[u8]) -> bool {
        let left = self.time_left();
        match tokio::time::timeout(left, self.wire.write_all(octets)).await {
            Ok(Ok(())) => return true,
            Ok(Err(_)) => self.machine.handle_break(BreakKind::Io),
            Err(_) => {
                measured::ran_out(self.machine.phase_name());
                self.machine.handle_break(BreakKind::Timeout);
            }
        }
        false
    }

    async fn read(&mut self) {
        let left = self.time_left();
        let read = tokio::select! {
            biased;
            released = is_released(&mut self.proof) => {
                self.proof = None;
                if released {
                    self.machine.resume_end(self.clock.instant());
                }
                return;
            }
            read = tokio::time::timeout(left, self.wire.read(&mut self.input[..])) => read,
        };
        match read {
            Ok(Ok(0)) => self.machine.handle_eof(),
            Ok(Ok(count)) => self.machine.handle_bytes(&self.input[..count], self.clock.instant()),
            Ok(Err(_)) => self.machine.handle_break(BreakKind::Io),
            Err(_) => {
                // A hold that runs out is our time and not the site's.
                if self.proof.is_none() {
                    measured::ran_out(self.machine.phase_name());
                }
                self.machine.handle_timeout(self.clock.instant());
            }
        }
    }

    fn time_left(&self) -> Duration {
        let far = Duration::from_secs(24 * 3600);
        let now: Instant = self.clock.instant();
        // A timer of tokio counts milliseconds; one more, so that the machine's own time has surely come.
        self.machine.poll_timeout().map_or(far, |at| at.saturating_since(now) + Duration::from_millis(1))
    }
}

/// False if it will never be: the hold has to run out.
async fn is_released(proof: &mut Option<oneshot::Receiver<()>>) -> bool {
    match proof {
        Some(proof) => proof.await.is_ok(),
        None => std::future::pending().await,
    }
}

impl Wire {
    async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.read(into).await,
            Wire::Tls(stream) => stream.read(into).await,
            Wire::None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    async fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Wire::Plain(stream) => stream.write_all(octets).await,
            Wire::Tls(stream) => {
                stream.write_all(octets).await?;
                stream.flush().await
            }
            Wire::None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}
