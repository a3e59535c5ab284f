//! What a 250 means: the record in the spool, the fields that went and came, the signatures, the reverse-paths.

use crate::support::{Client, PASSWORD, World, message};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::dkim::SigningKey;
use mail::token::TokenSubject;
use mail::{BodyKind, ReversePath};
use registry::KeyAlgorithm;
use std::sync::Arc;

#[tokio::test]
async fn a_250_names_the_record_that_is_in_the_spool() {
    let world = World::new().await;
    let mut client = world.log_in().await;
    let reply =
        client.submit("a@client.example", &["anna@example.org"], &message("Ä <a@client.example>")).await;
    let (record, raw) = world.accepted().await;
    assert_eq!(reply, format!("250 2.0.0 queued as {}", record.message));
    assert_eq!(record.tenant, world.registry.tenant.id);
    assert_eq!(record.credential, Some(world.registry.credentials[0].id));
    assert_eq!((record.subject.as_str(), record.header_from.as_str()), ("Hello", "a@client.example"));
    assert_eq!(record.reverse_path, ReversePath::parse("a@client.example").unwrap());
    assert_eq!((record.stream, record.pool), (world.registry.streams[0].id, world.registry.pools[0].id));
    assert_eq!(record.size, raw.len() as u64);
    assert_eq!(record.body_kind, BodyKind::EightBitMime);
    assert_eq!(record.expires_at, record.accepted_at.saturating_add(world.registry.streams[0].expires_after));
    assert!(raw.ends_with("\r\n\r\nHello Anna.\r\n"), "{raw}");
}

#[tokio::test]
async fn missing_fields_are_added_and_the_client_stays_hidden() {
    let world = World::new().await;
    world
        .log_in()
        .await
        .submit("a@client.example", &["anna@example.org"], &message("a@client.example"))
        .await;
    let (record, raw) = world.accepted().await;
    let id = record.message;
    assert!(raw.contains("Date: Mon, 23 Nov 2026 09:14:"), "{raw}");
    assert!(raw.contains(&format!("Message-ID: <{id}@client.example>\r\n")), "{raw}");
    assert_eq!(record.message_id_header, format!("<{id}@client.example>"));
    let received =
        format!("Received: by mx.posthouse.test (posthouse) with ESMTPSA id {id};\r\n\tMon, 23 Nov 2026");
    assert!(raw.contains(&received), "{raw}");
    assert!(!raw.contains("127.0.0.1") && !raw.contains("desk.example"), "{raw}");
    let tenant = record.tenant;
    assert!(raw.contains(&format!("Feedback-ID: :transactional:{tenant}:posthouse\r\n")), "{raw}");
    assert!(!raw.contains("List-Unsubscribe") && !raw.contains("CFBL"), "{raw}");
}

#[tokio::test]
async fn what_a_client_brings_itself_stays_and_what_is_ours_to_say_goes() {
    let world = World::new().await;
    let own = "Date: Tue, 1 Jan 2030 00:00:00 +0000\r\nMessage-ID: <own@client.example>\r\nBcc: secret@example.org\r\n\
               Feedback-ID: a:b:c:liar\r\nCFBL-Address: x@liar.example\r\nReturn-Path: <x@liar.example>\r\n\
               DKIM-Signature: v=1; d=client.example; s=x; b=x\r\nX-Other: kept\r\n";
    let mail = format!("{own}{}", message("a@client.example"));
    world.log_in().await.submit("a@client.example", &["anna@example.org"], &mail).await;
    let (record, raw) = world.accepted().await;
    assert_eq!(record.message_id_header, "<own@client.example>");
    for kept in ["Tue, 1 Jan 2030", "X-Other: kept\r\n"] {
        assert!(raw.contains(kept), "{raw}");
    }
    for gone in ["secret@", "liar", "s=x;"] {
        assert!(!raw.contains(gone), "{gone} in {raw}");
    }
    assert_eq!(raw.matches("Message-ID:").count(), 1);
}

#[tokio::test]
async fn a_signature_of_a_third_party_stays() {
    let world = World::new().await;
    let mail = format!("DKIM-Signature: v=1; d=partner.example; s=x; b=x\r\n{}", message("a@client.example"));
    world.log_in().await.submit("a@client.example", &["anna@example.org"], &mail).await;
    assert!(world.accepted().await.1.contains("d=partner.example; s=x;"));
}

#[tokio::test]
async fn a_signature_of_a_third_party_stays_beside_one_in_our_own_name() {
    let world = World::new().await;
    let signature = |domain: &str| format!("DKIM-Signature: v=1; d={domain}; s=x; b=x\r\n");
    let mail = format!(
        "{}{}{}{}{}",
        signature("partner.example"),
        signature("Client.example"),
        signature("shared.posthouse.test"),
        signature("sub.client.example"),
        message("a@client.example")
    );
    world.log_in().await.submit("a@client.example", &["anna@example.org"], &mail).await;
    let raw = world.accepted().await.1;
    for kept in ["partner.example", "sub.client.example"] {
        assert!(raw.contains(&signature(kept)), "{kept}: {raw}");
    }
    assert_eq!(raw.matches("s=x;").count(), 2, "{raw}");
}

#[tokio::test]
async fn a_client_that_signs_for_a_domain_without_a_key_of_ours_keeps_its_signature() {
    let world = World::with(|plan| plan.registry.domains[0].keys.clear()).await;
    let mail = format!("DKIM-Signature: v=1; d=client.example; s=x; b=x\r\n{}", message("a@client.example"));
    world.log_in().await.submit("a@client.example", &["anna@example.org"], &mail).await;
    let raw = world.accepted().await.1;
    assert!(raw.contains("d=client.example; s=x;") && raw.contains("d=shared.posthouse.test"), "{raw}");
}

#[tokio::test]
async fn one_click_is_said_once() {
    let world = World::with(|plan| {
        plan.config.headers.unsubscribe_url = Some("https://u.posthouse.test/u".parse().unwrap());
    })
    .await;
    let fields = "X-Posthouse-Stream: marketing\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n";
    let mail = format!("{fields}{}", message("a@client.example"));
    world.log_in().await.submit("a@client.example", &["anna@example.org"], &mail).await;
    let raw = world.accepted().await.1;
    assert_eq!(raw.matches("List-Unsubscribe-Post: ").count(), 1, "{raw}");
}

#[tokio::test]
async fn steering_is_followed_and_leaves_no_trace() {
    let world = World::with(|plan| {
        plan.config.headers.unsubscribe_url = Some("https://u.posthouse.test/u".parse().unwrap());
        plan.config.headers.complaint_domain = Some(mail::Domain::parse("fbl.posthouse.test").unwrap());
    })
    .await;
    let fields = "X-Posthouse-Stream: marketing\r\nX-Posthouse-Pool: fast\r\nX-Posthouse-Tags: nov 26, b\r\n\
                  X-Posthouse-Metadata: order=77\r\nX-Posthouse-Send-At: 2026-11-23T10:00:00Z\r\n";
    let mail = format!("{fields}{}", message("a@client.example"));
    world.log_in().await.submit("a@client.example", &["anna@example.org"], &mail).await;
    let (record, raw) = world.accepted().await;
    assert_eq!((record.stream, record.pool), (world.registry.streams[1].id, world.registry.pools[1].id));
    assert_eq!(record.tags, ["nov 26", "b"]);
    assert_eq!(record.metadata, [("order".to_owned(), "77".to_owned())]);
    assert_eq!(record.not_before.unwrap().to_string(), "2026-11-23T10:00:00.000Z");
    assert!(!raw.to_lowercase().contains("x-posthouse"), "{raw}");
    assert!(raw.contains("Feedback-ID: nov-26:marketing:ten_"), "{raw}");
    assert!(raw.contains("List-Unsubscribe: <https://u.posthouse.test/u/"), "{raw}");
    assert!(raw.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"), "{raw}");
    let complaints = raw.lines().find_map(|line| line.strip_prefix("CFBL-Address: ")).unwrap();
    let local_part = mail::LocalPart::parse(complaints.split('@').next().unwrap()).unwrap();
    assert_eq!(
        world.token_key.read(&local_part),
        Some(TokenSubject { message: record.message, recipient: 0 })
    );
    assert!(raw.contains("feedback-id") && raw.contains("list-unsubscribe-post"), "signed: {raw}");
}

#[tokio::test]
async fn power_mta_fields_work_for_a_credential_that_may_use_them() {
    let fields = "X-Virtual-MTA: fast\r\nX-Job: nov26\r\nX-Envid: a=b\r\n";
    let mail = format!("{fields}{}", message("a@client.example"));
    let world = World::with(|plan| plan.registry.credentials[0].compat_pmta = true).await;
    world.log_in().await.submit("a@client.example", &["anna@example.org"], &mail).await;
    let (record, raw) = world.accepted().await;
    assert_eq!(
        (record.pool, record.tags.as_slice()),
        (world.registry.pools[1].id, &["nov26".to_owned()][..])
    );
    assert_eq!(record.envelope_id.as_deref(), Some("a+3Db"));
    assert!(!raw.contains("X-Job") && !raw.contains("X-Virtual-MTA") && !raw.contains("X-Envid"), "{raw}");
    let world = World::new().await;
    world.log_in().await.submit("a@client.example", &["anna@example.org"], &mail).await;
    let (record, raw) = world.accepted().await;
    assert!(record.tags.is_empty() && raw.contains("X-Job: nov26"), "{raw}");
}

#[tokio::test]
async fn every_recipient_has_a_reverse_path_that_leads_back_to_it() {
    let world = World::new().await;
    let recipients = ["anna@example.org", "ben@example.net", "cleo@example.com"];
    let mut client = world.log_in().await;
    client.expect("MAIL FROM:<a@client.example> RET=HDRS ENVID=e1", "250").await;
    for recipient in recipients {
        client.expect(&format!("RCPT TO:<{recipient}> NOTIFY=FAILURE ORCPT=rfc822;x"), "250").await;
    }
    client.expect("DATA", "354").await;
    client.expect(&format!("{}.", message("a@client.example")), "250 2.0.0 queued as msg_").await;
    let (record, _) = world.accepted().await;
    assert_eq!(record.envelope_id.as_deref(), Some("e1"));
    assert_eq!(record.recipients.len(), 3);
    for (number, recipient) in (0..).zip(&record.recipients) {
        let ReversePath::Mailbox(mailbox) = &recipient.reverse_path else { panic!("a null reverse-path") };
        assert_eq!(mailbox.domain().as_str(), "rp.client.example");
        let subject = TokenSubject { message: record.message, recipient: number };
        assert_eq!(world.token_key.read(mailbox.local_part()), Some(subject));
        assert_eq!(recipient.forward_path.mailbox().to_string(), recipients[number as usize]);
        assert_eq!(recipient.original.as_deref(), Some("rfc822;x"));
    }
}

#[tokio::test]
async fn what_the_envelope_asks_of_the_way_is_kept() {
    let world = World::with(|plan| plan.config.headers.show_client = true).await;
    let mut client = world.log_in().await;
    client.expect("MAIL FROM:<a@client.example> SMTPUTF8 BODY=8BITMIME REQUIRETLS", "250").await;
    client.expect("RCPT TO:<jörg@example.org>", "250").await;
    client.expect("DATA", "354").await;
    client.expect(&format!("{}.", message("a@client.example")), "250 2.0.0 queued as msg_").await;
    let (record, raw) = world.accepted().await;
    assert!(record.smtputf8 && record.require_tls);
    assert_eq!(record.body_kind, BodyKind::EightBitMime);
    assert_eq!(record.recipients[0].forward_path.to_string(), "jörg@example.org");
    assert!(raw.contains("Received: from desk.example ([127.0.0.1])\r\n\tby mx.posthouse.test"), "{raw}");
    assert!(raw.contains("with UTF8SMTPSA id"), "{raw}");
}

#[tokio::test]
async fn both_mechanisms_pipelining_and_chunking_work() {
    let world = World::new().await;
    let mut client = world.encrypted().await;
    client.expect("AUTH LOGIN", "334").await;
    client.expect(&STANDARD.encode("client"), "334").await;
    client.expect(&STANDARD.encode(PASSWORD), "235 2.7.0").await;
    let mail = message("a@client.example");
    let (first, second) = mail.split_at(20);
    let commands = format!(
        "MAIL FROM:<a@client.example>\r\nRCPT TO:<anna@example.org>\r\nBDAT 20\r\n{first}BDAT {} LAST\r\n{second}NOOP\r\n",
        second.len()
    );
    client.send(commands.as_bytes()).await;
    for code in ["250", "250", "250", "250 2.0.0 queued as msg_", "250"] {
        let reply = client.reply().await;
        assert!(reply.starts_with(code), "{code}: {reply}");
    }
    client.expect("QUIT", "221").await;
    assert!(client.is_closed().await);
    assert!(world.accepted().await.1.ends_with("Hello Anna.\r\n"));
}

#[tokio::test]
async fn the_signatures_of_tenant_and_platform_verify() {
    let world = World::with(|plan| {
        let key = &mut plan.registry.domains[0].keys[0];
        key.algorithm = KeyAlgorithm::Rsa;
        key.signer = Arc::new(SigningKey::generate_rsa2048().unwrap());
    })
    .await;
    let mail =
        format!("List-Id: <x.client.example>\r\n{}trailing  \r\n \r\n\r\n", message("a@client.example"));
    world.log_in().await.submit("a@client.example", &["anna@example.org"], &mail).await;
    let (_, raw) = world.accepted().await;
    assert_eq!(raw.matches("DKIM-Signature: ").count(), 2, "{raw}");
    let own = world.registry.domains[0].keys[0].signer.public_record();
    let platform = world.registry.pools[0].platform.as_ref().unwrap().signer.public_record();
    let records =
        format!("ph1._domainkey.client.example. {own}\np1._domainkey.shared.posthouse.test. {platform}\n");
    let file = world.directory.path().join("message.eml");
    std::fs::write(&file, raw).unwrap();
    std::fs::write(world.directory.path().join("records"), records).unwrap();
    let script = r#"
import sys
try:
    import dkim
except ImportError:
    print("SKIP"); sys.exit(0)
records = dict(line.rstrip("\n").split(" ", 1) for line in open(sys.argv[2]))
def dns(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    return records[name].encode()
verifier = dkim.DKIM(open(sys.argv[1], "rb").read())
print([verifier.verify(idx=n, dnsfunc=dns) for n in (0, 1)])
"#;
    let output = crate::python::run(script, &[&file, &world.directory.path().join("records")]).await;
    if output.trim() == "SKIP" {
        testkit::lacking("both signatures", "python3 has no dkim module, so nobody else checked them");
        return;
    }
    assert_eq!(output.trim(), "[True, True]");
}

#[tokio::test]
async fn a_client_that_has_logged_in_cannot_do_so_again_and_rset_keeps_it() {
    let world = World::new().await;
    let mut client = world.log_in().await;
    client.expect(&Client::plain("client", PASSWORD), "503").await;
    client.expect("RSET", "250").await;
    let reply = client.submit("a@client.example", &["a@example.org"], &message("a@client.example")).await;
    assert!(reply.starts_with("250"), "{reply}");
}
