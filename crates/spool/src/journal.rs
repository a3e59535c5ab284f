use crate::*;
use bytes::Bytes;
use mail::Clock;
use std::sync::Arc;

/// The journal of this process. Cheap to clone; hand out the narrower handles where they do.
#[derive(Clone)]
pub struct Spool {}

/// For `/ready` and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub sealed: bool,
    /// New mail is refused because free space fell to the reserve.
    pub full: bool,
    pub segments: usize,
    pub octets: u64,
    /// Messages with open recipients.
    pub unsettled: usize,
    pub quarantined: usize,
    pub end: Position,
}

impl Spool {
    /// Takes the directory, recovers what is there and starts the commit thread. Blocking.
    pub fn open(_config: Config, _disk: Arc<dyn Disk>, _clock: Arc<dyn Clock>) -> Result<(Spool, Recovery), Fault> {
        todo!()
    }
    pub fn intake(&self) -> Intake {
        todo!()
    }
    pub fn outcomes(&self) -> Outcomes {
        todo!()
    }
    pub fn bodies(&self) -> Bodies {
        todo!()
    }
    pub fn follow(&self, _from: Position) -> Follower {
        todo!()
    }
    pub fn reader(&self, _name: &str) -> ReaderMark {
        todo!()
    }
    pub async fn body(&self, _position: Position) -> Result<Bytes, Fault> {
        todo!()
    }
    pub fn sealed(&self) -> bool {
        todo!()
    }
    /// Returns when the journal has sealed itself: the process must stop and start again.
    pub async fn until_sealed(&self) {
        todo!()
    }
    pub fn status(&self) -> Status {
        todo!()
    }
    /// Writes and syncs what is queued, refuses what comes later, stops the threads. Returns when all is durable.
    pub async fn shutdown(&self) -> Result<(), Fault> {
        todo!()
    }
}
