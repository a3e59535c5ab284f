//! STARTTLS of the client (RFC 3207).
//!
//! What a site said before the handshake is forgotten after it, and octets that came with its 220 in clear are dropped
//! (they may be somebody else's). A failed handshake ends the session: whether to try again in clear is not decided here.

use super::site::Site;
use super::state::State;
use super::{Action, ClientTls, Failure, Missing, Stage, auth, greet};
use crate::extension::{Extension, Offer};
use ::mail::Reply;

pub(super) fn begin(site: &mut Site) -> State {
    let wanted = match site.config.tls {
        ClientTls::Never | ClientTls::Implicit => false,
        ClientTls::Opportunistic | ClientTls::Required => !site.encrypted,
    };
    if !wanted {
        return auth::begin(site);
    }
    if site.offers(Extension::StartTls) {
        site.say(&["STARTTLS"]);
        site.wait_at(Stage::StartTls);
        return State::StartTls;
    }
    without_tls(site, Failure::Missing(Missing::StartTls))
}

pub(super) fn reply(reply: Reply, site: &mut Site) -> State {
    match reply.code.as_u16() {
        220 => {
            site.actions.push_back(Action::StartTls);
            site.wait_at(Stage::StartTls);
            State::Handshake
        }
        421 => site.refuse_opening(Stage::StartTls, reply),
        _ => without_tls(site, Failure::Refused { stage: Stage::StartTls, reply }),
    }
}

pub(super) fn done(site: &mut Site) -> State {
    site.encrypted = true;
    site.offer = Offer::default();
    greet::say_hello(site)
}

fn without_tls(site: &mut Site, failure: Failure) -> State {
    if site.config.tls == ClientTls::Required { site.fail_opening(failure) } else { auth::begin(site) }
}
