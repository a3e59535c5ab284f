//! M3: octets that follow STARTTLS, or its 220, in clear. Both sides throw them away, in whatever pieces they come, and
//! know nothing afterwards of what was said before.

use crate::door::Door;
use mail::{Domain, Instant};
use smtp::Limits;
use smtp::client::{self, ClientConfig, ClientTls};
use smtp::server::{Action, Answer, Role, ServerConfig, Session, TlsMode};

const INJECTED: &[u8] =
    b"EHLO evil.example\r\nMAIL FROM:<evil@client.example>\r\nRCPT TO:<x@example.org>\r\nDATA\r\nx\r\n.\r\n";

#[test]
fn a_server_obeys_nothing_that_came_before_the_handshake() {
    let wire = [b"EHLO client.example\r\nSTARTTLS\r\n".as_slice(), INJECTED].concat();
    for role in [Role::Submission, Role::Inbound] {
        for cut in 0..=wire.len() {
            let hostname = Domain::parse("mx.posthouse.test").unwrap();
            let config = ServerConfig::new(hostname, role, TlsMode::Offered, Limits::default());
            let mut session = Session::new(config, Instant::ZERO);
            let mut said = Vec::new();
            let mut asked_for_tls = 0;
            for piece in [&wire[..cut], &wire[cut..]] {
                session.handle_bytes(piece, Instant::ZERO);
                while let Some(action) = session.poll_action() {
                    match action {
                        Action::Send(octets) => said.extend_from_slice(&octets),
                        Action::StartTls => asked_for_tls += 1,
                        _ => panic!("cut at {cut}: something else was asked"),
                    }
                }
            }
            assert_eq!(asked_for_tls, 1, "cut at {cut}");
            said.clear();
            let done = Answer::TlsDone { version: "TLSv1.3".into(), cipher: "AES".into() };
            session.handle_answer(done, Instant::ZERO);
            session.handle_bytes(b"MAIL FROM:<a@client.example>\r\n", Instant::ZERO);
            while let Some(action) = session.poll_action() {
                match action {
                    Action::Send(octets) => said.extend_from_slice(&octets),
                    _ => panic!("cut at {cut}: something was asked after the handshake"),
                }
            }
            assert_eq!(String::from_utf8_lossy(&said), "503 5.5.1 EHLO first\r\n", "cut at {cut}");
        }
    }
}

#[test]
fn auth_is_offered_only_after_tls_and_a_login_does_not_outlive_it() {
    let mut door = Door::new(Role::Submission, TlsMode::Offered, Limits::default());
    door.hear(b"EHLO client.example\r\n");
    let offer = door.text();
    assert!(!offer.contains("AUTH") && offer.contains("STARTTLS"), "{offer}");
    door.hear(b"AUTH PLAIN AGFubmEAc2VjcmV0\r\n");
    assert!(door.text().starts_with("530 "));
    door.hear(b"STARTTLS\r\n");
    door.text();
    door.hear(b"AUTH PLAIN AGFubmEAc2VjcmV0\r\n");
    assert!(door.text().starts_with("503 "), "EHLO was said before TLS only");
    door.hear(b"EHLO client.example\r\n");
    let offer = door.text();
    assert!(offer.contains("AUTH PLAIN LOGIN") && !offer.contains("STARTTLS"), "{offer}");
    door.hear(b"STARTTLS\r\n");
    assert!(door.text().starts_with("503 "));
}

/// N12: a reply that follows the 220 in clear is no answer to what is said under TLS.
#[test]
fn a_client_believes_nothing_that_came_before_the_handshake() {
    let injected: &[u8] =
        b"250-evil\r\n250-CHUNKING\r\n250 AUTH PLAIN\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n";
    for tls in [ClientTls::Opportunistic, ClientTls::Required] {
        let go = b"220 go\r\n".as_slice();
        let wire = [go, injected].concat();
        for cut in 0..=wire.len() {
            let mut session = client::Session::new(ClientConfig::new("out.example", tls), Instant::ZERO);
            let said = |session: &mut client::Session| {
                let mut said = String::new();
                while let Some(action) = session.poll_action() {
                    said.push_str(&match action {
                        client::Action::Send(octets) => String::from_utf8(octets.to_vec()).unwrap(),
                        other => format!("{other:?}"),
                    });
                }
                said
            };
            session.handle_bytes(b"220 mx\r\n", Instant::ZERO);
            said(&mut session);
            session.handle_bytes(b"250-mx\r\n250 STARTTLS\r\n", Instant::ZERO);
            assert_eq!(said(&mut session), "STARTTLS\r\n");
            session.handle_bytes(&wire[..cut], Instant::ZERO);
            let mut shown = said(&mut session);
            session.handle_bytes(&wire[cut..], Instant::ZERO);
            shown.push_str(&said(&mut session));
            assert_eq!(shown, "StartTls", "cut at {cut}");
            session.handle_answer(client::Answer::TlsDone, Instant::ZERO);
            assert_eq!(said(&mut session), "EHLO out.example\r\n", "cut at {cut}");
            assert!(!session.is_ready(), "cut at {cut}: an answer from before the handshake");
            session.handle_bytes(b"250-mx\r\n250 PIPELINING\r\n", Instant::ZERO);
            assert_eq!(said(&mut session), "Ready");
            assert!(session.is_encrypted());
            let offered: Vec<_> = session.offer().extensions.iter().map(|one| one.keyword()).collect();
            assert_eq!(offered, ["PIPELINING"], "cut at {cut}");
        }
    }
}
