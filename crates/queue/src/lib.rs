//! What is due next, fairly: every recipient that waits, per tenant and site, as one value without I/O.
//!
//! `Queue` is told what waits, until when, and whom it belongs to; it answers which recipient is next. Each tenant
//! has its turn at each site (`fairness.rs`), due times are exact (`due.rs`), nothing ticks. It opens no connection,
//! reads no clock and keeps no mail: an entry is a place in the journal. Called by `egress`; operators see it
//! through the types of `control.rs`. Start reading in `queue.rs`.

pub mod control;
pub mod retry;

mod due;
mod fairness;
mod held;
mod lane;
mod moves;
mod queue;
mod register;
mod slot;
mod turn;
mod view;

pub use fairness::{TurnWait, cost_of_turn};
pub use queue::{Candidate, Delivery, Destination, Gate, Polled, Queue, Retried, Ticket};
pub use retry::Schedule;
pub use slot::{Entry, Flow, TlsNeed, Urgency};
pub use view::{LanePlace, Place, Standing};
