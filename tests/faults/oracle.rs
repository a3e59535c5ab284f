//! D2: is something durable before the 250? Every acknowledgement is held against the system calls of the house.
//!
//! The write of a message is found by its recipient's address in the octets written; the same file must be synced with
//! success after that write has ended and before the client has read the reply. The file of a new segment must have its
//! directory synced before the first reply about a message in it.

use crate::site::Site;
use posthouse_tests::client::Door;
use posthouse_tests::house::{let_pass, now_us, rounds, wait_for};
use posthouse_tests::load::{Press, Shape};
use posthouse_tests::strace::{Call, Trace, can_trace};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const CALLS: &str = "pwritev,pwritev2,pwrite64,fdatasync,fsync,openat";

/// A reply that was read: the recipient of its message, and when.
#[derive(Debug, Clone)]
pub struct Reply {
    pub recipient: String,
    pub at_us: u64,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Data,
    Bdat,
    Http,
}

/// Submits `count` messages one after the other; the replies that were good.
fn submit(door: &Door, name: &str, way: Way, count: usize) -> Vec<Reply> {
    let mut press = Press::new(name, &door.sender, Shape::Small);
    let connect = || wait_for("a session", || door.connect().ok());
    let mut session = (!matches!(way, Way::Http)).then(connect);
    let one = |_| {
        let message = press.next();
        let (to, raw) = (&message.recipients, &message.raw);
        loop {
            let code = match (way, &mut session) {
                (Way::Data, Some(session)) => session.submit(&door.sender, to, raw).unwrap().code,
                (Way::Bdat, Some(session)) => session.submit_in_chunks(&door.sender, to, raw).unwrap().code,
                _ => door.post(to, raw).unwrap().status,
            };
            let at_us = now_us();
            match code {
                250 | 202 => break Reply { recipient: to[0].clone(), at_us },
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
    let replies = Arc::new(Mutex::new(Vec::new()));
    let clients: Vec<_> = (0..50)
        .map(|number| {
            let (door, replies, name) = (door.clone(), Arc::clone(&replies), format!("{name}{number}"));
            let way = [Way::Data, Way::Bdat, Way::Data, Way::Http][number % 4];
            std::thread::spawn(move || {
                let ours = submit(&door, &name, way, each);
                replies.lock().unwrap().extend(ours);
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    Arc::try_unwrap(replies).unwrap().into_inner().unwrap()
}

/// What the calls show about the replies; every breach fails the test. Returns the number of syncs that carried them.
pub fn hold_against(replies: &[Reply], calls: &[Call]) -> usize {
    let path = |call: &Call| {
        call.arguments.split_once('<').map(|(_, rest)| rest.split('>').next().unwrap_or("").to_owned())
    };
    // Each write with every recipient in it: a message is looked up and not searched for.
    let mut writes: HashMap<&str, &Call> = HashMap::new();
    for write in calls.iter().filter(|call| call.name.starts_with("pwrite")) {
        for (at, _) in write.arguments.match_indices("@plain.example") {
            let start = write.arguments[..at].rfind(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            // A length before it may be shown as octal digits; no recipient begins with a digit.
            let recipient = &write.arguments[start.map_or(0, |start| start + 1)..at + "@plain.example".len()];
            let recipient = recipient.trim_start_matches(|c: char| c.is_ascii_digit());
            writes.entry(recipient).or_insert(write);
        }
    }
    let syncs: Vec<&Call> =
        calls.iter().filter(|call| matches!(&*call.name, "fdatasync" | "fsync")).collect();
    let created: Vec<&Call> = calls
        .iter()
        .filter(|call| call.name == "openat" && call.arguments.contains("O_CREAT") && call.result >= 0)
        .collect();
    let mut carried = std::collections::BTreeSet::new();
    for reply in replies {
        let recipient = &reply.recipient;
        let write = writes.get(recipient.as_str());
        let write = write.unwrap_or_else(|| panic!("{recipient}: acknowledged, and never written"));
        assert!(write.result > 0, "{recipient}: {write:?}");
        let file = path(write).unwrap();
        let sync =
            syncs.iter().find(|sync| path(sync).as_ref() == Some(&file) && sync.start_us >= write.end_us);
        let sync = sync
            .unwrap_or_else(|| panic!("{recipient}: acknowledged, and {file} never synced after its write"));
        assert_eq!(sync.result, 0, "{recipient}: {sync:?}");
        assert!(
            sync.end_us <= reply.at_us,
            "{recipient}: the reply was there before the sync ended: {sync:?} {reply:?}"
        );
        carried.insert(sync.start_us);
        let Some(creation) = created.iter().find(|creation| creation.arguments.contains(&*file)) else {
            continue;
        };
        let folder = file.rsplit_once('/').unwrap().0;
        // Another thread may sync the same directory meanwhile, and be longer about it.
        let mut names = syncs.iter().filter(|sync| path(sync).as_deref() == Some(folder));
        let is_durable =
            |sync: &&Call| sync.result == 0 && sync.start_us >= creation.end_us && sync.end_us <= reply.at_us;
        assert!(names.any(is_durable), "{recipient}: {file} had no durable name yet");
    }
    carried.len()
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
    let door = site.door(&house, &tenant);
    let mut alone = submit(&door, "data", Way::Data, each);
    alone.extend(submit(&door, "bdat", Way::Bdat, each));
    alone.extend(submit(&door, "http", Way::Http, each));
    let together = submit_in_parallel(&door, "p", each / 2);
    assert_eq!(house.stop().code(), Some(0));
    let calls = trace.calls();
    hold_against(&alone, &calls);
    let syncs = hold_against(&together, &calls);
    let share = syncs as f64 / together.len() as f64;
    let segments =
        calls.iter().filter(|call| call.arguments.contains("O_CREAT") && call.arguments.contains(".seg"));
    println!(
        "D2: {} acknowledgements one by one and {} from 50 sessions at once, each after its sync; {share:.2} \
         syncs for one of the latter; {} segments",
        alone.len(),
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
