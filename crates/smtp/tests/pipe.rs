//! The client machine and the server machine talk to each other, octet for octet, without a socket between them.
//!
//! What one sends the other reads, cut into pieces of any size; questions are answered at once. What comes out must not
//! depend on the pieces, and every message must arrive as it was given.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use mail::ReversePath;
use mail::{
    BodyKind, Domain, EnhancedStatus, Envelope, ForwardPath, Instant, Recipient, Refusal, RefusalKind, Reply,
};
use proptest::prelude::*;
use smtp::{Extension, Extensions, Limits, client, server};
use std::collections::VecDeque;

struct Pipe {
    client: client::Session,
    server: server::Session,
    to_client: VecDeque<u8>,
    to_server: VecDeque<u8>,
    /// Pieces are so long.
    piece: usize,
    arrived: Vec<server::Transaction>,
    reports: Vec<client::DeliveryReport>,
    failures: Vec<client::Failure>,
    ready: u32,
    closed: u32,
    questions: u32,
}

fn login() -> client::Login {
    client::Login { username: "anna".into(), password: smtp::Password::new("secret") }
}

fn pipe(withheld: Extensions, piece: usize) -> Pipe {
    let hostname = Domain::parse("mx.posthouse.test").unwrap();
    let limits = Limits { message_octets_max: 4 * 1024 * 1024, ..Limits::default() };
    let role = server::Role::Submission;
    let mut config = server::ServerConfig::new(hostname, role, server::TlsMode::Offered, limits);
    config.withheld = withheld;
    let mut client_config = client::ClientConfig::new("client.example", client::ClientTls::Required);
    client_config.login = Some(login());
    Pipe {
        client: client::Session::new(client_config, Instant::ZERO),
        server: server::Session::new(config, Instant::ZERO),
        to_client: VecDeque::new(),
        to_server: VecDeque::new(),
        piece,
        arrived: Vec::new(),
        reports: Vec::new(),
        failures: Vec::new(),
        ready: 0,
        closed: 0,
        questions: 0,
    }
}

impl Pipe {
    fn run(&mut self) {
        let mut shaking_hands = (false, false);
        loop {
            let mut idle = true;
            while let Some(action) = self.server.poll_action() {
                idle = false;
                shaking_hands.0 |= matches!(action, server::Action::StartTls);
                self.serve(action);
            }
            while let Some(action) = self.client.poll_action() {
                idle = false;
                match action {
                    client::Action::Send(octets) => self.to_server.extend(octets.iter()),
                    client::Action::StartTls => shaking_hands.1 = true,
                    client::Action::Ready => self.ready += 1,
                    client::Action::OpeningFailed(failure) => self.failures.push(failure),
                    client::Action::Report(report) => self.reports.push(report),
                    client::Action::Close => self.closed += 1,
                }
            }
            if shaking_hands == (true, true) {
                shaking_hands = (false, false);
                let done = server::Answer::TlsDone { version: "TLSv1.3".into(), cipher: "AES".into() };
                self.server.handle_answer(done, Instant::ZERO);
                self.client.handle_answer(client::Answer::TlsDone, Instant::ZERO);
                continue;
            }
            let piece: Vec<u8> = self.to_server.drain(..self.piece.min(self.to_server.len())).collect();
            if !piece.is_empty() {
                idle = false;
                self.server.handle_bytes(&piece, Instant::ZERO);
            }
            let piece: Vec<u8> = self.to_client.drain(..self.piece.min(self.to_client.len())).collect();
            if !piece.is_empty() {
                idle = false;
                self.client.handle_bytes(&piece, Instant::ZERO);
            }
            if idle {
                return;
            }
        }
    }

    fn serve(&mut self, action: server::Action) {
        let answer = match action {
            server::Action::Send(octets) => return self.to_client.extend(octets.iter()),
            server::Action::StartTls => return,
            server::Action::Close => {
                self.client.handle_eof();
                return;
            }
            server::Action::CheckCredential { username, password } => {
                assert!(username == "anna" && password.reveal() == "secret");
                server::Answer::CredentialOk
            }
            server::Action::CheckReversePath { .. } => server::Answer::ReversePathOk,
            server::Action::CheckRecipient(path) => {
                if path.mailbox().local_part().as_str() == "unknown" {
                    server::Answer::Refused(Refusal::new(RefusalKind::NoSuchRecipient, "no such recipient"))
                } else {
                    server::Answer::RecipientOk
                }
            }
            server::Action::CheckRoom { .. } => server::Answer::RoomOk,
            server::Action::Accept(transaction) => {
                self.arrived.push(transaction);
                let status = EnhancedStatus::new(2, 0, 0);
                server::Answer::Accepted { reply: Reply::new(250, Some(status), "queued as msg_1") }
            }
        };
        self.questions += 1;
        self.server.handle_answer(answer, Instant::ZERO);
    }

    fn deliver(&mut self, recipients: &[&str], raw: impl Into<Bytes>) -> client::DeliveryReport {
        let recipients = recipients.iter().map(|text| Recipient::new(ForwardPath::parse(text).unwrap()));
        let reverse_path = ReversePath::parse("a@client.example").unwrap();
        let envelope = Envelope::new(reverse_path, recipients.collect());
        self.client.deliver(client::Transaction { envelope, raw: raw.into() }, Instant::ZERO);
        self.run();
        assert_eq!(self.reports.len(), 1, "exactly one report");
        self.reports.pop().unwrap()
    }
}

const VARIANTS: [Extensions; 3] = [Extensions::NONE, WITHOUT_CHUNKING, PLAIN];
const WITHOUT_CHUNKING: Extensions = Extensions::NONE.with(Extension::Chunking);
const PLAIN: Extensions = WITHOUT_CHUNKING.with(Extension::Pipelining).with(Extension::EightBitMime);

#[test]
fn a_message_arrives_as_it_was_given_whatever_the_server_offers() {
    let raw = "Subject: x\r\n\r\n.\r\n..\r\nbody.\r\n\r\n.end\r\n";
    for withheld in VARIANTS {
        for piece in [1, 2, 7, 100_000] {
            let mut pipe = pipe(withheld, piece);
            pipe.run();
            assert_eq!((pipe.ready, pipe.failures.len()), (1, 0));
            for _ in 0..3 {
                let report = pipe.deliver(&["b@example.org", "unknown@example.org"], raw);
                assert!(report.session_usable);
                assert_eq!(report.results[0].as_ref().unwrap().to_line(), "250 2.0.0 queued as msg_1");
                assert!(matches!(
                    &report.results[1],
                    Err(client::Failure::Refused { stage: client::Stage::Rcpt, .. })
                ));
                let transaction = pipe.arrived.pop().unwrap();
                assert_eq!(transaction.raw, raw);
                assert_eq!(transaction.envelope.recipients.len(), 1);
                assert_eq!(transaction.protocol, "ESMTPSA");
                assert_eq!(transaction.via_bdat, withheld == Extensions::NONE);
            }
            // Nobody takes it: the session must stay in step.
            let report = pipe.deliver(&["unknown@example.org"], raw);
            assert!(report.session_usable && report.results[0].is_err());
            assert!(pipe.deliver(&["b@example.org"], raw).results[0].is_ok());
            pipe.client.quit(Instant::ZERO);
            pipe.run();
            assert_eq!(pipe.closed, 1);
        }
    }
}

#[test]
fn a_long_message_goes_in_blocks_and_arrives_whole() {
    let raw = Bytes::from(format!("A: b\r\n\r\n{}", "0123456789.\r\n.\r\n".repeat(100_000)));
    for withheld in VARIANTS {
        let mut pipe = pipe(withheld, 10_007);
        pipe.run();
        assert!(pipe.deliver(&["b@example.org"], raw.clone()).results[0].is_ok());
        assert_eq!(pipe.arrived.pop().unwrap().raw, raw);
    }
}

#[test]
fn a_long_message_that_is_not_all_written_was_certainly_not_taken() {
    let raw = Bytes::from("0123456789abcd\r\n".repeat(60_000));
    for withheld in VARIANTS {
        let mut pipe = pipe(withheld, 100_000);
        pipe.run();
        let envelope = Envelope::new(
            ReversePath::Null,
            vec![Recipient::new(ForwardPath::parse("b@example.org").unwrap())],
        );
        pipe.client.deliver(client::Transaction { envelope, raw: raw.clone() }, Instant::ZERO);
        // Replies are let through, but of the message only what was written before the first block.
        let mut written = 0;
        while written < 600 {
            while let Some(client::Action::Send(octets)) = pipe.client.poll_action() {
                written += octets.len();
                pipe.server.handle_bytes(&octets, Instant::ZERO);
                if written > 600 {
                    break;
                }
            }
            while let Some(action) = pipe.server.poll_action() {
                pipe.serve(action);
            }
            let octets: Vec<u8> = pipe.to_client.drain(..).collect();
            pipe.client.handle_bytes(&octets, Instant::ZERO);
        }
        pipe.client.handle_eof();
        let mut reports = std::iter::from_fn(|| pipe.client.poll_action()).filter_map(|action| {
            if let client::Action::Report(report) = action { Some(report) } else { None }
        });
        let Err(client::Failure::Broken(broken)) = &reports.next().unwrap().results[0] else {
            panic!("delivered")
        };
        assert_eq!((broken.stage, broken.maybe_delivered), (client::Stage::Body, false));
        assert!(pipe.arrived.is_empty());
    }
}

#[test]
fn many_recipients_go_in_several_groups() {
    let mut pipe = pipe(Extensions::NONE, 100_000);
    pipe.run();
    let recipients: Vec<String> = (0..450).map(|n| format!("r{n}@example.org")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let report = pipe.deliver(&recipients, "x\r\n");
    assert_eq!(report.results.iter().filter(|result| result.is_ok()).count(), 450);
    assert_eq!(pipe.arrived[0].envelope.recipients.len(), 450);
}

#[test]
fn eight_bit_text_is_declared_for_the_next_hop() {
    let mut pipe = pipe(Extensions::NONE, 100);
    pipe.run();
    assert!(pipe.deliver(&["b@example.org"], "Subject: x\r\n\r\nü\r\n").results[0].is_ok());
    assert_eq!(pipe.arrived[0].envelope.body, BodyKind::EightBitMime);
}

/// Everything a server says and asks for some input in pieces, after EHLO and AUTH over implicit TLS.
fn converse(pieces: &[&[u8]]) -> (String, Vec<String>) {
    let hostname = Domain::parse("mx.posthouse.test").unwrap();
    let limits = Limits { message_octets_max: 300, recipients_max: 3, ..Limits::default() };
    let (role, tls) = (server::Role::Submission, server::TlsMode::Implicit);
    let mut session =
        server::Session::new(server::ServerConfig::new(hostname, role, tls, limits), Instant::ZERO);
    let (mut said, mut done) = (Vec::new(), Vec::new());
    let hello = &b"EHLO c.example\r\nAUTH PLAIN AGFubmEAc2VjcmV0\r\n"[..];
    for piece in std::iter::once(&hello).chain(pieces) {
        session.handle_bytes(piece, Instant::ZERO);
        while let Some(action) = session.poll_action() {
            let (name, answer) = match action {
                server::Action::Send(octets) => {
                    said.extend_from_slice(&octets);
                    continue;
                }
                server::Action::Close => {
                    done.push("close".to_owned());
                    continue;
                }
                server::Action::StartTls => ("starttls".to_owned(), server::Answer::TlsFailed),
                server::Action::CheckCredential { username, .. } => (username, server::Answer::CredentialOk),
                server::Action::CheckReversePath { path, .. } => {
                    (path.to_string(), server::Answer::ReversePathOk)
                }
                server::Action::CheckRecipient(path) => (path.to_string(), server::Answer::RecipientOk),
                server::Action::CheckRoom { .. } => ("room".to_owned(), server::Answer::RoomOk),
                server::Action::Accept(transaction) => {
                    // What the machine promises of every message, whatever the client did.
                    let raw = &transaction.raw;
                    assert!(smtp::data::check_lines(raw, Some(998)).is_ok() && raw.len() <= 300);
                    assert!(raw.is_empty() || raw.ends_with(b"\r\n"));
                    let reply = Reply::new(250, None, "taken");
                    (format!("{:?}", transaction.raw), server::Answer::Accepted { reply })
                }
            };
            done.push(name);
            session.handle_answer(answer, Instant::ZERO);
        }
    }
    (said.escape_ascii().to_string(), done)
}

/// Commands, halves of commands, messages and rubbish: what clients and attackers send, in any order.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known: [&[u8]; 36] = [
        b"MAIL FROM:<a@client.example>\r\n",
        b"RCPT TO:<b@example.org>\r\n",
        b"DATA\r\n",
        b"text\r\n",
        b"..dots\r\n",
        b".\r\n",
        b"\r\n.\r\n",
        b"\n.\n",
        b"\r.\r",
        b"\r\r\n",
        b"BDAT 4\r\n",
        b"BDAT 7 LAST\r\n",
        b"BDAT 0 LAST\r\n",
        b"BDAT 301\r\n",
        b"BDAT 9999999\r\n",
        b"BDAT -1\r\n",
        b"abcd",
        b"ab\r\ncd\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"QUIT\r\n",
        b"STARTTLS\r\n",
        b"AUTH LOGIN\r\n",
        b"*\r\n",
        b"EHLO c.example\r\n",
        b"HELO c.example\r\n",
        b"VRFY\r\n",
        b"MAIL FROM:<> SIZE=10 BODY=8BITMIME\r\n",
        b"RCPT TO:<c@example.org> NOTIFY=NEVER\r\n",
        b"MAIL ",
        b"\0",
        b"\xff",
        b"__proto__: x\r\n",
        b"\r",
        b"\n",
        b" ",
    ];
    prop_oneof![
        30 => prop::sample::select(known.map(<[u8]>::to_vec).to_vec()),
        // The order that leads somewhere, so that messages are met often.
        8 => Just(b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nSubject: x\r\n\r\n".to_vec()),
        4 => Just(b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@example.org>\r\nBDAT 5 LAST\r\n".to_vec()),
        1 => (1_usize..3000).prop_map(|times| b"x".repeat(times)),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_input_panics_and_no_cut_changes_the_output(
        fragments in prop::collection::vec(fragment(), 1..25),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let whole = fragments.concat();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
        places.extend([0, whole.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect();
        let octets: Vec<&[u8]> = whole.chunks(1).collect();
        let expected = converse(&[&whole]);
        prop_assert_eq!(&converse(&pieces), &expected);
        prop_assert_eq!(&converse(&octets), &expected);
    }

    #[test]
    fn no_site_makes_the_client_panic(octets in prop::collection::vec(
        prop_oneof![
            Just(b"250 ok\r\n".to_vec()), Just(b"220 hi\r\n".to_vec()), Just(b"250-PIPELINING\r\n".to_vec()),
            Just(b"354 go\r\n".to_vec()), Just(b"421 bye\r\n".to_vec()), Just(b"550 no\r\n".to_vec()),
            Just(b"250-x\r\n250-CHUNKING\r\n250 PIPELINING\r\n".to_vec()), prop::collection::vec(any::<u8>(), 0..20),
        ], 0..30)
    ) {
        let config = client::ClientConfig::new("out1.posthouse.test", client::ClientTls::Opportunistic);
        let mut session = client::Session::new(config, Instant::ZERO);
        let (mut delivered, mut reports) = (0, 0);
        for piece in octets {
            session.handle_bytes(&piece, Instant::ZERO);
            while let Some(action) = session.poll_action() {
                if let client::Action::Report(report) = action {
                    prop_assert_eq!(report.results.len(), 1);
                    reports += 1;
                }
            }
            if session.is_ready() {
                let recipient = Recipient::new(ForwardPath::parse("b@example.org").unwrap());
                let envelope = Envelope::new(ReversePath::Null, vec![recipient]);
                session.deliver(client::Transaction { envelope, raw: Bytes::from_static(b"x\r\n") }, Instant::ZERO);
                delivered += 1;
            }
        }
        session.handle_eof();
        while let Some(action) = session.poll_action() {
            reports += u32::from(matches!(action, client::Action::Report(_)));
        }
        prop_assert_eq!(delivered, reports, "every delivery is reported once");
    }
}
