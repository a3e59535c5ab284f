//! The control: shapes of answers, mistakes of callers, webhook sinks, a clean state.

use crate::running::start;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_wrong_call_is_answered_with_a_problem_that_helps() {
    let running = start().await;
    for (method, path, body, status) in [
        ("GET", "/nothing", None, 404),
        ("GET", "/providers/nobody", None, 404),
        ("GET", "/arrivals/arr_1", None, 404),
        ("GET", "/webhook-sink/none", None, 404),
        ("GET", "/arrivals?since=yesterday", None, 422),
        ("POST", "/dns/publish", Some(json!({"host": "a.example"})), 422),
        ("POST", "/dns/publish", Some(json!([{"host": "a b", "type": "TXT", "value": "x"}])), 422),
        ("PUT", "/dns/faults", Some(json!({"zone": "a.example", "fault": "explode"})), 422),
        ("PUT", "/providers/gmail", Some(json!({"tarpit": 1})), 422),
        ("PUT", "/providers/gmail", Some(json!({"complaint_rate": 2})), 422),
        ("PUT", "/inbound", Some(json!({"address": "192.0.2.1:25"})), 422),
        ("POST", "/complaints", Some(json!({"arrival": "arr_1", "format": "arf"})), 404),
        ("POST", "/bounces", Some(json!({"arrival": "arr_1", "format": "pigeon"})), 422),
        ("POST", "/webhook-sink", Some(json!({"status": 99})), 422),
    ] {
        let (got, answer) = running.call(method, path, body).await;
        assert_eq!(got, status, "{method} {path}: {answer}");
        assert!(
            answer["detail"].as_str().is_some_and(|detail| !detail.is_empty()),
            "{method} {path}: {answer}"
        );
    }
    let (status, _) = running.call("DELETE", "/dns", None).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn what_no_handler_sees_is_a_problem_too() {
    let running = start().await;
    for (method, path, status) in [
        ("GET", "/arrivals?zz=1", 400),
        ("GET", "/arrivals?limit=many", 400),
        ("GET", "/dns/faults/none?x", 404),
        ("DELETE", "/arrivals", 405),
    ] {
        let url = format!("http://{}{path}", running.lab.control);
        let response = running.http.request(method.parse().unwrap(), url).send().await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{method} {path}");
        let problem: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    }
}

#[tokio::test]
async fn a_webhook_sink_records_calls_and_answers_as_told() {
    let running = start().await;
    let (status, sink) = running.call("POST", "/webhook-sink", None).await;
    assert_eq!(status, 200);
    let url = sink["url"].as_str().unwrap().to_owned();
    let response =
        running.http.post(&url).header("webhook-id", "evt_1").body("{\"a\":1}").send().await.unwrap();
    assert_eq!(response.status(), 200);
    running.call("PUT", &url, Some(json!({"status": 503, "delay_ms": 150}))).await;
    let started = tokio::time::Instant::now();
    assert_eq!(running.http.post(&url).body("again").send().await.unwrap().status(), 503);
    assert!(started.elapsed() >= Duration::from_millis(150));
    let seen = running.get(&url).await;
    assert_eq!(seen["calls"].as_array().unwrap().len(), 2);
    let call = &seen["calls"][0];
    assert_eq!(
        (&call["body"], &call["headers"]["webhook-id"], &call["status"]),
        (&json!("{\"a\":1}"), &json!("evt_1"), &json!(200))
    );
    assert!(call["at"].as_str().is_some_and(|at| at.ends_with('Z')));
    assert_eq!(running.call("DELETE", &url, None).await.0, 204);
    assert_eq!(running.http.post(&url).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn arrivals_are_pages_oldest_first_and_a_reset_forgets() {
    let running = start().await;
    let mut client = running.dial("mx.plain.example").await.hello().await;
    for number in 0..3 {
        let reply = client
            .send("b@client.example", &format!("user{number}@plain.example"), "Subject: x\r\n\r\nx")
            .await;
        assert!(reply.starts_with("250 "), "{reply}");
    }
    let all = running.get("/arrivals").await;
    let to = |list: &Value| {
        list.as_array()
            .unwrap()
            .iter()
            .map(|a| a["rcpt_to"][0].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(to(&all), ["user0@plain.example", "user1@plain.example", "user2@plain.example"]);
    assert!(all[0].get("raw").is_none());
    let first = all[0]["id"].as_str().unwrap();
    let rest = running.get(&format!("/arrivals?since={first}&limit=1")).await;
    assert_eq!(to(&rest), ["user1@plain.example"]);
    assert!(running.get(&format!("/arrivals/{first}")).await["raw"].is_string());
    running
        .call(
            "POST",
            "/dns/publish",
            Some(json!([{"host": "x.client.example", "type": "TXT", "value": "x"}])),
        )
        .await;
    running.set("gmail", json!({"tls": "off"})).await;
    assert_eq!(running.get("/providers/gmail").await["changed"], true);
    assert_eq!(running.call("POST", "/reset", None).await.0, 204);
    assert_eq!(running.get("/arrivals").await, json!([]));
    assert_eq!(running.get("/dns").await, json!([]));
    let gmail = running.get("/providers/gmail").await;
    assert_eq!((&gmail["tls"], &gmail["changed"]), (&json!("on"), &json!(false)));
}

#[tokio::test]
async fn providers_are_described_with_domains_hosts_and_behaviour() {
    let running = start().await;
    let list = running.get("/providers").await;
    let yahoo = list.as_array().unwrap().iter().find(|provider| provider["name"] == "yahoo").unwrap();
    assert!(yahoo["domains"].as_array().unwrap().contains(&json!("ymail.com")));
    assert!(yahoo["mx"][0]["address"].as_str().unwrap().starts_with("127."));
    for field in ["limits", "unknown", "outage", "greylist", "complaint_rate", "tls", "delay_ms"] {
        assert!(yahoo.get(field).is_some(), "{field}");
    }
}

#[tokio::test]
async fn the_names_of_the_house_itself_survive_a_reset() {
    let running = start().await;
    let record = |host: &str, value: &str| lab::dns::Publication {
        host: host.into(),
        kind: "TXT".into(),
        value: value.into(),
        priority: None,
    };
    assert!(running.lab.build_in(&[record("a b", "x")]).is_err());
    running.lab.build_in(&[record("rp.posthouse.test", "v=spf1 -all")]).unwrap();
    running.call("POST", "/reset", None).await;
    assert_eq!(running.get("/dns").await, json!([]));
    assert!(crate::dns::has_text(&running, "rp.posthouse.test").await);
}
