//! The other providers: one line each for what they are known for; the rest they say like everybody.

use super::voice::{Speech, Voice, Why};

pub(super) fn refusal(voice: Voice, why: Why, speech: &Speech<'_>) -> Option<String> {
    american(voice, why, speech).or_else(|| others(voice, why, speech))
}

/// Those of North America.
fn american(voice: Voice, why: Why, speech: &Speech<'_>) -> Option<String> {
    let peer = speech.peer;
    let line = match (voice, why) {
        (Voice::Apple, Why::Full) => "452 4.2.2 user is over quota".to_owned(),
        (Voice::Apple, Why::TooFast | Why::TooManyConnections) => {
            format!("421 [HCM1] Your mail from {peer} was deferred")
        }
        (Voice::Apple, Why::Deferred) => {
            "451 [BS02] Temporary server error. Please try again later".to_owned()
        }
        (Voice::Apple, Why::Busy | Why::TooManyMessages) => {
            "421 4.3.2 Service unavailable - try again later".to_owned()
        }
        (Voice::Apple, Why::Spam | Why::Policy) => {
            "550 5.7.1 [CS01] Message rejected due to local policy".to_owned()
        }
        (Voice::Comcast, Why::UnknownUser) => "550 5.1.1 Not our Customer".to_owned(),
        (Voice::Comcast, Why::Disabled) => "550 5.2.0 Account Closed, Please Remove".to_owned(),
        (Voice::Comcast, Why::TooFast | Why::TooManyConnections) => {
            format!("421 4.2.0 {peer} Throttled - try again later RL000003")
        }
        (Voice::Comcast, Why::Blocked) => format!("554 5.7.1 {peer} blocked for spam BL000001"),
        (Voice::Spectrum, Why::TooManyConnections) => {
            "421 AUP#I-1310 too many concurrent connections".to_owned()
        }
        (Voice::Spectrum, Why::TooFast) => "421 AUP#I-1490 rate limit".to_owned(),
        (Voice::Spectrum, Why::Busy) => "421 AUP#I-1090 try again".to_owned(),
        (Voice::Spectrum, Why::Blocked) => format!("554 ERROR: connection refused AUP#I-1000 {peer}"),
        (Voice::Spectrum, Why::TooLarge) => "552 AUP#I-1530 size".to_owned(),
        (Voice::Cox, Why::TooManyConnections) => "421 CXCNCT too many sessions".to_owned(),
        (Voice::Cox, Why::TooFast) => "452 CXMXRT rate".to_owned(),
        (Voice::Cox, Why::Blocked) => format!("554 CXBL {peer}"),
        (Voice::Att, Why::Blocked) => {
            format!("553 5.3.0 DNSBL:ATTRBL 521< {peer} >_is_blocked.For assistance forward this error")
        }
        _ => return None,
    };
    Some(line)
}

/// Those of Europe and Asia, and filters in front of companies.
fn others(voice: Voice, why: Why, speech: &Speech<'_>) -> Option<String> {
    let Speech { peer, host, .. } = speech;
    let line = match (voice, why) {
        (Voice::YahooJapan, Why::TooManyConnections) => "421 4.4.2 Timeout waiting for command".to_owned(),
        (Voice::YahooJapan, Why::TooFast) => {
            format!(
                "421 [TSS04] Messages from {peer} temporarily deferred due to unexpected volume or user complaints"
            )
        }
        (Voice::YahooJapan, Why::Blocked) => format!("553 Mail from {peer} not allowed - VS98-IP0 deferred"),
        (Voice::Orange, Why::UnknownUser) => {
            "550 5.1.1 Adresse d au moins un destinataire invalide. OFR_416".to_owned()
        }
        (Voice::Orange, Why::Disabled) => "550 5.1.1 Boite du destinataire archivee. OFR_420".to_owned(),
        (Voice::Orange, Why::TooManyConnections) => {
            format!("421 {host} ME Trop de connexions, veuillez verifier votre configuration. OFR_104")
        }
        (Voice::Orange, Why::TooFast | Why::Busy) => {
            "421 Service refuse. Veuillez essayer plus tard. OFR_103".to_owned()
        }
        (Voice::Orange, Why::Blocked) => {
            "550 5.7.1 Client host blocked for spamming issues. OFR_101".to_owned()
        }
        (Voice::Gmx, Why::TooManyConnections) => {
            "421 gmx.net (mxgmx001) Nemesis ESMTP Service closing transmission channel Too many connections"
                .to_owned()
        }
        (Voice::Gmx, Why::Blocked) => "554 Transaction failed Reject due to policy restrictions.".to_owned(),
        (Voice::Gmx, Why::Spam | Why::Policy) => {
            "550 Requested action not taken: Reject due to policy restrictions.".to_owned()
        }
        (Voice::TOnline, Why::Blocked) => {
            format!("554 IP={peer} - A problem occurred. Ask your postmaster for help (BL)")
        }
        (Voice::TOnline, Why::Spam) => {
            "550 message has been rejected due to spam or virus classification".to_owned()
        }
        (Voice::MailRu, Why::UnknownUser) => "550 Message was not accepted -- invalid mailbox".to_owned(),
        (Voice::MailRu, Why::Spam) => "550 spam message rejected. Please visit help page".to_owned(),
        (Voice::Yandex, Why::Greylisted | Why::Deferred) => {
            "451 4.7.1 Sorry, the service is currently unavailable. Please come back later".to_owned()
        }
        (Voice::Qq, Why::UnknownUser) => "550 Mailbox not found. https://service.mail.qq.com".to_owned(),
        (Voice::Qq, Why::TooFast) => "550 Ip frequency limited. https://service.mail.qq.com".to_owned(),
        (Voice::Qq, Why::Blocked) => "550 Suspected spam ip https://service.mail.qq.com".to_owned(),
        (Voice::Qq, Why::Spam) => "550 Mail content denied. https://service.mail.qq.com".to_owned(),
        (Voice::Netease, Why::TooManyConnections) => "421 Too many connections".to_owned(),
        (Voice::Netease, Why::Spam) => "554 DT:SPM 163 mx".to_owned(),
        (Voice::Mimecast, Why::UnknownUser) => "550 Invalid Recipient".to_owned(),
        (Voice::Mimecast, Why::Greylisted | Why::Deferred) => {
            "451 Internal resources are temporarily unavailable".to_owned()
        }
        (Voice::Mimecast, Why::Blocked) => "550 Local CT IP Reputation - (reject)".to_owned(),
        (Voice::Netvigator, Why::TooManyMessages) => "421 Too many messages for this session".to_owned(),
        _ => return None,
    };
    Some(line)
}
