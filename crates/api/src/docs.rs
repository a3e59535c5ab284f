//! `/docs`: the OpenAPI document as one page that a person can read, without scripts and without another host.
//!
//! Made once at start from the same JSON that `/openapi.json` serves. It shows every operation with its parameters,
//! fields and answers, and the closed list of problem codes. Everything from the document is escaped. Pure.

use crate::problem::Kind;
use mail::{Refusal, RefusalKind};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#1c2430;background:#fff}\
main{max-width:60rem;margin:0 auto;padding:1.5rem}h1{margin-top:0}h2{border-bottom:1px solid #d5dbe3;margin-top:3rem}\
h3{margin-top:2rem;font-size:1rem}code,pre{font:14px/1.5 ui-monospace,monospace;background:#f2f4f7;border-radius:4px}\
code{padding:.1em .3em}table{border-collapse:collapse;width:100%;font-size:15px}\
td,th{text-align:left;vertical-align:top;padding:.35rem .6rem .35rem 0;border-top:1px solid #e6eaf0}\
.m{display:inline-block;min-width:4.2rem;font-weight:700}nav a{margin-right:1rem}a{color:#0b57a4}\
.r{color:#a32020;font-size:13px}\
@media(prefers-color-scheme:dark){body{background:#14181f;color:#dfe5ee}code,pre{background:#222935}\
td,th,h2{border-color:#313a48}a{color:#7db7f5}.r{color:#f0938f}}";

/// How deep fields of fields are shown.
const DEPTH_MAX: usize = 4;

/// The whole page.
pub fn page(document: &Value) -> String {
    let mut html = String::with_capacity(256 * 1024);
    let info = &document["info"];
    let _ = write!(
        html,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>posthouse API</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><style>{STYLE}</style></head><body><main>\
         <h1>posthouse API</h1>"
    );
    for paragraph in text(&info["description"]).split("\n\n") {
        let _ = write!(html, "<p>{}</p>", prose(paragraph));
    }
    html.push_str("<p>For programs: <a href=\"/openapi.json\">openapi.json</a></p><nav>");
    let groups = groups(document);
    for tag in groups.keys() {
        let _ = write!(html, "<a href=\"#{0}\">{0}</a> ", escape(tag));
    }
    html.push_str("<a href=\"#problems\">problems</a></nav>");
    for (tag, operations) in &groups {
        let _ = write!(html, "<h2 id=\"{0}\">{0}</h2>", escape(tag));
        for (path, method, operation) in operations {
            write_operation(&mut html, document, path, method, operation);
        }
    }
    write_problems(&mut html);
    html.push_str("</main></body></html>");
    html
}

type Operation<'a> = (&'a str, &'a str, &'a Value);

/// Operations by their first tag.
fn groups(document: &Value) -> BTreeMap<&str, Vec<Operation<'_>>> {
    let mut groups: BTreeMap<&str, Vec<Operation<'_>>> = BTreeMap::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let tag = operation["tags"][0].as_str().unwrap_or("other");
            groups.entry(tag).or_default().push((path, method, operation));
        }
    }
    groups
}

fn write_operation(html: &mut String, document: &Value, path: &str, method: &str, operation: &Value) {
    let id = operation["operationId"].as_str().unwrap_or_default();
    let _ = write!(
        html,
        "<h3 id=\"{}\"><span class=\"m\">{}</span> <code>{}</code></h3><p>{}</p>",
        escape(id),
        escape(&method.to_uppercase()),
        escape(path),
        prose(text(&operation["summary"]))
    );
    for paragraph in text(&operation["description"]).split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        let _ = write!(html, "<p>{}</p>", prose(paragraph));
    }
    write_parameters(html, operation);
    for (kind, media) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
        let _ = write!(html, "<p>Body, <code>{}</code></p>", escape(kind));
        write_fields(html, document, &media["schema"]);
    }
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        if !status.starts_with('2') {
            continue;
        }
        let _ = write!(
            html,
            "<p>Answers <code>{}</code> {}</p>",
            escape(status),
            prose(text(&response["description"]))
        );
        for media in response["content"].as_object().into_iter().flatten().map(|(_, media)| media) {
            write_fields(html, document, &media["schema"]);
        }
    }
}

fn write_parameters(html: &mut String, operation: &Value) {
    let Some(parameters) = operation["parameters"].as_array().filter(|parameters| !parameters.is_empty())
    else {
        return;
    };
    html.push_str("<table><tr><th>Parameter<th>In<th>Meaning</tr>");
    for parameter in parameters {
        let required = if parameter["required"] == true { " <span class=\"r\">required</span>" } else { "" };
        let _ = write!(
            html,
            "<tr><td><code>{}</code>{required}<td>{}<td>{}</tr>",
            escape(text(&parameter["name"])),
            escape(text(&parameter["in"])),
            prose(text(&parameter["description"]))
        );
    }
    html.push_str("</table>");
}

fn write_fields(html: &mut String, document: &Value, schema: &Value) {
    let mut rows = String::new();
    write_rows(&mut rows, document, schema, "", 0);
    if !rows.is_empty() {
        let _ = write!(html, "<table><tr><th>Field<th>Type<th>Meaning</tr>{rows}</table>");
    }
}

fn write_rows(rows: &mut String, document: &Value, schema: &Value, prefix: &str, depth: usize) {
    let schema = resolve(document, schema);
    if depth > DEPTH_MAX {
        return;
    }
    if schema["type"] == "array" {
        return write_rows(rows, document, &schema["items"], &format!("{prefix}[]"), depth);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        write_rows(rows, document, part, prefix, depth);
    }
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let shown = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let mark = if required.contains(&name.as_str()) { " <span class=\"r\">required</span>" } else { "" };
        let target = resolve(document, field);
        let description =
            [field, target].into_iter().map(|from| text(&from["description"])).find(|text| !text.is_empty());
        let _ = write!(
            rows,
            "<tr><td><code>{}</code>{mark}<td>{}<td>{}</tr>",
            escape(&shown),
            escape(&type_of(target)),
            prose(description.unwrap_or_default())
        );
        write_rows(rows, document, field, &shown, depth + 1);
    }
}

/// Follows `$ref` and `null | something`.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(pointer) = schema["$ref"].as_str().and_then(|name| name.strip_prefix('#')) {
        return document.pointer(pointer).map_or(schema, |target| resolve(document, target));
    }
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    let real = choices.into_iter().find(|choice| choice["type"] != "null");
    real.map_or(schema, |choice| resolve(document, choice))
}

fn type_of(schema: &Value) -> String {
    if let Some(allowed) = schema["enum"].as_array() {
        return allowed.iter().map(text).collect::<Vec<_>>().join(" | ");
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(text).collect::<Vec<_>>().join(" or "),
        kind => text(kind).to_owned(),
    };
    match schema["format"].as_str() {
        Some(format) => format!("{kind}, {format}"),
        None => kind,
    }
}

/// Kinds of this crate and kinds of refusals: together the closed list.
fn write_problems(html: &mut String) {
    html.push_str(
        "<h2 id=\"problems\">problems</h2><p>The closed list of <code>code</code>. A refusal of the registry check \
         says in its <code>detail</code> what is wrong and how to mend it.</p>\
         <table><tr><th>Code<th>Status<th>Meaning</tr>",
    );
    let mut rows: BTreeMap<&str, (u16, String)> = BTreeMap::new();
    for kind in REFUSALS {
        let refusal = Refusal::new(*kind, "");
        rows.insert(refusal.problem_code(), (refusal.http_status(), refusal_meaning(*kind).to_owned()));
    }
    for kind in Kind::ALL {
        rows.insert(kind.code(), (kind.status(), kind.meaning().to_owned()));
    }
    for (code, (status, meaning)) in rows {
        let _ = write!(
            html,
            "<tr id=\"problem-{0}\"><td><code>{0}</code><td>{status}<td>{1}</tr>",
            escape(code),
            prose(&meaning)
        );
    }
    html.push_str("</table>");
}

/// The refusals that a message submitted over HTTP may meet, and those it may not: the match below keeps it whole.
const REFUSALS: &[RefusalKind] = &[
    RefusalKind::AuthenticationRequired,
    RefusalKind::EncryptionRequired,
    RefusalKind::BadCredential,
    RefusalKind::CredentialLocked,
    RefusalKind::SenderNotAllowed,
    RefusalKind::AmbiguousFrom,
    RefusalKind::UnknownReference,
    RefusalKind::BadSteering,
    RefusalKind::RateLimited,
    RefusalKind::QuotaExhausted,
    RefusalKind::TenantPaused,
    RefusalKind::TenantClosing,
    RefusalKind::MessageTooLarge,
    RefusalKind::TooManyRecipients,
    RefusalKind::MessageMalformed,
    RefusalKind::MailLoop,
    RefusalKind::LocalTrouble,
    RefusalKind::ShareUsedUp,
    RefusalKind::StorageFull,
    RefusalKind::DiskStalled,
    RefusalKind::ShuttingDown,
    RefusalKind::TooManyConnections,
    RefusalKind::NoSuchRecipient,
];

/// A kind that is added to the house must be explained here, and listed above.
const fn refusal_meaning(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::AuthenticationRequired => "Send a credential.",
        RefusalKind::EncryptionRequired => "Use an encrypted connection.",
        RefusalKind::BadCredential => "The credential is wrong, expired, revoked or not for this network.",
        RefusalKind::CredentialLocked => "Too many wrong secrets; wait.",
        RefusalKind::SenderNotAllowed => {
            "The address in From, Sender, Resent-From or Resent-Sender is not of a verified domain that this credential may use."
        }
        RefusalKind::AmbiguousFrom => "A message needs exactly one address in exactly one From.",
        RefusalKind::UnknownReference => {
            "The stream or pool that the message names does not exist for this tenant."
        }
        RefusalKind::BadSteering => {
            "Tags, metadata, the time to send or a header field that steers cannot be used."
        }
        RefusalKind::RateLimited => "Too many recipients a second; Retry-After says when to go on.",
        RefusalKind::QuotaExhausted => {
            "The quota of the day is used up; Retry-After says when the next begins."
        }
        RefusalKind::TenantPaused => "The tenant is paused or in quarantine.",
        RefusalKind::TenantClosing => "The tenant is closing and takes no mail.",
        RefusalKind::MessageTooLarge => "The message is larger than the plan allows.",
        RefusalKind::TooManyRecipients => {
            "The message has more recipients than the plan allows in one, or in a day."
        }
        RefusalKind::MessageMalformed => "The message is outside the limits of a message.",
        RefusalKind::MailLoop => "The message has passed too many hosts.",
        RefusalKind::LocalTrouble => "Our surroundings are in trouble; nothing was accepted. Try again.",
        RefusalKind::ShareUsedUp => "Too much mail of your account is arriving at once; wait for answers.",
        RefusalKind::StorageFull => {
            "No room is left for mail; nothing was accepted. Retry-After says when to try again."
        }
        RefusalKind::DiskStalled => "Our disk does not come back; nothing was accepted. Try again.",
        RefusalKind::ShuttingDown => "This node is shutting down; try again.",
        RefusalKind::TooManyConnections => "Too many connections at a time.",
        RefusalKind::NoSuchRecipient => "Nothing here takes mail for this recipient.",
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Escaped text in which `…` between backticks is code.
fn prose(text: &str) -> String {
    let mut html = String::new();
    for (index, part) in text.split('`').enumerate() {
        let part = escape(part);
        let _ = if index % 2 == 1 { write!(html, "<code>{part}</code>") } else { write!(html, "{part}") };
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_from_the_document_can_become_markup() {
        let document = json!({"info": {"description": "<script>alert(1)</script>"}, "paths": {"/<b>": {"get": {
            "tags": ["a\"b"], "summary": "use `x<y`", "operationId": "o", "responses": {}}}}});
        let html = page(&document);
        assert!(!html.contains("<script>") && !html.contains("/<b>") && !html.contains("a\"b"));
        assert!(html.contains("use <code>x&lt;y</code>"));
    }

    #[test]
    fn every_problem_code_has_its_place() {
        let html = page(&json!({"info": {}, "paths": {}}));
        for kind in Kind::ALL {
            assert!(html.contains(&format!("id=\"problem-{}\"", kind.code())), "{kind:?}");
        }
        assert!(!html.contains("http://") && !html.contains("https://"));
    }
}
