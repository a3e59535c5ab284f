//! No core files, unless an operator asks for them: they would hold the private keys and the mail that is in memory.
//!
//! The soft limit of 0 stands for the kernel's own files and goes on to PostgreSQL, which `up` starts; helpers to which the
//! kernel pipes cores need not obey it, so the process is marked as not to be dumped as well (prctl(2), `PR_SET_DUMPABLE`).
//! That also keeps other programs of the same user from reading our memory; root still may.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Forbids them. The hard limit stays, so that `prlimit` can allow them again for what is started later.
pub fn forbid() {
    let limit = Rlimit { current: Some(0), maximum: getrlimit(Resource::Core).maximum };
    let done =
        setrlimit(Resource::Core, limit).and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = done {
        tracing::warn!(%error, "cannot forbid core files; they would hold keys and mail");
    }
}
