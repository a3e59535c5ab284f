//! The OpenAPI 3.1 document: made from the routes, then completed with what every operation has in common.
//!
//! A handler declares what is its own: summary, body, success. Here each operation gets its path parameters, the
//! problems it may answer with, its security and, on POST, the `Idempotency-Key`. The document is the final word on
//! names, and bodies are checked against it (`schema.rs`), so it cannot disagree with the code.

use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Operations without a credential: paths that anybody may call.
pub const OPEN_PATHS: &[&str] = &[
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/console/",
    "/v1/auth/token",
    "/v1/auth/refresh",
    "/v1/auth/logout",
];

const DESCRIPTION: &str = "Onboard tenants, verify their domains, send their mail and hear what became of it.\n\n\
    JSON in UTF-8, times as RFC 3339 in UTC, ids with a prefix. Unknown fields and query parameters are refused, and so is a body where there is none. Lists answer \
    `{\"data\": […], \"next_cursor\": …}` and take `limit` and `cursor`. Every POST that needs a \
    credential takes an `Idempotency-Key`; `/v1/auth/…` does not. \
    Errors are `application/problem+json` with a stable `code` and a JSON pointer per wrong field. Every answer has a \
    `Request-Id`, which a problem repeats as `request_id`; answers to a credential have `RateLimit` headers. \
    `/v1/tenants/self/…` is the caller's own tenant.";

/// What each path parameter is.
const PARAMETERS: &[(&str, &str)] = &[
    ("tenant", "Id of a tenant, `ten_…`, or `self` for the caller's own"),
    ("stream", "Id of a stream, `str_…`"),
    ("domain", "Id of a sending domain, `dom_…`"),
    ("credential", "Id of an SMTP credential, `crd_…`"),
    ("api_key", "Id of an API key, `key_…`"),
    ("message", "Id of a message, `msg_…`"),
    ("webhook", "Id of a webhook endpoint, `whk_…`"),
    ("pool", "Id of an egress pool, `pol_…`"),
    ("source", "Id of an egress source, `src_…`"),
    ("user", "Id of a user, `usr_…`"),
];

/// Headers of answers that are ours.
const HEADERS: &[(&str, &str)] = &[
    ("Request-Id", "Id of the request, `req_…`: what to quote to the operator"),
    ("RateLimit", "`\"requests\";r=…;t=…`: requests that are left, and the seconds until all are back"),
    (
        "RateLimit-Policy",
        "`\"requests\";q=…;w=…`: requests that may be asked at once, and in how many seconds they come back",
    ),
    ("Retry-After", "Seconds to wait before the same makes sense again; where a time is known"),
    ("Location", "Path of what was made"),
    ("ETag", "The state, to be given as `If-Match`"),
];

/// Completes the document and returns it as JSON.
pub fn complete(document: &utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(document)
        .unwrap_or_else(|error| unreachable!("the document is plain data: {error}"));
    document["info"] = json!({"title": "posthouse", "version": "1", "description": DESCRIPTION,
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}});
    document["components"]["securitySchemes"] = json!({"bearer": {"type": "http", "scheme": "bearer",
        "description": "An API key (`ph_live_…`) or a token from `POST /v1/auth/token`"}});
    document["components"]["headers"] =
        HEADERS.iter().map(|(name, description)| ((*name).to_owned(), header(description))).collect();
    if let Some(paths) = document["paths"].as_object_mut() {
        let shown = shown(paths);
        for (path, item) in paths {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                complete_operation(path, method, operation);
                let made = method == "post" && shown.contains(path);
                add_headers(path, if made { &["Location"] } else { &[] }, operation);
            }
        }
    }
    document
}

/// Collections that show what is made in them.
fn shown(paths: &Map<String, Value>) -> BTreeSet<String> {
    let with_get = paths.iter().filter(|(_, item)| item.get("get").is_some());
    let parents =
        with_get.filter_map(|(path, _)| path.rsplit_once('/').filter(|(_, last)| last.starts_with('{')));
    parents.map(|(collection, _)| collection.to_owned()).collect()
}

/// Headers of answers that somebody can go by. That of a problem with `Request-Id` stands in its body too, and a rate is of
/// use to whoever was served or asks too much: the document is long enough without the rest.
fn add_headers(path: &str, of_created: &[&str], operation: &mut Value) {
    let open = OPEN_PATHS.contains(&path);
    for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        let mut names = Vec::new();
        if status.starts_with('2') {
            names.push("Request-Id");
        }
        if !open && (status.starts_with('2') || status == "429") {
            names.extend(["RateLimit", "RateLimit-Policy"]);
        }
        if matches!(status.as_str(), "429" | "503" | "507") {
            names.push("Retry-After");
        }
        if status == "201" {
            names.extend(of_created);
        }
        // Declared by its handler.
        if response["headers"].get("ETag").is_some() {
            names.push("ETag");
        }
        for name in names {
            response["headers"][name] = json!({"$ref": format!("#/components/headers/{name}")});
        }
    }
}

fn header(description: &str) -> Value {
    json!({"description": description, "schema": {"type": "string"}})
}

fn complete_operation(path: &str, method: &str, operation: &mut Value) {
    add_parameters(path, method, operation);
    let open = OPEN_PATHS.contains(&path);
    operation["security"] = if open { json!([]) } else { json!([{"bearer": []}]) };
    let mut problems = Vec::new();
    if !open {
        // 400: a query parameter that is unknown or cannot be used.
        problems.extend([400, 401, 403, 408, 429, 503]);
    }
    if path.contains('{') {
        problems.push(404);
    }
    if operation.get("requestBody").is_some() {
        problems.extend([400, 413, 415, 422]);
    } else if method != "get" {
        // A body where there should be none, or a query parameter.
        problems.extend([400, 413, 422]);
    }
    if method != "get" {
        // A body that does not come.
        problems.push(408);
    }
    if method == "post" && !open {
        // 400: an Idempotency-Key that cannot be used.
        problems.extend([409, 422]);
    }
    if operation["operationId"] == "message_send" {
        problems.push(507);
    }
    // It is still in use, its name is taken, or its state does not allow it.
    if matches!(method, "put" | "patch" | "delete") && !open {
        problems.push(409);
    }
    let has_condition = operation["parameters"]
        .as_array()
        .is_some_and(|parameters| parameters.iter().any(|parameter| parameter["name"] == "If-Match"));
    if has_condition {
        problems.push(412);
    }
    if let Some(responses) = operation["responses"].as_object_mut() {
        for status in problems {
            responses.entry(status.to_string()).or_insert_with(|| problem(status));
        }
    }
}

fn add_parameters(path: &str, method: &str, operation: &mut Value) {
    let mut parameters: Vec<Value> = PARAMETERS
        .iter()
        .filter(|(name, _)| path.contains(&format!("{{{name}}}")))
        .map(|(name, description)| {
            json!({"name": name, "in": "path", "required": true, "description": description, "schema": {"type": "string"}})
        })
        .collect();
    parameters.extend(operation["parameters"].as_array().cloned().unwrap_or_default());
    if method == "post" && !OPEN_PATHS.contains(&path) {
        parameters.push(json!({"name": "Idempotency-Key", "in": "header", "required": false,
            "description": "Makes a retry safe: the same key and request are done once and answered the same for 24 h",
            "schema": {"type": "string", "maxLength": 255}}));
    }
    if parameters.is_empty() {
        operation.as_object_mut().map(|fields| fields.remove("parameters"));
    } else {
        operation["parameters"] = Value::Array(parameters);
    }
}

fn problem(status: u16) -> Value {
    let description = match status {
        400 => "The request cannot be read",
        401 => "No credential, or a wrong one",
        403 => "The credential may not do this",
        404 => "No such thing, or not yours",
        408 => "The request was not complete in time",
        409 => "It clashes with what exists, or with a call that is running",
        412 => "It was changed since it was read",
        413 => "The body is too large",
        415 => "Another content type is needed",
        422 => "Fields are missing, unknown or unusable",
        429 => "Too much; Retry-After says when to go on",
        507 => "No room for mail; Retry-After says when to try again",
        _ => "Trouble of ours; Retry-After says when to try again",
    };
    let mut content = Map::new();
    let schema = json!({"schema": {"$ref": "#/components/schemas/Problem"}});
    content.insert("application/problem+json".to_owned(), schema);
    json!({"description": description, "content": content})
}
