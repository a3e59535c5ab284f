//! What may go wrong around the API itself. What goes wrong in a request is a `Problem`.

#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum Fault {
    #[error("cannot use the key that signs API tokens: it must be Ed25519 as PKCS#8")]
    TokenKey,
    #[error("cannot seal an answer")]
    Seal,
    #[error("cannot set up the resolver that checks the records of sending domains")]
    Resolver(#[source] hickory_resolver::net::NetError),
}
