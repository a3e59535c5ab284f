//! Programs that were not written by us: Python's smtplib, as a tenant would use it.

use crate::support::{PASSWORD, World};
use std::path::Path;

/// Runs a script; its standard output. A test without python3 on the machine says so and passes.
pub async fn run(script: &str, arguments: &[&Path]) -> String {
    let output = tokio::process::Command::new("python3").arg("-c").arg(script).args(arguments).output().await;
    let Ok(output) = output else { return "SKIP".to_owned() };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn smtplib_sends_through_both_submission_doors() {
    let world = World::new().await;
    let script = format!(
        r#"
import smtplib, ssl, sys
from email.message import EmailMessage
context = ssl.create_default_context(cafile=sys.argv[1])
def mail(n):
    m = EmailMessage()
    m["From"] = "Ännchen <a@client.example>"
    m["To"] = "anna@example.org, ben@example.net"
    m["Bcc"] = "secret@example.com"
    m["Subject"] = f"Grüße {{n}}"
    m.set_content("Häuser\n.\n..punkt\n" + "x" * 1500 + "\n")
    return m
with smtplib.SMTP("localhost", {}) as s:
    s.starttls(context=context)
    try:
        s.login("client", "wrong")
        sys.exit("a wrong secret was accepted")
    except smtplib.SMTPAuthenticationError as e:
        assert e.smtp_code == 535, e
    s.login("client", "{PASSWORD}")
    assert s.send_message(mail(1)) == {{}}
    try:
        s.sendmail("a@other.example", ["b@example.org"], "From: a@other.example\r\n\r\nx")
        sys.exit("a foreign sender was accepted")
    except smtplib.SMTPSenderRefused as e:
        assert e.smtp_code == 550, e
with smtplib.SMTP_SSL("localhost", {}, context=context) as s:
    s.login("client", "{PASSWORD}")
    assert s.send_message(mail(2)) == {{}}
print("sent")
"#,
        world.addresses().submission.unwrap().port(),
        world.addresses().submissions.unwrap().port(),
    );
    let output = run(&script, &[&world.certificate]).await;
    if output.trim() == "SKIP" {
        testkit::lacking("smtplib", "there is no python3");
        return;
    }
    assert_eq!(output.trim(), "sent");
    let accepted = world.all_accepted(2).await;
    for (number, (record, raw)) in (1..).zip(&accepted) {
        assert_eq!(record.subject, format!("Grüße {number}"));
        assert_eq!(record.recipients.len(), 3);
        assert!(!raw.contains("secret@"), "{raw}");
    }
}
