//! SMTP credentials and API keys: shown once, narrowed, rotated, revoked.

use crate::harness::House;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_key_may_do_what_its_scopes_say_and_cannot_make_a_greater_one() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let path = client.path("/api-keys");
    let create = |name: &'static str, scopes: serde_json::Value, by: String| {
        let (house, path) = (&house, path.clone());
        async move { house.call("POST", &path, &by, Some(json!({"name": name, "scopes": scopes}))).await }
    };
    let reader = create("reader", json!(["read"]), client.key.clone()).await.expect(201);
    let reader = reader["secret"].as_str().unwrap().to_owned();
    house.call("GET", &client.path("/domains"), &reader, None).await.expect(200);
    let refused = create("more", json!(["manage"]), reader.clone()).await;
    assert_eq!(refused.problem(403), "forbidden");
    assert_eq!(
        house.call("POST", &client.path("/messages"), &reader, Some(json!({}))).await.problem(403),
        "forbidden"
    );

    let manager = create("manager", json!(["manage"]), client.key.clone()).await.expect(201);
    let manager = manager["secret"].as_str().unwrap().to_owned();
    assert_eq!(create("sender", json!(["send"]), manager.clone()).await.problem(403), "forbidden");
    // Nor by a thing that sends or reads for it.
    let credential = client.answer["smtp_credential"]["id"].as_str().unwrap();
    let hook = json!({"url": "https://hooks.example/x"});
    let made =
        house.call("POST", &client.path("/webhooks"), &client.key, Some(hook.clone())).await.expect(201);
    let webhook = format!("/webhooks/{}", made["id"].as_str().unwrap());
    for (method, rest, body) in [
        ("POST", "/credentials".to_owned(), Some(json!({"name": "mine"}))),
        ("POST", format!("/credentials/{credential}/rotate"), None),
        ("POST", "/webhooks".to_owned(), Some(hook.clone())),
        ("PATCH", webhook.clone(), Some(hook)),
        ("POST", format!("{webhook}/secrets/rotate"), None),
    ] {
        let reply = house.call(method, &client.path(&rest), &manager, body).await;
        assert_eq!(reply.problem(403), "forbidden", "{method} {rest}");
    }
    // What it manages needs no right to read.
    let domain = client.answer["domain"]["id"].as_str().unwrap();
    for (rest, body, status) in [
        (format!("/domains/{domain}/verify"), None, 200),
        (format!("{webhook}/replay"), Some(json!({})), 202),
    ] {
        house.call("POST", &client.path(&rest), &manager, body).await.expect(status);
    }
    let reply = create("none", json!([]), client.key.clone()).await;
    assert_eq!(
        (reply.problem(422).as_str(), reply.pointers()),
        ("invalid_fields", vec!["/scopes".to_owned()])
    );
    let reply = create("all", json!(["root"]), client.key.clone()).await;
    assert_eq!(
        (reply.problem(422).as_str(), reply.pointers()),
        ("invalid_fields", vec!["/scopes/0".to_owned()])
    );
}

#[tokio::test]
async fn a_bound_key_makes_and_rotates_nothing_that_is_less_bound() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let (own, other) = (&client.answer["streams"][0]["id"], &client.answer["streams"][1]["id"]);
    let later = |seconds| {
        mail::Clock::timestamp(&*house.clock).saturating_add(std::time::Duration::from_secs(seconds))
    };
    let bound = |stream: &serde_json::Value, network: &str, seconds: u64| json!({"name": "k", "stream": stream, "networks": [network], "expires_at": later(seconds)});
    let create = |collection: &'static str, by: &str, mut body: serde_json::Value| {
        if collection == "/api-keys" {
            body["scopes"] = json!(["send", "read", "manage"]);
        }
        let (house, path, by) = (&house, client.path(collection), by.to_owned());
        async move { house.call("POST", &path, &by, Some(body)).await }
    };
    let made = create("/api-keys", &client.key, bound(own, "127.0.0.0/8", 60)).await.expect(201);
    let key = made["secret"].as_str().unwrap();
    for collection in ["/api-keys", "/credentials"] {
        for body in [
            bound(other, "127.0.0.1", 60),
            bound(&serde_json::Value::Null, "127.0.0.1", 60),
            bound(own, "0.0.0.0/0", 60),
            bound(own, "127.0.0.1", 61),
            json!({"name": "free"}),
        ] {
            let reply = create(collection, key, body.clone()).await;
            assert_eq!(reply.problem(403), "forbidden", "{collection} {body}");
        }
        let within = create(collection, key, bound(own, "127.0.0.1", 59)).await.expect(201);
        let free = create(collection, &client.key, json!({"name": "free"})).await.expect(201);
        for (target, status) in [(&within, 200), (&free, 403)] {
            let path = client.path(&format!("{collection}/{}/rotate", target["id"].as_str().unwrap()));
            house.call("POST", &path, key, None).await.expect(status);
        }
    }
}

#[tokio::test]
async fn a_revoked_or_rotated_key_ends_at_once_and_no_list_shows_a_secret() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let body = json!({"name": "second", "scopes": ["read", "send"], "networks": ["127.0.0.0/8"]});
    let made = house.call("POST", &client.path("/api-keys"), &client.key, Some(body)).await.expect(201);
    let (id, old) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let path = client.path(&format!("/api-keys/{id}"));
    let rotated = house.call("POST", &format!("{path}/rotate"), &client.key, None).await.expect(200);
    let new = rotated["secret"].as_str().unwrap();
    assert_eq!(house.call("GET", "/v1/tenants/self", old, None).await.problem(401), "bad_credential");
    house.call("GET", "/v1/tenants/self", new, None).await.expect(200);
    let list = house.call("GET", &client.path("/api-keys"), &client.key, None).await;
    assert_eq!(list.expect(200)["data"].as_array().unwrap().len(), 2);
    let text = String::from_utf8_lossy(&list.bytes).into_owned();
    assert!(!text.contains("secret") && !text.contains("ph_live_"));
    let gone = house.call("DELETE", &path, &client.key, None).await.expect(200);
    assert!(gone["revoked_at"].is_string());
    assert_eq!(house.call("GET", "/v1/tenants/self", new, None).await.problem(401), "bad_credential");
    let elsewhere =
        json!({"name": "elsewhere", "scopes": ["read"], "networks": ["192.0.2.0/24", "10.0.0.300"]});
    let reply = house.call("POST", &client.path("/api-keys"), &client.key, Some(elsewhere)).await;
    assert_eq!(
        (reply.problem(422).as_str(), reply.pointers()),
        ("invalid_fields", vec!["/networks/1".to_owned()])
    );
    let elsewhere = json!({"name": "elsewhere", "scopes": ["read"], "networks": ["192.0.2.0/24"]});
    let made = house.call("POST", &client.path("/api-keys"), &client.key, Some(elsewhere)).await.expect(201);
    let key = made["secret"].as_str().unwrap();
    assert_eq!(house.call("GET", "/v1/tenants/self", key, None).await.problem(401), "bad_credential");
}

#[tokio::test]
async fn a_key_that_rotates_itself_can_ask_again_for_an_answer_that_was_lost() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let id = client.answer["api_key"]["id"].as_str().unwrap();
    let rotate = client.path(&format!("/api-keys/{id}/rotate"));
    let headers = [("idempotency-key", "k")];
    let reads = async |key: &str| house.call("GET", "/v1/tenants/self", key, None).await.status.as_u16();
    let old = client.key.as_str();
    let first = house.call_with("POST", &rotate, old, None, &headers).await;
    let new = first.expect(200)["secret"].as_str().unwrap().to_owned();
    let again = house.call_with("POST", &rotate, old, None, &headers).await;
    assert_eq!((again.status, &again.bytes), (first.status, &first.bytes));
    assert_eq!((reads(old).await, reads(&new).await), (200, 200));
    // Who has only the old one cannot take the key over with it.
    house.clock.advance(Duration::from_secs(300));
    for secret in [old, &new] {
        let refused = house.call("POST", &rotate, secret, None).await.expect(409);
        assert!(refused["detail"].as_str().unwrap().contains("secret before this one"), "{refused}");
    }
    assert_eq!((reads(old).await, reads(&new).await), (200, 200));
    house.clock.advance(Duration::from_secs(301));
    assert_eq!((reads(old).await, reads(&new).await), (401, 200));
    let newer = new.as_str();
    // Whoever else rotates or revokes it ends every secret at once.
    let newest = house.call("POST", &rotate, newer, None).await.expect(200)["secret"].clone();
    assert_eq!(reads(newer).await, 200);
    let last = house.call("POST", &rotate, &operator, None).await.expect(200)["secret"].clone();
    let (newest, last) = (newest.as_str().unwrap(), last.as_str().unwrap());
    assert_eq!((reads(newer).await, reads(newest).await, reads(last).await), (401, 401, 200));
    house.call("POST", &rotate, last, None).await.expect(200);
    assert_eq!(reads(last).await, 200);
    let path = client.path(&format!("/api-keys/{id}"));
    house.call("DELETE", &path, &operator, None).await.expect(200);
    assert_eq!(reads(last).await, 401);
}

#[tokio::test]
async fn a_credential_is_in_the_snapshot_as_soon_as_it_is_answered() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let body = json!({"name": "shop", "domains": ["a.example"], "networks": ["192.0.2.7"], "compat": "pmta",
        "limits": {"per_second": 10}, "stream": client.answer["streams"][1]["id"]});
    let made = house.call("POST", &client.path("/credentials"), &client.key, Some(body)).await.expect(201);
    let username = made["username"].as_str().unwrap();
    let known = house.snapshots.load().credential_by_username(username).cloned().unwrap();
    assert!(known.compat_pmta && known.limits.per_second == Some(10));
    let path = client.path(&format!("/credentials/{}", made["id"].as_str().unwrap()));
    let shown = house.call("GET", &path, &client.key, None).await.expect(200);
    assert_eq!(
        (&shown["networks"], &shown["compat"], shown.get("password")),
        (&json!(["192.0.2.7/32"]), &json!("pmta"), None)
    );
    let rotated = house.call("POST", &format!("{path}/rotate"), &client.key, None).await.expect(200);
    assert_ne!(rotated["password"], made["password"]);
    house.call("DELETE", &path, &client.key, None).await.expect(200);
    assert!(
        house
            .snapshots
            .load()
            .credential_by_username(username)
            .is_none_or(|known| known.revoked_at.is_some())
    );
    let foreign = json!({"name": "x", "stream": "str_00000000000000000000000000"});
    let reply = house.call("POST", &client.path("/credentials"), &client.key, Some(foreign)).await;
    assert_eq!(
        (reply.problem(422).as_str(), reply.pointers()),
        ("invalid_fields", vec!["/stream".to_owned()])
    );
}

#[tokio::test]
async fn a_credential_or_key_that_has_expired_is_not_made() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let now = mail::Clock::timestamp(&*house.clock);
    for collection in ["/credentials", "/api-keys"] {
        let body = |at: mail::Timestamp| {
            let mut body = json!({"name": "late", "expires_at": at});
            if collection == "/api-keys" {
                body["scopes"] = json!(["read"]);
            }
            body
        };
        let path = client.path(collection);
        let reply = house.call("POST", &path, &client.key, Some(body(now))).await;
        assert_eq!(
            (reply.problem(422), reply.pointers()),
            ("invalid_fields".into(), vec!["/expires_at".into()])
        );
        let later = now.saturating_add(std::time::Duration::from_secs(60));
        house.call("POST", &path, &client.key, Some(body(later))).await.expect(201);
    }
}
