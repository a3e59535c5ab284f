//! What mailbox providers accepted: a bounded ring, newest last.
//!
//! Two limits: the number of arrivals, and the octets of raw messages. Beyond the second the oldest lose their raw
//! text and keep everything else, so that counting still works after a load test.

use bytes::Bytes;
use mail::Timestamp;
use std::collections::VecDeque;

/// One accepted message.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// `arr_` and a number: the control interface names it by this.
    pub id: String,
    /// At the end of data.
    pub at: Timestamp,
    /// Whose exchanger took it.
    pub provider: &'static str,
    /// Name of that exchanger.
    pub mx: &'static str,
    /// Who brought it.
    pub peer: std::net::SocketAddr,
    /// As it was said, not looked up.
    pub ehlo: String,
    /// The TLS version, none when the session was in the clear.
    pub tls: Option<&'static str>,
    /// Without angle brackets; empty for the null reverse-path.
    pub mail_from: String,
    /// Without angle brackets, in their order.
    pub rcpt_to: Vec<String>,
    /// Of the message.
    pub octets: usize,
    /// Of the message, in hexadecimal.
    pub sha256: String,
    /// As received, dots unstuffed; gone when the ring was full.
    pub raw: Option<Bytes>,
}

/// Which arrivals are wanted. Addresses are compared without case; `@domain` or a bare domain means all of it.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Matches one of its recipients.
    pub to: Option<String>,
    /// Matches the reverse-path or the From field.
    pub from: Option<String>,
    /// Name of the provider that took it.
    pub provider: Option<String>,
    /// Not the ones before.
    pub since: Option<Since>,
    /// At most so many, the newest.
    pub limit: Option<usize>,
}

/// From where on.
#[derive(Debug, Clone)]
pub enum Since {
    /// At this time or later.
    Time(Timestamp),
    /// After the arrival with this id.
    Arrival(String),
}

/// The newest arrivals, in a ring: the oldest are forgotten.
#[derive(Debug)]
pub struct Arrivals {
    ring: VecDeque<Arrival>,
    raw_octets: usize,
    /// Arrivals before this index in the ring have no raw text any more.
    raw_from: usize,
    count_max: usize,
    raw_octets_max: usize,
    total: u64,
}

impl Arrivals {
    /// So many at most, and so many octets of their texts.
    pub fn new(count_max: usize, raw_octets_max: usize) -> Arrivals {
        Arrivals { ring: VecDeque::new(), raw_octets: 0, raw_from: 0, count_max, raw_octets_max, total: 0 }
    }

    /// Makes room first, if it is needed.
    pub fn push(&mut self, arrival: Arrival) {
        self.total += 1;
        self.raw_octets += arrival.raw.as_ref().map_or(0, Bytes::len);
        self.ring.push_back(arrival);
        while self.ring.len() > self.count_max {
            let gone = self.ring.pop_front().and_then(|arrival| arrival.raw);
            self.raw_octets -= gone.map_or(0, |raw| raw.len());
            self.raw_from = self.raw_from.saturating_sub(1);
        }
        while self.raw_octets > self.raw_octets_max && self.raw_from < self.ring.len() {
            let gone = self.ring[self.raw_from].raw.take();
            self.raw_octets -= gone.map_or(0, |raw| raw.len());
            self.raw_from += 1;
        }
    }

    /// Oldest first. A limit keeps the first ones after `since`, and without `since` the newest.
    pub fn select(&self, filter: &Filter) -> Vec<Arrival> {
        let after = match &filter.since {
            Some(Since::Arrival(id)) => {
                self.ring.iter().position(|arrival| arrival.id == *id).map_or(0, |i| i + 1)
            }
            Some(Since::Time(_)) | None => 0,
        };
        let wanted = self.ring.iter().skip(after).filter(|arrival| filter.matches(arrival));
        match (filter.limit, &filter.since) {
            (None, _) => wanted.cloned().collect(),
            (Some(limit), Some(_)) => wanted.take(limit).cloned().collect(),
            (Some(limit), None) => {
                let mut newest: Vec<Arrival> = wanted.rev().take(limit).cloned().collect();
                newest.reverse();
                newest
            }
        }
    }

    /// None if it never came or is forgotten.
    pub fn find(&self, id: &str) -> Option<&Arrival> {
        self.ring.iter().rev().find(|arrival| arrival.id == id)
    }

    /// Those that are remembered.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// None is remembered.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// All since the start or the last reset, also those that left the ring.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Forgets all.
    pub fn reset(&mut self) {
        self.ring.clear();
        (self.raw_octets, self.raw_from, self.total) = (0, 0, 0);
    }
}

impl Filter {
    fn matches(&self, arrival: &Arrival) -> bool {
        let to = |wanted: &String| arrival.rcpt_to.iter().any(|to| address_matches(to, wanted));
        let from = |wanted: &String| {
            address_matches(&arrival.mail_from, wanted) || from_field_matches(arrival, wanted)
        };
        self.to.as_ref().is_none_or(to)
            && self.from.as_ref().is_none_or(from)
            && self.provider.as_deref().is_none_or(|name| name == arrival.provider)
            && !matches!(&self.since, Some(Since::Time(time)) if arrival.at < *time)
    }
}

fn address_matches(address: &str, wanted: &str) -> bool {
    let (address, wanted) = (address.to_ascii_lowercase(), wanted.to_ascii_lowercase());
    match wanted.strip_prefix('@') {
        Some(domain) => address.rsplit_once('@').is_some_and(|(_, own)| own == domain),
        None if wanted.contains('@') => address == wanted,
        None => address
            .rsplit_once('@')
            .is_some_and(|(local_part, domain)| domain == wanted || local_part == wanted),
    }
}

/// The house puts its own return path into the envelope; people look for the address they wrote.
fn from_field_matches(arrival: &Arrival, wanted: &str) -> bool {
    let field = arrival.raw.as_ref().and_then(|raw| field(raw, "from"));
    let wanted = wanted.to_ascii_lowercase();
    field.is_some_and(|field| field.to_ascii_lowercase().contains(&wanted))
}

/// The unfolded value of the first field of that name; good enough for messages that were accepted.
pub(crate) fn field(raw: &[u8], name: &str) -> Option<String> {
    let end = memchr::memmem::find(raw, b"\r\n\r\n").map_or(raw.len(), |i| i + 2);
    let header = String::from_utf8_lossy(&raw[..end]);
    let mut lines = header.split("\r\n");
    let matches =
        |line: &&str| line.split_once(':').is_some_and(|(own, _)| own.trim_end().eq_ignore_ascii_case(name));
    let first = lines.find(matches)?;
    let mut value = first.split_once(':')?.1.trim().to_owned();
    for line in lines.take_while(|line| line.starts_with([' ', '\t'])) {
        value.push(' ');
        value.push_str(line.trim());
    }
    Some(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn arrival(number: i64, raw: &'static [u8]) -> Arrival {
        Arrival {
            id: format!("arr_{number}"),
            at: Timestamp::from_millis(number),
            provider: "plain",
            mx: "mx.plain.example",
            peer: "127.0.0.1:1".parse().unwrap(),
            ehlo: "out.example".into(),
            tls: None,
            mail_from: "b+x@rp.client.example".into(),
            rcpt_to: vec![format!("user{number}@plain.example")],
            octets: raw.len(),
            sha256: String::new(),
            raw: Some(Bytes::from_static(raw)),
        }
    }

    fn ids(arrivals: &Arrivals, filter: Filter) -> Vec<String> {
        arrivals.select(&filter).into_iter().map(|arrival| arrival.id).collect()
    }

    #[test]
    fn the_ring_forgets_the_oldest_and_counts_on() {
        let mut arrivals = Arrivals::new(3, 1_000);
        (0..5).for_each(|number| arrivals.push(arrival(number, b"x")));
        assert_eq!((arrivals.len(), arrivals.total()), (3, 5));
        assert_eq!(ids(&arrivals, Filter::default()), ["arr_2", "arr_3", "arr_4"]);
        assert!(arrivals.find("arr_1").is_none());
    }

    #[test]
    fn the_oldest_lose_their_raw_text_first() {
        let mut arrivals = Arrivals::new(4, 10);
        (0..6).for_each(|number| arrivals.push(arrival(number, b"12345")));
        let kept: Vec<bool> =
            arrivals.select(&Filter::default()).iter().map(|arrival| arrival.raw.is_some()).collect();
        assert_eq!(kept, [false, false, true, true]);
        assert!(arrivals.raw_octets <= 10);
    }

    #[test]
    fn a_filter_finds_by_recipient_sender_time_and_place() {
        let mut arrivals = Arrivals::new(10, 1_000);
        (0..5).for_each(|number| {
            arrivals
                .push(arrival(number, b"From: News\r\n <offers@client.example>\r\n\r\nfrom: x@y.example\r\n"))
        });
        let to = |to: &str| Filter { to: Some(to.into()), ..Filter::default() };
        let from = |from: &str| Filter { from: Some(from.into()), ..Filter::default() };
        assert_eq!(ids(&arrivals, to("USER3@plain.example")), ["arr_3"]);
        assert_eq!(ids(&arrivals, to("user3@other.example")), [""; 0]);
        assert_eq!(ids(&arrivals, to("@plain.example")).len(), 5);
        assert_eq!(ids(&arrivals, to("plain.example")).len(), 5);
        assert_eq!(ids(&arrivals, from("offers@client.example")).len(), 5);
        assert_eq!(ids(&arrivals, from("b+x@rp.client.example")).len(), 5);
        assert_eq!(ids(&arrivals, from("x@y.example")), [""; 0], "the body is not the header");
        let since = |since: Since, limit| Filter { since: Some(since), limit, ..Filter::default() };
        assert_eq!(ids(&arrivals, since(Since::Time(Timestamp::from_millis(3)), None)), ["arr_3", "arr_4"]);
        assert_eq!(ids(&arrivals, since(Since::Arrival("arr_1".into()), Some(2))), ["arr_2", "arr_3"]);
        assert_eq!(ids(&arrivals, Filter { limit: Some(2), ..Filter::default() }), ["arr_3", "arr_4"]);
    }
}
