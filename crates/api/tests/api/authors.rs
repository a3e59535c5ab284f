//! Whose name stands on a message: a tenant that is proved for one domain, and everything that could make a reader see another.
//!
//! Both tenants have proved their domain, so that nothing is refused only because a domain is unknown.

use crate::harness::{Client, House, Reply};
use axum::body::Body;
use axum::http::Request;

async fn post(house: &House, client: &Client, raw: &str) -> Reply {
    let request = Request::builder().method("POST").uri(client.path("/messages"));
    let request = request.header("content-type", "message/rfc822");
    let request = request.header("authorization", format!("Bearer {}", client.key));
    house.send(request.body(Body::from(raw.to_owned())).unwrap()).await
}

/// Header fields above the rest of a letter that is otherwise right.
fn letter(fields: &str) -> String {
    format!("{fields}\r\nTo: x@example.org\r\nSubject: s\r\n\r\ntext\r\n")
}

const REFUSED: [&str; 38] = [
    // Another tenant's domain, or nobody's.
    "From: a@b.example",
    "From: a@b.example\r\nSender: a@a.example",
    "From: a@gmail.com",
    "From: \"a@a.example\" <a@b.example>",
    "From: a@a.example <a@b.example>",
    "From: (a@a.example) a@b.example",
    // A subdomain, a parent and names that only look alike are other domains.
    "From: a@x.a.example",
    "From: a@example",
    "From: a@aa.example",
    "From: a@a.example.b.example",
    "From: a@xn--a-example",
    "From: a@а.example",
    "From: a@[127.0.0.1]",
    // Two authors, in every way that one of two readers might see.
    "From: a@a.example\r\nFrom: a@b.example",
    "From: a@b.example\r\nFrom: a@a.example",
    "From: a@a.example\r\nFROM: a@b.example",
    "From: a@a.example\r\nfrom : a@b.example",
    "From : a@b.example\r\nFrom: a@a.example",
    "From: a@a.example, a@b.example",
    "From: a@b.example, a@a.example",
    "From: a@a.example a@b.example",
    "From: a@a.example; a@b.example",
    "From: <a@a.example> <a@b.example>",
    "From: group: a@a.example, a@b.example;",
    "From: group:;",
    "From: <@a.example,@b.example:c@b.example>",
    "From: <a@a.example@b.example>",
    "From: a@b.example@a.example",
    "From: \"a@b.example\" x\"@a.example",
    "From: =?utf-8?q?a=40a.example?= a@b.example",
    "From: =?utf-8?q?=61@a.example?=",
    // Read differently by different programs.
    "From: \"a@b.example x\"@a.example",
    "From:",
    "From: ",
    "From: nobody",
    "From: a@a.example\0",
    "From:\r\n a@b.example",
    "X-From: a@a.example",
];

const ACCEPTED: [&str; 9] = [
    "From: a@a.example",
    "From: a@A.EXAMPLE",
    "From:\r\n a@a.example",
    // UTS #46 takes it for nothing: the domain that is looked up is the tenant's own.
    "From: a@a\u{200b}.example",
    "From: \"a@b.example x\" <a@a.example>",
    "From: =?utf-8?q?Gr=C3=BC=C3=9Fe?= <a@a.example>",
    // Where answers go, and what a list is called, says nothing of an author.
    "From: a@a.example\r\nReply-To: a@b.example",
    "From: a@a.example\r\nList-Id: <b.example>",
    "From: a@a.example\r\nX-From: a@b.example",
];

#[tokio::test]
async fn nobody_writes_in_the_name_of_another_tenant_or_of_two() {
    let house = House::open().await;
    let (client, _) = (house.ready_client("a.example").await, house.ready_client("b.example").await);
    let mut wrong = Vec::new();
    for fields in REFUSED {
        let reply = post(&house, &client, &letter(fields)).await;
        if !matches!(reply.status.as_u16(), 403 | 422) {
            wrong.push(format!("{fields:?} is {}", reply.status));
        }
    }
    for fields in ACCEPTED {
        let reply = post(&house, &client, &letter(fields)).await;
        if reply.status != 202 {
            wrong.push(format!("{fields:?} is {}: {}", reply.status, reply.json()["detail"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Sender and the Resent- fields name somebody who acted for the author: that has to be the tenant's too.
#[tokio::test]
async fn nobody_else_is_named_as_who_sent_it() {
    let house = House::open().await;
    let (client, _) = (house.ready_client("a.example").await, house.ready_client("b.example").await);
    for (fields, status) in [
        ("Sender: a@b.example", 403),
        ("sender:\r\n a@b.example", 403),
        ("Sender: \"a@a.example\" <a@b.example>", 403),
        ("Resent-From: a@b.example", 403),
        ("Resent-Sender: a@b.example", 403),
        ("Resent-From: a@a.example, a@b.example", 403),
        // The lower block is as good as the upper one.
        ("Resent-From: a@a.example\r\nResent-From: a@b.example", 403),
        ("Sender: a@a.example, a@b.example", 422),
        ("Sender: a@a.example a@b.example", 422),
        ("Sender:", 422),
        ("Sender: a@a.example\r\nResent-From: a@a.example\r\nResent-Sender: a@a.example", 202),
    ] {
        let reply = post(&house, &client, &letter(&format!("From: a@a.example\r\n{fields}"))).await;
        assert_eq!(reply.status, status, "{fields}: {}", reply.json()["detail"]);
        if status == 403 {
            let detail = reply.json()["detail"].as_str().unwrap().to_owned();
            let field = fields.split(':').next().unwrap();
            assert!(detail.to_ascii_lowercase().starts_with(&field.to_ascii_lowercase()), "{detail}");
            assert!(detail.contains("b.example is not a verified domain"), "{detail}");
        }
    }
}

#[tokio::test]
async fn who_tries_to_send_as_somebody_else_stands_in_the_audit_of_its_tenant() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let operator = house.operator().await;
    for _ in 0..2 {
        post(&house, &client, &letter("From: a@other.example")).await.expect(403);
    }
    let denied = house.denied();
    let (sender, sentences) = (denied[0].sender, denied[0].sentences.clone());
    assert_eq!((denied.len(), sender.tenant(), sentences[0].1), (1, client.id(), 2));
    let database = &house.database.database;
    let (access, detail) = (registry::Access::house("test"), serde_json::json!({"refused": sentences[0].0}));
    let object = sender.api_key().unwrap().to_string();
    database.audit_note_within(&access, client.id(), "message.refuse", object.clone(), detail).await.unwrap();
    let entry = house.call("GET", "/v1/audit?limit=1", &operator, None).await.expect(200)["data"][0].clone();
    assert_eq!(
        (&entry["tenant"], &entry["action"]),
        (&client.tenant.clone().into(), &"message.refuse".into())
    );
    assert_eq!(entry["object"], object);
    assert!(entry["detail"]["refused"].as_str().unwrap().contains("other.example"), "{entry}");
    assert_eq!(database.audit_verify(&access).await.unwrap().broken_at, None);
}
