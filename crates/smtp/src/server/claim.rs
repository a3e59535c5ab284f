//! The room that a message claims before its octets are here: by SIZE at MAIL, by a chunk's announcement, or by having
//! begun.
//!
//! What is claimed by words alone is kept for a while and no longer: a client that says how much will come and then
//! nothing would hold its tenant's room for as long as it finds commands to say. Once the message begins the times for a
//! message govern it. A claim that lapsed costs nothing but the certainty: the shell is asked again when the message
//! begins, and may say no then.

use ::mail::Instant;

/// Of one transaction. Nothing is claimed by `default()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Claim {
    octets: usize,
    /// None while the message is coming.
    until: Option<Instant>,
}

impl Claim {
    /// By words alone: none but the clock ends it.
    pub fn of_words(octets: usize, until: Instant) -> Claim {
        Claim { octets, until: (octets > 0).then_some(until) }
    }

    /// The message, or a chunk of it, is coming.
    pub fn of_message(octets: usize) -> Claim {
        Claim { octets, until: None }
    }

    /// Between two chunks it is words again.
    pub fn rests(&mut self, until: Instant) {
        *self = Claim::of_words(self.octets, until);
    }

    pub fn octets(self) -> usize {
        self.octets
    }

    /// When to call `lapse`.
    pub fn deadline(self) -> Option<Instant> {
        self.until
    }

    pub fn lapse(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            *self = Claim::default();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::server::{Action, Answer, Role, ServerConfig, Session, TlsMode};
    use ::mail::{Domain, Refusal, RefusalKind, Reply};
    use std::time::Duration;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn words_lapse_and_a_message_does_not() {
        let mut claim = Claim::of_words(10, at(30));
        claim.lapse(at(29));
        assert_eq!((claim.octets(), claim.deadline()), (10, Some(at(30))));
        claim.lapse(at(30));
        assert_eq!(claim, Claim::default());
        let mut claim = Claim::of_message(10);
        claim.lapse(at(9_999));
        assert_eq!((claim.octets(), claim.deadline()), (10, None));
        claim.rests(at(60));
        claim.lapse(at(60));
        assert_eq!(claim, Claim::default());
        assert_eq!(Claim::of_words(0, at(1)).deadline(), None, "nothing has no end");
    }

    /// A session at the door for returned mail; it gives what was asked for room, and what was said.
    struct Door {
        session: Session,
        room: bool,
        asked: Vec<usize>,
        said: String,
    }

    impl Door {
        fn new() -> Door {
            let hostname = Domain::parse("mx.posthouse.test").unwrap();
            let config = ServerConfig::new(hostname, Role::Inbound, TlsMode::None, Limits::default());
            let session = Session::new(config, at(0));
            let mut door = Door { session, room: true, asked: Vec::new(), said: String::new() };
            door.say("EHLO a.example\r\n", at(0));
            door
        }

        fn say(&mut self, octets: &str, now: Instant) {
            self.session.handle_bytes(octets.as_bytes(), now);
            self.act(now);
        }

        fn act(&mut self, now: Instant) {
            while let Some(action) = self.session.poll_action() {
                let answer = match action {
                    Action::Send(octets) => {
                        self.said.push_str(std::str::from_utf8(&octets).unwrap());
                        continue;
                    }
                    Action::Close => continue,
                    Action::CheckReversePath { .. } => Answer::ReversePathOk,
                    Action::CheckRecipient(_) => Answer::RecipientOk,
                    Action::CheckRoom { octets } => {
                        self.asked.push(octets);
                        let refusal = Refusal::new(RefusalKind::StorageFull, "full");
                        if self.room { Answer::RoomOk } else { Answer::Refused(refusal) }
                    }
                    Action::Accept(_) => Answer::Accepted { reply: Reply::new(250, None, "taken") },
                    Action::StartTls | Action::CheckCredential { .. } => unreachable!("not offered"),
                };
                self.session.handle_answer(answer, now);
            }
        }

        /// The codes of what was said since the last time.
        fn codes(&mut self) -> Vec<String> {
            std::mem::take(&mut self.said).lines().map(|line| line[..3].to_owned()).collect()
        }
    }

    const MAIL: &str = "MAIL FROM:<a@a.example> SIZE=1000000\r\nRCPT TO:<b@b.example>\r\n";

    #[test]
    fn a_declared_size_without_its_message_is_kept_half_a_minute_whatever_else_is_said() {
        let mut door = Door::new();
        door.say(MAIL, at(10));
        assert_eq!(door.session.claimed_octets(), 1_000_000);
        assert_eq!(door.session.poll_timeout(), Some(at(40)));
        door.say("NOOP\r\n", at(39));
        door.session.handle_timeout(at(39));
        assert_eq!(door.session.claimed_octets(), 1_000_000);
        door.session.handle_timeout(at(40));
        assert_eq!(door.session.claimed_octets(), 0);
        assert_eq!(door.session.poll_timeout(), Some(at(339)), "the session goes on");
        // It may still send its message, if there is room.
        door.codes();
        door.say("DATA\r\n", at(50));
        assert_eq!((door.asked.pop(), door.codes()), (Some(1_000_000), vec!["354".to_owned()]));
        assert_eq!(door.session.claimed_octets(), 1_000_000);
        door.session.handle_timeout(at(100));
        assert_eq!(door.session.claimed_octets(), 1_000_000, "now it is coming");
        door.say("text\r\n.\r\n", at(100));
        assert_eq!((door.session.claimed_octets(), door.codes()), (0, vec!["250".to_owned()]));
    }

    #[test]
    fn what_has_no_room_is_refused_before_it_begins_and_the_session_goes_on() {
        let mut door = Door::new();
        door.room = false;
        door.say(MAIL, at(0));
        door.say("DATA\r\n", at(1));
        assert_eq!(door.codes().last().unwrap(), "452");
        assert_eq!(door.session.claimed_octets(), 0);
        // A chunk follows its command in any case, and is thrown away.
        for last in ["", " LAST"] {
            door.say(&format!("{MAIL}BDAT 6{last}\r\nQUIT\r\nRSET\r\n"), at(2));
            assert_eq!(door.codes(), ["250", "250", "452", "250"]);
        }
        door.room = true;
        door.say(&format!("{MAIL}BDAT 6 LAST\r\ntext\r\n"), at(3));
        assert_eq!(door.codes(), ["250", "250", "250"]);
        assert_eq!(door.asked, [1_000_000; 4]);
    }

    #[test]
    fn without_a_size_a_little_is_claimed_and_more_by_each_chunk() {
        let undeclared = Limits::default().undeclared_octets;
        let mut door = Door::new();
        let mail = "MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\n";
        door.say(mail, at(0));
        assert_eq!((door.session.claimed_octets(), door.session.poll_timeout()), (0, Some(at(300))));
        door.say("DATA\r\n", at(0));
        assert_eq!((door.asked.pop(), door.session.claimed_octets()), (Some(undeclared), undeclared));
        door.say(&format!(".\r\n{mail}BDAT 4\r\ntext"), at(0));
        assert_eq!((door.asked.pop(), door.session.claimed_octets()), (Some(4), 4));
        door.say("BDAT 100000\r\nx", at(1));
        assert_eq!((door.asked.pop(), door.session.claimed_octets()), (Some(100_004), 100_004));
        door.say(&"x".repeat(99_999), at(2));
        assert_eq!(door.session.poll_timeout(), Some(at(32)));
        door.session.handle_timeout(at(32));
        assert_eq!(door.session.claimed_octets(), 100_004, "those are here");
    }
}
