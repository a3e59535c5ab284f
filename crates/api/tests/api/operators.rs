//! Pools, sources, users, audit: the operator's.

use crate::harness::{House, PASSWORD};
use futures_util::FutureExt as _;
use mail::{EgressPath, SiteName, SourceName};
use serde_json::json;
use std::sync::{Arc, Mutex};

#[tokio::test]
async fn a_source_in_a_pool_and_a_pool_in_a_stream_cannot_be_deleted() {
    let house = House::open().await;
    let operator = house.operator().await;
    house.onboard(&operator, "a.example").await;
    let pools = house.call("GET", "/v1/pools", &operator, None).await.expect(200);
    let (pool, source) = (
        pools["data"][0]["id"].as_str().unwrap(),
        pools["data"][0]["members"][0]["source"].as_str().unwrap(),
    );
    let (pool, source) = (format!("/v1/pools/{pool}"), format!("/v1/sources/{source}"));
    assert_eq!(house.call("DELETE", &pool, &operator, None).await.problem(409), "state_conflict");
    assert_eq!(house.call("DELETE", &source, &operator, None).await.problem(409), "state_conflict");
    let held = house.call("PATCH", &source, &operator, Some(json!({"state": "held"}))).await.expect(200);
    assert_eq!((&held["state"], &held["ehlo"]), (&json!("held"), &json!("a1.posthouse.test")));
    let reply = house.call("PATCH", &source, &operator, Some(json!({"state": "broken"}))).await;
    assert_eq!(
        (reply.problem(422).as_str(), reply.pointers()),
        ("invalid_fields", vec!["/state".to_owned()])
    );
}

#[tokio::test]
async fn a_dedicated_pool_has_its_own_signature() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let body = json!({"name": "b1", "address": "192.0.2.26", "ehlo": "b1.posthouse.test"});
    let source = house.call("POST", "/v1/sources", &operator, Some(body.clone())).await.expect(201);
    let twice = house.call("POST", "/v1/sources", &operator, Some(body)).await;
    assert_eq!(twice.problem(409), "conflict");
    let body = json!({"name": "own", "tenant": client.tenant, "platform_domain": "mail.posthouse.test",
        "members": [{"source": source["id"], "weight": 3}]});
    let pool = house.call("POST", "/v1/pools", &operator, Some(body)).await.expect(201);
    assert!(pool["platform"]["record"].as_str().unwrap().starts_with("v=DKIM1"));
    let path = format!("/v1/pools/{}", pool["id"].as_str().unwrap());
    let emptied = house.call("PATCH", &path, &operator, Some(json!({"members": []}))).await.expect(200);
    assert_eq!((&emptied["members"], &emptied["name"]), (&json!([]), &json!("own")));
    house.call("DELETE", &path, &operator, None).await.expect(204);
    assert_eq!(house.call("GET", &path, &operator, None).await.problem(404), "not_found");
    let weight = json!({"source": source["id"], "weight": 1});
    let twice = json!({"name": "x", "members": [weight, weight]});
    let reply = house.call("POST", "/v1/pools", &operator, Some(twice)).await;
    assert_eq!(
        (reply.problem(422), reply.pointers()),
        ("invalid_fields".into(), vec!["/members".to_owned()])
    );
    let nobody = "src_00000000000000000000000000";
    let members = json!([{"source": source["id"], "weight": 1}, {"source": nobody, "weight": 1}]);
    let missing = json!({"name": "x", "members": members});
    let reply = house.call("POST", "/v1/pools", &operator, Some(missing)).await;
    assert_eq!(
        (reply.problem(422).as_str(), reply.pointers()),
        ("invalid_fields", vec!["/members/1/source".to_owned()])
    );
}

#[tokio::test]
async fn people_are_what_their_role_says_until_they_are_disabled() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let make = |email: &'static str, role: &'static str, tenant: Option<String>| {
        let body = json!({"email": email, "password": "twelve characters", "role": role, "tenant": tenant});
        let (house, operator) = (&house, operator.clone());
        async move { house.call("POST", "/v1/users", &operator, Some(body)).await }
    };
    assert_eq!(make("x@posthouse.test", "admin", None).await.problem(422), "invalid_fields");
    assert_eq!(
        make("x@posthouse.test", "operator", Some(client.tenant.clone())).await.problem(422),
        "invalid_fields"
    );
    let viewer = make("viewer@client.example", "viewer", Some(client.tenant.clone())).await.expect(201);
    assert_eq!(make("Viewer@client.example", "auditor", None).await.problem(409), "conflict");
    make("auditor@posthouse.test", "auditor", None).await.expect(201);
    let login = |email: &'static str| {
        let body = json!({"email": email, "password": "twelve characters"});
        let house = &house;
        async move { house.call("POST", "/v1/auth/token", "", Some(body)).await }
    };
    let token = login("viewer@client.example").await.expect(200)["access_token"].as_str().unwrap().to_owned();
    house.call("GET", "/v1/tenants/self/domains", &token, None).await.expect(200);
    let body = json!({"name": "b.example"});
    assert_eq!(
        house.call("POST", "/v1/tenants/self/domains", &token, Some(body)).await.problem(403),
        "forbidden"
    );
    assert_eq!(house.call("GET", "/v1/tenants", &token, None).await.problem(403), "forbidden");
    let token =
        login("auditor@posthouse.test").await.expect(200)["access_token"].as_str().unwrap().to_owned();
    house.call("GET", "/v1/audit", &token, None).await.expect(200);
    house.call("GET", &client.path("/domains"), &token, None).await.expect(200);
    assert_eq!(
        house.call("POST", &client.path("/pause"), &token, Some(json!({}))).await.problem(403),
        "forbidden"
    );
    let path = format!("/v1/users/{}", viewer["id"].as_str().unwrap());
    assert!(house.call("DELETE", &path, &operator, None).await.expect(200)["disabled_at"].is_string());
    assert_eq!(login("viewer@client.example").await.problem(401), "bad_credential");
}

#[tokio::test]
async fn the_audit_tells_who_changed_what_without_secrets() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    house.call("PATCH", &client.path(""), &client.key, Some(json!({"name": "Renamed"}))).await.expect(200);
    let reply = house.call("GET", "/v1/audit", &operator, None).await;
    let entries = reply.expect(200)["data"].as_array().unwrap().clone();
    assert_eq!(
        (&entries[0]["action"], &entries[1]["action"]),
        (&json!("tenant.update"), &json!("tenant.onboard"))
    );
    assert_eq!(entries[0]["actor"], client.answer["api_key"]["id"]);
    assert!(entries[1]["actor"].as_str().unwrap().starts_with("usr_"));
    let text = String::from_utf8_lossy(&reply.bytes).into_owned();
    assert!(
        !text.contains("ph_live_")
            && !text.contains(client.answer["smtp_credential"]["password"].as_str().unwrap())
    );
}

/// Of two paths of a source: one held, one to a site of two hosts. Notes what it is asked.
fn delivery_of(path: EgressPath, told: Arc<Mutex<Vec<String>>>) -> api::Delivery {
    let resumed = Arc::clone(&told);
    api::Delivery {
        paths: Arc::new(move || {
            let hold = api::PathHold { reason: "listed".to_owned(), until: None };
            let (open, window, rate_percent, dead_until) = (0, 4, 50, None);
            let row = |path, hold| api::PathRow { path, open, window, rate_percent, hold, dead_until };
            let site = SiteName::new("mx1.many.example,mx2.many.example");
            let many = EgressPath { site, ..path.clone() };
            let rows = vec![row(many, None), row(path.clone(), Some(hold))];
            async move { Some(rows) }.boxed()
        }),
        hold: Arc::new(move |path, hold| {
            told.lock().unwrap().push(format!("{path} {}", hold.reason));
            async { Some(()) }.boxed()
        }),
        resume: Arc::new(move |path| {
            resumed.lock().unwrap().push(path.to_string());
            async { Some(()) }.boxed()
        }),
        ..api::Delivery::none()
    }
}

#[tokio::test]
async fn an_operator_holds_a_path_with_a_reason_and_the_audit_knows() {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let path = EgressPath { source: SourceName::new("a1"), site: SiteName::new("mx.example") };
    let delivery = delivery_of(path, Arc::clone(&told));
    let house = House::with_state(api::Config::default(), |state| state.delivery = delivery).await;
    let operator = house.operator().await;
    let call = |path: &'static str, body| house.call("POST", path, &operator, Some(body));
    let wrong = call("/v1/paths/hold", json!({"source": "a9", "site": "mx.example", "reason": "x"})).await;
    assert_eq!(
        (wrong.problem(422).as_str(), wrong.pointers()),
        ("invalid_fields", vec!["/source".to_owned()])
    );
    let over = json!({"source": "a1", "site": "mx.example", "reason": "x", "until": "2020-01-01T00:00:00Z"});
    let over = call("/v1/paths/hold", over).await;
    assert_eq!((over.problem(422), over.pointers()), ("invalid_fields".into(), vec!["/until".to_owned()]));
    let hold = json!({"source": "a1", "site": "MX.example", "reason": "listed"});
    call("/v1/paths/hold", hold).await.expect(204);
    // By its id, and by one of the hosts of a site.
    let sources = house.call("GET", "/v1/sources", &operator, None).await.expect(200);
    let a1 = sources["data"].as_array().unwrap().iter().find(|source| source["name"] == "a1").unwrap();
    let hold = json!({"source": a1["id"], "site": "mx2.many.example", "reason": "listed"});
    call("/v1/paths/hold", hold).await.expect(204);
    call("/v1/paths/resume", json!({"source": "a1", "site": "mx.example"})).await.expect(204);
    let many = "a1->mx1.many.example,mx2.many.example listed";
    assert_eq!(*told.lock().unwrap(), ["a1->mx.example listed", many, "a1->mx.example"]);
    let paths = house.call("GET", "/v1/paths", &operator, None).await.expect(200);
    assert_eq!(paths["data"][0]["held"]["reason"], "listed");
    assert_eq!(
        house.call("GET", "/v1/paths?limit=0", &operator, None).await.problem(400),
        "invalid_parameter"
    );
    // Nothing delivers in this house.
    assert_eq!(house.call("GET", "/v1/queues", &operator, None).await.problem(503), "try_again_later");
    let audit = house.call("GET", "/v1/audit", &operator, None).await.expect(200);
    let actions = [&audit["data"][0]["action"], &audit["data"][1]["action"]];
    assert_eq!(actions, ["path.resume", "path.hold"]);
    assert_eq!(audit["data"][1]["detail"]["reason"], "listed");
}

#[tokio::test]
async fn a_source_is_an_address_of_one_host_and_what_a_body_names_is_there() {
    let house = House::open().await;
    let operator = house.operator().await;
    for address in [
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "255.255.255.255",
        "169.254.1.1",
        "ff02::1",
        "fe80::1",
        "::ffff:0.0.0.0",
    ] {
        let source = json!({"name": "odd", "address": address, "ehlo": "odd.posthouse.test"});
        let reply = house.call("POST", "/v1/sources", &operator, Some(source)).await;
        let error = reply.problem(422);
        assert_eq!(
            (error.as_str(), reply.pointers()),
            ("invalid_fields", vec!["/address".into()]),
            "{address}"
        );
    }
    for (path, mut body) in [
        ("/v1/pools", json!({"name": "theirs"})),
        ("/v1/users", json!({"email": "x@house.example", "password": PASSWORD, "role": "admin"})),
    ] {
        body["tenant"] = json!("ten_00000000000000000000000000");
        let reply = house.call("POST", path, &operator, Some(body)).await;
        assert_eq!(
            (reply.problem(422), reply.pointers()),
            ("invalid_fields".into(), vec!["/tenant".to_owned()])
        );
    }
}
