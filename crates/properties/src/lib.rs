//! What must hold whatever octets come: one function for each place where the house reads what others wrote.
//!
//! A function takes any octets and panics with a sentence when a property does not hold. The fuzz targets in `fuzz/` call
//! it with a coverage-guided engine; the tests of this crate call it with the stored corpus (`fuzz/corpus/<target>`) and
//! with changes of it from a seed. So an input that failed once is a regression test on a stable compiler: put its file
//! into the corpus, named after what it found. Never part of what a node runs.

pub mod address;
pub mod configuration;
pub mod header;
pub mod journal;
pub mod parameters;
pub mod record;
pub mod replies;
pub mod server;

/// A target: its name, which is that of its folder of the corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of `fuzz/`, by its name there.
pub const TARGETS: [Target; 8] = [
    ("server", server::check),
    ("replies", replies::check),
    ("header", header::check),
    ("address", address::check),
    ("parameters", parameters::check),
    ("record", record::check),
    ("journal", journal::check),
    ("configuration", configuration::check),
];

/// The first octet and the rest.
fn setting(octets: &[u8]) -> (u8, &[u8]) {
    octets.split_first().map_or((0, octets), |(first, rest)| (*first, rest))
}

/// The whole in pieces of a length.
fn pieces(octets: &[u8], length: usize) -> Vec<&[u8]> {
    octets.chunks(length.max(1)).collect()
}
