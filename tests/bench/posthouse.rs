//! posthouse under measurement: a node on an empty directory with its own PostgreSQL, and two tenants.
//!
//! Default configuration but for what the load would run into at once: limits made for strangers and for real
//! mailbox providers. Signed mail carries one RSA-2048 signature, as the peers' does, so the second key and the
//! platform's are taken out; unsigned mail comes from tenants without keys. That is done in the database: no
//! interface offers it, and nobody should.

use crate::cpu;
use crate::figures::Histogram;
use crate::mailer::{Door, Mailer, Signing};
use crate::stage::{Stage, binary, free_port};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Posthouse {
    child: Child,
    ready: Value,
    http: reqwest::blocking::Client,
    plain: Door,
    signed: Door,
}

impl Posthouse {
    pub fn start(stage: &Stage) -> Posthouse {
        let config = stage.directory.path().join("posthouse.toml");
        std::fs::write(config, configuration(stage)).unwrap();
        let mut child = spawn(stage);
        let ready = until_ready(&mut child);
        let empty = || Door { address: String::new(), credential: None, from: String::new() };
        let mut house = Posthouse { child, ready, http: stage.http.clone(), plain: empty(), signed: empty() };
        let operator = house.operator();
        house.open_way("plain", "127.0.0.2", &operator);
        house.open_way("signed", "127.0.0.3", &operator);
        house.plain = house.onboard(stage, "plain", "plain", &operator);
        house.signed = house.onboard(stage, "signed", "signed", &operator);
        house.leave_one_signature();
        house
    }

    /// Kills the process and starts another one on what it left. Returns at once.
    pub fn kill_and_start(&mut self, stage: &Stage) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(stage);
    }

    /// To be called after `kill_and_start`, before anything is asked of the house.
    pub fn await_ready(&mut self) {
        self.ready = until_ready(&mut self.child);
    }

    /// `count` more tenants that send without signatures.
    pub fn onboard_many(&self, stage: &Stage, count: u64) -> Vec<Door> {
        let operator = self.operator();
        let doors = (0..count).map(|number| self.onboard(stage, &format!("t{number}"), "plain", &operator));
        let doors = doors.collect();
        self.leave_one_signature();
        doors
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn text(&self, pointer: &str) -> &str {
        self.ready.pointer(pointer).and_then(Value::as_str).unwrap()
    }

    fn call(&self, path: &str, token: &str, body: &Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.text("/api"))).bearer_auth(token);
        let answer =
            request.header("content-type", "application/json").body(body.to_string()).send().unwrap();
        let (good, text) = (answer.status().is_success(), answer.text().unwrap());
        assert!(good, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// A token of the operator.
    fn operator(&self) -> String {
        let login = self.call("/v1/auth/token", "", &self.ready["operator"]);
        login["access_token"].as_str().unwrap().to_owned()
    }

    /// A source and a pool of that name.
    fn open_way(&self, name: &str, address: &str, operator: &str) {
        let source = json!({"name": name, "address": address, "ehlo": format!("{name}.posthouse.test")});
        let source = self.call("/v1/sources", operator, &source);
        let pool = json!({"name": name, "members": [{"source": source["id"], "weight": 1}]});
        self.call("/v1/pools", operator, &pool);
    }

    fn onboard(&self, stage: &Stage, name: &str, pool: &str, operator: &str) -> Door {
        let plan = json!({
            "weight": 1, "message_octets_max": 52_428_800, "recipients_max": 1000, "connections_max": 1000
        });
        let domain = format!("{name}.bench.example");
        let tenant = json!({"name": name, "domain": domain, "pool": pool, "plan": plan});
        let tenant = self.call("/v1/tenants", operator, &tenant);
        stage.publish(&tenant["domain"]["records"]);
        let text = |pointer: &str| tenant.pointer(pointer).and_then(Value::as_str).unwrap();
        let verify = format!("/v1/tenants/{}/domains/{}/verify", text("/tenant/id"), text("/domain/id"));
        assert_eq!(self.call(&verify, operator, &json!({}))["state"], "verified");
        Door {
            address: self.text("/smtp/submission").to_owned(),
            credential: Some(format!(
                "{}:{}",
                text("/smtp_credential/username"),
                text("/smtp_credential/password")
            )),
            from: format!("x@{domain}"),
        }
    }

    fn leave_one_signature(&self) {
        let statements = "\
            DELETE FROM dkim_keys WHERE algorithm = 'ed25519'; \
            DELETE FROM dkim_keys USING domains \
              WHERE domains.id = dkim_keys.domain_id AND domains.name <> 'signed.bench.example'; \
            UPDATE pools SET platform_domain = NULL, platform_selector = NULL, platform_record = NULL, \
              platform_sealed = NULL; \
            UPDATE registry SET generation = generation + 1;";
        let status = Command::new("psql")
            .args(["--quiet", "--set=ON_ERROR_STOP=1", "--command", statements, self.text("/database")])
            .status()
            .unwrap();
        assert!(status.success(), "the keys could not be taken out");
        let before = self.metric("posthouse_snapshot_generation");
        while self.metric("posthouse_snapshot_generation") <= before {}
    }

    /// The value of a metric, all labels together.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.http.get(self.text("/metrics")).send().unwrap().text().unwrap();
        let values =
            text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }

    /// A histogram, all labels together.
    pub fn histogram(&self, name: &str) -> Histogram {
        let text = self.http.get(self.text("/metrics")).send().unwrap().text().unwrap();
        let prefix = format!("{name}_bucket");
        let mut sums: Vec<(f64, f64)> = Vec::new();
        for line in text.lines().filter_map(|line| line.strip_prefix(&prefix)) {
            let bound = line.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"')).unwrap().0;
            let bound: f64 = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            let count: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            match sums.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, sum)) => *sum += count,
                None => sums.push((bound, count)),
            }
        }
        sums.sort_by(|a, b| a.0.total_cmp(&b.0));
        Histogram(sums)
    }

    /// Where the server of this node keeps its pid.
    pub fn database_pid(&self, stage: &Stage) -> u32 {
        let file = stage.directory.path().join("posthouse/postgres/data/postmaster.pid");
        std::fs::read_to_string(file).unwrap().lines().next().unwrap().parse().unwrap()
    }
}

fn spawn(stage: &Stage) -> Child {
    let directory = stage.directory.path();
    let log = std::fs::File::options().append(true).create(true).open(directory.join("posthouse.log"));
    Command::new(binary())
        .args(["up", "--json", "--data"])
        .arg(directory.join("posthouse"))
        .arg("--config")
        .arg(directory.join("posthouse.toml"))
        .stdout(Stdio::piped())
        .stderr(log.unwrap())
        .spawn()
        .unwrap()
}

/// What it says about itself once it serves.
fn until_ready(child: &mut Child) -> Value {
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.ends_with("\n}\n") {
        assert!(output.read_line(&mut text).unwrap() > 0, "posthouse did not start: {text}");
    }
    std::thread::spawn(move || std::io::copy(&mut output.by_ref(), &mut std::io::sink()));
    serde_json::from_str(&text).unwrap()
}

fn configuration(stage: &Stage) -> String {
    format!(
        "[listen]\nhttp = \"127.0.0.1:0\"\nsubmission = \"127.0.0.1:{}\"\nsubmissions = \"\"\ninbound = \"\"\n\
         [log]\nfilter = \"warn\"\n\
         [dns]\nservers = [\"{}\"]\n\
         [ingress.limits]\nconnections_per_address_max = 1000\nconnections_per_credential_max = 1000\n\
         [egress]\nsmtp_port = {}\nlab_loopback_only = true\n\
         [egress.limits]\nconnections = 20\nmessages_per_connection = 100000\nconnections_per_minute = 0\n\
         messages_per_second = 0\n",
        // The same after a restart.
        free_port(),
        stage.dns,
        stage.sink_port
    )
}

impl Mailer for Posthouse {
    fn name(&self) -> &'static str {
        "posthouse"
    }

    fn door(&self, signing: Signing) -> Door {
        let Door { address, credential, from } = match signing {
            Signing::None => &self.plain,
            Signing::Rsa => &self.signed,
        };
        Door { address: address.clone(), credential: credential.clone(), from: from.clone() }
    }

    fn cpu(&self) -> Duration {
        cpu::of_process(self.pid())
    }

    fn syncs(&self) -> Option<f64> {
        Some(self.metric("posthouse_spool_syncs_total"))
    }

    fn written(&self) -> Option<f64> {
        Some(cpu::written(self.pid()))
    }

    /// From being due to the first attempt.
    fn queued(&self) -> Histogram {
        self.histogram("posthouse_queued_seconds")
    }
}

impl Drop for Posthouse {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
