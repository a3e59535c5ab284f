//! What the doors count. Labels come from closed lists only: doors, refusal codes, stages; never a name or an address.

use crate::error::Denial;
use crate::submission::{Accepted, Door};
use mail::Refusal;
use std::time::Duration;

impl Door {
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Door::Smtp { .. } => "smtp",
            Door::Http => "http",
        }
    }
}

/// One message, from offer to answer.
pub(crate) fn submitted(door: &'static str, result: &Result<Accepted, Denial>, took: Duration) {
    let outcome = match result {
        Ok(_) => "accepted",
        Err(Denial::Refusal(refusal)) => refusal.problem_code(),
        Err(Denial::Fault(_)) => "fault",
    };
    metrics::counter!("posthouse_submissions_total", "door" => door, "outcome" => outcome).increment(1);
    if result.is_ok() {
        metrics::histogram!("posthouse_submission_seconds", "door" => door).record(took.as_secs_f64());
    }
}

/// What a part of accepting a message took.
pub(crate) fn stage(stage: Stage, took: Duration) {
    metrics::histogram!("posthouse_submission_stage_seconds", "stage" => stage.as_str())
        .record(took.as_secs_f64());
}

/// The parts, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// For a signing thread.
    Wait,
    /// Checked, admitted, signed.
    Sign,
    /// Written and synced, with the others of its group.
    Commit,
}

impl Stage {
    const fn as_str(self) -> &'static str {
        match self {
            Stage::Wait => "wait",
            Stage::Sign => "sign",
            Stage::Commit => "commit",
        }
    }
}

pub(crate) fn authenticated(result: Result<(), &Refusal>) {
    let outcome = match result {
        Ok(()) => "accepted",
        Err(refusal) => refusal.problem_code(),
    };
    metrics::counter!("posthouse_smtp_auth_total", "outcome" => outcome).increment(1);
}

pub(crate) fn connections(total: usize) {
    metrics::gauge!("posthouse_smtp_connections").set(total as f64);
}

/// A session that ended, and in which way.
pub(crate) fn session_ended(door: &'static str, end: &'static str) {
    metrics::counter!("posthouse_smtp_sessions_total", "door" => door, "end" => end).increment(1);
}

/// Octets of messages that are not answered yet.
pub(crate) fn octets_in_flight(held: u64) {
    metrics::gauge!("posthouse_submission_octets_in_flight").set(held as f64);
}
