//! The doors in: SMTP submission with STARTTLS or implicit TLS, returned mail, and the way in that HTTP shares.
//!
//! Read `submission.rs` first: `accept()` is the way in, on one page. The protocol is decided in `smtp`, rights and
//! limits in `registry`, durability in `spool`; this crate holds the sockets and puts the three together. It sees no
//! database and no way out.

mod config;
mod denied;
mod entrance;
mod error;
mod limits;
mod listener;
mod metrics;
mod octets;
mod prepare;
mod returned;
mod session;
mod signer;
mod steering;
mod stream;
mod submission;
mod timer;
mod tls;
mod trace;
mod unheard;

pub use config::{Config, HeaderConfig, HttpsUrl, Limits, TlsConfig};
pub use denied::Denied;
pub use error::{Denial, Fault};
pub use listener::{Addresses, Ingress, IngressHandle, IngressParts, Listeners};
pub use octets::{Arrival, Held};
pub use returned::ReturnedMail;
pub use steering::unknown_field;
pub use submission::{Accepted, Door, Offer, SnapshotSource, Submission, SubmissionParts};
pub use tls::Tls;
