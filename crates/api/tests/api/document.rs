//! What the served document says of every operation, and bodies that fit it: the attacks of this folder are made of them.
//!
//! Nothing here knows an operation by name but for `message_send`, whose schema cannot say what a message needs. A format
//! or a path parameter that is new has no value here and fails the test that needs one.

use crate::harness::House;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Ids of things by the name of their path parameter.
pub type Ids = BTreeMap<&'static str, String>;

#[derive(Debug, Clone)]
pub struct Operation {
    pub id: String,
    pub method: String,
    pub path: String,
    /// Name of the schema of its JSON body.
    pub schema: Option<String>,
    pub query: Vec<String>,
    pub is_open: bool,
    pub is_keyed: bool,
}

pub struct Document(pub Value);

impl Operation {
    pub fn is_of_a_tenant(&self) -> bool {
        self.path.starts_with("/v1/tenants/{tenant}")
    }

    /// Whether the path names a thing below its tenant or its collection.
    pub fn object(&self) -> Option<&str> {
        let mut names = self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        names.rfind(|name| *name != "tenant")
    }

    pub fn path(&self, tenant: &str, ids: &Ids) -> String {
        let mut path = self.path.replace("{tenant}", tenant);
        for (name, id) in ids {
            path = path.replace(&format!("{{{name}}}"), id);
        }
        assert!(!path.contains('{'), "{}: there is no id here for {path}", self.id);
        path
    }
}

impl Document {
    pub async fn served(house: &House) -> Document {
        Document(house.call("GET", "/openapi.json", "", None).await.expect(200))
    }

    pub fn operations(&self) -> Vec<Operation> {
        let paths = self.0["paths"].as_object().unwrap();
        let all = paths.iter().flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation))
        });
        all.map(|(path, method, operation)| {
            let named = |place: &str| {
                let all = operation["parameters"].as_array().into_iter().flatten();
                let there = all.filter(|parameter| parameter["in"] == place);
                there.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
            };
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            Operation {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase(),
                path: path.clone(),
                schema: schema.as_str().map(|target| target.rsplit('/').next().unwrap().to_owned()),
                query: named("query"),
                is_open: operation["security"] == json!([]),
                is_keyed: named("header").iter().any(|name| name == "Idempotency-Key"),
            }
        })
        .collect()
    }

    /// The fields of a body.
    pub fn fields(&self, operation: &Operation) -> Map<String, Value> {
        let Some(name) = &operation.schema else { return Map::new() };
        let schema = &self.0["components"]["schemas"][name];
        schema["properties"].as_object().cloned().unwrap_or_default()
    }

    /// The smallest body that the operation takes, different for every `n`. A message is from the tenant of `world.rs` that
    /// reaches for the other's things.
    pub fn body(&self, operation: &Operation, n: usize) -> Option<Value> {
        let name = operation.schema.as_ref()?;
        if operation.id == "message_send" {
            return Some(
                json!({"from": "news@b.example", "to": "x@example.org", "subject": "s", "text": "t"}),
            );
        }
        Some(self.smallest(&self.0["components"]["schemas"][name], n))
    }

    /// A value of a schema.
    pub fn smallest(&self, schema: &Value, n: usize) -> Value {
        let schema = self.resolve(schema);
        if let Some(choice) = schema["oneOf"].as_array() {
            let real = choice.iter().find(|choice| choice["type"] != "null").unwrap();
            return self.smallest(real, n);
        }
        if let Some(word) = schema["enum"].as_array() {
            return word[0].clone();
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").unwrap().as_str(),
            kind => kind.as_str(),
        };
        match kind {
            Some("string") => text_of(schema, n).into(),
            Some("integer" | "number") => schema["minimum"].as_u64().unwrap_or(1).into(),
            Some("boolean") => true.into(),
            Some("array") if schema["minItems"].as_u64().unwrap_or(0) > 0 => {
                json!([self.smallest(&schema["items"], n)])
            }
            Some("array") => json!([]),
            Some("object") => {
                let needed =
                    schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap());
                let fields =
                    needed.map(|name| (name.to_owned(), self.smallest(&schema["properties"][name], n)));
                Value::Object(fields.collect())
            }
            kind => panic!("document.rs makes no {kind:?}"),
        }
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let target = schema["$ref"].as_str();
        target.map_or(schema, |target| self.0.pointer(&target[1..]).unwrap())
    }

    /// What an answer has that its documentation does not, or lacks.
    pub fn strange(
        &self,
        method: &str,
        template: &str,
        status: &str,
        kind: &str,
        answer: &Value,
    ) -> Vec<String> {
        let content = &self.0["paths"][template][method]["responses"][status]["content"];
        let mut found = Vec::new();
        if let Some(schema) = content.get(kind).and_then(|content| content.get("schema")) {
            self.compare(schema, answer, "", &mut found);
        } else {
            found.push(format!("an answer of type {kind}"));
        }
        found
    }

    fn compare(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        let schema = self.resolve(schema);
        if let Some(choices) = schema["oneOf"].as_array() {
            let complaints = choices.iter().map(|choice| {
                let mut found = Vec::new();
                self.compare(choice, value, at, &mut found);
                found
            });
            return found.extend(complaints.min_by_key(Vec::len).unwrap_or_default());
        }
        let fits = |kind: &Value| match kind.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            kind => kind == "null" && value.is_null(),
        };
        let is_right = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().any(fits),
            Value::Null => true,
            kind => fits(kind),
        };
        let is_word = schema["enum"].as_array().is_none_or(|words| words.contains(value));
        if !is_right || !is_word {
            return found.push(format!("{at}: {value}"));
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            self.compare(&schema["items"], item, &format!("{at}/{index}"), found);
        }
        if let Some(fields) = value.as_object() {
            self.compare_fields(schema, fields, at, found);
        }
    }

    fn compare_fields(&self, schema: &Value, fields: &Map<String, Value>, at: &str, found: &mut Vec<String>) {
        // `allOf` is what a flattened struct becomes: the fields of all parts.
        let whole = [schema.clone()];
        let parts = schema["allOf"].as_array().map_or(&whole[..], Vec::as_slice);
        let parts: Vec<&Value> = parts.iter().map(|part| self.resolve(part)).collect();
        let is_free = parts.iter().all(|part| part["properties"].is_null());
        let schema_of = |name: &String| {
            let known = parts.iter().find_map(|part| part["properties"].get(name));
            known.or_else(|| {
                parts.iter().find_map(|part| part.get("additionalProperties")).filter(|more| more.is_object())
            })
        };
        for (name, value) in fields {
            match schema_of(name) {
                Some(schema) => self.compare(schema, value, &format!("{at}/{name}"), found),
                None if is_free => {}
                None => found.push(format!("{at}/{name} is not documented")),
            }
        }
        let needed = parts.iter().filter_map(|part| part["required"].as_array()).flatten();
        for name in needed.map(|name| name.as_str().unwrap()).filter(|name| !fields.contains_key(*name)) {
            found.push(format!("{at}/{name} is missing"));
        }
    }
}

fn text_of(schema: &Value, n: usize) -> String {
    match schema["format"].as_str() {
        None => format!("text {n}"),
        Some("display-name") => format!("Name {n}"),
        Some("slug") => format!("slug-{n}"),
        Some("domain") => format!("d{n}.example"),
        Some("email" | "mailbox") => format!("u{n}@a.example"),
        Some("password") => "a long enough password".to_owned(),
        Some("http-url") => format!("https://hooks.example/{n}"),
        Some("date-time") => "2030-01-01T00:00:00Z".to_owned(),
        Some("ip") => format!("192.0.2.{}", n % 250),
        Some("network") => "192.0.2.0/24".to_owned(),
        Some("event-type") => "message.delivered".to_owned(),
        Some("byte") => "QQ==".to_owned(),
        Some(format) => random_id(format).unwrap_or_else(|| panic!("document.rs has no text for {format}")),
    }
}

/// An id that nobody has, by the name of a path parameter or a format.
pub fn random_id(name: &str) -> Option<String> {
    const PREFIXES: [(&str, &str); 10] = [
        ("tenant", "ten"),
        ("stream", "str"),
        ("domain", "dom"),
        ("credential", "crd"),
        ("api_key", "key"),
        ("message", "msg"),
        ("webhook", "whk"),
        ("pool", "pol"),
        ("source", "src"),
        ("user", "usr"),
    ];
    let name = name.strip_suffix("-id").unwrap_or(name);
    let known = PREFIXES.iter().find(|(known, _)| *known == name);
    known.map(|(_, prefix)| format!("{prefix}_01kb0000000000000000000000"))
}
