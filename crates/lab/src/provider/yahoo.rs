//! Yahoo and AOL: bracketed codes (`[TSS04]`), few enhanced codes, few messages in one connection.

use super::voice::{Speech, Why};

pub(super) fn refusal(why: Why, speech: &Speech<'_>) -> Option<Vec<String>> {
    let peer = speech.peer;
    let line = match why {
        Why::UnknownUser => "552 1 Requested mail action aborted, mailbox not found".to_owned(),
        Why::Disabled => "554 30 Sorry, your message cannot be delivered. This mailbox is disabled (554.30)".to_owned(),
        Why::TooFast => format!(
            "421 4.7.0 [TSS04] Messages from {peer} temporarily deferred due to unexpected volume or user complaints - 4.16.55.1; see https://postmaster.yahooinc.com/error-codes"
        ),
        Why::TooManyConnections => {
            format!("421 4.7.0 [TS02] Unusual traffic patterns from your server {peer}; see https://postmaster.yahooinc.com/error-codes")
        }
        Why::TooManyMessages => "421 Max message per connection reached, closing transmission channel".to_owned(),
        Why::Busy => "421 4.3.2 Server busy, please try again later".to_owned(),
        Why::Blocked => {
            format!("553 5.7.1 [BL21] Connections will not be accepted from {peer}, because the ip is in Spamhaus's list")
        }
        Why::Spam | Why::Policy => {
            "554 5.7.9 Message not accepted for policy reasons. See https://postmaster.yahooinc.com/error-codes".to_owned()
        }
        Why::Full | Why::Deferred | Why::Greylisted | Why::TlsRequired | Why::TooLarge | Why::TooManyRecipients | Why::NoRelay => return None,
    };
    Some(vec![line])
}
