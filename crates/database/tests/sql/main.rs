//! Every table against a real PostgreSQL, each test in a database of its own. One file per resource.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(clippy::print_stdout, reason = "tests print what they counted and measured")]

mod audit;
mod credential;
mod domain;
mod endpoint;
mod erase;
mod event;
mod examine;
mod fixture;
mod follower;
mod idempotency;
mod isolation;
mod kept;
mod migrate;
mod onboard;
mod patience;
mod pool;
mod pooled;
mod pooler;
mod projection;
mod quota;
mod reseal;
mod search;
mod stream;
mod tenant;
mod unsealable;
mod user;
mod walls;
mod webhook;
