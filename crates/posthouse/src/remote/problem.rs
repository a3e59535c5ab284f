//! A problem of the API as a sentence and an exit code.

use crate::exit::Failure;
use crate::remote::view::printable;
use serde_json::Value;
use std::fmt::Write;

/// How the API's sentence begins when an operator named no tenant; what it goes on with is for programs.
const NO_TENANT: &str = "an operator has no tenant of its own";

/// What went wrong, from status and body; `retry_after` as the header said it, in seconds.
pub fn failure(status: u16, body: &Value, retry_after: Option<u64>) -> Failure {
    let errors = body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    // Where fields are wrong, the detail repeats the first of them.
    let said = if errors.is_empty() { body["detail"].as_str() } else { None };
    let mut text = match said.or_else(|| body["title"].as_str()) {
        Some(detail) => printable(detail),
        None => {
            format!("the API answered {status} without saying why; is this the address of a posthouse API?")
        }
    };
    if said.is_some_and(|said| said.starts_with(NO_TENANT)) {
        text = format!("{NO_TENANT}: say which with --tenant NAME; `posthouse tenant list` shows them");
    }
    for error in errors {
        let field = error["pointer"].as_str().unwrap_or_default().trim_start_matches('/').replace('/', ".");
        let detail = error["detail"].as_str().unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {}: {}", printable(&field), printable(detail));
    }
    if let Some(seconds) = retry_after {
        let _ = write!(text, "\n  try again in {seconds} s");
    }
    if let (Some(code), Some(request)) = (body["code"].as_str(), body["request_id"].as_str()) {
        let _ = write!(text, "\n  ({}, request {})", printable(code), printable(request));
    }
    match status {
        401 | 403 => Failure::NotPermitted(text),
        429 | 500.. => Failure::Unavailable(text),
        _ => Failure::Input(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_wrong_field_is_named() {
        let body = json!({"code": "invalid_fields", "detail": "2 fields are wrong", "request_id": "r1", "errors": [
            {"pointer": "/members/0/source", "detail": "there is no such source"},
            {"pointer": "/name", "detail": "is missing"}]});
        let Failure::Input(text) = failure(422, &body, None) else { panic!("input is at fault") };
        assert!(
            text.contains("members.0.source: there is no such source") && text.contains("name: is missing"),
            "{text}"
        );
        assert!(text.contains("request r1"), "{text}");
    }

    #[test]
    fn who_must_act_follows_from_the_status() {
        assert!(matches!(failure(403, &json!({}), None), Failure::NotPermitted(_)));
        assert!(
            matches!(failure(503, &json!({}), Some(5)), Failure::Unavailable(text) if text.contains("in 5 s"))
        );
        assert!(matches!(failure(404, &json!("<html>"), None), Failure::Input(text) if text.contains("404")));
    }
}
