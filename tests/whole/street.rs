//! Two tenants in one house: what the quiet one notices of the other, alone at first and then beside it.
//!
//! The quiet one sends a small message every forty milliseconds. What counts is how long its messages take to be
//! accepted and to arrive, and its webhook to be called. Both leave from the same pool, and what the house may use is
//! small, so that they are in each other's way. A measurement that fails is made again in a new house: other work on the
//! machine must not fail it.

use crate::house::{House, Plot, let_pass, now_ms};
use posthouse_tests::client::{Client, Door};
use posthouse_tests::lab::Lab;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const NEIGHBOUR_EVERY: Duration = Duration::from_millis(40);
const NEIGHBOUR_COUNT: u64 = 200;
const LETTER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n";
/// Arrivals read at a time, and how often there is a look.
const PAGE: usize = 1_000;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After the last one was sent.
const LOOKS_MAX: u32 = 60;
/// Measurements before a bound is taken for broken.
const TRIES: usize = 3;

pub struct Street {
    pub house: House,
    /// After the house: its deliveries end first.
    pub lab: Lab,
    pub greedy: Door,
    /// Where the greedy one's webhook is recorded.
    pub greedy_sink: String,
    pub greedy_key: String,
    quiet: Door,
    quiet_sink: String,
    _plot: Plot,
}

/// By which door the quiet one sends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    Smtp,
    Http,
}

/// What the neighbour noticed, in milliseconds, sorted, and how fast the house was meanwhile.
#[derive(Default)]
pub struct Figures {
    accept: Vec<u64>,
    dwell: Vec<u64>,
    called: Vec<u64>,
    /// Why, and how often.
    refused: BTreeMap<String, usize>,
    /// Recipients settled in a second, whosever they are.
    pub pace: f64,
}

impl Street {
    fn new(change: impl FnOnce(&mut Plot)) -> Street {
        let (lab, mut plot) = Lab::with_plot();
        plot.send_freely();
        plot.set("egress.limits.connections", "20");
        change(&mut plot);
        let house = plot.start_in(&lab);
        let (greedy, greedy_sink) = house.onboard("greedy", "greedy.example", "127.2.0.91");
        let (quiet, quiet_sink) = house.onboard_into("quiet", "quiet.example", "greedy");
        let greedy_key = greedy.key.clone();
        let greedy = Door::of(&house, &greedy);
        let quiet = Door::of(&house, &quiet);
        Street { house, lab, greedy, greedy_sink, greedy_key, quiet, quiet_sink, _plot: plot }
    }

    /// The neighbour sends and waits until all of it has arrived and was told.
    fn watch(&self, by: By, bound: Bound) -> Figures {
        static ROUND: AtomicU64 = AtomicU64::new(0);
        let round = format!("q{}-", ROUND.fetch_add(1, Ordering::Relaxed));
        let mut figures = Figures::default();
        let (tell, told) = sync_channel(NEIGHBOUR_COUNT as usize);
        std::thread::scope(|scope| {
            // Read on while it goes: the lab remembers its last 50,000 arrivals only.
            let since = self.last_arrival();
            let finder = scope.spawn(move || self.find(since, told));
            let (before, began) = (self.settled(), watch());
            let mut client = None::<Client>;
            for number in 0..NEIGHBOUR_COUNT {
                let_pass((NEIGHBOUR_EVERY * number as u32).saturating_sub(began.elapsed()));
                let recipient = format!("{round}{number}@plain.example");
                let since = watch();
                let taken = self.send(by, &recipient, &mut client);
                figures.accept.push(since.elapsed().as_millis() as u64);
                match taken {
                    Ok(()) => tell.send((recipient, now_ms())).unwrap(),
                    Err(why) => *figures.refused.entry(why).or_default() += 1,
                }
            }
            figures.pace = (self.settled() - before) / began.elapsed().as_secs_f64();
            drop(tell);
            figures.dwell = finder.join().unwrap();
        });
        if bound.webhook_ms.is_some() {
            figures.called = self.calls(&round, figures.dwell.len());
        }
        for list in [&mut figures.accept, &mut figures.dwell, &mut figures.called] {
            list.sort_unstable();
        }
        figures
    }

    /// Sends one small message. Says why it was not taken.
    fn send(&self, by: By, recipient: &String, client: &mut Option<Client>) -> Result<(), String> {
        let raw = letter(&self.quiet.sender, recipient, 2_048);
        let recipients = std::slice::from_ref(recipient);
        if by == By::Http {
            let answer = self.quiet.post(recipients, &raw).map_err(|error| error.to_string())?;
            let problem: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let why = format!("{} {}", answer.status, problem["code"]);
            return if answer.status == 202 { Ok(()) } else { Err(why) };
        }
        let session = client.take().map_or_else(|| self.quiet.connect(), Ok);
        let sent = session.and_then(|mut session| {
            let reply = session.submit(&self.quiet.sender, recipients, &raw)?;
            Ok((session, reply))
        });
        let (session, reply) = sent.map_err(|error| error.to_string())?;
        if reply.code != 250 {
            return Err(format!("{} {}", reply.code, reply.text));
        }
        *client = Some(session);
        Ok(())
    }

    /// Id, first recipient and time of arrivals at the lab.
    fn arrivals(&self, query: &str) -> Vec<(String, String, u64)> {
        let list = self.house.lab("GET", &format!("/arrivals?{query}"), None);
        let one = |arrival: &Value| {
            let text = |pointer: &str| arrival.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
            (text("/id"), text("/rcpt_to/0"), millis(&arrival["at"]))
        };
        list.as_array().unwrap().iter().map(one).collect()
    }

    /// From each acknowledgement that is told to the arrival. Asking for each by its name would keep the lab busy.
    fn find(&self, mut since: String, told: Receiver<(String, u64)>) -> Vec<u64> {
        let (mut came, mut awaited, mut dwell) = (HashMap::new(), Vec::new(), Vec::new());
        let (mut more, mut looks) = (true, 0);
        while more || !awaited.is_empty() {
            let page = crate::house::wait_for("the quiet one's messages to arrive", || {
                let page = self.arrivals(&format!("limit={PAGE}&since={since}"));
                (!page.is_empty() || more).then_some(page)
            });
            let whole = page.len() < PAGE;
            if let Some((last, ..)) = page.last() {
                since.clone_from(last);
            }
            came.extend(
                page.into_iter()
                    .map(|(_, recipient, at)| (recipient, at))
                    .filter(|one| one.0.starts_with('q')),
            );
            if !whole {
                continue;
            }
            looks += u32::from(!more);
            assert!(looks < LOOKS_MAX, "these did not arrive: {awaited:?}");
            let_pass(LOOK_EVERY);
            more = loop {
                match told.try_recv() {
                    Ok(acknowledged) => awaited.push(acknowledged),
                    Err(end) => break end == TryRecvError::Empty,
                }
            };
            awaited.retain(|(recipient, acknowledged): &(String, u64)| {
                let at: Option<u64> = came.remove(recipient);
                dwell.extend(at.map(|at| at.saturating_sub(*acknowledged)));
                at.is_none()
            });
        }
        dwell
    }

    /// From the time of each `message.delivered` of the round to the call that tells it.
    fn calls(&self, round: &str, count: usize) -> Vec<u64> {
        crate::house::wait_for("the quiet one's webhook to be called", || {
            let sink = self.house.fetch(&self.quiet_sink);
            let mut late = HashMap::new();
            for call in sink["calls"].as_array().unwrap() {
                let event: Value = serde_json::from_str(call["body"].as_str().unwrap()).unwrap();
                let recipient = event["data"]["recipient"].as_str().unwrap_or_default();
                if event["type"] == "message.delivered" && recipient.starts_with(round) {
                    let lateness = millis(&call["at"]).saturating_sub(millis(&event["timestamp"]));
                    late.entry(recipient.to_owned()).or_insert(lateness);
                }
            }
            (late.len() >= count).then(|| late.into_values().collect())
        })
    }

    pub fn settled(&self) -> f64 {
        self.house.metric("posthouse_egress_settled_total")
    }

    /// Recipients settled in a second, for so long. Arrivals are read as they are while the quiet one sends: that costs the
    /// house what it costs there.
    pub fn pace(&self, window: Duration) -> f64 {
        let (tell, told) = sync_channel(0);
        let since = self.last_arrival();
        std::thread::scope(|scope| {
            scope.spawn(move || self.find(since, told));
            let (before, began) = (self.settled(), watch());
            let_pass(window);
            let pace = (self.settled() - before) / began.elapsed().as_secs_f64();
            drop(tell);
            pace
        })
    }

    fn last_arrival(&self) -> String {
        self.arrivals("limit=1").last().map_or("0".to_owned(), |(id, ..)| id.clone())
    }
}

fn millis(time: &Value) -> u64 {
    mail::Timestamp::parse_rfc3339(time.as_str().unwrap()).unwrap().as_millis() as u64
}

impl Figures {
    fn p99(sorted: &[u64]) -> u64 {
        sorted[(sorted.len() * 99).div_ceil(100).saturating_sub(1)]
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [("accept", &self.accept), ("dwell", &self.dwell), ("webhook", &self.called)];
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            let (half, worst) = (list[list.len() / 2], list[list.len() - 1]);
            write!(f, "{name} {half} p50 {} p99 {worst} max   ", Figures::p99(list))?;
        }
        write!(f, "{} refused", self.refused.values().sum::<usize>())?;
        self.refused.iter().try_for_each(|(why, times)| write!(f, "\n    {times} times {why}"))
    }
}

/// How much worse it may be beside the other one: a factor, and for each of the times what is always allowed.
#[derive(Clone, Copy)]
pub struct Bound {
    pub factor: f64,
    pub accept_ms: u64,
    pub dwell_ms: u64,
    /// None: nobody looks at webhooks.
    pub webhook_ms: Option<u64>,
}

impl Bound {
    fn holds(self, alone: &Figures, beside: &Figures) -> bool {
        let within = |alone: &[u64], beside: &[u64], floor: u64| {
            Figures::p99(beside) <= floor.max((Figures::p99(alone) as f64 * self.factor) as u64)
        };
        beside.refused.is_empty()
            && within(&alone.accept, &beside.accept, self.accept_ms)
            && within(&alone.dwell, &beside.dwell, self.dwell_ms)
            && self.webhook_ms.is_none_or(|floor| within(&alone.called, &beside.called, floor))
    }
}

/// Measures alone and beside `trouble`, in a new house again if it does not hold.
pub fn compare(
    (what, by): (&str, By),
    bound: Bound,
    change: impl Fn(&mut Plot),
    trouble: impl Fn(&Street) -> Trouble,
    also: impl Fn(&Street, &Figures) -> Result<(), String>,
) {
    let mut told = String::new();
    for _ in 0..TRIES {
        let street = Street::new(&change);
        let alone = street.watch(by, bound);
        let _trouble = trouble(&street);
        let beside = street.watch(by, bound);
        told = format!("{what}\n  alone   {alone}\n  beside  {beside}");
        println!("{told}");
        match also(&street, &beside) {
            Ok(()) if bound.holds(&alone, &beside) => return,
            Ok(()) => {}
            Err(why) => {
                told = format!("{told}\n  {why}");
                println!("  {why}");
            }
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

/// Submits one message after the other, as fast as they are taken; counts those that are.
pub fn submit_for_ever(
    door: &Door,
    stop: &AtomicBool,
    taken: &AtomicU64,
    mut next: impl FnMut() -> (Vec<String>, Vec<u8>),
) {
    let mut session = None;
    while !stop.load(Ordering::SeqCst) {
        let Ok(mut client) = session.take().map_or_else(|| door.connect(), Ok) else {
            let_pass(Duration::from_millis(50));
            continue;
        };
        let (recipients, raw) = next();
        if client.submit(&door.sender, &recipients, &raw).is_ok_and(|reply| reply.code == 250) {
            taken.fetch_add(1, Ordering::Relaxed);
            session = Some(client);
        }
    }
}

/// Errs if there was less trouble than so much of it: then nothing was shown.
pub fn at_least(count: u64, of: u64, what: &str) -> Result<(), String> {
    println!("  {of} {what}");
    if of >= count {
        Ok(())
    } else {
        Err(format!("only {of} {what}, of at least {count}: there was no trouble"))
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
