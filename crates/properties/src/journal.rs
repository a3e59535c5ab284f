//! Target `journal`: segments that were left behind, and what is found in them.
//!
//! Input: pieces, each a letter, a length of one octet (in units that its kind sets) and its contents: `F` a whole frame
//! (kind, then meta), `D` one that is damaged, `R` rubbish, `N` the next segment. Holds: the journal opens; what lies
//! there whole and unsettled is found, once, and the same when it is opened again.

use spool::probe::{self, Piece};

/// Octets for each one of the length that is given.
const UNIT: usize = 4;
const PIECES_MAX: usize = 64;

/// Panics if a property of the journal does not hold for a file with these octets.
pub fn check(octets: &[u8]) {
    let mut pieces = Vec::new();
    let mut rest = octets;
    while let ([letter, length, after @ ..], true) = (rest, pieces.len() < PIECES_MAX) {
        if *letter == b'N' {
            pieces.push(Piece::Rotation);
            rest = &rest[1..];
            continue;
        }
        let (contents, behind) = after.split_at((usize::from(*length) * UNIT).min(after.len()));
        rest = behind;
        pieces.push(match (letter, contents) {
            (b'F', [kind, meta @ ..]) => Piece::Frame { kind: *kind, meta: unpadded(meta), body: b"a body" },
            (b'D', [kind, octet, meta @ ..]) => {
                Piece::Damaged { kind: *kind, meta: unpadded(meta), octet: usize::from(*octet) }
            }
            _ => Piece::Rubbish(contents),
        });
    }
    probe::journal(&pieces);
}

/// Contents are a multiple of the unit long; what is added to get there is 0xff, which ends no record.
fn unpadded(meta: &[u8]) -> &[u8] {
    let end = meta.iter().rposition(|octet| *octet != 0xff).map_or(0, |last| last + 1);
    &meta[..end]
}
