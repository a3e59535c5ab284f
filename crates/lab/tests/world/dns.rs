//! DNS as a resolver sees it, over UDP and TCP.

use crate::running::{Running, start};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use serde_json::json;
use std::time::Duration;

fn resolver(running: &Running) -> TokioResolver {
    let connection = |mut connection: ConnectionConfig| {
        connection.port = running.lab.dns.port();
        connection
    };
    let connections = vec![connection(ConnectionConfig::udp()), connection(ConnectionConfig::tcp())];
    let server = NameServerConfig::new(running.lab.dns.ip(), true, connections);
    let config = ResolverConfig::from_parts(None, vec![], vec![server]);
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.options_mut().timeout = Duration::from_millis(500);
    builder.options_mut().attempts = 1;
    builder.options_mut().cache_size = 0;
    builder.build().unwrap()
}

async fn ask(resolver: &TokioResolver, name: &str, kind: RecordType) -> Result<Vec<RData>, String> {
    let lookup = resolver.lookup(format!("{name}."), kind).await.map_err(|error| error.to_string())?;
    Ok(lookup
        .answers()
        .iter()
        .filter(|record| record.record_type() == kind)
        .map(|record| record.data.clone())
        .collect())
}

async fn exchanges(resolver: &TokioResolver, name: &str) -> Vec<String> {
    let found = ask(resolver, name, RecordType::MX).await.unwrap();
    let mut found: Vec<_> = found
        .into_iter()
        .filter_map(|data| {
            if let RData::MX(mx) = data { Some((mx.preference, mx.exchange.to_ascii())) } else { None }
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, host)| host).collect()
}

#[tokio::test]
async fn names_that_fail_fail_as_they_should() {
    let running = start().await;
    let resolver = resolver(&running);
    for name in ["gmial.com", "nowhere.example", "mx.missing-mx.example", "client.invalid"] {
        assert!(ask(&resolver, name, RecordType::MX).await.is_err(), "{name}");
    }
    assert!(ask(&resolver, "servfail.example", RecordType::MX).await.is_err());
    assert!(ask(&resolver, "timeout.example", RecordType::MX).await.is_err());
    assert_eq!(exchanges(&resolver, "null-mx.example").await, ["."]);
    assert!(ask(&resolver, "implicit-mx.example", RecordType::MX).await.is_err());
    assert_eq!(ask(&resolver, "implicit-mx.example", RecordType::A).await.unwrap().len(), 1);
    assert!(ask(&resolver, "mx.loop.example", RecordType::A).await.is_err_or_empty());
}

/// For other tests: whether a name has a TXT record.
pub async fn has_text(running: &Running, name: &str) -> bool {
    ask(&resolver(running), name, RecordType::TXT).await.is_ok_and(|found| !found.is_empty())
}

trait IsErrOrEmpty {
    fn is_err_or_empty(&self) -> bool;
}

impl IsErrOrEmpty for Result<Vec<RData>, String> {
    fn is_err_or_empty(&self) -> bool {
        self.as_ref().map_or(true, Vec::is_empty)
    }
}

#[tokio::test]
async fn the_domains_people_know_lead_to_loopback_under_their_real_names() {
    let running = start().await;
    let resolver = resolver(&running);
    for (domain, suffix) in [
        ("gmail.com", ".google.com."),
        ("googlemail.com", ".google.com."),
        ("yahoo.com", ".yahoodns.net."),
        ("aol.com", ".yahoodns.net."),
        ("outlook.com", ".olc.protection.outlook.com."),
        ("msn.com", ".olc.protection.outlook.com."),
        ("icloud.com", ".icloud.com."),
        ("gmx.de", ".gmx.net."),
        ("web.de", ".web.de."),
        ("mail.ru", ".mail.ru."),
        ("orange.fr", ".orange.fr."),
        ("comcast.net", ".comcast.net."),
        ("anything.example", "mx.plain.example."),
        ("anything.test", "mx.plain.example."),
    ] {
        for host in exchanges(&resolver, domain).await {
            assert!(host.ends_with(suffix), "{domain} {host}");
            let addresses = ask(&resolver, host.trim_end_matches('.'), RecordType::A).await.unwrap();
            assert!(matches!(addresses[..], [RData::A(address)] if address.0.is_loopback()), "{host}");
        }
    }
}

#[tokio::test]
async fn a_record_published_now_is_seen_now_even_one_too_long_for_a_datagram() {
    let running = start().await;
    let resolver = resolver(&running);
    assert!(ask(&resolver, "s1._domainkey.client.example", RecordType::TXT).await.is_err());
    let key = format!("v=DKIM1; k=rsa; p={}", "A".repeat(1_400));
    let records = json!([{"purpose": "dkim1", "type": "TXT", "host": "s1._domainkey.client.example", "value": key, "required": true,
        "state": "missing", "found": [], "hint": "…"}]);
    let (status, body) = running.call("POST", "/dns/publish", Some(records)).await;
    assert_eq!((status, &body["published"]), (200, &json!(1)), "{body}");
    let found = ask(&resolver, "s1._domainkey.client.example", RecordType::TXT).await.unwrap();
    let RData::TXT(txt) = &found[0] else { panic!("{found:?}") };
    assert_eq!(txt.txt_data.concat(), key.as_bytes());
    let (status, body) =
        running.call("DELETE", "/dns?host=s1._domainkey.client.example&type=TXT", None).await;
    assert_eq!((status, &body["removed"]), (200, &json!(1)), "{body}");
    assert!(ask(&resolver, "s1._domainkey.client.example", RecordType::TXT).await.is_err());
}

#[tokio::test]
async fn a_zone_can_be_told_to_fail_to_lie_and_to_heal() {
    let running = start().await;
    let resolver = resolver(&running);
    for fault in ["servfail", "timeout"] {
        let (status, _) =
            running.call("PUT", "/dns/faults", Some(json!({"zone": "gmail.com", "fault": fault}))).await;
        assert_eq!(status, 204);
        assert!(ask(&resolver, "gmail.com", RecordType::MX).await.is_err(), "{fault}");
    }
    running.call("PUT", "/dns/faults", Some(json!([{"zone": "gmail.com", "fault": "lie"}]))).await;
    assert_eq!(exchanges(&resolver, "gmail.com").await, ["mx.liar.example."]);
    assert_eq!(running.get("/dns/faults").await, json!([{"zone": "gmail.com", "fault": "lie"}]));
    running.call("PUT", "/dns/faults", Some(json!({"zone": "gmail.com", "fault": "none"}))).await;
    assert_eq!(exchanges(&resolver, "gmail.com").await.len(), 5);
}
