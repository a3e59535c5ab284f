//! Gmail: texts of several lines, a link and an opaque token at the end, `gsmtp`.

use super::voice::{Speech, Why};

pub(super) fn refusal(why: Why, speech: &Speech<'_>) -> Option<Vec<String>> {
    let peer = speech.peer;
    let tail = format!("{} - gsmtp", token(speech.serial));
    let (status, lines): (&str, Vec<String>) = match why {
        Why::UnknownUser => (
            "550 5.1.1",
            vec![
                "The email account that you tried to reach does not exist. Please try".into(),
                "double-checking the recipient's email address for typos or".into(),
                "unnecessary spaces. For more information, go to".into(),
                format!("https://support.google.com/mail/?p=NoSuchUser {tail}"),
            ],
        ),
        Why::Disabled => (
            "550 5.2.1",
            vec![
                "The email account that you tried to reach is disabled. For more".into(),
                format!("information, go to https://support.google.com/mail/?p=DisabledUser {tail}"),
            ],
        ),
        Why::Full => (
            "452 4.2.2",
            vec![
                "The recipient's inbox is out of storage space. Please direct the".into(),
                format!("recipient to https://support.google.com/mail/?p=OverQuotaTemp {tail}"),
            ],
        ),
        Why::TooFast | Why::TooManyConnections | Why::TooManyMessages => (
            "421 4.7.28",
            vec![
                "Our system has detected an unusual rate of unsolicited mail originating".into(),
                format!("from your IP address [{peer}]. To protect our users from spam, mail sent"),
                format!("from your IP address has been temporarily rate limited. {tail}"),
            ],
        ),
        Why::Busy => ("421 4.3.0", vec![format!("Temporary System Problem. Try again later. {tail}")]),
        Why::Blocked => (
            "550 5.7.1",
            vec![
                format!("[{peer}] Our system has detected that this message is"),
                "likely suspicious due to the very low reputation of the sending IP address.".into(),
                format!("To protect our users from spam, the message has been blocked. {tail}"),
            ],
        ),
        Why::Spam => (
            "550 5.7.1",
            vec![
                format!("[{peer}] Our system has detected that this message is likely unsolicited mail."),
                "To reduce the amount of spam sent to Gmail, this message has been blocked.".into(),
                format!("Please visit https://support.google.com/mail/?p=UnsolicitedMessageError {tail}"),
            ],
        ),
        Why::Policy => (
            "550 5.7.26",
            vec![
                "This mail has been blocked because the sender is unauthenticated.".into(),
                format!("This mail is unauthenticated, which poses a security risk. {tail}"),
            ],
        ),
        Why::TlsRequired => {
            ("421 4.7.29", vec![format!("This message was not sent over a TLS connection. {tail}")])
        }
        Why::TooLarge => {
            ("552 5.3.4", vec![format!("Your message exceeded Google's message size limits. {tail}")])
        }
        Why::Deferred => ("451 4.3.0", vec![format!("Mail server temporarily rejected message. {tail}")]),
        Why::Greylisted | Why::TooManyRecipients | Why::NoRelay => return None,
    };
    Some(fold(status, &lines))
}

/// `550 5.1.1` and its lines: every line repeats code and status, as Gmail does.
fn fold(status: &str, lines: &[String]) -> Vec<String> {
    let (code, enhanced) = status.split_once(' ').unwrap_or((status, ""));
    let last = lines.len().saturating_sub(1);
    let line =
        |(i, text): (usize, &String)| format!("{code}{}{enhanced} {text}", if i == last { ' ' } else { '-' });
    lines.iter().enumerate().map(line).collect()
}

/// What stands at the end of every Gmail reply.
pub(super) fn token(serial: u64) -> String {
    let mixed = serial.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{:08x}-{:013x}si{:07}", mixed >> 32, mixed >> 12, mixed % 10_000_000)
}
