//! A server machine in a conversation.

use super::{Output, Pieces, Step, Transcript, number, show};
use mail::{BodyKind, Domain, DsnReturn, EnhancedStatus, Instant, Refusal, RefusalKind, Reply};
use smtp::{Extension, Extensions, Limits, server};
use std::fmt::Write as _;
use std::time::Duration;

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
            // For `Asked`.
            "asks_room" => {}
            "refused" => refusal = Some(refusal_named("too-many-connections")),
            other => panic!("@ {other} is not known"),
        }
    }
    let mut config =
        server::ServerConfig::new(Domain::parse("mx.posthouse.test").unwrap(), role, tls, limits);
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
        "full" => (RefusalKind::StorageFull, "too much mail of your account is arriving at once"),
        _ => panic!("no refusal is named {name}"),
    };
    let refusal = Refusal::new(kind, text);
    if matches!(name, "quota" | "rate") { refusal.with_retry_after(Duration::from_secs(60)) } else { refusal }
}

/// The question that is open; room is there without asking unless the transcript is about it.
struct Asked {
    open: Option<String>,
    of_room: bool,
}

pub fn run(transcript: &Transcript, pieces: Pieces) -> Result<(), String> {
    let mut session = server_session(&transcript.setup);
    let mut now = Instant::ZERO;
    let mut output = Output::new();
    let mut asked = Asked { open: None, of_room: transcript.setup.iter().any(|line| line == "asks_room") };
    collect(&mut session, &mut output, &mut asked, now);
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
        collect(&mut session, &mut output, &mut asked, now);
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
                collect(session, output, asked, *now);
            }
        }
        Step::Answer(text) => match text.split_once(' ') {
            Some(("leave", name)) => session.refuse_connection(refusal_named(name)),
            _ => session.handle_answer(answer(text, asked.open.take()), *now),
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
        ("ok", "room") => server::Answer::RoomOk,
        ("ok", "accept") => server::Answer::Accepted {
            reply: Reply::new(250, Some(EnhancedStatus::new(2, 0, 0)), "queued as msg_1"),
        },
        (name, _) => server::Answer::Refused(refusal_named(name)),
    }
}

fn collect(session: &mut server::Session, output: &mut Output, asked: &mut Asked, now: Instant) {
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
            server::Action::CheckReversePath { path, .. } => format!("reverse-path {path}"),
            server::Action::CheckRecipient(path) => format!("recipient {path}"),
            server::Action::CheckRoom { .. } if !asked.of_room => {
                session.handle_answer(server::Answer::RoomOk, now);
                continue;
            }
            server::Action::CheckRoom { octets } => format!("room {octets}"),
            server::Action::Accept(transaction) => format!("accept {}", describe(&transaction)),
            server::Action::Close => "close".to_owned(),
        };
        asked.open = doing.split(' ').next().map(str::to_owned);
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
