use crate::Position;
/// A stretch of a segment that could not be read: copied aside, skipped, never deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    pub position: Position,
    pub octets: u64,
    /// Name of the copy in the quarantine directory.
    pub file: String,
}
