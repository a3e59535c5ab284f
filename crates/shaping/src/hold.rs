//! A hold: a path that is suspended, until when and why, in words that an operator and a tenant may read.

use mail::Instant;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// None: until somebody resumes it.
    pub until: Option<Instant>,
    pub reason: String,
}

impl Hold {
    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// The stricter of two holds.
    pub(crate) fn is_longer_than(&self, other: &Hold) -> bool {
        match (self.until, other.until) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(mine), Some(theirs)) => mine > theirs,
        }
    }
}
