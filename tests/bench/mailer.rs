//! What is measured: somebody who takes mail by SMTP and brings it to the sink.

use crate::figures::Histogram;
use std::time::Duration;

/// Whether the mailer signs what it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    None,
    /// One RSA-2048 signature.
    Rsa,
}

/// How to submit to a mailer.
pub struct Door {
    pub address: String,
    /// `user:password`, where the mailer wants to know.
    pub credential: Option<String>,
    pub from: String,
}

pub trait Mailer {
    fn name(&self) -> &'static str;
    /// The door through which mail is signed, or not.
    fn door(&self, signing: Signing) -> Door;
    /// CPU time of its processes so far.
    fn cpu(&self) -> Duration;
    /// Syncs so far, if it tells.
    fn syncs(&self) -> Option<f64>;
    /// Octets that its processes sent to the disk so far, if it tells.
    fn written(&self) -> Option<f64>;
    /// Seconds that mail waited in the queue before its first attempt, as the mailer itself tells them.
    fn queued(&self) -> Histogram;
}
