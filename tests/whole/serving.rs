//! Production: an external PostgreSQL with a role that is no superuser, a certificate of our own, the first operator.

use posthouse_tests::house::{House, Plot, binary, wait_for};
use posthouse_tests::lab::Lab;
use posthouse_tests::postgres::Outside;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::process::Command;

/// What docs/OPERATING.md tells an operator to make: a role that owns an empty database and may create roles.
struct Given {
    outside: Outside,
    role: String,
}

impl Given {
    fn new() -> Given {
        let outside = Outside::new();
        let role = format!("given_{}", std::process::id());
        outside.execute(&format!("CREATE ROLE {role} LOGIN CREATEROLE"));
        outside.execute(&format!("CREATE DATABASE {role} OWNER {role}"));
        Given { outside, role }
    }

    fn url(&self) -> String {
        let (_, rest) = self.outside.url().split_once('@').unwrap();
        let (host, _) = rest.split_once('/').unwrap();
        format!("postgres://{0}@{host}/{0}", self.role)
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.outside.execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.role));
    }
}

fn run(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(binary()).args(arguments).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), said)
}

fn settle(plot: &mut Plot, url: &str) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (chain, key) = (plot.path().join("chain.pem"), plot.path().join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    plot.set("node.data", plot.path().join("data").to_str().unwrap());
    plot.set("tls.chain", chain.to_str().unwrap());
    plot.set("tls.key", key.to_str().unwrap());
    plot.set("database.url", url);
    plot.set("api.cookie_secure", "false");
}

fn logged_in(house: &House, email: &str, password: &Value) -> (u16, Value) {
    house.api("POST", "/v1/auth/token", "", Some(&json!({"email": email, "password": password})))
}

#[test]
fn a_node_in_production_begins_with_its_first_operator() {
    let given = Given::new();
    let url = given.url();
    let (code, said) = run(&["operator", "add", "--email", "ada@house.example", "--database", &url]);
    assert!(code == 69 && said.contains("posthouse migrate"), "{code}: {said}");
    let (code, said) = run(&["migrate", "--database", &url, "--json"]);
    assert_eq!(code, 0, "{said}");
    let add = ["operator", "add", "--email", "ada@house.example", "--database", &url, "--json"];
    let (code, said) = run(&add);
    assert_eq!(code, 0, "{said}");
    let first: Value = serde_json::from_str(&said).unwrap();
    let (code, said) = run(&add);
    assert!(code == 65 && said.contains("operator password"), "{code}: {said}");
    let (code, said) = run(&["operator", "add", "--email", "not an address", "--database", &url]);
    assert!(code == 65 && said.contains("email"), "{code}: {said}");

    let (lab, mut plot) = Lab::with_plot();
    settle(&mut plot, &url);
    let mut house = plot.serve();
    house.ready["lab"] = lab.ready.clone();
    house.ready["operator"] = first.clone();
    let (tenant, _) = house.onboard("serve", "serve.example", "127.2.0.90");
    let message = json!({"from": "x@serve.example", "to": ["anna@gmail.com"], "subject": "S", "text": "T"});
    let (status, body) = house.api("POST", "/v1/tenants/self/messages", &tenant.key, Some(&message));
    assert_eq!(status, 202, "{body}");
    assert_eq!(house.arrivals("anna@gmail.com", 1)[0]["peer_ip"], "127.2.0.90");

    let (code, said) =
        run(&["operator", "password", "--email", "ada@house.example", "--database", &url, "--json"]);
    assert_eq!(code, 0, "{said}");
    let second: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(logged_in(&house, "ada@house.example", &first["password"]).0, 401);
    assert_eq!(logged_in(&house, "ada@house.example", &second["password"]).0, 200);
    let (code, said) = run(&["operator", "password", "--email", "eve@house.example", "--database", &url]);
    assert!(code == 65 && said.contains("operator add"), "{code}: {said}");
    assert_eq!(house.stop().code(), Some(0));
}

/// A start that fails before the end of its checks must not have begun to deliver.
#[test]
fn a_missing_certificate_is_found_before_mail_moves() {
    let outside = Outside::new();
    let mut plot = Plot::new();
    settle(&mut plot, outside.url());
    plot.set("tls.chain", plot.path().join("nowhere.pem").to_str().unwrap());
    let (status, said) = plot.serve_in_vain();
    assert!(status == Some(78) && said.contains("nowhere.pem"), "{status:?}: {said}");
    assert!(!plot.path().join("data/spool").exists(), "the journal was opened");
}

/// Whoever watches nodes asks every one the same, and a doctor finds it too.
#[test]
fn a_node_without_the_api_tells_how_it_is() {
    let outside = Outside::new();
    let (code, said) = run(&["migrate", "--database", outside.url()]);
    assert_eq!(code, 0, "{said}");
    let mut plot = Plot::new();
    settle(&mut plot, outside.url());
    // Where the doctor asks: with port 0 nobody knows.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    plot.set("listen.http", &free.to_string());
    let house = plot.serve_with(&["--role", "ingress,egress,events"]);
    assert_eq!(house.ready["api"], Value::Null);
    assert_eq!((&house.ready["openapi"], &house.ready["console"]), (&Value::Null, &Value::Null));
    let http = house.ready["metrics"].as_str().unwrap().strip_suffix("/metrics").unwrap().to_owned();
    let get = |path: &str| {
        let answer = reqwest::blocking::get(format!("{http}{path}")).unwrap();
        assert!(answer.headers().contains_key("request-id"), "{path}");
        (answer.status().as_u16(), answer.text().unwrap())
    };
    assert_eq!(get("/health"), (200, r#"{"status":"ok"}"#.to_owned()));
    let (status, ready) = get("/ready");
    assert!(status == 200 && ready.contains(r#""ready":true"#), "{status}: {ready}");
    let (status, metrics) = get("/metrics");
    assert!(status == 200 && metrics.contains("\nposthouse_ready 1\n"), "{status}: {metrics}");
    let (status, problem) = get("/v1/tenants");
    assert!(status == 404 && problem.contains("without the role api"), "{status}: {problem}");
    let config = plot.path().join("posthouse.toml");
    let output =
        Command::new(binary()).arg("doctor").arg("--config").arg(config).envs(plot.settings()).output();
    let said = String::from_utf8(output.unwrap().stdout).unwrap();
    let node = said.lines().find(|line| line.contains(" node ")).unwrap();
    assert!(node.trim_start().starts_with("ok"), "{said}");
    let output = Command::new(binary())
        .args(["tenant", "list", "--ready-file"])
        .arg(plot.path().join("ready.json"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(65) && said.contains("without the role api"), "{said}");
    assert_eq!(house.stop().code(), Some(0));
}

/// Whoever renews a certificate sends it out of habit.
#[test]
fn a_node_that_is_to_read_again_says_what_it_reads_by_itself_and_goes_on() {
    let outside = Outside::new();
    let (code, said) = run(&["migrate", "--database", outside.url()]);
    assert_eq!(code, 0, "{said}");
    let mut plot = Plot::new();
    settle(&mut plot, outside.url());
    let house = plot.serve();
    for count in 1..=2 {
        kill_process(house.pid(), Signal::HUP).unwrap();
        wait_for("the line in the log", || {
            (plot.log().matches("nothing to reload").count() == count).then_some(())
        });
    }
    assert_eq!(house.api("GET", "/ready", "", None).0, 200);
    assert_eq!(house.stop().code(), Some(0));
    assert!(plot.log().contains("SIGTERM"), "{}", plot.log());
}
