//! Webhooks, events, streams.

use crate::harness::House;
use serde_json::json;

#[tokio::test]
async fn a_test_event_is_listed_as_an_event_and_as_a_call() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let body = json!({"url": "https://hooks.a.example/x", "types": ["message.bounced"]});
    let made = house.call("POST", &client.path("/webhooks"), &client.key, Some(body)).await.expect(201);
    let path = client.path(&format!("/webhooks/{}", made["id"].as_str().unwrap()));
    let tested = house.call("POST", &format!("{path}/test"), &client.key, None).await.expect(202);
    let calls = house.call("GET", &format!("{path}/deliveries"), &client.key, None).await.expect(200);
    assert_eq!(
        (&calls["data"][0]["event"], &calls["data"][0]["state"]),
        (&tested["event"], &json!("pending"))
    );
    let events = house.call("GET", &client.path("/events"), &client.key, None).await.expect(200);
    assert_eq!(
        (&events["data"][0]["id"], &events["data"][0]["type"]),
        (&tested["event"], &json!("webhook.test"))
    );
    // Events never end: the cursor of an empty page is the one it was asked with.
    let cursor = events["next_cursor"].as_str().unwrap();
    let after = house
        .call("GET", &client.path(&format!("/events?cursor={cursor}")), &client.key, None)
        .await
        .expect(200);
    assert_eq!(after, json!({"data": [], "next_cursor": cursor}));
    // It has its first call before it, and is made again only after that.
    let replay = format!("{path}/replay");
    let since = json!({"since": "2026-01-01T00:00:00Z"});
    let nothing = json!({"replayed": 0, "more": false, "next_since": null});
    let replayed = house.call("POST", &replay, &client.key, Some(since.clone())).await.expect(202);
    assert_eq!(replayed, nothing);
    let admin = house.database.admin().await;
    admin.batch_execute("UPDATE webhook_deliveries SET state = 'delivered', attempts = 1").await.unwrap();
    let replayed = house.call("POST", &replay, &client.key, Some(since)).await.expect(202);
    assert_eq!(replayed["replayed"], 1);
    assert_eq!(
        house.call("POST", &format!("{path}/replay"), &client.key, None).await.expect(202)["replayed"],
        0
    );
}

#[tokio::test]
async fn a_webhook_does_not_name_an_address_that_is_nobodys_to_call() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let path = client.path("/webhooks");
    // The operator allows 127.0.0.0/8.
    let body = json!({"url": "http://127.0.0.1:8081/x"});
    let made = house.call("POST", &path, &client.key, Some(body)).await.expect(201);
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    for url in [
        "https://169.254.169.254/latest",
        "https://[::1]:8443/",
        "https://10.0.0.1/",
        "https://0xa.1/",
        "http://192.0.43.8/",
        "https://hooks.example:25/",
        "HTTP://192.0.43.8/",
        "https://hooks.example:99999/",
        "https://hooks.example:/",
        "https://hooks.example/#part",
        "https://bücher.example/",
    ] {
        for (method, path) in [("POST", &path), ("PATCH", &one)] {
            let reply = house.call(method, path, &client.key, Some(json!({"url": url}))).await;
            assert_eq!(
                (reply.problem(422), reply.pointers()),
                ("invalid_fields".into(), vec!["/url".into()])
            );
        }
    }
    let list = house.call("GET", &path, &client.key, None).await.expect(200);
    assert_eq!((list["data"].as_array().unwrap().len(), &list["data"][0]["url"]), (1, &made["url"]));
    let body = json!({"url": "HTTPS://Hooks.example:8443/x?y=1"});
    house.call("POST", &path, &client.key, Some(body)).await.expect(201);
}

/// Refused at once, and not at the first of ten calls that nobody looks at.
#[tokio::test]
async fn without_networks_inside_a_webhook_is_called_over_tls() {
    let house =
        House::with_state(api::Config::default(), |state| state.config.webhook_allow_networks.clear()).await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let path = client.path("/webhooks");
    for url in ["http://hooks.example/x", "http://192.0.43.8/x", "http://127.0.0.1:8081/x"] {
        let reply = house.call("POST", &path, &client.key, Some(json!({"url": url}))).await;
        let error = reply.problem(422);
        assert_eq!((error, reply.pointers()), ("invalid_fields".into(), vec!["/url".into()]), "{url}");
    }
    for url in ["https://hooks.example/x", "https://hooks.example:8443/x", "https://192.0.43.8/x"] {
        house.call("POST", &path, &client.key, Some(json!({"url": url}))).await.expect(201);
    }
}

#[tokio::test]
async fn a_webhook_is_changed_paused_and_given_a_new_secret() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let wrong = json!({"url": "https://user:pw@hooks.example/", "types": ["message.read"]});
    let reply = house.call("POST", &client.path("/webhooks"), &client.key, Some(wrong)).await;
    assert_eq!(reply.problem(422), "invalid_fields");
    let mut pointers = reply.pointers();
    pointers.sort();
    assert_eq!(pointers, ["/types/0", "/url"]);
    let body = json!({"url": "https://hooks.a.example/x"});
    let made = house.call("POST", &client.path("/webhooks"), &client.key, Some(body)).await.expect(201);
    let path = client.path(&format!("/webhooks/{}", made["id"].as_str().unwrap()));
    let rotated = house.call("POST", &format!("{path}/secrets/rotate"), &client.key, None).await.expect(200);
    assert_ne!(rotated["secret"], made["secret"]);
    let paused = house.call("PATCH", &path, &client.key, Some(json!({"state": "paused"}))).await.expect(200);
    assert_eq!(
        (&paused["state"], &paused["url"], paused.get("secret")),
        (&json!("paused"), &made["url"], None)
    );
    let reply = house.call("PATCH", &path, &client.key, Some(json!({"state": "disabled"}))).await;
    assert_eq!(reply.problem(422), "invalid_fields");
    house.call("DELETE", &path, &client.key, None).await.expect(204);
    assert_eq!(house.call("GET", &path, &client.key, None).await.problem(404), "not_found");
}
