//! lettre, the mailer of Rust programs, which no runner in another language can call.

use crate::{OCTETS_MAX, RECIPIENTS_MAX, settle};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::message::header::ContentType;
use lettre::message::{Attachment, MessageBuilder, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};
use posthouse_tests::house::{House, Tenant};

/// The way in, and how TLS begins there.
#[derive(Clone, Copy)]
enum Door {
    StartTls,
    Implicit,
}

impl Door {
    const BOTH: [Door; 2] = [Door::StartTls, Door::Implicit];

    fn name(self) -> &'static str {
        match self {
            Door::StartTls => "starttls",
            Door::Implicit => "implicit",
        }
    }

    fn transport(self, house: &House, tenant: &Tenant, password: &str) -> SmtpTransport {
        let address = match self {
            Door::StartTls => house.text("/smtp/submission"),
            Door::Implicit => house.text("/smtp/submissions"),
        };
        let (host, port) = address.rsplit_once(':').unwrap();
        let authority = Certificate::from_pem(&std::fs::read(house.text("/ca")).unwrap()).unwrap();
        let tls = TlsParameters::builder(host.to_owned())
            .certificate_store(CertificateStore::None)
            .add_root_certificate(authority)
            .build_rustls()
            .unwrap();
        let tls = match self {
            Door::StartTls => Tls::Required(tls),
            Door::Implicit => Tls::Wrapper(tls),
        };
        SmtpTransport::builder_dangerous(host)
            .port(port.parse().unwrap())
            .tls(tls)
            .credentials(Credentials::new(tenant.username.clone(), password.to_owned()))
            .build()
    }
}

#[test]
fn what_lettre_composes_arrives_octet_for_octet() {
    let (_plot, house) = settle();
    let (tenant, _) = house.onboard("lettre", "lettre.example", "127.2.0.60");
    for door in Door::BOTH {
        let transport = door.transport(&house, &tenant, &tenant.password);
        for (name, message) in letters(&tenant.domain, door) {
            let reply = transport.send(&message).unwrap();
            assert_eq!(reply.code().to_string(), "250", "{name}");
            let arrival = house.arrivals(&recipient(name, door), 1).remove(0);
            let raw = STANDARD.decode(arrival["raw"].as_str().unwrap()).unwrap();
            // It writes a line end of its own before the dot, also after one.
            let sent = [&message.formatted()[..], b"\r\n"].concat();
            let end = |octets: &[u8]| octets[octets.len().saturating_sub(200)..].escape_ascii().to_string();
            assert!(raw.ends_with(&sent), "{name}: sent\n{}\ncame\n{}", end(&sent), end(&raw));
        }
    }
    many(&house, &tenant);
    says(&house, &tenant);
}

/// What a program that uses lettre shows when it is refused.
fn says(house: &House, tenant: &Tenant) {
    let letter = |from: &str| build(from, "refused@plain.example").body("x\r\n".to_owned()).unwrap();
    let refused = |password: &str, letter: &Message| {
        let transport = Door::Implicit.transport(house, tenant, password);
        transport.send(letter).unwrap_err().to_string()
    };
    let said = refused("wrong", &letter("a@lettre.example"));
    assert!(said.contains("wrong user name or password"), "{said}");
    let said = refused(&tenant.password, &letter("a@elsewhere.example"));
    assert!(said.contains("elsewhere.example is not a verified domain"), "{said}");
    let large = "twelve words".repeat(OCTETS_MAX / 12 + 1);
    let said =
        refused(&tenant.password, &build("a@lettre.example", "refused@plain.example").body(large).unwrap());
    assert!(said.contains("552") && said.contains("larger than 4194304 octets"), "{said}");
}

/// Everybody whom the house takes at once is served, and one more is refused by name of the limit.
fn many(house: &House, tenant: &Tenant) {
    let transport = Door::StartTls.transport(house, tenant, &tenant.password);
    let to = |count: usize| {
        let from = "Ein Fremder <a@lettre.example>".parse().unwrap();
        let all = (0..count).map(|number| format!("many-{count}-{number}@plain.example").parse().unwrap());
        let builder = all.fold(Message::builder().from(from).subject("many"), MessageBuilder::bcc);
        builder.body("x\r\n".to_owned()).unwrap()
    };
    assert!(transport.send(&to(RECIPIENTS_MAX)).unwrap().is_positive());
    house.arrivals(&format!("many-{RECIPIENTS_MAX}-0@plain.example"), 1);
    house.arrivals(&format!("many-{RECIPIENTS_MAX}-{}@plain.example", RECIPIENTS_MAX - 1), 1);
    let said = transport.send(&to(RECIPIENTS_MAX + 1)).unwrap_err().to_string();
    assert!(said.contains("452") && said.contains("may have 60 recipients"), "{said}");
}

fn letters(domain: &str, door: Door) -> Vec<(&'static str, Message)> {
    let start = |name: &str| build(&format!("stranger@{domain}"), &recipient(name, door));
    let dots = ".\r\n..\r\n.hidden\r\n\r\n.\r\n";
    let noise = Attachment::new("noise.bin".to_owned())
        .body(vec![0x9e_u8; 200_000], ContentType::parse("application/octet-stream").unwrap());
    let both = MultiPart::mixed()
        .multipart(MultiPart::alternative_plain_html("Grüße".to_owned(), "<p>Grüße</p>".to_owned()))
        .singlepart(noise);
    vec![
        ("dots", start("dots").body(dots.to_owned()).unwrap()),
        ("empty", start("empty").body(String::new()).unwrap()),
        ("umlaut", start("umlaut").singlepart(SinglePart::plain("Grüße aus Köln".to_owned())).unwrap()),
        ("attachment", start("attachment").multipart(both).unwrap()),
        ("megabyte", start("megabyte").body("twelve words".repeat(83_000)).unwrap()),
    ]
}

fn build(from: &str, to: &str) -> MessageBuilder {
    Message::builder()
        .from(format!("Ein Fremder <{from}>").parse().unwrap())
        .to(to.parse().unwrap())
        .subject("Grüße von lettre")
}

fn recipient(name: &str, door: Door) -> String {
    format!("lettre-{}-{name}@plain.example", door.name())
}
