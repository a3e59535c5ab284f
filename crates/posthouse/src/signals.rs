//! SIGTERM and SIGINT: the two ways in which we are asked to stop; and SIGHUP, which means one thing from a terminal that
//! closes and another from whoever wants a configuration read again.
//!
//! Nothing is read again on a signal: certificates are looked at by themselves, and another configuration is another
//! start. What may surprise: a SIGHUP that was ignored when we were started (nohup) stays ignored where it would stop us.

use tokio::signal::unix::{Signal, SignalKind, signal};

pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// None if it stays ignored.
    hangup: Option<Signal>,
    meaning: Hangup,
}

/// What SIGHUP is to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hangup {
    /// The terminal that it was started in is gone.
    Stops,
    /// Somebody wants something to be read again.
    GoesOn,
}

/// One that does not stop us is told and waited past.
enum Came {
    ToStop(&'static str),
    Hangup,
}

impl Signals {
    /// From here on none of the signals ends the process by itself.
    pub fn new(meaning: Hangup) -> std::io::Result<Signals> {
        let is_kept_out = meaning == Hangup::Stops && is_ignored(SignalKind::hangup());
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if is_kept_out { None } else { Some(signal(SignalKind::hangup())?) },
            meaning,
        })
    }

    /// Does `work`, unless we are asked to stop before it is done.
    pub async fn unless_asked<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            signal = self.recv() => {
                tracing::info!(signal, "stopping before the start is complete");
                None
            }
            done = work => Some(done),
        }
    }

    /// The name of the signal that came to stop us.
    pub async fn recv(&mut self) -> &'static str {
        loop {
            match (self.next().await, self.meaning) {
                (Came::ToStop(name), _) => return name,
                (Came::Hangup, Hangup::Stops) => return "SIGHUP",
                (Came::Hangup, Hangup::GoesOn) => tracing::info!(
                    signal = "SIGHUP",
                    "certificates are read again when their files change; nothing to reload"
                ),
            }
        }
    }

    async fn next(&mut self) -> Came {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Came::ToStop("SIGTERM"),
            _ = self.interrupt.recv() => Came::ToStop("SIGINT"),
            _ = hangup => Came::Hangup,
        }
    }
}

/// As the kernel says it; a handler of our own would change that.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_in(&status).is_some_and(|mask| mask >> (kind.as_raw_value() - 1) & 1 == 1)
}

/// A bit for each signal, the first for number 1 (proc_pid_status(5)).
fn ignored_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_what_is_ignored() {
        assert_eq!(ignored_in("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"), Some(0x1001));
        assert_eq!(ignored_in(""), None);
    }
}
