use crate::{Fault, Position, Record};
use std::sync::Arc;
/// Reads the log in order, committed records only.
pub struct Follower {}
impl Follower {
    /// At least one and at most `max` records; waits for them. `Fault::Gap` once if segments are gone, then goes on
    /// behind the gap; `Fault::Closed` when the journal has shut down and everything was read.
    /// Cancel safe: nothing is skipped when the future is dropped.
    pub async fn next_batch(&mut self, _max: usize) -> Result<Vec<(Position, Arc<Record>)>, Fault> {
        todo!()
    }
    /// Where the next batch begins: what a cursor stores.
    pub fn position(&self) -> Position {
        todo!()
    }
}
