//! Group commit: the one thread that writes and the only one that syncs.
//!
//! It takes a group, places the frames, writes them with one `pwritev`, syncs once, and only then tells anybody. A
//! segment created for the group has its directory entry synced before anything is written into it.
//!
//! What may surprise is how it fails. After a failed sync nobody knows what the disk holds, and the kernel may report
//! success the next time without having written anything: so the journal seals itself, the group is not
//! acknowledged, and the file is never synced again. The process has to start anew and recover. A disk that is full
//! is no reason to seal: the file is cut back to what was committed, and that is made durable before messages are refused,
//! so that no power cut brings back what was refused. Completion records wait.

use crate::error::is_passing;
use crate::queue::{Answer, Copies, Copy, End, Entry, Group, Turnout};
use crate::record::Logged;
use crate::segment::{SEGMENT_HEADER, file_name};
use crate::seldom::Seldom;
use crate::shared::{Mode, Shared};
use crate::{DiskFile, Fault, Position, Record, wire};
use std::collections::HashSet;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

/// Free space is looked at once in so many octets.
const SPACE_CHECK_OCTETS: u64 = 4 << 20;
/// Pause after completion records could not be written for lack of space.
const FULL_PAUSE: Duration = Duration::from_millis(250);

pub(crate) struct Writer {
    shared: Arc<Shared>,
    active: Option<Active>,
    /// Number of the next segment.
    next_segment: u32,
    /// Who is expected in the next group.
    turnout: Turnout,
    octets_to_space_check: u64,
    /// That the disk is full: what has to be written is tried again four times a second.
    full: Seldom,
}

/// The segment that is being written.
pub(crate) struct Active {
    pub(crate) segment: u32,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Up to where it holds committed records.
    pub(crate) len: u64,
    /// Nothing in it is committed yet, not even its header.
    pub(crate) fresh: bool,
}

/// Why a group was not committed, and what that means for the log.
enum Failure {
    /// Nothing is wrong with what was committed before; later groups may succeed.
    Refused(Fault),
    Fatal(Fault),
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, active: Option<Active>, next_segment: u32) -> Writer {
        let (turnout, full) = (Turnout::ONE, Seldom::default());
        Writer { shared, active, next_segment, turnout, octets_to_space_check: 0, full }
    }

    /// Runs until the queue has ended and everything in it is written or refused.
    pub(crate) fn run(mut self) {
        // Should this thread panic, nobody must go on waiting for it or believe that the journal works.
        let seal_on_panic = SealOnPanic(Arc::clone(&self.shared));
        let shared = Arc::clone(&self.shared);
        while let Some((group, turnout)) = shared.queue.take(&shared.config, self.turnout) {
            self.turnout = turnout;
            self.take_in(group);
        }
        shared.ended_for_good();
        drop(seal_on_panic);
    }

    /// One group, if something waits. Says whether it did.
    pub(crate) fn step(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let group = shared.queue.take_now(&shared.config);
        group.map(|group| self.take_in(group)).is_some()
    }

    fn take_in(&mut self, Group { copies, mut entries }: Group) {
        let _at_work = self.shared.stall.begin(self.shared.clock.instant());
        if let Some(copies) = copies {
            // In front: a copy says what is settled by everything that lies before it.
            entries.splice(0..0, self.copied(copies));
        }
        if self.shared.queue.ended() == Some(End::Sealed) {
            return refuse(entries, &Fault::Sealed);
        }
        if let Some(fault) = self.shared.lost.get() {
            return refuse(entries, fault);
        }
        let group = self.without_repetitions(entries);
        let group = self.without_room_refuse_messages(group);
        if !group.is_empty() {
            self.commit(group);
        }
    }

    /// A message that waits is not written a second time: whoever offers its id again is told where it lies. One that
    /// comes twice in a group is put off to the next, for there is no place to tell yet.
    fn without_repetitions(&self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut seen = HashSet::new();
        let (mut group, mut known, mut again) = (Vec::with_capacity(entries.len()), Vec::new(), Vec::new());
        {
            let ledger = self.shared.ledger();
            for entry in entries {
                match entry.offered() {
                    Some(message) if let Some(position) = ledger.position(message) => {
                        known.push((entry, position));
                    }
                    Some(message) if !seen.insert(message) => again.push(entry),
                    Some(_) | None => group.push(entry),
                }
            }
        }
        known.into_iter().for_each(|(entry, position)| entry.answer.give(Ok(position)));
        self.shared.queue.put_back_accepts(again);
        group
    }

    fn commit(&mut self, mut group: Vec<Entry>) {
        match self.write(&mut group) {
            Ok(positions) => self.publish(group, &positions),
            Err(Failure::Refused(fault)) => self.refuse_messages_keep_outcomes(group, &fault),
            Err(Failure::Fatal(fault)) => {
                tracing::error!(
                    error = &fault as &dyn std::error::Error,
                    "the journal is sealed; restart to recover"
                );
                // Refused first: whoever is told must not find the journal open any more.
                self.shared.seal();
                self.active = None;
                refuse(group, &fault);
            }
        }
    }

    /// Frames of the messages that still wait where they were found. Only this thread changes what waits, so it stays
    /// true until the group is written.
    fn copied(&self, Copies { copies, answer }: Copies) -> Vec<Entry> {
        let mut entries: Vec<Entry> = copies.into_iter().filter_map(|copy| self.copy(copy)).collect();
        match entries.last_mut() {
            Some(last) => last.answer = Answer::Durable(answer),
            None => Answer::Durable(answer).give(Ok(Position::START)),
        }
        entries
    }

    fn copy(&self, copy: Copy) -> Option<Entry> {
        let (position, open) = self.shared.ledger().waiting(copy.message)?;
        if position != copy.from {
            return None;
        }
        let frame = wire::moved_frame(copy.accepted, copy.from, &open, copy.body);
        let logged = wire::decode(frame.kind(), frame.version(), frame.meta())?;
        Some(Entry { frame, logged, answer: Answer::Nobody, _permit: None })
    }

    /// Everything up to and including the sync. Returns where each entry lies.
    fn write(&mut self, group: &mut [Entry]) -> Result<Vec<Position>, Failure> {
        let octets: u64 = group.iter().map(|entry| entry.frame.len()).sum();
        let shared = Arc::clone(&self.shared);
        let active = self.segment_for(octets)?;
        let (segment, fresh) = (active.segment, active.fresh);
        let mut at = active.len;
        let mut positions = Vec::with_capacity(group.len());
        for entry in group.iter_mut() {
            let position = Position::new(segment, at as u32);
            entry.frame.place(position);
            positions.push(position);
            at += entry.frame.len();
        }
        let mut slices = Vec::with_capacity(group.len() * 2 + 1);
        let offset = if fresh { 0 } else { active.len };
        slices.extend(fresh.then(|| IoSlice::new(SEGMENT_HEADER)));
        for entry in group.iter() {
            slices.push(IoSlice::new(&entry.frame.head));
            if !entry.frame.body.is_empty() {
                slices.push(IoSlice::new(&entry.frame.body));
            }
        }
        if let Err(error) = active.file.write_all_at(&mut slices, offset) {
            return Err(self.after_failed_write(segment, error));
        }
        metrics::histogram!("posthouse_spool_group_records").record(group.len() as f64);
        panics::place("journal-commit");
        let synced = sync(&shared, &*active.file);
        synced.map_err(|source| Failure::Fatal(Fault::Sync { segment, source: Arc::new(source) }))?;
        (active.len, active.fresh) = (at, false);
        self.octets_to_space_check = self.octets_to_space_check.saturating_sub(octets);
        Ok(positions)
    }

    /// The active segment, or a new one if the group does not fit. All of the old one is synced: every group was.
    fn segment_for(&mut self, octets: u64) -> Result<&mut Active, Failure> {
        let limit = u64::from(self.shared.config.segment_octets_max);
        let empty = SEGMENT_HEADER.len() as u64;
        let fits = |active: &Active| active.len <= empty || active.len + octets <= limit;
        if !self.active.as_ref().is_some_and(fits) {
            let segment = self.next_segment;
            let path = self.shared.config.directory.join(file_name(segment));
            let file = self.shared.disk.create(&path).map_err(|error| failed_rotation(segment, error))?;
            // Before anything is in it: if there is no descriptor for the directory, nothing has to be taken back. The next
            // group makes the segment anew.
            let synced = self.shared.disk.sync_directory(&self.shared.config.directory);
            synced.map_err(|error| failed_entry(segment, error))?;
            self.next_segment = segment + 1;
            self.active = Some(Active { segment, file, len: empty, fresh: true });
        }
        self.active.as_mut().ok_or(Failure::Refused(Fault::Sealed))
    }

    /// A full disk can be survived if the file can be cut back to what was committed; nothing else can.
    fn after_failed_write(&mut self, segment: u32, error: io::Error) -> Failure {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let fault = Fault::Write { segment, source: Arc::new(error) };
        let Some(active) = self.active.as_mut().filter(|_| full) else { return Failure::Fatal(fault) };
        let committed = if active.fresh { 0 } else { active.len };
        // A part of the group may be on the disk: whole records that nobody was told of.
        if active.file.truncate(committed).and_then(|()| active.file.sync_data()).is_err() {
            return Failure::Fatal(fault);
        }
        self.shared.set_full();
        if let Some(times) = self.full.happened(self.shared.clock.instant()) {
            tracing::warn!(times, "the spool's disk is full");
        }
        Failure::Refused(Fault::Full)
    }

    /// Makes the group visible to readers, then answers.
    fn publish(&mut self, group: Vec<Entry>, positions: &[Position]) {
        let Some(active) = &self.active else { return };
        let end = Position::new(active.segment, active.len as u32);
        self.shared.publish(&group, positions, end, &active.file);
        for (entry, position) in group.into_iter().zip(positions) {
            entry.answer.give(Ok(*position));
        }
    }

    fn refuse_messages_keep_outcomes(&self, group: Vec<Entry>, fault: &Fault) {
        let (messages, outcomes): (Vec<Entry>, Vec<Entry>) = group.into_iter().partition(is_message);
        refuse(messages, fault);
        if outcomes.is_empty() {
            return;
        }
        if self.shared.queue.ended().is_some() {
            tracing::error!(records = outcomes.len(), "completion records are lost: no space at shutdown");
            self.shared.lost.get_or_init(|| fault.clone());
            refuse(outcomes, fault);
            return;
        }
        self.shared.queue.put_back(outcomes);
        if self.shared.mode == Mode::Threads {
            self.shared.queue.rest(FULL_PAUSE);
        }
    }

    /// Below the reserve only completion records are written.
    fn without_room_refuse_messages(&mut self, group: Vec<Entry>) -> Vec<Entry> {
        let shared = &self.shared;
        if self.octets_to_space_check == 0 || shared.is_full() {
            shared.look_at_space();
            self.octets_to_space_check = SPACE_CHECK_OCTETS;
        }
        if !shared.is_full() {
            return group;
        }
        let (messages, outcomes) = group.into_iter().partition(is_message);
        refuse(messages, &Fault::Full);
        outcomes
    }
}

fn sync(shared: &Shared, file: &dyn DiskFile) -> io::Result<()> {
    let before = shared.clock.instant();
    let synced = file.sync_data();
    let took = shared.clock.instant().saturating_since(before);
    metrics::counter!("posthouse_spool_syncs_total").increment(1);
    metrics::histogram!("posthouse_spool_sync_seconds").record(took.as_secs_f64());
    synced
}

/// What is refused when there is no room. A copy only makes room when all of its segment is copied.
fn is_message(entry: &Entry) -> bool {
    match &entry.logged {
        Logged::Record(record) => matches!(**record, Record::Accepted(_)),
        Logged::Moved(_) => true,
    }
}

fn refuse(group: Vec<Entry>, fault: &Fault) {
    group.into_iter().for_each(|entry| entry.answer.give(Err(fault.clone())));
}

/// No space and no free descriptors pass; a disk that cannot make a file for another reason is broken.
fn failed_rotation(segment: u32, error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::Refused(Fault::Full),
        _ if is_passing(&error) => Failure::Refused(Fault::Rotate { segment, source: Arc::new(error) }),
        _ => Failure::Fatal(Fault::Rotate { segment, source: Arc::new(error) }),
    }
}

/// Without a descriptor the directory is not even opened, so nothing was tried that a later success would hide.
fn failed_entry(segment: u32, error: io::Error) -> Failure {
    let passes = is_passing(&error);
    let fault = Fault::Rotate { segment, source: Arc::new(error) };
    if passes { Failure::Refused(fault) } else { Failure::Fatal(fault) }
}

struct SealOnPanic(Arc<Shared>);

impl Drop for SealOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.seal();
            let Group { copies, entries } = self.0.queue.drain();
            // Its sender is dropped with it.
            drop(copies);
            refuse(entries, &Fault::Sealed);
        }
    }
}
