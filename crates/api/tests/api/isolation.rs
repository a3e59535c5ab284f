//! Every operation of the document, without a credential and with another tenant's.
//!
//! An operation that this file does not know fails the test: whoever adds one says here whose it is.

use crate::harness::{Client, House};
use serde_json::{Value, json};

/// Whose an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Anybody's: no credential is asked for.
    Anybody,
    /// The house's: a tenant gets 403.
    House,
    /// A tenant's: another one gets 404.
    Tenant,
    /// In a tenant's path, but only the house may: 403 or 404.
    Either,
}

const OPERATIONS: &[(&str, Whose)] = &[
    ("health", Whose::Anybody),
    ("ready", Whose::Anybody),
    ("metrics", Whose::Anybody),
    ("openapi_json", Whose::Anybody),
    ("docs", Whose::Anybody),
    ("console", Whose::Anybody),
    ("auth_token", Whose::Anybody),
    ("auth_refresh", Whose::Anybody),
    ("auth_logout", Whose::Anybody),
    ("tenant_onboard", Whose::House),
    ("tenant_list", Whose::House),
    ("tenant_fetch", Whose::Tenant),
    ("tenant_update", Whose::Tenant),
    ("tenant_delete", Whose::Either),
    ("tenant_pause", Whose::Either),
    ("tenant_resume", Whose::Either),
    ("tenant_quarantine", Whose::Either),
    ("tenant_release", Whose::Either),
    ("quota_fetch", Whose::Tenant),
    ("quota_update", Whose::Either),
    ("usage_fetch", Whose::Tenant),
    ("stream_create", Whose::Tenant),
    ("stream_list", Whose::Tenant),
    ("stream_fetch", Whose::Tenant),
    ("stream_update", Whose::Tenant),
    ("stream_delete", Whose::Tenant),
    ("domain_create", Whose::Tenant),
    ("domain_list", Whose::Tenant),
    ("domain_fetch", Whose::Tenant),
    ("domain_delete", Whose::Tenant),
    ("domain_verify", Whose::Tenant),
    ("domain_suspend", Whose::Either),
    ("domain_release", Whose::Either),
    ("domain_keys", Whose::Tenant),
    ("domain_keys_rotate", Whose::Tenant),
    ("credential_create", Whose::Tenant),
    ("credential_list", Whose::Tenant),
    ("credential_fetch", Whose::Tenant),
    ("credential_revoke", Whose::Tenant),
    ("credential_rotate", Whose::Tenant),
    ("api_key_create", Whose::Tenant),
    ("api_key_list", Whose::Tenant),
    ("api_key_fetch", Whose::Tenant),
    ("api_key_revoke", Whose::Tenant),
    ("api_key_rotate", Whose::Tenant),
    ("message_send", Whose::Tenant),
    ("message_list", Whose::Tenant),
    ("message_fetch", Whose::Tenant),
    ("message_timeline", Whose::Tenant),
    ("message_why", Whose::Tenant),
    ("message_cancel", Whose::Tenant),
    ("webhook_create", Whose::Tenant),
    ("webhook_list", Whose::Tenant),
    ("webhook_fetch", Whose::Tenant),
    ("webhook_update", Whose::Tenant),
    ("webhook_delete", Whose::Tenant),
    ("webhook_test", Whose::Tenant),
    ("webhook_deliveries", Whose::Tenant),
    ("webhook_replay", Whose::Tenant),
    ("webhook_secret_rotate", Whose::Tenant),
    ("event_list", Whose::Tenant),
    ("pool_create", Whose::House),
    ("pool_list", Whose::House),
    ("pool_fetch", Whose::House),
    ("pool_update", Whose::House),
    ("pool_delete", Whose::House),
    ("source_create", Whose::House),
    ("source_list", Whose::House),
    ("source_fetch", Whose::House),
    ("source_update", Whose::House),
    ("source_delete", Whose::House),
    ("queue_list", Whose::House),
    ("path_list", Whose::House),
    ("path_hold", Whose::House),
    ("path_resume", Whose::House),
    ("user_create", Whose::House),
    ("user_list", Whose::House),
    ("user_fetch", Whose::House),
    ("user_disable", Whose::House),
    ("user_password", Whose::House),
    ("audit_list", Whose::House),
];

struct Operation {
    id: String,
    method: String,
    path: String,
    takes_body: bool,
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push(Operation {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase(),
                path: path.clone(),
                takes_body: operation.get("requestBody").is_some(),
            });
        }
    }
    found
}

pub fn whose(operation: &str) -> Whose {
    let known = OPERATIONS.iter().find(|(id, _)| *id == operation);
    known.unwrap_or_else(|| panic!("{operation} is new: say in isolation.rs whose it is")).1
}

/// The path with the ids of things that exist.
fn concrete(path: &str, owner: &Client, ids: &Value) -> String {
    let mut path = path.replace("{tenant}", &owner.tenant);
    for (name, id) in ids.as_object().unwrap() {
        path = path.replace(&format!("{{{name}}}"), id.as_str().unwrap());
    }
    assert!(!path.contains('{'), "isolation.rs has no id for {path}");
    path
}

async fn ids_of(house: &House, owner: &Client, operator: &str) -> Value {
    let hook = json!({"url": "https://hooks.example/x"});
    let hook = house.call("POST", &owner.path("/webhooks"), &owner.key, Some(hook)).await.expect(201);
    let first = |reply: Value| reply["data"][0]["id"].clone();
    json!({
        "domain": owner.domain,
        "stream": owner.answer["streams"][0]["id"],
        "api_key": owner.answer["api_key"]["id"],
        "credential": owner.answer["smtp_credential"]["id"],
        "webhook": hook["id"],
        "message": "msg_00000000000000000000000000",
        "pool": first(house.call("GET", "/v1/pools", operator, None).await.expect(200)),
        "source": first(house.call("GET", "/v1/sources", operator, None).await.expect(200)),
        "user": first(house.call("GET", "/v1/users", operator, None).await.expect(200)),
    })
}

#[tokio::test]
async fn no_operation_answers_a_stranger_or_another_tenant() {
    // The walk asks more than a client may in ten seconds, and the clock of the test stands still.
    let house = House::with(api::Config { requests_per_second: 1000, ..Default::default() }).await;
    let operator = house.operator().await;
    let (owner, other) =
        (house.onboard(&operator, "a.example").await, house.onboard(&operator, "b.example").await);
    let ids = ids_of(&house, &owner, &operator).await;
    let found = operations(&api::document());
    assert_eq!(found.len(), OPERATIONS.len(), "an operation of isolation.rs is gone");
    for operation in &found {
        let path = concrete(&operation.path, &owner, &ids);
        let body = || operation.takes_body.then(|| json!({}));
        let name = &operation.id;
        let stranger = house.call(&operation.method, &path, "", body()).await;
        if whose(&operation.id) == Whose::Anybody {
            continue;
        }
        assert_eq!(stranger.problem(401), "authentication_required", "{name}");
        let wrong =
            house.call(&operation.method, &path, "ph_live_00000000000000000000000000_x", body()).await;
        assert_eq!(wrong.problem(401), "bad_credential", "{name}");
        let reply = house.call(&operation.method, &path, &other.key, body()).await;
        let allowed: &[u16] = match whose(&operation.id) {
            Whose::Anybody => &[],
            Whose::House => &[403],
            Whose::Tenant => &[404],
            Whose::Either => &[403, 404],
        };
        assert!(allowed.contains(&reply.status.as_u16()), "{name}: {}", reply.status);
        let problem = reply.problem(reply.status.as_u16());
        assert!(matches!(problem.as_str(), "forbidden" | "not_found"), "{name}: {problem}");
    }
}

/// With the right tenant and somebody else's thing in the path: as if it did not exist.
#[tokio::test]
async fn a_thing_of_another_tenant_does_not_exist() {
    let house = House::with(api::Config { requests_per_second: 1000, ..Default::default() }).await;
    let operator = house.operator().await;
    let (owner, other) =
        (house.onboard(&operator, "a.example").await, house.onboard(&operator, "b.example").await);
    let ids = ids_of(&house, &owner, &operator).await;
    let body = |id: &str| match id {
        "stream_update" => json!({"name": "taken-over"}),
        "webhook_update" => json!({"url": "https://thief.example/"}),
        _ => json!({}),
    };
    let mut walked = 0;
    for operation in operations(&api::document()) {
        let has_object = operation.path.matches('{').count() > 1;
        if whose(&operation.id) != Whose::Tenant || !has_object {
            continue;
        }
        let path = concrete(&operation.path, &other, &ids);
        let body = operation.takes_body.then(|| body(&operation.id));
        for bearer in [&other.key, &operator] {
            let reply = house.call(&operation.method, &path, bearer, body.clone()).await;
            assert_eq!(reply.problem(404), "not_found", "{}", operation.id);
        }
        walked += 1;
    }
    assert!(walked > 15, "only {walked} operations name a thing");
    // Nothing of the owner was touched.
    let webhooks = house.call("GET", &owner.path("/webhooks"), &owner.key, None).await.expect(200);
    assert_eq!(webhooks["data"][0]["url"], "https://hooks.example/x");
    house.call("GET", "/v1/tenants/self", &owner.key, None).await.expect(200);
}

#[tokio::test]
async fn a_tenant_that_does_not_exist_is_not_found_and_self_needs_a_tenant() {
    let house = House::open().await;
    let operator = house.operator().await;
    let own = house.call("GET", "/v1/tenants/self", &operator, None).await.expect(404);
    assert_eq!(own["detail"], "an operator has no tenant of its own; name one by its id");
    for tenant in ["ten_00000000000000000000000000", "self", "nonsense", "dom_00000000000000000000000000"] {
        for rest in ["", "/domains", "/events", "/messages"] {
            let reply = house.call("GET", &format!("/v1/tenants/{tenant}{rest}"), &operator, None).await;
            assert_eq!(reply.problem(404), "not_found", "{tenant}{rest}");
        }
    }
    assert_eq!(house.call("GET", "/v1/nothing", &operator, None).await.problem(404), "not_found");
    assert_eq!(house.call("PUT", "/v1/tenants", &operator, None).await.problem(405), "method_not_allowed");
}
