//! What every node is made of, and a second one over the same tables.

use crate::harness::{House, submission};
use api::{AppState, Config, DnsChecker, Readiness, TokenKeys};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use database::{Database, Follower, SnapshotHandle};
use futures_util::FutureExt as _;
use mail::{Clock, Random};
use spool::Spool;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

/// What a node keeps, or looks at.
pub struct Keepers<'a> {
    pub database: Database,
    pub snapshots: Arc<SnapshotHandle>,
    pub spool: &'a Spool,
    pub clock: Arc<dyn Clock>,
}

impl Keepers<'_> {
    pub fn state(self, config: Config, tokens: TokenKeys) -> AppState {
        let Keepers { database, snapshots, spool, clock } = self;
        AppState {
            database,
            submission: submission(spool, &snapshots, Arc::clone(&clock), ingress::Limits::default()),
            snapshots,
            tokens,
            dns: DnsChecker::new(&config).unwrap(),
            clock,
            random: Random::from_number(9),
            readiness: Arc::new(Readiness::default),
            metrics: Arc::new(|| "posthouse_up 1\n".to_owned()),
            delivery: api::Delivery::none(),
            why: Arc::new(|_| async { None }.boxed()),
            cancel: Arc::new(|_| async { Some(0) }.boxed()),
            told: Arc::new(|| async {}.boxed()),
            config,
        }
    }
}

/// A second node.
pub struct Neighbour {
    router: Router,
    pub snapshots: Arc<SnapshotHandle>,
    follower: JoinHandle<()>,
}

impl Neighbour {
    /// The status of an answer to somebody who reads.
    pub async fn status(&self, path: &str, bearer: &str) -> u16 {
        let request = Request::builder().uri(path).header("authorization", format!("Bearer {bearer}"));
        self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl House {
    /// Another node over the same tables, which looks at them every so often and hears nothing meanwhile.
    pub async fn neighbour(&self, follow_every_ms: u64) -> Neighbour {
        let config = database::Config { follow_every_ms, ..self.database.config.clone() };
        let (snapshots, follower) = Follower::start(self.database.database.clone(), &config).await.unwrap();
        let database = self.database.database.for_callers();
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let keepers = Keepers { database, snapshots: Arc::clone(&snapshots), spool: &self.spool, clock };
        let router = api::router(keepers.state(Config::default(), self.tokens.clone()));
        Neighbour { router, snapshots, follower }
    }
}
