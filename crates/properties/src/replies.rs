//! Target `replies`: the client machine, with whatever a site answers.
//!
//! Input: an octet of settings, then what the site says, a line at a time. Holds: how a line is cut changes nothing; every
//! delivery has one report with a result for each recipient; what the site said is printable and bounded; and what we
//! write has clean lines whatever we are told.

use crate::setting;
use bytes::Bytes;
use mail::{Envelope, ForwardPath, Instant, Recipient, Reply, ReversePath};
use smtp::client::{Action, Answer, ClientConfig, ClientTls, Failure, Login, Session, Transaction};

const LOGIN: u8 = 4;
const HOLD: u8 = 8;
const DELIVERIES_MAX: usize = 20;
const MESSAGE: &[u8] = b"Subject: x\r\n\r\n.\r\n..\r\nend.\r\n";

#[derive(Debug, PartialEq, Eq, Default)]
struct Seen {
    wire: Vec<u8>,
    events: Vec<String>,
    deliveries: usize,
    reports: usize,
}

/// Panics if a property of replies does not hold for these octets.
pub fn check(octets: &[u8]) {
    let (settings, input) = setting(octets);
    let lines: Vec<&[u8]> = input.split_inclusive(|octet| *octet == b'\n').collect();
    let single: Vec<&[u8]> = input.chunks(1).collect();
    let seen = converse(settings, &lines);
    assert_eq!(seen, converse(settings, &single), "the pieces of a line changed what followed");
    assert_eq!(seen.deliveries, seen.reports, "a delivery has one report");
    assert_eq!(smtp::data::check_lines(&seen.wire, Some(998)), Ok(()), "we wrote a line that is none");
}

fn converse(settings: u8, pieces: &[&[u8]]) -> Seen {
    let tls = match settings & 3 {
        0 => ClientTls::Never,
        1 => ClientTls::Opportunistic,
        2 => ClientTls::Required,
        _ => ClientTls::Implicit,
    };
    let mut config = ClientConfig::new("out1.posthouse.test", tls);
    config.login = (settings & LOGIN != 0)
        .then(|| Login { username: "anna".to_owned(), password: smtp::Password::new("secret") });
    let mut session = Session::new(config, Instant::ZERO);
    let mut seen = Seen::default();
    seen.poll(&mut session);
    for piece in pieces {
        session.handle_bytes(piece, Instant::ZERO);
        seen.poll(&mut session);
        // At the end of a line, however many pieces it had.
        if piece.ends_with(b"\n") && session.is_ready() && seen.deliveries < DELIVERIES_MAX {
            if settings & HOLD != 0 {
                session.hold_end();
            }
            seen.deliveries += 1;
            session.deliver(transaction(), Instant::ZERO);
            seen.poll(&mut session);
            session.resume_end(Instant::ZERO);
            seen.poll(&mut session);
        }
    }
    session.handle_eof();
    seen.poll(&mut session);
    seen
}

fn transaction() -> Transaction {
    let paths = ["b@example.org", "c@example.org"].map(ForwardPath::parse);
    let recipients = paths.into_iter().flatten().map(Recipient::new).collect();
    Transaction { envelope: Envelope::new(ReversePath::Null, recipients), raw: Bytes::from_static(MESSAGE) }
}

impl Seen {
    fn poll(&mut self, session: &mut Session) {
        while let Some(action) = session.poll_action() {
            match action {
                Action::Send(octets) => self.wire.extend_from_slice(&octets),
                Action::StartTls => {
                    self.events.push("tls".to_owned());
                    session.handle_answer(Answer::TlsDone, Instant::ZERO);
                }
                Action::Ready => self.events.push("ready".to_owned()),
                Action::OpeningFailed(failure) => self.fail(&failure),
                Action::Report(report) => {
                    assert_eq!(report.results.len(), 2, "a result for each recipient");
                    self.reports += 1;
                    self.events.push(format!("usable {}", report.session_usable));
                    for result in &report.results {
                        match result {
                            Ok(reply) => self.reply(reply),
                            Err(failure) => self.fail(failure),
                        }
                    }
                }
                Action::Close => self.events.push("close".to_owned()),
            }
        }
    }

    fn fail(&mut self, failure: &Failure) {
        self.events.push(format!("{failure:?}"));
        if let Failure::Refused { reply, .. } = failure {
            self.reply(reply);
        }
    }

    fn reply(&mut self, reply: &Reply) {
        let line = reply.to_line();
        assert!(!line.chars().any(char::is_control), "a reply came out with a control character");
        assert!(line.len() <= 40 * 1024, "a reply came out longer than its limit");
        self.events.push(line);
    }
}
