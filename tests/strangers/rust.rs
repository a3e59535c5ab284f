//! lettre, the mailer of Rust programs, which no runner in another language can call.

use crate::{OCTETS_MAX, RECIPIENTS_MAX, settle};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::address::Envelope;
use lettre::message::header::ContentType;
use lettre::message::{Attachment, MessageBuilder, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};
use posthouse_tests::house::{House, Tenant, python};

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

/// What every client sends (`letters.py`), written to a folder: its name, in a line, and its octets in a file.
const LETTERS: &str = r#"
import os, sys
sys.dont_write_bytecode = True
place, folder, sender, recipient = sys.argv[1:]
sys.path.insert(0, place)
from letters import letters
for name in [letter.name for letter in letters(sender, recipient)]:
    # SMTPUTF8 is asked for by addresses only.
    if name == "utf8-header":
        continue
    umlaut = "ümlaut-" if name == "utf8-envelope" else ""
    own = [umlaut + sender, umlaut + name + "-" + recipient]
    letter = next(one for one in letters(*own) if one.name == name)
    with open(os.path.join(folder, name + ".sent"), "wb") as file:
        file.write(letter.raw)
    print(name, *own)
"#;

/// Judged as the others' are (`judge.py`): one line for each letter that came otherwise.
const JUDGE: &str = r#"
import os, sys
sys.dont_write_bytecode = True
place, folder, *names = sys.argv[1:]
sys.path.insert(0, place)
import judge
for name in names:
    sent, came = (open(os.path.join(folder, name + end), "rb").read() for end in (".sent", ".came"))
    # It writes a line end of its own before the dot, also after one.
    verdict = judge.difference(sent + b"\r\n", came)
    if verdict:
        print(name + ": " + verdict)
"#;

#[test]
fn the_letters_of_all_clients_arrive_from_lettre_octet_for_octet() {
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/strangers");
    let (plot, house) = settle();
    let (tenant, _) = house.onboard("lettre", "lettre.example", "127.2.0.61");
    for door in Door::BOTH {
        let transport = door.transport(&house, &tenant, &tenant.password);
        let folder = plot.path().join(door.name());
        std::fs::create_dir(&folder).unwrap();
        let recipient = format!("raw-{}@plain.example", door.name());
        let written = [place, folder.to_str().unwrap(), "stranger@lettre.example", &recipient];
        let listed = python(LETTERS, &written);
        let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split(' ').collect()).collect();
        assert!(lines.len() >= 16, "{listed}");
        for line in &lines {
            let &[name, sender, recipient] = line.as_slice() else { panic!("{line:?}") };
            let envelope = Envelope::new(Some(sender.parse().unwrap()), vec![recipient.parse().unwrap()]);
            let sent = std::fs::read(folder.join(format!("{name}.sent"))).unwrap();
            let reply = transport.send_raw(&envelope.unwrap(), &sent);
            assert!(reply.as_ref().is_ok_and(|reply| reply.is_positive()), "{name}: {reply:?}");
            let arrival = house.arrivals(recipient, 1).remove(0);
            let came = STANDARD.decode(arrival["raw"].as_str().unwrap()).unwrap();
            std::fs::write(folder.join(format!("{name}.came")), came).unwrap();
        }
        let names = lines.iter().map(|line| line[0]);
        let judged =
            python(JUDGE, &[place, folder.to_str().unwrap()].into_iter().chain(names).collect::<Vec<_>>());
        assert_eq!(judged, "", "{}", door.name());
    }
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
