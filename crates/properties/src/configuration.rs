//! Target `configuration`: the sections of the doors and of the journal, as an operator writes them.
//!
//! Input: TOML, or what somebody takes for it. Holds: it is refused, or it is the same configuration when it is written
//! down and read again. Only these two sections: the others are read by the same code of serde and toml.

use serde::{Deserialize, Serialize};

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sections {
    ingress: ingress::Config,
    spool: spool::Config,
}

/// Panics if a property of configuration files does not hold for these octets.
pub fn check(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let Ok(sections) = toml::from_str::<Sections>(text) else { return };
    let Ok(written) = toml::to_string(&sections) else { panic!("a configuration cannot be written down") };
    match toml::from_str::<Sections>(&written) {
        Ok(again) => assert_eq!(again, sections, "a configuration is another one when it is read again"),
        Err(error) => panic!("a configuration that was written down is refused: {error}"),
    }
}
