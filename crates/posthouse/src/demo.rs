//! The demo tenant of `up --lab`: made through the public API, like anybody's.
//!
//! An operator's session adds two addresses and the shared pool, onboards a tenant, publishes its records in the lab's
//! DNS and has them checked. Whatever is there already is left as it is; what was shown once is kept in a file. A start
//! that was broken off in the middle is taken up by the next one: each thing is made under an `Idempotency-Key` of its own.

use crate::authority;
use crate::ready::{Demo, Ready};
use anyhow::{Context, bail};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::path::Path;

const DOMAIN: &str = "demo.example";
/// The pool that onboarding takes when none is named.
const POOL: &str = "shared";
const SOURCES: &[(&str, &str)] = &[("shared-1", "127.2.0.1"), ("shared-2", "127.2.0.2")];

/// The demo tenant, made now if this is the first start.
pub async fn ensure(ready: &Ready, file: &Path) -> anyhow::Result<Demo> {
    if let Ok(text) = std::fs::read_to_string(file) {
        return serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; remove it", file.display()));
    }
    let demo = make(ready).await.context("cannot make the demo tenant")?;
    authority::write(file, serde_json::to_string(&demo)?.as_bytes(), 0o600)?;
    Ok(demo)
}

struct Session<'a> {
    client: Client,
    api: &'a str,
    token: String,
}

async fn make(ready: &Ready) -> anyhow::Result<Demo> {
    let lab = ready.lab.as_ref().context("the demo lives in the lab")?;
    let client = Client::builder().build()?;
    let api = ready.api.as_deref().context("the demo is made through the API")?;
    let mut session = Session { client: client.clone(), api, token: String::new() };
    let login = session.call(Method::POST, "/v1/auth/token", Some(&json!(ready.operator))).await?;
    session.token = text(&login, "/access_token")?;
    make_pool(&session).await?;
    let onboarded =
        session.call(Method::POST, "/v1/tenants", Some(&json!({"name": "Demo", "domain": DOMAIN}))).await?;
    let publish = client.post(format!("{}/dns/publish", lab.control)).json(&onboarded["domain"]["records"]);
    publish.send().await?.error_for_status()?;
    let (tenant, domain) = (text(&onboarded, "/tenant/id")?, text(&onboarded, "/domain/id")?);
    let checked =
        session.call(Method::POST, &format!("/v1/tenants/{tenant}/domains/{domain}/verify"), None).await?;
    if checked["state"] != "verified" {
        bail!("the demo domain is not verified: {checked}");
    }
    Ok(Demo {
        tenant,
        domain: DOMAIN.to_owned(),
        api_key: text(&onboarded, "/api_key/secret")?,
        username: text(&onboarded, "/smtp_credential/username")?,
        password: text(&onboarded, "/smtp_credential/password")?,
    })
}

async fn make_pool(session: &Session<'_>) -> anyhow::Result<()> {
    let pools = session.call(Method::GET, "/v1/pools?limit=100", None).await?;
    if pools["data"].as_array().is_some_and(|pools| pools.iter().any(|pool| pool["name"] == POOL)) {
        return Ok(());
    }
    let mut members = Vec::new();
    for (name, address) in SOURCES {
        let source = json!({"name": name, "address": address, "ehlo": format!("{name}.posthouse.test")});
        let source = session.call(Method::POST, "/v1/sources", Some(&source)).await?;
        members.push(json!({"source": source["id"], "weight": 1}));
    }
    let pool = json!({"name": POOL, "members": members});
    session.call(Method::POST, "/v1/pools", Some(&pool)).await?;
    Ok(())
}

impl Session<'_> {
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.api));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(name) = body.and_then(|body| body["name"].as_str()).filter(|_| method == Method::POST) {
            request = request.header("Idempotency-Key", format!("demo {path} {name}"));
        }
        let answer = request.send().await.with_context(|| format!("{method} {path}"))?;
        let status = answer.status();
        let body: Value = answer.json().await.with_context(|| format!("{method} {path}"))?;
        if !status.is_success() {
            bail!("{method} {path}: {status}: {body}");
        }
        Ok(body)
    }
}

fn text(value: &Value, pointer: &str) -> anyhow::Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).with_context(|| format!("no {pointer} in the answer"))
}
