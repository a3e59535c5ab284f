//! DATA and BDAT: taking a message, judging it, keeping it.
//!
//! The second half of a session. A message with bare CR or LF is refused, because large sites do; what is accepted
//! goes into the arrivals, and a complaint or a bounce about it may be scheduled.

use super::{Known, Next, Session, Transaction, mistake, pause, timed_out};
use crate::arrivals::Arrival;
use crate::provider::{Afterwards, Fate, Why, count};
use crate::returns::Errand;
use crate::wire::{Data, Wire, has_clean_line_ends};
use crate::world::lock;
use bytes::Bytes;
use mail::Mailbox;
use std::io::{Error, ErrorKind, Result};
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Session {
    pub(super) async fn data(&self, wire: &mut Wire, known: &mut Known) -> Result<Next> {
        match &known.transaction {
            Some(transaction) if !transaction.recipients.is_empty() && transaction.chunks.is_empty() => {}
            Some(_) => return Ok(mistake(wire, known, "554 5.5.1 Error: no valid recipients")),
            None => return Ok(mistake(wire, known, "503 5.5.1 Error: need RCPT command")),
        }
        wire.say("354 Go ahead");
        wire.flush().await?;
        let limit = self.octets_max();
        let data = tokio::time::timeout(self.world.config.command_timeout, wire.data(limit))
            .await
            .map_err(|_| timed_out())??;
        let Some(transaction) = known.transaction.take() else { return Ok(Next::Close) };
        match data {
            Data::Whole(raw) => self.judge(wire, known, transaction, raw).await,
            Data::TooLong => Ok(self.refuse(wire, Why::TooLarge, "")),
        }
    }

    /// RFC 3030: the octets are always read, whatever is answered, or the session would lose its place.
    pub(super) async fn bdat(
        &self,
        wire: &mut Wire,
        known: &mut Known,
        octets: usize,
        last: bool,
    ) -> Result<Next> {
        let (limit, offered) = (self.octets_max(), self.provider.spec.voice.features().chunking);
        let (mut into, mut why) = (None, None);
        match known.transaction.as_mut() {
            _ if !offered => why = Some("502 5.5.1 Command not implemented"),
            Some(transaction) if !transaction.recipients.is_empty() => {
                transaction.chunks_too_long |= transaction.chunks.len().saturating_add(octets) > limit;
                into = (!transaction.chunks_too_long).then_some(&mut transaction.chunks);
            }
            _ => why = Some("503 5.5.1 Error: need RCPT command"),
        }
        let read = wire.octets(octets, into);
        tokio::time::timeout(self.world.config.command_timeout, read).await.map_err(|_| timed_out())??;
        if let Some(reply) = why {
            return Ok(mistake(wire, known, reply));
        }
        if !last {
            wire.say(&format!("250 2.0.0 {octets} octets received"));
            return Ok(Next::Continue);
        }
        match known.transaction.take() {
            Some(transaction) if transaction.chunks_too_long => Ok(self.refuse(wire, Why::TooLarge, "")),
            Some(mut transaction) => {
                let raw = Bytes::from(std::mem::take(&mut transaction.chunks));
                self.judge(wire, known, transaction, raw).await
            }
            None => Ok(Next::Close),
        }
    }

    async fn judge(
        &self,
        wire: &mut Wire,
        known: &mut Known,
        transaction: Transaction,
        raw: Bytes,
    ) -> Result<Next> {
        if !has_clean_line_ends(&raw) {
            count(&self.provider.counters.refused);
            wire.say("550 5.6.11 Bare carriage return or line feed in the message is not accepted");
            return Ok(Next::Continue);
        }
        let dice = self.world.dice();
        let (fate, delay) = {
            let model = lock(&self.provider.model);
            (model.message(&transaction.recipients, dice), Duration::from_millis(model.behaviour().delay_ms))
        };
        pause(wire, delay).await?;
        let serial = self.world.serial();
        match fate {
            Fate::Refuse(why) => Ok(self.refuse(wire, why, "")),
            Fate::KeepAndDrop => {
                self.keep(known, transaction, raw, serial);
                Err(Error::new(ErrorKind::ConnectionAborted, "dropped on purpose"))
            }
            Fate::Keep { afterwards } => {
                let id = self.keep(known, transaction, raw, serial);
                self.world.schedule(match afterwards {
                    Afterwards::Nothing => None,
                    Afterwards::Complain => Some(Errand::complaint_of(self.provider.spec.voice, id)),
                    Afterwards::Bounce => Some(Errand::bounce_of(self.provider.spec.voice, id)),
                });
                wire.say(&self.provider.spec.voice.accepted(self.host().name, serial));
                Ok(Next::Continue)
            }
        }
    }

    fn keep(&self, known: &mut Known, transaction: Transaction, raw: Bytes, serial: u64) -> String {
        known.messages += 1;
        let counters = &self.provider.counters;
        count(&counters.messages);
        counters.recipients.fetch_add(transaction.recipients.len() as u64, Ordering::Relaxed);
        counters.octets.fetch_add(raw.len() as u64, Ordering::Relaxed);
        let id = format!("arr_{serial:010}");
        self.world.keep(Arrival {
            id: id.clone(),
            at: self.world.clock.timestamp(),
            provider: self.provider.spec.name,
            mx: self.host().name,
            peer: self.peer,
            ehlo: known.ehlo.clone().unwrap_or_default(),
            tls: known.tls,
            mail_from: transaction.reverse_path,
            rcpt_to: transaction.recipients.iter().map(Mailbox::to_string).collect(),
            octets: raw.len(),
            sha256: crate::world::sha256(&raw),
            raw: Some(raw),
        });
        id
    }

    fn octets_max(&self) -> usize {
        self.provider.spec.voice.features().size.min(self.world.config.message_octets_max)
    }
}
