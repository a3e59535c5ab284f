use crate::Position;
/// How far one named reader has come; segments behind all readers can go.
pub struct ReaderMark {}
impl ReaderMark {
    /// Everything before `position` (a `Follower::position`) has been dealt with for good. Never goes back.
    pub fn past(&self, _position: Position) {
        todo!()
    }
}
