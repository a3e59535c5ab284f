//! What a credential may do: every operation of the served document × every kind of caller that may do less, or nothing.
//!
//! What is refused is refused before the body is looked at, so every call here has a body that would be taken.

use crate::document::Operation;
use crate::isolation::{Whose, whose};
use crate::world::World;
use serde_json::json;
use std::time::Duration;

/// What a caller may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Nothing,
    Read,
    Send,
    ReadHouse,
}

impl May {
    fn do_this(self, operation: &Operation) -> bool {
        let (is_read, of_tenant) = (operation.method == "GET", whose(&operation.id) == Whose::Tenant);
        match self {
            May::Nothing => false,
            May::Read => is_read && of_tenant,
            May::Send => matches!(operation.id.as_str(), "message_send" | "message_cancel"),
            May::ReadHouse => is_read,
        }
    }
}

/// Keys of the tenant that may not do everything, with what they may.
async fn callers(world: &World) -> Vec<(&'static str, String, May)> {
    let key = async |scopes: &[&str]| {
        let body = json!({"name": "Narrow", "scopes": scopes});
        let made = world.made(&world.other.path("/api-keys"), &world.other.key, body).await;
        made["secret"].as_str().unwrap().to_owned()
    };
    vec![
        ("viewer", world.person("viewer", Some(&world.other)).await, May::Read),
        ("read key", key(&["read"]).await, May::Read),
        ("send key", key(&["send"]).await, May::Send),
        ("auditor", world.person("auditor", None).await, May::ReadHouse),
    ]
}

/// Keys and tokens that were good once.
async fn ended(world: &World) -> Vec<(&'static str, String)> {
    let key = async |more: serde_json::Value| {
        let mut body = json!({"name": "Ends", "scopes": ["send", "read", "manage"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = world.made(&world.other.path("/api-keys"), &world.other.key, body).await;
        (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
    };
    let (_, expired) = key(json!({"expires_at": "2026-11-23T12:00:10Z"})).await;
    let (_, elsewhere) = key(json!({"networks": ["192.0.2.0/24"]})).await;
    let (id, revoked) = key(json!({})).await;
    let path = world.other.path(&format!("/api-keys/{id}"));
    world.house.call("DELETE", &path, &world.other.key, None).await.expect(200);
    let (id, rotated) = key(json!({})).await;
    let path = world.other.path(&format!("/api-keys/{id}/rotate"));
    world.house.call("POST", &path, &world.other.key, None).await.expect(200);
    world.house.clock.advance(Duration::from_secs(60));
    vec![
        ("expired key", expired),
        ("key from elsewhere", elsewhere),
        ("revoked key", revoked),
        ("rotated key", rotated),
    ]
}

async fn ask(world: &World, operation: &Operation, bearer: &str) -> crate::harness::Reply {
    let body = world.document.body(operation, 500);
    let path = operation.path(&world.other.tenant, &world.own);
    world.house.call(&operation.method, &path, bearer, body).await
}

#[tokio::test]
async fn no_caller_does_more_than_its_role_and_scopes_say() {
    let world = World::open().await;
    let callers = callers(&world).await;
    let (mut refused, mut allowed) = (0, 0);
    for operation in world.document.operations().iter().filter(|operation| !operation.is_open) {
        for (caller, bearer, may) in &callers {
            // What may be done, and changes something, is another test's.
            if may.do_this(operation) {
                if operation.method == "GET" {
                    let reply = ask(&world, operation, bearer).await;
                    // A node without deliveries has no queues and paths to show.
                    let is_elsewhere = matches!(operation.id.as_str(), "queue_list" | "path_list");
                    reply.expect(if is_elsewhere { 503 } else { 200 });
                    allowed += 1;
                } else if operation.id == "message_cancel" {
                    // A node without deliveries has nothing to take back.
                    let status = ask(&world, operation, bearer).await.status;
                    assert!(status == 200 || status == 503, "{caller}: {status}");
                    allowed += 1;
                }
                continue;
            }
            let reply = ask(&world, operation, bearer).await;
            assert_eq!(reply.status, 403, "{caller} {}: {:?}", operation.id, reply.json());
            assert_eq!(reply.problem(403), "forbidden", "{caller} {}", operation.id);
            refused += 1;
        }
    }
    println!("{refused} refused, {allowed} allowed");
    assert!(refused > 150 && allowed > 60, "{refused} {allowed}");
}

#[tokio::test]
async fn what_has_ended_opens_nothing() {
    let world = World::open().await;
    let ended = ended(&world).await;
    let none = ("nothing", String::new());
    let mut refused = 0;
    for operation in world.document.operations().iter().filter(|operation| !operation.is_open) {
        for (caller, bearer) in ended.iter().chain([&none]) {
            let reply = ask(&world, operation, bearer).await;
            assert_eq!(reply.status, 401, "{caller} {}", operation.id);
            assert!(!May::Nothing.do_this(operation));
            refused += 1;
        }
    }
    println!("{refused} refused");
}

/// An admin of a tenant, with every right there, at the operator's door.
#[tokio::test]
async fn what_is_the_operators_is_refused_to_every_tenant_whatever_the_body_says() {
    let world = World::open().await;
    let admin = world.person("admin", Some(&world.other)).await;
    for operation in world.document.operations() {
        if !matches!(whose(&operation.id), Whose::House | Whose::Either) {
            continue;
        }
        for bearer in [&world.other.key, &admin] {
            let path = operation.path(&world.other.tenant, &world.own);
            let mut bodies = vec![world.document.body(&operation, 400), Some(json!({}))];
            // Where there is no body, one is refused to everybody (`expected.rs`).
            if operation.schema.is_some() || operation.method == "GET" {
                bodies.push(Some(json!({"x": 1})));
            }
            let mut said = Vec::new();
            for body in bodies {
                let reply = world.house.call(&operation.method, &path, bearer, body).await;
                assert_eq!(reply.problem(403), "forbidden", "{}", operation.id);
                said.push(reply.said());
            }
            said.dedup();
            assert_eq!(said.len(), 1, "{}: the body is looked at", operation.id);
        }
    }
    let plan = json!({"plan": {"per_day": 1_000_000}});
    let reply = world.house.call("PATCH", "/v1/tenants/self", &world.other.key, Some(plan)).await;
    assert_eq!(reply.problem(403), "forbidden");
}

/// A tenant that is shut still reads and manages; it does not send, and it opens its own door no more than before.
#[tokio::test]
async fn a_tenant_in_quarantine_sends_nothing_and_does_not_free_itself() {
    let world = World::open().await;
    world.house.verify(&world.other).await;
    let letter = json!({"from": "news@b.example", "to": "x@example.org", "subject": "s", "text": "t"});
    let send = async |wanted: u16| {
        let path = world.other.path("/messages");
        world.house.call("POST", &path, &world.other.key, Some(letter.clone())).await.expect(wanted)
    };
    send(202).await;
    for (shut, open, code) in
        [("quarantine", "release", "tenant_paused"), ("pause", "resume", "tenant_paused")]
    {
        let reason = Some(json!({"reason": "looks bad"}));
        world
            .house
            .call("POST", &world.other.path(&format!("/{shut}")), &world.operator, reason)
            .await
            .expect(200);
        assert_eq!(send(403).await["code"], code);
        let own =
            world.house.call("POST", &world.other.path(&format!("/{open}")), &world.other.key, None).await;
        assert_eq!(own.problem(403), "forbidden");
        let status = json!({"status": "active"});
        let patched = world.house.call("PATCH", "/v1/tenants/self", &world.other.key, Some(status)).await;
        assert_eq!(patched.problem(422), "invalid_fields");
        send(403).await;
        world
            .house
            .call("POST", &world.other.path(&format!("/{open}")), &world.operator, None)
            .await
            .expect(200);
        send(202).await;
    }
}
