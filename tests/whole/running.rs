//! Starting, stopping, and starting twice.

use crate::house::{House, Plot, wait_for};
use posthouse_tests::strace::{Trace, can_trace};
use rustix::process::{Pid, Signal, kill_process};

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

/// Killed when its tenant was made and not written down: the next start has the same one, with the same secrets.
#[test]
fn a_first_start_that_is_broken_off_is_taken_up_by_the_next_one() {
    let plot = Plot::new();
    let house = plot.start();
    let demo = house.ready["demo"].clone();
    assert!(demo["api_key"].is_string(), "{demo}");
    house.kill();
    std::fs::remove_file(plot.path().join("data/keys/demo.json")).unwrap();
    let house = plot.start();
    assert_eq!(house.ready["demo"], demo);
    assert_eq!(house.get("/v1/tenants/self", demo["api_key"].as_str().unwrap())["name"], "Demo");
    assert_eq!(house.stop().code(), Some(0));
}

/// The lab forgets when it stops, and the house publishes again what tenants had there: not for ever.
#[test]
fn what_a_tenant_had_published_in_the_lab_is_there_again_and_can_be_withdrawn() {
    let plot = Plot::new();
    let house = plot.start();
    let (tenant, _) = house.onboard("again", "again.example", "127.2.0.83");
    assert_eq!(house.stop().code(), Some(0));
    let house = plot.start();
    let domain = tenant.onboarding["domain"]["id"].as_str().unwrap();
    let verify = format!("/v1/tenants/{}/domains/{domain}/verify", tenant.id);
    let state = || house.api("POST", &verify, &tenant.key, None).1["state"].clone();
    assert_eq!(state(), "verified");
    let listed = house.lab("GET", "/dns", None).to_string();
    for record in tenant.onboarding["domain"]["records"].as_array().unwrap() {
        let (host, kind) = (record["host"].as_str().unwrap(), record["type"].as_str().unwrap());
        assert!(listed.contains(host), "{host} is not in {listed}");
        let removed = house.lab("DELETE", &format!("/dns?host={host}&type={kind}"), None);
        assert_eq!(removed["removed"], 1, "{host}");
    }
    assert_ne!(state(), "verified");
    assert_eq!(house.stop().code(), Some(0));
}

/// What a core file would hold is nobody's business; a setting allows them. The house is started where they are allowed, or
/// it would only be seen what the host forbids anyway.
#[test]
fn a_crash_leaves_no_core_file_unless_it_was_asked_for() {
    for (setting, wanted) in [("false", false), ("true", true)] {
        let mut plot = Plot::new();
        plot.set("node.core_files", setting);
        let traced = can_trace("core files").then(|| Trace::new(plot.path(), "prctl"));
        let words: Vec<&str> =
            traced.iter().flat_map(|(words, _)| words.iter().map(String::as_str)).collect();
        plot.start_through(&[&["prlimit", "--core=1048576:"], &words[..]].concat());
        let house = plot.start();
        let process = format!("/proc/{}", house.ready["pid"].as_u64().unwrap());
        let limits = std::fs::read_to_string(format!("{process}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        // Four words, then the soft limit.
        let limit = core.split_whitespace().nth(4).unwrap();
        assert_eq!(limit, if wanted { "1048576" } else { "0" }, "core_files = {setting}");
        assert_eq!(house.stop().code(), Some(0));
        // Helpers to which the kernel pipes a core need not obey the limit.
        if let Some((_, trace)) = &traced {
            let calls = trace.calls();
            let marked =
                calls.iter().any(|call| call.arguments.contains("PR_SET_DUMPABLE") && call.result == 0);
            assert_eq!(marked, !wanted, "core_files = {setting}");
        }
    }
}

/// The postmaster's pid and those of its children.
fn postgres_processes(house: &House) -> Vec<Pid> {
    let text = std::fs::read_to_string(house.data.join("postgres/data/postmaster.pid")).unwrap();
    let postmaster: i32 = text.lines().next().unwrap().parse().unwrap();
    let children = std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
    let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
    std::iter::once(postmaster).chain(children).filter_map(Pid::from_raw).collect()
}

#[test]
fn mail_goes_on_while_the_database_does_not_answer() {
    let plot = Plot::new();
    let house = plot.start();
    let (tenant, _) = house.onboard("echo", "echo.example", "127.2.0.81");
    let stopped = postgres_processes(&house);
    for pid in &stopped {
        kill_process(*pid, Signal::STOP).unwrap();
    }
    let message = serde_json::json!({
        "from": "x@echo.example", "to": ["erna@plain.example"], "subject": "Without a database", "text": "It goes on."
    });
    let (status, body) = house.api("POST", "/v1/tenants/self/messages", &tenant.key, Some(&message));
    assert_eq!(status, 202, "{body}");
    house.arrivals("erna@plain.example", 1);
    wait_for("the API to notice", || {
        (house.api("GET", "/v1/tenants/self/messages", &tenant.key, None).0 == 503).then_some(())
    });
    wait_for("readiness to say so", || (house.api("GET", "/ready", "", None).0 == 503).then_some(()));
    for pid in &stopped {
        kill_process(*pid, Signal::CONT).unwrap();
    }
    wait_for("the message in the search", || {
        let (_, body) = house.api("GET", "/v1/tenants/self/messages", &tenant.key, None);
        body["data"].as_array().is_some_and(|list| !list.is_empty()).then_some(())
    });
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn a_database_server_that_dies_is_started_again() {
    let plot = Plot::new();
    let house = plot.start();
    let earlier = postgres_processes(&house)[0];
    kill_process(earlier, Signal::KILL).unwrap();
    let operator = wait_for("a login", || {
        let (status, body) = house.api("POST", "/v1/auth/token", "", Some(&house.ready["operator"]));
        (status == 200).then(|| body["access_token"].as_str().unwrap().to_owned())
    });
    house.get("/v1/tenants", &operator);
    assert_ne!(postgres_processes(&house)[0], earlier);
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

#[test]
fn the_lab_keeps_what_was_published_and_publishes_nothing_by_itself() {
    let mut plot = Plot::new();
    let elsewhere = plot.path().join("journal");
    plot.set("spool.directory", elsewhere.to_str().unwrap());
    let house = plot.start();
    assert_eq!(house.text("/spool"), elsewhere.to_str().unwrap());
    assert!(elsewhere.join("lock").exists() && !house.data.join("spool").exists());
    let (tenant, _) = house.onboard("golf", "golf.example", "127.2.0.83");
    let domain = format!("/v1/tenants/self/domains/{}", tenant.onboarding["domain"]["id"].as_str().unwrap());
    let (status, body) = house.api("POST", &format!("{domain}/dkim-keys/rotate"), &tenant.key, None);
    assert!((200..300).contains(&status), "{status} {body}");
    assert_eq!(house.stop().code(), Some(0));

    let house = plot.start();
    let (status, checked) = house.api("POST", &format!("{domain}/verify"), &tenant.key, None);
    assert_eq!((status, &checked["state"]), (200, &serde_json::json!("verified")), "{checked}");
    let states: Vec<&str> = checked["records"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|record| record["purpose"].as_str().unwrap().starts_with("dkim"))
        .map(|record| record["state"].as_str().unwrap())
        .collect();
    assert!(states.contains(&"ok") && states.contains(&"missing"), "{checked}");
    assert_eq!(house.stop().code(), Some(0));
}

/// That is what a terminal sends when it closes; nohup keeps it away.
#[test]
fn a_terminal_that_closes_stops_cleanly_unless_it_was_kept_away() {
    let mut plot = Plot::new();
    let house = plot.start();
    kill_process(house.pid(), Signal::HUP).unwrap();
    assert_eq!(house.ended().code(), Some(0), "{}", plot.log());
    plot.start_through(&["nohup"]);
    let house = plot.start();
    kill_process(house.pid(), Signal::HUP).unwrap();
    house.get("/v1/tenants", &house.operator());
    assert_eq!(house.stop().code(), Some(0));
    let log = plot.log();
    let stops: Vec<&str> = log.lines().filter(|line| line.contains("stopping signal=")).collect();
    assert!(stops.len() == 2 && stops[0].contains("SIGHUP") && stops[1].contains("SIGTERM"), "{log}");
}
