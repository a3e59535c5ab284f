//! Reads a body whose octets count against its tenant's share of all mail in flight.
//!
//! The share (`ingress::Submission::hold_octets`) is asked before a body is read, by what its header says it will be,
//! and again as octets arrive, because a header may say nothing. Over the share nothing more is read, and the client is
//! told whose share it was. What is held goes along with the request: whoever reads the body first hands it on to whoever
//! answers.

use crate::in_flight::party_of;
use crate::problem::{Kind, Problem};
use crate::state::Api;
use axum::body::Body;
use axum::http::{Extensions, HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use ingress::{Arrival, Held};
use registry::Access;
use std::sync::{Arc, Mutex, PoisonError};

/// Octets that were counted before the handler had its turn. An extension of the request.
#[derive(Clone)]
struct Carried(Arc<Mutex<Option<Held>>>);

/// What is held for this request already, or nothing yet.
pub fn held(api: &Api, access: &Access, extensions: &Extensions) -> Held {
    let carried = extensions.get::<Carried>();
    let carried = carried.and_then(|carried| carried.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    carried.unwrap_or_else(|| api.submission().hold_octets(party_of(access)))
}

/// Hands what is held to the handler.
pub fn carry(held: Held, extensions: &mut Extensions) {
    extensions.insert(Carried(Arc::new(Mutex::new(Some(held)))));
}

/// Reads a body of at most `octets_max`, and holds as many octets as it has.
pub async fn read_held(
    headers: &HeaderMap,
    body: Body,
    octets_max: usize,
    held: &mut Held,
) -> Result<Bytes, Problem> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut counted: usize = declared.unwrap_or(0);
    if counted > octets_max {
        return Err(too_large(octets_max));
    }
    held.hold(counted, Arrival::Here)?;
    let mut frames = body.into_data_stream();
    let mut read = BytesMut::new();
    let mut only = None;
    while let Some(frame) = frames.next().await {
        let frame =
            frame.map_err(|_| Problem::new(Kind::MalformedJson, "the body could not be read to its end"))?;
        let octets = read.len() + only.as_ref().map_or(0, Bytes::len) + frame.len();
        if octets > octets_max {
            return Err(too_large(octets_max));
        }
        if octets > counted {
            counted = octets;
            held.hold(counted, Arrival::Here)?;
        }
        // A body of one piece is not copied.
        match only.take() {
            None if read.is_empty() => only = Some(frame),
            first => {
                first.iter().for_each(|first| read.extend_from_slice(first));
                read.extend_from_slice(&frame);
            }
        }
    }
    Ok(only.unwrap_or_else(|| read.freeze()))
}

/// What the messages of a call will be, besides its body: to be held before any of it is made.
pub fn hold_all(held: &mut Held, octets: usize) -> Result<(), Problem> {
    // One piece, so that a large call of somebody who holds nothing else is served.
    held.clear();
    held.hold(octets, Arrival::Here)?;
    Ok(())
}

fn too_large(octets_max: usize) -> Problem {
    Problem::new(Kind::BodyTooLarge, format!("the body is larger than {octets_max} octets"))
}
