//! Complaints as mailbox providers and abuse desks write them.
//!
//! ARF (RFC 5965) plain and in Yahoo's dress, Microsoft's JMRP mail that is no ARF at all, and XARF 3 and 4 as JSON
//! inside an ARF mail. Pure: an arrival and a stamp in, a message out. What the reader must cope with is kept: odd
//! subjects, wrapped originals, a recipient who is only named inside.

use crate::arrivals::{Arrival, field};
use crate::returns::{Parcel, Stamp, header_of, text_of};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail::Mailbox;
use serde::Deserialize;
use serde_json::{Value, json};

/// Columns of base64 in a body.
const BASE64_COLUMNS: usize = 76;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ComplaintFormat {
    #[default]
    Arf,
    Yahoo,
    Microsoft,
    Xarf3,
    Xarf4,
}

impl ComplaintFormat {
    pub const fn as_str(self) -> &'static str {
        match self {
            ComplaintFormat::Arf => "arf",
            ComplaintFormat::Yahoo => "yahoo",
            ComplaintFormat::Microsoft => "microsoft",
            ComplaintFormat::Xarf3 => "xarf3",
            ComplaintFormat::Xarf4 => "xarf4",
        }
    }
}

pub(crate) fn compose(format: ComplaintFormat, arrival: &Arrival, to: Mailbox, stamp: Stamp) -> Parcel {
    let (from, raw) = match format {
        ComplaintFormat::Arf => {
            let from = format!("feedback@{}", recipient_domain(arrival));
            let subject = format!("FW: {}", subject(arrival));
            (from.clone(), arf(&from, &to, &subject, "LabFeedback/1.0", arrival, stamp))
        }
        ComplaintFormat::Yahoo => {
            let from = "feedback@arf.mail.yahoo.com".to_owned();
            let subject = format!("Complaint about message from {}", arrival.peer.ip());
            let display = format!("Yahoo! Mail AntiSpam Feedback <{from}>");
            (from, arf(&display, &to, &subject, "Yahoo!-Mail-Feedback/2.0", arrival, stamp))
        }
        ComplaintFormat::Microsoft => ("staff@hotmail.com".to_owned(), jmrp(&to, arrival, stamp)),
        ComplaintFormat::Xarf3 => {
            ("reports@abusedesk.example".to_owned(), xarf(&to, arrival, stamp, &xarf3(arrival)))
        }
        ComplaintFormat::Xarf4 => {
            ("reports@abusedesk.example".to_owned(), xarf(&to, arrival, stamp, &xarf4(arrival, stamp)))
        }
    };
    Parcel { mail_from: from, rcpt_to: to.to_string(), raw: raw.into_bytes() }
}

fn arf(from: &str, to: &Mailbox, subject: &str, agent: &str, arrival: &Arrival, stamp: Stamp) -> String {
    let boundary = boundary(stamp);
    let head = head(from, to, subject, arrival, stamp);
    let report = feedback_report("abuse", agent, arrival);
    format!(
        "{head}Content-Type: multipart/report; report-type=feedback-report;\r\n\tboundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
         This is an email abuse report for an email message received from IP {ip} on {date}.\r\n\r\n\
         --{boundary}\r\nContent-Type: message/feedback-report\r\n\r\n{report}\r\n\
         --{boundary}\r\nContent-Type: message/rfc822\r\nContent-Disposition: inline\r\n\r\n{original}\r\n--{boundary}--\r\n",
        ip = arrival.peer.ip(),
        date = arrival.at.to_rfc5322(),
        original = received_text(arrival),
    )
}

/// Microsoft's Junk Mail Reporting Program: multipart/mixed, the original attached, its recipient in a field that
/// Microsoft puts into the original.
fn jmrp(to: &Mailbox, arrival: &Arrival, stamp: Stamp) -> String {
    let boundary = boundary(stamp);
    let subject = format!("complaint about message from {}", arrival.peer.ip());
    let head = head("<staff@hotmail.com>", to, &subject, arrival, stamp);
    let recipient = recipient(arrival);
    format!(
        "{head}Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n\
         X-HmXmrOriginalRecipient: {recipient}\r\n{original}\r\n--{boundary}--\r\n",
        original = received_text(arrival),
    )
}

fn xarf(to: &Mailbox, arrival: &Arrival, stamp: Stamp, report: &Value) -> String {
    let boundary = boundary(stamp);
    let subject = format!("XARF report: spam from {}", arrival.peer.ip());
    let head = head("Abuse Desk <reports@abusedesk.example>", to, &subject, arrival, stamp);
    let feedback = feedback_report("xarf", "AbuseDesk/1.0", arrival);
    format!(
        "{head}X-XARF: PLAIN\r\nContent-Type: multipart/report; report-type=feedback-report;\r\n\tboundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
         We received unsolicited mail from your network. The machine-readable report is attached.\r\n\r\n\
         --{boundary}\r\nContent-Type: message/feedback-report\r\n\r\n{feedback}\r\n\
         --{boundary}\r\nContent-Type: application/json; name=xarf.json\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=xarf.json\r\n\r\n{json}\r\n--{boundary}--\r\n",
        json = base64_lines(report.to_string().as_bytes()),
    )
}

fn xarf3(arrival: &Arrival) -> Value {
    json!({
        "Version": "3",
        "ReporterInfo": {
            "ReporterOrg": "Abuse Desk", "ReporterOrgDomain": "abusedesk.example", "ReporterOrgEmail": "reports@abusedesk.example"
        },
        "Disclosure": true,
        "Report": {
            "ReportClass": "Activity",
            "ReportType": "Spam",
            "Date": whole_seconds(arrival),
            "SourceIp": arrival.peer.ip().to_string(),
            "SourcePort": arrival.peer.port(),
            "SmtpMailFromAddress": arrival.mail_from,
            "SmtpRcptToAddress": recipient(arrival),
            "Samples": [{
                "ContentType": "message/rfc822", "Base64Encoded": true, "Description": "The mail",
                "Payload": BASE64.encode(received_text(arrival)),
            }],
        },
    })
}

fn xarf4(arrival: &Arrival, stamp: Stamp) -> Value {
    let header = header_of(arrival);
    let desk =
        json!({"org": "Abuse Desk", "contact": "reports@abusedesk.example", "domain": "abusedesk.example"});
    json!({
        "xarf_version": "4.2.0",
        "report_id": uuid(arrival, stamp),
        "timestamp": whole_seconds(arrival),
        "reporter": desk, "sender": desk,
        "source_identifier": arrival.peer.ip().to_string(),
        "source_port": arrival.peer.port(),
        "category": "messaging",
        "type": "spam",
        "protocol": "smtp",
        "smtp_from": arrival.mail_from,
        "smtp_to": recipient(arrival),
        "subject": subject(arrival),
        "message_id": arrival.raw.as_ref().and_then(|raw| field(raw, "message-id")).unwrap_or_default(),
        "evidence_source": "user_complaint",
        "confidence": 1.0,
        "evidence": [{
            "content_type": "text/rfc822-headers",
            "description": "Header of the reported message, body removed",
            "payload": BASE64.encode(&header),
            "hash": format!("sha256:{}", crate::world::sha256(header.as_bytes())),
            "size": header.len(),
        }],
        "tags": ["feedback:lab"],
    })
}

fn feedback_report(kind: &str, agent: &str, arrival: &Arrival) -> String {
    format!(
        "Feedback-Type: {kind}\r\nUser-Agent: {agent}\r\nVersion: 1\r\nOriginal-Mail-From: <{from}>\r\n\
         Original-Rcpt-To: {to}\r\nSource-IP: {ip}\r\nSource-Port: {port}\r\nArrival-Date: {date}\r\n\
         Reported-Domain: {domain}\r\nReporting-MTA: dns; {mx}\r\n",
        from = arrival.mail_from,
        to = recipient(arrival),
        ip = arrival.peer.ip(),
        port = arrival.peer.port(),
        date = arrival.at.to_rfc5322(),
        domain = author_domain(arrival),
        mx = arrival.mx,
    )
}

fn head(from: &str, to: &Mailbox, subject: &str, arrival: &Arrival, stamp: Stamp) -> String {
    format!(
        "From: {from}\r\nTo: <{to}>\r\nSubject: {subject}\r\nDate: {date}\r\nMessage-ID: <{id}@{mx}>\r\n\
         MIME-Version: 1.0\r\n",
        date = stamp.now.to_rfc5322(),
        id = uuid(arrival, stamp),
        mx = arrival.mx,
    )
}

/// The message as it lay in the mailbox: with the fields that the provider added.
fn received_text(arrival: &Arrival) -> String {
    format!(
        "Return-Path: <{from}>\r\nReceived: from {ehlo} ([{ip}])\r\n\tby {mx} with ESMTP{tls};\r\n\t{date}\r\n{text}",
        from = arrival.mail_from,
        ehlo = arrival.ehlo,
        ip = arrival.peer.ip(),
        mx = arrival.mx,
        tls = if arrival.tls.is_some() { "S" } else { "" },
        date = arrival.at.to_rfc5322(),
        text = text_of(arrival),
    )
}

fn recipient(arrival: &Arrival) -> &str {
    arrival.rcpt_to.first().map_or("", String::as_str)
}

fn recipient_domain(arrival: &Arrival) -> &str {
    recipient(arrival).rsplit_once('@').map_or(arrival.mx, |(_, domain)| domain)
}

fn author_domain(arrival: &Arrival) -> String {
    let from = arrival.raw.as_ref().and_then(|raw| field(raw, "from")).unwrap_or_default();
    let domain = from.rsplit_once('@').map_or("", |(_, rest)| rest);
    domain.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')).collect()
}

fn subject(arrival: &Arrival) -> String {
    arrival.raw.as_ref().and_then(|raw| field(raw, "subject")).unwrap_or_default()
}

/// XARF wants RFC 3339 without fractions.
fn whole_seconds(arrival: &Arrival) -> String {
    let text = arrival.at.to_string();
    format!("{}Z", text.get(..19).unwrap_or(&text))
}

fn uuid(arrival: &Arrival, stamp: Stamp) -> String {
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        format!("{} {}", arrival.id, stamp.serial).as_bytes(),
    );
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

pub(crate) fn boundary(stamp: Stamp) -> String {
    format!("=_lab_{:x}_{:x}", stamp.now.as_millis(), stamp.serial)
}

fn base64_lines(bytes: &[u8]) -> String {
    let whole = BASE64.encode(bytes);
    let lines: Vec<&str> = (0..whole.len())
        .step_by(BASE64_COLUMNS)
        .map(|i| &whole[i..whole.len().min(i + BASE64_COLUMNS)])
        .collect();
    lines.join("\r\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use bytes::Bytes;
    use mail::Timestamp;

    pub(crate) const STAMP: Stamp = Stamp { now: Timestamp::from_millis(1_795_425_999_000), serial: 9 };

    pub(crate) fn arrival() -> Arrival {
        Arrival {
            id: "arr_0000000001".into(),
            at: Timestamp::from_millis(1_795_425_249_120),
            provider: "yahoo",
            mx: "mta5.am0.yahoodns.net",
            peer: "127.30.0.1:48122".parse().unwrap(),
            ehlo: "out1.posthouse.test".into(),
            tls: Some("TLSv1.3"),
            mail_from: "b+token@rp.client.example".into(),
            rcpt_to: vec!["anna@yahoo.com".into()],
            octets: 0,
            sha256: String::new(),
            raw: Some(Bytes::from_static(
                b"From: Client <news@client.example>\r\nTo: anna@yahoo.com\r\nSubject: Offers\r\nMessage-ID: <m1@client.example>\r\n\r\n.Hello\r\n",
            )),
        }
    }

    #[test]
    fn every_format_names_what_the_reader_needs_and_has_clean_lines() {
        let to = Mailbox::parse("fbl@posthouse.test").unwrap();
        for format in [
            ComplaintFormat::Arf,
            ComplaintFormat::Yahoo,
            ComplaintFormat::Microsoft,
            ComplaintFormat::Xarf3,
            ComplaintFormat::Xarf4,
        ] {
            let parcel = compose(format, &arrival(), to.clone(), STAMP);
            assert!(crate::wire::has_clean_line_ends(&parcel.raw), "{format:?}");
            let text = String::from_utf8(parcel.raw).unwrap();
            assert!(text.starts_with("From: ") && text.ends_with("--\r\n"), "{format:?}");
            assert!(text.contains("To: <fbl@posthouse.test>\r\n") && parcel.rcpt_to == "fbl@posthouse.test");
            assert!(Mailbox::parse(&parcel.mail_from).is_ok());
            let arf = text.contains("report-type=feedback-report")
                && text.contains("\r\nOriginal-Mail-From: <b+token@rp.client.example>\r\n");
            assert_eq!(arf, format != ComplaintFormat::Microsoft, "{format:?}");
            assert!(text.contains("anna@yahoo.com"), "{format:?}");
        }
    }

    #[test]
    fn xarf_4_is_what_its_schema_asks_for() {
        let report = xarf4(&arrival(), STAMP);
        assert_eq!(report["timestamp"], "2026-11-23T09:14:09Z");
        assert_eq!(
            (&report["category"], &report["type"], &report["source_port"]),
            (&json!("messaging"), &json!("spam"), &json!(48122))
        );
        let header = BASE64.decode(report["evidence"][0]["payload"].as_str().unwrap()).unwrap();
        assert!(header.ends_with(b"Message-ID: <m1@client.example>\r\n"));
    }
}
