//! AUTH PLAIN of the client (RFC 4954), for submitting to somebody's service. Never in clear.

use super::site::Site;
use super::state::State;
use super::{Action, Failure, Missing, Stage};
use crate::sasl;
use ::mail::Reply;

pub(super) fn begin(site: &mut Site) -> State {
    let Some(login) = &site.config.login else { return ready(site) };
    if !site.encrypted || !site.offer.auth_plain {
        return site.fail_opening(Failure::Missing(Missing::Auth));
    }
    let response = sasl::encode_plain(&login.username, &login.password);
    site.say(&["AUTH PLAIN ", &response]);
    site.wait_at(Stage::Auth);
    State::Auth
}

pub(super) fn reply(reply: Reply, site: &mut Site) -> State {
    if reply.code.as_u16() == 235 { ready(site) } else { site.refuse_opening(Stage::Auth, reply) }
}

fn ready(site: &mut Site) -> State {
    site.deadline = None;
    site.actions.push_back(Action::Ready);
    State::Ready
}
