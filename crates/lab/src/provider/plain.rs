//! A plain site: Postfix on somebody's server. Has a text for everything.

use super::voice::{Speech, Why};

pub(super) fn refusal(why: Why, speech: &Speech<'_>) -> String {
    let Speech { peer, host, recipient, .. } = speech;
    match why {
        Why::UnknownUser => {
            format!(
                "550 5.1.1 <{recipient}>: Recipient address rejected: User unknown in virtual mailbox table"
            )
        }
        Why::Disabled => {
            format!("550 5.2.1 <{recipient}>: Recipient address rejected: this mailbox is disabled")
        }
        Why::Full => format!("452 4.2.2 <{recipient}>: mailbox full, over quota"),
        Why::Greylisted => format!(
            "450 4.2.0 <{recipient}>: Recipient address rejected: Greylisted, see http://postgrey.example"
        ),
        Why::Deferred => "451 4.3.0 Temporary local problem, please try again later".to_owned(),
        Why::TooFast => format!("450 4.7.1 Error: too much mail from {peer}"),
        Why::TooManyConnections => format!("421 4.7.0 {host} Error: too many connections from {peer}"),
        Why::TooManyMessages => format!("421 4.7.0 {host} Error: too many messages per connection"),
        Why::Busy => format!("421 4.3.2 {host} Service not available, closing transmission channel"),
        Why::Blocked => {
            format!("554 5.7.1 Service unavailable; Client host [{peer}] blocked using zen.spamhaus.example")
        }
        Why::Spam => "550 5.7.1 Message rejected as spam by content filter".to_owned(),
        Why::Policy => "554 5.7.1 Message rejected by local policy".to_owned(),
        Why::TlsRequired => "530 5.7.0 Must issue a STARTTLS command first".to_owned(),
        Why::TooLarge => "552 5.3.4 Message size exceeds fixed limit".to_owned(),
        Why::TooManyRecipients => "452 4.5.3 Error: too many recipients".to_owned(),
        Why::NoRelay => format!("554 5.7.1 <{recipient}>: Relay access denied"),
    }
}
