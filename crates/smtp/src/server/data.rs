//! DATA and BDAT: the message itself, up to the question whether it is safe (RFC 5321 §4.1.1.4, RFC 3030).
//!
//! A message that breaks a rule is read to its end and then refused, so that nothing of it is ever taken for a command.
//! Only a client that goes on far beyond the limit, or announces it, is cut off.

use super::claim::Claim;
use super::peer::Peer;
use super::state::{Open, Question, State};
use super::{Action, Transaction};
use crate::data::{ChunkReader, DataError, DataReader, Progress};
use crate::extension::Extension;
use crate::limits::Limits;
use ::mail::{BodyKind, EnhancedStatus, Envelope, Refusal, RefusalKind, Reply};
use bytes::Bytes;

/// A chunk that is coming.
pub(super) enum Chunk {
    Keep {
        open: Open,
        reader: Box<ChunkReader>,
        remaining: u64,
        last: bool,
    },
    /// Read, thrown away and then refused; the session goes on in `then`.
    Drop {
        reply: Reply,
        octets: u64,
        remaining: u64,
        then: Box<State>,
    },
}

pub(super) fn no_recipient(open: Open, peer: &mut Peer) -> State {
    peer.complain(554, "5.5.1 no valid recipient");
    State::Mail(open)
}

/// What the shell was asked for room for.
pub(super) enum Beginning {
    Data(Open),
    Chunk(Open, Box<ChunkReader>, Announced),
}

/// The arguments of BDAT.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announced {
    pub octets: u64,
    pub last: bool,
}

/// Nothing of a message is taken before there is room for it.
pub(super) fn ask_room(beginning: Beginning, peer: &mut Peer) -> State {
    peer.ask(Action::CheckRoom { octets: beginning.needs(&peer.config.limits) });
    State::Waiting(Question::Room(beginning))
}

impl Beginning {
    fn needs(&self, limits: &Limits) -> usize {
        match self {
            Beginning::Data(open) if open.declared() > 0 => open.declared(),
            Beginning::Data(_) => limits.undeclared_octets.min(limits.message_octets_max),
            // It fits into a message.
            Beginning::Chunk(open, reader, announced) => {
                (reader.held_octets() + announced.octets as usize).max(open.declared())
            }
        }
    }

    pub fn claimed_octets(&self) -> usize {
        match self {
            Beginning::Data(open) => open.claim.octets(),
            Beginning::Chunk(open, reader, _) => reader.held_octets().max(open.claim.octets()),
        }
    }
}

pub(super) fn begin(beginning: Beginning, peer: &mut Peer) -> State {
    let claim = Claim::of_message(beginning.needs(&peer.config.limits));
    match beginning {
        Beginning::Data(open) => {
            peer.say(354, "end with <CR><LF>.<CR><LF>");
            peer.data_began = peer.now;
            let reader = DataReader::new(&peer.config.limits, open.size);
            State::Data(Open { claim, ..open }, Box::new(reader))
        }
        Beginning::Chunk(open, reader, Announced { octets, last }) => {
            read_chunk(Chunk::Keep { open: Open { claim, ..open }, reader, remaining: octets, last }, peer)
        }
    }
}

/// The transaction is over: whoever comes back begins again.
pub(super) fn no_room(beginning: &Beginning, refusal: &Refusal, peer: &mut Peer) -> State {
    match beginning {
        Beginning::Data(_) => State::Ready.refuse(refusal, peer),
        Beginning::Chunk(_, _, Announced { octets, .. }) => {
            let reply = refusal.to_reply();
            read_chunk(Chunk::drop(reply, *octets, State::Ready), peer)
        }
    }
}

/// Reads from a message that comes by DATA.
pub(super) fn read(reader: &mut DataReader, octets: &[u8], peer: &mut Peer) -> Progress {
    // Once more the limit is patience enough for a client that has not heard of SIZE. Counted to the octet, so that it
    // does not matter in which pieces they come.
    let patience = 2 * peer.config.limits.message_octets_max as u64 - reader.received();
    let octets = &octets[..octets.len().min(usize::try_from(patience).unwrap_or(usize::MAX))];
    let progress = reader.read(octets);
    if progress == Progress::More && octets.len() as u64 == patience {
        peer.reply(&refusal(DataError::MessageTooLong, &peer.config.limits).to_reply());
        peer.closing = true;
    }
    progress
}

pub(super) fn end(open: Open, reader: DataReader, peer: &mut Peer) -> State {
    let result = reader.finish(&peer.config.limits);
    offer(open, result, Way::Data, peer)
}

/// BDAT in any state.
pub(super) fn chunk(state: State, announced: Announced, peer: &mut Peer) -> State {
    let Announced { octets, last } = announced;
    if octets > 2 * peer.config.limits.message_octets_max as u64 {
        peer.reply(&refusal(DataError::MessageTooLong, &peer.config.limits).to_reply());
        return State::Closing;
    }
    let limits = &peer.config.limits;
    let drop =
        |code, status, text: &str, then| Chunk::drop(Reply::new(code, Some(status), text), octets, then);
    let (out_of_order, no_recipient) = (EnhancedStatus::new(5, 5, 1), "no valid recipient");
    let dropped = match state {
        state if !peer.offers(Extension::Chunking) => drop(502, out_of_order, "not offered", state),
        State::Rcpt(open) => {
            peer.data_began = peer.now;
            let hint = if last { Some(octets) } else { open.size };
            let reader = Box::new(ChunkReader::new(limits, hint));
            return keep_chunk(open, reader, announced, peer);
        }
        State::Chunks(open, reader) => return keep_chunk(open, reader, announced, peer),
        State::Mail(open) if open.refused_recipient => {
            drop(554, out_of_order, no_recipient, State::Mail(open))
        }
        State::Mail(open) => drop(503, out_of_order, "RCPT first", State::Mail(open)),
        State::Connected => drop(503, out_of_order, "EHLO first", State::Connected),
        state => drop(503, out_of_order, "MAIL first", state),
    };
    read_chunk(dropped, peer)
}

/// A chunk that will not fit ends the transaction; the ones behind it find no transaction.
fn keep_chunk(open: Open, reader: Box<ChunkReader>, announced: Announced, peer: &mut Peer) -> State {
    if reader.has_room(announced.octets) {
        return ask_room(Beginning::Chunk(open, reader, announced), peer);
    }
    let too_long = refusal(DataError::MessageTooLong, &peer.config.limits).to_reply();
    read_chunk(Chunk::drop(too_long, announced.octets, State::Ready), peer)
}

fn read_chunk(chunk: Chunk, peer: &mut Peer) -> State {
    let (remaining, is_dropped) = match &chunk {
        Chunk::Keep { remaining, .. } => (*remaining, false),
        Chunk::Drop { remaining, .. } => (*remaining, true),
    };
    if is_dropped {
        // It is no part of the message that the time ran for.
        peer.data_began = peer.now;
    }
    if remaining == 0 { end_chunk(chunk, peer) } else { State::Chunk(chunk) }
}

impl Chunk {
    fn drop(reply: Reply, octets: u64, then: State) -> Chunk {
        Chunk::Drop { reply, octets, remaining: octets, then: Box::new(then) }
    }

    /// Takes what belongs to the chunk; gives how much that was, and whether the chunk is complete.
    pub fn read(&mut self, octets: &[u8]) -> (usize, bool) {
        let remaining = match self {
            Chunk::Keep { remaining, .. } | Chunk::Drop { remaining, .. } => remaining,
        };
        let used = usize::try_from(*remaining).map_or(octets.len(), |r| r.min(octets.len()));
        *remaining -= used as u64;
        let complete = *remaining == 0;
        if let Chunk::Keep { reader, .. } = self {
            reader.read(&octets[..used]);
        }
        (used, complete)
    }

    pub fn received(&self) -> u64 {
        match self {
            Chunk::Keep { reader, .. } => reader.received(),
            Chunk::Drop { octets, remaining, .. } => octets - remaining,
        }
    }
}

pub(super) fn end_chunk(chunk: Chunk, peer: &mut Peer) -> State {
    match chunk {
        Chunk::Keep { mut open, reader, last: false, .. } => {
            peer.say(250, "2.0.0 chunk received");
            open.claim.rests(peer.now + peer.config.limits.claim_time());
            State::Chunks(open, reader)
        }
        Chunk::Keep { open, reader, last: true, .. } => {
            let result = reader.finish(&peer.config.limits);
            offer(open, result, Way::Chunks, peer)
        }
        // Our own trouble is no error of the client.
        Chunk::Drop { reply, then, .. } if reply.code.is_transient() => {
            peer.reply(&reply);
            *then
        }
        Chunk::Drop { reply, then, .. } => {
            peer.complain_with(&reply);
            *then
        }
    }
}

pub(super) fn accepted(reply: &Reply, peer: &mut Peer) -> State {
    peer.count_accepted();
    peer.reply(reply);
    State::Ready
}

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Data,
    Chunks,
}

fn offer(open: Open, result: Result<Bytes, DataError>, way: Way, peer: &mut Peer) -> State {
    let raw = match result {
        Ok(raw) => raw,
        Err(error) => return State::Ready.refuse(&refusal(error, &peer.config.limits), peer),
    };
    let mut envelope = open.envelope;
    if envelope.body == BodyKind::SevenBit && !raw.is_ascii() {
        envelope.body = BodyKind::EightBitMime;
    }
    let protocol = protocol(&envelope, peer);
    let octets = raw.len();
    peer.ask(Action::Accept(Transaction {
        envelope,
        raw,
        via_bdat: way == Way::Chunks,
        client_name: peer.client_name.clone(),
        protocol,
        tls: peer.channel.names(),
    }));
    State::Waiting(Question::Acceptance(octets))
}

/// RFC 3848; with SMTPUTF8 RFC 6531 §4.3.
fn protocol(envelope: &Envelope, peer: &Peer) -> &'static str {
    if !peer.extended {
        return "SMTP";
    }
    match (envelope.smtputf8, peer.channel.is_encrypted(), peer.authenticated) {
        (false, false, false) => "ESMTP",
        (false, false, true) => "ESMTPA",
        (false, true, false) => "ESMTPS",
        (false, true, true) => "ESMTPSA",
        (true, false, false) => "UTF8SMTP",
        (true, false, true) => "UTF8SMTPA",
        (true, true, false) => "UTF8SMTPS",
        (true, true, true) => "UTF8SMTPSA",
    }
}

fn refusal(error: DataError, limits: &Limits) -> Refusal {
    let malformed = |text: &str| Refusal::new(RefusalKind::MessageMalformed, text);
    match error {
        DataError::BareLineEnding => {
            malformed("a line of the message ends with CR or LF alone and not with CR LF")
        }
        DataError::Nul => malformed("the message has a NUL"),
        DataError::LineTooLong => {
            malformed(&format!("a line of the message is longer than {} octets", limits.text_line_octets_max))
        }
        DataError::HeaderTooLong => malformed(&format!(
            "the header section of the message is longer than {} octets",
            limits.header_octets_max
        )),
        DataError::MessageTooLong => Refusal::new(RefusalKind::MessageTooLarge, too_long(limits)),
    }
}

fn too_long(limits: &Limits) -> String {
    format!("the message is larger than {} octets", limits.message_octets_max)
}
