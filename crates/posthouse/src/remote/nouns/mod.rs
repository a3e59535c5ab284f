//! What the commands that are calls of the API are about: one file a noun, each with its command line and the call that
//! every command becomes.

mod api_key;
mod credential;
mod domain;
mod event;
mod message;
mod pool;
mod queue;
mod secret;
mod source;
mod tenant;
mod webhook;

pub use api_key::ApiKey;
pub use credential::Credential;
pub use domain::Domain;
pub use event::Event;
pub use message::Message;
pub use pool::Pool;
pub use queue::Queue;
pub use source::Source;
pub use tenant::Tenant;
pub use webhook::Webhook;

use crate::remote::action::Action;
use jiff::Timestamp;

/// A command of one noun as an action; `now` is what spans of time are counted from.
pub trait Noun {
    fn action(&self, now: Timestamp) -> anyhow::Result<Action>;
}
