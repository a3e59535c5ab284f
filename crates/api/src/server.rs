//! The listener: accepts, limits, serves, drains.
//!
//! Written on hyper's own connection builder because a client that sends its headers one octet a minute must be cut
//! off, and axum's `serve` has no limit for that. More connections than allowed stay in the kernel's queue. After the
//! shutdown token fires nothing new is accepted, requests in progress are given their time, and the rest is dropped.
//! Calls that outlive their connection (`calls.rs`) are part of what is waited for.

use crate::router::assemble;
use crate::state::AppState;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Between two attempts to accept when the system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Attempts that fail in a row for one line in the log: one a second.
const FAILURES_PER_LINE: u32 = 10;

/// Serves until `shutdown` fires and every request in progress has ended or run out of time.
pub async fn serve(listener: TcpListener, state: AppState, shutdown: CancellationToken) {
    let config = state.config.clone();
    let (router, calls) = assemble(state);
    let slots = Arc::new(Semaphore::new(config.connections_max));
    let connections = TaskTracker::new();
    let builder = builder(Duration::from_secs(config.header_seconds_max));
    let mut failures: u32 = 0;
    loop {
        let slot = tokio::select! {
            () = shutdown.cancelled() => break,
            slot = slots.clone().acquire_owned() => slot,
        };
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
        let service =
            router.clone().map_request(move |request: axum::http::Request<hyper::body::Incoming>| {
                let mut request: Request = request.map(Body::new);
                request.extensions_mut().insert(ConnectInfo(peer));
                request
            });
        let (builder, shutdown) = (builder.clone(), shutdown.clone());
        connections.spawn(async move {
            let _slot = slot;
            let mut connection = std::pin::pin!(
                builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            );
            tokio::select! {
                // What a client does wrong on its connection is not our log's business.
                _ = connection.as_mut() => {}
                () = shutdown.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
        });
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

fn builder(headers: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(headers);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(headers)).max_concurrent_streams(100);
    builder
}
