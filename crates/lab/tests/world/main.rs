//! The lab from outside: DNS through a resolver, providers through sockets and smtplib, the control through HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod control;
mod dns;
mod load;
mod providers;
mod returns;
mod running;
mod voices;
