//! Spots where a test makes the process panic, once: `posthouse --features fail-points`, tests/faults/panics.rs.
//!
//! A trap is a file in the directory that `POSTHOUSE_FAIL_POINTS` names, called like the place; whoever removes it
//! panics. So a trap can be set while the process runs, hits one task and no second, and its absence tells the test that
//! it was hit. The `fail` crate does more than that and brings a second generator of random numbers into the binary.

/// Panics if a trap is set for `name`. Nothing at all in what is shipped.
#[cfg(not(feature = "places"))]
#[inline(always)]
pub fn place(_name: &'static str) {}

/// Panics if a trap is set for `name`.
#[cfg(feature = "places")]
pub fn place(name: &'static str) {
    if let Some(directory) = std::env::var_os("POSTHOUSE_FAIL_POINTS")
        && std::fs::remove_file(std::path::Path::new(&directory).join(name)).is_ok()
    {
        std::panic::panic_any("a trap was set here");
    }
}
