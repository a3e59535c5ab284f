//! One webhook call: checked, signed, sent, judged by its status alone.
//!
//! The answer's body is not read. Whatever goes wrong becomes a short public sentence for the tenant's list of
//! deliveries; our internals stay inside.

use super::guard::{Guard, GuardError};
use super::names::Names;
use super::sign::sign;
use crate::{Config, Fault};
use mail::{Event, Timestamp};
use registry::Endpoint;
use reqwest::header::{CONTENT_TYPE, HeaderName, USER_AGENT};
use reqwest::{Client, StatusCode, redirect};
use std::error::Error;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// What came of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 2xx.
    Taken(u16),
    /// 410: the receiver never wants to hear again.
    Gone,
    /// Any other status.
    Refused(u16),
    /// No status: the sentence says why, for the tenant.
    Broken(&'static str),
}

/// Makes calls. Connections to the same endpoint are kept and used again.
#[derive(Clone)]
pub(crate) struct Caller {
    guard: Guard,
    https: Client,
    /// For plain http inside allowed networks.
    http: Client,
}

impl Caller {
    pub(crate) fn new(config: &Config) -> Result<Caller, Fault> {
        // The HTTP client takes the provider of the process. The binary has installed the same one before.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let names = Names::new(&config.dns_servers)?;
        let guard = Guard::new(&config.webhook_allow_networks).with_names(names);
        let https = client(config, guard.clone())?;
        let http = client(config, guard.only_allowed_networks())?;
        Ok(Caller { guard, https, http })
    }

    /// One try. Never longer than the configured time.
    pub(crate) async fn call(&self, endpoint: &Endpoint, event: &Event, now: Timestamp) -> Answer {
        let url = match self.guard.check_url(&endpoint.url) {
            Ok(url) => url,
            Err(error) => return Answer::Broken(guard_sentence(error)),
        };
        let Ok(body) = serde_json::to_vec(event) else {
            return Answer::Broken("the event cannot be written as JSON");
        };
        let secrets = endpoint.secrets.iter().map(|secret| &**secret);
        let Ok(signature) = sign(secrets, event.id, now, &body) else {
            return Answer::Broken("the endpoint has no usable secret");
        };
        let client = if url.scheme() == "https" { &self.https } else { &self.http };
        let request = client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, "posthouse-webhooks/1")
            .header(ID, signature.id)
            .header(TIMESTAMP, signature.timestamp)
            .header(SIGNATURE, signature.signature)
            .body(body);
        match request.send().await {
            Ok(response) if response.status() == StatusCode::GONE => Answer::Gone,
            Ok(response) if response.status().is_success() => Answer::Taken(response.status().as_u16()),
            Ok(response) => Answer::Refused(response.status().as_u16()),
            Err(error) => Answer::Broken(broken_sentence(&error)),
        }
    }
}

fn client(config: &Config, guard: Guard) -> Result<Client, Fault> {
    Client::builder()
        .timeout(config.webhook_timeout())
        .redirect(redirect::Policy::none())
        // A proxy from the environment would go around the guard.
        .no_proxy()
        .dns_resolver(guard)
        .referer(false)
        .pool_max_idle_per_host(config.webhook_calls_per_endpoint_max)
        .build()
        .map_err(Fault::Client)
}

fn broken_sentence(error: &reqwest::Error) -> &'static str {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(refused) = inner.downcast_ref::<GuardError>() {
            return guard_sentence(*refused);
        }
        if inner.is::<rustls::Error>() {
            return "the TLS handshake failed";
        }
        // `source` of an I/O error passes over the error that it was made of, and that is where TLS stands.
        cause = match inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(within) => Some(within),
            None => inner.source(),
        };
    }
    match error {
        error if error.is_timeout() => "no answer in time",
        error if error.is_connect() => "no connection could be made",
        _ => "the connection broke",
    }
}

const fn guard_sentence(error: GuardError) -> &'static str {
    match error {
        GuardError::Url => "the URL cannot be read or is too long",
        GuardError::Scheme => "the URL must begin with https://",
        GuardError::Userinfo => "the URL has a user name or a password",
        GuardError::Host => "the URL has no host",
        GuardError::Port => "the port of the URL is not allowed",
        GuardError::Address => "the address is private, loopback or reserved",
        GuardError::NoAddress => "the host name has no address",
    }
}

impl Answer {
    pub(crate) const fn status(&self) -> Option<u16> {
        match self {
            Answer::Taken(status) | Answer::Refused(status) => Some(*status),
            Answer::Gone => Some(410),
            Answer::Broken(_) => None,
        }
    }

    /// For metrics: a closed list of words.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Answer::Taken(_) => "taken",
            Answer::Gone => "gone",
            Answer::Refused(_) => "refused",
            Answer::Broken(_) => "broken",
        }
    }

    /// For the tenant's list of deliveries.
    pub(crate) const fn sentence(&self) -> Option<&'static str> {
        match self {
            Answer::Taken(_) => None,
            Answer::Gone => Some("the receiver said 410: the endpoint is disabled"),
            Answer::Refused(300..=399) => Some("the receiver redirects; redirects are not followed"),
            Answer::Refused(_) => Some("the receiver did not answer with 2xx"),
            Answer::Broken(sentence) => Some(*sentence),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;
    use axum::http::HeaderMap;
    use axum::routing::post;
    use axum::{Router, body::Bytes};
    use mail::{EndpointId, EventId, EventKind, Random, TenantId};
    use registry::EndpointState;
    use std::net::SocketAddr;
    use tokio::sync::mpsc;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    pub fn endpoint(url: String) -> Endpoint {
        let (now, random) = (Timestamp::UNIX_EPOCH, &mut Random::from_number(3));
        Endpoint {
            id: EndpointId::mint(now, random),
            tenant: TenantId::mint(now, random),
            url: url.into(),
            kinds: Vec::new(),
            secrets: vec![SECRET.into()],
            state: EndpointState::Active,
        }
    }

    pub fn event() -> Event {
        let (now, random) = (Timestamp::UNIX_EPOCH, &mut Random::from_number(4));
        Event {
            id: EventId::mint(now, random),
            kind: EventKind::WebhookTest,
            timestamp: now,
            tenant: TenantId::mint(now, random),
            data: serde_json::json!({"a": 1}),
        }
    }

    fn loopback(timeout_ms: u64) -> Config {
        Config {
            webhook_allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
            webhook_timeout_ms_max: timeout_ms,
            ..Config::default()
        }
    }

    /// A receiver that answers by path and passes on what it got.
    async fn receiver() -> (SocketAddr, mpsc::Receiver<(HeaderMap, Bytes)>) {
        let (sender, got) = mpsc::channel(8);
        let take = move |headers: HeaderMap, body: Bytes| async move {
            sender.send((headers, body)).await.unwrap();
            StatusCode::NO_CONTENT
        };
        let router = Router::new()
            .route("/taken", post(take))
            .route("/gone", post(|| async { StatusCode::GONE }))
            .route("/sick", post(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
            .route("/moved", post(|| async { (StatusCode::FOUND, [("location", "/taken")]) }))
            .route("/slow", post(std::future::pending::<StatusCode>));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (address, got)
    }

    #[tokio::test]
    async fn what_is_not_public_is_not_called() {
        let (address, mut got) = receiver().await;
        let caller = Caller::new(&Config::default()).unwrap();
        for url in [format!("https://{address}/taken"), format!("https://localhost:{}/taken", address.port())]
        {
            let answer = caller.call(&endpoint(url.clone()), &event(), Timestamp::UNIX_EPOCH).await;
            assert_eq!(answer, Answer::Broken("the address is private, loopback or reserved"), "{url}");
        }
        let plain = endpoint(format!("http://localhost:{}/taken", address.port()));
        let answer = caller.call(&plain, &event(), Timestamp::UNIX_EPOCH).await;
        assert_eq!(answer, Answer::Broken("the URL must begin with https://"));
        assert!(got.try_recv().is_err());
    }

    #[tokio::test]
    async fn every_way_to_fail_is_told_apart() {
        let (address, mut got) = receiver().await;
        let caller = Caller::new(&loopback(300)).unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        for (url, wanted) in [
            (format!("http://{address}/gone"), Answer::Gone),
            (format!("http://{address}/sick"), Answer::Refused(500)),
            (format!("http://{address}/moved"), Answer::Refused(302)),
            (format!("http://{address}/slow"), Answer::Broken("no answer in time")),
            (format!("http://{closed}/"), Answer::Broken("no connection could be made")),
            // It speaks no TLS, and says so in plain text.
            (format!("https://{address}/taken"), Answer::Broken("the TLS handshake failed")),
        ] {
            let answer = caller.call(&endpoint(url.clone()), &event(), Timestamp::UNIX_EPOCH).await;
            assert_eq!(answer, wanted, "{url}");
        }
        assert!(got.try_recv().is_err(), "a redirect was followed");
    }

    #[tokio::test]
    async fn a_call_carries_the_event_and_its_signature() {
        let (address, mut got) = receiver().await;
        let caller = Caller::new(&loopback(15_000)).unwrap();
        let now = Timestamp::from_millis(1_795_425_249_120);
        let answer = caller.call(&endpoint(format!("http://{address}/taken")), &event(), now).await;
        assert_eq!(answer, Answer::Taken(204));
        let (headers, body) = got.recv().await.unwrap();
        assert_eq!(serde_json::from_slice::<Event>(&body).unwrap(), event());
        let wanted = sign([SECRET], event().id, now, &body).unwrap();
        assert_eq!(headers["webhook-id"], wanted.id.as_str());
        assert_eq!(headers["webhook-timestamp"], "1795425249");
        assert_eq!(headers["webhook-signature"], wanted.signature.as_str());
        assert_eq!(headers["content-type"], "application/json");
    }
}
