//! The HTTP listener from the first moment on: while the node reads its journal it says so, then the API takes over, or what
//! answers in its place on a node without that role.
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

/// The listener. Dropping it ends the answers.
pub struct Front {
    address: SocketAddr,
    task: JoinHandle<TcpListener>,
    over: DropGuard,
}

impl Front {
    pub async fn bind(config: &Config) -> anyhow::Result<Front> {
        let listener = bind_http(config).await?;
        let (address, over) = (listener.local_addr()?, CancellationToken::new());
        let task = tokio::spawn(api::wait(listener, readiness::loading, over.clone()));
        Ok(Front { address, task, over: over.drop_guard() })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The listener, from now on unanswered.
    pub async fn hand_over(self) -> anyhow::Result<TcpListener> {
        drop(self.over);
        Ok(self.task.await?)
    }
}

async fn bind_http(config: &Config) -> anyhow::Result<TcpListener> {
    let address = address("listen.http", &config.listen.http)?.ok_or_else(|| {
        Failure::Configuration(
            "listen.http is empty: every node tells there how it is (/health, /ready, /metrics), also one without the \
             role api. Name an address of the network that watches it, such as 127.0.0.1:8025"
                .to_owned(),
        )
    })?;
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| listening::failure("listen.http", address, &error).into())
}
