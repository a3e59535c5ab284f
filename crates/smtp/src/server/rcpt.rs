//! RCPT: adds a recipient to the transaction (RFC 5321 §4.1.1.3). A refusal is for this recipient only.

use super::peer::Peer;
use super::state::{Open, Question, State};
use super::{Action, Role};
use crate::command::{CommandError, RcptPath};
use crate::parameter::RcptParameters;
use ::mail::{AddressError, ForwardPath, LocalPart, Mailbox, Recipient, Refusal, RefusalKind};

pub(super) fn offer(state: State, path: RcptPath, parameters: RcptParameters, peer: &mut Peer) -> State {
    let (State::Mail(mut open) | State::Rcpt(mut open)) = state else {
        unreachable!("only an open transaction takes a recipient");
    };
    let checked = forward_path(path, peer).and_then(|path| {
        let ascii = path.mailbox().is_ascii();
        if !ascii && !open.envelope.smtputf8 {
            return Err(CommandError::NeedsSmtpUtf8);
        }
        match parameters.needs.iter().find(|extension| !peer.offers(*extension)) {
            None => Ok(path),
            Some(extension) => Err(CommandError::NotOffered(extension)),
        }
    });
    let forward_path = match checked {
        Ok(path) => path,
        Err(error) => {
            open.refused_recipient = true;
            peer.complain_with(&error.to_reply());
            return by_recipients(open);
        }
    };
    let recipients_max = peer.config.limits.recipients_max;
    if open.envelope.recipients.len() + open.repeated >= recipients_max {
        let text =
            format!("a transaction may have {recipients_max} recipients; send to the rest in another one");
        return refused(open, &Refusal::new(RefusalKind::TooManyRecipients, text), peer);
    }
    // One copy for one mailbox, as at the HTTP door; what the first RCPT asked for holds.
    if open.envelope.recipients.iter().any(|known| known.forward_path == forward_path) {
        open.repeated += 1;
        peer.say(250, "2.1.5 ok");
        return State::Rcpt(open);
    }
    peer.ask(Action::CheckRecipient(forward_path.clone()));
    let recipient = Recipient { forward_path, notify: parameters.notify, original: parameters.original };
    State::Waiting(Question::Recipient(open, recipient))
}

pub(super) fn accepted(mut open: Open, recipient: Recipient, peer: &mut Peer) -> State {
    open.envelope.recipients.push(recipient);
    peer.count_recipient();
    peer.say(250, "2.1.5 ok");
    State::Rcpt(open)
}

pub(super) fn refused(mut open: Open, refusal: &Refusal, peer: &mut Peer) -> State {
    open.refused_recipient = true;
    by_recipients(open).refuse(refusal, peer)
}

fn by_recipients(open: Open) -> State {
    if open.envelope.recipients.is_empty() { State::Mail(open) } else { State::Rcpt(open) }
}

/// `<postmaster>` is ours on the door for other sites, and no address on the one for our users.
fn forward_path(path: RcptPath, peer: &Peer) -> Result<ForwardPath, CommandError> {
    match (path, peer.config.role) {
        (RcptPath::Mailbox(path), _) => Ok(path),
        (RcptPath::Postmaster, Role::Submission) => Err(CommandError::ForwardPath(AddressError::NoAt)),
        (RcptPath::Postmaster, Role::Inbound) => LocalPart::parse("postmaster")
            .map(|local_part| ForwardPath(Mailbox::new(local_part, peer.config.hostname.clone())))
            .map_err(CommandError::ForwardPath),
    }
}
