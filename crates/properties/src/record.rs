//! Target `record`: the contents of a frame of the journal.
//!
//! Input: the kind, then the meta. Holds: it is refused, or it is the same record when it is written and read again.

use crate::setting;

/// The one version there is.
const VERSION: u8 = 1;

/// Panics if a property of records does not hold for these octets.
pub fn check(octets: &[u8]) {
    let (kind, meta) = setting(octets);
    spool::probe::record(kind, VERSION, meta);
    // Fuzzing finds the kinds at the low end fast, whatever it began with.
    spool::probe::record(kind % 8, VERSION, meta);
}
