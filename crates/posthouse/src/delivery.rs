//! What the API may ask of delivery, out of the handle of egress: times of the process become times of the wall.

use api::{Delivery, PathHold, PathRow};
use egress::{EgressHandle, Hold, PathView};
use mail::{Clock, Instant, Timestamp};
use std::sync::Arc;
use std::time::Duration;

pub fn delivery(egress: EgressHandle, clock: Arc<dyn Clock>) -> Delivery {
    let (of_queues, of_paths, of_hold) = (egress.clone(), egress.clone(), egress.clone());
    let now = Arc::clone(&clock);
    Delivery {
        queues: Arc::new(move |limit| {
            let egress = of_queues.clone();
            Box::pin(async move { Some((egress.totals().await.ok()?, egress.queues(limit).await.ok()?)) })
        }),
        paths: Arc::new(move || {
            let (egress, clock) = (of_paths.clone(), Arc::clone(&now));
            Box::pin(async move {
                let views = egress.paths().await.ok()?;
                let now = (clock.instant(), clock.timestamp());
                Some(views.into_iter().map(|view| row_of(view, now)).collect())
            })
        }),
        hold: Arc::new(move |path, hold| {
            let egress = of_hold.clone();
            let now = (clock.instant(), clock.timestamp());
            let until = hold.until.map(|until| now.0 + until.saturating_since(now.1));
            Box::pin(async move { egress.hold(path, Hold { until, reason: hold.reason }).await.ok() })
        }),
        resume: Arc::new(move |path| {
            let egress = egress.clone();
            Box::pin(async move { egress.resume(path).await.ok() })
        }),
    }
}

/// What the API asks when somebody wants to know why a message waits.
pub fn why_source(egress: EgressHandle) -> api::Why {
    Arc::new(move |message| {
        let egress = egress.clone();
        Box::pin(async move { egress.why(message).await.ok().flatten() })
    })
}

/// What the API calls when a tenant takes a message back.
pub fn cancel_source(egress: EgressHandle) -> api::Cancel {
    Arc::new(move |message| {
        let egress = egress.clone();
        Box::pin(async move { egress.cancel(message).await.ok() })
    })
}

fn row_of(view: PathView, now: (Instant, Timestamp)) -> PathRow {
    let hold = |hold: Hold| PathHold { reason: hold.reason, until: hold.until.map(|at| wall(at, now)) };
    PathRow {
        path: view.path,
        open: view.open,
        window: view.window,
        rate_percent: view.rate_percent,
        hold: view.hold.map(hold),
        dead_until: view.dead_until.map(|at| wall(at, now)),
    }
}

fn wall(at: Instant, (instant, timestamp): (Instant, Timestamp)) -> Timestamp {
    timestamp.saturating_add(Duration::from_micros(at.as_micros().saturating_sub(instant.as_micros())))
}
