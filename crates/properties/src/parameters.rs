//! Target `parameters`: command lines, and the parameters of MAIL and RCPT above all (SIZE, BODY, ENVID, ORCPT, NOTIFY).
//!
//! Input: an octet that chooses the beginning of the line, then the rest of it. Holds: what was understood is within the
//! limits of its RFC and printable; and what our client writes of it, our server understands as the same.

use crate::setting;
use bytes::Bytes;
use mail::{BodyKind, Envelope, ForwardPath, Instant, Recipient, ReversePath};
use smtp::client::{Action, ClientConfig, ClientTls, Session, Transaction};
use smtp::command::Command;
use smtp::parameter::{MailParameters, RcptParameters};

const BEGINNINGS: [&str; 8] = [
    "",
    "MAIL FROM:<a@client.example> ",
    "RCPT TO:<b@example.org> ",
    "MAIL FROM:<a@client.example> ENVID=",
    "RCPT TO:<b@example.org> ORCPT=",
    "MAIL FROM:<",
    "RCPT TO:<",
    "AUTH ",
];
const OFFER: &str = "250-mx\r\n250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n";

/// Panics if a property of commands and their parameters does not hold for these octets.
pub fn check(octets: &[u8]) {
    let (choice, rest) = setting(octets);
    let beginning = BEGINNINGS[usize::from(choice) % BEGINNINGS.len()];
    let line = [beginning.as_bytes(), rest].concat();
    match Command::parse(&line) {
        Ok(Command::Mail { reverse_path, parameters }) => mail(reverse_path, &parameters),
        Ok(Command::Rcpt { parameters, .. }) => rcpt(&parameters),
        Ok(Command::Ehlo(name) | Command::Helo(name)) => {
            assert!(!name.is_empty() && name.is_ascii() && name.len() <= 255, "the name of a client");
        }
        Ok(_) => {}
        Err(error) => {
            let reply = error.to_reply().to_line();
            assert!(
                reply.len() < 200 && reply.bytes().all(|b| (32..127).contains(&b)),
                "a reply repeats a client"
            );
        }
    }
}

fn mail(reverse_path: ReversePath, parameters: &MailParameters) {
    if let Some(id) = &parameters.envelope_id {
        assert!(id.len() <= 100, "an ENVID longer than RFC 3461 §4.4 allows");
        printable(id);
    }
    let mut envelope = Envelope::new(reverse_path, recipients(&RcptParameters::default()));
    envelope.dsn_return = parameters.dsn_return;
    envelope.envelope_id.clone_from(&parameters.envelope_id);
    envelope.body = parameters.body.unwrap_or(BodyKind::SevenBit);
    envelope.smtputf8 = parameters.smtputf8;
    let written = written(envelope.clone());
    let Ok(Command::Mail { reverse_path, parameters: again }) = Command::parse(&written[0]) else {
        panic!("our MAIL is none: {}", written[0].escape_ascii());
    };
    assert_eq!(reverse_path, envelope.reverse_path, "another reverse-path");
    assert_eq!(again.envelope_id, envelope.envelope_id, "another ENVID");
    assert_eq!(again.dsn_return, envelope.dsn_return, "another RET");
}

fn rcpt(parameters: &RcptParameters) {
    if let Some(original) = &parameters.original {
        assert!(original.len() <= 500, "an ORCPT longer than RFC 3461 §4.2 allows");
        printable(original);
    }
    let envelope = Envelope::new(ReversePath::Null, recipients(parameters));
    let written = written(envelope);
    let Ok(Command::Rcpt { parameters: again, .. }) = Command::parse(&written[1]) else {
        panic!("our RCPT is none: {}", written[1].escape_ascii());
    };
    assert_eq!((&again.original, &again.notify), (&parameters.original, &parameters.notify), "another wish");
}

fn recipients(parameters: &RcptParameters) -> Vec<Recipient> {
    let path = ForwardPath::parse("b@example.org").map(Recipient::new);
    let mut recipients: Vec<Recipient> = path.into_iter().collect();
    for recipient in &mut recipients {
        recipient.notify = parameters.notify;
        recipient.original.clone_from(&parameters.original);
    }
    recipients
}

fn printable(text: &str) {
    assert!(text.bytes().all(|b| b.is_ascii_graphic()), "a parameter that could be two");
}

/// MAIL and RCPT as our client writes them, without their line ends.
fn written(envelope: Envelope) -> [Vec<u8>; 2] {
    let mut session = Session::new(ClientConfig::new("out.example", ClientTls::Never), Instant::ZERO);
    sent(&mut session, "220 mx\r\n");
    sent(&mut session, OFFER);
    session.deliver(Transaction { envelope, raw: Bytes::from_static(b"x\r\n") }, Instant::ZERO);
    [sent(&mut session, ""), sent(&mut session, "250 ok\r\n")].map(|line| {
        let text = line.strip_suffix(b"\r\n").unwrap_or_default();
        assert!(!text.is_empty() && !text.iter().any(u8::is_ascii_control), "one command is one line");
        text.to_vec()
    })
}

fn sent(session: &mut Session, reply: &str) -> Vec<u8> {
    session.handle_bytes(reply.as_bytes(), Instant::ZERO);
    let mut sent = Vec::new();
    while let Some(action) = session.poll_action() {
        if let Action::Send(octets) = action {
            sent.extend_from_slice(&octets);
        }
    }
    sent
}
