//! The house's side of a submission: what `ingress/src/session.rs` does around the same machine, without sockets,
//! throttling and places; everything behind `accept` is the real one.

use crate::agenda::Happening;
use crate::network::{Packet, Side};
use crate::world::World;
use ingress::{Accepted, Arrival, Denial, Door as DoorName, Held, Offer, Submission};
use mail::{EnhancedStatus, Refusal, RefusalKind, Reply};
use registry::{CredentialRef, Party, Sender, Snapshot, Steering};
use smtp::Limits;
use smtp::server::{Action, Answer, Role, ServerConfig, Session, TlsMode, Transaction};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

pub struct Door {
    machine: Session,
    credential: Option<CredentialRef>,
    held: Held,
}

impl Door {
    pub fn refuse(&mut self, refusal: Refusal) {
        self.machine.refuse_connection(refusal);
    }
}

/// A message between its final dot and its answer.
pub struct Accepting {
    pub line: u64,
    answer: Pin<Box<dyn Future<Output = Result<Accepted, Denial>>>>,
}

impl World {
    pub fn open_door(&mut self, line: u64) {
        let Some(house) = self.house.as_mut().filter(|house| !house.stopping) else {
            return self.hang_up(line, Side::Called);
        };
        let (hostname, role) = (mail::Domain::parse("mx.house.example").unwrap(), Role::Submission);
        let config = ServerConfig::new(hostname, role, TlsMode::Implicit, Limits::default());
        let held = house.submission.hold_octets(Party::Strangers);
        let door = Door { machine: Session::new(config, self.now), credential: None, held };
        house.doors.insert(line, door);
        self.drive_door(line);
    }

    pub fn drive_door(&mut self, line: u64) {
        while let Some(door) = self.house.as_mut().and_then(|house| house.doors.get_mut(&line)) {
            if let Some(action) = door.machine.poll_action() {
                self.act_at_door(line, action);
                continue;
            }
            if !door.machine.wants_input() {
                break;
            }
            let packet = self.read(line, Side::Called);
            let (now, door) = (self.now, self.house.as_mut().unwrap().doors.get_mut(&line).unwrap());
            match packet {
                Some(Packet::Octets(octets)) => {
                    door.machine.handle_bytes(&octets, now);
                    door.held.hold(door.machine.claimed_octets(), Arrival::Here).unwrap();
                }
                Some(Packet::End) => door.machine.handle_eof(),
                None => break,
            }
        }
        if let Some(door) = self.house.as_ref().and_then(|house| house.doors.get(&line)) {
            let at = door.machine.poll_timeout();
            self.arm(line, Side::Called, at);
        }
    }

    pub fn alarm_door(&mut self, line: u64) {
        if let Some(door) = self.house.as_mut().and_then(|house| house.doors.get_mut(&line)) {
            door.machine.handle_timeout(self.now);
            self.drive_door(line);
        }
    }

    fn act_at_door(&mut self, line: u64, action: Action) {
        let snapshot = self.snapshot();
        let (now, wall) = (self.now, self.wall());
        let house = self.house.as_mut().unwrap();
        let door = house.doors.get_mut(&line).unwrap();
        let answer = match action {
            Action::Send(octets) => return self.send(line, Side::Called, &octets),
            Action::Close => {
                house.doors.remove(&line);
                return self.hang_up(line, Side::Called);
            }
            Action::CheckCredential { username, password } => {
                let checked = snapshot.authenticate(&username, password.reveal(), PEER, wall);
                door.credential = checked.as_ref().ok().cloned();
                let checked =
                    checked.map(|credential| door.held.belongs_to(Party::Tenant(credential.tenant)));
                answer(checked, Answer::CredentialOk)
            }
            Action::CheckReversePath { path, .. } => {
                answer(check_path(&snapshot, door, &path, wall), Answer::ReversePathOk)
            }
            Action::CheckRecipient(_) => Answer::RecipientOk,
            Action::CheckRoom { octets } => {
                answer(door.held.hold(octets, Arrival::Announced), Answer::RoomOk)
            }
            Action::Accept(transaction) => {
                let offer = offer(door, transaction);
                let answer = Box::pin(accept(Arc::clone(&house.submission), offer));
                house.accepting.push(Accepting { line, answer });
                self.poll_accepting();
                return self.plan_signing();
            }
            Action::StartTls => unreachable!("TLS is there from the first octet"),
        };
        door.machine.handle_answer(answer, now);
    }

    fn plan_signing(&mut self) {
        let Some(house) = &mut self.house else { return };
        if !std::mem::replace(&mut house.signing_planned, true) {
            let pause = Duration::from_micros(self.random.below(3_000));
            self.agenda.add(self.now + pause, Happening::Sign(house.life));
        }
    }

    /// Checks and signs what waits for it, and hands it to the journal.
    pub fn sign(&mut self) {
        let Some(house) = &mut self.house else { return };
        house.signing_planned = false;
        while house.submission.step() {}
        self.poll_accepting();
        self.plan_commit();
    }

    /// Goes on with every message that waits for its answer.
    pub fn poll_accepting(&mut self) {
        let Some(house) = &mut self.house else { return };
        let mut ready = Vec::new();
        house.accepting.retain_mut(|accepting| match poll(accepting.answer.as_mut()) {
            Some(result) => {
                ready.push((accepting.line, result));
                false
            }
            None => true,
        });
        for (line, result) in ready {
            self.answer_client(line, result);
        }
    }

    fn answer_client(&mut self, line: u64, result: Result<Accepted, Denial>) {
        let answer = match &result {
            Ok(accepted) => {
                let status = Some(EnhancedStatus::new(2, 0, 0));
                Answer::Accepted { reply: Reply::new(250, status, format!("queued as {}", accepted.message)) }
            }
            Err(denial) => Answer::Refused(denial.to_refusal()),
        };
        let word =
            result.map_or_else(|denial| format!("{denial:?}"), |accepted| accepted.message.to_string());
        self.trace.say(self.now, format_args!("line {line}: the house answers {word}"));
        let now = self.now;
        if let Some(door) = self.house.as_mut().and_then(|house| house.doors.get_mut(&line)) {
            door.held.clear();
            door.machine.handle_answer(answer, now);
            self.drive_door(line);
        }
    }
}

async fn accept(submission: Arc<Submission>, offer: Offer) -> Result<Accepted, Denial> {
    submission.accept(offer).await
}

fn offer(door: &Door, transaction: Transaction) -> Offer {
    let Transaction { envelope, raw, client_name, protocol, .. } = transaction;
    let sender = Sender::of_credential(door.credential.as_ref().unwrap());
    let door = DoorName::Smtp { protocol, client_name };
    Offer { sender, envelope, raw, steering: Steering::default(), peer: PEER, door }
}

fn check_path(
    snapshot: &Snapshot,
    door: &Door,
    path: &mail::ReversePath,
    now: mail::Timestamp,
) -> Result<(), Refusal> {
    let nobody = || Refusal::new(RefusalKind::AuthenticationRequired, "authentication required");
    let sender = door.credential.as_ref().map(Sender::of_credential).ok_or_else(nobody)?;
    snapshot.may_use_reverse_path(&sender, path, now)
}

fn answer(checked: Result<(), Refusal>, yes: Answer) -> Answer {
    checked.map_or_else(Answer::Refused, |()| yes)
}

/// What a future has to say now.
pub fn poll<T>(future: Pin<&mut dyn Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// The same for one that is given up if it is not ready.
pub fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    poll(std::pin::pin!(future))
}
