//! Where a webhook may not lead, refused before it is kept: when it is made, changed, and within an onboarding.

use crate::world::World;
use serde_json::json;

const DENIED: [&str; 32] = [
    "https://10.0.0.1/x",
    "https://10.1/x",
    "https://167772161/x",
    "https://0xa000001/x",
    "https://0xA.1/x",
    "https://012.0.0.1/x",
    "https://10.0.0.1./x",
    "https://172.16.0.1/",
    "https://172.31.255.254/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://192.0.0.1/",
    "https://198.18.0.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://0.0.0.0/",
    "https://0/",
    "https://[::]/",
    "https://[::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[fc00::1]/",
    "https://[fe80::1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001::1]/",
    "https://[fd00:ec2::254]/",
    "https://u:p@hooks.example/",
    "https://hooks.example@10.0.0.1/",
    "gopher://hooks.example/",
    "file:///etc/passwd",
];

#[tokio::test]
async fn a_target_that_nobody_may_call_is_refused_wherever_it_is_given() {
    let world = World::open().await;
    let (house, key) = (&world.house, &world.other.key);
    for url in DENIED {
        let body = Some(json!({ "url": url }));
        let made = house.call("POST", &world.other.path("/webhooks"), key, body.clone()).await;
        assert_eq!(
            (made.problem(422).as_str(), made.pointers()[0].as_str()),
            ("invalid_fields", "/url"),
            "{url}"
        );
        let path = world.other.path(&format!("/webhooks/{}", world.own["webhook"]));
        assert_eq!(
            house.call("PATCH", &path, key, body.clone()).await.problem(422),
            "invalid_fields",
            "{url}"
        );
        let wish = json!({"name": "New", "domain": "new.example", "webhook": body});
        let onboarded = house.call("POST", "/v1/tenants", &world.operator, Some(wish)).await;
        assert_eq!(
            (onboarded.problem(422).as_str(), onboarded.pointers()[0].as_str()),
            ("invalid_fields", "/webhook/url"),
            "{url}"
        );
    }
}
