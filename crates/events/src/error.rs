//! What can go wrong while telling. Endpoints that fail are not faults; they are results of calls.

#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum Fault {
    #[error("the events configuration is not usable: {0}")]
    Config(&'static str),
    #[error("cannot make the HTTP client for webhooks")]
    Client(#[source] reqwest::Error),
    #[error("cannot make a DNS resolver for webhooks")]
    Resolver(#[source] hickory_resolver::net::NetError),
}
