//! The answer to a change is kept in the transaction of the change: no death between the two can make it twice.

use crate::harness::{Client, House};
use serde_json::{Value, json};

/// Whoever keeps an answer without changing anything in the same transaction gets an error, as if the process had died
/// between the two.
const NO_ANSWER_AFTERWARDS: &str = "
    CREATE FUNCTION with_its_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NOT EXISTS (SELECT 1 FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'
                       AND mode = 'RowExclusiveLock' AND relation::regclass::text NOT LIKE '%idempotency_keys%') THEN
        RAISE EXCEPTION 'an answer is kept after its change';
      END IF;
      RETURN NEW;
    END $$;
    CREATE TRIGGER with_its_change BEFORE UPDATE OF status ON idempotency_keys
      FOR EACH ROW WHEN (NEW.status IS NOT NULL) EXECUTE FUNCTION with_its_change();";

struct Calls<'a> {
    house: &'a House,
    made: usize,
}

impl Calls<'_> {
    /// The call and its repetition. Gives the answer.
    async fn twice(&mut self, key: &str, path: &str, body: Value) -> Value {
        self.made += 1;
        let name = format!("call-{}", self.made);
        let headers = [("idempotency-key", name.as_str())];
        let call = || self.house.call_with("POST", path, key, Some(body.clone()), &headers);
        let (first, second) = (call().await, call().await);
        assert!(first.status.is_success(), "{path}: {first:?}");
        assert_eq!((second.status, &second.bytes), (first.status, &first.bytes), "{path}");
        assert!(second.headers.contains_key("idempotency-replayed"), "{path}");
        serde_json::from_slice(&first.bytes).unwrap()
    }
}

fn id(answer: &Value) -> &str {
    answer["id"].as_str().unwrap()
}

async fn house() -> (House, String, Client) {
    let config = api::Config { idempotency_wait_seconds: 0, ..Default::default() };
    let house = House::with(config).await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    house.database.admin().await.batch_execute(NO_ANSWER_AFTERWARDS).await.unwrap();
    (house, operator, client)
}

#[tokio::test]
async fn what_a_tenant_makes_is_made_with_its_answer() {
    let (house, _, client) = house().await;
    let mut calls = Calls { house: &house, made: 0 };
    let key = client.key.as_str();
    let body = json!({"name": "news", "kind": "marketing"});
    calls.twice(key, "/v1/tenants/self/streams", body).await;
    let domain = calls.twice(key, "/v1/tenants/self/domains", json!({"name": "b.example"})).await;
    let path = format!("/v1/tenants/self/domains/{}/dkim-keys/rotate", id(&domain));
    calls.twice(key, &path, json!({})).await;
    for (collection, body) in [
        ("credentials", json!({"name": "shop"})),
        ("api-keys", json!({"name": "shop", "scopes": ["send"]})),
        ("webhooks", json!({"url": "https://hooks.client.example/in"})),
    ] {
        let made = calls.twice(key, &format!("/v1/tenants/self/{collection}"), body).await;
        let rotate = if collection == "webhooks" { "secrets/rotate" } else { "rotate" };
        let path = format!("/v1/tenants/self/{collection}/{}/{rotate}", id(&made));
        calls.twice(key, &path, json!({})).await;
        if collection == "webhooks" {
            let webhook = format!("/v1/tenants/self/webhooks/{}", id(&made));
            calls.twice(key, &format!("{webhook}/test"), json!({})).await;
            let since = json!({"since": "2020-01-01T00:00:00Z"});
            // The test has its first call before it.
            assert_eq!(calls.twice(key, &format!("{webhook}/replay"), since).await["replayed"], 0);
        }
    }
    let made = |collection: &'static str| {
        let path = format!("/v1/tenants/self/{collection}");
        let (house, key) = (&house, key.to_owned());
        async move { house.call("GET", &path, &key, None).await.expect(200)["data"].as_array().unwrap().len() }
    };
    // Beside those of the onboarding.
    assert_eq!((made("streams").await, made("domains").await, made("credentials").await), (3, 2, 2));
    assert_eq!((made("api-keys").await, made("webhooks").await), (2, 1));
}

#[tokio::test]
async fn what_an_operator_makes_is_made_with_its_answer() {
    let (house, operator, client) = house().await;
    let mut calls = Calls { house: &house, made: 0 };
    let body = json!({"name": "B", "domain": "b.example", "webhook": {"url": "https://hooks.b.example/"}});
    let onboarded = calls.twice(&operator, "/v1/tenants", body).await;
    assert!(onboarded["smtp_credential"]["password"].is_string());
    let tenant = format!("/v1/tenants/{}", id(&onboarded["tenant"]));
    for (change, body) in [
        ("pause", json!({"reason": "x"})),
        ("resume", json!({})),
        ("quarantine", json!({"reason": "x"})),
        ("release", json!({})),
    ] {
        calls.twice(&operator, &format!("{tenant}/{change}"), body).await;
    }
    let domain = format!("{tenant}/domains/{}", id(&onboarded["domain"]));
    calls.twice(&operator, &format!("{domain}/suspend"), json!({})).await;
    calls.twice(&operator, &format!("{domain}/release"), json!({})).await;
    // For a tenant: the key is the operator's all the same.
    calls.twice(&operator, &client.path("/credentials"), json!({"name": "shop"})).await;
    let body = json!({"name": "s9", "address": "192.0.2.99", "ehlo": "s9.posthouse.example"});
    calls.twice(&operator, "/v1/sources", body).await;
    calls.twice(&operator, "/v1/pools", json!({"name": "second", "members": []})).await;
    let body =
        json!({"email": "o@posthouse.example", "password": "long enough to be one", "role": "auditor"});
    calls.twice(&operator, "/v1/users", body).await;
}

#[tokio::test]
async fn a_change_that_is_refused_is_answered_alike_and_changes_nothing() {
    let (house, _, client) = house().await;
    house
        .database
        .admin()
        .await
        .batch_execute("DROP TRIGGER with_its_change ON idempotency_keys")
        .await
        .unwrap();
    let headers = [("idempotency-key", "taken")];
    let body = json!({"name": "marketing", "kind": "marketing"});
    let call =
        || house.call_with("POST", "/v1/tenants/self/streams", &client.key, Some(body.clone()), &headers);
    let (first, second) = (call().await, call().await);
    assert_eq!((first.problem(409).as_str(), first.said()), ("conflict", second.said()));
    assert!(second.headers.contains_key("idempotency-replayed"));
}
