//! The ready file: what somebody who started us needs to know, written once every listener accepts.
//!
//! Written whole or not at all. It holds the operator's password and the database's, so only its owner can read it.

use crate::exit::Failure;
use crate::node::Node;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    pub version: &'static str,
    pub pid: u32,
    /// Null without the role api, as are the next and `openapi`.
    pub api: Option<String>,
    pub console: Option<String>,
    pub metrics: String,
    pub openapi: Option<String>,
    pub smtp: Smtp,
    pub ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<Operator>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    pub spool: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lab: Option<Lab>,
    /// The tenant that `up --lab` makes so that there is something to try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demo: Option<Demo>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Smtp {
    /// Null for a door that the configuration leaves shut.
    pub submission: Option<SocketAddr>,
    pub submissions: Option<SocketAddr>,
    pub inbound: Option<SocketAddr>,
}

#[derive(Debug, Clone, Serialize, serde::Deserialize)]
pub struct Operator {
    pub email: String,
    pub password: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct Lab {
    pub control: String,
    pub dns: SocketAddr,
    pub smtp_port: u16,
}

#[derive(Debug, Clone, Serialize, serde::Deserialize)]
pub struct Demo {
    pub tenant: String,
    pub domain: String,
    pub api_key: String,
    pub username: String,
    pub password: String,
}

impl Ready {
    /// What every node can tell; `up` adds what it made itself.
    pub fn of(node: &Node, spool: PathBuf) -> Ready {
        let http = format!("http://{}", node.http);
        let of_api = |path: &str| node.with_api.then(|| format!("{http}{path}"));
        Ready {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            api: of_api(""),
            console: of_api("/console/"),
            metrics: format!("{http}/metrics"),
            openapi: of_api("/openapi.json"),
            smtp: Smtp {
                submission: node.addresses.submission,
                submissions: node.addresses.submissions,
                inbound: node.addresses.inbound,
            },
            ca: None,
            operator: None,
            database: None,
            spool,
            lab: None,
            demo: None,
        }
    }

    pub fn to_json(&self) -> String {
        // A struct of strings and numbers always serializes.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let written = crate::authority::write(path, self.to_json().as_bytes(), 0o600);
        written.map_err(|error| Failure::CannotCreate(format!("{error:#}")).into())
    }

    /// Whether there can be such a file, asked before anything is started. A file of an earlier run goes: it tells ports
    /// that are nobody's now.
    pub fn make_room(path: &Path) -> anyhow::Result<()> {
        let attempt = std::fs::write(path, "").and_then(|()| std::fs::remove_file(path));
        attempt.map_err(|error| {
            let sentence = format!("cannot write the ready file {}: {error}", path.display());
            Failure::CannotCreate(sentence).into()
        })
    }
}
