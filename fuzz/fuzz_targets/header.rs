//! Hands octets from libFuzzer to `properties::header`, which says what must hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| properties::header::check(octets));
