//! Streams: which pools a tenant may choose, and that one stays.

use crate::harness::House;
use serde_json::json;

#[tokio::test]
async fn a_stream_takes_the_pool_of_the_tenant_and_loses_its_overflow_by_null() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let path = client.path("/streams");
    let pool = client.answer["streams"][0]["pool"].clone();
    let body = json!({"name": "news", "kind": "marketing", "overflow_pool": pool, "expires_seconds": 3600});
    let made = house.call("POST", &path, &client.key, Some(body.clone())).await.expect(201);
    assert_eq!(
        (&made["pool"], &made["overflow_pool"], &made["expires_seconds"]),
        (&pool, &pool, &json!(3600))
    );
    assert_eq!(house.call("POST", &path, &client.key, Some(body)).await.problem(409), "conflict");
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    let kept =
        house.call("PATCH", &one, &client.key, Some(json!({"expires_seconds": 7200}))).await.expect(200);
    assert_eq!((&kept["overflow_pool"], &kept["expires_seconds"]), (&pool, &json!(7200)));
    let gone = house.call("PATCH", &one, &client.key, Some(json!({"overflow_pool": null}))).await.expect(200);
    assert_eq!(gone["overflow_pool"], json!(null));
    house.call("DELETE", &one, &client.key, None).await.expect(204);
    let usage = house.call("GET", &client.path("/usage"), &client.key, None).await.expect(200);
    assert_eq!(usage, json!({"data": [], "totals": {}}));
    let bad = house.call("GET", &client.path("/usage?since=2026-01-01T00:00:00Z"), &client.key, None).await;
    assert_eq!(bad.problem(400), "invalid_parameter");
}

/// Which addresses mail leaves from is the operator's decision: ids are no secrets.
#[tokio::test]
async fn a_tenant_chooses_among_the_pools_that_it_was_given() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let pools = house.call("GET", "/v1/pools", &operator, None).await.expect(200);
    let source = pools["data"][0]["members"][0]["source"].clone();
    let body = json!({"name": "premium", "members": [{"source": source, "weight": 1}], "platform_domain": "mail.posthouse.test"});
    let premium = house.call("POST", "/v1/pools", &operator, Some(body)).await.expect(201)["id"].clone();
    let path = client.path("/streams");
    let one = format!("{path}/{}", client.answer["streams"][0]["id"].as_str().unwrap());
    let create = |field: &str| json!({"name": "sneak", "kind": "marketing", field: premium});
    for (method, path, body, pointer) in [
        ("POST", &path, create("pool"), "/pool"),
        ("POST", &path, create("overflow_pool"), "/overflow_pool"),
        ("PATCH", &one, json!({"pool": premium}), "/pool"),
        ("PATCH", &one, json!({"overflow_pool": premium}), "/overflow_pool"),
    ] {
        let reply = house.call(method, path, &client.key, Some(body)).await;
        assert_eq!(reply.problem(422), "invalid_fields", "{method} {pointer}");
        assert_eq!(reply.json()["errors"][0]["pointer"], pointer);
    }
    // The operator gives it; from then on it is the tenant's to choose.
    house.call("PATCH", &one, &operator, Some(json!({"overflow_pool": premium}))).await.expect(200);
    house.call("POST", &path, &client.key, Some(create("pool"))).await.expect(201);
}

#[tokio::test]
async fn the_last_stream_stays() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let one = |number: usize| {
        client.path(&format!("/streams/{}", client.answer["streams"][number]["id"].as_str().unwrap()))
    };
    assert_eq!(client.answer["streams"].as_array().unwrap().len(), 2);
    house.call("DELETE", &one(1), &client.key, None).await.expect(204);
    let reply = house.call("DELETE", &one(0), &client.key, None).await;
    assert_eq!(reply.problem(409), "state_conflict");
    assert_eq!(reply.json()["detail"], "the last stream has to stay; make another one first");
}
