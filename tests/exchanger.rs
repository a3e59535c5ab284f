//! A mail exchanger in the test's own process: it can do something between the final dot and its answer.
//!
//! Plain SMTP on a loopback address of its own, at the port that the lab's providers have; the lab's DNS names it.

use crate::house::web;
use crate::lab::Lab;
use serde_json::json;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// One message as it came, with its recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Of RCPT TO, without angle brackets.
    pub recipients: Vec<String>,
    /// MAIL and RCPT as they were said.
    pub said: Vec<String>,
    /// As received, dots unstuffed.
    pub raw: Vec<u8>,
    /// From behind DATA to the final dot, as it was on the wire.
    pub wire: Vec<u8>,
}

/// Something that is done with a message.
type Hook<'a> = &'a dyn Fn(&Received);

/// Goes on until the test's process ends.
pub struct Exchanger {
    received: Arc<Mutex<Vec<Received>>>,
}

impl Exchanger {
    /// Takes the mail of `domain` at `address`. `before_answer` runs when a message is whole and before its 250 is
    /// written; `after_answer` when the 250 is in the socket.
    pub fn start(
        lab: &Lab,
        domain: &str,
        address: &str,
        before_answer: impl Fn(&Received) + Send + Sync + 'static,
        after_answer: impl Fn(&Received) + Send + Sync + 'static,
    ) -> Exchanger {
        Exchanger::run(
            lab,
            (domain, address),
            &["8BITMIME", "ENHANCEDSTATUSCODES"],
            before_answer,
            after_answer,
        )
    }

    /// One that offers these extensions and no others.
    pub fn offering(
        lab: &Lab,
        domain: &str,
        address: &str,
        extensions: &'static [&'static str],
    ) -> Exchanger {
        Exchanger::run(lab, (domain, address), extensions, |_| {}, |_| {})
    }

    fn run(
        lab: &Lab,
        (domain, address): (&str, &str),
        extensions: &'static [&'static str],
        before_answer: impl Fn(&Received) + Send + Sync + 'static,
        after_answer: impl Fn(&Received) + Send + Sync + 'static,
    ) -> Exchanger {
        let port = lab.ready["smtp_port"].as_u64().unwrap() as u16;
        let listener = TcpListener::bind((address, port)).unwrap();
        let records = json!([
            {"host": domain, "type": "MX", "value": format!("10 mx.{domain}")},
            {"host": format!("mx.{domain}"), "type": "A", "value": address},
        ]);
        let published = web().post(format!("{}/dns/publish", lab.control())).body(records.to_string()).send();
        assert!(published.unwrap().status().is_success());
        let received = Arc::new(Mutex::new(Vec::new()));
        let exchanger = Exchanger { received: Arc::clone(&received) };
        let hooks = Arc::new((before_answer, after_answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (received, hooks) = (Arc::clone(&received), Arc::clone(&hooks));
                // A house that dies leaves its sessions in the middle.
                std::thread::spawn(move || {
                    drop(converse(&stream, extensions, &received, (&hooks.0, &hooks.1)))
                });
            }
        });
        exchanger
    }

    /// So far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

fn converse(
    stream: &TcpStream,
    extensions: &[&str],
    received: &Mutex<Vec<Received>>,
    (before_answer, after_answer): (Hook<'_>, Hook<'_>),
) -> io::Result<()> {
    let (mut lines, mut out) = (BufReader::new(stream), stream);
    let (mut recipients, mut said) = (Vec::new(), Vec::new());
    let mut offer: String = extensions.iter().map(|extension| format!("250-{extension}\r\n")).collect();
    offer.push_str("250 HELP\r\n");
    out.write_all(b"220 exchanger ESMTP\r\n")?;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let upper = line.to_ascii_uppercase();
        let reply: &[u8] = match upper.get(..4).unwrap_or_default() {
            "EHLO" => {
                out.write_all(b"250-exchanger\r\n")?;
                offer.as_bytes()
            }
            "MAIL" => {
                (recipients, said) = (Vec::new(), vec![line.trim_end().to_owned()]);
                b"250 2.1.0 OK\r\n"
            }
            "RCPT" => {
                said.push(line.trim_end().to_owned());
                let path = line.split(['<', '>']).nth(1).unwrap_or_default();
                recipients.push(path.to_owned());
                b"250 2.1.5 OK\r\n"
            }
            "DATA" => {
                out.write_all(b"354 Go ahead\r\n")?;
                let (raw, wire) = data(&mut lines)?;
                let (recipients, said) = (std::mem::take(&mut recipients), std::mem::take(&mut said));
                let message = Received { recipients, said, raw, wire };
                received.lock().unwrap().push(message.clone());
                before_answer(&message);
                out.write_all(b"250 2.0.0 OK\r\n")?;
                after_answer(&message);
                continue;
            }
            "QUIT" => {
                out.write_all(b"221 2.0.0 Bye\r\n")?;
                return Ok(());
            }
            _ => b"250 2.0.0 OK\r\n",
        };
        out.write_all(reply)?;
    }
}

/// The message and its octets on the wire.
fn data(lines: &mut impl BufRead) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut raw, mut wire) = (Vec::new(), Vec::new());
    loop {
        let mut line = Vec::new();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        wire.extend_from_slice(&line);
        if line == b".\r\n" {
            return Ok((raw, wire));
        }
        raw.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
