//! The allocator of the process, and how memory that nobody uses goes back to the system.
//!
//! It is built so that it does not ask for huge pages: an idle node had 28 MB of them, nearly all zeros, and after a
//! burst one string keeps 2 MiB. mimalloc gives freed memory back only when somebody allocates after a delay; a node
//! that has just become idle, after a burst or after one password (19 MiB of Argon2), would keep it until then.
//! `telemetry.rs` calls `give_back` in its turn.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(unsafe_code, reason = "the crate has no safe name for it")]
mod raw {
    unsafe extern "C" {
        /// <https://microsoft.github.io/mimalloc/group__extended.html>: callable from any thread at any time.
        pub(super) safe fn mi_collect(force: bool);
    }
}

/// What was freed a while ago goes back; what was freed just now is likely to be wanted again and stays.
pub fn give_back() {
    raw::mi_collect(false);
}
