//! One file of the disk that lies: what readers see, what is durable, and what lies between the two.

use mail::Random;

const SECTOR_OCTETS: usize = 512;

#[derive(Default, Clone)]
pub(super) struct Content {
    pub(super) live: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Since the last sync.
    pub(super) pending: Vec<Change>,
}

#[derive(Clone)]
pub(super) enum Change {
    Write { offset: usize, octets: Vec<u8> },
    Truncate(usize),
}

impl Content {
    pub(super) fn after_crash(&self, random: &mut Random) -> Vec<u8> {
        let mut octets = self.durable.clone();
        for change in &self.pending {
            match (change, random.below(4)) {
                (_, 0) => {}
                (Change::Write { offset, octets: new }, 1) => {
                    // The size arrived, the contents did not.
                    let len = octets.len().max(offset + new.len());
                    octets.resize(len, 0);
                }
                (Change::Write { offset, octets: new }, 2) => torn(&mut octets, *offset, new, random),
                (change, _) => change.apply(&mut octets),
            }
        }
        octets
    }
}

impl Change {
    pub(super) fn apply(&self, octets: &mut Vec<u8>) {
        match self {
            Change::Write { offset, octets: new } => apply(octets, *offset, new),
            Change::Truncate(len) => octets.resize(*len, 0),
        }
    }
}

pub(super) fn apply(octets: &mut Vec<u8>, offset: usize, new: &[u8]) {
    let len = octets.len().max(offset + new.len());
    octets.resize(len, 0);
    octets[offset..offset + new.len()].copy_from_slice(new);
}

/// Some sectors of a write.
fn torn(octets: &mut Vec<u8>, offset: usize, new: &[u8], random: &mut Random) {
    let mut at = 0;
    while at < new.len() {
        let sector_end = ((offset + at) / SECTOR_OCTETS + 1) * SECTOR_OCTETS - offset;
        let to = sector_end.min(new.len());
        if random.below(2) == 0 {
            apply(octets, offset + at, &new[at..to]);
        }
        at = to;
    }
}
