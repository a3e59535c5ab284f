//! Providers as a sender meets them: refusals, limits, TLS, and what arrives.

use crate::running::{Client, Running, quick, start, start_with};
use lab::{Fault, Lab, LabParts};
use mail::Random;
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_lab_that_could_be_reached_from_outside_does_not_start() {
    let start = |change: fn(&mut lab::LabConfig)| {
        let mut config = quick();
        change(&mut config);
        let parts = LabParts { clock: crate::running::clock(), random: Random::from_number(1) };
        Lab::start(config, parts, CancellationToken::new())
    };
    let cases: [fn(&mut lab::LabConfig); 4] = [
        |config| config.control = "0.0.0.0:0".parse().unwrap(),
        |config| config.dns = "192.0.2.1:53".parse().unwrap(),
        |config| config.inbound = Some("192.0.2.1:25".parse().unwrap()),
        |config| config.provider_net = [10, 0],
    ];
    for change in cases {
        let fault = start(change).await.err().unwrap();
        assert!(matches!(fault, Fault::NotLoopback { .. }), "{fault}");
        assert!(fault.to_string().contains("loopback only"), "{fault}");
    }
}

#[tokio::test]
async fn mailboxes_refuse_in_the_words_of_their_provider() {
    let running = start().await;
    for (host, to, code, words) in [
        ("gmail-smtp-in.l.google.com", "unknown.bert@gmail.com", "550-5.1.1 ", "NoSuchUser"),
        ("gmail-smtp-in.l.google.com", "full@gmail.com", "452-4.2.2 ", "OverQuotaTemp"),
        ("gmail-smtp-in.l.google.com", "spam@gmail.com", "550-5.7.1 ", "unsolicited"),
        ("mta5.am0.yahoodns.net", "unknown@yahoo.com", "552 1 ", "mailbox not found"),
        (
            "hotmail-com.olc.protection.outlook.com",
            "unknown@hotmail.com",
            "550 5.5.0 ",
            "mailbox unavailable",
        ),
        ("mx.plain.example", "defer@plain.example", "451 4.3.0 ", "try again later"),
        ("mx.plain.example", "anna@gmail.com", "554 5.7.1 ", "Relay access denied"),
        ("mx.greylist.example", "anna@greylist.example", "450 4.2.0 ", "Greylisted"),
        ("mx.tls-required.example", "anna@tls-required.example", "530 5.7.0 ", "STARTTLS"),
    ] {
        let reply =
            running.dial(host).await.hello().await.send("b@client.example", to, "Subject: x\r\n\r\nx").await;
        assert!(reply.starts_with(code) && reply.contains(words), "{to}: {reply}");
    }
    let counts = running.get("/stats").await;
    assert_eq!(
        (&counts["arrivals"], &counts["refused"], &counts["deferred"]),
        (&json!(0), &json!(6), &json!(3))
    );
}

#[tokio::test]
async fn what_was_not_offered_or_is_out_of_order_is_refused() {
    let running = start().await;
    let mut client = running.dial("mta5.am0.yahoodns.net").await;
    assert!(client.reply().await.starts_with("220 "));
    assert!(client.say("MAIL FROM:<b@client.example>").await.starts_with("503 "));
    assert!(client.say("EHLO x.example").await.contains("STARTTLS"));
    assert!(client.say("RCPT TO:<a@yahoo.com>").await.starts_with("503 "));
    assert!(client.say("DATA").await.starts_with("503 "));
    assert!(client.say("MAIL FROM:<b@client.example> SMTPUTF8").await.starts_with("555 "));
    assert!(client.say("MAIL FROM:<b@client.example> SIZE=99999999999").await.starts_with("552 "));
    client.write("BDAT 3 LAST\r\nabc").await;
    assert!(client.reply().await.starts_with("502 "), "the octets are read all the same");
    assert!(client.say("MAIL FROM:<b@client.example>").await.starts_with("250 "));
    assert!(client.say("RCPT TO:<\u{e9}@yahoo.com>").await.starts_with("553 "));
    assert!(client.say("RCPT TO:<a@yahoo.com>").await.starts_with("250 "));
    assert!(client.say("DATA").await.starts_with("354 "));
    assert!(client.say("Subject: x\r\n\r\na\nb\r\n.").await.starts_with("550 5.6.11 "), "a bare line feed");
    client.write("NOOP\n").await;
    assert!(client.reply().await.starts_with("500 "));
    assert_eq!(client.reply().await, "", "and the connection is closed");
}

#[tokio::test]
async fn limits_answer_421_and_close() {
    let running = start().await;
    running.set("yahoo", json!({"limits": {"connections": 2, "messages_per_connection": 2}})).await;
    let mut first = running.dial("mta5.am0.yahoodns.net").await.hello().await;
    let second = running.dial("mta6.am0.yahoodns.net").await.hello().await;
    let mut third = running.dial("mta7.am0.yahoodns.net").await;
    assert!(third.reply().await.starts_with("421 4.7.0 [TS02]"));
    assert_eq!(third.reply().await, "");
    for _ in 0..2 {
        assert!(first.send("b@client.example", "anna@yahoo.com", "x").await.starts_with("250 "));
    }
    assert!(
        first
            .send("b@client.example", "anna@yahoo.com", "x")
            .await
            .starts_with("421 Max message per connection")
    );
    assert_eq!(first.reply().await, "");
    drop(second);
    running.wait_for("/stats", |stats| stats["arrivals"] == 2).await;
}

#[tokio::test]
async fn an_outage_can_be_switched_on_and_off() {
    let running = start().await;
    running.set("gmail.com", json!({"outage": true})).await;
    assert!(running.dial("smtp.google.com").await.reply().await.starts_with("421 "));
    running.set("google", json!({"outage": "drop"})).await;
    assert_eq!(running.dial("smtp.google.com").await.reply().await, "");
    running.set("gmail", json!({"outage": "none"})).await;
    running.dial("smtp.google.com").await.hello().await;
}

#[tokio::test]
async fn slow_counted_and_greylisted_mailboxes_accept_in_the_end() {
    let running = start().await;
    let mut client = running.dial("mx.plain.example").await.hello().await;
    let started = tokio::time::Instant::now();
    assert!(client.send("b@client.example", "slow@plain.example", "x").await.starts_with("250 "));
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert!(client.send("b@client.example", "defer1@plain.example", "x").await.starts_with("451 "));
    assert!(client.send("b@client.example", "defer1@plain.example", "x").await.starts_with("250 "));
    assert!(client.send("b@client.example", "greylist@plain.example", "x").await.starts_with("450 "));
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert!(client.send("b@client.example", "greylist@plain.example", "x").await.starts_with("250 "));
}

#[tokio::test]
async fn a_connection_that_drops_after_the_data_has_delivered_all_the_same() {
    let running = start().await;
    let mut client = running.dial("mx.plain.example").await.hello().await;
    assert_eq!(client.send("b@client.example", "drop@plain.example", "x").await, "");
    assert_eq!(running.get("/arrivals?to=drop@plain.example").await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn two_labs_run_beside_each_other_and_end_when_told() {
    let (one, two) = (start().await, start().await);
    assert_ne!((one.lab.smtp_port, one.lab.dns), (two.lab.smtp_port, two.lab.dns));
    let _session = one.dial("mx.plain.example").await.hello().await;
    one.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), one.lab.stopped()).await.unwrap();
}

const SMTPLIB: &str = r#"
import smtplib, ssl, sys
host, port, mode, to = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with smtplib.SMTP(host, port, timeout=10) as smtp:
    smtp.ehlo("out1.client.example")
    if mode == "tls":
        smtp.starttls(context=context)
        smtp.ehlo("out1.client.example")
    smtp.sendmail("b+x@rp.client.example", [to], "From: News <news@client.example>\r\nSubject: Hi\r\n\r\n.dot\r\nend\r\n")
print("accepted")
"#;

async fn smtplib(running: &Running, host: &str, mode: &str, to: &str) -> Result<String, String> {
    let door = running.door(host).await;
    let output = tokio::process::Command::new("python3")
        .args(["-c", SMTPLIB, &door.ip().to_string(), &door.port().to_string(), mode, to])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[tokio::test]
async fn python_delivers_with_and_without_tls_and_the_arrival_says_so() {
    if std::process::Command::new("python3").arg("-V").output().is_err() {
        testkit::lacking("Python delivers to the lab", "there is no python3");
        return;
    }
    let running = start().await;
    assert_eq!(
        smtplib(&running, "gmail-smtp-in.l.google.com", "tls", "anna@gmail.com").await.unwrap(),
        "accepted"
    );
    assert_eq!(
        smtplib(&running, "mx.no-tls.example", "plain", "anna@no-tls.example").await.unwrap(),
        "accepted"
    );
    assert!(smtplib(&running, "mx.no-tls.example", "tls", "anna@no-tls.example").await.is_err());
    assert!(smtplib(&running, "mx.tls-broken.example", "tls", "anna@tls-broken.example").await.is_err());
    let list = running.get("/arrivals?to=anna@gmail.com&raw=1").await;
    let arrival = &list[0];
    assert_eq!(arrival["tls"], "TLSv1.3");
    assert_eq!(
        (&arrival["provider"], &arrival["mx"]),
        (&json!("gmail"), &json!("gmail-smtp-in.l.google.com"))
    );
    assert_eq!((&arrival["ehlo"], &arrival["peer_ip"]), (&json!("out1.client.example"), &json!("127.0.0.1")));
    assert_eq!(
        (&arrival["mail_from"], &arrival["rcpt_to"]),
        (&json!("b+x@rp.client.example"), &json!(["anna@gmail.com"]))
    );
    let raw = "From: News <news@client.example>\r\nSubject: Hi\r\n\r\n.dot\r\nend\r\n";
    assert_eq!(arrival["bytes"], raw.len());
    assert_eq!(running.get("/arrivals?to=anna@no-tls.example").await[0]["tls"], Value::Null);
    assert_eq!(running.get("/arrivals?from=news@client.example").await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn chunks_make_a_message_and_their_dots_are_left_alone() {
    let running = start().await;
    let mut client = running.dial("mx.plain.example").await.hello().await;
    client.say("MAIL FROM:<> BODY=8BITMIME").await;
    client.say("RCPT TO:<anna@plain.example>").await;
    client.write("BDAT 6\r\nA: b\r\n").await;
    assert!(client.reply().await.starts_with("250 "));
    client.write("BDAT 9 LAST\r\n\r\n.x\r\n.\r\n").await;
    assert!(client.reply().await.starts_with("250 "));
    let arrival = running.get("/arrivals?raw=1").await;
    assert_eq!((&arrival[0]["bytes"], &arrival[0]["mail_from"]), (&json!(15), &json!("")));
    assert_eq!(arrival[0]["raw"], "QTogYg0KDQoueA0KLg0K");
}

#[tokio::test]
async fn a_session_ends_when_the_client_says_nothing() {
    let running = start_with(lab::LabConfig { command_timeout: Duration::from_millis(100), ..quick() }).await;
    let mut client: Client = running.dial("mx.plain.example").await.hello().await;
    assert!(client.reply().await.starts_with("421 4.4.2 "));
}
