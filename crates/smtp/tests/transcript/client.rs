//! A client machine in a conversation.

use super::{Output, Step, Transcript, number, unescape};
use mail::{BodyKind, DsnReturn, Envelope, ForwardPath, Instant, Notify, Recipient, ReversePath};
use smtp::client;
use std::time::Duration;

fn client_session(setup: &[String]) -> client::Session {
    let mut config = client::ClientConfig::new("out1.posthouse.test", client::ClientTls::Opportunistic);
    for line in setup {
        match line.split(' ').next().unwrap() {
            "tls_required" => config.tls = client::ClientTls::Required,
            "tls_never" => config.tls = client::ClientTls::Never,
            "tls_implicit" => config.tls = client::ClientTls::Implicit,
            "login" => {
                config.login =
                    Some(client::Login { username: "anna".into(), password: smtp::Password::new("secret") });
            }
            "reply_lines_max" => config.reply_lines_max = number(line),
            other => panic!("@ {other} is not known"),
        }
    }
    client::Session::new(config, Instant::ZERO)
}

pub fn run(transcript: &Transcript) -> Result<(), String> {
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
            Step::Answer(text) if text == "hold" => session.hold_end(),
            Step::Answer(text) if text == "resume" => session.resume_end(now),
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
