//! Complaints and bounces that providers send back. The lab's own "plain" stands in for the inbound listener.

use crate::running::{Running, start};
use serde_json::json;

/// A lab whose returns come back to itself: any domain of two labels below .example is received by "plain".
async fn in_a_circle() -> Running {
    let running = start().await;
    assert_eq!(running.call("POST", "/complaints", Some(json!({"arrival": "arr_0"}))).await.0, 404);
    let inbound = running.door("mx.plain.example").await;
    running.lab.set_inbound(inbound).unwrap();
    running
}

async fn arrive(running: &Running, to: &str, header: &str) -> String {
    let mut client = running.dial("mx.plain.example").await.hello().await;
    let text = format!(
        "From: <news@client.example>\r\n{header}Subject: Hi\r\nMessage-ID: <1@client.example>\r\n\r\nHello"
    );
    let reply = client.send("b+token@client.example", to, &text).await;
    assert!(reply.starts_with("250 "), "{reply}");
    running.get(&format!("/arrivals?to={to}")).await[0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_an_inbound_listener_nothing_can_be_sent_back() {
    let running = start().await;
    let id = arrive(&running, "anna@plain.example", "").await;
    for path in ["/complaints", "/bounces"] {
        let (status, body) = running.call("POST", path, Some(json!({"arrival": id}))).await;
        assert_eq!(status, 409, "{body}");
    }
    running.lab.set_inbound("127.25.254.1:9".parse().unwrap()).unwrap();
    assert_eq!(running.call("POST", "/bounces", Some(json!({"arrival": id}))).await.0, 502);
    assert!(running.lab.set_inbound("192.0.2.1:25".parse().unwrap()).is_err());
}

#[tokio::test]
async fn every_format_is_sent_to_the_reverse_path() {
    let running = in_a_circle().await;
    let id = arrive(&running, "anna@plain.example", "").await;
    for (path, formats) in [
        ("/complaints", &["arf", "yahoo", "microsoft", "xarf3", "xarf4"][..]),
        (
            "/bounces",
            &[
                "rfc3464",
                "postfix",
                "exim",
                "qmail",
                "exchange",
                "gmail",
                "mislabelled",
                "truncated",
                "bare",
                "vacation",
            ],
        ),
    ] {
        for format in formats {
            let (status, sent) =
                running.call("POST", path, Some(json!({"arrival": id, "format": format}))).await;
            assert_eq!((status, &sent["accepted"]), (200, &json!(true)), "{format}: {sent}");
            assert_eq!(sent["rcpt_to"], "b+token@client.example");
            assert_eq!(sent["mail_from"] == "", path == "/bounces", "{sent}");
        }
    }
    let returned = running.get("/arrivals?to=b%2Btoken@client.example").await;
    assert_eq!(returned.as_array().unwrap().len(), 15);
}

#[tokio::test]
async fn a_complaint_goes_where_the_message_asks_for_it() {
    let running = in_a_circle().await;
    let id =
        arrive(&running, "anna@plain.example", "CFBL-Address: fbl+7@posthouse.test;\r\n\treport=xarf\r\n")
            .await;
    let (_, sent) =
        running.call("POST", "/complaints", Some(json!({"arrival": id, "format": "xarf4"}))).await;
    assert_eq!(sent["rcpt_to"], "fbl+7@posthouse.test", "{sent}");
}

#[tokio::test]
async fn providers_complain_and_bounce_by_themselves() {
    let running = in_a_circle().await;
    arrive(&running, "complain.carl@plain.example", "").await;
    arrive(&running, "bounce.bert@plain.example", "").await;
    let enough = |list: &serde_json::Value| list.as_array().unwrap().len() >= 2;
    let returned = running.wait_for("/arrivals?to=b+token@client.example", enough).await;
    assert_eq!(returned[0]["mail_from"], "feedback@plain.example");
    assert_eq!(returned[1]["mail_from"], "");
}
