use crate::{Accepted, Fault, Position};
use bytes::Bytes;
use std::sync::Arc;
/// A message as it was accepted.
#[derive(Debug, Clone)]
pub struct Stored {
    pub accepted: Arc<Accepted>,
    pub body: Bytes,
}
/// Reads messages back by position.
#[derive(Clone)]
pub struct Bodies {}
impl Bodies {
    pub async fn body(&self, _position: Position) -> Result<Bytes, Fault> {
        todo!()
    }
    /// Envelope and body in one read.
    pub async fn message(&self, _position: Position) -> Result<Stored, Fault> {
        todo!()
    }
}
