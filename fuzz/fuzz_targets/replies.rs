//! Hands octets from libFuzzer to `properties::replies`, which says what must hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| properties::replies::check(octets));
