//! Whether a request was read to its end.
//!
//! A refusal may be said before the body has come. The rest of it would be taken for the next request, so hyper closes the
//! connection; a client that is not told sends its next request into that.

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

/// A body that notes its end.
struct Noted {
    body: Body,
    ended: Arc<AtomicBool>,
}

/// Known when its request was answered.
pub struct Reading(Arc<AtomicBool>);

impl Reading {
    pub fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

pub fn noted(body: Body) -> (Body, Reading) {
    let ended = Arc::new(AtomicBool::new(body.is_end_stream()));
    (Body::new(Noted { body, ended: Arc::clone(&ended) }), Reading(ended))
}

impl HttpBody for Noted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.ended.store(true, Ordering::Release);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
