//! Onboarding and the life of a tenant.

use crate::harness::{House, Reply};
use serde_json::{Value, json};

#[tokio::test]
async fn every_wrong_field_of_an_onboarding_is_told_at_once_and_nothing_is_made() {
    let house = House::open().await;
    let operator = house.operator().await;
    let body = json!({"name": "", "domain": "localhost", "plan": {"weight": 0, "per_hour": 1}, "pol": "x",
        "webhook": {"url": "ftp://x/"}});
    let reply = house.call("POST", "/v1/tenants", &operator, Some(body)).await;
    assert_eq!(reply.problem(422), "invalid_fields");
    let mut pointers = reply.pointers();
    pointers.sort();
    assert_eq!(pointers, ["/domain", "/name", "/plan/per_hour", "/plan/weight", "/pol", "/webhook/url"]);
    let reply = house.call("POST", "/v1/tenants", &operator, Some(json!({}))).await;
    assert_eq!(reply.problem(422), "invalid_fields");
    assert_eq!(reply.pointers(), ["/name", "/domain"]);
    let body = json!({"name": "", "domain": "a.example", "pool": "nowhere", "webhook": {"url": "https://10.0.0.1/"}});
    let reply = house.call("POST", "/v1/tenants", &operator, Some(body)).await;
    assert_eq!(reply.problem(422), "invalid_fields");
    assert_eq!(reply.pointers(), ["/name", "/webhook/url", "/pool"]);
    let unknown_pool = json!({"name": "A", "domain": "a.example", "pool": "nowhere"});
    let reply = house.call("POST", "/v1/tenants", &operator, Some(unknown_pool)).await;
    assert_eq!((reply.problem(422).as_str(), reply.pointers()), ("invalid_fields", vec!["/pool".to_owned()]));
    assert_eq!(house.call("GET", "/v1/tenants", &operator, None).await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn a_body_that_is_not_json_or_too_large_is_refused_before_it_is_understood() {
    let house = House::open().await;
    let operator = house.operator().await;
    let post = |kind: &'static str, body: Vec<u8>| {
        let request = axum::http::Request::builder().method("POST").uri("/v1/tenants");
        let request =
            request.header("authorization", format!("Bearer {operator}")).header("content-type", kind);
        house.send(request.body(body.into()).unwrap())
    };
    assert_eq!(post("application/json", b"{\"name\":".to_vec()).await.problem(400), "malformed_json");
    assert_eq!(post("text/plain", b"{}".to_vec()).await.problem(415), "unsupported_media_type");
    assert_eq!(post("application/json", vec![b' '; 300 * 1024]).await.problem(413), "body_too_large");
}

#[tokio::test]
async fn onboarding_answers_everything_a_tenant_needs_in_the_shape_of_the_contract() {
    let house = House::open().await;
    let operator = house.operator().await;
    let body = json!({"name": "Example Ltd", "domain": "News.Client.example", "plan": {"per_day": 1000},
        "pool": "shared", "webhook": {"url": "https://hooks.client.example/x", "types": ["message.delivered"]}});
    let answer = house.call("POST", "/v1/tenants", &operator, Some(body)).await.expect(201);
    assert!(answer["tenant"]["id"].as_str().unwrap().starts_with("ten_"));
    assert_eq!(
        (&answer["tenant"]["name"], &answer["tenant"]["status"]),
        (&json!("Example Ltd"), &json!("active"))
    );
    assert_eq!(answer["tenant"]["plan"]["per_day"], 1000);
    assert!(answer["domain"]["id"].as_str().unwrap().starts_with("dom_"));
    assert_eq!(
        (&answer["domain"]["name"], &answer["domain"]["state"]),
        (&json!("news.client.example"), &json!("pending"))
    );
    let records = answer["domain"]["records"].as_array().unwrap();
    let purposes: Vec<_> = records.iter().map(|record| record["purpose"].as_str().unwrap()).collect();
    assert_eq!(purposes, ["ownership", "dkim1", "dkim2", "return_path", "dmarc"]);
    for record in records {
        let fields: Vec<_> = record.as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, ["found", "hint", "host", "purpose", "required", "state", "type", "value"]);
        assert_eq!((&record["state"], &record["found"]), (&json!("unchecked"), &json!([])));
    }
    let streams: Vec<_> =
        answer["streams"].as_array().unwrap().iter().map(|stream| stream["name"].clone()).collect();
    assert_eq!(streams, ["transactional", "marketing"]);
    assert!(answer["api_key"]["secret"].as_str().unwrap().starts_with("ph_live_"));
    assert!(
        answer["smtp_credential"]["username"].is_string()
            && answer["smtp_credential"]["password"].is_string()
    );
    assert!(answer["webhook"]["secret"].as_str().unwrap().starts_with("whsec_"));
    // The key works at once.
    let key = answer["api_key"]["secret"].as_str().unwrap();
    let own = house.call("GET", "/v1/tenants/self", key, None).await.expect(200);
    assert_eq!(own, answer["tenant"]);
}

#[tokio::test]
async fn a_tenant_may_rename_itself_but_not_raise_its_limits() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let path = client.path("");
    let renamed =
        house.call("PATCH", &path, &client.key, Some(json!({"name": "New name"}))).await.expect(200);
    assert_eq!(renamed["name"], "New name");
    let plan = json!({"plan": {"per_second": 1000}});
    assert_eq!(house.call("PATCH", &path, &client.key, Some(plan.clone())).await.problem(403), "forbidden");
    let raised = house.call("PATCH", &path, &operator, Some(plan)).await.expect(200);
    assert_eq!((&raised["plan"]["per_second"], &raised["name"]), (&json!(1000), &json!("New name")));
    let path = format!("/v1/tenants/{}", client.tenant);
    let weighted = json!({"plan": {"weight": 3, "per_day": 777}});
    let weighted = house.call("PATCH", &path, &operator, Some(weighted)).await.expect(200);
    let of = |tenant: &Value| (tenant["plan"]["per_second"].clone(), tenant["plan"]["per_day"].clone());
    assert_eq!((of(&weighted), &weighted["plan"]["weight"]), ((json!(1000), json!(777)), &json!(3)));
    let ended = json!({"plan": {"per_day": null}});
    let ended = house.call("PATCH", &path, &operator, Some(ended)).await.expect(200);
    assert_eq!((of(&ended), &ended["plan"]["weight"]), ((json!(1000), Value::Null), &json!(3)));
    let quota = json!({"per_day": 5});
    assert_eq!(
        house.call("PUT", &client.path("/quotas"), &client.key, Some(quota.clone())).await.problem(403),
        "forbidden"
    );
    assert_eq!(
        house.call("PUT", &client.path("/quotas"), &operator, Some(quota)).await.expect(200)["per_day"],
        5
    );
    assert_eq!(house.call("GET", &client.path("/quotas"), &client.key, None).await.expect(200)["per_day"], 5);
}

#[tokio::test]
async fn a_tenant_neither_pauses_itself_nor_lifts_what_an_operator_has_set() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let reason = || Some(json!({"reason": "spam traps"}));
    for (operation, body) in
        [("pause", reason()), ("resume", None), ("quarantine", reason()), ("release", None)]
    {
        let reply = house.call("POST", &client.path(&format!("/{operation}")), &client.key, body).await;
        assert_eq!(reply.problem(403), "forbidden", "{operation}");
    }
    for operation in ["pause", "quarantine"] {
        for body in [None, Some(json!({})), Some(json!({"reason": ""})), Some(json!({"reason": null}))] {
            let reply = house.call("POST", &client.path(&format!("/{operation}")), &operator, body).await;
            assert_eq!(
                (reply.problem(422), reply.pointers()),
                ("invalid_fields".into(), vec!["/reason".into()])
            );
        }
    }
    let own = house.call("GET", "/v1/tenants/self", &client.key, None).await.expect(200);
    assert_eq!(own["status"], "active");
}

#[tokio::test]
async fn a_status_leads_only_where_it_should_and_nobody_comes_back_from_closing() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let call = async |operation: &str| {
        let body = matches!(operation, "pause" | "quarantine").then(|| json!({"reason": "spam traps"}));
        house.call("POST", &client.path(&format!("/{operation}")), &operator, body).await
    };
    let steps: &[(&[&str], &str, &str)] = &[
        (&["resume", "release"], "pause", "paused"),
        (&["pause", "release"], "resume", "active"),
        (&[], "pause", "paused"),
        (&[], "quarantine", "quarantined"),
        (&["pause", "resume", "quarantine"], "release", "active"),
    ];
    for (refused, operation, status) in steps {
        for operation in *refused {
            assert_eq!(call(operation).await.problem(409), "state_conflict", "{operation}");
        }
        let tenant = call(operation).await.expect(200);
        let reason = if *status == "active" { json!(null) } else { json!("spam traps") };
        assert_eq!((&tenant["status"], &tenant["status_reason"]), (&json!(status), &reason));
    }
    let closing = house.call("DELETE", &client.path(""), &operator, None).await.expect(202);
    assert_eq!(closing["status"], "closing");
    for operation in ["pause", "resume", "quarantine", "release"] {
        assert_eq!(call(operation).await.problem(409), "state_conflict", "{operation}");
    }
}

#[tokio::test]
async fn pages_of_tenants_join_without_gap() {
    let house = House::open().await;
    let operator = house.operator().await;
    for index in 0..5 {
        house.onboard(&operator, &format!("c{index}.example")).await;
        house.clock.advance(std::time::Duration::from_millis(5));
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page =
            house.call("GET", &format!("/v1/tenants?limit=2{cursor}"), &operator, None).await.expect(200);
        seen.extend(
            page["data"].as_array().unwrap().iter().map(|tenant| tenant["id"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let mut sorted = seen.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    sorted.dedup();
    assert_eq!((seen.len(), &sorted), (5, &seen));
    for query in ["limit=0", "limit=201", "limit=x", "cursor=nonsense", "offset=3"] {
        let reply = house.call("GET", &format!("/v1/tenants?{query}"), &operator, None).await;
        assert_eq!(reply.problem(400), "invalid_parameter", "{query}");
        let (name, _) = query.split_once('=').unwrap();
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(name) && !detail.contains("deserialize"), "{detail}");
    }
}

#[tokio::test]
async fn quotas_that_somebody_else_has_changed_are_not_put_back() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let path = client.path("/quotas");
    let put = |body: Value, tag: String| {
        let (house, path, operator) = (&house, path.clone(), operator.clone());
        async move { house.call_with("PUT", &path, &operator, Some(body), &[("if-match", &tag)]).await }
    };
    let tag = |reply: &Reply| reply.headers["etag"].to_str().unwrap().to_owned();
    let seen = house.call("GET", &path, &operator, None).await;
    let seen = tag(&seen);
    let first = put(json!({"per_day": 5}), seen.clone()).await;
    assert_eq!(first.expect(200)["per_day"], 5);
    let late = put(json!({"per_day": 9}), seen.clone()).await;
    assert_eq!(late.problem(412), "precondition_failed");
    assert!(late.said()["detail"].as_str().unwrap().contains("changed by somebody else"));
    for wrong in ["\"\"", "x", &format!("W/{}", tag(&first))] {
        assert_eq!(put(json!({"per_day": 9}), wrong.to_owned()).await.problem(412), "precondition_failed");
    }
    let now = house.call("GET", &path, &operator, None).await;
    assert_eq!((tag(&now), &now.expect(200)["per_day"]), (tag(&first), &json!(5)));
    for right in [format!("{seen}, {}", tag(&now)), "*".to_owned()] {
        put(json!({"per_day": 5}), right).await.expect(200);
    }
    // Whoever does not ask is not asked.
    house.call("PUT", &path, &operator, Some(json!({"per_day": 7}))).await.expect(200);
}
