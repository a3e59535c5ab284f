//! Bounces that come after acceptance, in the shapes in which the world sends them.
//!
//! Delivery status notifications (RFC 3464) as Postfix, Exchange and Gmail dress them, the texts of Exim and qmail
//! that are no DSN, and some that are broken or no bounce at all. Pure: arrival and stamp in, message out.

use crate::arrivals::{Arrival, field};
use crate::complaints::boundary;
use crate::returns::{Parcel, Stamp, header_of, text_of};
use mail::Mailbox;
use serde::Deserialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BounceFormat {
    /// As the standard has it.
    #[default]
    #[serde(alias = "dsn")]
    Rfc3464,
    Postfix,
    /// Text, the recipient in X-Failed-Recipients, the original below a line.
    Exim,
    /// The text that begins "Hi. This is the qmail-send program".
    Qmail,
    /// A non-delivery report with a "Diagnostic information for administrators".
    Exchange,
    Gmail,
    /// A DSN labelled multipart/mixed.
    Mislabelled,
    /// A DSN that ends in the middle.
    Truncated,
    /// One sentence, nothing returned.
    Bare,
    /// No bounce: an answer of somebody who is away.
    Vacation,
}

/// What the bounce says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Verdict {
    /// Of the arrival's recipients; the first if absent.
    pub recipient: Option<String>,
    pub status: String,
    pub code: u16,
    pub text: String,
    pub action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    Failed,
    Delayed,
}

impl Default for Verdict {
    fn default() -> Verdict {
        Verdict {
            recipient: None,
            status: "5.1.1".into(),
            code: 550,
            text: "user unknown".into(),
            action: Action::Failed,
        }
    }
}

impl Verdict {
    /// What it says goes into header fields and lines: printable ASCII only.
    pub fn check(&self) -> Result<(), String> {
        let printable = |text: &str| text.len() <= 500 && text.bytes().all(|b| (b' '..=b'~').contains(&b));
        if mail::EnhancedStatus::parse(&self.status).is_none() {
            return Err("status is three numbers such as 5.1.1".into());
        }
        if !(400..600).contains(&self.code) {
            return Err("code is a reply code from 400 to 599".into());
        }
        let whole = printable(&self.text) && self.recipient.as_deref().is_none_or(printable);
        if whole {
            Ok(())
        } else {
            Err("text and recipient are printable ASCII, at most 500 characters".into())
        }
    }
}

impl BounceFormat {
    pub const fn as_str(self) -> &'static str {
        match self {
            BounceFormat::Rfc3464 => "rfc3464",
            BounceFormat::Postfix => "postfix",
            BounceFormat::Exim => "exim",
            BounceFormat::Qmail => "qmail",
            BounceFormat::Exchange => "exchange",
            BounceFormat::Gmail => "gmail",
            BounceFormat::Mislabelled => "mislabelled",
            BounceFormat::Truncated => "truncated",
            BounceFormat::Bare => "bare",
            BounceFormat::Vacation => "vacation",
        }
    }
}

/// What every format needs, gathered once.
struct Story<'a> {
    arrival: &'a Arrival,
    verdict: &'a Verdict,
    to: &'a Mailbox,
    recipient: String,
    domain: String,
    stamp: Stamp,
}

pub(crate) fn compose(
    format: BounceFormat,
    verdict: &Verdict,
    arrival: &Arrival,
    to: Mailbox,
    stamp: Stamp,
) -> Parcel {
    let recipient =
        verdict.recipient.clone().or_else(|| arrival.rcpt_to.first().cloned()).unwrap_or_default();
    let domain = recipient.rsplit_once('@').map_or(arrival.mx, |(_, domain)| domain).to_owned();
    let story = Story { arrival, verdict, to: &to, recipient, domain, stamp };
    let raw = match format {
        BounceFormat::Rfc3464 => story.dsn(Dress { report: "multipart/report; report-type=delivery-status", ..Dress::default() }),
        BounceFormat::Postfix => story.dsn(Dress {
            from: "MAILER-DAEMON (Mail Delivery System)",
            subject: "Undelivered Mail Returned to Sender",
            intro: "This is the mail system at host.\r\n\r\nI'm sorry to have to inform you that your message could not\r\nbe delivered to one or more recipients. It's attached below.\r\n",
            ..Dress::default()
        }),
        BounceFormat::Gmail => story.dsn(Dress {
            from: "Mail Delivery Subsystem <mailer-daemon@googlemail.com>",
            subject: "Delivery Status Notification (Failure)",
            intro: "** Address not found **\r\n\r\nYour message wasn't delivered because the address couldn't be found.\r\n",
            failed_recipients: true,
            ..Dress::default()
        }),
        BounceFormat::Exchange => story.dsn(Dress {
            from: "Microsoft Outlook <postmaster@outlook.com>",
            subject: "Undeliverable:",
            intro: "Your message couldn't be delivered.\r\n\r\nDiagnostic information for administrators:\r\n",
            ..Dress::default()
        }),
        BounceFormat::Mislabelled => story.dsn(Dress { report: "multipart/mixed", ..Dress::default() }),
        BounceFormat::Truncated => story.truncated(),
        BounceFormat::Exim => story.exim(),
        BounceFormat::Qmail => story.qmail(),
        BounceFormat::Bare => story.bare(),
        BounceFormat::Vacation => story.vacation(),
    };
    Parcel { mail_from: String::new(), rcpt_to: to.to_string(), raw: raw.into_bytes() }
}

/// How a DSN is dressed.
struct Dress {
    from: &'static str,
    subject: &'static str,
    intro: &'static str,
    report: &'static str,
    failed_recipients: bool,
}

impl Default for Dress {
    fn default() -> Dress {
        Dress {
            from: "Mail Delivery Subsystem",
            subject: "Delivery Status Notification",
            intro: "Your message could not be delivered to one or more recipients.\r\n",
            report: "multipart/report; report-type=delivery-status",
            failed_recipients: false,
        }
    }
}

impl Story<'_> {
    fn head(&self, from: &str, subject: &str) -> String {
        let from =
            if from.contains('@') { from.to_owned() } else { format!("MAILER-DAEMON@{}", self.domain) };
        format!(
            "From: {from}\r\nTo: {to}\r\nSubject: {subject}\r\nDate: {date}\r\nMessage-ID: <{serial:x}.{at:x}@{mx}>\r\n\
             Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n",
            to = self.to,
            date = self.stamp.now.to_rfc5322(),
            serial = self.stamp.serial,
            at = self.stamp.now.as_millis(),
            mx = self.arrival.mx,
        )
    }

    fn dsn(&self, dress: Dress) -> String {
        let boundary = boundary(self.stamp);
        let Story { verdict, recipient, arrival, .. } = self;
        let failed = if dress.failed_recipients {
            format!("X-Failed-Recipients: {recipient}\r\n")
        } else {
            String::new()
        };
        let subject = if dress.subject.ends_with(':') {
            format!("{} {}", dress.subject, self.original_subject())
        } else {
            dress.subject.into()
        };
        let action = match verdict.action {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
        };
        format!(
            "{head}{failed}Content-Type: {report}; boundary=\"{boundary}\"\r\n\r\n\
             --{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n{intro}\r\n\
             <{recipient}>: host {mx} said: {code} {status} {text}\r\n\r\n\
             --{boundary}\r\nContent-Type: message/delivery-status\r\n\r\n\
             Reporting-MTA: dns; {mx}\r\nArrival-Date: {date}\r\n\r\n\
             Original-Recipient: rfc822; {recipient}\r\nFinal-Recipient: rfc822; {recipient}\r\nAction: {action}\r\n\
             Status: {status}\r\nRemote-MTA: dns; {mx}\r\nDiagnostic-Code: smtp; {code} {status} {text}\r\n\r\n\
             --{boundary}\r\nContent-Type: message/rfc822\r\n\r\n{original}\r\n--{boundary}--\r\n",
            head = self.head(dress.from, &subject),
            report = dress.report,
            intro = dress.intro,
            mx = arrival.mx,
            code = verdict.code,
            status = verdict.status,
            text = verdict.text,
            date = arrival.at.to_rfc5322(),
            original = text_of(arrival),
        )
    }

    /// Cut in the middle of the returned header, as sites with a size limit for bounces do.
    fn truncated(&self) -> String {
        let whole = self.dsn(Dress::default());
        let at =
            whole.rfind("\r\nContent-Type: message/rfc822").map_or(whole.len(), |i| whole.len().min(i + 90));
        let at = whole[..at].rfind("\r\n").map_or(at, |i| i + 2);
        whole[..at].to_owned()
    }

    fn exim(&self) -> String {
        let Story { verdict, recipient, arrival, .. } = self;
        format!(
            "{head}X-Failed-Recipients: {recipient}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
             This message was created automatically by mail delivery software.\r\n\r\n\
             A message that you sent could not be delivered to one or more of its\r\nrecipients. This is a permanent error. \
             The following address(es) failed:\r\n\r\n  {recipient}\r\n    host {mx}\r\n\
             \x20   SMTP error from remote mail server after RCPT TO:<{recipient}>:\r\n    {code} {status} {text}\r\n\r\n\
             ------ This is a copy of the message, including all the headers. ------\r\n\r\n{original}",
            head = self.head("Mail Delivery System", "Mail delivery failed: returning message to sender"),
            mx = arrival.mx,
            code = verdict.code,
            status = verdict.status,
            text = verdict.text,
            original = text_of(arrival),
        )
    }

    fn qmail(&self) -> String {
        let Story { verdict, recipient, arrival, domain, .. } = self;
        format!(
            "{head}\r\nHi. This is the qmail-send program at {domain}.\r\n\
             I'm afraid I wasn't able to deliver your message to the following addresses.\r\n\
             This is a permanent error; I've given up. Sorry it didn't work out.\r\n\r\n\
             <{recipient}>:\r\n{ip} does not like recipient.\r\nRemote host said: {code} {status} {text}\r\nGiving up on {ip}.\r\n\r\n\
             --- Below this line is a copy of the message.\r\n\r\nReturn-Path: <{from}>\r\n{original}",
            head = self.head("", "failure notice"),
            ip = arrival.peer.ip(),
            code = verdict.code,
            status = verdict.status,
            text = verdict.text,
            from = arrival.mail_from,
            original = text_of(arrival),
        )
    }

    fn bare(&self) -> String {
        let text = &self.verdict.text;
        format!(
            "{head}Content-Type: text/plain\r\n\r\nYour mail to {recipient} was not delivered: {text}.\r\n",
            head = self.head("", "Returned mail: see transcript for details"),
            recipient = self.recipient,
        )
    }

    fn vacation(&self) -> String {
        let references = field(header_of(self.arrival).as_bytes(), "message-id").unwrap_or_default();
        format!(
            "{head}In-Reply-To: {references}\r\nPrecedence: bulk\r\nContent-Type: text/plain\r\n\r\nI am away until Monday.\r\n",
            head = self.head(&self.recipient, &format!("Auto: {}", self.original_subject())),
        )
    }

    fn original_subject(&self) -> String {
        self.arrival.raw.as_ref().and_then(|raw| field(raw, "subject")).unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::complaints::tests::{STAMP, arrival};

    const ALL: [BounceFormat; 10] = [
        BounceFormat::Rfc3464,
        BounceFormat::Postfix,
        BounceFormat::Exim,
        BounceFormat::Qmail,
        BounceFormat::Exchange,
        BounceFormat::Gmail,
        BounceFormat::Mislabelled,
        BounceFormat::Truncated,
        BounceFormat::Bare,
        BounceFormat::Vacation,
    ];

    #[test]
    fn a_verdict_that_would_break_the_message_is_refused() {
        let refused = |json: &str| {
            serde_json::from_str::<Verdict>(json)
                .map_err(|_| ())
                .and_then(|v| v.check().map_err(|_| ()))
                .is_err()
        };
        for json in [
            r#"{"status":"5.1"}"#,
            r#"{"code":250}"#,
            r#"{"text":"a\r\nBcc: b@c.example"}"#,
            r#"{"recipient":"é"}"#,
            r#"{"action":"relayed"}"#,
            r#"{"x":1}"#,
        ] {
            assert!(refused(json), "{json}");
        }
        assert!(!refused("{}"));
    }

    #[test]
    fn every_format_goes_to_the_reverse_path_from_nobody() {
        let to = Mailbox::parse("b+token@rp.client.example").unwrap();
        for format in ALL {
            let parcel = compose(format, &Verdict::default(), &arrival(), to.clone(), STAMP);
            assert_eq!(
                (parcel.mail_from.as_str(), parcel.rcpt_to.as_str()),
                ("", "b+token@rp.client.example")
            );
            assert!(crate::wire::has_clean_line_ends(&parcel.raw), "{format:?}");
            let text = String::from_utf8(parcel.raw).unwrap();
            assert!(text.contains("anna@yahoo.com") && text.ends_with("\r\n"), "{format:?}");
            let is_dsn = text.contains("\r\nStatus: 5.1.1\r\n")
                && text.contains("\r\nFinal-Recipient: rfc822; anna@yahoo.com\r\n");
            let should = !matches!(
                format,
                BounceFormat::Exim | BounceFormat::Qmail | BounceFormat::Bare | BounceFormat::Vacation
            );
            assert_eq!(is_dsn, should, "{format:?}");
        }
    }

    #[test]
    fn a_truncated_one_has_no_end() {
        let to = Mailbox::parse("b+token@rp.client.example").unwrap();
        let raw = compose(BounceFormat::Truncated, &Verdict::default(), &arrival(), to, STAMP).raw;
        assert!(!raw.ends_with(b"--\r\n"));
    }
}
