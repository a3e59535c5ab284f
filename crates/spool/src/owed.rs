//! What the disk did not give when a follower came by, and gives later perhaps: it is owed to whoever follows.
//!
//! A follower cannot wait for ever before what it cannot read, so it passes over it. This remembers which spans those
//! were, looks at them again, less and less often, and says which can be read now. Two readers make different use of it.
//! The queue asks the ledger for what waits in a span (`unsettled`): nothing of it was told before, so nothing is
//! scheduled twice. The projection goes back and reads on from there, because its records build on one another, and
//! keeps its stored cursor before what it is owed, so that a restart forgets nothing. What else is owed it passes over
//! at once when it meets it again.
//!
//! A segment with something owed is neither removed nor copied forward. What may surprise: one whose name is gone from
//! the directory is given up after an hour, with what waits in it. Nothing of it is left to keep, and it would keep
//! every younger segment until the disk is full. If it is put back later, the next start finds it, and may deliver again
//! what was settled meanwhile.

use crate::recover::UnsettledMessages;
use crate::segment::{self, Found, Scan, file_name};
use crate::shared::Shared;
use crate::stepped::{self, Begun};
use crate::{Position, Span};
use mail::{Instant, MessageId};
use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Before the first look; longer each time, up to the other.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long the name of a segment may be gone before the segment is given up.
const MISSING_MAX: Duration = Duration::from_secs(3_600);
/// Spans that are remembered; what more cannot be read waits for the next start.
const SPANS_MAX: usize = 10_000;

/// What one follower passed over. It is owed as long as this lives.
pub struct Owed {
    debts: Arc<Debts>,
    look: Option<Begun<Vec<(Span, Look)>>>,
    next_look: tokio::time::Instant,
    pause: Duration,
}

impl Owed {
    pub(crate) fn new(debts: Arc<Debts>) -> Owed {
        Owed { debts, look: None, next_look: tokio::time::Instant::now(), pause: PAUSE_MIN }
    }

    /// Where the first span begins that is owed.
    pub fn first(&self) -> Option<Position> {
        self.debts.lock().first().map(|debt| debt.span.from)
    }

    /// Waits until something can be read that could not: those spans, in the order of the log, are owed no more. Never
    /// returns when nothing is owed and nothing comes to be. Cancel safe.
    pub async fn given_again(&mut self) -> Vec<Span> {
        loop {
            if self.look.is_none() {
                self.until_due().await;
            }
            let look = self.look.get_or_insert_with(|| {
                let spans = self.debts.spans();
                let look = move |shared: &Arc<Shared>| {
                    Ok(spans.into_iter().map(|span| (span, look(shared, span))).collect())
                };
                stepped::begin(&self.debts.shared, look)
            });
            let looked = look.ended().await;
            self.look = None;
            // One that came to nothing has shown nothing.
            let given = looked.map(|looked| self.debts.settle(looked)).unwrap_or_default();
            self.pause = if given.is_empty() { (self.pause * 2).min(PAUSE_MAX) } else { PAUSE_MIN };
            self.next_look = tokio::time::Instant::now() + self.pause;
            if !given.is_empty() {
                return given;
            }
        }
    }

    /// The messages of these spans that wait.
    pub fn unsettled(&self, spans: Vec<Span>) -> UnsettledMessages {
        UnsettledMessages::of(&self.debts.shared, spans, &self.debts)
    }

    pub(crate) fn debts(&self) -> Arc<Debts> {
        Arc::clone(&self.debts)
    }

    async fn until_due(&mut self) {
        while self.debts.lock().is_empty() {
            self.debts.added.notified().await;
            self.pause = PAUSE_MIN;
            self.next_look = tokio::time::Instant::now() + PAUSE_MIN;
        }
        tokio::time::sleep_until(self.next_look).await;
    }
}

/// The spans, for those who find them and the one who looks at them.
pub(crate) struct Debts {
    shared: Arc<Shared>,
    /// In the order of the log.
    owed: Mutex<Vec<Debt>>,
    /// Messages that recovery could not read where they lie now, though they were known to lie elsewhere first.
    unread: Mutex<HashSet<MessageId>>,
    added: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Debt {
    span: Span,
    missing_since: Option<Instant>,
}

/// What a look at a span has shown.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    NotGiven,
    Given {
        given: Vec<Span>,
        left: Vec<Span>,
    },
    /// The directory does not have the segment any more.
    Missing,
    /// It was removed, or given up.
    Gone,
}

impl Debts {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Debts> {
        Arc::new(Debts { shared, owed: Mutex::default(), unread: Mutex::default(), added: Notify::new() })
    }

    fn add(&self, span: Span) {
        self.try_add(span);
    }

    /// A follower has passed over it, for the first time or again.
    pub(crate) fn meet(&self, span: Span) {
        let known = |debt: &Debt| debt.span.from <= span.from && span.to <= debt.span.to;
        if !self.lock().iter().any(known) {
            self.add(span);
        }
    }

    /// Whether what lies at `position` is owed.
    pub(crate) fn has(&self, position: Position) -> bool {
        self.lock().iter().any(|debt| debt.span.from <= position && position < debt.span.to)
    }

    /// False if there are too many: then the segment stays until the next start.
    fn try_add(&self, span: Span) -> bool {
        let segment = span.from.segment();
        if !self.remember(span) {
            self.shared.ledger().pin(segment);
            return false;
        }
        self.shared.ledger().owe(segment);
        self.added.notify_one();
        true
    }

    /// The same for one message that nobody was told of.
    pub(crate) fn add_message(&self, message: MessageId, span: Span) {
        self.unread().insert(message);
        if !self.try_add(span) {
            self.told(message);
        }
    }

    /// The messages of these spans that wait and that nobody was told of, with the place where each was known to lie first.
    pub(crate) fn untold(&self, spans: &[Span]) -> Vec<(Position, MessageId)> {
        let unread = self.unread();
        self.shared.ledger().in_spans(spans, |message| unread.contains(&message))
    }

    /// Somebody is told of it now.
    pub(crate) fn told(&self, message: MessageId) {
        self.unread().remove(&message);
    }

    fn unread(&self) -> MutexGuard<'_, HashSet<MessageId>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False if there are too many.
    fn remember(&self, span: Span) -> bool {
        let mut owed = self.lock();
        let at = owed.partition_point(|debt| debt.span.from < span.from);
        let fits = owed.len() < SPANS_MAX;
        if fits {
            owed.insert(at, Debt { span, missing_since: None });
        }
        fits
    }

    fn forget(&self, span: Span) {
        self.lock().retain(|debt| debt.span != span);
        self.shared.ledger().owe_no_more(span.from.segment());
    }

    fn spans(&self) -> Vec<Span> {
        self.lock().iter().map(|debt| debt.span).collect()
    }

    /// What is given is owed no more.
    fn settle(&self, looked: Vec<(Span, Look)>) -> Vec<Span> {
        let mut all = Vec::new();
        for (span, look) in looked {
            match look {
                Look::NotGiven => self.seen(span),
                Look::Given { given, left } => {
                    tracing::info!(from = %span.from, to = %span.to, "a part of the journal can be read again");
                    // The segment is never without a debt in between.
                    left.into_iter().for_each(|left| self.add(left));
                    self.forget(span);
                    all.extend(given);
                }
                Look::Missing => self.miss(span),
                Look::Gone => self.forget(span),
            }
        }
        all
    }

    fn seen(&self, span: Span) {
        let mut owed = self.lock();
        owed.iter_mut().filter(|debt| debt.span == span).for_each(|debt| debt.missing_since = None);
    }

    fn miss(&self, span: Span) {
        let now = self.shared.clock.instant();
        let missing = self.lock().iter_mut().find(|debt| debt.span == span).map(|debt| {
            let since = *debt.missing_since.get_or_insert(now);
            now.saturating_since(since)
        });
        if missing.is_some_and(|missing| missing >= MISSING_MAX) {
            give_up(&self.shared, span.from.segment());
            self.forget(span);
            // Of what went with it nobody will be told.
            self.unread().retain(|message| self.shared.ledger().position(*message).is_some());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Debt>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Debts {
    fn drop(&mut self) {
        for debt in std::mem::take(&mut *self.lock()) {
            self.shared.ledger().owe_no_more(debt.span.from.segment());
        }
    }
}

/// Another reader may have done it, or another span of the same segment.
fn give_up(shared: &Shared, segment: u32) {
    let Some(messages) = shared.ledger().give_up(segment) else { return };
    shared.forget_file(segment);
    shared.marks.look_again();
    metrics::counter!("posthouse_spool_messages_given_up_total").increment(messages as u64);
    tracing::error!(
        segment,
        messages,
        "a segment is gone from the directory for good; what waits in it is given up"
    );
}

fn look(shared: &Shared, span: Span) -> Look {
    match read(shared, span) {
        Ok(look) => look,
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_missing(shared, span.from.segment()) => {
            Look::Missing
        }
        Err(_) => Look::NotGiven,
    }
}

/// A directory that cannot be listed, or that has no segment at all, says nothing about this one.
fn is_missing(shared: &Shared, segment: u32) -> bool {
    let is_last = shared.ledger().segments.last_key_value().is_some_and(|(last, _)| *last == segment);
    let Ok(names) = shared.disk.list(&shared.config.directory) else { return false };
    let mut segments = names.iter().filter_map(|name| segment::segment_of(name)).peekable();
    !is_last && segments.peek().is_some() && segments.all(|there| there != segment)
}

fn read(shared: &Shared, span: Span) -> io::Result<Look> {
    let segment = span.from.segment();
    let (state, complete) = {
        let ledger = shared.ledger();
        (ledger.segments.get(&segment).copied(), ledger.complete)
    };
    let Some(state) = state else { return Ok(Look::Gone) };
    let mut octets = state.octets;
    let file = match state.unreadable {
        false => shared.file(segment)?,
        true if complete => {
            let file = shared.disk.open(&shared.config.directory.join(file_name(segment)))?;
            octets = file.len()?.min(u64::from(u32::MAX));
            file
        }
        true => return Ok(Look::NotGiven),
    };
    let end = if span.to.segment() == segment { u64::from(span.to.offset()).min(octets) } else { octets };
    let mut scan = Scan::new(file, span.from, end, segment::Bodies::Skip);
    let (mut given, mut left) = (Vec::new(), Vec::new());
    while let Some(found) = scan.next()? {
        match found {
            Found::Frame { position, .. } => extend(&mut given, position, scan.position()),
            Found::Damage { position, .. } => extend(&mut left, position, scan.position()),
        }
    }
    if scan.met_read_errors() {
        return Ok(if given.is_empty() { Look::NotGiven } else { Look::Given { given, left } });
    }
    if !state.unreadable {
        // What is damaged, and not unread, is in quarantine: nothing more comes of it.
        return Ok(if given.is_empty() { Look::Gone } else { Look::Given { given, left: Vec::new() } });
    }
    // Its mail waits for the next start, which reads it from the beginning; it stays until then.
    shared.ledger().segments.entry(segment).and_modify(|state| {
        (state.unreadable, state.octets) = (false, octets);
    });
    Ok(Look::Given { given: vec![span], left: Vec::new() })
}

/// Adds a frame behind the others.
fn extend(spans: &mut Vec<Span>, from: Position, to: Position) {
    match spans.last_mut().filter(|last| last.to == from) {
        Some(last) => last.to = to,
        None => spans.push(Span { from, to }),
    }
}
