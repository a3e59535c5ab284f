//! One SMTP session: the shell around `smtp::server`. Read, handle, act, arm the one timer, repeat.
//!
//! All decisions about the protocol are the machine's; all about rights are the registry's. Here questions are carried
//! from the one to the other, octets are moved, and a session ends when its machine, its client or the node says so.
//! A message whose final dot was read gets its answer even while the node shuts down; everybody else is told 421.
//!
//! What may surprise: a wrong secret is answered late on purpose (`registry::Throttle`); the waiting is done here.

use crate::entrance::Entrance;
use crate::error::Denial;
use crate::limits::{Owner, Place};
use crate::listener::House;
use crate::metrics;
use crate::octets::{Arrival, Held};
use crate::returned;
use crate::stream::Stream;
use crate::submission::{Door, Offer, not_null};
use crate::timer::Timer;
use crate::unheard::Unheard;
use bytes::BytesMut;
use mail::{EnhancedStatus, ForwardPath, Refusal, RefusalKind, Reply, ReversePath};
use registry::{CredentialRef, Party, Sender, Steering};
use smtp::server::{Action, Answer, Transaction};
use smtp::{Password, server};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// How a session ended, for the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// In order: QUIT, or closed by the machine with a reply.
    Closed,
    /// Over a limit of connections.
    Refused,
    /// The TLS handshake failed or took too long.
    Handshake,
    /// The connection broke, or the client took no replies.
    Lost,
}

/// How long what a client still sends is read after it was turned away; closing at once could cost it our reply.
const LINGER: Duration = Duration::from_secs(2);

pub(crate) struct Session {
    house: Arc<House>,
    entrance: Entrance,
    peer: IpAddr,
    place: Place,
    held: Held,
    machine: server::Session,
    /// Set by AUTH.
    credential: Option<CredentialRef>,
    /// Taken since the last MAIL FROM.
    recipients: u32,
    timer: Timer,
    unheard: Unheard,
    /// The machine was told that the node shuts down.
    leaving: bool,
}

/// Runs a connection to its end.
pub(crate) async fn run(
    house: Arc<House>,
    entrance: Entrance,
    (stream, peer): (TcpStream, IpAddr),
    place: Place,
    shutdown: CancellationToken,
) {
    let machine = server::Session::new(house.server_config(entrance), house.now());
    let held = house.submission.hold_octets(Party::Strangers).gives_way();
    let (credential, timer) = (None, Timer::default());
    let session = Session {
        house,
        entrance,
        peer,
        place,
        held,
        machine,
        credential,
        recipients: 0,
        timer,
        unheard: Unheard::default(),
        leaving: false,
    };
    let end = session.run(Stream::Plain(stream), shutdown).await;
    metrics::session_ended(entrance.as_str(), end.as_str());
}

impl Session {
    async fn run(mut self, stream: Stream, shutdown: CancellationToken) -> End {
        let stream = match self.enter(stream).await {
            Ok(stream) => stream,
            Err(end) => return end,
        };
        match self.converse(stream, shutdown).await {
            Ok((end, stream)) => {
                // The place is given back before the goodbye, which may take a moment.
                let limit = self.house.write_limit();
                drop(self);
                stream.close(limit).await;
                end
            }
            Err(end) => end,
        }
    }

    /// Finds a place for the connection and shakes hands where TLS comes first.
    async fn enter(&mut self, mut stream: Stream) -> Result<Stream, End> {
        if let Err(refusal) = self.place.settle_in().await {
            // Before a handshake there is nobody who could read the reply.
            if self.entrance != Entrance::Submissions {
                let line = format!("{}\r\n", refusal.to_reply());
                let _ = stream.write(line.as_bytes(), self.house.write_limit()).await;
                stream.close(self.house.write_limit()).await;
            }
            return Err(End::Refused);
        }
        match self.entrance {
            Entrance::Submissions => self.shake_hands(stream).await.ok_or(End::Handshake),
            Entrance::Submission | Entrance::Inbound => Ok(stream),
        }
    }

    /// The loop of the shell.
    async fn converse(
        &mut self,
        mut stream: Stream,
        shutdown: CancellationToken,
    ) -> Result<(End, Stream), End> {
        if let Err(refusal) = self.house.submission.check_disk() {
            self.machine.refuse_connection(refusal);
        }
        loop {
            while let Some(action) = self.machine.poll_action() {
                match action {
                    Action::Send(octets) => {
                        let written = stream.write(&octets, self.house.write_limit()).await;
                        written.map_err(|_| self.lost())?;
                    }
                    Action::Close => return Ok((End::Closed, stream)),
                    Action::StartTls => {
                        stream = self.shake_hands(stream).await.ok_or(End::Handshake)?;
                        let (version, cipher) = stream.tls_names().unwrap_or_default();
                        self.machine.handle_answer(Answer::TlsDone { version, cipher }, self.house.now());
                    }
                    Action::CheckCredential { username, password } => {
                        let checked = self.authenticate(&username, &password).await;
                        if let Err(refusal) = &checked
                            && refusal.kind == RefusalKind::TooManyConnections
                        {
                            self.turn_away(&mut stream, refusal).await;
                            return Ok((End::Refused, stream));
                        }
                        self.answer(checked, Answer::CredentialOk);
                    }
                    Action::CheckReversePath { path, size } => {
                        if let Err(refusal) = self.house.submission.check_disk() {
                            self.turn_away(&mut stream, &refusal).await;
                            return Ok((End::Refused, stream));
                        }
                        self.recipients = 0;
                        let checked = self.check_reverse_path(&path, size);
                        self.answer(checked, Answer::ReversePathOk);
                    }
                    Action::CheckRecipient(path) => {
                        let checked = self.check_recipient(&path);
                        self.answer(checked, Answer::RecipientOk);
                    }
                    Action::CheckRoom { octets } => self.check_room(octets),
                    Action::Accept(transaction) => {
                        panics::place("session");
                        let accepted = self.accept(transaction).await;
                        let answer =
                            accepted.map_or_else(Answer::Refused, |reply| Answer::Accepted { reply });
                        self.machine.handle_answer(answer, self.house.now());
                    }
                }
            }
            if shutdown.is_cancelled() && !self.leaving {
                // A message under way is finished first; the machine knows when that is.
                self.leaving = true;
                self.machine.refuse_connection(shutting_down());
                continue;
            }
            match self.wait(&mut stream, &shutdown).await? {
                Ok(()) => {}
                Err(refusal) => {
                    self.forget_message();
                    self.turn_away(&mut stream, &refusal).await;
                    return Ok((End::Refused, stream));
                }
            }
        }
    }

    /// Waits for the client, the timer of the machine or the end of the node. A refusal ends the session at once.
    async fn wait(
        &mut self,
        stream: &mut Stream,
        shutdown: &CancellationToken,
    ) -> Result<Result<(), Refusal>, End> {
        self.timer.set(self.machine.poll_timeout(), self.house.now());
        // A transaction may have ended by commands that were read together.
        self.held.lower(self.claimed_octets());
        let wants_input = self.machine.wants_input();
        let (machine, house) = (&mut self.machine, &self.house);
        let read = tokio::select! {
            biased;
            read = stream.read(|octets| machine.handle_bytes(octets, house.now())), if wants_input => Some(read),
            () = self.timer.fired() => None,
            () = shutdown.cancelled(), if !self.leaving => return Ok(Ok(())),
            () = self.place.make_room() => return Ok(Err(crowded_out())),
            refusal = self.held.pushed_out() => return Ok(Err(refusal)),
        };
        match read {
            None => self.machine.handle_timeout(self.house.now()),
            Some(Ok(0)) => self.machine.handle_eof(),
            Some(Ok(_)) => {
                self.unheard.heard();
                return Ok(self.held.hold(self.claimed_octets(), Arrival::Here));
            }
            Some(Err(_)) => return Err(self.lost()),
        }
        Ok(Ok(()))
    }

    fn lost(&mut self) -> End {
        self.unheard.lost();
        End::Lost
    }

    /// What came of a message is not counted any more, so it may not stay while the client is heard out.
    fn forget_message(&mut self) {
        self.machine = server::Session::new(self.house.server_config(self.entrance), self.house.now());
    }

    /// Outside of the machine's conversation: says no, and lets the client read it before the connection is gone. What
    /// was answered before goes in front: a client whose message is ours must not take this for the answer to it.
    async fn turn_away(&mut self, stream: &mut Stream, refusal: &Refusal) {
        let mut octets = BytesMut::from(&self.machine.held_replies()[..]);
        octets.extend_from_slice(format!("{}\r\n", refusal.to_reply()).as_bytes());
        if stream.write(&octets, self.house.write_limit()).await.is_err() {
            return self.unheard.lost();
        }
        let _ = tokio::time::timeout(LINGER, async { while matches!(stream.read(|_| {}).await, Ok(1..)) {} })
            .await;
    }

    async fn shake_hands(&self, stream: Stream) -> Option<Stream> {
        let acceptor = self.house.tls.as_ref()?.acceptor();
        let limit = Duration::from_secs(self.house.submission.config().tls.handshake_s_max);
        stream.into_tls(acceptor, limit).await.ok()
    }

    fn answer(&mut self, checked: Result<(), Refusal>, yes: Answer) {
        let answer = match checked {
            Ok(()) => yes,
            Err(refusal) => Answer::Refused(refusal),
        };
        self.machine.handle_answer(answer, self.house.now());
    }

    async fn authenticate(&mut self, username: &str, password: &Password) -> Result<(), Refusal> {
        let checked = self.check_credential(username, password).await;
        metrics::authenticated(checked.as_ref().map(|_| ()));
        self.credential = Some(checked?);
        Ok(())
    }

    async fn check_credential(
        &mut self,
        username: &str,
        password: &Password,
    ) -> Result<CredentialRef, Refusal> {
        let house = Arc::clone(&self.house);
        house.throttle().check_pair(username, self.peer, house.now())?;
        let snapshot = house.submission.loaded_snapshot()?;
        let now = house.submission.clock().timestamp();
        let credential = match snapshot.authenticate(username, password.reveal(), self.peer, now) {
            Ok(credential) => credential,
            Err(refusal) => {
                let guess = snapshot.guess(username, password.reveal());
                let setback = house.throttle().wrong(username, self.peer, guess, house.now());
                tokio::time::sleep(setback.delay).await;
                return Err(setback.locked.unwrap_or(refusal));
            }
        };
        house.throttle().succeeded(username, self.peer, house.now());
        self.held.belongs_to(Party::Tenant(credential.tenant));
        self.place.belongs_to(Owner {
            credential: credential.id,
            tenant: credential.tenant,
            credential_max: credential.limits.connections.map(|max| max as usize),
            tenant_max: snapshot.tenant(credential.tenant).map_or(0, |t| t.plan.connections_max as usize),
        })?;
        Ok(credential)
    }

    fn check_reverse_path(&mut self, path: &ReversePath, size: Option<u64>) -> Result<(), Refusal> {
        match self.entrance {
            Entrance::Inbound => Ok(()),
            Entrance::Submission | Entrance::Submissions => {
                not_null(path)?;
                let (snapshot, sender) = (self.house.submission.loaded_snapshot()?, self.sender()?);
                let now = self.house.submission.clock().timestamp();
                snapshot
                    .may_use_reverse_path(&sender, path, now)
                    .inspect_err(|refusal| self.house.submission.note_refusal(sender, refusal))?;
                snapshot.may_have_octets(&sender, size.unwrap_or_default())?;
                // The room for what was declared, which is within the limit of a message.
                let octets = size.map_or(0, |size| usize::try_from(size).unwrap_or(usize::MAX));
                self.held.hold(octets, Arrival::Announced)
            }
        }
    }

    /// What the message of this session may claim of the octets in flight. Strangers claim nothing by words alone: who
    /// brings mail back has to show a recipient of ours first.
    fn claimed_octets(&self) -> usize {
        let is_known = self.entrance != Entrance::Inbound || self.recipients > 0;
        if is_known { self.machine.claimed_octets() } else { 0 }
    }

    fn check_recipient(&mut self, path: &ForwardPath) -> Result<(), Refusal> {
        match self.entrance {
            Entrance::Inbound => {
                let submission = &self.house.submission;
                returned::subject_of(submission.token_key(), &*submission.loaded_snapshot()?, path)?;
            }
            // Where the mail goes is found out later; how many there may be is said now: the client can split.
            Entrance::Submission | Entrance::Submissions => {
                let snapshot = self.house.submission.loaded_snapshot()?;
                snapshot.may_have_recipients(&self.sender()?, u64::from(self.recipients) + 1)?;
            }
        }
        self.recipients += 1;
        Ok(())
    }

    fn check_room(&mut self, octets: usize) {
        let checked = self.held.hold(octets, Arrival::Announced);
        self.answer(checked, Answer::RoomOk);
    }

    async fn accept(&mut self, transaction: Transaction) -> Result<Reply, Refusal> {
        self.held.complete();
        let result = match self.entrance {
            Entrance::Inbound => returned::take_back(&self.house, self.peer, transaction).await,
            Entrance::Submission | Entrance::Submissions => self.submit(transaction).await,
        };
        // Nothing is kept any more, whatever the answer.
        self.held.clear();
        result
    }

    async fn submit(&mut self, transaction: Transaction) -> Result<Reply, Refusal> {
        let Transaction { envelope, raw, client_name, protocol, .. } = transaction;
        let door = Door::Smtp { protocol, client_name };
        let steering = Steering::default();
        let sender = self.sender()?;
        let offer = Offer { sender, envelope, raw, steering, peer: self.peer, door };
        let accepted =
            self.house.submission.accept(offer).await.map_err(|denial: Denial| denial.to_refusal())?;
        self.unheard.said(sender.tenant(), accepted.message);
        Ok(Reply::new(250, Some(EnhancedStatus::new(2, 0, 0)), format!("queued as {}", accepted.message)))
    }

    /// The machine asks nothing of a submission before AUTH; if it did, the answer would be no.
    fn sender(&self) -> Result<Sender, Refusal> {
        self.credential
            .as_ref()
            .map(Sender::of_credential)
            .ok_or_else(|| Refusal::new(RefusalKind::AuthenticationRequired, "authentication required"))
    }
}

fn crowded_out() -> Refusal {
    let public =
        "too many connections here that do not say whose they are; please come back and authenticate at once";
    Refusal::new(RefusalKind::TooManyConnections, public)
}

pub(crate) fn shutting_down() -> Refusal {
    Refusal::new(RefusalKind::ShuttingDown, "this server is shutting down")
}

impl End {
    const fn as_str(self) -> &'static str {
        match self {
            End::Closed => "closed",
            End::Refused => "refused",
            End::Handshake => "handshake",
            End::Lost => "lost",
        }
    }
}
