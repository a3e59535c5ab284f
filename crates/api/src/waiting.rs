//! What the listener answers while the node is not there yet: alive, and not ready.
//!
//! Reading a large journal takes a while, and whoever watches the node must be able to tell that from a dead one. Every
//! connection gets one answer and is closed, so that nobody is left behind when the real router takes over.

use crate::problem::Problem;
use crate::routes::meta;
use crate::state::Readiness;
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections at the same time, and how long one may take: an answer is short.
const CONNECTIONS_MAX: usize = 64;
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers until `over` fires, then gives the listener back.
pub async fn wait(
    listener: TcpListener,
    readiness: impl Fn() -> Readiness + Clone + Send + Sync + 'static,
    over: CancellationToken,
) -> TcpListener {
    let router = Router::new()
        .route("/health", get(meta::health))
        .route("/ready", get(move || std::future::ready(meta::answer(readiness()))))
        .fallback(|| async { Problem::unavailable() })
        .layer(axum::middleware::map_response(|mut response: Response| async move {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }));
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = over.cancelled() => return listener,
            accepted = listener.accept() => accepted,
        };
        let (Ok((stream, _)), Ok(slot)) = (accepted, Arc::clone(&slots).try_acquire_owned()) else {
            // No descriptor or too many at once: they may ask again.
            tokio::task::yield_now().await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let _slot = slot;
            let builder = Builder::new(TokioExecutor::new());
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            // What a client does wrong on its connection is not our log's business.
            let _ = tokio::time::timeout(PATIENCE, connection).await;
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::state::Reason;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_node_that_loads_is_alive_and_not_ready_and_gives_its_listener_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, over) = (listener.local_addr().unwrap(), CancellationToken::new());
        let readiness = || Readiness {
            reasons: vec![Reason { code: "loading", detail: "it reads".to_owned() }],
            journal: None,
        };
        let task = tokio::spawn(wait(listener, readiness, over.clone()));
        for (path, status, text) in [
            ("/health", "200 OK", "\"ok\""),
            ("/ready", "503 Service Unavailable", "\"journal\":null"),
            ("/v1/tenants", "503 Service Unavailable", "try_again_later"),
        ] {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(text), "{answer}");
        }
        over.cancel();
        assert_eq!(task.await.unwrap().local_addr().unwrap(), address);
    }
}
