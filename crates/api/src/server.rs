//! The listener: accepts, limits, serves, drains.
//!
//! Written on hyper's own connection builder because a client that sends its headers one octet a minute must be cut
//! off, and axum's `serve` has no limit for that. Who may connect, and who makes room, is said in `seats.rs`; a
//! connection that asks nothing for as long as headers may take is closed; one that floods is closed at once, and the next
//! ones of its address wait (`flood.rs`). After the shutdown token fires nothing new is accepted, requests in progress are
//! given their time, and the rest is dropped. Calls that outlive their connection (`calls.rs`) are part of what is waited
//! for.

use crate::calls::Calls;
use crate::config::Config;
use crate::flood::{Calm, Frames, is_for_calm};
use crate::request::ambiguous;
use crate::router::{assemble, watch_router};
use crate::seats::{Seat, Seats};
use crate::state::{AppState, Vitals};
use crate::watched::Watched;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use mail::Clock;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Between two attempts to accept when the system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Attempts that fail in a row for one line in the log: one a second.
const FAILURES_PER_LINE: u32 = 10;

/// Serves until `shutdown` fires and every request in progress has ended or run out of time.
pub async fn serve(listener: TcpListener, state: AppState, shutdown: CancellationToken) {
    let (config, clock) = (state.config.clone(), Arc::clone(&state.clock));
    serve_routes(listener, assemble(state), (config, clock), shutdown).await;
}

/// As `serve`, on a node without the API: what watches it finds the same answers at the same place.
pub async fn serve_vitals(
    listener: TcpListener,
    config: Config,
    vitals: Vitals,
    shutdown: CancellationToken,
) {
    let clock = Arc::clone(&vitals.clock);
    let calls = Calls::new(config.idempotent_calls_max);
    serve_routes(listener, (watch_router(vitals), calls), (config, clock), shutdown).await;
}

async fn serve_routes(
    listener: TcpListener,
    (router, calls): (Router, Calls),
    (config, clock): (Config, Arc<dyn Clock>),
    shutdown: CancellationToken,
) {
    let seats = Seats::new(config.connections_max, config.connections_per_address_max);
    let connections = TaskTracker::new();
    let idle_max = Duration::from_secs(config.header_seconds_max);
    let pause = Duration::from_secs(config.flood_pause_seconds);
    let door = Door {
        router,
        builder: builder(idle_max),
        idle_max,
        idle_frames_per_second: config.idle_frames_per_second,
        calm: Arc::new(Calm::new(pause, config.rate_entries_max)),
        clock,
        shutdown: shutdown.clone(),
    };
    let mut failures: u32 = 0;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = seats.room() => {}
        }
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => {
                    failures = 0;
                    accepted
                }
                Err(error) => {
                    if failures.is_multiple_of(FAILURES_PER_LINE) {
                        tracing::warn!(%error, "the API cannot accept a connection");
                    }
                    failures = failures.wrapping_add(1);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        // Without a seat the connection is closed: its address has its share of requests in progress.
        if let Some(seat) = seats.take(peer.ip()) {
            connections.spawn(door.clone().hold(stream, peer, seat));
        }
    }
    drop(listener);
    connections.close();
    let drain = Duration::from_secs(config.drain_seconds_max);
    let finished = async {
        connections.wait().await;
        calls.finished().await;
    };
    if tokio::time::timeout(drain, finished).await.is_err() {
        tracing::warn!(
            open = connections.len(),
            calls = calls.len(),
            "API requests were cut off at shutdown"
        );
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Door {
    router: Router,
    builder: Builder<TokioExecutor>,
    idle_max: Duration,
    idle_frames_per_second: u32,
    calm: Arc<Calm>,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
}

impl Door {
    /// One connection from its first octet to its last.
    async fn hold(self, stream: TcpStream, peer: SocketAddr, seat: Arc<Seat>) {
        let wait = self.calm.wait(peer.ip(), self.clock.instant());
        if !wait.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = seat.make_room() => return,
                () = self.shutdown.cancelled() => return,
            }
        }
        let (router, seated) = (self.router, Arc::clone(&seat));
        let service = tower::service_fn(move |request: axum::http::Request<hyper::body::Incoming>| {
            let busy = seated.request();
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            if let Some(ambiguous) = ambiguous(&request) {
                request.extensions_mut().insert(ambiguous);
            }
            let router = router.clone();
            async move {
                let _busy = busy;
                router.oneshot(request).await
            }
        });
        let frames = Frames::new(self.idle_frames_per_second);
        let stream = Watched::new(stream, frames, Arc::clone(&self.clock));
        let flooded = stream.flooded();
        let mut connection = std::pin::pin!(
            self.builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        );
        tokio::select! {
            // What a client does wrong on its connection is not our log's business.
            ended = connection.as_mut() => {
                if flooded.is_so() || ended.is_err_and(|error| is_for_calm(&*error)) {
                    self.calm.ask(peer.ip(), self.clock.instant());
                }
            }
            () = seat.make_room() => {}
            () = too_long_idle(&seat, self.idle_max) => {}
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    }
}

/// Returns when a connection was idle for `max` at a stretch, and before it was so for twice as long. hyper's own limit
/// does not begin before the first octet, and HTTP/2 has none.
async fn too_long_idle(seat: &Seat, max: Duration) {
    loop {
        let before = seat.idle();
        tokio::time::sleep(max).await;
        if before.is_some() && seat.idle() == before {
            return;
        }
    }
}

fn builder(headers: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(headers);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(headers)).max_concurrent_streams(100);
    builder
}
