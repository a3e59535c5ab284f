//! Offers drafts at the door and says what became of each.
//!
//! The only way in is `ingress::submission`: what it accepted is durable, and only that is answered with 202. Of a
//! batch the accepted part stays accepted when a later message is refused (a quota ends somewhere), so the answer
//! names the refused ones; if nothing at all was accepted, the first refusal is the answer.

use crate::body::parse;
use crate::draft::{Draft, Press};
use crate::held::hold_all;
use crate::problem::{FieldError, Problem};
use crate::send_body::SendMessage;
use crate::send_size;
use crate::state::Api;
use crate::steering::Asked;
use futures_util::StreamExt as _;
use ingress::{Accepted, Denial, Door, Held, Offer};
use mail::MessageId;
use registry::Sender;
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

/// Reads the messages of a JSON body. What they will be is held before any of it is made.
pub fn drafts_of_json(
    api: &Api,
    sender: Sender,
    body: &[u8],
    held: &mut Held,
) -> Result<(Vec<Draft>, (Form, Asked)), Problem> {
    let mut message: SendMessage = parse(body, api)?;
    let most = api.config().batch_recipients_max;
    if message.recipients.len() > most {
        let error = FieldError::new("/recipients", "too_many", format!("has more than {most} entries"));
        return Err(Problem::invalid_fields(vec![error]));
    }
    let form = if message.recipients.is_empty() { Form::Single } else { Form::Batch };
    let asked = Asked::resolve(&mut message, &api.snapshot(), sender, api.now())?;
    hold_all(held, body.len() + send_size::check(&message)?)?;
    let mut random = api.random();
    let drafts = message.into_drafts(&mut Press { now: api.now(), random: &mut random })?;
    Ok((drafts, (form, asked)))
}

pub async fn offer_all(
    api: &Api,
    sender: Sender,
    peer: IpAddr,
    drafts: Vec<Draft>,
    (form, asked): (Form, Asked),
) -> Result<SendAnswer, Problem> {
    let offers = drafts.into_iter().map(|draft| {
        let Draft { envelope, raw, steering } = draft;
        Offer { sender, envelope, raw, steering, peer, door: Door::Http }
    });
    let offered = futures_util::stream::iter(offers).map(|offer| api.submission().accept(offer));
    let results: Vec<Result<Accepted, Denial>> = offered.buffered(OFFERS_AT_ONCE).collect().await;
    let (mut ids, mut refused, mut first) = (Vec::new(), Vec::new(), None);
    for (index, result) in results.into_iter().enumerate() {
        match result {
            Ok(accepted) => ids.push(accepted.message),
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
        Some(_) | None => {
            let id = if form == Form::Single { ids.first().copied() } else { None };
            Ok(SendAnswer { id, ids, refused })
        }
    }
}

/// The door has logged a fault; the client reads that it was our trouble.
fn problem_of(denial: Denial, asked: &Asked) -> Problem {
    match denial {
        Denial::Refusal(refusal) => asked.problem(refusal),
        Denial::Fault(_) => Problem::unavailable(),
    }
}
