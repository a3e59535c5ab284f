//! The greeting, EHLO and HELO (RFC 5321 §3.1, §3.2).

use super::site::Site;
use super::state::State;
use super::{ClientTls, Stage, starttls};
use crate::extension::Offer;
use ::mail::Reply;

pub(super) fn greeting(reply: Reply, site: &mut Site) -> State {
    if reply.code.as_u16() == 220 { say_hello(site) } else { site.refuse_opening(Stage::Greeting, reply) }
}

/// After the greeting, and again after TLS.
pub(super) fn say_hello(site: &mut Site) -> State {
    let name = site.config.ehlo_name.clone();
    site.say(&["EHLO ", &name]);
    site.wait_at(Stage::Hello);
    State::Hello
}

pub(super) fn hello(reply: Reply, site: &mut Site) -> State {
    if reply.code.as_u16() == 250 {
        site.offer = Offer::default();
        for line in reply.lines.iter().skip(1) {
            site.offer.read_line(line);
        }
        return starttls::begin(site);
    }
    // RFC 5321 §3.2: a server without extensions. Where TLS or a login is needed there is nothing to gain from it.
    let plain = !site.encrypted && site.config.tls != ClientTls::Required && site.config.login.is_none();
    if reply.code.is_permanent() && plain {
        let name = site.config.ehlo_name.clone();
        site.say(&["HELO ", &name]);
        site.wait_at(Stage::Hello);
        return State::PlainHello;
    }
    site.refuse_opening(Stage::Hello, reply)
}

pub(super) fn plain_hello(reply: Reply, site: &mut Site) -> State {
    if reply.code.as_u16() != 250 {
        return site.refuse_opening(Stage::Hello, reply);
    }
    site.offer = Offer::default();
    super::auth::begin(site)
}
