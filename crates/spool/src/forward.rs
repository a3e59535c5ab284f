//! Copy-forward: the messages of the oldest segment that still wait are copied to the end of the log, so that the
//! segment can go. Why and what it costs: docs/design/0006-copy-forward.md.
//!
//! It finds the messages and reads them; the commit thread writes the copies like everything else, in front of a
//! group, because only it knows what is settled at that moment. Nothing here removes anything. Called by the trim
//! thread only. What may surprise: a message that cannot be read is not copied and keeps its segment until it is
//! settled; whoever delivers it finds it unreadable and says so.

use crate::error::is_passing;
use crate::queue::{Copies, Copy};
use crate::record::{Logged, Record};
use crate::segment::{self, Found, Scan};
use crate::shared::Shared;
use crate::{DiskFile, Fault, Position, wire};
use bytes::Bytes;
use mail::MessageId;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How copying one segment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    /// Nothing in it waits any more.
    All,
    /// Something in it cannot be copied, now or later.
    Stuck,
    /// There was no room, or the journal ends.
    NotNow,
}

/// Copies what waits in `segment`, group by group, with pauses that keep to the configured speed. Blocking; `commit`
/// has a group written if no thread does.
pub(crate) fn copy_forward(shared: &Shared, segment: u32, commit: &mut dyn FnMut()) -> Copied {
    let survivors = Survivors::new(shared, segment);
    match survivors.and_then(|mut survivors| survivors.copy_all(commit)) {
        Ok(()) if shared.ledger().segments.get(&segment).is_none_or(|state| state.open == 0) => Copied::All,
        // What waits was not found where it should lie, or is damaged.
        Ok(()) => Copied::Stuck,
        Err(Fault::Read { source, .. }) if !is_passing(&source) => {
            tracing::warn!(segment, error = %source, "a segment cannot be copied forward");
            Copied::Stuck
        }
        Err(fault) => {
            tracing::debug!(segment, error = &fault as &dyn std::error::Error, "copying forward is put off");
            Copied::NotNow
        }
    }
}

/// The waiting messages of one segment.
struct Survivors<'a> {
    shared: &'a Shared,
    file: Arc<dyn DiskFile>,
    scan: Scan,
    segment: u32,
}

impl Survivors<'_> {
    fn new(shared: &Shared, segment: u32) -> Result<Survivors<'_>, Fault> {
        let file = shared.file(segment).map_err(|error| Fault::read(segment, error))?;
        let end = shared.committed_octets(segment);
        let scan = Scan::new(Arc::clone(&file), Position::new(segment, 0), end, segment::Bodies::Skip);
        Ok(Survivors { shared, file, scan, segment })
    }

    fn copy_all(&mut self, commit: &mut dyn FnMut()) -> Result<(), Fault> {
        let limit = u64::from(self.shared.config.copy_forward_group_octets_max);
        let (mut copies, mut octets) = (Vec::new(), 0);
        while let Some(copy) = self.next().map_err(|error| Fault::read(self.segment, error))? {
            octets += (copy.accepted.len() + copy.body.len()) as u64;
            copies.push(copy);
            if octets >= limit {
                self.append(std::mem::take(&mut copies), std::mem::take(&mut octets), commit)?;
            }
        }
        if copies.is_empty() { Ok(()) } else { self.append(copies, octets, commit) }
    }

    /// Returns when the copies are durable and known.
    fn append(&self, copies: Vec<Copy>, octets: u64, commit: &mut dyn FnMut()) -> Result<(), Fault> {
        let messages = copies.len() as u64;
        let (answer, answered) = oneshot::channel();
        self.shared.queue.push_copies(Copies { copies, answer })?;
        commit();
        // The sender is dropped unanswered only if the commit thread is gone.
        answered.blocking_recv().unwrap_or(Err(Fault::Sealed))?;
        metrics::counter!("posthouse_spool_copied_forward_total").increment(messages);
        metrics::counter!("posthouse_spool_copied_forward_octets_total").increment(octets);
        let micros = octets * 1_000_000 / self.shared.config.copy_forward_octets_per_second_max;
        self.shared.marks.rest(Duration::from_micros(micros));
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<Copy>> {
        while let Some(found) = self.scan.next()? {
            let Found::Frame { position, header, meta } = found else { continue };
            let message = wire::decode(header.kind, header.version, &meta).and_then(message);
            let Some(message) = message.filter(|message| self.shared.ledger().lies_at(*message, position))
            else {
                continue;
            };
            let mut body = vec![0; header.body_len as usize];
            let at = u64::from(position.offset()) + header.len() - u64::from(header.body_len);
            let read = self.file.read_at(&mut body, at)?;
            if read < body.len() || !header.body_is_whole(&body) {
                self.shared.set_aside(&*self.file, position, header.len());
                continue;
            }
            let Some(accepted) = wire::accepted_meta(header.kind, header.version, meta) else { continue };
            return Ok(Some(Copy { message, from: position, accepted, body: Bytes::from(body) }));
        }
        Ok(None)
    }
}

fn message(logged: Logged) -> Option<MessageId> {
    match logged {
        Logged::Record(record) => match &*record {
            Record::Accepted(accepted) => Some(accepted.message),
            Record::Attempted(_) | Record::Settled(_) | Record::Unknown { .. } => None,
        },
        Logged::Moved(moved) => Some(moved.accepted.message),
    }
}
