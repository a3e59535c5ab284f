//! Returned mail: which recipients the inbound door takes, and to whom it hands what it took.
//!
//! The door knows nobody by name. It takes a recipient only if its local-part is a token that this installation
//! signed (RFC 5598's Return Handler); everything else is refused in the session, so there is no backscatter and
//! nothing to relay. A message that was taken is handed over with the recipients it is about, and is answered with
//! 250 only when the handler says that it is kept. While there is no handler, the answer is 451: the site tries
//! again later, and nothing is lost.

use crate::error::Fault;
use crate::listener::House;
use bytes::Bytes;
use mail::token::{TokenKey, TokenSubject};
use mail::{EnhancedStatus, ForwardPath, Refusal, RefusalKind, Reply, ReversePath, Timestamp};
use registry::Snapshot;
use smtp::server::Transaction;
use std::net::IpAddr;
use tokio::sync::{mpsc, oneshot};

/// A message that came back.
#[derive(Debug)]
pub struct ReturnedMail {
    /// Whom it is about; at least one.
    pub subjects: Vec<TokenSubject>,
    /// Null for a bounce; a provider's mailbox for a complaint.
    pub reverse_path: ReversePath,
    /// The whole message as it came, with CRLF line ends.
    pub raw: Bytes,
    /// Who brought it.
    pub peer: IpAddr,
    /// At its final dot.
    pub received_at: Timestamp,
    /// `Ok` once it is kept; until then the site waits for its answer.
    pub answer: oneshot::Sender<Result<(), Refusal>>,
}

/// The recipient that a forward-path of the inbound door stands for. A token is good at the return paths of this house, and not
/// at names of others.
pub(crate) fn subject_of(
    key: &TokenKey,
    snapshot: &Snapshot,
    path: &ForwardPath,
) -> Result<TokenSubject, Refusal> {
    let is_ours = snapshot.is_return_path(path.mailbox().domain());
    let subject = key.read(path.mailbox().local_part()).filter(|_| is_ours);
    subject.ok_or_else(|| Refusal::new(RefusalKind::NoSuchRecipient, "there is no such mailbox here"))
}

/// Hands over and waits until it is kept.
async fn hand_over(
    handler: Option<&mpsc::Sender<ReturnedMail>>,
    returned: impl FnOnce(oneshot::Sender<Result<(), Refusal>>) -> ReturnedMail,
) -> Result<(), Refusal> {
    let (answer, kept) = oneshot::channel();
    let later = || Refusal::new(RefusalKind::LocalTrouble, "returned mail cannot be taken just now");
    let handler = handler.ok_or_else(later)?;
    handler.send(returned(answer)).await.map_err(|_| later())?;
    // A handler that ended without an answer kept nothing that we know of.
    kept.await.map_err(|_| {
        tracing::error!(
            error = &Fault::ReturnHandler as &dyn std::error::Error,
            "returned mail was not kept"
        );
        later()
    })?
}

/// A report at the door: for recipients of ours, kept before it is answered.
pub(crate) async fn take_back(
    house: &House,
    peer: IpAddr,
    transaction: Transaction,
) -> Result<Reply, Refusal> {
    let (submission, Transaction { envelope, raw, .. }) = (&house.submission, transaction);
    let paths = envelope.recipients.iter().map(|recipient| &recipient.forward_path);
    let snapshot = submission.loaded_snapshot()?;
    let subjects = paths.map(|path| subject_of(submission.token_key(), &snapshot, path));
    let subjects = subjects.collect::<Result<Vec<_>, _>>()?;
    let (reverse_path, received_at) = (envelope.reverse_path, submission.clock().timestamp());
    hand_over(house.returned.as_ref(), |answer| ReturnedMail {
        subjects,
        reverse_path,
        raw,
        peer,
        received_at,
        answer,
    })
    .await?;
    Ok(Reply::new(250, Some(EnhancedStatus::new(2, 0, 0)), "ok"))
}
