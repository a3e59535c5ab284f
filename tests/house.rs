//! A house under test: starts the binary, speaks to its API and its lab, kills or stops it.
//!
//! Configuration goes by environment, so that a test says only what it changes. A house may have its own PostgreSQL and
//! lab (`start`), or be given both from outside (`postgres.rs`, `lab.rs`), where they outlive it.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How long anything may take on a busy machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A directory that survives the house, so that it can be started again, and how the house is started on it.
pub struct Plot {
    directory: tempfile::TempDir,
    database: Option<String>,
    settings: Vec<(String, String)>,
    prefix: Vec<String>,
}

/// A running house; killed when it is dropped.
pub struct House {
    child: Child,
    /// What `posthouse up` printed when it was ready.
    pub ready: Value,
    /// Its data directory.
    pub data: PathBuf,
    http: reqwest::blocking::Client,
}

/// What onboarding gave, with its domain verified.
pub struct Tenant {
    /// `ten_…`.
    pub id: String,
    /// Verified.
    pub domain: String,
    /// Its API key.
    pub key: String,
    /// Of its SMTP credential.
    pub username: String,
    /// Of its SMTP credential.
    pub password: String,
    /// Everything that onboarding answered.
    pub onboarding: Value,
}

impl Plot {
    /// A directory of its own; nothing runs yet.
    pub fn new() -> Plot {
        // Short and reachable for the user that PostgreSQL runs as when the tests run as root.
        let directory = tempfile::Builder::new().prefix("ph").tempdir_in("/tmp").unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        std::fs::write(directory.path().join("posthouse.toml"), CONFIGURATION).unwrap();
        let mut plot = Plot { directory, database: None, settings: Vec::new(), prefix: Vec::new() };
        // Tracers look into the house, also of users who are not root.
        plot.set("node.core_files", "true");
        plot
    }

    /// Uses this PostgreSQL instead of one of the house's own.
    pub fn with_database(mut self, url: &str) -> Plot {
        self.database = Some(url.to_owned());
        self
    }

    /// Sets a key of the configuration, such as `spool.segment_octets_max`.
    pub fn set(&mut self, key: &str, value: &str) {
        let name = format!("POSTHOUSE__{}", key.replace('.', "__").to_uppercase());
        self.settings.retain(|(known, _)| *known != name);
        self.settings.push((name, value.to_owned()));
    }

    /// Starts the house through another program that becomes it, such as prlimit.
    pub fn start_through(&mut self, prefix: &[&str]) {
        self.prefix = prefix.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Where everything of the house lies.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `posthouse up` as `start` would run it.
    pub fn command(&self) -> Command {
        self.command_on(&self.path().join("data"))
    }

    /// The same on another data directory.
    pub fn command_on(&self, data: &Path) -> Command {
        let mut command = match self.prefix.split_first() {
            None => Command::new(binary()),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary());
                command
            }
        };
        command.arg("up").arg("--json");
        if let Some(url) = &self.database {
            command.args(["--database", url]);
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.arg("--data").arg(data);
        command.arg("--config").arg(self.path().join("posthouse.toml"));
        command.arg("--ready-file").arg(self.path().join("ready.json"));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.path().join("log")).unwrap();
        command.stderr(log);
        command
    }

    /// A house with its lab inside.
    pub fn start(&self) -> House {
        let mut command = self.command();
        command.arg("--lab");
        self.spawn(command)
    }

    /// A house whose configuration says where to send.
    pub fn start_without_lab(&self) -> House {
        self.spawn(self.command())
    }

    /// What was set, as the environment has it.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Waits until it is ready; the log is the failure's text if that never happens.
    pub fn spawn(&self, mut command: Command) -> House {
        let http = web();
        let mut child = command.spawn().expect("the binary is built: cargo build -p posthouse");
        let ready = read_ready(&mut child);
        let Some(ready) = ready else {
            let status = child.wait().unwrap();
            panic!("posthouse ended with {status} before it was ready:\n{}", self.log());
        };
        House { child, ready, data: self.path().join("data"), http }
    }

    /// What its processes have written to standard error so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }
}

const CONFIGURATION: &str = "\
[listen]
http = \"127.0.0.1:0\"
submission = \"127.0.0.1:0\"
submissions = \"127.0.0.1:0\"
inbound = \"127.0.0.1:0\"
[housekeeping]
every_seconds = 1
";

/// The object that `--json` prints when every listener accepts.
fn read_ready(child: &mut Child) -> Option<Value> {
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        let end = line.trim_end() == "}";
        text.push_str(&line);
        if end {
            break;
        }
    }
    // What comes later must not fill the pipe.
    std::thread::spawn(move || std::io::copy(&mut output.by_ref(), &mut std::io::sink()));
    serde_json::from_str(&text).ok()
}

/// The program under test: `POSTHOUSE_TEST_BINARY`, or a debug build made once.
pub fn binary() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "which binary to test is told by the environment")]
    let named = std::env::var("POSTHOUSE_TEST_BINARY").ok();
    named.map_or_else(
        || {
            // We run from <target>/<profile>/deps, wherever the build directory is; the binary lies one above.
            let own = std::env::current_exe().unwrap();
            own.parent().and_then(Path::parent).unwrap().join("posthouse")
        },
        PathBuf::from,
    )
}

impl House {
    /// One that was started in another way and is ready.
    pub(crate) fn new(child: Child, ready: Value, data: PathBuf) -> House {
        House { child, ready, data, http: web() }
    }

    /// A text of the line it printed when it was ready, by JSON pointer.
    pub fn text(&self, pointer: &str) -> String {
        self.ready
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{pointer} in the ready file"))
            .to_owned()
    }

    fn send(&self, request: reqwest::blocking::RequestBuilder) -> (u16, Value) {
        let answer = request.send().unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The API with a bearer token; an empty token sends none.
    pub fn api(&self, method: &str, path: &str, token: &str, body: Option<&Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.text("/api"));
        let mut request = self.http.request(method.parse().unwrap(), url);
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        self.send(request)
    }

    /// An answer of the API that must be 200.
    pub fn get(&self, path: &str, token: &str) -> Value {
        let (status, body) = self.api("GET", path, token, None);
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// An answer of the lab's control interface that must be positive.
    pub fn lab(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let url = format!("{}{path}", self.text("/lab/control"));
        let mut request = self.http.request(method.parse().unwrap(), url);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let (status, body) = self.send(request);
        assert!((200..300).contains(&status), "{method} {path}: {status} {body}");
        body
    }

    /// An answer that must be positive.
    pub fn fetch(&self, url: &str) -> Value {
        self.send(self.http.get(url)).1
    }

    /// An access token of the operator.
    pub fn operator(&self) -> String {
        let (status, body) = self.api("POST", "/v1/auth/token", "", Some(&self.ready["operator"]));
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    /// Onboards a tenant, with its own source and pool and a recording webhook, and proves its domain in the lab's DNS.
    pub fn onboard(&self, name: &str, domain: &str, address: &str) -> (Tenant, String) {
        let operator = self.operator();
        let source = json!({"name": format!("{name}-1"), "address": address, "ehlo": format!("{name}-1.posthouse.test")});
        let (status, source) = self.api("POST", "/v1/sources", &operator, Some(&source));
        assert_eq!(status, 201, "{source}");
        let pool = json!({"name": name, "members": [{"source": source["id"], "weight": 1}]});
        let (status, pool) = self.api("POST", "/v1/pools", &operator, Some(&pool));
        assert_eq!(status, 201, "{pool}");
        self.onboard_into(name, domain, name)
    }

    /// The same, into a pool that is there.
    pub fn onboard_into(&self, name: &str, domain: &str, pool: &str) -> (Tenant, String) {
        let sink = self.lab("POST", "/webhook-sink", None)["url"].as_str().unwrap().to_owned();
        let body = json!({"name": name, "domain": domain, "pool": pool, "webhook": {"url": sink}});
        let (status, onboarding) = self.api("POST", "/v1/tenants", &self.operator(), Some(&body));
        assert_eq!(status, 201, "{onboarding}");
        self.lab("POST", "/dns/publish", Some(&onboarding["domain"]["records"]));
        let text = |pointer: &str| onboarding.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        let tenant = Tenant {
            id: text("/tenant/id"),
            domain: domain.to_owned(),
            key: text("/api_key/secret"),
            username: text("/smtp_credential/username"),
            password: text("/smtp_credential/password"),
            onboarding: onboarding.clone(),
        };
        let path = format!("/v1/tenants/{}/domains/{}/verify", tenant.id, text("/domain/id"));
        let (status, verified) = self.api("POST", &path, &tenant.key, None);
        assert_eq!((status, verified["state"].as_str()), (200, Some("verified")), "{verified}");
        (tenant, sink)
    }

    /// Arrivals at the lab for one recipient, once there are at least `count`.
    pub fn arrivals(&self, to: &str, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} arrivals for {to}"), || {
            let list = self.lab("GET", &format!("/arrivals?to={to}&limit=1000&raw=1"), None);
            let list = list.as_array().unwrap().clone();
            (list.len() >= count).then_some(list)
        })
    }

    /// Of the house itself, also when it was started through another program that stays.
    pub fn pid(&self) -> Pid {
        let pid = self.ready["pid"].as_i64().unwrap_or(0) as i32;
        Pid::from_raw(pid).expect("the ready file has a pid")
    }

    /// As a power cut would, as far as a process can tell.
    pub fn kill(mut self) {
        kill_process(self.pid(), Signal::KILL).unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub fn stop(self) -> ExitStatus {
        self.terminate();
        self.ended()
    }

    /// SIGTERM; it drains and ends by itself.
    pub fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// How it ends by itself.
    pub fn ended(mut self) -> ExitStatus {
        wait_for("the house to end", || self.child.try_wait().unwrap())
    }

    /// Whether it still looks in its journal for what waits from before.
    pub fn is_loading(&self) -> bool {
        let (_, ready) = self.api("GET", "/ready", "", None);
        !ready["journal"].is_object() || !ready["journal"]["loading_percent"].is_null()
    }

    /// The sum of a metric over all its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.api("GET", "/metrics", "", None);
        assert_eq!(status, 200, "{text}");
        let lines = text.as_str().unwrap_or_default().lines();
        let ours =
            lines.filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        ours.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

impl Default for Plot {
    fn default() -> Plot {
        Plot::new()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(self.pid(), Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until there is an answer. The thing waited for is in another process and cannot wake us.
pub fn wait_for<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_or(what, ask, String::new)
}

/// The same; when it is in vain, `explain` says what there is instead.
#[expect(clippy::disallowed_methods, reason = "polls another process; the waiting is bounded by PATIENCE")]
pub fn wait_or<T>(what: &str, mut ask: impl FnMut() -> Option<T>, explain: impl FnOnce() -> String) -> T {
    let step = Duration::from_millis(50);
    for _ in 0..PATIENCE.as_millis() / step.as_millis() {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(step);
    }
    panic!("waited {} s for {what} {}", PATIENCE.as_secs(), explain());
}

/// A client for HTTP.
pub fn web() -> reqwest::blocking::Client {
    // A second test in this process finds it installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::blocking::Client::builder().timeout(PATIENCE).build().unwrap()
}

/// A pause that is part of the scenario: the moment of a kill, the length of an outage.
#[expect(clippy::disallowed_methods, reason = "the length of a fault is what is tested")]
pub fn let_pass(time: Duration) {
    std::thread::sleep(time);
}

/// Milliseconds since 1970, the measure of the lab's arrivals.
#[expect(clippy::disallowed_methods, reason = "a client outside of the house has its own clock")]
pub fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Microseconds since 1970, the measure of strace.
#[expect(clippy::disallowed_methods, reason = "a client outside of the house has its own clock")]
pub fn now_us() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64
}

/// Runs a Python script with arguments; gives what it printed. Fails the test with its traceback.
pub fn python(script: &str, arguments: &[&str]) -> String {
    #[expect(clippy::disallowed_methods, reason = "cargo xtask test names the interpreter with the packages")]
    let python = std::env::var("POSTHOUSE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python).arg("-c").arg(script).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// How often a scenario is repeated: the short form, the long one if `POSTHOUSE_CRASH_ROUNDS` is `long`, or its number.
pub fn rounds(short: usize, long: usize) -> usize {
    #[expect(clippy::disallowed_methods, reason = "the long form is asked for by the environment")]
    let asked = std::env::var("POSTHOUSE_CRASH_ROUNDS").unwrap_or_default();
    if asked == "long" { long } else { asked.parse().unwrap_or(short) }
}
