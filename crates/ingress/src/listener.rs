//! The doors themselves: accept, limit, drain.
//!
//! Three listeners share one house: the limits, the throttle, the way in. Each accepted connection becomes a task
//! that is kept in a tracker. When descriptors run out (EMFILE, ENFILE) the listener waits and tries again, so that
//! the process neither spins nor dies. On shutdown the doors stay open to say 421 while sessions that have a message
//! under way get their answer, at most for the time that the configuration allows; then everything is closed.

use crate::config::Config;
use crate::entrance::Entrance;
use crate::error::Fault;
use crate::limits::{Connections, Crowd};
use crate::metrics;
use crate::returned::ReturnedMail;
use crate::session;
use crate::submission::Submission;
use crate::tls::Tls;
use mail::{Instant, Refusal};
use registry::Throttle;
use smtp::Limits;
use smtp::server::{Role, ServerConfig, TlsMode};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections the system may keep for us while we are busy; Linux caps it at net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// How long a listener waits after it could not accept, at first and at most. Only the longest wait is logged.
const BACK_OFF_FIRST: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Where the doors are to be. None closes a door; port 0 means any free port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Addresses {
    /// Submission with STARTTLS (RFC 6409).
    pub submission: Option<SocketAddr>,
    /// Submission with implicit TLS (RFC 8314 §3.3).
    pub submissions: Option<SocketAddr>,
    /// Returned mail.
    pub inbound: Option<SocketAddr>,
}

/// The doors, bound and not yet open: binding may need rights that are given up before they open.
#[derive(Debug)]
pub struct Listeners {
    doors: Vec<(Entrance, TcpListener)>,
    addresses: Addresses,
}

/// What the doors need.
pub struct IngressParts {
    /// What accepts a message; shared with the API.
    pub submission: Arc<Submission>,
    /// Needed by both submission doors; without it the inbound door offers no STARTTLS.
    pub tls: Option<Arc<Tls>>,
    /// Who keeps returned mail; without, it is deferred.
    pub returned: Option<mpsc::Sender<ReturnedMail>>,
}

/// What all sessions share.
pub(crate) struct House {
    pub submission: Arc<Submission>,
    pub tls: Option<Arc<Tls>>,
    pub returned: Option<mpsc::Sender<ReturnedMail>>,
    connections: Arc<Connections>,
    returns: Arc<Connections>,
    throttle: Mutex<Throttle>,
}

/// The doors at work.
#[derive(Debug)]
pub struct Ingress;

/// The running doors: their addresses, and their end.
#[derive(Debug)]
pub struct IngressHandle {
    addresses: Addresses,
    task: JoinHandle<()>,
}

impl Listeners {
    /// Binds every door that has an address.
    ///
    /// # Errors
    /// `Listen` for the first address that is not to be had, with what the operating system says; none is
    /// bound then.
    pub fn bind(addresses: Addresses) -> Result<Listeners, Fault> {
        let mut bound = Listeners { doors: Vec::with_capacity(3), addresses: Addresses::default() };
        let wanted = [
            (Entrance::Submission, addresses.submission, &mut bound.addresses.submission),
            (Entrance::Submissions, addresses.submissions, &mut bound.addresses.submissions),
            (Entrance::Inbound, addresses.inbound, &mut bound.addresses.inbound),
        ];
        for (entrance, wanted, local) in wanted {
            let Some(address) = wanted else { continue };
            let (listener, address) = listen(address).map_err(|source| Fault::Listen { address, source })?;
            *local = Some(address);
            bound.doors.push((entrance, listener));
        }
        Ok(bound)
    }

    /// Where the doors are; a port of 0 has become the one that was found.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }
}

impl Ingress {
    /// Opens the doors. They close when `shutdown` is cancelled.
    ///
    /// # Errors
    /// `TlsMissing` if one of the submission doors is bound and there is no certificate.
    pub fn start(
        parts: IngressParts,
        listeners: Listeners,
        shutdown: CancellationToken,
    ) -> Result<IngressHandle, Fault> {
        let needs_tls = listeners.doors.iter().any(|(entrance, _)| *entrance != Entrance::Inbound);
        if needs_tls && parts.tls.is_none() {
            return Err(Fault::TlsMissing);
        }
        let addresses = listeners.addresses;
        let house = House::new(parts);
        let task = tokio::spawn(serve(house, listeners, shutdown));
        Ok(IngressHandle { addresses, task })
    }
}

impl IngressHandle {
    /// Where the doors listen, with the ports that port 0 became.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Returns when every session has ended after the shutdown.
    pub async fn finished(self) {
        if let Err(error) = self.task.await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the listeners stopped before their time"
            );
        }
    }
}

impl House {
    fn new(parts: IngressParts) -> Arc<House> {
        let Config { limits, throttle, .. } = parts.submission.config();
        let crowd = |max| Crowd { max, seconds_min: limits.stranger_seconds_min };
        Arc::new(House {
            connections: Connections::new(limits.clone(), crowd(limits.strangers_max)),
            returns: Connections::new(limits.clone(), crowd(limits.inbound_connections_max)),
            throttle: Mutex::new(Throttle::new(throttle.clone())),
            submission: parts.submission,
            tls: parts.tls,
            returned: parts.returned,
        })
    }

    /// Who counts the connections at this door.
    fn connections(&self, entrance: Entrance) -> &Arc<Connections> {
        match entrance {
            Entrance::Submission | Entrance::Submissions => &self.connections,
            Entrance::Inbound => &self.returns,
        }
    }

    pub fn now(&self) -> Instant {
        self.submission.clock().instant()
    }

    pub fn write_limit(&self) -> Duration {
        Duration::from_secs(self.submission.config().limits.write_s_max)
    }

    pub fn server_config(&self, entrance: Entrance) -> ServerConfig {
        let config = self.submission.config();
        let (role, tls, limits) = match entrance {
            Entrance::Submission => (Role::Submission, TlsMode::Offered, config.session.clone()),
            Entrance::Submissions => (Role::Submission, TlsMode::Implicit, config.session.clone()),
            Entrance::Inbound => {
                let tls = if self.tls.is_some() { TlsMode::Offered } else { TlsMode::None };
                let message_octets_max = config.limits.inbound_octets_max;
                (Role::Inbound, tls, Limits { message_octets_max, ..config.session.clone() })
            }
        };
        ServerConfig::new(self.submission.hostname().clone(), role, tls, limits)
    }

    pub fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the doors open until the shutdown, then ajar until every session has its answer.
async fn serve(house: Arc<House>, listeners: Listeners, shutdown: CancellationToken) {
    let (sessions, doors) = (TaskTracker::new(), TaskTracker::new());
    let closed = CancellationToken::new();
    for (entrance, listener) in listeners.doors {
        let door = Door {
            house: Arc::clone(&house),
            entrance,
            sessions: sessions.clone(),
            shutdown: shutdown.clone(),
            closed: closed.clone(),
        };
        let (door, listener) = (Arc::new(door), Arc::new(listener));
        let stand = move || Arc::clone(&door).stand(Arc::clone(&listener));
        doors.spawn(panics::keep(entrance.as_str(), closed.clone(), stand));
    }
    if let Some(tls) = &house.tls {
        doors.spawn(Arc::clone(tls).watch(shutdown.clone()));
    }
    shutdown.cancelled().await;
    sessions.close();
    let patience = Duration::from_secs(house.submission.config().limits.drain_s_max);
    if tokio::time::timeout(patience, sessions.wait()).await.is_err() {
        tracing::warn!(sessions = sessions.len(), "sessions were still open at the end of the drain time");
    }
    // Sessions listen to this too: what is left ends now, unanswered, and its client tries again.
    closed.cancel();
    sessions.wait().await;
    doors.close();
    doors.wait().await;
}

/// One listener and what it gives to its sessions.
struct Door {
    house: Arc<House>,
    entrance: Entrance,
    sessions: TaskTracker,
    shutdown: CancellationToken,
    closed: CancellationToken,
}

impl Door {
    async fn stand(self: Arc<Door>, listener: Arc<TcpListener>) {
        let mut back_off = BACK_OFF_FIRST;
        while let Some(accepted) = self.closed.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, peer)) => {
                    back_off = BACK_OFF_FIRST;
                    self.receive(stream, peer);
                }
                // The client left before we took it: the next one is not affected.
                Err(error) if is_about_one_client(&error) => {}
                Err(error) => {
                    if back_off >= BACK_OFF_MAX {
                        let error: &dyn std::error::Error = &error;
                        tracing::warn!(
                            error,
                            door = self.entrance.as_str(),
                            "cannot accept connections, trying on"
                        );
                    }
                    let _ = self.closed.run_until_cancelled(tokio::time::sleep(back_off)).await;
                    back_off = (back_off * 2).min(BACK_OFF_MAX);
                }
            }
        }
    }

    fn receive(&self, stream: TcpStream, peer: SocketAddr) {
        panics::place("door");
        let peer = peer.ip().to_canonical();
        let entered = if self.shutdown.is_cancelled() {
            Err(session::shutting_down())
        } else {
            self.house.connections(self.entrance).enter(peer, self.house.submission.clock().instant())
        };
        let place = match entered {
            Ok(place) => place,
            Err(refusal) => return self.turn_away(&stream, &refusal),
        };
        // Replies are small and waited for.
        let _ = stream.set_nodelay(true);
        metrics::connections(self.house.connections.total() + self.house.returns.total());
        let (house, closed) = (Arc::clone(&self.house), self.closed.clone());
        let session = session::run(house, self.entrance, (stream, peer), place, self.shutdown.clone());
        let counted = Arc::clone(&self.house);
        self.sessions.spawn(async move {
            let _ = closed.run_until_cancelled(session).await;
            metrics::connections(counted.connections.total() + counted.returns.total());
        });
    }

    /// Without a task and without waiting: a new connection has room for one line.
    fn turn_away(&self, stream: &TcpStream, refusal: &Refusal) {
        metrics::session_ended(self.entrance.as_str(), "refused");
        if self.entrance != Entrance::Submissions {
            let _ = stream.try_write(format!("{}\r\n", refusal.to_reply()).as_bytes());
        }
    }
}

fn is_about_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}
