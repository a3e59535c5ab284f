//! Runs every conversation of `tests/transcripts`: what is said, asked and answered, line by line.
//!
//! The first lines say what it shows (`#`) and how the session is set up (`@`). Then, in the order of events:
//!
//! ```text
//! C: MAIL FROM:<a@client.example>   the client says it (with CRLF)      for a server: input; for a client: output
//! S: 250 2.1.0 ok                   the server says it                  for a server: output; for a client: input
//! C~ half a li                      without CRLF; \r \n \0 \\ \xHH are understood
//! C* 1000 abc                       the text a thousand times
//! > reverse-path a@client.example   the machine asks or does something
//! A: ok                             the shell's answer
//! T: 300                            seconds pass
//! EOF                               the other side closes
//! ```
//!
//! `@ greeted` and `@ signed_in` begin a server conversation behind EHLO and behind AUTH over implicit TLS.
//! A server conversation is run a second time with all input cut into single octets: the output must be the same.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use mail::{BodyKind, Domain, DsnReturn, Envelope, ForwardPath, Instant, Notify, Recipient, Refusal, RefusalKind, Reply};
use mail::{EnhancedStatus, ReversePath};
use smtp::{Extension, Extensions, Limits, client, server};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// One line of a transcript.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Client(Vec<u8>),
    Server(Vec<u8>),
    Does(String),
    Answer(String),
    Deliver(String),
    Passes(u64),
    Eof,
}

struct Transcript {
    setup: Vec<String>,
    steps: Vec<Step>,
}

#[derive(Clone, Copy, PartialEq)]
enum Pieces {
    Lines,
    Octets,
}

#[test]
fn every_server_transcript_holds() {
    run_all("server", |transcript| {
        run_server(transcript, Pieces::Lines)?;
        run_server(transcript, Pieces::Octets).map_err(|error| format!("cut into octets: {error}"))
    });
}

#[test]
fn every_client_transcript_holds() {
    run_all("client", run_client);
}

fn run_all(folder: &str, run: impl Fn(&Transcript) -> Result<(), String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(folder);
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 10, "transcripts are missing in {}", folder.display());
    let mut failures = String::new();
    for path in paths {
        let transcript = parse(&std::fs::read_to_string(&path).unwrap());
        if let Err(error) = run(&transcript) {
            writeln!(failures, "{}: {error}\n", path.file_name().unwrap().to_string_lossy()).unwrap();
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

fn parse(text: &str) -> Transcript {
    let mut transcript = Transcript { setup: Vec::new(), steps: Vec::new() };
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        let said = |ending: &[u8]| [&unescape(rest)[..], ending].concat();
        transcript.steps.push(match mark {
            "@" => {
                transcript.setup.push(rest.to_owned());
                continue;
            }
            "C:" => Step::Client(said(b"\r\n")),
            "C~" => Step::Client(said(b"")),
            "C*" => Step::Client(repeated(rest)),
            "S:" => Step::Server(said(b"\r\n")),
            "S~" => Step::Server(said(b"")),
            "S*" => Step::Server(repeated(rest)),
            ">" => Step::Does(rest.to_owned()),
            "A:" => Step::Answer(rest.to_owned()),
            "D:" => Step::Deliver(rest.to_owned()),
            "T:" => Step::Passes(rest.parse().unwrap()),
            "EOF" => Step::Eof,
            _ => panic!("not a line of a transcript: {line}"),
        });
    }
    transcript
}

fn repeated(rest: &str) -> Vec<u8> {
    let (times, text) = rest.split_once(' ').unwrap();
    unescape(text).repeat(times.parse().unwrap())
}

fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        octets.push(match (b, b == b'\\') {
            (_, false) => b,
            _ => match rest.next().unwrap() {
                b'r' => b'\r',
                b'n' => b'\n',
                b'0' => 0,
                b'\\' => b'\\',
                b'x' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => panic!("\\{} is not known", other as char),
            },
        });
    }
    octets
}

fn show(octets: &[u8]) -> String {
    octets.escape_ascii().to_string()
}

/// Compares what a machine said with the lines the transcript has for it.
struct Output {
    said: Vec<u8>,
    doings: Vec<String>,
}

impl Output {
    fn new() -> Output {
        Output { said: Vec::new(), doings: Vec::new() }
    }

    fn take_said(&mut self, expected: &[u8]) -> Result<(), String> {
        if !self.said.starts_with(expected) {
            return Err(format!("expected  {}\n          but it was {}", show(expected), show(&self.said)));
        }
        self.said.drain(..expected.len());
        Ok(())
    }

    fn take_doing(&mut self, expected: &str) -> Result<(), String> {
        if self.doings.first().is_none_or(|doing| doing != expected) {
            return Err(format!("expected  > {expected}\n          but it was {:?}, {}", self.doings, show(&self.said)));
        }
        self.doings.remove(0);
        Ok(())
    }

    fn must_be_empty(&self, before: &Step) -> Result<(), String> {
        if self.said.is_empty() && self.doings.is_empty() {
            return Ok(());
        }
        Err(format!("before {before:?} it also said {} and did {:?}", show(&self.said), self.doings))
    }
}

fn number(setup: &str) -> usize {
    setup.split_once(' ').unwrap().1.parse().unwrap()
}

fn server_session(setup: &[String]) -> server::Session {
    let mut limits = Limits::default();
    let (mut role, mut tls) = (server::Role::Submission, server::TlsMode::Offered);
    let mut withheld = Extensions::NONE;
    let mut refusal = None;
    let mut first_lines: &[&str] = &[];
    for line in setup {
        match line.split(' ').next().unwrap() {
            "inbound" => role = server::Role::Inbound,
            "implicit" => tls = server::TlsMode::Implicit,
            "clear" => tls = server::TlsMode::None,
            "message_octets_max" => limits.message_octets_max = number(line),
            "header_octets_max" => limits.header_octets_max = number(line),
            "recipients_max" => limits.recipients_max = number(line),
            "transactions_max" => limits.transactions_max = number(line) as u32,
            "errors_max" => limits.errors_max = number(line) as u32,
            "idle_commands_max" => limits.idle_commands_max = number(line) as u32,
            "without_chunking" => withheld = withheld.with(Extension::Chunking),
            "greeted" => first_lines = &["EHLO client.example"],
            "signed_in" => {
                tls = server::TlsMode::Implicit;
                first_lines = &["EHLO client.example", "AUTH PLAIN AGFubmEAc2VjcmV0"];
            }
            "refused" => refusal = Some(refusal_named("too-many-connections")),
            other => panic!("@ {other} is not known"),
        }
    }
    let mut config = server::ServerConfig::new(Domain::parse("mx.posthouse.test").unwrap(), role, tls, limits);
    config.withheld = withheld;
    let mut session = server::Session::new(config, Instant::ZERO);
    if let Some(refusal) = refusal {
        session.refuse_connection(refusal);
    }
    for line in first_lines {
        session.handle_bytes(format!("{line}\r\n").as_bytes(), Instant::ZERO);
        while let Some(action) = session.poll_action() {
            if matches!(action, server::Action::CheckCredential { .. }) {
                session.handle_answer(server::Answer::CredentialOk, Instant::ZERO);
            }
        }
    }
    session
}

fn refusal_named(name: &str) -> Refusal {
    let (kind, text) = match name {
        "bad-credential" => (RefusalKind::BadCredential, "wrong user name or password"),
        "locked" => (RefusalKind::CredentialLocked, "too many wrong passwords from your network"),
        "sender" => (RefusalKind::SenderNotAllowed, "other.example is not a verified domain of yours"),
        "from" => (RefusalKind::AmbiguousFrom, "the message needs exactly one From address"),
        "quota" => (RefusalKind::QuotaExhausted, "the limit of 5 messages a day is used up"),
        "rate" => (RefusalKind::RateLimited, "more than 10 messages a second"),
        "paused" => (RefusalKind::TenantPaused, "sending is paused"),
        "closing" => (RefusalKind::TenantClosing, "this account is being closed"),
        "trouble" => (RefusalKind::LocalTrouble, "try again later"),
        "shutdown" => (RefusalKind::ShuttingDown, "shutting down"),
        "too-many-connections" => (RefusalKind::TooManyConnections, "too many connections from your address"),
        "no-such-recipient" => (RefusalKind::NoSuchRecipient, "no such recipient"),
        "loop" => (RefusalKind::MailLoop, "more than 30 hops"),
        _ => panic!("no refusal is named {name}"),
    };
    let refusal = Refusal::new(kind, text);
    if matches!(name, "quota" | "rate") { refusal.with_retry_after(Duration::from_secs(60)) } else { refusal }
}

struct Asked(Option<String>);

fn run_server(transcript: &Transcript, pieces: Pieces) -> Result<(), String> {
    let mut session = server_session(&transcript.setup);
    let mut now = Instant::ZERO;
    let mut output = Output::new();
    let mut asked = Asked(None);
    collect(&mut session, &mut output, &mut asked);
    for step in &transcript.steps {
        match step {
            Step::Server(expected) => output.take_said(expected)?,
            Step::Does(expected) => output.take_doing(expected)?,
            input => {
                // Replies to pipelined commands are looked at behind all of them.
                if !matches!(input, Step::Client(_) | Step::Answer(_)) {
                    output.must_be_empty(input)?;
                }
                feed_server(&mut session, input, &mut now, pieces, &mut asked, &mut output);
            }
        }
        collect(&mut session, &mut output, &mut asked);
    }
    output.must_be_empty(&Step::Eof)
}

fn feed_server(
    session: &mut server::Session,
    step: &Step,
    now: &mut Instant,
    pieces: Pieces,
    asked: &mut Asked,
    output: &mut Output,
) {
    match step {
        Step::Client(octets) if pieces == Pieces::Lines => session.handle_bytes(octets, *now),
        Step::Client(octets) => {
            for octet in octets {
                session.handle_bytes(&[*octet], *now);
                collect(session, output, asked);
            }
        }
        Step::Answer(text) => match text.split_once(' ') {
            Some(("leave", name)) => session.refuse_connection(refusal_named(name)),
            _ => session.handle_answer(answer(text, asked.0.take()), *now),
        },
        Step::Passes(seconds) => {
            *now = *now + Duration::from_secs(*seconds);
            session.handle_timeout(*now);
        }
        Step::Eof => session.handle_eof(),
        Step::Server(_) | Step::Does(_) | Step::Deliver(_) => unreachable!(),
    }
}

fn answer(text: &str, asked: Option<String>) -> server::Answer {
    let asked = asked.expect("nothing was asked");
    match (text, asked.as_str()) {
        ("ok", "starttls") => {
            server::Answer::TlsDone { version: "TLSv1.3".into(), cipher: "TLS_AES_256_GCM_SHA384".into() }
        }
        ("failed", "starttls") => server::Answer::TlsFailed,
        ("ok", "credential") => server::Answer::CredentialOk,
        ("ok", "reverse-path") => server::Answer::ReversePathOk,
        ("ok", "recipient") => server::Answer::RecipientOk,
        ("ok", "accept") => server::Answer::Accepted {
            reply: Reply::new(250, Some(EnhancedStatus::new(2, 0, 0)), "queued as msg_1"),
        },
        (name, _) => server::Answer::Refused(refusal_named(name)),
    }
}

fn collect(session: &mut server::Session, output: &mut Output, asked: &mut Asked) {
    while let Some(action) = session.poll_action() {
        let doing = match action {
            server::Action::Send(octets) => {
                output.said.extend_from_slice(&octets);
                continue;
            }
            server::Action::StartTls => "starttls".to_owned(),
            server::Action::CheckCredential { username, password } => {
                format!("credential {username} {}", password.reveal())
            }
            server::Action::CheckReversePath(path) => format!("reverse-path {path}"),
            server::Action::CheckRecipient(path) => format!("recipient {path}"),
            server::Action::Accept(transaction) => format!("accept {}", describe(&transaction)),
            server::Action::Close => "close".to_owned(),
        };
        asked.0 = doing.split(' ').next().map(str::to_owned);
        output.doings.push(doing);
    }
}

fn describe(transaction: &server::Transaction) -> String {
    let envelope = &transaction.envelope;
    let mut text = format!("{} from {}", transaction.protocol, transaction.client_name);
    if transaction.via_bdat {
        text.push_str(" by BDAT");
    }
    write!(text, ": <{}>", envelope.reverse_path).unwrap();
    for recipient in &envelope.recipients {
        write!(text, " <{}>", recipient.forward_path).unwrap();
        if let Some(notify) = recipient.notify {
            write!(text, " {notify:?}").unwrap();
        }
        if let Some(original) = &recipient.original {
            write!(text, " {original}").unwrap();
        }
    }
    for (said, word) in [
        (envelope.body == BodyKind::EightBitMime, "8BITMIME"),
        (envelope.smtputf8, "SMTPUTF8"),
        (envelope.require_tls, "REQUIRETLS"),
        (envelope.dsn_return == Some(DsnReturn::Headers), "RET=HDRS"),
    ] {
        if said {
            write!(text, " {word}").unwrap();
        }
    }
    if let Some(id) = &envelope.envelope_id {
        write!(text, " ENVID={id}").unwrap();
    }
    write!(text, ": {}", show(&transaction.raw)).unwrap();
    text
}

fn client_session(setup: &[String]) -> client::Session {
    let mut config = client::ClientConfig::new("out1.posthouse.test", client::ClientTls::Opportunistic);
    for line in setup {
        match line.split(' ').next().unwrap() {
            "tls_required" => config.tls = client::ClientTls::Required,
            "tls_never" => config.tls = client::ClientTls::Never,
            "tls_implicit" => config.tls = client::ClientTls::Implicit,
            "login" => {
                config.login = Some(client::Login {
                    username: "anna".into(),
                    password: smtp::Password::new("secret"),
                });
            }
            "reply_lines_max" => config.reply_lines_max = number(line),
            other => panic!("@ {other} is not known"),
        }
    }
    client::Session::new(config, Instant::ZERO)
}

fn run_client(transcript: &Transcript) -> Result<(), String> {
    let mut session = client_session(&transcript.setup);
    let mut now = Instant::ZERO;
    let mut output = Output::new();
    for step in &transcript.steps {
        collect_client(&mut session, &mut output);
        match step {
            Step::Client(expected) => output.take_said(expected)?,
            Step::Does(expected) => output.take_doing(expected)?,
            Step::Server(octets) => session.handle_bytes(octets, now),
            Step::Answer(text) if text == "ok" => session.handle_answer(client::Answer::TlsDone, now),
            Step::Answer(text) if text == "quit" => session.quit(now),
            Step::Answer(_) => session.handle_answer(client::Answer::TlsFailed, now),
            Step::Deliver(text) => {
                output.must_be_empty(step)?;
                session.deliver(transaction(text), now);
            }
            Step::Passes(seconds) => {
                output.must_be_empty(step)?;
                now = now + Duration::from_secs(*seconds);
                session.handle_timeout(now);
            }
            Step::Eof => {
                output.must_be_empty(step)?;
                session.handle_eof();
            }
        }
    }
    collect_client(&mut session, &mut output);
    output.must_be_empty(&Step::Eof)
}

fn collect_client(session: &mut client::Session, output: &mut Output) {
    while let Some(action) = session.poll_action() {
        output.doings.push(match action {
            client::Action::Send(octets) => {
                output.said.extend_from_slice(&octets);
                continue;
            }
            client::Action::StartTls => "starttls".to_owned(),
            client::Action::Ready => "ready".to_owned(),
            client::Action::Close => "close".to_owned(),
            client::Action::OpeningFailed(failure) => format!("failed {}", failed(&failure)),
            client::Action::Report(report) => {
                let results: Vec<_> = report
                    .results
                    .iter()
                    .map(|result| match result {
                        Ok(reply) => format!("ok {}", reply.to_line()),
                        Err(failure) => failed(failure),
                    })
                    .collect();
                let usable = if report.session_usable { "usable" } else { "lost" };
                format!("report {usable}: {}", results.join(" | "))
            }
        });
    }
}

fn failed(failure: &client::Failure) -> String {
    match failure {
        client::Failure::Refused { stage, reply } => format!("{} {}", stage.name(), reply.to_line()),
        client::Failure::Broken(broken) => {
            let maybe = if broken.maybe_delivered { ", maybe delivered" } else { "" };
            format!("{} {:?}{maybe}", broken.stage.name(), broken.kind)
        }
        client::Failure::Missing(missing) => format!("missing {missing:?}"),
    }
}

/// `reverse forward[,forward] [parameter…] : text`
fn transaction(line: &str) -> client::Transaction {
    let (head, text) = line.split_once(" : ").unwrap();
    let mut words = head.split(' ');
    let reverse_path = ReversePath::parse(words.next().unwrap().trim_matches(['<', '>'])).unwrap();
    let recipients = words.next().unwrap().split(',');
    let recipients = recipients.map(|path| Recipient::new(ForwardPath::parse(path).unwrap())).collect();
    let mut envelope = Envelope::new(reverse_path, recipients);
    for word in words {
        match word {
            "8bit" => envelope.body = BodyKind::EightBitMime,
            "smtputf8" => envelope.smtputf8 = true,
            "requiretls" => envelope.require_tls = true,
            "dsn" => {
                envelope.dsn_return = Some(DsnReturn::Headers);
                envelope.envelope_id = Some("id1".into());
                let first = &mut envelope.recipients[0];
                first.notify = Some(Notify::When { success: false, failure: true, delay: true });
                first.original = Some("rfc822;b@example.org".into());
            }
            other => panic!("{other} is not known"),
        }
    }
    client::Transaction { envelope, raw: unescape(text).into() }
}
