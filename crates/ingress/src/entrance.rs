//! The three doors, by name.

/// Which door a session came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// Submission, STARTTLS.
    Submission,
    /// Submission, TLS from the first octet.
    Submissions,
    /// Returned mail.
    Inbound,
}

impl Entrance {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Entrance::Submission => "submission",
            Entrance::Submissions => "submissions",
            Entrance::Inbound => "inbound",
        }
    }
}
