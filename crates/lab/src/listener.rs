//! The doors of all providers: one port, an address for each MX host.
//!
//! With port 0 a port is sought that is free on every address. Sessions are limited in number; beyond, connections
//! wait in the backlog, as at a busy site.

use crate::error::{Fault, require_loopback};
use crate::provider::Provider;
use crate::session::Session;
use crate::world::World;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Ports tried until one is free on all addresses.
const PORT_TRIES: usize = 50;

/// Listens on every address, on one port.
pub(crate) async fn bind(addresses: &[Ipv4Addr], port: u16) -> Result<(u16, Vec<TcpListener>), Fault> {
    for _ in 0..PORT_TRIES {
        match try_bind(addresses, port).await {
            Ok(bound) => return Ok(bound),
            Err(Fault::Bind { source, .. })
                if port == 0 && source.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(fault) => return Err(fault),
        }
    }
    Err(Fault::NoCommonPort { addresses: addresses.len() })
}

async fn try_bind(addresses: &[Ipv4Addr], port: u16) -> Result<(u16, Vec<TcpListener>), Fault> {
    let (mut port, mut listeners) = (port, Vec::with_capacity(addresses.len()));
    for address in addresses {
        let address = require_loopback("a provider", SocketAddr::from((*address, port)))?;
        let fault = |source| Fault::Bind { what: "a provider", address, source };
        let listener = TcpListener::bind(address).await.map_err(fault)?;
        port = listener.local_addr().map_err(fault)?.port();
        listeners.push(listener);
    }
    Ok((port, listeners))
}

/// Whose door it is.
pub(crate) struct Door {
    pub world: Arc<World>,
    pub provider: Arc<Provider>,
    /// Which of the provider's hosts.
    pub host: usize,
}

/// Accepts for one host until the shutdown, and ends its sessions then.
pub(crate) async fn serve(
    listener: TcpListener,
    door: Door,
    places: Arc<Semaphore>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
) {
    let Door { world, provider, host } = door;
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = async {
                let connection = listener.accept().await;
                (connection, places.clone().acquire_owned().await)
            } => accepted,
        };
        let (Ok((stream, peer)), Ok(place)) = accepted else { continue };
        let session = Session { world: world.clone(), provider: provider.clone(), host, peer };
        let shutdown = shutdown.clone();
        tracker.spawn(async move {
            let _place = place;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = session.run(stream) => {}
            }
        });
    }
}
