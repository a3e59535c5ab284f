//! What stands around a mailer: a name server, a sink, a load client, each a process of its own.

use crate::mailer::{Door, Mailer, Signing};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub const CONNECTIONS: usize = 100;

/// The name server of the lab, and the port where the sink listens.
pub struct Stage {
    lab: Child,
    pub dns: String,
    pub control: String,
    pub sink_port: u16,
    pub directory: tempfile::TempDir,
    pub http: reqwest::blocking::Client,
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub count: u64,
    pub domains: usize,
    pub size: usize,
    pub signing: Signing,
    /// Messages a second; none is as fast as it goes.
    pub rate: Option<u32>,
}

pub struct Measured {
    /// Messages a second at the sink.
    pub rate: f64,
    /// Messages a second that were accepted.
    pub accepted: f64,
    pub cpu_us: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub syncs: Option<f64>,
    /// Octets written to the disk for each octet of the messages.
    pub written: Option<f64>,
}

pub fn binary() -> PathBuf {
    std::env::var_os("POSTHOUSE_TEST_BINARY").map(PathBuf::from).unwrap()
}

/// `count` domains, each with a mail exchanger of its own, all of them the sink.
pub fn domains(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("d{number}.bulk.example")).collect()
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Stage {
    pub fn set() -> Stage {
        let mut lab = Command::new(binary())
            .args(["lab", "run", "--json", "--control", "127.0.0.1:0", "--dns", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(lab.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let directory = tempfile::Builder::new().prefix("phb").tempdir_in("/tmp").unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let stage = Stage {
            lab,
            dns: ready["dns"].as_str().unwrap().to_owned(),
            control: ready["control"].as_str().unwrap().to_owned(),
            sink_port: free_port(),
            directory,
            http: reqwest::blocking::Client::builder().timeout(Duration::from_secs(60)).build().unwrap(),
        };
        stage.publish_domains();
        stage
    }

    fn publish_domains(&self) {
        let mut records = Vec::new();
        for domain in domains(200) {
            records.push(json!({"host": domain, "type": "MX", "value": format!("10 mx.{domain}")}));
            records.push(json!({"host": format!("mx.{domain}"), "type": "A", "value": "127.0.0.1"}));
        }
        self.publish(&Value::Array(records));
    }

    /// `count` domains that are their own exchangers, at an address where nobody listens.
    pub fn publish_dead(&self, count: u64) -> Vec<String> {
        let names: Vec<String> = (0..count).map(|number| format!("w{number}.dead.example")).collect();
        for part in names.chunks(5_000) {
            let record = |name| json!({"host": name, "type": "A", "value": "127.9.9.9"});
            self.publish(&part.iter().map(record).collect());
        }
        names
    }

    pub fn publish(&self, records: &Value) {
        let request = self.http.post(format!("{}/dns/publish", self.control));
        let answer =
            request.header("content-type", "application/json").body(records.to_string()).send().unwrap();
        let good = answer.status().is_success();
        assert!(good, "the lab does not publish: {}", answer.text().unwrap());
    }

    /// Sends through `mailer` to the sink and waits until all of it is there.
    pub fn measure(&self, mailer: &dyn Mailer, load: Load) -> Measured {
        let sink = self.sink(load.count);
        let (cpu, syncs, written) = (mailer.cpu(), mailer.syncs(), mailer.written());
        let sent = self.load(&mailer.door(load.signing), load, &domains(load.domains));
        assert_eq!(sent["accepted"], load.count, "{}: {sent}", mailer.name());
        let taken = sink.wait_with_output().unwrap();
        let taken: Value = serde_json::from_slice(&taken.stdout).unwrap();
        assert_eq!(taken["messages"], load.count, "{}: {taken}", mailer.name());
        let number = |pointer: &str| sent.pointer(pointer).and_then(Value::as_f64).unwrap();
        let count = load.count as f64;
        Measured {
            rate: taken["messages_per_second"].as_f64().unwrap(),
            accepted: number("/messages_per_second"),
            cpu_us: (mailer.cpu() - cpu).as_micros() as f64 / count,
            p50_ms: number("/latency_ms/p50"),
            p99_ms: number("/latency_ms/p99"),
            syncs: mailer.syncs().zip(syncs).map(|(after, before)| (after - before) / count),
            written: mailer
                .written()
                .zip(written)
                .map(|(after, before)| (after - before) / count / load.size as f64),
        }
    }

    pub fn sink(&self, count: u64) -> Child {
        let mut sink = Command::new(binary())
            .args(["lab", "sink", "--json", "--tls", "none", "--listen"])
            .arg(format!("127.0.0.1:{}", self.sink_port))
            .arg(format!("--count={count}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(sink.stderr.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening"), "the sink said: {line}");
        sink
    }

    pub fn load(&self, door: &Door, load: Load, domains: &[String]) -> Value {
        let mut sender = vec!["--from".to_owned(), door.from.clone()];
        if let Some(credential) = &door.credential {
            sender.extend(["--credential".to_owned(), credential.clone()]);
        }
        self.load_as(&door.address, &sender, load, domains)
    }

    /// The connections take the senders in turn.
    pub fn load_of_many(&self, doors: &[Door], load: Load, domains: &[String]) -> Value {
        let line = |door: &Door| {
            let domain = door.from.rsplit_once('@').unwrap().1;
            format!("{}:{domain}\n", door.credential.as_ref().unwrap())
        };
        let file = self.directory.path().join("senders");
        std::fs::write(&file, doors.iter().map(line).collect::<String>()).unwrap();
        let sender = ["--credentials-file".to_owned(), file.display().to_string()];
        self.load_as(&doors[0].address, &sender, load, domains)
    }

    fn load_as(&self, to: &str, sender: &[String], load: Load, domains: &[String]) -> Value {
        let mut command = Command::new(binary());
        command.args(["lab", "load", "--json", "--to", to]).args(sender);
        if let Some(rate) = load.rate {
            command.arg(format!("--rate={rate}"));
        }
        command.arg(format!("--count={}", load.count)).arg(format!("--size={}", load.size));
        command.arg(format!("--connections={CONNECTIONS}")).arg(format!("--domains={}", domains.join(",")));
        let output = command.stderr(Stdio::inherit()).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.lab.kill();
        let _ = self.lab.wait();
    }
}
