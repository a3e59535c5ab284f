//! EHLO and HELO, and the commands that are allowed at any time (RFC 5321 §4.1.1.1, §4.1.1.5 to §4.1.1.10).

use super::peer::Peer;
use super::state::State;
use crate::extension::Extension;

pub(super) fn ehlo(name: &str, peer: &mut Peer) -> State {
    name.clone_into(&mut peer.client_name);
    peer.extended = true;
    let mut line = peer.config.hostname.to_string();
    for extension in peer.channel.offer(&peer.config).iter() {
        peer.say_more(250, &line);
        line = match extension {
            Extension::Size => format!("SIZE {}", peer.config.limits.message_octets_max),
            Extension::Auth => "AUTH PLAIN LOGIN".to_owned(),
            other => other.keyword().to_owned(),
        };
    }
    peer.say(250, &line);
    peer.count_idle_command();
    State::Ready
}

pub(super) fn helo(name: &str, peer: &mut Peer) -> State {
    name.clone_into(&mut peer.client_name);
    peer.extended = false;
    let hostname = peer.config.hostname.clone();
    peer.say(250, hostname.as_str());
    peer.count_idle_command();
    State::Ready
}

pub(super) fn reset(then: State, peer: &mut Peer) -> State {
    peer.say(250, "2.0.0 ok");
    peer.count_idle_command();
    then
}

pub(super) fn noop(state: State, peer: &mut Peer) -> State {
    peer.say(250, "2.0.0 ok");
    peer.count_idle_command();
    state
}

pub(super) fn help(state: State, peer: &mut Peer) -> State {
    peer.say(214, "2.0.0 see RFC 5321");
    peer.count_idle_command();
    state
}

/// RFC 5321 §7.3: whether a mailbox exists is not told to whoever asks.
pub(super) fn verify(state: State, peer: &mut Peer) -> State {
    peer.say(252, "2.1.5 cannot verify; send and see");
    peer.count_idle_command();
    state
}

pub(super) fn not_implemented(state: State, peer: &mut Peer) -> State {
    peer.complain(502, "5.5.1 not implemented");
    state
}

pub(super) fn quit(peer: &mut Peer) -> State {
    peer.say(221, "2.0.0 bye");
    State::Closing
}
