//! STARTTLS (RFC 3207): everything said in clear is forgotten, and octets sent ahead of the handshake are dropped.
//!
//! The dropping is done in `session.rs`, which owns the octets: whatever followed the command in clear could have been
//! put there by somebody in between (CVE-2011-0411, NO STARTTLS).

use super::Action;
use super::channel::Channel;
use super::peer::Peer;
use super::state::{Question, State};
use crate::extension::Extension;

pub(super) fn begin(peer: &mut Peer) -> State {
    if peer.channel.is_encrypted() {
        peer.complain(503, "5.5.1 TLS is already in use");
        return State::Ready;
    }
    if !peer.offers(Extension::StartTls) {
        peer.complain(502, "5.5.1 not offered");
        return State::Ready;
    }
    peer.say(220, "2.0.0 begin TLS");
    peer.ask(Action::StartTls);
    State::Waiting(Question::Tls)
}

pub(super) fn done(version: String, cipher: String, peer: &mut Peer) -> State {
    peer.forget();
    peer.channel = Channel::Upgraded { version, cipher };
    State::Connected
}
