//! Bodies, queries and paths with what does not belong there: fields that nobody may set, and text made to be believed by SQL,
//! a log, a header or a parser.

use crate::document::Operation;
use crate::isolation::{Whose, whose};
use crate::world::World;
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Fields that clients of other APIs have set themselves, and that frameworks have taken.
const PRIVILEGED: [&str; 14] = [
    "id",
    "tenant_id",
    "tenant",
    "role",
    "quota",
    "plan",
    "verified",
    "verified_at",
    "state",
    "status",
    "created_at",
    "sealed",
    "__proto__",
    "constructor",
];

fn hostile() -> Vec<String> {
    let mut all: Vec<String> = [
        "x' OR '1'='1",
        "x'; DROP TABLE tenants; --",
        "$1",
        "\\",
        "\\'",
        "x\0y",
        "\0",
        "\u{1b}[31m",
        "x\r\nBcc: y@example.org",
        "\u{2028}",
        "\u{202e}",
        "\u{feff}",
        "%00",
        "%0d%0a",
        "{{x}}",
        "${jndi:ldap://x}",
        "'||pg_sleep(5)||'",
        "../../etc/passwd",
        "\u{10ffff}",
        "ａ.example",
        "NaN",
        "-1",
        "1e309",
        "",
    ]
    .map(str::to_owned)
    .into();
    all.push("x".repeat(100_000));
    all.push("é".repeat(5_000));
    all
}

fn caller<'w>(world: &'w World, operation: &Operation) -> &'w str {
    if whose(&operation.id) == Whose::Tenant { &world.other.key } else { &world.operator }
}

/// All operations with a body, each with one that is taken.
fn writes(world: &World) -> Vec<(Operation, Value)> {
    let all = world.document.operations().into_iter().filter(|operation| !operation.is_open);
    all.filter_map(|operation| {
        let body = world.document.body(&operation, 300)?;
        Some((operation, body))
    })
    .collect()
}

#[tokio::test]
async fn a_field_that_a_body_does_not_have_is_refused_by_name_wherever_it_stands() {
    let world = World::open().await;
    let mut cases = 0;
    for (operation, body) in writes(&world) {
        let known = world.document.fields(&operation);
        let path = operation.path(&world.other.tenant, &world.own);
        for name in PRIVILEGED.into_iter().filter(|name| !known.contains_key(*name)) {
            let mut body = body.clone();
            body[name] = json!("ten_01kb0000000000000000000000");
            let reply =
                world.house.call(&operation.method, &path, caller(&world, &operation), Some(body)).await;
            assert_eq!(reply.status, 422, "{} {name}: {:?}", operation.id, reply.json());
            assert!(reply.pointers().contains(&format!("/{name}")), "{} {name}", operation.id);
            cases += 1;
        }
        // One level further down.
        for (field, schema) in &known {
            let mut inner = world.document.smallest(schema, 300);
            let Some(object) = (match &mut inner {
                Value::Array(items) => items.first_mut().and_then(Value::as_object_mut),
                inner => inner.as_object_mut(),
            }) else {
                continue;
            };
            object.insert("tenant_id".to_owned(), json!({"a": 1}));
            let mut body = body.clone();
            body[field] = inner;
            let reply =
                world.house.call(&operation.method, &path, caller(&world, &operation), Some(body)).await;
            assert_eq!(reply.status, 422, "{} {field}: {:?}", operation.id, reply.json());
            cases += 1;
        }
    }
    println!("{cases} cases");
    assert!(cases > 200, "{cases}");
}

/// Twice the same name: what was checked must be what is used.
#[tokio::test]
async fn of_two_fields_with_one_name_none_slips_past_the_check() {
    let world = World::open().await;
    let post = async |path: String, body: &str| {
        let request = Request::builder().method("POST").uri(path).header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {}", world.other.key));
        world.house.send(request.body(Body::from(body.to_owned())).unwrap()).await
    };
    for (path, body) in [
        ("/api-keys", r#"{"name":"One","scopes":["read"],"scopes":["nothing"]}"#),
        ("/webhooks", r#"{"url":"https://hooks.example/","url":"https://10.0.0.1/"}"#),
        ("/webhooks", r#"{"url":"https://10.0.0.1/","url":"https://hooks.example/"}"#),
        (
            "/messages",
            r#"{"from":"x@b.example","to":["a@x.example"],"to":["b@x.example"],"subject":"S","text":"T"}"#,
        ),
    ] {
        let reply = post(world.other.path(path), body).await;
        assert_eq!(reply.problem(400), "malformed_json", "{path}");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("stands twice in one object"), "{detail}");
    }
}

/// Only an answer that is ours counts: no 5xx, and what was stored comes back as it was given.
#[tokio::test]
async fn hostile_text_in_every_field_of_every_body_is_refused_or_kept_as_it_is() {
    let world = World::open().await;
    let mut cases = 0;
    for (operation, body) in writes(&world) {
        let path = operation.path(&world.other.tenant, &world.own);
        let fields = world.document.fields(&operation);
        for (field, schema) in &fields {
            // Secrets are not shown, and domains have one spelling.
            let is_kept = !matches!(schema["format"].as_str(), Some("password" | "domain" | "mailbox"));
            for text in hostile() {
                let mut body = body.clone();
                body[field] = text.clone().into();
                let reply =
                    world.house.call(&operation.method, &path, caller(&world, &operation), Some(body)).await;
                let status = reply.status.as_u16();
                // A node without a queue cannot hold a path.
                let is_ours = status < 500 || operation.id.starts_with("path_");
                assert!(is_ours, "{} {field} {text:.40?}: {:?}", operation.id, reply.json());
                if reply.status.is_success() && reply.json()[field].is_string() && is_kept {
                    assert_eq!(
                        reply.json()[field].as_str().unwrap(),
                        text.trim(),
                        "{} {field}",
                        operation.id
                    );
                }
                cases += 1;
            }
        }
    }
    println!("{cases} cases");
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn hostile_text_in_queries_paths_and_headers_is_refused_or_finds_nothing() {
    let world = World::open().await;
    let mut cases = 0;
    for operation in world.document.operations().iter().filter(|operation| !operation.is_open) {
        let bearer = caller(&world, operation);
        let path = operation.path(&world.other.tenant, &world.own);
        let body = || world.document.body(operation, 300);
        for text in hostile().iter().filter(|text| text.len() < 10_000) {
            for name in operation.query.iter().map(String::as_str).chain(["unknown"]) {
                if operation.method != "GET" {
                    continue;
                }
                let uri = format!("{path}?{name}={}", escaped(text));
                let reply = world.house.call("GET", &uri, bearer, None).await;
                assert!(
                    reply.status.as_u16() < 500,
                    "{} {name} {text:.40?}: {:?}",
                    operation.id,
                    reply.json()
                );
                cases += 1;
            }
            if let Some(object) = operation.object()
                && !text.is_empty()
            {
                let uri = path.replace(&world.own[object], &escaped(text));
                let reply = world.house.call(&operation.method, &uri, bearer, body()).await;
                assert_eq!(reply.status, 404, "{} {text:.40?}", operation.id);
                cases += 1;
            }
        }
    }
    for text in ["x' OR '1'='1", "\\", "é", "\t", "{}", "", " ", &"k".repeat(256)] {
        let headers = [("idempotency-key", text)];
        let body = Some(json!({"name": "key.example"}));
        let path = world.other.path("/domains");
        let reply = world.house.call_with("POST", &path, &world.other.key, body, &headers).await;
        assert!(reply.status.as_u16() < 500, "{text:?}: {}", reply.status);
        cases += 1;
    }
    println!("{cases} cases");
}

/// Limits of a request: what would cost much is refused early, and says so.
#[tokio::test]
async fn what_costs_too_much_is_refused_in_time() {
    let world = World::open().await;
    let key = &world.other.key;
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let many = json!({"name": "x", "domains": vec!["a.example"; 20_000]}).to_string();
    let wide: serde_json::Map<String, Value> = (0..20_000).map(|n| (format!("f{n}"), json!(1))).collect();
    let zipped = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3].map(char::from).iter().collect::<String>();
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(300 * 1024));
    for (what, body, wanted) in [
        ("deep lists", deep("[", "]"), 400),
        ("deep objects", format!("{}1{}", "{\"a\":".repeat(30_000), "}".repeat(30_000)), 400),
        ("many items", many, 422),
        ("many fields", Value::Object(wide).to_string(), 422),
        ("gzip", zipped, 400),
        ("large", large, 413),
        ("a number", "1e400".to_owned(), 400),
    ] {
        let request = Request::builder().method("POST").uri(world.other.path("/credentials"));
        let request = request.header("content-type", "application/json").header("content-encoding", "gzip");
        let request = request.header("authorization", format!("Bearer {key}"));
        let began = Instant::now();
        let reply = world.house.send(request.body(Body::from(body)).unwrap()).await;
        let took = began.elapsed();
        println!("{what:14} {} in {took:?}", reply.status);
        assert!(took < Duration::from_secs(5), "{what} took {took:?}");
        assert_eq!(reply.status, wanted, "{what}");
    }
    for limit in ["1000000000", "0", "-1", "18446744073709551616"] {
        let path = world.other.path(&format!("/messages?limit={limit}"));
        assert_eq!(world.house.call("GET", &path, key, None).await.problem(400), "invalid_parameter");
    }
}

/// Who asks is decided by the connection and the credential: nothing that a client says about itself changes it.
#[tokio::test]
async fn a_made_up_client_address_frees_nobody_and_fools_no_network() {
    let config = api::Config { requests_per_second: 1, ..Default::default() };
    let house = crate::harness::House::with(config).await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let bound = json!({"name": "Bound", "scopes": ["read"], "networks": ["192.0.2.0/24"]});
    let bound = house.call("POST", &client.path("/api-keys"), &client.key, Some(bound)).await.expect(201);
    let bound = bound["secret"].as_str().unwrap();
    let names =
        ["forwarded", "x-forwarded-for", "x-real-ip", "cf-connecting-ip", "true-client-ip", "x-client-ip"];
    for name in names {
        let value = if name == "forwarded" { "for=192.0.2.7" } else { "192.0.2.7" };
        let reply = house.call_with("GET", "/v1/tenants/self", bound, None, &[(name, value)]).await;
        assert_eq!(reply.problem(401), "bad_credential", "{name}");
    }
    // The rate is the credential's: neither another spelling of the path nor a header gives a new one.
    let paths = [
        "/v1/tenants/self",
        "/v1/tenants/self?x=1",
        "/v1//tenants/self",
        "/V1/tenants/self",
        "/v1/tenants/self/",
    ];
    let mut statuses = Vec::new();
    for n in 0..40 {
        let (path, address) = (paths[n % paths.len()], format!("203.0.113.{n}"));
        let headers = [("x-forwarded-for", address.as_str())];
        statuses.push(house.call_with("GET", path, &client.key, None, &headers).await.status.as_u16());
    }
    let served = statuses.iter().filter(|status| matches!(status, 200 | 400)).count();
    println!("{served} of 40 were served");
    assert!(served <= 10, "{statuses:?}");
}
