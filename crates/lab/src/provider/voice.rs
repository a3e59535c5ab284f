//! What a provider says, for each thing that can happen.
//!
//! The texts are shortened forms of what the real ones answer, with the tokens by which senders recognise them. A
//! reply is written whole, several lines where the real one has several. `plain.rs` has a text for everything; the
//! others answer what is special about them and leave the rest to it.

use super::{gmail, microsoft, plain, regional, yahoo};
use std::net::IpAddr;

/// Whose words are imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Voice {
    /// Nobody's in particular.
    Plain,
    /// gmail.com.
    Gmail,
    /// yahoo.com, aol.com.
    Yahoo,
    /// yahoo.co.jp.
    YahooJapan,
    /// outlook.com and its kind.
    Microsoft,
    /// Microsoft 365, of companies.
    Exchange,
    /// icloud.com.
    Apple,
    /// comcast.net.
    Comcast,
    /// charter.net and its kind.
    Spectrum,
    /// cox.net.
    Cox,
    /// att.net.
    Att,
    /// orange.fr.
    Orange,
    /// gmx.net, web.de.
    Gmx,
    /// t-online.de.
    TOnline,
    /// mail.ru.
    MailRu,
    /// yandex.ru.
    Yandex,
    /// qq.com.
    Qq,
    /// 163.com and its kind.
    Netease,
    /// A filter in front of companies.
    Mimecast,
    /// netvigator.com.
    Netvigator,
}

/// Why a provider says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// No such mailbox.
    UnknownUser,
    /// There was one.
    Disabled,
    /// Over its quota.
    Full,
    /// A stranger has to come again.
    Greylisted,
    /// Come again, for whatever reason.
    Deferred,
    /// Too many messages in a time.
    TooFast,
    /// Too many connections at a time.
    TooManyConnections,
    /// Too many messages over one connection.
    TooManyMessages,
    /// Out of order for the moment.
    Busy,
    /// The peer has a bad reputation.
    Blocked,
    /// The content looks like spam.
    Spam,
    /// Some rule of theirs.
    Policy,
    /// Not in plain text.
    TlsRequired,
    /// Over the SIZE.
    TooLarge,
    /// In one transaction.
    TooManyRecipients,
    /// The domain is not theirs.
    NoRelay,
}

/// What a text may mention.
#[derive(Debug, Clone, Copy)]
pub struct Speech<'a> {
    /// Whom it is said to.
    pub peer: IpAddr,
    /// The provider's host that speaks.
    pub host: &'a str,
    /// Of RCPT TO, without angle brackets.
    pub recipient: &'a str,
    /// Part of an invented queue id.
    pub serial: u64,
}

/// Features that EHLO shows, beside STARTTLS.
#[derive(Debug, Clone, Copy)]
pub struct Features {
    /// Lines of EHLO as they are, without the code.
    pub lines: &'static [&'static str],
    /// Octets; the SIZE that is said (RFC 1870).
    pub size: usize,
    /// RFC 3030.
    pub chunking: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 8689.
    pub require_tls: bool,
}

impl Voice {
    /// In the order of their declaration.
    pub const ALL: [Voice; 20] = [
        Voice::Plain,
        Voice::Gmail,
        Voice::Yahoo,
        Voice::YahooJapan,
        Voice::Microsoft,
        Voice::Exchange,
        Voice::Apple,
        Voice::Comcast,
        Voice::Spectrum,
        Voice::Cox,
        Voice::Att,
        Voice::Orange,
        Voice::Gmx,
        Voice::TOnline,
        Voice::MailRu,
        Voice::Yandex,
        Voice::Qq,
        Voice::Netease,
        Voice::Mimecast,
        Voice::Netvigator,
    ];

    /// The lines of a refusal, without line ends: each begins with the code.
    pub fn refusal(self, why: Why, speech: &Speech<'_>) -> Vec<String> {
        let own = match self {
            Voice::Plain => None,
            Voice::Gmail => gmail::refusal(why, speech),
            Voice::Yahoo => yahoo::refusal(why, speech),
            Voice::Microsoft => microsoft::consumer_refusal(why, speech),
            Voice::Exchange => microsoft::exchange_refusal(why, speech),
            Voice::YahooJapan
            | Voice::Apple
            | Voice::Comcast
            | Voice::Spectrum
            | Voice::Cox
            | Voice::Att
            | Voice::Orange
            | Voice::Gmx
            | Voice::TOnline
            | Voice::MailRu
            | Voice::Yandex
            | Voice::Qq
            | Voice::Netease
            | Voice::Mimecast
            | Voice::Netvigator => regional::refusal(self, why, speech).map(|line| vec![line]),
        };
        own.unwrap_or_else(|| vec![plain::refusal(why, speech)])
    }

    /// With its code, without CRLF.
    pub fn greeting(self, host: &str, serial: u64) -> String {
        match self {
            Voice::Gmail => format!("220 mx.google.com ESMTP {} - gsmtp", gmail::token(serial)),
            Voice::Yahoo | Voice::YahooJapan => format!("220 {host} ESMTP ready"),
            Voice::Microsoft | Voice::Exchange => format!("220 {host} Microsoft ESMTP MAIL Service ready"),
            Voice::Apple => format!("220 {host} iCloud ESMTP"),
            _ => format!("220 {host} ESMTP"),
        }
    }

    /// The answer to the end of data, with its code.
    pub fn accepted(self, host: &str, serial: u64) -> String {
        match self {
            Voice::Gmail => format!("250 2.0.0 OK  1795425249 {} - gsmtp", gmail::token(serial)),
            Voice::Yahoo | Voice::YahooJapan => "250 ok dirdel".to_owned(),
            Voice::Microsoft | Voice::Exchange => {
                format!("250 2.6.0 <{serial:016x}@{host}> [InternalId={serial}] Queued mail for delivery")
            }
            Voice::Apple => format!("250 2.0.0 Ok: queued as {serial:012X}"),
            _ => format!("250 2.0.0 Ok: queued as {serial:010X}"),
        }
    }

    /// What EHLO shows.
    pub fn features(self) -> Features {
        let postfix =
            ["PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING"].as_slice();
        let features = |lines, size, chunking, smtputf8| Features {
            lines,
            size,
            chunking,
            smtputf8,
            require_tls: false,
        };
        match self {
            Voice::Plain => Features { require_tls: true, ..features(postfix, 52_428_800, true, true) },
            Voice::Gmail => features(
                &["8BITMIME", "ENHANCEDSTATUSCODES", "PIPELINING", "CHUNKING", "SMTPUTF8"],
                157_286_400,
                true,
                true,
            ),
            Voice::Yahoo | Voice::YahooJapan => {
                features(&["PIPELINING", "8BITMIME"], 41_943_040, false, false)
            }
            Voice::Microsoft | Voice::Exchange => features(
                &[
                    "PIPELINING",
                    "DSN",
                    "ENHANCEDSTATUSCODES",
                    "8BITMIME",
                    "BINARYMIME",
                    "CHUNKING",
                    "SMTPUTF8",
                ],
                49_283_072,
                true,
                true,
            ),
            Voice::Qq | Voice::Netease | Voice::MailRu => {
                features(&["PIPELINING", "8BITMIME"], 73_400_320, false, false)
            }
            _ => features(&["PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME"], 35_651_584, false, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub const WHYS: [Why; 16] = [
        Why::UnknownUser,
        Why::Disabled,
        Why::Full,
        Why::Greylisted,
        Why::Deferred,
        Why::TooFast,
        Why::TooManyConnections,
        Why::TooManyMessages,
        Why::Busy,
        Why::Blocked,
        Why::Spam,
        Why::Policy,
        Why::TlsRequired,
        Why::TooLarge,
        Why::TooManyRecipients,
        Why::NoRelay,
    ];

    #[test]
    fn every_refusal_is_a_well_formed_reply_of_the_right_kind() {
        let peer = IpAddr::from([192, 0, 2, 7]);
        let speech = Speech { peer, host: "mx.a.example", recipient: "a@a.example", serial: 77 };
        for (voice, why) in Voice::ALL.into_iter().flat_map(|voice| WHYS.map(|why| (voice, why))) {
            let lines = voice.refusal(why, &speech);
            let code = lines[0][..3].to_owned();
            for (i, line) in lines.iter().enumerate() {
                let divider = if i + 1 == lines.len() { b' ' } else { b'-' };
                assert!(line.starts_with(&code) && line.as_bytes()[3] == divider, "{voice:?} {why:?} {line}");
                assert!(
                    line.len() <= 510 && line.bytes().all(|b| (b' '..=b'~').contains(&b)),
                    "{voice:?} {why:?} {line}"
                );
            }
            let transient = matches!(
                why,
                Why::Greylisted
                    | Why::Deferred
                    | Why::TooManyConnections
                    | Why::TooManyMessages
                    | Why::Busy
                    | Why::TooManyRecipients
            );
            let permanent = matches!(
                why,
                Why::UnknownUser | Why::Disabled | Why::Spam | Why::Policy | Why::TooLarge | Why::NoRelay
            );
            assert!(!transient || code.starts_with('4'), "{voice:?} {why:?}");
            assert!(!permanent || code.starts_with('5'), "{voice:?} {why:?}");
            // Who says 421 closes, and who closes says 421 (RFC 5321 §3.8).
            assert!(
                !matches!(why, Why::TooManyConnections | Why::TooManyMessages | Why::Busy) || code == "421",
                "{voice:?} {why:?}"
            );
        }
    }
}
