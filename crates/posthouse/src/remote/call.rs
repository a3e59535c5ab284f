//! What a command asks of the API, as a value: method, path, query, body, with names where the API wants ids.
//!
//! People say `acme`, the API says `ten_…`. A path is a row of collections and things in them; a thing that is not
//! given by its id is looked for in its collection before the call is made. Nothing here talks to anybody.

use reqwest::Method;
use serde_json::Value;
use std::collections::BTreeSet;

/// One call, before its names were looked up.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub method: Method,
    pub path: Vec<Step>,
    pub query: Vec<(&'static str, String)>,
    pub body: Option<Value>,
    /// The body is the thing as it stands at this path, with these fields changed: for what can only be replaced.
    pub changes: Option<Value>,
    /// Where the body names things: a JSON pointer to the text, and what it is.
    pub named: Vec<(String, Kind)>,
}

/// One segment of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Word(&'static str),
    Thing(Kind, String),
}

/// What can be named. Each has an id with a prefix, a collection, and fields that a person knows it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Tenant,
    Domain,
    Credential,
    ApiKey,
    Stream,
    Pool,
    Source,
    Webhook,
    Message,
    /// Where mail goes: it has no id, and its name is that of all its hosts.
    Site,
}

impl Kind {
    pub const fn noun(self) -> &'static str {
        match self {
            Kind::Tenant => "tenant",
            Kind::Domain => "domain",
            Kind::Credential => "credential",
            Kind::ApiKey => "API key",
            Kind::Stream => "stream",
            Kind::Pool => "pool",
            Kind::Source => "source",
            Kind::Webhook => "webhook",
            Kind::Message => "message",
            Kind::Site => "site",
        }
    }

    const fn prefix(self) -> Option<&'static str> {
        Some(match self {
            Kind::Tenant => "ten_",
            Kind::Domain => "dom_",
            Kind::Credential => "crd_",
            Kind::ApiKey => "key_",
            Kind::Stream => "str_",
            Kind::Pool => "pol_",
            Kind::Source => "src_",
            Kind::Webhook => "whk_",
            Kind::Message => "msg_",
            Kind::Site => return None,
        })
    }

    /// The fields of a row that may be said in place of its id; none: only the id will do.
    pub const fn known_by(self) -> &'static [&'static str] {
        match self {
            Kind::Tenant | Kind::Domain | Kind::ApiKey | Kind::Stream | Kind::Pool => &["name"],
            Kind::Credential => &["name", "username"],
            Kind::Source => &["name", "address"],
            Kind::Webhook => &["url"],
            Kind::Message => &[],
            Kind::Site => &["site"],
        }
    }

    /// Is this already what the API wants?
    pub fn is_id(self, text: &str) -> bool {
        self.prefix().is_some_and(|prefix| text.starts_with(prefix))
            || self == Kind::Tenant && text == "self"
            || self.known_by().is_empty()
    }
}

impl Call {
    pub fn new(method: Method, path: Vec<Step>) -> Call {
        Call { method, path, query: Vec::new(), body: None, changes: None, named: Vec::new() }
    }

    pub fn get(path: Vec<Step>) -> Call {
        Call::new(Method::GET, path)
    }

    pub fn post(path: Vec<Step>, body: Value) -> Call {
        Call { body: Some(body), ..Call::new(Method::POST, path) }
    }

    /// A POST that says nothing but its path.
    pub fn order(path: Vec<Step>) -> Call {
        Call::new(Method::POST, path)
    }

    pub fn patch(path: Vec<Step>, body: Value) -> Call {
        Call { body: Some(body), ..Call::new(Method::PATCH, path) }
    }

    /// Replaces the thing at the path by itself with some fields changed.
    pub fn change(path: Vec<Step>, changes: Value) -> Call {
        Call { changes: Some(changes), ..Call::new(Method::PUT, path) }
    }

    pub fn delete(path: Vec<Step>) -> Call {
        Call::new(Method::DELETE, path)
    }

    /// Adds a parameter if there is one.
    pub fn asking(mut self, name: &'static str, value: Option<impl ToString>) -> Call {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    pub fn naming(mut self, pointer: impl Into<String>, kind: Kind) -> Call {
        self.named.push((pointer.into(), kind));
        self
    }
}

/// A path below `/v1`.
pub fn v1(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    std::iter::once(Step::Word("v1")).chain(steps).collect()
}

/// A path below a tenant.
pub fn of_tenant(tenant: &str, steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let whose = [Step::Word("tenants"), Step::Thing(Kind::Tenant, tenant.to_owned())];
    v1(whose.into_iter().chain(steps))
}

pub const fn word(word: &'static str) -> Step {
    Step::Word(word)
}

pub fn thing(kind: Kind, text: &str) -> Step {
    Step::Thing(kind, text.to_owned())
}

/// A body of those fields that were given: what was not said is not sent, so that it keeps its value.
pub fn fields<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let said = fields.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), value)));
    Value::Object(said.collect())
}

/// One step of a path as a URL carries it (RFC 3986 §3.3): whatever is not unreserved is escaped. Steps of nothing but
/// dots are refused before.
pub fn escape(text: &str) -> String {
    text.bytes()
        .map(|octet| match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(octet).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// The row that is meant, of all rows of a collection: by one of the fields that the kind is known by.
pub fn find(kind: Kind, text: &str, rows: &[Value]) -> Result<String, String> {
    let is_meant = |row: &&Value| {
        kind.known_by()
            .iter()
            .any(|field| row[field].as_str().is_some_and(|known| known.eq_ignore_ascii_case(text)))
    };
    let ids: Vec<&str> = rows.iter().filter(is_meant).filter_map(|row| row["id"].as_str()).collect();
    let noun = kind.noun();
    match ids.as_slice() {
        [id] => Ok((*id).to_owned()),
        [] => Err(format!("there is no {noun} {text:?}; `list` shows what there is")),
        several => Err(format!(
            "{} things are called {text:?}; say which by its id: {}",
            several.len(),
            several.join(", ")
        )),
    }
}

/// The site that is meant, of all paths: by its whole name or by one of its hosts. None if no mail has gone there yet.
pub fn find_site(text: &str, paths: &[Value]) -> Result<Option<String>, String> {
    let known = paths.iter().filter_map(|path| path["site"].as_str());
    let is_host = |site: &&str| site.split(',').any(|host| host.eq_ignore_ascii_case(text));
    if let Some(site) = known.clone().find(|site| site.eq_ignore_ascii_case(text)) {
        return Ok(Some(site.to_owned()));
    }
    let sites: BTreeSet<&str> = known.filter(is_host).collect();
    match sites.into_iter().collect::<Vec<_>>().as_slice() {
        [] => Ok(None),
        [site] => Ok(Some((*site).to_owned())),
        several => {
            Err(format!("{text} belongs to {} sites; say which: {}", several.len(), several.join("  ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_that_nobody_or_two_have_is_refused() {
        let rows = [
            json!({"id": "ten_1", "name": "Acme"}),
            json!({"id": "ten_2", "name": "acme"}),
            json!({"id": "ten_3", "name": "Bolt"}),
        ];
        assert!(find(Kind::Tenant, "Coil", &rows).unwrap_err().contains("no tenant \"Coil\""));
        let two = find(Kind::Tenant, "ACME", &rows).unwrap_err();
        assert!(two.contains("ten_1") && two.contains("ten_2"), "{two}");
        assert_eq!(find(Kind::Tenant, "bolt", &rows), Ok("ten_3".to_owned()));
    }

    #[test]
    fn a_site_is_known_by_its_name_or_one_of_its_hosts() {
        let paths = [
            json!({"source": "a", "site": "mx1.one.example,mx2.one.example"}),
            json!({"source": "b", "site": "mx1.one.example,mx2.one.example"}),
            json!({"source": "a", "site": "mx1.one.example"}),
            json!({"source": "a", "site": "mx.two.example,mx2.one.example"}),
        ];
        let found = |text: &str| find_site(text, &paths);
        assert_eq!(found("one.example"), Ok(None));
        let several = found("mx2.one.example").unwrap_err();
        assert!(several.contains("2 sites") && several.contains("mx.two.example,mx2"), "{several}");
        assert_eq!(found("MX1.one.example"), Ok(Some("mx1.one.example".to_owned())), "its whole name");
        assert_eq!(found("mx.two.example"), Ok(Some("mx.two.example,mx2.one.example".to_owned())));
        assert!(!Kind::Site.is_id("mx1.one.example"));
    }

    #[test]
    fn an_id_is_not_looked_for() {
        assert!(Kind::Tenant.is_id("self") && Kind::Tenant.is_id("ten_01"));
        assert!(!Kind::Tenant.is_id("acme") && !Kind::Domain.is_id("self"));
        assert!(Kind::Message.is_id("whatever"), "the API tells what is wrong with it");
    }

    #[test]
    fn a_step_cannot_leave_its_place() {
        assert_eq!(escape("../a b?c#d/é"), "..%2Fa%20b%3Fc%23d%2F%C3%A9");
    }

    #[test]
    fn what_was_not_said_is_not_sent() {
        assert_eq!(fields([("a", Some(json!(1))), ("b", None)]), json!({"a": 1}));
    }
}
