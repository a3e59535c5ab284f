//! Two tenants in one house: what the quiet one notices of the other, alone at first and then beside it.
//!
//! The quiet one sends a small message every forty milliseconds. What counts is how long its messages take to be
//! accepted and to arrive. Both leave from the same pool, and what the house may use is small, so that they are in each
//! other's way. A measurement that fails is made a second time in a new house: other work on the machine must not fail it.

use crate::house::{House, Plot, Tenant, let_pass, now_ms};
use posthouse_tests::client::{Client, Door};
use posthouse_tests::lab::Lab;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const NEIGHBOUR_EVERY: Duration = Duration::from_millis(40);
const NEIGHBOUR_COUNT: u64 = 200;
const LETTER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n";

pub struct Street {
    pub house: House,
    /// After the house: its deliveries end first.
    pub lab: Lab,
    pub greedy: Door,
    quiet: Door,
    _plot: Plot,
}

/// What the neighbour noticed, in milliseconds, sorted.
pub struct Figures {
    accept: Vec<u64>,
    dwell: Vec<u64>,
    refused: usize,
}

impl Street {
    fn new(change: impl FnOnce(&mut Plot)) -> Street {
        let lab = Lab::start();
        let mut plot = Plot::new();
        plot.settle_in(&lab);
        for (key, value) in [
            ("connections", "20"),
            ("messages_per_second", "0"),
            ("connections_per_minute", "0"),
            ("messages_per_connection", "1000"),
        ] {
            plot.set(&format!("egress.limits.{key}"), value);
        }
        change(&mut plot);
        let house = plot.start_in(&lab);
        let (greedy, _) = house.onboard("greedy", "greedy.example", "127.2.0.91");
        let quiet = house.onboard_into("quiet", "quiet.example", "greedy");
        let greedy = Door::of(&house, &greedy);
        let quiet = Door::of(&house, &quiet);
        Street { house, lab, greedy, quiet, _plot: plot }
    }

    /// The neighbour sends and waits until all of it has arrived.
    fn watch(&self) -> Figures {
        static ROUND: AtomicU64 = AtomicU64::new(0);
        let (round, began) = (ROUND.fetch_add(1, Ordering::Relaxed), watch());
        let mut figures = Figures { accept: Vec::new(), dwell: Vec::new(), refused: 0 };
        let (mut client, mut acknowledged) = (None::<Client>, Vec::new());
        for number in 0..NEIGHBOUR_COUNT {
            let_pass((NEIGHBOUR_EVERY * number as u32).saturating_sub(began.elapsed()));
            let recipient = format!("q{round}-{number}@plain.example");
            let raw = letter(&self.quiet.sender, &recipient, 2_048);
            let since = watch();
            let session = client.take().map_or_else(|| self.quiet.connect(), Ok);
            let answer = session.and_then(|mut session| {
                let reply = session.submit(&self.quiet.sender, std::slice::from_ref(&recipient), &raw)?;
                Ok((session, reply))
            });
            figures.accept.push(since.elapsed().as_millis() as u64);
            match answer {
                Ok((session, reply)) if reply.code == 250 => {
                    acknowledged.push((recipient, now_ms()));
                    client = Some(session);
                }
                Ok(_) | Err(_) => figures.refused += 1,
            }
        }
        for (recipient, at) in acknowledged {
            let arrival = self.house.arrivals(&recipient, 1).remove(0);
            let came = mail::Timestamp::parse_rfc3339(arrival["at"].as_str().unwrap()).unwrap();
            figures.dwell.push((came.as_millis() as u64).saturating_sub(at));
        }
        figures.accept.sort_unstable();
        figures.dwell.sort_unstable();
        figures
    }

    pub fn settled(&self) -> f64 {
        self.house.metric("posthouse_egress_settled_total")
    }
}

trait OnboardInto {
    /// Onboards a tenant into the pool of another one.
    fn onboard_into(&self, name: &str, domain: &str, pool: &str) -> Tenant;
}

impl OnboardInto for House {
    fn onboard_into(&self, name: &str, domain: &str, pool: &str) -> Tenant {
        let body = json!({"name": name, "domain": domain, "pool": pool});
        let (status, onboarding) = self.api("POST", "/v1/tenants", &self.operator(), Some(&body));
        assert_eq!(status, 201, "{onboarding}");
        self.lab("POST", "/dns/publish", Some(&onboarding["domain"]["records"]));
        let text = |pointer: &str| onboarding.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        let tenant = Tenant {
            id: text("/tenant/id"),
            domain: domain.to_owned(),
            key: text("/api_key/secret"),
            username: text("/smtp_credential/username"),
            password: text("/smtp_credential/password"),
            onboarding: onboarding.clone(),
        };
        let path = format!("/v1/tenants/{}/domains/{}/verify", tenant.id, text("/domain/id"));
        assert_eq!(self.api("POST", &path, &tenant.key, None).0, 200);
        tenant
    }
}

impl Figures {
    fn p99(sorted: &[u64]) -> u64 {
        sorted[(sorted.len() * 99).div_ceil(100).saturating_sub(1)]
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, list) in [("accept", &self.accept), ("dwell", &self.dwell)] {
            let (half, worst) = (list[list.len() / 2], list[list.len() - 1]);
            write!(f, "{name} {half} p50 {} p99 {worst} max   ", Figures::p99(list))?;
        }
        write!(f, "{} refused", self.refused)
    }
}

/// How much worse it may be beside the other one: a factor, and for each of the two times what is always allowed.
#[derive(Clone, Copy)]
pub struct Bound {
    pub factor: f64,
    pub accept_ms: u64,
    pub dwell_ms: u64,
}

impl Bound {
    fn holds(self, alone: &Figures, beside: &Figures) -> bool {
        let within = |alone: &[u64], beside: &[u64], floor: u64| {
            Figures::p99(beside) <= floor.max((Figures::p99(alone) as f64 * self.factor) as u64)
        };
        beside.refused == 0
            && within(&alone.accept, &beside.accept, self.accept_ms)
            && within(&alone.dwell, &beside.dwell, self.dwell_ms)
    }
}

/// Measures alone and beside `trouble`, in a new house once more if it does not hold.
pub fn compare(
    what: &str,
    bound: Bound,
    change: impl Fn(&mut Plot),
    trouble: impl Fn(&Street) -> Trouble,
    also: impl Fn(&Street) -> Result<(), String>,
) {
    let mut told = String::new();
    for _ in 0..2 {
        let street = Street::new(&change);
        let alone = street.watch();
        let beside = {
            let _trouble = trouble(&street);
            let beside = street.watch();
            told = format!("{what}\n  alone   {alone}\n  beside  {beside}");
            println!("{told}");
            match also(&street) {
                Ok(()) => beside,
                Err(why) => {
                    told = format!("{told}\n  {why}");
                    println!("  {why}");
                    continue;
                }
            }
        };
        if bound.holds(&alone, &beside) {
            return;
        }
    }
    panic!("{told}");
}

/// Threads of the other tenant; they end with it.
pub struct Trouble {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Trouble {
    pub fn start(count: usize, work: impl Fn(usize, &AtomicBool) + Clone + Send + 'static) -> Trouble {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|number| {
            let (stop, work) = (Arc::clone(&stop), work.clone());
            std::thread::spawn(move || work(number, &stop))
        });
        Trouble { threads: threads.collect(), stop }
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Submits the same message again and again, as fast as it is taken.
pub fn submit_for_ever(door: &Door, stop: &AtomicBool, mut next: impl FnMut() -> (Vec<String>, Vec<u8>)) {
    let mut session = None;
    while !stop.load(Ordering::SeqCst) {
        let Ok(mut client) = session.take().map_or_else(|| door.connect(), Ok) else {
            let_pass(Duration::from_millis(50));
            continue;
        };
        let (recipients, raw) = next();
        if client.submit(&door.sender, &recipients, &raw).is_ok_and(|reply| reply.code == 250) {
            session = Some(client);
        }
    }
}

/// Fills the queue: `messages` with as many recipients each as `recipients` gives.
pub fn fill(door: &Door, messages: usize, recipients: impl Fn(usize) -> Vec<String>) {
    let mut client = door.connect().unwrap();
    for number in 0..messages {
        let raw = letter(&door.sender, "list@plain.example", 2_048);
        let reply = client.submit(&door.sender, &recipients(number), &raw).unwrap();
        assert_eq!(reply.code, 250, "{}", reply.text);
    }
}

pub fn letter(sender: &str, to: &str, octets: usize) -> Vec<u8> {
    let mut text = format!("From: {sender}\r\nTo: {to}\r\nSubject: street\r\n\r\n");
    text.push_str(&LETTER.repeat(octets / LETTER.len()));
    text.into_bytes()
}

#[expect(clippy::disallowed_methods, reason = "a client outside of the house has its own clock")]
fn watch() -> Instant {
    Instant::now()
}
