//! The HTTP listener from the first moment on: while the node reads its journal it says so, then the API takes over.
//!
//! Whoever watches can so tell a node that starts from one that is dead. The doors for mail open last: a client that
//! is refused goes to another node, one that waits for a greeting does not.

use crate::config::Config;
use crate::exit::Failure;
use crate::sections::address;
use crate::{listening, readiness};
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The listener, if this node has the API. Dropping it ends the answers.
pub struct Front(Option<Waiting>);

struct Waiting {
    address: SocketAddr,
    task: JoinHandle<TcpListener>,
    over: DropGuard,
}

impl Front {
    pub async fn bind(config: &Config, with_api: bool) -> anyhow::Result<Front> {
        if !with_api {
            return Ok(Front(None));
        }
        let listener = bind_http(config).await?;
        let (address, over) = (listener.local_addr()?, CancellationToken::new());
        let task = tokio::spawn(api::wait(listener, readiness::loading, over.clone()));
        Ok(Front(Some(Waiting { address, task, over: over.drop_guard() })))
    }

    pub fn address(&self) -> Option<SocketAddr> {
        self.0.as_ref().map(|waiting| waiting.address)
    }

    /// The listener for the API, from now on unanswered.
    pub async fn hand_over(self) -> anyhow::Result<Option<TcpListener>> {
        let Some(Waiting { task, over, .. }) = self.0 else { return Ok(None) };
        drop(over);
        Ok(Some(task.await?))
    }
}

async fn bind_http(config: &Config) -> anyhow::Result<TcpListener> {
    let address = address("listen.http", &config.listen.http)?.ok_or_else(|| {
        Failure::Configuration("listen.http is empty; leave out the role api instead".to_owned())
    })?;
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| listening::failure("listen.http", address, &error).into())
}
