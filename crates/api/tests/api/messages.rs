//! Sending through the API, and looking for what was sent.

use crate::harness::{Client, House, Reply};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use spool::Record;

async fn send(house: &House, client: &Client, body: Value) -> Reply {
    house.call("POST", "/v1/tenants/self/messages", &client.key, Some(body)).await
}

/// Everything in the journal.
async fn accepted(house: &House) -> Vec<(spool::Accepted, String)> {
    let mut follower = house.spool.follow(spool::Position::START);
    let mut found = Vec::new();
    for (position, record) in follower.next_batch(1000).await.unwrap() {
        if let Record::Accepted(accepted) = &*record {
            let body = house.spool.body(position).await.unwrap();
            found.push(((**accepted).clone(), String::from_utf8_lossy(&body).into_owned()));
        }
    }
    found
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_with_its_reason_and_nothing_is_stored() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let reply =
        send(&house, &client, json!({"to": ["b@example.org", "no address"], "subject": 5, "colour": "red"}))
            .await;
    assert_eq!(reply.problem(422), "invalid_fields");
    let mut pointers = reply.pointers();
    pointers.sort();
    assert_eq!(pointers, ["/colour", "/subject", "/to/1"]);
    let message = |from: &str| json!({"from": from, "to": ["b@example.org"], "subject": "Hi", "text": "x"});
    assert_eq!(send(&house, &client, message("x@stranger.example")).await.problem(403), "sender_not_allowed");
    let mut steered = message("x@a.example");
    steered["stream"] = json!("nowhere");
    assert_eq!(send(&house, &client, steered).await.problem(422), "unknown_reference");
    let mut injected = message("x@a.example");
    injected["headers"] = json!({"X-A": "1\r\nBcc: c@example.org"});
    assert_eq!(send(&house, &client, injected).await.problem(422), "invalid_fields");
    let mut reserved = message("x@a.example");
    reserved["headers"] = json!({"DKIM-Signature": "v=1"});
    assert_eq!(send(&house, &client, reserved).await.problem(422), "invalid_fields");
    let operator = house.operator().await;
    house.call("POST", &client.path("/pause"), &operator, Some(json!({"reason": "x"}))).await.expect(200);
    assert_eq!(send(&house, &client, message("x@a.example")).await.problem(403), "tenant_paused");
    assert_eq!(house.spool.status().unsettled, 0);
}

#[tokio::test]
async fn a_refused_message_points_at_the_field_that_is_wrong() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let far =
        mail::Clock::timestamp(&*house.clock).saturating_add(std::time::Duration::from_secs(30 * 86_400 + 1));
    let cases = [
        (json!({"from": "x@stranger.example"}), 403, "sender_not_allowed", "/from", "stranger.example"),
        (json!({"stream": "nowhere"}), 422, "unknown_reference", "/stream", "there is no stream nowhere"),
        (json!({"pool": "nowhere"}), 422, "unknown_reference", "/pool", "there is no pool nowhere"),
        (json!({"stream": "marketing", "pool": "no"}), 422, "unknown_reference", "/pool", "no pool no "),
        (json!({"send_at": far}), 422, "bad_steering", "/send_at", "30 days"),
        (json!({"tags": ["a\n"], "send_at": far}), 422, "bad_steering", "/tags", "tag"),
        (json!({"metadata": {"a": "b".repeat(600)}}), 422, "bad_steering", "/metadata", "metadata"),
        (json!({"subject": "a\r\nBcc: b"}), 422, "invalid_fields", "/subject", "line ends"),
        (json!({"headers": {"From": "b@c.example"}}), 422, "invalid_fields", "/headers/From", "Message-ID"),
    ];
    for (part, status, code, pointer, words) in cases {
        let mut body = json!({"from": "x@a.example", "to": ["b@example.org"], "subject": "Hi", "text": "x"});
        body.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        let reply = send(&house, &client, body).await;
        assert_eq!((reply.problem(status).as_str(), reply.pointers()), (code, vec![pointer.to_owned()]));
        let detail = reply.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{detail}");
    }
    let raw = STANDARD.encode("From: x@stranger.example\nTo: b@example.org\nSubject: raw\n\nbody\n");
    for body in [json!({"raw": raw}), json!({"raw": raw, "from": "x@a.example"})] {
        let reply = send(&house, &client, body).await;
        assert_eq!(
            (reply.problem(403).as_str(), reply.pointers()),
            ("sender_not_allowed", vec!["/raw".into()])
        );
    }
    let reply = send(&house, &client, json!([])).await;
    assert_eq!((reply.problem(422).as_str(), reply.pointers()), ("invalid_fields", vec![String::new()]));
    assert_eq!(reply.json()["detail"], "the body must be an object");
    assert_eq!(house.spool.status().unsettled, 0);
}

#[tokio::test]
async fn a_stream_and_a_pool_are_named_by_name_or_by_id() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let stranger = house.ready_client("b.example").await;
    let (stream, pool) = (&client.answer["streams"][1]["id"], &client.answer["streams"][1]["pool"]);
    let message = |stream: &Value, pool: &Value| {
        json!({"from": "x@a.example", "to": "b@example.org", "subject": "Hi", "text": "x", "stream": stream,
            "pool": pool})
    };
    send(&house, &client, message(stream, pool)).await.expect(202);
    send(&house, &client, message(&json!("marketing"), &json!("shared"))).await.expect(202);
    let stored = accepted(&house).await;
    assert!(stored.len() == 2 && stored.iter().all(|(record, _)| json!(record.stream) == *stream));
    let foreign = message(&stranger.answer["streams"][1]["id"], pool);
    let reply = send(&house, &client, foreign).await;
    assert_eq!(
        (reply.problem(422).as_str(), reply.pointers()),
        ("unknown_reference", vec!["/stream".into()])
    );
    let path = client.path("/messages?stream=nowhere");
    let reply = house.call("GET", &path, &client.key, None).await;
    assert_eq!(reply.problem(400), "invalid_parameter");
    assert_eq!(reply.json()["detail"], "stream: there is no stream nowhere");
}

#[tokio::test]
async fn a_message_of_parts_is_in_the_journal_when_202_is_said() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let body = json!({"from": "News <news@a.example>", "to": ["Anna <anna@example.org>"], "bcc": ["b@example.org"],
        "subject": "Grüße", "text": "hello", "html": "<p>hello</p>", "tags": ["nov"], "metadata": {"order": "77"},
        "stream": "marketing", "attachments": [{"filename": "a.txt", "content": STANDARD.encode("attached")}]});
    let answer = send(&house, &client, body).await.expect(202);
    let id = answer["id"].as_str().unwrap();
    assert_eq!((&answer["ids"], &answer["refused"]), (&json!([id]), &json!([])));
    let stored = accepted(&house).await;
    let (record, body) = &stored[0];
    assert_eq!((record.message.to_string().as_str(), record.recipients.len()), (id, 2));
    assert_eq!((record.tags.as_slice(), record.metadata.len()), (["nov".to_owned()].as_slice(), 1));
    assert!(
        body.contains("DKIM-Signature:") && body.contains("To: ") && !body.contains("b@example.org"),
        "{body}"
    );
}

#[tokio::test]
async fn a_finished_message_comes_as_base64_or_as_it_is() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let raw = "From: news@a.example\nTo: b@example.org\nBcc: c@example.org\nSubject: raw\n\nbody\n";
    send(&house, &client, json!({"raw": STANDARD.encode(raw)})).await.expect(202);
    let request = axum::http::Request::builder().method("POST").uri("/v1/tenants/self/messages");
    let request = request
        .header("authorization", format!("Bearer {}", client.key))
        .header("content-type", "message/rfc822");
    house.send(request.body(raw.into()).unwrap()).await.expect(202);
    let other = json!({"raw": STANDARD.encode(raw), "to": "D <d@example.org>"});
    send(&house, &client, other).await.expect(202);
    let counts: Vec<_> = accepted(&house).await.iter().map(|(record, _)| record.recipients.len()).collect();
    assert_eq!(counts, [2, 2, 1]);
    // As mail programs and MIME libraries write them.
    let hidden = "From: news@a.example\nTo: undisclosed-recipients:;\nBcc: c@example.org\n\nbody\n";
    let lines = STANDARD
        .encode(hidden)
        .as_bytes()
        .chunks(20)
        .map(String::from_utf8_lossy)
        .collect::<Vec<_>>()
        .join("\r\n");
    send(&house, &client, json!({"raw": lines})).await.expect(202);
    assert_eq!(accepted(&house).await[3].0.recipients.len(), 1);
    for broken in ["no base64!", &STANDARD.encode("no header section")] {
        assert_eq!(send(&house, &client, json!({"raw": broken})).await.status, 422);
    }
}

/// Whoever looked at it for header fields ended lines at CRLF, or at LF: what ends one elsewhere is a field that it did not see.
#[tokio::test]
async fn a_finished_message_whose_lines_can_be_seen_in_two_ways_is_refused() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    for raw in [
        "From: n@a.example\r\nTo: b@example.org\r\nSubject: hi\rBcc: victim@example.org\r\n\r\nx\r\n",
        "From: n@a.example\r\nTo: b@example.org\r\nSubject: hi\nBcc: victim@example.org\r\n\r\nx\r\n",
        "From: n@a.example\r\nTo: b@example.org\r\n\r\none\rtwo\r\n",
        "From: n@a.example\nTo: b@example.org\n\none\r\ntwo\n",
    ] {
        let refused = send(&house, &client, json!({"raw": STANDARD.encode(raw)})).await;
        assert_eq!(refused.problem(422), "message_malformed", "{raw:?}");
        let request = axum::http::Request::builder().method("POST").uri("/v1/tenants/self/messages");
        let request = request.header("authorization", format!("Bearer {}", client.key));
        let request = request.header("content-type", "message/rfc822").body(raw.into()).unwrap();
        assert_eq!(house.send(request).await.problem(422), "message_malformed", "{raw:?}");
    }
    assert_eq!(house.spool.status().unsettled, 0);
}

#[tokio::test]
async fn what_was_refused_while_the_tenant_was_paused_is_taken_under_its_key_when_it_goes_on() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let operator = house.operator().await;
    let again = || {
        let body = json!({"from": "n@a.example", "to": "b@example.org", "subject": "S", "text": "T"});
        let key = [("idempotency-key", "k")];
        let (house, client) = (&house, &client);
        async move { house.call_with("POST", &client.path("/messages"), &client.key, Some(body), &key).await }
    };
    for (stop, go) in [("pause", "resume"), ("quarantine", "release")] {
        let reason = Some(json!({"reason": "x"}));
        house.call("POST", &client.path(&format!("/{stop}")), &operator, reason).await.expect(200);
        assert_eq!(again().await.problem(403), "tenant_paused", "{stop}");
        house.call("POST", &client.path(&format!("/{go}")), &operator, None).await.expect(200);
    }
    again().await.expect(202);
    assert_eq!(accepted(&house).await.len(), 1);
}

#[tokio::test]
async fn a_batch_that_would_fill_the_memory_is_refused_before_it_is_made() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let recipients: Vec<_> = (0..400)
        .map(|n| json!({"to": format!("r{n}@example.net"), "variables": {"a": "x".repeat(500)}}))
        .collect();
    let batch = json!({
        "from": "news@a.example", "subject": "Hello", "html": "{{a}}".repeat(400), "recipients": recipients,
    });
    let answer = send(&house, &client, batch).await.expect(413);
    assert_eq!(answer["code"], "body_too_large", "{answer}");
}

#[tokio::test]
async fn a_batch_is_one_message_for_each_and_ends_where_the_quota_ends() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let recipients: Vec<_> = (0..5)
        .map(|n| json!({"to": format!("r{n}@example.org"), "variables": {"name": format!("N{n}")}}))
        .collect();
    let batch =
        json!({"from": "n@a.example", "subject": "Hi {{name}}", "text": "x", "recipients": recipients});
    let answer = send(&house, &client, batch.clone()).await.expect(202);
    assert_eq!((answer["ids"].as_array().unwrap().len(), &answer["id"]), (5, &Value::Null));
    let mut subjects: Vec<_> = accepted(&house).await.into_iter().map(|(record, _)| record.subject).collect();
    subjects.sort();
    assert_eq!(subjects, ["Hi N0", "Hi N1", "Hi N2", "Hi N3", "Hi N4"]);

    let operator = house.operator().await;
    house.call("PUT", &client.path("/quotas"), &operator, Some(json!({"per_day": 7}))).await.expect(200);
    let answer = send(&house, &client, batch.clone()).await.expect(202);
    assert_eq!(
        (answer["ids"].as_array().unwrap().len(), answer["refused"].as_array().unwrap().len()),
        (2, 3)
    );
    assert_eq!(answer["refused"][0]["code"], "quota_exhausted");
    let none = send(&house, &client, batch).await;
    assert_eq!(none.problem(429), "quota_exhausted");
    assert!(none.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn more_recipients_than_a_day_allows_and_a_field_that_steers_nothing_are_refused_for_good() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let operator = house.operator().await;
    house.call("PUT", &client.path("/quotas"), &operator, Some(json!({"per_day": 2}))).await.expect(200);
    let to = ["a@example.org", "b@example.org", "c@example.org"];
    let message = |to: &[&str]| json!({"from": "n@a.example", "to": to, "subject": "Hi", "text": "x"});
    let answer = send(&house, &client, message(&to)).await;
    assert_eq!(answer.problem(422), "too_many_recipients");
    assert!(!answer.headers.contains_key("retry-after"));

    let mut steered = message(&to[..1]);
    steered["headers"] = json!({"X-Posthouse-Steam": "marketing"});
    let answer = send(&house, &client, steered).await.expect(422);
    assert_eq!(answer["errors"][0]["pointer"], "/headers/X-Posthouse-Steam", "{answer}");
    let raw = "X-Posthouse-Steam: marketing\nFrom: n@a.example\nTo: b@example.org\n\nbody";
    assert_eq!(
        send(&house, &client, json!({"raw": STANDARD.encode(raw)})).await.problem(422),
        "bad_steering"
    );
    let named = raw.replace("Steam", "Stream");
    send(&house, &client, json!({"raw": STANDARD.encode(named)})).await.expect(202);
    let (record, body) = accepted(&house).await.remove(0);
    assert!(body.ends_with("\r\n\r\nbody\r\n") && !body.contains("X-Posthouse"), "{body}");
    assert_eq!(record.size, body.len() as u64);
    send(&house, &client, message(&to[..1])).await.expect(202);
}

#[tokio::test]
async fn without_room_for_mail_a_call_is_refused_as_just_that_and_may_be_repeated() {
    let house = House::open_without_room().await;
    let client = house.ready_client("a.example").await;
    let message = json!({"from": "n@a.example", "to": ["b@example.org"], "subject": "Hi", "text": "x"});
    let batch =
        json!({"from": "n@a.example", "recipients": [{"to": "b@example.org"}], "subject": "Hi", "text": "x"});
    let keyed: &[_] = &[("idempotency-key", "k")];
    for (body, headers) in [(&message, &[][..]), (&batch, &[]), (&message, keyed), (&message, keyed)] {
        let path = "/v1/tenants/self/messages";
        let reply = house.call_with("POST", path, &client.key, Some(body.clone()), headers).await;
        assert_eq!(reply.problem(507), "storage_full");
        assert_eq!(reply.headers["retry-after"], "30");
        assert!(!reply.headers.contains_key("idempotency-replayed"));
    }
    assert_eq!(house.spool.status().unsettled, 0);
}

#[tokio::test]
async fn sending_goes_on_while_postgresql_is_away_and_everything_else_is_told_to_wait() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let (server, name) = house.database.url().rsplit_once('/').unwrap();
    let (admin, connection) =
        tokio_postgres::connect(&format!("{server}/postgres"), tokio_postgres::NoTls).await.unwrap();
    let _driver = tokio::spawn(connection);
    // Nobody new gets in, and who is in is thrown out.
    admin.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await.unwrap();
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    admin.batch_execute(&end).await.unwrap();
    let message = || json!({"from": "n@a.example", "to": ["b@example.org"], "subject": "Hi", "text": "x"});
    send(&house, &client, message()).await.expect(202);
    let path = "/v1/tenants/self/messages";
    let keyed =
        house.call_with("POST", path, &client.key, Some(message()), &[("idempotency-key", "k")]).await;
    for reply in [keyed, house.call("GET", path, &client.key, None).await] {
        assert_eq!(reply.problem(503), "try_again_later");
        assert!(reply.headers.contains_key("retry-after"));
    }
    admin.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await.unwrap();
    house.call("GET", path, &client.key, None).await.expect(200);
}

#[tokio::test]
async fn a_search_with_a_word_that_is_none_is_refused_and_an_unknown_message_is_not_found() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    for query in ["state=lost", "stream=x", "recipient=nobody", "since=yesterday", "sort=up"] {
        let reply = house.call("GET", &client.path(&format!("/messages?{query}")), &client.key, None).await;
        assert_eq!(reply.problem(400), "invalid_parameter", "{query}");
    }
    for rest in ["", "/timeline", "/why"] {
        let path = client.path(&format!("/messages/msg_00000000000000000000000000{rest}"));
        assert_eq!(house.call("GET", &path, &client.key, None).await.problem(404), "not_found");
    }
    let list = house.call("GET", &client.path("/messages?state=queued"), &client.key, None).await.expect(200);
    assert_eq!(list, json!({"data": [], "next_cursor": null}));
}
