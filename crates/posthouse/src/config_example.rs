//! What a key looks like when it is right: shown to whoever wrote something in its place that cannot be read.
//!
//! The default is the best example, since it is right and says in which unit. Where the default is nothing, one stands
//! here, with addresses that are nobody's (RFC 5737). Called by `config_text.rs` and `config.rs`.

use crate::config::Config;
use toml::{Table, Value};

/// Of keys whose default shows nothing.
const EXAMPLES: [(&str, &str); 6] = [
    ("dns.servers", "[\"192.0.2.53:53\"]"),
    ("egress.allow_networks", "[\"10.0.0.0/8\"]"),
    ("events.webhook_allow_networks", "[\"10.0.0.0/8\"]"),
    ("ingress.headers.complaint_domain", "\"return.posthouse.test\""),
    ("ingress.headers.unsubscribe_url", "\"https://mail.posthouse.test/u\""),
    ("database.url", "\"postgres://posthouse@127.0.0.1/posthouse\""),
];

/// A key and its value. Of a section, which has none, the first key in it that has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// `section.key`.
    pub path: String,
    /// As TOML.
    pub value: String,
}

/// None if there is no such key, or nothing to show of it.
pub fn of(path: &str) -> Option<Example> {
    if let Some((path, value)) = EXAMPLES.iter().find(|(known, _)| *known == path) {
        return Some(Example { path: (*path).to_owned(), value: (*value).to_owned() });
    }
    let mut here = Value::Table(Table::try_from(Config::default()).ok()?);
    for key in path.split('.') {
        let Value::Table(mut table) = here else { return None };
        here = table.remove(key)?;
    }
    match here {
        Value::Table(table) => table.keys().find_map(|key| of(&format!("{path}.{key}"))),
        Value::String(text) if text.is_empty() => None,
        Value::Array(values) if values.is_empty() => None,
        value => Some(Example { path: path.to_owned(), value: value.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_text;

    #[test]
    fn a_key_is_shown_at_its_default_or_at_an_example_and_both_are_right() {
        let shown = |path: &str| of(path).map(|Example { path, value }| format!("{path} = {value}"));
        assert_eq!(shown("node.hostname").as_deref(), Some("node.hostname = \"mx.posthouse.test\""));
        assert_eq!(shown("listen").as_deref(), Some("listen.http = \"127.0.0.1:8025\""));
        assert_eq!(shown("tls.chain"), None);
        assert_eq!(shown("zzz.http"), None);
        for (path, _) in EXAMPLES {
            let text = shown(path).unwrap();
            assert!(
                config_text::read("f", &text).config.is_some_and(|config| config != Config::default()),
                "{text}"
            );
        }
    }
}
