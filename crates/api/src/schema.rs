//! Checks a request body against the schema that `/openapi.json` publishes, and says every mistake at once.
//!
//! Serde stops at the first wrong field; a person who fills a form wants all of them. So the published schema is also
//! the rule: types, required and unknown fields, lengths, and formats such as `domain` or `pool-id`, which are parsed
//! by the same parsers as everywhere in the house. It knows exactly the keywords that our own document uses; a test
//! walks the document and fails on a format that is not in the table below. Pure.

use crate::problem::FieldError;
use mail::{Domain, EventKind, Mailbox, PoolId, SourceId, StreamId, TenantId, Timestamp};
use registry::{DisplayName, Slug};
use serde_json::Value;

/// Mistakes told about one body; whoever sends more has another problem.
const ERRORS_MAX: usize = 100;

/// The `components/schemas` of the published document.
#[derive(Debug, Clone)]
pub struct Schemas(Value);

type Parser = fn(&str) -> Result<(), String>;

/// Every string format that a request schema may name.
const FORMATS: &[(&str, Parser)] = &[
    ("domain", |text| Domain::parse(text).map(drop).map_err(|error| error.to_string())),
    ("mailbox", |text| mailbox_of(text).map(drop)),
    ("email", |text| Mailbox::parse(text).map(drop).map_err(|error| error.to_string())),
    ("date-time", |text| {
        let wrong = || "not a time as RFC 3339 writes it, such as 2026-11-23T09:14:09Z".to_owned();
        Timestamp::parse_rfc3339(text).map(drop).ok_or_else(wrong)
    }),
    ("pool-id", |text| PoolId::parse(text).map(drop).map_err(|error| error.to_string())),
    ("source-id", |text| SourceId::parse(text).map(drop).map_err(|error| error.to_string())),
    ("stream-id", |text| StreamId::parse(text).map(drop).map_err(|error| error.to_string())),
    ("tenant-id", |text| TenantId::parse(text).map(drop).map_err(|error| error.to_string())),
    ("event-id", |text| mail::EventId::parse(text).map(drop).map_err(|error| error.to_string())),
    ("event-type", |text| {
        EventKind::parse(text).map(drop).ok_or_else(|| format!("{text} is not an event type"))
    }),
    ("network", |text| {
        network_of(text).map(drop).ok_or_else(|| "not an address or network such as 192.0.2.0/24".to_owned())
    }),
    ("ip", |text| text.parse::<std::net::IpAddr>().map(drop).map_err(|_| "not an IP address".to_owned())),
    ("http-url", |text| http_url(text)),
    ("slug", |text| Slug::parse(text).map(drop).map_err(|error| error.to_string())),
    ("display-name", |text| DisplayName::parse(text).map(drop).map_err(|error| error.to_string())),
    ("byte", |text| base64_of(text).map(drop).ok_or_else(|| "not base64".to_owned())),
    ("password", |_| Ok(())),
];

/// Base 64, in lines or not: MIME and the libraries that follow it break them (RFC 2045 §6.8).
pub fn base64_of(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let standard = &base64::engine::general_purpose::STANDARD;
    if !text.bytes().any(|octet| octet == b'\r' || octet == b'\n') {
        return standard.decode(text).ok();
    }
    let lines: Vec<u8> = text.bytes().filter(|octet| *octet != b'\r' && *octet != b'\n').collect();
    standard.decode(lines).ok()
}

/// A network; an address alone stands for itself.
pub fn network_of(text: &str) -> Option<ipnet::IpNet> {
    text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(ipnet::IpNet::from))
}

/// `user@example.org` or `Display Name <user@example.org>`.
pub fn mailbox_of(text: &str) -> Result<(Option<String>, Mailbox), String> {
    let text = text.trim();
    if text.chars().any(char::is_control) {
        return Err("an address has no control characters".to_owned());
    }
    let Some(rest) = text.strip_suffix('>') else {
        return Mailbox::parse(text).map(|mailbox| (None, mailbox)).map_err(|error| error.to_string());
    };
    let Some((display, address)) = rest.rsplit_once('<') else {
        return Err("the address has > without <".to_owned());
    };
    let mailbox = Mailbox::parse(address).map_err(|error| error.to_string())?;
    let display = display.trim();
    let unquoted = display.strip_prefix('"').and_then(|inner| inner.strip_suffix('"'));
    let display = unquoted
        .map_or_else(|| display.to_owned(), |inner| inner.replace("\\\"", "\"").replace("\\\\", "\\"));
    Ok(((!display.is_empty()).then_some(display), mailbox))
}

/// Whether the target may be called at all is decided when it is called; here it must only be a URL of ours to call.
fn http_url(text: &str) -> Result<(), String> {
    if !text.is_ascii() {
        return Err("a URL is ASCII: write an international domain in its form xn--…, and %-encode the rest"
            .to_owned());
    }
    let uri: axum::http::Uri = text.parse().map_err(|_| "not a URL".to_owned())?;
    let scheme = uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
    let Some(authority) = uri.authority() else {
        return Err("the URL has no host".to_owned());
    };
    if !matches!(scheme.as_str(), "https" | "http") {
        return Err("the URL must begin with https:// (http:// where the operator allows it)".to_owned());
    }
    if authority.as_str().contains('@') {
        return Err("a URL with a user name cannot be used".to_owned());
    }
    if authority.port().is_none() && authority.as_str() != authority.host() {
        return Err("the port of a URL is a number from 1 to 65535".to_owned());
    }
    if text.contains('#') {
        return Err("a URL with a fragment (#) cannot be called".to_owned());
    }
    Ok(())
}

impl Schemas {
    /// Takes the components out of the document as JSON.
    pub fn from_document(document: &Value) -> Schemas {
        Schemas(document.pointer("/components/schemas").cloned().unwrap_or_default())
    }

    /// Every mistake of `instance` as a `schema`; none means that serde will read it.
    pub fn check(&self, schema: &str, instance: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let schema = self.0.get(schema).unwrap_or(&Value::Null);
        self.check_value(schema, instance, String::new(), &mut errors);
        errors.truncate(ERRORS_MAX);
        errors
    }

    fn check_value(&self, schema: &Value, instance: &Value, at: String, errors: &mut Vec<FieldError>) {
        if errors.len() >= ERRORS_MAX {
            return;
        }
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let name = name.rsplit('/').next().unwrap_or_default();
            let target = self.0.get(name).unwrap_or(&Value::Null);
            return self.check_value(target, instance, at, errors);
        }
        if let Some(choices) = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array) {
            return self.check_choices(choices, instance, at, errors);
        }
        if !has_type(schema, instance) {
            let wanted = schema.get("type").map(words).unwrap_or_default();
            return errors.push(FieldError::new(at, "wrong_type", format!("must be {wanted}")));
        }
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
            && !allowed.contains(instance)
        {
            let known: Vec<_> = allowed.iter().filter_map(Value::as_str).collect();
            return errors.push(FieldError::new(
                at,
                "not_allowed",
                format!("must be one of {}", known.join(", ")),
            ));
        }
        match instance {
            Value::Object(fields) => self.check_object(schema, fields, at, errors),
            Value::Array(items) => self.check_array(schema, items, at, errors),
            Value::String(text) => check_string(schema, text, at, errors),
            Value::Number(number) => check_number(schema, number, at, errors),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.rsplit('/').next());
        name.map_or(schema, |name| self.0.get(name).unwrap_or(&Value::Null))
    }

    /// `oneOf` is `null | something`, or one thing or a list of them. Of the choices that have the right type the one
    /// with the fewest mistakes is meant.
    fn check_choices(&self, choices: &[Value], instance: &Value, at: String, errors: &mut Vec<FieldError>) {
        let is_null = |choice: &Value| choice.get("type").is_some_and(|kind| kind == "null");
        if instance.is_null() && choices.iter().any(is_null) {
            return;
        }
        let real = || choices.iter().filter(|choice| !is_null(choice));
        let fitting: Vec<_> = real().filter(|choice| has_type(self.resolve(choice), instance)).collect();
        let meant = if fitting.is_empty() { real().collect() } else { fitting };
        let mut fewest: Option<Vec<FieldError>> = None;
        for choice in meant {
            let mut found = Vec::new();
            self.check_value(choice, instance, at.clone(), &mut found);
            if fewest.as_ref().is_none_or(|known| found.len() < known.len()) {
                fewest = Some(found);
            }
        }
        errors.extend(fewest.unwrap_or_default());
    }

    fn check_object(
        &self,
        schema: &Value,
        fields: &serde_json::Map<String, Value>,
        at: String,
        errors: &mut Vec<FieldError>,
    ) {
        let known = schema.get("properties").and_then(Value::as_object);
        for name in
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        {
            if !fields.contains_key(name) {
                errors.push(FieldError::new(format!("{at}/{name}"), "missing", "this field is required"));
            }
        }
        check_bounds(schema, ["minProperties", "maxProperties"], fields.len(), "entries", &at, errors);
        for (name, value) in fields {
            let pointer = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            match (known.and_then(|known| known.get(name)), schema.get("additionalProperties")) {
                (Some(schema), _) => self.check_value(schema, value, pointer, errors),
                (None, Some(Value::Bool(false))) => {
                    let names: Vec<_> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                    let detail = format!("there is no such field; there are {}", names.join(", "));
                    errors.push(FieldError::new(pointer, "unknown_field", detail));
                }
                (None, Some(_)) if name.contains('\0') => {
                    errors.push(FieldError::new(pointer, "invalid", "a name has no NUL character (U+0000)"));
                }
                (None, Some(schema @ Value::Object(_))) => self.check_value(schema, value, pointer, errors),
                (None, _) => {}
            }
        }
    }

    fn check_array(&self, schema: &Value, items: &[Value], at: String, errors: &mut Vec<FieldError>) {
        check_bounds(schema, ["minItems", "maxItems"], items.len(), "entries", &at, errors);
        if let Some(schema) = schema.get("items") {
            for (index, item) in items.iter().enumerate() {
                self.check_value(schema, item, format!("{at}/{index}"), errors);
            }
        }
    }

    /// Every format that is named below the given schema and that nobody here can check.
    #[cfg(test)]
    pub fn unknown_formats(&self, schema: &str) -> Vec<String> {
        fn walk(schemas: &Value, value: &Value, depth: usize, found: &mut Vec<String>) {
            if depth > 20 {
                return;
            }
            if let Some(name) = value.get("$ref").and_then(Value::as_str) {
                let name = name.rsplit('/').next().unwrap_or_default();
                walk(schemas, schemas.get(name).unwrap_or(&Value::Null), depth + 1, found);
            }
            if value.get("type").is_some_and(|kind| kind.to_string().contains("string"))
                && let Some(format) = value.get("format").and_then(Value::as_str)
                && !FORMATS.iter().any(|(name, _)| *name == format)
            {
                found.push(format.to_owned());
            }
            match value {
                Value::Object(fields) => {
                    fields.values().for_each(|field| walk(schemas, field, depth + 1, found))
                }
                Value::Array(items) => items.iter().for_each(|item| walk(schemas, item, depth + 1, found)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let mut found = Vec::new();
        walk(&self.0, self.0.get(schema).unwrap_or(&Value::Null), 0, &mut found);
        found
    }
}

fn has_type(schema: &Value, instance: &Value) -> bool {
    let fits = |kind: &Value| match kind.as_str().unwrap_or_default() {
        "object" => instance.is_object(),
        "array" => instance.is_array(),
        "string" => instance.is_string(),
        "boolean" => instance.is_boolean(),
        "number" => instance.is_number(),
        "integer" => instance.is_u64() || instance.is_i64(),
        "null" => instance.is_null(),
        _ => false,
    };
    match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(fits),
        Some(kind) => fits(kind),
        None => true,
    }
}

fn words(kind: &Value) -> String {
    let word = |kind: &Value| match kind.as_str().unwrap_or_default() {
        "object" => "an object",
        "array" => "a list",
        "string" => "text",
        "boolean" => "true or false",
        "number" => "a number",
        "integer" => "a whole number",
        "null" => "null",
        _ => "something else",
    };
    match kind {
        Value::Array(kinds) => kinds.iter().map(word).collect::<Vec<_>>().join(" or "),
        kind => word(kind).to_owned(),
    }
}

fn check_string(schema: &Value, text: &str, at: String, errors: &mut Vec<FieldError>) {
    let before = errors.len();
    check_bounds(schema, ["minLength", "maxLength"], text.chars().count(), "characters", &at, errors);
    if text.contains('\0') {
        // PostgreSQL keeps none, a header field may have none (RFC 5322 §2.2), and C ends there.
        errors.push(FieldError::new(at, "invalid", "must not contain a NUL character (U+0000)"));
        return;
    }
    let format = schema.get("format").and_then(Value::as_str);
    let parser = FORMATS.iter().find(|(name, _)| Some(*name) == format).map(|(_, parser)| parser);
    if let Some(Err(detail)) = parser.map(|parse| parse(text))
        && errors.len() == before
    {
        errors.push(FieldError::new(at, "invalid", detail));
    }
}

fn check_number(schema: &Value, number: &serde_json::Number, at: String, errors: &mut Vec<FieldError>) {
    let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_f64);
    // The 32-bit numbers of bodies have no sign; without this serde would refuse them and could not say where.
    let widest =
        (schema.get("format").is_some_and(|format| format == "int32")).then_some(f64::from(u32::MAX));
    let value = number.as_f64().unwrap_or(f64::NAN);
    if let Some(least) = bound("minimum")
        && value < least
    {
        errors.push(FieldError::new(at, "too_small", format!("must be at least {least}")));
    } else if let Some(most) = bound("maximum").or(widest)
        && value > most
    {
        errors.push(FieldError::new(at, "too_large", format!("must be at most {most}")));
    }
}

fn check_bounds(
    schema: &Value,
    [least, most]: [&str; 2],
    count: usize,
    unit: &str,
    at: &str,
    errors: &mut Vec<FieldError>,
) {
    let bound =
        |keyword: &str| schema.get(keyword).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let is_text = unit == "characters";
    if let Some(least) = bound(least)
        && count < least
    {
        let code = if is_text { "too_short" } else { "too_few" };
        errors.push(FieldError::new(at, code, format!("needs at least {least} {unit}")));
    }
    if let Some(most) = bound(most)
        && count > most
    {
        let code = if is_text { "too_long" } else { "too_many" };
        errors.push(FieldError::new(at, code, format!("has more than {most} {unit}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schemas() -> Schemas {
        Schemas::from_document(&json!({"components": {"schemas": {
            "Order": {"type": "object", "required": ["name", "domain"], "additionalProperties": false, "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 5},
                "domain": {"type": "string", "format": "domain"},
                "count": {"type": ["integer", "null"], "minimum": 1, "maximum": 10},
                "width": {"type": "integer", "format": "int32"},
                "kind": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Kind"}]},
                "tags": {"type": "array", "maxItems": 2, "items": {"type": "string", "format": "slug"}},
                "metadata": {"type": "object", "maxProperties": 1, "additionalProperties": {"type": "string"}}}},
            "Kind": {"type": "string", "enum": ["one", "two"]}}}}))
    }

    fn mistakes(instance: Value) -> Vec<(String, &'static str)> {
        schemas().check("Order", &instance).into_iter().map(|error| (error.pointer, error.code)).collect()
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let found = mistakes(
            json!({"name": "longer", "domain": "localhost", "count": 0, "kind": "three", "colour": 1,
            "tags": ["a", "B", "c"], "metadata": {"a/b": 1, "c": "d"}}),
        );
        let wanted = [
            ("/count", "too_small"),
            ("/domain", "invalid"),
            ("/kind", "not_allowed"),
            ("/metadata", "too_many"),
            ("/metadata/a~1b", "wrong_type"),
            ("/name", "too_long"),
            ("/tags", "too_many"),
            ("/tags/1", "invalid"),
            ("/colour", "unknown_field"),
        ];
        for (pointer, code) in wanted {
            assert!(found.contains(&(pointer.to_owned(), code)), "{pointer} {code} in {found:?}");
        }
        assert_eq!(found.len(), wanted.len(), "{found:?}");
    }

    #[test]
    fn missing_and_mistyped_are_told_apart() {
        let missing = [("/name".to_owned(), "missing"), ("/domain".to_owned(), "missing")];
        assert_eq!(mistakes(json!({})), missing);
        assert_eq!(mistakes(json!({"name": 7, "domain": "a.example"})), [("/name".to_owned(), "wrong_type")]);
        assert_eq!(mistakes(json!([])), [(String::new(), "wrong_type")]);
        let wide = json!({"name": "a", "domain": "a.example", "width": 4294967296u64});
        assert_eq!(mistakes(wide), [("/width".to_owned(), "too_large")]);
        assert_eq!(
            mistakes(json!({"name": "a", "domain": "a.example", "count": 1.5})),
            [("/count".to_owned(), "wrong_type")]
        );
    }

    #[test]
    fn what_is_right_passes_and_null_stands_for_nothing() {
        let right = json!({"name": "a", "domain": "a.example", "count": null, "kind": null, "tags": [], "metadata": {}});
        assert!(mistakes(right).is_empty());
        assert!(mistakes(json!({"name": "a", "domain": "a.example", "kind": "two", "count": 10})).is_empty());
    }

    #[test]
    fn every_format_that_a_body_names_is_checked() {
        let document = crate::router::document();
        let schemas = Schemas::from_document(&document);
        let mut bodies = 0;
        for operation in document["paths"]
            .as_object()
            .into_iter()
            .flatten()
            .flat_map(|(_, item)| item.as_object())
            .flatten()
        {
            let schema = &operation.1["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            if let Some(name) = schema.as_str().and_then(|target| target.rsplit('/').next()) {
                assert_eq!(schemas.unknown_formats(name), Vec::<String>::new(), "{name}");
                bodies += 1;
            }
        }
        assert!(bodies > 15, "only {bodies} bodies are described by name");
    }

    #[test]
    fn an_address_may_have_a_display_name() {
        let (display, mailbox) =
            mailbox_of("\"Meier, Anna\" <anna@example.org>").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            (display.as_deref(), mailbox.to_string().as_str()),
            (Some("Meier, Anna"), "anna@example.org")
        );
        assert!(mailbox_of("anna@example.org\r\nBcc: b@example.org").is_err());
        assert!(mailbox_of("anna@example.org>").is_err());
        assert!(mailbox_of("Anna <a@b@example.org>").is_err());
    }

    #[test]
    fn a_target_that_hides_its_host_is_refused() {
        for text in
            ["ftp://a.example/", "https://user:pw@a.example/", "/only/a/path", "javascript:alert(1)", ""]
        {
            assert!(http_url(text).is_err(), "{text}");
        }
        assert!(http_url("https://a.example:8443/hook?x=1").is_ok());
    }
}
