//! How much a site may be sent at once, and how fast; learns from outcomes.
//!
//! A path (source × site) has a window of connections that grows with success and shrinks with trouble, rates for
//! new connections and for messages, and holds that suspend it. `Shaper::admit` gives a `Permit` for one connection
//! or says when to ask again. It opens nothing, reads no clock and draws from the generator it was given; called by
//! `egress`. Start reading in `window.rs`, then `shaper.rs`.

mod hold;
mod pace;
mod permit;
mod rule;
mod shaper;
mod window;

pub use hold::Hold;
pub use pace::{Pace, Rate};
pub use permit::{Barrier, NotBefore, Permit};
pub use rule::{Family, Limits, WindowRule};
pub use shaper::{PathView, Shaper, Signal};
pub use window::{Feedback, Window};
