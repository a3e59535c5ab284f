//! Messages read back by position: from memory if they were just written, from the disk with their checksums if not.
//!
//! What was just accepted is usually delivered at once, so the commit thread leaves it in a cache with a limit in
//! octets; a message that is settled, or whose open recipients were all deferred, leaves early, and so does one whose
//! turn does not come soon. Damage is a `Fault::Unreadable`, never wrong bytes.

use crate::loaded::counted;
use crate::record::Logged;
use crate::segment::{FRAME_HEADER_OCTETS, FrameHeader, Read, read_over_errors};
use crate::shared::Shared;
use crate::{Accepted, Fault, Position, Record, stepped, wire};
use bytes::Bytes;
use mail::{Instant, TenantId};
use registry::Party;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A message as it was accepted.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Everything about it but its text.
    pub accepted: Arc<Accepted>,
    /// Header section and body as they are sent.
    pub body: Bytes,
}

/// Reads messages back by position.
///
/// # Errors
/// Each read: `NotAMessage` if nothing accepted lies at the position, `Unreadable` if a checksum is wrong (a
/// copy is in quarantine then), `Read` if the disk does not give it, `Busy` if there is no memory for a large
/// message within 5 s, `Closed` if the runtime shuts down.
#[derive(Clone)]
pub struct Bodies(pub(crate) Arc<Shared>);

impl Bodies {
    /// Header section and body of the message at a position.
    ///
    /// # Errors
    /// As [every read](Bodies#errors).
    pub async fn body(&self, position: Position) -> Result<Bytes, Fault> {
        self.message(position).await.map(|stored| stored.body)
    }

    /// Envelope and body.
    ///
    /// # Errors
    /// As [every read](Bodies#errors).
    pub async fn message(&self, position: Position) -> Result<Stored, Fault> {
        let large = match self.find(position).await? {
            Found::Message(stored) => return Ok(stored),
            Found::Large(large) => large,
        };
        // Whether it is in the cache or not: it lives on in the session when the cache has let go of it.
        let turn = self.0.loaded.turn(Party::Tenant(large.tenant), large.octets).await?;
        let Stored { accepted, body } = self.find_large(position, large.head).await?;
        Ok(Stored { accepted, body: counted(body, turn) })
    }

    async fn find(&self, position: Position) -> Result<Found, Fault> {
        let octets_max = self.0.loaded.small();
        if let Some(stored) = self.cached(position) {
            let (octets, tenant) = (stored.body.len() as u64, stored.accepted.tenant);
            return Ok(match octets <= octets_max {
                true => Found::Message(stored),
                false => Found::Large(Large { octets, tenant, head: None }),
            });
        }
        stepped::read(&self.0, move |shared| {
            at_its_place(shared, position, |place| read_message(shared, place, octets_max))
        })
        .await
    }

    /// The cache may have let go of it meanwhile, and it may have been copied forward.
    async fn find_large(&self, position: Position, head: Option<Head>) -> Result<Stored, Fault> {
        if let Some(stored) = self.cached(position) {
            return Ok(stored);
        }
        let read = move |shared: &Shared, place| match &head {
            Some(head) if head.place == place => read_body(shared, head),
            Some(_) | None => match read_message(shared, place, u64::MAX)? {
                Found::Message(stored) => Ok(stored),
                Found::Large(_) => Err(Fault::Unreadable(place)),
            },
        };
        stepped::read(&self.0, move |shared| at_its_place(shared, position, |place| read(shared, place)))
            .await
    }

    fn cached(&self, position: Position) -> Option<Stored> {
        self.0.cache().get(position)
    }
}

/// A message, or what is known of it if it is larger than is read without a turn.
enum Found {
    Message(Stored),
    Large(Large),
}

struct Large {
    octets: u64,
    tenant: TenantId,
    /// None if it was in the cache, or is large itself.
    head: Option<Head>,
}

/// A message without its body, as it was read.
struct Head {
    place: Position,
    header: FrameHeader,
    accepted: Arc<Accepted>,
}

/// Reads where the message lies now: it may have been copied forward since it was known to lie at `position`.
fn at_its_place<T>(
    shared: &Shared,
    position: Position,
    read: impl Fn(Position) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let mut place = shared.ledger().place(position);
    loop {
        let result = read(place);
        let now = shared.ledger().place(position);
        // It was copied while we read, and the segment we looked into may be gone.
        if result.is_ok() || now == place {
            return result;
        }
        place = now;
    }
}

fn read_message(shared: &Shared, position: Position, octets_max: u64) -> Result<Found, Fault> {
    let (segment, offset) = (position.segment(), u64::from(position.offset()));
    if offset + FRAME_HEADER_OCTETS as u64 > shared.committed_octets(segment) {
        return Err(Fault::NotAMessage(position));
    }
    let fault = |error| Fault::read(segment, error);
    let file = shared.file(segment).map_err(fault)?;
    let mut head = [0; FRAME_HEADER_OCTETS];
    file.read_at(&mut head, offset).map_err(fault)?;
    let damaged = |octets: u64| {
        shared.set_aside(&*file, position, octets);
        Fault::Unreadable(position)
    };
    let header = FrameHeader::parse(&head, position).ok_or_else(|| damaged(FRAME_HEADER_OCTETS as u64))?;
    if header.len() > octets_max {
        return read_head(shared, position, header, octets_max);
    }
    let mut octets = vec![0; header.len() as usize - FRAME_HEADER_OCTETS];
    let read = file.read_at(&mut octets, offset + FRAME_HEADER_OCTETS as u64).map_err(fault)?;
    octets.truncate(read);
    let octets = Bytes::from(octets);
    let (meta, body) = octets.split_at(octets.len().min(header.meta_len as usize));
    if !header.meta_is_whole(meta) || !header.body_is_whole(body) {
        return Err(damaged(header.len()));
    }
    match wire::decode(header.kind, header.version, meta).map(accepted) {
        Some(Some(accepted)) => {
            Ok(Found::Message(Stored { accepted, body: octets.slice(header.meta_len as usize..) }))
        }
        Some(None) => Err(Fault::NotAMessage(position)),
        None => Err(damaged(header.len())),
    }
}

/// The envelope behind a header that was read; the body is left for when there is memory for it. An envelope that is large
/// itself is read again then: whoever waits for its turn holds no more than a small message.
fn read_head(
    shared: &Shared,
    place: Position,
    header: FrameHeader,
    held_octets_max: u64,
) -> Result<Found, Fault> {
    let fault = |error| Fault::read(place.segment(), error);
    let file = shared.file(place.segment()).map_err(fault)?;
    let mut meta = vec![0; header.meta_len as usize];
    let read = file.read_at(&mut meta, u64::from(place.offset()) + FRAME_HEADER_OCTETS as u64);
    meta.truncate(read.map_err(fault)?);
    let logged = header.meta_is_whole(&meta).then(|| wire::decode(header.kind, header.version, &meta));
    let Some(logged) = logged.flatten() else {
        shared.set_aside(&*file, place, header.len());
        return Err(Fault::Unreadable(place));
    };
    let accepted = accepted(logged).ok_or(Fault::NotAMessage(place))?;
    let tenant = accepted.tenant;
    let is_held = u64::from(header.meta_len) <= held_octets_max;
    let head = is_held.then_some(Head { place, header, accepted });
    Ok(Found::Large(Large { octets: header.len(), tenant, head }))
}

fn read_body(shared: &Shared, Head { place, header, accepted }: &Head) -> Result<Stored, Fault> {
    let fault = |error| Fault::read(place.segment(), error);
    let file = shared.file(place.segment()).map_err(fault)?;
    let mut body = vec![0; header.body_len as usize];
    let at = u64::from(place.offset()) + header.len() - u64::from(header.body_len);
    let read = file.read_at(&mut body, at).map_err(fault)?;
    body.truncate(read);
    if !header.body_is_whole(&body) {
        shared.set_aside(&*file, *place, header.len());
        return Err(Fault::Unreadable(*place));
    }
    Ok(Stored { accepted: Arc::clone(accepted), body: body.into() })
}

/// The message in a frame, if it is one.
fn accepted(logged: Logged) -> Option<Arc<Accepted>> {
    match logged {
        Logged::Record(record) => match &*record {
            Record::Accepted(accepted) => Some(Arc::clone(accepted)),
            Record::Attempted(_) | Record::Settled(_) | Record::Unknown { .. } => None,
        },
        Logged::Moved(moved) => Some(Arc::clone(&moved.accepted)),
    }
}

/// The envelope of an accepted message, from the disk; its body is neither read nor checked. Blocking.
pub(crate) fn read_accepted(shared: &Shared, position: Position) -> Result<Arc<Accepted>, Fault> {
    at_its_place(shared, position, |place| read_envelope(shared, place))
}

fn read_envelope(shared: &Shared, position: Position) -> Result<Arc<Accepted>, Fault> {
    let (segment, offset) = (position.segment(), u64::from(position.offset()));
    let file = shared.file(segment).map_err(|error| Fault::read(segment, error))?;
    let mut octets = vec![0; FRAME_HEADER_OCTETS + ENVELOPE_OCTETS as usize];
    let fault = |error| Fault::read(segment, error);
    let mut read = read_over_errors(&*file, &mut octets, offset).map_err(fault)?;
    if read == Read::WithErrors {
        // A bad sector behind the envelope must not cost the envelope: no octet more than it has.
        octets.truncate(FRAME_HEADER_OCTETS);
        read = read_over_errors(&*file, &mut octets, offset).map_err(fault)?;
    }
    let unreadable = |read: Read| match read {
        Read::Whole => Fault::Unreadable(position),
        Read::WithErrors => Fault::read(segment, io::Error::other("a piece of it cannot be read")),
    };
    let header = FrameHeader::parse(&octets, position).ok_or_else(|| unreadable(read))?;
    let already = octets.len();
    octets.resize(FRAME_HEADER_OCTETS + header.meta_len as usize, 0);
    if let Some(rest) = octets.get_mut(already..).filter(|rest| !rest.is_empty()) {
        read = read_over_errors(&*file, rest, offset + already as u64).map_err(fault)?;
    }
    octets.drain(..FRAME_HEADER_OCTETS);
    match wire::decode(header.kind, header.version, &octets).and_then(accepted) {
        Some(accepted) if header.meta_is_whole(&octets) => Ok(accepted),
        Some(_) | None => {
            shared.set_aside(&*file, position, header.len());
            Err(unreadable(read))
        }
    }
}

/// Messages just written, oldest out first.
pub(crate) struct Cache {
    held: HashMap<Position, (Arc<Accepted>, Bytes)>,
    /// And when each was written.
    order: VecDeque<(Position, Instant)>,
    octets: u64,
    octets_max: u64,
}

/// What was not sent in this time stands behind a gate: it will be read from the disk when that opens.
const KEPT: Duration = Duration::from_secs(30);
/// What a message in the cache costs beside its body, roughly.
const ENVELOPE_OCTETS: u64 = 1_024;

impl Cache {
    pub(crate) fn new(octets_max: u64) -> Cache {
        Cache { held: HashMap::new(), order: VecDeque::new(), octets: 0, octets_max }
    }

    pub(crate) fn insert(&mut self, position: Position, accepted: Arc<Accepted>, body: Bytes, now: Instant) {
        let cost = body.len() as u64 + ENVELOPE_OCTETS;
        if cost > self.octets_max {
            return;
        }
        self.octets += cost;
        self.held.insert(position, (accepted, body));
        self.order.push_back((position, now));
        while self.octets > self.octets_max {
            let Some((oldest, _)) = self.order.pop_front() else { break };
            self.remove(oldest);
        }
    }

    /// Lets go of what has been here for long. Called whenever something was written, which a node with mail that waits
    /// does all the time.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((oldest, written)) = self.order.front().copied()
            && now.saturating_since(written) > KEPT
        {
            self.order.pop_front();
            self.remove(oldest);
        }
    }

    pub(crate) fn remove(&mut self, position: Position) {
        if let Some((_, body)) = self.held.remove(&position) {
            self.octets -= body.len() as u64 + ENVELOPE_OCTETS;
        }
        // Settled messages leave their place in the order behind; it goes when it comes to the front, or here.
        if self.order.len() > 2 * self.held.len() + 64 {
            self.order.retain(|(position, _)| self.held.contains_key(position));
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    #[cfg(test)]
    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    fn get(&self, position: Position) -> Option<Stored> {
        let (accepted, body) = self.held.get(&position)?;
        Some(Stored { accepted: Arc::clone(accepted), body: body.clone() })
    }
}
