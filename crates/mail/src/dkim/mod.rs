//! DKIM signatures (RFC 6376, RFC 8463): our own signer, relaxed/relaxed, RSA-2048 and Ed25519.
//!
//! Own, because three things matter and no library gives all: a body hash that is right for lines of only white
//! space, chosen fields in a chosen order with the important ones signed once more than they occur (so that nobody
//! can add a second From), and a body hash that is computed once for several signatures. Signing only; keys are
//! made, loaded and shown here, kept elsewhere. Called by ingress on threads of its own: an RSA signature takes
//! about 0.3 ms.

mod canonical;
mod key;
mod sign;

pub use canonical::body_hash;
pub use key::{KeyAlgorithm, KeyError, SigningKey};
pub use sign::{SignError, SigningRequest, is_selector, sign};
