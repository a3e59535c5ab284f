//! A submitting client for load: many connections, one AUTH each, as many messages as asked for, figures at the end.
//!
//! Uses PIPELINING and CHUNKING when offered. With a rate, message n is due at n/rate after the start, whoever sends
//! it: a slow server does not slow the schedule, so the latencies tell the truth about it. A connection that breaks
//! is opened again. Calls loopback only.

mod figures;

pub use figures::{Latency, LoadFigures};

use crate::client::{Dialog, Letter, Protection};
use crate::error::{Fault, require_loopback};
use figures::Tally;
use mail::{Clock, Instant, Mailbox};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use crate::client::Protection as LoadTls;

/// A connection that cannot be opened is tried again after this.
const RECONNECT_DELAY: Duration = Duration::from_millis(200);
/// Failures in a row until a connection gives up.
const FAILURES_MAX: u32 = 10;
/// Distinct recipients of a domain.
const RECIPIENTS: u64 = 1_000_000;
const CONNECTIONS_MAX: usize = 10_000;

/// Where to, who from, and how much.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The server under load.
    pub to: SocketAddr,
    /// How connections are protected.
    pub tls: LoadTls,
    /// At least one.
    pub senders: Vec<Sender>,
    /// Open at a time, from 1 to 10000, each with one message after the other.
    pub connections: usize,
    /// Messages in all.
    pub count: u64,
    /// Messages a second over all connections; none: as fast as it goes.
    pub rate: Option<f64>,
    /// Octets of a message, header included; at least what the header needs.
    pub size: usize,
    /// Recipient domains, in turn.
    pub domains: Vec<String>,
    /// Recipients of a message.
    pub recipients: usize,
    /// Added to the header: `X-Posthouse-Stream: marketing`.
    pub headers: Vec<(String, String)>,
}

/// Who sends. Connections take the senders in turn.
#[derive(Clone)]
pub struct Sender {
    /// None: no AUTH.
    pub login: Option<(String, String)>,
    /// Reverse-path and From.
    pub from: String,
}

struct Job {
    options: LoadOptions,
    clock: Arc<dyn Clock>,
    next: AtomicU64,
    started: Instant,
    shutdown: CancellationToken,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions {
            to: SocketAddr::from(([127, 0, 0, 1], 2587)),
            tls: Protection::StartTls,
            senders: Vec::new(),
            connections: 20,
            count: 1_000,
            rate: None,
            size: 4 << 10,
            domains: vec!["plain.example".to_owned()],
            recipients: 1,
            headers: Vec::new(),
        }
    }
}

/// No password in a log.
impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("authenticates", &self.login.is_some()).finish()
    }
}

/// Sends everything, or what it can until the shutdown.
///
/// # Errors
/// `NotLoopback` for a server that is not on loopback; `Option` with a sentence for options that make no
/// load. What goes wrong later is counted in the figures.
pub async fn run(
    options: LoadOptions,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Result<LoadFigures, Fault> {
    check(&options)?;
    let (connections, started) = (options.connections, clock.instant());
    let job = Arc::new(Job { options, clock, next: AtomicU64::new(0), started, shutdown });
    let mut workers = JoinSet::new();
    for number in 0..connections {
        let job = job.clone();
        workers.spawn(async move { job.work(number).await });
    }
    let mut whole = Tally::new();
    while let Some(tally) = workers.join_next().await {
        match tally {
            Ok(tally) => whole.merge(tally),
            Err(error) => whole.fail(error.to_string()),
        }
    }
    let seconds = job.clock.instant().saturating_since(started).as_secs_f64();
    Ok(whole.figures(connections, seconds))
}

fn check(options: &LoadOptions) -> Result<(), Fault> {
    require_loopback("the server under load", options.to)?;
    let no = |text: &str| Err(Fault::Option(text.to_owned()));
    if options.connections == 0 || options.connections > CONNECTIONS_MAX {
        return no("the number of connections is between 1 and 10000");
    }
    if options.senders.is_empty() || options.domains.is_empty() || options.recipients == 0 {
        return no("a load needs a sender, a recipient domain and at least one recipient");
    }
    if options.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        return no("the rate is a positive number");
    }
    if options.senders.iter().any(|sender| Mailbox::parse(&sender.from).is_err()) {
        return no("a sender is a mailbox such as news@client.example");
    }
    if options.domains.iter().any(|domain| mail::Domain::parse(domain).is_err()) {
        return no("a recipient domain is not a domain");
    }
    let clean = |text: &str| !text.is_empty() && text.chars().all(|c| !c.is_control());
    if options.headers.iter().any(|(name, value)| !clean(name) || !clean(value) || name.contains(':')) {
        return no("a header is a name and a value on one line");
    }
    Ok(())
}

impl Job {
    async fn work(&self, number: usize) -> Tally {
        let mut tally = Tally::new();
        let sender = &self.options.senders[number % self.options.senders.len()];
        let (mut dialog, mut failures) = (None, 0);
        while let Some(index) = self.take_turn().await {
            loop {
                let attempt = async {
                    let dialog = match &mut dialog {
                        Some(dialog) => dialog,
                        None => dialog.insert(self.connect(sender).await?),
                    };
                    self.send(dialog, sender, index, &mut tally).await
                };
                match attempt.await {
                    Ok(usable) => {
                        failures = 0;
                        dialog = dialog.take_if(|_| usable);
                        break;
                    }
                    Err(fault) => {
                        (dialog, failures) = (None, failures + 1);
                        tally.fail(describe(&fault));
                        if failures >= FAILURES_MAX || self.shutdown.is_cancelled() {
                            return tally;
                        }
                        tokio::time::sleep(RECONNECT_DELAY).await;
                    }
                }
            }
        }
        if let Some(dialog) = dialog {
            dialog.quit().await;
        }
        tally
    }

    /// The number of the next message, once it is due.
    async fn take_turn(&self) -> Option<u64> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        if index >= self.options.count || self.shutdown.is_cancelled() {
            return None;
        }
        if let Some(rate) = self.options.rate {
            let due = self.started + Duration::from_secs_f64(index as f64 / rate);
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                () = tokio::time::sleep(due.saturating_since(self.clock.instant())) => {}
            }
        }
        Some(index)
    }

    async fn connect(&self, sender: &Sender) -> Result<Dialog, Fault> {
        let mut dialog = Dialog::open(self.options.to, "load.lab.test", self.options.tls).await?;
        if let Some((username, password)) = &sender.login {
            dialog.authenticate(username, password).await?;
        }
        Ok(dialog)
    }

    /// Whether the session can go on.
    async fn send(
        &self,
        dialog: &mut Dialog,
        sender: &Sender,
        index: u64,
        tally: &mut Tally,
    ) -> Result<bool, Fault> {
        let options = &self.options;
        let recipients: Vec<String> = (0..options.recipients as u64)
            .map(|i| {
                let number = index * options.recipients as u64 + i;
                let domain = &options.domains[(number % options.domains.len() as u64) as usize];
                format!("user{}@{domain}", number % RECIPIENTS)
            })
            .collect();
        let raw = compose(options, sender, &recipients, index, self.clock.timestamp());
        let started = self.clock.instant();
        let answer =
            dialog.send(&Letter { reverse_path: &sender.from, recipients: &recipients, raw: &raw }).await?;
        let usable = answer.code != 421;
        let took = self.clock.instant().saturating_since(started);
        tally.record(answer, took, raw.len());
        Ok(usable)
    }
}

fn describe(fault: &Fault) -> String {
    let mut text = fault.to_string();
    let mut source = std::error::Error::source(fault);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A message of the size that was asked for, with lines of 76 columns.
fn compose(
    options: &LoadOptions,
    sender: &Sender,
    recipients: &[String],
    index: u64,
    now: mail::Timestamp,
) -> Vec<u8> {
    const LINE: &[u8] = b"The quick brown fox jumps over the lazy dog, and the dog does not mind it.\r\n";
    let domain = sender.from.rsplit_once('@').map_or("lab.test", |(_, domain)| domain);
    let mut raw = format!(
        "From: <{from}>\r\nTo: <{to}>\r\nSubject: Load test {index}\r\nDate: {date}\r\nMessage-ID: <{index}.{at}@{domain}>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n",
        from = sender.from,
        to = recipients.join(">, <"),
        date = now.to_rfc5322(),
        at = now.as_millis(),
    )
    .into_bytes();
    for (name, value) in &options.headers {
        raw.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    raw.extend_from_slice(b"\r\n");
    while raw.len() + LINE.len() + 2 <= options.size {
        raw.extend_from_slice(LINE);
    }
    let rest = options.size.saturating_sub(raw.len() + 2);
    raw.extend(std::iter::repeat_n(b'x', rest));
    raw.extend_from_slice(b"\r\n");
    raw
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn options() -> LoadOptions {
        LoadOptions {
            senders: vec![Sender { login: None, from: "news@client.example".into() }],
            ..LoadOptions::default()
        }
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        assert!(check(&options()).is_ok());
        let cases: [fn(&mut LoadOptions); 8] = [
            |o| o.to = "192.0.2.1:25".parse().unwrap(),
            |o| o.connections = 0,
            |o| o.senders.clear(),
            |o| o.domains = vec!["not a domain".into()],
            |o| o.recipients = 0,
            |o| o.rate = Some(0.0),
            |o| o.rate = Some(f64::NAN),
            |o| o.headers = vec![("X-A".into(), "1\r\nBcc: b@c.example".into())],
        ];
        for (number, spoil) in cases.into_iter().enumerate() {
            let mut spoiled = options();
            spoil(&mut spoiled);
            assert!(check(&spoiled).is_err(), "case {number}");
        }
    }

    #[test]
    fn a_message_has_the_size_that_was_asked_for() {
        for size in 1_000..1_100 {
            let options = LoadOptions { size, ..options() };
            let to = ["a@b.example".to_owned()];
            let raw = compose(&options, &options.senders[0], &to, 7, mail::Timestamp::from_millis(0));
            assert_eq!(raw.len(), size);
            assert!(crate::wire::has_clean_line_ends(&raw));
            assert!(raw.split(|b| *b == b'\n').all(|line| line.len() < 998));
        }
    }
}
