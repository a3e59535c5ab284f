//! What a provider decides: a value that is asked about a connection, a sender, a recipient, a message.
//!
//! Pure: time and dice are arguments. It answers with a verdict and a delay; `voice.rs` puts the verdict into the
//! provider's words and `session.rs` does it. Mailboxes behave by the word their local-part begins with, so that a
//! test needs no preparation; the words are listed at `Habit` and in README.md.

use super::behaviour::{Behaviour, Outage, TlsMode};
use super::voice::Why;
use mail::{Instant, Mailbox};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

/// Pairs of sender and recipient remembered for greylisting and counted deferrals; then all are forgotten.
const PAIRS_MAX: usize = 200_000;
/// Peers remembered; beyond, those without a connection are forgotten.
const PEERS_MAX: usize = 10_000;
/// Longest delay that a local-part can ask for.
const SLOW_SECONDS_MAX: u64 = 600;

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Welcome {
    /// It is greeted.
    Greet,
    /// It is told why not, and closed.
    Refuse(Why),
    /// Closed without a word.
    Drop,
    /// Open without a word.
    Silent,
}

/// The answer to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken.
    Accept,
    /// It is not.
    Refuse(Why),
}

/// The answer to RCPT, and when it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The answer itself.
    pub verdict: Verdict,
    /// Before the answer.
    pub delay: Duration,
}

/// What becomes of a message after the end of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is remembered as an arrival.
    Keep {
        /// What follows later.
        afterwards: Afterwards,
    },
    /// It is not taken.
    Refuse(Why),
    /// Kept, but the connection breaks before the answer: the sender cannot know.
    KeepAndDrop,
}

/// What a provider does with a message that it has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// Nothing more.
    Nothing,
    /// Sends a complaint (RFC 5965).
    Complain,
    /// Sends a bounce (RFC 3464).
    Bounce,
}

/// The word a local-part begins with. A number behind it is part of it: `defer2`, `slow10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    None,
    /// `unknown`: no such user.
    Unknown,
    /// `disabled`: closed for good.
    Disabled,
    /// `full`: over quota, 452.
    Full,
    /// `greylist`: deferred until the delay has passed since the first attempt.
    Greylist,
    /// `slow`, `slowN`: accepted after the provider's slow delay or N seconds.
    Slow(Option<u64>),
    /// `defer`: deferred always; `deferN`: N times.
    Defer(Option<u64>),
    /// `ratelimit`: too fast, says the provider.
    RateLimit,
    /// `blocked`: the peer's reputation is bad.
    Blocked,
    /// `spam`: refused after the data.
    Spam,
    /// `policy`: refused after the data for authentication or policy.
    Policy,
    /// `drop`: accepted, but the connection breaks before the reply.
    Drop,
    /// `complain`: accepted, and a complaint follows.
    Complain,
    /// `bounce`: accepted, and a delivery status notification follows.
    Bounce,
}

#[derive(Debug, Clone, Copy)]
struct Peer {
    connections: u32,
    minute: u64,
    messages_in_minute: u32,
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    first: Instant,
    attempts: u64,
}

/// A provider: what it allows, and what it remembers of its peers. Time is an argument.
#[derive(Debug)]
pub struct Model {
    behaviour: Behaviour,
    slow: Duration,
    peers: HashMap<IpAddr, Peer>,
    pairs: HashMap<u64, Pair>,
}

impl Model {
    /// `slow` is the delay of a recipient that is called `slow` without a number.
    pub fn new(behaviour: Behaviour, slow: Duration) -> Model {
        Model { behaviour, slow, peers: HashMap::new(), pairs: HashMap::new() }
    }

    /// As it is now.
    pub fn behaviour(&self) -> &Behaviour {
        &self.behaviour
    }

    /// To be changed by the control interface.
    pub fn behaviour_mut(&mut self) -> &mut Behaviour {
        &mut self.behaviour
    }

    /// A clean memory; open connections stay counted.
    pub fn reset(&mut self, behaviour: Behaviour) {
        self.behaviour = behaviour;
        self.pairs.clear();
        self.peers.retain(|_, peer| peer.connections > 0);
    }

    /// Every connection that was asked about is counted and must be given back with `disconnect`.
    pub fn connect(&mut self, peer: IpAddr) -> Welcome {
        if self.peers.len() >= PEERS_MAX {
            self.peers.retain(|_, peer| peer.connections > 0);
        }
        let entry =
            self.peers.entry(peer).or_insert(Peer { connections: 0, minute: 0, messages_in_minute: 0 });
        entry.connections += 1;
        match self.behaviour.outage {
            Outage::Busy => return Welcome::Refuse(Why::Busy),
            Outage::Drop => return Welcome::Drop,
            Outage::Silent => return Welcome::Silent,
            Outage::None | Outage::Defer => {}
        }
        if self.behaviour.blocked.contains(&peer) {
            return Welcome::Refuse(Why::Blocked);
        }
        let limit = self.behaviour.limits.connections;
        if limit != 0 && entry.connections > limit {
            Welcome::Refuse(Why::TooManyConnections)
        } else {
            Welcome::Greet
        }
    }

    /// Gives back what `connect` counted.
    pub fn disconnect(&mut self, peer: IpAddr) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.connections = entry.connections.saturating_sub(1);
        }
    }

    /// MAIL FROM: `sent` messages were taken in this connection before.
    pub fn sender(&mut self, peer: IpAddr, sent: u32, encrypted: bool, now: Instant) -> Verdict {
        if self.behaviour.tls == TlsMode::Required && !encrypted {
            return Verdict::Refuse(Why::TlsRequired);
        }
        let limits = self.behaviour.limits;
        if limits.messages_per_connection != 0 && sent >= limits.messages_per_connection {
            return Verdict::Refuse(Why::TooManyMessages);
        }
        if limits.messages_per_minute != 0
            && let Some(entry) = self.peers.get_mut(&peer)
        {
            let minute = now.as_micros() / 60_000_000;
            if entry.minute != minute {
                (entry.minute, entry.messages_in_minute) = (minute, 0);
            }
            entry.messages_in_minute += 1;
            if entry.messages_in_minute > limits.messages_per_minute {
                return Verdict::Refuse(Why::TooFast);
            }
        }
        Verdict::Accept
    }

    /// RCPT TO. `dice` is uniform in 0..1.
    pub fn recipient(
        &mut self,
        reverse_path: &str,
        recipient: &Mailbox,
        dice: f64,
        now: Instant,
    ) -> Decision {
        let local_part = recipient.local_part().as_str().to_ascii_lowercase();
        let habit = Habit::of(&local_part);
        let mut delay = Duration::from_millis(self.behaviour.delay_ms);
        if let Habit::Slow(seconds) = habit {
            delay += seconds.map_or(self.slow, |seconds| Duration::from_secs(seconds.min(SLOW_SECONDS_MAX)));
        }
        let verdict = match habit {
            _ if self.behaviour.outage == Outage::Defer => Verdict::Refuse(Why::Deferred),
            Habit::Unknown => Verdict::Refuse(Why::UnknownUser),
            _ if self.behaviour.is_unknown(&local_part) => Verdict::Refuse(Why::UnknownUser),
            Habit::Disabled => Verdict::Refuse(Why::Disabled),
            Habit::Full => Verdict::Refuse(Why::Full),
            Habit::RateLimit => Verdict::Refuse(Why::TooFast),
            Habit::Blocked => Verdict::Refuse(Why::Blocked),
            Habit::Defer(None) => Verdict::Refuse(Why::Deferred),
            Habit::Defer(Some(times)) if self.pair(reverse_path, recipient, now).attempts <= times => {
                Verdict::Refuse(Why::Deferred)
            }
            Habit::Greylist => self.greylist(reverse_path, recipient, now),
            _ if self.behaviour.greylist.enabled => self.greylist(reverse_path, recipient, now),
            _ if dice < self.behaviour.defer_rate => Verdict::Refuse(Why::Deferred),
            _ => Verdict::Accept,
        };
        Decision { verdict, delay }
    }

    /// After the end of data. One dice for complaints, the rest of it for bounces.
    pub fn message(&self, recipients: &[Mailbox], dice: f64) -> Fate {
        let has = |habit: Habit| {
            recipients.iter().any(|to| Habit::of(&to.local_part().as_str().to_ascii_lowercase()) == habit)
        };
        let behaviour = &self.behaviour;
        if has(Habit::Spam) {
            Fate::Refuse(Why::Spam)
        } else if has(Habit::Policy) {
            Fate::Refuse(Why::Policy)
        } else if has(Habit::Drop) {
            Fate::KeepAndDrop
        } else if has(Habit::Complain) || dice < behaviour.complaint_rate {
            Fate::Keep { afterwards: Afterwards::Complain }
        } else if has(Habit::Bounce) || dice < behaviour.complaint_rate + behaviour.bounce_rate {
            Fate::Keep { afterwards: Afterwards::Bounce }
        } else {
            Fate::Keep { afterwards: Afterwards::Nothing }
        }
    }

    fn greylist(&mut self, reverse_path: &str, recipient: &Mailbox, now: Instant) -> Verdict {
        let wait = Duration::from_millis(self.behaviour.greylist.delay_ms);
        let pair = self.pair(reverse_path, recipient, now);
        let early = pair.attempts == 1 || now.saturating_since(pair.first) < wait;
        if early { Verdict::Refuse(Why::Greylisted) } else { Verdict::Accept }
    }

    /// This attempt counted. The peer's address is not part of the key: a retry may come from another source.
    fn pair(&mut self, reverse_path: &str, recipient: &Mailbox, now: Instant) -> Pair {
        if self.pairs.len() >= PAIRS_MAX {
            self.pairs.clear();
        }
        let mut hasher = DefaultHasher::new();
        (reverse_path, recipient).hash(&mut hasher);
        let pair = self.pairs.entry(hasher.finish()).or_insert(Pair { first: now, attempts: 0 });
        pair.attempts += 1;
        *pair
    }
}

impl Habit {
    fn of(local_part: &str) -> Habit {
        let number = |word: &str| -> Option<u64> {
            let rest = &local_part[word.len()..];
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..digits].parse().ok()
        };
        let begins = |word: &str| local_part.starts_with(word);
        match () {
            () if begins("unknown") => Habit::Unknown,
            () if begins("disabled") => Habit::Disabled,
            () if begins("full") => Habit::Full,
            () if begins("greylist") => Habit::Greylist,
            () if begins("slow") => Habit::Slow(number("slow")),
            () if begins("defer") => Habit::Defer(number("defer")),
            () if begins("ratelimit") => Habit::RateLimit,
            () if begins("blocked") => Habit::Blocked,
            () if begins("spam") => Habit::Spam,
            () if begins("policy") => Habit::Policy,
            () if begins("drop") => Habit::Drop,
            () if begins("complain") => Habit::Complain,
            () if begins("bounce") => Habit::Bounce,
            () => Habit::None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::provider::behaviour::Change;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 30, 0, 1));

    fn model(change: &str) -> Model {
        let mut behaviour = Behaviour::default();
        behaviour.greylist.delay_ms = 2_000;
        behaviour.apply(serde_json::from_str::<Change>(change).unwrap()).unwrap();
        Model::new(behaviour, Duration::from_secs(3))
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn ask(model: &mut Model, local_part: &str, now: Instant) -> Verdict {
        let recipient = Mailbox::parse(&format!("{local_part}@a.example")).unwrap();
        model.recipient("b@c.example", &recipient, 0.5, now).verdict
    }

    #[test]
    fn mailboxes_refuse_by_the_word_they_begin_with() {
        let mut model = model(r#"{"unknown":["gone*"]}"#);
        for (local_part, why) in [
            ("unknown", Why::UnknownUser),
            ("Unknown.person", Why::UnknownUser),
            ("gone.away", Why::UnknownUser),
            ("disabled7", Why::Disabled),
            ("full-box", Why::Full),
            ("defer", Why::Deferred),
            ("ratelimited", Why::TooFast),
            ("blocked", Why::Blocked),
            ("greylisted", Why::Greylisted),
        ] {
            assert_eq!(ask(&mut model, local_part, at(0)), Verdict::Refuse(why), "{local_part}");
        }
        assert_eq!(ask(&mut model, "anna", at(0)), Verdict::Accept);
    }

    #[test]
    fn a_counted_deferral_ends_and_greylisting_needs_time() {
        let mut model = model("{}");
        assert_eq!(ask(&mut model, "defer2", at(0)), Verdict::Refuse(Why::Deferred));
        assert_eq!(ask(&mut model, "defer2", at(0)), Verdict::Refuse(Why::Deferred));
        assert_eq!(ask(&mut model, "defer2", at(0)), Verdict::Accept);
        assert_eq!(ask(&mut model, "greylist", at(0)), Verdict::Refuse(Why::Greylisted));
        assert_eq!(ask(&mut model, "greylist", at(1)), Verdict::Refuse(Why::Greylisted));
        assert_eq!(ask(&mut model, "greylist", at(2)), Verdict::Accept);
    }

    #[test]
    fn connections_beyond_the_limit_are_refused_until_one_is_given_back() {
        let mut model = model(r#"{"limits":{"connections":2}}"#);
        assert_eq!((model.connect(PEER), model.connect(PEER)), (Welcome::Greet, Welcome::Greet));
        assert_eq!(model.connect(PEER), Welcome::Refuse(Why::TooManyConnections));
        assert_eq!(model.connect(IpAddr::from([127, 30, 0, 2])), Welcome::Greet, "each peer has its own");
        model.disconnect(PEER);
        model.disconnect(PEER);
        assert_eq!(model.connect(PEER), Welcome::Greet);
    }

    #[test]
    fn an_outage_comes_before_everything() {
        for (outage, welcome) in [
            ("true", Welcome::Refuse(Why::Busy)),
            ("\"drop\"", Welcome::Drop),
            ("\"silent\"", Welcome::Silent),
        ] {
            assert_eq!(model(&format!(r#"{{"outage":{outage}}}"#)).connect(PEER), welcome);
        }
        assert_eq!(
            ask(&mut model(r#"{"outage":"defer"}"#), "unknown", at(0)),
            Verdict::Refuse(Why::Deferred)
        );
        let blocked = model(r#"{"blocked":["127.30.0.1"]}"#).connect(PEER);
        assert_eq!(blocked, Welcome::Refuse(Why::Blocked));
    }

    #[test]
    fn messages_are_limited_by_connection_and_by_minute() {
        let mut model =
            model(r#"{"limits":{"messages_per_connection":2,"messages_per_minute":3},"tls":"required"}"#);
        model.connect(PEER);
        assert_eq!(model.sender(PEER, 0, false, at(0)), Verdict::Refuse(Why::TlsRequired));
        assert_eq!(model.sender(PEER, 2, true, at(0)), Verdict::Refuse(Why::TooManyMessages));
        for _ in 0..3 {
            assert_eq!(model.sender(PEER, 0, true, at(0)), Verdict::Accept);
        }
        assert_eq!(model.sender(PEER, 0, true, at(0)), Verdict::Refuse(Why::TooFast));
        assert_eq!(model.sender(PEER, 0, true, at(60)), Verdict::Accept);
    }

    #[test]
    fn the_fate_of_a_message_follows_its_recipients_and_the_dice() {
        let to = |local_part: &str| vec![Mailbox::parse(&format!("{local_part}@a.example")).unwrap()];
        let model = model(r#"{"complaint_rate":0.1,"bounce_rate":0.1}"#);
        assert_eq!(model.message(&to("spam"), 0.9), Fate::Refuse(Why::Spam));
        assert_eq!(model.message(&to("policy"), 0.9), Fate::Refuse(Why::Policy));
        assert_eq!(model.message(&to("drop"), 0.9), Fate::KeepAndDrop);
        assert_eq!(model.message(&to("anna"), 0.05), Fate::Keep { afterwards: Afterwards::Complain });
        assert_eq!(model.message(&to("anna"), 0.15), Fate::Keep { afterwards: Afterwards::Bounce });
        assert_eq!(model.message(&to("anna"), 0.25), Fate::Keep { afterwards: Afterwards::Nothing });
    }

    #[test]
    fn slow_mailboxes_say_how_slow() {
        let mut model = model(r#"{"delay_ms":5}"#);
        let mut delay = |text: &str| model.recipient("", &Mailbox::parse(text).unwrap(), 0.5, at(0)).delay;
        assert_eq!(delay("anna@a.example"), Duration::from_millis(5));
        assert_eq!(delay("slow@a.example"), Duration::from_millis(3_005));
        assert_eq!(delay("slow7@a.example"), Duration::from_millis(7_005));
        assert_eq!(delay("slow99999@a.example"), Duration::from_millis(600_005));
    }
}
