//! The states of a client session and the replies that lead from one to the next.
//!
//! The order of stages is that of Postfix's smtp(8) client. What is said at a stage stands in the file named after it;
//! a break in any state ends here.

use super::mail::Delivery;
use super::site::{Site, broken};
use super::{Answer, BreakKind, Stage, auth, greet, starttls};
use ::mail::Reply;

//   Greeting ──220──► Hello ──250──► StartTls ──220──► Handshake ──TLS is up──► Hello (again, everything forgotten)
//                     │  ▲ 5yz        │ not offered, not wanted, refused
//                     ▼  │            ▼
//                  PlainHello ──────► Auth ──235, or not asked for──► Ready ◄──────────────┐
//                                                                     │  │ deliver         │ report
//                                                              quit   ▼  └──► Delivering ──┘
//                                                     Closed ◄── Quitting
//   A 421, a break or a time that ran out leads from every state to Closed, with a report if one is owed.
pub(super) enum State {
    Greeting,
    /// EHLO was said.
    Hello,
    /// HELO was said, because EHLO is not known here.
    PlainHello,
    StartTls,
    /// The shell shakes hands.
    Handshake,
    Auth,
    Ready,
    Delivering(Box<Delivery>),
    Quitting,
    Closed,
}

impl State {
    pub fn on_reply(self, reply: Reply, site: &mut Site) -> State {
        match self {
            State::Greeting => greet::greeting(reply, site),
            State::Hello => greet::hello(reply, site),
            State::PlainHello => greet::plain_hello(reply, site),
            State::StartTls => starttls::reply(reply, site),
            State::Auth => auth::reply(reply, site),
            State::Delivering(delivery) => delivery.on_reply(reply, site),
            // Octets between the 220 and the handshake are dropped before they get here.
            State::Handshake => State::Handshake,
            // RFC 5321 §3.8: a 421 may come at any time. Anything else here means that we are out of step.
            State::Ready | State::Quitting | State::Closed => State::Closed,
        }
    }

    pub fn on_answer(self, answer: Answer, site: &mut Site) -> State {
        match (self, answer) {
            (State::Handshake, Answer::TlsDone) => starttls::done(site),
            (State::Handshake, Answer::TlsFailed) => {
                site.fail_opening(broken(Stage::StartTls, BreakKind::TlsFailed))
            }
            // The time ran out while the shell was busy.
            (State::Closed, _) => State::Closed,
            (state, answer) => unreachable!("{answer:?} was not asked for at {}", state.name()),
        }
    }

    /// The connection is of no more use.
    pub fn on_break(self, kind: BreakKind, site: &mut Site) -> State {
        site.out.clear();
        match self {
            State::Delivering(delivery) => delivery.on_break(kind, site),
            State::Ready | State::Quitting | State::Closed => State::Closed,
            State::Greeting => site.fail_opening(broken(Stage::Greeting, kind)),
            State::Hello | State::PlainHello => site.fail_opening(broken(Stage::Hello, kind)),
            State::StartTls | State::Handshake => site.fail_opening(broken(Stage::StartTls, kind)),
            State::Auth => site.fail_opening(broken(Stage::Auth, kind)),
        }
    }

    /// For logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            State::Greeting => "greeting",
            State::Hello | State::PlainHello => "hello",
            State::StartTls | State::Handshake => "starttls",
            State::Auth => "auth",
            State::Ready => "ready",
            State::Delivering(delivery) => delivery.stage().name(),
            State::Quitting => "quit",
            State::Closed => "close",
        }
    }
}
