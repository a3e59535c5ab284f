//! What an operation does not have, and what it says of what it made: over every operation of the document.

use crate::document::Operation;
use crate::harness::House;
use crate::isolation::{Whose, whose};
use crate::world::World;
use axum::body::Body;
use axum::http::Request;
use serde_json::json;

fn bearer<'w>(world: &'w World, operation: &Operation) -> &'w str {
    if whose(&operation.id) == Whose::Tenant { &world.other.key } else { &world.operator }
}

#[tokio::test]
async fn a_query_parameter_that_an_operation_does_not_have_is_refused_by_name() {
    let world = World::open().await;
    let mut cases = 0;
    // Whoever looks after a node may add what keeps a proxy from answering; a login has nothing of the kind.
    let is_asked = |operation: &&Operation| !operation.is_open || operation.method == "POST";
    for operation in world.document.operations().iter().filter(is_asked) {
        let path = operation.path(&world.other.tenant, &world.own);
        let (bearer, body) = (bearer(&world, operation), world.document.body(operation, 400));
        for uri in [format!("{path}?zzz=1"), format!("{path}?%7Azz")] {
            let reply = world.house.call(&operation.method, &uri, bearer, body.clone()).await;
            assert_eq!(reply.problem(400), "invalid_parameter", "{}", operation.id);
            assert_eq!(reply.json()["detail"], "there is no parameter zzz here", "{}", operation.id);
            cases += 1;
        }
    }
    println!("{cases} cases");
    assert!(cases > 100, "{cases}");
    // The recipients of a finished message are in its header, and nowhere else.
    let uri = world.other.path("/messages?to=x@example.org");
    let request = Request::post(uri).header("content-type", "message/rfc822");
    let request = request.header("authorization", format!("Bearer {}", world.other.key));
    let raw = "From: a@b.example\r\nTo: y@example.org\r\nSubject: s\r\n\r\ntext\r\n";
    let reply = world.house.send(request.body(Body::from(raw)).unwrap()).await;
    assert_eq!(reply.problem(400), "invalid_parameter");
    assert_eq!(reply.json()["detail"], "there is no parameter to here");
}

#[tokio::test]
async fn a_call_without_a_body_takes_none_but_an_empty_one() {
    let world = World::open().await;
    let mut cases = Vec::new();
    for operation in world.document.operations() {
        if operation.is_open || operation.method == "GET" || operation.schema.is_some() {
            continue;
        }
        let path = operation.path(&world.other.tenant, &world.own);
        let post = async |body: &str| {
            let request = Request::builder().method(&*operation.method).uri(&path);
            let request = request.header("authorization", format!("Bearer {}", bearer(&world, &operation)));
            world.house.send(request.body(Body::from(body.to_owned())).unwrap()).await
        };
        assert_eq!(post("{{").await.problem(400), "malformed_json", "{}", operation.id);
        for (body, pointer) in [(r#"{"zzz":1}"#, "/zzz"), ("[]", ""), ("null", "")] {
            let reply = post(body).await;
            assert_eq!(reply.problem(422), "invalid_fields", "{} {body}", operation.id);
            assert_eq!(reply.pointers(), [pointer], "{} {body}", operation.id);
        }
        assert_eq!(post(&" ".repeat(300 * 1024)).await.problem(413), "body_too_large", "{}", operation.id);
        // Where it is gone after the first time, the second still is not about the body.
        for body in ["{}", "", " \r\n"] {
            let reply = post(body).await;
            assert!(!matches!(reply.status.as_u16(), 400 | 413 | 422), "{} {:?}", operation.id, reply.json());
        }
        cases.push(operation.id);
    }
    println!("{cases:?}");
    assert!(cases.len() > 12, "{cases:?}");
}

#[tokio::test]
async fn nothing_and_an_empty_object_are_the_same_call_under_one_key() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let path = client.path(&format!("/domains/{}/dkim-keys/rotate", client.domain));
    let keyed = [("idempotency-key", "one")];
    let first = house.call_with("POST", &path, &client.key, None, &keyed).await.expect(201);
    let again = house.call_with("POST", &path, &client.key, Some(json!({})), &keyed).await.expect(201);
    assert_eq!(first, again);
}

#[tokio::test]
async fn who_makes_something_is_told_where_it_is() {
    let world = World::open().await;
    let mut cases = Vec::new();
    for operation in world.document.operations() {
        let made =
            &world.document.0["paths"][&operation.path][operation.method.to_lowercase()]["responses"]["201"];
        if made["headers"]["Location"].is_null() {
            continue;
        }
        let bearer = bearer(&world, &operation);
        let path = operation.path("self", &world.own);
        let path =
            if bearer == world.operator { operation.path(&world.other.tenant, &world.own) } else { path };
        let body = world.document.body(&operation, 500);
        // Of an answer that was kept as well.
        for _ in 0..2 {
            let keyed = [("idempotency-key", operation.id.as_str())];
            let reply = world.house.call_with("POST", &path, bearer, body.clone(), &keyed).await;
            let made = reply.expect(201);
            let id = made.get("id").unwrap_or(&made["tenant"]["id"]).as_str().unwrap();
            let location = reply.headers["location"].to_str().unwrap();
            assert_eq!(location, format!("{path}/{id}"), "{}", operation.id);
            let shown = world.house.call("GET", location, bearer, None).await.expect(200);
            assert_eq!(shown["id"], id, "{}", operation.id);
        }
        cases.push(operation.id);
    }
    println!("{cases:?}");
    assert!(cases.len() >= 9, "{cases:?}");
}

#[tokio::test]
async fn a_reason_is_kept_wherever_somebody_is_stopped_or_let_go() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let operator = house.operator().await;
    let domain = format!("/domains/{}", client.domain);
    for (path, action) in [
        ("/pause".to_owned(), "tenant.status"),
        ("/resume".to_owned(), "tenant.status"),
        ("/quarantine".to_owned(), "tenant.status"),
        ("/release".to_owned(), "tenant.status"),
        (format!("{domain}/suspend"), "domain.suspend"),
        (format!("{domain}/release"), "domain.release"),
    ] {
        let uri = client.path(&path);
        let wrong = house.call("POST", &uri, &operator, Some(json!({"reason": "", "zzz": 1}))).await;
        assert_eq!(wrong.problem(422), "invalid_fields", "{path}");
        assert_eq!(wrong.pointers(), ["/reason", "/zzz"], "{path}");
        // PostgreSQL keeps none, and a word that is cut short says something else.
        let null = house.call("POST", &uri, &operator, Some(json!({"reason": "a\0b"}))).await;
        assert_eq!(
            (null.problem(422), null.pointers()),
            ("invalid_fields".into(), vec!["/reason".into()]),
            "{path}"
        );
        let reason = format!("because of {path}");
        let answer = house.call("POST", &uri, &operator, Some(json!({"reason": reason}))).await.expect(200);
        let audit = house.call("GET", "/v1/audit?limit=1", &operator, None).await.expect(200);
        assert_eq!(audit["data"][0]["action"], action, "{path}");
        assert_eq!(audit["data"][0]["detail"]["reason"], reason.as_str(), "{path}");
        if action == "tenant.status" {
            let is_shown = answer["status"] != "active";
            assert_eq!(answer["status_reason"].as_str(), is_shown.then_some(reason.as_str()), "{path}");
            let events = house.call("GET", &client.path("/events"), &operator, None).await.expect(200);
            let last = events["data"].as_array().unwrap().last().unwrap();
            assert_eq!(
                (&last["type"], &last["data"]["reason"]),
                (&json!("tenant.status_changed"), &json!(reason))
            );
        }
    }
    // Nobody has to say one to let go.
    house.call("POST", &client.path("/pause"), &operator, Some(json!({"reason": "x"}))).await.expect(200);
    house.call("POST", &client.path("/resume"), &operator, None).await.expect(200);
}

#[tokio::test]
async fn a_cursor_is_taken_by_the_list_that_gave_it_and_by_no_other() {
    let world = World::open().await;
    let (mut lists, mut given) = (Vec::new(), Vec::new());
    for operation in world.document.operations() {
        if !operation.query.iter().any(|name| name == "cursor") {
            continue;
        }
        let (path, bearer) = (operation.path(&world.owner.tenant, &world.theirs), world.operator.clone());
        let first = world.house.call("GET", &format!("{path}?limit=1"), &bearer, None).await.expect(200);
        given.extend(first["next_cursor"].as_str().map(|cursor| (operation.id.clone(), cursor.to_owned())));
        lists.push((operation.id, path));
    }
    for (list, path) in &lists {
        for (from, cursor) in &given {
            let reply =
                world.house.call("GET", &format!("{path}?cursor={cursor}"), &world.operator, None).await;
            if list == from {
                reply.expect(200);
            } else {
                assert_eq!(reply.problem(400), "invalid_parameter", "{list} takes a cursor of {from}");
            }
        }
    }
    println!("{} lists, {} cursors", lists.len(), given.len());
    assert!(lists.len() > 10 && given.len() >= 8, "{given:?}");
}

#[tokio::test]
async fn streams_and_pools_are_taken_by_name_or_id() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let stream = &client.answer["streams"][1];
    for collection in ["/credentials", "/api-keys"] {
        for text in [&stream["name"], &stream["id"]] {
            let mut body = json!({"name": "x", "stream": text});
            if collection == "/api-keys" {
                body["scopes"] = json!(["send"]);
            }
            let made =
                house.call("POST", &client.path(collection), &client.key, Some(body)).await.expect(201);
            assert_eq!(made["stream"], stream["id"], "{collection} {text}");
        }
        let body = json!({"name": "x", "stream": "none", "scopes": ["send"]});
        let mut body = body;
        if collection == "/credentials" {
            body.as_object_mut().unwrap().remove("scopes");
        }
        let reply = house.call("POST", &client.path(collection), &client.key, Some(body)).await;
        assert_eq!(
            (reply.problem(422).as_str(), reply.pointers()),
            ("invalid_fields", vec!["/stream".to_owned()])
        );
    }
    let pool = &stream["pool"];
    for (n, text) in [&json!("shared"), pool].into_iter().enumerate() {
        let body = json!({"name": format!("s{n}"), "kind": "marketing", "pool": text, "overflow_pool": text});
        let made = house.call("POST", &client.path("/streams"), &client.key, Some(body)).await.expect(201);
        assert_eq!((&made["pool"], &made["overflow_pool"]), (pool, pool), "{text}");
        let path = client.path(&format!("/streams/{}", made["id"].as_str().unwrap()));
        let body = json!({"pool": text, "overflow_pool": text});
        house.call("PATCH", &path, &client.key, Some(body)).await.expect(200);
    }
    // Of a pool that is not the tenant's to use, a name says no more than none.
    let source = house.call("GET", "/v1/sources", &operator, None).await.expect(200)["data"][0]["id"].clone();
    let body = json!({"name": "premium", "members": [{"source": source, "weight": 1}]});
    house.call("POST", "/v1/pools", &operator, Some(body)).await.expect(201);
    let mut said = Vec::new();
    for name in ["premium", "none"] {
        let body = json!({"name": "sneak", "kind": "marketing", "pool": name});
        let reply = house.call("POST", &client.path("/streams"), &client.key, Some(body)).await;
        assert_eq!(reply.problem(422), "invalid_fields");
        said.push(reply.said());
    }
    assert_eq!(said[0], said[1]);
    let body = json!({"name": "given", "kind": "marketing", "pool": "premium"});
    house.call("POST", &client.path("/streams"), &operator, Some(body)).await.expect(201);
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    let house = House::with(api::Config {
        default_pool: registry::Slug::parse("main").unwrap(),
        ..Default::default()
    })
    .await;
    let operator = house.operator().await;
    let onboard = async |body| house.call("POST", "/v1/tenants", &operator, Some(body)).await;
    let detail = |reply: &crate::harness::Reply| reply.json()["detail"].as_str().unwrap().to_owned();
    let reply = onboard(json!({"name": "A", "domain": "a.example"})).await;
    assert_eq!(reply.problem(422), "invalid_fields");
    assert!(detail(&reply).contains("default pool main (api.default_pool)"), "{}", detail(&reply));
    let reply = onboard(json!({"name": "A", "domain": "a.example", "pool": "none"})).await;
    assert_eq!((reply.problem(422).as_str(), reply.pointers()), ("invalid_fields", vec!["/pool".to_owned()]));
    assert!(!detail(&reply).contains("default"), "{}", detail(&reply));
    let made = onboard(json!({"name": "A", "domain": "a.example", "pool": "shared"})).await.expect(201);
    let (key, domain) = (made["api_key"]["secret"].as_str().unwrap(), made["domain"]["id"].as_str().unwrap());

    let body = |name: &str| Some(json!({"name": "x", "domains": ["a.example", name]}));
    let path = "/v1/tenants/self/credentials";
    let reply = house.call("POST", path, key, body("other.example")).await;
    assert_eq!(
        (reply.problem(422).as_str(), reply.pointers()),
        ("invalid_fields", vec!["/domains".to_owned()])
    );
    assert!(detail(&reply).contains("other.example is not a domain of this account"), "{}", detail(&reply));
    house.call("POST", path, key, body("a.example")).await.expect(201);

    let rotate = format!("/v1/tenants/self/domains/{domain}/dkim-keys/rotate");
    house.call("POST", &rotate, key, None).await.expect(201);
    let reply = house.call("POST", &rotate, key, None).await;
    assert_eq!(reply.problem(409), "conflict");
    assert!(detail(&reply).contains("publish them, then verify"), "{}", detail(&reply));
}

/// A problem has a bound, and what a client wrote is part of it.
#[tokio::test]
async fn a_field_with_a_name_of_a_megabyte_is_refused_in_words() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let body = json!({"subject": "Hello", "\u{e9}".repeat(600_000): 1});
    let reply = house.call("POST", &client.path("/messages"), &client.key, Some(body)).await;
    assert_eq!(reply.problem(422), "invalid_fields");
    assert!(reply.pointers().iter().all(|pointer| pointer.len() < 2_000), "{:?}", reply.pointers().len());
}
