//! Starting, stopping, and starting twice.

use crate::house::{Plot, wait_for};

#[test]
fn the_ready_file_has_what_the_contract_says_and_a_stop_is_clean() {
    let plot = Plot::new();
    let house = plot.start();
    let written: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(plot.path().join("ready.json")).unwrap()).unwrap();
    assert_eq!(written, house.ready);
    for pointer in [
        "/version",
        "/api",
        "/console",
        "/metrics",
        "/openapi",
        "/smtp/submission",
        "/smtp/submissions",
        "/smtp/inbound",
        "/ca",
        "/operator/email",
        "/operator/password",
        "/database",
        "/spool",
        "/lab/control",
        "/lab/dns",
    ] {
        assert!(!house.text(pointer).is_empty(), "{pointer}");
    }
    assert!(house.ready["pid"].is_u64());
    for path in ["/health", "/ready", "/metrics", "/openapi.json", "/docs", "/console/"] {
        let (status, body) = house.api("GET", path, "", None);
        assert_eq!(status, 200, "{path}: {body}");
    }
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn a_second_process_on_the_same_data_directory_is_refused_in_a_sentence() {
    let plot = Plot::new();
    let house = plot.start();
    let output = plot.command().arg("--lab").stderr(std::process::Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("another posthouse"), "{said}");
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn the_database_may_be_gone_for_a_while() {
    let plot = Plot::new();
    let house = plot.start();
    let (tenant, _) = house.onboard("echo", "echo.example", "127.2.0.81");
    let pid_file = house.data.join("postgres/data/postmaster.pid");
    let pid = std::fs::read_to_string(pid_file).unwrap().lines().next().unwrap().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    wait_for("the API to notice", || {
        (house.api("GET", "/v1/tenants/self", &tenant.key, None).0 == 503).then_some(())
    });
    let message = serde_json::json!({
        "from": "x@echo.example", "to": ["erna@plain.example"], "subject": "Without a database", "text": "It goes on."
    });
    let (status, body) = house.api("POST", "/v1/tenants/self/messages", &tenant.key, Some(&message));
    assert_eq!(status, 202, "{body}");
    house.arrivals("erna@plain.example", 1);
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn a_deleted_tenant_is_shut_at_once_and_gone_when_its_mail_has_drained() {
    let plot = Plot::new();
    let house = plot.start();
    let (tenant, _) = house.onboard("foxtrot", "foxtrot.example", "127.2.0.82");
    let operator = house.operator();
    let path = format!("/v1/tenants/{}", tenant.id);
    let (status, body) = house.api("DELETE", &path, &operator, None);
    assert!((200..300).contains(&status), "{status} {body}");
    let message = serde_json::json!({
        "from": "x@foxtrot.example", "to": ["a@plain.example"], "subject": "Too late", "text": "No."
    });
    let (status, body) = house.api("POST", &format!("{path}/messages"), &operator, Some(&message));
    assert!(status == 403 || status == 404, "{status} {body}");
    wait_for("the tenant to be erased", || (house.api("GET", &path, &operator, None).0 == 404).then_some(()));
    assert_eq!(house.stop().code(), Some(0));
}
