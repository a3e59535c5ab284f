//! Offers drafts at the door and says what became of each.
//!
//! A call that is begun again offers only what was not accepted before (`claim.rs`). The only way in is
//! `ingress::submission`: what it accepted is durable, and only that is answered with 202. Of a batch the accepted part
//! stays accepted when a later message is refused (a quota ends somewhere), so the answer names the refused ones; if
//! nothing at all was accepted, the first refusal is the answer.

use crate::body::parse;
use crate::claim::Place;
use crate::draft::{Draft, Press, raw_draft};
use crate::held::hold_all;
use crate::problem::{FieldError, Problem};
use crate::send_body::SendMessage;
use crate::send_size;
use crate::state::Api;
use crate::steering::Asked;
use bytes::Bytes;
use futures_util::StreamExt as _;
use ingress::{Accepted, Denial, Door, Held, Offer};
use mail::MessageId;
use registry::{Sender, Steering};
use serde::Serialize;
use std::net::IpAddr;
use utoipa::ToSchema;

/// Messages of one batch that are on their way to the disk at the same time; they share its syncs.
const OFFERS_AT_ONCE: usize = 64;

/// What was accepted. Every id stands for a message that is safe on disk.
#[derive(Debug, Serialize, ToSchema)]
pub struct SendAnswer {
    /// The message; null for a batch.
    #[schema(value_type = Option<String>)]
    pub id: Option<MessageId>,
    /// Every accepted message, in the order of the batch.
    #[schema(value_type = Vec<String>)]
    pub ids: Vec<MessageId>,
    /// Entries of a batch that were refused while others were accepted.
    pub refused: Vec<RefusedEntry>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RefusedEntry {
    /// Place in `recipients`, from 0.
    pub index: usize,
    /// As in a problem document.
    #[schema(value_type = String)]
    pub code: &'static str,
    pub detail: String,
}

/// Whether the answer speaks of one message or of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Single,
    Batch,
}

/// What was posted, as far as it says how many messages it is.
pub enum Posted {
    Finished(Bytes),
    Fields(Box<SendMessage>),
}

impl Posted {
    pub fn of_json(api: &Api, body: &[u8]) -> Result<Posted, Problem> {
        let message: SendMessage = parse(body, api)?;
        let most = api.config().batch_recipients_max;
        if message.recipients.len() > most {
            let error = FieldError::new("/recipients", "too_many", format!("has more than {most} entries"));
            return Err(Problem::invalid_fields(vec![error]));
        }
        Ok(Posted::Fields(Box::new(message)))
    }

    pub fn count(&self) -> usize {
        match self {
            Posted::Finished(_) => 1,
            Posted::Fields(message) => message.recipients.len().max(1),
        }
    }

    pub fn form(&self) -> Form {
        match self {
            Posted::Fields(message) if !message.recipients.is_empty() => Form::Batch,
            Posted::Finished(_) | Posted::Fields(_) => Form::Single,
        }
    }

    /// Makes the messages. What they will be is held before any of it is made; `octets` are those of the body.
    pub fn into_drafts(
        self,
        api: &Api,
        sender: Sender,
        octets: usize,
        held: &mut Held,
    ) -> Result<(Vec<Draft>, Asked), Problem> {
        let mut message = match self {
            Posted::Finished(raw) => {
                let draft = raw_draft(&raw, None, Vec::new(), Steering::default())?;
                return Ok((vec![draft], Asked::default()));
            }
            Posted::Fields(message) => *message,
        };
        let asked = Asked::resolve(&mut message, &api.snapshot(), sender, api.now())?;
        hold_all(held, octets + send_size::check(&message)?)?;
        let mut random = api.random();
        let drafts = message.into_drafts(&mut Press { now: api.now(), random: &mut random })?;
        Ok((drafts, asked))
    }
}

/// The answer if nothing is left to do: all of it was accepted when the call was begun before. What such a call asked for
/// is not looked at again, for it may not be allowed any more.
pub fn all_done(places: &[Place], form: Form) -> Option<SendAnswer> {
    let done = |place: &Place| match place {
        Place::Done(id) => Some(*id),
        Place::Free | Place::Claimed(_) => None,
    };
    let ids = places.iter().map(done).collect::<Option<Vec<_>>>()?;
    Some(SendAnswer::new(form, ids, Vec::new()))
}

/// `drafts` and `places` are the same messages.
pub async fn offer_all(
    api: &Api,
    (sender, peer): (Sender, IpAddr),
    (drafts, places): (Vec<Draft>, Vec<Place>),
    (form, asked): (Form, Asked),
) -> Result<SendAnswer, Problem> {
    let offers = drafts.into_iter().zip(places).map(|(draft, place)| {
        let Draft { envelope, raw, steering } = draft;
        (Offer { sender, envelope, raw, steering, peer, door: Door::Http }, place)
    });
    let offered = futures_util::stream::iter(offers).map(|(offer, place)| accept(api, offer, place));
    let results: Vec<Result<MessageId, Denial>> = offered.buffered(OFFERS_AT_ONCE).collect().await;
    let (mut ids, mut refused, mut first) = (Vec::new(), Vec::new(), None);
    for (index, result) in results.into_iter().enumerate() {
        match result {
            Ok(message) => ids.push(message),
            Err(denial) => {
                let problem = problem_of(denial, &asked);
                refused.push(RefusedEntry {
                    index,
                    code: problem.code(),
                    detail: problem.detail().to_owned(),
                });
                first.get_or_insert(problem);
            }
        }
    }
    match first {
        Some(problem) if ids.is_empty() => Err(problem),
        Some(_) | None => Ok(SendAnswer::new(form, ids, refused)),
    }
}

async fn accept(api: &Api, offer: Offer, place: Place) -> Result<MessageId, Denial> {
    let Accepted { message, .. } = match place {
        Place::Done(message) => return Ok(message),
        Place::Claimed(message) => api.submission().accept_as(message, offer).await?,
        Place::Free => api.submission().accept(offer).await?,
    };
    Ok(message)
}

impl SendAnswer {
    fn new(form: Form, ids: Vec<MessageId>, refused: Vec<RefusedEntry>) -> SendAnswer {
        let id = if form == Form::Single { ids.first().copied() } else { None };
        SendAnswer { id, ids, refused }
    }
}

/// The door has logged a fault; the client reads that it was our trouble.
fn problem_of(denial: Denial, asked: &Asked) -> Problem {
    match denial {
        Denial::Refusal(refusal) => asked.problem(refusal),
        Denial::Fault(_) => Problem::unavailable(),
    }
}
