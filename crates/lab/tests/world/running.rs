//! A lab that runs for one test, and a hand-made SMTP client to talk to it.

use lab::{Lab, LabConfig, LabHandle, LabParts};
use mail::{Clock, Instant, Random, Timestamp};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// A lab and what is needed to ask it.
pub struct Running {
    pub lab: LabHandle,
    pub http: reqwest::Client,
    pub shutdown: CancellationToken,
}

/// Real time: these tests are about sockets.
pub struct TestClock(std::time::Instant);

impl Clock for TestClock {
    #[expect(clippy::disallowed_methods, reason = "a test's clock")]
    fn timestamp(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
    }

    fn instant(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.0.elapsed().as_micros()).unwrap())
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's clock")]
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(TestClock(std::time::Instant::now()))
}

/// Short delays, so that tests need not wait.
pub fn quick() -> LabConfig {
    LabConfig {
        slow_delay: Duration::from_millis(200),
        greylist_delay: Duration::from_millis(100),
        return_delay: Duration::from_millis(10),
        ..LabConfig::default()
    }
}

pub async fn start() -> Running {
    start_with(quick()).await
}

pub async fn start_with(config: LabConfig) -> Running {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let shutdown = CancellationToken::new();
    let parts = LabParts { clock: clock(), random: Random::from_number(7) };
    let lab = Lab::start(config, parts, shutdown.clone()).await.unwrap();
    Running { lab, http: reqwest::Client::new(), shutdown }
}

impl Running {
    /// Status and body of a control call.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("http://{}{path}", self.lab.control)
        };
        let mut request = self.http.request(method.parse().unwrap(), url);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Like `call`, and it must be a success.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub async fn set(&self, provider: &str, change: Value) {
        let (status, body) = self.call("PUT", &format!("/providers/{provider}"), Some(change)).await;
        assert_eq!(status, 200, "{body}");
    }

    /// The address of an MX host, as the control names it.
    pub async fn door(&self, host: &str) -> SocketAddr {
        let providers = self.get("/providers").await;
        let hosts =
            providers.as_array().unwrap().iter().flat_map(|provider| provider["mx"].as_array().unwrap());
        let found =
            hosts.filter(|mx| mx["host"] == host).map(|mx| mx["address"].as_str().unwrap().to_owned()).next();
        let address: Ipv4Addr = found.unwrap_or_else(|| panic!("no host {host}")).parse().unwrap();
        SocketAddr::from((address, self.lab.smtp_port))
    }

    pub async fn dial(&self, host: &str) -> Client {
        Client::dial(self.door(host).await).await
    }

    /// Asks until it is so.
    pub async fn wait_for(&self, path: &str, enough: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..200 {
            let body = self.get(path).await;
            if enough(&body) {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{path} never became what was waited for");
    }
}

/// Lines in, lines out, nothing clever.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub async fn dial(address: SocketAddr) -> Client {
        Client(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    /// A whole reply; empty at the end of the connection.
    pub async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            let count = self.0.read_line(&mut line).await.unwrap_or(0);
            reply.push_str(&line);
            if count == 0 || line.as_bytes().get(3) == Some(&b' ') {
                return reply.trim_end().to_owned();
            }
        }
    }

    pub async fn say(&mut self, text: &str) -> String {
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
        self.0.get_mut().write_all(b"\r\n").await.unwrap();
        self.reply().await
    }

    pub async fn write(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
    }

    /// The answer to the greeting is ignored; EHLO is done.
    pub async fn hello(mut self) -> Client {
        assert!(self.reply().await.starts_with("220 "));
        assert!(self.say("EHLO out1.client.example").await.starts_with("250"));
        self
    }

    /// One message; the last reply that decided.
    pub async fn send(&mut self, from: &str, to: &str, text: &str) -> String {
        let mail = self.say(&format!("MAIL FROM:<{from}>")).await;
        if !mail.starts_with("250") {
            return mail;
        }
        let rcpt = self.say(&format!("RCPT TO:<{to}>")).await;
        if !rcpt.starts_with("250") {
            if !rcpt.starts_with("421") {
                self.say("RSET").await;
            }
            return rcpt;
        }
        assert!(self.say("DATA").await.starts_with("354"));
        self.say(&format!("{text}\r\n.")).await
    }
}
