//! What can go wrong with the journal. A `Fault` says what was attempted; the cause is its source.

use crate::Position;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// `io::Error` is shared because one failed sync is the answer to a whole group of appends.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum Fault {
    #[error("the spool directory {0} is in use by another process")]
    InUse(PathBuf),
    #[error("cannot open the spool directory {path}")]
    Directory {
        path: PathBuf,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("the spool configuration is not usable: {0}")]
    Config(&'static str),
    /// A write or sync failed earlier: what the disk holds is no longer known, so nothing more is accepted until
    /// the process starts again and recovers.
    #[error("the journal is sealed after a failed write or sync")]
    Sealed,
    #[error("the journal is shutting down")]
    Closed,
    /// Free space has fallen to the reserve that is kept for completion records.
    #[error("too little space is left on the spool's disk")]
    Full,
    /// The disk, or those who read, do not keep up: the limit of octets in memory was not released in time.
    #[error("too much is waiting to be written or read")]
    Busy,
    #[error("a record of {octets} octets is larger than record_octets_max")]
    TooLarge { octets: u64 },
    #[error("cannot write to segment {segment:08x}")]
    Write {
        segment: u32,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("cannot sync segment {segment:08x}")]
    Sync {
        segment: u32,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("cannot start segment {segment:08x}")]
    Rotate {
        segment: u32,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("cannot read segment {segment:08x}")]
    Read {
        segment: u32,
        #[source]
        source: Arc<io::Error>,
    },
    /// The record's checksum does not match; a copy is in the quarantine directory.
    #[error("the record at {0} is damaged")]
    Unreadable(Position),
    #[error("there is no accepted message at {0}")]
    NotAMessage(Position),
    /// Segments between where the reader wanted to go on and what is left are gone. The follower has moved on to
    /// `resumes_at`; asking again reads from there.
    #[error("the journal between {from} and {resumes_at} is gone")]
    Gap { from: Position, resumes_at: Position },
}

impl Fault {
    /// Whether it is a shortage of ours, of memory or descriptors, that others give back: nothing is wrong with what
    /// was asked for.
    pub fn is_passing(&self) -> bool {
        match self {
            Fault::Busy => true,
            Fault::Read { source, .. } | Fault::Rotate { source, .. } => is_passing(source),
            Fault::InUse(_)
            | Fault::Directory { .. }
            | Fault::Config(_)
            | Fault::Sealed
            | Fault::Closed
            | Fault::Full
            | Fault::TooLarge { .. }
            | Fault::Write { .. }
            | Fault::Sync { .. }
            | Fault::Unreadable(_)
            | Fault::NotAMessage(_)
            | Fault::Gap { .. } => false,
        }
    }

    pub(crate) fn read(segment: u32, source: io::Error) -> Fault {
        Fault::Read { segment, source: Arc::new(source) }
    }
}

/// Whether a file could not be opened or made for want of something that others give back: descriptors, memory.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    let passing = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE, rustix::io::Errno::NOMEM];
    passing.iter().any(|passing| Some(passing.raw_os_error()) == error.raw_os_error())
}
