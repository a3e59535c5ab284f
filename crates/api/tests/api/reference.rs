//! The published document, the reference, and what anybody may ask.

use crate::harness::House;
use serde_json::Value;

#[test]
fn the_document_is_as_committed() {
    insta::assert_json_snapshot!("openapi", api::document());
}

#[test]
fn every_operation_has_an_id_a_summary_and_problems() {
    let document = api::document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut ids = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{id}");
            assert!(operation["tags"][0].is_string(), "{id}");
            let is_open = operation["security"] == serde_json::json!([]);
            assert_eq!(is_open, !path.starts_with("/v1") || path.starts_with("/v1/auth/"), "{id}");
            assert!(is_open || operation["responses"]["401"].is_object(), "{id}");
            for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                let parameters = operation["parameters"].as_array().unwrap();
                assert!(parameters.iter().any(|p| p["name"] == name && p["in"] == "path"), "{id} {name}");
            }
            let keyed = operation["parameters"]
                .as_array()
                .is_some_and(|all| all.iter().any(|p| p["name"] == "Idempotency-Key"));
            assert_eq!(keyed, method == "post" && !is_open, "{id}");
            ids.push(id);
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "two operations share an id");
}

/// Bodies are checked against the document: a reference to nothing would let anything pass.
#[test]
fn no_reference_of_the_document_is_broken_and_bodies_refuse_unknown_fields() {
    fn walk(document: &Value, value: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
                    assert!(document.pointer(&target[1..]).is_some(), "{target}");
                }
                fields.values().for_each(|field| walk(document, field));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(document, item)),
            _ => {}
        }
    }
    let document = api::document();
    walk(&document, &document);
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if let Some(target) = schema["$ref"].as_str() {
                assert_eq!(
                    document.pointer(&target[1..]).unwrap()["additionalProperties"],
                    false,
                    "{target}"
                );
            }
        }
    }
}

#[tokio::test]
async fn anybody_may_ask_whether_we_are_well_and_how_to_use_us() {
    let house = House::open().await;
    assert_eq!(house.call("GET", "/health", "", None).await.expect(200)["status"], "ok");
    assert_eq!(house.call("GET", "/ready", "", None).await.expect(200)["ready"], true);
    let metrics = house.call("GET", "/metrics", "", None).await;
    assert_eq!((metrics.status.as_u16(), metrics.bytes.as_slice()), (200, b"posthouse_up 1\n".as_slice()));
    assert_eq!(house.call("GET", "/openapi.json", "", None).await.expect(200), api::document());
    let docs = house.call("GET", "/docs", "", None).await;
    let html = String::from_utf8(docs.bytes.clone()).unwrap();
    assert!(html.contains("tenant_onboard") && html.contains("problem-quota_exhausted"));
    assert!(!html.contains("<script") && !html.contains("http://") && !html.contains("src="));
    let console = house.call("GET", "/console/", "", None).await;
    assert!(console.status == 200 && String::from_utf8_lossy(&console.bytes).contains("/docs"));
}
