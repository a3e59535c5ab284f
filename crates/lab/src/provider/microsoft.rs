//! Microsoft, twice: Outlook.com for people, Exchange Online for companies. Their codes have little in common.

use super::voice::{Speech, Why};

pub(super) fn consumer_refusal(why: Why, speech: &Speech<'_>) -> Option<Vec<String>> {
    let Speech { peer, host, .. } = speech;
    let line = match why {
        Why::UnknownUser => {
            "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).".to_owned()
        }
        Why::Full => "452 4.2.2 mailbox full".to_owned(),
        Why::TooFast => format!(
            "451 4.7.650 The mail server [{peer}] has been temporarily rate limited due to IP reputation. For e-mail delivery information, see https://postmaster.live.com (S775) [{host}]"
        ),
        Why::TooManyConnections => {
            format!(
                "421 4.3.2 Connection refused from {peer} due to exceed max concurrent connections. IB007"
            )
        }
        Why::TooManyMessages => {
            format!("421 4.7.0 The mail server {peer} has exceeded maximum number of messages per connection")
        }
        Why::Busy => format!("421 4.7.500 Server busy. Please try again later from [{peer}]. (S77719)"),
        Why::Deferred => format!("451 4.7.500 Server busy. Please try again later from [{peer}]. (S77719)"),
        Why::Blocked => format!(
            "550 5.7.1 Unfortunately, messages from [{peer}] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3150)."
        ),
        Why::Spam => "550 SC-001 Mail rejected by Outlook.com for policy reasons".to_owned(),
        Why::Policy => {
            "550 5.7.515 Access denied, sending domain does not meet the required authentication level"
                .to_owned()
        }
        Why::Disabled
        | Why::Greylisted
        | Why::TlsRequired
        | Why::TooLarge
        | Why::TooManyRecipients
        | Why::NoRelay => return None,
    };
    Some(vec![line])
}

pub(super) fn exchange_refusal(why: Why, speech: &Speech<'_>) -> Option<Vec<String>> {
    let Speech { peer, host, .. } = speech;
    let line = match why {
        Why::UnknownUser => format!("550 5.4.1 Recipient address rejected: Access denied. AS(201806281) [{host}]"),
        Why::Disabled => "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup".to_owned(),
        Why::Full => "452 4.2.2 STOREDRV.Deliver; mailbox full".to_owned(),
        Why::Deferred => format!("451 4.7.500 Server busy. Please try again later from [{peer}]. (S77719)"),
        Why::TooFast => {
            format!("451 4.7.650 The mail server [{peer}] has been temporarily rate limited due to IP reputation. (S775) [{host}]")
        }
        Why::TooManyConnections | Why::TooManyMessages | Why::Busy => {
            format!("421 4.7.500 Server busy. Please try again later from [{peer}]. (S77719) [{host}]")
        }
        Why::Blocked => format!("550 5.7.606 Access denied, banned sending IP [{peer}]. To request removal visit https://sender.office.com"),
        Why::Spam => format!("550 5.7.511 Access denied, banned sender [{peer}]"),
        Why::Policy => {
            "550 5.7.509 Access denied, sending domain does not pass DMARC verification and has a DMARC policy of reject".to_owned()
        }
        Why::Greylisted | Why::TlsRequired | Why::TooLarge | Why::TooManyRecipients | Why::NoRelay => return None,
    };
    Some(vec![line])
}
