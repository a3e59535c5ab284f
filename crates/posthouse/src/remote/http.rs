//! The shell: carries calls to the API and brings answers back.
//!
//! Whatever may be done twice without harm is tried again when the way or the house fails for a moment: reading, and
//! every POST, because it carries an Idempotency-Key.

use crate::exit::Failure;
use crate::remote::call::{Call, Kind, Step, escape, find, find_site};
use crate::remote::problem;
use anyhow::Context;
use mail::Random;
use reqwest::header::{ETAG, HeaderMap, HeaderValue, IF_MATCH, RETRY_AFTER, SET_COOKIE};
use reqwest::{Certificate, Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

const PATIENCE: Duration = Duration::from_secs(60);
const TRIES: u32 = 3;
/// A house that asks for a longer wait is told to the person instead.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The most rows that a page has.
const PAGE_ROWS: u32 = 200;

/// A way to one API.
pub struct Door {
    client: Client,
    api: String,
    bearer: Zeroizing<String>,
    random: Random,
}

/// A fresh login.
pub struct LoggedIn {
    pub token: String,
    pub seconds: i64,
    pub cookie: String,
}

impl Door {
    pub fn new(api: &str, ca: Option<&Path>, random: Random) -> anyhow::Result<Door> {
        let mut builder = Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
        if let Some(ca) = ca {
            let pem = std::fs::read(ca)
                .map_err(|error| Failure::Input(format!("cannot read {}: {error}", ca.display())))?;
            let authority = Certificate::from_pem(&pem);
            builder = builder.add_root_certificate(
                authority
                    .map_err(|_| Failure::Input(format!("{} is no certificate in PEM", ca.display())))?,
            );
        }
        let client = builder.build().context("cannot make an HTTP client")?;
        Ok(Door { client, api: api.to_owned(), bearer: Zeroizing::default(), random })
    }

    pub fn carrying(self, bearer: Zeroizing<String>) -> Door {
        Door { bearer, ..self }
    }

    /// The answer to a call, with names looked up.
    pub async fn answer(&mut self, call: &Call) -> anyhow::Result<Value> {
        let (path, mut body, mut seen) = (self.path(&call.path).await?, call.body.clone(), None);
        if let Some(changes) = &call.changes {
            let Answer { headers, body: mut whole } =
                self.exchange(Method::GET, &path, (&[], None, None)).await?;
            // What somebody else has changed meanwhile is not put back to what it was.
            seen = headers.get(ETAG).cloned();
            for (name, value) in changes.as_object().into_iter().flatten() {
                whole[name] = value.clone();
            }
            body = Some(whole);
        }
        for (pointer, kind) in &call.named {
            let Some(place) = body.as_mut().and_then(|body| body.pointer_mut(pointer)) else { continue };
            let text = place.as_str().unwrap_or_default().to_owned();
            let collection = self.home(*kind, &call.path).await?;
            let id = self.look_up(&collection, *kind, &text).await?;
            if let Some(place) = body.as_mut().and_then(|body| body.pointer_mut(pointer)) {
                *place = json!(id);
            }
        }
        let said = (call.query.as_slice(), body.as_ref(), seen.as_ref());
        Ok(self.exchange(call.method.clone(), &path, said).await?.body)
    }

    /// The rows of a list, page by page until there are enough.
    pub async fn rows(&mut self, call: &Call, wanted: u32) -> anyhow::Result<Value> {
        let path = self.path(&call.path).await?;
        self.pages(&path, &call.query, wanted).await
    }

    async fn pages(
        &mut self,
        path: &str,
        query: &[(&'static str, String)],
        wanted: u32,
    ) -> anyhow::Result<Value> {
        let (mut rows, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let left = wanted.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
            // A call that begins at a cursor goes on at that of the page before.
            let mut query = query.to_vec();
            query.retain(|(name, _)| cursor.is_null() || *name != "cursor");
            query.push(("limit", left.clamp(1, PAGE_ROWS).to_string()));
            query.extend(cursor.as_str().map(|cursor| ("cursor", cursor.to_owned())));
            let mut page = self.exchange(Method::GET, path, (&query, None, None)).await?.body;
            let fresh = page["data"].as_array_mut().map(std::mem::take).unwrap_or_default();
            // Events give a cursor for ever: there an empty page is the end of what there is. A search may go on behind one.
            let ended = page["next_cursor"].is_null() || (fresh.is_empty() && path.ends_with("/events"));
            rows.extend(fresh);
            cursor = page["next_cursor"].take();
            if ended || rows.len() >= wanted as usize {
                return Ok(json!({"data": rows, "next_cursor": cursor}));
            }
        }
    }

    /// Where the things of a kind are listed: below the tenant of the call if they are a tenant's.
    async fn home(&mut self, kind: Kind, path: &[Step]) -> anyhow::Result<String> {
        match kind {
            Kind::Tenant => Ok("/v1/tenants".to_owned()),
            Kind::Pool => Ok("/v1/pools".to_owned()),
            Kind::Source => Ok("/v1/sources".to_owned()),
            Kind::Site => Ok("/v1/paths".to_owned()),
            Kind::Stream => {
                let tenant: Vec<Step> = path.iter().take(3).cloned().collect();
                Ok(format!("{}/streams", self.path(&tenant).await?))
            }
            Kind::Domain | Kind::Credential | Kind::ApiKey | Kind::Webhook | Kind::Message => {
                unreachable!("no body names a {}", kind.noun())
            }
        }
    }

    async fn path(&mut self, steps: &[Step]) -> anyhow::Result<String> {
        let mut path = String::new();
        for step in steps {
            let segment = match step {
                Step::Word(word) => (*word).to_owned(),
                Step::Thing(kind, text) => self.look_up(&path, *kind, text).await?,
            };
            path.push('/');
            path.push_str(&escape(&segment));
        }
        Ok(path)
    }

    async fn look_up(&mut self, collection: &str, kind: Kind, text: &str) -> anyhow::Result<String> {
        if matches!(text, "" | "." | "..") {
            return Err(Failure::Input(format!("{text:?} names no {}", kind.noun())).into());
        }
        if kind.is_id(text) {
            return Ok(text.to_owned());
        }
        let all = self.pages(collection, &[], u32::MAX).await?;
        let rows = all["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        let found = if kind == Kind::Site {
            find_site(text, rows).map(|site| site.unwrap_or_else(|| not_seen(text)))
        } else {
            find(kind, text, rows)
        };
        found.map_err(|sentence| Failure::Input(sentence).into())
    }

    /// One call, tried again where that does no harm. `seen` is the state that a change is made to, and to no other.
    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        (query, body, seen): (&[(&'static str, String)], Option<&Value>, Option<&HeaderValue>),
    ) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.api);
        let key: String = self.random.bytes::<16>().iter().map(|octet| format!("{octet:02x}")).collect();
        // A change that was made, and whose answer was lost, would find its own traces.
        let is_repeatable = method == Method::GET || method == Method::POST;
        let mut left = TRIES;
        loop {
            left -= 1;
            let mut request = self.client.request(method.clone(), &url).query(query);
            request = request.bearer_auth(self.bearer.as_str());
            if method == Method::POST {
                request = request.header("idempotency-key", &key);
            }
            if let Some(seen) = seen {
                request = request.header(IF_MATCH, seen);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            let outcome = exchange(request, &self.api).await;
            match outcome {
                Ok(answer) => return Ok(answer),
                Err(Trouble { wait: Some(wait), .. }) if left > 0 && is_repeatable => {
                    tokio::time::sleep(wait).await
                }
                Err(Trouble { failure, .. }) => return Err(failure.into()),
            }
        }
    }

    /// Logs in with address and password.
    pub async fn log_in(&self, email: &str, password: &str) -> anyhow::Result<LoggedIn> {
        let body = json!({"email": email, "password": password});
        self.token(self.client.post(format!("{}/v1/auth/token", self.api)).json(&body)).await
    }

    /// Changes the cookie for a new token and a new cookie.
    pub async fn renew(&self, cookie: &str) -> anyhow::Result<LoggedIn> {
        let url = format!("{}/v1/auth/refresh", self.api);
        self.token(self.client.post(url).header("cookie", format!("{COOKIE}={cookie}"))).await
    }

    pub async fn log_out(&self, cookie: &str) -> anyhow::Result<()> {
        let url = format!("{}/v1/auth/logout", self.api);
        let request = self.client.post(url).header("cookie", format!("{COOKIE}={cookie}"));
        exchange(request, &self.api).await.map(drop).map_err(|trouble| trouble.failure.into())
    }

    async fn token(&self, request: RequestBuilder) -> anyhow::Result<LoggedIn> {
        let Answer { headers, body } =
            exchange(request, &self.api).await.map_err(|trouble| trouble.failure)?;
        let token = body["access_token"].as_str().context("the answer to the login has no token")?;
        let cookie = cookie(&headers).context("the answer to the login has no cookie")?;
        Ok(LoggedIn { token: token.to_owned(), seconds: body["expires_in"].as_i64().unwrap_or(0), cookie })
    }
}

/// A path may be held before its first message; more often somebody said a domain.
fn not_seen(site: &str) -> String {
    eprintln!(
        "no mail has gone to a site of the name {site} yet; `posthouse queue paths` names those there are"
    );
    site.to_owned()
}

const COOKIE: &str = "posthouse_refresh";

fn cookie(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(SET_COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.filter_map(|line| line.split(';').next()?.split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned()).next()
}

struct Answer {
    headers: HeaderMap,
    body: Value,
}

struct Trouble {
    failure: Failure,
    /// Set if it may be better after so long.
    wait: Option<Duration>,
}

async fn exchange(request: RequestBuilder, api: &str) -> Result<Answer, Trouble> {
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Err(unreachable_api(api, &error)),
    };
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = read(response).await.map_err(|error| unreachable_api(api, &error))?;
    if (200..300).contains(&status) {
        return Ok(Answer { headers, body });
    }
    let retry_after =
        headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    let wait = retry_after.map(Duration::from_secs).filter(|wait| *wait <= WAIT_MAX);
    let again = matches!(status, 429 | 503).then_some(wait).flatten();
    Err(Trouble { failure: problem::failure(status, &body, retry_after), wait: again })
}

/// JSON, or null for an empty or foreign body.
async fn read(response: Response) -> reqwest::Result<Value> {
    let octets = response.bytes().await?;
    Ok(serde_json::from_slice(&octets).unwrap_or(Value::Null))
}

fn unreachable_api(api: &str, error: &reqwest::Error) -> Trouble {
    let cause = std::iter::successors(std::error::Error::source(error), |cause| cause.source()).last();
    let cause = cause.map_or_else(|| error.to_string(), ToString::to_string);
    let advice = if error.is_builder() {
        "the URL is wrong; it looks like https://mail.example.net"
    } else if cause.contains("certificate") {
        "if its certificate is of an own authority, name that with --ca FILE"
    } else {
        "does a node run there? `posthouse up` and `posthouse serve` say where their API listens"
    };
    let failure = Failure::Unavailable(format!("cannot reach the API at {api}: {cause}\n  {advice}"));
    // Nobody there is an answer; a connection that broke on the way is not.
    let wait = (!error.is_connect() && !error.is_builder()).then_some(Duration::from_millis(200));
    Trouble { failure, wait }
}
