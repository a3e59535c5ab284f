//! D2: is something durable before the 250? Every acknowledgement is held against the system calls of the house.
//!
//! Where a message is written is found by its recipient's address: in the envelope, and in the last line of the letter. The
//! same file must be synced with success after the later of the two writes has ended and before the house begins to write
//! the reply to the client's socket: what the client reads, and when, is no measure, for it may be late. The file of a new
//! segment must have its directory synced before the first reply about a message in it. All times are those of one tracer,
//! who sees each thread's calls in their order.

use crate::site::Site;
use posthouse_tests::client::Door;
use posthouse_tests::house::{let_pass, now_us, rounds, wait_for};
use posthouse_tests::load::{END, Press, Shape};
use posthouse_tests::strace::{Call, Trace, can_trace};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const CALLS: &str =
    "pwritev,pwritev2,pwrite64,fdatasync,fsync,openat,write,writev,sendto,sendmsg,sendmmsg";
const DOMAIN: &str = "@plain.example";

/// A reply that was read: the recipient of its message, when, and how the house's own write of it is known.
#[derive(Debug, Clone)]
pub struct Reply {
    pub recipient: String,
    pub at_us: u64,
    pub by: By,
}

/// How the write of a reply is found among the calls.
#[derive(Debug, Clone)]
pub enum By {
    /// The last on this connection before the reply was read; what it says is encrypted.
    Connection(String),
    /// The first on a connection of this listener that names the message.
    Words { listener: String, message: String },
    /// Not at all: the time at which it was read has to do.
    Reading,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Data,
    Bdat,
    Http,
}

/// Submits `count` messages one after the other; the replies that were good.
fn submit(door: &Door, name: &str, (way, shape): (Way, Shape), count: usize) -> Vec<Reply> {
    let mut press = Press::new(name, &door.sender, shape);
    let connect = || wait_for("a session", || door.connect().ok());
    let mut session = (!matches!(way, Way::Http)).then(connect);
    let one = |_| {
        let message = press.next();
        let (to, raw) = (&message.recipients, &message.raw);
        loop {
            let (code, by) = match (way, &mut session) {
                (Way::Data, Some(session)) => {
                    let code = session.submit(&door.sender, to, raw).unwrap().code;
                    (code, By::Connection(session.ends()))
                }
                (Way::Bdat, Some(session)) => {
                    let code = session.submit_in_chunks(&door.sender, to, raw).unwrap().code;
                    (code, By::Connection(session.ends()))
                }
                _ => {
                    let answer = door.post(to, raw).unwrap();
                    let message = answer.message().unwrap_or_default();
                    (answer.status, By::Words { listener: door.api().to_owned(), message })
                }
            };
            let at_us = now_us();
            match code {
                250 | 202 => break Reply { recipient: to[0].clone(), at_us, by },
                // A disk that does not come back: the door says so, and the client comes again.
                421 => session = Some(connect()),
                503 => let_pass(Duration::from_millis(100)),
                _ => panic!("{code}"),
            }
        }
    };
    (0..count).map(one).collect()
}

/// Fifty clients at once.
pub fn submit_in_parallel(door: &Door, name: &str, each: usize) -> Vec<Reply> {
    submit_by(50, door, name, Shape::Small, each)
}

fn submit_by(clients: usize, door: &Door, name: &str, shape: Shape, each: usize) -> Vec<Reply> {
    let replies = Arc::new(Mutex::new(Vec::new()));
    let clients: Vec<_> = (0..clients)
        .map(|number| {
            let (door, replies, name) = (door.clone(), Arc::clone(&replies), format!("{name}{number}"));
            let way = [Way::Data, Way::Bdat, Way::Data, Way::Http][number % 4];
            std::thread::spawn(move || {
                let ours = submit(&door, &name, (way, shape), each);
                replies.lock().unwrap().extend(ours);
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    Arc::try_unwrap(replies).unwrap().into_inner().unwrap()
}

/// What the calls show about the replies; a breach fails the test. Returns the number of syncs that carried them.
pub fn hold_against(replies: &[Reply], calls: &[Call]) -> usize {
    judge(replies, calls).unwrap_or_else(|breach| panic!("{breach}"))
}

/// The calls by what they are, so that a message is looked up and not searched for.
struct Evidence<'a> {
    /// The first write with each recipient in it, and the first with the last line of its letter.
    begun: HashMap<&'a str, &'a Call>,
    ended: HashMap<&'a str, &'a Call>,
    syncs: Vec<&'a Call>,
    created: Vec<&'a Call>,
    /// Writes to sockets, in their order.
    sent: HashMap<&'a str, Vec<&'a Call>>,
}

impl<'a> Evidence<'a> {
    fn of(calls: &'a [Call]) -> Evidence<'a> {
        let (mut begun, mut ended, mut sent) = (HashMap::new(), HashMap::new(), HashMap::new());
        for write in calls.iter().filter(|call| call.name.starts_with("pwrite")) {
            for (at, _) in write.arguments.match_indices(DOMAIN) {
                let start = write.arguments[..at].rfind(|c: char| !c.is_ascii_alphanumeric() && c != '-');
                let start = start.map_or(0, |start| start + 1);
                let recipient = &write.arguments[start..at + DOMAIN.len()];
                // A length before it may be shown as octal digits; no recipient begins with a digit.
                let recipient = recipient.trim_start_matches(|c: char| c.is_ascii_digit());
                begun.entry(recipient).or_insert(write);
                if write.arguments[..start].ends_with(END) {
                    ended.entry(recipient).or_insert(write);
                }
            }
        }
        for call in
            calls.iter().filter(|call| call.name.starts_with("write") || call.name.starts_with("send"))
        {
            if let Some(connection) = call.about().and_then(|about| about.strip_prefix("TCP:")) {
                sent.entry(connection).or_insert_with(Vec::new).push(call);
            }
        }
        let named =
            |names: &[&str]| calls.iter().filter(|call| names.contains(&&*call.name)).collect::<Vec<_>>();
        let mut created = named(&["openat"]);
        created.retain(|call| call.arguments.contains("O_CREAT") && call.result >= 0);
        Evidence { begun, ended, syncs: named(&["fdatasync", "fsync"]), created, sent }
    }

    /// When the house began to say it.
    fn said_us(&self, reply: &Reply) -> Option<u64> {
        let before = |call: &&&Call| call.start_us <= reply.at_us;
        match &reply.by {
            By::Connection(ends) => Some(self.sent.get(&**ends)?.iter().rfind(before)?.start_us),
            By::Words { listener, message } => {
                let of_it = format!("[{listener}->");
                let ours = self.sent.iter().filter(|(ends, _)| ends.starts_with(&of_it));
                let names_it =
                    ours.flat_map(|(_, calls)| calls).filter(|call| call.arguments.contains(&**message));
                names_it.map(|call| call.start_us).min().filter(|_| !message.is_empty())
            }
            By::Reading => Some(reply.at_us),
        }
    }

    /// The sync that carried a reply, or what is wrong with it.
    fn carried_by(&self, reply: &Reply) -> Result<&'a Call, String> {
        let recipient = &reply.recipient;
        let find = |writes: &HashMap<&str, &'a Call>, what: &str| {
            let write = writes.get(&**recipient).copied();
            let write =
                write.ok_or_else(|| format!("{recipient}: acknowledged, and {what} never written"))?;
            let is_good = write.result > 0;
            is_good.then_some(write).ok_or_else(|| format!("{recipient}: {what}: {write:?}"))
        };
        let (begun, ended) = (find(&self.begun, "its envelope")?, find(&self.ended, "its last line")?);
        let written_us = begun.end_us.max(ended.end_us);
        let file = begun.about().filter(|file| Some(*file) == ended.about());
        let file = file.ok_or_else(|| format!("{recipient}: its last line is in another file: {ended:?}"))?;
        let said_us =
            self.said_us(reply).ok_or_else(|| format!("{recipient}: nobody wrote the reply {reply:?}"))?;
        let sync = self.syncs.iter().find(|sync| sync.about() == Some(file) && sync.start_us >= written_us);
        let sync = sync.ok_or_else(|| {
            format!("{recipient}: acknowledged, and {file} never synced after its last write")
        })?;
        if sync.result != 0 || sync.end_us > said_us {
            return Err(format!(
                "{recipient}: the reply was written at {said_us}, before the sync ended: {sync:?} {reply:?}"
            ));
        }
        let Some(creation) = self.created.iter().find(|creation| creation.arguments.contains(file)) else {
            return Ok(sync);
        };
        let folder = file.rsplit_once('/').map(|(folder, _)| folder);
        // Another thread may sync the same directory meanwhile, and be longer about it.
        let mut names = self.syncs.iter().filter(|sync| sync.about() == folder);
        let is_durable =
            |sync: &&Call| sync.result == 0 && sync.start_us >= creation.end_us && sync.end_us <= said_us;
        match names.any(is_durable) {
            true => Ok(sync),
            false => Err(format!("{recipient}: {file} had no durable name yet")),
        }
    }
}

fn judge(replies: &[Reply], calls: &[Call]) -> Result<usize, String> {
    let evidence = Evidence::of(calls);
    let carried = replies.iter().map(|reply| Ok(evidence.carried_by(reply)?.start_us));
    Ok(carried.collect::<Result<BTreeSet<u64>, String>>()?.len())
}

fn run(segment_octets: Option<&str>) {
    if !can_trace("D2") {
        return;
    }
    let each = rounds(20, 200);
    let mut site = Site::new();
    let (words, trace) = Trace::new(site.plot.path(), CALLS);
    site.plot.start_through(&words.iter().map(String::as_str).collect::<Vec<_>>());
    if let Some(octets) = segment_octets {
        site.plot.set("spool.segment_octets_max", octets);
    }
    let house = site.start();
    let (tenant, _) = house.onboard("oracle", "oracle.example", "127.2.0.83");
    // What leaves again would be in the trace, too, and is another row's.
    house.lab("PUT", "/providers/plain", Some(&json!({"outage": true})));
    let door = site.door(&house, &tenant);
    let mut alone = Vec::new();
    for (name, way) in [("data", Way::Data), ("bdat", Way::Bdat), ("http", Way::Http)] {
        alone.extend(submit(&door, name, (way, Shape::Small), each));
        alone.extend(submit(&door, &format!("{name}-large"), (way, Shape::Large), each / 10));
    }
    let together = submit_in_parallel(&door, "p", each / 2);
    let large = submit_by(16, &door, "large", Shape::Large, each / 20);
    assert_eq!(house.stop().code(), Some(0));
    let calls = trace.calls();
    hold_against(&alone, &calls);
    hold_against(&large, &calls);
    let syncs = hold_against(&together, &calls);
    let share = syncs as f64 / together.len() as f64;
    let segments =
        calls.iter().filter(|call| call.arguments.contains("O_CREAT") && call.arguments.contains(".seg"));
    println!(
        "D2: {} acknowledgements one by one, {} of 1 MB from 16 sessions and {} of 2 KB from 50 at once, each written \
         to its socket after its sync; {share:.2} syncs for one of the latter; {} segments",
        alone.len(),
        large.len(),
        together.len(),
        segments.count()
    );
    assert!(share < 0.5, "{syncs} syncs for {} acknowledgements of 50 sessions", together.len());
}

#[test]
fn d2_every_acknowledgement_follows_its_sync_with_the_default_configuration() {
    run(None);
}

#[test]
fn d2_a_new_segment_has_a_durable_name_before_the_first_acknowledgement_in_it() {
    run(Some("65536"));
}

/// The judge itself: a trace in which all is well, and what it says when one thing is not.
mod doctored {
    use super::*;

    const ENDS: &str = "[127.0.0.1:465->127.0.0.1:50652]";

    /// A letter that needs two writes, in a new segment, and its reply under TLS.
    const SOUND: &[&str] = &[
        r#"1.000010 openat(AT_FDCWD</>, "/s/1.seg", O_RDWR|O_CREAT|O_TRUNC|O_CLOEXEC, 0600) = 9</s/1.seg> <0.000005>"#,
        r#"1.000020 fsync(10</s>) = 0 <0.000020>"#,
        r#"1.000050 sendto(7<TCP:[127.0.0.1:465->127.0.0.1:50652]>, "\27\3\3 354", 9, MSG_NOSIGNAL, NULL, 0) = 9 <0.000005>"#,
        r#"1.000100 pwritev(9</s/1.seg>, [{iov_base="\0\0a-0@plain.example", iov_len=18}, {iov_base="first half", iov_len=10}], 2, 0) = 28 <0.000010>"#,
        r#"1.000200 pwritev(9</s/1.seg>, [{iov_base="half\r\nend of a-0@plain.example\r\n", iov_len=30}], 1, 28) = 30 <0.000010>"#,
        r#"1.000300 fdatasync(9</s/1.seg>) = 0 <0.000100>"#,
        r#"1.000500 sendto(7<TCP:[127.0.0.1:465->127.0.0.1:50652]>, "\27\3\3 250", 9, MSG_NOSIGNAL, NULL, 0) = 9 <0.000005>"#,
        r#"1.000800 sendto(7<TCP:[127.0.0.1:465->127.0.0.1:50652]>, "\27\3\3 bye", 9, MSG_NOSIGNAL, NULL, 0) = 9 <0.000005>"#,
    ];

    /// What is said of it when one line is another; the client reads the reply 200 µs after it was written.
    fn said(from: &str, to: &str) -> Result<usize, String> {
        let trace = SOUND.join("\n");
        assert!(trace.contains(from), "{from}");
        let mut calls: Vec<Call> = trace.replacen(from, to, 1).lines().filter_map(Call::parse).collect();
        calls.sort_by_key(|call| call.start_us);
        let by = By::Connection(ENDS.to_owned());
        judge(&[Reply { recipient: "a-0@plain.example".to_owned(), at_us: 1_000_700, by }], &calls)
    }

    #[test]
    fn a_sound_trace_has_no_breach() {
        assert_eq!(said("", ""), Ok(1));
    }

    #[test]
    fn a_250_that_is_written_before_the_sync_has_ended_is_a_breach() {
        // The client reads it long after the sync; the write began a microsecond too early.
        let early = said("1.000500 sendto", "1.000399 sendto").unwrap_err();
        assert!(early.contains("before the sync ended"), "{early}");
        assert_eq!(said("1.000500 sendto", "1.000400 sendto"), Ok(1));
    }

    #[test]
    fn a_sync_before_the_last_write_of_the_message_does_not_count() {
        let between = said("1.000300 fdatasync", "1.000150 fdatasync").unwrap_err();
        assert!(between.contains("never synced after its last write"), "{between}");
    }

    #[test]
    fn a_sync_that_failed_or_is_of_another_file_does_not_count() {
        let failed = "1.000300 fdatasync(9</s/1.seg>) = -1 EIO (Input/output error)";
        assert!(said("1.000300 fdatasync(9</s/1.seg>) = 0", failed).is_err());
        assert!(said("fdatasync(9</s/1.seg>)", "fdatasync(8</s/0.seg>)").is_err());
    }

    #[test]
    fn a_segment_whose_name_is_not_durable_at_the_reply_is_a_breach() {
        for (from, to) in [("fsync(10</s>)", "fsync(10</t>)"), ("1.000020 fsync", "1.000490 fsync")] {
            let said = said(from, to).unwrap_err();
            assert!(said.contains("no durable name"), "{said}");
        }
    }

    #[test]
    fn a_message_without_its_end_and_a_reply_that_nobody_wrote_are_breaches() {
        assert!(said("end of a-0", "end of a-1").unwrap_err().contains("its last line never written"));
        let by = By::Words { listener: "127.0.0.1:80".to_owned(), message: "msg_1".to_owned() };
        let calls: Vec<Call> = SOUND.iter().copied().filter_map(Call::parse).collect();
        let reply = Reply { recipient: "a-0@plain.example".to_owned(), at_us: 1_000_700, by };
        assert!(judge(&[reply], &calls).unwrap_err().contains("nobody wrote the reply"));
    }
}
