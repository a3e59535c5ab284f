//! MAIL: begins a transaction (RFC 5321 §4.1.1.2).

use super::Action;
use super::claim::Claim;
use super::peer::Peer;
use super::state::{Open, Question, State};
use crate::command::CommandError;
use crate::parameter::MailParameters;
use ::mail::{BodyKind, Envelope, Refusal, RefusalKind, ReversePath};

pub(super) fn begin(reverse_path: ReversePath, parameters: MailParameters, peer: &mut Peer) -> State {
    if !peer.may_send() {
        let refusal = if peer.channel.is_encrypted() {
            Refusal::new(RefusalKind::AuthenticationRequired, "authentication required")
        } else {
            Refusal::new(RefusalKind::EncryptionRequired, "must issue STARTTLS first")
        };
        return State::Ready.refuse(&refusal, peer);
    }
    if peer.transactions >= peer.config.limits.transactions_max {
        peer.close_with("4.7.0 enough messages for one connection; connect again");
        return State::Closing;
    }
    if let Some(extension) = parameters.needs.iter().find(|extension| !peer.offers(*extension)) {
        peer.complain_with(&CommandError::NotOffered(extension).to_reply());
        return State::Ready;
    }
    let octets_max = peer.config.limits.message_octets_max;
    if parameters.size.is_some_and(|size| size > octets_max as u64) {
        let text = format!("the message is larger than {octets_max} octets");
        return State::Ready.refuse(&Refusal::new(RefusalKind::MessageTooLarge, text), peer);
    }
    peer.ask(Action::CheckReversePath { path: reverse_path.clone(), size: parameters.size });
    let envelope = Envelope {
        reverse_path,
        recipients: Vec::new(),
        body: parameters.body.unwrap_or(BodyKind::SevenBit),
        smtputf8: parameters.smtputf8,
        require_tls: parameters.require_tls,
        dsn_return: parameters.dsn_return,
        envelope_id: parameters.envelope_id,
    };
    let (size, claim) = (parameters.size, Claim::default());
    State::Waiting(Question::ReversePath(Open {
        envelope,
        size,
        refused_recipient: false,
        repeated: 0,
        claim,
    }))
}

pub(super) fn accepted(mut open: Open, peer: &mut Peer) -> State {
    open.claim = Claim::of_words(open.declared(), peer.now + peer.config.limits.claim_time());
    peer.say(250, "2.1.0 ok");
    State::Mail(open)
}
