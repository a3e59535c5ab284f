//! Where the journal lies and its limits.

use crate::Fault;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What the journal is told by the configuration file: the section `[spool]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Directory of the segments, on a local disk. Owned by one process at a time. Empty: `spool` below the node's data.
    pub directory: PathBuf,
    /// A segment is followed by a new one before it grows beyond this.
    pub segment_octets_max: u32,
    /// Largest message with its envelope that can be stored.
    pub record_octets_max: u32,
    /// Octets of messages that may wait for the commit thread; more appends wait their turn.
    pub in_flight_octets_max: u32,
    /// How long an append waits for its turn before it is refused as `Busy`.
    pub in_flight_wait_ms_max: u64,
    /// A disk that takes longer for one group stalls: nothing new is taken at the doors until it is back.
    pub stall_ms_max: u64,
    /// Completion records that may wait for the commit thread. Deliveries wait while the disk is slower.
    pub outcomes_in_flight_max: u32,
    /// Octets written with one sync.
    pub group_octets_max: u32,
    /// Messages written with one sync.
    pub group_records_max: u32,
    /// How long the first of a group waits for as many others as the group before had; completion records wait at
    /// most this long for a sync. A client alone never waits.
    pub group_wait_ms_max: u64,
    /// Memory for bodies and envelopes that were just written and will be wanted soon.
    pub body_cache_octets_max: u64,
    /// Memory for messages that are being delivered; one tenant has half of it, and a delivery waits its turn. A message
    /// counts if it is larger than an 8192nd of this. Less where there is little memory (`node.memory_octets`).
    pub loaded_octets_max: u64,
    /// Records just written that followers get from memory instead of the disk.
    pub recent_records_max: u32,
    /// How long a reader waits in one segment before what the disk does not give, in the hope that it passes. Then a piece
    /// is quarantined, or the segment passed over if it cannot be opened at all; it is kept, and the reader goes on.
    pub read_retry_seconds_max: u64,
    /// Free space below which no more mail is accepted; completion records go on.
    pub reserve_octets: u64,
    /// Below this size of the journal nothing is copied forward.
    pub copy_forward_octets_min: u64,
    /// Waiting messages are copied out of the oldest segment, so that it can go, as long as they are at most this
    /// share of the journal.
    pub copy_forward_live_percent_max: u32,
    /// How fast is copied; the rest of the disk is for new mail.
    pub copy_forward_octets_per_second_max: u64,
    /// Octets copied with one sync.
    pub copy_forward_group_octets_max: u32,
    /// Readers that must have passed a segment before it may be removed; until each has reported once, nothing is.
    pub readers: Vec<String>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            directory: PathBuf::new(),
            segment_octets_max: 64 << 20,
            record_octets_max: 128 << 20,
            in_flight_octets_max: 256 << 20,
            in_flight_wait_ms_max: 1_000,
            stall_ms_max: 1_000,
            outcomes_in_flight_max: 256,
            group_octets_max: 8 << 20,
            group_records_max: 512,
            group_wait_ms_max: 5,
            body_cache_octets_max: 64 << 20,
            loaded_octets_max: 512 << 20,
            recent_records_max: 8_192,
            read_retry_seconds_max: 60,
            reserve_octets: 256 << 20,
            copy_forward_octets_min: 1 << 30,
            copy_forward_live_percent_max: 25,
            copy_forward_octets_per_second_max: 16 << 20,
            copy_forward_group_octets_max: 1 << 20,
            readers: vec!["events".to_owned()],
        }
    }
}

impl Config {
    /// Every rule that this breaks, in a sentence that begins with the key.
    pub fn mistakes(&self) -> Vec<&'static str> {
        let rules = [
            (self.segment_octets_max >= 4_096, "segment_octets_max must be at least 4096"),
            (self.segment_octets_max <= 1 << 30, "segment_octets_max must be at most 1 GiB"),
            (self.record_octets_max <= 1 << 30, "record_octets_max must be at most 1 GiB"),
            (
                self.in_flight_octets_max >= self.record_octets_max,
                "in_flight_octets_max must hold one record",
            ),
            (self.outcomes_in_flight_max > 0, "outcomes_in_flight_max must not be 0"),
            (self.group_records_max > 0, "group_records_max must not be 0"),
            // More would be written than it frees.
            (self.copy_forward_live_percent_max <= 75, "copy_forward_live_percent_max must be at most 75"),
            (self.copy_forward_octets_per_second_max > 0, "copy_forward_octets_per_second_max must not be 0"),
            (self.group_wait_ms_max <= 20, "group_wait_ms_max must be at most 20"),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, sentence)| sentence).collect()
    }

    pub(crate) fn check(&self) -> Result<(), Fault> {
        self.mistakes().first().map_or(Ok(()), |sentence| Err(Fault::Config(sentence)))
    }
}
