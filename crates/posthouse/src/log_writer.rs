//! Log lines on their way to standard error, which nobody may be reading.
//!
//! A pipe that is full blocks whoever writes to it, and a disk that is full fails: neither is the business of the
//! threads that move mail. So lines wait in a bounded queue for a thread of their own; what finds no room is dropped
//! and counted. What may surprise: a line is written a moment after it was logged, so the end of the process waits for
//! the queue, at most for a second.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// How long the end of the process waits for lines to be written.
const GOODBYE: Duration = Duration::from_secs(1);

enum Entry {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Mark(SyncSender<()>),
}

/// Makes the writers that `tracing` asks for, one for each line.
pub struct LogWriter {
    entries: SyncSender<Entry>,
    waiting: Arc<AtomicUsize>,
    waiting_max: usize,
}

/// Waits for the lines when it is dropped.
pub struct Flush(SyncSender<Entry>);

/// Starts the thread. `waiting_max` lines may wait.
pub fn start(waiting_max: usize, out: impl Write + Send + 'static) -> std::io::Result<(LogWriter, Flush)> {
    // One place more than lines may take, so that the mark of `Flush` always finds room.
    let (entries, receiver) = sync_channel(waiting_max + 1);
    let waiting = Arc::new(AtomicUsize::new(0));
    let writer = LogWriter { entries: entries.clone(), waiting: Arc::clone(&waiting), waiting_max };
    std::thread::Builder::new().name("log".to_owned()).spawn(move || write(&receiver, &waiting, out))?;
    Ok((writer, Flush(entries)))
}

fn write(entries: &Receiver<Entry>, waiting: &AtomicUsize, mut out: impl Write) {
    while let Ok(entry) = entries.recv() {
        match entry {
            Entry::Line(line) => {
                waiting.fetch_sub(1, Ordering::Relaxed);
                if out.write_all(&line).is_err() {
                    count_dropped();
                }
            }
            // Whoever waited may have given up.
            Entry::Mark(written) => drop(written.try_send(())),
        }
    }
}

fn count_dropped() {
    metrics::counter!("posthouse_log_lines_dropped_total").increment(1);
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = &'a LogWriter;

    fn make_writer(&'a self) -> &'a LogWriter {
        self
    }
}

impl Write for &LogWriter {
    /// Called once for a whole line.
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        let is_room = self.waiting.fetch_add(1, Ordering::Relaxed) < self.waiting_max;
        if !is_room || self.entries.try_send(Entry::Line(octets.to_vec())).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            count_dropped();
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let (written, wait) = sync_channel(1);
        if self.0.try_send(Entry::Mark(written)).is_ok() {
            let _ = wait.recv_timeout(GOODBYE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_reader_that_does_not_read_blocks_nobody() {
        let (unread, out) = UnixStream::pair().unwrap();
        let (writer, flush) = start(4, out).unwrap();
        for _ in 0..10_000 {
            (&writer).write_all(&[b'x'; 1_024]).unwrap();
        }
        drop(flush);
        drop(unread);
    }

    #[test]
    fn what_was_logged_is_written_before_the_end() {
        let (mut reader, out) = UnixStream::pair().unwrap();
        let (writer, flush) = start(100, out).unwrap();
        for _ in 0..100 {
            // Not more than may wait: nothing is dropped.
            (&writer).write_all(b"line\n").unwrap();
        }
        drop(flush);
        reader.set_nonblocking(true).unwrap();
        let mut written = vec![0; 1_000];
        assert_eq!(std::io::Read::read(&mut reader, &mut written).unwrap(), 500);
    }

    #[test]
    fn an_output_that_fails_is_tried_again() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (writer, flush) = start(4, Full).unwrap();
        (&writer).write_all(b"line\n").unwrap();
        drop(flush);
    }
}
