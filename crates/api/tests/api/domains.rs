//! Domains: records, checking, rotation.

use crate::harness::House;
use serde_json::{Value, json};

fn state_of<'a>(domain: &'a Value, purpose: &str) -> &'a str {
    let records = domain["records"].as_array().unwrap();
    records.iter().find(|record| record["purpose"] == purpose).unwrap()["state"].as_str().unwrap()
}

#[tokio::test]
async fn a_domain_is_verified_by_what_the_dns_says_now() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "news.client.example").await;
    let path = client.path(&format!("/domains/{}", client.domain));
    let verify = format!("{path}/verify");
    let nothing = house.call("POST", &verify, &client.key, None).await.expect(200);
    assert_eq!((&nothing["state"], state_of(&nothing, "dkim1")), (&json!("pending"), "missing"));
    assert!(nothing["checked_at"].is_string());

    let records = client.answer["domain"]["records"].as_array().unwrap().clone();
    for record in &records {
        let text = |name: &str| record[name].as_str().unwrap();
        let value = if text("purpose") == "ownership" { "posthouse-verify=wrong" } else { text("value") };
        house.dns.publish(text("host"), text("type"), value);
    }
    let wrong = house.call("POST", &verify, &client.key, None).await.expect(200);
    assert_eq!((&wrong["state"], state_of(&wrong, "ownership")), (&json!("pending"), "mismatch"));
    assert_eq!(wrong["records"][0]["found"], json!(["posthouse-verify=wrong"]));
    assert!(!wrong["records"][0]["hint"].as_str().unwrap().is_empty());

    house.dns.publish(records[0]["host"].as_str().unwrap(), "TXT", records[0]["value"].as_str().unwrap());
    let right = house.call("POST", &verify, &client.key, None).await.expect(200);
    assert_eq!(right["state"], "verified");
    for purpose in ["ownership", "dkim1", "dkim2", "return_path", "dmarc"] {
        assert_eq!(state_of(&right, purpose), "ok", "{purpose}");
    }
    let shown = house.call("GET", &path, &client.key, None).await.expect(200);
    assert_eq!(shown, right);
    let name = mail::Domain::parse("news.client.example").unwrap();
    assert!(house.snapshots.load().sending_domain(client.id(), &name).unwrap().may_send());
}

#[tokio::test]
async fn a_name_server_that_fails_degrades_nothing_and_a_missing_record_does() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let verify = client.path(&format!("/domains/{}/verify", client.domain));
    house.dns.break_down(true);
    let unsure = house.call("POST", &verify, &client.key, None).await.expect(200);
    assert_eq!((&unsure["state"], state_of(&unsure, "dkim1")), (&json!("verified"), "error"));
    house.dns.break_down(false);
    house.dns.unpublish("rp.a.example");
    let degraded = house.call("POST", &verify, &client.key, None).await.expect(200);
    assert_eq!((&degraded["state"], state_of(&degraded, "return_path")), (&json!("degraded"), "missing"));
    let events = house.call("GET", &client.path("/events"), &client.key, None).await.expect(200);
    let kinds: Vec<_> =
        events["data"].as_array().unwrap().iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["domain.verified", "domain.degraded"]);
}

#[tokio::test]
async fn new_keys_sign_when_they_are_found_and_the_old_ones_retire() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let path = client.path(&format!("/domains/{}", client.domain));
    let before = house.call("GET", &format!("{path}/dkim-keys"), &client.key, None).await.expect(200);
    assert_eq!(before["data"].as_array().unwrap().len(), 2);
    assert!(
        !before.to_string().contains("PRIVATE")
            && before["data"][0]["record"].as_str().unwrap().contains("p=")
    );
    let keys = house.call("POST", &format!("{path}/dkim-keys/rotate"), &client.key, None).await.expect(201);
    let next: Vec<_> = keys["data"].as_array().unwrap().iter().filter(|key| key["state"] == "next").collect();
    assert_eq!(next.len(), 2);
    for key in next {
        let host = format!("{}._domainkey.a.example", key["selector"].as_str().unwrap());
        house.dns.publish(&host, "TXT", key["record"].as_str().unwrap());
    }
    house.call("POST", &format!("{path}/verify"), &client.key, None).await.expect(200);
    let after = house.call("GET", &format!("{path}/dkim-keys"), &client.key, None).await.expect(200);
    let states: Vec<_> =
        after["data"].as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap()).collect();
    assert_eq!(states.iter().filter(|state| **state == "active").count(), 2);
    assert_eq!(states.iter().filter(|state| **state == "retiring").count(), 2);
}

#[tokio::test]
async fn a_domain_that_another_tenant_has_proved_cannot_be_taken() {
    let house = House::open().await;
    let first = house.ready_client("a.example").await;
    let operator = house.operator().await;
    let second = house.onboard(&operator, "b.example").await;
    let reply =
        house.call("POST", &second.path("/domains"), &second.key, Some(json!({"name": "A.example"}))).await;
    assert_eq!((reply.problem(409).as_str(), reply.pointers()), ("conflict", vec!["/name".to_owned()]));
    let twice =
        house.call("POST", &first.path("/domains"), &first.key, Some(json!({"name": "a.example"}))).await;
    assert_eq!(twice.problem(409), "conflict");
    assert_eq!(twice.said(), reply.said());
    house
        .call("DELETE", &first.path(&format!("/domains/{}", first.domain)), &first.key, None)
        .await
        .expect(204);
    house
        .call("POST", &second.path("/domains"), &second.key, Some(json!({"name": "a.example"})))
        .await
        .expect(201);
    let list = house.call("GET", &second.path("/domains"), &second.key, None).await.expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_watch_verifies_and_degrades_without_anybody_asking() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let config = api::Config { dns_servers: vec![house.dns.address], ..Default::default() };
    let dns = api::DnsChecker::new(&config).unwrap();
    let watch = api::DomainWatch::new(house.database.database.clone(), dns, house.clock.clone(), &config);
    for record in client.answer["domain"]["records"].as_array().unwrap() {
        let text = |name: &str| record[name].as_str().unwrap();
        house.dns.publish(text("host"), text("type"), text("value"));
    }
    let path = client.path(&format!("/domains/{}", client.domain));
    assert_eq!(watch.pass().await.unwrap(), 1);
    assert_eq!(house.call("GET", &path, &client.key, None).await.expect(200)["state"], "verified");
    assert_eq!(watch.pass().await.unwrap(), 0);
    house.clock.advance(std::time::Duration::from_secs(901));
    house.dns.unpublish("rp.a.example");
    assert_eq!(watch.pass().await.unwrap(), 1);
    assert_eq!(house.call("GET", &path, &operator, None).await.status, 401);
    let operator = house.operator().await;
    assert_eq!(house.call("GET", &path, &operator, None).await.expect(200)["state"], "degraded");
}

#[tokio::test]
async fn a_claim_on_a_domain_of_another_tenant_stays_pending_and_says_why() {
    let house = House::open().await;
    let operator = house.operator().await;
    let (first, second) =
        (house.onboard(&operator, "a.example").await, house.onboard(&operator, "b.example").await);
    let claim = house
        .call("POST", &second.path("/domains"), &second.key, Some(json!({"name": "a.example"})))
        .await
        .expect(201);
    assert_eq!(house.verify(&first).await["state"], "verified");
    let mut rival = second.clone();
    rival.domain = claim["id"].as_str().unwrap().to_owned();
    for record in claim["records"].as_array().unwrap().iter().filter(|record| record["type"] == "TXT") {
        let host = record["host"].as_str().unwrap();
        house.dns.unpublish(host);
        house.dns.publish(host, "TXT", record["value"].as_str().unwrap());
    }
    let verify = second.path(&format!("/domains/{}/verify", rival.domain));
    let reply = house.call("POST", &verify, &second.key, None).await;
    assert_eq!(reply.problem(409), "conflict");
    assert!(reply.json()["detail"].as_str().unwrap().contains("ask the operator"));
    let config = api::Config { dns_servers: vec![house.dns.address], ..Default::default() };
    let dns = api::DnsChecker::new(&config).unwrap();
    let watch = api::DomainWatch::new(house.database.database.clone(), dns, house.clock.clone(), &config);
    watch.pass().await.unwrap();
    let path = second.path(&format!("/domains/{}", rival.domain));
    let shown = house.call("GET", &path, &second.key, None).await.expect(200);
    assert_eq!((&shown["state"], &shown["records"][0]["state"]), (&json!("pending"), &json!("mismatch")));
    assert!(shown["records"][0]["hint"].as_str().unwrap().starts_with("Another account"));
}

#[tokio::test]
async fn rows_that_cannot_be_read_do_not_keep_the_watch_from_the_others() {
    let house = House::open().await;
    let operator = house.operator().await;
    let broken = house.onboard(&operator, "a.example").await;
    let client = house.onboard(&operator, "b.example").await;
    for record in client.answer["domain"]["records"].as_array().unwrap() {
        let text = |name: &str| record[name].as_str().unwrap();
        house.dns.publish(text("host"), text("type"), text("value"));
    }
    // More of them than a pass takes, all of them due before the good one.
    let admin = house.database.admin().await;
    let sql = format!(
        "UPDATE domains SET return_path = '' WHERE tenant_id = '{broken}';
         INSERT INTO domains SELECT gen_random_uuid(), tenant_id, 'n' || n || '.example', state, ownership_token, '',
             return_path_target, NULL, NULL, NULL, NULL, created_at
             FROM domains, generate_series(1, 120) n WHERE tenant_id = '{broken}';
         UPDATE domains SET checked_at = '2020-01-01' WHERE tenant_id <> '{broken}'",
        broken = broken.id().uuid()
    );
    admin.batch_execute(&sql).await.unwrap();
    let config = api::Config { dns_servers: vec![house.dns.address], ..Default::default() };
    let dns = api::DnsChecker::new(&config).unwrap();
    let watch = api::DomainWatch::new(house.database.database.clone(), dns, house.clock.clone(), &config);
    let passes = [watch.pass().await.unwrap(), watch.pass().await.unwrap(), watch.pass().await.unwrap()];
    assert_eq!(passes, [100, 22, 0]);
    let path = client.path(&format!("/domains/{}", client.domain));
    assert_eq!(house.call("GET", &path, &client.key, None).await.expect(200)["state"], "verified");
}

#[tokio::test]
async fn an_operator_stops_a_domain_and_lets_it_go_and_its_tenant_may_not() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let operator = house.operator().await;
    let path = client.path(&format!("/domains/{}", client.domain));
    let call = |verb: &str, bearer: &str| {
        let (path, bearer) = (format!("{path}/{verb}"), bearer.to_owned());
        let house = &house;
        async move { house.call("POST", &path, &bearer, None).await }
    };
    assert_eq!(call("suspend", &client.key).await.problem(403), "forbidden");
    assert_eq!(call("suspend", &operator).await.expect(200)["state"], "suspended");
    assert_eq!(call("verify", &client.key).await.expect(200)["state"], "suspended");
    assert_eq!(call("release", &client.key).await.problem(403), "forbidden");
    assert_eq!(call("release", &operator).await.expect(200)["state"], "pending");
    assert_eq!(call("verify", &client.key).await.expect(200)["state"], "verified");
}
